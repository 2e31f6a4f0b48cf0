"""Numbers written with a unit: `13.6 G`, `<25 M`, `24GiB`, `138,357,544`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Literal, NamedTuple, cast

from costcalc.core.errors import CostcalcError
from costcalc.core.units import BINARY, DECIMAL


class Unit(NamedTuple):
    """What a unit measures, and its value in base units: elements, operations or bytes."""

    kind: Literal["count", "bytes", "ratio"]
    scale: Fraction


def _groups() -> tuple[dict[str, Unit], ...]:
    """The spellings of every unit, in the groups that a message lists them in."""
    prefixes = {prefix: Fraction(scale) for prefix, scale in DECIMAL.items() if prefix}
    binary_prefixes = {unit.removesuffix("B"): Fraction(scale) for unit, scale in BINARY.items() if unit != "B"}
    return (
        {prefix: Unit("count", scale) for prefix, scale in prefixes.items()},
        {prefix: Unit("count", scale) for prefix, scale in binary_prefixes.items()},
        {f"{prefix}B": Unit("bytes", scale) for prefix, scale in ({"": Fraction(1)} | prefixes).items()},
        {f"{prefix}B": Unit("bytes", scale) for prefix, scale in binary_prefixes.items()},
        {"x": Unit("ratio", Fraction(1)), "×": Unit("ratio", Fraction(1)), "%": Unit("ratio", Fraction(1, 100))},
    )


# Every unit by its spelling. K and KB, which many sources print, are powers of 1000, as k and kB are.
UNITS: Mapping[str, Unit] = MappingProxyType(
    {name: unit for group in _groups() for name, unit in group.items()}
    | {"K": Unit("count", Fraction(1000)), "KB": Unit("bytes", Fraction(1000))}
)
UNIT_LIST = "; ".join(", ".join(group) for group in _groups())  # for messages
_FOLDED = {name.lower(): unit for name, unit in UNITS.items()} | {"": Unit("count", Fraction(1))}

# Digits with optional thousands separators and decimals, a denominator or a power of ten, and the rest as the unit.
_NUMBER = re.compile(
    r"\s*[~≈]?\s*(?P<bound><=|>=|[<>≤≥])?\s*"
    r"(?P<digits>-?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?(?:/[1-9][0-9]*|e[0-9]{1,3}(?![0-9]))?)"
    r"\s*(?P<unit>.*?)\s*",
    re.IGNORECASE,
)
_MAX_CHARACTERS = 200
_MIN_BYTES_WITHOUT_UNIT = 2**20
_MAX_BYTES = 2**100


class WrittenNumber(NamedTuple):
    """A number as written: its digits, its unit (empty: it has none), and a bound such as `<` before it."""

    digits: str
    unit: str
    bound: str

    @property
    def value(self) -> Fraction:
        """The number, in its unit."""
        return Fraction(self.digits.replace(",", ""))

    @property
    def step(self) -> Fraction:
        """The value of one unit of the last digit; 0 for a fraction such as 49/27, which is not rounded."""
        return Fraction(0) if "/" in self.digits else Fraction(10) ** self.exponent

    @property
    def exponent(self) -> int:
        """The power of ten of the last digit: -1 for 13.6. The number must not be a fraction."""
        return cast(int, Decimal(self.digits.replace(",", "")).as_tuple().exponent)


def read_number(text: str) -> WrittenNumber | None:
    """Read a number with its unit, such as `13.6 G`, `<25 M`, `~14 x`, `1.5e9 FLOPs` or `138,357,544`.

    The unit is the text after the number, which callers must look up. Returns None for text that is no number.
    """
    match = _NUMBER.fullmatch(text) if len(text) <= _MAX_CHARACTERS else None
    return None if match is None else WrittenNumber(match["digits"], match["unit"], match["bound"] or "")


def find_unit(name: str) -> Unit | None:
    """Return the unit of that name in any case, a plain count for an empty name, and None for an unknown unit."""
    return _FOLDED.get(name.lower())


def check_byte_unit(number: WrittenNumber) -> None:
    """Raise CostcalcError for a size in bytes without a unit that is too small to be meant in bytes."""
    if not number.unit and number.value < _MIN_BYTES_WITHOUT_UNIT:
        example = f"{number.digits}GiB" if number.value < 1024 else f"{number.digits}KiB or {number.digits}B"
        raise CostcalcError(f"{number.digits} bytes are very few: write a size with its unit, such as {example}")


def read_bytes(text: str, name: str) -> int:
    """Read a size in bytes, such as `24GiB`, `16GB` or `3000000000`; a fraction of a byte is dropped.

    `name` names the option in messages. Raises CostcalcError for text that is no size and for a small number without a
    unit.
    """
    number = read_number(text)
    unit = find_unit(number.unit) if number else None
    if number is None or unit is None or unit.kind == "ratio" or number.bound or not number.step or number.value < 0:
        raise CostcalcError(f"{name} is a size such as 24GiB, 16GB or 512MiB, not {text!r}")
    try:
        check_byte_unit(number)
    except CostcalcError as error:
        raise CostcalcError(f"{name} {text}: {error}") from None
    size = number.value * unit.scale
    if size > _MAX_BYTES:
        raise CostcalcError(f"{name} is a size such as 24GiB, 16GB or 512MiB; {text!r} is more than any memory")
    return int(size)
