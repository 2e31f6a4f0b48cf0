"""Arithmetic on elements and reductions as torch modules: calls of torch's functions of the same names."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

from costcalc.core.sizes import Shape
from costcalc.ir.arguments import INFINITIES
from costcalc.ir.op import Op
from costcalc.ir.ops import OPS, arithmetic, comparison, reduction, unary
from costcalc.torch_backend.lowering.base import lower

_Function = Callable[..., Any]


class Called(nn.Module):
    """A function of an op and of tensors as a module."""

    def __init__(self, function: _Function, op: Op) -> None:
        super().__init__()
        self.function, self.op = function, op

    def forward(self, *tensors: Tensor) -> Any:
        """What the function gives."""
        return self.function(self.op, *tensors)


def _number(value: Any) -> Any:
    return float(value) if value in INFINITIES else value


def _same(name: str) -> _Function:
    """Torch's function of that name, of tensors alone."""
    function = getattr(torch, name)
    return lambda op, *tensors: function(*tensors)


def _with_number(name: str) -> _Function:
    """Torch's function of that name, of two tensors or of one and a number."""
    function = getattr(torch, name)
    return lambda op, x, y=None: function(x, _number(op.other) if y is None else y)


def _reduced(name: str, *further: str) -> _Function:
    """Torch's function of that name, along the op's dimensions, or of all of them."""
    function = getattr(torch, name)

    def call(op: Any, x: Tensor) -> Any:
        return function(x, op.dim, keepdim=op.keepdim, **{field: _number(getattr(op, field)) for field in further})

    return call


def _along(name: str) -> _Function:
    function = getattr(torch, name)
    return lambda op, x: function(x, op.dim)


def _along_all(name: str) -> _Function:
    """A function that has no form with all dimensions and keepdim."""
    function = getattr(torch, name)

    def call(op: Any, x: Tensor) -> Any:
        if op.dim is None or op.dim == ():
            made = function(x)
            return made.view([1] * x.dim()) if op.keepdim else made
        dim = op.dim[0] if isinstance(op.dim, tuple) and len(op.dim) == 1 else op.dim
        return function(x, dim, keepdim=op.keepdim)

    return call


def _along_each(name: str) -> _Function:
    """A function that is told all dimensions by name."""
    function = getattr(torch, name)
    return lambda op, x: function(x, tuple(range(x.dim())) if op.dim is None else op.dim, keepdim=op.keepdim)


def _add(op: Any, *tensors: Tensor) -> Tensor:
    if len(tensors) == 1:
        return torch.add(tensors[0], _number(op.other), alpha=op.alpha)
    return reduce(lambda x, y: torch.add(x, y, alpha=op.alpha), tensors)


def _sub(op: Any, x: Tensor, y: Any = None) -> Tensor:
    return torch.sub(x, _number(op.other) if y is None else y, alpha=op.alpha)


def _rsub(op: Any, x: Tensor, y: Any = None) -> Tensor:
    return torch.rsub(x, _number(op.other) if y is None else y, alpha=op.alpha)


def _div(op: Any, x: Tensor, y: Any = None) -> Tensor:
    return torch.div(x, _number(op.other) if y is None else y, rounding_mode=op.rounding_mode)


def _pow(op: Any, x: Tensor, y: Any = None) -> Tensor:
    if op.base is not None:
        return torch.pow(_number(op.base), x)
    return torch.pow(x, _number(op.exponent) if y is None else y)


def _where(op: Any, condition: Tensor, *tensors: Tensor) -> Tensor:
    rest = list(tensors)
    x = rest.pop(0) if op.input is None else _number(op.input)
    y = rest.pop(0) if op.other is None else _number(op.other)
    return torch.where(condition, x, y)


def _lerp(op: Any, x: Tensor, y: Tensor, weight: Any = None) -> Tensor:
    return torch.lerp(x, y, _number(op.weight) if weight is None else weight)


def _masked_fill(op: Any, x: Tensor, mask: Tensor, value: Any = None) -> Tensor:
    return torch.masked_fill(x, mask, _number(op.value) if value is None else value)


_CALLS: dict[type[Op], _Function] = {
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
    unary.Round: lambda op, x: torch.round(x, decimals=op.decimals) if op.decimals else torch.round(x),
    unary.Clamp: lambda op, x: torch.clamp(x, _number(op.min), _number(op.max)),
    unary.NanToNum: lambda op, x: torch.nan_to_num(x, *map(_number, (op.nan, op.posinf, op.neginf))),
    reduction.VectorNorm: lambda op, x: torch.linalg.vector_norm(x, _number(op.ord), op.dim, op.keepdim),
}
_WITH_NUMBER = "mul floor_divide remainder fmod eq ne lt le gt ge bitwise_and bitwise_or bitwise_xor"
_SAME = (
    "atan2",
    "maximum",
    "minimum",
    "logical_and",
    "logical_or",
    "logical_xor",
    *unary.FUNCTIONS,
    *comparison.FUNCTIONS,
)
_REDUCTIONS = {
    "sum": (),
    "mean": (),
    "argmax": (),
    "argmin": (),
    "var": ("correction",),
    "std": ("correction",),
    "var_mean": ("correction",),
    "std_mean": ("correction",),
}


_CALLS |= {OPS[name]: _with_number(name) for name in _WITH_NUMBER.split()}
_CALLS |= {OPS[name]: _same(name) for name in _SAME}
_CALLS |= {OPS[name]: _reduced(name, *more) for name, more in _REDUCTIONS.items()}
_CALLS |= {OPS[name]: _along(name) for name in ("cumsum", "cumprod")}
_CALLS |= {OPS[name]: _along_all(name) for name in ("prod", "max", "min", "any", "all")}
_CALLS |= {OPS[name]: _along_each(name) for name in ("amax", "amin", "logsumexp")}


def _lowered(op: Op, *inputs: Shape) -> nn.Module:
    return Called(_CALLS[type(op)], op)


for _kind in _CALLS:
    lower.register(_kind, _lowered)
