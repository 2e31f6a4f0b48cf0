"""Translators of pools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from costcalc.core.sizes import identical, is_plain
from costcalc.frontends.aten.base import aten_op, per_axis
from costcalc.frontends.call import Call, UnsupportedOp, Value
from costcalc.ir.ops import OPS

_AXES = (1, 2, 3)


def _window(call: Call, axes: int, *extra_fields: str) -> dict[str, Any]:
    """Return the fields of a pool's window; an omitted stride is None."""
    window = {name: per_axis(call[name], axes) or None for name in ("kernel_size", "stride", "padding", *extra_fields)}
    return window | {"ceil_mode": call["ceil_mode"]}


def _spatial_axes(call: Call) -> int:
    """Return the digit in the operator's name: 2 for "max_pool2d_with_indices"."""
    return next(int(character) for character in call.name if character.isdigit())


@aten_op(*(f"max_pool{axes}d.default" for axes in _AXES))
def _(call: Call) -> Value:
    axes = _spatial_axes(call)
    return call.layer(OPS[f"max_pool{axes}d"](**_window(call, axes, "dilation")), call["self"])


@aten_op(*(f"max_pool{axes}d_with_indices.default" for axes in _AXES))
def _(call: Call) -> Sequence[Value]:
    axes = _spatial_axes(call)
    op = OPS[f"max_pool{axes}d"](**_window(call, axes, "dilation"), return_indices=True)
    return call.layer_outputs(op, call["self"])


@aten_op(*(f"avg_pool{axes}d.default" for axes in _AXES))
def _(call: Call) -> Value:
    axes = _spatial_axes(call)
    fields = _window(call, axes) | {"count_include_pad": call["count_include_pad"]}
    if axes > 1:
        fields["divisor_override"] = call["divisor_override"]
    return call.layer(OPS[f"avg_pool{axes}d"](**fields), call["self"])


def _adaptive_size(call: Call, axes: int) -> list[int | None]:
    """Return the output's size; None along an axis of symbolic size that the pool does not change."""
    sizes: list[int | None] = []
    for out, n in zip(per_axis(call["output_size"], axes), call["self"].shape[-axes:], strict=True):
        if not is_plain(out) and not identical(out, n):
            raise UnsupportedOp(f"the output size {out} is symbolic and differs from the input size {n}")
        sizes.append(out if is_plain(out) else None)
    return sizes


@aten_op(*(f"adaptive_avg_pool{axes}d.default" for axes in _AXES))
def _(call: Call) -> Value:
    axes = _spatial_axes(call)
    return call.layer(OPS[f"adaptive_avg_pool{axes}d"](_adaptive_size(call, axes)), call["self"])


@aten_op(*(f"adaptive_max_pool{axes}d.default" for axes in _AXES))
def _(call: Call) -> Sequence[Value]:
    axes = _spatial_axes(call)
    return call.layer_outputs(
        OPS[f"adaptive_max_pool{axes}d"](_adaptive_size(call, axes), return_indices=True), call["self"]
    )
