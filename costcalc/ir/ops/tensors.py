"""Tensors that no layer computes: parameters and buffers of a network's own, and the further results of a layer."""

from __future__ import annotations

from costcalc.core.dtypes import ELEMENT_TYPES
from costcalc.core.sizes import Shape, Size
from costcalc.ir.arguments import choice, integer, shape
from costcalc.ir.kernel import Kernel
from costcalc.ir.op import Op, op


@op
class Parameter(Op):
    """A learnt tensor that is an operand of other layers, torch.nn.Parameter: a class token, a scale, a shared kernel.

    Output: `shape`. Parameters: weight, the same. Work: none.
    """

    shape: tuple[Size, ...] = shape()

    arity = (0, 0)

    def output(self, *inputs: Shape) -> Shape:
        return self.shape

    def parameters(self, *inputs: Shape) -> dict[str, Shape]:
        return {"weight": self.shape}

    def allocates_output(self, training: bool = False) -> bool:
        return False

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        return ()


@op
class Buffer(Op):
    """A tensor that a network keeps and does not learn, torch.nn.Module.register_buffer: a table of positions, a mask.

    Output: `shape`, of elements that are what `dtype` says. Buffers: value, the same. Work: none.
    """

    shape: tuple[Size, ...] = shape()
    dtype: str = choice(*ELEMENT_TYPES, default="float")

    arity = (0, 0)

    def output(self, *inputs: Shape) -> Shape:
        return self.shape

    def element_type(self, *inputs: str) -> str:
        return self.dtype

    def buffers(self, *inputs: Shape) -> dict[str, Shape]:
        return {"value": self.shape}

    def allocates_output(self, training: bool = False) -> bool:
        return False

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        return ()


@op
class Result(Op):
    """A further result of the layer it takes, by its place: 1 is the second (the last state of a torch.nn.LSTM).

    Output: what that layer's `further` says, of elements that are what its `further_holds` says. Work: none; it is that
    layer's.
    """

    index: int = integer(minimum=1)

    def allocates_output(self, training: bool = False) -> bool:
        return False

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        return ()
