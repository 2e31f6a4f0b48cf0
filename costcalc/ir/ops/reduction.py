"""Many elements to one, along some dimensions or all: sums, means, extremes, norms; and running sums.

A reduction of n elements to m takes n − m operations that join two.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

from costcalc.core.dtypes import INT64_BYTES
from costcalc.core.errors import OpError
from costcalc.core.sizes import Shape, Size, prod
from costcalc.ir.arguments import flag, integer, integers, scalar
from costcalc.ir.broadcasting import is_one
from costcalc.ir.kernel import AuxiliaryOutput, Kernel
from costcalc.ir.layout import Layout
from costcalc.ir.op import Op, Requirement, Window, op
from costcalc.ir.work import Work


def _check_dims(name: str, dims: tuple[int, ...], shape: Shape) -> None:
    rank = max(len(shape), 1)
    for dim in dims:
        if not -rank <= dim < rank:
            raise OpError(f"dim {dim} is not a dimension of an input with {len(shape)}", "dim")
    if len({dim % rank for dim in dims}) < len(dims):
        raise OpError(f"{name} takes each dimension once, not {list(dims)}", "dim")


@op
class Reduction(Op, ABC):
    """An op that makes one element of all along `dim` (one dimension or some; null for all of them)."""

    dim: tuple[int, ...] | int | None = integers(default=None)
    keepdim: bool = flag(default=False)

    integer_output_type: ClassVar[str | None] = None  # what is made of integers, and true and false
    differentiable: ClassVar[bool] = True
    workspace_tensors: ClassVar[tuple[int, int]] = (
        0,
        0,
    )  # tensors on the way to the gradient: as the input, as the output
    expands_gradient: ClassVar[bool] = False  # the gradient is that of the result, seen as large as the input

    def dims(self, shape: Shape) -> tuple[int, ...]:
        """The dimensions that go, counted from the first."""
        given = self._requested_dims()
        return tuple([dim % max(len(shape), 1) for dim in given]) if given else tuple(range(len(shape)))

    def _requested_dims(self) -> tuple[int, ...]:
        """The dimensions that are told; none for all."""
        if self.dim is None:
            return ()
        return self.dim if isinstance(self.dim, tuple) else (self.dim,)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        _check_dims(self.name, self._requested_dims(), inputs[0])
        return iter(())

    def output(self, *inputs: Shape) -> Shape:
        gone = self.dims(inputs[0])
        if self.keepdim:
            return tuple([1 if place in gone else extent for place, extent in enumerate(inputs[0])])
        return tuple([extent for place, extent in enumerate(inputs[0]) if place not in gone])

    def element_type(self, *inputs: str) -> str:
        return inputs[0] if inputs[0] == "float" or self.integer_output_type is None else self.integer_output_type

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        return self.reduction_work(prod(inputs[0]), prod(output))

    @abstractmethod
    def reduction_work(self, n: Size, m: Size) -> Work:
        """The work of making m elements of n."""

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        if not self.differentiable:
            return (Kernel((), prod(output), operands_kept_alive=(0,)),)
        (kernel,) = super().kernels(inputs, output, training)
        scratch = self.workspace_tensors[0] * prod(inputs[0]) + self.workspace_tensors[1] * prod(output)
        return (replace(kernel, forwards_gradient=self.expands_gradient, workspace_elements=scratch),)

    def sliding_windows(self, *inputs: Shape) -> tuple[Window, ...] | None:
        return () if len(inputs[0]) == 4 and not {2, 3} & set(self.dims(inputs[0])) else None

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        """Dimensions that stay keep their order in memory."""
        plane, order, _ = layouts[0]
        if self.keepdim:
            return layouts[0]
        gone = self.dims(inputs[0])
        stay = [place for place in range(len(inputs[0])) if place not in gone]
        left = None if plane is None or set(plane) & set(gone) else (stay.index(plane[0]), stay.index(plane[1]))
        return Layout(left, tuple([stay.index(place) for place in order if place in stay]))


class Sum(Reduction):
    """The sum along `dim` (one, some, or null for all), torch.sum.

    Output: without those dimensions, or with `keepdim` of size 1 there. Work: n − m adds, for m sums of n elements.
    """

    integer_output_type = "int64"
    expands_gradient = True

    def reduction_work(self, n: Size, m: Size) -> Work:
        return Work(adds=n - m)


class Mean(Reduction):
    """The mean along `dim` (one, some, or null for all), torch.mean.

    Output: without those dimensions, or with `keepdim` of size 1 there. Work: n − m adds, m divs, for m means of n
    elements.
    """

    def reduction_work(self, n: Size, m: Size) -> Work:
        return Work(adds=n - m, divs=m)


class Prod(Reduction):
    """The product along `dim` (one, or null for all), torch.prod.

    Output: without that dimension, or with `keepdim` of size 1 there. Work: n − m muls, for m products of n elements.
    """

    integer_output_type = "int64"
    saves_input = True
    saves_output = True

    def reduction_work(self, n: Size, m: Size) -> Work:
        return Work(muls=n - m)


class _Extremum(Reduction):
    """The largest or smallest of all; the gradient is shared out among those that are."""

    saves_input = True
    saves_output = True
    workspace_tensors = (1, 2)

    def reduction_work(self, n: Size, m: Size) -> Work:
        return Work(compares=n - m)


class Amax(_Extremum):
    """The largest along `dim` (one, some, or null for all), torch.amax.

    Output: without those dimensions, or with `keepdim` of size 1 there. Work: n − m compares, to find m of n elements.
    """


class Amin(_Extremum):
    """The smallest along `dim` (one, some, or null for all), torch.amin.

    Output: without those dimensions, or with `keepdim` of size 1 there. Work: n − m compares, to find m of n elements.
    """


@op
class _ExtremumWithIndex(Reduction):
    """An extreme along one dimension and its places, or of all elements."""

    dim: int | None = integer(default=None)
    keepdim: bool = flag(default=False)

    def reduction_work(self, n: Size, m: Size) -> Work:
        return Work(compares=n - m)

    def extra_outputs(self, *inputs: Shape) -> tuple[Shape, ...]:
        return () if self.dim is None else (self.output(*inputs),)

    def extra_element_types(self, *inputs: str) -> tuple[str, ...]:
        return () if self.dim is None else ("int64",)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        elements = prod(output)
        if self.dim is None:
            return (Kernel((0,), elements, saved=(0, 1), workspace_elements=prod(inputs[0])),)
        return (
            Kernel(
                (0,),
                elements,
                auxiliary_outputs=(AuxiliaryOutput("indices", elements, element_size=INT64_BYTES),),
                workspace_elements=prod(inputs[0]),
            ),
        )


class Max(_ExtremumWithIndex):
    """The largest along `dim`, and where it is, torch.max; of all elements, and its value alone, if dim is null.

    Output: without that dimension, or with `keepdim` of size 1 there; the places are alike. Work: n − m compares, to
    find m of n elements.
    """


class Min(_ExtremumWithIndex):
    """The smallest along `dim`, and where it is, torch.min; of all elements, and its value alone, if dim is null.

    Output: without that dimension, or with `keepdim` of size 1 there; the places are alike. Work: n − m compares, to
    find m of n elements.
    """


@op
class _ArgExtremum(Reduction):
    """Where an extreme is."""

    dim: int | None = integer(default=None)
    keepdim: bool = flag(default=False)

    differentiable = False

    def element_type(self, *inputs: str) -> str:
        return "int64"

    def reduction_work(self, n: Size, m: Size) -> Work:
        return Work(compares=n - m)


class Argmax(_ArgExtremum):
    """Where the largest along `dim` is, of all elements if it is null, torch.argmax.

    Output: integers, without that dimension, or with `keepdim` of size 1 there. Work: n − m compares, to find m of n.
    """


class Argmin(_ArgExtremum):
    """Where the smallest along `dim` is, of all elements if it is null, torch.argmin.

    Output: integers, without that dimension, or with `keepdim` of size 1 there. Work: n − m compares, to find m of n.
    """


class _BooleanReduction(Reduction):
    """What holds of all."""

    differentiable = False

    def element_type(self, *inputs: str) -> str:
        return "bool"

    def reduction_work(self, n: Size, m: Size) -> Work:
        return Work(compares=n - m)


class Any(_BooleanReduction):
    """Whether any element along `dim` (one, some, or null for all) is not 0, torch.any.

    Output: true or false, without those dimensions, or with `keepdim` of size 1 there. Work: n − m compares, for m
    answers of n elements.
    """


class All(_BooleanReduction):
    """Whether all elements along `dim` (one, some, or null for all) are not 0, torch.all.

    Output: true or false, without those dimensions, or with `keepdim` of size 1 there. Work: n − m compares, for m
    answers of n elements.
    """


# -- moments and norms --------------------------------------------------------------------------------------------


@op
class _VarianceReduction(Reduction):
    """The mean squared distance from the mean, or its root."""

    correction: float | str = scalar(default=1)

    saves_input = True
    workspace_tensors = (1, 2)

    def reduction_work(self, n: Size, m: Size) -> Work:
        return Work(adds=3 * n - 2 * m, muls=n, divs=2 * m)


class Var(_VarianceReduction):
    """The variance along `dim` (one, some, or null for all), torch.var; divided by their number less `correction`.

    Output: without those dimensions, or with `keepdim` of size 1 there. Work: for m variances of n elements, the means
    are n − m adds and m divs, the squared distances n adds and n muls, their means n − m adds and m divs.
    """


class Std(_VarianceReduction):
    """The square root of the variance along `dim` (one, some, or null for all), torch.std.

    Output: without those dimensions, or with `keepdim` of size 1 there. Work: that of var, and m exps for m roots.
    """

    saves_output = True
    workspace_tensors = (1, 3)

    def reduction_work(self, n: Size, m: Size) -> Work:
        return super().reduction_work(n, m) + Work(exps=m)


class VarMean(_VarianceReduction):
    """The variance along `dim` (one, some, or null for all), and the mean, torch.var_mean.

    Output: without those dimensions, or with `keepdim` of size 1 there; the means are alike. Work: that of var.
    """

    def extra_outputs(self, *inputs: Shape) -> tuple[Shape, ...]:
        return (self.output(*inputs),)


class StdMean(_VarianceReduction):
    """The square root of the variance along `dim` (one, some, or null for all), and the mean, torch.std_mean.

    Output: without those dimensions, or with `keepdim` of size 1 there; the means are alike. Work: that of std.
    """

    saves_output = True
    workspace_tensors = (1, 3)

    def reduction_work(self, n: Size, m: Size) -> Work:
        return super().reduction_work(n, m) + Work(exps=m)

    def extra_outputs(self, *inputs: Shape) -> tuple[Shape, ...]:
        return (self.output(*inputs),)


class Logsumexp(Reduction):
    """The logarithm of the sum of exponentials along `dim` (one, some, or null for all), torch.logsumexp.

    Output: without those dimensions, or with `keepdim` of size 1 there. Work: for m of n elements, the largest is n − m
    compares, taking it off n adds, then n exps, n − m adds, and m exps for logarithms with m adds.
    """

    saves_input = True
    saves_output = True
    workspace_tensors = (2, 0)

    def reduction_work(self, n: Size, m: Size) -> Work:
        return Work(compares=n - m, adds=2 * n, exps=n + m)


@op
class VectorNorm(Reduction):
    """The norm of vectors along `dim` (one, some, or null for all), torch.linalg.vector_norm.

    Output: without those dimensions, or with `keepdim` of size 1 there. Work: for m norms of n elements, n muls (ord 2;
    n compares for absolute values with ord 1, 'inf' or '-inf'; n of both and n exps with another), n − m adds (compares
    with 'inf', '-inf'), and m exps but for ord 1, 'inf' and '-inf'.
    """

    ord: float | str = scalar(default=2)

    saves_input = True
    saves_output = True
    workspace_tensors = (1, 0)

    def reduction_work(self, n: Size, m: Size) -> Work:
        if self.ord in ("inf", "-inf"):
            return Work(compares=2 * n - m)
        if self.ord == 2:
            return Work(muls=n, adds=n - m, exps=m)
        return Work(compares=n, adds=n - m) + (Work() if self.ord == 1 else Work(exps=n + m))


# -- running sums -------------------------------------------------------------------------------------------------


@op
class _CumulativeOp(Op):
    """An op that makes of each element along `dim` what it and all before it give."""

    dim: int = integer()

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        _check_dims(self.name, (self.dim,), inputs[0])
        return iter(())

    def element_type(self, *inputs: str) -> str:
        return "float" if inputs[0] == "float" else "int64"

    def sliding_windows(self, *inputs: Shape) -> tuple[Window, ...] | None:
        return None

    def num_steps(self, output: Shape) -> Size:
        """How many elements have one before them."""
        along = self.dim % max(len(output), 1)
        return prod(output) - prod([extent for place, extent in enumerate(output) if place != along])


class Cumsum(_CumulativeOp):
    """Running sums along `dim`, torch.cumsum. Work: 1 add for each element but the first ones."""

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        if output and is_one(output[self.dim]):
            return (Kernel((0,), prod(output), forwards_gradient=True),)
        return (
            Kernel((0,), prod(output), workspace_elements=2 * prod(output)),
        )  # turned round, summed, and turned back

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        return Work(adds=self.num_steps(output))


class Cumprod(_CumulativeOp):
    """Running products along `dim`, torch.cumprod. Work: 1 mul for each element but the first ones."""

    saves_input = True
    saves_output = True

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        return Work(muls=self.num_steps(output))
