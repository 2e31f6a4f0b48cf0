"""Products of tensors with each other: matrix products of any rank, sums of products by index, and distances."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from costcalc.core.errors import OpError
from costcalc.core.sizes import Shape, Size, format_shape, prod
from costcalc.ir.arguments import number, scalar, text
from costcalc.ir.broadcasting import broadcast_operands, broadcast_shape, is_one
from costcalc.ir.kernel import Kernel
from costcalc.ir.layout import Layout
from costcalc.ir.op import Device, Op, Requirement, op
from costcalc.ir.ops.shape import Expand, Reshape
from costcalc.ir.work import Work


class Product(Op):
    """What products share: where dimensions lie is as they come, and each place sees everything."""

    arity = (2, 2)

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return Layout(None, tuple(range(len(self.output(*inputs)))))

    def sliding_windows(self, *inputs: Shape) -> None:
        return None

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        return (Kernel((0, 1), prod(output), saved_for_operand=((1, 0), (0, 1))),)


class MatrixFactor(NamedTuple):
    """An operand of a matrix product: its number, its shape and its layout."""

    number: int
    shape: Shape
    layout: Layout


def batched_matmul_kernels(a: MatrixFactor, b: MatrixFactor, made: int, holds: tuple[int, ...] = ()) -> list[Kernel]:
    """The kernels of a matrix product of tensors with three dimensions or more, torch.matmul.

    `made` is the number of the first one's result. Each factor is broadcast, and its leading dimensions are merged into
    one, which copies what cannot be a view; the copy is what backward needs. `holds` are operands that live until the
    product is made.
    """
    batch = broadcast_shape(a.shape[:-2], b.shape[:-2])
    kernels: list[Kernel] = []
    numbers: list[int] = []
    for place, shape, layout in (a, b):
        wide = (*batch, *shape[-2:])
        if broadcast_operands((shape,), wide):
            kernels.append(Kernel((place,), prod(wide), aliases=place))
            place, layout = made + len(kernels) - 1, Expand(wide).layout((shape,), (layout,))
        if len(batch) > 1:
            flat = (prod(batch), *shape[-2:])
            whole = all(is_one(a) for a, b in zip(shape[:-2], batch[-len(shape[:-2]) :], strict=True) if not is_one(b))
            copied = (
                not whole and Reshape(flat).resolve((wide,), (layout,)).allocates_output()
            )  # one matrix repeats as a view
            kernels.append(
                Kernel(
                    (place,),
                    prod(wide),
                    aliases=None if copied else place,
                    forwards_gradient=True,
                    output_shape=flat,
                    gradient_ops=(Reshape(wide),),
                )
            )
            place = made + len(kernels) - 1
        numbers.append(place)
    one, other = numbers
    product = (prod(batch), a.shape[-2], b.shape[-1])
    held = (a.number, b.number, *holds)
    kernels.append(
        Kernel((one, other), prod(product), saved_for_operand=((other, one), (one, other)), operands_kept_alive=held)
    )
    result = made + len(kernels) - 1
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
    """The matrix product of two tensors' last two sizes, those before them broadcast, torch.matmul.

    A tensor of one size is a row on the left and a column on the right, and this size is gone.
    Output: (…, rows of the first, columns of the second). Work: MACs = prod(output) × the size that is summed over.
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
    """A product of batches of matrices with these layouts."""

    layouts: tuple[Layout, ...]

    def __init__(self, layouts: tuple[Layout, ...]) -> None:
        super().__init__()
        self.__dict__["layouts"] = layouts

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        one, other = map(MatrixFactor, (0, 1), inputs, self.layouts)
        return tuple(batched_matmul_kernels(one, other, 2))


class _MatmulAdd(Product):
    beta: float
    alpha: float

    arity = (3, 3)
    factor_rank: int  # how many sizes each factor has

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        added, *factors = inputs
        if any(len(shape) != self.factor_rank for shape in factors):
            shapes = " and ".join(map(format_shape, factors))
            raise OpError(f"{self.name} multiplies tensors of {self.factor_rank} sizes, not {shapes}", "inputs")
        yield from _matmul_requirements(self.name, *factors)
        yield from broadcast_to_requirements(self.name, added, _matmul_shape(*factors))

    def output(self, *inputs: Shape) -> Shape:
        return _matmul_shape(*inputs[1:])

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        made = prod(output)
        scaled = (self.alpha != 1) + (self.beta != 1)
        return Work(macs=made * inputs[1][-1], adds=made, muls=made * scaled)

    def backward_macs(
        self, macs: Size, trainable: bool, requires_grad: tuple[bool, ...], inputs: tuple[Shape, ...] = ()
    ) -> Size:
        """That of what is added is a sum."""
        return macs * sum(requires_grad[1:])

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        whole = not broadcast_operands(inputs[:1], output) and self.beta == 1
        return (
            Kernel(
                (0, 1, 2),
                prod(output),
                saved_for_operand=((2, 1), (1, 2)),
                forwards_gradient=whole,
                new_gradient_operands=(1, 2) if whole else (),
            ),
        )


@op
class Addmm(_MatmulAdd):
    """A matrix product and a tensor, torch.addmm: beta × the first input + alpha × the product of the others.

    Output: (rows of the second, columns of the third), to which the first is broadcast.
    Work: MACs = prod(output) × the size that is summed over; 1 add per output element, and 1 mul for each of alpha and
    beta that is not 1.
    """

    beta: float = number(default=1.0)
    alpha: float = number(default=1.0)

    factor_rank = 2


@op
class Baddbmm(_MatmulAdd):
    """Matrix products by batch and a tensor, torch.baddbmm: beta × the first + alpha × the product of the others.

    Output: (batch, rows of the second, columns of the third), to which the first is broadcast.
    Work: MACs = prod(output) × the size that is summed over; 1 add per output element, and 1 mul for each of alpha and
    beta that is not 1.
    """

    beta: float = number(default=1.0)
    alpha: float = number(default=1.0)

    factor_rank = 3


class EinsumIndices(NamedTuple):
    """An equation of `einsum` read for its inputs: the letters of each one's sizes, and those of the result."""

    inputs: tuple[tuple[str, ...], ...]
    output: tuple[str, ...]


def parse_equation(equation: str, ranks: tuple[int, ...]) -> EinsumIndices:
    """The letters of each input of so many sizes; those under dots are called 0, 1, … from the last on.

    Raises OpError for what is no equation of so many inputs.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise OpError(f"{equation!r} is for {len(terms)} inputs, not {len(ranks)}", "equation")
    most = max((rank - len(term.replace("...", "")) for term, rank in zip(terms, ranks, strict=True)), default=0)
    inputs = tuple([_term_indices(term, rank, equation) for term, rank in zip(terms, ranks, strict=True)])
    dotted = tuple([str(place) for place in reversed(range(most)) if any(str(place) in letters for letters in inputs)])
    once = [letter for letter in left if letter.isalpha()]
    output = (*dotted, *sorted(letter for letter in once if once.count(letter) == 1))
    if arrow:
        before, dots, after = right.partition("...")
        output = (*before, *(dotted if dots else ()), *after)
    used = {letter for letters in inputs for letter in letters}
    if not used.issuperset(output) or len(set(output)) != len(output):
        raise OpError(f"{equation!r} must give each letter of its result once, and one of an input", "equation")
    return EinsumIndices(inputs, output)


def _term_indices(term: str, rank: int, equation: str) -> tuple[str, ...]:
    before, dots, after = term.partition("...")
    letters = before + after
    more = rank - len(letters)
    if not all(letter.isalpha() for letter in letters) or more < 0 or (more and not dots):
        raise OpError(f"{equation!r} says {term!r} of an input of {rank} sizes", "equation")
    return (*before, *map(str, reversed(range(more))), *after) if dots else tuple(letters)


@op
class Einsum(Product):
    """Products of the elements of one or two tensors, summed over the indices that the result lacks, torch.einsum.

    More tensors are such products one after another. A letter is an index; dots are all that are not named.
    Output: the sizes of the letters after the arrow. Work: MACs = the product of the sizes of all letters, where both
    inputs share one that is summed over; else 1 mul per output element. Letters that one input alone has and that are
    summed over are summed first, 1 add an element.
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
        """The equation, read for these inputs."""
        return parse_equation(self.equation, tuple(map(len, inputs)))

    def contracted_sizes(self, inputs: tuple[Shape, ...]) -> tuple[Size, ...]:
        """The sizes of the letters that both inputs have and the result lacks."""
        indices = self.indices(inputs)
        if len(inputs) == 1:
            return ()
        sizes = self._index_sizes(inputs, indices)
        both = [letter for letter in dict.fromkeys(indices.inputs[0]) if letter in indices.inputs[1]]
        return tuple([sizes[letter] for letter in both if letter not in indices.output])

    def allocates_output(self, training: bool = False) -> bool:
        """One tensor whose indices are all kept is seen in another order."""
        left, arrow, right = self.equation.replace(" ", "").partition("->")
        return not ("," not in left and bool(arrow) and set(left) == set(right))

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        indices, made = self.indices(inputs), prod(output)
        sizes = self._index_sizes(inputs, indices)
        adds: Size = 0
        kept: dict[str, Size] = {}  # what is left to multiply
        for place, letters in enumerate(indices.inputs):
            elsewhere = {*indices.output, *(letter for other in indices.inputs[:place] for letter in other)}
            elsewhere.update(letter for other in indices.inputs[place + 1 :] for letter in other)
            own = {letter: sizes[letter] for letter in letters}  # of its diagonal
            left = {letter: extent for letter, extent in own.items() if letter in elsewhere}
            if len(left) < len(own):
                adds = adds + prod(own.values()) - prod(left.values())
            kept |= left
        if len(inputs) == 1:
            return Work(adds=adds)
        if self.contracted_sizes(inputs):
            return Work(macs=prod(kept.values()), adds=adds)
        return Work(muls=made, adds=adds)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        made = prod(output)
        if len(inputs) == 1:
            return (Kernel((0,), made, aliases=None if self.allocates_output() else 0, forwards_gradient=True),)
        if self.contracted_sizes(inputs):
            return (*super().kernels(inputs, output, training), Kernel((2,), made, aliases=2, forwards_gradient=True))
        indices = self.indices(inputs)
        repeats = tuple([place for place, of in enumerate(indices.inputs) if set(of) != set(indices.output)])
        return (Kernel((0, 1), made, saved_for_operand=((1, 0), (0, 1)), broadcast_operands=repeats),)

    def _index_sizes(self, inputs: tuple[Shape, ...], indices: EinsumIndices) -> Mapping[str, Size]:
        """That of each letter; one of 1 is broadcast."""
        sizes: dict[str, Size] = {}
        for letters, shape in zip(indices.inputs, inputs, strict=True):
            for letter, extent in zip(letters, shape, strict=True):
                if letter not in sizes or is_one(sizes[letter]):
                    sizes[letter] = extent
        return sizes


@op
class Cdist(Product):
    """The distance of each row of one tensor from each of another, torch.cdist; `p` is the norm's order.

    Inputs: (…, P, M) and (…, R, M), the sizes before broadcast. Output: (…, P, R). Work: per distance, M adds for the
    differences, and M − 1 to sum them up or, of the order "inf", compares; M muls for the squares of p = 2, M compares
    for the sizes of others, and M exps for powers other than these; 1 exp for the root.
    """

    p: float | str = scalar(default=2)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        one, other = inputs
        if self.p == "-inf" or (isinstance(self.p, (int, float)) and self.p < 0):
            raise OpError(f"a norm's order is at least 0, not {self.p}", "p")
        if len(one) < 2 or len(other) < 2:
            raise OpError(f"cdist takes rows of numbers, not {format_shape(one)} and {format_shape(other)}", "inputs")
        yield Requirement(one[-1], "==", other[-1], "rows of {left} and of {right} numbers have no distance")
        broadcast_shape(one[:-2], other[:-2])

    def output(self, *inputs: Shape) -> Shape:
        one, other = inputs
        return (*broadcast_shape(one[:-2], other[:-2]), one[-2], other[-2])

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        each, distances = inputs[0][-1], prod(output)
        differences, summed = each * distances, (each - 1) * distances
        if self.p == 2:
            return Work(adds=differences + summed, muls=differences, exps=distances)
        if self.p == "inf":
            return Work(adds=differences, compares=differences + summed)
        powers = Work() if self.p in (0, 1) else Work(exps=differences + distances)
        return Work(adds=differences + summed, compares=differences) + powers

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        return (Kernel((0, 1), prod(output), saved=(0, 1, 2)),)
