"""Translators of convolutions and transposed convolutions."""

from __future__ import annotations

from typing import Any

from costcalc.frontends.aten.base import aten_op, per_axis
from costcalc.frontends.aten.copies import pad
from costcalc.frontends.call import Call, Value
from costcalc.ir.ops import OPS
from costcalc.ir.ops.shape import Squeeze, Unsqueeze


def _convolve(
    call: Call, padding: Any, *, transposed: bool = False, output_padding: Any = 0, x: Value | None = None
) -> Value:
    """Translate a convolution of `x`, by default of the call's input; an input without a batch gets one of 1."""
    weight, bias = call["weight"], call["bias"]
    axes = len(weight.shape) - 2
    fields: dict[str, Any] = {
        "kernel_size": tuple(weight.shape[2:]),
        "stride": per_axis(call["stride"], axes),
        "padding": per_axis(padding, axes),
        "dilation": per_axis(call["dilation"], axes),
        "groups": call["groups"],
        "bias": bias is not None,
    }
    channels = weight.shape[0]
    if transposed:
        fields["output_padding"] = per_axis(output_padding, axes)
        channels = weight.shape[1] * call["groups"]
    x = x or call["input"]
    unbatched = len(x.shape) == axes + 1
    if unbatched:
        x = call.layer(Unsqueeze(0), x)
    name = f"conv_transpose{axes}d" if transposed else f"conv{axes}d"
    output = call.layer(OPS[name](channels, **fields), x, weight=weight, bias=bias)
    return call.layer(Squeeze((0,)), output) if unbatched else output


@aten_op("conv1d.default", "conv2d.default", "conv3d.default")
def _(call: Call) -> Value:
    return _convolve(call, call["padding"])


@aten_op("conv1d.padding", "conv2d.padding", "conv3d.padding")
def _(call: Call) -> Value:
    """Translate padding="valid" or "same"; as in torch, an odd total adds one element more at the end of an axis."""
    if call["padding"] == "valid":
        return _convolve(call, 0)
    kernel = call["weight"].shape[2:]
    totals = [d * (k - 1) for d, k in zip(per_axis(call["dilation"], len(kernel)), kernel, strict=True)]
    sides = [side for total in reversed(totals) for side in (0, total % 2)]
    return _convolve(call, [total // 2 for total in totals], x=pad(call, call["input"], sides, "constant"))


@aten_op("conv_transpose1d.default", "conv_transpose2d.input", "conv_transpose3d.input")
def _(call: Call) -> Value:
    return _convolve(call, call["padding"], transposed=True, output_padding=call["output_padding"])


@aten_op("convolution.default", "_convolution.default")
def _(call: Call) -> Value:
    return _convolve(call, call["padding"], transposed=bool(call["transposed"]), output_padding=call["output_padding"])
