"""Tensors that no layer computes: parameters and buffers that are operands, and the extra outputs of a layer."""

from __future__ import annotations

from costcalc.core.dtypes import ELEMENT_TYPES
from costcalc.core.sizes import Shape, Size
from costcalc.ir.arguments import choice, integer, shape
from costcalc.ir.kernel import Kernel
from costcalc.ir.op import Op, op


@op
class Parameter(Op):
    """A trainable tensor that is an operand of layers, torch.nn.Parameter: a class token, a scale, a shared kernel.

    Output: `shape`. Parameters: weight, of the same shape. Work: none.
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
    """A tensor that is not trained, torch.nn.Module.register_buffer: a position table, a mask.

    Output: `shape`, with elements of type `dtype`. Buffers: value, of the same shape. Work: none.
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
    """An extra output of a layer: index 1 is its second output, such as the final state of a torch.nn.LSTM.

    Output: the shape and the element type of that output. Work: none; it counts for the layer.
    """

    index: int = integer(minimum=1)

    def allocates_output(self, training: bool = False) -> bool:
        return False

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        return ()
