"""Constant folding for ONNX nodes: arithmetic on sizes, indices and other small constants.

Values are small arrays of int64, float64 or bool, or object arrays of symbolic sizes. Large results are not computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from costcalc.frontends.call import make_registry
from costcalc.frontends.onnx.reader import DTYPES, MAX_CONSTANT_ELEMENTS, Initializer, OnnxNode, normalize_constant
from costcalc.frontends.onnx.symbolic_int import SymbolicInt, has_symbolic

Array: TypeAlias = "np.ndarray[Any, Any]"
Evaluator = Callable[[OnnxNode, Sequence[Any]], Any]

_EVALUATORS: dict[str, Evaluator] = {}
_evaluator = make_registry(_EVALUATORS)


def fold_constants(node: OnnxNode, inputs: Sequence[Array | None]) -> list[Array] | None:
    """Evaluate a node on constants (None for an omitted input); return None if it cannot be folded."""
    evaluation = _EVALUATORS.get(node.op_type)
    if evaluation is None:
        return None
    with np.errstate(all="ignore"):
        made = evaluation(node, inputs)
    if made is None:
        return None
    # Indexing an object array returns the element itself, not a NumPy scalar.
    parts = [np.array(part, object) if isinstance(part, SymbolicInt) else np.asarray(part) for part in _as_list(made)]
    results = [normalize_constant(part) for part in parts]
    return results if all(part.size <= MAX_CONSTANT_ELEMENTS for part in results) else None


def _as_list(made: Any) -> list[Any]:
    return made if isinstance(made, list) else [made]


def _divide(a: Array, b: Array) -> Any:
    if a.dtype.kind == "f" or b.dtype.kind == "f":
        return a / b
    if not np.all(b):
        raise ValueError("division by zero")
    return np.frompyfunc(_truncating_divide, 2, 1)(a, b)


def _truncating_divide(a: int, b: int) -> int:
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


def _power(a: Array, b: Array) -> Array:
    return np.asarray(np.power(a.astype(np.float64), b).astype(a.dtype))


def _remainder(node: OnnxNode, inputs: Sequence[Array]) -> Any:
    a, b = inputs
    if a.dtype.kind == "i" and not np.all(b):
        raise ValueError("division by zero")
    return np.fmod(a, b) if node.attributes.get("fmod") else np.mod(a, b)


_EVALUATORS["Mod"] = _remainder

_ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": _divide, "Pow": _power,
    "Equal": np.equal, "Greater": np.greater, "Less": np.less, "GreaterOrEqual": np.greater_equal,
    "LessOrEqual": np.less_equal, "And": np.logical_and, "Or": np.logical_or, "Xor": np.logical_xor,
    "Not": np.logical_not, "Neg": np.negative, "Abs": np.abs, "Sqrt": np.sqrt, "Floor": np.floor, "Ceil": np.ceil,
    "Round": np.round, "Exp": np.exp, "Log": np.log, "Sign": np.sign, "Where": np.where,
    "Reciprocal": lambda a: 1.0 / a.astype(np.float64), "Identity": np.asarray,
    "Sin": np.sin, "Cos": np.cos,
}  # fmt: skip


def _elementwise(function: Callable[..., Any]) -> Evaluator:
    def evaluate(node: OnnxNode, inputs: Sequence[Array]) -> Any:
        if math.prod(np.broadcast_shapes(*[value.shape for value in inputs])) > MAX_CONSTANT_ELEMENTS:
            return None
        return function(*inputs)

    return evaluate


_EVALUATORS |= {kind: _elementwise(function) for kind, function in _ELEMENTWISE.items()}


@_evaluator("Min", "Max", "Sum")
def _folded(node: OnnxNode, inputs: Sequence[Array]) -> Any:
    if math.prod(np.broadcast_shapes(*[value.shape for value in inputs])) > MAX_CONSTANT_ELEMENTS:
        return None
    function = {"Min": np.minimum, "Max": np.maximum, "Sum": np.add}[node.op_type]
    result = inputs[0]
    for value in inputs[1:]:
        result = function(result, value)
    return result


@_evaluator("Constant")
def _constant(node: OnnxNode, inputs: Sequence[Array]) -> Any:
    for name, value in node.attributes.items():
        if isinstance(value, Initializer):
            return value.value
        if name in ("value_int", "value_ints"):
            return np.asarray(value, np.int64)
        if name in ("value_float", "value_floats"):
            return np.asarray(value, np.float64)
    return None


@_evaluator("ConstantOfShape")
def _constant_of_shape(node: OnnxNode, inputs: Sequence[Array]) -> Any:
    shape = inputs[0].tolist()
    if has_symbolic(shape):
        return None
    if any(n < 0 for n in shape):
        raise ValueError(f"a negative size in {shape}")
    filled = node.attributes.get("value")
    value = filled.value.reshape(()) if isinstance(filled, Initializer) and filled.value is not None else 0.0
    return np.full(shape, value) if math.prod(shape) <= MAX_CONSTANT_ELEMENTS else None


@_evaluator("Gather")
def _gather(node: OnnxNode, inputs: Sequence[Array]) -> Any:
    data, index = inputs
    axis = node.attributes.get("axis", 0)
    rest = data.size // max(data.shape[axis], 1)
    return np.take(data, index, axis) if rest * index.size <= MAX_CONSTANT_ELEMENTS else None


@_evaluator("GatherND")
def _gather_nd(node: OnnxNode, inputs: Sequence[Array]) -> Any:
    data, index = inputs
    if node.attributes.get("batch_dims", 0):
        return None
    places = tuple(np.moveaxis(index, -1, 0))
    small = index.size * math.prod(data.shape[len(places) :]) <= MAX_CONSTANT_ELEMENTS
    return data[places] if small else None


@_evaluator("ScatterND")
def _scatter_nd(node: OnnxNode, inputs: Sequence[Array]) -> Any:
    data, index, updates = inputs
    if node.attributes.get("reduction", "none") != "none":
        return None
    result = data.copy()
    result[tuple(np.moveaxis(index, -1, 0))] = updates
    return result


@_evaluator("Concat")
def _concat(node: OnnxNode, inputs: Sequence[Array]) -> Any:
    return np.concatenate(list(inputs), node.attributes["axis"])


@_evaluator("Slice")
def _slice(node: OnnxNode, inputs: Sequence[Array | None]) -> Any:
    data, starts, ends, axes, nodes = (*inputs, None, None)[:5]
    assert data is not None
    assert starts is not None
    assert ends is not None
    index = [slice(None)] * data.ndim
    if has_symbolic((*starts.flat, *ends.flat)) and data.dtype != np.object_:
        return None
    places = range(starts.size) if axes is None else axes.tolist()
    strides = [1] * starts.size if nodes is None else nodes.tolist()
    for axis, start, end, stride in zip(places, starts.tolist(), ends.tolist(), strides, strict=True):
        stop = None if stride < 0 and end < -data.shape[axis] else end
        index[axis] = slice(start, stop, stride)
    return data[tuple(index)]


@_evaluator("Unsqueeze")
def _unsqueeze(node: OnnxNode, inputs: Sequence[Array]) -> Any:
    axes = node.attributes.get("axes")
    return np.expand_dims(inputs[0], tuple(inputs[1].reshape(-1).tolist() if axes is None else axes))


@_evaluator("Squeeze")
def _squeeze(node: OnnxNode, inputs: Sequence[Array | None]) -> Any:
    data, given = (*inputs, None)[:2]
    axes = node.attributes.get("axes", None if given is None else given.tolist())
    assert data is not None
    return np.squeeze(data, None if axes is None else tuple(axes))


@_evaluator("Reshape")
def _reshape(node: OnnxNode, inputs: Sequence[Array]) -> Any:
    data, sizes = inputs
    return data.reshape(reshaped_shape(data.shape, sizes.tolist(), bool(node.attributes.get("allowzero"))))


@_evaluator("Flatten")
def _flatten(node: OnnxNode, inputs: Sequence[Array]) -> Any:
    axis = node.attributes.get("axis", 1) % (inputs[0].ndim + 1)
    return inputs[0].reshape(math.prod(inputs[0].shape[:axis]), -1)


@_evaluator("Transpose")
def _transpose(node: OnnxNode, inputs: Sequence[Array]) -> Any:
    return np.transpose(inputs[0], node.attributes.get("perm"))


@_evaluator("Expand")
def _expand(node: OnnxNode, inputs: Sequence[Array]) -> Any:
    if has_symbolic(inputs[1].flat):
        return None
    shape = np.broadcast_shapes(inputs[0].shape, tuple(inputs[1].tolist()))
    return np.array(np.broadcast_to(inputs[0], shape)) if math.prod(shape) <= MAX_CONSTANT_ELEMENTS else None


@_evaluator("Tile")
def _tile(node: OnnxNode, inputs: Sequence[Array]) -> Any:
    data, times = inputs
    if has_symbolic(times.flat):
        return None
    size = data.size * math.prod([int(n) for n in times])
    return np.tile(data, times) if 0 <= size <= MAX_CONSTANT_ELEMENTS else None


@_evaluator("Range")
def _range(node: OnnxNode, inputs: Sequence[Array]) -> Any:
    start, limit, delta = [value.reshape(()).item() for value in inputs]
    if has_symbolic((start, limit, delta)):
        return None
    if delta == 0:
        raise ValueError("a range in steps of 0")
    return np.arange(start, limit, delta) if (limit - start) / delta <= MAX_CONSTANT_ELEMENTS else None


@_evaluator("Cast", "CastLike")
def _cast(node: OnnxNode, inputs: Sequence[Array]) -> Any:
    if node.op_type == "CastLike":
        return inputs[0] if inputs[1] is None else inputs[0].astype(inputs[1].dtype)
    dtype = DTYPES.get(node.attributes["to"], "")
    if dtype == "bool":
        return inputs[0] != 0
    if inputs[0].dtype == np.object_:
        return inputs[0]  # object arrays contain symbolic integers of any width
    return np.trunc(inputs[0]).astype(np.int64) if "int" in dtype else inputs[0].astype(np.float64)


_REDUCTIONS: dict[str, Callable[..., Any]] = {
    "ReduceProd": np.prod, "ReduceSum": np.sum, "ReduceMax": np.max, "ReduceMin": np.min,
}  # fmt: skip


@_evaluator(*_REDUCTIONS)
def _reduce(node: OnnxNode, inputs: Sequence[Array | None]) -> Any:
    data, given = (*inputs, None)[:2]
    axes = node.attributes.get("axes", None if given is None else given.tolist())
    assert data is not None
    if not axes and node.attributes.get("noop_with_empty_axes"):
        return data
    return _REDUCTIONS[node.op_type](
        data, axis=tuple(axes) if axes else None, keepdims=bool(node.attributes.get("keepdims", 1))
    )


@_evaluator("CumSum")
def _cumsum(node: OnnxNode, inputs: Sequence[Array]) -> Any:
    if node.attributes.get("exclusive") or node.attributes.get("reverse"):
        return None
    return np.cumsum(inputs[0], int(inputs[1].reshape(())))


@_evaluator("NonZero")
def _non_zero(node: OnnxNode, inputs: Sequence[Array]) -> Any:
    return np.array(np.nonzero(inputs[0]))


@_evaluator("Split")
def _split(node: OnnxNode, inputs: Sequence[Array | None]) -> Any:
    data, given = (*inputs, None)[:2]
    assert data is not None
    axis = node.attributes.get("axis", 0)
    sizes = node.attributes.get("split", None if given is None else given.tolist())
    if sizes is None:
        each = -(-data.shape[axis] // len(node.outputs))
        sizes = [each] * len(node.outputs)
    return np.split(data, np.cumsum(sizes)[:-1], axis)


def reshaped_shape(shape: Sequence[int], sizes: Sequence[int], allowzero: bool) -> tuple[int, ...]:
    """Return the output shape of Reshape: 0 copies the input size (unless `allowzero`) and -1 is inferred."""
    asked = list(sizes) if allowzero else [shape[i] if size == 0 else size for i, size in enumerate(sizes)]
    elements, known = math.prod(shape), math.prod(size for size in asked if size != -1)
    if asked.count(-1) == 1 and known > 0 and elements % known == 0:
        asked[asked.index(-1)] = elements // known
    if -1 in asked or math.prod(asked) != elements:
        raise ValueError(f"{list(shape)} cannot become {list(sizes)}")
    return tuple(asked)


def rearranged_shape(node: OnnxNode, shape: tuple[int, ...], constants: Sequence[Array | None]) -> tuple[int, ...]:
    """Return the output shape of a node that only rearranges its first input; `constants` are its other inputs."""
    if node.op_type in ("Cast", "CastLike", "Identity"):
        return shape
    if node.op_type == "Reshape":
        assert constants[0] is not None
        return reshaped_shape(shape, constants[0].tolist(), bool(node.attributes.get("allowzero")))
    without_memory = np.broadcast_to(np.zeros((), np.int8), shape)
    return tuple(_EVALUATORS[node.op_type](node, [without_memory, *constants]).shape)
