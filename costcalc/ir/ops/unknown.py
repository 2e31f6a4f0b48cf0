"""The op of a layer that is not modelled."""

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
    """A layer that is not modelled: its parameters and work are unknown, not zero, and totals become lower bounds.

    Work: unknown. Output: `shape`, without the batch; or `sizes`, if the first size is not the batch; by default the
    shape of the input. `kind` is the name in reports, `dtype` the type of the elements.
    """

    kind: str = text()
    shape: tuple[Size, ...] | None = extents(default=None)
    sizes: tuple[Size, ...] | None = extents(default=None)
    dtype: str = choice(*ELEMENT_TYPES, default="float")

    arity = (0, None)
    modelled = False

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        if not inputs and self.sizes is None:
            raise OpError("unknown without inputs needs the sizes of its output: set sizes", "inputs")
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
