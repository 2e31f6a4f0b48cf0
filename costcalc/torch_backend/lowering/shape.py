"""Views, copies, picking by index and made tensors, as torch modules: functions, each in a module that has its op."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from costcalc.ir.op import Op
from costcalc.ir.ops import copies, creation, indexing, shape, slicing
from costcalc.torch_backend.lowering.base import lower, torch_element_type


class FunctionModule(nn.Module):
    """A function of an op and of tensors."""

    def __init__(self, op: Op, function: Callable[..., Any]) -> None:
        super().__init__()
        self.op, self.function = op, function

    def forward(self, *tensors: Tensor) -> Any:
        """What the function makes."""
        return self.function(self.op, *tensors)


def _slice(op: slicing.Slice, x: Tensor) -> Any:
    return torch.ops.aten.slice.Tensor(x, op.dim, op.start, op.end, op.step)


def _index_tuple(x: Tensor, dims: tuple[int, ...], indices: tuple[Tensor, ...]) -> tuple[Any, ...]:
    given = dict(zip(dims, indices, strict=True))
    return tuple(given.get(d, slice(None)) for d in range(x.dim()))


def _index_put(op: indexing.IndexPut, x: Tensor, *rest: Tensor) -> Any:
    given = dict(zip(op.dims, rest[:-1], strict=True))
    indices = [given.get(d) for d in range(max(op.dims) + 1)]
    put = torch.ops.aten.index_put_ if op.overwrites else torch.ops.aten.index_put
    return put(x, indices, rest[-1], op.accumulate)


def _scatter(op: indexing.Scatter, x: Tensor, index: Tensor, *source: Tensor) -> Any:
    put: Any = x.scatter_ if op.overwrites else x.scatter
    return put(op.dim, index, source[0] if source else 0)


def _scatter_reduce(op: indexing.ScatterReduce, x: Tensor, index: Tensor, source: Tensor) -> Any:
    put: Any = x.scatter_reduce_ if op.overwrites else x.scatter_reduce
    return put(op.dim, index, source, op.reduce, include_self=op.include_self)


def _pad(op: copies.PadNd, x: Tensor) -> Tensor:
    value = op.value if op.mode == "constant" else None
    return nn.functional.pad(x, op.padding, op.mode, value)


_MEMORY_FORMATS = {
    "preserve": torch.preserve_format,
    "contiguous": torch.contiguous_format,
    "channels_last": torch.channels_last,
}
_FUNCTION_OF: dict[type[Op], Callable[..., Any]] = {
    shape.Reshape: lambda op, x: x.reshape(op.sizes),
    shape.Squeeze: lambda op, x: x.squeeze(op.dim),
    shape.Unsqueeze: lambda op, x: x.unsqueeze(op.dim),
    shape.Expand: lambda op, x: x.expand(op.sizes),
    slicing.Slice: _slice,
    slicing.Select: lambda op, x: x.select(op.dim, op.index),
    slicing.Diagonal: lambda op, x: x.diagonal(op.offset, op.dim1, op.dim2),
    slicing.TensorUnfold: lambda op, x: x.unfold(op.dimension, op.size, op.step),
    shape.Contiguous: lambda op, x: x.contiguous(memory_format=_MEMORY_FORMATS[op.memory_format]),
    copies.Clone: lambda op, x: x.clone(memory_format=_MEMORY_FORMATS[op.memory_format]),
    copies.Cast: lambda op, x: x.to(torch_element_type(op.dtype), copy=True),
    copies.Repeat: lambda op, x: x.repeat(op.repeats),
    copies.RepeatInterleave: lambda op, x: x.repeat_interleave(op.repeats, op.dim),
    copies.Stack: lambda op, *tensors: torch.stack(tensors, op.dim),
    copies.Flip: lambda op, x: x.flip(op.dims),
    copies.Roll: lambda op, x: x.roll(op.shifts, op.dims),
    copies.PadNd: _pad,
    copies.Tril: lambda op, x: x.tril(op.diagonal),
    copies.Triu: lambda op, x: x.triu(op.diagonal),
    copies.Fill: lambda op, x: x.fill_(op.value),
    copies.Copy: lambda op, x, source: x.copy_(source),
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
# What is made of nothing is made where the network's own tensors are, at the time that it is built.
_CREATION_FUNCTIONS: dict[type[Op], Callable[..., Tensor]] = {
    creation.Full: lambda op, **how: torch.full(op.sizes, op.value, **how),
    creation.Rand: lambda op, **how: torch.rand(op.sizes, **how),
    creation.Randn: lambda op, **how: torch.randn(op.sizes, **how),
    creation.Arange: lambda op, **how: torch.arange(op.length, **how),
    creation.Linspace: lambda op, **how: torch.linspace(0, 1, op.steps, **how),
    creation.Eye: lambda op, **how: torch.eye(op.n, op.m, **how),
}


class CreationModule(nn.Module):
    """A tensor made anew by each call, on the device that the network is on."""

    def __init__(self, op: Op, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.op, self.function = op, function
        default = torch.empty(0)  # torch.get_default_device() of torch 2.6 does not look at `with torch.device`
        self.device, self.dtype = default.device, default.dtype

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        moved = fn(torch.empty(0, device=self.device, dtype=self.dtype))
        self.device, self.dtype = moved.device, moved.dtype
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def forward(self) -> Tensor:
        """The tensor."""
        what = self.op.element_type()
        return self.function(
            self.op, device=self.device, dtype=self.dtype if what == "float" else torch_element_type(what)
        )


for _op, _function in _FUNCTION_OF.items():
    lower.register(_op, lambda op, *inputs, function=_function: FunctionModule(op, function))
for _op, _maker in _CREATION_FUNCTIONS.items():
    lower.register(_op, lambda op, *inputs, maker=_maker: CreationModule(op, maker))
