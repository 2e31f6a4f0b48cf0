"""Reductions along some or all dimensions (sums, means, extrema, norms), and cumulative sums and products.

A reduction of n elements to m takes n − m binary operations.
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
    """An op that reduces along `dim`: one dimension, several, or all for null."""

    dim: tuple[int, ...] | int | None = integers(default=None)
    keepdim: bool = flag(default=False)

    integer_output_type: ClassVar[str | None] = None  # of integers and booleans; None: that of the input
    differentiable: ClassVar[bool] = True
    workspace_tensors: ClassVar[tuple[int, int]] = (
        0,
        0,
    )  # temporary tensors in backward: of the input's size, of the output's size
    expands_gradient: ClassVar[bool] = False  # grad_input is a view of grad_output, expanded to the input's shape

    def dims(self, shape: Shape) -> tuple[int, ...]:
        """Return the reduced dimensions as non-negative numbers."""
        requested = self._requested_dims()
        return tuple([dim % max(len(shape), 1) for dim in requested]) if requested else tuple(range(len(shape)))

    def _requested_dims(self) -> tuple[int, ...]:
        """Return the dimensions in `dim`; () for all."""
        if self.dim is None:
            return ()
        return self.dim if isinstance(self.dim, tuple) else (self.dim,)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        _check_dims(self.name, self._requested_dims(), inputs[0])
        return iter(())

    def output(self, *inputs: Shape) -> Shape:
        reduced = self.dims(inputs[0])
        if self.keepdim:
            return tuple([1 if dim in reduced else extent for dim, extent in enumerate(inputs[0])])
        return tuple([extent for dim, extent in enumerate(inputs[0]) if dim not in reduced])

    def element_type(self, *inputs: str) -> str:
        return inputs[0] if inputs[0] == "float" or self.integer_output_type is None else self.integer_output_type

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        return self.reduction_work(prod(inputs[0]), prod(output))

    @abstractmethod
    def reduction_work(self, n: Size, m: Size) -> Work:
        """Return the work of reducing n elements to m."""

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        if not self.differentiable:
            return (Kernel((), prod(output), operands_kept_alive=(0,)),)
        (kernel,) = super().kernels(inputs, output, training)
        workspace = self.workspace_tensors[0] * prod(inputs[0]) + self.workspace_tensors[1] * prod(output)
        return (replace(kernel, forwards_gradient=self.expands_gradient, workspace_elements=workspace),)

    def sliding_windows(self, *inputs: Shape) -> tuple[Window, ...] | None:
        return () if len(inputs[0]) == 4 and not {2, 3} & set(self.dims(inputs[0])) else None

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        """Preserve the order of the remaining dimensions in memory."""
        plane, order, _ = layouts[0]
        if self.keepdim:
            return layouts[0]
        reduced = self.dims(inputs[0])
        remaining = [dim for dim in range(len(inputs[0])) if dim not in reduced]
        new_dim = remaining.index
        new_plane = None if plane is None or set(plane) & set(reduced) else (new_dim(plane[0]), new_dim(plane[1]))
        return Layout(new_plane, tuple([new_dim(dim) for dim in order if dim in remaining]))


class Sum(Reduction):
    """The sum along `dim` (one, several, or null for all), torch.sum.

    Output: the input shape without those dimensions, or with size 1 there with `keepdim`. Work: n − m adds, for m sums
    of n elements.
    """

    integer_output_type = "int64"
    expands_gradient = True

    def reduction_work(self, n: Size, m: Size) -> Work:
        return Work(adds=n - m)


class Mean(Reduction):
    """The mean along `dim` (one, several, or null for all), torch.mean.

    Output: the input shape without those dimensions, or with size 1 there with `keepdim`. Work: n − m adds, m divs, for
    m means of n elements.
    """

    def reduction_work(self, n: Size, m: Size) -> Work:
        return Work(adds=n - m, divs=m)


class Prod(Reduction):
    """The product along `dim` (one, or null for all), torch.prod.

    Output: the input shape without that dimension, or with size 1 there with `keepdim`. Work: n − m muls, for m
    products of n elements.
    """

    integer_output_type = "int64"
    saves_input = True
    saves_output = True

    def reduction_work(self, n: Size, m: Size) -> Work:
        return Work(muls=n - m)


class _Extremum(Reduction):
    """The largest or smallest element; equal extrema share the gradient."""

    saves_input = True
    saves_output = True
    workspace_tensors = (1, 2)

    def reduction_work(self, n: Size, m: Size) -> Work:
        return Work(compares=n - m)


class Amax(_Extremum):
    """The largest element along `dim` (one, several, or null for all), torch.amax.

    Output: the input shape without those dimensions, or with size 1 there with `keepdim`. Work: n − m compares, for m
    extrema of n elements.
    """


class Amin(_Extremum):
    """The smallest element along `dim` (one, several, or null for all), torch.amin.

    Output: the input shape without those dimensions, or with size 1 there with `keepdim`. Work: n − m compares, for m
    extrema of n elements.
    """


@op
class _ExtremumWithIndex(Reduction):
    """An extremum along one dimension with its indices, or of all elements."""

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
    """The largest element along `dim` and its index, torch.max; with dim null, the largest of all, without an index.

    Output: the input shape without that dimension, or with size 1 there with `keepdim`; the indices are a second result
    of the same shape (int64). Work: n − m compares, for m extrema of n elements.
    """


class Min(_ExtremumWithIndex):
    """The smallest element along `dim` and its index, torch.min; with dim null, the smallest of all, without an index.

    Output: the input shape without that dimension, or with size 1 there with `keepdim`; the indices are a second result
    of the same shape (int64). Work: n − m compares, for m extrema of n elements.
    """


@op
class _ArgExtremum(Reduction):
    """The index of an extremum."""

    dim: int | None = integer(default=None)
    keepdim: bool = flag(default=False)

    differentiable = False

    def element_type(self, *inputs: str) -> str:
        return "int64"

    def reduction_work(self, n: Size, m: Size) -> Work:
        return Work(compares=n - m)


class Argmax(_ArgExtremum):
    """The index of the largest element along `dim`, or of all elements if dim is null, torch.argmax.

    Output: the input shape without that dimension, or with size 1 there with `keepdim` (int64). Work: n − m compares,
    for m extrema of n elements.
    """


class Argmin(_ArgExtremum):
    """The index of the smallest element along `dim`, or of all elements if dim is null, torch.argmin.

    Output: the input shape without that dimension, or with size 1 there with `keepdim` (int64). Work: n − m compares,
    for m extrema of n elements.
    """


class _BooleanReduction(Reduction):
    """A reduction to booleans."""

    differentiable = False

    def element_type(self, *inputs: str) -> str:
        return "bool"

    def reduction_work(self, n: Size, m: Size) -> Work:
        return Work(compares=n - m)


class Any(_BooleanReduction):
    """Whether any element along `dim` (one, several, or null for all) is not 0, torch.any.

    Output: the input shape without those dimensions, or with size 1 there with `keepdim` (boolean). Work: n − m
    compares, for m booleans of n elements.
    """


class All(_BooleanReduction):
    """Whether all elements along `dim` (one, several, or null for all) are not 0, torch.all.

    Output: the input shape without those dimensions, or with size 1 there with `keepdim` (boolean). Work: n − m
    compares, for m booleans of n elements.
    """


# -- moments and norms --------------------------------------------------------------------------------------------


@op
class _VarianceReduction(Reduction):
    """The variance or the standard deviation."""

    correction: float | str = scalar(default=1)

    saves_input = True
    workspace_tensors = (1, 2)

    def reduction_work(self, n: Size, m: Size) -> Work:
        return Work(adds=3 * n - 2 * m, muls=n, divs=2 * m)


class Var(_VarianceReduction):
    """The variance along `dim` (one, several, or null for all), torch.var; the divisor is the count − `correction`.

    Output: the input shape without those dimensions, or with size 1 there with `keepdim`. Work: for m variances of n
    elements, the means are n − m adds and m divs, the squared distances n adds and n muls, their means n − m adds and m
    divs.
    """


class Std(_VarianceReduction):
    """The standard deviation along `dim` (one, several, or null for all), torch.std.

    Output: the input shape without those dimensions, or with size 1 there with `keepdim`. Work: as var, and m exps for
    m roots.
    """

    saves_output = True
    workspace_tensors = (1, 3)

    def reduction_work(self, n: Size, m: Size) -> Work:
        return super().reduction_work(n, m) + Work(exps=m)


class VarMean(_VarianceReduction):
    """The variance and the mean along `dim` (one, several, or null for all), torch.var_mean.

    Output: the input shape without those dimensions, or with size 1 there with `keepdim`; the means are a second result
    of the same shape. Work: as var.
    """

    def extra_outputs(self, *inputs: Shape) -> tuple[Shape, ...]:
        return (self.output(*inputs),)


class StdMean(_VarianceReduction):
    """The standard deviation and the mean along `dim` (one, several, or null for all), torch.std_mean.

    Output: the input shape without those dimensions, or with size 1 there with `keepdim`; the means are a second result
    of the same shape. Work: as std.
    """

    saves_output = True
    workspace_tensors = (1, 3)

    def reduction_work(self, n: Size, m: Size) -> Work:
        return super().reduction_work(n, m) + Work(exps=m)

    def extra_outputs(self, *inputs: Shape) -> tuple[Shape, ...]:
        return (self.output(*inputs),)


class Logsumexp(Reduction):
    """The logarithm of the sum of exponentials along `dim` (one, several, or null for all), torch.logsumexp.

    Output: the input shape without those dimensions, or with size 1 there with `keepdim`. Work: for m of n elements,
    the maxima are n − m compares, their subtraction n adds, the exponentials n exps, their sums n − m adds, the
    logarithms m exps, and the addition of the maxima m adds.
    """

    saves_input = True
    saves_output = True
    workspace_tensors = (2, 0)

    def reduction_work(self, n: Size, m: Size) -> Work:
        return Work(compares=n - m, adds=2 * n, exps=n + m)


@op
class VectorNorm(Reduction):
    """The norm of vectors along `dim` (one, several, or null for all), torch.linalg.vector_norm.

    Output: the input shape without those dimensions, or with size 1 there with `keepdim`. Work: for m norms of n
    elements, by ord: 2 is n muls, n − m adds, m exps (the roots); 1 is n compares (the absolute values), n − m adds;
    'inf' and '-inf' are n compares and n − m compares; any other is n compares, n exps (the powers), n − m adds, m
    exps.
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


# -- cumulative ops -------------------------------------------------------------------------------------------------


@op
class _CumulativeOp(Op):
    """A reduction of each element along `dim` with all elements before it."""

    dim: int = integer()

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        _check_dims(self.name, (self.dim,), inputs[0])
        return iter(())

    def element_type(self, *inputs: str) -> str:
        return "float" if inputs[0] == "float" else "int64"

    def sliding_windows(self, *inputs: Shape) -> tuple[Window, ...] | None:
        return None

    def num_steps(self, output: Shape) -> Size:
        """Return the number of elements that have a predecessor along `dim`."""
        along = self.dim % max(len(output), 1)
        return prod(output) - prod([extent for dim, extent in enumerate(output) if dim != along])


class Cumsum(_CumulativeOp):
    """Cumulative sums along `dim`, torch.cumsum. Work: 1 add per element, except the first of each row."""

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        if output and is_one(output[self.dim]):
            return (Kernel((0,), prod(output), forwards_gradient=True),)
        return (Kernel((0,), prod(output), workspace_elements=2 * prod(output)),)  # flip, cumsum, flip

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        return Work(adds=self.num_steps(output))


class Cumprod(_CumulativeOp):
    """Cumulative products along `dim`, torch.cumprod. Work: 1 mul per element, except the first of each row."""

    saves_input = True
    saves_output = True

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        return Work(muls=self.num_steps(output))
