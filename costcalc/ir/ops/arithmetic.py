"""Elementwise arithmetic on two or more tensors, which are broadcast, or on a tensor and a number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

from costcalc.core.dtypes import INT64_BYTES
from costcalc.core.errors import OpError
from costcalc.core.sizes import Shape, Size, prod
from costcalc.ir.arguments import choice, scalar
from costcalc.ir.broadcasting import (
    Broadcasting,
    BroadcastingWithScalar,
    broadcast_layout,
    broadcast_operands,
    broadcast_requirements,
    broadcast_shape,
    check_scalars,
    promote_types,
)
from costcalc.ir.kernel import Kernel
from costcalc.ir.layout import Layout
from costcalc.ir.op import Op, Requirement, op
from costcalc.ir.work import NO_WORK, Work

_ONE_MUL = Work(muls=1)


@op
class _Subtraction(BroadcastingWithScalar):
    """A difference, one side of which is scaled by `alpha`."""

    alpha: float | str = scalar(default=1)

    negated_operand: ClassVar[int] = 1  # the operand that is subtracted

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        return Work(adds=1, muls=1 if self.alpha != 1 else 0) * prod(output)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        (kernel,) = super().kernels(inputs, output, training)
        negative = (self.negated_operand,) if self.negated_operand < len(inputs) else ()
        workspace = tuple([(operand, prod(output)) for operand in negative if self.alpha != 1])
        return (
            replace(kernel, forwards_gradient=True, new_gradient_operands=negative, workspace_for_operand=workspace),
        )


class Sub(_Subtraction):
    """x − alpha·y, torch.sub; `other` is a number instead of y. Work: 1 add per element, 1 mul if alpha is not 1."""


class Rsub(_Subtraction):
    """y − alpha·x, torch.rsub; `other` is a number instead of y. Work: 1 add per element, 1 mul if alpha is not 1."""

    negated_operand = 0


class Mul(BroadcastingWithScalar):
    """x·y, torch.mul; `other` is a number instead of y. Work: 1 mul per element."""

    per_element = _ONE_MUL
    saved_for_operand = ((0, 1), (1, 0))


@op
class Div(BroadcastingWithScalar):
    """x / y, torch.div; `other` is a number instead of y. Work: 1 div per element, and 1 compare with a rounding mode.

    `rounding_mode` is 'floor' or 'trunc', or null for no rounding.
    """

    rounding_mode: str | None = choice("floor", "trunc", default=None)

    saved = (1,)
    saved_for_operand = ((0, 1),)

    def element_type(self, *inputs: str) -> str:
        return "float" if self.rounding_mode is None else super().element_type(*inputs)

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        return Work(divs=1, compares=0 if self.rounding_mode is None else 1) * prod(output)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        (kernel,) = super().kernels(inputs, output, training)
        if self.rounding_mode is not None or len(inputs) == 1:
            return (kernel,)
        return (replace(kernel, workspace_for_operand=((1, 2 * prod(output)),)),)


class FloorDivide(BroadcastingWithScalar):
    """x / y rounded down, torch.floor_divide; `other` is a number instead of y. Work: 1 div, 1 compare per element."""

    per_element = Work(divs=1, compares=1)
    differentiable = False


class _Modulo(BroadcastingWithScalar):
    """The remainder of a division."""

    per_element = Work(divs=1, compares=1, muls=1, adds=1)
    saved_for_operand = ((0, 1), (1, 1))

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        (kernel,) = super().kernels(inputs, output, training)
        if len(inputs) == 1:
            return (replace(kernel, forwards_gradient=True),)
        return (
            replace(
                kernel,
                forwards_gradient=True,
                new_gradient_operands=(1,),
                workspace_for_operand=((1, 2 * prod(output)),),
            ),
        )


class Remainder(_Modulo):
    """x − y·floor(x / y), torch.remainder; `other` is a number instead of y.

    Work: 1 div, 1 compare, 1 mul, 1 add per element.
    """


class Fmod(_Modulo):
    """x − y·trunc(x / y), torch.fmod; `other` is a number instead of y.

    Work: 1 div, 1 compare, 1 mul, 1 add per element.
    """


@op
class Pow(Broadcasting):
    """x to the power of y, torch.pow; `exponent` is a number instead of y, `base` a number instead of x.

    Work: 1 exp per element; with an exponent of 2 or 3, 1 or 2 muls per element; with an exponent of 1, none.
    """

    exponent: float | str | None = scalar(default=None)
    base: float | str | None = scalar(default=None)

    arity = (1, 2)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        check_scalars(self, inputs, self.exponent, self.base)
        return super().requirements(*inputs)

    def element_type(self, *inputs: str) -> str:
        return promote_types(inputs, self.exponent, self.base)

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        as_products: dict[Any, Work] = {1: NO_WORK, 2: _ONE_MUL, 3: Work(muls=2)}
        return as_products.get(self.exponent, Work(exps=1)) * prod(output)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        (kernel,) = super().kernels(inputs, output, training)
        elements = prod(output)
        if len(inputs) == 2:
            workspace = ((0, 4 * elements), (1, 4 * elements))
            return (replace(kernel, saved=(0, 1), saved_for_operand=((2, 1),), workspace_for_operand=workspace),)
        if self.exponent is not None:
            return (replace(kernel, saved=(0,), workspace_elements=0 if self.exponent == 0 else 2 * elements),)
        return (replace(kernel, saved=(0, 1), workspace_elements=elements),)


class Atan2(Broadcasting):
    """The angle of the point (y, x) with the positive x axis, torch.atan2. Work: 1 exp per element."""

    per_element = Work(exps=1)
    saved = (0, 1)
    workspace_tensors = 5

    def element_type(self, *inputs: str) -> str:
        return "float"


class Maximum(Broadcasting):
    """max(x, y), torch.maximum. Work: 1 compare per element."""

    per_element = Work(compares=1)
    saved = (0, 1)
    workspace_tensors = 2


class Minimum(Broadcasting):
    """min(x, y), torch.minimum. Work: 1 compare per element."""

    per_element = Work(compares=1)
    saved = (0, 1)
    workspace_tensors = 2


@op
class Lerp(Broadcasting):
    """x + w·(y − x), torch.lerp; `weight` is a number instead of w. Work: 2 adds, 1 mul per element."""

    weight: float | str | None = scalar(default=None)

    arity = (2, 3)
    per_element = Work(adds=2, muls=1)
    saved = (2,)
    saved_for_operand = ((0, 2), (1, 2))

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        check_scalars(self, inputs, self.weight)
        return super().requirements(*inputs)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        (kernel,) = super().kernels(inputs, output, training)
        if len(inputs) == 2:
            return (kernel,)
        difference = prod(broadcast_shape(*inputs[:2]))
        return (replace(kernel, workspace_for_operand=((0, prod(inputs[2])), (1, 0), (2, difference))),)


@op
class _FusedProduct(Broadcasting):
    """The sum of x and `value` times a product or quotient of two tensors."""

    value: float | str = scalar(default=1)

    arity = (3, 3)
    saved_for_operand: ClassVar[tuple[tuple[int, int], ...]] = ((1, 2), (2, 1))

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        return (self.per_element + (_ONE_MUL if self.value != 1 else NO_WORK)) * prod(output)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        (kernel,) = super().kernels(inputs, output, training)
        return (
            replace(
                kernel,
                forwards_gradient=True,
                new_gradient_operands=(1, 2),
                workspace_for_operand=self.workspace_by_operand(inputs, output),
            ),
        )

    def workspace_by_operand(self, inputs: tuple[Shape, ...], output: Shape) -> tuple[tuple[int, Size], ...]:
        """Return the workspace elements of each operand's gradient."""
        return (1, prod(inputs[2])), (2, prod(inputs[1]))


class Addcmul(_FusedProduct):
    """x + value·y·z, torch.addcmul. Work: 1 mul, 1 add per element, and 1 mul if value is not 1."""

    per_element = Work(muls=1, adds=1)


class Addcdiv(_FusedProduct):
    """x + value·y / z, torch.addcdiv. Work: 1 div, 1 add per element, and 1 mul if value is not 1."""

    per_element = Work(divs=1, adds=1)
    saved = (2,)
    saved_for_operand = ((1, 2),)

    def workspace_by_operand(self, inputs: tuple[Shape, ...], output: Shape) -> tuple[tuple[int, Size], ...]:
        numerator, denominator = prod(inputs[1]), prod(inputs[2])
        quotient = prod(broadcast_shape(*inputs[1:]))
        return (1, 2 * denominator), (2, prod(output) + numerator + denominator + quotient)


@op
class Where(Broadcasting):
    """x where the condition is true, else y, torch.where.

    Inputs: the condition, x and y; `input` and `other` are numbers instead of x and y. Work: 1 compare per element.
    """

    input: float | str | None = scalar(default=None)
    other: float | str | None = scalar(default=None)

    arity = (1, 3)
    per_element = Work(compares=1)
    saved = (0,)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        check_scalars(self, inputs, self.input, self.other)
        return super().requirements(*inputs)

    def element_type(self, *inputs: str) -> str:
        return promote_types(inputs[1:], self.input, self.other)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        (kernel,) = super().kernels(inputs, output, training)
        count = len(inputs)
        integer = isinstance(self.input, int) and isinstance(self.other, int)
        # torch wraps each number in a tensor, forward and backward.
        numbers = [Kernel((), 1, element_size=INT64_BYTES if integer else None)] * (3 - count)
        kept_alive = (0, *range(count, 3))
        return (
            *numbers,
            replace(
                kernel,
                differentiable_operands=tuple(range(1, count)),
                operands_kept_alive=kept_alive,
                workspace_elements=1,
            ),
        )


@op
class MaskedFill(Broadcasting):
    """x with `value` where the mask is true, torch.Tensor.masked_fill. Work: 1 compare per element.

    Inputs: x and the mask, and optionally a tensor of one element instead of `value`.
    """

    value: float | str | None = scalar(default=None)

    arity = (2, 3)
    per_element = Work(compares=1)
    saved = (1,)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        check_scalars(self, inputs, self.value)
        return super().requirements(*inputs[:2])

    def output(self, *inputs: Shape) -> Shape:
        return super().output(*inputs[:2])

    def element_type(self, *inputs: str) -> str:
        return inputs[0]

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        (kernel,) = super().kernels(inputs, output, training)
        return (replace(kernel, differentiable_operands=(0, *range(2, len(inputs))), operands_kept_alive=(1,)),)


@op
class Add(Op):
    """The elementwise sum of two or more inputs, torch.add; it joins the paths of a residual block (He et al., 2015).

    `other` is a number instead of a second input; all inputs but the first are multiplied by `alpha`. Output: the
    broadcast shape of the inputs. Work: 1 add per element for each input after the first, and 1 mul with it if alpha is
    not 1.
    """

    other: float | str | None = scalar(default=None)
    alpha: float | str = scalar(default=1)

    arity = (1, None)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        if len(inputs) == 1 and self.other is None:
            raise OpError("add takes 2 or more inputs, not 1", "inputs")
        if len(inputs) > 1 and self.other is not None:
            raise OpError(f"add takes one input and a number, not {len(inputs)}", "other")
        return broadcast_requirements("add", inputs)

    def output(self, *inputs: Shape) -> Shape:
        return broadcast_shape(*inputs)

    def element_type(self, *inputs: str) -> str:
        return promote_types(inputs, self.other)

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        sums = [prod(broadcast_shape(*inputs[: count + 1])) for count in range(1, max(len(inputs), 2))]
        return Work(adds=sum(sums), muls=sum(sums) if self.alpha != 1 else 0)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        count = len(inputs)
        all_inputs = tuple(range(count))  # alive until the last sum is computed
        if count == 1:
            return (Kernel((0,), prod(output), forwards_gradient=True),)
        kernels = []
        total = inputs[0]
        for operand in range(1, count):
            operands = (0 if operand == 1 else count + operand - 2, operand)
            sum_shape = broadcast_shape(total, inputs[operand])
            broadcast = broadcast_operands((total, inputs[operand]), sum_shape)
            kernels.append(
                Kernel(
                    operands,
                    prod(sum_shape),
                    forwards_gradient=True,
                    operands_kept_alive=all_inputs,
                    new_gradient_operands=(operand,) if self.alpha != 1 else (),
                    broadcast_operands=tuple([operands[i] for i in broadcast]),
                )
            )
            total = sum_shape
        return tuple(kernels)

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return broadcast_layout(inputs, layouts)
