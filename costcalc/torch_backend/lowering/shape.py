"""Lowering of reshapes, permutes and other views of a whole tensor."""

from __future__ import annotations

from torch import nn

from costcalc.ir.ops import shape
from costcalc.torch_backend.lowering.base import MEMORY_FORMATS, register_functions, register_modules

register_modules({shape.Flatten: nn.Flatten})
register_functions(
    {
        shape.Permute: lambda op, x: x.permute(op.dims),
        shape.Reshape: lambda op, x: x.reshape(op.sizes),
        shape.Squeeze: lambda op, x: x.squeeze(op.dim),
        shape.Unsqueeze: lambda op, x: x.unsqueeze(op.dim),
        shape.Expand: lambda op, x: x.expand(op.sizes),
        shape.Contiguous: lambda op, x: x.contiguous(memory_format=MEMORY_FORMATS[op.memory_format]),
    }
)
