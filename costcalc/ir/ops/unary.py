"""Elementwise mathematical functions of one tensor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

from costcalc.core.errors import OpError
from costcalc.core.sizes import Shape, prod
from costcalc.ir.arguments import integer, scalar
from costcalc.ir.broadcasting import promote_types
from costcalc.ir.kernel import Kernel
from costcalc.ir.op import Op, Requirement, op
from costcalc.ir.work import NO_WORK, Work

_ONE_MUL = Work(muls=1)


class _UnaryFunction(Op):
    """An elementwise function of one tensor."""

    per_element: ClassVar[Work] = Work(exps=1)
    promotes_to_float: ClassVar[bool] = True  # the output is a float for integers, too
    workspace_tensors: ClassVar[int] = 0  # temporary tensors of the input's size in backward

    def element_type(self, *inputs: str) -> str:
        return "float" if self.promotes_to_float else inputs[0]

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        return self.per_element * prod(output)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        (kernel,) = super().kernels(inputs, output, training)
        return (replace(kernel, workspace_elements=self.workspace_tensors * prod(output)),)


class Neg(_UnaryFunction):
    """−x, torch.neg. Work: none; a change of sign is free."""

    per_element = NO_WORK
    promotes_to_float = False


class Abs(_UnaryFunction):
    """|x|, torch.abs. Work: 1 compare per element."""

    per_element = Work(compares=1)
    promotes_to_float = False
    saves_input = True
    workspace_tensors = 1


class Sign(_UnaryFunction):
    """1, 0 or −1, torch.sign. Work: 2 compares per element."""

    per_element = Work(compares=2)
    promotes_to_float = False


class _Rounding(_UnaryFunction):
    """A rounding to integers; the gradient is 0."""

    per_element = Work(compares=1)
    promotes_to_float = False


class Floor(_Rounding):
    """x rounded down, torch.floor. Work: 1 compare per element."""


class Ceil(_Rounding):
    """x rounded up, torch.ceil. Work: 1 compare per element."""


class Trunc(_Rounding):
    """x rounded towards 0, torch.trunc. Work: 1 compare per element."""


@op
class Round(_Rounding):
    """x rounded to a number of `decimals`, torch.round. Work: 1 compare per element."""

    decimals: int = integer(default=0)


class Square(_UnaryFunction):
    """x², torch.square. Work: 1 mul per element."""

    per_element = _ONE_MUL
    promotes_to_float = False
    saves_input = True
    workspace_tensors = 2


class Reciprocal(_UnaryFunction):
    """1 / x, torch.reciprocal. Work: 1 div per element."""

    per_element = Work(divs=1)
    saves_output = True
    workspace_tensors = 2


class Sqrt(_UnaryFunction):
    """√x, torch.sqrt. Work: 1 exp per element."""

    saves_output = True
    workspace_tensors = 1


class Rsqrt(_UnaryFunction):
    """1 / √x, torch.rsqrt. Work: 1 exp, 1 div per element."""

    per_element = Work(exps=1, divs=1)
    saves_output = True
    workspace_tensors = 2


class Exp(_UnaryFunction):
    """eˣ, torch.exp. Work: 1 exp per element."""

    saves_output = True


class Exp2(_UnaryFunction):
    """2ˣ, torch.exp2. Work: 1 exp per element."""

    saves_output = True
    workspace_tensors = 1


class Expm1(_UnaryFunction):
    """eˣ − 1, torch.expm1. Work: 1 exp, 1 add per element."""

    per_element = Work(exps=1, adds=1)
    saves_output = True
    workspace_tensors = 1


class Log(_UnaryFunction):
    """The natural logarithm, torch.log. Work: 1 exp per element."""

    saves_input = True


class Log2(_UnaryFunction):
    """The logarithm to base 2, torch.log2. Work: 1 exp per element."""

    saves_input = True
    workspace_tensors = 1


class Log10(_UnaryFunction):
    """The logarithm to base 10, torch.log10. Work: 1 exp per element."""

    saves_input = True
    workspace_tensors = 1


class Log1p(_UnaryFunction):
    """log(1 + x), torch.log1p. Work: 1 exp, 1 add per element."""

    per_element = Work(exps=1, adds=1)
    saves_input = True
    workspace_tensors = 1


class Sin(_UnaryFunction):
    """The sine, torch.sin. Work: 1 exp per element."""

    saves_input = True
    workspace_tensors = 1


class Cos(_UnaryFunction):
    """The cosine, torch.cos. Work: 1 exp per element."""

    saves_input = True
    workspace_tensors = 2


class Tan(_UnaryFunction):
    """The tangent, torch.tan. Work: 1 exp per element."""

    saves_output = True
    workspace_tensors = 2


class Asin(_UnaryFunction):
    """The inverse sine, torch.asin. Work: 1 exp per element."""

    saves_input = True
    workspace_tensors = 4


class Acos(_UnaryFunction):
    """The inverse cosine, torch.acos. Work: 1 exp per element."""

    saves_input = True
    workspace_tensors = 5


class Atan(_UnaryFunction):
    """The inverse tangent, torch.atan. Work: 1 exp per element."""

    saves_input = True
    workspace_tensors = 2


class Sinh(_UnaryFunction):
    """The hyperbolic sine, torch.sinh. Work: 1 exp per element."""

    saves_input = True
    workspace_tensors = 1


class Cosh(_UnaryFunction):
    """The hyperbolic cosine, torch.cosh. Work: 1 exp per element."""

    saves_input = True
    workspace_tensors = 1


class Asinh(_UnaryFunction):
    """The inverse hyperbolic sine, torch.asinh. Work: 1 exp per element."""

    saves_input = True
    workspace_tensors = 3


class Acosh(_UnaryFunction):
    """The inverse hyperbolic cosine, torch.acosh. Work: 1 exp per element."""

    saves_input = True
    workspace_tensors = 3


class Atanh(_UnaryFunction):
    """The inverse hyperbolic tangent, torch.atanh. Work: 1 exp per element."""

    saves_input = True
    workspace_tensors = 3


class Erf(_UnaryFunction):
    """The error function, torch.erf. Work: 1 exp per element."""

    saves_input = True
    workspace_tensors = 4


class Erfc(_UnaryFunction):
    """1 − erf(x), torch.erfc. Work: 1 exp per element."""

    saves_input = True
    workspace_tensors = 4


class Erfinv(_UnaryFunction):
    """The inverse of the error function, torch.erfinv. Work: 1 exp per element."""

    saves_input = True
    workspace_tensors = 4


class Lgamma(_UnaryFunction):
    """The logarithm of the gamma function, torch.lgamma. Work: 1 exp per element."""

    saves_input = True
    workspace_tensors = 1


class Digamma(_UnaryFunction):
    """The derivative of lgamma, torch.digamma. Work: 1 exp per element."""

    saves_input = True
    workspace_tensors = 1


@op
class Clamp(_UnaryFunction):
    """x limited to the bounds min and max, torch.clamp; one may be null. Work: 1 compare per element and bound."""

    min: float | str | None = scalar(default=None)
    max: float | str | None = scalar(default=None)

    saves_input = True

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        if self.min is None and self.max is None:
            raise OpError("clamp needs a bound: set min, max or both")
        return iter(())

    def element_type(self, *inputs: str) -> str:
        return promote_types(inputs, self.min, self.max)

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        bounds = (self.min is not None) + (self.max is not None)
        return Work(compares=bounds * prod(output))


@op
class NanToNum(_UnaryFunction):
    """x with NaN and infinities replaced by numbers, torch.nan_to_num. Work: 3 compares per element."""

    nan: float | str | None = scalar(default=None)
    posinf: float | str | None = scalar(default=None)
    neginf: float | str | None = scalar(default=None)

    per_element = Work(compares=3)
    promotes_to_float = False
    saves_input = True


UNARY_FUNCTIONS = tuple(
    kind.name
    for kind in tuple(vars().values())
    if isinstance(kind, type)
    and issubclass(kind, _UnaryFunction)
    and not (kind.argument_specs or kind.__name__.startswith("_"))
)
"""The names of the ops of this family that take one tensor and no arguments."""
