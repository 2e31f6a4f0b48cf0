"""Translators of matrix products, einsum and pairwise distances."""

from __future__ import annotations

from math import inf
from string import ascii_letters

from costcalc.frontends.aten.base import aten_op
from costcalc.frontends.call import Call, UnsupportedOp, Value
from costcalc.ir.ops.matmul import Addmm, Baddbmm, Cdist, Einsum, Matmul, parse_equation


@aten_op("matmul.default", "linalg_matmul.default")
def _(call: Call) -> Value:
    first = "self" if "self" in call.arguments else "input"
    return call.layer(Matmul(), call[first], call["other"])


@aten_op("mm.default", "bmm.default")
def _(call: Call) -> Value:
    return call.layer(Matmul(), call["self"], call["mat2"])


@aten_op("mv.default")
def _(call: Call) -> Value:
    return call.layer(Matmul(), call["self"], call["vec"])


@aten_op("dot.default")
def _(call: Call) -> Value:
    return call.layer(Matmul(), call["self"], call["tensor"])


def _add_product(call: Call, op_class: type[Addmm] | type[Baddbmm], first: str, second: str) -> Value:
    scales = {name: call[name] for name in ("beta", "alpha")}
    if not all(isinstance(scale, (int, float)) for scale in scales.values()):
        raise UnsupportedOp("beta or alpha is a symbolic size")
    op = op_class(**{name: float(scale) for name, scale in scales.items()})
    return call.layer(op, call["self"], call[first], call[second])


@aten_op("addmm.default")
def _(call: Call) -> Value:
    return _add_product(call, Addmm, "mat1", "mat2")


@aten_op("baddbmm.default")
def _(call: Call) -> Value:
    return _add_product(call, Baddbmm, "batch1", "batch2")


@aten_op("outer.default", "ger.default")
def _(call: Call) -> Value:
    return call.layer(Einsum("i,j->ij"), call["self"], call["vec2"])


@aten_op("inner.default")
def _(call: Call) -> Value:
    a, b = call["self"], call["other"]
    letters = iter(ascii_letters)
    rows = "".join(next(letters) for _ in a.shape[:-1]), "".join(next(letters) for _ in b.shape[:-1])
    return call.layer(Einsum(f"{rows[0]}Z,{rows[1]}Z->{rows[0]}{rows[1]}"), a, b)


@aten_op("tensordot.default")
def _(call: Call) -> Value:
    a, b = call["self"], call["other"]
    first = list(ascii_letters[: len(a.shape)])
    second = list(ascii_letters[len(a.shape) :][: len(b.shape)])
    pairs = [(i % len(first), j % len(second)) for i, j in zip(call["dims_self"], call["dims_other"], strict=True)]
    for i, j in pairs:
        second[j] = first[i]
    summed = {first[i] for i, _ in pairs}
    output = "".join(letter for letter in (*first, *second) if letter not in summed)
    return call.layer(Einsum(f"{''.join(first)},{''.join(second)}->{output}"), a, b)


@aten_op("einsum.default")
def _(call: Call) -> Value:
    """Translate more than two operands to one `einsum` a pair, in the order of `path` or from left to right."""
    tensors: list[Value] = list(call["tensors"])
    equation, path = call["equation"], call["path"]
    if len(tensors) <= 2:
        return call.layer(Einsum(equation.replace(" ", "")), *tensors)
    indices = parse_equation(equation, tuple(len(tensor.shape) for tensor in tensors))
    unused = [letter for letter in ascii_letters if letter not in equation]
    # The dimensions of an ellipsis are digits in `indices`; they become letters here.
    letters = {index: unused.pop() for term in indices.inputs for index in term if index.isdigit()}
    terms = ["".join(letters.get(index, index) for index in term) for term in indices.inputs]
    output = "".join(letters.get(index, index) for index in indices.output)
    pairs = list(zip(path[::2], path[1::2], strict=True)) if path else [(0, 1)] * (len(tensors) - 1)
    for pair in pairs:
        (a, x), (b, y) = [(terms[operand], tensors[operand]) for operand in pair]
        rest = [operand for operand in range(len(terms)) if operand not in pair]
        terms, tensors = [terms[operand] for operand in rest], [tensors[operand] for operand in rest]
        needed = {*output, *"".join(terms)}
        product = output if not rest else "".join(index for index in dict.fromkeys(a + b) if index in needed)
        position = len(terms) if path else 0
        terms.insert(position, product)
        tensors.insert(position, call.layer(Einsum(f"{a},{b}->{product}"), x, y))
    return tensors[0]


@aten_op("cdist.default", "_cdist_forward.default")
def _(call: Call) -> Value:
    """Translate to differences of all pairs, also where torch computes the same distances by a matrix product."""
    p = call["p"]
    return call.layer(Cdist("inf" if p == inf else p), call["x1"], call["x2"])
