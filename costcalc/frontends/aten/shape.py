"""Views and copies: nothing is computed, and most make no tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from costcalc.core.sizes import Shape, Size, check_relation, identical, is_plain
from costcalc.frontends.aten import aten
from costcalc.frontends.call import Call, UnsupportedOp, Value
from costcalc.ir.ops.copies import (
    Cast,
    Clone,
    Concat,
    Copy,
    Fill,
    Flip,
    Pad,
    PadNd,
    Repeat,
    RepeatInterleave,
    Roll,
    Stack,
    Tril,
    Triu,
)
from costcalc.ir.ops.creation import Full
from costcalc.ir.ops.shape import Contiguous, Expand, Flatten, Permute, Reshape, Squeeze, Unsqueeze
from costcalc.ir.ops.slicing import Diagonal, Select, Slice, TensorUnfold


def same_shape(some: Shape, others: Shape) -> bool:
    """Whether two shapes are the very same."""
    return len(some) == len(others) and all(map(identical, some, others))


def is_one(size: Size) -> bool:
    """Whether a size is known to be 1."""
    return bool(check_relation(size, "==", 1).answer)


def reshape(call: Call, x: Value, shape: Shape) -> Value:
    """`x` in other sizes; itself, where they are its own."""
    return x if same_shape(x.shape, shape) else call.layer(Reshape(shape), x)


def expand(call: Call, x: Value, shape: Shape) -> Value:
    """`x` with sizes of 1 repeated; itself, where it has these sizes."""
    return x if same_shape(x.shape, shape) else call.layer(Expand(shape), x)


def cast(call: Call, x: Value, element_type: str) -> Value:
    """`x` with elements of another kind; itself, where they are of that kind."""
    return x if x.element_type == element_type else call.layer(Cast(element_type), x)


# -- what does nothing ------------------------------------------------------------------------------------------------


@aten(
    "alias.default", "detach.default", "detach_.default", "requires_grad_.default", "lift_fresh.default",
    "resolve_conj.default", "resolve_neg.default", "real.default", "positive.default", "to.device",
    "to.dtype", "to.dtype_layout", "to.other", "_to_copy.default", "type_as.default",
)  # fmt: skip
def _(call: Call) -> Value:
    return cast(call, call["self"], call.results[0].element_type)


# -- other sizes ------------------------------------------------------------------------------------------------------


@aten(
    "view.default", "reshape.default", "unflatten.int", "_unsafe_view.default", "view_as.default", "reshape_as.default",
    "_reshape_alias.default", "view_copy.default", "ravel.default",
)  # fmt: skip
def _(call: Call) -> Value:
    return reshape(call, call["self"], call.shape)


@aten("flatten.using_ints")
def _(call: Call) -> Value:
    x = call["self"]
    if not x.shape:
        return reshape(call, x, call.shape)
    return x if same_shape(x.shape, call.shape) else call.layer(Flatten(call["start_dim"], call["end_dim"]), x)


@aten("squeeze.default", "squeeze.dim", "squeeze.dims", "squeeze_.dim")
def _(call: Call) -> Value:
    x, rank = call["self"], len(call["self"].shape)
    asked = call.arguments.get("dim", list(range(rank)))
    asked = asked if isinstance(asked, list) else [asked]
    dims = sorted(d % rank for d in asked if rank and is_one(x.shape[d]))
    return call.layer(Squeeze(tuple(dims)), x) if dims else x


@aten("unsqueeze.default", "unsqueeze_.default")
def _(call: Call) -> Value:
    return call.layer(Unsqueeze(call["dim"]), call["self"])


@aten("atleast_1d.default")
def _(call: Call) -> Value:
    return reshape(call, call["self"], call.shape)


# -- other orders -----------------------------------------------------------------------------------------------------


def permute(call: Call, x: Value, dims: Sequence[int]) -> Value:
    """`x` with its dimensions in another order."""
    return x if list(dims) == list(range(len(dims))) else call.layer(Permute(tuple(dims)), x)


@aten("permute.default")
def _(call: Call) -> Value:
    rank = len(call["dims"])
    return permute(call, call["self"], [d % rank for d in call["dims"]])


@aten("numpy_T.default", "t.default", "t_.default")
def _(call: Call) -> Value:
    return permute(call, call["self"], list(reversed(range(len(call["self"].shape)))))


def transpose(call: Call, one: int, other: int) -> Value:
    """The call's tensor with two dimensions in each other's place."""
    x: Value = call["self"]
    if not x.shape:
        return x
    dims = list(range(len(x.shape)))
    dims[one], dims[other] = dims[other], dims[one]
    return permute(call, x, dims)


@aten("transpose.int", "swapdims.default")
def _(call: Call) -> Value:
    return transpose(call, call["dim0"], call["dim1"])


@aten("swapaxes.default")
def _(call: Call) -> Value:
    return transpose(call, call["axis0"], call["axis1"])


@aten("mT.default", "mH.default", "adjoint.default")
def _(call: Call) -> Value:
    return transpose(call, -2, -1)


@aten("movedim.int", "movedim.intlist", "moveaxis.int", "moveaxis.intlist")
def _(call: Call) -> Value:
    x, rank = call["self"], len(call["self"].shape)
    source, destination = ([d % rank for d in _list(call[name])] for name in ("source", "destination"))
    goes = dict(zip(destination, source, strict=True))
    rest = iter([d for d in range(rank) if d not in source])
    return permute(call, x, [goes[d] if d in goes else next(rest) for d in range(rank)])


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


# -- repeated ---------------------------------------------------------------------------------------------------------


@aten("expand.default", "expand_as.default", "broadcast_to.default")
def _(call: Call) -> Value:
    return expand(call, call["self"], call.shape)


@aten("expand_copy.default")
def _(call: Call) -> Value:
    return call.layer(Clone("contiguous"), expand(call, call["self"], call.shape))


@aten("broadcast_tensors.default")
def _(call: Call) -> list[Value]:
    return [expand(call, x, result.shape) for x, result in zip(call["tensors"], call.results, strict=True)]


@aten("meshgrid.default", "meshgrid.indexing")
def _(call: Call) -> list[Value]:
    made = []
    for place, (x, result) in enumerate(zip(call["tensors"], call.results, strict=True)):
        if call.arguments.get("indexing", "ij") == "xy" and place < 2:
            place = 1 - place
        sizes = [1] * len(result.shape)
        sizes[place] = result.shape[place]
        made.append(expand(call, reshape(call, x, tuple(sizes)), result.shape))
    return made


@aten("repeat.default", "tile.default")
def _(call: Call) -> Value:
    repeats = call["repeats"] if call.name.startswith("repeat") else call["dims"]
    repeats = [*[1] * (len(call["self"].shape) - len(repeats)), *repeats]
    return call.layer(Repeat(tuple(repeats)), call["self"])


@aten("repeat_interleave.self_int")
def _(call: Call) -> Value:
    x, dim = call["self"], call["dim"]
    if dim is None:
        x, dim = call.layer(Flatten(0, -1), x) if len(x.shape) > 1 else x, 0
    return call.layer(RepeatInterleave(call["repeats"], dim), x)


# -- pieces -----------------------------------------------------------------------------------------------------------


def slice_dim(call: Call, x: Value, dim: int, start: Any, length: Size, step: int = 1) -> Value:
    """So many places of a dimension; `x` itself, where that is all there are."""
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
    whole = identical(stop, n) or (is_plain(n) and is_plain(stop) and stop > n - step)
    return call.layer(Slice(dim, start, None if whole else stop, step), x)


@aten("slice.Tensor")
def _(call: Call) -> Value:
    dim, step = call["dim"], call["step"]
    if not is_plain(step):
        raise UnsupportedOp("the step of a slice is a size")
    return slice_dim(call, call["self"], dim, call["start"], call.shape[dim], step)


@aten("diagonal.default")
def _(call: Call) -> Value:
    return call.layer(Diagonal(call["offset"], call["dim1"], call["dim2"]), call["self"])


@aten("unfold.default")
def _(call: Call) -> Value:
    if not call["self"].shape:
        return reshape(call, call["self"], call.shape)
    return call.layer(TensorUnfold(call["dimension"], call["size"], call["step"]), call["self"])


@aten("narrow.default")
def _(call: Call) -> Value:
    return slice_dim(call, call["self"], call["dim"], call["start"], call["length"])


@aten("select.int")
def _(call: Call) -> Value:
    x, dim, index = call["self"], call["dim"], call["index"]
    if is_plain(index):
        return call.layer(Select(dim, index), x)
    return call.layer(Squeeze(dim), slice_dim(call, x, dim, index, 1))


@aten(
    "split.Tensor", "split.sizes", "split_with_sizes.default", "chunk.default", "tensor_split.sections",
    "tensor_split.indices", "unsafe_split.Tensor", "unsafe_chunk.default", "unsafe_split_with_sizes.default",
    "split_with_sizes_copy.default", "split_copy.Tensor",
)  # fmt: skip
def _(call: Call) -> list[Value]:
    x, dim = call["self"], call["dim"]
    pieces, start = [], 0
    for result in call.results:
        pieces.append(slice_dim(call, x, dim, start, result.shape[dim]))
        start = start + result.shape[dim]
    return pieces


@aten("hsplit.int", "vsplit.int", "hsplit.array", "vsplit.array")
def _(call: Call) -> list[Value]:
    dim = 0 if call.name.startswith("v") or len(call["self"].shape) == 1 else 1
    pieces, start = [], 0
    for result in call.results:
        pieces.append(slice_dim(call, call["self"], dim, start, result.shape[dim]))
        start = start + result.shape[dim]
    return pieces


@aten("unbind.int", "unbind_copy.int")
def _(call: Call) -> list[Value]:
    return [call.layer(Select(call["dim"], index), call["self"]) for index in range(len(call.results))]


# -- joined -----------------------------------------------------------------------------------------------------------


@aten("cat.default", "concat.default", "concatenate.default")
def _(call: Call) -> Value:
    tensors = [cast(call, x, call.results[0].element_type) for x in call["tensors"] if not x.is_empty]
    return call.layer(Concat(call["dim"]), *tensors)


@aten("hstack.default", "vstack.default")
def _(call: Call) -> Value:
    tensors, least = call["tensors"], 1 if call.name.startswith("h") else 2
    for place, x in enumerate(tensors):
        if len(x.shape) < least:
            tensors[place] = reshape(call, x, (*[1] * (least - len(x.shape)), *x.shape))
    dim = 1 if call.name.startswith("h") and len(tensors[0].shape) > 1 else 0
    return call.layer(Concat(dim), *tensors)


@aten("stack.default")
def _(call: Call) -> Value:
    return call.layer(Stack(call["dim"]), *[cast(call, x, call.results[0].element_type) for x in call["tensors"]])


# -- copied -----------------------------------------------------------------------------------------------------------


@aten("clone.default", "lift_fresh_copy.default")
def _(call: Call) -> Value:
    contiguous = "contiguous" in str(call.arguments.get("memory_format"))
    return call.layer(Clone("contiguous" if contiguous else "preserve"), call["self"])


@aten("contiguous.default")
def _(call: Call) -> Value:
    last = "channels_last" in str(call["memory_format"]) and len(call.shape) == 4
    return call.layer(Contiguous("channels_last" if last else "contiguous"), call["self"])


@aten("flip.default")
def _(call: Call) -> Value:
    return call.layer(Flip(tuple(call["dims"])), call["self"])


@aten("roll.default")
def _(call: Call) -> Value:
    shifts = call["shifts"]
    if not all(map(is_plain, shifts)):
        raise UnsupportedOp("it is rolled on by a size")
    return call.layer(Roll(tuple(shifts), tuple(call["dims"])), call["self"])


@aten("tril.default", "tril_.default")
def _(call: Call) -> Value:
    return call.layer(Tril(_int_or_zero(call["diagonal"])), call["self"])


@aten("triu.default", "triu_.default")
def _(call: Call) -> Value:
    return call.layer(Triu(_int_or_zero(call["diagonal"])), call["self"])


def _int_or_zero(value: Any) -> int:
    """A number on which no cost depends: 0 for one that is a size."""
    return value if is_plain(value) else 0


def finite_or_zero(value: Any) -> float:
    """A number on which no cost depends: 0 for one that is a size, or is not finite."""
    return float(value) if isinstance(value, (int, float)) and abs(value) < 1e30 else 0.0


# -- at the sides -----------------------------------------------------------------------------------------------------


def pad(call: Call, x: Value, sides: Sequence[Any], mode: str, value: Any = 0.0) -> Value:
    """`x` extended, or cut off where a side is below 0; `sides` are two a dimension, the last dimension first."""
    rank = len(x.shape)
    sides = list(sides)
    if any(check_relation(side, ">=", 0).answer is False for side in sides):
        for place in range(0, len(sides), 2):
            before, after = (
                -side if check_relation(side, ">=", 0).answer is False else 0 for side in sides[place : place + 2]
            )
            dim = rank - 1 - place // 2
            x = slice_dim(call, x, dim, before, x.shape[dim] - before - after)
        sides = [0 if check_relation(side, ">=", 0).answer is False else side for side in sides]
    while sides and check_relation(sides[-1], "==", 0).answer and check_relation(sides[-2], "==", 0).answer:
        sides = sides[:-2]
    if not sides:
        return x
    if rank == 4 and len(sides) <= 4 and all(map(is_plain, sides)):
        plane: Any = (*sides, 0, 0)[:4]
        return call.layer(Pad(plane, mode=mode, value=finite_or_zero(value)), x)
    return call.layer(PadNd(tuple(sides), mode=mode, value=finite_or_zero(value)), x)


@aten("pad.default", "constant_pad_nd.default")
def _(call: Call) -> Value:
    return pad(call, call["self"], call["pad"], call.arguments.get("mode", "constant"), call["value"] or 0.0)


@aten("_pad_circular.default")
def _(call: Call) -> Value:
    return pad(call, call["self"], call["pad"], "circular")


@aten("reflection_pad1d.default", "reflection_pad2d.default", "reflection_pad3d.default")
def _(call: Call) -> Value:
    return pad(call, call["self"], call["padding"], "reflect")


@aten("replication_pad1d.default", "replication_pad2d.default", "replication_pad3d.default")
def _(call: Call) -> Value:
    return pad(call, call["self"], call["padding"], "replicate")


# -- overwritten ------------------------------------------------------------------------------------------------------


@aten("fill_.Scalar", "fill_.Tensor", "zero_.default")
def _(call: Call) -> Value:
    value = call.arguments.get("value", 0.0)
    if isinstance(value, Value):
        return call.layer(Copy(), call["self"], value)
    return call.layer(Fill(finite_or_zero(value)), call["self"])


@aten("fill.Scalar", "zero.default")
def _(call: Call) -> Value:
    return call.layer(Full(call.shape, finite_or_zero(call.arguments.get("value", 0.0)), call.results[0].element_type))


@aten("copy_.default")
def _(call: Call) -> Value:
    return call.layer(Copy(), call["self"], cast(call, call["src"], call["self"].element_type))


@aten("copy.default")
def _(call: Call) -> Value:
    source = cast(call, call["src"], call.results[0].element_type)
    return call.layer(Clone("contiguous"), expand(call, source, call.shape))
