"""Lowering of concatenation, padding and other copies of elements."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from costcalc.core.sizes import Shape
from costcalc.ir.ops import copies
from costcalc.torch_backend.lowering.base import MEMORY_FORMATS, lower, register_functions, torch_element_type


@lower.register
def _(op: copies.Pad, *inputs: Shape) -> nn.Module:
    if op.mode == "constant":
        return nn.ConstantPad2d(op.padding, op.value)
    modes = {"reflect": nn.ReflectionPad2d, "replicate": nn.ReplicationPad2d, "circular": nn.CircularPad2d}
    return modes[op.mode](op.padding)


def _zero_pad_shortcut(op: Any, x: Tensor) -> Tensor:
    """Return every stride-th position, followed by zeros for the missing channels."""
    strided = x
    for dim, stride in enumerate(op.stride, start=2):
        if stride > 1:  # indexing would slice the other dimensions, too, in torch 2.6
            strided = torch.ops.aten.slice(strided, dim, None, None, stride)
    # contiguous: the layout that pad gives to another one depends on the size
    return F.pad(strided.contiguous(), (0, 0, 0, 0, 0, op.out_channels - x.shape[1]))


def _pad(op: Any, x: Tensor) -> Tensor:
    return F.pad(x, op.padding, op.mode, op.value if op.mode == "constant" else None)


register_functions(
    {
        copies.Concat: lambda op, *tensors: torch.cat(tensors, op.dim),
        copies.ZeroPadShortcut: _zero_pad_shortcut,
        copies.Clone: lambda op, x: x.clone(memory_format=MEMORY_FORMATS[op.memory_format]),
        copies.Cast: lambda op, x: x.to(torch_element_type(op.dtype), copy=True),
        copies.Repeat: lambda op, x: x.repeat(op.repeats),
        copies.RepeatInterleave: lambda op, x: x.repeat_interleave(op.repeats, op.dim),
        copies.Stack: lambda op, *tensors: torch.stack(tensors, op.dim),
        copies.Flip: lambda op, x: x.flip(op.dims),
        copies.Roll: lambda op, x: x.roll(op.shifts, op.dims),
        copies.PadNd: _pad,
        copies.Tril: lambda op, x: x.tril(op.diagonal),
        copies.Triu: lambda op, x: x.triu(op.diagonal),
        copies.Fill: lambda op, x: x.fill_(op.value),
        copies.Copy: lambda op, x, source: x.copy_(source),
    }
)
