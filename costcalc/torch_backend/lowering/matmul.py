"""Lowering of matrix products, einsum and distances."""

from __future__ import annotations

import torch

from costcalc.ir.ops import OPS
from costcalc.torch_backend.lowering.base import of_tensors, register_functions

_NO_PRODUCT = "donot_use_mm_for_euclid_dist"

register_functions(
    {
        OPS["matmul"]: of_tensors("matmul"),
        OPS["addmm"]: lambda op, *tensors: torch.addmm(*tensors, beta=op.beta, alpha=op.alpha),
        OPS["baddbmm"]: lambda op, *tensors: torch.baddbmm(*tensors, beta=op.beta, alpha=op.alpha),
        OPS["einsum"]: lambda op, *tensors: torch.einsum(op.equation, *tensors),
        OPS["cdist"]: lambda op, x, y: torch.cdist(x, y, p=float(op.p), compute_mode=_NO_PRODUCT),
    }
)
