"""The reference numbers of tests/truth, and the graphs and cost tables that are held to them."""

import csv
import json
from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from functools import cache
from math import floor, prod
from pathlib import Path
from typing import Any

import costcalc
from costcalc.ir.op import Op

TRUTH = Path(__file__).parent / "truth"

# What a unit of published.csv is worth in base units; a unit that is a phrase ("% saved") is worth 1.
UNITS = {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10}
UNITS |= {"KB(2^10)": 2**10, "MB(2^20)": 2**20, "MB(10^6)": 10**6, "GB(10^9)": 10**9}

POOLS = {"max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "global_avg_pool2d"}
WEIGHTED = {"conv2d", "linear"}


def read(name: str) -> list[dict[str, str]]:
    """The rows of a file of tests/truth, each a dict of its columns' text."""
    with (TRUTH / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@cache
def published() -> dict[str, dict[str, str]]:
    """The rows of published.csv by id."""
    return {row["id"]: row for row in read("published.csv")}


def ids(*prefixes: str) -> list[str]:
    """The ids of published.csv that start with one of the prefixes, in the file's order."""
    return [name for name in published() if name.startswith(prefixes)]


def exact(name: str) -> int | float:
    """The recomputed value of a row of published.csv, in base units."""
    text = published()[name]["exact"]
    return int(text) if text.isdigit() else float(text)


def verdict(printed: str, unit: str, value: float | Fraction) -> str:
    """How a printed number follows from a value: exact, rounds-to (half up), truncated, or the signed error."""
    number, scale = Decimal(printed), UNITS.get(unit, 1)
    step = Fraction(10) ** number.as_tuple().exponent
    quotient = Fraction(str(value)) / scale
    steps = Fraction(number) / step
    if Fraction(number) == quotient:
        return "exact"
    if steps == floor(quotient / step + Fraction(1, 2)):
        return "rounds-to"
    if steps == floor(quotient / step):
        return "truncated"
    if not quotient:
        return "DISAGREES"
    error = (Fraction(number) - quotient) / quotient
    return f"{'approx' if abs(error) <= Fraction(5, 100) else 'DISAGREES'}({float(100 * error):+.1f}%)"


def follows(name: str, value: float | Fraction) -> bool:
    """Whether the printed number of a row of published.csv is `value`, rounded or truncated to its decimals."""
    row = published()[name]
    return verdict(row["published"], row["unit"], value) in ("exact", "rounds-to", "truncated")


def graph(name: str, **settings: Any) -> costcalc.Graph:
    """A shipped network, made once for all tests."""
    return _graph(name, json.dumps(settings))


def table(name: str, *, convention: str = "flops", **settings: Any) -> costcalc.CostTable:
    """The costs of a shipped network, made once for all tests."""
    return _table(name, convention, json.dumps(settings))


@cache
def _graph(name: str, settings: str) -> costcalc.Graph:
    return costcalc.load(name, **json.loads(settings))


@cache
def _table(name: str, convention: str, settings: str) -> costcalc.CostTable:
    return costcalc.analyze(_graph(name, settings), convention=convention)


def chain(*ops: Op, channels: Any, height: Any = 28, width: Any = 28) -> costcalc.CostTable:
    """The costs of layers in a row, for what no shipped network contains."""
    builder = costcalc.Builder("chain", channels=channels, height=height, width=width)
    for number, op in enumerate(ops):
        builder.add(f"{number}_{op.name}", op)
    return costcalc.analyze(builder.build())


def of_kind(costs: costcalc.CostTable, kinds: Iterable[str]) -> list[costcalc.Row]:
    """The rows of some kinds, in running order."""
    kinds = set(kinds)
    return [row for row in costs.rows if row.op in kinds]


def is_identity(row: costcalc.Row) -> bool:
    """Whether a layer is an adaptive pool that changes nothing; the files have no row for it."""
    return row.op == "adaptive_avg_pool2d" and row.inputs[0] == row.output


def row(costs: costcalc.CostTable, path: str) -> costcalc.Row:
    """The one row of that path."""
    (found,) = (r for r in costs.rows if r.path == path)
    return found


def elements(shape: tuple[int, ...]) -> int:
    """Elements per image."""
    return prod(shape[1:])


def projections(costs: costcalc.CostTable) -> list[costcalc.Row]:
    """The convolutions on the shortcuts of a ResNet."""
    return [r for r in of_kind(costs, ["conv2d"]) if "shortcut" in r.path.split("/")]
