"""Layers that lay a plane out anew: interpolation, shuffles between channels and places, and patches as columns."""

from __future__ import annotations

from collections.abc import Iterator

from costcalc.core.axes import PLANE_DIM_NAMES
from costcalc.core.errors import OpError
from costcalc.core.sizes import Shape, Size, exact_div, format_shape, prod, size_min, window_positions
from costcalc.ir.arguments import choice, flag, integer, numbers, per_axis, shape
from costcalc.ir.layout import Layout
from costcalc.ir.op import Op, Requirement, Window, op
from costcalc.ir.ops.conv import window_requirements
from costcalc.ir.work import Work

# Of a mode of interpolation: the elements that it looks at along an axis, and the axes it is for (None: any number).
_KERNEL_WIDTH = {"nearest": 1, "nearest-exact": 1, "linear": 2, "bilinear": 2, "bicubic": 4, "trilinear": 2}
_AXES = {"nearest": None, "nearest-exact": None, "linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}


def _interpolation_work(taps: int, axes: int) -> Work:
    """One element between taps^axes others: along one axis first, then what that gives along the next, and so on."""
    if taps == 1:
        return Work()
    return Work(muls=sum(taps**axis for axis in range(1, axes + 1)), adds=taps**axes - 1)


@op
class Interpolate(Op):
    """The plane (a sequence, a volume) at another size, torch.nn.functional.interpolate and torch.nn.Upsample.

    Output: size, or each axis times its scale_factor, rounded down. Work: nearest none; per output element, linear 2
    muls and 1 add, bilinear 6 muls and 3 adds, trilinear 14 muls and 7 adds, bicubic 20 muls and 15 adds, axis by axis;
    the weights depend on the place alone and are not counted. With antialias the height and the width are resampled one
    after the other, 1 mul and 1 add per tap, with 2 taps (bilinear) or 4 (bicubic) per output element where it grows,
    and as many per input element where it shrinks. Mode area is adaptive_avg_pool2d.
    """

    size: tuple[Size, ...] | None = shape(default=None)
    scale_factor: tuple[float, ...] | None = numbers(default=None)
    mode: str = choice(*_KERNEL_WIDTH, default="nearest")
    align_corners: bool | None = flag(default=None)
    antialias: bool = flag(default=False)

    is_module = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.size is None) == (self.scale_factor is None):
            raise OpError("interpolate takes either a size or a scale_factor", "size")
        if self.scale_factor is not None and not all(factor > 0 for factor in self.scale_factor):
            raise OpError("scale_factor must be positive", "scale_factor")
        if self.antialias and self.mode not in ("bilinear", "bicubic"):
            raise OpError("antialias goes with bilinear and bicubic", "antialias")
        axes = len(self.size or self.scale_factor or ())
        if _AXES[self.mode] not in (None, axes):
            raise OpError(f"{self.mode} is along {_AXES[self.mode]} axes, not {axes}", "mode")

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        axes = len(self.size or self.scale_factor or ())
        if len(inputs[0]) != axes + 2:
            wanted = f"an interpolation along {axes} axes takes an input of {axes + 2} sizes"
            raise OpError(f"{wanted}, not {format_shape(inputs[0])}")
        return iter(())

    def output(self, *inputs: Shape) -> Shape:
        batch, channels, *plane = inputs[0]
        if self.size is not None:
            return (batch, channels, *self.size)
        return (batch, channels, *map(_scaled, plane, self.scale_factor or ()))

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        taps, (batch, channels, *places) = _KERNEL_WIDTH[self.mode], output
        if not self.antialias:
            return _interpolation_work(taps, len(places)) * prod(output)
        (height, width), (high, wide) = inputs[0][2:], places
        columns = batch * channels * height  # of as many rows each
        looked_at = columns * taps * _size_max(width, wide) + batch * channels * wide * taps * _size_max(height, high)
        return Work(muls=looked_at, adds=looked_at - columns * wide - prod(output))

    def sliding_windows(self, *inputs: Shape) -> tuple[Window, ...] | None:
        return None

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return _image_layout(layouts[0], len(inputs[0]))


def _scaled(n: Size, factor: float) -> Size:
    """What torch makes of n times a factor that is near a fraction of small numbers: the floor of that."""
    from fractions import Fraction

    by = Fraction(factor).limit_denominator(1_000_000)
    return n * by.numerator if by.denominator == 1 else n * by.numerator // by.denominator


def _size_max(a: Size, b: Size) -> Size:
    return -size_min(-a, -b)


def _image_layout(layout: Layout, rank: int) -> Layout:
    """The same rank, with the plane in dimensions 2 and 3, and the channels last where they were."""
    image = Layout.contiguous(rank)
    return Layout(image.spatial_dims, layout.dim_order) if rank == 4 and layout.dim_order == (0, 2, 3, 1) else image


@op
class PixelShuffle(Op):
    """Channels laid out as places, torch.nn.PixelShuffle: r² channels become one plane r times as high and wide.

    Output: channels / r², height · r, width · r. Work: none. Source: Shi et al., 2016.
    """

    upscale_factor: int = integer(minimum=1, symbol="r")

    is_module = True
    rank = 4

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        message = "{left} channels are no multiple of the factor's square, {right}"
        yield Requirement(inputs[0][1], "multiple of", self.upscale_factor**2, message)

    def output(self, *inputs: Shape) -> Shape:
        (batch, channels, height, width), r = inputs[0], self.upscale_factor
        return (batch, exact_div(channels, r * r), height * r, width * r)

    def sliding_windows(self, *inputs: Shape) -> tuple[Window, ...] | None:
        return None


@op
class PixelUnshuffle(Op):
    """Places laid out as channels, torch.nn.PixelUnshuffle: pixel_shuffle backwards.

    Output: channels · r², height / r, width / r. Work: none.
    """

    downscale_factor: int = integer(minimum=1, symbol="r")

    is_module = True
    rank = 4

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        for axis, n in zip(PLANE_DIM_NAMES, inputs[0][2:], strict=True):
            yield Requirement(
                n, "multiple of", self.downscale_factor, f"a {axis} of {{left}} is no multiple of {{right}}"
            )

    def output(self, *inputs: Shape) -> Shape:
        (batch, channels, height, width), r = inputs[0], self.downscale_factor
        return (batch, channels * r * r, exact_div(height, r), exact_div(width, r))

    def sliding_windows(self, *inputs: Shape) -> tuple[Window, ...]:
        return (Window(self.downscale_factor, self.downscale_factor),) * 2


@op
class ChannelShuffle(Op):
    """Channels in another order, the groups' first ones first, torch.nn.ChannelShuffle.

    Output: as the input. Work: none. Source: Zhang et al., ShuffleNet, 2017.
    """

    groups: int = integer(minimum=1, symbol="g")

    is_module = True

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        if len(inputs[0]) < 3:
            raise OpError(f"channel_shuffle takes an input of 3 sizes at least, not {format_shape(inputs[0])}")
        message = "{left} channels cannot be split into {right} groups"
        yield Requirement(inputs[0][1], "multiple of", self.groups, message)


@op
class GridSample(Op):
    """The input at the places that a further input, the grid, says, torch.nn.functional.grid_sample.

    Inputs: the plane (a volume), and the grid (batch, places along each axis, coordinates). Output: batch, channels,
    the grid's places. Work: per output element nearest none, bilinear 6 muls and 3 adds (14 and 7 of a volume), bicubic
    20 muls and 15 adds, as interpolate; for each coordinate of a place 1 mul and 1 add.
    """

    mode: str = choice("bilinear", "nearest", "bicubic", default="bilinear")
    padding_mode: str = choice("zeros", "border", "reflection", default="zeros")
    align_corners: bool = flag(default=False)

    is_module = True
    arity = (2, 2)
    saves_input = True

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        taken, grid = inputs
        if len(taken) not in (4, 5) or len(grid) != len(taken):
            raise OpError(
                f"grid_sample takes an image or a volume and a grid, not {format_shape(taken)}, {format_shape(grid)}"
            )
        if self.mode == "bicubic" and len(taken) != 4:
            raise OpError("bicubic is for images alone", "mode")
        yield Requirement(grid[0], "==", taken[0], "the grid is for {left} images, and there are {right}")
        yield Requirement(
            grid[-1], "==", len(taken) - 2, "a place of the grid has {left} coordinates, and needs {right}"
        )

    def output(self, *inputs: Shape) -> Shape:
        return (*inputs[0][:2], *inputs[1][1:-1])

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        axes = len(output) - 2
        return _interpolation_work(_KERNEL_WIDTH[self.mode], axes) * prod(output) + Work(muls=1, adds=1) * prod(
            inputs[1]
        )

    def sliding_windows(self, *inputs: Shape) -> tuple[Window, ...] | None:
        return None

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return _image_layout(layouts[0], len(inputs[0]))


@op
class Unfold(Op):
    """The patches that a window slides over, as columns, torch.nn.Unfold (im2col).

    Output: batch, channels · k_h · k_w, places. Work: none.
    """

    kernel_size: tuple[int, int] = per_axis(minimum=1, symbol="k")
    dilation: tuple[int, int] = per_axis(default=1, minimum=1)
    padding: tuple[int, int] = per_axis(default=0)
    stride: tuple[int, int] = per_axis(default=1, minimum=1)

    is_module = True
    rank = 4

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        yield from window_requirements(list(inputs[0][2:]), _patch_windows(self))

    def output(self, *inputs: Shape) -> Shape:
        batch, channels, *plane = inputs[0]
        return (batch, channels * prod(self.kernel_size), _num_patches(tuple(plane), self))

    def sliding_windows(self, *inputs: Shape) -> tuple[Window, ...] | None:
        return None

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return Layout.contiguous(3)


@op
class Fold(Op):
    """Columns added up where the patches lay that they are, torch.nn.Fold (col2im): unfold's other way.

    Output: batch, channels / (k_h · k_w), output_size. Work: 1 add per input element.
    """

    output_size: tuple[Size, ...] = shape()
    kernel_size: tuple[int, int] = per_axis(minimum=1, symbol="k")
    dilation: tuple[int, int] = per_axis(default=1, minimum=1)
    padding: tuple[int, int] = per_axis(default=0)
    stride: tuple[int, int] = per_axis(default=1, minimum=1)

    is_module = True
    rank = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.output_size) != 2:
            raise OpError(f"output_size is a height and a width, not {format_shape(self.output_size)}", "output_size")

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        yield from window_requirements(list(self.output_size), _patch_windows(self))
        message = "{left} channels are no multiple of the {right} places of a patch"
        yield Requirement(inputs[0][1], "multiple of", prod(self.kernel_size), message)
        message = "there are {left} patches, and {right} places for them"
        yield Requirement(inputs[0][2], "==", _num_patches(self.output_size, self), message)

    def output(self, *inputs: Shape) -> Shape:
        batch, channels, _ = inputs[0]
        return (batch, exact_div(channels, prod(self.kernel_size)), *self.output_size)

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        return Work(adds=prod(inputs[0]))

    def sliding_windows(self, *inputs: Shape) -> tuple[Window, ...] | None:
        return None

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return Layout.contiguous(4)


def _patch_windows(op: Unfold | Fold) -> tuple[Window, ...]:
    return tuple(map(Window, op.kernel_size, op.stride, op.padding, op.dilation))


def _num_patches(plane: Shape, op: Unfold | Fold) -> Size:
    return prod(window_positions(n, *w) for n, w in zip(plane, _patch_windows(op), strict=True))
