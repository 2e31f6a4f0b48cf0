"""Lowering of pools."""

from __future__ import annotations

from torch import nn

from costcalc.core.sizes import Shape
from costcalc.ir.ops import pool
from costcalc.torch_backend.lowering.base import lower, register_modules

register_modules(
    {
        pool.MaxPool1d: nn.MaxPool1d,
        pool.MaxPool2d: nn.MaxPool2d,
        pool.MaxPool3d: nn.MaxPool3d,
        pool.AvgPool1d: nn.AvgPool1d,
        pool.AvgPool2d: nn.AvgPool2d,
        pool.AvgPool3d: nn.AvgPool3d,
        pool.AdaptiveAvgPool1d: nn.AdaptiveAvgPool1d,
        pool.AdaptiveAvgPool2d: nn.AdaptiveAvgPool2d,
        pool.AdaptiveAvgPool3d: nn.AdaptiveAvgPool3d,
        pool.AdaptiveMaxPool1d: nn.AdaptiveMaxPool1d,
        pool.AdaptiveMaxPool2d: nn.AdaptiveMaxPool2d,
        pool.AdaptiveMaxPool3d: nn.AdaptiveMaxPool3d,
    }
)


@lower.register
def _(op: pool.GlobalAvgPool2d, *inputs: Shape) -> nn.Module:
    return nn.AdaptiveAvgPool2d(op.output_size)
