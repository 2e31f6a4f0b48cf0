"""Sums, means, extremes, moments and norms, along some dimensions or all; running sums."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from costcalc.frontends.aten import aten
from costcalc.frontends.aten.pointwise import scalar_argument
from costcalc.frontends.aten.shape import cast
from costcalc.frontends.call import Call, SingleOutputTranslator, Translator, Value
from costcalc.ir.ops import OPS


def _reduction_fields(call: Call) -> dict[str, Any]:
    """The dimensions of a reduction; none given, or an empty list of them, are all."""
    dim = call.arguments.get("dim")
    if isinstance(dim, (list, tuple)):
        dim = tuple(dim) or None
    return {"dim": dim, "keepdim": bool(call.arguments.get("keepdim", False))}


def _cast_to_dtype(call: Call) -> Value:
    """What is reduced: where the call names a dtype, its elements are first converted to that."""
    value: Value = call["self"]
    made = call.results[0].element_type
    if call.arguments.get("dtype") is None or (value.element_type, made) == ("bool", "int64"):
        return value
    return cast(call, value, made)


def _reduction_with_indices(kind: str) -> Translator:
    return lambda call: call.layer_outputs(OPS[kind](**_reduction_fields(call)), call["self"])


def _variance(kind: str) -> SingleOutputTranslator:
    return lambda call: call.layer(OPS[kind](**_variance_fields(call)), call["self"])


def _variance_and_mean(kind: str) -> Translator:
    return lambda call: call.layer_outputs(OPS[f"{kind}_mean"](**_variance_fields(call)), call["self"])


def _reduction(kind: str, *scalars: str) -> SingleOutputTranslator:
    def translate(call: Call) -> Value:
        fields = _reduction_fields(call) | {name: scalar_argument(call, name) for name in scalars}
        return call.layer(OPS[kind](**fields), _cast_to_dtype(call))

    return translate


def _several(kind: str, fields: Callable[[Call], dict[str, Any]]) -> Translator:
    """A translator of what has two results."""
    return lambda call: call.layer_outputs(OPS[kind](**fields(call)), call["self"])


aten("sum.default", "sum.dim_IntList")(_reduction("sum"))
aten("mean.default", "mean.dim")(_reduction("mean"))
aten("prod.default", "prod.dim_int")(_reduction("prod"))
aten("argmax.default")(_reduction("argmax"))
aten("argmin.default")(_reduction("argmin"))
aten("linalg_vector_norm.default")(_reduction("vector_norm", "ord"))
for _kind in ("amax", "amin", "logsumexp"):
    aten(f"{_kind}.default")(_reduction(_kind))
for _kind in ("any", "all"):
    aten(f"{_kind}.default", f"{_kind}.dim", f"{_kind}.dims")(_reduction(_kind))
for _kind in ("max", "min"):
    aten(f"{_kind}.default")(_reduction(_kind))
    aten(f"{_kind}.dim")(_reduction_with_indices(_kind))


@aten("norm.Scalar", "norm.ScalarOpt_dim", "norm.ScalarOpt_dim_dtype", "norm.ScalarOpt_dtype")
def _(call: Call) -> Value:
    ord = 2 if call["p"] is None else scalar_argument(call, "p")
    return call.layer(OPS["vector_norm"](ord=ord, **_reduction_fields(call)), _cast_to_dtype(call))


@aten("frobenius_norm.dim")
def _(call: Call) -> Value:
    return call.layer(OPS["vector_norm"](**_reduction_fields(call)), call["self"])


def _variance_fields(call: Call) -> dict[str, Any]:
    """Dimensions, and what is taken off their number: 1, unless it is given or said to be biased."""
    correction = scalar_argument(call, "correction") if "correction" in call.arguments else int(call["unbiased"])
    return _reduction_fields(call) | {"correction": 1 if correction is None else correction}


def _moment(kind: str) -> Translator:
    return lambda call: call.layer(OPS[kind](**_variance_fields(call)), call["self"])


for _kind in ("var", "std"):
    aten(*[f"{_kind}.{form}" for form in ("default", "dim", "correction")])(_variance(_kind))
    aten(*[f"{_kind}_mean.{form}" for form in ("default", "dim", "correction")])(_variance_and_mean(_kind))


@aten("cumsum.default", "cumsum_.default", "cumprod.default", "cumprod_.default")
def _(call: Call) -> Value:
    op = OPS[call.name.partition(".")[0].rstrip("_")](dim=call["dim"])
    return call.layer(op, _cast_to_dtype(call))
