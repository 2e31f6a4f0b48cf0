"""Operations of ONNX that put elements elsewhere, leave some out, repeat some, or resize images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from costcalc.core.errors import CostcalcError
from costcalc.frontends.onnx.constants import reshaped
from costcalc.frontends.onnx.free import Free, whole
from costcalc.frontends.onnx.node import Node, axis_of, broadcast, dtype_of, node
from costcalc.frontends.onnx.reading import Stored
from costcalc.frontends.onnx.walk import Tensor


def _reshape(this: Node, x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The same elements in another shape; dimensions that are only merged are flattened."""
    if shape == x.shape:
        return x
    merged = len(x.shape) - len(shape)
    for start in range(len(shape)):
        end = start + merged
        if merged > 0 and (*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :]) == shape:
            return this.aten("flatten.using_ints", shape, self=x, start_dim=start, end_dim=end)
    return this.aten("reshape.default", shape, self=x, shape=list(shape))


@node("Reshape")
def _reshape_node(this: Node) -> Tensor:
    sizes = this.numbers("shape", 1)
    assert sizes is not None
    return _reshape(this, this.x, reshaped(this.x.shape, sizes, bool(this.attribute("allowzero"))))


@node("Flatten")
def _flatten(this: Node) -> Tensor:
    rank = len(this.x.shape)
    axis = this.attribute("axis", 1)
    axis += rank if axis < 0 else 0
    shape = (math.prod(this.x.shape[:axis]), math.prod(this.x.shape[axis:]))
    if axis == 1 and rank > 1:
        return this.aten("flatten.using_ints", shape, self=this.x, start_dim=1, end_dim=-1)
    return _reshape(this, this.x, shape)


@node("Transpose")
def _transpose(this: Node) -> Tensor:
    rank = len(this.x.shape)
    order = this.attribute("perm", list(range(rank))[::-1])
    if sorted(order) != list(range(rank)):
        raise ValueError(f"its perm {order} is no order of {rank} dimensions")
    if order == list(range(rank)):
        return this.x
    return this.aten("permute.default", [this.x.shape[place] for place in order], self=this.x, dims=order)


@node("Concat")
def _concat(this: Node) -> Tensor:
    tensors = [tensor for tensor in this.inputs if tensor is not None and 0 not in tensor.shape]
    axis = axis_of(this.attribute("axis"), len(tensors[0].shape))
    shape = list(tensors[0].shape)
    for other in tensors[1:]:
        if len(other.shape) != len(shape) or any(
            a != b for place, (a, b) in enumerate(zip(shape, other.shape, strict=True)) if place != axis
        ):
            raise ValueError(f"cannot join {shape} and {list(other.shape)} along dimension {axis}")
    shape[axis] = sum(tensor.shape[axis] for tensor in tensors)
    return this.aten("cat.default", shape, tensors[0].dtype, tensors=tensors, dim=axis)


@node("Split")
def _split(this: Node) -> list[Tensor | None]:
    axis, count = axis_of(this.attribute("axis", 0), len(this.x.shape)), len(this.step.outputs)
    extent, sizes = this.x.shape[axis], this.numbers("split", 1)
    if sizes is None:
        each = -(-extent // count)
        sizes = [each] * (count - 1) + [extent - each * (count - 1)]
    if sum(sizes) != extent or len(sizes) != count:
        raise ValueError(f"cannot split {extent} into {sizes}")
    results = [((*this.x.shape[:axis], size, *this.x.shape[axis + 1 :]), this.x.dtype) for size in sizes]
    return this.aten_all("split_with_sizes.default", results, self=this.x, split_sizes=sizes, dim=axis)


@node("Slice")
def _slice(this: Node) -> Tensor:
    starts, ends = this.numbers("starts", 1), this.numbers("ends", 2)
    assert starts is not None
    assert ends is not None
    axes, steps = this.numbers("axes", 3) or list(range(len(starts))), this.numbers("steps", 4) or [1] * len(starts)
    made = this.x
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        axis = axis_of(axis, len(made.shape))
        extent = made.shape[axis]
        if step == 0:
            raise ValueError("has a step of 0")
        if step < 0:
            made = this.aten("flip.default", made.shape, self=made, dims=[axis])
            # The place p of what is turned was extent − 1 − p.
            start, end = (extent - 1 - _clamped(bound, extent, -1, extent - 1) for bound in (start, end))
            step = -step
        else:
            start, end = (_clamped(bound, extent, 0, extent) for bound in (start, end))
        size = max(-(-(end - start) // step), 0)
        if (start, end, step) != (0, extent, 1):
            shape = (*made.shape[:axis], size, *made.shape[axis + 1 :])
            made = this.aten("slice.Tensor", shape, self=made, dim=axis, start=start, end=end, step=step)
    return made


def _clamped(bound: int, extent: int, least: int, most: int) -> int:
    """A bound counted from the first place, within what there is."""
    return min(max(bound + extent if bound < 0 else bound, least), most)


@node("Gather")
def _gather(this: Node) -> Tensor:
    x, index = this.x, this[1]
    axis = axis_of(this.attribute("axis", 0), len(x.shape))
    shape = x.shape[:axis] + index.shape + x.shape[axis + 1 :]
    if x.parameter is not None and axis == 0 and len(x.shape) == 2 and index.name not in this.walk.stored:
        more = {"padding_idx": -1, "scale_grad_by_freq": False, "sparse": False}
        return this.aten("embedding.default", shape, weight=x, indices=index, **more)
    if index.shape == () and index.number is not None:
        place = int(index.number)
        if not -x.shape[axis] <= place < x.shape[axis]:
            raise ValueError(f"takes place {place} of {x.shape[axis]}")
        return this.aten("select.int", shape, self=x, dim=axis, index=place)
    if len(index.shape) == 1:
        return this.aten("index_select.default", shape, self=x, dim=axis, index=index)
    return this.aten("index.Tensor", shape, self=x, indices=[*[None] * axis, index])


@node("GatherElements")
def _gather_elements(this: Node) -> Tensor:
    axis = axis_of(this.attribute("axis", 0), len(this.x.shape))
    return this.aten("gather.default", this[1].shape, self=this.x, dim=axis, index=this[1], sparse_grad=False)


@node("GatherND")
def _gather_nd(this: Node) -> Tensor:
    x, index, batched = this.x, this[1], this.attribute("batch_dims", 0)
    if not index.shape or not 0 <= batched < len(index.shape) or batched + index.shape[-1] > len(x.shape):
        raise ValueError(f"cannot take places {list(index.shape)} of {list(x.shape)}")
    shape = index.shape[:-1] + x.shape[batched + index.shape[-1] :]
    places = _places(this, index)
    if places is None or batched:
        return this.aten("", shape, inputs=[x, index])
    return this.aten("index.Tensor", shape, self=x, indices=places)


@node("ScatterND", "ScatterElements", "Scatter")
def _scatter(this: Node) -> Tensor:
    x, index, updates, reduction = this.x, this[1], this[2], this.attribute("reduction", "none")
    places = _places(this, index) if this.step.kind == "ScatterND" else None
    if places is not None and reduction in ("none", "add"):
        add = reduction == "add"
        return this.aten("index_put.default", x.shape, self=x, indices=places, values=updates, accumulate=add)
    if this.step.kind != "ScatterND":
        axis = axis_of(this.attribute("axis", 0), len(x.shape))
        given: dict[str, Any] = {"self": x, "dim": axis, "index": index, "src": updates}
        if reduction == "none":
            return this.aten("scatter.src", x.shape, **given)
        if reduction == "add":
            return this.aten("scatter_add.default", x.shape, **given)
        reduce = {"mul": "prod", "max": "amax", "min": "amin"}[reduction]
        return this.aten("scatter_reduce.two", x.shape, **given, reduce=reduce, include_self=True)
    return this.aten("", x.shape, inputs=[x, index, updates])


def _places(this: Node, index: Tensor) -> list[Tensor] | None:
    """The indices of each dimension, which ONNX has beside each other in one tensor."""
    if not 0 < index.shape[-1] <= len(this.x.shape):
        return None
    if index.constant is None:
        dims = range(index.shape[-1])
        last = len(index.shape) - 1
        shape = index.shape[:-1]
        return [this.aten("select.int", shape, index.dtype, self=index, dim=last, index=dim) for dim in dims]
    return [
        Tensor(f"{index.name}.{dim}", index.shape[:-1], index.dtype, index.constant[..., dim])
        for dim in range(index.shape[-1])
    ]


@node("Squeeze")
def _squeeze(this: Node) -> Tensor:
    rank, axes = len(this.x.shape), this.numbers("axes", 1)
    if axes is None:
        axes = [place for place, n in enumerate(this.x.shape) if n == 1]
    places = sorted({axis_of(axis, rank) for axis in axes})
    if any(this.x.shape[place] != 1 for place in places):
        raise ValueError(f"leaves out dimensions {places} of {list(this.x.shape)}, which are not 1")
    if not places:
        return this.x
    shape = [n for place, n in enumerate(this.x.shape) if place not in places]
    return this.aten("squeeze.dims", shape, self=this.x, dim=places)


@node("Unsqueeze")
def _unsqueeze(this: Node) -> Tensor:
    axes, made = this.numbers("axes", 1), this.x
    assert axes is not None
    rank = len(made.shape) + len(axes)
    for axis in sorted({axis_of(axis, rank) for axis in axes}):
        shape = (*made.shape[:axis], 1, *made.shape[axis:])
        made = this.aten("unsqueeze.default", shape, self=made, dim=axis)
    return made


@node("Expand")
def _expand(this: Node) -> Tensor:
    sizes = this.numbers("shape", 1)
    assert sizes is not None
    shape = broadcast(this.x.shape, tuple(sizes))
    if shape == this.x.shape:
        return this.x
    if this.x.constant is not None and this.x.parameter is None:
        return this.constant(this.x, shape, this.x.dtype)
    return this.aten("expand.default", shape, self=this.x, size=list(shape), implicit=False)


@node("Tile")
def _tile(this: Node) -> Tensor:
    times = this.numbers("repeats", 1)
    assert times is not None
    shape = [n * t for n, t in zip(this.x.shape, times, strict=True)]
    return this.x if set(times) == {1} else this.aten("repeat.default", shape, self=this.x, repeats=times)


@node("Pad")
def _pad(this: Node) -> Tensor:
    rank, pads = len(this.x.shape), this.numbers("pads", 1)
    axes = this.numbers("axes", 3) or list(range(rank))
    assert pads is not None
    if len(pads) != 2 * len(axes):
        raise ValueError(f"has {len(pads)} pads for {len(axes)} dimensions")
    ends = {axis_of(axis, rank): (pads[i], pads[i + len(axes)]) for i, axis in enumerate(axes)}
    shape = [n + sum(ends.get(place, (0, 0))) for place, n in enumerate(this.x.shape)]
    padded = [place for place in ends if ends[place] != (0, 0)]
    if not padded:
        return this.x
    flat = [side for place in reversed(range(min(padded), rank)) for side in ends.get(place, (0, 0))]
    modes = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}
    value, filled = this.get(2), None
    if value is not None and value.number is not None:
        filled = float(value.number)
    return this.aten(
        "pad.default", shape, self=this.x, pad=flat, mode=modes[this.attribute("mode", "constant")], value=filled
    )


@node("DepthToSpace", "SpaceToDepth")
def _pixels(this: Node) -> Tensor:
    (batch, channels, height, width), by = this.x.shape, this.attribute("blocksize")
    if this.step.kind == "DepthToSpace":
        shape = (batch, channels // (by * by), height * by, width * by)
        return this.aten("pixel_shuffle.default", shape, self=this.x, upscale_factor=by)
    shape = (batch, channels * by * by, height // by, width // by)
    return this.aten("pixel_unshuffle.default", shape, self=this.x, downscale_factor=by)


@node("Resize", "Upsample")
def _resize(this: Node) -> Tensor | list[Tensor | None]:
    x, rank = this.x, len(this.x.shape)
    old = this.step.kind == "Upsample"
    scales, sizes = this.get(1 if old else 2), None if old else this.numbers("sizes", 3)
    axes = [axis_of(axis, rank) for axis in this.attribute("axes", range(rank))]
    shape = list(x.shape)
    factors = [1.0] * rank
    if sizes:
        if this.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
            return this.unknown()
        for axis, size in zip(axes, sizes, strict=True):
            shape[axis] = size
    else:
        if scales is None or scales.constant is None:
            raise CostcalcError("resizes by what depends on data, so that costs are no numbers")
        factors = [float(factor) for factor in scales.constant.reshape(-1).tolist()]
        for axis, factor in zip(axes, factors, strict=True):
            shape[axis] = _scaled(x.shape[axis], factor)
    if tuple(shape) == x.shape:
        return x
    plane = rank - 2
    mode = this.attribute("mode", "nearest")
    if plane not in (1, 2, 3) or tuple(shape[:2]) != x.shape[:2] or (mode == "cubic" and plane != 2):
        return this.aten("", shape, inputs=[x])
    name = {
        "nearest": f"nearest{plane}d",
        "linear": ("linear1d", "bilinear2d", "trilinear3d")[plane - 1],
        "cubic": "bicubic2d",
    }[mode]
    given: dict[str, Any] = {"input": x, "output_size": shape[2:], "scale_factors": None}
    if mode != "nearest":
        given["align_corners"] = this.attribute("coordinate_transformation_mode", "half_pixel") == "align_corners"
    if this.attribute("antialias", 0) and mode != "nearest":
        return this.aten(f"_upsample_{name}_aa.vec", shape, **given)
    return this.aten(f"upsample_{name}.vec", shape, **given)


def _scaled(extent: int, factor: float) -> int:
    """An extent times a factor, rounded down; of a free one, where the factor is a ratio of small whole numbers."""
    if not isinstance(extent, Free):
        return math.floor(extent * factor)
    ratio = Fraction(factor).limit_denominator(64)
    return extent * ratio.numerator // ratio.denominator


@node("GridSample")
def _grid_sample(this: Node) -> Tensor:
    shape = (*this.x.shape[:2], *this[1].shape[1:-1])
    more = {"interpolation_mode": 0, "padding_mode": 0, "align_corners": bool(this.attribute("align_corners", 0))}
    return this.aten("grid_sampler.default", shape, input=this.x, grid=this[1], **more)


@node("Trilu")
def _trilu(this: Node) -> Tensor:
    offset = this.numbers("k", 1)
    name = "triu.default" if this.attribute("upper", 1) else "tril.default"
    return this.aten(name, this.x.shape, self=this.x, diagonal=offset[0] if offset else 0)


# -- tensors that are there before the model runs, and are too large to be worked out ---------------------------------


@node("Constant")
def _constant(this: Node) -> Tensor:
    for value in this.step.attributes.values():
        if isinstance(value, Stored):
            return Tensor(this.step.outputs[0], value.shape, value.dtype, value.value)
    raise ValueError("is no tensor of numbers")


@node("ConstantOfShape")
def _constant_of_shape(this: Node) -> Tensor:
    sizes = this.numbers("input", 0)
    value = this.attribute("value")
    return this.constant(this.x, _checked(sizes), "float32" if value is None else value.dtype)


@node("Range")
def _range(this: Node) -> Tensor:
    bounds = [this[place].number for place in range(3)]
    if any(bound is None for bound in bounds):
        raise CostcalcError("makes a tensor whose size depends on data, so that costs are no numbers")
    start, limit, delta = [bound or 0 for bound in bounds]
    length = -((start - limit) // delta)  # rounded up
    return this.constant(this.x, (max(whole(length), 0),), this.x.dtype)


@node("RandomNormal", "RandomUniform", "EyeLike")
def _made(this: Node) -> Tensor:
    if this.step.kind == "EyeLike":
        return this.constant(this.x, this.x.shape, this.x.dtype)
    tensor = Tensor("", (), "float32")
    return this.constant(tensor, _checked(this.attribute("shape")), dtype_of(this.attribute("dtype", 1)))


def _checked(sizes: Sequence[int] | None) -> tuple[int, ...]:
    if sizes is None:
        raise ValueError("does not say what shape its result has")
    return tuple(sizes)
