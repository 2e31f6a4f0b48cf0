"""Views of a part of a tensor: slices, single indices, diagonals and windows."""

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
    """A view of some of the elements; backward writes the gradient into a tensor of zeros."""

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        return (Kernel((0,), prod(output), aliases=0),)


@op
class Slice(_PartialView):
    """x[start:end:step] along `dim`, torch.Tensor indexed by a slice: a view, without memory.

    Output: the input shape with a size of (end − start) / step, rounded up; without an end, the slice extends to the
    end of the dimension. Work: none.
    """

    dim: int = integer()
    start: Size = size("i", default=0, minimum=0)
    end: Size | None = size("j", default=None, minimum=0)
    step: int = integer(default=1, minimum=1)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        n = inputs[0][normalize_dim(self.dim, len(inputs[0]))]
        if self.end is not None and not identical(self.end, n):
            yield Requirement(n, ">=", self.end, "the end of the slice is {right}, beyond the size {left}")

    def output(self, *inputs: Shape) -> Shape:
        dim = normalize_dim(self.dim, len(inputs[0]))
        length = (inputs[0][dim] if self.end is None else self.end) - self.start
        count = length if self.step == 1 else ceil_div(length, self.step)
        return (*inputs[0][:dim], count, *inputs[0][dim + 1 :])

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        dim, layout = normalize_dim(self.dim, len(inputs[0])), layouts[0]
        if identical(self.output(*inputs)[dim], inputs[0][dim]):
            return layout
        strided = {
            *layout.strided_dims,
            *_next_outer_dim(dim, inputs[0], layout.dim_order),
            *([dim] if self.step > 1 else []),
        }
        return layout._replace(strided_dims=frozenset(strided))

    def sliding_windows(self, *inputs: Shape) -> tuple[()] | None:
        return () if self.step == 1 else None


@op
class Select(_PartialView):
    """x[index] along `dim`, torch.select: a view, without memory. Work: none.

    Output: the input shape without `dim`; a negative `index` counts from the end.
    """

    dim: int = integer()
    index: int = integer()

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        n = inputs[0][normalize_dim(self.dim, len(inputs[0]))]
        least = self.index + 1 if self.index >= 0 else -self.index
        yield Requirement(n, ">=", least, f"index {self.index} is out of range for a size of {{left}}")

    def output(self, *inputs: Shape) -> Shape:
        dim = normalize_dim(self.dim, len(inputs[0]))
        return (*inputs[0][:dim], *inputs[0][dim + 1 :])

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        dim, layout = normalize_dim(self.dim, len(inputs[0])), layouts[0]
        cut = (
            () if check_relation(inputs[0][dim], "==", 1).answer else _next_outer_dim(dim, inputs[0], layout.dim_order)
        )
        return _drop_dims([dim], layout, frozenset([*layout.strided_dims, *cut]))


@op
class Diagonal(_PartialView):
    """The diagonal of two dimensions, `offset` above the main diagonal, torch.diagonal: a view.

    Output: the input shape without `dim1` and `dim2`, then the length of the diagonal. Work: none.
    """

    offset: int = integer(default=0)
    dim1: int = integer(default=0)
    dim2: int = integer(default=1)

    def _dims(self, rank: int) -> list[int]:
        dims = [normalize_dim(self.dim1, rank, "dim1"), normalize_dim(self.dim2, rank, "dim2")]
        if dims[0] == dims[1]:
            raise OpError(f"a diagonal needs two different dimensions, not dim {self.dim1} twice", "dim2")
        return dims

    def _length(self, shape: Shape) -> Size:
        rows, columns = (shape[d] for d in self._dims(len(shape)))
        return size_min(rows + min(self.offset, 0), columns - max(self.offset, 0))

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        message = f"the diagonal with offset {self.offset} of {format_shape(inputs[0])} has {{left}} elements"
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
    """Windows of `size` elements of one dimension, `step` elements apart, torch.Tensor.unfold: a view.

    Output: the input shape with (n − size) / step + 1, rounded down, windows instead of n elements, and a new last
    dimension of `size`. Work: none.
    """

    dimension: int = integer()
    size: Size = size("K", minimum=1)
    step: int = integer(default=1, minimum=1)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        n = inputs[0][normalize_dim(self.dimension, len(inputs[0]), "dimension")]
        yield Requirement(n, ">=", self.size, "a window of {right} is larger than the size {left}")

    def output(self, *inputs: Shape) -> Shape:
        dim = normalize_dim(self.dimension, len(inputs[0]), "dimension")
        slices = (inputs[0][dim] - self.size) // self.step + 1
        return (*inputs[0][:dim], slices, *inputs[0][dim + 1 :], self.size)

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        rank, order = len(inputs[0]), list(layouts[0].dim_order)
        dim = normalize_dim(self.dimension, rank, "dimension")
        order.insert(order.index(dim) + 1, rank)
        return Layout(None, tuple(order), frozenset(range(rank + 1)))

    def sliding_windows(self, *inputs: Shape) -> None:
        return None
