"""A size that is free, as a model is read: a number to decide by, and the expression that it is."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any


class Free(int):
    """A size that is free, as a model is read: what is computed of it is free, too, and decisions go by its number.

    Where the expression is lost (in a place of a list, in a float), or a decision goes another way for another number,
    what is read does not hold for other sizes: `trace_onnx` compares it with what is read at these.
    """

    expression: Any

    def __new__(cls, number: int, expression: Any) -> Free:
        """A size that is `number` where that is asked."""
        made = super().__new__(cls, number)
        made.expression = expression
        return made

    def _itself(self, *_: Any) -> Free:
        return self

    __abs__ = __floor__ = __ceil__ = __trunc__ = __round__ = __pos__ = _itself

    def __neg__(self) -> Free:
        return Free(-int(self), -self.expression)


def expression_of(size: Any) -> Any:
    """What a size is to a layer: a number, or an expression."""
    return size.expression if isinstance(size, Free) else size


def expressions(sizes: Sequence[Any]) -> tuple[Any, ...]:
    """What sizes are to a layer."""
    return tuple([expression_of(size) for size in sizes])


def whole(number: Any) -> int:
    """A whole number, free if it is."""
    return number if isinstance(number, Free) else int(number)


def has_free(values: Any) -> bool:
    """Whether any of these numbers is free; an array of such is one of objects."""
    return any(isinstance(value, Free) for value in values)


def _computed(name: str, function: Callable[[Any, Any], Any]) -> None:
    def of(one: Any, other: Any) -> Any:
        if isinstance(one, float) and one.is_integer():
            one = int(one)
        if isinstance(other, float) and other.is_integer():
            other = int(other)
        if not isinstance(one, int) or not isinstance(other, int):
            return NotImplemented
        return Free(function(int(one), int(other)), function(expression_of(one), expression_of(other)))

    setattr(Free, f"__{name}__", lambda self, other: of(self, other))
    setattr(Free, f"__r{name}__", lambda self, other: of(other, self))


for _name in ("add", "sub", "mul", "floordiv", "mod"):
    _computed(_name, getattr(operator, _name))
