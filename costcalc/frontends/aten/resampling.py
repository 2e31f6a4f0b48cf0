"""Translators of interpolation, grid sampling, shuffles of pixels and channels, unfold and fold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from costcalc.core.sizes import Size, identical, is_plain
from costcalc.frontends.aten.base import aten_op, per_axis
from costcalc.frontends.call import Call, Value
from costcalc.ir.ops import OPS

_MODES = {
    "upsample_nearest1d": "nearest",
    "upsample_nearest2d": "nearest",
    "upsample_nearest3d": "nearest",
    "_upsample_nearest_exact1d": "nearest-exact",
    "_upsample_nearest_exact2d": "nearest-exact",
    "_upsample_nearest_exact3d": "nearest-exact",
    "upsample_linear1d": "linear",
    "upsample_bilinear2d": "bilinear",
    "upsample_trilinear3d": "trilinear",
    "upsample_bicubic2d": "bicubic",
    "_upsample_bilinear2d_aa": "bilinear",
    "_upsample_bicubic2d_aa": "bicubic",
}


@aten_op(*(f"{name}.{overload}" for name in _MODES for overload in ("vec", "default")))
def _(call: Call) -> Value:
    x: Value = call["input" if call.overload == "vec" else "self"]
    fields: dict[str, Any] = {"mode": _MODES[call.operator], "antialias": call.operator.endswith("_aa")}
    if "nearest" not in call.operator:
        fields["align_corners"] = call["align_corners"]
    factors = call["scale_factors"] if call.overload == "vec" else None
    if factors:
        op = OPS["interpolate"](scale_factor=tuple(map(float, factors)), **fields)
        if _equal_if_plain(op.output(x.shape), call.shape):
            return call.layer(op, x)
    return call.layer(OPS["interpolate"](size=tuple(call.shape[2:]), **fields), x)


def _equal_if_plain(shape: Iterable[Size], other: Iterable[Size]) -> bool:
    """Whether two shapes are equal in all dimensions in which both are plain numbers."""
    pairs = zip(shape, other, strict=True)
    return all(identical(a, b) for a, b in pairs if is_plain(a) and is_plain(b))


@aten_op("pixel_shuffle.default")
def _(call: Call) -> Value:
    return call.layer(OPS["pixel_shuffle"](call["upscale_factor"]), call["self"])


@aten_op("pixel_unshuffle.default")
def _(call: Call) -> Value:
    return call.layer(OPS["pixel_unshuffle"](call["downscale_factor"]), call["self"])


@aten_op("channel_shuffle.default", "native_channel_shuffle.default")
def _(call: Call) -> Value:
    return call.layer(OPS["channel_shuffle"](call["groups"]), call["self"])


@aten_op("grid_sampler.default", "grid_sampler_2d.default", "grid_sampler_3d.default")
def _(call: Call) -> Value:
    mode = ("bilinear", "nearest", "bicubic")[call["interpolation_mode"]]
    padding = ("zeros", "border", "reflection")[call["padding_mode"]]
    return call.layer(OPS["grid_sample"](mode, padding, call["align_corners"]), call["input"], call["grid"])


_WINDOW_FIELDS = ("kernel_size", "dilation", "padding", "stride")


@aten_op("im2col.default")
def _(call: Call) -> Value:
    return call.layer(OPS["unfold"](**{name: per_axis(call[name], 2) for name in _WINDOW_FIELDS}), call["self"])


@aten_op("col2im.default")
def _(call: Call) -> Value:
    fields = {name: per_axis(call[name], 2) for name in _WINDOW_FIELDS}
    return call.layer(OPS["fold"](tuple(call["output_size"]), **fields), call["self"])
