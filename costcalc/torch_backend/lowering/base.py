"""Lowering: the torch module that computes each op.

A lowering is a function of an op and the shapes of its inputs, registered for the op's class. Modules of torch.nn are
used where they exist; other ops are calls of torch's functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import singledispatch
from typing import Any

import torch
from torch import Tensor, nn

from costcalc.core.errors import CostcalcError
from costcalc.core.sizes import Shape
from costcalc.ir.arguments import INFINITIES
from costcalc.ir.op import Op

Function = Callable[..., Any]  # called with an op and with tensors

MEMORY_FORMATS = {
    "preserve": torch.preserve_format,
    "contiguous": torch.contiguous_format,
    "channels_last": torch.channels_last,
}


@singledispatch
def lower(op: Op, *inputs: Shape) -> nn.Module:
    """Return the module that computes `op`, freshly initialised as torch.nn does, for inputs of these shapes.

    The input shapes determine the sizes of parameters (channels, features); the batch and the spatial size may vary
    between calls. Raises CostcalcError for an op without a lowering.
    """
    raise CostcalcError(f"{op.name} has no torch lowering")


_FUNCTIONS: dict[type[Op], Function] = {}


class FunctionModule(nn.Module):
    """An op that a function of the op and its input tensors computes, as a module."""

    def __init__(self, op: Op) -> None:
        super().__init__()
        self.op = op

    def forward(self, *tensors: Tensor) -> Any:
        """Call the function."""
        function = next(_FUNCTIONS[kind] for kind in type(self.op).__mro__ if kind in _FUNCTIONS)
        return function(self.op, *tensors)


def register_modules(modules: Mapping[type[Op], Callable[..., nn.Module]]) -> None:
    """Lower each op to a module whose arguments have the names of the op's fields."""
    for kind, module in modules.items():
        lower.register(kind, lambda op, *inputs, module=module: module(**op.values()))


def register_functions(functions: Mapping[type[Op], Function], *, as_lowering: bool = True) -> None:
    """Lower each op to a call of a function of the op and its input tensors.

    Without `as_lowering`, the functions only serve `FunctionModule`; the lowering of the op is registered separately.
    """
    _FUNCTIONS.update(functions)
    for kind in functions if as_lowering else ():
        lower.register(kind, lambda op, *inputs: FunctionModule(op))


def torch_element_type(element_type: str) -> torch.dtype:
    """Return the torch dtype of an element type; the default dtype for `float`."""
    return torch.get_default_dtype() if element_type == "float" else getattr(torch, element_type)


def scalar_value(value: Any) -> Any:
    """Return a field declared by `scalar` as torch takes it: "inf" becomes an infinite float."""
    return float(value) if value in INFINITIES else value


def of_tensors(name: str) -> Function:
    """Return the torch function of that name, called with tensors alone."""
    function = getattr(torch, name)
    return lambda op, *tensors: function(*tensors)


def of_tensor_and_scalar(name: str) -> Function:
    """Return the torch function of that name, called with two tensors, or with one and the op's `other`."""
    function = getattr(torch, name)
    return lambda op, x, y=None: function(x, scalar_value(op.other) if y is None else y)
