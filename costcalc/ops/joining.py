"""Layers that join several tensors into one."""

from __future__ import annotations

from collections.abc import Iterator

from costcalc.costs import Work
from costcalc.dims import Shape, known, prod, show_shape
from costcalc.errors import OpError
from costcalc.ops.kernel import Kernel
from costcalc.ops.op import CHANNELS_LAST, Layout, Op, Requirement, op, whole


@op
class Concat(Op):
    """Inputs one after another along `dim` (channels unless given), torch.cat.

    Output: the inputs' sizes along `dim` added; all other sizes must agree. Work: none.
    """

    dim: int = whole(default=1)

    arity = (1, None)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        first = inputs[0]
        if not -len(first) <= self.dim < len(first):
            raise OpError(f"dim {self.dim} is not a dimension of an input with {len(first)}", "dim")
        yield from _agree("concat", inputs, along=self.dim % len(first))

    def output(self, *inputs: Shape) -> Shape:
        along = self.dim % len(inputs[0])
        joined = list(inputs[0])
        joined[along] = sum(shape[along] for shape in inputs)
        return tuple(joined)

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        """Torch keeps the channels last in memory where all inputs have them there."""
        last = all(layout.order == CHANNELS_LAST for layout in layouts)
        return Layout(layouts[0].plane, CHANNELS_LAST if last else tuple(range(len(inputs[0]))))

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        return (Kernel(tuple(range(len(inputs))), prod(output), passes_on=True),)


@op
class Add(Op):
    """The sum of two or more inputs of one shape, element by element (He et al., Deep Residual Learning, 2015).

    Output: the inputs' shape. Work: 1 add per element and further input.
    """

    arity = (2, None)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        return _agree("add", inputs, along=None)

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        return Work(adds=(len(inputs) - 1) * prod(output))

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        count, elements = len(inputs), prod(output)
        everything = tuple(range(count))  # is held until the last sum is made
        first = Kernel((0, 1), elements, passes_on=True, holds=everything)
        further = [Kernel((count + i, i + 2), elements, passes_on=True, holds=everything) for i in range(count - 2)]
        return (first, *further)


def _agree(name: str, inputs: tuple[Shape, ...], along: int | None) -> Iterator[Requirement]:
    """All inputs have the sizes of the first, except along one dimension."""
    first = inputs[0]
    for number, other in enumerate(inputs[1:], start=2):
        if len(other) != len(first):
            raise OpError(f"{name} takes inputs with equally many sizes: {_both(first, other, number)}")
        for place, (a, b) in enumerate(zip(first, other, strict=True)):
            if place == along or known(b, "==", a).answer:
                continue
            what = ("batch", "channels", "height", "width")[place] if len(first) == 4 else f"size {place + 1}"
            shapes = _both(first, other, number)
            yield Requirement(
                b, "==", a, f"{name} takes inputs that agree in {what}, not {{right}} and {{left}}: {shapes}"
            )


def _both(first: Shape, other: Shape, number: int) -> str:
    return f"input 1 is {show_shape(first)}, input {number} is {show_shape(other)}"
