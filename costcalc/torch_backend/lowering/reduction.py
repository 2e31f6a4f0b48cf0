"""Lowering of reductions and cumulative sums."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from costcalc.ir.ops import OPS, reduction
from costcalc.torch_backend.lowering.base import Function, register_functions, scalar_value


def _along_dims_or_none(name: str, *fields: str) -> Function:
    """A function that takes `dim` (None for all dimensions), `keepdim` and these fields of the op."""
    function = getattr(torch, name)
    return lambda op, x: function(x, op.dim, keepdim=op.keepdim, **{field: getattr(op, field) for field in fields})


def _along_dim(name: str) -> Function:
    """A function that takes one `dim`."""
    function = getattr(torch, name)
    return lambda op, x: function(x, op.dim)


def _along_dim_or_all(name: str) -> Function:
    """A function that has no form with all dimensions and `keepdim`."""
    function = getattr(torch, name)

    def call(op: Any, x: Tensor) -> Any:
        if op.dim is None or op.dim == ():
            result = function(x)
            return result.view([1] * x.dim()) if op.keepdim else result
        dim = op.dim[0] if isinstance(op.dim, tuple) and len(op.dim) == 1 else op.dim
        return function(x, dim, keepdim=op.keepdim)

    return call


def _along_dims(name: str) -> Function:
    """A function that takes all dimensions by number."""
    function = getattr(torch, name)
    return lambda op, x: function(x, tuple(range(x.dim())) if op.dim is None else op.dim, keepdim=op.keepdim)


_SPREADS = ("var", "std", "var_mean", "std_mean")

register_functions({OPS[name]: _along_dims_or_none(name) for name in ("sum", "mean", "argmax", "argmin")})
register_functions({OPS[name]: _along_dims_or_none(name, "correction") for name in _SPREADS})
register_functions({OPS[name]: _along_dim(name) for name in ("cumsum", "cumprod")})
register_functions({OPS[name]: _along_dim_or_all(name) for name in ("prod", "max", "min", "any", "all")})
register_functions({OPS[name]: _along_dims(name) for name in ("amax", "amin", "logsumexp")})
register_functions(
    {
        reduction.VectorNorm: lambda op, x: torch.linalg.vector_norm(x, scalar_value(op.ord), op.dim, op.keepdim),
    }
)
