"""Pooling: layers that reduce each window of each channel to one number."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace

from costcalc.core.dtypes import INT64_BYTES
from costcalc.core.errors import OpError
from costcalc.core.sizes import Shape, Size, ceil_div, check_relation, prod, window_positions
from costcalc.ir.arguments import flag, integer, per_axis
from costcalc.ir.kernel import AuxiliaryOutput, Kernel
from costcalc.ir.layout import Layout
from costcalc.ir.op import Op, Requirement, Window, op
from costcalc.ir.ops.conv import window_requirements
from costcalc.ir.work import Work


class Pool(Op, ABC):
    """The base class of pooling layers: their work depends on the number of elements in all windows.

    A window counts in full where it overlaps the padding or the border.
    """

    is_module = True
    rank = 4
    saves_input = True

    @abstractmethod
    def window_elements(self, inputs: tuple[Shape, ...], output: Shape) -> Size:
        """Return the number of elements in all windows."""

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        """Return the layout of any op for images; a contiguous layout without a plane for sequences and volumes."""
        return super().layout(inputs, layouts) if self.rank == 4 else Layout.contiguous(len(inputs[0]))


class _MaxReduction(Pool):
    """A pooling by comparisons, which computes the indices of the largest elements, too."""

    return_indices: bool

    def extra_outputs(self, *inputs: Shape) -> tuple[Shape, ...]:
        return (self.output(*inputs),) if self.return_indices else ()

    def extra_element_types(self, *inputs: str) -> tuple[str, ...]:
        return ("int64",) if self.return_indices else ()

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        return Work(compares=self.window_elements(inputs, output) - prod(output))

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        indices = AuxiliaryOutput("indices", prod(output), element_size=INT64_BYTES)  # computed in inference, too
        return _as_2d_pool(self, Kernel((0,), prod(output), saved=(0,), auxiliary_outputs=(indices,)), inputs)


class _MeanReduction(Pool):
    """A pooling by sums."""

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        outputs = prod(output)
        return Work(adds=self.window_elements(inputs, output) - outputs, divs=outputs)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        return _as_2d_pool(self, Kernel((0,), prod(output), saved=(0,)), inputs)


def _as_2d_pool(op: Pool, kernel: Kernel, inputs: tuple[Shape, ...]) -> tuple[Kernel, ...]:
    """Return the kernels of a pooling layer: torch pools a sequence as an image with one row, between two views."""
    if op.rank != 3:
        return (kernel,)
    return (
        Kernel((0,), prod(inputs[0]), aliases=0, forwards_gradient=True),
        replace(kernel, differentiable_operands=(1,), saved=tuple([i + 1 for i in kernel.saved])),
        Kernel((2,), kernel.output_elements, aliases=2, forwards_gradient=True),
    )


class SlidingPool(Pool):
    """A pooling with a fixed kernel size and a stride."""

    kernel_size: tuple[int, ...]
    stride: tuple[int, ...] | None
    padding: tuple[int, ...]
    ceil_mode: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stride is None:
            object.__setattr__(self, "stride", self.kernel_size)
        for w in self.sliding_windows():
            if w.padding > w.kernel // 2:  # like torch, without dilation
                raise OpError(f"padding must be at most half the kernel of {w.kernel}, not {w.padding}", "padding")

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        # In ceil mode the kernel may overlap the end of the input. An empty output is refused for every op.
        if not self.ceil_mode:
            yield from window_requirements(list(inputs[0][2:]), self.sliding_windows())

    def output(self, *inputs: Shape) -> Shape:
        batch, channels, *plane = inputs[0]
        sizes = (
            window_positions(n, *w, ceil_mode=self.ceil_mode)
            for n, w in zip(plane, self.sliding_windows(), strict=True)
        )
        return (batch, channels, *sizes)

    def window_elements(self, inputs: tuple[Shape, ...], output: Shape) -> Size:
        return prod(output) * prod(self.kernel_size)

    def sliding_windows(self, *inputs: Shape) -> tuple[Window, ...]:
        assert self.stride is not None  # set in __post_init__
        return tuple(map(Window, self.kernel_size, self.stride, self.padding))


class _MaxPool(SlidingPool, _MaxReduction):
    """The largest element of each window; base class of max pools of any rank."""

    dilation: tuple[int, ...]

    def sliding_windows(self, *inputs: Shape) -> tuple[Window, ...]:
        return tuple(w._replace(dilation=d) for w, d in zip(super().sliding_windows(), self.dilation, strict=True))


@op
class MaxPool1d(_MaxPool):
    """The largest element of each window of a sequence, torch.nn.MaxPool1d.

    Output and Work: as max_pool2d, along one axis.
    """

    kernel_size: tuple[int, ...] = per_axis(minimum=1, symbol="k", axes=1)
    stride: tuple[int, ...] | None = per_axis(default=None, minimum=1, axes=1)
    padding: tuple[int, ...] = per_axis(default=0, axes=1)
    dilation: tuple[int, ...] = per_axis(default=1, minimum=1, axes=1)
    ceil_mode: bool = flag(default=False)
    return_indices: bool = flag(default=False)

    rank = 3


@op
class MaxPool2d(_MaxPool):
    """The largest element of each window, torch.nn.MaxPool2d; the default stride is the kernel size.

    Output: as conv2d, rounded up with ceil_mode (a window that would start in the padding at the end is dropped); with
    return_indices, a second result of the same shape has the indices of these elements.
    Work: (k_h·k_w − 1) compares per output element, borders included.
    """

    kernel_size: tuple[int, ...] = per_axis(minimum=1, symbol="k")
    stride: tuple[int, ...] | None = per_axis(default=None, minimum=1)
    padding: tuple[int, ...] = per_axis(default=0)
    dilation: tuple[int, ...] = per_axis(default=1, minimum=1)
    ceil_mode: bool = flag(default=False)
    return_indices: bool = flag(default=False)


@op
class MaxPool3d(_MaxPool):
    """The largest element of each window of a volume, torch.nn.MaxPool3d.

    Output and Work: as max_pool2d, along three axes.
    """

    kernel_size: tuple[int, ...] = per_axis(minimum=1, symbol="k", axes=3)
    stride: tuple[int, ...] | None = per_axis(default=None, minimum=1, axes=3)
    padding: tuple[int, ...] = per_axis(default=0, axes=3)
    dilation: tuple[int, ...] = per_axis(default=1, minimum=1, axes=3)
    ceil_mode: bool = flag(default=False)
    return_indices: bool = flag(default=False)

    rank = 5


class AvgPool(SlidingPool, _MeanReduction):
    """The mean of each window; base class of average pools of any rank."""

    count_include_pad: bool


@op
class AvgPool1d(AvgPool):
    """The mean of each window of a sequence, torch.nn.AvgPool1d.

    Output and Work: as avg_pool2d, along one axis.
    """

    kernel_size: tuple[int, ...] = per_axis(minimum=1, symbol="k", axes=1)
    stride: tuple[int, ...] | None = per_axis(default=None, minimum=1, axes=1)
    padding: tuple[int, ...] = per_axis(default=0, axes=1)
    ceil_mode: bool = flag(default=False)
    count_include_pad: bool = flag(default=True)

    rank = 3


@op
class AvgPool2d(AvgPool):
    """The mean of each window, torch.nn.AvgPool2d; the default stride is the kernel size.

    Output: as max_pool2d. Work: (k_h·k_w − 1) adds and 1 div per output element, borders included; count_include_pad
    and divisor_override change the divisor, not the work.
    """

    kernel_size: tuple[int, ...] = per_axis(minimum=1, symbol="k")
    stride: tuple[int, ...] | None = per_axis(default=None, minimum=1)
    padding: tuple[int, ...] = per_axis(default=0)
    ceil_mode: bool = flag(default=False)
    count_include_pad: bool = flag(default=True)
    divisor_override: int | None = integer(default=None, minimum=1)


@op
class AvgPool3d(AvgPool):
    """The mean of each window of a volume, torch.nn.AvgPool3d.

    Output and Work: as avg_pool2d, along three axes.
    """

    kernel_size: tuple[int, ...] = per_axis(minimum=1, symbol="k", axes=3)
    stride: tuple[int, ...] | None = per_axis(default=None, minimum=1, axes=3)
    padding: tuple[int, ...] = per_axis(default=0, axes=3)
    ceil_mode: bool = flag(default=False)
    count_include_pad: bool = flag(default=True)
    divisor_override: int | None = integer(default=None, minimum=1)

    rank = 5


class _AdaptivePool(Pool):
    """A pooling whose windows follow from the output size."""

    output_size: tuple[int | None, ...]

    def output(self, *inputs: Shape) -> Shape:
        batch, channels, *plane = inputs[0]
        return (batch, channels, *(n if out is None else out for n, out in zip(plane, self.output_size, strict=True)))

    def window_elements(self, inputs: tuple[Shape, ...], output: Shape) -> Size:
        batch, channels, *plane = inputs[0]
        return (
            batch
            * channels
            * prod(_adaptive_window_elements(n, out) for n, out in zip(plane, self.output_size, strict=True))
        )

    def sliding_windows(self, *inputs: Shape) -> tuple[Window, ...] | None:
        """Return the windows if the output size divides the input size; None otherwise, and for global pools."""
        if self._is_global():
            return None
        windows = []
        for n, out in zip(inputs[0][2:], self.output_size, strict=True):
            if out is not None and not check_relation(n, "multiple of", out).answer:
                return None
            windows.append(Window(1) if out is None else Window(kernel=n // out, stride=n // out))
        return tuple(windows)

    def _is_global(self) -> bool:
        return all(out == 1 for out in self.output_size)


class AdaptiveAvgPool(_AdaptivePool, _MeanReduction):
    """The mean of each adaptive window; base class of adaptive average pools of any rank."""

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        # torch computes a global mean as torch.mean, whose gradient needs no saved tensor.
        saved = () if self._is_global() else (0,)
        return _as_2d_pool(self, Kernel((0,), prod(output), saved=saved), inputs)


@op
class AdaptiveAvgPool1d(AdaptiveAvgPool):
    """The mean of each of output_size windows that divide a sequence evenly, torch.nn.AdaptiveAvgPool1d.

    Output and Work: as adaptive_avg_pool2d, along one axis.
    """

    output_size: tuple[int | None, ...] = per_axis(minimum=1, axes=1)

    rank = 3


@op
class AdaptiveAvgPool2d(AdaptiveAvgPool):
    """The mean of each of output_size windows that divide the plane evenly, torch.nn.AdaptiveAvgPool2d.

    Output: output_size, where None preserves the size of an axis. Work: 1 add for each element of a window after its
    first, and 1 div per output element; window i of an axis of size n has ceil((i+1)·n / out) − floor(i·n / out)
    elements.
    """

    output_size: tuple[int | None, ...] = per_axis(minimum=1, optional_axes=True)


@op
class AdaptiveAvgPool3d(AdaptiveAvgPool):
    """The mean of each of output_size windows that divide a volume evenly, torch.nn.AdaptiveAvgPool3d.

    Output and Work: as adaptive_avg_pool2d, along three axes.
    """

    output_size: tuple[int | None, ...] = per_axis(minimum=1, axes=3, optional_axes=True)

    rank = 5


@op
class GlobalAvgPool2d(AdaptiveAvgPool):
    """The mean of each channel (Lin et al., Network in Network, 2013), equal to adaptive_avg_pool2d(1).

    Output: (batch, channels, 1, 1). Work: (H·W − 1) adds and 1 div per channel.
    """

    output_size = (1, 1)


class _AdaptiveMaxPool(_AdaptivePool, _MaxReduction):
    """The largest element of each adaptive window; base class of adaptive max pools of any rank."""


@op
class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The largest element of each of output_size windows that divide a sequence evenly, torch.nn.AdaptiveMaxPool1d.

    Output and Work: as adaptive_max_pool2d, along one axis.
    """

    output_size: tuple[int | None, ...] = per_axis(minimum=1, axes=1)
    return_indices: bool = flag(default=False)

    rank = 3


@op
class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The largest element of each of output_size windows that divide the plane evenly, torch.nn.AdaptiveMaxPool2d.

    Output: output_size, where None preserves the size of an axis; with return_indices, a second result of the same
    shape has the indices of these elements. Work: 1 compare for each element of a window after its first; the windows
    are those of adaptive_avg_pool2d.
    """

    output_size: tuple[int | None, ...] = per_axis(minimum=1, optional_axes=True)
    return_indices: bool = flag(default=False)


@op
class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """The largest element of each of output_size windows that divide a volume evenly, torch.nn.AdaptiveMaxPool3d.

    Output and Work: as adaptive_max_pool2d, along three axes.
    """

    output_size: tuple[int | None, ...] = per_axis(minimum=1, axes=3, optional_axes=True)
    return_indices: bool = flag(default=False)

    rank = 5


def _adaptive_window_elements(n: Size, out: int | None) -> Size:
    """Return the sum of the window sizes along an axis of `n` elements."""
    return n if out is None else sum(ceil_div((i + 1) * n, out) - i * n // out for i in range(out))
