"""Lowering of embeddings: modules with their own table, or functions of a table that is an input."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from costcalc.core.sizes import Shape
from costcalc.ir.ops import embedding
from costcalc.torch_backend.lowering.base import FunctionModule, lower, register_functions


@lower.register
def _(op: embedding.Embedding, *inputs: Shape) -> nn.Module:
    if op.parameters(*inputs):
        return nn.Embedding(**op.values())
    return FunctionModule(op)


@lower.register
def _(op: embedding.EmbeddingBag, *inputs: Shape) -> nn.Module:
    if op.parameters(*inputs):
        return EmbeddingBagModule(**op.values())
    return FunctionModule(op)


# Where each row of the indices is a bag, there are no offsets whose last could be included. Before release 2.10, torch
# then loses the last bag, or crashes, unless include_last_offset is false.
class EmbeddingBagModule(nn.EmbeddingBag):
    """torch.nn.EmbeddingBag that ignores `include_last_offset` where there are no offsets."""

    def forward(self, indices: Tensor, offsets: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Look up bags: the rows of `indices` or, with offsets, the runs that begin there."""
        last = self.include_last_offset and offsets is not None
        return F.embedding_bag(indices, self.weight, offsets, mode=self.mode, include_last_offset=last)


def _embedding_bag(op: Any, *tensors: Tensor) -> Tensor:
    """The same for a table that is the last input, after the indices and the offsets, if there are any."""
    indices, table, offsets = tensors[0], tensors[-1], tensors[1] if len(tensors) == 3 else None
    last = op.include_last_offset and offsets is not None
    return F.embedding_bag(indices, table, offsets, mode=op.mode, include_last_offset=last)


register_functions(
    {
        embedding.Embedding: lambda op, *tensors: F.embedding(*tensors),
        embedding.EmbeddingBag: _embedding_bag,
    },
    as_lowering=False,
)
