"""Elements picked by their numbers, put there, or put in order."""

from __future__ import annotations

from typing import Any

from costcalc.core.sizes import ceil_div, is_plain
from costcalc.frontends.aten import aten
from costcalc.frontends.aten.shape import cast, expand, reshape
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


@aten(
    "nonzero.default", "nonzero_numpy.default", "masked_select.default", "_unique2.default", "_unique.default",
    "unique_consecutive.default", "unique_dim.default", "argwhere.default", "repeat_interleave.Tensor",
    "repeat_interleave.self_Tensor",
)  # fmt: skip
def _(_: Call) -> Value:
    raise UnsupportedOp("its size depends on the data")


def _indexed_dims(indices: list[Any]) -> tuple[tuple[int, ...], list[Value]]:
    """Which dimensions are indexed, and by what."""
    given = {d: index for d, index in enumerate(indices) if index is not None}
    if any(index.element_type in ("bool", "uint8") for index in given.values()):
        raise UnsupportedOp("its size depends on the data")
    return tuple(given), list(given.values())


@aten("index.Tensor")
def _(call: Call) -> Value:
    dims, indices = _indexed_dims(call["indices"])
    return call.layer(Index(dims), call["self"], *indices) if dims else call["self"]


@aten("index_put.default", "index_put_.default", "_unsafe_index_put.default")
def _(call: Call) -> Value:
    dims, indices = _indexed_dims(call["indices"])
    values = cast(call, call["values"], call["self"].element_type)
    op = IndexPut(dims, accumulate=bool(call["accumulate"]), overwrites=call.name.startswith("index_put_."))
    return call.layer(op, call["self"], *indices, values)


@aten("index_select.default")
def _(call: Call) -> Value:
    return call.layer(IndexSelect(call["dim"]), call["self"], call["index"])


@aten("gather.default")
def _(call: Call) -> Value:
    return call.layer(Gather(call["dim"]), call["self"], call["index"])


@aten("take.default")
def _(call: Call) -> Value:
    x, index = (call.layer(Flatten(0, -1), y) if len(y.shape) > 1 else y for y in (call["self"], call["index"]))
    return reshape(call, call.layer(Gather(0), x, index), call.shape)


@aten("take_along_dim.default")
def _(call: Call) -> Value:
    x, index, dim = call["self"], call["indices"], call["dim"]
    if dim is None:
        x, index = (call.layer(Flatten(0, -1), y) if len(y.shape) > 1 else y for y in (x, index))
        return call.layer(Gather(0), x, index)
    dim = dim % len(x.shape)
    read = tuple([n if d != dim else x.shape[d] for d, n in enumerate(call.shape)])
    return call.layer(Gather(dim), expand(call, x, read), expand(call, index, call.shape))


@aten("scatter.src", "scatter_.src", "scatter.value", "scatter_.value")
def _(call: Call) -> Value:
    source = [call["src"]] if call.name.endswith("src") else []
    op = Scatter(call["dim"], overwrites=call.name.startswith("scatter_."))
    return call.layer(op, call["self"], call["index"], *source)


@aten("scatter_add.default", "scatter_add_.default")
def _(call: Call) -> Value:
    op = ScatterAdd(call["dim"], overwrites=call.name.startswith("scatter_add_."))
    return call.layer(op, call["self"], call["index"], call["src"])


@aten("scatter_reduce.two", "scatter_reduce_.two")
def _(call: Call) -> Value:
    op = ScatterReduce(
        call["dim"], call["reduce"], bool(call["include_self"]), overwrites=call.name.startswith("scatter_reduce_.")
    )
    return call.layer(op, call["self"], call["index"], call["src"])


@aten("masked_scatter.default", "masked_scatter_.default")
def _(call: Call) -> Value:
    op = MaskedScatter(overwrites=call.name.startswith("masked_scatter_."))
    return call.layer(op, call["self"], call["mask"], call["source"])


@aten("index_add.default", "index_add_.default")
def _(call: Call) -> Value:
    op = IndexAdd(call["dim"], overwrites=call.name.startswith("index_add_."))
    return call.layer(op, call["self"], call["index"], call["source"])


@aten("slice_scatter.default")
def _(call: Call) -> Value:
    x, source, dim, start, step = (call[name] for name in ("self", "src", "dim", "start", "step"))
    if not is_plain(start or 0) or not is_plain(step):
        raise UnsupportedOp("where it is put depends on a size")
    start = start or 0
    if start < 0:
        start = start + x.shape[dim]
    source = expand(
        call,
        cast(call, source, x.element_type),
        (*x.shape[: dim % len(x.shape)], source.shape[dim], *x.shape[dim % len(x.shape) + 1 :]),
    )
    return call.layer(SliceScatter(dim, start, step), x, source)


@aten("select_scatter.default")
def _(call: Call) -> Value:
    return call.layer(SelectScatter(call["dim"], call["index"]), call["self"], call["src"])


@aten("topk.default")
def _(call: Call) -> tuple[Value, ...]:
    op = Topk(k=call["k"], dim=call["dim"], largest=call["largest"], sorted=call["sorted"])
    return call.layer_outputs(op, call["self"])


@aten("kthvalue.default")
def _(call: Call) -> tuple[Value, ...]:
    return call.layer_outputs(Kthvalue(k=call["k"], dim=call["dim"], keepdim=call["keepdim"]), call["self"])


@aten("median.dim")
def _(call: Call) -> tuple[Value, ...]:
    """The lower of the two in the middle, where there are two."""
    x, dim = call["self"], call["dim"]
    return call.layer_outputs(Kthvalue(k=ceil_div(x.shape[dim], 2), dim=dim, keepdim=call["keepdim"]), x)


@aten("sort.default", "sort.stable")
def _(call: Call) -> tuple[Value, ...]:
    return call.layer_outputs(Sort(call["dim"], descending=call["descending"]), call["self"])


@aten("msort.default")
def _(call: Call) -> Value:
    return call.layer(Sort(0), call["self"])


@aten("argsort.default", "argsort.stable")
def _(call: Call) -> Value:
    return call.layer(Argsort(call["dim"], descending=call["descending"]), call["self"])


@aten("one_hot.default")
def _(call: Call) -> Value:
    if not call.shape or (is_plain(call["num_classes"]) and call["num_classes"] < 0):
        raise UnsupportedOp("its size depends on the data")
    return call.layer(OneHot(call["num_classes"]), call["self"])
