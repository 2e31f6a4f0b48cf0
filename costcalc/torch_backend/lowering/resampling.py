"""Lowering of interpolation, pixel shuffles, sampling, and sliding blocks."""

from __future__ import annotations

from torch import nn
from torch.nn import functional as F

from costcalc.ir.ops import resampling
from costcalc.torch_backend.lowering.base import register_functions, register_modules

register_modules(
    {
        resampling.PixelShuffle: nn.PixelShuffle,
        resampling.PixelUnshuffle: nn.PixelUnshuffle,
        resampling.ChannelShuffle: nn.ChannelShuffle,
        resampling.Unfold: nn.Unfold,
        resampling.Fold: nn.Fold,
    }
)
register_functions(
    {
        resampling.Interpolate: lambda op, x: F.interpolate(
            x, op.size, op.scale_factor, op.mode, op.align_corners, antialias=op.antialias
        ),
        resampling.GridSample: lambda op, x, grid: F.grid_sample(x, grid, op.mode, op.padding_mode, op.align_corners),
    }
)
