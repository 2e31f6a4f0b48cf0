"""Arithmetic on each element: of two inputs that are broadcast to each other, of one and a number, of one alone.

Work is stated per element, by kind. A function that no few products and sums give (a logarithm, a sine, a power) counts
as 1 exp, rounding as 1 compare, and a sign is free. None of these is a non-linearity of a network: see `activation`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from costcalc.costs import NO_WORK, Work
from costcalc.dims import Shape, Size, prod
from costcalc.errors import OpError
from costcalc.ops.broadcasting import Broadcasting, WithNumber, broadcast_shape, check_numbers, promoted
from costcalc.ops.kernel import INT64, Kernel
from costcalc.ops.op import Op, Requirement, choice, op, scalar, whole

_MUL = Work(muls=1)


# -- of two -------------------------------------------------------------------------------------------------------


@op
class _Difference(WithNumber):
    """A difference, of which one side may be taken several times."""

    alpha: float | str = scalar(default=1)

    negative: ClassVar[int] = 1  # the input that is taken off

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        return Work(adds=1, muls=1 if self.alpha != 1 else 0) * prod(output)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        (kernel,) = super().kernels(inputs, output, training)
        negative = (self.negative,) if self.negative < len(inputs) else ()
        scratch = tuple([(place, prod(output)) for place in negative if self.alpha != 1])
        return (kernel._replace(passes_on=True, renews=negative, scratch_for=scratch),)


class Sub(_Difference):
    """x − alpha·y, torch.sub; `other` is a number in place of y. Work: 1 add per element, 1 mul if alpha is not 1."""


class Rsub(_Difference):
    """y − alpha·x, torch.rsub; `other` is a number in place of y. Work: 1 add per element, 1 mul if alpha is not 1."""

    negative = 0


class Mul(WithNumber):
    """x·y, torch.mul; `other` is a number in place of y. Work: 1 mul per element."""

    per_element = _MUL
    keeps_for = ((0, 1), (1, 0))


@op
class Div(WithNumber):
    """x / y, torch.div; `other` is a number in place of y. Work: 1 div per element, and 1 compare if it is rounded.

    `rounding_mode` is 'floor' or 'trunc', or null for the quotient as it is.
    """

    rounding_mode: str | None = choice("floor", "trunc", default=None)

    keeps = (1,)
    keeps_for = ((0, 1),)

    def holds(self, *inputs: str) -> str:
        return "float" if self.rounding_mode is None else super().holds(*inputs)

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        return Work(divs=1, compares=0 if self.rounding_mode is None else 1) * prod(output)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        (kernel,) = super().kernels(inputs, output, training)
        if self.rounding_mode is not None or len(inputs) == 1:
            return (kernel,)
        return (kernel._replace(scratch_for=((1, 2 * prod(output)),)),)


class FloorDivide(WithNumber):
    """x / y rounded down, torch.floor_divide; `other` is a number in place of y. Work: 1 div, 1 compare per element."""

    per_element = Work(divs=1, compares=1)
    differentiable = False


class _Rest(WithNumber):
    """What is left of x when y is taken off as often as it goes."""

    per_element = Work(divs=1, compares=1, muls=1, adds=1)
    keeps_for = ((0, 1), (1, 1))

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        (kernel,) = super().kernels(inputs, output, training)
        if len(inputs) == 1:
            return (kernel._replace(passes_on=True),)
        return (kernel._replace(passes_on=True, renews=(1,), scratch_for=((1, 2 * prod(output)),)),)


class Remainder(_Rest):
    """x − y·floor(x / y), torch.remainder; `other` is a number in place of y.

    Work: 1 div, 1 compare, 1 mul, 1 add per element.
    """


class Fmod(_Rest):
    """x − y·trunc(x / y), torch.fmod; `other` is a number in place of y.

    Work: 1 div, 1 compare, 1 mul, 1 add per element.
    """


@op
class Pow(Broadcasting):
    """x to the power of y, torch.pow; `exponent` is a number in place of y, or `base` one in place of x.

    Work: 1 exp per element; for the exponents 2 and 3, as products, 1 and 2 muls, and none for 1.
    """

    exponent: float | str | None = scalar(default=None)
    base: float | str | None = scalar(default=None)

    arity = (1, 2)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        check_numbers(self, inputs, self.exponent, self.base)
        return super().requirements(*inputs)

    def holds(self, *inputs: str) -> str:
        return promoted(inputs, self.exponent, self.base)

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        few: dict[Any, Work] = {1: NO_WORK, 2: _MUL, 3: Work(muls=2)}
        each = few.get(self.exponent, Work(exps=1))
        return each * prod(output)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        (kernel,) = super().kernels(inputs, output, training)
        elements = prod(output)
        if len(inputs) == 2:
            scratch = ((0, 4 * elements), (1, 4 * elements))
            return (kernel._replace(keeps=(0, 1), keeps_for=((2, 1),), scratch_for=scratch),)
        if self.exponent is not None:
            return (kernel._replace(keeps=(0,), scratch=0 if self.exponent == 0 else 2 * elements),)
        return (kernel._replace(keeps=(0, 1), scratch=elements),)


class Atan2(Broadcasting):
    """The angle of the point (y, x), torch.atan2. Work: 1 exp per element."""

    per_element = Work(exps=1)
    keeps = (0, 1)
    scratch = 5

    def holds(self, *inputs: str) -> str:
        return "float"


class Maximum(Broadcasting):
    """The larger of two, torch.maximum. Work: 1 compare per element."""

    per_element = Work(compares=1)
    keeps = (0, 1)
    scratch = 2


class Minimum(Broadcasting):
    """The smaller of two, torch.minimum. Work: 1 compare per element."""

    per_element = Work(compares=1)
    keeps = (0, 1)
    scratch = 2


# -- of three -----------------------------------------------------------------------------------------------------


@op
class Lerp(Broadcasting):
    """x + w·(y − x), torch.lerp; `weight` is a number in place of w. Work: 2 adds, 1 mul per element."""

    weight: float | str | None = scalar(default=None)

    arity = (2, 3)
    per_element = Work(adds=2, muls=1)
    keeps = (2,)
    keeps_for = ((0, 2), (1, 2))

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        check_numbers(self, inputs, self.weight)
        return super().requirements(*inputs)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        (kernel,) = super().kernels(inputs, output, training)
        if len(inputs) == 2:
            return (kernel,)
        between = prod(broadcast_shape(*inputs[:2]))
        return (kernel._replace(scratch_for=((0, prod(inputs[2])), (1, 0), (2, between))),)


@op
class _Fused(Broadcasting):
    """x and `value` times what two others give."""

    value: float | str = scalar(default=1)

    arity = (3, 3)
    keeps_for: ClassVar[tuple[tuple[int, int], ...]] = ((1, 2), (2, 1))

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        return (self.per_element + (_MUL if self.value != 1 else NO_WORK)) * prod(output)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        (kernel,) = super().kernels(inputs, output, training)
        return (kernel._replace(passes_on=True, renews=(1, 2), scratch_for=self.on_the_way(inputs, output)),)

    def on_the_way(self, inputs: tuple[Shape, ...], output: Shape) -> tuple[tuple[int, Size], ...]:
        """What its gradients take beyond what they are, by operand."""
        return (1, prod(inputs[2])), (2, prod(inputs[1]))


class Addcmul(_Fused):
    """x + value·y·z, torch.addcmul. Work: 1 mul, 1 add per element, and 1 mul if value is not 1."""

    per_element = Work(muls=1, adds=1)


class Addcdiv(_Fused):
    """x + value·y / z, torch.addcdiv. Work: 1 div, 1 add per element, and 1 mul if value is not 1."""

    per_element = Work(divs=1, adds=1)
    keeps = (2,)
    keeps_for = ((1, 2),)

    def on_the_way(self, inputs: tuple[Shape, ...], output: Shape) -> tuple[tuple[int, Size], ...]:
        above, below = prod(inputs[1]), prod(inputs[2])
        quotient = prod(broadcast_shape(*inputs[1:]))
        return (1, 2 * below), (2, prod(output) + above + below + quotient)


@op
class Where(Broadcasting):
    """x where a condition holds, else y, torch.where, of the condition, x and y.

    `input` and `other` are numbers in place of x and y. Work: 1 compare per element.
    """

    input: float | str | None = scalar(default=None)
    other: float | str | None = scalar(default=None)

    arity = (1, 3)
    per_element = Work(compares=1)
    keeps = (0,)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        check_numbers(self, inputs, self.input, self.other)
        return super().requirements(*inputs)

    def holds(self, *inputs: str) -> str:
        return promoted(inputs[1:], self.input, self.other)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        (kernel,) = super().kernels(inputs, output, training)
        count = len(inputs)
        whole = isinstance(self.input, int) and isinstance(self.other, int)
        # Each number becomes a tensor, and is one in the gradient, too.
        numbers = [Kernel((), 1, size=INT64 if whole else None)] * (3 - count)
        holds = (0, *range(count, 3))
        return (*numbers, kernel._replace(reads=tuple(range(1, count)), holds=holds, scratch=1))


@op
class MaskedFill(Broadcasting):
    """x, but `value` where a mask holds, torch.Tensor.masked_fill, of x and the mask. Work: 1 compare per element.

    A third input is a tensor of one element in place of the value.
    """

    value: float | str | None = scalar(default=None)

    arity = (2, 3)
    per_element = Work(compares=1)
    keeps = (1,)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        check_numbers(self, inputs, self.value)
        return super().requirements(*inputs[:2])

    def output(self, *inputs: Shape) -> Shape:
        return super().output(*inputs[:2])

    def holds(self, *inputs: str) -> str:
        return inputs[0]

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        (kernel,) = super().kernels(inputs, output, training)
        return (kernel._replace(reads=(0, *range(2, len(inputs))), holds=(1,)),)


# -- of one -------------------------------------------------------------------------------------------------------


class _Function(Op):
    """A function of one element. `scratch` tensors as large are made on the way to its gradient."""

    per_element: ClassVar[Work] = Work(exps=1)
    real: ClassVar[bool] = True  # of integers, too, it is a real number
    scratch: ClassVar[int] = 0

    def holds(self, *inputs: str) -> str:
        return "float" if self.real else inputs[0]

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        return self.per_element * prod(output)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        (kernel,) = super().kernels(inputs, output, training)
        return (kernel._replace(scratch=self.scratch * prod(output)),)


class Neg(_Function):
    """−x, torch.neg. Work: none, a sign is free."""

    per_element = NO_WORK
    real = False


class Abs(_Function):
    """|x|, torch.abs. Work: 1 compare per element."""

    per_element = Work(compares=1)
    real = False
    keeps_input = True
    scratch = 1


class Sign(_Function):
    """1, 0 or −1, torch.sign. Work: 2 compares per element."""

    per_element = Work(compares=2)
    real = False


class _Rounding(_Function):
    """Whole numbers; the gradient is 0."""

    per_element = Work(compares=1)
    real = False


class Floor(_Rounding):
    """x rounded down, torch.floor. Work: 1 compare per element."""


class Ceil(_Rounding):
    """x rounded up, torch.ceil. Work: 1 compare per element."""


class Trunc(_Rounding):
    """x rounded towards 0, torch.trunc. Work: 1 compare per element."""


@op
class Round(_Rounding):
    """x rounded to so many `decimals`, torch.round. Work: 1 compare per element."""

    decimals: int = whole(default=0)


class Square(_Function):
    """x², torch.square. Work: 1 mul per element."""

    per_element = _MUL
    real = False
    keeps_input = True
    scratch = 2


class Reciprocal(_Function):
    """1 / x, torch.reciprocal. Work: 1 div per element."""

    per_element = Work(divs=1)
    keeps_output = True
    scratch = 2


class Sqrt(_Function):
    """√x, torch.sqrt. Work: 1 exp per element."""

    keeps_output = True
    scratch = 1


class Rsqrt(_Function):
    """1 / √x, torch.rsqrt. Work: 1 exp, 1 div per element."""

    per_element = Work(exps=1, divs=1)
    keeps_output = True
    scratch = 2


class Exp(_Function):
    """e to the power of x, torch.exp. Work: 1 exp per element."""

    keeps_output = True


class Exp2(_Function):
    """2 to the power of x, torch.exp2. Work: 1 exp per element."""

    keeps_output = True
    scratch = 1


class Expm1(_Function):
    """e to the power of x, less 1, torch.expm1. Work: 1 exp, 1 add per element."""

    per_element = Work(exps=1, adds=1)
    keeps_output = True
    scratch = 1


class Log(_Function):
    """The natural logarithm, torch.log. Work: 1 exp per element."""

    keeps_input = True


class Log2(_Function):
    """The logarithm to base 2, torch.log2. Work: 1 exp per element."""

    keeps_input = True
    scratch = 1


class Log10(_Function):
    """The logarithm to base 10, torch.log10. Work: 1 exp per element."""

    keeps_input = True
    scratch = 1


class Log1p(_Function):
    """log(1 + x), torch.log1p. Work: 1 exp, 1 add per element."""

    per_element = Work(exps=1, adds=1)
    keeps_input = True
    scratch = 1


class Sin(_Function):
    """The sine, torch.sin. Work: 1 exp per element."""

    keeps_input = True
    scratch = 1


class Cos(_Function):
    """The cosine, torch.cos. Work: 1 exp per element."""

    keeps_input = True
    scratch = 2


class Tan(_Function):
    """The tangent, torch.tan. Work: 1 exp per element."""

    keeps_output = True
    scratch = 2


class Asin(_Function):
    """The angle of a sine, torch.asin. Work: 1 exp per element."""

    keeps_input = True
    scratch = 4


class Acos(_Function):
    """The angle of a cosine, torch.acos. Work: 1 exp per element."""

    keeps_input = True
    scratch = 5


class Atan(_Function):
    """The angle of a tangent, torch.atan. Work: 1 exp per element."""

    keeps_input = True
    scratch = 2


class Sinh(_Function):
    """The hyperbolic sine, torch.sinh. Work: 1 exp per element."""

    keeps_input = True
    scratch = 1


class Cosh(_Function):
    """The hyperbolic cosine, torch.cosh. Work: 1 exp per element."""

    keeps_input = True
    scratch = 1


class Asinh(_Function):
    """The inverse hyperbolic sine, torch.asinh. Work: 1 exp per element."""

    keeps_input = True
    scratch = 3


class Acosh(_Function):
    """The inverse hyperbolic cosine, torch.acosh. Work: 1 exp per element."""

    keeps_input = True
    scratch = 3


class Atanh(_Function):
    """The inverse hyperbolic tangent, torch.atanh. Work: 1 exp per element."""

    keeps_input = True
    scratch = 3


class Erf(_Function):
    """The error function, torch.erf. Work: 1 exp per element."""

    keeps_input = True
    scratch = 4


class Erfc(_Function):
    """1 less the error function, torch.erfc. Work: 1 exp per element."""

    keeps_input = True
    scratch = 4


class Erfinv(_Function):
    """The inverse of the error function, torch.erfinv. Work: 1 exp per element."""

    keeps_input = True
    scratch = 4


class Lgamma(_Function):
    """The logarithm of the gamma function, torch.lgamma. Work: 1 exp per element."""

    keeps_input = True
    scratch = 1


class Digamma(_Function):
    """The derivative of lgamma, torch.digamma. Work: 1 exp per element."""

    keeps_input = True
    scratch = 1


@op
class Clamp(_Function):
    """x between two bounds, torch.clamp; one of them may be null. Work: 1 compare per element and bound."""

    min: float | str | None = scalar(default=None)
    max: float | str | None = scalar(default=None)

    keeps_input = True

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        if self.min is None and self.max is None:
            raise OpError("clamp needs a bound: min, max, or both")
        return iter(())

    def holds(self, *inputs: str) -> str:
        return promoted(inputs, self.min, self.max)

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        bounds = (self.min is not None) + (self.max is not None)
        return Work(compares=bounds * prod(output))


@op
class NanToNum(_Function):
    """x, but for what is no number or infinite, torch.nan_to_num. Work: 3 compares per element."""

    nan: float | str | None = scalar(default=None)
    posinf: float | str | None = scalar(default=None)
    neginf: float | str | None = scalar(default=None)

    per_element = Work(compares=3)
    real = False
    keeps_input = True


# -- true or false ------------------------------------------------------------------------------------------------


class _Answer(Op):
    """True or false for each element; there is no gradient."""

    def holds(self, *inputs: str) -> str:
        return "bool"


class _Comparison(_Answer, WithNumber):
    """A relation of two inputs, or of one and a number."""

    per_element = Work(compares=1)
    differentiable = False


class Eq(_Comparison):
    """x = y, torch.eq; `other` is a number in place of y. Work: 1 compare per element."""


class Ne(_Comparison):
    """x ≠ y, torch.ne; `other` is a number in place of y. Work: 1 compare per element."""


class Lt(_Comparison):
    """x < y, torch.lt; `other` is a number in place of y. Work: 1 compare per element."""


class Le(_Comparison):
    """x ≤ y, torch.le; `other` is a number in place of y. Work: 1 compare per element."""


class Gt(_Comparison):
    """x > y, torch.gt; `other` is a number in place of y. Work: 1 compare per element."""


class Ge(_Comparison):
    """x ≥ y, torch.ge; `other` is a number in place of y. Work: 1 compare per element."""


class _Logic(_Answer, Broadcasting):
    """What holds of two answers."""

    per_element = Work(compares=1)
    differentiable = False


class LogicalAnd(_Logic):
    """x and y, torch.logical_and. Work: 1 compare per element."""


class LogicalOr(_Logic):
    """x or y, torch.logical_or. Work: 1 compare per element."""


class LogicalXor(_Logic):
    """Either x or y, torch.logical_xor. Work: 1 compare per element."""


class _Test(_Answer):
    """What holds of one element."""

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        return Work(compares=prod(output))

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        return (Kernel((), prod(output), holds=(0,)),)


class LogicalNot(_Test):
    """Not x, torch.logical_not. Work: 1 compare per element."""


class Isnan(_Test):
    """Whether x is no number, torch.isnan. Work: 1 compare per element."""


class Isinf(_Test):
    """Whether x is infinite, torch.isinf. Work: 1 compare per element."""


class Isfinite(_Test):
    """Whether x is a finite number, torch.isfinite. Work: 1 compare per element."""


class _Bitwise(WithNumber):
    """Bits of two integers, or of two answers."""

    per_element = Work(compares=1)
    differentiable = False


class BitwiseAnd(_Bitwise):
    """x & y, torch.bitwise_and; `other` is a number in place of y. Work: 1 compare per element."""


class BitwiseOr(_Bitwise):
    """x | y, torch.bitwise_or; `other` is a number in place of y. Work: 1 compare per element."""


class BitwiseXor(_Bitwise):
    """x ^ y, torch.bitwise_xor; `other` is a number in place of y. Work: 1 compare per element."""


class BitwiseNot(_Test):
    """~x, torch.bitwise_not, of integers or of answers. Work: 1 compare per element."""

    def holds(self, *inputs: str) -> str:
        return inputs[0]


# The names of those of one element that have no settings.
FUNCTIONS = tuple(
    kind.name
    for kind in tuple(vars().values())
    if isinstance(kind, type)
    and issubclass(kind, _Function | _Test)
    and not (kind.arguments or kind.__name__.startswith("_"))
)
