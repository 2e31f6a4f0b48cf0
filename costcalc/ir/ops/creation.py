"""Tensors that are made of nothing: of one number, of numbers counted up, of random ones."""

from __future__ import annotations

from costcalc.core.dtypes import ELEMENT_TYPES
from costcalc.core.sizes import Shape, Size
from costcalc.ir.arguments import choice, number, size
from costcalc.ir.arguments import shape as extents
from costcalc.ir.op import Op, op


class _CreationOp(Op):
    """What takes nothing; its elements are floats, or what a field `dtype` says."""

    arity = (0, 0)

    def element_type(self, *inputs: str) -> str:
        return str(getattr(self, "dtype", "float"))


@op
class Full(_CreationOp):
    """A tensor of one number, torch.full; of zeros unless a finite number is told.

    Output: `sizes`, of elements that are what `dtype` says. Work: none.
    """

    sizes: tuple[Size, ...] = extents()
    value: float = number(default=0.0)
    dtype: str = choice(*ELEMENT_TYPES, default="float")

    def output(self, *inputs: Shape) -> Shape:
        return self.sizes


@op
class Rand(_CreationOp):
    """A tensor of random numbers, from 0 to 1 and equally likely, torch.rand.

    Output: `sizes`. Work: none: how they are made is not counted.
    """

    sizes: tuple[Size, ...] = extents()

    def output(self, *inputs: Shape) -> Shape:
        return self.sizes


@op
class Randn(Rand):
    """A tensor of random numbers, normally distributed, torch.randn.

    Output: `sizes`. Work: none: how they are made is not counted.
    """


@op
class Arange(_CreationOp):
    """The numbers 0, 1, 2 and so on, torch.arange; where they start, and how they go on, changes no cost.

    Output: one size, `length`, of elements that are what `dtype` says. Work: none.
    """

    length: Size = size("n")
    dtype: str = choice(*ELEMENT_TYPES, default="int64")

    def output(self, *inputs: Shape) -> Shape:
        return (self.length,)


@op
class Linspace(_CreationOp):
    """So many numbers from 0 to 1 at equal distances, torch.linspace; between which they are changes no cost.

    Output: one size, `steps`. Work: none.
    """

    steps: Size = size("n")

    def output(self, *inputs: Shape) -> Shape:
        return (self.steps,)


@op
class Eye(_CreationOp):
    """A matrix with ones on its diagonal and zeros elsewhere, torch.eye.

    Output: n × m, of elements that are what `dtype` says. Work: none.
    """

    n: Size = size("n")
    m: Size = size("m")
    dtype: str = choice(*ELEMENT_TYPES, default="float")

    def output(self, *inputs: Shape) -> Shape:
        return (self.n, self.m)
