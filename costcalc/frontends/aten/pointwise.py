"""Arithmetic on elements, comparisons and activations, and their forms in place.

What torch writes as `x += y` is the layer `add` here, as in the specs: it counts as a tensor of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from costcalc.core.sizes import is_symbolic
from costcalc.frontends.aten import aten
from costcalc.frontends.call import Call, SingleOutputTranslator, UnsupportedOp, Value
from costcalc.ir.ops import OPS, comparison, unary


def _unary(kind: str) -> SingleOutputTranslator:
    """Of an op without fields."""
    return lambda call: call.layer(OPS[kind](), call["self"])


def scalar_argument(call: Call, name: str) -> Any:
    """An argument as an op takes a number. Raises Untranslated for one that depends on sizes in no plain way."""
    value = call[name]
    if value is None or isinstance(value, (int, float)) or is_symbolic(value):
        return value
    raise UnsupportedOp(f"its {name} is {value!r}, which is no number that is known")


def overload_names(kind: str, *overloads: str) -> Iterator[str]:
    """The names of an operation's overloads, and of those in place."""
    for overload in overloads or ("default",):
        yield f"{kind}.{overload}"
        yield f"{kind}_.{overload}"


_REVERSED = {"add": "add", "mul": "mul", "sub": "rsub", "rsub": "sub"}  # of a number first and a tensor


def _binary(kind: str, *fields: str, **fixed: Any) -> SingleOutputTranslator:
    """A translator of an operation on a tensor and another, or a number."""

    def translate(call: Call) -> Value:
        given = {field: scalar_argument(call, field) for field in fields} | fixed
        one, other = call["self"], call["other"]
        if not isinstance(one, Value):
            if kind not in _REVERSED:
                raise UnsupportedOp("a number comes first")
            return call.layer(OPS[_REVERSED[kind]](other=scalar_argument(call, "self"), **given), other)
        if isinstance(other, Value):
            return call.layer(OPS[kind](**given), one, other)
        return call.layer(OPS[kind](other=scalar_argument(call, "other"), **given), one)

    return translate


for _kind in ("add", "sub", "rsub"):
    aten(*overload_names(_kind, "Tensor", "Scalar"))(_binary(_kind, "alpha"))
aten(*overload_names("subtract", "Tensor", "Scalar"))(_binary("sub", "alpha"))
for _kind in ("mul", "remainder", "fmod", "eq", "ne", "lt", "le", "gt", "ge", "div"):
    aten(*overload_names(_kind, "Tensor", "Scalar"))(_binary(_kind))
for _kind in ("bitwise_and", "bitwise_or", "bitwise_xor"):
    aten(*overload_names(_kind, "Tensor", "Scalar"))(_binary(_kind))
    aten(f"__{_kind[8:]}__.Tensor", f"__{_kind[8:]}__.Scalar")(_binary(_kind))
for _alias, _kind in {
    "multiply": "mul",
    "divide": "div",
    "true_divide": "div",
    "greater": "gt",
    "greater_equal": "ge",
    "less": "lt",
    "less_equal": "le",
    "not_equal": "ne",
}.items():
    aten(*overload_names(_alias, "Tensor", "Scalar"))(_binary(_kind))
aten(*overload_names("floor_divide", "default", "Scalar", "Tensor"))(_binary("floor_divide"))
for _kind in ("atan2", "arctan2", "logical_and", "logical_or", "logical_xor"):
    aten(*overload_names(_kind))(_binary(_kind.replace("arctan", "atan")))
aten("maximum.default", "max.other")(_binary("maximum"))
aten("minimum.default", "min.other")(_binary("minimum"))


@aten(*[name for kind in ("div", "divide") for name in overload_names(kind, "Tensor_mode", "Scalar_mode")])
def _(call: Call) -> Value | Sequence[Value | None]:
    return _binary("div", rounding_mode=call["rounding_mode"])(call)


@aten(*overload_names("pow", "Tensor_Tensor", "Tensor_Scalar", "Scalar", "Tensor"))
def _(call: Call) -> Value:
    base, exponent = call["self"], call["exponent"]
    if not isinstance(base, Value):
        return call.layer(OPS["pow"](base=scalar_argument(call, "self")), exponent)
    if not isinstance(exponent, Value):
        return call.layer(OPS["pow"](exponent=scalar_argument(call, "exponent")), base)
    return call.layer(OPS["pow"](), base, exponent)


# -- of one -------------------------------------------------------------------------------------------------------

# What has a field `inplace` here is in place where torch's is; arithmetic is not.
for _kind in (*unary.UNARY_FUNCTIONS, *comparison.UNARY_FUNCTIONS, "sigmoid", "tanh", "log_sigmoid"):
    aten(*overload_names(_kind))(_unary(_kind))
for _alias, _kind in {
    "negative": "neg",
    "absolute": "abs",
    "arcsin": "asin",
    "arccos": "acos",
    "arctan": "atan",
    "fix": "trunc",
    "sgn": "sign",
}.items():
    aten(*overload_names(_alias))(_unary(_kind))
for _kind in ("expm1", "erf", "erfc", "erfinv", "exp2", "log1p", "digamma"):
    aten(f"special_{_kind}.default")(_unary(_kind))
aten("special_gammaln.default")(_unary("lgamma"))


@aten(*overload_names("round", "default", "decimals"))
def _(call: Call) -> Value:
    return call.layer(OPS["round"](decimals=call.arguments.get("decimals", 0)), call["self"])


def _clamp(call: Call, low: Any, high: Any) -> Value:
    value: Value = call["self"]
    if any(isinstance(bound, Value) for bound in (low, high)):
        for kind, bound in (("maximum", low), ("minimum", high)):
            if bound is not None:
                value = call.layer(OPS[kind](), value, bound)
        return value
    if low is None and high is None:
        return value
    return call.layer(OPS["clamp"](min=low, max=high), value)


def _argument(call: Call, name: str) -> Any:
    return call[name] if isinstance(call[name], Value) else scalar_argument(call, name)


@aten(*overload_names("clamp", "default", "Tensor"), *overload_names("clip", "default", "Tensor"))
def _(call: Call) -> Value:
    return _clamp(call, _argument(call, "min"), _argument(call, "max"))


@aten(*overload_names("clamp_min", "default", "Tensor"))
def _(call: Call) -> Value:
    return _clamp(call, _argument(call, "min"), None)


@aten(*overload_names("clamp_max", "default", "Tensor"))
def _(call: Call) -> Value:
    return _clamp(call, None, _argument(call, "max"))


@aten(*overload_names("nan_to_num"))
def _(call: Call) -> Value:
    fields = {name: scalar_argument(call, name) for name in ("nan", "posinf", "neginf")}
    return call.layer(OPS["nan_to_num"](**fields), call["self"])


# -- of three -----------------------------------------------------------------------------------------------------


@aten(*overload_names("lerp", "Scalar", "Tensor"))
def _(call: Call) -> Value:
    weight = call["weight"]
    if isinstance(weight, Value):
        return call.layer(OPS["lerp"](), call["self"], call["end"], weight)
    return call.layer(OPS["lerp"](weight=scalar_argument(call, "weight")), call["self"], call["end"])


@aten(*overload_names("addcmul"), *overload_names("addcdiv"))
def _(call: Call) -> Value:
    op = OPS[call.name.partition(".")[0].rstrip("_")](value=scalar_argument(call, "value"))
    return call.layer(op, call["self"], call["tensor1"], call["tensor2"])


@aten("where.self", "where.ScalarOther", "where.ScalarSelf", "where.Scalar")
def _(call: Call) -> Value:
    fields, tensors = {}, [call["condition"]]
    for name, field in (("self", "input"), ("other", "other")):
        if isinstance(call[name], Value):
            tensors.append(call[name])
        else:
            fields[field] = scalar_argument(call, name)
    return call.layer(OPS["where"](**fields), *tensors)


@aten(*overload_names("masked_fill", "Scalar", "Tensor"))
def _(call: Call) -> Value:
    if isinstance(call["value"], Value):
        return call.layer(OPS["masked_fill"](), call["self"], call["mask"], call["value"])
    return call.layer(OPS["masked_fill"](value=scalar_argument(call, "value")), call["self"], call["mask"])


# -- activations --------------------------------------------------------------------------------------------------


def _activation(kind: str, *fields: str) -> SingleOutputTranslator:
    """A translator of an activation that is in place where its name says so."""

    def translate(call: Call) -> Value:
        given = {field: call[field] for field in fields}
        if "inplace" in OPS[kind].argument_specs:
            given["inplace"] = is_in_place(call)
        return call.layer(OPS[kind](**given), call["self"])

    return translate


def is_in_place(call: Call) -> bool:
    """Whether an operation overwrites what it takes."""
    return call.name.partition(".")[0].endswith("_")


_ACTIVATIONS: dict[str, tuple[str, ...]] = {
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
for _kind, _fields in _ACTIVATIONS.items():
    aten(*overload_names(_kind))(_activation(_kind, *_fields))


@aten(*overload_names("elu"))
def _(call: Call) -> Value | Sequence[Value | None]:
    if call["scale"] != 1 or call["input_scale"] != 1:
        raise UnsupportedOp("it is an elu with a scale")
    return _activation("elu", "alpha")(call)


@aten(*overload_names("hardtanh"))
def _(call: Call) -> Value | Sequence[Value | None]:
    """From 0 to 6 it is what torch.nn.ReLU6 runs."""
    if (call["min_val"], call["max_val"]) == (0, 6):
        return _activation("relu6")(call)
    return _activation("hardtanh", "min_val", "max_val")(call)


@aten("prelu.default", "_prelu_kernel.default")
def _(call: Call) -> Value:
    weight: Value = call["weight"]
    return call.layer(OPS["prelu"](weight.shape[0]), call["self"], weight=weight)


@aten("softmax.int", "_softmax.default", "_safe_softmax.default")
def _(call: Call) -> Value:
    return call.layer(OPS["softmax"](dim=call["dim"]), call["self"])


@aten("log_softmax.int", "_log_softmax.default")
def _(call: Call) -> Value:
    return call.layer(OPS["log_softmax"](dim=call["dim"]), call["self"])
