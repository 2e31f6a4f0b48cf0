"""Lowering of views of a part of a tensor."""

from __future__ import annotations

import torch

from costcalc.ir.ops import slicing
from costcalc.torch_backend.lowering.base import register_functions

register_functions(
    {
        slicing.Slice: lambda op, x: torch.ops.aten.slice.Tensor(x, op.dim, op.start, op.end, op.step),
        slicing.Select: lambda op, x: x.select(op.dim, op.index),
        slicing.Diagonal: lambda op, x: x.diagonal(op.offset, op.dim1, op.dim2),
        slicing.TensorUnfold: lambda op, x: x.unfold(op.dimension, op.size, op.step),
    }
)
