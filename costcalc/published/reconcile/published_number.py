"""A published number as it is printed: its digits say how precise it is, its unit what it may be of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Literal, NamedTuple, get_args
from unicodedata import normalize

from costcalc.core.errors import CostcalcError
from costcalc.core.units import DECIMAL
from costcalc.core.written_numbers import read_number

Quantity = Literal["flops", "params", "activations", "memory"]
QUANTITIES: tuple[Quantity, ...] = get_args(Quantity)

_UNITS: Mapping[Quantity, str] = MappingProxyType(
    {
        "flops": "flop flops op ops mac macs madd madds mult-adds multiply-adds multiply-accumulates",
        "params": "param params parameter parameters weights",
        "activations": "activation activations act acts element elements neurons",
        "memory": "b byte bytes",
    }
)
_WORDS: Mapping[str, Quantity] = MappingProxyType(
    {w: quantity for quantity, words in _UNITS.items() for w in words.split()}
)
_POWERS = {prefix.lower(): power for power, prefix in enumerate(DECIMAL)}
_POWERS |= {"thousand": 1, "million": 2, "billion": 3, "trillion": 4}
_TIMES_POWER_OF_TEN = re.compile(r"\s*[×x*]\s*10\s*\^?\s*([\d⁰¹²³⁴⁵⁶⁷⁸⁹]+)")
_LARGEST, _MOST_DIGITS = 10**31, 18
_EXAMPLES = "such as 3.8G, 25.6M params, 4.09 GMACs or 96MB"


class Printed(NamedTuple):
    """A number as it is printed: its digits as `number` of steps of 10^exponent, its unit, and what that says.

    `power` is that of the prefix: 2 for M. `binary` says that the unit itself is one of 1024s (MiB, Ki).
    """

    text: str
    digits: int
    exponent: int
    power: int
    binary: bool
    quantity: Quantity | None  # that its unit names, if it does
    macs: bool  # its unit says multiply-accumulates

    def step(self, kilo: int) -> Fraction:
        """What one step of the last digit is worth, the prefix being a power of `kilo`."""
        return Fraction(kilo**self.power) * (
            Fraction(10**self.exponent) if self.exponent >= 0 else Fraction(1, 10**-self.exponent)
        )

    @property
    def window(self) -> range:
        """The numbers printed to the same precision between half and twice this one, in steps of the last digit."""
        return range(-(-self.digits // 2), 2 * self.digits + 1)


def printed(text: str) -> Printed:
    """A published number as printed: `3.8G`, `138M params`, `96MB`. Raises CostcalcError for what is none."""
    number = read_number(_TIMES_POWER_OF_TEN.sub(lambda power: f"e{normalize('NFKC', power[1])}", text))
    if number is None or number.bound or number.value < 0 or "/" in number.digits:
        raise CostcalcError(f"a published number is one as it is printed, {_EXAMPLES}, not {text!r}")
    unit = " ".join(number.unit.split())
    if re.search(r"(/|\bper)\s*s", unit, re.IGNORECASE):
        raise CostcalcError(f"{text!r} is a rate: what a network costs is a count, {_EXAMPLES}")
    read = _unit(unit)
    if read is None:
        raise CostcalcError(f"no unit {unit!r} in {text!r}: a number is printed {_EXAMPLES}")
    if not number.value:
        raise CostcalcError(f"a published number is more than 0, not {text!r}")
    if number.value >= _LARGEST:
        raise CostcalcError(f"{text!r} is more than any network costs")
    digits = int(number.value / number.step)
    if digits >= 10**_MOST_DIGITS:
        raise CostcalcError(f"{text!r} has more digits than any count of a network")
    power, binary, word = read
    return Printed(text.strip(), digits, number.exponent, power, binary, _WORDS.get(word), word.startswith("m"))


def _unit(unit: str) -> tuple[int, bool, str] | None:
    """The prefix's power, whether it is one of 1024s, and the word after it; None for what is no unit."""
    folded = unit.lower()
    for prefix, power in _POWERS.items():
        for marked in (prefix, f"{prefix}i") if len(prefix) == 1 else (prefix,):
            word = folded.removeprefix(marked).strip()
            if folded.startswith(marked) and (not word or word in _WORDS):
                return power, marked != prefix, word
    return None
