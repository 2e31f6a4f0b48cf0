"""Lowering of indexing, scatters, sorting and one-hot encoding."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from costcalc.ir.ops import indexing
from costcalc.torch_backend.lowering.base import register_functions


def _index_tuple(x: Tensor, dims: tuple[int, ...], indices: tuple[Tensor, ...]) -> tuple[Any, ...]:
    index_of = dict(zip(dims, indices, strict=True))
    return tuple(index_of.get(d, slice(None)) for d in range(x.dim()))


def _index_put(op: indexing.IndexPut, x: Tensor, *rest: Tensor) -> Any:
    index_of = dict(zip(op.dims, rest[:-1], strict=True))
    indices = [index_of.get(d) for d in range(max(op.dims) + 1)]
    put = torch.ops.aten.index_put_ if op.overwrites else torch.ops.aten.index_put
    return put(x, indices, rest[-1], op.accumulate)


def _scatter(op: indexing.Scatter, x: Tensor, index: Tensor, *source: Tensor) -> Any:
    put: Any = x.scatter_ if op.overwrites else x.scatter
    return put(op.dim, index, source[0] if source else 0)


def _scatter_reduce(op: indexing.ScatterReduce, x: Tensor, index: Tensor, source: Tensor) -> Any:
    put: Any = x.scatter_reduce_ if op.overwrites else x.scatter_reduce
    return put(op.dim, index, source, op.reduce, include_self=op.include_self)


register_functions(
    {
        indexing.Index: lambda op, x, *indices: x[_index_tuple(x, op.dims, indices)],
        indexing.IndexSelect: lambda op, x, index: x.index_select(op.dim, index),
        indexing.Gather: lambda op, x, index: x.gather(op.dim, index),
        indexing.IndexPut: _index_put,
        indexing.Scatter: _scatter,
        indexing.ScatterAdd: lambda op, x, i, s: (x.scatter_add_ if op.overwrites else x.scatter_add)(op.dim, i, s),
        indexing.ScatterReduce: _scatter_reduce,
        indexing.MaskedScatter: lambda op, x, m, s: (x.masked_scatter_ if op.overwrites else x.masked_scatter)(m, s),
        indexing.IndexAdd: lambda op, x, i, s: (x.index_add_ if op.overwrites else x.index_add)(op.dim, i, s),
        indexing.SliceScatter: lambda op, x, s: x.slice_scatter(
            s, op.dim, op.start, op.start + (s.shape[op.dim] - 1) * op.step + 1, op.step
        ),
        indexing.SelectScatter: lambda op, x, s: x.select_scatter(s, op.dim, op.index),
        indexing.Topk: lambda op, x: tuple(x.topk(op.k, op.dim, op.largest, op.sorted)),
        indexing.Kthvalue: lambda op, x: tuple(x.kthvalue(op.k, op.dim, op.keepdim)),
        indexing.Sort: lambda op, x: tuple(x.sort(op.dim, op.descending)),
        indexing.Argsort: lambda op, x: x.argsort(op.dim, op.descending),
        indexing.OneHot: lambda op, x: torch.ops.aten.one_hot(x, op.num_classes),
    }
)
