"""ATen's normalisations, and dropout."""

from __future__ import annotations

from collections.abc import Mapping

from costcalc.frontends.aten import aten
from costcalc.frontends.call import Call, UnsupportedOp, Value
from costcalc.ir.op import Op
from costcalc.ir.ops import OPS


def _normalize(call: Call, op: Op, bias: bool = True) -> Value:
    """The layer; `bias`: that op has one wherever it has a weight, so that a weight alone must be a further input."""
    weight, shift = call["weight"], call["bias"]
    if weight is None and shift is not None:
        raise UnsupportedOp("a normalisation with a bias and no weight")
    if weight is not None and shift is None and bias:
        return call.layer(op, call["input"], weight)
    return call.layer(op, call["input"], weight=weight, bias=shift)


def _name_for_rank(name: str, call: Call) -> str:
    axes: Mapping[int, int] = {2: 1, 3: 1, 4: 2, 5: 3}
    rank = len(call.shape)
    if rank not in axes:
        raise UnsupportedOp(f"a {name} of {rank} dimensions")
    return f"{name}{axes[rank]}d"


def _batch_norm_fields(call: Call) -> dict[str, object]:
    return {
        "eps": call["eps"],
        "momentum": min(max(call["momentum"], 0.0), 1.0),
        "affine": call["weight"] is not None,
        "track_running_stats": call["running_mean"] is not None,
    }


@aten("batch_norm.default")
def _(call: Call) -> Value:
    return _normalize(call, OPS[_name_for_rank("batch_norm", call)](**_batch_norm_fields(call)))


@aten("instance_norm.default")
def _(call: Call) -> Value:
    return _normalize(call, OPS[_name_for_rank("instance_norm", call)](**_batch_norm_fields(call)))


@aten("layer_norm.default")
def _(call: Call) -> Value:
    weight, bias = call["weight"], call["bias"]
    op = OPS["layer_norm"](
        tuple(call["normalized_shape"]), call["eps"], weight is not None, weight is not None and bias is not None
    )
    return _normalize(call, op, bias=False)


@aten("rms_norm.default")
def _(call: Call) -> Value:
    weight = call["weight"]
    op = OPS["rms_norm"](tuple(call["normalized_shape"]), call["eps"], weight is not None)
    return call.layer(op, call["input"], weight=weight)


@aten("group_norm.default")
def _(call: Call) -> Value:
    return _normalize(call, OPS["group_norm"](call["num_groups"], call["eps"], call["weight"] is not None))


_DROPOUTS = ("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout")


@aten(*(f"{name}.default" for name in _DROPOUTS))
def _(call: Call) -> Value:
    return call.layer(OPS[call.name.removesuffix(".default")](call["p"]), call["input"])


@aten(*(f"{name}_.default" for name in _DROPOUTS))
def _(call: Call) -> Value:
    return call.layer(OPS[call.name.removesuffix("_.default")](call["p"], inplace=True), call["self"])


@aten("native_dropout.default")
def _(call: Call) -> tuple[Value, None]:
    return call.layer(OPS["dropout"](call["p"]), call["input"]), None
