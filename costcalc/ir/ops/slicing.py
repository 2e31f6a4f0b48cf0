"""Views of a part of a tensor."""

from __future__ import annotations

from collections.abc import Iterator

from costcalc.core.axes import normalize_dim
from costcalc.core.errors import OpError
from costcalc.core.sizes import Shape, Size, ceil_div, check_relation, format_shape, identical, prod, size_min
from costcalc.ir.arguments import integer, size
from costcalc.ir.kernel import Kernel
from costcalc.ir.layout import Layout
from costcalc.ir.op import Requirement, op
from costcalc.ir.ops.shape import View, _drop_dims, _next_outer_dim


class _PartialView(View):
    """A view of some of the elements; their gradient is put into a tensor of zeros."""

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        return (Kernel((0,), prod(output), aliases=0),)


@op
class Slice(_PartialView):
    """The places of one dimension from `start` until before `end`, every `step`-th: a view, without memory.

    Output: that size becomes (end − start) / step, rounded up; without an end all from the start on. Work: none.
    torch.Tensor, indexed by a slice.
    """

    dim: int = integer()
    start: Size = size("i", default=0, minimum=0)
    end: Size | None = size("j", default=None, minimum=0)
    step: int = integer(default=1, minimum=1)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        n = inputs[0][normalize_dim(self.dim, len(inputs[0]))]
        if self.end is not None and not identical(self.end, n):
            yield Requirement(n, ">=", self.end, "a slice until {right} is more than there is: {left}")

    def output(self, *inputs: Shape) -> Shape:
        place = normalize_dim(self.dim, len(inputs[0]))
        length = (inputs[0][place] if self.end is None else self.end) - self.start
        seen = length if self.step == 1 else ceil_div(length, self.step)
        return (*inputs[0][:place], seen, *inputs[0][place + 1 :])

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        place, layout = normalize_dim(self.dim, len(inputs[0])), layouts[0]
        if identical(self.output(*inputs)[place], inputs[0][place]):
            return layout
        gaps = {
            *layout.strided_dims,
            *_next_outer_dim(place, inputs[0], layout.dim_order),
            *([place] if self.step > 1 else []),
        }
        return layout._replace(strided_dims=frozenset(gaps))

    def sliding_windows(self, *inputs: Shape) -> tuple[()] | None:
        return () if self.step == 1 else None


@op
class Select(_PartialView):
    """One place of a dimension, which is then no more, torch.select: a view, without memory. Work: none.

    Output: the input's sizes without that of `dim`; an `index` below 0 counts from the last.
    """

    dim: int = integer()
    index: int = integer()

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        n = inputs[0][normalize_dim(self.dim, len(inputs[0]))]
        least = self.index + 1 if self.index >= 0 else -self.index
        yield Requirement(n, ">=", least, f"there is no place {self.index} of {{left}}")

    def output(self, *inputs: Shape) -> Shape:
        place = normalize_dim(self.dim, len(inputs[0]))
        return (*inputs[0][:place], *inputs[0][place + 1 :])

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        place, layout = normalize_dim(self.dim, len(inputs[0])), layouts[0]
        cut = (
            ()
            if check_relation(inputs[0][place], "==", 1).answer
            else _next_outer_dim(place, inputs[0], layout.dim_order)
        )
        return _drop_dims([place], layout, frozenset([*layout.strided_dims, *cut]))


@op
class Diagonal(_PartialView):
    """The diagonal of two dimensions as the last one, `offset` above the main one, torch.diagonal: a view.

    Output: the input's sizes without `dim1` and `dim2`, then the diagonal's length. Work: none.
    """

    offset: int = integer(default=0)
    dim1: int = integer(default=0)
    dim2: int = integer(default=1)

    def _dims(self, rank: int) -> list[int]:
        dims = [normalize_dim(self.dim1, rank, "dim1"), normalize_dim(self.dim2, rank, "dim2")]
        if dims[0] == dims[1]:
            raise OpError(f"a diagonal goes through two dimensions, not through {self.dim1} twice", "dim2")
        return dims

    def _length(self, taken: Shape) -> Size:
        rows, columns = (taken[d] for d in self._dims(len(taken)))
        return size_min(rows + min(self.offset, 0), columns - max(self.offset, 0))

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        message = f"a diagonal {self.offset} off the main one of {format_shape(inputs[0])} has {{left}} places"
        yield Requirement(self._length(inputs[0]), ">=", 1, message)

    def output(self, *inputs: Shape) -> Shape:
        dims = self._dims(len(inputs[0]))
        return (*[n for d, n in enumerate(inputs[0]) if d not in dims], self._length(inputs[0]))

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        rank = len(inputs[0])
        rest = _drop_dims(self._dims(rank), layouts[0], layouts[0].strided_dims)
        return Layout(None, (*rest.dim_order, rank - 2), frozenset(range(rank - 1)))

    def sliding_windows(self, *inputs: Shape) -> None:
        return None


@op
class TensorUnfold(_PartialView):
    """All slices of `size` places of one dimension, every `step` places one, torch.Tensor.unfold: a view.

    Output: that size becomes (n − size) / step + 1, rounded down, and `size` is a further one, the last. Work: none.
    """

    dimension: int = integer()
    size: Size = size("K", minimum=1)
    step: int = integer(default=1, minimum=1)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        n = inputs[0][normalize_dim(self.dimension, len(inputs[0]), "dimension")]
        yield Requirement(n, ">=", self.size, "there are no slices of {right} places of {left}")

    def output(self, *inputs: Shape) -> Shape:
        place = normalize_dim(self.dimension, len(inputs[0]), "dimension")
        slices = (inputs[0][place] - self.size) // self.step + 1
        return (*inputs[0][:place], slices, *inputs[0][place + 1 :], self.size)

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        rank, order = len(inputs[0]), list(layouts[0].dim_order)
        place = normalize_dim(self.dimension, rank, "dimension")
        order.insert(order.index(place) + 1, rank)
        return Layout(None, tuple(order), frozenset(range(rank + 1)))

    def sliding_windows(self, *inputs: Shape) -> None:
        return None
