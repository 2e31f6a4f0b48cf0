"""Translators of dropout."""

from __future__ import annotations

from costcalc.frontends.aten.base import aten_op, overload_names
from costcalc.frontends.call import Call, Value
from costcalc.ir.ops import OPS

_DROPOUTS = ("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout")


@aten_op(*(name for operator in _DROPOUTS for name in overload_names(operator)))
def _(call: Call) -> Value:
    x = call["self" if call.is_in_place else "input"]
    return call.layer(OPS[call.operator](call["p"], inplace=call.is_in_place), x)


@aten_op("native_dropout.default")
def _(call: Call) -> tuple[Value, None]:
    return call.layer(OPS["dropout"](call["p"]), call["input"]), None
