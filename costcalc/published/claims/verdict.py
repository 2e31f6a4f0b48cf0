"""Verdicts: how a printed number follows from an exact one.

With q the exact value in the printed unit, the printed number is `exact` if it equals q, `rounds` if q rounded half up
to the printed decimals equals it, `truncated` if q truncated to them does, and otherwise `approximate` if its relative
error is at most 5 %, or `wrong`. All arithmetic is exact, in fractions.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from costcalc.core.comparisons import COMPARISONS, find_comparison
from costcalc.core.errors import did_you_mean
from costcalc.core.units import round_half_up
from costcalc.core.written_numbers import UNIT_LIST, UNITS, WrittenNumber, read_number

# From best to worst. The last two are verdicts on whole claims, not on single numbers.
VERDICTS = ("exact", "rounds", "truncated", "approximate", "wrong", "conditional", "not-a-cost")
CORRECT_VERDICTS = frozenset({"exact", "rounds", "truncated"})
APPROXIMATE_TOLERANCE = Fraction(5, 100)


Shape = tuple[int, ...]
ExactValue = int | Fraction | Shape


class MultipleValues(NamedTuple):
    """The values of a claim about several layers or networks, in the order of the claim."""

    values: tuple[ExactValue, ...]


_UNIT = re.compile(r"[^\W\d_]*|[%×]")
_SHAPE = re.compile(r"\s*\d{1,18}(\s*[x×]\s*\d{1,18})+\s*")
_LARGEST = 10**30


class Finding(NamedTuple):
    """A verdict, and the signed relative error of a number that is approximate or wrong."""

    verdict: str
    error: Fraction | None = None


def read_claimed_number(text: str) -> WrittenNumber | None:
    """Read a number with a unit of one word, such as `13.6 G` or `<25 M`; None for any other text."""
    number = read_number(text)
    return number if number and _UNIT.fullmatch(number.unit) and abs(number.value) < _LARGEST else None


def parse_shape(text: str) -> Shape | None:
    """Parse a shape such as `35x35x288`, height first as papers print it; None for any other text."""
    if not _SHAPE.fullmatch(text):
        return None
    return tuple(int(size) for size in re.split("[x×]", text))


def unknown_unit_message(unit: str) -> str:
    """Return the message for an unknown unit."""
    near = did_you_mean(unit, UNITS)
    return f"no unit {unit!r}{near}: there are {UNIT_LIST}"


def judge(number: WrittenNumber, scale: Fraction, exact: int | Fraction) -> Finding:
    """Judge how a printed number follows from an exact value in base units."""
    quotient = exact / scale
    if number.bound:
        compare = COMPARISONS[find_comparison(number.bound) or number.bound]
        return Finding("exact" if compare(quotient, number.value) else "wrong")
    if number.value == quotient:
        return Finding("exact")
    if number.step:
        steps = number.value / number.step
        if steps == round_half_up(quotient, number.step):
            return Finding("rounds")
        if steps == quotient // number.step:
            return Finding("truncated")
    return approximate_or_wrong(number.value, quotient)


def approximate_or_wrong(printed: Fraction, exact: Fraction) -> Finding:
    """Return the finding on a number that is neither rounded nor truncated."""
    if not exact:
        return Finding("wrong")
    error = (printed - exact) / exact
    return Finding("approximate" if abs(error) <= APPROXIMATE_TOLERANCE else "wrong", error)


def worst_finding(findings: list[Finding]) -> Finding:
    """Return the finding on a claim about several values."""
    return max(findings, key=lambda finding: VERDICTS.index(finding.verdict))
