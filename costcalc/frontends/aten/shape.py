"""Translators of operators that change a tensor's shape or the order of its dimensions without copying."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from costcalc.core.sizes import Shape, Size, check_relation, identical
from costcalc.frontends.aten.base import aten_op
from costcalc.frontends.call import Call, Value
from costcalc.ir.ops.shape import Contiguous, Expand, Flatten, Permute, Reshape, Squeeze, Unsqueeze


def same_shape(shape: Shape, other: Shape) -> bool:
    """Whether two shapes are identical."""
    return len(shape) == len(other) and all(map(identical, shape, other))


def is_one(size: Size) -> bool:
    """Whether a size is known to be 1."""
    return bool(check_relation(size, "==", 1).answer)


def reshape(call: Call, x: Value, shape: Shape) -> Value:
    """Return `x` in another shape, without a layer if it has that shape."""
    return x if same_shape(x.shape, shape) else call.layer(Reshape(shape), x)


def expand(call: Call, x: Value, shape: Shape) -> Value:
    """Return `x` broadcast to `shape`, without a layer if it has that shape."""
    return x if same_shape(x.shape, shape) else call.layer(Expand(shape), x)


def permute(call: Call, x: Value, dims: Sequence[int]) -> Value:
    """Return `x` with its dimensions in the order `dims`, without a layer if that is their order."""
    return x if list(dims) == list(range(len(dims))) else call.layer(Permute(tuple(dims)), x)


@aten_op(
    "view.default", "reshape.default", "unflatten.int", "_unsafe_view.default", "view_as.default", "reshape_as.default",
    "_reshape_alias.default", "view_copy.default", "ravel.default", "atleast_1d.default",
)  # fmt: skip
def _(call: Call) -> Value:
    return reshape(call, call["self"], call.shape)


@aten_op("flatten.using_ints")
def _(call: Call) -> Value:
    x = call["self"]
    if not x.shape:
        return reshape(call, x, call.shape)
    return x if same_shape(x.shape, call.shape) else call.layer(Flatten(call["start_dim"], call["end_dim"]), x)


@aten_op("squeeze.default", "squeeze.dim", "squeeze.dims", "squeeze_.dim")
def _(call: Call) -> Value:
    x, rank = call["self"], len(call["self"].shape)
    candidates = _as_list(call.arguments.get("dim", list(range(rank))))
    dims = sorted(d % rank for d in candidates if rank and is_one(x.shape[d]))
    return call.layer(Squeeze(tuple(dims)), x) if dims else x


@aten_op("unsqueeze.default", "unsqueeze_.default")
def _(call: Call) -> Value:
    return call.layer(Unsqueeze(call["dim"]), call["self"])


# -- order of dimensions ----------------------------------------------------------------------------------------------


@aten_op("permute.default")
def _(call: Call) -> Value:
    rank = len(call["dims"])
    return permute(call, call["self"], [d % rank for d in call["dims"]])


@aten_op("numpy_T.default", "t.default", "t_.default")
def _(call: Call) -> Value:
    return permute(call, call["self"], list(reversed(range(len(call["self"].shape)))))


def _transpose(call: Call, first: int, second: int) -> Value:
    """Return the call's tensor with two dimensions exchanged."""
    x: Value = call["self"]
    if not x.shape:
        return x
    dims = list(range(len(x.shape)))
    dims[first], dims[second] = dims[second], dims[first]
    return permute(call, x, dims)


@aten_op("transpose.int", "swapdims.default")
def _(call: Call) -> Value:
    return _transpose(call, call["dim0"], call["dim1"])


@aten_op("swapaxes.default")
def _(call: Call) -> Value:
    return _transpose(call, call["axis0"], call["axis1"])


@aten_op("mT.default", "mH.default", "adjoint.default")
def _(call: Call) -> Value:
    return _transpose(call, -2, -1)


@aten_op("movedim.int", "movedim.intlist", "moveaxis.int", "moveaxis.intlist")
def _(call: Call) -> Value:
    x, rank = call["self"], len(call["self"].shape)
    sources, destinations = ([d % rank for d in _as_list(call[name])] for name in ("source", "destination"))
    moved = dict(zip(destinations, sources, strict=True))
    rest = iter([d for d in range(rank) if d not in sources])
    return permute(call, x, [moved[d] if d in moved else next(rest) for d in range(rank)])


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


# -- broadcasting -----------------------------------------------------------------------------------------------------


@aten_op("expand.default", "expand_as.default", "broadcast_to.default")
def _(call: Call) -> Value:
    return expand(call, call["self"], call.shape)


@aten_op("broadcast_tensors.default")
def _(call: Call) -> list[Value]:
    return [expand(call, x, result.shape) for x, result in zip(call["tensors"], call.results, strict=True)]


@aten_op("meshgrid.default", "meshgrid.indexing")
def _(call: Call) -> list[Value]:
    grids = []
    for dim, (x, result) in enumerate(zip(call["tensors"], call.results, strict=True)):
        if call.arguments.get("indexing", "ij") == "xy" and dim < 2:
            dim = 1 - dim
        sizes = [1] * len(result.shape)
        sizes[dim] = result.shape[dim]
        grids.append(expand(call, reshape(call, x, tuple(sizes)), result.shape))
    return grids


# -- memory format ----------------------------------------------------------------------------------------------------


@aten_op("contiguous.default")
def _(call: Call) -> Value:
    channels_last = "channels_last" in str(call["memory_format"]) and len(call.shape) == 4
    return call.layer(Contiguous("channels_last" if channels_last else "contiguous"), call["self"])
