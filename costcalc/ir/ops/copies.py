"""Ops that copy, join, repeat, pad or overwrite tensors without arithmetic."""

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
    """Return the contiguous layout of a new tensor; it has no plane if its rank differs from that of `layout`."""
    same_rank = rank is None or rank == len(layout.dim_order)
    return Layout(
        layout.spatial_dims if same_rank else None, tuple(range(len(layout.dim_order) if rank is None else rank))
    )


@op
class Clone(Op):
    """A copy, torch.clone; contiguous, or with the memory format of the input.

    Output: the input shape. Work: none.
    """

    memory_format: str = choice("preserve", "contiguous", default="preserve")

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        return (Kernel((0,), prod(output), forwards_gradient=True),)

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return super().layout(inputs, layouts) if self.memory_format == "preserve" else contiguous_layout(layouts[0])


@op
class Cast(Op):
    """A conversion between floats, integers and booleans, torch.Tensor.to.

    Output: the input shape, with elements of type `dtype`. Work: none.
    """

    dtype: str = choice(*ELEMENT_TYPES)

    def element_type(self, *inputs: str) -> str:
        return self.dtype

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        return (Kernel((0,) if self.dtype == "float" else (), prod(output), forwards_gradient=True),)


@op
class Repeat(Op):
    """A tensor tiled along each dimension, torch.Tensor.repeat: a copy.

    Output: the sizes times `repeats`; if there are more repeats than dimensions, the input gets leading dimensions of
    size 1. Work: none.
    """

    repeats: tuple[Size, ...] = extents()

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        if len(self.repeats) < len(inputs[0]):
            message = f"repeats {list(self.repeats)} must be as many as the dimensions of {format_shape(inputs[0])}"
            raise OpError(message, "repeats")
        return iter(())

    def output(self, *inputs: Shape) -> Shape:
        new = len(self.repeats) - len(inputs[0])
        sizes = (*[1] * new, *inputs[0])
        return tuple([n * times for n, times in zip(sizes, self.repeats, strict=True)])

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return contiguous_layout(layouts[0], len(self.repeats))

    def sliding_windows(self, *inputs: Shape) -> None:
        return None


@op
class RepeatInterleave(Op):
    """Each slice along `dim` repeated consecutively, torch.repeat_interleave: a copy.

    Output: the input shape with the size of `dim` times `repeats`. Work: none.
    """

    repeats: Size = size("r")
    dim: int = integer()

    def output(self, *inputs: Shape) -> Shape:
        dim = normalize_dim(self.dim, len(inputs[0]))
        return (*inputs[0][:dim], inputs[0][dim] * self.repeats, *inputs[0][dim + 1 :])

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        count, elements = prod(inputs[0]), prod(output)
        return (
            Kernel((0,), count, aliases=0, forwards_gradient=True),  # 1: unsqueeze
            Kernel(
                (1,), elements, aliases=1, forwards_gradient=bool(check_relation(elements, "==", count).answer)
            ),  # 2: expand
            Kernel((2,), elements, forwards_gradient=True),  # 3: clone
            Kernel((3,), elements, aliases=3, forwards_gradient=True),  # 4: flatten
        )

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return contiguous_layout(layouts[0])

    def sliding_windows(self, *inputs: Shape) -> None:
        return None


@op
class Stack(Op):
    """Tensors of the same shape joined along a new dimension `dim`, torch.stack.

    Output: the input shape with the number of inputs inserted at `dim`. Work: none.
    """

    dim: int = integer(default=0)

    arity = (1, None)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        for position, other in enumerate(inputs[1:], start=2):
            message = (
                f"stack takes inputs of the same shape: input 1 is {format_shape(inputs[0])}, input {position} is "
            )
            message += format_shape(other)
            if len(other) != len(inputs[0]):
                raise OpError(message)
            pairs = zip(other, inputs[0], strict=True)
            yield from (Requirement(a, "==", b, message) for a, b in pairs if not identical(a, b))

    def output(self, *inputs: Shape) -> Shape:
        dim = normalize_dim(self.dim, len(inputs[0]) + 1)
        return (*inputs[0][:dim], len(inputs), *inputs[0][dim:])

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        from costcalc.ir.ops.slicing import Select

        parts = tuple([Select(self.dim, index) for index in range(len(inputs))])
        return (
            Kernel(
                tuple(range(len(inputs))), prod(output), forwards_gradient=True, output_shape=output, gradient_ops=parts
            ),
        )

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        rank, plane = len(inputs[0]) + 1, layouts[0].spatial_dims
        dim = normalize_dim(self.dim, rank)
        moved = None if plane is None else (plane[0] + (plane[0] >= dim), plane[1] + (plane[1] >= dim))
        if dim == rank - 1 or any(layout.dim_order != CHANNELS_LAST for layout in layouts):
            return Layout(moved, tuple(range(rank)))
        # torch concatenates channels-last inputs along `dim`, which preserves their order, and splits the dimension.
        order = [[d, d + 1] if d == dim else [d + (d > dim)] for d in CHANNELS_LAST]
        return Layout(moved, tuple([d for dims in order for d in dims]))


@op
class Flip(Op):
    """A tensor reversed along `dims`, torch.flip: a copy.

    Output: the input shape. Work: none.
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
    """A tensor rotated by `shifts` along `dims`, torch.roll: a copy.

    Output: the input shape. Without dims the flattened elements are rotated. Work: none.
    """

    shifts: tuple[int, ...] = integers()
    dims: tuple[int, ...] = integers(default=())

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        if len(self.shifts) != (len(self.dims) or 1):
            raise OpError(f"shifts must be as many as dims, not {len(self.shifts)} and {len(self.dims)}", "shifts")
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
    """A tensor of any rank padded at both ends of its dimensions, torch.nn.functional.pad.

    `padding` has two numbers per dimension, before and after, the last dimension first. Output: the sizes plus the
    padding. Work: none.
    """

    padding: tuple[Size, ...] = extents(minimum=0)
    mode: str = choice("constant", "reflect", "replicate", "circular", default="constant")
    value: float = number(default=0.0)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        if len(self.padding) % 2 or len(self.padding) > 2 * len(inputs[0]):
            message = f"padding takes 2 numbers per dimension, at most {2 * len(inputs[0])}, not {len(self.padding)}"
            raise OpError(message, "padding")
        if self.mode != "constant" and len(inputs[0]) - len(self.padding) // 2 not in (1, 2):
            padded = len(self.padding) // 2
            message = f"{self.mode} padding must be of all dimensions but 1 or 2, not of {padded} of {len(inputs[0])}"
            raise OpError(message, "padding")
        margin = {"reflect": 1, "circular": 0}.get(self.mode)  # torch refuses more
        if margin is not None:
            for i, side in enumerate(self.padding):
                message = f"{self.mode} padding of {{right}} needs a size of more than {{left}}"
                yield Requirement(inputs[0][-1 - i // 2] - margin, ">=", side, message)

    def output(self, *inputs: Shape) -> Shape:
        sizes = list(inputs[0])
        for i, side in enumerate(self.padding):
            sizes[-1 - i // 2] = sizes[-1 - i // 2] + side
        return tuple(sizes)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        return (Kernel((0,), prod(output), saved=() if self.mode == "constant" else (0,)),)

    def sliding_windows(self, *inputs: Shape) -> None:
        return None

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        last = layouts[0].dim_order == CHANNELS_LAST and self.mode != "circular"
        return Layout(layouts[0].spatial_dims, CHANNELS_LAST) if last else contiguous_layout(layouts[0])


class _Triangle(Op):
    """One triangle of the last two dimensions, with zeros elsewhere."""

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        if len(inputs[0]) < 2:
            raise OpError(f"{self.name} takes an input of 2 or more dimensions, not of {len(inputs[0])}")
        return iter(())

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return contiguous_layout(layouts[0])


@op
class Tril(_Triangle):
    """The lower triangle of the last two dimensions, with zeros elsewhere, torch.tril.

    Output: the input shape. Work: none.
    """

    diagonal: int = integer(default=0)


@op
class Triu(_Triangle):
    """The upper triangle of the last two dimensions, with zeros elsewhere, torch.triu.

    Output: the input shape. Work: none.
    """

    diagonal: int = integer(default=0)


class _InPlaceWrite(Op):
    """An op that overwrites its first input, with an effect on all later readers of that tensor.

    An in-place activation may run on a copy instead; this op may not.
    """

    def allocates_output(self, training: bool = False) -> bool:
        return False


@op
class Fill(_InPlaceWrite):
    """A tensor overwritten with one number, torch.Tensor.fill_; later readers of the tensor see the number.

    Output: the input shape; no tensor is allocated. Work: none.
    """

    value: float = number(default=0.0)


@op
class Copy(_InPlaceWrite):
    """A tensor overwritten with the elements of another, torch.Tensor.copy_; later readers see these elements.

    Inputs: the tensor, and the source, which is broadcast to it. Output: the shape of the tensor; no tensor is
    allocated. Work: none.
    """

    arity = (2, 2)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        return expand_requirements(inputs[1], inputs[0])


def expand_requirements(shape: Shape, target: Shape) -> Iterator[Requirement]:
    """Yield the requirements for expanding `shape` to `target`. Raises OpError if it has too many dimensions."""
    message = f"a tensor of {format_shape(shape)} cannot be expanded to {format_shape(target)}"
    if len(shape) > len(target):
        raise OpError(message)
    for n, wanted in zip(reversed(shape), reversed(target), strict=False):
        if not check_relation(n, "==", 1).answer:
            yield Requirement(n, "==", wanted, message)


@op
class Concat(Op):
    """Inputs joined along `dim`, by default the channels, torch.cat.

    Output: the sum of the sizes along `dim`; all other sizes must be equal. Work: none.
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
        """Preserve channels last if all inputs have it, as torch does."""
        last = all(layout.dim_order == CHANNELS_LAST for layout in layouts)
        return Layout(layouts[0].spatial_dims, CHANNELS_LAST if last else tuple(range(len(inputs[0]))))

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        along = self.dim % len(inputs[0])
        ends = [sum([shape[along] for shape in inputs[: count + 1]]) for count in range(len(inputs))]
        from costcalc.ir.ops.slicing import Slice

        parts = tuple([Slice(along, end - shape[along], end) for shape, end in zip(inputs, ends, strict=True)])
        operands = tuple(range(len(inputs)))
        return (Kernel(operands, prod(output), forwards_gradient=True, output_shape=output, gradient_ops=parts),)


def _equal_size_requirements(name: str, inputs: tuple[Shape, ...], along: int) -> Iterator[Requirement]:
    """Yield the requirements that all inputs have the sizes of the first, except along one dimension."""
    first = inputs[0]
    for position, other in enumerate(inputs[1:], start=2):
        if len(other) != len(first):
            raise OpError(f"{name} takes inputs with equally many sizes: {describe_inputs(first, other, position)}")
        for dim, (a, b) in enumerate(zip(first, other, strict=True)):
            if dim == along or check_relation(b, "==", a).answer:
                continue
            label = dim_label(dim, len(first))
            shapes = describe_inputs(first, other, position)
            yield Requirement(
                b, "==", a, f"{name} takes inputs that agree in {label}, not {{right}} and {{left}}: {shapes}"
            )


@op
class Pad(Op):
    """The plane padded at its sides, torch.nn.functional.pad; `padding` is one number, or (left, right, top, bottom).

    Output: height + top + bottom, width + left + right. Work: none.
    """

    padding: tuple[int, int, int, int] = sides()
    mode: str = choice("constant", "reflect", "replicate", "circular", default="constant")
    value: float = number(default=0.0)

    rank = 4

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        # torch refuses to reflect, or to wrap, more elements than the input has.
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
            Kernel((), padded),  # 1: an empty tensor
            Kernel((0,), inner, aliases=0),  # 2, 3: slices of all rows and of all columns
            Kernel((2,), inner, aliases=2),
            Kernel(
                (3,), padded, aliases=1, in_place=True, operands_kept_alive=(1,), workspace_elements=padded
            ),  # 4: copied to the centre
        ]
        for strip in strips:  # copied from one side to the other
            result = len(kernels)
            kernels.append(Kernel((result,), strip, aliases=result))
            kernels.append(
                Kernel((result, result + 1), padded, aliases=result, in_place=True, workspace_elements=strip)
            )
        return tuple(kernels)

    def sliding_windows(self, *inputs: Shape) -> tuple[Window, ...]:
        left, _, top, _ = self.padding
        return (Window(1, padding=top), Window(1, padding=left))

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        """Return a contiguous layout for circular padding, which torch writes into a new tensor."""
        return Layout.contiguous(4) if self.mode == "circular" else super().layout(inputs, layouts)


@op
class ZeroPadShortcut(Op):
    """The shortcut option A of ResNet: every stride-th row and column, and zeros for the additional channels.

    Output: channels = out_channels; height and width divided by the stride, rounded up. Work: none, and no parameters.
    Source: He et al., Deep Residual Learning, 2015, section 3.3.
    """

    out_channels: Size = size("C_out")
    stride: tuple[int, int] = per_axis(default=1, minimum=1)

    rank = 4

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        message = "zero_pad_shortcut cannot reduce {right} channels to {left}"
        yield Requirement(self.out_channels, ">=", inputs[0][1], message)

    def output(self, *inputs: Shape) -> Shape:
        batch, _, height, width = inputs[0]
        return (batch, self.out_channels, ceil_div(height, self.stride[0]), ceil_div(width, self.stride[1]))

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        batch, channels, *plane = inputs[0]
        sliced = list(plane)
        kernels: list[Kernel] = []
        for axis, stride in enumerate(self.stride):
            if stride > 1:  # a slice with a step
                sliced[axis] = output[2 + axis]
                kernels.append(Kernel((len(kernels),), batch * channels * prod(sliced), aliases=len(kernels)))
        if not check_relation(prod(sliced), "==", prod(plane)).answer:  # torch makes the slices contiguous
            kernels.append(Kernel((len(kernels),), batch * channels * prod(sliced), forwards_gradient=True))
        return (*kernels, Kernel((len(kernels),), prod(output)))

    def sliding_windows(self, *inputs: Shape) -> tuple[Window, ...]:
        return (Window(1, self.stride[0]), Window(1, self.stride[1]))

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        """Return the contiguous layout of a new tensor."""
        return Layout.contiguous(4)
