"""The arguments of ops: which values a field accepts, and how it stores and shows them.

Each kind of argument is a class. An op declares its fields by the functions at the end of this module.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from typing import Any

from costcalc.core.errors import OpError
from costcalc.core.sizes import (
    Size,
    as_size,
    check_relation,
    element_at,
    is_plain,
    is_symbolic,
)

MISSING = dataclasses.MISSING
INFINITIES = ("inf", "-inf")  # infinite values of a `scalar`


class ArgumentSpec(ABC):
    """One argument of an op. It is optional, and may be None, if None is its default.

    `symbol` stands for the argument in formulas: one name, or one for each spatial axis.
    """

    def __init__(self, default: Any = MISSING, *, symbol: str | tuple[str, ...] | None = None) -> None:
        self.default, self.symbol = default, symbol

    @abstractmethod
    def read(self, value: Any) -> Any:
        """Return `value` as it is stored.

        Raises TypeError with a message that continues the argument's name: "must be an integer, not 'a'".
        """

    @abstractmethod
    def describe(self) -> str:
        """Return the accepted values in words, for `costcalc schema`."""

    def convert(self, name: str, value: Any) -> Any:
        """Return `value` as it is stored. Raises OpError for a value that is not accepted."""
        if value is None and self.default is None:
            return None
        try:
            return self.read(value)
        except TypeError as error:
            raise OpError(f"{name} {error}", name) from None

    def display(self, value: Any) -> Any:
        """Return a stored value in its shortest form: 3 for (3, 3)."""
        return value

    def field(self) -> Any:
        """Return a dataclass field with this argument."""
        return dataclasses.field(default=self.default, metadata={"argument": self})


class SizeSpec(ArgumentSpec):
    """An argument that is a number of channels or features: an int, an array or a SymPy expression."""

    def __init__(self, default: Any = MISSING, *, minimum: int, symbol: str | None = None) -> None:
        super().__init__(default, symbol=symbol)
        self.minimum = minimum

    def read(self, value: Any) -> Any:
        result = as_size(value)
        check = check_relation(result, ">=", self.minimum)
        if check.answer is False:
            index = check.failing_index
            where = "" if index is None else f" (at index {', '.join(map(str, index))})"
            raise TypeError(f"must be at least {self.minimum}, not {element_at(result, index, result)}{where}")
        return result

    def describe(self) -> str:
        return f"size ≥ {self.minimum}"


class ShapeSpec(SizeSpec):
    """A list of sizes."""

    def read(self, value: Any) -> tuple[Size, ...]:
        if not isinstance(value, (tuple, list)):
            raise TypeError(f"must be a list of sizes, not {value!r}")
        return tuple(map(super().read, value))

    def describe(self) -> str:
        return "list of sizes"


class IntegerSpec(ArgumentSpec):
    """A plain integer."""

    def __init__(
        self, default: Any = MISSING, *, minimum: int | None = None, symbol: str | tuple[str, ...] | None = None
    ) -> None:
        super().__init__(default, symbol=symbol)
        self.minimum = minimum

    def read(self, value: Any) -> Any:
        if not is_plain(value) or isinstance(value, bool):
            try:
                as_size(value)
            except TypeError:
                raise TypeError(f"must be an integer, not {value!r}") from None
            raise TypeError("is structure and must be a plain integer, not an array or an expression")
        if self.minimum is not None and value < self.minimum:
            raise TypeError(f"must be at least {self.minimum}, not {value}")
        return int(value)

    def describe(self) -> str:
        return "integer" + _bounds(self.minimum)


class PerAxisSpec(IntegerSpec):
    """One plain integer for all spatial axes, or one for each."""

    def __init__(
        self,
        default: Any = MISSING,
        *,
        axes: int,
        minimum: int,
        symbol: tuple[str, ...] | None = None,
        optional_axes: bool = False,
    ) -> None:
        super().__init__(default, minimum=minimum, symbol=symbol)
        self.axes, self.optional_axes = axes, optional_axes

    def read(self, value: Any) -> tuple[int | None, ...]:
        if not isinstance(value, (tuple, list)):
            return (self._axis(value),) * self.axes
        if len(value) != self.axes:
            raise TypeError(f"must be one integer or {self.axes}, not {len(value)}")
        return tuple(map(self._axis, value))

    def _axis(self, value: Any) -> int | None:
        return None if value is None and self.optional_axes else super().read(value)

    def describe(self) -> str:
        return super().describe() + (f", or {self.axes} of them" if self.axes > 1 else "")

    def display(self, value: Any) -> Any:
        return value[0] if value is not None and len(set(value)) == 1 else value


class SidesSpec(PerAxisSpec):
    """One plain integer for all sides of a plane, or one for each."""

    def __init__(self, default: Any = MISSING) -> None:
        super().__init__(default, axes=4, minimum=0)

    def describe(self) -> str:
        return f"integer{_bounds(self.minimum)}, or {self.axes} of them"


class IntegersSpec(IntegerSpec):
    """A plain integer, or a list of them."""

    def read(self, value: Any) -> tuple[int, ...]:
        return tuple(map(super().read, value if isinstance(value, (tuple, list)) else (value,)))

    def describe(self) -> str:
        return super().describe() + ", or a list of them"

    def display(self, value: Any) -> Any:
        return value[0] if value is not None and len(value) == 1 else value


class PermutationSpec(IntegerSpec):
    """All dimensions of a tensor, each once."""

    def read(self, value: Any) -> tuple[int, ...]:
        if not isinstance(value, (tuple, list)):
            raise TypeError(f"must be a list of dimensions, not {value!r}")
        dims = list(map(super().read, value))
        rank = len(dims)
        if sorted(dim % rank if -rank <= dim < rank else dim for dim in dims) != list(range(rank)):
            raise TypeError(f"must name each dimension from 0 to {rank - 1} once, not {dims}")
        return tuple([dim % rank for dim in dims])

    def describe(self) -> str:
        return "list of dimensions"


class FlagSpec(ArgumentSpec):
    """True or false."""

    def read(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise TypeError(f"must be true or false, not {value!r}")
        return value

    def describe(self) -> str:
        return "true or false"


class NumberSpec(ArgumentSpec):
    """A real number."""

    def __init__(self, default: Any = MISSING, *, minimum: float | None = None, maximum: float | None = None) -> None:
        super().__init__(default)
        self.minimum, self.maximum = minimum, maximum

    def read(self, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise TypeError(f"must be a number, not {value!r}")
        if (self.minimum is not None and value < self.minimum) or (self.maximum is not None and value > self.maximum):
            raise TypeError(f"must be a {self.describe()}, not {value:g}")
        return float(value)

    def describe(self) -> str:
        return "number" + _bounds(self.minimum, self.maximum)


class NumbersSpec(NumberSpec):
    """A list of real numbers."""

    def read(self, value: Any) -> tuple[float, ...]:
        if not isinstance(value, (tuple, list)):
            raise TypeError(f"must be a list of numbers, not {value!r}")
        return tuple(map(super().read, value))

    def describe(self) -> str:
        return "list of numbers" + _bounds(self.minimum, self.maximum)


class ScalarSpec(ArgumentSpec):
    """The value of a tensor with one element: a number, an infinity as text, or an expression in sizes."""

    def read(self, value: Any) -> Any:
        if value in INFINITIES or is_symbolic(value):
            return value
        if isinstance(value, float) and math.isinf(value):
            return INFINITIES[value < 0]
        if not isinstance(value, (int, float)) or math.isnan(value):
            raise TypeError(f"must be a {self.describe()}, not {value!r}")
        return value * 1  # True becomes 1

    def describe(self) -> str:
        return "number, or 'inf' or '-inf'"


class ChoiceSpec(ArgumentSpec):
    """One of a few words."""

    def __init__(self, choices: tuple[str, ...], default: Any = MISSING) -> None:
        super().__init__(default)
        self.choices = choices

    def read(self, value: Any) -> str:
        if value not in self.choices:
            raise TypeError(f"must be {self.describe()}, not {value!r}")
        return str(value)

    def describe(self) -> str:
        return " or ".join(map(repr, self.choices))


class TextSpec(ArgumentSpec):
    """Any text."""

    def read(self, value: Any) -> str:
        if not isinstance(value, str):
            raise TypeError(f"must be text, not {value!r}")
        return value

    def describe(self) -> str:
        return "text"


def _bounds(minimum: float | None, maximum: float | None = None) -> str:
    least = "" if minimum is None else f" ≥ {minimum:g}"
    return least if maximum is None else f"{least} and ≤ {maximum:g}"


def size(symbol: str, *, default: Any = MISSING, minimum: int = 1) -> Any:
    """Declare an argument that is a number of channels or features: an int, an array or a SymPy expression."""
    return SizeSpec(default, minimum=minimum, symbol=symbol).field()


def integer(*, default: Any = MISSING, minimum: int | None = None, symbol: str | None = None) -> Any:
    """A plain integer."""
    return IntegerSpec(default, minimum=minimum, symbol=symbol).field()


def per_axis(
    *, default: Any = MISSING, minimum: int = 0, symbol: str | None = None, axes: int = 2, optional_axes: bool = False
) -> Any:
    """One plain integer for all spatial axes, or one for each: for two, the height and the width.

    With `optional_axes`, the value of an axis may be None; the op defines its meaning.
    """
    suffixes = {1: ("",), 2: ("_h", "_w"), 3: ("_d", "_h", "_w")}[axes]
    symbols = None if symbol is None else tuple([symbol + suffix for suffix in suffixes])
    return PerAxisSpec(default, axes=axes, minimum=minimum, symbol=symbols, optional_axes=optional_axes).field()


def sides(*, default: Any = MISSING) -> Any:
    """One plain integer for all sides of a plane, or (left, right, top, bottom)."""
    return SidesSpec(default).field()


def flag(*, default: Any = MISSING) -> Any:
    """True or false."""
    return FlagSpec(default).field()


def number(*, default: Any = MISSING, minimum: float | None = None, maximum: float | None = None) -> Any:
    """A real number that no count depends on."""
    return NumberSpec(default, minimum=minimum, maximum=maximum).field()


def numbers(*, default: Any = MISSING, minimum: float | None = None) -> Any:
    """A list of real numbers."""
    return NumbersSpec(default, minimum=minimum).field()


def scalar(*, default: Any = MISSING) -> Any:
    """The value of a tensor with one element; no count depends on it."""
    return ScalarSpec(default).field()


def choice(*choices: str, default: Any = MISSING) -> Any:
    """One of a few words."""
    return ChoiceSpec(choices, default).field()


def text(*, default: Any = MISSING) -> Any:
    """Any text."""
    return TextSpec(default).field()


def shape(*, default: Any = MISSING, minimum: int = 1) -> Any:
    """A list of sizes, without the batch if the shape has one."""
    return ShapeSpec(default, minimum=minimum).field()


def integers(*, default: Any = MISSING, minimum: int | None = None) -> Any:
    """A plain integer, or a list of them."""
    return IntegersSpec(default, minimum=minimum).field()


def dimensions() -> Any:
    """All dimensions of a tensor in some order; a negative one counts from the last, and is stored counted from 0."""
    return PermutationSpec().field()
