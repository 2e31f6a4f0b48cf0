"""Matrix products with trainable weights: linear and bilinear layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from costcalc.core.devices import Device
from costcalc.core.errors import OpError
from costcalc.core.sizes import Shape, Size, format_shape, prod
from costcalc.ir.arguments import flag, size
from costcalc.ir.kernel import Kernel
from costcalc.ir.layout import Layout
from costcalc.ir.op import Op, Requirement, op
from costcalc.ir.ops.conv import WeightedOp
from costcalc.ir.ops.shape import Reshape, is_contiguous
from costcalc.ir.work import Work


@op
class Linear(WeightedOp):
    """A product of the last dimension with a weight matrix, torch.nn.Linear.

    Output: the input shape with a last size of out_features. Parameters: weight (out_features, in_features); bias
    (out_features); none if they are inputs. Work: MACs = prod(output) × in_features; the bias is 1 add per output
    element.
    """

    out_features: Size = size("F_out")
    bias: bool = flag(default=True)

    weight_layer = True

    def output(self, *inputs: Shape) -> Shape:
        return (*inputs[0][:-1], self.out_features)

    def weights(self, *inputs: Shape) -> dict[str, Shape]:
        weight = (self.out_features, inputs[0][-1])
        return {"weight": weight, "bias": (self.out_features,)} if self.bias else {"weight": weight}

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        macs = prod(output[:-1]) * prod(self.weights(*inputs)["weight"])
        return Work(macs=macs, adds=prod(output) if self.bias else 0)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        count = len(inputs)
        if self.has_weight_inputs(inputs):
            product = Kernel(tuple(range(count)), prod(output), saved_for_operand=((0, 1), (1, 0)))
        else:
            product = Kernel((0,), prod(output), saved_for_parameters=(0,), reduced_parameter="bias")
        if len(output) == 2:
            return (product,)
        return (product, _unflatten_rows(count, output))

    def resolve(
        self,
        inputs: tuple[Shape, ...],
        layouts: tuple[Layout, ...],
        device: Device | None = None,
        requires_grad: tuple[bool, ...] = (),
    ) -> Op:
        if len(inputs[0]) < 3 or is_contiguous(inputs[0], layouts[0]):
            return self
        rows = Reshape((prod(inputs[0][:-1]), inputs[0][-1])).resolve(inputs[:1], layouts[:1])
        return (_LinearOnCopy if rows.allocates_output() else _LinearOnView)(self.out_features, self.bias)

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        """Preserve the plane unless the last dimension, the features, belongs to it."""
        last, plane = len(inputs[0]) - 1, layouts[0].spatial_dims
        return Layout(None if plane is None or last in plane else plane, tuple(range(last + 1)))


def _unflatten_rows(operand: int, output: Shape) -> Kernel:
    """Return the kernel that views the rows of a matrix product as a tensor of the layer's output shape."""
    rows = Reshape((prod(output[:-1]), output[-1]))
    return Kernel(
        (operand,),
        prod(output),
        aliases=operand,
        forwards_gradient=True,
        unsafe_view=True,
        output_shape=output,
        gradient_ops=(rows,),
    )


class _LinearOnView(Linear):
    """A linear layer on a non-contiguous input: one kernel multiplies its rows, another adds the bias."""

    copied: ClassVar[bool] = False

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        count, has_weight_inputs = len(inputs), self.has_weight_inputs(inputs)
        rows = Kernel(
            (0,),
            prod(inputs[0]),
            aliases=None if self.copied else 0,
            forwards_gradient=True,
            output_shape=(prod(inputs[0][:-1]), inputs[0][-1]),
            gradient_ops=(Reshape(inputs[0]),),
        )
        if has_weight_inputs:
            product = Kernel((count, 1), prod(output), saved_for_operand=((count, 1), (1, count)))
        else:
            product = Kernel((count,), prod(output), saved_for_parameters=(count,))
        kernels = (rows, product, _unflatten_rows(count + 1, output))
        if not self.bias:
            return kernels
        added = (count + 2, 2) if has_weight_inputs else (count + 2,)
        return (*kernels, Kernel(added, prod(output), forwards_gradient=True, broadcast_operands=added[1:]))


class _LinearOnCopy(_LinearOnView):
    """A linear layer on an input that cannot be viewed as rows and is copied."""

    copied = True


@op
class Bilinear(WeightedOp):
    """A bilinear form of the last dimensions of two inputs, torch.nn.Bilinear.

    Output: the input shape with a last size of out_features; all other sizes must be equal. Parameters: weight
    (out_features, in1_features, in2_features); bias (out_features); none if they are inputs. Work: MACs = positions ×
    prod(weight), and 1 mul for each pair of features and position; the bias is 1 add per output element.
    """

    out_features: Size = size("F_out")
    bias: bool = flag(default=True)

    num_data_inputs = 2
    arity = (2, 4)
    weight_layer = True

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        a, b, *_ = inputs
        message = f"bilinear takes inputs that agree in all sizes but the last: {format_shape(a)} and {format_shape(b)}"
        if len(a) != len(b):
            raise OpError(message, "inputs")
        yield from (Requirement(m, "==", n, message) for m, n in zip(a[:-1], b[:-1], strict=True))
        yield from super().requirements(*inputs)

    def output(self, *inputs: Shape) -> Shape:
        return (*inputs[0][:-1], self.out_features)

    def weights(self, *inputs: Shape) -> dict[str, Shape]:
        weight = (self.out_features, inputs[0][-1], inputs[1][-1])
        return {"weight": weight, "bias": (self.out_features,)} if self.bias else {"weight": weight}

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        pairs = prod(inputs[0]) * inputs[1][-1]
        return Work(macs=pairs * self.out_features, muls=pairs, adds=prod(output) if self.bias else 0)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        count, elements = len(inputs), prod(output)
        product = Kernel(tuple(range(count))[:3], elements, saved=tuple(range(count))[:3])
        unflattened = Kernel((count,), elements, aliases=count, forwards_gradient=True)
        if not self.bias:
            return (product, unflattened)
        added = (count + 1, 3) if self.has_weight_inputs(inputs) else (count + 1,)
        return (product, unflattened, Kernel(added, elements, forwards_gradient=True, broadcast_operands=added[1:]))

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return Layout(None, tuple(range(len(inputs[0]))))

    def sliding_windows(self, *inputs: Shape) -> None:
        return None
