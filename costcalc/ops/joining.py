"""Layers that join several tensors into one."""

from __future__ import annotations

from collections.abc import Iterator

from costcalc.costs import Work
from costcalc.dims import Shape, known, prod
from costcalc.errors import OpError
from costcalc.ops.broadcasting import both, broadcast_shape, broadcastable, fullest, promoted, repeated
from costcalc.ops.kernel import Kernel
from costcalc.ops.op import CHANNELS_LAST, Layout, Op, Requirement, op, scalar, whole


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
    """The sum of inputs, element by element, torch.add; of a residual block, its paths (He et al., 2015).

    `other` is a number in place of a second input; all but the first are taken `alpha` times. Output: the inputs'
    shape; sizes of 1 and missing first ones are repeated (torch's broadcasting). Work: 1 add per element and further
    input, and 1 mul if alpha is not 1.
    """

    other: float | str | None = scalar(default=None)
    alpha: float | str = scalar(default=1)

    arity = (1, None)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        if len(inputs) == 1 and self.other is None:
            raise OpError("add takes 2 or more inputs, not 1", "inputs")
        if len(inputs) > 1 and self.other is not None:
            raise OpError(f"add takes one input and a number, not {len(inputs)}", "other")
        return broadcastable("add", inputs)

    def output(self, *inputs: Shape) -> Shape:
        return broadcast_shape(*inputs)

    def holds(self, *inputs: str) -> str:
        return promoted(inputs, self.other)

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        sums = [prod(broadcast_shape(*inputs[: count + 1])) for count in range(1, max(len(inputs), 2))]
        return Work(adds=sum(sums), muls=sum(sums) if self.alpha != 1 else 0)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        count = len(inputs)
        everything = tuple(range(count))  # is held until the last sum is made
        if count == 1:
            return (Kernel((0,), prod(output), passes_on=True),)
        kernels = []
        total = inputs[0]
        for place in range(1, count):
            reads = (0 if place == 1 else count + place - 2, place)
            made = broadcast_shape(total, inputs[place])
            short = repeated((total, inputs[place]), made)
            kernels.append(
                Kernel(
                    reads,
                    prod(made),
                    passes_on=True,
                    holds=everything,
                    renews=(place,) if self.alpha != 1 else (),
                    repeats=tuple([reads[i] for i in short]),
                )
            )
            total = made
        return tuple(kernels)

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return fullest(inputs, layouts)


def _agree(name: str, inputs: tuple[Shape, ...], along: int) -> Iterator[Requirement]:
    """All inputs have the sizes of the first, except along one dimension."""
    first = inputs[0]
    for number, other in enumerate(inputs[1:], start=2):
        if len(other) != len(first):
            raise OpError(f"{name} takes inputs with equally many sizes: {both(first, other, number)}")
        for place, (a, b) in enumerate(zip(first, other, strict=True)):
            if place == along or known(b, "==", a).answer:
                continue
            what = ("batch", "channels", "height", "width")[place] if len(first) == 4 else f"size {place + 1}"
            shapes = both(first, other, number)
            yield Requirement(
                b, "==", a, f"{name} takes inputs that agree in {what}, not {{right}} and {{left}}: {shapes}"
            )
