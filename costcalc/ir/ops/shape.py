"""Ops that change the shape or the dimension order of a tensor, as a view where torch makes one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from costcalc.core.axes import normalize_dim
from costcalc.core.devices import Device
from costcalc.core.errors import OpError
from costcalc.core.sizes import Shape, Size, check_relation, format_shape, identical, prod
from costcalc.ir.arguments import choice, dimensions, integer, integers
from costcalc.ir.arguments import shape as extents
from costcalc.ir.kernel import Kernel
from costcalc.ir.layout import CHANNELS_LAST, Layout
from costcalc.ir.op import Op, Requirement, op


class View(Op):
    """A view of all elements of its input, which allocates no tensor."""

    def allocates_output(self, training: bool = False) -> bool:
        return False

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        new = self.allocates_output(training)
        gradients = self.gradients(inputs[0])
        return (
            Kernel(
                (0,),
                prod(output),
                aliases=None if new else 0,
                forwards_gradient=True,
                output_shape=output,
                gradient_ops=gradients,
            ),
        )

    def gradients(self, input_shape: Shape) -> tuple[Op, ...]:
        """Return the op that maps grad_output to grad_input; () if they are equal."""
        return ()


@op
class Reshape(View):
    """The elements in the same order with a new shape, torch.reshape: a view, without memory. Work: none.

    Output: `sizes`, including the batch; their product must be that of the input. The output is a copy if the strides
    of a non-contiguous input allow no view.
    """

    sizes: tuple[Size, ...] = extents()

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        shapes = f"{format_shape(inputs[0])} to {format_shape(self.sizes)}"
        message = f"reshape cannot change {shapes}: {{left}} elements, not {{right}}"
        yield Requirement(prod(self.sizes), "==", prod(inputs[0]), message)

    def output(self, *inputs: Shape) -> Shape:
        return self.sizes

    def gradients(self, input_shape: Shape) -> tuple[Op, ...]:
        return (Reshape(input_shape),)

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        plane, unchanged = layouts[0].spatial_dims, _unchanged_dims(inputs[0], self.sizes)
        if plane is not None:
            plane = (unchanged[plane[0]], unchanged[plane[1]]) if unchanged.keys() >= set(plane) else None
        view = _view_layout(inputs[0], layouts[0], self.sizes)
        return Layout(plane, *(view or (tuple(range(len(self.sizes))), frozenset())))

    def resolve(
        self,
        inputs: tuple[Shape, ...],
        layouts: tuple[Layout, ...],
        device: Device | None = None,
        requires_grad: tuple[bool, ...] = (),
    ) -> Op:
        return self if _view_layout(inputs[0], layouts[0], self.sizes) else _CopyingReshape(self.sizes)


class _CopyingReshape(Reshape):
    """A reshape that copies, because it cannot be a view."""

    def allocates_output(self, training: bool = False) -> bool:
        return True


def _unchanged_dims(old: Shape, new: Shape) -> dict[int, int]:
    """Map the leading and trailing dimensions that a reshape does not change to their new positions."""
    front = 0
    while front < min(len(old), len(new)) and identical(old[front], new[front]):
        front += 1
    back = 0
    while back < min(len(old), len(new)) - front and identical(old[-1 - back], new[-1 - back]):
        back += 1
    unchanged = {d: d for d in range(front)}
    return unchanged | {len(old) - 1 - d: len(new) - 1 - d for d in range(back)}


def is_contiguous(shape: Shape, layout: Layout, order: tuple[int, ...] | None = None) -> bool:
    """Return whether a tensor is dense in memory with its dimensions in order, or in `order`."""
    if not layout.strided_dims and layout.dim_order == (order or tuple(range(len(shape)))):
        return True
    in_memory = [d for d in layout.dim_order if not check_relation(shape[d], "==", 1).answer]
    wanted = [d for d in order or range(len(shape)) if d in in_memory]
    return in_memory == wanted and not layout.strided_dims.intersection(in_memory)


def _view_layout(old: Shape, layout: Layout, new: Shape) -> tuple[tuple[int, ...], frozenset[int]] | None:
    """Return the dimension order and the strided dimensions of a view with shape `new`; None if a copy is needed.

    As in torch's computeStride, dimensions that are adjacent and dense in memory form a chunk, and each chunk must have
    as many elements as some consecutive new dimensions.
    """
    if not layout.strided_dims and layout.dim_order == tuple(range(len(old))):
        return tuple(range(len(new))), frozenset()
    in_memory = [d for d in layout.dim_order if not check_relation(old[d], "==", 1).answer]
    next_inner = dict(pairwise(in_memory))
    chunks: list[list[int]] = []
    for d in sorted(in_memory):
        if chunks and next_inner.get(chunks[-1][-1]) == d and chunks[-1][-1] not in layout.strided_dims:
            chunks[-1].append(d)
        else:
            chunks.append([d])
    parts: list[tuple[list[int], list[int]]] = []  # a chunk and its new dimensions
    end = len(new)
    for number, chunk in reversed(list(enumerate(chunks))):
        elements = prod([old[d] for d in chunk])
        starts = range(end - 1, -1, -1) if number else (0,)
        start = next((k for k in starts if check_relation(prod(new[k:end]), "==", elements).answer), None)
        if start is None:
            return None
        parts.append((chunk, list(range(start, end))))
        end = start
    strided = set()
    for chunk, dims in parts:
        if chunk[-1] in layout.strided_dims:
            strided.add(next((d for d in reversed(dims) if not check_relation(new[d], "==", 1).answer), dims[-1]))
    parts.sort(key=lambda part: in_memory.index(part[0][0]))
    order = [d for _, dims in parts for d in dims]
    return tuple([d for d in range(len(new)) if d not in order] + order), frozenset(strided)


@op
class Squeeze(View):
    """A tensor without some of its dimensions of size 1, torch.squeeze: a view, without memory. Work: none.

    Output: the input shape without `dim`, one dimension or a list, which must have size 1.
    """

    dim: tuple[int, ...] = integers()

    def _dims(self, rank: int) -> list[int]:
        return [normalize_dim(d, rank) for d in self.dim]

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        for d in self._dims(len(inputs[0])):
            yield Requirement(
                inputs[0][d], "==", 1, f"squeeze removes a dimension of size 1, but dimension {d} has {{left}}"
            )

    def output(self, *inputs: Shape) -> Shape:
        dims = self._dims(len(inputs[0]))
        return tuple([n for d, n in enumerate(inputs[0]) if d not in dims])

    def gradients(self, input_shape: Shape) -> tuple[Op, ...]:
        return (Reshape(input_shape),)

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return _drop_dims(self._dims(len(inputs[0])), layouts[0], layouts[0].strided_dims)


def _drop_dims(dims: list[int], layout: Layout, strided: frozenset[int]) -> Layout:
    """Return the layout without some dimensions; `strided` are the strided dimensions, by their old numbers."""
    remaining = [d for d in range(len(layout.dim_order)) if d not in dims]
    new_dim = {d: i for i, d in enumerate(remaining)}
    plane = layout.spatial_dims
    if plane is not None:
        plane = (new_dim[plane[0]], new_dim[plane[1]]) if new_dim.keys() >= set(plane) else None
    order = tuple([new_dim[d] for d in layout.dim_order if d in new_dim])
    return Layout(plane, order, frozenset([new_dim[d] for d in strided if d in new_dim]))


@op
class Unsqueeze(View):
    """A tensor with a new dimension of size 1 at `dim`, torch.unsqueeze: a view, without memory. Work: none.

    Output: the input shape with a 1 inserted at `dim`.
    """

    dim: int = integer()

    def output(self, *inputs: Shape) -> Shape:
        dim = normalize_dim(self.dim, len(inputs[0]) + 1)
        return (*inputs[0][:dim], 1, *inputs[0][dim:])

    def gradients(self, input_shape: Shape) -> tuple[Op, ...]:
        return (Reshape(input_shape),)

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        rank, (plane, order, strided) = len(inputs[0]), layouts[0]
        dim = normalize_dim(self.dim, rank + 1)
        new_dim = {d: d + (d >= dim) for d in range(rank)}
        position = order.index(dim) if dim < rank else rank
        new_order = [new_dim[d] for d in order]
        new_plane = None if plane is None else (new_dim[plane[0]], new_dim[plane[1]])
        new_strided = frozenset([new_dim[d] for d in strided])
        return Layout(new_plane, (*new_order[:position], dim, *new_order[position:]), new_strided)


@op
class Expand(View):
    """A tensor broadcast to a larger shape, torch.Tensor.expand: a view, without memory. Work: none.

    Output: `sizes`, whose last sizes are those of the input, except where the input has size 1.
    """

    sizes: tuple[Size, ...] = extents()

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        new = len(self.sizes) - len(inputs[0])
        message = (
            f"expand broadcasts sizes of 1: {format_shape(inputs[0])} cannot be expanded to {format_shape(self.sizes)}"
        )
        if new < 0:
            raise OpError(message, "sizes")
        for n, wanted in zip(inputs[0], self.sizes[new:], strict=True):
            if not check_relation(n, "==", 1).answer:
                yield Requirement(n, "==", wanted, message)

    def output(self, *inputs: Shape) -> Shape:
        return self.sizes

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        unchanged = bool(check_relation(prod(output), "==", prod(inputs[0])).answer)
        gradients = (Reshape(inputs[0]),) if unchanged else ()
        return (
            Kernel(
                (0,), prod(output), aliases=0, forwards_gradient=unchanged, output_shape=output, gradient_ops=gradients
            ),
        )

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        (shape,), (plane, order, strided) = inputs, layouts[0]
        new = len(self.sizes) - len(shape)
        expanded = [d for d, n in enumerate(shape) if not identical(n, self.sizes[d + new])]
        new_strided = {d + new for d in strided} | set(range(new))
        for d in expanded:
            new_strided |= {d + new, *[outer + new for outer in _next_outer_dim(d, shape, order)]}
        new_plane = None if plane is None else (plane[0] + new, plane[1] + new)
        return Layout(new_plane, (*range(new), *[d + new for d in order]), frozenset(new_strided))


def _next_outer_dim(dim: int, shape: Shape, order: tuple[int, ...]) -> list[int]:
    """Return the next outer dimension in memory, ignoring sizes of 1; [] for the outermost."""
    return [d for d in order[: order.index(dim)] if not check_relation(shape[d], "==", 1).answer][-1:]


@op
class Contiguous(View):
    """The tensor itself if it is contiguous in `memory_format`, otherwise a copy, torch.Tensor.contiguous.

    Output: the input shape. Work: none.
    """

    memory_format: str = choice("contiguous", "channels_last", default="contiguous")

    def _order(self, rank: int) -> tuple[int, ...]:
        if self.memory_format == "contiguous":
            return tuple(range(rank))
        if rank != 4:
            raise OpError(f"channels_last needs 4 dimensions, not {rank}", "memory_format")
        return CHANNELS_LAST

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        self._order(len(inputs[0]))
        return iter(())

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        return super().kernels(inputs, output, training) if self.allocates_output(training) else ()

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        order = self._order(len(inputs[0]))
        in_order = is_contiguous(inputs[0], layouts[0], order)
        return layouts[0] if in_order else Layout(layouts[0].spatial_dims, order)

    def resolve(
        self,
        inputs: tuple[Shape, ...],
        layouts: tuple[Layout, ...],
        device: Device | None = None,
        requires_grad: tuple[bool, ...] = (),
    ) -> Op:
        in_order = is_contiguous(inputs[0], layouts[0], self._order(len(inputs[0])))
        return self if in_order else _CopyingContiguous(self.memory_format)


class _CopyingContiguous(Contiguous):
    """A copy, because the input is not contiguous."""

    def allocates_output(self, training: bool = False) -> bool:
        return True


@op
class Flatten(View):
    """Dimensions start_dim to end_dim merged into one, torch.nn.Flatten: a view, without memory. Work: none.

    The output is a copy if the merged dimensions are not adjacent in memory, for example after a permute.
    """

    start_dim: int = integer(default=1)
    end_dim: int = integer(default=-1)

    def _span(self, rank: int) -> tuple[int, int]:
        start = normalize_dim(self.start_dim, rank, "start_dim")
        end = normalize_dim(self.end_dim, rank, "end_dim")
        if start > end:
            raise OpError(f"start_dim {self.start_dim} comes after end_dim {self.end_dim}", "start_dim")
        return start, end

    def output(self, *inputs: Shape) -> Shape:
        start, end = self._span(len(inputs[0]))
        return (*inputs[0][:start], prod(inputs[0][start : end + 1]), *inputs[0][end + 1 :])

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        start, end = self._span(len(inputs[0]))
        return () if start == end else super().kernels(inputs, output, training)

    def gradients(self, input_shape: Shape) -> tuple[Op, ...]:
        return (Reshape(input_shape),)

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        (start, end), (plane, order, strided) = self._span(len(inputs[0])), layouts[0]
        new_dim = [d if d <= start else max(start, d - (end - start)) for d in range(len(order))]
        if plane is not None and start < end:
            plane = None if any(start <= d <= end for d in plane) else (new_dim[plane[0]], new_dim[plane[1]])
        long = [d for d in range(start, end + 1) if not check_relation(inputs[0][d], "==", 1).answer] or [end]
        short = set(range(start, end + 1)).difference(long)  # sizes of 1 have no position in memory
        new_order = dict.fromkeys(new_dim[d] for d in order if d not in short)
        if not self._is_view(inputs[0], layouts[0]):
            return Layout(plane, tuple(range(len(new_order))))
        still_strided = [new_dim[d] for d in strided if not start <= d <= end or d == long[-1]]
        return Layout(plane, tuple(new_order), frozenset(still_strided))

    def resolve(
        self,
        inputs: tuple[Shape, ...],
        layouts: tuple[Layout, ...],
        device: Device | None = None,
        requires_grad: tuple[bool, ...] = (),
    ) -> Op:
        return self if self._is_view(inputs[0], layouts[0]) else _CopyingFlatten(self.start_dim, self.end_dim)

    def _is_view(self, shape: Shape, layout: Layout) -> bool:
        """Return whether the merged dimensions are adjacent and dense in memory, ignoring sizes of 1."""
        start, end = self._span(len(shape))
        if layout.dim_order == tuple(range(len(shape))) and not layout.strided_dims:
            return True
        in_memory = [d for d in layout.dim_order if not check_relation(shape[d], "==", 1).answer]
        merged = [d for d in range(start, end + 1) if d in in_memory]
        first = in_memory.index(merged[0]) if merged else 0
        return in_memory[first : first + len(merged)] == merged and not layout.strided_dims.intersection(merged[:-1])


class _CopyingFlatten(Flatten):
    """A flatten that copies, because it cannot be a view."""

    def allocates_output(self, training: bool = False) -> bool:
        return True


@op
class Permute(Op):
    """A tensor with its dimensions reordered, torch.permute: dimension i is dimension dims[i] of the input.

    A view, without memory. Output: the sizes in that order; permute((0, 2, 3, 1)) moves the channels last.
    Work: none.
    """

    dims: tuple[int, ...] = dimensions()

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        if len(inputs[0]) != len(self.dims):
            wanted = f"dims {list(self.dims)} need an input of {len(self.dims)} dimensions"
            raise OpError(f"{wanted}, not of {len(inputs[0])}: {format_shape(inputs[0])}", "dims")
        return iter(())

    def output(self, *inputs: Shape) -> Shape:
        return tuple([inputs[0][d] for d in self.dims])

    def allocates_output(self, training: bool = False) -> bool:
        return False

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        inverse = Permute(tuple(map(self.dims.index, range(len(self.dims)))))
        return (
            Kernel((0,), prod(output), aliases=0, forwards_gradient=True, output_shape=output, gradient_ops=(inverse,)),
        )

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        plane, order, strided = layouts[0]
        new_dim = self.dims.index
        new_plane = None if plane is None else (new_dim(plane[0]), new_dim(plane[1]))
        return Layout(new_plane, tuple(map(new_dim, order)), frozenset(map(new_dim, strided)))
