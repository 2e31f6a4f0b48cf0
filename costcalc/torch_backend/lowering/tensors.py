"""Lowering of parameters and buffers that are operands, and of results beyond the first."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from costcalc.core.sizes import Shape
from costcalc.ir.ops import tensors
from costcalc.torch_backend.lowering.base import lower, torch_element_type


class ParameterModule(nn.Module):
    """A parameter as a tensor."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(shape))

    def forward(self) -> Tensor:
        """Return the parameter."""
        return self.weight


@lower.register
def _(op: tensors.Parameter, *inputs: Shape) -> nn.Module:
    return ParameterModule(op.shape)


class BufferModule(nn.Module):
    """A buffer as a tensor."""

    value: Tensor

    def __init__(self, shape: Shape, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("value", torch.zeros(shape, dtype=dtype))

    def forward(self) -> Tensor:
        """Return the buffer."""
        return self.value


@lower.register
def _(op: tensors.Buffer, *inputs: Shape) -> nn.Module:
    return BufferModule(op.shape, torch_element_type(op.dtype))


class ResultModule(nn.Module):
    """One of several results of a layer."""

    def __init__(self, index: int) -> None:
        super().__init__()
        self.index = index

    def forward(self, results: tuple[Tensor, ...]) -> Tensor:
        """Return the result at the index."""
        return results[self.index]


@lower.register
def _(op: tensors.Result, *inputs: Shape) -> nn.Module:
    return ResultModule(op.index)
