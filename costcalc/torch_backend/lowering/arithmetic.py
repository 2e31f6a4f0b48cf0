"""Lowering of arithmetic on the elements of several tensors, or of a tensor and a number."""

from __future__ import annotations

from functools import reduce
from typing import Any

import torch
from torch import Tensor

from costcalc.ir.ops import OPS, arithmetic
from costcalc.torch_backend.lowering.base import of_tensor_and_scalar, of_tensors, register_functions, scalar_value


def _add(op: Any, *tensors: Tensor) -> Tensor:
    if len(tensors) == 1:
        return torch.add(tensors[0], scalar_value(op.other), alpha=op.alpha)
    return reduce(lambda x, y: torch.add(x, y, alpha=op.alpha), tensors)


def _sub(op: Any, x: Tensor, y: Any = None) -> Tensor:
    return torch.sub(x, scalar_value(op.other) if y is None else y, alpha=op.alpha)


def _rsub(op: Any, x: Tensor, y: Any = None) -> Tensor:
    return torch.rsub(x, scalar_value(op.other) if y is None else y, alpha=op.alpha)


def _div(op: Any, x: Tensor, y: Any = None) -> Tensor:
    return torch.div(x, scalar_value(op.other) if y is None else y, rounding_mode=op.rounding_mode)


def _pow(op: Any, x: Tensor, y: Any = None) -> Tensor:
    if op.base is not None:
        return torch.pow(scalar_value(op.base), x)
    return torch.pow(x, scalar_value(op.exponent) if y is None else y)


def _where(op: Any, condition: Tensor, *tensors: Tensor) -> Tensor:
    rest = list(tensors)
    x = rest.pop(0) if op.input is None else scalar_value(op.input)
    y = rest.pop(0) if op.other is None else scalar_value(op.other)
    return torch.where(condition, x, y)


def _lerp(op: Any, x: Tensor, y: Tensor, weight: Any = None) -> Tensor:
    return torch.lerp(x, y, scalar_value(op.weight) if weight is None else weight)


def _masked_fill(op: Any, x: Tensor, mask: Tensor, value: Any = None) -> Tensor:
    return torch.masked_fill(x, mask, scalar_value(op.value) if value is None else value)


register_functions(
    {
        arithmetic.Add: _add,
        arithmetic.Sub: _sub,
        arithmetic.Rsub: _rsub,
        arithmetic.Div: _div,
        arithmetic.Pow: _pow,
        arithmetic.Where: _where,
        arithmetic.Lerp: _lerp,
        arithmetic.MaskedFill: _masked_fill,
        arithmetic.Addcmul: lambda op, x, y, z: torch.addcmul(x, y, z, value=op.value),
        arithmetic.Addcdiv: lambda op, x, y, z: torch.addcdiv(x, y, z, value=op.value),
    }
)
register_functions({OPS[name]: of_tensor_and_scalar(name) for name in ("mul", "floor_divide", "remainder", "fmod")})
register_functions({OPS[name]: of_tensors(name) for name in ("atan2", "maximum", "minimum")})
