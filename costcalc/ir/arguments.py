"""The declarations of an op's fields: which values each accepts, and how it stores them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

from costcalc.core.errors import OpError
from costcalc.core.sizes import (
    Size,
    as_size,
    check_relation,
    element_at,
    is_plain,
    is_symbolic,
)

INFINITIES = ("inf", "-inf")  # as a `scalar` has them


class ArgumentSpec(NamedTuple):
    """How a field of an op reads what is given for it: `kind` names the rule, the rest are its bounds."""

    kind: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    length: int = 2
    symbol: str | tuple[str, ...] | None = None  # stands for the field in `explain`
    optional: bool = False  # None may be given, and means what the op says it means
    optional_axes: bool = False  # None may be given for an axis, likewise

    def convert(self, name: str, value: Any) -> Any:
        """`value` in its one stored form. Raises OpError, saying what would have been right."""
        if value is None and self.optional:
            return None
        try:
            return getattr(self, "_" + self.kind.replace("sides", "per_axis"))(value)
        except TypeError as error:
            raise OpError(f"{name} {error}", name) from None

    def describe(self) -> str:
        """The rule in words, for the schema."""
        bounds = "" if self.minimum is None else f" ≥ {self.minimum:g}"
        bounds += "" if self.maximum is None else f" and ≤ {self.maximum:g}"
        return {
            "size": f"size{bounds}",
            "integer": f"integer{bounds}",
            "per_axis": f"integer{bounds}" + (f", or {self.length} of them" if self.length > 1 else ""),
            "sides": f"integer{bounds}, or {self.length} of them",
            "flag": "true or false",
            "number": f"number{bounds}",
            "numbers": f"list of numbers{bounds}",
            "scalar": "number, or 'inf' or '-inf'",
            "choice": " or ".join(map(repr, self.choices)),
            "text": "text",
            "shape": "list of sizes",
            "dimensions": "list of dimensions",
            "integers": f"integer{bounds}, or a list of them",
        }[self.kind]

    def _size(self, value: Any) -> Size:
        result = as_size(value)
        verdict = check_relation(result, ">=", int(self.minimum or 0))
        if verdict.answer is False:
            where = "" if verdict.failing_index is None else f" (at index {', '.join(map(str, verdict.failing_index))})"
            raise TypeError(
                f"must be at least {self.minimum:g}, not {element_at(result, verdict.failing_index, result)}{where}"
            )
        return result

    def _integer(self, value: Any) -> int:
        if not is_plain(value) or isinstance(value, bool):
            try:
                as_size(value)
            except TypeError:
                raise TypeError(f"must be an integer, not {value!r}") from None
            raise TypeError("is structure and must be a plain integer, not an array or an expression")
        if self.minimum is not None and value < self.minimum:
            raise TypeError(f"must be at least {self.minimum:g}, not {value}")
        return int(value)

    def _per_axis(self, value: Any) -> tuple[int | None, ...]:
        if not isinstance(value, (tuple, list)):
            return (self._axis(value),) * self.length
        if len(value) != self.length:
            raise TypeError(f"must be one integer or {self.length}, not {len(value)}")
        return tuple(self._axis(v) for v in value)

    def _axis(self, value: Any) -> int | None:
        return None if value is None and self.optional_axes else self._integer(value)

    def _integers(self, value: Any) -> tuple[int, ...]:
        return tuple(map(self._integer, value if isinstance(value, (tuple, list)) else (value,)))

    def _flag(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise TypeError(f"must be true or false, not {value!r}")
        return value

    def _number(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise TypeError(f"must be a number, not {value!r}")
        if (self.minimum is not None and value < self.minimum) or (self.maximum is not None and value > self.maximum):
            raise TypeError(f"must be a {self.describe()}, not {value:g}")
        return float(value)

    def _numbers(self, value: Any) -> tuple[float, ...]:
        if not isinstance(value, (tuple, list)):
            raise TypeError(f"must be a list of numbers, not {value!r}")
        return tuple([self._number(v) for v in value])

    def _scalar(self, value: Any) -> Any:
        if value in INFINITIES or is_symbolic(value):
            return value
        if isinstance(value, float) and math.isinf(value):
            return INFINITIES[value < 0]
        if not isinstance(value, (int, float)) or math.isnan(value):
            raise TypeError(f"must be a {self.describe()}, not {value!r}")
        return value * 1  # true is 1

    def _choice(self, value: Any) -> str:
        if value not in self.choices:
            raise TypeError(f"must be {self.describe()}, not {value!r}")
        return str(value)

    def _text(self, value: Any) -> str:
        if not isinstance(value, str):
            raise TypeError(f"must be text, not {value!r}")
        return value

    def _shape(self, value: Any) -> tuple[Size, ...]:
        if not isinstance(value, (tuple, list)):
            raise TypeError(f"must be a list of sizes, not {value!r}")
        return tuple(ArgumentSpec("size", minimum=self.minimum)._size(v) for v in value)

    def _dimensions(self, value: Any) -> tuple[int, ...]:
        if not isinstance(value, (tuple, list)):
            raise TypeError(f"must be a list of dimensions, not {value!r}")
        places = tuple(self._integer(v) for v in value)
        rank = len(places)
        if sorted(place % rank if -rank <= place < rank else place for place in places) != list(range(rank)):
            raise TypeError(f"must name each dimension from 0 to {rank - 1} once, not {list(places)}")
        return tuple([place % rank for place in places])


def _declare(argument: ArgumentSpec, default: Any) -> Any:
    if default is None:
        argument = argument._replace(optional=True)
    return dataclasses.field(default=default, metadata={"argument": argument})


# The declarations an op's fields are made with. `symbol` is what the field is called in a formula.
def size(symbol: str, *, default: Any = dataclasses.MISSING, minimum: int = 1) -> Any:
    """A number of channels or features: a size of any carrier."""
    return _declare(ArgumentSpec("size", minimum=minimum, symbol=symbol), default)


def integer(*, default: Any = dataclasses.MISSING, minimum: int | None = None, symbol: str | None = None) -> Any:
    """A plain integer."""
    return _declare(ArgumentSpec("integer", minimum=minimum, symbol=symbol), default)


def per_axis(
    *,
    default: Any = dataclasses.MISSING,
    minimum: int = 0,
    symbol: str | None = None,
    axes: int = 2,
    optional_axes: bool = False,
) -> Any:
    """One plain integer for all axes, or one for each: a plane's are height and width.

    With `gaps`, an axis may have None, which means what the op says it means.
    """
    names = {1: ("",), 2: ("_h", "_w"), 3: ("_d", "_h", "_w")}[axes]
    symbols = None if symbol is None else tuple([symbol + name for name in names])
    return _declare(
        ArgumentSpec("per_axis", minimum=minimum, symbol=symbols, length=axes, optional_axes=optional_axes), default
    )


def sides(*, default: Any = dataclasses.MISSING) -> Any:
    """One plain integer for all sides of a plane, or (left, right, top, bottom)."""
    return _declare(ArgumentSpec("sides", minimum=0, length=4), default)


def flag(*, default: Any = dataclasses.MISSING) -> Any:
    """True or false."""
    return _declare(ArgumentSpec("flag"), default)


def number(*, default: Any = dataclasses.MISSING, minimum: float | None = None, maximum: float | None = None) -> Any:
    """A real number that no count depends on."""
    return _declare(ArgumentSpec("number", minimum=minimum, maximum=maximum), default)


def numbers(*, default: Any = dataclasses.MISSING, minimum: float | None = None) -> Any:
    """A list of real numbers, or null."""
    return _declare(ArgumentSpec("numbers", minimum=minimum), default)


def scalar(*, default: Any = dataclasses.MISSING) -> Any:
    """A number that stands for a tensor of it alone: an integer stays one, and infinite ones are texts.

    It may be an expression in sizes; no count depends on it.
    """
    return _declare(ArgumentSpec("scalar"), default)


def choice(*choices: str, default: Any = dataclasses.MISSING) -> Any:
    """One of a few words."""
    return _declare(ArgumentSpec("choice", choices=choices), default)


def text(*, default: Any = dataclasses.MISSING) -> Any:
    """Any text."""
    return _declare(ArgumentSpec("text"), default)


def shape(*, default: Any = dataclasses.MISSING, minimum: int = 1) -> Any:
    """A list of sizes, without the batch where there is one, or null."""
    return _declare(ArgumentSpec("shape", minimum=minimum), default)


def integers(*, default: Any = dataclasses.MISSING, minimum: int | None = None) -> Any:
    """A plain integer, or a list of them."""
    return _declare(ArgumentSpec("integers", minimum=minimum), default)


def dimensions() -> Any:
    """All dimensions of a tensor in some order; a negative one counts from the last, and is stored as it counts."""
    return _declare(ArgumentSpec("dimensions"), dataclasses.MISSING)
