"""Interpolation, pixel and channel shuffles, grid sampling, and the conversion of patches to columns and back."""

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

# By interpolation mode: the input elements per output element along an axis, and the number of axes (None: any).
_KERNEL_WIDTH = {"nearest": 1, "nearest-exact": 1, "linear": 2, "bilinear": 2, "bicubic": 4, "trilinear": 2}
_AXES = {"nearest": None, "nearest-exact": None, "linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}


def _interpolation_work(taps: int, axes: int) -> Work:
    """Return the work of one element interpolated from taps^axes others, one axis after another."""
    if taps == 1:
        return Work()
    return Work(muls=sum(taps**axis for axis in range(1, axes + 1)), adds=taps**axes - 1)


@op
class Interpolate(Op):
    """A sequence, plane or volume resized, torch.nn.functional.interpolate and torch.nn.Upsample.

    Output: size, or each axis times its scale_factor, rounded down. Work: nearest none; per output element, linear 2
    muls and 1 add, bilinear 6 muls and 3 adds, trilinear 14 muls and 7 adds, bicubic 20 muls and 15 adds, axis by axis;
    the weights depend only on the position and are not counted. With antialias, the width and the height are resampled
    one after the other, with 1 mul and 1 add per product: 2 products (bilinear) or 4 (bicubic) per output element of an
    axis that grows, and per input element of an axis that shrinks. Mode area is adaptive_avg_pool2d.
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
            raise OpError("antialias needs mode bilinear or bicubic", "antialias")
        axes = len(self.size or self.scale_factor or ())
        if _AXES[self.mode] not in (None, axes):
            raise OpError(f"mode {self.mode} needs {_AXES[self.mode]} axes, not {axes}", "mode")

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        axes = len(self.size or self.scale_factor or ())
        if len(inputs[0]) != axes + 2:
            wanted = f"an interpolation along {axes} axes takes an input of {axes + 2} dimensions"
            raise OpError(f"{wanted}, not {format_shape(inputs[0])}")
        return iter(())

    def output(self, *inputs: Shape) -> Shape:
        batch, channels, *plane = inputs[0]
        if self.size is not None:
            return (batch, channels, *self.size)
        return (batch, channels, *map(_scaled, plane, self.scale_factor or ()))

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        taps, (batch, channels, *plane) = _KERNEL_WIDTH[self.mode], output
        if not self.antialias:
            return _interpolation_work(taps, len(plane)) * prod(output)
        (height, width), (out_height, out_width) = inputs[0][2:], plane
        planes = batch * channels
        horizontal = planes * height * taps * _size_max(width, out_width)
        vertical = planes * out_width * taps * _size_max(height, out_height)
        products = horizontal + vertical
        return Work(muls=products, adds=products - planes * height * out_width - prod(output))

    def sliding_windows(self, *inputs: Shape) -> tuple[Window, ...] | None:
        return None

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return _image_layout(layouts[0], len(inputs[0]))


def _scaled(n: Size, factor: float) -> Size:
    """Return floor(n · factor), with the factor as the nearest fraction with a small denominator."""
    from fractions import Fraction

    ratio = Fraction(factor).limit_denominator(1_000_000)
    return n * ratio.numerator if ratio.denominator == 1 else n * ratio.numerator // ratio.denominator


def _size_max(a: Size, b: Size) -> Size:
    return -size_min(-a, -b)


def _image_layout(layout: Layout, rank: int) -> Layout:
    """Return the layout of an image with the plane in dimensions 2 and 3; channels last is preserved."""
    image = Layout.contiguous(rank)
    return Layout(image.spatial_dims, layout.dim_order) if rank == 4 and layout.dim_order == (0, 2, 3, 1) else image


@op
class PixelShuffle(Op):
    """Channels rearranged to positions, torch.nn.PixelShuffle: r² channels become one, r times as high and wide.

    Output: channels / r², height · r, width · r. Work: none. Source: Shi et al., 2016.
    """

    upscale_factor: int = integer(minimum=1, symbol="r")

    is_module = True
    rank = 4

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        message = "{left} channels are not a multiple of upscale_factor squared, {right}"
        yield Requirement(inputs[0][1], "multiple of", self.upscale_factor**2, message)

    def output(self, *inputs: Shape) -> Shape:
        (batch, channels, height, width), r = inputs[0], self.upscale_factor
        return (batch, exact_div(channels, r * r), height * r, width * r)

    def sliding_windows(self, *inputs: Shape) -> tuple[Window, ...] | None:
        return None


@op
class PixelUnshuffle(Op):
    """Positions rearranged to channels, torch.nn.PixelUnshuffle: the inverse of pixel_shuffle.

    Output: channels · r², height / r, width / r. Work: none.
    """

    downscale_factor: int = integer(minimum=1, symbol="r")

    is_module = True
    rank = 4

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        for axis, n in zip(PLANE_DIM_NAMES, inputs[0][2:], strict=True):
            yield Requirement(
                n, "multiple of", self.downscale_factor, f"a {axis} of {{left}} is not a multiple of {{right}}"
            )

    def output(self, *inputs: Shape) -> Shape:
        (batch, channels, height, width), r = inputs[0], self.downscale_factor
        return (batch, channels * r * r, exact_div(height, r), exact_div(width, r))

    def sliding_windows(self, *inputs: Shape) -> tuple[Window, ...]:
        return (Window(self.downscale_factor, self.downscale_factor),) * 2


@op
class ChannelShuffle(Op):
    """Channels interleaved across groups, torch.nn.ChannelShuffle.

    Output: the input shape. Work: none. Source: Zhang et al., ShuffleNet, 2017.
    """

    groups: int = integer(minimum=1, symbol="g")

    is_module = True

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        if len(inputs[0]) < 3:
            raise OpError(f"channel_shuffle takes an input of 3 or more dimensions, not {format_shape(inputs[0])}")
        message = "{left} channels cannot be split into {right} groups"
        yield Requirement(inputs[0][1], "multiple of", self.groups, message)


@op
class GridSample(Op):
    """The input sampled at the coordinates in a grid, torch.nn.functional.grid_sample.

    Inputs: an image or a volume, and the grid (batch, *positions, coordinates). Output: (batch, channels, *positions).
    Work: per output element as interpolate, nearest none, bilinear 6 muls and 3 adds (14 and 7 for a volume), bicubic
    20 muls and 15 adds; per coordinate in the grid 1 mul and 1 add.
    """

    mode: str = choice("bilinear", "nearest", "bicubic", default="bilinear")
    padding_mode: str = choice("zeros", "border", "reflection", default="zeros")
    align_corners: bool = flag(default=False)

    is_module = True
    arity = (2, 2)
    saves_input = True

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        image, grid = inputs
        if len(image) not in (4, 5) or len(grid) != len(image):
            raise OpError(
                f"grid_sample needs an input and a grid of 4 dimensions each, or of 5, not {format_shape(image)} and "
                f"{format_shape(grid)}"
            )
        if self.mode == "bicubic" and len(image) != 4:
            raise OpError("mode bicubic needs an image, not a volume", "mode")
        yield Requirement(grid[0], "==", image[0], "the grid has a batch of {left}, the input of {right}")
        yield Requirement(
            grid[-1], "==", len(image) - 2, "the last size of the grid must be {right} coordinates, not {left}"
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
    """The patches of a sliding window as columns, torch.nn.Unfold (im2col).

    Output: batch, channels · k_h · k_w, window positions. Work: none.
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
    """Columns added to the patches of an image, torch.nn.Fold (col2im): the adjoint of unfold.

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
            raise OpError(
                f"output_size must be a height and a width, not {format_shape(self.output_size)}", "output_size"
            )

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        yield from window_requirements(list(self.output_size), _patch_windows(self))
        message = "{left} channels are not a multiple of the {right} elements of a patch"
        yield Requirement(inputs[0][1], "multiple of", prod(self.kernel_size), message)
        message = "the input has {left} patches, but output_size needs {right}"
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
