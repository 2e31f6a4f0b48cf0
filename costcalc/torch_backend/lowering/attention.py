"""Lowering of scaled dot-product attention."""

from __future__ import annotations

from torch.nn import functional as F

from costcalc.ir.ops import OPS
from costcalc.torch_backend.lowering.base import register_functions

register_functions(
    {OPS["scaled_dot_product_attention"]: lambda op, *tensors: F.scaled_dot_product_attention(*tensors, **op.values())}
)
