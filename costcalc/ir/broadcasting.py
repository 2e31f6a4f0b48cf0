"""Tensors of different shapes, element by element: torch's rules of broadcasting and of what elements become.

Sizes are compared from the last on. One that is missing, or 1, is repeated as often as the other says.
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
    """What elements are that are computed from such elements and numbers.

    An integer leaves integers as they are; true and false become integers with one.
    """
    held = min(tensors, key=_PROMOTION_ORDER.index, default="bool")
    if any(isinstance(n, (float, str)) for n in numbers):
        return "float"
    return "int64" if held == "bool" and any(n is not None for n in numbers) else held


def is_one(size: Size) -> bool:
    """Whether a size is surely 1, so that it is repeated."""
    return check_relation(size, "==", 1).answer is True


def broadcast_shape(*shapes: Shape) -> Shape:
    """The shape that tensors have when they are broadcast to each other."""
    made = shapes[0]
    for shape in shapes[1:]:
        longer, shorter = (shape, made) if len(shape) > len(made) else (made, shape)
        lead = len(longer) - len(shorter)
        made = longer[:lead] + tuple([_broadcast_size(a, b) for a, b in zip(longer[lead:], shorter, strict=True)])
    return made


def _broadcast_size(a: Size, b: Size) -> Size:
    return a if identical(a, b) or not is_one(a) else b


def broadcast_requirements(name: str, inputs: tuple[Shape, ...]) -> Iterator[Requirement]:
    """All sizes of the inputs agree that are not repeated."""
    first = inputs[0]
    for number, other in enumerate(inputs[1:], start=2):
        lead = len(first) - len(other)
        pairs = zip(first[max(lead, 0) :], other[max(-lead, 0) :], strict=True)
        for place, (a, b) in enumerate(pairs, start=max(lead, 0)):
            if identical(a, b) or is_one(a) or is_one(b) or check_relation(b, "==", a).answer:
                continue
            shapes = describe_inputs(inputs[0], other, number)
            if lead and check_relation(b, "==", a).answer is False:
                raise OpError(f"{name} takes inputs with equally many sizes: {shapes}")
            rank = max(len(first), len(other))
            what = dim_label(place, rank)
            message = f"{name} takes inputs that agree in {what}, not {{right}} and {{left}}: {shapes}"
            yield Requirement(b, "==", a, message)
        first = broadcast_shape(first, other)


def describe_inputs(first: Shape, other: Shape, number: int) -> str:
    """Two inputs as an error shows them."""
    return f"input 1 is {format_shape(first)}, input {number} is {format_shape(other)}"


def broadcast_operands(inputs: tuple[Shape, ...], output: Shape) -> tuple[int, ...]:
    """The operands that are repeated: their gradients are sums over the repetitions."""
    return tuple(
        [
            place
            for place, shape in enumerate(inputs)
            if len(shape) < len(output) or any(is_one(a) and not is_one(b) for a, b in zip(shape, output, strict=True))
        ]
    )


def broadcast_layout(inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
    """The layout of a result: that of the first of the inputs that are repeated least."""
    if len(inputs) == 1:
        return layouts[0]
    rank = max(map(len, inputs))
    ones = [sum(map(is_one, shape)) if len(shape) == rank else rank + 1 for shape in inputs]
    return layouts[ones.index(min(ones))]


@op
class Broadcasting(Op):
    """An op on each element of its inputs, which are broadcast to each other."""

    per_element: ClassVar[Work] = NO_WORK
    differentiable: ClassVar[bool] = True
    saved: ClassVar[tuple[int, ...]] = ()  # operands that every gradient needs
    saved_for_operand: ClassVar[tuple[tuple[int, int], ...]] = ()  # an operand, and that whose gradient needs it
    workspace_tensors: ClassVar[int] = 0  # tensors as large as the result that a gradient takes on its way

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
    """An op on two inputs, or on one and a number."""

    other: float | str | None = scalar(default=None)

    arity = (1, 2)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        check_scalars(self, inputs, self.other)
        return super().requirements(*inputs)

    def element_type(self, *inputs: str) -> str:
        return promote_types(inputs, self.other)


def check_scalars(op: Op, inputs: tuple[Shape, ...], *numbers: Any) -> None:
    """An op takes a number in place of an input, and not beside it. Raises OpError."""
    given, most = sum(number is not None for number in numbers), op.arity[1]
    assert most is not None
    if len(inputs) + given != most:
        raise OpError(f"{op.name} takes {most} inputs, or numbers in place of some, not {len(inputs)} and {given}")
