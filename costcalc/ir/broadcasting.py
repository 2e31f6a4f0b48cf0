"""Elementwise ops on tensors of different shapes: torch's rules for broadcasting and type promotion.

Sizes are compared from the last dimension on. A dimension that is missing, or has size 1, is broadcast to the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from costcalc.core.axes import dim_label
from costcalc.core.dtypes import ELEMENT_TYPES
from costcalc.core.errors import OpError
from costcalc.core.sizes import Shape, Size, check_relation, format_shape, identical, prod
from costcalc.ir.arguments import scalar
from costcalc.ir.kernel import Kernel, same_order
from costcalc.ir.layout import Layout
from costcalc.ir.op import Op, Requirement, op
from costcalc.ir.work import NO_WORK, Work

_PROMOTION_ORDER = tuple(ELEMENT_TYPES)  # the widest first


def promote_types(tensors: Iterable[str], *numbers: Any) -> str:
    """Return the element type of a result computed from tensors of these types and from numbers.

    An integer does not change the type of integers; booleans with an integer become int64.
    """
    widest = min(tensors, key=_PROMOTION_ORDER.index, default="bool")
    if any(isinstance(n, (float, str)) for n in numbers):
        return "float"
    return "int64" if widest == "bool" and any(n is not None for n in numbers) else widest


def is_one(size: Size) -> bool:
    """Return whether a size is known to be 1, so that its dimension is broadcast."""
    return check_relation(size, "==", 1).answer is True


def broadcast_shape(*shapes: Shape) -> Shape:
    """Return the shape of tensors that are broadcast to each other."""
    result = shapes[0]
    for shape in shapes[1:]:
        longer, shorter = (shape, result) if len(shape) > len(result) else (result, shape)
        lead = len(longer) - len(shorter)
        result = longer[:lead] + tuple([_broadcast_size(a, b) for a, b in zip(longer[lead:], shorter, strict=True)])
    return result


def _broadcast_size(a: Size, b: Size) -> Size:
    return a if identical(a, b) or not is_one(a) else b


def broadcast_requirements(name: str, inputs: tuple[Shape, ...]) -> Iterator[Requirement]:
    """Yield the requirements that all sizes that are not broadcast are equal."""
    first = inputs[0]
    for number, other in enumerate(inputs[1:], start=2):
        lead = len(first) - len(other)
        pairs = zip(first[max(lead, 0) :], other[max(-lead, 0) :], strict=True)
        for index, (a, b) in enumerate(pairs, start=max(lead, 0)):
            if identical(a, b) or is_one(a) or is_one(b) or check_relation(b, "==", a).answer:
                continue
            shapes = describe_inputs(inputs[0], other, number)
            if lead and check_relation(b, "==", a).answer is False:
                raise OpError(f"{name} takes inputs with equally many sizes: {shapes}")
            rank = max(len(first), len(other))
            dim = dim_label(index, rank)
            message = f"{name} takes inputs that agree in {dim}, not {{right}} and {{left}}: {shapes}"
            yield Requirement(b, "==", a, message)
        first = broadcast_shape(first, other)


def describe_inputs(first: Shape, other: Shape, number: int) -> str:
    """Return the shapes of two inputs for an error message."""
    return f"input 1 is {format_shape(first)}, input {number} is {format_shape(other)}"


def broadcast_operands(inputs: tuple[Shape, ...], output: Shape) -> tuple[int, ...]:
    """Return the operands that are broadcast: their gradients are summed over the broadcast dimensions."""
    return tuple(
        [
            index
            for index, shape in enumerate(inputs)
            if len(shape) < len(output) or any(is_one(a) and not is_one(b) for a, b in zip(shape, output, strict=True))
        ]
    )


def broadcast_layout(inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
    """Return the layout of the output: that of the first input with the fewest broadcast dimensions."""
    if len(inputs) == 1:
        return layouts[0]
    rank = max(map(len, inputs))
    ones = [sum(map(is_one, shape)) if len(shape) == rank else rank + 1 for shape in inputs]
    return layouts[ones.index(min(ones))]


@op
class Broadcasting(Op):
    """An elementwise op on inputs that are broadcast to each other."""

    per_element: ClassVar[Work] = NO_WORK
    differentiable: ClassVar[bool] = True
    saved: ClassVar[tuple[int, ...]] = ()  # operands needed by any gradient
    saved_for_operand: ClassVar[
        tuple[tuple[int, int], ...]
    ] = ()  # (saved operand, the operand whose gradient needs it)
    workspace_tensors: ClassVar[int] = 0  # temporary tensors of backward, as large as the output

    arity = (2, 2)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        return broadcast_requirements(self.name, inputs)

    def output(self, *inputs: Shape) -> Shape:
        return broadcast_shape(*inputs)

    def element_type(self, *inputs: str) -> str:
        return promote_types(inputs)

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        return self.per_element * prod(output)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        count, elements = len(inputs), prod(output)
        if not self.differentiable:
            return (Kernel((), elements, operands_kept_alive=tuple(range(count))),)
        return (
            Kernel(
                tuple(range(count)),
                elements,
                saved=tuple([i for i in self.saved if i < count]),
                saved_for_operand=tuple([pair for pair in self.saved_for_operand if max(pair) < count]),
                broadcast_operands=broadcast_operands(inputs, output),
                workspace_elements=self.workspace_tensors * elements,
                gradient_order=same_order,
            ),
        )

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return broadcast_layout(inputs, layouts)


@op
class BroadcastingWithScalar(Broadcasting):
    """An elementwise op on two inputs, or on an input and a number."""

    other: float | str | None = scalar(default=None)

    arity = (1, 2)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        check_scalars(self, inputs, self.other)
        return super().requirements(*inputs)

    def element_type(self, *inputs: str) -> str:
        return promote_types(inputs, self.other)


def check_scalars(op: Op, inputs: tuple[Shape, ...], *numbers: Any) -> None:
    """Check that numbers replace the missing inputs of an op. Raises OpError if there are too many, or too few."""
    num_numbers, maximum = sum(number is not None for number in numbers), op.arity[1]
    assert maximum is not None
    if len(inputs) + num_numbers != maximum:
        raise OpError(
            f"{op.name} takes {maximum} inputs, or numbers in place of some, not {len(inputs)} and {num_numbers}"
        )
