"""Translators of activation functions; an op with a field `inplace` is in place if the call is."""

from __future__ import annotations

from costcalc.frontends.aten.base import aten_op, overload_names
from costcalc.frontends.aten.unary import unary
from costcalc.frontends.call import Call, SingleOutputTranslator, UnsupportedOp, Value
from costcalc.ir.ops import OPS


def _activation(name: str, *fields: str) -> SingleOutputTranslator:
    """Return the translator to an op whose `fields` are arguments of the call."""

    def translate(call: Call) -> Value:
        values = {field: call[field] for field in fields}
        if "inplace" in OPS[name].argument_specs:
            values["inplace"] = call.is_in_place
        return call.layer(OPS[name](**values), call["self"])

    return translate


for _name in ("sigmoid", "tanh", "log_sigmoid"):
    aten_op(*overload_names(_name))(unary(_name))

_FIELDS: dict[str, tuple[str, ...]] = {
    "relu": (),
    "relu6": (),
    "silu": (),
    "mish": (),
    "hardswish": (),
    "hardsigmoid": (),
    "selu": (),
    "leaky_relu": ("negative_slope",),
    "gelu": ("approximate",),
    "softplus": ("beta", "threshold"),
    "celu": ("alpha",),
    "threshold": ("threshold", "value"),
    "softshrink": ("lambd",),
    "hardshrink": ("lambd",),
    "rrelu": ("lower", "upper"),
    "glu": ("dim",),
}
for _name, _fields in _FIELDS.items():
    aten_op(*overload_names(_name))(_activation(_name, *_fields))


@aten_op(*overload_names("elu"))
def _(call: Call) -> Value:
    if call["scale"] != 1 or call["input_scale"] != 1:
        raise UnsupportedOp("scale and input_scale are not modelled")
    return _activation("elu", "alpha")(call)


@aten_op(*overload_names("hardtanh"))
def _(call: Call) -> Value:
    """Translate to `relu6` for the range 0 to 6: torch.nn.ReLU6 calls hardtanh."""
    if (call["min_val"], call["max_val"]) == (0, 6):
        return _activation("relu6")(call)
    return _activation("hardtanh", "min_val", "max_val")(call)


@aten_op("prelu.default", "_prelu_kernel.default")
def _(call: Call) -> Value:
    weight: Value = call["weight"]
    return call.layer(OPS["prelu"](weight.shape[0]), call["self"], weight=weight)


@aten_op("softmax.int", "_softmax.default", "_safe_softmax.default")
def _(call: Call) -> Value:
    return call.layer(OPS["softmax"](dim=call["dim"]), call["self"])


@aten_op("log_softmax.int", "_log_softmax.default")
def _(call: Call) -> Value:
    return call.layer(OPS["log_softmax"](dim=call["dim"]), call["self"])
