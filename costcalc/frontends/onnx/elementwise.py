"""Operations of ONNX on each element, and on all elements of some dimensions: arithmetic, activations, reductions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from costcalc.frontends.onnx.interpreter import OnnxTensor
from costcalc.frontends.onnx.node import NodeContext, broadcast_shapes, dtype_of, normalize_axis, onnx_op

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


@onnx_op(*_UNARY)
def _unary(ctx: NodeContext) -> OnnxTensor:
    return ctx.aten(f"{_UNARY[ctx.node.op_type]}.default", ctx.x.shape, self=ctx.x)


@onnx_op("IsNaN", "IsInf", "Not")
def _predicate(ctx: NodeContext) -> OnnxTensor:
    name = {"IsNaN": "isnan", "IsInf": "isinf", "Not": "logical_not"}[ctx.node.op_type]
    return ctx.aten(f"{name}.default", ctx.x.shape, "bool", self=ctx.x)


@onnx_op(*_ACTIVATIONS)
def _activation(ctx: NodeContext) -> OnnxTensor:
    return ctx.activation(_ACTIVATIONS[ctx.node.op_type])


@onnx_op("LeakyRelu")
def _leaky_relu(ctx: NodeContext) -> OnnxTensor:
    return ctx.activation("leaky_relu", negative_slope=ctx.attribute("alpha", 0.01))


@onnx_op("Elu")
def _elu(ctx: NodeContext) -> OnnxTensor:
    return ctx.activation("elu", alpha=ctx.attribute("alpha", 1.0), scale=1, input_scale=1)


@onnx_op("Celu")
def _celu(ctx: NodeContext) -> OnnxTensor:
    return ctx.activation("celu", alpha=ctx.attribute("alpha", 1.0))


@onnx_op("ThresholdedRelu")
def _thresholded_relu(ctx: NodeContext) -> OnnxTensor:
    return ctx.activation("threshold", threshold=ctx.attribute("alpha", 1.0), value=0)


@onnx_op("Gelu", "costcalc.Gelu", "com.microsoft.Gelu")
def _gelu(ctx: NodeContext) -> OnnxTensor:
    return ctx.activation("gelu", approximate=ctx.attribute("approximate", "none"))


@onnx_op("Swish", "com.microsoft.QuickGelu")
def _swish(ctx: NodeContext) -> OnnxTensor:
    return ctx.activation("silu")


@onnx_op("Softplus")
def _softplus(ctx: NodeContext) -> OnnxTensor:
    return ctx.activation("softplus", beta=1, threshold=20)


@onnx_op("Softsign")
def _softsign(ctx: NodeContext) -> OnnxTensor:
    size = ctx.aten("abs.default", ctx.x.shape, self=ctx.x)
    more = ctx.aten("add.Tensor", ctx.x.shape, self=size, other=1, alpha=1)
    return ctx.aten("div.Tensor", ctx.x.shape, self=ctx.x, other=more)


@onnx_op("Softmax", "LogSoftmax")
def _softmax(ctx: NodeContext) -> OnnxTensor:
    name = "softmax.int" if ctx.node.op_type == "Softmax" else "log_softmax.int"
    axis = ctx.attribute("axis", -1 if ctx.node.opset >= 13 else 1)
    return ctx.aten(name, ctx.x.shape, self=ctx.x, dim=normalize_axis(axis, len(ctx.x.shape)), dtype=None)


@onnx_op("Clip")
def _clip(ctx: NodeContext) -> OnnxTensor:
    bounds = []
    for index in (1, 2):
        given = ctx.get(index)
        if given is not None and given.scalar is None:
            low, high = ctx.get(1), ctx.get(2)
            return ctx.aten("clamp.Tensor", ctx.x.shape, self=ctx.x, min=low, max=high)
        bounds.append(None if given is None else given.scalar)
    low_number, high_number = bounds
    # Exporters write the largest number for no bound.
    low_number = None if low_number is not None and low_number < -1e37 else low_number
    high_number = None if high_number is not None and high_number > 1e37 else high_number
    if low_number == 0 and high_number is None:
        return ctx.activation("relu")
    if low_number == 0 and high_number == 6:
        return ctx.activation("hardtanh", min_val=0.0, max_val=6.0)
    if low_number is None and high_number is None:
        return ctx.x
    return ctx.aten("clamp.default", ctx.x.shape, self=ctx.x, min=low_number, max=high_number)


# -- two tensors ------------------------------------------------------------------------------------------------------


def binary(
    ctx: NodeContext, operation: str, a: OnnxTensor, b: OnnxTensor, dtype: str | None = None, **more: Any
) -> OnnxTensor:
    """Add a binary operation on two broadcastable tensors; a constant second one becomes a number."""
    shape = broadcast_shapes(a.shape, b.shape)
    other: Any = b if b.scalar is None or len(b.shape) > len(a.shape) else b.scalar
    return ctx.aten(operation, shape, dtype or a.dtype, self=a, other=other, **more)


@onnx_op("Add", "Mul")
def _commutative(ctx: NodeContext) -> OnnxTensor:
    a, b = ctx.x, ctx[1]
    if a.scalar is not None:
        a, b = b, a
    return binary(ctx, "add.Tensor", a, b, alpha=1) if ctx.node.op_type == "Add" else binary(ctx, "mul.Tensor", a, b)


@onnx_op("Sub")
def _sub(ctx: NodeContext) -> OnnxTensor:
    a, b = ctx.x, ctx[1]
    if a.scalar is not None and len(a.shape) <= len(b.shape):
        return ctx.aten("rsub.Scalar", b.shape, self=b, other=a.scalar, alpha=1)
    return binary(ctx, "sub.Tensor", a, b, alpha=1)


@onnx_op("Div")
def _div(ctx: NodeContext) -> OnnxTensor:
    a, b = ctx.x, ctx[1]
    if a.dtype.startswith(("int", "uint")):
        return binary(ctx, "div.Tensor_mode", a, b, rounding_mode="trunc")
    if a.scalar is not None and len(a.shape) <= len(b.shape):
        inverse = ctx.aten("reciprocal.default", b.shape, self=b)
        return inverse if a.scalar == 1 else ctx.aten("mul.Tensor", b.shape, self=inverse, other=a.scalar)
    return binary(ctx, "div.Tensor", a, b)


@onnx_op("Pow")
def _pow(ctx: NodeContext) -> OnnxTensor:
    base, exponent = ctx.x, ctx[1]
    shape = broadcast_shapes(base.shape, exponent.shape)
    if exponent.scalar is not None:
        return ctx.aten("pow.Tensor_Scalar", shape, self=base, exponent=exponent.scalar)
    if base.scalar is not None:
        return ctx.aten("pow.Scalar", shape, self=base.scalar, exponent=exponent)
    return ctx.aten("pow.Tensor_Tensor", shape, self=base, exponent=exponent)


@onnx_op("Mod")
def _mod(ctx: NodeContext) -> OnnxTensor:
    name = "fmod" if ctx.attribute("fmod") else "remainder"
    scalar = ctx[1].scalar is not None
    return binary(ctx, f"{name}.{'Scalar' if scalar else 'Tensor'}", ctx.x, ctx[1])


_COMPARISONS = {"Equal": "eq", "Greater": "gt", "Less": "lt", "GreaterOrEqual": "ge", "LessOrEqual": "le"}
_MIRRORED = {"gt": "lt", "lt": "gt", "ge": "le", "le": "ge", "eq": "eq"}


@onnx_op(*_COMPARISONS)
def _comparison(ctx: NodeContext) -> OnnxTensor:
    name, a, b = _COMPARISONS[ctx.node.op_type], ctx.x, ctx[1]
    if a.scalar is not None:
        name, a, b = _MIRRORED[name], b, a
    scalar = b.scalar is not None and len(b.shape) <= len(a.shape)
    return binary(ctx, f"{name}.{'Scalar' if scalar else 'Tensor'}", a, b, "bool")


@onnx_op("And", "Or", "Xor")
def _logical(ctx: NodeContext) -> OnnxTensor:
    shape = broadcast_shapes(ctx.x.shape, ctx[1].shape)
    return ctx.aten(f"logical_{ctx.node.op_type.lower()}.default", shape, "bool", self=ctx.x, other=ctx[1])


@onnx_op("BitwiseAnd", "BitwiseOr", "BitwiseXor")
def _bitwise(ctx: NodeContext) -> OnnxTensor:
    name = ctx.node.op_type.removeprefix("Bitwise").lower()
    return ctx.aten(f"bitwise_{name}.Tensor", broadcast_shapes(ctx.x.shape, ctx[1].shape), self=ctx.x, other=ctx[1])


@onnx_op("Sum", "Mean", "Min", "Max")
def _variadic(ctx: NodeContext) -> OnnxTensor:
    result = ctx.x
    for other in [ctx[index] for index in range(1, len(ctx.inputs))]:
        if ctx.node.op_type in ("Sum", "Mean"):
            a, b = (other, result) if result.scalar is not None else (result, other)
            result = binary(ctx, "add.Tensor", a, b, alpha=1)
            continue
        if result.scalar is not None:
            result, other = other, result
        if other.scalar is not None and len(other.shape) <= len(result.shape):
            bounds = (
                {"min": other.scalar, "max": None} if ctx.node.op_type == "Max" else {"min": None, "max": other.scalar}
            )
            result = ctx.aten("clamp.default", result.shape, self=result, **bounds)
        else:
            name = "minimum.default" if ctx.node.op_type == "Min" else "maximum.default"
            result = ctx.aten(name, broadcast_shapes(result.shape, other.shape), self=result, other=other)
    if ctx.node.op_type == "Mean" and len(ctx.inputs) > 1:
        result = ctx.aten("div.Tensor", result.shape, self=result, other=len(ctx.inputs))
    return result


@onnx_op("Where")
def _where(ctx: NodeContext) -> OnnxTensor:
    condition, a, b = ctx.x, ctx[1], ctx[2]
    shape = broadcast_shapes(condition.shape, a.shape, b.shape)
    dtype = a.dtype if a.constant is None else b.dtype
    return ctx.aten("where.self", shape, dtype, condition=condition, self=a, other=b)


# -- dtypes and identities --------------------------------------------------------------------------------------------


@onnx_op("Cast", "CastLike")
def _cast(ctx: NodeContext) -> OnnxTensor:
    dtype = ctx[1].dtype if ctx.node.op_type == "CastLike" else dtype_of(ctx.attribute("to"))
    if dtype == ctx.x.dtype:
        return ctx.x
    more = {"non_blocking": False, "copy": False, "memory_format": None}
    return ctx.aten("to.dtype", ctx.x.shape, dtype, self=ctx.x, dtype=dtype, **more)


@onnx_op("Identity")
def _identity(ctx: NodeContext) -> OnnxTensor:
    return ctx.x


@onnx_op("Dropout")
def _dropout(ctx: NodeContext) -> list[OnnxTensor | None]:
    if ctx.is_used(1):
        raise ValueError("gives its mask, which is one of training")
    ratio = ctx.get(1)
    p = ctx.attribute("ratio", 0.5 if ratio is None or ratio.scalar is None else float(ratio.scalar))
    return [ctx.aten("dropout.default", ctx.x.shape, input=ctx.x, p=p, train=False)]


# -- reductions -------------------------------------------------------------------------------------------------------


def _axes(ctx: NodeContext, index: int = 1) -> list[int] | None:
    """The dimensions of a reduction; None if it reduces none."""
    rank = len(ctx.x.shape)
    axes = ctx.ints("axes", index)
    if not axes:
        return None if ctx.attribute("noop_with_empty_axes") else list(range(rank))
    return sorted({normalize_axis(axis, rank) for axis in axes})


def _reduced(shape: Sequence[int], axes: Sequence[int], keep: bool) -> tuple[int, ...]:
    return tuple([1 if index in axes else n for index, n in enumerate(shape) if keep or index not in axes])


_REDUCTIONS = {
    "ReduceMean": "mean.dim", "ReduceSum": "sum.dim_IntList", "ReduceMax": "amax.default", "ReduceMin": "amin.default",
    "ReduceL1": "linalg_vector_norm.default", "ReduceL2": "linalg_vector_norm.default",
    "ReduceLogSumExp": "logsumexp.default", "ReduceProd": "prod.dim_int", "ReduceSumSquare": "sum.dim_IntList",
    "ReduceLogSum": "sum.dim_IntList",
}  # fmt: skip


@onnx_op(*_REDUCTIONS)
def _reduce(ctx: NodeContext) -> OnnxTensor:
    axes, keep, kind, x = _axes(ctx), bool(ctx.attribute("keepdims", 1)), ctx.node.op_type, ctx.x
    if axes is None:
        return x
    shape = _reduced(x.shape, axes, keep)
    if kind == "ReduceMean" and len(x.shape) == 4 and axes == [2, 3] and keep:
        return ctx.aten("adaptive_avg_pool2d.default", shape, self=x, output_size=[1, 1])
    if kind == "ReduceProd":
        for axis in reversed(axes):
            x = ctx.aten("prod.dim_int", _reduced(x.shape, [axis], keep), self=x, dim=axis, keepdim=keep, dtype=None)
        return x
    if kind == "ReduceSumSquare":
        x = ctx.aten("mul.Tensor", x.shape, self=x, other=x)
    more: dict[str, Any] = {"dim": axes, "keepdim": keep}
    if kind in ("ReduceL1", "ReduceL2"):
        more |= {"ord": int(kind[-1]), "dtype": None}
    elif kind in ("ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceLogSum"):
        more["dtype"] = None
    made = ctx.aten(_REDUCTIONS[kind], shape, self=x, **more)
    return ctx.aten("log.default", shape, self=made) if kind == "ReduceLogSum" else made


@onnx_op("ArgMax", "ArgMin")
def _arg(ctx: NodeContext) -> OnnxTensor:
    axis, keep = normalize_axis(ctx.attribute("axis", 0), len(ctx.x.shape)), bool(ctx.attribute("keepdims", 1))
    shape = _reduced(ctx.x.shape, [axis], keep)
    return ctx.aten(f"{ctx.node.op_type.lower()}.default", shape, "int64", self=ctx.x, dim=axis, keepdim=keep)


@onnx_op("TopK")
def _top_k(ctx: NodeContext) -> list[OnnxTensor | None]:
    axis, given = normalize_axis(ctx.attribute("axis", -1), len(ctx.x.shape)), ctx.ints("k", 1)
    assert given is not None
    shape = (*ctx.x.shape[:axis], given[0], *ctx.x.shape[axis + 1 :])
    largest, ordered = bool(ctx.attribute("largest", 1)), bool(ctx.attribute("sorted", 1))
    results = [(shape, ctx.x.dtype), (shape, "int64")]
    return ctx.aten_outputs("topk.default", results, self=ctx.x, k=given[0], dim=axis, largest=largest, sorted=ordered)


@onnx_op("CumSum")
def _cumsum(ctx: NodeContext) -> OnnxTensor:
    given = ctx.ints("axis", 1)
    assert given is not None
    axis = normalize_axis(given[0], len(ctx.x.shape))
    return ctx.aten("cumsum.default", ctx.x.shape, self=ctx.x, dim=axis, dtype=None)


@onnx_op("OneHot")
def _one_hot(ctx: NodeContext) -> OnnxTensor:
    depth, axis = ctx.ints("depth", 1), ctx.attribute("axis", -1)
    assert depth is not None
    if axis in (-1, len(ctx.x.shape)):
        return ctx.aten("one_hot.default", (*ctx.x.shape, depth[0]), "int64", self=ctx.x, num_classes=depth[0])
    index = normalize_axis(axis, len(ctx.x.shape) + 1)
    shape = (*ctx.x.shape[:index], depth[0], *ctx.x.shape[index:])
    return ctx.aten("", shape, ctx[2].dtype, self=ctx.x)


# Unknown layers with known output shapes.
@onnx_op(
    "QuantizeLinear", "DequantizeLinear", "LpNormalization", "MeanVarianceNormalization", "Shrink", "Hardmax",
    "BitShift", "Det", "Bernoulli", "RandomNormalLike", "RandomUniformLike", "ReverseSequence",
)  # fmt: skip
def _unknown(ctx: NodeContext) -> OnnxTensor:
    if ctx.node.op_type == "Det":
        return ctx.aten("", ctx.x.shape[:-2], inputs=[ctx.x])
    dtype = ctx.x.dtype
    if ctx.node.op_type == "QuantizeLinear":
        zero = ctx.get(2)
        dtype = "uint8" if zero is None else zero.dtype
    elif ctx.node.op_type == "DequantizeLinear":
        dtype = ctx[1].dtype
    elif "dtype" in ctx.node.attributes:
        dtype = dtype_of(ctx.attribute("dtype"))
    return ctx.aten("", ctx.x.shape, dtype, inputs=[t for t in ctx.inputs if t is not None])
