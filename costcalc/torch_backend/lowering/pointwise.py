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

_TensorFunction = Callable[..., Any]


class FunctionModule(nn.Module):
    """A function of an op and of tensors as a module."""

    def __init__(self, function: _TensorFunction, op: Op) -> None:
        super().__init__()
        self.function, self.op = function, op

    def forward(self, *tensors: Tensor) -> Any:
        """What the function gives."""
        return self.function(self.op, *tensors)


def _scalar_value(value: Any) -> Any:
    return float(value) if value in INFINITIES else value


def _tensors_only(name: str) -> _TensorFunction:
    """Torch's function of that name, of tensors alone."""
    function = getattr(torch, name)
    return lambda op, *tensors: function(*tensors)


def _with_scalar(name: str) -> _TensorFunction:
    """Torch's function of that name, of two tensors or of one and a number."""
    function = getattr(torch, name)
    return lambda op, x, y=None: function(x, _scalar_value(op.other) if y is None else y)


def _reduction(name: str, *further: str) -> _TensorFunction:
    """Torch's function of that name, along the op's dimensions, or of all of them."""
    function = getattr(torch, name)

    def call(op: Any, x: Tensor) -> Any:
        return function(
            x, op.dim, keepdim=op.keepdim, **{field: _scalar_value(getattr(op, field)) for field in further}
        )

    return call


def _along_dim(name: str) -> _TensorFunction:
    function = getattr(torch, name)
    return lambda op, x: function(x, op.dim)


def _along_dim_or_all(name: str) -> _TensorFunction:
    """A function that has no form with all dimensions and keepdim."""
    function = getattr(torch, name)

    def call(op: Any, x: Tensor) -> Any:
        if op.dim is None or op.dim == ():
            made = function(x)
            return made.view([1] * x.dim()) if op.keepdim else made
        dim = op.dim[0] if isinstance(op.dim, tuple) and len(op.dim) == 1 else op.dim
        return function(x, dim, keepdim=op.keepdim)

    return call


def _along_dims(name: str) -> _TensorFunction:
    """A function that is told all dimensions by name."""
    function = getattr(torch, name)
    return lambda op, x: function(x, tuple(range(x.dim())) if op.dim is None else op.dim, keepdim=op.keepdim)


def _add(op: Any, *tensors: Tensor) -> Tensor:
    if len(tensors) == 1:
        return torch.add(tensors[0], _scalar_value(op.other), alpha=op.alpha)
    return reduce(lambda x, y: torch.add(x, y, alpha=op.alpha), tensors)


def _sub(op: Any, x: Tensor, y: Any = None) -> Tensor:
    return torch.sub(x, _scalar_value(op.other) if y is None else y, alpha=op.alpha)


def _rsub(op: Any, x: Tensor, y: Any = None) -> Tensor:
    return torch.rsub(x, _scalar_value(op.other) if y is None else y, alpha=op.alpha)


def _div(op: Any, x: Tensor, y: Any = None) -> Tensor:
    return torch.div(x, _scalar_value(op.other) if y is None else y, rounding_mode=op.rounding_mode)


def _pow(op: Any, x: Tensor, y: Any = None) -> Tensor:
    if op.base is not None:
        return torch.pow(_scalar_value(op.base), x)
    return torch.pow(x, _scalar_value(op.exponent) if y is None else y)


def _where(op: Any, condition: Tensor, *tensors: Tensor) -> Tensor:
    rest = list(tensors)
    x = rest.pop(0) if op.input is None else _scalar_value(op.input)
    y = rest.pop(0) if op.other is None else _scalar_value(op.other)
    return torch.where(condition, x, y)


def _lerp(op: Any, x: Tensor, y: Tensor, weight: Any = None) -> Tensor:
    return torch.lerp(x, y, _scalar_value(op.weight) if weight is None else weight)


def _masked_fill(op: Any, x: Tensor, mask: Tensor, value: Any = None) -> Tensor:
    return torch.masked_fill(x, mask, _scalar_value(op.value) if value is None else value)


_FUNCTION_OF: dict[type[Op], _TensorFunction] = {
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
    unary.Clamp: lambda op, x: torch.clamp(x, _scalar_value(op.min), _scalar_value(op.max)),
    unary.NanToNum: lambda op, x: torch.nan_to_num(x, *map(_scalar_value, (op.nan, op.posinf, op.neginf))),
    reduction.VectorNorm: lambda op, x: torch.linalg.vector_norm(x, _scalar_value(op.ord), op.dim, op.keepdim),
}
_WITH_SCALAR = "mul floor_divide remainder fmod eq ne lt le gt ge bitwise_and bitwise_or bitwise_xor"
_TENSORS_ONLY = (
    "atan2",
    "maximum",
    "minimum",
    "logical_and",
    "logical_or",
    "logical_xor",
    *unary.UNARY_FUNCTIONS,
    *comparison.UNARY_FUNCTIONS,
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


_FUNCTION_OF |= {OPS[name]: _with_scalar(name) for name in _WITH_SCALAR.split()}
_FUNCTION_OF |= {OPS[name]: _tensors_only(name) for name in _TENSORS_ONLY}
_FUNCTION_OF |= {OPS[name]: _reduction(name, *more) for name, more in _REDUCTIONS.items()}
_FUNCTION_OF |= {OPS[name]: _along_dim(name) for name in ("cumsum", "cumprod")}
_FUNCTION_OF |= {OPS[name]: _along_dim_or_all(name) for name in ("prod", "max", "min", "any", "all")}
_FUNCTION_OF |= {OPS[name]: _along_dims(name) for name in ("amax", "amin", "logsumexp")}


def _lower_function(op: Op, *inputs: Shape) -> nn.Module:
    return FunctionModule(_FUNCTION_OF[type(op)], op)


for _kind in _FUNCTION_OF:
    lower.register(_kind, _lower_function)
