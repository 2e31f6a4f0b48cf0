"""What can be worked out of an ONNX model without running it: arithmetic on sizes, indices and other small constants.

All values are small arrays of int64, float64 or bool; a result that would be large is not worked out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from costcalc.frontends.onnx.free import Free, has_free
from costcalc.frontends.onnx.reading import DTYPES, SMALL, Step, Stored, normal

Array: TypeAlias = "np.ndarray[Any, Any]"
Evaluation = Callable[[Step, Sequence[Any]], Any]

_EVALUATIONS: dict[str, Evaluation] = {}


def fold(step: Step, inputs: Sequence[Array | None]) -> list[Array] | None:
    """The results of a step on constants (None for an input that is left out); None where they are not worked out."""
    evaluation = _EVALUATIONS.get(step.kind)
    if evaluation is None:
        return None
    with np.errstate(all="ignore"):
        made = evaluation(step, inputs)
    if made is None:
        return None
    # NumPy gives an element of an array of objects as it is.
    parts = [np.array(part, object) if isinstance(part, Free) else np.asarray(part) for part in _listed(made)]
    results = [normal(part) for part in parts]
    return results if all(part.size <= SMALL for part in results) else None


def _listed(made: Any) -> list[Any]:
    return made if isinstance(made, list) else [made]


def _evaluates(*kinds: str) -> Callable[[Evaluation], Evaluation]:
    def add(function: Evaluation) -> Evaluation:
        for kind in kinds:
            _EVALUATIONS[kind] = function
        return function

    return add


def _divided(a: Array, b: Array) -> Any:
    if a.dtype.kind == "f" or b.dtype.kind == "f":
        return a / b
    if not np.all(b):
        raise ValueError("division by zero")
    return np.frompyfunc(_towards_zero, 2, 1)(a, b)


def _towards_zero(a: int, b: int) -> int:
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


def _power(a: Array, b: Array) -> Array:
    return np.asarray(np.power(a.astype(np.float64), b).astype(a.dtype))


def _remainder(step: Step, inputs: Sequence[Array]) -> Any:
    a, b = inputs
    if a.dtype.kind == "i" and not np.all(b):
        raise ValueError("division by zero")
    return np.fmod(a, b) if step.attributes.get("fmod") else np.mod(a, b)


_EVALUATIONS["Mod"] = _remainder

_ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": _divided, "Pow": _power,
    "Equal": np.equal, "Greater": np.greater, "Less": np.less, "GreaterOrEqual": np.greater_equal,
    "LessOrEqual": np.less_equal, "And": np.logical_and, "Or": np.logical_or, "Xor": np.logical_xor,
    "Not": np.logical_not, "Neg": np.negative, "Abs": np.abs, "Sqrt": np.sqrt, "Floor": np.floor, "Ceil": np.ceil,
    "Round": np.round, "Exp": np.exp, "Log": np.log, "Sign": np.sign, "Where": np.where,
    "Reciprocal": lambda a: 1.0 / a.astype(np.float64), "Identity": np.asarray,
    "Sin": np.sin, "Cos": np.cos,
}  # fmt: skip


def _elementwise(function: Callable[..., Any]) -> Evaluation:
    def evaluate(step: Step, inputs: Sequence[Array]) -> Any:
        if math.prod(np.broadcast_shapes(*[value.shape for value in inputs])) > SMALL:
            return None
        return function(*inputs)

    return evaluate


_EVALUATIONS |= {kind: _elementwise(function) for kind, function in _ELEMENTWISE.items()}


@_evaluates("Min", "Max", "Sum")
def _folded(step: Step, inputs: Sequence[Array]) -> Any:
    if math.prod(np.broadcast_shapes(*[value.shape for value in inputs])) > SMALL:
        return None
    function = {"Min": np.minimum, "Max": np.maximum, "Sum": np.add}[step.kind]
    result = inputs[0]
    for value in inputs[1:]:
        result = function(result, value)
    return result


@_evaluates("Constant")
def _constant(step: Step, inputs: Sequence[Array]) -> Any:
    for name, value in step.attributes.items():
        if isinstance(value, Stored):
            return value.value
        if name in ("value_int", "value_ints"):
            return np.asarray(value, np.int64)
        if name in ("value_float", "value_floats"):
            return np.asarray(value, np.float64)
    return None


@_evaluates("ConstantOfShape")
def _constant_of_shape(step: Step, inputs: Sequence[Array]) -> Any:
    shape = inputs[0].tolist()
    if has_free(shape):
        return None
    if any(n < 0 for n in shape):
        raise ValueError(f"a negative size in {shape}")
    filled = step.attributes.get("value")
    value = filled.value.reshape(()) if isinstance(filled, Stored) and filled.value is not None else 0.0
    return np.full(shape, value) if math.prod(shape) <= SMALL else None


@_evaluates("Gather")
def _gather(step: Step, inputs: Sequence[Array]) -> Any:
    data, index = inputs
    axis = step.attributes.get("axis", 0)
    rest = data.size // max(data.shape[axis], 1)
    return np.take(data, index, axis) if rest * index.size <= SMALL else None


@_evaluates("GatherND")
def _gather_nd(step: Step, inputs: Sequence[Array]) -> Any:
    data, index = inputs
    if step.attributes.get("batch_dims", 0):
        return None
    places = tuple(np.moveaxis(index, -1, 0))
    small = index.size * math.prod(data.shape[len(places) :]) <= SMALL
    return data[places] if small else None


@_evaluates("ScatterND")
def _scatter_nd(step: Step, inputs: Sequence[Array]) -> Any:
    data, index, updates = inputs
    if step.attributes.get("reduction", "none") != "none":
        return None
    result = data.copy()
    result[tuple(np.moveaxis(index, -1, 0))] = updates
    return result


@_evaluates("Concat")
def _concat(step: Step, inputs: Sequence[Array]) -> Any:
    return np.concatenate(list(inputs), step.attributes["axis"])


@_evaluates("Slice")
def _slice(step: Step, inputs: Sequence[Array | None]) -> Any:
    data, starts, ends, axes, steps = (*inputs, None, None)[:5]
    assert data is not None
    assert starts is not None
    assert ends is not None
    index = [slice(None)] * data.ndim
    if has_free((*starts.flat, *ends.flat)) and data.dtype != np.object_:
        return None
    places = range(starts.size) if axes is None else axes.tolist()
    strides = [1] * starts.size if steps is None else steps.tolist()
    for axis, start, end, stride in zip(places, starts.tolist(), ends.tolist(), strides, strict=True):
        stop = None if stride < 0 and end < -data.shape[axis] else end
        index[axis] = slice(start, stop, stride)
    return data[tuple(index)]


@_evaluates("Unsqueeze")
def _unsqueeze(step: Step, inputs: Sequence[Array]) -> Any:
    axes = step.attributes.get("axes")
    return np.expand_dims(inputs[0], tuple(inputs[1].reshape(-1).tolist() if axes is None else axes))


@_evaluates("Squeeze")
def _squeeze(step: Step, inputs: Sequence[Array | None]) -> Any:
    data, given = (*inputs, None)[:2]
    axes = step.attributes.get("axes", None if given is None else given.tolist())
    assert data is not None
    return np.squeeze(data, None if axes is None else tuple(axes))


@_evaluates("Reshape")
def _reshape(step: Step, inputs: Sequence[Array]) -> Any:
    data, sizes = inputs
    return data.reshape(reshaped(data.shape, sizes.tolist(), bool(step.attributes.get("allowzero"))))


@_evaluates("Flatten")
def _flatten(step: Step, inputs: Sequence[Array]) -> Any:
    axis = step.attributes.get("axis", 1) % (inputs[0].ndim + 1)
    return inputs[0].reshape(math.prod(inputs[0].shape[:axis]), -1)


@_evaluates("Transpose")
def _transpose(step: Step, inputs: Sequence[Array]) -> Any:
    return np.transpose(inputs[0], step.attributes.get("perm"))


@_evaluates("Expand")
def _expand(step: Step, inputs: Sequence[Array]) -> Any:
    if has_free(inputs[1].flat):
        return None
    shape = np.broadcast_shapes(inputs[0].shape, tuple(inputs[1].tolist()))
    return np.array(np.broadcast_to(inputs[0], shape)) if math.prod(shape) <= SMALL else None


@_evaluates("Tile")
def _tile(step: Step, inputs: Sequence[Array]) -> Any:
    data, times = inputs
    if has_free(times.flat):
        return None
    size = data.size * math.prod([int(n) for n in times])
    return np.tile(data, times) if 0 <= size <= SMALL else None


@_evaluates("Range")
def _range(step: Step, inputs: Sequence[Array]) -> Any:
    start, limit, delta = [value.reshape(()).item() for value in inputs]
    if has_free((start, limit, delta)):
        return None
    if delta == 0:
        raise ValueError("a range in steps of 0")
    return np.arange(start, limit, delta) if (limit - start) / delta <= SMALL else None


@_evaluates("Cast", "CastLike")
def _cast(step: Step, inputs: Sequence[Array]) -> Any:
    if step.kind == "CastLike":
        return inputs[0] if inputs[1] is None else inputs[0].astype(inputs[1].dtype)
    dtype = DTYPES.get(step.attributes["to"], "")
    if dtype == "bool":
        return inputs[0] != 0
    if inputs[0].dtype == np.object_:
        return inputs[0]  # whole numbers, whatever they are stored as
    return np.trunc(inputs[0]).astype(np.int64) if "int" in dtype else inputs[0].astype(np.float64)


_REDUCTIONS: dict[str, Callable[..., Any]] = {
    "ReduceProd": np.prod, "ReduceSum": np.sum, "ReduceMax": np.max, "ReduceMin": np.min,
}  # fmt: skip


@_evaluates(*_REDUCTIONS)
def _reduce(step: Step, inputs: Sequence[Array | None]) -> Any:
    data, given = (*inputs, None)[:2]
    axes = step.attributes.get("axes", None if given is None else given.tolist())
    assert data is not None
    if not axes and step.attributes.get("noop_with_empty_axes"):
        return data
    return _REDUCTIONS[step.kind](
        data, axis=tuple(axes) if axes else None, keepdims=bool(step.attributes.get("keepdims", 1))
    )


@_evaluates("CumSum")
def _cumsum(step: Step, inputs: Sequence[Array]) -> Any:
    if step.attributes.get("exclusive") or step.attributes.get("reverse"):
        return None
    return np.cumsum(inputs[0], int(inputs[1].reshape(())))


@_evaluates("NonZero")
def _non_zero(step: Step, inputs: Sequence[Array]) -> Any:
    return np.array(np.nonzero(inputs[0]))


@_evaluates("Split")
def _split(step: Step, inputs: Sequence[Array | None]) -> Any:
    data, given = (*inputs, None)[:2]
    assert data is not None
    axis = step.attributes.get("axis", 0)
    sizes = step.attributes.get("split", None if given is None else given.tolist())
    if sizes is None:
        each = -(-data.shape[axis] // len(step.outputs))
        sizes = [each] * len(step.outputs)
    return np.split(data, np.cumsum(sizes)[:-1], axis)


def reshaped(shape: Sequence[int], sizes: Sequence[int], allowzero: bool) -> tuple[int, ...]:
    """The shape that Reshape makes: 0 keeps a size, -1 stands for what is left."""
    asked = list(sizes) if allowzero else [shape[i] if size == 0 else size for i, size in enumerate(sizes)]
    elements, known = math.prod(shape), math.prod(size for size in asked if size != -1)
    if asked.count(-1) == 1 and known > 0 and elements % known == 0:
        asked[asked.index(-1)] = elements // known
    if -1 in asked or math.prod(asked) != elements:
        raise ValueError(f"{list(shape)} cannot become {list(sizes)}")
    return tuple(asked)


def rearranged(step: Step, shape: tuple[int, ...], given: Sequence[Array | None]) -> tuple[int, ...]:
    """The shape of a tensor whose elements a step puts elsewhere, given what else the step takes."""
    if step.kind in ("Cast", "CastLike", "Identity"):
        return shape
    if step.kind == "Reshape":
        assert given[0] is not None
        return reshaped(shape, given[0].tolist(), bool(step.attributes.get("allowzero")))
    without_memory = np.broadcast_to(np.zeros((), np.int8), shape)
    return tuple(_EVALUATIONS[step.kind](step, [without_memory, *given]).shape)
