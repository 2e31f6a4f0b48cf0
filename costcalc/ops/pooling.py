"""Pools: layers that reduce the window they look through to one number, channel by channel."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from costcalc.costs import Work
from costcalc.dims import Shape, Size, ceil_div, known, prod, window
from costcalc.errors import OpError
from costcalc.ops.convolution import windows_fit
from costcalc.ops.kernel import INT64, Beside, Kernel
from costcalc.ops.op import Op, Requirement, Window, flag, op, per_axis


class Pool(Op, ABC):
    """What all pools share: their work follows from the number of taps, the elements their windows look at.

    A window counts in full, also where it hangs over the border.
    """

    rank = 4
    keeps_input = True

    @abstractmethod
    def taps(self, inputs: tuple[Shape, ...], output: Shape) -> Size:
        """Elements looked at, over all windows."""


class _SlidingPool(Pool):
    kernel_size: tuple[int, int]
    stride: tuple[int, int] | None
    padding: tuple[int, int]
    ceil_mode: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stride is None:
            object.__setattr__(self, "stride", self.kernel_size)
        for w in self.windows():
            if w.padding > w.kernel // 2:  # of the kernel undilated: so does torch
                raise OpError(f"padding must be at most half the kernel of {w.kernel}, not {w.padding}", "padding")

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        # In ceil mode a kernel may overhang the input; that the output is not empty is checked for every op.
        if not self.ceil_mode:
            yield from windows_fit(list(inputs[0][2:]), self.windows())

    def output(self, *inputs: Shape) -> Shape:
        batch, channels, *plane = inputs[0]
        sizes = (window(n, *w, ceil_mode=self.ceil_mode) for n, w in zip(plane, self.windows(), strict=True))
        return (batch, channels, *sizes)

    def taps(self, inputs: tuple[Shape, ...], output: Shape) -> Size:
        return prod(output) * prod(self.kernel_size)

    def windows(self, *inputs: Shape) -> tuple[Window, ...]:
        assert self.stride is not None  # made so above
        return tuple(map(Window, self.kernel_size, self.stride, self.padding))


@op
class MaxPool2d(_SlidingPool):
    """The largest element of each window, torch.nn.MaxPool2d; the stride is the kernel's size unless given.

    Output: as a convolution's, or rounded up in ceil mode (a window that would start in the far padding is dropped).
    Work: (k_h·k_w − 1) compares per output element, also at borders.
    """

    kernel_size: tuple[int, int] = per_axis(least=1, symbol="k")
    stride: tuple[int, int] | None = per_axis(default=None, least=1)
    padding: tuple[int, int] = per_axis(default=0)
    dilation: tuple[int, int] = per_axis(default=1, least=1)
    ceil_mode: bool = flag(default=False)

    def windows(self, *inputs: Shape) -> tuple[Window, ...]:
        return tuple(w._replace(dilation=d) for w, d in zip(super().windows(), self.dilation, strict=True))

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        return Work(compares=self.taps(inputs, output) - prod(output))

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        indices = Beside("indices", prod(output), INT64)  # of the largest elements, made at inference, too
        return (Kernel((0,), prod(output), keeps=(0,), beside=(indices,)),)


@op
class AvgPool2d(_SlidingPool):
    """The mean of each window, torch.nn.AvgPool2d; the stride is the kernel's size unless given.

    Output: as max_pool2d. Work: (k_h·k_w − 1) adds and 1 div per output element, also at borders;
    count_include_pad changes what the sum is divided by, not how much is computed.
    """

    kernel_size: tuple[int, int] = per_axis(least=1, symbol="k")
    stride: tuple[int, int] | None = per_axis(default=None, least=1)
    padding: tuple[int, int] = per_axis(default=0)
    ceil_mode: bool = flag(default=False)
    count_include_pad: bool = flag(default=True)

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        outputs = prod(output)
        return Work(adds=self.taps(inputs, output) - outputs, divs=outputs)


class _AdaptivePool(Pool):
    output_size: tuple[int, int]

    def output(self, *inputs: Shape) -> Shape:
        batch, channels, *_ = inputs[0]
        return (batch, channels, *self.output_size)

    def taps(self, inputs: tuple[Shape, ...], output: Shape) -> Size:
        batch, channels, *plane = inputs[0]
        return batch * channels * prod(_adaptive_taps(n, out) for n, out in zip(plane, self.output_size, strict=True))

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        outputs = prod(output)
        return Work(adds=self.taps(inputs, output) - outputs, divs=outputs)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        # A mean of the whole plane is a sum, whose gradient needs no value.
        return (Kernel((0,), prod(output), keeps=() if self.output_size == (1, 1) else (0,)),)

    def windows(self, *inputs: Shape) -> tuple[Window, ...] | None:
        """Even windows where the input divides evenly; None for a single place, or where windows differ in size."""
        if self.output_size == (1, 1):
            return None
        windows = []
        for n, out in zip(inputs[0][2:], self.output_size, strict=True):
            if not known(n, "multiple of", out).answer:
                return None
            windows.append(Window(kernel=n // out, stride=n // out))
        return tuple(windows)


@op
class AdaptiveAvgPool2d(_AdaptivePool):
    """The means of an even division of the plane into output_size windows, torch.nn.AdaptiveAvgPool2d.

    Output: output_size. Work: one add per tap beyond a window's first and 1 div per output element; window i of an
    axis of n positions covers ceil((i+1)·n / out) − floor(i·n / out) of them.
    """

    output_size: tuple[int, int] = per_axis(least=1)


@op
class GlobalAvgPool2d(_AdaptivePool):
    """The mean of the whole plane, channel by channel (Lin et al., Network in Network, 2013): adaptive_avg_pool2d(1).

    Output: 1×1. Work: (H·W − 1) adds and 1 div per channel.
    """

    output_size = (1, 1)


def _adaptive_taps(n: Size, out: int) -> Size:
    return sum(ceil_div((i + 1) * n, out) - i * n // out for i in range(out))
