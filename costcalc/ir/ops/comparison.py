"""Comparisons, logical operations and predicates, which return booleans, and bitwise operations."""

from __future__ import annotations

from costcalc.core.sizes import Shape, prod
from costcalc.ir.broadcasting import Broadcasting, BroadcastingWithScalar
from costcalc.ir.kernel import Kernel
from costcalc.ir.op import Op
from costcalc.ir.work import Work


class _BooleanOp(Op):
    """An elementwise op with a boolean output and no gradient."""

    def element_type(self, *inputs: str) -> str:
        return "bool"


class _ComparisonOp(_BooleanOp, BroadcastingWithScalar):
    """A comparison of two inputs, or of one input with a number."""

    per_element = Work(compares=1)
    differentiable = False


class Eq(_ComparisonOp):
    """x == y, torch.eq; `other` is a number instead of y. Work: 1 compare per element."""


class Ne(_ComparisonOp):
    """x ≠ y, torch.ne; `other` is a number instead of y. Work: 1 compare per element."""


class Lt(_ComparisonOp):
    """x < y, torch.lt; `other` is a number instead of y. Work: 1 compare per element."""


class Le(_ComparisonOp):
    """x ≤ y, torch.le; `other` is a number instead of y. Work: 1 compare per element."""


class Gt(_ComparisonOp):
    """x > y, torch.gt; `other` is a number instead of y. Work: 1 compare per element."""


class Ge(_ComparisonOp):
    """x ≥ y, torch.ge; `other` is a number instead of y. Work: 1 compare per element."""


class _LogicalOp(_BooleanOp, Broadcasting):
    """A logical operation on two inputs."""

    per_element = Work(compares=1)
    differentiable = False


class LogicalAnd(_LogicalOp):
    """x and y, torch.logical_and. Work: 1 compare per element."""


class LogicalOr(_LogicalOp):
    """x or y, torch.logical_or. Work: 1 compare per element."""


class LogicalXor(_LogicalOp):
    """x or y but not both, torch.logical_xor. Work: 1 compare per element."""


class _UnaryPredicate(_BooleanOp):
    """A predicate of one element."""

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        return Work(compares=prod(output))

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        return (Kernel((), prod(output), operands_kept_alive=(0,)),)


class LogicalNot(_UnaryPredicate):
    """Not x, torch.logical_not. Work: 1 compare per element."""


class Isnan(_UnaryPredicate):
    """Whether x is NaN, torch.isnan. Work: 1 compare per element."""


class Isinf(_UnaryPredicate):
    """Whether x is infinite, torch.isinf. Work: 1 compare per element."""


class Isfinite(_UnaryPredicate):
    """Whether x is neither infinite nor NaN, torch.isfinite. Work: 1 compare per element."""


class _Bitwise(BroadcastingWithScalar):
    """A bitwise operation on two integers or two booleans."""

    per_element = Work(compares=1)
    differentiable = False


class BitwiseAnd(_Bitwise):
    """x & y, torch.bitwise_and; `other` is a number instead of y. Work: 1 compare per element."""


class BitwiseOr(_Bitwise):
    """x | y, torch.bitwise_or; `other` is a number instead of y. Work: 1 compare per element."""


class BitwiseXor(_Bitwise):
    """x ^ y, torch.bitwise_xor; `other` is a number instead of y. Work: 1 compare per element."""


class BitwiseNot(_UnaryPredicate):
    """~x of integers or booleans, torch.bitwise_not. Work: 1 compare per element."""

    def element_type(self, *inputs: str) -> str:
        return inputs[0]


UNARY_FUNCTIONS = tuple(
    kind.name
    for kind in tuple(vars().values())
    if isinstance(kind, type)
    and issubclass(kind, _UnaryPredicate)
    and not (kind.argument_specs or kind.__name__.startswith("_"))
)
"""The names of the ops of this family that take one tensor and no arguments."""
