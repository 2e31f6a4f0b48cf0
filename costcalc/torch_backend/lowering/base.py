"""Each op as the torch module that computes it.

A lowering is a function of the op and the shapes of its inputs, registered for the op's class. What torch.nn has is
used as it is; what it lacks is a small module here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import reduce, singledispatch
from typing import Any

import torch
from torch import Tensor, nn

from costcalc.core.errors import CostcalcError
from costcalc.core.sizes import Shape
from costcalc.ir.op import Op
from costcalc.ir.ops import activation, copies, shape, tensors, unknown


@singledispatch
def lower(op: Op, *inputs: Shape) -> nn.Module:
    """The module that computes `op`, freshly initialised as torch.nn does, for inputs of these shapes.

    Input shapes fix what parameters depend on (channels, features); batch and plane stay free. Raises CostcalcError for
    an op without a lowering.
    """
    raise CostcalcError(f"{op.name} has no torch lowering")


# An op is spelt as torch.nn spells the same module: its fields are the module's arguments.
_MODULE_OF: dict[type[Op], Callable[..., nn.Module]] = {
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
    shape.Flatten: nn.Flatten,
}


def argument_values(op: Op) -> dict[str, Any]:
    """The fields of an op, by name."""
    return {field.name: getattr(op, field.name) for field in fields(op)}


def register_modules(modules: Mapping[type[Op], Callable[..., nn.Module]]) -> None:
    """Have each op computed by a module whose arguments are spelt as the op's fields."""
    for kind, module in modules.items():
        lower.register(kind, lambda op, *inputs, module=module: module(**argument_values(op)))


register_modules(_MODULE_OF)


class ConcatModule(nn.Module):
    """Tensors one after another along `dim`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, *tensors: Tensor) -> Tensor:
        """One tensor as long as all of them."""
        return torch.cat(tensors, self.dim)


@lower.register
def _(op: copies.Concat, *inputs: Shape) -> nn.Module:
    return ConcatModule(op.dim)


@lower.register
def _(op: copies.Pad, *inputs: Shape) -> nn.Module:
    if op.mode == "constant":
        return nn.ConstantPad2d(op.padding, op.value)
    modes = {"reflect": nn.ReflectionPad2d, "replicate": nn.ReplicationPad2d, "circular": nn.CircularPad2d}
    return modes[op.mode](op.padding)


class PermuteModule(nn.Module):
    """Dimensions in another order."""

    def __init__(self, dims: tuple[int, ...]) -> None:
        super().__init__()
        self.dims = dims

    def forward(self, x: Tensor) -> Tensor:
        """A view."""
        return x.permute(self.dims)


@lower.register
def _(op: shape.Permute, *inputs: Shape) -> nn.Module:
    return PermuteModule(op.dims)


class ZeroPadShortcutModule(nn.Module):
    """Every stride-th position, then zeros for the channels that are missing."""

    def __init__(self, out_channels: int, stride: tuple[int, int]) -> None:
        super().__init__()
        self.out_channels, self.stride = out_channels, stride

    def forward(self, x: Tensor) -> Tensor:
        """A tensor of out_channels channels."""
        seen = x
        for dim, stride in enumerate(self.stride, start=2):
            if stride > 1:  # indexing would slice the other dimensions, too, in torch 2.6
                seen = torch.ops.aten.slice(seen, dim, None, None, stride)
        # in order in memory: what pad would make of another order depends on the size
        return nn.functional.pad(seen.contiguous(), (0, 0, 0, 0, 0, self.out_channels - x.shape[1]))


@lower.register
def _(op: copies.ZeroPadShortcut, *inputs: Shape) -> nn.Module:
    return ZeroPadShortcutModule(op.out_channels, op.stride)


class ParameterModule(nn.Module):
    """A parameter as a tensor."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(shape))

    def forward(self) -> Tensor:
        """The parameter itself."""
        return self.weight


@lower.register
def _(op: tensors.Parameter, *inputs: Shape) -> nn.Module:
    return ParameterModule(op.shape)


class BufferModule(nn.Module):
    """A buffer as a tensor."""

    value: Tensor

    def __init__(self, shape: Shape, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("value", torch.zeros(shape, dtype=dtype))

    def forward(self) -> Tensor:
        """The buffer itself."""
        return self.value


@lower.register
def _(op: tensors.Buffer, *inputs: Shape) -> nn.Module:
    return BufferModule(op.shape, torch_element_type(op.dtype))


def torch_element_type(holds: str) -> torch.dtype:
    """The dtype of what a tensor holds; that in which the network computes, for `float`."""
    return torch.get_default_dtype() if holds == "float" else getattr(torch, holds)


class ResultModule(nn.Module):
    """One of several results."""

    def __init__(self, index: int) -> None:
        super().__init__()
        self.index = index

    def forward(self, results: tuple[Tensor, ...]) -> Tensor:
        """That of the index."""
        return results[self.index]


@lower.register
def _(op: tensors.Result, *inputs: Shape) -> nn.Module:
    return ResultModule(op.index)


class UnknownModule(nn.Module):
    """In place of a layer nobody knows: a tensor of the right shape that depends on the inputs, and means nothing."""

    def __init__(self, shape: Shape, dtype: torch.dtype, batched: bool) -> None:
        super().__init__()
        self.shape, self.dtype, self.batched = shape, dtype, batched

    def forward(self, *tensors: Tensor) -> Tensor:
        """The mean of the inputs, everywhere; for as large a batch as theirs, if it is `batched`."""
        means = [tensor.mean() if tensor.is_floating_point() else 0 * tensor.sum() for tensor in tensors]
        mean = reduce(torch.add, means) if means else torch.zeros(())
        shape = (tensors[0].shape[0], *self.shape[1:]) if self.batched else self.shape
        return mean.expand(shape).clone().to(self.dtype)


@lower.register
def _(op: unknown.Unknown, *inputs: Shape) -> nn.Module:
    return UnknownModule(op.output(*inputs), torch_element_type(op.dtype), op.sizes is None)
