"""Operations of ONNX on each element, and on all elements of some dimensions: arithmetic, activations, reductions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from costcalc.frontends.onnx.node import Node, axis_of, broadcast, dtype_of, node
from costcalc.frontends.onnx.walk import Tensor

_UNARY: Mapping[str, str] = {
    "Erf": "erf", "Sqrt": "sqrt", "Exp": "exp", "Log": "log", "Sin": "sin", "Cos": "cos", "Tan": "tan", "Abs": "abs",
    "Neg": "neg", "Reciprocal": "reciprocal", "Floor": "floor", "Ceil": "ceil", "Round": "round", "Sign": "sign",
    "Sinh": "sinh", "Cosh": "cosh", "Asin": "asin", "Acos": "acos", "Atan": "atan", "Asinh": "asinh",
    "Acosh": "acosh", "Atanh": "atanh", "BitwiseNot": "bitwise_not",
}  # fmt: skip
_ACTIVATIONS: Mapping[str, str] = {
    "Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "HardSigmoid": "hardsigmoid", "HardSwish": "hardswish",
    "Selu": "selu", "Mish": "mish", "costcalc.Silu": "silu",
}  # fmt: skip


@node(*_UNARY)
def _unary(this: Node) -> Tensor:
    return this.aten(f"{_UNARY[this.step.kind]}.default", this.x.shape, self=this.x)


@node("IsNaN", "IsInf", "Not")
def _asked(this: Node) -> Tensor:
    name = {"IsNaN": "isnan", "IsInf": "isinf", "Not": "logical_not"}[this.step.kind]
    return this.aten(f"{name}.default", this.x.shape, "bool", self=this.x)


@node(*_ACTIVATIONS)
def _activation(this: Node) -> Tensor:
    return this.activation(_ACTIVATIONS[this.step.kind])


@node("LeakyRelu")
def _leaky_relu(this: Node) -> Tensor:
    return this.activation("leaky_relu", negative_slope=this.attribute("alpha", 0.01))


@node("Elu")
def _elu(this: Node) -> Tensor:
    return this.activation("elu", alpha=this.attribute("alpha", 1.0), scale=1, input_scale=1)


@node("Celu")
def _celu(this: Node) -> Tensor:
    return this.activation("celu", alpha=this.attribute("alpha", 1.0))


@node("ThresholdedRelu")
def _thresholded_relu(this: Node) -> Tensor:
    return this.activation("threshold", threshold=this.attribute("alpha", 1.0), value=0)


@node("Gelu", "costcalc.Gelu", "com.microsoft.Gelu")
def _gelu(this: Node) -> Tensor:
    return this.activation("gelu", approximate=this.attribute("approximate", "none"))


@node("Swish", "com.microsoft.QuickGelu")
def _swish(this: Node) -> Tensor:
    return this.activation("silu")


@node("Softplus")
def _softplus(this: Node) -> Tensor:
    return this.activation("softplus", beta=1, threshold=20)


@node("Softsign")
def _softsign(this: Node) -> Tensor:
    size = this.aten("abs.default", this.x.shape, self=this.x)
    more = this.aten("add.Tensor", this.x.shape, self=size, other=1, alpha=1)
    return this.aten("div.Tensor", this.x.shape, self=this.x, other=more)


@node("Softmax", "LogSoftmax")
def _softmax(this: Node) -> Tensor:
    name = "softmax.int" if this.step.kind == "Softmax" else "log_softmax.int"
    axis = this.attribute("axis", -1 if this.step.opset >= 13 else 1)
    return this.aten(name, this.x.shape, self=this.x, dim=axis_of(axis, len(this.x.shape)), dtype=None)


@node("Clip")
def _clip(this: Node) -> Tensor:
    bounds = []
    for place in (1, 2):
        given = this.get(place)
        if given is not None and given.number is None:
            low, high = this.get(1), this.get(2)
            return this.aten("clamp.Tensor", this.x.shape, self=this.x, min=low, max=high)
        bounds.append(None if given is None else given.number)
    low_number, high_number = bounds
    # exporters write the largest number there is for none
    low_number = None if low_number is not None and low_number < -1e37 else low_number
    high_number = None if high_number is not None and high_number > 1e37 else high_number
    if low_number == 0 and high_number is None:
        return this.activation("relu")
    if low_number == 0 and high_number == 6:
        return this.activation("hardtanh", min_val=0.0, max_val=6.0)
    if low_number is None and high_number is None:
        return this.x
    return this.aten("clamp.default", this.x.shape, self=this.x, min=low_number, max=high_number)


# -- two tensors ------------------------------------------------------------------------------------------------------


def binary(this: Node, operation: str, a: Tensor, b: Tensor, dtype: str | None = None, **more: Any) -> Tensor:
    """What is computed of two tensors of shapes that fit, the second of which may be a number."""
    shape = broadcast(a.shape, b.shape)
    other: Any = b if b.number is None or len(b.shape) > len(a.shape) else b.number
    return this.aten(operation, shape, dtype or a.dtype, self=a, other=other, **more)


@node("Add", "Mul")
def _commutative(this: Node) -> Tensor:
    a, b = this.x, this[1]
    if a.number is not None:
        a, b = b, a
    return binary(this, "add.Tensor", a, b, alpha=1) if this.step.kind == "Add" else binary(this, "mul.Tensor", a, b)


@node("Sub")
def _sub(this: Node) -> Tensor:
    a, b = this.x, this[1]
    if a.number is not None and len(a.shape) <= len(b.shape):
        return this.aten("rsub.Scalar", b.shape, self=b, other=a.number, alpha=1)
    return binary(this, "sub.Tensor", a, b, alpha=1)


@node("Div")
def _div(this: Node) -> Tensor:
    a, b = this.x, this[1]
    if a.dtype.startswith(("int", "uint")):
        return binary(this, "div.Tensor_mode", a, b, rounding_mode="trunc")
    if a.number is not None and len(a.shape) <= len(b.shape):
        inverse = this.aten("reciprocal.default", b.shape, self=b)
        return inverse if a.number == 1 else this.aten("mul.Tensor", b.shape, self=inverse, other=a.number)
    return binary(this, "div.Tensor", a, b)


@node("Pow")
def _pow(this: Node) -> Tensor:
    base, exponent = this.x, this[1]
    shape = broadcast(base.shape, exponent.shape)
    if exponent.number is not None:
        return this.aten("pow.Tensor_Scalar", shape, self=base, exponent=exponent.number)
    if base.number is not None:
        return this.aten("pow.Scalar", shape, self=base.number, exponent=exponent)
    return this.aten("pow.Tensor_Tensor", shape, self=base, exponent=exponent)


@node("Mod")
def _mod(this: Node) -> Tensor:
    name = "fmod" if this.attribute("fmod") else "remainder"
    scalar = this[1].number is not None
    return binary(this, f"{name}.{'Scalar' if scalar else 'Tensor'}", this.x, this[1])


_COMPARISONS = {"Equal": "eq", "Greater": "gt", "Less": "lt", "GreaterOrEqual": "ge", "LessOrEqual": "le"}
_MIRRORED = {"gt": "lt", "lt": "gt", "ge": "le", "le": "ge", "eq": "eq"}


@node(*_COMPARISONS)
def _comparison(this: Node) -> Tensor:
    name, a, b = _COMPARISONS[this.step.kind], this.x, this[1]
    if a.number is not None:
        name, a, b = _MIRRORED[name], b, a
    scalar = b.number is not None and len(b.shape) <= len(a.shape)
    return binary(this, f"{name}.{'Scalar' if scalar else 'Tensor'}", a, b, "bool")


@node("And", "Or", "Xor")
def _logical(this: Node) -> Tensor:
    shape = broadcast(this.x.shape, this[1].shape)
    return this.aten(f"logical_{this.step.kind.lower()}.default", shape, "bool", self=this.x, other=this[1])


@node("BitwiseAnd", "BitwiseOr", "BitwiseXor")
def _bitwise(this: Node) -> Tensor:
    name = this.step.kind.removeprefix("Bitwise").lower()
    return this.aten(f"bitwise_{name}.Tensor", broadcast(this.x.shape, this[1].shape), self=this.x, other=this[1])


@node("Sum", "Mean", "Min", "Max")
def _variadic(this: Node) -> Tensor:
    result = this.x
    for other in [this[place] for place in range(1, len(this.inputs))]:
        if this.step.kind in ("Sum", "Mean"):
            a, b = (other, result) if result.number is not None else (result, other)
            result = binary(this, "add.Tensor", a, b, alpha=1)
            continue
        if result.number is not None:
            result, other = other, result
        if other.number is not None and len(other.shape) <= len(result.shape):
            bounds = (
                {"min": other.number, "max": None} if this.step.kind == "Max" else {"min": None, "max": other.number}
            )
            result = this.aten("clamp.default", result.shape, self=result, **bounds)
        else:
            name = "minimum.default" if this.step.kind == "Min" else "maximum.default"
            result = this.aten(name, broadcast(result.shape, other.shape), self=result, other=other)
    if this.step.kind == "Mean" and len(this.inputs) > 1:
        result = this.aten("div.Tensor", result.shape, self=result, other=len(this.inputs))
    return result


@node("Where")
def _where(this: Node) -> Tensor:
    condition, a, b = this.x, this[1], this[2]
    shape = broadcast(condition.shape, a.shape, b.shape)
    dtype = a.dtype if a.constant is None else b.dtype
    return this.aten("where.self", shape, dtype, condition=condition, self=a, other=b)


# -- dtypes, and nothing ----------------------------------------------------------------------------------------------


@node("Cast", "CastLike")
def _cast(this: Node) -> Tensor:
    dtype = this[1].dtype if this.step.kind == "CastLike" else dtype_of(this.attribute("to"))
    if dtype == this.x.dtype:
        return this.x
    more = {"non_blocking": False, "copy": False, "memory_format": None}
    return this.aten("to.dtype", this.x.shape, dtype, self=this.x, dtype=dtype, **more)


@node("Identity")
def _identity(this: Node) -> Tensor:
    return this.x


@node("Dropout")
def _dropout(this: Node) -> list[Tensor | None]:
    if this.used(1):
        raise ValueError("gives its mask, which is one of training")
    ratio = this.get(1)
    p = this.attribute("ratio", 0.5 if ratio is None or ratio.number is None else float(ratio.number))
    return [this.aten("dropout.default", this.x.shape, input=this.x, p=p, train=False)]


# -- reductions -------------------------------------------------------------------------------------------------------


def _axes(this: Node, place: int = 1) -> list[int] | None:
    """The dimensions that a reduction is over; None where it is over none."""
    rank = len(this.x.shape)
    axes = this.numbers("axes", place)
    if not axes:
        return None if this.attribute("noop_with_empty_axes") else list(range(rank))
    return sorted({axis_of(axis, rank) for axis in axes})


def _reduced(shape: Sequence[int], axes: Sequence[int], keep: bool) -> tuple[int, ...]:
    return tuple([1 if place in axes else n for place, n in enumerate(shape) if keep or place not in axes])


_REDUCTIONS = {
    "ReduceMean": "mean.dim", "ReduceSum": "sum.dim_IntList", "ReduceMax": "amax.default", "ReduceMin": "amin.default",
    "ReduceL1": "linalg_vector_norm.default", "ReduceL2": "linalg_vector_norm.default",
    "ReduceLogSumExp": "logsumexp.default", "ReduceProd": "prod.dim_int", "ReduceSumSquare": "sum.dim_IntList",
    "ReduceLogSum": "sum.dim_IntList",
}  # fmt: skip


@node(*_REDUCTIONS)
def _reduce(this: Node) -> Tensor:
    axes, keep, kind, x = _axes(this), bool(this.attribute("keepdims", 1)), this.step.kind, this.x
    if axes is None:
        return x
    shape = _reduced(x.shape, axes, keep)
    if kind == "ReduceMean" and len(x.shape) == 4 and axes == [2, 3] and keep:
        return this.aten("adaptive_avg_pool2d.default", shape, self=x, output_size=[1, 1])
    if kind == "ReduceProd":
        for axis in reversed(axes):
            x = this.aten("prod.dim_int", _reduced(x.shape, [axis], keep), self=x, dim=axis, keepdim=keep, dtype=None)
        return x
    if kind == "ReduceSumSquare":
        x = this.aten("mul.Tensor", x.shape, self=x, other=x)
    more: dict[str, Any] = {"dim": axes, "keepdim": keep}
    if kind in ("ReduceL1", "ReduceL2"):
        more |= {"ord": int(kind[-1]), "dtype": None}
    elif kind in ("ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceLogSum"):
        more["dtype"] = None
    made = this.aten(_REDUCTIONS[kind], shape, self=x, **more)
    return this.aten("log.default", shape, self=made) if kind == "ReduceLogSum" else made


@node("ArgMax", "ArgMin")
def _arg(this: Node) -> Tensor:
    axis, keep = axis_of(this.attribute("axis", 0), len(this.x.shape)), bool(this.attribute("keepdims", 1))
    shape = _reduced(this.x.shape, [axis], keep)
    return this.aten(f"{this.step.kind.lower()}.default", shape, "int64", self=this.x, dim=axis, keepdim=keep)


@node("TopK")
def _top_k(this: Node) -> list[Tensor | None]:
    axis, given = axis_of(this.attribute("axis", -1), len(this.x.shape)), this.numbers("k", 1)
    assert given is not None
    shape = (*this.x.shape[:axis], given[0], *this.x.shape[axis + 1 :])
    largest, ordered = bool(this.attribute("largest", 1)), bool(this.attribute("sorted", 1))
    results = [(shape, this.x.dtype), (shape, "int64")]
    return this.aten_all("topk.default", results, self=this.x, k=given[0], dim=axis, largest=largest, sorted=ordered)


@node("CumSum")
def _cumsum(this: Node) -> Tensor:
    given = this.numbers("axis", 1)
    assert given is not None
    axis = axis_of(given[0], len(this.x.shape))
    return this.aten("cumsum.default", this.x.shape, self=this.x, dim=axis, dtype=None)


@node("OneHot")
def _one_hot(this: Node) -> Tensor:
    depth, axis = this.numbers("depth", 1), this.attribute("axis", -1)
    assert depth is not None
    if axis in (-1, len(this.x.shape)):
        return this.aten("one_hot.default", (*this.x.shape, depth[0]), "int64", self=this.x, num_classes=depth[0])
    place = axis_of(axis, len(this.x.shape) + 1)
    shape = (*this.x.shape[:place], depth[0], *this.x.shape[place:])
    return this.aten("", shape, this[2].dtype, self=this.x)


# What is computed is not known; the shape is.
@node(
    "QuantizeLinear", "DequantizeLinear", "LpNormalization", "MeanVarianceNormalization", "Shrink", "Hardmax",
    "BitShift", "Det", "Bernoulli", "RandomNormalLike", "RandomUniformLike", "ReverseSequence",
)  # fmt: skip
def _unknown(this: Node) -> Tensor:
    if this.step.kind == "Det":
        return this.aten("", this.x.shape[:-2], inputs=[this.x])
    dtype = this.x.dtype
    if this.step.kind == "QuantizeLinear":
        zero = this.get(2)
        dtype = "uint8" if zero is None else zero.dtype
    elif this.step.kind == "DequantizeLinear":
        dtype = this[1].dtype
    elif "dtype" in this.step.attributes:
        dtype = dtype_of(this.attribute("dtype"))
    return this.aten("", this.x.shape, dtype, inputs=[t for t in this.inputs if t is not None])
