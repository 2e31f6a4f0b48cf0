"""Numbers as they are printed, and how a printed number follows from an exact one.

With q the exact value in the printed unit, the printed number is `exact` where it is q, `rounds` where q rounded half
up to its decimals gives it, `truncated` where q cut off there does, and otherwise `approximate` up to 5 % off, or
`wrong`. Everything is exact: fractions, never floats.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from math import floor
from types import MappingProxyType
from typing import NamedTuple

from costcalc.core.errors import did_you_mean

# From best to worst; the last two are of whole claims, and no number alone has them.
VERDICTS = ("exact", "rounds", "truncated", "approximate", "wrong", "conditional", "not-a-cost")
RIGHT = frozenset({"exact", "rounds", "truncated"})
NEAR = Fraction(5, 100)


class Unit(NamedTuple):
    """What a printed unit measures, and how many base units it is: elements and operations, or bytes."""

    kind: str  # "count", "bytes" or "ratio"
    scale: Fraction


UNITS: Mapping[str, Unit] = MappingProxyType(
    {
        **{name: Unit("count", Fraction(10**power)) for name, power in zip("kKMGT", (3, 3, 6, 9, 12), strict=True)},
        **{f"{name}i": Unit("count", Fraction(2**power)) for name, power in zip("KMG", (10, 20, 30), strict=True)},
        **{
            f"{name}B": Unit("bytes", Fraction(10**power))
            for name, power in zip(("", *"kKMGT"), (0, 3, 3, 6, 9, 12), strict=True)
        },
        **{
            f"{name}iB": Unit("bytes", Fraction(2**power)) for name, power in zip("KMGT", (10, 20, 30, 40), strict=True)
        },
        "x": Unit("ratio", Fraction(1)),
        "×": Unit("ratio", Fraction(1)),
        "%": Unit("ratio", Fraction(1, 100)),
    }
)

Shape = tuple[int, ...]
Exact = int | Fraction | Shape


class Several(NamedTuple):
    """The values of a claim about several things, in their order."""

    values: tuple[Exact, ...]


_NUMBER = re.compile(
    r"\s*[~≈]?\s*(?P<bound><=|>=|[<>≤≥])?\s*"
    r"(?P<digits>-?(?:\d{1,3}(?:,\d{3}){1,9}|\d{1,30})(?:\.\d{1,30})?(?:/[1-9]\d{0,30})?)\s*(?P<unit>[^\W\d_]+|[%×])?\s*"
)
_SHAPE = re.compile(r"\s*\d{1,18}(\s*[x×]\s*\d{1,18})+\s*")
_BOUNDS = {"<=": "≤", ">=": "≥"}


class Number(NamedTuple):
    """One number as printed: its digits, its unit (empty: none is printed), and a bound such as `<` before it."""

    text: str
    unit: str
    bound: str

    @property
    def value(self) -> Fraction:
        """The number, in its unit."""
        return Fraction(self.text.replace(",", ""))

    @property
    def step(self) -> Fraction:
        """One in its last printed place; 0 for a fraction such as 49/27, which is not rounded."""
        if "/" in self.text:
            return Fraction(0)
        exponent = Decimal(self.text.replace(",", "")).as_tuple().exponent
        assert isinstance(exponent, int)
        return Fraction(10) ** exponent


class Finding(NamedTuple):
    """A verdict, and the signed error of the printed number where it is approximate or wrong and has one."""

    verdict: str
    error: Fraction | None = None


def read_number(text: str) -> Number | None:
    """A number with its unit, such as `13.6 G`, `<25 M`, `~14 x`, `138,357,544`; None for anything else."""
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    bound, digits, unit = found.groups()
    return Number(digits, unit or "", _BOUNDS.get(bound, bound) or "")


def read_shape(text: str) -> Shape | None:
    """A shape such as `35x35x288`, height first as papers print it; None for anything else."""
    if not _SHAPE.fullmatch(text):
        return None
    return tuple(int(size) for size in re.split("[x×]", text))


def unknown_unit(unit: str) -> str:
    """What to say of a unit that is none of UNITS."""
    near = did_you_mean(unit, UNITS)
    return f"no unit {unit!r}{near}: there are k, M, G, T; Ki, Mi, Gi; B, kB, MB, GB, KiB, MiB, GiB; x and %"


def judge(number: Number, scale: Fraction, exact: int | Fraction) -> Finding:
    """How a printed number follows from an exact value in base units."""
    quotient = exact / scale
    if number.bound:
        return Finding("exact" if holds(quotient, number.bound, number.value) else "wrong")
    if number.value == quotient:
        return Finding("exact")
    if number.step:
        steps = number.value / number.step
        if steps == floor(quotient / number.step + Fraction(1, 2)):
            return Finding("rounds")
        if steps == floor(quotient / number.step):
            return Finding("truncated")
    return near_miss(number.value, quotient)


def near_miss(printed: Fraction, exact: Fraction) -> Finding:
    """The finding on a number that is neither rounded nor cut off."""
    if not exact:
        return Finding("wrong")
    error = (printed - exact) / exact
    return Finding("approximate" if abs(error) <= NEAR else "wrong", error)


def holds(left: int | Fraction, bound: str, right: int | Fraction) -> bool:
    """Whether `left < right`, or another bound."""
    return {"<": left < right, ">": left > right, "≤": left <= right, "≥": left >= right}[bound]


def worst(findings: list[Finding]) -> Finding:
    """The finding on a claim about several values."""
    return max(findings, key=lambda finding: VERDICTS.index(finding.verdict))
