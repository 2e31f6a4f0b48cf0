"""Translators of slices, selections, diagonals and windows: views of a part of a tensor."""

from __future__ import annotations

from typing import Any

from costcalc.core.sizes import Size, check_relation, identical, is_plain
from costcalc.frontends.aten.base import aten_op
from costcalc.frontends.aten.shape import reshape
from costcalc.frontends.call import Call, UnsupportedOp, Value
from costcalc.ir.ops.shape import Squeeze
from costcalc.ir.ops.slicing import Diagonal, Select, Slice, TensorUnfold


def slice_dim(call: Call, x: Value, dim: int, start: Any, length: Size, step: int = 1) -> Value:
    """Return `length` elements of a dimension from `start` on, without a layer if these are all elements."""
    n = x.shape[dim]
    if identical(length, n) and step == 1:
        return x
    if is_plain(length) and length == 0:
        return Value((*x.shape[:dim], 0, *x.shape[dim:][1:]), x.element_type)
    start = 0 if start is None else start
    if check_relation(start, ">=", 0).answer is False:  # counted from the end
        start = start + n
    if is_plain(start) and is_plain(n):
        start = min(max(start, 0), n)
    stop = start + (length - 1) * step + 1 if step > 1 else start + length
    to_end = identical(stop, n) or (is_plain(n) and is_plain(stop) and stop > n - step)
    return call.layer(Slice(dim, start, None if to_end else stop, step), x)


@aten_op("slice.Tensor")
def _(call: Call) -> Value:
    dim, step = call["dim"], call["step"]
    if not is_plain(step):
        raise UnsupportedOp("step is a symbolic size")
    return slice_dim(call, call["self"], dim, call["start"], call.shape[dim], step)


@aten_op("narrow.default")
def _(call: Call) -> Value:
    return slice_dim(call, call["self"], call["dim"], call["start"], call["length"])


@aten_op("select.int")
def _(call: Call) -> Value:
    x, dim, index = call["self"], call["dim"], call["index"]
    if is_plain(index):
        return call.layer(Select(dim, index), x)
    return call.layer(Squeeze(dim), slice_dim(call, x, dim, index, 1))


@aten_op("diagonal.default")
def _(call: Call) -> Value:
    return call.layer(Diagonal(call["offset"], call["dim1"], call["dim2"]), call["self"])


@aten_op("unfold.default")
def _(call: Call) -> Value:
    if not call["self"].shape:
        return reshape(call, call["self"], call.shape)
    return call.layer(TensorUnfold(call["dimension"], call["size"], call["step"]), call["self"])


def _split(call: Call, dim: int) -> list[Value]:
    """Return consecutive slices of the call's tensor, of the sizes that the results have."""
    pieces, start = [], 0
    for result in call.results:
        pieces.append(slice_dim(call, call["self"], dim, start, result.shape[dim]))
        start = start + result.shape[dim]
    return pieces


@aten_op(
    "split.Tensor", "split.sizes", "split_with_sizes.default", "chunk.default", "tensor_split.sections",
    "tensor_split.indices", "unsafe_split.Tensor", "unsafe_chunk.default", "unsafe_split_with_sizes.default",
    "split_with_sizes_copy.default", "split_copy.Tensor",
)  # fmt: skip
def _(call: Call) -> list[Value]:
    return _split(call, call["dim"])


@aten_op("hsplit.int", "vsplit.int", "hsplit.array", "vsplit.array")
def _(call: Call) -> list[Value]:
    return _split(call, 0 if call.operator == "vsplit" or len(call["self"].shape) == 1 else 1)


@aten_op("unbind.int", "unbind_copy.int")
def _(call: Call) -> list[Value]:
    return [call.layer(Select(call["dim"], index), call["self"]) for index in range(len(call.results))]
