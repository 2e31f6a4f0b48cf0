"""Translators of operators that create tensors from no input."""

from __future__ import annotations

from costcalc.frontends.aten.base import aten_op, finite_or_zero
from costcalc.frontends.call import Call, Value
from costcalc.ir.ops.creation import Arange, Eye, Full, Linspace, Rand, Randn
from costcalc.ir.ops.unary import Log, Neg


@aten_op(
    "zeros.default", "ones.default", "full.default", "empty.memory_format", "empty_strided.default",
    "new_zeros.default", "new_ones.default", "new_full.default", "new_empty.default", "new_empty_strided.default",
    "zeros_like.default", "ones_like.default", "full_like.default", "empty_like.default", "scalar_tensor.default",
)  # fmt: skip
def _(call: Call) -> Value:
    value = 1.0 if "ones" in call.name else call.arguments.get("fill_value", call.arguments.get("s", 0.0))
    return call.layer(Full(call.shape, finite_or_zero(value), call.results[0].element_type))


@aten_op("fill.Scalar", "zero.default")
def _(call: Call) -> Value:
    return call.layer(Full(call.shape, finite_or_zero(call.arguments.get("value", 0.0)), call.results[0].element_type))


@aten_op("rand.default", "rand_like.default", "uniform.default", "uniform_.default")
def _(call: Call) -> Value:
    return call.layer(Rand(call.shape))


@aten_op("randn.default", "randn_like.default", "normal_.default", "normal_functional.default")
def _(call: Call) -> Value:
    return call.layer(Randn(call.shape))


@aten_op("exponential.default", "exponential_.default")
def _(call: Call) -> Value:
    """Translate to -log(u) of uniform random numbers u."""
    return call.layer(Neg(), call.layer(Log(), call.layer(Rand(call.shape))))


@aten_op("arange.default", "arange.start", "arange.start_step")
def _(call: Call) -> Value:
    return call.layer(Arange(call.shape[0], call.results[0].element_type))


@aten_op("linspace.default", "logspace.default")
def _(call: Call) -> Value:
    return call.layer(Linspace(call.shape[0]))


@aten_op("eye.default", "eye.m")
def _(call: Call) -> Value:
    return call.layer(Eye(n=call.shape[0], m=call.shape[1], dtype=call.results[0].element_type))
