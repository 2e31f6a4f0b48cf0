"""Advanced indexing, scatter and gather, sorting, and other ops on indices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar

from costcalc.core.axes import normalize_dim
from costcalc.core.dtypes import INT64_BYTES
from costcalc.core.errors import OpError
from costcalc.core.sizes import Shape, Size, exact_div, format_shape, prod
from costcalc.ir.arguments import choice, flag, integer, integers, size
from costcalc.ir.broadcasting import broadcast_shape
from costcalc.ir.kernel import AuxiliaryOutput, Kernel
from costcalc.ir.layout import Layout
from costcalc.ir.op import Op, Requirement, op
from costcalc.ir.ops.copies import contiguous_layout, expand_requirements
from costcalc.ir.work import NO_WORK, Work


class _IndexRead(Op):
    """An op that reads its first input at indices, which are inputs and saved for the gradient."""

    arity: ClassVar[tuple[int, int | None]] = (2, 2)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        # Backward allocates zeros and then the gradient, the result of an out-of-place addition to the zeros.
        return (Kernel((0,), prod(output), saved=tuple(range(1, len(inputs))), workspace_elements=prod(inputs[0])),)

    def sliding_windows(self, *inputs: Shape) -> None:
        return None

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return contiguous_layout(layouts[0], len(self.output(*inputs)))


def _index_shape(x: Shape, dims: tuple[int, ...], indices: Sequence[Shape]) -> Shape:
    """Return the shape of x[…] with an index tensor for each of `dims` and a full slice for every other dimension.

    The broadcast shape of the indices replaces the dimensions, or comes first if they are not adjacent.
    """
    indexed = [normalize_dim(d, len(x), "dims") for d in dims]
    rest = [n for d, n in enumerate(x) if d not in indexed]
    adjacent = indexed == list(range(indexed[0], indexed[0] + len(indexed)))
    front = indexed[0] if adjacent else 0
    return (*rest[:front], *broadcast_shape(*indices), *rest[front:])


def _index_requirements(name: str, dims: tuple[int, ...], indices: Sequence[Shape]) -> Iterator[Requirement]:
    if len(indices) != len(dims) or sorted(set(dims)) != list(dims):
        raise OpError(f"{name} takes one index tensor for each of dims, which must be increasing", "dims")
    broadcast = broadcast_shape(*indices)
    for index in indices:
        yield from expand_requirements(index, broadcast)


@op
class Index(_IndexRead):
    """Advanced indexing: x[i, j, ...] with integer tensors, torch.Tensor.

    Inputs: x, and an index tensor for each of `dims`. Output: the shape of x, with the broadcast shape of the indices
    instead of those dimensions; it comes first if they are not adjacent. Work: none.
    """

    dims: tuple[int, ...] = integers(minimum=0)

    arity = (2, None)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        return _index_requirements(self.name, self.dims, inputs[1:])

    def output(self, *inputs: Shape) -> Shape:
        return _index_shape(inputs[0], self.dims, inputs[1:])


@op
class IndexSelect(_IndexRead):
    """Slices of x along `dim` at the indices in a 1-d tensor, torch.index_select.

    Inputs: x and the indices. Output: the shape of x, with the number of indices as the size of `dim`. Work: none.
    """

    dim: int = integer()

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        if len(inputs[1]) > 1:
            raise OpError(f"index_select takes a 1-d tensor of indices, not {format_shape(inputs[1])}", "inputs")
        return iter(())

    def output(self, *inputs: Shape) -> Shape:
        dim = normalize_dim(self.dim, len(inputs[0]))
        return (*inputs[0][:dim], prod(inputs[1]), *inputs[0][dim + 1 :])


def _same_rank(name: str, inputs: tuple[Shape, ...]) -> None:
    if len({len(shape) for shape in inputs}) > 1:
        shapes = " and ".join(map(format_shape, inputs))
        raise OpError(f"{name} takes inputs of the same rank, not {shapes}", "inputs")


@op
class Gather(_IndexRead):
    """One element of x along `dim` for each index, torch.gather: for dim 1, x[i, index[i, j]].

    Inputs: x and the indices. Output: the shape of the indices. Work: none.
    """

    dim: int = integer()

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        _same_rank(self.name, inputs)
        dim = normalize_dim(self.dim, len(inputs[0]))
        for d, (n, available) in enumerate(zip(inputs[1], inputs[0], strict=True)):
            if d != dim:
                yield Requirement(available, ">=", n, "gather needs a size of {right} or more, not {left}")

    def output(self, *inputs: Shape) -> Shape:
        return inputs[1]

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        (kernel,) = super().kernels(inputs, output, training)
        return (replace(kernel, saved=(0, 1)),)


class _IndexWrite(Op):
    """An op that writes elements of its last input into its first input, at the indices in the inputs between them.

    It allocates a new tensor or, with `overwrites`, is in place: later readers of the first input see the result.
    """

    overwrites: bool

    arity: ClassVar[tuple[int, int | None]] = (3, 3)

    @property
    def _accumulates(self) -> bool:
        """Return whether elements are added to the existing ones."""
        return False

    def allocates_output(self, training: bool = False) -> bool:
        return not self.overwrites

    def _written_elements(self, *inputs: Shape) -> Size:
        """Return the number of elements that are written."""
        return prod(inputs[1])

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        return Work(adds=self._written_elements(*inputs)) if self._accumulates else NO_WORK

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        operands = (0,) if len(inputs) == 2 else (0, len(inputs) - 1)  # with 2 inputs, a number is written
        saved = tuple([i for i in range(1, len(inputs)) if i not in operands])
        new = self.allocates_output(training)
        return (Kernel(operands, prod(output), aliases=None if new else 0, in_place=not new, saved=saved),)

    def sliding_windows(self, *inputs: Shape) -> None:
        return None

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return contiguous_layout(layouts[0]) if self.allocates_output() else layouts[0]


@op
class IndexPut(_IndexWrite):
    """x with x[i, j, ...] = values, torch.index_put.

    Inputs: x, an index tensor for each of `dims`, and the values. Output: the shape of x. Work: none; with `accumulate`
    1 add per element that is written.
    """

    dims: tuple[int, ...] = integers(minimum=0)
    accumulate: bool = flag(default=False)
    overwrites: bool = flag(default=False)

    arity = (3, None)

    @property
    def _accumulates(self) -> bool:
        return self.accumulate

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        yield from _index_requirements(self.name, self.dims, inputs[1:-1])
        yield from expand_requirements(inputs[-1], _index_shape(inputs[0], self.dims, inputs[1:-1]))

    def _written_elements(self, *inputs: Shape) -> Size:
        return prod(_index_shape(inputs[0], self.dims, inputs[1:-1]))


class _ScatterOp(_IndexWrite):
    """An op that writes along `dim` at the indices in its second input."""

    dim: int

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        _same_rank(self.name, inputs)
        normalize_dim(self.dim, len(inputs[0]))
        return iter(())


@op
class Scatter(_ScatterOp):
    """x with elements written along `dim` at the indices, torch.scatter.

    Inputs: x, the indices, and the source of the elements; without a source, one number is written. Output: the shape
    of x. Work: none.
    """

    dim: int = integer()
    overwrites: bool = flag(default=False)

    arity = (2, 3)


@op
class ScatterAdd(_ScatterOp):
    """x with the elements of a source added along `dim` at the indices, torch.scatter_add.

    Inputs: x, the indices and the source. Output: the shape of x. Work: 1 add per element that is written.
    """

    dim: int = integer()
    overwrites: bool = flag(default=False)

    @property
    def _accumulates(self) -> bool:
        return True

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        (kernel,) = super().kernels(inputs, output, training)
        return (replace(kernel, forwards_gradient=True, new_gradient_operands=(2,)),)


@op
class ScatterReduce(_ScatterOp):
    """The elements of a source reduced along `dim` by index, torch.scatter_reduce.

    Inputs: x, the indices and the source; the elements of x take part with `include_self`. Output: the shape of x.
    Work: per element that is written, 1 add (sum, mean), 1 mul (prod) or 1 compare (amax, amin); for mean also 1 div
    per output element.
    """

    dim: int = integer()
    reduce: str = choice("sum", "prod", "mean", "amax", "amin")
    include_self: bool = flag(default=True)
    overwrites: bool = flag(default=False)

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        written = self._written_elements(*inputs)
        if self.reduce in ("amax", "amin"):
            return Work(compares=written)
        if self.reduce == "prod":
            return Work(muls=written)
        return Work(adds=written, divs=prod(output) if self.reduce == "mean" else 0)


@op
class MaskedScatter(_IndexWrite):
    """x with consecutive elements of a source written where the mask is true, torch.masked_scatter.

    Inputs: x, the mask, which is broadcast to x, and the source. Output: the shape of x. Work: none.
    """

    overwrites: bool = flag(default=False)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        return expand_requirements(inputs[1], inputs[0])


@op
class IndexAdd(_IndexWrite):
    """x with slices of a source added along `dim` at the indices, torch.index_add.

    Inputs: x, a 1-d tensor of indices and the source. Output: the shape of x. Work: 1 add per element that is written.
    """

    dim: int = integer()
    overwrites: bool = flag(default=False)

    @property
    def _accumulates(self) -> bool:
        return True

    def _written_elements(self, *inputs: Shape) -> Size:
        return prod(inputs[2])

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        (kernel,) = super().kernels(inputs, output, training)
        return (
            replace(kernel, saved=(1, 2), forwards_gradient=True, new_gradient_operands=(2,)),
        )  # torch saves the source for its sizes

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        _same_rank(self.name, (inputs[0], inputs[2]))
        dim = normalize_dim(self.dim, len(inputs[0]))
        for d, (a, b) in enumerate(zip(inputs[2], inputs[0], strict=True)):
            if d != dim:
                yield Requirement(a, "==", b, "index_add takes slices of {right}, not of {left}")
        yield Requirement(
            prod(inputs[1]), "==", inputs[2][dim], "index_add takes as many indices as slices, not {left} and {right}"
        )


class _SliceWrite(Op):
    """A copy of the first input, part of which is replaced by the second."""

    arity = (2, 2)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        return (Kernel((0, 1), prod(output)),)

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return layouts[0]


@op
class SliceScatter(_SliceWrite):
    """A copy of x with x[start:end:step] = source along `dim`, torch.slice_scatter.

    Inputs: x and the source, whose size determines the end. Output: the shape of x. Work: none.
    """

    dim: int = integer()
    start: Size = size("i", default=0, minimum=0)
    step: int = integer(default=1, minimum=1)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        _same_rank(self.name, inputs)
        dim = normalize_dim(self.dim, len(inputs[0]))
        last = self.start + (inputs[1][dim] - 1) * self.step + 1
        yield Requirement(inputs[0][dim], ">=", last, "the source ends at index {right}, beyond the size {left}")


@op
class SelectScatter(_SliceWrite):
    """A copy of x with x[index] = source along `dim`, torch.select_scatter.

    Inputs: x and the source. Output: the shape of x. Work: none.
    """

    dim: int = integer()
    index: int = integer()

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        dim = normalize_dim(self.dim, len(inputs[0]))
        return expand_requirements(inputs[1], (*inputs[0][:dim], *inputs[0][dim + 1 :]))


class _SortOp(Op):
    """An op that orders the elements along one dimension and returns their indices, too."""

    dim: int

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        normalize_dim(self.dim, len(inputs[0]))
        return iter(())

    def _row_length(self, *inputs: Shape) -> Size:
        """Return the size of the dimension."""
        return inputs[0][normalize_dim(self.dim, len(inputs[0]))]

    def _pairwise_compares(self, *inputs: Shape) -> Work:
        return Work(compares=exact_div(prod(inputs[0]) * (self._row_length(*inputs) - 1), 2))

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        indices = AuxiliaryOutput("indices", prod(output), element_size=INT64_BYTES)
        return (
            Kernel((0,), prod(output), auxiliary_outputs=(indices,), workspace_elements=prod(inputs[0])),
        )  # grad_output is scattered into zeros

    def extra_element_types(self, *inputs: str) -> tuple[str, ...]:
        return ("int64",)

    def sliding_windows(self, *inputs: Shape) -> None:
        return None

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return contiguous_layout(layouts[0], len(self.output(*inputs)))


@op
class Topk(_SortOp):
    """The k largest elements along one dimension and their indices, torch.topk.

    Output: the input shape with a size of k; a second result of the same shape has the indices (int64). Work: k
    compares per element, for k passes that each find the largest of the remaining elements.
    """

    k: Size = size("k")
    dim: int = integer(default=-1)
    largest: bool = flag(default=True)
    sorted: bool = flag(default=True)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        yield from super().requirements(*inputs)
        yield Requirement(self._row_length(*inputs), ">=", self.k, "topk needs {right} or more elements, not {left}")

    def output(self, *inputs: Shape) -> Shape:
        dim = normalize_dim(self.dim, len(inputs[0]))
        return (*inputs[0][:dim], self.k, *inputs[0][dim + 1 :])

    def extra_outputs(self, *inputs: Shape) -> tuple[Shape, ...]:
        return (self.output(*inputs),)

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        return Work(compares=prod(inputs[0]) * self.k)


@op
class Kthvalue(_SortOp):
    """The k-th smallest element along one dimension and its index, torch.kthvalue.

    Output: the input shape without that dimension, or with a size of 1 with keepdim; a second result of the same shape
    has the indices (int64). Work: k compares per element, as topk.
    """

    k: Size = size("k")
    dim: int = integer(default=-1)
    keepdim: bool = flag(default=False)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        yield from super().requirements(*inputs)
        yield Requirement(
            self._row_length(*inputs), ">=", self.k, "kthvalue needs {right} or more elements, not {left}"
        )

    def output(self, *inputs: Shape) -> Shape:
        dim = normalize_dim(self.dim, len(inputs[0]))
        return (*inputs[0][:dim], *([1] if self.keepdim else []), *inputs[0][dim + 1 :])

    def extra_outputs(self, *inputs: Shape) -> tuple[Shape, ...]:
        return (self.output(*inputs),)

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        return Work(compares=prod(inputs[0]) * self.k)


@op
class Sort(_SortOp):
    """The elements sorted along one dimension, and their indices, torch.sort.

    Output: the input shape; a second result of the same shape has the indices (int64). Work: 1 compare for each pair of
    elements of a row, an upper bound: the number depends on the algorithm and the data.
    """

    dim: int = integer(default=-1)
    descending: bool = flag(default=False)

    def extra_outputs(self, *inputs: Shape) -> tuple[Shape, ...]:
        return (inputs[0],)

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        return self._pairwise_compares(*inputs)


@op
class Argsort(_SortOp):
    """The indices that sort the elements along one dimension, torch.argsort.

    Output: the input shape (int64). Work: 1 compare for each pair of elements of a row, as sort.
    """

    dim: int = integer(default=-1)
    descending: bool = flag(default=False)

    def element_type(self, *inputs: str) -> str:
        return "int64"

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        return self._pairwise_compares(*inputs)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        return (
            Kernel((), prod(output), auxiliary_outputs=(AuxiliaryOutput("values", prod(output)),)),
        )  # torch runs sort


@op
class OneHot(Op):
    """A vector of zeros with a 1 at the index, for each index, torch.nn.functional.one_hot.

    Output: (*indices, num_classes) (int64). Work: none.
    """

    num_classes: Size = size("C_out")

    def output(self, *inputs: Shape) -> Shape:
        return (*inputs[0], self.num_classes)

    def element_type(self, *inputs: str) -> str:
        return "int64"

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        return (Kernel((), prod(output)),)

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return contiguous_layout(layouts[0], len(inputs[0]) + 1)
