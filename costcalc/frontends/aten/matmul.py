"""Convolutions, matrix products, einsum, attention and embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from string import ascii_letters
from typing import Any

from costcalc.frontends.aten import aten
from costcalc.frontends.aten.shape import pad
from costcalc.frontends.call import Call, UnsupportedOp, Value
from costcalc.ir.ops import OPS
from costcalc.ir.ops.embedding import Embedding, EmbeddingBag
from costcalc.ir.ops.linear import Bilinear, Linear
from costcalc.ir.ops.matmul import Addmm, Baddbmm, Cdist, Einsum, Matmul, ScaledDotProductAttention, parse_equation
from costcalc.ir.ops.shape import Squeeze, Unsqueeze


def _per_axis(values: Any, count: int) -> tuple[Any, ...]:
    """One value for each axis, where one may stand for all."""
    given = tuple(values) if isinstance(values, Sequence) else (values,)
    return given * count if len(given) == 1 else given


def _convolve(
    call: Call, padding: Any, *, transposed: bool = False, output_padding: Any = 0, x: Value | None = None
) -> Value:
    weight, bias = call["weight"], call["bias"]
    plane = len(weight.shape) - 2
    fields: dict[str, Any] = {
        "kernel_size": tuple(weight.shape[2:]),
        "stride": _per_axis(call["stride"], plane),
        "padding": _per_axis(padding, plane),
        "dilation": _per_axis(call["dilation"], plane),
        "groups": call["groups"],
        "bias": bias is not None,
    }
    channels = weight.shape[0]
    if transposed:
        fields["output_padding"] = _per_axis(output_padding, plane)
        channels = weight.shape[1] * call["groups"]
    x = x or call["input"]
    alone = len(x.shape) == plane + 1  # an image without a batch
    if alone:
        x = call.layer(Unsqueeze(0), x)
    name = f"conv_transpose{plane}d" if transposed else f"conv{plane}d"
    made = call.layer(OPS[name](channels, **fields), x, weight=weight, bias=bias)
    return call.layer(Squeeze((0,)), made) if alone else made


@aten("conv1d.default", "conv2d.default", "conv3d.default")
def _(call: Call) -> Value:
    return _convolve(call, call["padding"])


@aten("conv1d.padding", "conv2d.padding", "conv3d.padding")
def _(call: Call) -> Value:
    """Padding in words; where "same" is an odd number of places, one more is put at the far end, as torch does."""
    if call["padding"] == "valid":
        return _convolve(call, 0)
    kernel = call["weight"].shape[2:]
    both = [d * (k - 1) for d, k in zip(_per_axis(call["dilation"], len(kernel)), kernel, strict=True)]
    near = [total // 2 for total in both]
    more = [total - 2 * least for total, least in zip(both, near, strict=True)]
    sides = [side for further in reversed(more) for side in (0, further)]
    return _convolve(call, near, x=pad(call, call["input"], sides, "constant"))


@aten("conv_transpose1d.default", "conv_transpose2d.input", "conv_transpose3d.input")
def _(call: Call) -> Value:
    return _convolve(call, call["padding"], transposed=True, output_padding=call["output_padding"])


@aten("convolution.default", "_convolution.default")
def _(call: Call) -> Value:
    return _convolve(call, call["padding"], transposed=bool(call["transposed"]), output_padding=call["output_padding"])


@aten("linear.default")
def _(call: Call) -> Value:
    weight, bias = call["weight"], call["bias"]
    if len(weight.shape) != 2:
        raise UnsupportedOp("its weight is no matrix")
    op = Linear(weight.shape[0], bias=bias is not None)
    return call.layer(op, call["input"], weight=weight, bias=bias)


@aten("bilinear.default")
def _(call: Call) -> Value:
    weight, bias = call["weight"], call["bias"]
    op = Bilinear(weight.shape[0], bias=bias is not None)
    return call.layer(op, call["input1"], call["input2"], weight=weight, bias=bias)


# -- products of tensors ------------------------------------------------------------------------------------------


@aten("matmul.default", "linalg_matmul.default")
def _(call: Call) -> Value:
    first = "self" if "self" in call.arguments else "input"
    return call.layer(Matmul(), call[first], call["other"])


@aten("mm.default", "bmm.default")
def _(call: Call) -> Value:
    return call.layer(Matmul(), call["self"], call["mat2"])


@aten("mv.default")
def _(call: Call) -> Value:
    return call.layer(Matmul(), call["self"], call["vec"])


@aten("dot.default")
def _(call: Call) -> Value:
    return call.layer(Matmul(), call["self"], call["tensor"])


def _add_product(call: Call, kind: type[Addmm] | type[Baddbmm], first: str, second: str) -> Value:
    scales = {name: call[name] for name in ("beta", "alpha")}
    if not all(isinstance(scale, (int, float)) for scale in scales.values()):
        raise UnsupportedOp("it is scaled by a size")
    op = kind(**{name: float(scale) for name, scale in scales.items()})
    return call.layer(op, call["self"], call[first], call[second])


@aten("addmm.default")
def _(call: Call) -> Value:
    return _add_product(call, Addmm, "mat1", "mat2")


@aten("baddbmm.default")
def _(call: Call) -> Value:
    return _add_product(call, Baddbmm, "batch1", "batch2")


@aten("outer.default", "ger.default")
def _(call: Call) -> Value:
    return call.layer(Einsum("i,j->ij"), call["self"], call["vec2"])


@aten("inner.default")
def _(call: Call) -> Value:
    a, b = call["self"], call["other"]
    letters = iter(ascii_letters)
    rows = "".join(next(letters) for _ in a.shape[:-1]), "".join(next(letters) for _ in b.shape[:-1])
    return call.layer(Einsum(f"{rows[0]}Z,{rows[1]}Z->{rows[0]}{rows[1]}"), a, b)


@aten("tensordot.default")
def _(call: Call) -> Value:
    a, b = call["self"], call["other"]
    first = list(ascii_letters[: len(a.shape)])
    second = list(ascii_letters[len(a.shape) :][: len(b.shape)])
    pairs = [(i % len(first), j % len(second)) for i, j in zip(call["dims_self"], call["dims_other"], strict=True)]
    for i, j in pairs:
        second[j] = first[i]
    summed = {first[i] for i, _ in pairs}
    kept = "".join(letter for letter in (*first, *second) if letter not in summed)
    return call.layer(Einsum(f"{''.join(first)},{''.join(second)}->{kept}"), a, b)


@aten("einsum.default")
def _(call: Call) -> Value:
    """More than two tensors are multiplied pair by pair, in the order that is given, or from the left on."""
    tensors: list[Value] = list(call["tensors"])
    equation, path = call["equation"], call["path"]
    if len(tensors) <= 2:
        return call.layer(Einsum(equation.replace(" ", "")), *tensors)
    indices = parse_equation(equation, tuple(len(tensor.shape) for tensor in tensors))
    free = [letter for letter in ascii_letters if letter not in equation]
    named = {letter: free.pop() for term in indices.inputs for letter in term if letter.isdigit()}
    terms = ["".join(named.get(letter, letter) for letter in term) for term in indices.inputs]
    output = "".join(named.get(letter, letter) for letter in indices.output)
    pairs = list(zip(path[::2], path[1::2], strict=True)) if path else [(0, 1)] * (len(tensors) - 1)
    for i, j in pairs:
        chosen = [(terms[place], tensors[place]) for place in (i, j)]
        rest = [place for place in range(len(terms)) if place not in (i, j)]
        terms, tensors = [terms[place] for place in rest], [tensors[place] for place in rest]
        needed = {*output, *"".join(terms)}
        (a, x), (b, y) = chosen
        made = output if not rest else "".join(letter for letter in dict.fromkeys(a + b) if letter in needed)
        place = len(terms) if path else 0
        terms.insert(place, made)
        tensors.insert(place, call.layer(Einsum(f"{a},{b}->{made}"), x, y))
    return tensors[0]


@aten("scaled_dot_product_attention.default")
def _(call: Call) -> Value:
    scale = call["scale"]
    if scale is not None and not isinstance(scale, (int, float)):
        raise UnsupportedOp("its scale depends on sizes")
    op = ScaledDotProductAttention(
        float(call["dropout_p"]),
        bool(call["is_causal"]),
        None if scale is None else float(scale),
        bool(call["enable_gqa"]),
    )
    operands: list[Value | None] = [call["query"], call["key"], call["value"], call["attn_mask"]]
    return call.layer(op, *[operand for operand in operands if operand is not None])


@aten("embedding.default")
def _(call: Call) -> Value:
    weight = call["weight"]
    return call.layer(Embedding(*weight.shape), call["indices"], weight=weight)


@aten("embedding_bag.default", "embedding_bag.padding_idx")
def _(call: Call) -> list[Value | None]:
    """Its further results are what torch keeps for the gradient."""
    if call["per_sample_weights"] is not None:
        raise UnsupportedOp("its rows are weighted")
    weight = call["weight"]
    last = bool(call["include_last_offset"])
    rows, width = weight.shape
    op = EmbeddingBag(rows, width, mode=("sum", "mean", "max")[call["mode"]], include_last_offset=last)
    return [call.layer(op, call["indices"], call["offsets"], weight=weight), *[None] * (len(call.results) - 1)]


@aten("cdist.default", "_cdist_forward.default")
def _(call: Call) -> Value:
    """By no matrix product, which torch has for many rows: it is no other function."""
    p = call["p"]
    return call.layer(Cdist("inf" if p == inf else p), call["x1"], call["x2"])
