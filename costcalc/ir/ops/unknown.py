"""The op of a layer that costcalc does not know."""

from __future__ import annotations

from collections.abc import Iterator

from costcalc.core.dtypes import ELEMENT_TYPES
from costcalc.core.errors import OpError
from costcalc.core.sizes import Shape, Size
from costcalc.ir.arguments import choice, text
from costcalc.ir.arguments import shape as extents
from costcalc.ir.layout import Layout
from costcalc.ir.op import Op, Requirement, op


@op
class Unknown(Op):
    """A layer whose cost nobody has told: parameters and work are unknown, never zero, and totals become lower bounds.

    Work: unknown. `kind` says what it is; `shape` is its output without the batch, that of its input unless given, or
    `sizes` the whole of it, where its first size is not the batch. Its elements are what `dtype` says.
    """

    kind: str = text()
    shape: tuple[Size, ...] | None = extents(default=None)
    sizes: tuple[Size, ...] | None = extents(default=None)
    dtype: str = choice(*ELEMENT_TYPES, default="float")

    arity = (0, None)
    modelled = False

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        if not inputs and self.sizes is None:
            raise OpError("unknown takes 1 or more inputs, or has the sizes of its output given", "inputs")
        return iter(())

    def element_type(self, *inputs: str) -> str:
        return self.dtype

    def label(self) -> str:
        return self.kind

    def output(self, *inputs: Shape) -> Shape:
        if self.sizes is not None:
            return self.sizes
        return inputs[0] if self.shape is None else (inputs[0][0], *self.shape)

    def sliding_windows(self, *inputs: Shape) -> None:
        return None

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return Layout.contiguous(len(self.output(*inputs)))
