"""Published numbers: the digits determine the precision, and the unit the quantity."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Literal, NamedTuple, get_args
from unicodedata import normalize

from costcalc.core.errors import CostcalcError
from costcalc.core.units import DECIMAL
from costcalc.core.written_numbers import read_number

Quantity = Literal["flops", "params", "activations", "memory"]
QUANTITIES: tuple[Quantity, ...] = get_args(Quantity)

_UNIT_WORDS: Mapping[Quantity, str] = MappingProxyType(
    {
        "flops": "flop flops op ops mac macs madd madds mult-adds multiply-adds multiply-accumulates",
        "params": "param params parameter parameters weights",
        "activations": "activation activations act acts element elements neurons",
        "memory": "b byte bytes",
    }
)
_QUANTITY_OF_WORD: Mapping[str, Quantity] = MappingProxyType(
    {word: quantity for quantity, words in _UNIT_WORDS.items() for word in words.split()}
)
_PREFIX_POWERS = {prefix.lower(): power for power, prefix in enumerate(DECIMAL)}
_PREFIX_POWERS |= {"thousand": 1, "million": 2, "billion": 3, "trillion": 4}
_TIMES_POWER_OF_TEN = re.compile(r"\s*[×x*]\s*10\s*\^?\s*([\d⁰¹²³⁴⁵⁶⁷⁸⁹]+)")
_LARGEST, _MAX_DIGITS = 10**31, 18
_EXAMPLES = "such as 3.8G, 25.6M params, 4.09 GMACs or 96MB"


class UnitInterpretation(NamedTuple):
    """One reading of a printed unit."""

    step: Fraction  # value of one step of the last digit
    description: str = ""  # empty unless the unit is ambiguous


@dataclass(frozen=True, kw_only=True)
class PublishedNumber:
    """A number as printed: `digits` steps of 10^`exponent`, in units of a prefix."""

    text: str
    digits: int
    exponent: int
    prefix_power: int  # 2 for M
    is_binary: bool  # the unit itself is a power of 1024: MiB, Ki
    quantity: Quantity | None  # the quantity that the unit names, if any
    is_macs: bool  # the unit names multiply-accumulates

    def step(self, kilo: int) -> Fraction:
        """Return the value of one step of the last digit, with the prefix as a power of `kilo`."""
        return Fraction(kilo) ** self.prefix_power * Fraction(10) ** self.exponent

    @property
    def window(self) -> range:
        """The numbers printed to the same precision between half and twice this one, in steps of the last digit."""
        return range(-(-self.digits // 2), 2 * self.digits + 1)

    def unit_interpretations(self, quantity: Quantity, kilo: int) -> list[UnitInterpretation]:
        """Return the readings of the unit for a quantity whose convention takes K as `kilo`."""
        power = self.prefix_power
        if not power or self.is_binary:
            return [UnitInterpretation(self.step(1024 if power else 1))]
        if quantity == "memory":
            unit = f"{tuple(DECIMAL)[power].upper()}B"
            return [
                UnitInterpretation(self.step(1024), f"{unit} = 2^{10 * power}"),
                UnitInterpretation(self.step(1000), f"{unit} = 10^{3 * power}"),
            ]
        if power == 1 and kilo != 1000:
            return [UnitInterpretation(self.step(kilo), f"K = {kilo}")]
        return [UnitInterpretation(self.step(1000))]


def parse_published_number(text: str) -> PublishedNumber:
    """Parse a number as printed: `3.8G`, `138M params`, `96MB`. Raises CostcalcError for any other text."""
    number = read_number(_TIMES_POWER_OF_TEN.sub(lambda power: f"e{normalize('NFKC', power[1])}", text))
    if number is None or number.bound or number.value < 0 or "/" in number.digits:
        raise CostcalcError(f"{text!r} is no number: write the published number as it is printed, {_EXAMPLES}")
    unit = " ".join(number.unit.split())
    if re.search(r"(/|\bper)\s*s", unit, re.IGNORECASE):
        raise CostcalcError(f"{text!r} is a rate: give a count of operations, {_EXAMPLES}")
    parsed = _parse_unit(unit)
    if parsed is None:
        raise CostcalcError(f"no unit {unit!r} in {text!r}: write the published number as it is printed, {_EXAMPLES}")
    if not number.value:
        raise CostcalcError(f"a published number must be more than 0, not {text!r}")
    if number.value >= _LARGEST:
        raise CostcalcError(f"{text!r} is more than any network costs: the limit is 10^31")
    digits = int(number.value / number.step)
    if digits >= 10**_MAX_DIGITS:
        raise CostcalcError(f"{text!r} has more digits than any count of a network: the limit is {_MAX_DIGITS}")
    power, is_binary, word = parsed
    return PublishedNumber(
        text=text.strip(),
        digits=digits,
        exponent=number.exponent,
        prefix_power=power,
        is_binary=is_binary,
        quantity=_QUANTITY_OF_WORD.get(word),
        is_macs=word.startswith("m"),
    )


def _parse_unit(unit: str) -> tuple[int, bool, str] | None:
    """Return the prefix's power, whether it is a binary prefix, and the word after it; None for an unknown unit."""
    folded = unit.lower()
    for prefix, power in _PREFIX_POWERS.items():
        for spelling in (prefix, f"{prefix}i") if len(prefix) == 1 else (prefix,):
            word = folded.removeprefix(spelling).strip()
            if folded.startswith(spelling) and (not word or word in _QUANTITY_OF_WORD):
                return power, spelling != prefix, word
    return None
