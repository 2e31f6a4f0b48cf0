"""Translator of scaled dot-product attention."""

from __future__ import annotations

from costcalc.frontends.aten.base import aten_op
from costcalc.frontends.call import Call, UnsupportedOp, Value
from costcalc.ir.ops.attention import ScaledDotProductAttention


@aten_op("scaled_dot_product_attention.default")
def _(call: Call) -> Value:
    scale = call["scale"]
    if scale is not None and not isinstance(scale, (int, float)):
        raise UnsupportedOp("scale is a symbolic size")
    op = ScaledDotProductAttention(
        dropout_p=float(call["dropout_p"]),
        is_causal=bool(call["is_causal"]),
        scale=None if scale is None else float(scale),
        enable_gqa=bool(call["enable_gqa"]),
    )
    operands: list[Value | None] = [call["query"], call["key"], call["value"], call["attn_mask"]]
    return call.layer(op, *[operand for operand in operands if operand is not None])
