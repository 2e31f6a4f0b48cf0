"""Lowering of functions of each element of one tensor."""

from __future__ import annotations

import torch

from costcalc.ir.ops import OPS, unary
from costcalc.torch_backend.lowering.base import of_tensors, register_functions, scalar_value

register_functions({OPS[name]: of_tensors(name) for name in unary.UNARY_FUNCTIONS})
register_functions(
    {
        unary.Round: lambda op, x: torch.round(x, decimals=op.decimals) if op.decimals else torch.round(x),
        unary.Clamp: lambda op, x: torch.clamp(x, scalar_value(op.min), scalar_value(op.max)),
        unary.NanToNum: lambda op, x: torch.nan_to_num(x, *map(scalar_value, (op.nan, op.posinf, op.neginf))),
    }
)
