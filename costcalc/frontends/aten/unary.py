"""Translators of functions of one tensor, element by element; in-place forms make a new tensor."""

from __future__ import annotations

from typing import Any

from costcalc.frontends.aten.base import aten_op, overload_names, scalar_argument
from costcalc.frontends.call import Call, SingleOutputTranslator, Value
from costcalc.ir.ops import OPS
from costcalc.ir.ops.unary import UNARY_FUNCTIONS


def unary(name: str) -> SingleOutputTranslator:
    """Return the translator to an op without fields."""
    return lambda call: call.layer(OPS[name](), call["self"])


for _name in UNARY_FUNCTIONS:
    aten_op(*overload_names(_name))(unary(_name))
for _alias, _name in {
    "negative": "neg",
    "absolute": "abs",
    "arcsin": "asin",
    "arccos": "acos",
    "arctan": "atan",
    "fix": "trunc",
    "sgn": "sign",
}.items():
    aten_op(*overload_names(_alias))(unary(_name))
for _name in ("expm1", "erf", "erfc", "erfinv", "exp2", "log1p", "digamma"):
    aten_op(f"special_{_name}.default")(unary(_name))
aten_op("special_gammaln.default")(unary("lgamma"))


@aten_op(*overload_names("round", "default", "decimals"))
def _(call: Call) -> Value:
    return call.layer(OPS["round"](decimals=call.arguments.get("decimals", 0)), call["self"])


def _clamp(call: Call, low: Any, high: Any) -> Value:
    """Translate to `clamp` for bounds that are numbers, and to `maximum` and `minimum` for tensors."""
    value: Value = call["self"]
    if any(isinstance(bound, Value) for bound in (low, high)):
        for name, bound in (("maximum", low), ("minimum", high)):
            if bound is not None:
                value = call.layer(OPS[name](), value, bound)
        return value
    if low is None and high is None:
        return value
    return call.layer(OPS["clamp"](min=low, max=high), value)


def _bound(call: Call, name: str) -> Any:
    return call[name] if isinstance(call[name], Value) else scalar_argument(call, name)


@aten_op(*overload_names("clamp", "default", "Tensor"), *overload_names("clip", "default", "Tensor"))
def _(call: Call) -> Value:
    return _clamp(call, _bound(call, "min"), _bound(call, "max"))


@aten_op(*overload_names("clamp_min", "default", "Tensor"))
def _(call: Call) -> Value:
    return _clamp(call, _bound(call, "min"), None)


@aten_op(*overload_names("clamp_max", "default", "Tensor"))
def _(call: Call) -> Value:
    return _clamp(call, None, _bound(call, "max"))


@aten_op(*overload_names("nan_to_num"))
def _(call: Call) -> Value:
    fields = {name: scalar_argument(call, name) for name in ("nan", "posinf", "neginf")}
    return call.layer(OPS["nan_to_num"](**fields), call["self"])
