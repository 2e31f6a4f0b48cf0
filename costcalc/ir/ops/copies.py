"""Layers that make a new tensor of elements that there are, or overwrite one, without computing."""

from __future__ import annotations

from collections.abc import Iterator

from costcalc.core.axes import dim_label, normalize_dim
from costcalc.core.dtypes import ELEMENT_TYPES
from costcalc.core.errors import OpError
from costcalc.core.sizes import Shape, Size, ceil_div, check_relation, format_shape, identical, prod
from costcalc.ir.arguments import choice, integer, integers, number, per_axis, sides, size
from costcalc.ir.arguments import shape as extents
from costcalc.ir.broadcasting import (
    describe_inputs,
)
from costcalc.ir.kernel import Kernel
from costcalc.ir.layout import CHANNELS_LAST, Layout
from costcalc.ir.op import Op, Requirement, Window, op


def contiguous_layout(layout: Layout, rank: int | None = None) -> Layout:
    """That of a tensor that is made anew, its dimensions in order; of another rank, without a plane."""
    same_rank = rank is None or rank == len(layout.dim_order)
    return Layout(
        layout.spatial_dims if same_rank else None, tuple(range(len(layout.dim_order) if rank is None else rank))
    )


@op
class Clone(Op):
    """A copy, torch.clone; in memory it lies as the input does, or as `memory_format` says.

    Output: the input's sizes. Work: none.
    """

    memory_format: str = choice("preserve", "contiguous", default="preserve")

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        return (Kernel((0,), prod(output), forwards_gradient=True),)

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return super().layout(inputs, layouts) if self.memory_format == "preserve" else contiguous_layout(layouts[0])


@op
class Cast(Op):
    """Elements of another kind, torch.Tensor.to: whole numbers or truth values of floats, or the other way round.

    Output: the input's sizes, of elements that are what `dtype` says. Work: none.
    """

    dtype: str = choice(*ELEMENT_TYPES)

    def element_type(self, *inputs: str) -> str:
        return self.dtype

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        return (Kernel((0,) if self.dtype == "float" else (), prod(output), forwards_gradient=True),)


@op
class Repeat(Op):
    """A tensor so many times along each dimension, torch.Tensor.repeat: a copy.

    Output: sizes times `repeats`, of which there may be more than the input has dimensions: then 1s stand before its
    sizes. Work: none.
    """

    repeats: tuple[Size, ...] = extents()

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        if len(self.repeats) < len(inputs[0]):
            message = f"repeats {list(self.repeats)} must be as many as sizes: {format_shape(inputs[0])}"
            raise OpError(message, "repeats")
        return iter(())

    def output(self, *inputs: Shape) -> Shape:
        new = len(self.repeats) - len(inputs[0])
        taken = (*[1] * new, *inputs[0])
        return tuple([n * times for n, times in zip(taken, self.repeats, strict=True)])

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return contiguous_layout(layouts[0], len(self.repeats))

    def sliding_windows(self, *inputs: Shape) -> None:
        return None


@op
class RepeatInterleave(Op):
    """Each place of a dimension so many times, one after the other, torch.repeat_interleave: a copy.

    Output: that size times `repeats`. Work: none.
    """

    repeats: Size = size("r")
    dim: int = integer()

    def output(self, *inputs: Shape) -> Shape:
        place = normalize_dim(self.dim, len(inputs[0]))
        return (*inputs[0][:place], inputs[0][place] * self.repeats, *inputs[0][place + 1 :])

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        count, made = prod(inputs[0]), prod(output)
        return (
            Kernel((0,), count, aliases=0, forwards_gradient=True),  # 1: with a dimension more
            Kernel(
                (1,), made, aliases=1, forwards_gradient=bool(check_relation(made, "==", count).answer)
            ),  # 2: repeated along it
            Kernel((2,), made, forwards_gradient=True),  # 3: copied
            Kernel((3,), made, aliases=3, forwards_gradient=True),
        )

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return contiguous_layout(layouts[0])

    def sliding_windows(self, *inputs: Shape) -> None:
        return None


@op
class Stack(Op):
    """Tensors of one shape as one, along a new dimension `dim`, torch.stack.

    Output: the inputs' sizes, and how many they are at place `dim`. Work: none.
    """

    dim: int = integer(default=0)

    arity = (1, None)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        for number_, other in enumerate(inputs[1:], start=2):
            message = f"stack takes inputs of one shape: input 1 is {format_shape(inputs[0])}, input {number_} is "
            message += format_shape(other)
            if len(other) != len(inputs[0]):
                raise OpError(message)
            pairs = zip(other, inputs[0], strict=True)
            yield from (Requirement(a, "==", b, message) for a, b in pairs if not identical(a, b))

    def output(self, *inputs: Shape) -> Shape:
        place = normalize_dim(self.dim, len(inputs[0]) + 1)
        return (*inputs[0][:place], len(inputs), *inputs[0][place:])

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        from costcalc.ir.ops.slicing import Select

        parts = tuple([Select(self.dim, place) for place in range(len(inputs))])
        return (
            Kernel(
                tuple(range(len(inputs))), prod(output), forwards_gradient=True, output_shape=output, gradient_ops=parts
            ),
        )

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        rank, plane = len(inputs[0]) + 1, layouts[0].spatial_dims
        place = normalize_dim(self.dim, rank)
        moved = None if plane is None else (plane[0] + (plane[0] >= place), plane[1] + (plane[1] >= place))
        if place == rank - 1 or any(layout.dim_order != CHANNELS_LAST for layout in layouts):
            return Layout(moved, tuple(range(rank)))
        # torch joins them along that dimension, which keeps the channels last, and splits it
        order = [[d, d + 1] if d == place else [d + (d > place)] for d in CHANNELS_LAST]
        return Layout(moved, tuple([d for dims in order for d in dims]))


@op
class Flip(Op):
    """Dimensions back to front, torch.flip: a copy.

    Output: the input's sizes. Work: none.
    """

    dims: tuple[int, ...] = integers()

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        for d in self.dims:
            normalize_dim(d, len(inputs[0]), "dims")
        return iter(())

    def sliding_windows(self, *inputs: Shape) -> None:
        return None


@op
class Roll(Op):
    """Places moved on by `shifts` along `dims`, those that go over the end to the front, torch.roll: a copy.

    Output: the input's sizes. Without dims the elements are moved on as if they were in one row. Work: none.
    """

    shifts: tuple[int, ...] = integers()
    dims: tuple[int, ...] = integers(default=())

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        if len(self.shifts) != (len(self.dims) or 1):
            raise OpError(f"shifts are as many as dims, not {len(self.shifts)} and {len(self.dims)}", "shifts")
        for d in self.dims:
            normalize_dim(d, len(inputs[0]), "dims")
        return iter(())

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        last = layouts[0].dim_order == CHANNELS_LAST and bool(self.dims)
        return Layout(layouts[0].spatial_dims, CHANNELS_LAST) if last else contiguous_layout(layouts[0])

    def sliding_windows(self, *inputs: Shape) -> None:
        return None


@op
class PadNd(Op):
    """A tensor of any rank extended at its sides, torch.nn.functional.pad.

    `padding` is two numbers a dimension, before and after, the last dimension first. Output: these added to the sizes.
    Work: none.
    """

    padding: tuple[Size, ...] = extents(minimum=0)
    mode: str = choice("constant", "reflect", "replicate", "circular", default="constant")
    value: float = number(default=0.0)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        if len(self.padding) % 2 or len(self.padding) > 2 * len(inputs[0]):
            message = f"padding is two numbers for some of the {len(inputs[0])} dimensions, not {len(self.padding)}"
            raise OpError(message, "padding")
        if self.mode != "constant" and len(inputs[0]) - len(self.padding) // 2 not in (1, 2):
            message = (
                f"{self.mode} padding is for all dimensions but the first one or two, not of {format_shape(inputs[0])}"
            )
            raise OpError(message, "padding")
        margin = {"reflect": 1, "circular": 0}.get(self.mode)  # torch refuses to reflect, or to wrap round, more
        if margin is not None:
            for i, side in enumerate(self.padding):
                message = f"{self.mode} padding of {{right}} needs a size of more than {{left}}"
                yield Requirement(inputs[0][-1 - i // 2] - margin, ">=", side, message)

    def output(self, *inputs: Shape) -> Shape:
        made = list(inputs[0])
        for i, side in enumerate(self.padding):
            made[-1 - i // 2] = made[-1 - i // 2] + side
        return tuple(made)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        return (Kernel((0,), prod(output), saved=() if self.mode == "constant" else (0,)),)

    def sliding_windows(self, *inputs: Shape) -> None:
        return None

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        last = layouts[0].dim_order == CHANNELS_LAST and self.mode != "circular"
        return Layout(layouts[0].spatial_dims, CHANNELS_LAST) if last else contiguous_layout(layouts[0])


class _Triangle(Op):
    """One triangle of the last two dimensions; zeros are elsewhere."""

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        if len(inputs[0]) < 2:
            raise OpError(f"{self.name} takes an input of 2 or more sizes, not of {len(inputs[0])}")
        return iter(())

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return contiguous_layout(layouts[0])


@op
class Tril(_Triangle):
    """What is below the diagonal, and on it, of the last two dimensions, zeros elsewhere, torch.tril.

    Output: the input's sizes. Work: none.
    """

    diagonal: int = integer(default=0)


@op
class Triu(_Triangle):
    """What is above the diagonal, and on it, of the last two dimensions, zeros elsewhere, torch.triu.

    Output: the input's sizes. Work: none.
    """

    diagonal: int = integer(default=0)


class _InPlaceWrite(Op):
    """What puts other elements into a tensor that there is.

    It is no op in place that a graph may run on a copy instead: to be seen by all who read the tensor is its meaning.
    """

    def allocates_output(self, training: bool = False) -> bool:
        return False


@op
class Fill(_InPlaceWrite):
    """A tensor overwritten with one number, torch.Tensor.fill_: whoever reads it after that reads the number.

    Output: the input's sizes; no tensor is made. Work: none.
    """

    value: float = number(default=0.0)


@op
class Copy(_InPlaceWrite):
    """A tensor overwritten with the elements of another, torch.Tensor.copy_: whoever reads it after that reads those.

    Output: the first input's sizes, and those of the second, which may have 1s instead; no tensor is made. Work: none.
    """

    arity = (2, 2)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        return expand_requirements(inputs[1], inputs[0])


def expand_requirements(shape: Shape, into: Shape) -> Iterator[Requirement]:
    """A tensor can be read as one of other sizes, of which it has the last, or 1s in their place."""
    message = f"a tensor of {format_shape(shape)} cannot stand for one of {format_shape(into)}"
    if len(shape) > len(into):
        raise OpError(message)
    for n, wanted in zip(reversed(shape), reversed(into), strict=False):
        if not check_relation(n, "==", 1).answer:
            yield Requirement(n, "==", wanted, message)


@op
class Concat(Op):
    """Inputs one after another along `dim` (channels unless given), torch.cat.

    Output: the inputs' sizes along `dim` added; all other sizes must agree. Work: none.
    """

    dim: int = integer(default=1)

    arity = (1, None)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        first = inputs[0]
        yield from _equal_size_requirements("concat", inputs, along=normalize_dim(self.dim, len(first)))

    def output(self, *inputs: Shape) -> Shape:
        along = self.dim % len(inputs[0])
        joined = list(inputs[0])
        joined[along] = sum(shape[along] for shape in inputs)
        return tuple(joined)

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        """Torch keeps the channels last in memory where all inputs have them there."""
        last = all(layout.dim_order == CHANNELS_LAST for layout in layouts)
        return Layout(layouts[0].spatial_dims, CHANNELS_LAST if last else tuple(range(len(inputs[0]))))

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        along = self.dim % len(inputs[0])
        ends = [sum([shape[along] for shape in inputs[: place + 1]]) for place in range(len(inputs))]
        from costcalc.ir.ops.slicing import Slice

        parts = tuple([Slice(along, end - shape[along], end) for shape, end in zip(inputs, ends, strict=True)])
        reads = tuple(range(len(inputs)))
        return (Kernel(reads, prod(output), forwards_gradient=True, output_shape=output, gradient_ops=parts),)


def _equal_size_requirements(name: str, inputs: tuple[Shape, ...], along: int) -> Iterator[Requirement]:
    """All inputs have the sizes of the first, except along one dimension."""
    first = inputs[0]
    for position, other in enumerate(inputs[1:], start=2):
        if len(other) != len(first):
            raise OpError(f"{name} takes inputs with equally many sizes: {describe_inputs(first, other, position)}")
        for place, (a, b) in enumerate(zip(first, other, strict=True)):
            if place == along or check_relation(b, "==", a).answer:
                continue
            what = dim_label(place, len(first))
            shapes = describe_inputs(first, other, position)
            yield Requirement(
                b, "==", a, f"{name} takes inputs that agree in {what}, not {{right}} and {{left}}: {shapes}"
            )


@op
class Pad(Op):
    """The plane extended at its sides, torch.nn.functional.pad; `padding` is one number, or (left, right, top, bottom).

    Output: height + top + bottom, width + left + right. Work: none.
    """

    padding: tuple[int, int, int, int] = sides()
    mode: str = choice("constant", "reflect", "replicate", "circular", default="constant")
    value: float = number(default=0.0)

    rank = 4

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        # torch refuses to reflect, or to wrap round, more than there is.
        margin = {"reflect": 1, "circular": 0}.get(self.mode)
        if margin is not None:
            left, right, top, bottom = self.padding
            for axis, n, most in (
                ("height", inputs[0][2], max(top, bottom)),
                ("width", inputs[0][3], max(left, right)),
            ):
                message = f"{self.mode} padding of {most} needs a {axis} of at least {{right}}, not {{left}}"
                yield Requirement(n, ">=", most + margin, message)

    def output(self, *inputs: Shape) -> Shape:
        batch, channels, height, width = inputs[0]
        left, right, top, bottom = self.padding
        return (batch, channels, height + top + bottom, width + left + right)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        if self.mode != "circular":
            return (Kernel((0,), prod(output), saved=() if self.mode == "constant" else (0,)),)
        batch, channels, height, _ = inputs[0]
        inner, padded = prod(inputs[0]), prod(output)
        left, right, top, bottom = self.padding
        strips = [batch * channels * side * height for side in (left, right) if side]
        strips += [batch * channels * side * output[3] for side in (top, bottom) if side]
        kernels = [
            Kernel((), padded),  # 1: empty
            Kernel((0,), inner, aliases=0),  # 2, 3: the input's rows, and their columns, all of them
            Kernel((2,), inner, aliases=2),
            Kernel(
                (3,), padded, aliases=1, in_place=True, operands_kept_alive=(1,), workspace_elements=padded
            ),  # 4: copied into the middle
        ]
        for strip in strips:  # what is on one side copied to the other
            made = len(kernels)
            kernels.append(Kernel((made,), strip, aliases=made))
            kernels.append(Kernel((made, made + 1), padded, aliases=made, in_place=True, workspace_elements=strip))
        return tuple(kernels)

    def sliding_windows(self, *inputs: Shape) -> tuple[Window, ...]:
        left, _, top, _ = self.padding
        return (Window(1, padding=top), Window(1, padding=left))

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        """Torch makes a circular one anew, its dimensions in order."""
        return Layout.contiguous(4) if self.mode == "circular" else super().layout(inputs, layouts)


@op
class ZeroPadShortcut(Op):
    """ResNet's shortcut option A: every stride-th position, then zeros for the channels that are missing.

    Output: channels = out_channels; height and width divided by the stride, rounded up. Work: none, and no parameters.
    Source: He et al., Deep Residual Learning, 2015, section 3.3.
    """

    out_channels: Size = size("C_out")
    stride: tuple[int, int] = per_axis(default=1, minimum=1)

    rank = 4

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        message = "a zero-padding shortcut only adds channels: {right} cannot become {left}"
        yield Requirement(self.out_channels, ">=", inputs[0][1], message)

    def output(self, *inputs: Shape) -> Shape:
        batch, _, height, width = inputs[0]
        return (batch, self.out_channels, ceil_div(height, self.stride[0]), ceil_div(width, self.stride[1]))

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        batch, channels, *plane = inputs[0]
        seen = list(plane)
        kernels: list[Kernel] = []
        for axis, stride in enumerate(self.stride):
            if stride > 1:  # every stride-th row, then every stride-th column: a view, but gradients are not
                seen[axis] = output[2 + axis]
                kernels.append(Kernel((len(kernels),), batch * channels * prod(seen), aliases=len(kernels)))
        if not check_relation(
            prod(seen), "==", prod(plane)
        ).answer:  # copied, so that they follow one another in memory
            kernels.append(Kernel((len(kernels),), batch * channels * prod(seen), forwards_gradient=True))
        return (*kernels, Kernel((len(kernels),), prod(output)))

    def sliding_windows(self, *inputs: Shape) -> tuple[Window, ...]:
        return (Window(1, self.stride[0]), Window(1, self.stride[1]))

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        """It is made anew, its dimensions in order."""
        return Layout.contiguous(4)
