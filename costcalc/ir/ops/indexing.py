"""Layers that pick elements by their numbers, put them there, or say where elements are."""

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
    """What reads an input at places that further inputs tell, and keeps these for the gradient."""

    arity: ClassVar[tuple[int, int | None]] = (2, 2)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        # Backward makes a tensor of zeros, and then the gradient, which is the sum of it and of what is added to it.
        return (Kernel((0,), prod(output), saved=tuple(range(1, len(inputs))), workspace_elements=prod(inputs[0])),)

    def sliding_windows(self, *inputs: Shape) -> None:
        return None

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return contiguous_layout(layouts[0], len(self.output(*inputs)))


def _index_shape(x: Shape, dims: tuple[int, ...], indices: Sequence[Shape]) -> Shape:
    """The shape of x[…] with a tensor of numbers for each of `dims`, the others in full.

    The numbers' sizes stand where the dimensions were; in front, where these do not follow one another.
    """
    places = [normalize_dim(d, len(x), "dims") for d in dims]
    rest = [n for d, n in enumerate(x) if d not in places]
    adjacent = places == list(range(places[0], places[0] + len(places)))
    front = places[0] if adjacent else 0
    return (*rest[:front], *broadcast_shape(*indices), *rest[front:])


def _index_requirements(name: str, dims: tuple[int, ...], indices: Sequence[Shape]) -> Iterator[Requirement]:
    if len(indices) != len(dims) or sorted(set(dims)) != list(dims):
        raise OpError(f"{name} takes one input of numbers for each of dims, which are counted up", "dims")
    together = broadcast_shape(*indices)
    for index in indices:
        yield from expand_requirements(index, together)


@op
class Index(_IndexRead):
    """Elements whose numbers further inputs tell, torch.Tensor indexed by tensors: one of them for each of `dims`.

    Output: the numbers' sizes in place of those dimensions; before all others, where these do not follow one another.
    Work: none.
    """

    dims: tuple[int, ...] = integers(minimum=0)

    arity = (2, None)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        return _index_requirements(self.name, self.dims, inputs[1:])

    def output(self, *inputs: Shape) -> Shape:
        return _index_shape(inputs[0], self.dims, inputs[1:])


@op
class IndexSelect(_IndexRead):
    """Places of one dimension whose numbers the second input lists, torch.index_select.

    Output: that size becomes the length of the list. Work: none.
    """

    dim: int = integer()

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        if len(inputs[1]) > 1:
            raise OpError(f"index_select takes a list of numbers, not {format_shape(inputs[1])}", "inputs")
        return iter(())

    def output(self, *inputs: Shape) -> Shape:
        place = normalize_dim(self.dim, len(inputs[0]))
        return (*inputs[0][:place], prod(inputs[1]), *inputs[0][place + 1 :])


def _same_rank(name: str, inputs: tuple[Shape, ...]) -> None:
    if len({len(shape) for shape in inputs}) > 1:
        shapes = " and ".join(map(format_shape, inputs))
        raise OpError(f"{name} takes inputs with equally many sizes, not {shapes}", "inputs")


@op
class Gather(_IndexRead):
    """Elements whose place along one dimension the second input tells, torch.gather.

    Output: the second input's sizes. Work: none.
    """

    dim: int = integer()

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        _same_rank(self.name, inputs)
        place = normalize_dim(self.dim, len(inputs[0]))
        for d, (n, there) in enumerate(zip(inputs[1], inputs[0], strict=True)):
            if d != place:
                yield Requirement(there, ">=", n, "gather reads {right} places of {left}")

    def output(self, *inputs: Shape) -> Shape:
        return inputs[1]

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        (kernel,) = super().kernels(inputs, output, training)
        return (replace(kernel, saved=(0, 1)),)


class _IndexWrite(Op):
    """What puts elements of its last input into a tensor, at places that those between tell.

    It makes a new tensor, or `overwrites` the one it takes: whoever reads that later reads the result.
    """

    overwrites: bool

    arity: ClassVar[tuple[int, int | None]] = (3, 3)

    @property
    def _accumulates(self) -> bool:
        """Whether elements are added to those that are there."""
        return False

    def allocates_output(self, training: bool = False) -> bool:
        return not self.overwrites

    def _written_elements(self, *inputs: Shape) -> Size:
        """How many elements are put."""
        return prod(inputs[1])

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        return Work(adds=self._written_elements(*inputs)) if self._accumulates else NO_WORK

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        floats = (0,) if len(inputs) == 2 else (0, len(inputs) - 1)  # a number may be put
        keeps = tuple([i for i in range(1, len(inputs)) if i not in floats])
        new = self.allocates_output(training)
        return (Kernel(floats, prod(output), aliases=None if new else 0, in_place=not new, saved=keeps),)

    def sliding_windows(self, *inputs: Shape) -> None:
        return None

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return contiguous_layout(layouts[0]) if self.allocates_output() else layouts[0]


@op
class IndexPut(_IndexWrite):
    """A tensor with other elements at places that further inputs tell, torch.index_put; the last input is what is put.

    The inputs between tell places for each of `dims`. Output: the first input's sizes. Work: none; 1 add per element
    that is put, if they `accumulate`.
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
    """What is put where the second input tells along one dimension."""

    dim: int

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        _same_rank(self.name, inputs)
        normalize_dim(self.dim, len(inputs[0]))
        return iter(())


@op
class Scatter(_ScatterOp):
    """A tensor with other elements where the second input tells along one dimension, torch.scatter.

    What is put are the elements of a third input, or one number. Output: the first input's sizes. Work: none.
    """

    dim: int = integer()
    overwrites: bool = flag(default=False)

    arity = (2, 3)


@op
class ScatterAdd(_ScatterOp):
    """Elements of the third input added to the first where the second tells along one dimension, torch.scatter_add.

    Output: the first input's sizes. Work: 1 add per element that is put.
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
    """Elements of the third input reduced with those of the first where the second tells, torch.scatter_reduce.

    The first input's elements take part if `include_self`. Output: its sizes. Work: 1 add per element that is put to a
    sum or a mean, 1 mul to a prod, 1 compare to an amax or amin; of a mean 1 div per element of the result.
    """

    dim: int = integer()
    reduce: str = choice("sum", "prod", "mean", "amax", "amin")
    include_self: bool = flag(default=True)
    overwrites: bool = flag(default=False)

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        put = self._written_elements(*inputs)
        if self.reduce in ("amax", "amin"):
            return Work(compares=put)
        if self.reduce == "prod":
            return Work(muls=put)
        return Work(adds=put, divs=prod(output) if self.reduce == "mean" else 0)


@op
class MaskedScatter(_IndexWrite):
    """A tensor with the elements of the third input, one after the other, where the second holds, torch.masked_scatter.

    Output: the first input's sizes, which the mask is repeated to. Work: none.
    """

    overwrites: bool = flag(default=False)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        return expand_requirements(inputs[1], inputs[0])


@op
class IndexAdd(_IndexWrite):
    """Slices of the third input added to the first at places of one dimension that the second lists, torch.index_add.

    Output: the first input's sizes. Work: 1 add per element that is put.
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
        )  # of what is put, the sizes

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        _same_rank(self.name, (inputs[0], inputs[2]))
        place = normalize_dim(self.dim, len(inputs[0]))
        for d, (a, b) in enumerate(zip(inputs[2], inputs[0], strict=True)):
            if d != place:
                yield Requirement(a, "==", b, "index_add takes slices of {right}, not of {left}")
        yield Requirement(prod(inputs[1]), "==", inputs[2][place], "index_add takes {left} places for {right} slices")


class _SliceWrite(Op):
    """A view of a tensor, of which another is put in the place."""

    arity = (2, 2)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        return (Kernel((0, 1), prod(output)),)

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return layouts[0]


@op
class SliceScatter(_SliceWrite):
    """A copy of a tensor with the second input in the place of every `step`-th slice from `start`, torch.slice_scatter.

    Output: the first input's sizes. Work: none.
    """

    dim: int = integer()
    start: Size = size("i", default=0, minimum=0)
    step: int = integer(default=1, minimum=1)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        _same_rank(self.name, inputs)
        place = normalize_dim(self.dim, len(inputs[0]))
        last = self.start + (inputs[1][place] - 1) * self.step + 1
        yield Requirement(inputs[0][place], ">=", last, "what is put ends at {right} of {left}")


@op
class SelectScatter(_SliceWrite):
    """A copy of a tensor with the second input in the place of one slice, torch.select_scatter.

    Output: the first input's sizes. Work: none.
    """

    dim: int = integer()
    index: int = integer()

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        place = normalize_dim(self.dim, len(inputs[0]))
        return expand_requirements(inputs[1], (*inputs[0][:place], *inputs[0][place + 1 :]))


class _SortOp(Op):
    """What compares the elements along one dimension, and says which are where."""

    dim: int

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        normalize_dim(self.dim, len(inputs[0]))
        return iter(())

    def _row_length(self, *inputs: Shape) -> Size:
        """How many elements there are along the dimension."""
        return inputs[0][normalize_dim(self.dim, len(inputs[0]))]

    def _pairwise_compares(self, *inputs: Shape) -> Work:
        return Work(compares=exact_div(prod(inputs[0]) * (self._row_length(*inputs) - 1), 2))

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        indices = AuxiliaryOutput("indices", prod(output), element_size=INT64_BYTES)
        return (
            Kernel((0,), prod(output), auxiliary_outputs=(indices,), workspace_elements=prod(inputs[0])),
        )  # a gradient put into zeros

    def extra_element_types(self, *inputs: str) -> tuple[str, ...]:
        return ("int64",)

    def sliding_windows(self, *inputs: Shape) -> None:
        return None

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return contiguous_layout(layouts[0], len(self.output(*inputs)))


@op
class Topk(_SortOp):
    """The k largest elements along one dimension, and then their numbers, torch.topk.

    Output: k of that dimension; the numbers (int64) are a further result of these sizes. Work: k compares per element:
    k times a row is gone through for what is largest of the rest.
    """

    k: Size = size("k")
    dim: int = integer(default=-1)
    largest: bool = flag(default=True)
    sorted: bool = flag(default=True)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        yield from super().requirements(*inputs)
        yield Requirement(self._row_length(*inputs), ">=", self.k, "topk takes {right} of {left} elements")

    def output(self, *inputs: Shape) -> Shape:
        place = normalize_dim(self.dim, len(inputs[0]))
        return (*inputs[0][:place], self.k, *inputs[0][place + 1 :])

    def extra_outputs(self, *inputs: Shape) -> tuple[Shape, ...]:
        return (self.output(*inputs),)

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        return Work(compares=prod(inputs[0]) * self.k)


@op
class Kthvalue(_SortOp):
    """The k-th smallest element along one dimension, and its number, torch.kthvalue.

    Output: the input's sizes without that dimension, or 1 of it with keepdim; the number (int64) is a further result.
    Work: k compares per element, as topk.
    """

    k: Size = size("k")
    dim: int = integer(default=-1)
    keepdim: bool = flag(default=False)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        yield from super().requirements(*inputs)
        yield Requirement(self._row_length(*inputs), ">=", self.k, "there is no {right}-th of {left} elements")

    def output(self, *inputs: Shape) -> Shape:
        place = normalize_dim(self.dim, len(inputs[0]))
        return (*inputs[0][:place], *([1] if self.keepdim else []), *inputs[0][place + 1 :])

    def extra_outputs(self, *inputs: Shape) -> tuple[Shape, ...]:
        return (self.output(*inputs),)

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        return Work(compares=prod(inputs[0]) * self.k)


@op
class Sort(_SortOp):
    """Elements along one dimension in order, and then the numbers that they had, torch.sort.

    Output: the input's sizes; the numbers (int64) are a further result. Work: 1 compare per pair of a row's elements:
    the most that any sorting takes, of which it is not known how many it takes.
    """

    dim: int = integer(default=-1)
    descending: bool = flag(default=False)

    def extra_outputs(self, *inputs: Shape) -> tuple[Shape, ...]:
        return (inputs[0],)

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        return self._pairwise_compares(*inputs)


@op
class Argsort(_SortOp):
    """The numbers of the elements along one dimension in the order of these, torch.argsort.

    Output: the input's sizes, of int64. Work: 1 compare per pair of a row's elements, as sort.
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
        )  # torch sorts them


@op
class OneHot(Op):
    """A row of zeros for each number, with a one at that place, torch.nn.functional.one_hot.

    Output: the input's sizes, then num_classes, of int64. Work: none.
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
