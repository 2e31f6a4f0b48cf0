"""Operations of ONNX with weights, and pools: what slides a window, multiplies matrices, normalises or remembers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from costcalc.frontends.call import Value
from costcalc.frontends.onnx.node import Node, broadcast, node
from costcalc.frontends.onnx.walk import Tensor
from costcalc.ir.ops.norm import LocalResponseNorm


class _Windows(NamedTuple):
    """How a window slides, by axis: padding before and after, of which torch knows one that is the same."""

    kernel: list[int]
    stride: list[int]
    dilation: list[int]
    before: list[int]
    after: list[int]

    def places(self, plane: Sequence[int], ceil_mode: bool = False) -> list[int]:
        """How many places the window has on each axis."""
        result = []
        for n, k, s, d, a, b in zip(plane, *self, strict=True):
            slack = n + a + b - d * (k - 1) - 1
            count = (-(-slack // s) if ceil_mode else slack // s) + 1
            if ceil_mode and (count - 1) * s >= n + a:
                count -= 1
            result.append(count)
        return result


def _windows(this: Node, plane: Sequence[int], kernel: Sequence[int]) -> _Windows:
    """How a node's window slides, `auto_pad` worked out."""
    rank = len(plane)
    kernel = list(this.attribute("kernel_shape", kernel))
    stride = list(this.attribute("strides", [1] * rank))
    dilation = list(this.attribute("dilations", [1] * rank))
    pads = list(this.attribute("pads", [0] * 2 * rank))
    if not len(kernel) == len(stride) == len(dilation) == rank or len(pads) != 2 * rank:
        raise ValueError(f"its kernel, strides, dilations and pads are not those of {rank} dimensions")
    if min(*kernel, *stride, *dilation) < 1:
        raise ValueError("its kernel, strides and dilations must be at least 1")
    auto = this.attribute("auto_pad", "NOTSET")
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
    return _Windows(kernel, stride, dilation, before, after)


def _padded(this: Node, x: Tensor, windows: _Windows, value: float = 0.0) -> tuple[Tensor, _Windows]:
    """The input padded by a layer of its own, where padding differs at the ends; and the windows on it."""
    if windows.before == windows.after and min(windows.before, default=0) >= 0:
        return x, windows
    plane = [n + a + b for n, a, b in zip(x.shape[2:], windows.before, windows.after, strict=True)]
    ends = [n for pair in zip(reversed(windows.before), reversed(windows.after), strict=True) for n in pair]
    padded = this.aten("pad.default", (*x.shape[:2], *plane), self=x, pad=ends, mode="constant", value=value)
    return padded, windows._replace(before=[0] * len(plane), after=[0] * len(plane))


@node("Conv")
def _conv(this: Node) -> Tensor:
    x, weight = this.x, this[1]
    rank = len(x.shape) - 2
    if rank < 1 or len(weight.shape) != rank + 2:
        raise ValueError(
            f"takes an input and weights of equally many sizes, not {len(x.shape)} and {len(weight.shape)}"
        )
    group, out = this.attribute("group", 1), weight.shape[0]
    if weight.shape[1] * group != x.shape[1]:
        raise ValueError(f"has weights for {weight.shape[1] * group} channels, and takes {x.shape[1]}")
    x, windows = _padded(this, x, _windows(this, x.shape[2:], weight.shape[2:]))
    if windows.kernel != list(weight.shape[2:]):
        raise ValueError(f"has a kernel of {windows.kernel}, and weights of {list(weight.shape)}")
    return this.aten(
        f"conv{rank}d.default", (x.shape[0], out, *windows.places(x.shape[2:])),
        input=x, weight=weight, bias=this.weight(2, (out,)), stride=windows.stride, padding=windows.before,
        dilation=windows.dilation, groups=group,
    )  # fmt: skip


@node("ConvTranspose")
def _conv_transpose(this: Node) -> Tensor:
    x, weight = this.x, this[1]
    rank = len(x.shape) - 2
    if rank < 1 or len(weight.shape) != rank + 2 or weight.shape[0] != x.shape[1]:
        raise ValueError(f"has weights of {list(weight.shape)}, and takes {list(x.shape)}")
    group = this.attribute("group", 1)
    windows = _windows(this, x.shape[2:], weight.shape[2:])
    more = list(this.attribute("output_padding", [0] * rank))
    full = [
        s * (n - 1) + p + d * (k - 1) + 1
        for n, s, p, d, k in zip(x.shape[2:], windows.stride, more, windows.dilation, windows.kernel, strict=True)
    ]
    before, after = windows.before, windows.after
    asked = this.attribute("output_shape")
    auto = this.attribute("auto_pad", "NOTSET")
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
    made = this.aten(
        f"conv_transpose{rank}d.{'default' if rank == 1 else 'input'}",
        (x.shape[0], out, *[n - 2 * p for n, p in zip(full, padding, strict=True)]),
        input=x, weight=weight, bias=this.weight(2, (out,)), stride=windows.stride, padding=padding,
        output_padding=more, groups=group, dilation=windows.dilation,
    )  # fmt: skip
    for axis, (a, b, p) in enumerate(zip(before, after, padding, strict=True), start=2):
        if a != b:  # what torch cannot cut off by itself
            shape = list(made.shape)
            shape[axis] -= a + b - 2 * p
            start = a - p
            made = this.aten("slice.Tensor", shape, self=made, dim=axis, start=start, end=start + shape[axis], step=1)
    return made


# -- matrix products --------------------------------------------------------------------------------------------------


def _swapped(this: Node, x: Tensor) -> Tensor:
    """A matrix on its side."""
    return this.aten("permute.default", x.shape[::-1], self=x, dims=[1, 0])


def _linear(this: Node, x: Tensor, weight: Tensor, shape: tuple[int, int], bias: Tensor | None) -> Tensor:
    """A product with weights of shape (out, in), whichever way they are stored."""
    seen = Value(shape, "float", parameter=weight.parameter)
    weight = Tensor(weight.name, shape, weight.dtype, None, seen)
    return this.aten("linear.default", (*x.shape[:-1], shape[0]), input=x, weight=weight, bias=bias)


@node("Gemm")
def _gemm(this: Node) -> Tensor:
    x, other = this.x, this[1]
    if len(x.shape) != 2 or len(other.shape) != 2:
        raise ValueError(f"multiplies matrices, not {list(x.shape)} and {list(other.shape)}")
    if this.attribute("transA", 0):
        x = _swapped(this, x)
    turned = bool(this.attribute("transB", 0))
    inner, out = other.shape[::-1] if turned else other.shape
    if x.shape[1] != inner:
        raise ValueError(f"cannot multiply {list(x.shape)} and {[inner, out]}")
    alpha, bias = this.attribute("alpha", 1.0), this.get(2)
    own = bias is not None and (bias.parameter is None or math.prod(bias.shape) != out or alpha != 1)
    if other.parameter is not None:
        made = _linear(this, x, other, (out, inner), None if own or bias is None else this.weight(2, (out,)))
    else:
        made = this.aten("matmul.default", (x.shape[0], out), self=x, other=_swapped(this, other) if turned else other)
        own = bias is not None
    if alpha != 1:
        made = this.aten("mul.Tensor", made.shape, self=made, other=alpha)
    if own and this.weight(2) is not None:
        number = this[2].number
        other_term: Any = this[2] if number is None else number
        made = this.aten("add.Tensor", broadcast(made.shape, this[2].shape), self=made, other=other_term, alpha=1)
    return made


@node("MatMul", "costcalc.Linear")
def _matmul(this: Node) -> Tensor:
    a, b = this.x, this[1]
    if not a.shape or not b.shape:
        raise ValueError("multiplies no numbers")
    inner = b.shape[-2] if len(b.shape) > 1 else b.shape[0]
    if a.shape[-1] != inner:
        raise ValueError(f"cannot multiply {list(a.shape)} and {list(b.shape)}")
    if b.parameter is not None and len(b.shape) == 2:
        out = b.shape[1]
        return _linear(this, a, b, (out, inner), this.weight(2, (out,)))
    shape = broadcast(a.shape[:-2], b.shape[:-2]) if len(a.shape) > 2 or len(b.shape) > 2 else ()
    shape += (a.shape[-2],) * (len(a.shape) > 1) + (b.shape[-1],) * (len(b.shape) > 1)
    return this.aten("matmul.default", shape, self=a, other=b)


@node("Einsum")
def _einsum(this: Node) -> Tensor:
    equation = this.attribute("equation").replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if "." in equation or len(terms) != len(this.inputs):
        (made, *_) = this.unknown()
        assert made is not None  # its only result is used
        return made
    sizes: dict[str, int] = {}
    for term, tensor in zip(terms, [this[place] for place in range(len(terms))], strict=True):
        for letter, size in zip(term, tensor.shape, strict=True):
            if sizes.setdefault(letter, size) == 1:
                sizes[letter] = size
    if not arrow:
        right = "".join(sorted(letter for letter in sizes if left.count(letter) == 1))
    shape = [sizes[letter] for letter in right]
    return this.aten("einsum.default", shape, equation=f"{left}->{right}", tensors=list(this.inputs), path=None)


@node("Attention")
def _attention(this: Node) -> list[Tensor | None]:
    query, key, value, mask = this.x, this[1], this[2], this.get(3)
    if this.get(4) is not None or this.get(5) is not None or any(map(this.used, (1, 2, 3))):
        return this.unknown()
    heads, shared = this.attribute("q_num_heads", 0), this.attribute("kv_num_heads", 0)
    flat = len(query.shape) == 3
    if flat:
        query, key, value = (_heads(this, x, n) for x, n in ((query, heads), (key, shared), (value, shared)))
    shape = (*query.shape[:-1], value.shape[-1])
    made = this.aten(
        "scaled_dot_product_attention.default", shape, query=query, key=key, value=value, attn_mask=mask,
        dropout_p=0.0, is_causal=bool(this.attribute("is_causal", 0)), scale=this.attribute("scale"),
        enable_gqa=query.shape[1] != key.shape[1],
    )  # fmt: skip
    if flat:
        batch, heads, length, each = made.shape
        made = this.aten("permute.default", (batch, length, heads, each), self=made, dims=[0, 2, 1, 3])
        joined = (batch, length, heads * each)
        made = this.aten("reshape.default", joined, self=made, shape=list(joined))
    return [made]


@node("costcalc.Attention")
def _attention_written_out(this: Node) -> Tensor:
    query, turned, value = this.x, this[1], this[2]
    order = [*range(len(turned.shape) - 2), len(turned.shape) - 1, len(turned.shape) - 2]
    key = this.aten("permute.default", [turned.shape[place] for place in order], self=turned, dims=order)
    return this.aten(
        "scaled_dot_product_attention.default", (*query.shape[:-1], value.shape[-1]), query=query, key=key, value=value,
        attn_mask=this.get(3), dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False,
    )  # fmt: skip


def _heads(this: Node, x: Tensor, heads: int) -> Tensor:
    """Vectors cut into heads, which come before the sequence."""
    batch, length, size = x.shape
    if heads < 1 or size % heads:
        raise ValueError(f"cannot split {size} into {heads} heads")
    cut = (batch, length, heads, size // heads)
    split = this.aten("reshape.default", cut, self=x, shape=list(cut))
    return this.aten("permute.default", (batch, heads, length, size // heads), self=split, dims=[0, 2, 1, 3])


# -- normalisation ----------------------------------------------------------------------------------------------------


@node("BatchNormalization")
def _batch_norm(this: Node) -> list[Tensor | None]:
    channels = (this.x.shape[1],)
    scale, bias = this[1], this[2]
    for place in (1, 2, 3, 4):
        if this[place].shape != channels:
            raise ValueError(f"takes {channels[0]} channels, and has {this[place].shape} for input {place}")
    more = {"momentum": 1 - this.attribute("momentum", 0.9), "eps": this.attribute("epsilon", 1e-5)}
    mean, variance = this[3], this[4]
    made = this.aten(
        "batch_norm.default", this.x.shape, input=this.x, weight=scale, bias=bias, running_mean=mean,
        running_var=variance, training=False, cudnn_enabled=True, **more,
    )  # fmt: skip
    return [made]


def _affine(this: Node) -> tuple[Tensor | None, Tensor | None]:
    """Scale and shift, where they are learnt; those that a file writes as ones and zeros are none."""
    scale, shift = this[1], this.get(2)
    ones = scale.parameter is None and scale.constant is not None and (scale.constant == 1).all()
    zeros = shift is None or (shift.parameter is None and shift.constant is not None and not shift.constant.any())
    return (None, None) if ones and zeros else (scale, shift)


@node("InstanceNormalization")
def _instance_norm(this: Node) -> Tensor:
    scale, shift = _affine(this)
    return this.aten(
        "instance_norm.default", this.x.shape, input=this.x, weight=scale, bias=shift, running_mean=None,
        running_var=None, use_input_stats=True, momentum=0.1, eps=this.attribute("epsilon", 1e-5), cudnn_enabled=True,
    )  # fmt: skip


@node("GroupNormalization")
def _group_norm(this: Node) -> Tensor | list[Tensor | None]:
    scale, shift = _affine(this)
    if scale is not None and scale.shape != (this.x.shape[1],):  # before opset 21 one of a group, which torch has not
        return this.aten("", this.x.shape, inputs=list(this.inputs))
    return this.aten(
        "group_norm.default", this.x.shape, input=this.x, num_groups=this.attribute("num_groups"), weight=scale,
        bias=shift, eps=this.attribute("epsilon", 1e-5), cudnn_enabled=True,
    )  # fmt: skip


@node("LayerNormalization", "RMSNormalization")
def _layer_norm(this: Node) -> list[Tensor | None]:
    axis = this.attribute("axis", -1) % len(this.x.shape)
    normalized, eps = this.x.shape[axis:], this.attribute("epsilon", 1e-5)
    given = {"input": this.x, "normalized_shape": list(normalized), "weight": this.weight(1, normalized), "eps": eps}
    if any(map(this.used, (1, 2))):
        return this.unknown()
    if this.step.kind == "RMSNormalization":
        return [this.aten("rms_norm.default", this.x.shape, **given)]
    given |= {"bias": this.weight(2, normalized), "cudnn_enable": True}
    return [this.aten("layer_norm.default", this.x.shape, **given)]


@node("LRN")
def _lrn(this: Node) -> Tensor:
    more = {"alpha": this.attribute("alpha", 1e-4), "beta": this.attribute("beta", 0.75)}
    op = LocalResponseNorm(this.attribute("size"), k=this.attribute("bias", 1.0), **more)
    return this.layer(op, this.x.shape, this.x)


@node("PRelu")
def _prelu(this: Node) -> Tensor:
    slope = this[1]
    several = math.prod(slope.shape)
    if slope.parameter is None or several not in (1, this.x.shape[1] if len(this.x.shape) > 1 else 1):
        return this.aten("", broadcast(this.x.shape, slope.shape), inputs=[this.x, slope])
    return this.aten("prelu.default", this.x.shape, self=this.x, weight=this.weight(1, (several,)))


# -- pools ------------------------------------------------------------------------------------------------------------


@node("MaxPool")
def _max_pool(this: Node) -> list[Tensor | None]:
    rank, ceil = len(this.x.shape) - 2, bool(this.attribute("ceil_mode", 0))
    x, windows = _pooled(this, -math.inf)
    shape = (*x.shape[:2], *windows.places(x.shape[2:], ceil))
    given = {
        "self": x, "kernel_size": windows.kernel, "stride": windows.stride, "padding": windows.before,
        "dilation": windows.dilation, "ceil_mode": ceil,
    }  # fmt: skip
    if this.used(1):
        results = [(shape, x.dtype), (shape, "int64")]
        return this.aten_all(f"max_pool{rank}d_with_indices.default", results, **given)
    return [this.aten(f"max_pool{rank}d.default", shape, **given)]


@node("AveragePool")
def _average_pool(this: Node) -> Tensor:
    rank, ceil = len(this.x.shape) - 2, bool(this.attribute("ceil_mode", 0))
    x, windows = _pooled(this, 0.0)
    shape = (*x.shape[:2], *windows.places(x.shape[2:], ceil))
    if any(d != 1 for d in windows.dilation):
        return this.aten("", shape, inputs=[x])
    given = {
        "self": x, "kernel_size": windows.kernel, "stride": windows.stride, "padding": windows.before,
        "ceil_mode": ceil, "count_include_pad": bool(this.attribute("count_include_pad", 0)),
    }  # fmt: skip
    if rank > 1:
        given["divisor_override"] = None
    return this.aten(f"avg_pool{rank}d.default", shape, **given)


def _pooled(this: Node, value: float) -> tuple[Tensor, _Windows]:
    """What a pool slides over; torch pads by half a kernel at most."""
    x = this.x
    if len(x.shape) < 3:
        raise ValueError(f"takes an input of 3 sizes or more, not {list(x.shape)}")
    windows = _windows(this, x.shape[2:], ())
    if any(pad > kernel // 2 for pad, kernel in zip(windows.before, windows.kernel, strict=True)):
        plane = [n + a + b for n, a, b in zip(x.shape[2:], windows.before, windows.after, strict=True)]
        ends = [n for pair in zip(reversed(windows.before), reversed(windows.after), strict=True) for n in pair]
        x = this.aten("pad.default", (*x.shape[:2], *plane), self=x, pad=ends, mode="constant", value=value)
        return x, windows._replace(before=[0] * len(plane), after=[0] * len(plane))
    return _padded(this, x, windows, value)


@node("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(this: Node) -> Tensor:
    rank = len(this.x.shape) - 2
    shape = (*this.x.shape[:2], *[1] * rank)
    if this.step.kind == "GlobalMaxPool":
        return this.aten("amax.default", shape, self=this.x, dim=list(range(2, rank + 2)), keepdim=True)
    if 1 <= rank <= 3:
        return this.aten(f"adaptive_avg_pool{rank}d.default", shape, self=this.x, output_size=[1] * rank)
    return this.aten("mean.dim", shape, self=this.x, dim=list(range(2, rank + 2)), keepdim=True, dtype=None)


# -- recurrent layers -------------------------------------------------------------------------------------------------


@node("LSTM", "GRU", "RNN")
def _recurrent(this: Node) -> list[Tensor | None]:
    kind, x = this.step.kind, this.x
    directions = 2 if this.attribute("direction", "forward") == "bidirectional" else 1
    hidden, first = this.attribute("hidden_size", this[2].shape[-1]), bool(this.attribute("layout", 0))
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
    length, batch = x.shape[1::-1] if first else x.shape[:2]
    if this[1].shape != (directions, gates * hidden, x.shape[2]) or this[2].shape != (
        directions,
        gates * hidden,
        hidden,
    ):
        raise ValueError(f"has weights of {list(this[1].shape)} and {list(this[2].shape)} for {hidden} features")
    activations = [name.lower() for name in this.attribute("activations", ["tanh"])]
    biased = this.get(3) is not None and (this[3].parameter is not None or this.weight(3) is not None)
    parts = this.walk.parts_of(this.step)
    each = [(gates * hidden, x.shape[2]), (gates * hidden, hidden), *[(gates * hidden,)] * 2 * biased] * directions
    if this.get(7) is not None or len(parts) != len(each) or (kind == "RNN" and activations[0] not in ("tanh", "relu")):
        return this.unknown()  # weights for cells, or those that are computed
    weights = [
        Tensor(part, shape, x.dtype, None, Value(shape, "float", parameter=part))
        for part, shape in zip(parts, each, strict=True)
    ]
    state = (directions, batch, hidden)
    states = []
    for place in (5, 6)[: 1 + (kind == "LSTM")]:
        given = this.get(place)
        states.append(given if given is not None else Tensor(f"{this.step.outputs[0]}.state{place}", state, x.dtype))
    operation = {"LSTM": "lstm.input", "GRU": "gru.input", "RNN": f"rnn_{activations[0]}.input"}[kind]
    joined = (batch, length, directions * hidden) if first else (length, batch, directions * hidden)
    results = [(joined, x.dtype), *[(state, x.dtype)] * len(states)]
    made = this.aten_all(
        operation, results, input=x, hx=states if kind == "LSTM" else states[0], params=weights,
        has_biases=biased, num_layers=1, dropout=0.0, train=False, bidirectional=directions == 2, batch_first=first,
    )  # fmt: skip
    whole = made[0]
    if whole is not None and this.used(0):
        apart = (*joined[:2], directions, hidden)
        whole = this.aten("reshape.default", apart, self=whole, shape=list(apart))
        if not first:
            shape = (length, directions, batch, hidden)
            whole = this.aten("permute.default", shape, self=whole, dims=[0, 2, 1, 3])
    return [whole, *made[1:]]
