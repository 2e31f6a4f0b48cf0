"""Translators of operators that copy elements: casts, concatenation, repetition, padding and clones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from costcalc.core.sizes import check_relation, is_plain
from costcalc.frontends.aten.base import aten_op, finite_or_zero
from costcalc.frontends.aten.shape import expand, reshape
from costcalc.frontends.aten.slicing import slice_dim
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
from costcalc.ir.ops.shape import Flatten


def cast(call: Call, x: Value, element_type: str) -> Value:
    """Return `x` with elements of another type, without a layer if they are of that type."""
    return x if x.element_type == element_type else call.layer(Cast(element_type), x)


@aten_op(
    "alias.default", "detach.default", "detach_.default", "requires_grad_.default", "lift_fresh.default",
    "resolve_conj.default", "resolve_neg.default", "real.default", "positive.default", "to.device",
    "to.dtype", "to.dtype_layout", "to.other", "_to_copy.default", "type_as.default",
)  # fmt: skip
def _(call: Call) -> Value:
    return cast(call, call["self"], call.results[0].element_type)


# -- concatenation and repetition -------------------------------------------------------------------------------------


@aten_op("cat.default", "concat.default", "concatenate.default")
def _(call: Call) -> Value:
    tensors = [cast(call, x, call.results[0].element_type) for x in call["tensors"] if not x.is_empty]
    return call.layer(Concat(call["dim"]), *tensors)


@aten_op("hstack.default", "vstack.default")
def _(call: Call) -> Value:
    is_horizontal = call.operator == "hstack"
    least_rank = 1 if is_horizontal else 2
    tensors = [reshape(call, x, (*[1] * (least_rank - len(x.shape)), *x.shape)) for x in call["tensors"]]
    return call.layer(Concat(1 if is_horizontal and len(tensors[0].shape) > 1 else 0), *tensors)


@aten_op("stack.default")
def _(call: Call) -> Value:
    return call.layer(Stack(call["dim"]), *[cast(call, x, call.results[0].element_type) for x in call["tensors"]])


@aten_op("repeat.default", "tile.default")
def _(call: Call) -> Value:
    repeats = call["repeats" if call.operator == "repeat" else "dims"]
    repeats = [*[1] * (len(call["self"].shape) - len(repeats)), *repeats]
    return call.layer(Repeat(tuple(repeats)), call["self"])


@aten_op("repeat_interleave.self_int")
def _(call: Call) -> Value:
    x, dim = call["self"], call["dim"]
    if dim is None:
        x, dim = call.layer(Flatten(0, -1), x) if len(x.shape) > 1 else x, 0
    return call.layer(RepeatInterleave(call["repeats"], dim), x)


# -- clones -----------------------------------------------------------------------------------------------------------


@aten_op("clone.default", "lift_fresh_copy.default")
def _(call: Call) -> Value:
    contiguous = "contiguous" in str(call.arguments.get("memory_format"))
    return call.layer(Clone("contiguous" if contiguous else "preserve"), call["self"])


@aten_op("expand_copy.default")
def _(call: Call) -> Value:
    return call.layer(Clone("contiguous"), expand(call, call["self"], call.shape))


@aten_op("copy.default")
def _(call: Call) -> Value:
    source = cast(call, call["src"], call.results[0].element_type)
    return call.layer(Clone("contiguous"), expand(call, source, call.shape))


@aten_op("flip.default")
def _(call: Call) -> Value:
    return call.layer(Flip(tuple(call["dims"])), call["self"])


@aten_op("roll.default")
def _(call: Call) -> Value:
    shifts = call["shifts"]
    if not all(map(is_plain, shifts)):
        raise UnsupportedOp("shifts contain a symbolic size")
    return call.layer(Roll(tuple(shifts), tuple(call["dims"])), call["self"])


@aten_op("tril.default", "tril_.default")
def _(call: Call) -> Value:
    return call.layer(Tril(_plain_or_zero(call["diagonal"])), call["self"])


@aten_op("triu.default", "triu_.default")
def _(call: Call) -> Value:
    return call.layer(Triu(_plain_or_zero(call["diagonal"])), call["self"])


def _plain_or_zero(value: Any) -> int:
    """Return an integer on which no cost depends, with 0 for a symbolic size."""
    return value if is_plain(value) else 0


# -- overwriting ------------------------------------------------------------------------------------------------------


@aten_op("fill_.Scalar", "fill_.Tensor", "zero_.default")
def _(call: Call) -> Value:
    value = call.arguments.get("value", 0.0)
    if isinstance(value, Value):
        return call.layer(Copy(), call["self"], value)
    return call.layer(Fill(finite_or_zero(value)), call["self"])


@aten_op("copy_.default")
def _(call: Call) -> Value:
    return call.layer(Copy(), call["self"], cast(call, call["src"], call["self"].element_type))


# -- padding ----------------------------------------------------------------------------------------------------------


def pad(call: Call, x: Value, sides: Sequence[Any], mode: str, value: Any = 0.0) -> Value:
    """Return `x` extended at its sides, and cropped where a side is negative.

    `sides` are two numbers (before, after) for each dimension, the last dimension first, as in torch.nn.functional.pad.
    """
    rank = len(x.shape)
    sides = list(sides)
    if any(map(_is_negative, sides)):
        for index in range(0, len(sides), 2):
            before, after = (-side if _is_negative(side) else 0 for side in sides[index : index + 2])
            dim = rank - 1 - index // 2
            x = slice_dim(call, x, dim, before, x.shape[dim] - before - after)
        sides = [0 if _is_negative(side) else side for side in sides]
    while sides and check_relation(sides[-1], "==", 0).answer and check_relation(sides[-2], "==", 0).answer:
        sides = sides[:-2]
    if not sides:
        return x
    if rank == 4 and len(sides) <= 4 and all(map(is_plain, sides)):
        plane: Any = (*sides, 0, 0)[:4]
        return call.layer(Pad(plane, mode=mode, value=finite_or_zero(value)), x)
    return call.layer(PadNd(tuple(sides), mode=mode, value=finite_or_zero(value)), x)


def _is_negative(size: Any) -> bool:
    return check_relation(size, ">=", 0).answer is False


@aten_op("pad.default", "constant_pad_nd.default")
def _(call: Call) -> Value:
    return pad(call, call["self"], call["pad"], call.arguments.get("mode", "constant"), call["value"] or 0.0)


@aten_op("_pad_circular.default")
def _(call: Call) -> Value:
    return pad(call, call["self"], call["pad"], "circular")


@aten_op("reflection_pad1d.default", "reflection_pad2d.default", "reflection_pad3d.default")
def _(call: Call) -> Value:
    return pad(call, call["self"], call["padding"], "reflect")


@aten_op("replication_pad1d.default", "replication_pad2d.default", "replication_pad3d.default")
def _(call: Call) -> Value:
    return pad(call, call["self"], call["padding"], "replicate")
