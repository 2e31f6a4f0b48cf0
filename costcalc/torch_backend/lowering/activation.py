"""Lowering of activation functions."""

from __future__ import annotations

from torch import nn

from costcalc.ir.ops import activation
from costcalc.torch_backend.lowering.base import register_modules

register_modules(
    {
        activation.Relu: nn.ReLU,
        activation.Relu6: nn.ReLU6,
        activation.LeakyRelu: nn.LeakyReLU,
        activation.Prelu: nn.PReLU,
        activation.Elu: nn.ELU,
        activation.Gelu: nn.GELU,
        activation.Silu: nn.SiLU,
        activation.Mish: nn.Mish,
        activation.Sigmoid: nn.Sigmoid,
        activation.Tanh: nn.Tanh,
        activation.Softplus: nn.Softplus,
        activation.Hardswish: nn.Hardswish,
        activation.Hardsigmoid: nn.Hardsigmoid,
        activation.Softmax: nn.Softmax,
        activation.Softmin: nn.Softmin,
        activation.LogSoftmax: nn.LogSoftmax,
        activation.LogSigmoid: nn.LogSigmoid,
        activation.Hardtanh: nn.Hardtanh,
        activation.Threshold: nn.Threshold,
        activation.Celu: nn.CELU,
        activation.Selu: nn.SELU,
        activation.Rrelu: nn.RReLU,
        activation.Softsign: nn.Softsign,
        activation.Tanhshrink: nn.Tanhshrink,
        activation.Softshrink: nn.Softshrink,
        activation.Hardshrink: nn.Hardshrink,
        activation.Glu: nn.GLU,
    }
)
