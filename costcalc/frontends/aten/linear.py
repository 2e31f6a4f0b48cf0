"""Translators of linear and bilinear layers."""

from __future__ import annotations

from costcalc.frontends.aten.base import aten_op
from costcalc.frontends.call import Call, UnsupportedOp, Value
from costcalc.ir.ops.linear import Bilinear, Linear


@aten_op("linear.default")
def _(call: Call) -> Value:
    weight, bias = call["weight"], call["bias"]
    if len(weight.shape) != 2:
        raise UnsupportedOp(f"the weight has {len(weight.shape)} dimensions instead of 2")
    op = Linear(weight.shape[0], bias=bias is not None)
    return call.layer(op, call["input"], weight=weight, bias=bias)


@aten_op("bilinear.default")
def _(call: Call) -> Value:
    weight, bias = call["weight"], call["bias"]
    op = Bilinear(weight.shape[0], bias=bias is not None)
    return call.layer(op, call["input1"], call["input2"], weight=weight, bias=bias)
