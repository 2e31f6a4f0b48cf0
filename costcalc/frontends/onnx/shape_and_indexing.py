"""Operations of ONNX that reshape, rearrange, select or repeat elements, and resize images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from costcalc.core.errors import CostcalcError
from costcalc.frontends.onnx.constants import reshaped_shape
from costcalc.frontends.onnx.interpreter import OnnxTensor
from costcalc.frontends.onnx.node import NodeContext, broadcast_shapes, dtype_of, normalize_axis, onnx_op
from costcalc.frontends.onnx.reader import Initializer
from costcalc.frontends.onnx.symbolic_int import SymbolicInt, as_int


def _reshape(ctx: NodeContext, x: OnnxTensor, shape: tuple[int, ...]) -> OnnxTensor:
    """Reshape a tensor; dimensions that are only merged are flattened."""
    if shape == x.shape:
        return x
    merged = len(x.shape) - len(shape)
    for start in range(len(shape)):
        end = start + merged
        if merged > 0 and (*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :]) == shape:
            return ctx.aten("flatten.using_ints", shape, self=x, start_dim=start, end_dim=end)
    return ctx.aten("reshape.default", shape, self=x, shape=list(shape))


@onnx_op("Reshape")
def _reshape_node(ctx: NodeContext) -> OnnxTensor:
    sizes = ctx.ints("shape", 1)
    assert sizes is not None
    return _reshape(ctx, ctx.x, reshaped_shape(ctx.x.shape, sizes, bool(ctx.attribute("allowzero"))))


@onnx_op("Flatten")
def _flatten(ctx: NodeContext) -> OnnxTensor:
    rank = len(ctx.x.shape)
    axis = ctx.attribute("axis", 1)
    axis += rank if axis < 0 else 0
    shape = (math.prod(ctx.x.shape[:axis]), math.prod(ctx.x.shape[axis:]))
    if axis == 1 and rank > 1:
        return ctx.aten("flatten.using_ints", shape, self=ctx.x, start_dim=1, end_dim=-1)
    return _reshape(ctx, ctx.x, shape)


@onnx_op("Transpose")
def _transpose(ctx: NodeContext) -> OnnxTensor:
    rank = len(ctx.x.shape)
    order = ctx.attribute("perm", list(range(rank))[::-1])
    if sorted(order) != list(range(rank)):
        raise ValueError(f"its perm {order} is no order of {rank} dimensions")
    if order == list(range(rank)):
        return ctx.x
    return ctx.aten("permute.default", [ctx.x.shape[dim] for dim in order], self=ctx.x, dims=order)


@onnx_op("Concat")
def _concat(ctx: NodeContext) -> OnnxTensor:
    tensors = [tensor for tensor in ctx.inputs if tensor is not None and 0 not in tensor.shape]
    axis = normalize_axis(ctx.attribute("axis"), len(tensors[0].shape))
    shape = list(tensors[0].shape)
    for other in tensors[1:]:
        if len(other.shape) != len(shape) or any(
            a != b for dim, (a, b) in enumerate(zip(shape, other.shape, strict=True)) if dim != axis
        ):
            raise ValueError(f"cannot join {shape} and {list(other.shape)} along dimension {axis}")
    shape[axis] = sum(tensor.shape[axis] for tensor in tensors)
    return ctx.aten("cat.default", shape, tensors[0].dtype, tensors=tensors, dim=axis)


@onnx_op("Split")
def _split(ctx: NodeContext) -> list[OnnxTensor | None]:
    axis, count = normalize_axis(ctx.attribute("axis", 0), len(ctx.x.shape)), len(ctx.node.outputs)
    extent, sizes = ctx.x.shape[axis], ctx.ints("split", 1)
    if sizes is None:
        each = -(-extent // count)
        sizes = [each] * (count - 1) + [extent - each * (count - 1)]
    if sum(sizes) != extent or len(sizes) != count:
        raise ValueError(f"cannot split {extent} into {sizes}")
    results = [((*ctx.x.shape[:axis], size, *ctx.x.shape[axis + 1 :]), ctx.x.dtype) for size in sizes]
    return ctx.aten_outputs("split_with_sizes.default", results, self=ctx.x, split_sizes=sizes, dim=axis)


@onnx_op("Slice")
def _slice(ctx: NodeContext) -> OnnxTensor:
    starts, ends = ctx.ints("starts", 1), ctx.ints("ends", 2)
    assert starts is not None
    assert ends is not None
    axes, steps = ctx.ints("axes", 3) or list(range(len(starts))), ctx.ints("steps", 4) or [1] * len(starts)
    made = ctx.x
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        axis = normalize_axis(axis, len(made.shape))
        extent = made.shape[axis]
        if step == 0:
            raise ValueError("has a step of 0")
        if step < 0:
            made = ctx.aten("flip.default", made.shape, self=made, dims=[axis])
            # Index p of the flipped tensor is index extent − 1 − p of the original.
            start, end = (extent - 1 - _clamped(bound, extent, -1, extent - 1) for bound in (start, end))
            step = -step
        else:
            start, end = (_clamped(bound, extent, 0, extent) for bound in (start, end))
        size = max(-(-(end - start) // step), 0)
        if (start, end, step) != (0, extent, 1):
            shape = (*made.shape[:axis], size, *made.shape[axis + 1 :])
            made = ctx.aten("slice.Tensor", shape, self=made, dim=axis, start=start, end=end, step=step)
    return made


def _clamped(bound: int, extent: int, least: int, most: int) -> int:
    """A bound counted from the first index, limited to the given range."""
    return min(max(bound + extent if bound < 0 else bound, least), most)


@onnx_op("Gather")
def _gather(ctx: NodeContext) -> OnnxTensor:
    x, index = ctx.x, ctx[1]
    axis = normalize_axis(ctx.attribute("axis", 0), len(x.shape))
    shape = x.shape[:axis] + index.shape + x.shape[axis + 1 :]
    if x.parameter is not None and axis == 0 and len(x.shape) == 2 and index.name not in ctx.interpreter.initializers:
        more = {"padding_idx": -1, "scale_grad_by_freq": False, "sparse": False}
        return ctx.aten("embedding.default", shape, weight=x, indices=index, **more)
    if index.shape == () and index.scalar is not None:
        position = int(index.scalar)
        if not -x.shape[axis] <= position < x.shape[axis]:
            raise ValueError(f"reads index {position} of a dimension of {x.shape[axis]}")
        return ctx.aten("select.int", shape, self=x, dim=axis, index=position)
    if len(index.shape) == 1:
        return ctx.aten("index_select.default", shape, self=x, dim=axis, index=index)
    return ctx.aten("index.Tensor", shape, self=x, indices=[*[None] * axis, index])


@onnx_op("GatherElements")
def _gather_elements(ctx: NodeContext) -> OnnxTensor:
    axis = normalize_axis(ctx.attribute("axis", 0), len(ctx.x.shape))
    return ctx.aten("gather.default", ctx[1].shape, self=ctx.x, dim=axis, index=ctx[1], sparse_grad=False)


@onnx_op("GatherND")
def _gather_nd(ctx: NodeContext) -> OnnxTensor:
    x, index, batched = ctx.x, ctx[1], ctx.attribute("batch_dims", 0)
    if not index.shape or not 0 <= batched < len(index.shape) or batched + index.shape[-1] > len(x.shape):
        raise ValueError(f"cannot use indices of shape {list(index.shape)} for {list(x.shape)}")
    shape = index.shape[:-1] + x.shape[batched + index.shape[-1] :]
    indices = _split_indices(ctx, index)
    if indices is None or batched:
        return ctx.aten("", shape, inputs=[x, index])
    return ctx.aten("index.Tensor", shape, self=x, indices=indices)


@onnx_op("ScatterND", "ScatterElements", "Scatter")
def _scatter(ctx: NodeContext) -> OnnxTensor:
    x, index, updates, reduction = ctx.x, ctx[1], ctx[2], ctx.attribute("reduction", "none")
    indices = _split_indices(ctx, index) if ctx.node.op_type == "ScatterND" else None
    if indices is not None and reduction in ("none", "add"):
        add = reduction == "add"
        return ctx.aten("index_put.default", x.shape, self=x, indices=indices, values=updates, accumulate=add)
    if ctx.node.op_type != "ScatterND":
        axis = normalize_axis(ctx.attribute("axis", 0), len(x.shape))
        given: dict[str, Any] = {"self": x, "dim": axis, "index": index, "src": updates}
        if reduction == "none":
            return ctx.aten("scatter.src", x.shape, **given)
        if reduction == "add":
            return ctx.aten("scatter_add.default", x.shape, **given)
        reduce = {"mul": "prod", "max": "amax", "min": "amin"}[reduction]
        return ctx.aten("scatter_reduce.two", x.shape, **given, reduce=reduce, include_self=True)
    return ctx.aten("", x.shape, inputs=[x, index, updates])


def _split_indices(ctx: NodeContext, index: OnnxTensor) -> list[OnnxTensor] | None:
    """The indices of each dimension, which ONNX stores in the last dimension of one tensor."""
    if not 0 < index.shape[-1] <= len(ctx.x.shape):
        return None
    if index.constant is None:
        dims = range(index.shape[-1])
        last = len(index.shape) - 1
        shape = index.shape[:-1]
        return [ctx.aten("select.int", shape, index.dtype, self=index, dim=last, index=dim) for dim in dims]
    return [
        OnnxTensor(f"{index.name}.{dim}", index.shape[:-1], index.dtype, index.constant[..., dim])
        for dim in range(index.shape[-1])
    ]


@onnx_op("Squeeze")
def _squeeze(ctx: NodeContext) -> OnnxTensor:
    rank, axes = len(ctx.x.shape), ctx.ints("axes", 1)
    if axes is None:
        axes = [dim for dim, n in enumerate(ctx.x.shape) if n == 1]
    dims = sorted({normalize_axis(axis, rank) for axis in axes})
    if any(ctx.x.shape[dim] != 1 for dim in dims):
        raise ValueError(f"leaves out dimensions {dims} of {list(ctx.x.shape)}, which are not 1")
    if not dims:
        return ctx.x
    shape = [n for dim, n in enumerate(ctx.x.shape) if dim not in dims]
    return ctx.aten("squeeze.dims", shape, self=ctx.x, dim=dims)


@onnx_op("Unsqueeze")
def _unsqueeze(ctx: NodeContext) -> OnnxTensor:
    axes, made = ctx.ints("axes", 1), ctx.x
    assert axes is not None
    rank = len(made.shape) + len(axes)
    for axis in sorted({normalize_axis(axis, rank) for axis in axes}):
        shape = (*made.shape[:axis], 1, *made.shape[axis:])
        made = ctx.aten("unsqueeze.default", shape, self=made, dim=axis)
    return made


@onnx_op("Expand")
def _expand(ctx: NodeContext) -> OnnxTensor:
    sizes = ctx.ints("shape", 1)
    assert sizes is not None
    shape = broadcast_shapes(ctx.x.shape, tuple(sizes))
    if shape == ctx.x.shape:
        return ctx.x
    if ctx.x.constant is not None and ctx.x.parameter is None:
        return ctx.constant(shape, ctx.x.dtype)
    return ctx.aten("expand.default", shape, self=ctx.x, size=list(shape), implicit=False)


@onnx_op("Tile")
def _tile(ctx: NodeContext) -> OnnxTensor:
    times = ctx.ints("repeats", 1)
    assert times is not None
    shape = [n * t for n, t in zip(ctx.x.shape, times, strict=True)]
    return ctx.x if set(times) == {1} else ctx.aten("repeat.default", shape, self=ctx.x, repeats=times)


@onnx_op("Pad")
def _pad(ctx: NodeContext) -> OnnxTensor:
    rank, pads = len(ctx.x.shape), ctx.ints("pads", 1)
    axes = ctx.ints("axes", 3) or list(range(rank))
    assert pads is not None
    if len(pads) != 2 * len(axes):
        raise ValueError(f"has {len(pads)} pads for {len(axes)} dimensions")
    ends = {normalize_axis(axis, rank): (pads[i], pads[i + len(axes)]) for i, axis in enumerate(axes)}
    shape = [n + sum(ends.get(dim, (0, 0))) for dim, n in enumerate(ctx.x.shape)]
    padded = [dim for dim in ends if ends[dim] != (0, 0)]
    if not padded:
        return ctx.x
    flat = [side for dim in reversed(range(min(padded), rank)) for side in ends.get(dim, (0, 0))]
    modes = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}
    value, filled = ctx.get(2), None
    if value is not None and value.scalar is not None:
        filled = float(value.scalar)
    return ctx.aten(
        "pad.default", shape, self=ctx.x, pad=flat, mode=modes[ctx.attribute("mode", "constant")], value=filled
    )


@onnx_op("DepthToSpace", "SpaceToDepth")
def _pixel_shuffle(ctx: NodeContext) -> OnnxTensor:
    (batch, channels, height, width), by = ctx.x.shape, ctx.attribute("blocksize")
    if ctx.node.op_type == "DepthToSpace":
        shape = (batch, channels // (by * by), height * by, width * by)
        return ctx.aten("pixel_shuffle.default", shape, self=ctx.x, upscale_factor=by)
    shape = (batch, channels * by * by, height // by, width // by)
    return ctx.aten("pixel_unshuffle.default", shape, self=ctx.x, downscale_factor=by)


@onnx_op("Resize", "Upsample")
def _resize(ctx: NodeContext) -> OnnxTensor | list[OnnxTensor | None]:
    x, rank = ctx.x, len(ctx.x.shape)
    old = ctx.node.op_type == "Upsample"
    scales, sizes = ctx.get(1 if old else 2), None if old else ctx.ints("sizes", 3)
    axes = [normalize_axis(axis, rank) for axis in ctx.attribute("axes", range(rank))]
    shape = list(x.shape)
    factors = [1.0] * rank
    if sizes:
        if ctx.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
            return ctx.unknown()
        for axis, size in zip(axes, sizes, strict=True):
            shape[axis] = size
    else:
        if scales is None or scales.constant is None:
            raise CostcalcError("resizes by factors that depend on data, so its costs have no fixed values")
        factors = [float(factor) for factor in scales.constant.reshape(-1).tolist()]
        for axis, factor in zip(axes, factors, strict=True):
            shape[axis] = _scaled(x.shape[axis], factor)
    if tuple(shape) == x.shape:
        return x
    plane = rank - 2
    mode = ctx.attribute("mode", "nearest")
    if plane not in (1, 2, 3) or tuple(shape[:2]) != x.shape[:2] or (mode == "cubic" and plane != 2):
        return ctx.aten("", shape, inputs=[x])
    name = {
        "nearest": f"nearest{plane}d",
        "linear": ("linear1d", "bilinear2d", "trilinear3d")[plane - 1],
        "cubic": "bicubic2d",
    }[mode]
    given: dict[str, Any] = {"input": x, "output_size": shape[2:], "scale_factors": None}
    if mode != "nearest":
        given["align_corners"] = ctx.attribute("coordinate_transformation_mode", "half_pixel") == "align_corners"
    if ctx.attribute("antialias", 0) and mode != "nearest":
        return ctx.aten(f"_upsample_{name}_aa.vec", shape, **given)
    return ctx.aten(f"upsample_{name}.vec", shape, **given)


def _scaled(extent: int, factor: float) -> int:
    """An extent times a factor, rounded down; for symbolic extents, the factor is a ratio of small integers."""
    if not isinstance(extent, SymbolicInt):
        return math.floor(extent * factor)
    ratio = Fraction(factor).limit_denominator(64)
    return extent * ratio.numerator // ratio.denominator


@onnx_op("GridSample")
def _grid_sample(ctx: NodeContext) -> OnnxTensor:
    shape = (*ctx.x.shape[:2], *ctx[1].shape[1:-1])
    more = {"interpolation_mode": 0, "padding_mode": 0, "align_corners": bool(ctx.attribute("align_corners", 0))}
    return ctx.aten("grid_sampler.default", shape, input=ctx.x, grid=ctx[1], **more)


@onnx_op("Trilu")
def _trilu(ctx: NodeContext) -> OnnxTensor:
    offset = ctx.ints("k", 1)
    name = "triu.default" if ctx.attribute("upper", 1) else "tril.default"
    return ctx.aten(name, ctx.x.shape, self=ctx.x, diagonal=offset[0] if offset else 0)


# -- constants that are too large to fold ----------------------------------------------------------------------------


@onnx_op("Constant")
def _constant(ctx: NodeContext) -> OnnxTensor:
    for value in ctx.node.attributes.values():
        if isinstance(value, Initializer):
            return OnnxTensor(ctx.node.outputs[0], value.shape, value.dtype, value.value)
    raise ValueError("is no tensor of numbers")


@onnx_op("ConstantOfShape")
def _constant_of_shape(ctx: NodeContext) -> OnnxTensor:
    sizes = ctx.ints("input", 0)
    value = ctx.attribute("value")
    return ctx.constant(_required_shape(sizes), "float32" if value is None else value.dtype)


@onnx_op("Range")
def _range(ctx: NodeContext) -> OnnxTensor:
    bounds = [ctx[index].scalar for index in range(3)]
    if any(bound is None for bound in bounds):
        raise CostcalcError("has an output whose size depends on data, so that its cost is unknown")
    start, limit, delta = [bound or 0 for bound in bounds]
    length = -((start - limit) // delta)  # rounded up
    return ctx.constant((max(as_int(length), 0),), ctx.x.dtype)


@onnx_op("RandomNormal", "RandomUniform", "EyeLike")
def _generated(ctx: NodeContext) -> OnnxTensor:
    if ctx.node.op_type == "EyeLike":
        return ctx.constant(ctx.x.shape, ctx.x.dtype)
    return ctx.constant(_required_shape(ctx.attribute("shape")), dtype_of(ctx.attribute("dtype", 1)))


def _required_shape(sizes: Sequence[int] | None) -> tuple[int, ...]:
    if sizes is None:
        raise ValueError("does not specify the shape of its result")
    return tuple(sizes)
