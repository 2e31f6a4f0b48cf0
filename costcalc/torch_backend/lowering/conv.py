"""Lowering of convolutions: modules with their own weights, or functions of weights that are inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from costcalc.core.sizes import Shape
from costcalc.ir.op import Op
from costcalc.ir.ops import conv
from costcalc.torch_backend.lowering.base import FunctionModule, lower, register_functions

_KEYWORDS = ("stride", "padding", "output_padding", "dilation", "groups")
_CONVOLUTIONS: dict[type[Op], tuple[Callable[..., nn.Module], Callable[..., Tensor]]] = {
    conv.Conv1d: (nn.Conv1d, F.conv1d),
    conv.Conv2d: (nn.Conv2d, F.conv2d),
    conv.Conv3d: (nn.Conv3d, F.conv3d),
    conv.ConvTranspose1d: (nn.ConvTranspose1d, F.conv_transpose1d),
    conv.ConvTranspose2d: (nn.ConvTranspose2d, F.conv_transpose2d),
    conv.ConvTranspose3d: (nn.ConvTranspose3d, F.conv_transpose3d),
}


def _convolve(op: Any, *tensors: Tensor) -> Tensor:
    """Convolve with weights that are inputs."""
    _, function = _convolution(op)
    keywords = {name: getattr(op, name) for name in _KEYWORDS if name in op.argument_specs}
    return function(*tensors, **keywords)


def _convolution(op: Op) -> tuple[Callable[..., nn.Module], Callable[..., Tensor]]:
    return next(_CONVOLUTIONS[kind] for kind in type(op).__mro__ if kind in _CONVOLUTIONS)


def _lower_convolution(op: Op, *inputs: Shape) -> nn.Module:
    if not op.parameters(*inputs):
        return FunctionModule(op)
    module, _ = _convolution(op)
    return module(inputs[0][1], **op.values())


register_functions(dict.fromkeys(_CONVOLUTIONS, _convolve), as_lowering=False)
for _kind in _CONVOLUTIONS:
    lower.register(_kind, _lower_convolution)
