"""Layers that show the elements of a tensor otherwise, without copying them where torch does not."""

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
    """What shows the elements of its input otherwise and makes no tensor."""

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

    def gradients(self, taken: Shape) -> tuple[Op, ...]:
        """The op that gives the gradient of the input out of that of the result; none where they are alike."""
        return ()


@op
class Reshape(View):
    """The same elements, in order, as a tensor of other sizes, torch.reshape: a view, without memory. Work: none.

    Output: `sizes`, the batch among them; their product is the input's. Of a tensor whose elements do not lie in memory
    as that asks, it is a copy.
    """

    sizes: tuple[Size, ...] = extents()

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        message = (
            f"reshape makes {format_shape(self.sizes)} of {format_shape(inputs[0])}: {{left}} elements of {{right}}"
        )
        yield Requirement(prod(self.sizes), "==", prod(inputs[0]), message)

    def output(self, *inputs: Shape) -> Shape:
        return self.sizes

    def gradients(self, taken: Shape) -> tuple[Op, ...]:
        return (Reshape(taken),)

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        plane, stays = layouts[0].spatial_dims, _unchanged_dims(inputs[0], self.sizes)
        if plane is not None:
            plane = (stays[plane[0]], stays[plane[1]]) if stays.keys() >= set(plane) else None
        seen = _view_layout(inputs[0], layouts[0], self.sizes)
        return Layout(plane, *(seen or (tuple(range(len(self.sizes))), frozenset())))

    def resolve(
        self,
        inputs: tuple[Shape, ...],
        layouts: tuple[Layout, ...],
        device: Device | None = None,
        requires_grad: tuple[bool, ...] = (),
    ) -> Op:
        return self if _view_layout(inputs[0], layouts[0], self.sizes) else _CopyingReshape(self.sizes)


class _CopyingReshape(Reshape):
    """A reshape that cannot be a view of what it takes."""

    def allocates_output(self, training: bool = False) -> bool:
        return True


def _unchanged_dims(old: Shape, new: Shape) -> dict[int, int]:
    """Dimensions that a reshape leaves as they are, at the front and at the back, and where they then are."""
    front = 0
    while front < min(len(old), len(new)) and identical(old[front], new[front]):
        front += 1
    back = 0
    while back < min(len(old), len(new)) - front and identical(old[-1 - back], new[-1 - back]):
        back += 1
    stays = {d: d for d in range(front)}
    return stays | {len(old) - 1 - d: len(new) - 1 - d for d in range(back)}


def is_contiguous(shape: Shape, layout: Layout, order: tuple[int, ...] | None = None) -> bool:
    """Whether elements follow one another in memory as they are counted; `order` is another one to be counted in."""
    if not layout.strided_dims and layout.dim_order == (order or tuple(range(len(shape)))):
        return True
    lie = [d for d in layout.dim_order if not check_relation(shape[d], "==", 1).answer]
    wanted = [d for d in order or range(len(shape)) if d in lie]
    return lie == wanted and not layout.strided_dims.intersection(lie)


def _view_layout(old: Shape, layout: Layout, new: Shape) -> tuple[tuple[int, ...], frozenset[int]] | None:
    """Order and gaps of a tensor seen as one of other sizes; None where it has to be copied.

    Dimensions that follow one another in memory, without a gap, are one piece; each piece must be a product of new
    sizes (torch's rule, computeStride).
    """
    if not layout.strided_dims and layout.dim_order == tuple(range(len(old))):
        return tuple(range(len(new))), frozenset()
    lie = [d for d in layout.dim_order if not check_relation(old[d], "==", 1).answer]
    inside = dict(pairwise(lie))
    pieces: list[list[int]] = []
    for d in sorted(lie):
        if pieces and inside.get(pieces[-1][-1]) == d and pieces[-1][-1] not in layout.strided_dims:
            pieces[-1].append(d)
        else:
            pieces.append([d])
    parts: list[tuple[list[int], list[int]]] = []  # a piece, and the new dimensions that it is
    end = len(new)
    for number, piece in reversed(list(enumerate(pieces))):
        many = prod([old[d] for d in piece])
        starts = range(end - 1, -1, -1) if number else (0,)
        start = next((k for k in starts if check_relation(prod(new[k:end]), "==", many).answer), None)
        if start is None:
            return None
        parts.append((piece, list(range(start, end))))
        end = start
    gaps = set()
    for piece, dims in parts:
        if piece[-1] in layout.strided_dims:
            gaps.add(next((d for d in reversed(dims) if not check_relation(new[d], "==", 1).answer), dims[-1]))
    parts.sort(key=lambda part: lie.index(part[0][0]))
    order = [d for _, dims in parts for d in dims]
    return tuple([d for d in range(len(new)) if d not in order] + order), frozenset(gaps)


@op
class Squeeze(View):
    """A tensor without dimensions of size 1, torch.squeeze: a view, without memory. Work: none.

    Output: the input's sizes but those of `dim`, one or a list, which must be 1.
    """

    dim: tuple[int, ...] = integers()

    def _dims(self, rank: int) -> list[int]:
        return [normalize_dim(d, rank) for d in self.dim]

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        for d in self._dims(len(inputs[0])):
            yield Requirement(inputs[0][d], "==", 1, f"squeeze takes away a size of 1: size {d + 1} is {{left}}")

    def output(self, *inputs: Shape) -> Shape:
        dims = self._dims(len(inputs[0]))
        return tuple([n for d, n in enumerate(inputs[0]) if d not in dims])

    def gradients(self, taken: Shape) -> tuple[Op, ...]:
        return (Reshape(taken),)

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return _drop_dims(self._dims(len(inputs[0])), layouts[0], layouts[0].strided_dims)


def _drop_dims(dims: list[int], layout: Layout, gaps: frozenset[int]) -> Layout:
    """The layout of a tensor that has these dimensions no more."""
    stay = [d for d in range(len(layout.dim_order)) if d not in dims]
    place = {d: i for i, d in enumerate(stay)}
    plane = layout.spatial_dims
    if plane is not None:
        plane = (place[plane[0]], place[plane[1]]) if place.keys() >= set(plane) else None
    order = tuple([place[d] for d in layout.dim_order if d in place])
    return Layout(plane, order, frozenset([place[d] for d in gaps if d in place]))


@op
class Unsqueeze(View):
    """A tensor with a further dimension of size 1 at place `dim`, torch.unsqueeze: a view, without memory. Work: none.

    Output: the input's sizes, and 1 among them.
    """

    dim: int = integer()

    def output(self, *inputs: Shape) -> Shape:
        place = normalize_dim(self.dim, len(inputs[0]) + 1)
        return (*inputs[0][:place], 1, *inputs[0][place:])

    def gradients(self, taken: Shape) -> tuple[Op, ...]:
        return (Reshape(taken),)

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        rank, (plane, order, gaps) = len(inputs[0]), layouts[0]
        place = normalize_dim(self.dim, rank + 1)
        moved = {d: d + (d >= place) for d in range(rank)}
        where = order.index(place) if place < rank else rank
        new = [moved[d] for d in order]
        turned = None if plane is None else (moved[plane[0]], moved[plane[1]])
        return Layout(turned, (*new[:where], place, *new[where:]), frozenset([moved[d] for d in gaps]))


@op
class Expand(View):
    """A tensor whose sizes of 1 are repeated, torch.Tensor.expand: a view, without memory. Work: none.

    Output: `sizes`, of which the last are those of the input, or stand for a 1 there.
    """

    sizes: tuple[Size, ...] = extents()

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        new = len(self.sizes) - len(inputs[0])
        message = f"expand repeats sizes of 1: {format_shape(inputs[0])} cannot be {format_shape(self.sizes)}"
        if new < 0:
            raise OpError(message, "sizes")
        for n, wanted in zip(inputs[0], self.sizes[new:], strict=True):
            if not check_relation(n, "==", 1).answer:
                yield Requirement(n, "==", wanted, message)

    def output(self, *inputs: Shape) -> Shape:
        return self.sizes

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        alone = bool(check_relation(prod(output), "==", prod(inputs[0])).answer)
        gradients = (Reshape(inputs[0]),) if alone else ()
        return (
            Kernel((0,), prod(output), aliases=0, forwards_gradient=alone, output_shape=output, gradient_ops=gradients),
        )

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        (taken,), (plane, order, gaps) = inputs, layouts[0]
        new = len(self.sizes) - len(taken)
        repeated = [d for d, n in enumerate(taken) if not identical(n, self.sizes[d + new])]
        apart = {d + new for d in gaps} | set(range(new))
        for d in repeated:
            apart |= {d + new, *[outer + new for outer in _next_outer_dim(d, taken, order)]}
        turned = None if plane is None else (plane[0] + new, plane[1] + new)
        return Layout(turned, (*range(new), *[d + new for d in order]), frozenset(apart))


def _next_outer_dim(dim: int, shape: Shape, order: tuple[int, ...]) -> list[int]:
    """The dimension that lies next outside of one; none if it is the outermost but for those of size 1."""
    return [d for d in order[: order.index(dim)] if not check_relation(shape[d], "==", 1).answer][-1:]


@op
class Contiguous(View):
    """The tensor itself where its elements follow one another in memory, else a copy, torch.Tensor.contiguous.

    Output: the input's sizes; `memory_format` says in which order: as they are counted, or the channels last.
    Work: none.
    """

    memory_format: str = choice("contiguous", "channels_last", default="contiguous")

    def _order(self, rank: int) -> tuple[int, ...]:
        if self.memory_format == "contiguous":
            return tuple(range(rank))
        if rank != 4:
            raise OpError(f"channels last is an order of 4 dimensions, not of {rank}", "memory_format")
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
    """What has to be copied to follow one another."""

    def allocates_output(self, training: bool = False) -> bool:
        return True


@op
class Flatten(Op):
    """Sizes start_dim to end_dim merged into one, torch.nn.Flatten: a view, without memory. Work: none.

    Of a permuted tensor, whose merged elements do not follow one another in memory, it is a copy.
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

    def allocates_output(self, training: bool = False) -> bool:
        return False

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        start, end = self._span(len(inputs[0]))
        if start == end:
            return ()
        new, gradients = self.allocates_output(), (Reshape(inputs[0]),)
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

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        (start, end), (plane, order, gaps) = self._span(len(inputs[0])), layouts[0]
        place = [d if d <= start else max(start, d - (end - start)) for d in range(len(order))]  # that it has after
        if plane is not None and start < end:
            plane = None if any(start <= d <= end for d in plane) else (place[plane[0]], place[plane[1]])
        long = [d for d in range(start, end + 1) if not check_relation(inputs[0][d], "==", 1).answer] or [end]
        short = set(range(start, end + 1)).difference(long)  # of size 1, they are at no particular place in memory
        kept = dict.fromkeys(place[d] for d in order if d not in short)
        if not self._is_view(inputs[0], layouts[0]):
            return Layout(plane, tuple(range(len(kept))))
        return Layout(plane, tuple(kept), frozenset([place[d] for d in gaps if not start <= d <= end or d == long[-1]]))

    def resolve(
        self,
        inputs: tuple[Shape, ...],
        layouts: tuple[Layout, ...],
        device: Device | None = None,
        requires_grad: tuple[bool, ...] = (),
    ) -> Op:
        return self if self._is_view(inputs[0], layouts[0]) else _CopyingFlatten(self.start_dim, self.end_dim)

    def _is_view(self, taken: Shape, layout: Layout) -> bool:
        """Whether the merged dimensions follow one another in memory; one of a single place lies anywhere."""
        start, end = self._span(len(taken))
        if layout.dim_order == tuple(range(len(taken))) and not layout.strided_dims:
            return True
        lie = [d for d in layout.dim_order if not check_relation(taken[d], "==", 1).answer]
        merged = [d for d in range(start, end + 1) if d in lie]
        first = lie.index(merged[0]) if merged else 0
        return lie[first : first + len(merged)] == merged and not layout.strided_dims.intersection(merged[:-1])


class _CopyingFlatten(Flatten):
    """A flatten that cannot be a view of what it takes."""

    def allocates_output(self, training: bool = False) -> bool:
        return True


@op
class Permute(Op):
    """Dimensions in another order, torch.permute: dimension i is dimension dims[i] of the input.

    A view, without memory. Output: the input's sizes in that order; permute((0, 2, 3, 1)) puts the channels last.
    Work: none.
    """

    dims: tuple[int, ...] = dimensions()

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        if len(inputs[0]) != len(self.dims):
            wanted = f"dims {list(self.dims)} are those of an input of {len(self.dims)} sizes"
            raise OpError(f"{wanted}, not of {len(inputs[0])}: {format_shape(inputs[0])}", "dims")
        return iter(())

    def output(self, *inputs: Shape) -> Shape:
        return tuple([inputs[0][d] for d in self.dims])

    def allocates_output(self, training: bool = False) -> bool:
        return False

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        back = Permute(tuple(map(self.dims.index, range(len(self.dims)))))
        return (
            Kernel((0,), prod(output), aliases=0, forwards_gradient=True, output_shape=output, gradient_ops=(back,)),
        )

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        plane, order, gaps = layouts[0]
        place = self.dims.index
        turned = None if plane is None else (place(plane[0]), place(plane[1]))
        return Layout(turned, tuple(map(place, order)), frozenset(map(place, gaps)))
