"""Convolutions, transposed convolutions, and the base class of layers with a weight.

The weight and the bias are parameters of the layer, or inputs after its data inputs if the network computes them or
shares them with another layer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from costcalc.core.axes import operand_dim_names
from costcalc.core.errors import OpError
from costcalc.core.sizes import Shape, Size, exact_div, format_shape, prod, window_elements_inside, window_positions
from costcalc.ir.arguments import flag, per_axis, size
from costcalc.ir.kernel import Kernel
from costcalc.ir.layout import Layout
from costcalc.ir.op import Op, Requirement, Window, op
from costcalc.ir.work import Work


class WeightedOp(Op, ABC):
    """A layer with a weight and, if `bias` is true, a bias.

    They are its parameters, or inputs after the first `num_data_inputs` inputs.
    """

    bias: bool

    num_data_inputs = 1
    arity = (1, 3)
    is_module = True

    @abstractmethod
    def weights(self, *inputs: Shape) -> dict[str, Shape]:
        """Return the shapes of the weight and of the bias, parameters or inputs."""

    def has_weight_inputs(self, inputs: tuple[Shape, ...]) -> bool:
        """Return whether the weights are inputs."""
        return len(inputs) > self.num_data_inputs

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        weight_inputs = inputs[self.num_data_inputs :]
        if not weight_inputs:
            return
        wanted = self.weights(*inputs)
        if len(weight_inputs) != len(wanted):
            raise OpError(
                f"{self.name} takes {self.num_data_inputs} input{'s' * (self.num_data_inputs > 1)}, or "
                f"{self.num_data_inputs + len(wanted)} "
                f"with its {' and its '.join(wanted)}, not {len(inputs)}",
                "inputs",
            )
        for (name, shape), operand in zip(wanted.items(), weight_inputs, strict=True):
            message = f"{self.name} takes a {name} of {format_shape(shape)}, not of {format_shape(operand)}"
            if len(shape) != len(operand):
                raise OpError(message, "inputs")
            yield from (Requirement(a, "==", b, message) for a, b in zip(operand, shape, strict=True))

    def parameters(self, *inputs: Shape) -> dict[str, Shape]:
        return {} if self.has_weight_inputs(inputs) else self.weights(*inputs)

    def backward_macs(
        self, macs: Size, trainable: bool, requires_grad: tuple[bool, ...], inputs: tuple[Shape, ...] = ()
    ) -> Size:
        """Count no MACs for the gradient of the bias, which is a sum."""
        return macs * (trainable + sum(requires_grad[: self.num_data_inputs + 1]))


class Convolution(WeightedOp):
    """The base class of all convolutions: their MACs are the kernel positions times the elements of the weight."""

    out_channels: Size
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: Size

    weight_layer = True

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        for name, count in (("input", inputs[0][1]), ("output", self.out_channels)):
            yield Requirement(
                count, "multiple of", self.groups, f"{{left}} {name} channels cannot be split into {{right}} groups"
            )
        yield from super().requirements(*inputs)

    def weights(self, *inputs: Shape) -> dict[str, Shape]:
        weight = (self.out_channels, exact_div(inputs[0][1], self.groups), *self.kernel_size)
        return {"weight": weight, "bias": (self.out_channels,)} if self.bias else {"weight": weight}

    def kernel_positions(self, inputs: tuple[Shape, ...], output: Shape) -> Shape:
        """Return the batch size and the number of kernel positions along each axis."""
        return (output[0], *output[2:])

    def window_elements_inside(self, inputs: tuple[Shape, ...], output: Shape) -> Shape:
        """Return, per axis, the kernel elements that are not over padding, summed over all kernel positions."""
        axes = zip(inputs[0][2:], output[2:], self.sliding_windows(*inputs) or (), strict=True)
        return tuple([window_elements_inside(n, positions, *window) for n, positions, window in axes])

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        macs = prod(self.kernel_positions(inputs, output)) * prod(self.weights(*inputs)["weight"])
        return Work(macs=macs, adds=prod(output) if self.bias else 0)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        return (
            Kernel(tuple(range(len(inputs))), prod(output), saved=(0, 1) if self.has_weight_inputs(inputs) else (0,)),
        )

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return super().layout(inputs, layouts) if self.rank == 4 else Layout.contiguous(len(inputs[0]))


class _DirectConvolution(Convolution):
    """A convolution that is not transposed."""

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        yield from super().requirements(*inputs)
        yield from window_requirements(list(inputs[0][2:]), self.sliding_windows(*inputs))

    def output(self, *inputs: Shape) -> Shape:
        batch, _, *plane = inputs[0]
        return (
            batch,
            self.out_channels,
            *(window_positions(n, *w) for n, w in zip(plane, self.sliding_windows(), strict=True)),
        )

    def sliding_windows(self, *inputs: Shape) -> tuple[Window, ...]:
        return tuple(map(Window, self.kernel_size, self.stride, self.padding, self.dilation))


@op
class Conv1d(_DirectConvolution):
    """A convolution along a sequence with trainable kernels, torch.nn.Conv1d.

    Output: channels = out_channels; length = (L + 2·padding − dilation·(kernel − 1) − 1) // stride + 1.
    Parameters: weight (out_channels, in_channels / groups, k); bias (out_channels); none if they are inputs.
    Work: MACs = batch × output positions × prod(weight); multiplications with zero padding are counted. The bias is 1
    add per output element.
    """

    out_channels: Size = size("C_out")
    kernel_size: tuple[int, ...] = per_axis(minimum=1, symbol="k", axes=1)
    stride: tuple[int, ...] = per_axis(default=1, minimum=1, axes=1)
    padding: tuple[int, ...] = per_axis(default=0, axes=1)
    dilation: tuple[int, ...] = per_axis(default=1, minimum=1, axes=1)
    groups: Size = size("g", default=1)
    bias: bool = flag(default=True)

    rank = 3


@op
class Conv2d(_DirectConvolution):
    """A 2-d convolution with trainable kernels, torch.nn.Conv2d.

    Output: channels = out_channels; height = (H + 2·padding − dilation·(kernel − 1) − 1) // stride + 1, width
    accordingly.
    Parameters: weight (out_channels, in_channels / groups, k_h, k_w); bias (out_channels); none if they are inputs.
    Work: MACs = batch × output positions × prod(weight); multiplications with zero padding are counted. The bias is 1
    add per output element.
    Source of the shape rule: Dumoulin and Visin, A guide to convolution arithmetic, 2016, and torch.nn.Conv2d.
    """

    out_channels: Size = size("C_out")
    kernel_size: tuple[int, int] = per_axis(minimum=1, symbol="k")
    stride: tuple[int, int] = per_axis(default=1, minimum=1)
    padding: tuple[int, int] = per_axis(default=0)
    dilation: tuple[int, int] = per_axis(default=1, minimum=1)
    groups: Size = size("g", default=1)
    bias: bool = flag(default=True)

    rank = 4


@op
class Conv3d(_DirectConvolution):
    """A convolution over depth, height and width with trainable kernels, torch.nn.Conv3d.

    Output: channels = out_channels; depth = (D + 2·padding − dilation·(kernel − 1) − 1) // stride + 1, height and width
    accordingly.
    Parameters: weight (out_channels, in_channels / groups, k_d, k_h, k_w); bias (out_channels); none if they are
    inputs.
    Work: MACs = batch × output positions × prod(weight); multiplications with zero padding are counted. The bias is 1
    add per output element.
    """

    out_channels: Size = size("C_out")
    kernel_size: tuple[int, ...] = per_axis(minimum=1, symbol="k", axes=3)
    stride: tuple[int, ...] = per_axis(default=1, minimum=1, axes=3)
    padding: tuple[int, ...] = per_axis(default=0, axes=3)
    dilation: tuple[int, ...] = per_axis(default=1, minimum=1, axes=3)
    groups: Size = size("g", default=1)
    bias: bool = flag(default=True)

    rank = 5


class TransposedConvolution(Convolution):
    """The base class of transposed convolutions, which add a scaled kernel to the output for each input element."""

    output_padding: tuple[int, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        for extra, stride, dilation in zip(self.output_padding, self.stride, self.dilation, strict=True):
            if extra >= max(stride, dilation):
                raise OpError(f"output_padding must be below the stride or the dilation, not {extra}", "output_padding")

    def weights(self, *inputs: Shape) -> dict[str, Shape]:
        weight = (inputs[0][1], exact_div(self.out_channels, self.groups), *self.kernel_size)
        return {"weight": weight, "bias": (self.out_channels,)} if self.bias else {"weight": weight}

    def output(self, *inputs: Shape) -> Shape:
        batch, _, *plane = inputs[0]
        axes = zip(plane, self.adjoint_windows(), self.output_padding, strict=True)
        sizes = ((n - 1) * w.stride - 2 * w.padding + w.dilation * (w.kernel - 1) + extra + 1 for n, w, extra in axes)
        return (batch, self.out_channels, *sizes)

    def adjoint_windows(self) -> tuple[Window, ...]:
        """Return the windows, one per axis, of the convolution whose adjoint this is: they slide over the output."""
        return tuple(map(Window, self.kernel_size, self.stride, self.padding, self.dilation))

    def kernel_positions(self, inputs: tuple[Shape, ...], output: Shape) -> Shape:
        return (inputs[0][0], *inputs[0][2:])

    def window_elements_inside(self, inputs: tuple[Shape, ...], output: Shape) -> Shape:
        """Return the elements of the convolution whose adjoint this is: its input is the output here."""
        axes = zip(output[2:], inputs[0][2:], self.adjoint_windows(), strict=True)
        return tuple([window_elements_inside(n, positions, *window) for n, positions, window in axes])

    def sliding_windows(self, *inputs: Shape) -> None:
        return None  # output positions see different numbers of input elements


@op
class ConvTranspose1d(TransposedConvolution):
    """A transposed convolution along a sequence, the adjoint of a convolution, torch.nn.ConvTranspose1d.

    Output: channels = out_channels; length = (L − 1)·stride − 2·padding + dilation·(kernel − 1) + output_padding + 1.
    Parameters: weight (in_channels, out_channels / groups, k); bias (out_channels); none if they are inputs.
    Work: MACs = batch × input positions × prod(weight); the bias is 1 add per output element.
    """

    out_channels: Size = size("C_out")
    kernel_size: tuple[int, ...] = per_axis(minimum=1, symbol="k", axes=1)
    stride: tuple[int, ...] = per_axis(default=1, minimum=1, axes=1)
    padding: tuple[int, ...] = per_axis(default=0, axes=1)
    output_padding: tuple[int, ...] = per_axis(default=0, axes=1)
    groups: Size = size("g", default=1)
    bias: bool = flag(default=True)
    dilation: tuple[int, ...] = per_axis(default=1, minimum=1, axes=1)

    rank = 3


@op
class ConvTranspose2d(TransposedConvolution):
    """A transposed 2-d convolution, the adjoint of a convolution, torch.nn.ConvTranspose2d.

    Output: channels = out_channels; height = (H − 1)·stride − 2·padding + dilation·(kernel − 1) + output_padding + 1,
    width accordingly.
    Parameters: weight (in_channels, out_channels / groups, k_h, k_w); bias (out_channels); none if they are inputs.
    Work: MACs = batch × input positions × prod(weight); the bias is 1 add per output element.
    """

    out_channels: Size = size("C_out")
    kernel_size: tuple[int, int] = per_axis(minimum=1, symbol="k")
    stride: tuple[int, int] = per_axis(default=1, minimum=1)
    padding: tuple[int, int] = per_axis(default=0)
    output_padding: tuple[int, int] = per_axis(default=0)
    groups: Size = size("g", default=1)
    bias: bool = flag(default=True)
    dilation: tuple[int, int] = per_axis(default=1, minimum=1)

    rank = 4


@op
class ConvTranspose3d(TransposedConvolution):
    """A transposed convolution over depth, height and width, the adjoint of a convolution, torch.nn.ConvTranspose3d.

    Output: channels = out_channels; depth = (D − 1)·stride − 2·padding + dilation·(kernel − 1) + output_padding + 1,
    height and width accordingly.
    Parameters: weight (in_channels, out_channels / groups, k_d, k_h, k_w); bias (out_channels); none if they are
    inputs.
    Work: MACs = batch × input positions × prod(weight); the bias is 1 add per output element.
    """

    out_channels: Size = size("C_out")
    kernel_size: tuple[int, ...] = per_axis(minimum=1, symbol="k", axes=3)
    stride: tuple[int, ...] = per_axis(default=1, minimum=1, axes=3)
    padding: tuple[int, ...] = per_axis(default=0, axes=3)
    output_padding: tuple[int, ...] = per_axis(default=0, axes=3)
    groups: Size = size("g", default=1)
    bias: bool = flag(default=True)
    dilation: tuple[int, ...] = per_axis(default=1, minimum=1, axes=3)

    rank = 5


def window_requirements(plane: list[Size], windows: tuple[Window, ...]) -> Iterator[Requirement]:
    """Yield the requirement, per axis, that the window fits into the padded input."""
    for axis, n, w in zip(operand_dim_names(2 + len(windows))[2:], plane, windows, strict=True):
        extent = w.dilation * (w.kernel - 1) + 1
        dilated = f" (dilated to {extent})" if w.dilation > 1 else ""
        padded = f"the input of {{left}} (padding of {w.padding} included)" if w.padding else "the input of {left}"
        yield Requirement(
            n + 2 * w.padding, ">=", extent, f"a kernel of {w.kernel}{dilated} is larger than {padded} in {axis}"
        )
