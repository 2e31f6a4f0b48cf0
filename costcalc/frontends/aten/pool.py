"""ATen's pools, and what resamples a plane."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from costcalc.core.sizes import Size, identical, is_plain
from costcalc.frontends.aten import aten
from costcalc.frontends.call import Call, UnsupportedOp, Value
from costcalc.ir.ops import OPS

_AXES = (1, 2, 3)


def _per_axis(values: Sequence[Any], axes: int) -> Sequence[Any] | None:
    """A list of one number an axis; None for the empty one, which means what is left out."""
    return None if not values else values if len(values) == axes else list(values) * axes


def _window(call: Call, axes: int, *extra_fields: str) -> dict[str, Any]:
    window = {name: _per_axis(call[name], axes) for name in ("kernel_size", "stride", "padding", *extra_fields)}
    return window | {"ceil_mode": call["ceil_mode"]}


def _spatial_rank(call: Call) -> int:
    return int(call.name[call.name.index("d.") - 1 if "d." in call.name else call.name.index("d_") - 1])


@aten(*(f"max_pool{axes}d.default" for axes in _AXES))
def _(call: Call) -> Value:
    axes = _spatial_rank(call)
    return call.layer(OPS[f"max_pool{axes}d"](**_window(call, axes, "dilation")), call["self"])


@aten(*(f"max_pool{axes}d_with_indices.default" for axes in _AXES))
def _(call: Call) -> Sequence[Value]:
    axes = _spatial_rank(call)
    op = OPS[f"max_pool{axes}d"](**_window(call, axes, "dilation"), return_indices=True)
    return call.layer_outputs(op, call["self"])


@aten(*(f"avg_pool{axes}d.default" for axes in _AXES))
def _(call: Call) -> Value:
    axes = _spatial_rank(call)
    more = {} if axes == 1 else {"divisor_override": call["divisor_override"]}
    op = OPS[f"avg_pool{axes}d"](**_window(call, axes), count_include_pad=call["count_include_pad"], **more)
    return call.layer(op, call["self"])


def _adaptive_size(call: Call, axes: int) -> list[int | None]:
    """The output's size; None along an axis that stays as it is, where that is no plain number."""
    sizes: list[int | None] = []
    for out, n in zip(_per_axis(call["output_size"], axes) or (), call["self"].shape[-axes:], strict=True):
        if not is_plain(out) and not identical(out, n):
            raise UnsupportedOp(f"an adaptive pool to a size that is not fixed, {out}")
        sizes.append(out if is_plain(out) else None)
    return sizes


@aten(*(f"adaptive_avg_pool{axes}d.default" for axes in _AXES))
def _(call: Call) -> Value:
    axes = _spatial_rank(call)
    return call.layer(OPS[f"adaptive_avg_pool{axes}d"](_adaptive_size(call, axes)), call["self"])


@aten(*(f"adaptive_max_pool{axes}d.default" for axes in _AXES))
def _(call: Call) -> Sequence[Value]:
    axes = _spatial_rank(call)
    return call.layer_outputs(
        OPS[f"adaptive_max_pool{axes}d"](_adaptive_size(call, axes), return_indices=True), call["self"]
    )


# -- resampling ---------------------------------------------------------------------------------------------------

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


@aten(*(f"{name}.{overload}" for name in _MODES for overload in ("vec", "default")))
def _(call: Call) -> Value:
    name, overload = call.name.split(".")
    x: Value = call["input" if overload == "vec" else "self"]
    options: dict[str, Any] = {"mode": _MODES[name], "antialias": name.endswith("_aa")}
    if "nearest" not in name:
        options["align_corners"] = call["align_corners"]
    factors = call["scale_factors"] if overload == "vec" else None
    if factors:
        op = OPS["interpolate"](scale_factor=tuple(map(float, factors)), **options)
        if _same_plain_sizes(op.output(x.shape), call.shape):
            return call.layer(op, x)
    return call.layer(OPS["interpolate"](size=tuple(call.shape[2:]), **options), x)


def _same_plain_sizes(shape: Iterable[Size], other: Iterable[Size]) -> bool:
    """Whether sizes are the same, as far as they are plain."""
    pairs = zip(shape, other, strict=True)
    return all(identical(a, b) for a, b in pairs if is_plain(a) and is_plain(b))


@aten("pixel_shuffle.default")
def _(call: Call) -> Value:
    return call.layer(OPS["pixel_shuffle"](call["upscale_factor"]), call["self"])


@aten("pixel_unshuffle.default")
def _(call: Call) -> Value:
    return call.layer(OPS["pixel_unshuffle"](call["downscale_factor"]), call["self"])


@aten("channel_shuffle.default", "native_channel_shuffle.default")
def _(call: Call) -> Value:
    return call.layer(OPS["channel_shuffle"](call["groups"]), call["self"])


@aten("grid_sampler.default", "grid_sampler_2d.default", "grid_sampler_3d.default")
def _(call: Call) -> Value:
    mode = ("bilinear", "nearest", "bicubic")[call["interpolation_mode"]]
    padding = ("zeros", "border", "reflection")[call["padding_mode"]]
    return call.layer(OPS["grid_sample"](mode, padding, call["align_corners"]), call["input"], call["grid"])


_WINDOW_FIELDS = ("kernel_size", "dilation", "padding", "stride")


@aten("im2col.default")
def _(call: Call) -> Value:
    return call.layer(OPS["unfold"](**{name: _per_axis(call[name], 2) for name in _WINDOW_FIELDS}), call["self"])


@aten("col2im.default")
def _(call: Call) -> Value:
    fields = {name: _per_axis(call[name], 2) for name in _WINDOW_FIELDS}
    return call.layer(OPS["fold"](tuple(call["output_size"]), **fields), call["self"])
