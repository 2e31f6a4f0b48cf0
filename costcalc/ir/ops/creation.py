"""Ops that create a tensor without an input: constants, ranges and random numbers."""

from __future__ import annotations

from costcalc.core.dtypes import ELEMENT_TYPES
from costcalc.core.sizes import Shape, Size
from costcalc.ir.arguments import choice, number, size
from costcalc.ir.arguments import shape as extents
from costcalc.ir.op import Op, op


class _CreationOp(Op):
    """An op without inputs; its elements are floats unless it has an argument `dtype`."""

    arity = (0, 0)

    def element_type(self, *inputs: str) -> str:
        return str(getattr(self, "dtype", "float"))


@op
class Full(_CreationOp):
    """A tensor filled with one finite number, 0 by default, torch.full.

    Output: `sizes`, with elements of type `dtype`. Work: none.
    """

    sizes: tuple[Size, ...] = extents()
    value: float = number(default=0.0)
    dtype: str = choice(*ELEMENT_TYPES, default="float")

    def output(self, *inputs: Shape) -> Shape:
        return self.sizes


@op
class Rand(_CreationOp):
    """Random numbers from the uniform distribution on [0, 1), torch.rand.

    Output: `sizes`. Work: none; the random number generator is not counted.
    """

    sizes: tuple[Size, ...] = extents()

    def output(self, *inputs: Shape) -> Shape:
        return self.sizes


@op
class Randn(Rand):
    """Random numbers from the standard normal distribution, torch.randn.

    Output: `sizes`. Work: none; the random number generator is not counted.
    """


@op
class Arange(_CreationOp):
    """The numbers 0, 1, 2, …, torch.arange; start and step have no effect on the cost and are not arguments.

    Output: (length), with elements of type `dtype`. Work: none.
    """

    length: Size = size("n")
    dtype: str = choice(*ELEMENT_TYPES, default="int64")

    def output(self, *inputs: Shape) -> Shape:
        return (self.length,)


@op
class Linspace(_CreationOp):
    """Evenly spaced numbers from 0 to 1, torch.linspace; the bounds have no effect on the cost and are not arguments.

    Output: (steps). Work: none.
    """

    steps: Size = size("n")

    def output(self, *inputs: Shape) -> Shape:
        return (self.steps,)


@op
class Eye(_CreationOp):
    """A matrix with ones on its diagonal and zeros elsewhere, torch.eye.

    Output: (n, m), with elements of type `dtype`. Work: none.
    """

    n: Size = size("n")
    m: Size = size("m")
    dtype: str = choice(*ELEMENT_TYPES, default="float")

    def output(self, *inputs: Shape) -> Shape:
        return (self.n, self.m)
