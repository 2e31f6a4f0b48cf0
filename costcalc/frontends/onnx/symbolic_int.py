"""A size that is free, as a model is read: a number to decide by, and the expression that it is."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any


class SymbolicInt(int):
    """A size that is free, as a model is read: what is computed of it is free, too, and decisions go by its number.

    Where the expression is lost (in a place of a list, in a float), or a decision goes another way for another number,
    what is read does not hold for other sizes: `trace_onnx` compares it with what is read at these.
    """

    expression: Any

    def __new__(cls, number: int, expression: Any) -> SymbolicInt:
        """A size that is `number` where that is asked."""
        made = super().__new__(cls, number)
        made.expression = expression
        return made

    def _itself(self, *_: Any) -> SymbolicInt:
        return self

    __abs__ = __floor__ = __ceil__ = __trunc__ = __round__ = __pos__ = _itself

    def __neg__(self) -> SymbolicInt:
        return SymbolicInt(-int(self), -self.expression)


def expression_of(size: Any) -> Any:
    """What a size is to a layer: a number, or an expression."""
    return size.expression if isinstance(size, SymbolicInt) else size


def expressions_of(sizes: Sequence[Any]) -> tuple[Any, ...]:
    """What sizes are to a layer."""
    return tuple([expression_of(size) for size in sizes])


def as_int(number: Any) -> int:
    """A whole number, free if it is."""
    return number if isinstance(number, SymbolicInt) else int(number)


def has_symbolic(values: Any) -> bool:
    """Whether any of these numbers is free; an array of such is one of objects."""
    return any(isinstance(value, SymbolicInt) for value in values)


def _define_operator(name: str, function: Callable[[Any, Any], Any]) -> None:
    def of(one: Any, other: Any) -> Any:
        if isinstance(one, float) and one.is_integer():
            one = int(one)
        if isinstance(other, float) and other.is_integer():
            other = int(other)
        if not isinstance(one, int) or not isinstance(other, int):
            return NotImplemented
        return SymbolicInt(function(int(one), int(other)), function(expression_of(one), expression_of(other)))

    setattr(SymbolicInt, f"__{name}__", lambda self, other: of(self, other))
    setattr(SymbolicInt, f"__r{name}__", lambda self, other: of(other, self))


for _name in ("add", "sub", "mul", "floordiv", "mod"):
    _define_operator(_name, getattr(operator, _name))
