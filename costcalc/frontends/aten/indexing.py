"""Translators of advanced indexing, gather, scatter, sort and topk."""

from __future__ import annotations

from typing import Any

from costcalc.core.sizes import ceil_div, is_plain
from costcalc.frontends.aten.base import aten_op, overload_names
from costcalc.frontends.aten.copies import cast
from costcalc.frontends.aten.shape import expand, reshape
from costcalc.frontends.call import Call, UnsupportedOp, Value
from costcalc.ir.ops.indexing import (
    Argsort,
    Gather,
    Index,
    IndexAdd,
    IndexPut,
    IndexSelect,
    Kthvalue,
    MaskedScatter,
    OneHot,
    Scatter,
    ScatterAdd,
    ScatterReduce,
    SelectScatter,
    SliceScatter,
    Sort,
    Topk,
)
from costcalc.ir.ops.shape import Flatten


@aten_op(
    "nonzero.default", "nonzero_numpy.default", "masked_select.default", "_unique2.default", "_unique.default",
    "unique_consecutive.default", "unique_dim.default", "argwhere.default", "repeat_interleave.Tensor",
    "repeat_interleave.self_Tensor",
)  # fmt: skip
def _(_: Call) -> Value:
    raise UnsupportedOp("the size of the result depends on the data")


def _indexed_dims(indices: list[Any]) -> tuple[tuple[int, ...], list[Value]]:
    """Return the dimensions that are indexed, and their indices. Raises UnsupportedOp for a mask."""
    present = {d: index for d, index in enumerate(indices) if index is not None}
    if any(index.element_type in ("bool", "uint8") for index in present.values()):
        raise UnsupportedOp("the size of the result depends on the data")
    return tuple(present), list(present.values())


@aten_op("index.Tensor")
def _(call: Call) -> Value:
    dims, indices = _indexed_dims(call["indices"])
    return call.layer(Index(dims), call["self"], *indices) if dims else call["self"]


@aten_op(*overload_names("index_put"), "_unsafe_index_put.default")
def _(call: Call) -> Value:
    dims, indices = _indexed_dims(call["indices"])
    values = cast(call, call["values"], call["self"].element_type)
    op = IndexPut(dims, accumulate=bool(call["accumulate"]), overwrites=call.is_in_place)
    return call.layer(op, call["self"], *indices, values)


@aten_op("index_select.default")
def _(call: Call) -> Value:
    return call.layer(IndexSelect(call["dim"]), call["self"], call["index"])


@aten_op("gather.default")
def _(call: Call) -> Value:
    return call.layer(Gather(call["dim"]), call["self"], call["index"])


@aten_op("take.default")
def _(call: Call) -> Value:
    x, index = (call.layer(Flatten(0, -1), y) if len(y.shape) > 1 else y for y in (call["self"], call["index"]))
    return reshape(call, call.layer(Gather(0), x, index), call.shape)


@aten_op("take_along_dim.default")
def _(call: Call) -> Value:
    x, index, dim = call["self"], call["indices"], call["dim"]
    if dim is None:
        x, index = (call.layer(Flatten(0, -1), y) if len(y.shape) > 1 else y for y in (x, index))
        return call.layer(Gather(0), x, index)
    dim = dim % len(x.shape)
    source_shape = tuple([n if d != dim else x.shape[d] for d, n in enumerate(call.shape)])
    return call.layer(Gather(dim), expand(call, x, source_shape), expand(call, index, call.shape))


@aten_op(*overload_names("scatter", "src", "value"))
def _(call: Call) -> Value:
    source = [call["src"]] if call.overload == "src" else []
    op = Scatter(call["dim"], overwrites=call.is_in_place)
    return call.layer(op, call["self"], call["index"], *source)


@aten_op(*overload_names("scatter_add"))
def _(call: Call) -> Value:
    op = ScatterAdd(call["dim"], overwrites=call.is_in_place)
    return call.layer(op, call["self"], call["index"], call["src"])


@aten_op(*overload_names("scatter_reduce", "two"))
def _(call: Call) -> Value:
    op = ScatterReduce(call["dim"], call["reduce"], bool(call["include_self"]), overwrites=call.is_in_place)
    return call.layer(op, call["self"], call["index"], call["src"])


@aten_op(*overload_names("masked_scatter"))
def _(call: Call) -> Value:
    op = MaskedScatter(overwrites=call.is_in_place)
    return call.layer(op, call["self"], call["mask"], call["source"])


@aten_op(*overload_names("index_add"))
def _(call: Call) -> Value:
    op = IndexAdd(call["dim"], overwrites=call.is_in_place)
    return call.layer(op, call["self"], call["index"], call["source"])


@aten_op("slice_scatter.default")
def _(call: Call) -> Value:
    x, source, dim, start, step = (call[name] for name in ("self", "src", "dim", "start", "step"))
    if not is_plain(start or 0) or not is_plain(step):
        raise UnsupportedOp("start or step is a symbolic size")
    start = start or 0
    if start < 0:
        start = start + x.shape[dim]
    position = dim % len(x.shape)
    shape = (*x.shape[:position], source.shape[dim], *x.shape[position + 1 :])
    source = expand(call, cast(call, source, x.element_type), shape)
    return call.layer(SliceScatter(dim, start, step), x, source)


@aten_op("select_scatter.default")
def _(call: Call) -> Value:
    return call.layer(SelectScatter(call["dim"], call["index"]), call["self"], call["src"])


@aten_op("topk.default")
def _(call: Call) -> tuple[Value, ...]:
    op = Topk(k=call["k"], dim=call["dim"], largest=call["largest"], sorted=call["sorted"])
    return call.layer_outputs(op, call["self"])


@aten_op("kthvalue.default")
def _(call: Call) -> tuple[Value, ...]:
    return call.layer_outputs(Kthvalue(k=call["k"], dim=call["dim"], keepdim=call["keepdim"]), call["self"])


@aten_op("median.dim")
def _(call: Call) -> tuple[Value, ...]:
    """Translate to `kthvalue`; of an even number of elements, torch returns the lower one of the middle two."""
    x, dim = call["self"], call["dim"]
    return call.layer_outputs(Kthvalue(k=ceil_div(x.shape[dim], 2), dim=dim, keepdim=call["keepdim"]), x)


@aten_op("sort.default", "sort.stable")
def _(call: Call) -> tuple[Value, ...]:
    return call.layer_outputs(Sort(call["dim"], descending=call["descending"]), call["self"])


@aten_op("msort.default")
def _(call: Call) -> Value:
    return call.layer(Sort(0), call["self"])


@aten_op("argsort.default", "argsort.stable")
def _(call: Call) -> Value:
    return call.layer(Argsort(call["dim"], descending=call["descending"]), call["self"])


@aten_op("one_hot.default")
def _(call: Call) -> Value:
    if not call.shape or (is_plain(call["num_classes"]) and call["num_classes"] < 0):
        raise UnsupportedOp("the size of the result depends on the data")
    return call.layer(OneHot(call["num_classes"]), call["self"])
