"""Pools: layers that reduce the window they look through to one number, channel by channel."""

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
    """What all pools share: their work follows from the number of taps, the elements their windows look at.

    A window counts in full, also where it hangs over the border.
    """

    is_module = True
    rank = 4
    saves_input = True

    @abstractmethod
    def window_elements(self, inputs: tuple[Shape, ...], output: Shape) -> Size:
        """Elements looked at, over all windows."""

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        """That of an image as for any op; a sequence or a volume has no plane."""
        return super().layout(inputs, layouts) if self.rank == 4 else Layout.contiguous(len(inputs[0]))


class _MaxReduction(Pool):
    """A pool of compares, which finds the places of the largest elements, too."""

    return_indices: bool

    def extra_outputs(self, *inputs: Shape) -> tuple[Shape, ...]:
        return (self.output(*inputs),) if self.return_indices else ()

    def extra_element_types(self, *inputs: str) -> tuple[str, ...]:
        return ("int64",) if self.return_indices else ()

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        return Work(compares=self.window_elements(inputs, output) - prod(output))

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        indices = AuxiliaryOutput("indices", prod(output), element_size=INT64_BYTES)  # made at inference, too
        return _as_2d_pool(self, Kernel((0,), prod(output), saved=(0,), auxiliary_outputs=(indices,)), inputs)


class _MeanReduction(Pool):
    """A pool of adds."""

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        outputs = prod(output)
        return Work(adds=self.window_elements(inputs, output) - outputs, divs=outputs)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        return _as_2d_pool(self, Kernel((0,), prod(output), saved=(0,)), inputs)


def _as_2d_pool(op: Pool, kernel: Kernel, inputs: tuple[Shape, ...]) -> tuple[Kernel, ...]:
    """What a pool runs: of a sequence, it is one of an image of one row, and so between two views."""
    if op.rank != 3:
        return (kernel,)
    return (
        Kernel((0,), prod(inputs[0]), aliases=0, forwards_gradient=True),
        replace(kernel, differentiable_operands=(1,), saved=tuple([i + 1 for i in kernel.saved])),
        Kernel((2,), kernel.output_elements, aliases=2, forwards_gradient=True),
    )


class SlidingPool(Pool):
    """A pool with a kernel of fixed size and a stride."""

    kernel_size: tuple[int, ...]
    stride: tuple[int, ...] | None
    padding: tuple[int, ...]
    ceil_mode: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stride is None:
            object.__setattr__(self, "stride", self.kernel_size)
        for w in self.sliding_windows():
            if w.padding > w.kernel // 2:  # of the kernel undilated: so does torch
                raise OpError(f"padding must be at most half the kernel of {w.kernel}, not {w.padding}", "padding")

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        # In ceil mode a kernel may overhang the input; that the output is not empty is checked for every op.
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
        assert self.stride is not None  # made so above
        return tuple(map(Window, self.kernel_size, self.stride, self.padding))


class _MaxPool(SlidingPool, _MaxReduction):
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
    """The largest element of each window, torch.nn.MaxPool2d; the stride is the kernel's size unless given.

    Output: as a convolution's, or rounded up in ceil mode (a window that would start in the far padding is dropped); if
    return_indices, the places of these elements are a second result.
    Work: (k_h·k_w − 1) compares per output element, also at borders.
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
    """The mean of each window, torch.nn.AvgPool2d; the stride is the kernel's size unless given.

    Output: as max_pool2d. Work: (k_h·k_w − 1) adds and 1 div per output element, also at borders; count_include_pad and
    divisor_override change what the sum is divided by, not how much is computed.
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
        """Even windows where the input divides evenly; None for a single place, or where windows differ in size."""
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
    """The mean of each window, with windows that follow from the output size; base class for any rank."""

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        # A mean of the whole plane is a sum, whose gradient needs no value.
        keeps = () if self._is_global() else (0,)
        return _as_2d_pool(self, Kernel((0,), prod(output), saved=keeps), inputs)


@op
class AdaptiveAvgPool1d(AdaptiveAvgPool):
    """The means of an even division of a sequence into output_size windows, torch.nn.AdaptiveAvgPool1d.

    Output and Work: as adaptive_avg_pool2d, along one axis.
    """

    output_size: tuple[int | None, ...] = per_axis(minimum=1, axes=1)

    rank = 3


@op
class AdaptiveAvgPool2d(AdaptiveAvgPool):
    """The means of an even division of the plane into output_size windows, torch.nn.AdaptiveAvgPool2d.

    Output: output_size; an axis of None stays as it is. Work: one add per tap beyond a window's first and 1 div per
    output element; window i of an axis of n positions covers ceil((i+1)·n / out) − floor(i·n / out) of them.
    """

    output_size: tuple[int | None, ...] = per_axis(minimum=1, optional_axes=True)


@op
class AdaptiveAvgPool3d(AdaptiveAvgPool):
    """The means of an even division of a volume into output_size windows, torch.nn.AdaptiveAvgPool3d.

    Output and Work: as adaptive_avg_pool2d, along three axes.
    """

    output_size: tuple[int | None, ...] = per_axis(minimum=1, axes=3, optional_axes=True)

    rank = 5


@op
class GlobalAvgPool2d(AdaptiveAvgPool):
    """The mean of the whole plane, channel by channel (Lin et al., Network in Network, 2013): adaptive_avg_pool2d(1).

    Output: 1×1. Work: (H·W − 1) adds and 1 div per channel.
    """

    output_size = (1, 1)


class _AdaptiveMaxPool(_AdaptivePool, _MaxReduction):
    pass


@op
class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The largest elements of an even division of a sequence into output_size windows, torch.nn.AdaptiveMaxPool1d.

    Output and Work: as adaptive_max_pool2d, along one axis.
    """

    output_size: tuple[int | None, ...] = per_axis(minimum=1, axes=1)
    return_indices: bool = flag(default=False)

    rank = 3


@op
class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The largest elements of an even division of the plane into output_size windows, torch.nn.AdaptiveMaxPool2d.

    Output: output_size; an axis of None stays as it is; if return_indices, the places of these elements are a second
    result. Work: one compare per tap beyond a window's first, the windows being those of adaptive_avg_pool2d.
    """

    output_size: tuple[int | None, ...] = per_axis(minimum=1, optional_axes=True)
    return_indices: bool = flag(default=False)


@op
class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """The largest elements of an even division of a volume into output_size windows, torch.nn.AdaptiveMaxPool3d.

    Output and Work: as adaptive_max_pool2d, along three axes.
    """

    output_size: tuple[int | None, ...] = per_axis(minimum=1, axes=3, optional_axes=True)
    return_indices: bool = flag(default=False)

    rank = 5


def _adaptive_window_elements(n: Size, out: int | None) -> Size:
    return n if out is None else sum(ceil_div((i + 1) * n, out) - i * n // out for i in range(out))
