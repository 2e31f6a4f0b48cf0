"""Convolutions and products as torch computes them: modules with their own weights, or functions of given ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from costcalc.core.sizes import Shape
from costcalc.ir.op import Op
from costcalc.ir.ops import conv, embedding, linear, matmul
from costcalc.torch_backend.lowering.base import argument_values, lower


class KeywordFunctionModule(nn.Module):
    """A function of tensors that has the fields of an op as attributes, and takes those that are named `passed`."""

    def __init__(self, function: Callable[..., Tensor], op: Op, *passed: str) -> None:
        super().__init__()
        self.function, self.keywords = function, passed
        for name, value in argument_values(op).items():
            setattr(self, name, value if name != "bias" else value or None)

    def forward(self, *tensors: Tensor) -> Tensor:
        """What the function makes of them."""
        result: Tensor = self.function(*tensors, **{name: getattr(self, name) for name in self.keywords})
        return result


_CONV_KEYWORDS = ("stride", "padding", "dilation", "groups")
# With its own weights a module, which is told the features of its input; with given ones a function.
_WEIGHTED_OPS: dict[
    type[Op], tuple[Callable[..., nn.Module], tuple[int, ...], Callable[..., Tensor], tuple[str, ...]]
] = {
    conv.Conv1d: (nn.Conv1d, (1,), F.conv1d, _CONV_KEYWORDS),
    conv.Conv2d: (nn.Conv2d, (1,), F.conv2d, _CONV_KEYWORDS),
    conv.Conv3d: (nn.Conv3d, (1,), F.conv3d, _CONV_KEYWORDS),
    conv.ConvTranspose1d: (nn.ConvTranspose1d, (1,), F.conv_transpose1d, (*_CONV_KEYWORDS, "output_padding")),
    conv.ConvTranspose2d: (nn.ConvTranspose2d, (1,), F.conv_transpose2d, (*_CONV_KEYWORDS, "output_padding")),
    conv.ConvTranspose3d: (nn.ConvTranspose3d, (1,), F.conv_transpose3d, (*_CONV_KEYWORDS, "output_padding")),
    linear.Linear: (nn.Linear, (-1,), F.linear, ()),
    linear.Bilinear: (nn.Bilinear, (-1, -1), F.bilinear, ()),
    embedding.Embedding: (nn.Embedding, (), F.embedding, ()),
}


@lower.register
def _(op: embedding.EmbeddingBag, *inputs: Shape) -> nn.Module:
    if op.parameters(*inputs):
        return EmbeddingBagModule(**argument_values(op))
    return EmbeddingBagOfTable(F.embedding_bag, op, "mode", "include_last_offset")


# Where each row of the indices is a bag, there are no offsets to include the last of. Torch before release 2.10 then
# loses the last bag, or crashes, unless it is told so.
class EmbeddingBagModule(nn.EmbeddingBag):
    """Bags of rows of its own table."""

    def forward(self, indices: Tensor, offsets: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """The bags are the rows of the indices or, with offsets, begin at these."""
        last = self.include_last_offset and offsets is not None
        return F.embedding_bag(indices, self.weight, offsets, mode=self.mode, include_last_offset=last)


class EmbeddingBagOfTable(KeywordFunctionModule):
    """Bags of rows of a table that is the last input."""

    mode: str
    include_last_offset: bool

    def forward(self, *tensors: Tensor) -> Tensor:
        """The table comes after the indices and, if there are any, the bags' offsets."""
        indices, *offsets, weight = tensors
        last = self.include_last_offset and bool(offsets)
        result: Tensor = self.function(indices, weight, *offsets, mode=self.mode, include_last_offset=last)
        return result


@lower.register(conv.WeightedOp)
@lower.register(embedding.Embedding)
def _(op: Op, *inputs: Shape) -> nn.Module:
    kind = next(kind for kind in type(op).__mro__ if kind in _WEIGHTED_OPS)
    module, features, function, passed = _WEIGHTED_OPS[kind]
    if op.parameters(*inputs):
        return module(*[inputs[i][dim] for i, dim in enumerate(features)], **argument_values(op))
    return KeywordFunctionModule(function, op, *passed)


@lower.register
def _(op: matmul.Matmul, *inputs: Shape) -> nn.Module:
    return KeywordFunctionModule(torch.matmul, op)


@lower.register
def _(op: matmul.Cdist, *inputs: Shape) -> nn.Module:
    return CdistModule(torch.cdist, op)


class CdistModule(KeywordFunctionModule):
    """Distances, whose norm's order may be "inf"."""

    p: float | str

    def forward(self, *tensors: Tensor) -> Tensor:
        """Those of rows of two tensors, by no matrix product."""
        how = "donot_use_mm_for_euclid_dist"
        result: Tensor = self.function(*tensors, p=float(self.p), compute_mode=how)
        return result


@lower.register
def _(op: matmul.Addmm, *inputs: Shape) -> nn.Module:
    return KeywordFunctionModule(torch.addmm, op, "beta", "alpha")


@lower.register
def _(op: matmul.Baddbmm, *inputs: Shape) -> nn.Module:
    return KeywordFunctionModule(torch.baddbmm, op, "beta", "alpha")


class EinsumModule(KeywordFunctionModule):
    """A sum of products by index."""

    equation: str

    def forward(self, *tensors: Tensor) -> Tensor:
        """That of one or two tensors."""
        result: Tensor = self.function(self.equation, *tensors)
        return result


@lower.register
def _(op: matmul.Einsum, *inputs: Shape) -> nn.Module:
    return EinsumModule(torch.einsum, op)


@lower.register
def _(op: matmul.ScaledDotProductAttention, *inputs: Shape) -> nn.Module:
    return KeywordFunctionModule(F.scaled_dot_product_attention, op, *argument_values(op))
