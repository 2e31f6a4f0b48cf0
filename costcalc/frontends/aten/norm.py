"""Translators of normalizations."""

from __future__ import annotations

from costcalc.frontends.aten.base import aten_op
from costcalc.frontends.call import Call, UnsupportedOp, Value
from costcalc.ir.op import Op
from costcalc.ir.ops import OPS


def _normalize(call: Call, op: Op, weight_implies_bias: bool = True) -> Value:
    """Add a normalization layer.

    With `weight_implies_bias`, a layer of `op` that has a weight has a bias too: a weight without a bias becomes an
    input of the layer.
    """
    weight, bias = call["weight"], call["bias"]
    if weight is None and bias is not None:
        raise UnsupportedOp("a bias without a weight is not modelled")
    if weight is not None and bias is None and weight_implies_bias:
        return call.layer(op, call["input"], weight)
    return call.layer(op, call["input"], weight=weight, bias=bias)


_SPATIAL_AXES = {2: 1, 3: 1, 4: 2, 5: 3}  # by rank; the ops of one axis take inputs without an axis, too


def _name_for_rank(call: Call) -> str:
    rank = len(call.shape)
    if rank not in _SPATIAL_AXES:
        raise UnsupportedOp(f"an input of {rank} dimensions is not modelled")
    return f"{call.operator}{_SPATIAL_AXES[rank]}d"


@aten_op("batch_norm.default", "instance_norm.default")
def _(call: Call) -> Value:
    fields = {
        "eps": call["eps"],
        "momentum": min(max(call["momentum"], 0.0), 1.0),
        "affine": call["weight"] is not None,
        "track_running_stats": call["running_mean"] is not None,
    }
    return _normalize(call, OPS[_name_for_rank(call)](**fields))


@aten_op("layer_norm.default")
def _(call: Call) -> Value:
    weight, bias = call["weight"], call["bias"]
    op = OPS["layer_norm"](
        tuple(call["normalized_shape"]), call["eps"], weight is not None, weight is not None and bias is not None
    )
    return _normalize(call, op, weight_implies_bias=False)


@aten_op("rms_norm.default")
def _(call: Call) -> Value:
    weight = call["weight"]
    op = OPS["rms_norm"](tuple(call["normalized_shape"]), call["eps"], weight is not None)
    return call.layer(op, call["input"], weight=weight)


@aten_op("group_norm.default")
def _(call: Call) -> Value:
    return _normalize(call, OPS["group_norm"](call["num_groups"], call["eps"], call["weight"] is not None))
