"""Lowering of layers that costcalc does not know."""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor, nn

from costcalc.core.sizes import Shape
from costcalc.ir.ops import unknown
from costcalc.torch_backend.lowering.base import lower, torch_element_type


class UnknownModule(nn.Module):
    """A stand-in for an unknown layer: a tensor of the right shape that depends on the inputs and has no meaning."""

    def __init__(self, shape: Shape, dtype: torch.dtype, batched: bool) -> None:
        super().__init__()
        self.shape, self.dtype, self.batched = shape, dtype, batched

    def forward(self, *tensors: Tensor) -> Tensor:
        """Return the mean of the inputs in every element, with the inputs' batch size if `batched`."""
        means = [tensor.mean() if tensor.is_floating_point() else 0 * tensor.sum() for tensor in tensors]
        mean = reduce(torch.add, means) if means else torch.zeros(())
        shape = (tensors[0].shape[0], *self.shape[1:]) if self.batched else self.shape
        return mean.expand(shape).clone().to(self.dtype)


@lower.register
def _(op: unknown.Unknown, *inputs: Shape) -> nn.Module:
    return UnknownModule(op.output(*inputs), torch_element_type(op.dtype), op.sizes is None)
