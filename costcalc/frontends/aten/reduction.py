"""Translators of reductions: sums, means, extremes, variances and norms; and of running sums and products."""

from __future__ import annotations

from typing import Any

from costcalc.frontends.aten.base import aten_op, overload_names, scalar_argument
from costcalc.frontends.aten.copies import cast
from costcalc.frontends.call import Call, SingleOutputTranslator, Translator, Value
from costcalc.ir.ops import OPS


def _reduction_fields(call: Call) -> dict[str, Any]:
    """Return `dim` and `keepdim`; an omitted or empty list of dimensions means all of them."""
    dim = call.arguments.get("dim")
    if isinstance(dim, (list, tuple)):
        dim = tuple(dim) or None
    return {"dim": dim, "keepdim": bool(call.arguments.get("keepdim", False))}


def _cast_to_dtype(call: Call) -> Value:
    """Return the input, converted first if the call has a dtype; a bool input of an int64 sum needs no conversion."""
    value: Value = call["self"]
    result_type = call.results[0].element_type
    if call.arguments.get("dtype") is None or (value.element_type, result_type) == ("bool", "int64"):
        return value
    return cast(call, value, result_type)


def _reduction_with_indices(name: str) -> Translator:
    return lambda call: call.layer_outputs(OPS[name](**_reduction_fields(call)), call["self"])


def _reduction(name: str, *scalars: str) -> SingleOutputTranslator:
    """Return the translator to a reduction whose fields `scalars` are arguments of the call."""

    def translate(call: Call) -> Value:
        fields = _reduction_fields(call) | {field: scalar_argument(call, field) for field in scalars}
        return call.layer(OPS[name](**fields), _cast_to_dtype(call))

    return translate


aten_op("sum.default", "sum.dim_IntList")(_reduction("sum"))
aten_op("mean.default", "mean.dim")(_reduction("mean"))
aten_op("prod.default", "prod.dim_int")(_reduction("prod"))
aten_op("argmax.default")(_reduction("argmax"))
aten_op("argmin.default")(_reduction("argmin"))
aten_op("linalg_vector_norm.default")(_reduction("vector_norm", "ord"))
for _name in ("amax", "amin", "logsumexp"):
    aten_op(f"{_name}.default")(_reduction(_name))
for _name in ("any", "all"):
    aten_op(f"{_name}.default", f"{_name}.dim", f"{_name}.dims")(_reduction(_name))
for _name in ("max", "min"):
    aten_op(f"{_name}.default")(_reduction(_name))
    aten_op(f"{_name}.dim")(_reduction_with_indices(_name))


@aten_op("norm.Scalar", "norm.ScalarOpt_dim", "norm.ScalarOpt_dim_dtype", "norm.ScalarOpt_dtype")
def _(call: Call) -> Value:
    ord = 2 if call["p"] is None else scalar_argument(call, "p")
    return call.layer(OPS["vector_norm"](ord=ord, **_reduction_fields(call)), _cast_to_dtype(call))


@aten_op("frobenius_norm.dim")
def _(call: Call) -> Value:
    return call.layer(OPS["vector_norm"](**_reduction_fields(call)), call["self"])


def _variance_fields(call: Call) -> dict[str, Any]:
    """Return the dimensions and the correction (degrees of freedom), by default 1, or 0 with `unbiased=False`."""
    correction = scalar_argument(call, "correction") if "correction" in call.arguments else int(call["unbiased"])
    return _reduction_fields(call) | {"correction": 1 if correction is None else correction}


def _variance(name: str) -> SingleOutputTranslator:
    return lambda call: call.layer(OPS[name](**_variance_fields(call)), call["self"])


def _variance_and_mean(name: str) -> Translator:
    return lambda call: call.layer_outputs(OPS[f"{name}_mean"](**_variance_fields(call)), call["self"])


for _name in ("var", "std"):
    aten_op(*[f"{_name}.{form}" for form in ("default", "dim", "correction")])(_variance(_name))
    aten_op(*[f"{_name}_mean.{form}" for form in ("default", "dim", "correction")])(_variance_and_mean(_name))


@aten_op(*overload_names("cumsum"), *overload_names("cumprod"))
def _(call: Call) -> Value:
    op = OPS[call.operator](dim=call["dim"])
    return call.layer(op, _cast_to_dtype(call))
