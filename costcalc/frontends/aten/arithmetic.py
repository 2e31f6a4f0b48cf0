"""Translators of arithmetic on two or three tensors.

In-place forms make a new tensor: `x += y` is the layer `add`, as in the specs.
"""

from __future__ import annotations

from typing import Any

from costcalc.frontends.aten.base import aten_op, overload_names, scalar_argument
from costcalc.frontends.call import Call, SingleOutputTranslator, UnsupportedOp, Value
from costcalc.ir.ops import OPS

_REFLECTED = {"add": "add", "mul": "mul", "sub": "rsub", "rsub": "sub"}  # the op for a number as the first operand


def binary(name: str, *fields: str, **constants: Any) -> SingleOutputTranslator:
    """Return the translator to an op on two tensors, or on a tensor and a number.

    `fields` of the op are arguments of the call; `constants` are fields with fixed values.
    """

    def translate(call: Call) -> Value:
        values = {field: scalar_argument(call, field) for field in fields} | constants
        first, second = call["self"], call["other"]
        if not isinstance(first, Value):
            if name not in _REFLECTED:
                raise UnsupportedOp("the first operand is a number")
            return call.layer(OPS[_REFLECTED[name]](other=scalar_argument(call, "self"), **values), second)
        if isinstance(second, Value):
            return call.layer(OPS[name](**values), first, second)
        return call.layer(OPS[name](other=scalar_argument(call, "other"), **values), first)

    return translate


for _name in ("add", "sub", "rsub"):
    aten_op(*overload_names(_name, "Tensor", "Scalar"))(binary(_name, "alpha"))
aten_op(*overload_names("subtract", "Tensor", "Scalar"))(binary("sub", "alpha"))
for _name in ("mul", "remainder", "fmod", "div"):
    aten_op(*overload_names(_name, "Tensor", "Scalar"))(binary(_name))
for _alias, _name in {"multiply": "mul", "divide": "div", "true_divide": "div"}.items():
    aten_op(*overload_names(_alias, "Tensor", "Scalar"))(binary(_name))
aten_op(*overload_names("floor_divide", "default", "Scalar", "Tensor"))(binary("floor_divide"))
aten_op(*overload_names("atan2"), *overload_names("arctan2"))(binary("atan2"))
aten_op("maximum.default", "max.other")(binary("maximum"))
aten_op("minimum.default", "min.other")(binary("minimum"))


@aten_op(*[name for operator in ("div", "divide") for name in overload_names(operator, "Tensor_mode", "Scalar_mode")])
def _(call: Call) -> Value:
    return binary("div", rounding_mode=call["rounding_mode"])(call)


@aten_op(*overload_names("pow", "Tensor_Tensor", "Tensor_Scalar", "Scalar", "Tensor"))
def _(call: Call) -> Value:
    base, exponent = call["self"], call["exponent"]
    if not isinstance(base, Value):
        return call.layer(OPS["pow"](base=scalar_argument(call, "self")), exponent)
    if not isinstance(exponent, Value):
        return call.layer(OPS["pow"](exponent=scalar_argument(call, "exponent")), base)
    return call.layer(OPS["pow"](), base, exponent)


@aten_op(*overload_names("lerp", "Scalar", "Tensor"))
def _(call: Call) -> Value:
    weight = call["weight"]
    if isinstance(weight, Value):
        return call.layer(OPS["lerp"](), call["self"], call["end"], weight)
    return call.layer(OPS["lerp"](weight=scalar_argument(call, "weight")), call["self"], call["end"])


@aten_op(*overload_names("addcmul"), *overload_names("addcdiv"))
def _(call: Call) -> Value:
    op = OPS[call.operator](value=scalar_argument(call, "value"))
    return call.layer(op, call["self"], call["tensor1"], call["tensor2"])


@aten_op("where.self", "where.ScalarOther", "where.ScalarSelf", "where.Scalar")
def _(call: Call) -> Value:
    fields, tensors = {}, [call["condition"]]
    for name, field in (("self", "input"), ("other", "other")):
        if isinstance(call[name], Value):
            tensors.append(call[name])
        else:
            fields[field] = scalar_argument(call, name)
    return call.layer(OPS["where"](**fields), *tensors)


@aten_op(*overload_names("masked_fill", "Scalar", "Tensor"))
def _(call: Call) -> Value:
    if isinstance(call["value"], Value):
        return call.layer(OPS["masked_fill"](), call["self"], call["mask"], call["value"])
    return call.layer(OPS["masked_fill"](value=scalar_argument(call, "value")), call["self"], call["mask"])
