"""Translators for ONNX convolutions, matrix products, normalisation, pooling and recurrent operators."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from costcalc.frontends.call import Value
from costcalc.frontends.onnx.interpreter import OnnxTensor
from costcalc.frontends.onnx.node import NodeContext, broadcast_shapes, onnx_op
from costcalc.ir.ops.norm import LocalResponseNorm


class _SlidingWindow(NamedTuple):
    """Kernel, stride, dilation and padding of a sliding window by axis.

    ONNX pads each end of an axis separately; torch pads both ends equally.
    """

    kernel: list[int]
    stride: list[int]
    dilation: list[int]
    before: list[int]
    after: list[int]

    def output_sizes(self, plane: Sequence[int], ceil_mode: bool = False) -> list[int]:
        """Return the number of window positions on each axis."""
        result = []
        for n, k, s, d, a, b in zip(plane, *self, strict=True):
            slack = n + a + b - d * (k - 1) - 1
            count = (-(-slack // s) if ceil_mode else slack // s) + 1
            if ceil_mode and (count - 1) * s >= n + a:
                count -= 1
            result.append(count)
        return result


def _sliding_window(ctx: NodeContext, plane: Sequence[int], kernel: Sequence[int]) -> _SlidingWindow:
    """Read the sliding window of a node and resolve `auto_pad` to explicit padding."""
    rank = len(plane)
    kernel = list(ctx.attribute("kernel_shape", kernel))
    stride = list(ctx.attribute("strides", [1] * rank))
    dilation = list(ctx.attribute("dilations", [1] * rank))
    pads = list(ctx.attribute("pads", [0] * 2 * rank))
    if not len(kernel) == len(stride) == len(dilation) == rank or len(pads) != 2 * rank:
        raise ValueError(f"its kernel, strides, dilations and pads are not those of {rank} dimensions")
    if min(*kernel, *stride, *dilation) < 1:
        raise ValueError("its kernel, strides and dilations must be at least 1")
    auto = ctx.attribute("auto_pad", "NOTSET")
    before, after = pads[:rank], pads[rank:]
    if auto == "VALID":
        before = after = [0] * rank
    elif auto in ("SAME_UPPER", "SAME_LOWER"):
        before, after = [], []
        for n, k, s, d in zip(plane, kernel, stride, dilation, strict=True):
            total = max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
            first = total // 2 if auto == "SAME_UPPER" else total - total // 2
            before.append(first)
            after.append(total - first)
    return _SlidingWindow(kernel, stride, dilation, before, after)


def _padded(
    ctx: NodeContext, x: OnnxTensor, windows: _SlidingWindow, value: float = 0.0
) -> tuple[OnnxTensor, _SlidingWindow]:
    """Add a padding layer if padding is asymmetric; return its output and the window to apply to it."""
    if windows.before == windows.after and min(windows.before, default=0) >= 0:
        return x, windows
    plane = [n + a + b for n, a, b in zip(x.shape[2:], windows.before, windows.after, strict=True)]
    ends = [n for pair in zip(reversed(windows.before), reversed(windows.after), strict=True) for n in pair]
    padded = ctx.aten("pad.default", (*x.shape[:2], *plane), self=x, pad=ends, mode="constant", value=value)
    return padded, windows._replace(before=[0] * len(plane), after=[0] * len(plane))


@onnx_op("Conv")
def _conv(ctx: NodeContext) -> OnnxTensor:
    x, weight = ctx.x, ctx[1]
    rank = len(x.shape) - 2
    if rank < 1 or len(weight.shape) != rank + 2:
        raise ValueError(
            f"needs an input and weights with equally many dimensions, not {len(x.shape)} and {len(weight.shape)}"
        )
    group, out = ctx.attribute("group", 1), weight.shape[0]
    if weight.shape[1] * group != x.shape[1]:
        raise ValueError(f"has weights for {weight.shape[1] * group} input channels, but its input has {x.shape[1]}")
    x, windows = _padded(ctx, x, _sliding_window(ctx, x.shape[2:], weight.shape[2:]))
    if windows.kernel != list(weight.shape[2:]):
        raise ValueError(f"has a kernel of {windows.kernel}, and weights of {list(weight.shape)}")
    return ctx.aten(
        f"conv{rank}d.default", (x.shape[0], out, *windows.output_sizes(x.shape[2:])),
        input=x, weight=weight, bias=ctx.weight(2, (out,)), stride=windows.stride, padding=windows.before,
        dilation=windows.dilation, groups=group,
    )  # fmt: skip


@onnx_op("ConvTranspose")
def _conv_transpose(ctx: NodeContext) -> OnnxTensor:
    x, weight = ctx.x, ctx[1]
    rank = len(x.shape) - 2
    if rank < 1 or len(weight.shape) != rank + 2 or weight.shape[0] != x.shape[1]:
        raise ValueError(
            f"has weights of shape {list(weight.shape)}, which do not fit an input of shape {list(x.shape)}"
        )
    group = ctx.attribute("group", 1)
    windows = _sliding_window(ctx, x.shape[2:], weight.shape[2:])
    more = list(ctx.attribute("output_padding", [0] * rank))
    full = [
        s * (n - 1) + p + d * (k - 1) + 1
        for n, s, p, d, k in zip(x.shape[2:], windows.stride, more, windows.dilation, windows.kernel, strict=True)
    ]
    before, after = windows.before, windows.after
    asked = ctx.attribute("output_shape")
    auto = ctx.attribute("auto_pad", "NOTSET")
    if asked is None and auto.startswith("SAME"):
        asked = [n * s for n, s in zip(x.shape[2:], windows.stride, strict=True)]
    if asked is not None:
        total = [max(n - m, 0) for n, m in zip(full, asked[-rank:], strict=True)]
        more = [p + max(m - n, 0) for p, n, m in zip(more, full, asked[-rank:], strict=True)]
        full = [max(n, m) for n, m in zip(full, asked[-rank:], strict=True)]
        before = [n // 2 if auto == "SAME_UPPER" else n - n // 2 for n in total]
        after = [n - b for n, b in zip(total, before, strict=True)]
    padding = [min(a, b) for a, b in zip(before, after, strict=True)]
    out = weight.shape[1] * group
    made = ctx.aten(
        f"conv_transpose{rank}d.{'default' if rank == 1 else 'input'}",
        (x.shape[0], out, *[n - 2 * p for n, p in zip(full, padding, strict=True)]),
        input=x, weight=weight, bias=ctx.weight(2, (out,)), stride=windows.stride, padding=padding,
        output_padding=more, groups=group, dilation=windows.dilation,
    )  # fmt: skip
    for axis, (a, b, p) in enumerate(zip(before, after, padding, strict=True), start=2):
        if a != b:  # torch supports symmetric padding only, so the output is cropped
            shape = list(made.shape)
            shape[axis] -= a + b - 2 * p
            start = a - p
            made = ctx.aten("slice.Tensor", shape, self=made, dim=axis, start=start, end=start + shape[axis], step=1)
    return made


# -- matrix products --------------------------------------------------------------------------------------------------


def _transpose(ctx: NodeContext, x: OnnxTensor) -> OnnxTensor:
    """Transpose a matrix."""
    return ctx.aten("permute.default", x.shape[::-1], self=x, dims=[1, 0])


def _linear(
    ctx: NodeContext, x: OnnxTensor, weight: OnnxTensor, shape: tuple[int, int], bias: OnnxTensor | None
) -> OnnxTensor:
    """Apply a linear layer with a weight of shape (out, in), regardless of its layout in the file."""
    seen = Value(shape, "float", parameter=weight.parameter)
    weight = OnnxTensor(weight.name, shape, weight.dtype, None, seen)
    return ctx.aten("linear.default", (*x.shape[:-1], shape[0]), input=x, weight=weight, bias=bias)


@onnx_op("Gemm")
def _gemm(ctx: NodeContext) -> OnnxTensor:
    x, other = ctx.x, ctx[1]
    if len(x.shape) != 2 or len(other.shape) != 2:
        raise ValueError(f"multiplies matrices, not {list(x.shape)} and {list(other.shape)}")
    if ctx.attribute("transA", 0):
        x = _transpose(ctx, x)
    turned = bool(ctx.attribute("transB", 0))
    inner, out = other.shape[::-1] if turned else other.shape
    if x.shape[1] != inner:
        raise ValueError(f"cannot multiply {list(x.shape)} and {[inner, out]}")
    alpha, bias = ctx.attribute("alpha", 1.0), ctx.get(2)
    own = bias is not None and (bias.parameter is None or math.prod(bias.shape) != out or alpha != 1)
    if other.parameter is not None:
        made = _linear(ctx, x, other, (out, inner), None if own or bias is None else ctx.weight(2, (out,)))
    else:
        made = ctx.aten("matmul.default", (x.shape[0], out), self=x, other=_transpose(ctx, other) if turned else other)
        own = bias is not None
    if alpha != 1:
        made = ctx.aten("mul.Tensor", made.shape, self=made, other=alpha)
    if own and ctx.weight(2) is not None:
        number = ctx[2].scalar
        other_term: Any = ctx[2] if number is None else number
        made = ctx.aten("add.Tensor", broadcast_shapes(made.shape, ctx[2].shape), self=made, other=other_term, alpha=1)
    return made


@onnx_op("MatMul", "costcalc.Linear")
def _matmul(ctx: NodeContext) -> OnnxTensor:
    a, b = ctx.x, ctx[1]
    if not a.shape or not b.shape:
        raise ValueError("multiplies no numbers")
    inner = b.shape[-2] if len(b.shape) > 1 else b.shape[0]
    if a.shape[-1] != inner:
        raise ValueError(f"cannot multiply {list(a.shape)} and {list(b.shape)}")
    if b.parameter is not None and len(b.shape) == 2:
        out = b.shape[1]
        return _linear(ctx, a, b, (out, inner), ctx.weight(2, (out,)))
    shape = broadcast_shapes(a.shape[:-2], b.shape[:-2]) if len(a.shape) > 2 or len(b.shape) > 2 else ()
    shape += (a.shape[-2],) * (len(a.shape) > 1) + (b.shape[-1],) * (len(b.shape) > 1)
    return ctx.aten("matmul.default", shape, self=a, other=b)


@onnx_op("Einsum")
def _einsum(ctx: NodeContext) -> OnnxTensor:
    equation = ctx.attribute("equation").replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if "." in equation or len(terms) != len(ctx.inputs):
        (made, *_) = ctx.unknown()
        assert made is not None  # the only output of the node is used
        return made
    sizes: dict[str, int] = {}
    for term, tensor in zip(terms, [ctx[place] for place in range(len(terms))], strict=True):
        for letter, size in zip(term, tensor.shape, strict=True):
            if sizes.setdefault(letter, size) == 1:
                sizes[letter] = size
    if not arrow:
        right = "".join(sorted(letter for letter in sizes if left.count(letter) == 1))
    shape = [sizes[letter] for letter in right]
    return ctx.aten("einsum.default", shape, equation=f"{left}->{right}", tensors=list(ctx.inputs), path=None)


@onnx_op("Attention")
def _attention(ctx: NodeContext) -> list[OnnxTensor | None]:
    query, key, value, mask = ctx.x, ctx[1], ctx[2], ctx.get(3)
    if ctx.get(4) is not None or ctx.get(5) is not None or any(map(ctx.is_used, (1, 2, 3))):
        return ctx.unknown()
    heads, shared = ctx.attribute("q_num_heads", 0), ctx.attribute("kv_num_heads", 0)
    flat = len(query.shape) == 3
    if flat:
        query, key, value = (_heads(ctx, x, n) for x, n in ((query, heads), (key, shared), (value, shared)))
    shape = (*query.shape[:-1], value.shape[-1])
    made = ctx.aten(
        "scaled_dot_product_attention.default", shape, query=query, key=key, value=value, attn_mask=mask,
        dropout_p=0.0, is_causal=bool(ctx.attribute("is_causal", 0)), scale=ctx.attribute("scale"),
        enable_gqa=query.shape[1] != key.shape[1],
    )  # fmt: skip
    if flat:
        batch, heads, length, each = made.shape
        made = ctx.aten("permute.default", (batch, length, heads, each), self=made, dims=[0, 2, 1, 3])
        joined = (batch, length, heads * each)
        made = ctx.aten("reshape.default", joined, self=made, shape=list(joined))
    return [made]


@onnx_op("costcalc.Attention")
def _fused_attention(ctx: NodeContext) -> OnnxTensor:
    query, turned, value = ctx.x, ctx[1], ctx[2]
    order = [*range(len(turned.shape) - 2), len(turned.shape) - 1, len(turned.shape) - 2]
    key = ctx.aten("permute.default", [turned.shape[place] for place in order], self=turned, dims=order)
    return ctx.aten(
        "scaled_dot_product_attention.default", (*query.shape[:-1], value.shape[-1]), query=query, key=key, value=value,
        attn_mask=ctx.get(3), dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False,
    )  # fmt: skip


def _heads(ctx: NodeContext, x: OnnxTensor, heads: int) -> OnnxTensor:
    """Split features into heads and move the head dimension before the sequence dimension."""
    batch, length, size = x.shape
    if heads < 1 or size % heads:
        raise ValueError(f"cannot split {size} into {heads} heads")
    cut = (batch, length, heads, size // heads)
    split = ctx.aten("reshape.default", cut, self=x, shape=list(cut))
    return ctx.aten("permute.default", (batch, heads, length, size // heads), self=split, dims=[0, 2, 1, 3])


# -- normalisation ----------------------------------------------------------------------------------------------------


@onnx_op("BatchNormalization")
def _batch_norm(ctx: NodeContext) -> list[OnnxTensor | None]:
    channels = (ctx.x.shape[1],)
    scale, bias = ctx[1], ctx[2]
    for place in (1, 2, 3, 4):
        if ctx[place].shape != channels:
            raise ValueError(f"takes {channels[0]} channels, and has {ctx[place].shape} for input {place}")
    more = {"momentum": 1 - ctx.attribute("momentum", 0.9), "eps": ctx.attribute("epsilon", 1e-5)}
    mean, variance = ctx[3], ctx[4]
    made = ctx.aten(
        "batch_norm.default", ctx.x.shape, input=ctx.x, weight=scale, bias=bias, running_mean=mean,
        running_var=variance, training=False, cudnn_enabled=True, **more,
    )  # fmt: skip
    return [made]


def _learned_affine(ctx: NodeContext) -> tuple[OnnxTensor | None, OnnxTensor | None]:
    """Return the scale and shift, or None for both if they are the identity: constants of ones and zeros."""
    scale, shift = ctx[1], ctx.get(2)
    ones = scale.parameter is None and scale.constant is not None and (scale.constant == 1).all()
    zeros = shift is None or (shift.parameter is None and shift.constant is not None and not shift.constant.any())
    return (None, None) if ones and zeros else (scale, shift)


@onnx_op("InstanceNormalization")
def _instance_norm(ctx: NodeContext) -> OnnxTensor:
    scale, shift = _learned_affine(ctx)
    return ctx.aten(
        "instance_norm.default", ctx.x.shape, input=ctx.x, weight=scale, bias=shift, running_mean=None,
        running_var=None, use_input_stats=True, momentum=0.1, eps=ctx.attribute("epsilon", 1e-5), cudnn_enabled=True,
    )  # fmt: skip


@onnx_op("GroupNormalization")
def _group_norm(ctx: NodeContext) -> OnnxTensor | list[OnnxTensor | None]:
    scale, shift = _learned_affine(ctx)
    if scale is not None and scale.shape != (ctx.x.shape[1],):  # opset < 21: one scale per group, unlike ATen
        return ctx.aten("", ctx.x.shape, inputs=list(ctx.inputs))
    return ctx.aten(
        "group_norm.default", ctx.x.shape, input=ctx.x, num_groups=ctx.attribute("num_groups"), weight=scale,
        bias=shift, eps=ctx.attribute("epsilon", 1e-5), cudnn_enabled=True,
    )  # fmt: skip


@onnx_op("LayerNormalization", "RMSNormalization")
def _layer_norm(ctx: NodeContext) -> list[OnnxTensor | None]:
    axis = ctx.attribute("axis", -1) % len(ctx.x.shape)
    normalized, eps = ctx.x.shape[axis:], ctx.attribute("epsilon", 1e-5)
    given = {"input": ctx.x, "normalized_shape": list(normalized), "weight": ctx.weight(1, normalized), "eps": eps}
    if any(map(ctx.is_used, (1, 2))):
        return ctx.unknown()
    if ctx.node.op_type == "RMSNormalization":
        return [ctx.aten("rms_norm.default", ctx.x.shape, **given)]
    given |= {"bias": ctx.weight(2, normalized), "cudnn_enable": True}
    return [ctx.aten("layer_norm.default", ctx.x.shape, **given)]


@onnx_op("LRN")
def _lrn(ctx: NodeContext) -> OnnxTensor:
    more = {"alpha": ctx.attribute("alpha", 1e-4), "beta": ctx.attribute("beta", 0.75)}
    op = LocalResponseNorm(ctx.attribute("size"), k=ctx.attribute("bias", 1.0), **more)
    return ctx.layer(op, ctx.x.shape, ctx.x)


@onnx_op("PRelu")
def _prelu(ctx: NodeContext) -> OnnxTensor:
    slope = ctx[1]
    several = math.prod(slope.shape)
    if slope.parameter is None or several not in (1, ctx.x.shape[1] if len(ctx.x.shape) > 1 else 1):
        return ctx.aten("", broadcast_shapes(ctx.x.shape, slope.shape), inputs=[ctx.x, slope])
    return ctx.aten("prelu.default", ctx.x.shape, self=ctx.x, weight=ctx.weight(1, (several,)))


# -- pools ------------------------------------------------------------------------------------------------------------


@onnx_op("MaxPool")
def _max_pool(ctx: NodeContext) -> list[OnnxTensor | None]:
    rank, ceil = len(ctx.x.shape) - 2, bool(ctx.attribute("ceil_mode", 0))
    x, windows = _pooled(ctx, -math.inf)
    shape = (*x.shape[:2], *windows.output_sizes(x.shape[2:], ceil))
    given = {
        "self": x, "kernel_size": windows.kernel, "stride": windows.stride, "padding": windows.before,
        "dilation": windows.dilation, "ceil_mode": ceil,
    }  # fmt: skip
    if ctx.is_used(1):
        results = [(shape, x.dtype), (shape, "int64")]
        return ctx.aten_outputs(f"max_pool{rank}d_with_indices.default", results, **given)
    return [ctx.aten(f"max_pool{rank}d.default", shape, **given)]


@onnx_op("AveragePool")
def _average_pool(ctx: NodeContext) -> OnnxTensor:
    rank, ceil = len(ctx.x.shape) - 2, bool(ctx.attribute("ceil_mode", 0))
    x, windows = _pooled(ctx, 0.0)
    shape = (*x.shape[:2], *windows.output_sizes(x.shape[2:], ceil))
    if any(d != 1 for d in windows.dilation):
        return ctx.aten("", shape, inputs=[x])
    given = {
        "self": x, "kernel_size": windows.kernel, "stride": windows.stride, "padding": windows.before,
        "ceil_mode": ceil, "count_include_pad": bool(ctx.attribute("count_include_pad", 0)),
    }  # fmt: skip
    if rank > 1:
        given["divisor_override"] = None
    return ctx.aten(f"avg_pool{rank}d.default", shape, **given)


def _pooled(ctx: NodeContext, value: float) -> tuple[OnnxTensor, _SlidingWindow]:
    """Return the padded pool input and its window; torch limits pool padding to half the kernel size."""
    x = ctx.x
    if len(x.shape) < 3:
        raise ValueError(f"takes an input of 3 sizes or more, not {list(x.shape)}")
    windows = _sliding_window(ctx, x.shape[2:], ())
    if any(pad > kernel // 2 for pad, kernel in zip(windows.before, windows.kernel, strict=True)):
        plane = [n + a + b for n, a, b in zip(x.shape[2:], windows.before, windows.after, strict=True)]
        ends = [n for pair in zip(reversed(windows.before), reversed(windows.after), strict=True) for n in pair]
        x = ctx.aten("pad.default", (*x.shape[:2], *plane), self=x, pad=ends, mode="constant", value=value)
        return x, windows._replace(before=[0] * len(plane), after=[0] * len(plane))
    return _padded(ctx, x, windows, value)


@onnx_op("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(ctx: NodeContext) -> OnnxTensor:
    rank = len(ctx.x.shape) - 2
    shape = (*ctx.x.shape[:2], *[1] * rank)
    if ctx.node.op_type == "GlobalMaxPool":
        return ctx.aten("amax.default", shape, self=ctx.x, dim=list(range(2, rank + 2)), keepdim=True)
    if 1 <= rank <= 3:
        return ctx.aten(f"adaptive_avg_pool{rank}d.default", shape, self=ctx.x, output_size=[1] * rank)
    return ctx.aten("mean.dim", shape, self=ctx.x, dim=list(range(2, rank + 2)), keepdim=True, dtype=None)


# -- recurrent layers -------------------------------------------------------------------------------------------------


@onnx_op("LSTM", "GRU", "RNN")
def _recurrent(ctx: NodeContext) -> list[OnnxTensor | None]:
    kind, x = ctx.node.op_type, ctx.x
    directions = 2 if ctx.attribute("direction", "forward") == "bidirectional" else 1
    hidden, first = ctx.attribute("hidden_size", ctx[2].shape[-1]), bool(ctx.attribute("layout", 0))
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
    length, batch = x.shape[1::-1] if first else x.shape[:2]
    if ctx[1].shape != (directions, gates * hidden, x.shape[2]) or ctx[2].shape != (
        directions,
        gates * hidden,
        hidden,
    ):
        raise ValueError(f"has weights of {list(ctx[1].shape)} and {list(ctx[2].shape)} for {hidden} features")
    activations = [name.lower() for name in ctx.attribute("activations", ["tanh"])]
    biased = ctx.get(3) is not None and (ctx[3].parameter is not None or ctx.weight(3) is not None)
    parts = ctx.interpreter.parameters.recurrent(ctx.node)
    each = [(gates * hidden, x.shape[2]), (gates * hidden, hidden), *[(gates * hidden,)] * 2 * biased] * directions
    if ctx.get(7) is not None or len(parts) != len(each) or (kind == "RNN" and activations[0] not in ("tanh", "relu")):
        return ctx.unknown()  # peephole weights, computed weights or an unsupported RNN activation
    weights = [
        OnnxTensor(part, shape, x.dtype, None, Value(shape, "float", parameter=part))
        for part, shape in zip(parts, each, strict=True)
    ]
    state = (directions, batch, hidden)
    states = []
    for place in (5, 6)[: 1 + (kind == "LSTM")]:
        given = ctx.get(place)
        states.append(given if given is not None else OnnxTensor(f"{ctx.node.outputs[0]}.state{place}", state, x.dtype))
    operation = {"LSTM": "lstm.input", "GRU": "gru.input", "RNN": f"rnn_{activations[0]}.input"}[kind]
    joined = (batch, length, directions * hidden) if first else (length, batch, directions * hidden)
    results = [(joined, x.dtype), *[(state, x.dtype)] * len(states)]
    made = ctx.aten_outputs(
        operation, results, input=x, hx=states if kind == "LSTM" else states[0], params=weights,
        has_biases=biased, num_layers=1, dropout=0.0, train=False, bidirectional=directions == 2, batch_first=first,
    )  # fmt: skip
    whole = made[0]
    if whole is not None and ctx.is_used(0):
        apart = (*joined[:2], directions, hidden)
        whole = ctx.aten("reshape.default", apart, self=whole, shape=list(apart))
        if not first:
            shape = (length, directions, batch, hidden)
            whole = ctx.aten("permute.default", shape, self=whole, dims=[0, 2, 1, 3])
    return [whole, *made[1:]]
