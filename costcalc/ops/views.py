"""Layers that show the elements of a tensor otherwise, without copying them where torch does not."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from costcalc.dims import Shape, Size, ceil_div, dim_min, known, prod, same, show_shape
from costcalc.errors import OpError
from costcalc.ops.kernel import Kernel
from costcalc.ops.op import CHANNELS_LAST, Layout, Op, Requirement, choice, op, size, whole, wholes
from costcalc.ops.op import shape as extents


def place_of(dim: int, rank: int, name: str = "dim") -> int:
    """A dimension counted from the first. Raises OpError where an input has none such."""
    if not -rank <= dim < rank:
        raise OpError(f"{name} {dim} is not a dimension of an input with {rank}", name)
    return dim % rank


class View(Op):
    """What shows the elements of its input otherwise and makes no tensor."""

    def makes_tensor(self, training: bool = False) -> bool:
        return False

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        new = self.makes_tensor(training)
        return (Kernel((0,), prod(output), None if new else 0, passes_on=True),)


@op
class Reshape(View):
    """The same elements, in order, as a tensor of other sizes, torch.reshape: a view, without memory. Work: none.

    Output: `sizes`, the batch among them; their product is the input's. Of a tensor whose elements do not lie in memory
    as that asks, it is a copy.
    """

    sizes: tuple[Size, ...] = extents()

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        message = f"reshape makes {show_shape(self.sizes)} of {show_shape(inputs[0])}: {{left}} elements of {{right}}"
        yield Requirement(prod(self.sizes), "==", prod(inputs[0]), message)

    def output(self, *inputs: Shape) -> Shape:
        return self.sizes

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        plane, stays = layouts[0].plane, _stay(inputs[0], self.sizes)
        if plane is not None:
            plane = (stays[plane[0]], stays[plane[1]]) if stays.keys() >= set(plane) else None
        seen = _seen_as(inputs[0], layouts[0], self.sizes)
        return Layout(plane, *(seen or (tuple(range(len(self.sizes))), frozenset())))

    def running(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Op:
        return self if _seen_as(inputs[0], layouts[0], self.sizes) else _CopyingReshape(self.sizes)


class _CopyingReshape(Reshape):
    """A reshape that cannot be a view of what it takes."""

    def makes_tensor(self, training: bool = False) -> bool:
        return True


def _stay(old: Shape, new: Shape) -> dict[int, int]:
    """Dimensions that a reshape leaves as they are, at the front and at the back, and where they then are."""
    front = 0
    while front < min(len(old), len(new)) and same(old[front], new[front]):
        front += 1
    back = 0
    while back < min(len(old), len(new)) - front and same(old[-1 - back], new[-1 - back]):
        back += 1
    stays = {d: d for d in range(front)}
    return stays | {len(old) - 1 - d: len(new) - 1 - d for d in range(back)}


def lies_in_order(shape: Shape, layout: Layout, order: tuple[int, ...] | None = None) -> bool:
    """Whether elements follow one another in memory as they are counted; `order` is another one to be counted in."""
    if not layout.gaps and layout.order == (order or tuple(range(len(shape)))):
        return True
    lie = [d for d in layout.order if not known(shape[d], "==", 1).answer]
    wanted = [d for d in order or range(len(shape)) if d in lie]
    return lie == wanted and not layout.gaps.intersection(lie)


def _seen_as(old: Shape, layout: Layout, new: Shape) -> tuple[tuple[int, ...], frozenset[int]] | None:
    """Order and gaps of a tensor seen as one of other sizes; None where it has to be copied.

    Dimensions that follow one another in memory, without a gap, are one piece; each piece must be a product of new
    sizes (torch's rule, computeStride).
    """
    if not layout.gaps and layout.order == tuple(range(len(old))):
        return tuple(range(len(new))), frozenset()
    lie = [d for d in layout.order if not known(old[d], "==", 1).answer]
    inside = dict(pairwise(lie))
    pieces: list[list[int]] = []
    for d in sorted(lie):
        if pieces and inside.get(pieces[-1][-1]) == d and pieces[-1][-1] not in layout.gaps:
            pieces[-1].append(d)
        else:
            pieces.append([d])
    parts: list[tuple[list[int], list[int]]] = []  # a piece, and the new dimensions that it is
    end = len(new)
    for number, piece in reversed(list(enumerate(pieces))):
        many = prod([old[d] for d in piece])
        starts = range(end - 1, -1, -1) if number else (0,)
        start = next((k for k in starts if known(prod(new[k:end]), "==", many).answer), None)
        if start is None:
            return None
        parts.append((piece, list(range(start, end))))
        end = start
    gaps = set()
    for piece, dims in parts:
        if piece[-1] in layout.gaps:
            gaps.add(next((d for d in reversed(dims) if not known(new[d], "==", 1).answer), dims[-1]))
    parts.sort(key=lambda part: lie.index(part[0][0]))
    order = [d for _, dims in parts for d in dims]
    return tuple([d for d in range(len(new)) if d not in order] + order), frozenset(gaps)


@op
class Squeeze(View):
    """A tensor without dimensions of size 1, torch.squeeze: a view, without memory. Work: none.

    Output: the input's sizes but those of `dim`, one or a list, which must be 1.
    """

    dim: tuple[int, ...] = wholes()

    def _dims(self, rank: int) -> list[int]:
        return [place_of(d, rank) for d in self.dim]

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        for d in self._dims(len(inputs[0])):
            yield Requirement(inputs[0][d], "==", 1, f"squeeze takes away a size of 1: size {d + 1} is {{left}}")

    def output(self, *inputs: Shape) -> Shape:
        dims = self._dims(len(inputs[0]))
        return tuple([n for d, n in enumerate(inputs[0]) if d not in dims])

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return _without(self._dims(len(inputs[0])), layouts[0], layouts[0].gaps)


def _without(dims: list[int], layout: Layout, gaps: frozenset[int]) -> Layout:
    """The layout of a tensor that has these dimensions no more."""
    stay = [d for d in range(len(layout.order)) if d not in dims]
    place = {d: i for i, d in enumerate(stay)}
    plane = layout.plane
    if plane is not None:
        plane = (place[plane[0]], place[plane[1]]) if place.keys() >= set(plane) else None
    order = tuple([place[d] for d in layout.order if d in place])
    return Layout(plane, order, frozenset([place[d] for d in gaps if d in place]))


@op
class Unsqueeze(View):
    """A tensor with a further dimension of size 1 at place `dim`, torch.unsqueeze: a view, without memory. Work: none.

    Output: the input's sizes, and 1 among them.
    """

    dim: int = whole()

    def output(self, *inputs: Shape) -> Shape:
        place = place_of(self.dim, len(inputs[0]) + 1)
        return (*inputs[0][:place], 1, *inputs[0][place:])

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        rank, (plane, order, gaps) = len(inputs[0]), layouts[0]
        place = place_of(self.dim, rank + 1)
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
        message = f"expand repeats sizes of 1: {show_shape(inputs[0])} cannot be {show_shape(self.sizes)}"
        if new < 0:
            raise OpError(message, "sizes")
        for n, wanted in zip(inputs[0], self.sizes[new:], strict=True):
            if not known(n, "==", 1).answer:
                yield Requirement(n, "==", wanted, message)

    def output(self, *inputs: Shape) -> Shape:
        return self.sizes

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        alone = bool(known(prod(output), "==", prod(inputs[0])).answer)
        return (Kernel((0,), prod(output), lies_in=0, passes_on=alone),)

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        (taken,), (plane, order, gaps) = inputs, layouts[0]
        new = len(self.sizes) - len(taken)
        repeated = [d for d, n in enumerate(taken) if not same(n, self.sizes[d + new])]
        apart = {d + new for d in gaps} | set(range(new))
        for d in repeated:
            apart |= {d + new, *[outer + new for outer in _outer(d, taken, order)]}
        turned = None if plane is None else (plane[0] + new, plane[1] + new)
        return Layout(turned, (*range(new), *[d + new for d in order]), frozenset(apart))


def _outer(dim: int, shape: Shape, order: tuple[int, ...]) -> list[int]:
    """The dimension that lies next outside of one; none if it is the outermost but for those of size 1."""
    return [d for d in order[: order.index(dim)] if not known(shape[d], "==", 1).answer][-1:]


class _Part(View):
    """A view of some of the elements; their gradient is put into a tensor of zeros."""

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        return (Kernel((0,), prod(output), lies_in=0),)


@op
class Slice(_Part):
    """The places of one dimension from `start` until before `end`, every `step`-th: a view, without memory.

    Output: that size becomes (end − start) / step, rounded up; without an end all from the start on. Work: none.
    torch.Tensor, indexed by a slice.
    """

    dim: int = whole()
    start: Size = size("i", default=0, least=0)
    end: Size | None = size("j", default=None, least=0)
    step: int = whole(default=1, least=1)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        n = inputs[0][place_of(self.dim, len(inputs[0]))]
        if self.end is not None and not same(self.end, n):
            yield Requirement(n, ">=", self.end, "a slice until {right} is more than there is: {left}")

    def output(self, *inputs: Shape) -> Shape:
        place = place_of(self.dim, len(inputs[0]))
        length = (inputs[0][place] if self.end is None else self.end) - self.start
        seen = length if self.step == 1 else ceil_div(length, self.step)
        return (*inputs[0][:place], seen, *inputs[0][place + 1 :])

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        place, layout = place_of(self.dim, len(inputs[0])), layouts[0]
        if same(self.output(*inputs)[place], inputs[0][place]):
            return layout
        gaps = {*layout.gaps, *_outer(place, inputs[0], layout.order), *([place] if self.step > 1 else [])}
        return layout._replace(gaps=frozenset(gaps))

    def windows(self, *inputs: Shape) -> tuple[()] | None:
        return () if self.step == 1 else None


@op
class Select(_Part):
    """One place of a dimension, which is then no more, torch.select: a view, without memory. Work: none.

    Output: the input's sizes without that of `dim`; an `index` below 0 counts from the last.
    """

    dim: int = whole()
    index: int = whole()

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        n = inputs[0][place_of(self.dim, len(inputs[0]))]
        least = self.index + 1 if self.index >= 0 else -self.index
        yield Requirement(n, ">=", least, f"there is no place {self.index} of {{left}}")

    def output(self, *inputs: Shape) -> Shape:
        place = place_of(self.dim, len(inputs[0]))
        return (*inputs[0][:place], *inputs[0][place + 1 :])

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        place, layout = place_of(self.dim, len(inputs[0])), layouts[0]
        cut = () if known(inputs[0][place], "==", 1).answer else _outer(place, inputs[0], layout.order)
        return _without([place], layout, frozenset([*layout.gaps, *cut]))


@op
class Diagonal(_Part):
    """The diagonal of two dimensions as the last one, `offset` above the main one, torch.diagonal: a view.

    Output: the input's sizes without `dim1` and `dim2`, then the diagonal's length. Work: none.
    """

    offset: int = whole(default=0)
    dim1: int = whole(default=0)
    dim2: int = whole(default=1)

    def _dims(self, rank: int) -> list[int]:
        dims = [place_of(self.dim1, rank, "dim1"), place_of(self.dim2, rank, "dim2")]
        if dims[0] == dims[1]:
            raise OpError(f"a diagonal goes through two dimensions, not through {self.dim1} twice", "dim2")
        return dims

    def _length(self, taken: Shape) -> Size:
        rows, columns = (taken[d] for d in self._dims(len(taken)))
        return dim_min(rows + min(self.offset, 0), columns - max(self.offset, 0))

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        message = f"a diagonal {self.offset} off the main one of {show_shape(inputs[0])} has {{left}} places"
        yield Requirement(self._length(inputs[0]), ">=", 1, message)

    def output(self, *inputs: Shape) -> Shape:
        dims = self._dims(len(inputs[0]))
        return (*[n for d, n in enumerate(inputs[0]) if d not in dims], self._length(inputs[0]))

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        rank = len(inputs[0])
        rest = _without(self._dims(rank), layouts[0], layouts[0].gaps)
        return Layout(None, (*rest.order, rank - 2), frozenset(range(rank - 1)))

    def windows(self, *inputs: Shape) -> None:
        return None


@op
class TensorUnfold(_Part):
    """All slices of `size` places of one dimension, every `step` places one, torch.Tensor.unfold: a view.

    Output: that size becomes (n − size) / step + 1, rounded down, and `size` is a further one, the last. Work: none.
    """

    dimension: int = whole()
    size: Size = size("K", least=1)
    step: int = whole(default=1, least=1)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        n = inputs[0][place_of(self.dimension, len(inputs[0]), "dimension")]
        yield Requirement(n, ">=", self.size, "there are no slices of {right} places of {left}")

    def output(self, *inputs: Shape) -> Shape:
        place = place_of(self.dimension, len(inputs[0]), "dimension")
        slices = (inputs[0][place] - self.size) // self.step + 1
        return (*inputs[0][:place], slices, *inputs[0][place + 1 :], self.size)

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        rank, order = len(inputs[0]), list(layouts[0].order)
        place = place_of(self.dimension, rank, "dimension")
        order.insert(order.index(place) + 1, rank)
        return Layout(None, tuple(order), frozenset(range(rank + 1)))

    def windows(self, *inputs: Shape) -> None:
        return None


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
        return super().kernels(inputs, output, training) if self.makes_tensor(training) else ()

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        order = self._order(len(inputs[0]))
        in_order = lies_in_order(inputs[0], layouts[0], order)
        return layouts[0] if in_order else Layout(layouts[0].plane, order)

    def running(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Op:
        in_order = lies_in_order(inputs[0], layouts[0], self._order(len(inputs[0])))
        return self if in_order else _CopyingContiguous(self.memory_format)


class _CopyingContiguous(Contiguous):
    """What has to be copied to follow one another."""

    def makes_tensor(self, training: bool = False) -> bool:
        return True
