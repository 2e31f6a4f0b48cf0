"""Activations: elementwise functions, gated linear units and softmax.

Work is stated per element. Multiplication by a constant counts as 1 mul; a change of sign is free.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

from costcalc.core.axes import normalize_dim
from costcalc.core.sizes import Shape, Size, check_relation, exact_div, prod
from costcalc.ir.arguments import choice, flag, integer, number, size
from costcalc.ir.kernel import AuxiliaryOutput, Kernel
from costcalc.ir.layout import Layout
from costcalc.ir.op import Op, Requirement, op
from costcalc.ir.work import Work


class Activation(Op):
    """An activation with the same work for every element."""

    per_element: ClassVar[Work]
    nonlinearity: ClassVar[bool] = True
    is_module: ClassVar[bool] = True
    saves_input: ClassVar[bool] = True

    def allocates_output(self, training: bool = False) -> bool:
        return not getattr(self, "inplace", False)

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        return self.per_element * prod(output)

    def gradient_order(self, layout: Layout) -> tuple[int, ...] | None:
        return layout.dim_order


def _in_place_kernels(op: Activation, kernels: tuple[Kernel, ...], output: Shape) -> tuple[Kernel, ...]:
    """Return the kernels of an in-place activation, which copies its input first if the gradient needs it."""
    if op.allocates_output() or op.saves_output:
        return kernels
    elements = prod(output)
    return (
        Kernel(
            (0,),
            elements,
            aliases=0,
            in_place=True,
            auxiliary_outputs=(AuxiliaryOutput("copy", elements, needed_in_forward=False, saved_before_output=True),),
        ),
    )


@op
class _InPlaceActivation(Activation):
    """An activation that is in place by default.

    In training, the input is copied before it is overwritten if the gradient needs it.
    """

    inplace: bool = flag(default=True)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        return _in_place_kernels(self, super().kernels(inputs, output, training), output)


class Relu(_InPlaceActivation):
    """max(x, 0), torch.nn.ReLU, in place by default. Work: 1 compare per element."""

    per_element = Work(compares=1)
    saves_input = False
    saves_output = True


class Relu6(_InPlaceActivation):
    """min(max(x, 0), 6), torch.nn.ReLU6, in place by default. Work: 2 compares per element."""

    per_element = Work(compares=2)


@op
class LeakyRelu(Activation):
    """x if x > 0 else negative_slope·x, torch.nn.LeakyReLU, in place by default. Work: 1 compare, 1 mul per element."""

    negative_slope: float = number(default=0.01)
    inplace: bool = flag(default=True)

    per_element = Work(compares=1, muls=1)


@op
class Prelu(Activation):
    """x if x > 0 else a·x with a trainable slope a, torch.nn.PReLU.

    Parameters: weight (num_parameters), either one slope or one per channel. Work: 1 compare, 1 mul per element.
    """

    num_parameters: Size = size("P", default=1)

    per_element = Work(compares=1, muls=1)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        if not check_relation(self.num_parameters, "==", 1).answer:
            message = "prelu has {left} parameters, and its input {right} channels: they must agree, or be 1"
            yield Requirement(self.num_parameters, "==", inputs[0][1], message)

    def parameters(self, *inputs: Shape) -> dict[str, Shape]:
        return {"weight": (self.num_parameters,)}

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        # The gradient of the slope is computed for each element and then summed.
        return (
            Kernel(
                (0,),
                prod(output),
                saved=(0,),
                workspace_elements=prod(output),
                computes_unneeded_gradients=True,
                reduced_parameter="weight",
            ),
        )


@op
class Elu(Activation):
    """x if x > 0 else alpha·(exp(x) − 1), torch.nn.ELU, in place by default.

    Work: 1 compare, 1 exp, 1 add, 1 mul per element.
    """

    alpha: float = number(default=1.0)
    inplace: bool = flag(default=True)

    per_element = Work(compares=1, exps=1, adds=1, muls=1)


@op
class Gelu(Activation):
    """x·Φ(x), torch.nn.GELU.

    Work: per element, x/2·(1 + erf(x/√2)) is 3 muls, 1 add, and an erf that counts as 1 exp; with approximate='tanh',
    x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³))) is 6 muls, 2 adds, and a tanh (see tanh).
    """

    approximate: str = choice("none", "tanh", default="none")

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        each = Work(muls=3, adds=1, exps=1) if self.approximate == "none" else Work(muls=6, adds=2) + Tanh.per_element
        return each * prod(output)


class Sigmoid(Activation):
    """1 / (1 + exp(−x)), torch.nn.Sigmoid. Work: 1 exp, 1 add, 1 div per element."""

    per_element = Work(exps=1, adds=1, divs=1)
    saves_input = False
    saves_output = True


class Silu(_InPlaceActivation):
    """x·sigmoid(x), torch.nn.SiLU, in place by default. Work: 1 exp, 1 add, 1 div, 1 mul per element."""

    per_element = Sigmoid.per_element + Work(muls=1)


class Tanh(Activation):
    """(exp(2x) − 1) / (exp(2x) + 1), torch.nn.Tanh. Work: 1 mul, 1 exp, 2 adds, 1 div per element."""

    per_element = Work(muls=1, exps=1, adds=2, divs=1)
    saves_input = False
    saves_output = True


@op
class Softplus(Activation):
    """log(1 + exp(beta·x)) / beta, torch.nn.Softplus.

    Work: 1 mul, 2 exps (the log counts as one), 1 add, 1 div per element.
    """

    beta: float = number(default=1.0)
    threshold: float = number(default=20.0)

    per_element = Work(muls=1, exps=2, adds=1, divs=1)


class Mish(_InPlaceActivation):
    """x·tanh(softplus(x)), torch.nn.Mish, in place by default.

    Work: per element, log(1 + exp(x)) is 2 exps and 1 add, then a tanh (see tanh), then 1 mul.
    """

    per_element = Work(exps=2, adds=1) + Tanh.per_element + Work(muls=1)


class Hardsigmoid(_InPlaceActivation):
    """min(max(x + 3, 0), 6) / 6, torch.nn.Hardsigmoid, in place by default.

    Work: 1 add, 2 compares, 1 div per element.
    """

    per_element = Work(adds=1, compares=2, divs=1)


class Hardswish(_InPlaceActivation):
    """x·hardsigmoid(x), torch.nn.Hardswish, in place by default.

    Work: 1 add, 2 compares, 1 div, 1 mul per element.
    """

    per_element = Hardsigmoid.per_element + Work(muls=1)


@op
class Hardtanh(Activation):
    """min(max(x, min_val), max_val), torch.nn.Hardtanh, in place by default. Work: 2 compares per element."""

    min_val: float = number(default=-1.0)
    max_val: float = number(default=1.0)
    inplace: bool = flag(default=True)

    per_element = Work(compares=2)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        return _in_place_kernels(self, super().kernels(inputs, output, training), output)


@op
class Threshold(Activation):
    """x if x > threshold else value, torch.nn.Threshold, in place by default. Work: 1 compare per element."""

    threshold: float = number()
    value: float = number()
    inplace: bool = flag(default=True)

    per_element = Work(compares=1)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        return _in_place_kernels(self, super().kernels(inputs, output, training), output)


@op
class Celu(Activation):
    """x if x > 0 else alpha·(exp(x / alpha) − 1), torch.nn.CELU, in place by default.

    Work: 1 compare, 1 exp, 1 add, 1 mul, 1 div per element.
    """

    alpha: float = number(default=1.0)
    inplace: bool = flag(default=True)

    per_element = Work(compares=1, exps=1, adds=1, muls=1, divs=1)


@op
class Selu(Activation):
    """scale·(x if x > 0 else alpha·(exp(x) − 1)) with fixed scale and alpha, torch.nn.SELU, in place by default.

    Work: 1 compare, 1 exp, 1 add, 2 muls per element.
    """

    inplace: bool = flag(default=True)

    per_element = Work(compares=1, exps=1, adds=1, muls=2)


@op
class Rrelu(Activation):
    """x if x > 0 else a·x, torch.nn.RReLU; a is random in training, and the mean of `lower` and `upper` in evaluation.

    Work: 1 compare, 1 mul per element.
    """

    lower: float = number(default=0.125)
    upper: float = number(default=0.3333333333333333)
    inplace: bool = flag(default=False)

    per_element = Work(compares=1, muls=1)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        (kernel,) = super().kernels(inputs, output, training)
        return (
            replace(kernel, auxiliary_outputs=(AuxiliaryOutput("noise", prod(output)),)),
        )  # allocated in evaluation, too


class LogSigmoid(Activation):
    """−log(1 + exp(−x)), torch.nn.LogSigmoid. Work: 2 exps (the log counts as one), 1 add per element."""

    per_element = Work(exps=2, adds=1)


class Softsign(Activation):
    """x / (1 + |x|), torch.nn.Softsign. Work: 1 compare, 1 add, 1 div per element."""

    per_element = Work(compares=1, adds=1, divs=1)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        elements = prod(output)
        return (
            Kernel((0,), elements, saved=(0,)),
            Kernel((1,), elements, forwards_gradient=True),
            Kernel(
                (0, 2), elements, saved=(2,), saved_for_operand=((0, 2),), workspace_for_operand=((2, 2 * elements),)
            ),
        )


class Tanhshrink(Activation):
    """x − tanh(x), torch.nn.Tanhshrink. Work: as tanh, and 1 add per element."""

    per_element = Tanh.per_element + Work(adds=1)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        elements = prod(output)
        return (
            Kernel((0,), elements, saved=(1,)),
            Kernel((0, 1), elements, forwards_gradient=True, new_gradient_operands=(1,)),
        )


@op
class Softshrink(Activation):
    """sign(x)·max(|x| − lambd, 0), torch.nn.Softshrink. Work: 2 compares, 1 add per element."""

    lambd: float = number(default=0.5, minimum=0)

    per_element = Work(compares=2, adds=1)


@op
class Hardshrink(Activation):
    """x if |x| > lambd else 0, torch.nn.Hardshrink. Work: 2 compares per element."""

    lambd: float = number(default=0.5)

    per_element = Work(compares=2)


@op
class Glu(Activation):
    """a·sigmoid(b), where a and b are the two halves of the input along `dim`, torch.nn.GLU.

    Output: the input shape with half the size along `dim`. Work: 1 exp, 1 add, 1 div, 1 mul per output element.
    """

    dim: int = integer(default=-1)

    per_element = Sigmoid.per_element + Work(muls=1)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        normalize_dim(self.dim, len(inputs[0]))
        yield Requirement(
            inputs[0][self.dim],
            "multiple of",
            2,
            "glu needs an even size to halve, not {left}",
        )

    def output(self, *inputs: Shape) -> Shape:
        split = self.dim % len(inputs[0])
        return tuple([exact_div(n, 2) if dim == split else n for dim, n in enumerate(inputs[0])])


@op
class Softmax(Activation):
    """exp(x) / Σ exp(x), summed along `dim`, torch.nn.Softmax.

    Work: 1 compare (for the maximum, which is subtracted first), 1 exp, 1 add, 1 div per element. Softmax does not
    count as a nonlinearity of a network.
    """

    dim: int = integer(default=1)

    per_element = Work(compares=1, exps=1, adds=1, divs=1)
    nonlinearity = False
    saves_input = False
    saves_output = True

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        normalize_dim(self.dim, len(inputs[0]))
        return iter(())

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        """Return a contiguous layout: torch does not preserve the memory format."""
        return Layout(layouts[0].spatial_dims, tuple(range(len(inputs[0]))))

    def gradient_order(self, layout: Layout) -> tuple[int, ...] | None:
        return None


class Softmin(Softmax):
    """Softmax of −x along `dim`, torch.nn.Softmin. Work: as softmax; the sign is free."""

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        return (Kernel((0,), prod(output)), Kernel((1,), prod(output), saved=(2,)))


class LogSoftmax(Softmax):
    """x − log(Σ exp(x)), summed along `dim`, torch.nn.LogSoftmax.

    Work: 1 compare (for the maximum, which is subtracted first), 1 exp, 2 adds per element, and 1 exp per logarithm.
    """

    per_element = Work(compares=1, exps=1, adds=2)

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        reduced = self.dim % len(output)
        rows = prod([extent for dim, extent in enumerate(output) if dim != reduced])
        return super().work(inputs, output) + Work(exps=rows)
