"""Matrix products, Einstein summation and pairwise distances."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from costcalc.core.devices import Device
from costcalc.core.errors import OpError
from costcalc.core.sizes import Shape, Size, format_shape, prod
from costcalc.ir.arguments import number, scalar, text
from costcalc.ir.broadcasting import broadcast_operands, broadcast_shape, is_one
from costcalc.ir.kernel import Kernel
from costcalc.ir.layout import Layout
from costcalc.ir.op import Op, Requirement, op
from costcalc.ir.ops.shape import Expand, Reshape
from costcalc.ir.work import Work


class Product(Op):
    """The base class of products of tensors: the output is contiguous, and has no plane and no sliding windows."""

    arity = (2, 2)

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return Layout(None, tuple(range(len(self.output(*inputs)))))

    def sliding_windows(self, *inputs: Shape) -> None:
        return None

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        return (Kernel((0, 1), prod(output), saved_for_operand=((1, 0), (0, 1))),)


class MatrixFactor(NamedTuple):
    """An operand of a matrix product."""

    number: int
    shape: Shape
    layout: Layout


def batched_matmul_kernels(
    a: MatrixFactor, b: MatrixFactor, first_result: int, kept_alive: tuple[int, ...] = ()
) -> list[Kernel]:
    """Return the kernels of torch.matmul for tensors with three or more dimensions.

    torch broadcasts each factor and merges its leading dimensions into one. A factor that cannot be viewed so is
    copied, and the copy is saved for backward. The first kernel's result has the number `first_result`; the operands
    `kept_alive` stay alive until the product is computed.
    """
    batch = broadcast_shape(a.shape[:-2], b.shape[:-2])
    kernels: list[Kernel] = []
    flattened: list[int] = []  # the numbers of the factors with three dimensions
    for operand, shape, layout in (a, b):
        expanded = (*batch, *shape[-2:])
        if broadcast_operands((shape,), expanded):
            kernels.append(Kernel((operand,), prod(expanded), aliases=operand))
            operand, layout = first_result + len(kernels) - 1, Expand(expanded).layout((shape,), (layout,))
        if len(batch) > 1:
            flat = (prod(batch), *shape[-2:])
            one_matrix = all(
                is_one(a) for a, b in zip(shape[:-2], batch[-len(shape[:-2]) :], strict=True) if not is_one(b)
            )
            # A single matrix that is broadcast stays a view.
            copied = not one_matrix and Reshape(flat).resolve((expanded,), (layout,)).allocates_output()
            kernels.append(
                Kernel(
                    (operand,),
                    prod(expanded),
                    aliases=None if copied else operand,
                    forwards_gradient=True,
                    output_shape=flat,
                    gradient_ops=(Reshape(expanded),),
                )
            )
            operand = first_result + len(kernels) - 1
        flattened.append(operand)
    left, right = flattened
    product = (prod(batch), a.shape[-2], b.shape[-1])
    alive = (a.number, b.number, *kept_alive)
    kernels.append(
        Kernel(
            (left, right), prod(product), saved_for_operand=((right, left), (left, right)), operands_kept_alive=alive
        )
    )
    result = first_result + len(kernels) - 1
    kernels.append(
        Kernel(
            (result,),
            prod(product),
            aliases=result,
            forwards_gradient=True,
            unsafe_view=True,
            output_shape=(*batch, *product[1:]),
            gradient_ops=(Reshape(product),),
        )
    )
    return kernels


def broadcast_to_requirements(name: str, shape: Shape, target: Shape) -> Iterator[Requirement]:
    """Yield the requirements for broadcasting `shape` to `target`. Raises OpError if it has too many dimensions."""
    message = f"{name}: {format_shape(shape)} cannot be broadcast to {format_shape(target)}"
    if len(shape) > len(target):
        raise OpError(message, "inputs")
    for a, b in zip(shape, target[len(target) - len(shape) :], strict=True):
        if not is_one(a):
            yield Requirement(a, "==", b, message)


def _matmul_requirements(name: str, *factors: Shape) -> Iterator[Requirement]:
    a, b = factors
    message = f"{name} cannot multiply {format_shape(a)} and {format_shape(b)}"
    if not a or not b:
        raise OpError(message, "inputs")
    yield Requirement(b[-2] if len(b) > 1 else b[-1], "==", a[-1], message)
    for m, n in zip(reversed(a[:-2]), reversed(b[:-2]), strict=False):
        if not is_one(m) and not is_one(n):
            yield Requirement(n, "==", m, message)


def _matmul_shape(*factors: Shape) -> Shape:
    a, b = factors
    return (*broadcast_shape(a[:-2], b[:-2]), *a[-2:-1], *(b[-1:] if len(b) > 1 else ()))


@op
class Matmul(Product):
    """The matrix product over the last two dimensions, with all others broadcast, torch.matmul.

    A tensor with one dimension is a row vector on the left or a column vector on the right; the output lacks that
    dimension. Output: (…, rows of the first, columns of the second). Work: MACs = prod(output) × the contracted size.
    """

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        return _matmul_requirements(self.name, *inputs)

    def output(self, *inputs: Shape) -> Shape:
        return _matmul_shape(*inputs)

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        return Work(macs=prod(output) * inputs[0][-1])

    def resolve(
        self,
        inputs: tuple[Shape, ...],
        layouts: tuple[Layout, ...],
        device: Device | None = None,
        requires_grad: tuple[bool, ...] = (),
    ) -> Op:
        return _BatchedMatmul(layouts) if min(map(len, inputs)) > 2 else self


class _BatchedMatmul(Matmul):
    """A product of batches of matrices with known layouts."""

    layouts: tuple[Layout, ...]

    def __init__(self, layouts: tuple[Layout, ...]) -> None:
        super().__init__()
        self.__dict__["layouts"] = layouts

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        left, right = map(MatrixFactor, (0, 1), inputs, self.layouts)
        return tuple(batched_matmul_kernels(left, right, 2))


class _MatmulAdd(Product):
    """beta × the first input + alpha × the product of the other two."""

    beta: float
    alpha: float

    arity = (3, 3)
    factor_rank: int  # dimensions of each factor

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        addend, *factors = inputs
        if any(len(shape) != self.factor_rank for shape in factors):
            shapes = " and ".join(map(format_shape, factors))
            raise OpError(f"{self.name} multiplies tensors of {self.factor_rank} dimensions, not {shapes}", "inputs")
        yield from _matmul_requirements(self.name, *factors)
        yield from broadcast_to_requirements(self.name, addend, _matmul_shape(*factors))

    def output(self, *inputs: Shape) -> Shape:
        return _matmul_shape(*inputs[1:])

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        elements = prod(output)
        scales = (self.alpha != 1) + (self.beta != 1)
        return Work(macs=elements * inputs[1][-1], adds=elements, muls=elements * scales)

    def backward_macs(
        self, macs: Size, trainable: bool, requires_grad: tuple[bool, ...], inputs: tuple[Shape, ...] = ()
    ) -> Size:
        """Count no MACs for the gradient of the addend, which is a sum."""
        return macs * sum(requires_grad[1:])

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        forwards = not broadcast_operands(inputs[:1], output) and self.beta == 1
        return (
            Kernel(
                (0, 1, 2),
                prod(output),
                saved_for_operand=((2, 1), (1, 2)),
                forwards_gradient=forwards,
                new_gradient_operands=(1, 2) if forwards else (),
            ),
        )


@op
class Addmm(_MatmulAdd):
    """beta × the first input + alpha × the matrix product of the other two, torch.addmm.

    Output: (rows of the second, columns of the third), to which the first input is broadcast.
    Work: MACs = prod(output) × the contracted size; 1 add per output element, and 1 mul for each of alpha and beta that
    is not 1.
    """

    beta: float = number(default=1.0)
    alpha: float = number(default=1.0)

    factor_rank = 2


@op
class Baddbmm(_MatmulAdd):
    """beta × the first input + alpha × the batched matrix product of the other two, torch.baddbmm.

    Output: (batch, rows of the second, columns of the third), to which the first input is broadcast.
    Work: MACs = prod(output) × the contracted size; 1 add per output element, and 1 mul for each of alpha and beta that
    is not 1.
    """

    beta: float = number(default=1.0)
    alpha: float = number(default=1.0)

    factor_rank = 3


class EinsumIndices(NamedTuple):
    """The indices of an `einsum` equation: a name for each dimension of each input and of the output."""

    inputs: tuple[tuple[str, ...], ...]
    output: tuple[str, ...]


def parse_equation(equation: str, ranks: tuple[int, ...]) -> EinsumIndices:
    """Return the indices of an equation for inputs of these ranks.

    The dimensions of an ellipsis are named by digits, 0 for the last.

    Raises:
        OpError: the equation is malformed, or does not fit the number or the ranks of the inputs.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise OpError(f"{equation!r} is for {len(terms)} inputs, not {len(ranks)}", "equation")
    ellipsis_rank = max(
        (rank - len(term.replace("...", "")) for term, rank in zip(terms, ranks, strict=True)), default=0
    )
    inputs = tuple([_term_indices(term, rank, equation) for term, rank in zip(terms, ranks, strict=True)])
    ellipsis = tuple(
        [name for name in map(str, reversed(range(ellipsis_rank))) if any(name in term for term in inputs)]
    )
    all_letters = [letter for letter in left if letter.isalpha()]
    output = (*ellipsis, *sorted(letter for letter in all_letters if all_letters.count(letter) == 1))
    if arrow:
        before, dots, after = right.partition("...")
        output = (*before, *(ellipsis if dots else ()), *after)
    used = {letter for letters in inputs for letter in letters}
    if not used.issuperset(output) or len(set(output)) != len(output):
        raise OpError(f"each index of the output of {equation!r} must appear there once and in an input", "equation")
    return EinsumIndices(inputs, output)


def _term_indices(term: str, rank: int, equation: str) -> tuple[str, ...]:
    before, dots, after = term.partition("...")
    letters = before + after
    extra = rank - len(letters)  # dimensions of the ellipsis
    if not all(letter.isalpha() for letter in letters) or extra < 0 or (extra and not dots):
        raise OpError(f"{term!r} in {equation!r} does not fit an input of {rank} dimensions", "equation")
    return (*before, *map(str, reversed(range(extra))), *after) if dots else tuple(letters)


@op
class Einsum(Product):
    """Einstein summation over one or two tensors, torch.einsum.

    An import translates an equation with more tensors to a sequence of such products. Output: the sizes of the indices
    after the arrow. Work: MACs = the product of the sizes of all indices if an index of both inputs is contracted, else
    1 mul per output element. An index of one input only that the output lacks is summed before that, with 1 add per
    element that is summed away.
    """

    equation: str = text()

    arity = (1, 2)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        indices = self.indices(inputs)
        sizes = self._index_sizes(inputs, indices)
        for letters, shape in zip(indices.inputs, inputs, strict=True):
            for letter, extent in zip(letters, shape, strict=True):
                if not is_one(extent):
                    message = f"einsum {self.equation!r}: index {letter} is {{right}} and {{left}}"
                    yield Requirement(extent, "==", sizes[letter], message)

    def output(self, *inputs: Shape) -> Shape:
        indices = self.indices(inputs)
        sizes = self._index_sizes(inputs, indices)
        return tuple([sizes[letter] for letter in indices.output])

    def indices(self, inputs: tuple[Shape, ...]) -> EinsumIndices:
        """Return the indices of the equation for these inputs."""
        return parse_equation(self.equation, tuple(map(len, inputs)))

    def contracted_sizes(self, inputs: tuple[Shape, ...]) -> tuple[Size, ...]:
        """Return the sizes of the indices that both inputs have and the output lacks."""
        indices = self.indices(inputs)
        if len(inputs) == 1:
            return ()
        sizes = self._index_sizes(inputs, indices)
        shared = [letter for letter in dict.fromkeys(indices.inputs[0]) if letter in indices.inputs[1]]
        return tuple([sizes[letter] for letter in shared if letter not in indices.output])

    def allocates_output(self, training: bool = False) -> bool:
        """Return False for a single input whose indices are all in the output: the output is a permuted view."""
        left, arrow, right = self.equation.replace(" ", "").partition("->")
        return not ("," not in left and bool(arrow) and set(left) == set(right))

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        indices = self.indices(inputs)
        sizes = self._index_sizes(inputs, indices)
        adds: Size = 0
        multiplied: dict[str, Size] = {}  # sizes of the indices of the product
        for operand, letters in enumerate(indices.inputs):
            elsewhere = {*indices.output, *(letter for other in indices.inputs[:operand] for letter in other)}
            elsewhere.update(letter for other in indices.inputs[operand + 1 :] for letter in other)
            own = {letter: sizes[letter] for letter in letters}  # a repeated index is a diagonal and counts once
            remaining = {letter: extent for letter, extent in own.items() if letter in elsewhere}
            if len(remaining) < len(own):
                adds = adds + prod(own.values()) - prod(remaining.values())
            multiplied |= remaining
        if len(inputs) == 1:
            return Work(adds=adds)
        if self.contracted_sizes(inputs):
            return Work(macs=prod(multiplied.values()), adds=adds)
        return Work(muls=prod(output), adds=adds)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        elements = prod(output)
        if len(inputs) == 1:
            return (Kernel((0,), elements, aliases=None if self.allocates_output() else 0, forwards_gradient=True),)
        if self.contracted_sizes(inputs):
            return (
                *super().kernels(inputs, output, training),
                Kernel((2,), elements, aliases=2, forwards_gradient=True),
            )
        indices = self.indices(inputs)
        broadcast = tuple([operand for operand, term in enumerate(indices.inputs) if set(term) != set(indices.output)])
        return (Kernel((0, 1), elements, saved_for_operand=((1, 0), (0, 1)), broadcast_operands=broadcast),)

    def _index_sizes(self, inputs: tuple[Shape, ...], indices: EinsumIndices) -> Mapping[str, Size]:
        """Return the size of each index; a size of 1 is broadcast."""
        sizes: dict[str, Size] = {}
        for letters, shape in zip(indices.inputs, inputs, strict=True):
            for letter, extent in zip(letters, shape, strict=True):
                if letter not in sizes or is_one(sizes[letter]):
                    sizes[letter] = extent
        return sizes


@op
class Cdist(Product):
    """The p-norm distance of each row of one tensor from each row of another, torch.cdist.

    Inputs: (…, P, M) and (…, R, M), with the leading dimensions broadcast. Output: (…, P, R). Work: per distance, M
    adds for the differences, then by norm: p = 2 M muls, M − 1 adds, 1 exp (the root); p = 0 or 1 M compares (the
    absolute values), M − 1 adds; p = inf M compares and M − 1 compares; any other p M compares, M − 1 adds, M exps (the
    powers) and 1 exp (the root).
    """

    p: float | str = scalar(default=2)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        left, right = inputs
        if self.p == "-inf" or (isinstance(self.p, (int, float)) and self.p < 0):
            raise OpError(f"p must be at least 0, not {self.p}", "p")
        if len(left) < 2 or len(right) < 2:
            raise OpError(
                f"cdist takes tensors of 2 or more dimensions, not {format_shape(left)} and {format_shape(right)}",
                "inputs",
            )
        yield Requirement(left[-1], "==", right[-1], "cdist takes rows of equal length, not {left} and {right}")
        broadcast_shape(left[:-2], right[:-2])

    def output(self, *inputs: Shape) -> Shape:
        left, right = inputs
        return (*broadcast_shape(left[:-2], right[:-2]), left[-2], right[-2])

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        length, distances = inputs[0][-1], prod(output)
        differences, summed = length * distances, (length - 1) * distances
        if self.p == 2:
            return Work(adds=differences + summed, muls=differences, exps=distances)
        if self.p == "inf":
            return Work(adds=differences, compares=differences + summed)
        powers = Work() if self.p in (0, 1) else Work(exps=differences + distances)
        return Work(adds=differences + summed, compares=differences) + powers

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        return (Kernel((0, 1), prod(output), saved=(0, 1, 2)),)
