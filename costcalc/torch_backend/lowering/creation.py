"""Lowering of ops that create a tensor from no input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from costcalc.ir.op import Op
from costcalc.ir.ops import creation
from costcalc.torch_backend.lowering.base import lower, torch_element_type

_FUNCTIONS: dict[type[Op], Callable[..., Tensor]] = {
    creation.Full: lambda op, **options: torch.full(op.sizes, op.value, **options),
    creation.Rand: lambda op, **options: torch.rand(op.sizes, **options),
    creation.Randn: lambda op, **options: torch.randn(op.sizes, **options),
    creation.Arange: lambda op, **options: torch.arange(op.length, **options),
    creation.Linspace: lambda op, **options: torch.linspace(0, 1, op.steps, **options),
    creation.Eye: lambda op, **options: torch.eye(op.n, op.m, **options),
}


class CreationModule(nn.Module):
    """A tensor that each call creates on the network's device and in its dtype."""

    def __init__(self, op: Op, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.op, self.function = op, function
        default = torch.empty(0)  # torch.get_default_device() of torch 2.6 ignores `with torch.device(...)`
        self.device, self.dtype = default.device, default.dtype

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        moved = fn(torch.empty(0, device=self.device, dtype=self.dtype))
        self.device, self.dtype = moved.device, moved.dtype
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def forward(self) -> Tensor:
        """Create the tensor."""
        element_type = self.op.element_type()
        dtype = self.dtype if element_type == "float" else torch_element_type(element_type)
        return self.function(self.op, device=self.device, dtype=dtype)


for _kind, _function in _FUNCTIONS.items():
    lower.register(_kind, lambda op, *inputs, function=_function: CreationModule(op, function))
