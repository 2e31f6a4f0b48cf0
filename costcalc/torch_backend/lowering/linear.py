"""Lowering of linear layers: modules with their own weights, or functions of weights that are inputs."""

from __future__ import annotations

from torch import nn
from torch.nn import functional as F

from costcalc.core.sizes import Shape
from costcalc.ir.ops import linear
from costcalc.torch_backend.lowering.base import FunctionModule, lower, register_functions

register_functions(
    {
        linear.Linear: lambda op, *tensors: F.linear(*tensors),
        linear.Bilinear: lambda op, *tensors: F.bilinear(*tensors),
    },
    as_lowering=False,
)


@lower.register
def _(op: linear.Linear, *inputs: Shape) -> nn.Module:
    if op.parameters(*inputs):
        return nn.Linear(inputs[0][-1], **op.values())
    return FunctionModule(op)


@lower.register
def _(op: linear.Bilinear, *inputs: Shape) -> nn.Module:
    if op.parameters(*inputs):
        return nn.Bilinear(inputs[0][-1], inputs[1][-1], **op.values())
    return FunctionModule(op)
