"""Parser for ONNX files: nodes in execution order, and the shapes of initializers.

Weight values are not read and external data is not opened, because the file itself contains the shapes. Model-local
functions are inlined. The number of nodes, the function depth and tensor sizes are limited for every file.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from costcalc.core.errors import CostcalcError
from costcalc.frontends.onnx.symbolic_int import has_symbolic

MAX_NODES = 50_000  # including the nodes of inlined functions
MAX_FUNCTION_DEPTH = 50  # depth of nested function calls
MAX_RANK = 32
MAX_SIZE = 2**40  # of one dimension
MAX_CONSTANT_ELEMENTS = 65_536  # elements of a tensor whose values are read, such as sizes or indices
MIN_OPSET = 11

# The dtype for each ONNX `TensorProto.DataType` number.
DTYPES: Mapping[int, str] = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "string", 9: "bool",
    10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128", 16: "bfloat16",
}  # fmt: skip


def dtype_number(dtype: str) -> int:
    """Return the ONNX `TensorProto.DataType` number of a dtype."""
    return next(number for number, name in DTYPES.items() if name == dtype)


def _text(name: str | bytes) -> str:
    """Decode a name from the file; protobuf returns bytes if the name is not valid UTF-8."""
    return name if isinstance(name, str) else name.decode("utf-8", "replace")


class Initializer(NamedTuple):
    """An initializer: its shape and, for a small tensor, its value."""

    shape: tuple[int, ...]
    dtype: str
    value: np.ndarray[Any, Any] | None


class ValueInfo(NamedTuple):
    """The declared type of a tensor; each size is an integer, a name, or None if it is unspecified."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...] | None


@dataclass(eq=False)
class OnnxNode:
    """One node, with inputs and outputs by tensor name; "" is an omitted tensor."""

    op_type: str  # "Conv", or "domain.Name"
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    opset: int = MIN_OPSET
    metadata: Mapping[str, str] = field(default_factory=dict)  # metadata properties written by the exporter

    def __str__(self) -> str:
        made = next((name for name in self.outputs if name), "")
        return f"{self.op_type} {self.name or made!r}"


@dataclass(eq=False)
class OnnxModel:
    """A parsed ONNX file; `proto` is its `onnx.ModelProto`."""

    name: str
    nodes: list[OnnxNode]
    initializers: dict[str, Initializer]
    inputs: list[ValueInfo]
    outputs: list[str]
    value_info: dict[str, ValueInfo]
    proto: Any


class Subgraph:
    """A graph attribute of a control-flow node: a branch or the body of a loop."""


def read_model(path: str | os.PathLike[str]) -> OnnxModel:
    """Read the model in a file. Raises CostcalcError if the file is not a valid or supported ONNX model."""
    file = os.fspath(path)
    onnx = _onnx()
    from google.protobuf.message import DecodeError

    try:
        with open(file, "rb") as stream:
            data = stream.read()
    except OSError as error:
        raise CostcalcError(f"{file}: {error.strerror or error}") from None
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except (DecodeError, ValueError, RuntimeError) as error:
        raise CostcalcError(f"{file}: no ONNX model: {str(error).strip().partition(chr(10))[0]}") from None
    del data
    if not proto.graph.node:
        raise CostcalcError(f"{file}: no ONNX model, or one without nodes")
    try:
        return _ProtoReader(file, proto).model()
    except (ValueError, TypeError, UnicodeError, OverflowError) as error:
        raise CostcalcError(f"{file}: no valid ONNX model: {error}") from None


def _onnx() -> Any:
    try:
        import onnx
    except ImportError:
        raise CostcalcError(
            "to read ONNX files costcalc needs the package onnx: pip install 'costcalc[onnx]'"
        ) from None
    return onnx


def infer_value_info(model: OnnxModel, inputs: Iterable[tuple[str, tuple[int, ...]]]) -> dict[str, ValueInfo]:
    """Run ONNX shape inference at these input shapes; return an empty dict if it fails."""
    import onnx

    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    shapes = dict(inputs)
    for given in proto.graph.input:
        if given.name in shapes:
            sizes = given.type.tensor_type.shape
            sizes.ClearField("dim")
            for size in shapes[given.name]:
                sizes.dim.add().dim_value = size
    try:
        known = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    except Exception:  # onnx raises C++ exceptions of many types for invalid files
        return {}
    return {_text(info.name): _value_info(info) for info in [*known.graph.value_info, *known.graph.output]}


def _value_info(info: Any) -> ValueInfo:
    tensor = info.type.tensor_type
    sizes: tuple[int | str | None, ...] | None = None
    if tensor.HasField("shape"):
        dims = tensor.shape.dim
        sizes = tuple([d.dim_value if d.HasField("dim_value") else _text(d.dim_param) or None for d in dims])
    return ValueInfo(_text(info.name), DTYPES.get(tensor.elem_type, "float32"), sizes)


class _ProtoReader:
    """Reads the nodes of a model and inlines its functions."""

    def __init__(self, file: str, proto: Any) -> None:
        self.file, self.proto = file, proto
        self.functions = {(_text(f.domain), _text(f.name)): f for f in proto.functions}
        self.initializers: dict[str, Initializer] = {}
        self.nodes: list[OnnxNode] = []
        self.node_count = 0

    def model(self) -> OnnxModel:
        graph = self.proto.graph
        versions = _versions(self.proto.opset_import)
        if "" not in versions:
            raise CostcalcError(f"{self.file}: no ONNX model: it does not say which opset it is written in")
        if versions[""] < MIN_OPSET:
            message = f"opset {versions['']}; costcalc reads {MIN_OPSET} and newer (see onnx.version_converter)"
            raise CostcalcError(f"{self.file}: {message}")
        for tensor in graph.initializer:
            self.initializers[_text(tensor.name)] = self._initializer(tensor, _text(tensor.name))
        for sparse in graph.sparse_initializer:
            kept = _text(sparse.values.name)
            shape = self._checked_shape(tuple(sparse.dims), kept)
            self.initializers[kept] = Initializer(shape, DTYPES.get(sparse.values.data_type, "float32"), None)
        inputs = []
        for info in graph.input:
            if _text(info.name) in self.initializers:
                continue
            if not info.type.HasField("tensor_type"):
                raise CostcalcError(f"{self.file}: the input {info.name!r} is no tensor")
            inputs.append(_value_info(info))
        self._add_nodes(graph.node, versions, {}, {}, "", 0)
        name = os.path.basename(self.file)
        name = name[: -len(".onnx")] if name.lower().endswith(".onnx") else name
        declared = {_text(info.name): _value_info(info) for info in [*graph.value_info, *graph.output]}
        outputs = [_text(info.name) for info in graph.output]
        return OnnxModel(name, self.nodes, self.initializers, inputs, outputs, declared, self.proto)

    def _add_nodes(
        self,
        nodes: Sequence[Any],
        versions: Mapping[str, int],
        names: dict[str, str],
        attribute_values: Mapping[str, Any],
        scope: str,
        depth: int,
    ) -> None:
        """Add nodes; in a function, `names` renames its tensors and `attribute_values` resolves its attributes."""
        for node in nodes:
            self.node_count += 1
            if self.node_count > MAX_NODES:
                raise CostcalcError(f"{self.file}: more than {MAX_NODES:,} nodes, with those of functions")
            domain = "" if node.domain == "ai.onnx" else _text(node.domain)
            inputs = tuple([self._name(_text(name), names, scope) for name in node.input])
            outputs = tuple([self._name(_text(name), names, scope) for name in node.output])
            operation, called = _text(node.op_type), _text(node.name)
            attributes = dict(self._attributes(node, attribute_values))
            function = self.functions.get((domain, operation))
            if function is not None:
                self._inline(function, node, inputs, outputs, attributes, scope, depth)
                continue
            kind = operation if not domain else f"{domain}.{operation}"
            if not kind:
                raise CostcalcError(f"{self.file}: the node {called!r} does not say what it computes")
            notes = {_text(entry.key): _text(entry.value) for entry in node.metadata_props} if not scope else {}
            name = f"{scope}/{called}" if scope and called else called
            self.nodes.append(OnnxNode(kind, inputs, outputs, attributes, name, versions.get(domain, 1), notes))

    def _inline(
        self,
        function: Any,
        node: Any,
        inputs: tuple[str, ...],
        outputs: tuple[str, ...],
        attributes: Mapping[str, Any],
        scope: str,
        depth: int,
    ) -> None:
        if depth >= MAX_FUNCTION_DEPTH:
            raise CostcalcError(
                f"{self.file}: functions call each other more than {MAX_FUNCTION_DEPTH} deep: {function.name}"
            )
        if len(inputs) > len(function.input) or len(outputs) > len(function.output):
            raise CostcalcError(f"{self.file}: the node {node.name!r} has more tensors than the function it calls")
        defaults = dict(self._attributes(function, {}, function.attribute_proto))
        names = dict.fromkeys(map(_text, function.input), "")
        names |= dict(zip(map(_text, function.input), inputs, strict=False))
        inner = f"{scope}/{_text(node.name) or f'{_text(function.name)}_{self.node_count}'}".strip("/")
        ends: list[tuple[str, str]] = []
        for name, outer in zip(map(_text, function.output), outputs, strict=False):
            if name in names:  # the function returns an input unchanged
                ends.append((names[name], outer))
            elif outer:
                names[name] = outer
        versions = _versions(function.opset_import) or _versions(self.proto.opset_import)
        self._add_nodes(function.node, versions, names, {**defaults, **attributes}, inner, depth + 1)
        for name, outer in ends:
            self.nodes.append(OnnxNode("Identity", (name,), (outer,), {}, inner))

    def _name(self, name: str, names: dict[str, str], scope: str) -> str:
        if not scope or not name:
            return name
        return names.setdefault(name, f"{scope}/{name}")

    def _attributes(
        self, node: Any, attribute_values: Mapping[str, Any], attributes: Sequence[Any] | None = None
    ) -> Iterator[tuple[str, Any]]:
        for attribute in node.attribute if attributes is None else attributes:
            if attribute.ref_attr_name:
                if _text(attribute.ref_attr_name) in attribute_values:
                    yield _text(attribute.name), attribute_values[_text(attribute.ref_attr_name)]
                continue
            yield _text(attribute.name), self._attribute(attribute, node)

    def _attribute(self, attribute: Any, node: Any) -> Any:
        what = attribute.type  # an `AttributeProto.AttributeType` number
        if what == 1:
            return attribute.f
        if what == 2:
            return attribute.i
        if what == 3:
            return attribute.s.decode("utf-8", "replace")
        if what == 4:
            return self._initializer(attribute.t, _text(node.name or attribute.name))
        if what == 6:
            return list(attribute.floats)
        if what == 7:
            return list(attribute.ints)
        if what == 8:
            return [text.decode("utf-8", "replace") for text in attribute.strings]
        if what == 11:
            sparse = attribute.sparse_tensor
            shape = self._checked_shape(tuple(sparse.dims), _text(node.name))
            return Initializer(shape, DTYPES.get(sparse.values.data_type, "float32"), None)
        return Subgraph()

    def _initializer(self, tensor: Any, name: str) -> Initializer:
        from onnx import TensorProto, numpy_helper

        dtype = DTYPES.get(tensor.data_type, "float32")
        shape = self._checked_shape(tuple(tensor.dims), name)
        value = None
        if (
            math.prod(shape) <= MAX_CONSTANT_ELEMENTS
            and tensor.data_location != TensorProto.EXTERNAL
            and dtype not in ("string", "complex64", "complex128")
        ):
            try:
                value = numpy_helper.to_array(tensor)
            except Exception as error:  # onnx raises exceptions of many types for invalid data
                raise CostcalcError(f"{self.file}: the tensor {name!r} cannot be read: {error}") from None
            if value.shape != shape:
                raise CostcalcError(f"{self.file}: the tensor {name!r} has {value.size} elements, not those of {shape}")
            value = normalize_constant(value)
        return Initializer(shape, dtype, value)

    def _checked_shape(self, shape: tuple[int, ...], name: str) -> tuple[int, ...]:
        check_shape(shape, f"{self.file}: the tensor {name!r}")
        return shape


def normalize_constant(value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Convert a small tensor to int64, float64 or bool; an object array with symbolic sizes is unchanged."""
    if value.dtype == np.bool_:
        return value
    if value.dtype == np.object_:
        return value if has_symbolic(value.flat) else normalize_constant(np.asarray(value.tolist()))
    with np.errstate(all="ignore"):  # casting NaN or infinity
        return value.astype(np.int64 if value.dtype.kind in "iu" else np.float64)


def check_shape(shape: Sequence[int], what: str) -> None:
    """Raise CostcalcError if the rank exceeds `MAX_RANK` or a size is negative or exceeds `MAX_SIZE`."""
    if len(shape) > MAX_RANK:
        raise CostcalcError(f"{what} has {len(shape)} dimensions, more than {MAX_RANK}")
    for size in shape:
        if not 0 <= size <= MAX_SIZE:
            raise CostcalcError(f"{what} has a size of {size}, which is {'negative' if size < 0 else 'too large'}")


def _versions(imports: Iterable[Any]) -> dict[str, int]:
    return {("" if entry.domain == "ai.onnx" else _text(entry.domain)): entry.version for entry in imports}


def static_shape(sizes: Sequence[int | str | None] | None) -> tuple[int, ...]:
    """Return the integer sizes of a shape, without its symbolic and unknown sizes."""
    return tuple([size for size in sizes or () if isinstance(size, int)])
