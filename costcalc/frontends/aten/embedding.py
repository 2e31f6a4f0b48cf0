"""Translators of embeddings and bags of embeddings."""

from __future__ import annotations

from costcalc.frontends.aten.base import aten_op
from costcalc.frontends.call import Call, UnsupportedOp, Value
from costcalc.ir.ops.embedding import Embedding, EmbeddingBag


@aten_op("embedding.default")
def _(call: Call) -> Value:
    weight = call["weight"]
    return call.layer(Embedding(*weight.shape), call["indices"], weight=weight)


@aten_op("embedding_bag.default", "embedding_bag.padding_idx")
def _(call: Call) -> list[Value | None]:
    """Translate the first result; the others, which torch saves for backward, have no layer."""
    if call["per_sample_weights"] is not None:
        raise UnsupportedOp("per_sample_weights are not modelled")
    weight = call["weight"]
    rows, width = weight.shape
    op = EmbeddingBag(
        rows,
        width,
        mode=("sum", "mean", "max")[call["mode"]],
        include_last_offset=bool(call["include_last_offset"]),
    )
    return [call.layer(op, call["indices"], call["offsets"], weight=weight), *[None] * (len(call.results) - 1)]
