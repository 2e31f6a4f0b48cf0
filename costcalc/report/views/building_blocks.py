"""Designs for the same job side by side: in numbers, or in the symbols of a lecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from costcalc.analysis.conventions import CONVENTIONS
from costcalc.analysis.cost_table import CostTable, Row
from costcalc.core.sizes import is_symbolic
from costcalc.exploration.building_blocks import DesignComparison, DesignSymbols, expand_formula, quotient
from costcalc.report.document import Column, Document, Formula, Kind, Table
from costcalc.report.views.networks import totals_data


def designs(
    command: str,
    settings: Mapping[str, Any],
    comparisons: Sequence[DesignComparison],
    in_symbols: Sequence[DesignComparison] = (),
    symbols: DesignSymbols | None = None,
) -> Document:
    """Each comparison as a table: a line a cost, a column a design, the first design divided by each of the others.

    With `symbols` the tables are those of `in_symbols`, the same comparisons in symbols; the data have both.
    """
    costs = comparisons[0].designs[0].costs
    how = f"batch {costs.batch:,}, {costs.dtype}, convention {costs.convention}"
    data: dict[str, Any] = {
        "schema": f"costcalc/{command}/1",
        "settings": dict(settings),
        "batch": costs.batch,
        "dtype": costs.dtype,
        "convention": costs.convention,
        "designs": [entry for comparison in comparisons for entry in _data(comparison)],
    }
    if symbols is None:
        how = f"{_sizes(costs)}, {how}"
        tables = [_table(comparison, how) for comparison in comparisons]
        return Document(tuple(tables), data)
    formulas = (entry for comparison in in_symbols for entry in _formulas(comparison))
    for entry, formula in zip(data["designs"], formulas, strict=True):
        entry |= formula
    how = f"in symbols, {costs.dtype}, convention {costs.convention}"
    tables = [_table(comparison, how, symbolic=True) for comparison in in_symbols]
    legend = "; ".join(_legend(symbols, name) for name in symbols.meanings)
    legend = f"For all sizes, whatever numbers are given for them: {legend}."
    assumed = dict.fromkeys(str(a) for c in in_symbols for a in c.assumptions if not symbols.implies(a))
    notes = (legend, *([f"Assuming {'; '.join(assumed)}."] if assumed else []))
    tables[-1] = tables[-1]._replace(notes=(*tables[-1].notes, *notes))
    return Document(
        tuple(tables), data | {"symbols": symbols.values, "multiples": symbols.multiples, "assumptions": [*assumed]}
    )


def _legend(symbols: DesignSymbols, name: str) -> str:
    multiple = symbols.multiples[name]
    return f"{name} {symbols.meanings[name]}" + (f", a multiple of {multiple}" if multiple > 1 else "")


def _sizes(costs: CostTable) -> str:
    """What all designs take: channels, height and width."""
    _, channels, height, width = next(iter(costs.inputs.values()))
    return f"input {channels:,}×{height}×{width}"


def _lines(convention: str) -> dict[str, Callable[[Row], Any]]:
    """What is compared: titles, and where each is in a row."""
    return {
        "parameters": lambda row: row.params,
        "weights": lambda row: row.weights,
        "biases, BatchNorm": _not_weights,
        "MACs": lambda row: row.macs,
        CONVENTIONS[convention].label: lambda row: row.flops,
        "activation elements": lambda row: row.activations,
        "activation bytes": lambda row: row.activation_bytes,
        "receptive field": lambda row: row.receptive_field,
        "non-linearities": lambda row: row.nonlinearities,
        "weight layers": lambda row: row.weight_layers,
    }


def _not_weights(row: Row) -> Any:
    params: Any = row.params
    return params - row.weights


def _table(comparison: DesignComparison, how: str, *, symbolic: bool = False) -> Table:
    totals = [design.costs.total() for design in comparison.designs]
    counts: Kind = "text" if symbolic else "exact"
    columns = [Column("cost", "cost"), *(Column(design.title, design.key, counts) for design in comparison.designs)]
    if comparison.ratios:
        columns += [
            Column(
                _divided(comparison, design.title),
                f"ratio_{design.key}",
                "text" if symbolic else "ratio",
                spare=symbolic,
            )
            for design in comparison.designs[1:]
        ]
    divide: Callable[[Any, Any], Any] = _symbolic_ratio if symbolic else _ratio
    rows = []
    for title, cost in _lines(comparison.designs[0].costs.convention).items():
        values = [cost(total) for total in totals]
        if all(value is None for value in values):  # the plane is gone in all of them
            continue
        ratios = [divide(values[0], value) for value in values[1:]] if comparison.ratios else []
        rows.append((title, *map(_shown, values), *ratios))
    return Table(f"{comparison.title}\n{how}", tuple(columns), tuple(rows), (), comparison.notes)


def _divided(comparison: DesignComparison, by: str) -> str:
    """The title of a ratio; two designs say it all, more are named."""
    return "ratio" if len(comparison.designs) == 2 else "÷ " + by


def _shown(value: Any) -> Any:
    """A number or a field; a formula; nothing where the plane is gone."""
    return _formula(expand_formula(value)) if is_symbolic(value) else "" if value is None else value


def _formula(expression: Any) -> Formula:
    from costcalc.exploration.symbolic import LECTURE_WRITER

    return Formula(LECTURE_WRITER.text(expression), LECTURE_WRITER.python(expression), LECTURE_WRITER.latex(expression))


def _ratio(first: Any, other: Any) -> float | None:
    """first ÷ other, of fields by their height; None where there is nothing to divide by."""
    first, other = (value[0] if isinstance(value, tuple) else value for value in (first, other))
    return None if first is None or not other else float(first / other)


def _symbolic_ratio(first: Any, other: Any) -> Formula | None:
    """first ÷ other as a formula: no whole number, so that a program divides by /."""
    from costcalc.exploration.symbolic import LECTURE_WRITER
    from costcalc.exploration.symbolic.expression_writer import python

    first, other = (value[0] if isinstance(value, tuple) else value for value in (first, other))
    if first is None or other is None or other == 0:
        return None
    expression = quotient(first, other)
    return _formula(expression)._replace(python=python(expression, LECTURE_WRITER.rank, "/"))


def _data(comparison: DesignComparison) -> list[dict[str, Any]]:
    """Each design with its totals, and by how much the first exceeds it."""
    totals = [design.costs.total() for design in comparison.designs]
    entries = []
    for design, total in zip(comparison.designs, totals, strict=True):
        field = total.receptive_field
        entry = {
            "comparison": comparison.key,
            "name": design.key,
            "title": " ".join(design.title.split("\n")),
            "totals": totals_data(total),
            "weights": total.weights,
            "receptive_field": None if field is None else list(field),
            "nonlinearities": total.nonlinearities,
        }
        if comparison.ratios and total is not totals[0]:
            first, own = totals_data(totals[0]), totals_data(total)
            entry["ratios"] = {key: _ratio(first[key], own[key]) for key in own}
        entries.append(entry)
    return entries


def _formulas(comparison: DesignComparison) -> list[dict[str, Any]]:
    """For each design its totals as expressions, and by how much the first exceeds it."""
    totals = [design.costs.total() for design in comparison.designs]
    first = totals_data(totals[0])
    entries: list[dict[str, Any]] = []
    for total in totals:
        own = totals_data(total)
        formulas = {
            key: _formula(expand_formula(value)).python for key, value in (own | {"weights": total.weights}).items()
        }
        entries.append({"formulas": formulas})
        if comparison.ratios and total is not totals[0]:
            ratios = {key: _symbolic_ratio(first[key], own[key]) for key in own}
            entries[-1]["ratio_formulas"] = {key: ratio and ratio.python for key, ratio in ratios.items()}
    return entries
