"""Symbolic sizes while a model is read: an expression, with a number for decisions."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any


class SymbolicInt(int):
    """A symbolic size: arithmetic returns symbolic sizes, and comparisons use its number.

    If the expression is lost (as an index, in a float), or another number leads to another decision, the graph is not
    valid for other sizes: `trace_onnx` compares it with graphs read at other sizes.
    """

    expression: Any

    def __new__(cls, number: int, expression: Any) -> SymbolicInt:
        """Return a size with the value `number` and an expression."""
        size = super().__new__(cls, number)
        size.expression = expression
        return size

    def _itself(self, *_: Any) -> SymbolicInt:
        return self

    __abs__ = __floor__ = __ceil__ = __trunc__ = __round__ = __pos__ = _itself

    def __neg__(self) -> SymbolicInt:
        return SymbolicInt(-int(self), -self.expression)


def expression_of(size: Any) -> Any:
    """The expression of a symbolic size; other sizes unchanged."""
    return size.expression if isinstance(size, SymbolicInt) else size


def expressions_of(sizes: Sequence[Any]) -> tuple[Any, ...]:
    """The expressions of sizes."""
    return tuple([expression_of(size) for size in sizes])


def as_int(number: Any) -> int:
    """A number as an int; symbolic sizes unchanged."""
    return number if isinstance(number, SymbolicInt) else int(number)


def has_symbolic(values: Any) -> bool:
    """Whether any of these numbers is symbolic; arrays of symbolic sizes have dtype object."""
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
