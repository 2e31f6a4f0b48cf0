"""Interpret an ONNX model node by node: constants are folded, and the other nodes become layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from costcalc.core.dtypes import element_type_of
from costcalc.core.errors import CostcalcError, did_you_mean
from costcalc.frontends.aten.base import translators
from costcalc.frontends.call import Call, ModuleCall, Translator, Value
from costcalc.frontends.importer import GraphImporter
from costcalc.frontends.onnx.constants import Array, fold_constants, rearranged_shape
from costcalc.frontends.onnx.fusing import consumers_of, fuse
from costcalc.frontends.onnx.names import TensorNames, module_of
from costcalc.frontends.onnx.parameters import ModelParameters
from costcalc.frontends.onnx.reader import (
    Initializer,
    OnnxModel,
    OnnxNode,
    Subgraph,
    ValueInfo,
    check_shape,
    dtype_number,
    infer_value_info,
    normalize_constant,
    static_shape,
)
from costcalc.frontends.onnx.sizes import SizeRequest
from costcalc.frontends.onnx.symbolic_int import expressions_of, has_symbolic
from costcalc.ir.graph import Graph
from costcalc.ir.op import Op

# Operations whose output no gradient needs, so that an activation function can overwrite it.
_OVERWRITABLE_OPS = frozenset(
    ["Conv", "ConvTranspose", "Gemm", "costcalc.Linear", "BatchNormalization", "Add", "Sub", "Sum", "Concat"]
)


@dataclass(eq=False)
class OnnxTensor:
    """A tensor of the model: its shape, its elements if they are constant, and its value in the graph's layers.

    `producer` is the operation of the node that computes it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    constant: Array | None = None
    value: Value | None = None
    producer: str = ""

    @property
    def is_constant(self) -> bool:
        """Whether it is known before the model runs, and is no parameter."""
        return self.value is None or self.value.buffer is not None

    @property
    def parameter(self) -> str | None:
        """The name of the parameter, if it is one."""
        return None if self.value is None else self.value.parameter

    @property
    def scalar(self) -> float | int | bool | None:
        """Its only element, if it is a constant."""
        if self.constant is None or self.constant.size != 1 or self.parameter:
            return None
        element: float | int | bool = self.constant.reshape(()).item()
        return element


TranslateNode = Callable[["OnnxInterpreter", OnnxNode, "Sequence[OnnxTensor | None]"], "Sequence[OnnxTensor | None]"]


class OnnxInterpreter:
    """Interprets the nodes of a model."""

    def __init__(self, file: str, model: OnnxModel, request: SizeRequest) -> None:
        self.file, self.model = file, model
        self.initializers, nodes = dict(model.initializers), []
        for node in model.nodes:
            # torch.onnx.export stores one of several equal tensors, and the others as its Identity: each is a tensor.
            if (
                node.op_type == "Identity"
                and node.inputs[:1]
                and node.inputs[0] in self.initializers
                and len(node.outputs) == 1
            ):
                self.initializers[node.outputs[0]] = self.initializers[node.inputs[0]]
            else:
                nodes.append(node)
        self.nodes = fuse(nodes, self.initializers, model.outputs)
        self.consumers = consumers_of(self.nodes)
        self.tensors: dict[str, OnnxTensor] = {}
        self.translators = translators()
        self._inferred: Mapping[str, ValueInfo] | None = None
        names = TensorNames()
        self.unique_name = names.unique_name
        self.parameters = ModelParameters(model.inputs, self.nodes, self.initializers, names)
        self.initializers, self.parameter_names = self.parameters.initializers, self.parameters.names
        data_inputs = [given for given in model.inputs if given.name not in self.initializers]
        if not data_inputs:
            raise CostcalcError(f"{file}: the model has no inputs that are not weights")
        self.sizes = request.resolve(file, data_inputs)
        self.shapes = self.sizes.shapes
        self.importer = GraphImporter(model.name, self.parameters.uses())
        for given in data_inputs:
            value = Value(expressions_of(self.shapes[given.name]), element_type_of(given.dtype))
            self.importer.inputs.append((self.unique_name(given.name).replace("/", "_"), value))
            self.tensors[given.name] = OnnxTensor(given.name, self.shapes[given.name], given.dtype, None, value)

    # -- tensors ------------------------------------------------------------------------------------------------------

    def tensor(self, name: str, node: OnnxNode) -> OnnxTensor:
        """The input of a node with this name."""
        if name not in self.tensors:
            if name not in self.initializers:
                message = f"reads {name!r}, which is neither an input nor the output of an earlier node"
                raise self.error(node, message + did_you_mean(name, [*self.tensors, *self.initializers]))
            self.tensors[name] = self._stored_tensor(name, self.initializers[name])
        return self.tensors[name]

    def _stored_tensor(self, name: str, initializer: Initializer) -> OnnxTensor:
        tensor = OnnxTensor(name, initializer.shape, initializer.dtype, initializer.value)
        if name in self.parameter_names:
            tensor.value = Value(
                initializer.shape, element_type_of(initializer.dtype), parameter=self.parameter_names[name]
            )
        return tensor

    def operand(self, tensor: OnnxTensor) -> Value:
        """The value of a tensor as an input of layers; a constant is a buffer of the model."""
        if tensor.value is None:
            if 0 in tensor.shape:
                raise ValueError(f"{tensor.name!r} is empty")
            tensor.value = Value(
                expressions_of(tensor.shape), element_type_of(tensor.dtype), buffer=self.unique_name(tensor.name)
            )
        return tensor.value

    def value_info_of(self, name: str, node: OnnxNode) -> ValueInfo | None:
        """The shape and dtype of a tensor according to the file or to onnx's shape inference."""
        declared = self.model.value_info.get(name)
        if declared is None or declared.shape is None or not all(isinstance(n, int) for n in declared.shape):
            if self._inferred is None:
                self._inferred = infer_value_info(self.model, self.shapes.items())
            declared = self._inferred.get(name)
        if declared is None or declared.shape is None or not all(isinstance(n, int) for n in declared.shape):
            return None
        check_shape(static_shape(declared.shape), f"{self.location(node)}: {name!r}")
        return declared

    def can_run_in_place(self, tensor: OnnxTensor, op_type: str) -> bool:
        """Whether an activation function can overwrite its input: it is the only reader, and no gradient needs it.

        ONNX has no in-place operations; torch's networks and costcalc's specs use them here.
        """
        alone = len(self.consumers.get(tensor.name, ())) == 1 and tensor.name not in self.model.outputs
        # Activations of torchvision's SqueezeExcitation, on a plane of one position, are not in place.
        squeezed = op_type in ("Relu", "HardSigmoid") and len(tensor.shape) > 2 and math.prod(tensor.shape[2:]) == 1
        return alone and tensor.producer in _OVERWRITABLE_OPS and not squeezed

    # -- nodes --------------------------------------------------------------------------------------------------------

    def graph(self, translate: TranslateNode) -> Graph:
        """Return the graph of the model; `translate` makes the layers of nodes that are not folded."""
        for node in self.nodes:
            if node.outputs and node.outputs[0] in self.parameter_names:
                self._rearrange_parameter(node)
                continue
            inputs = [self.tensor(name, node) if name else None for name in node.inputs]
            try:
                folded = self._fold(node, inputs)
                results = self._translate(node, inputs, translate) if folded is None else folded
            except CostcalcError as error:
                if str(error).startswith(self.file):
                    raise
                raise self.error(node, str(error)) from None
            except (ValueError, TypeError, LookupError, AssertionError, OverflowError, ArithmeticError) as error:
                raise self.error(node, f"is not valid: {str(error) or type(error).__name__}") from None
            for name, tensor in zip(node.outputs, results, strict=False):
                if name and tensor is not None:
                    if name in self.tensors or name in self.initializers:
                        raise self.error(node, f"computes {name!r}, which exists already")
                    check_shape(tensor.shape, f"{self.location(node)}: {name!r}")
                    tensor.name = tensor.name or name
                    self.tensors[name] = tensor
        outputs = []
        for name in self.model.outputs:
            if name in self.initializers:
                continue
            if name not in self.tensors:
                raise CostcalcError(
                    f"{self.file}: no node computes the output {name!r}{did_you_mean(name, self.tensors)}"
                )
            value = self.tensors[name].value
            outputs += [] if value is None else [value]
        read = {name for node in self.model.nodes for name in node.inputs}
        unused = {
            self.unique_name(name): stored.shape
            for name, stored in self.model.initializers.items()
            if name in self.parameter_names and name not in read
        }
        return self.importer.graph(outputs, unused=unused)

    def _translate(
        self, node: OnnxNode, inputs: Sequence[OnnxTensor | None], translate: TranslateNode
    ) -> Sequence[OnnxTensor | None]:
        """The results of a node that is not folded; if all inputs are constants, they are constants without a layer."""
        if not inputs or not all(tensor is None or tensor.is_constant for tensor in inputs):
            return translate(self, node, inputs)
        before = self.importer.savepoint()
        results = translate(self, node, inputs)
        self.importer.rollback(before)
        return [None if made is None else OnnxTensor("", made.shape, made.dtype, made.constant) for made in results]

    def _rearrange_parameter(self, node: OnnxNode) -> None:
        """Record the output of a node that rearranges a weight as the same parameter."""
        source = self.tensor(node.inputs[0], node)
        given = [self.tensor(name, node).constant if name else None for name in node.inputs[1:]]
        try:
            made = rearranged_shape(node, source.shape, given)
        except (ValueError, TypeError, LookupError, AssertionError) as error:
            raise self.error(node, f"is not valid: {error}") from None
        value = Value(made, element_type_of(source.dtype), parameter=self.parameter_names[node.outputs[0]])
        self.tensors[node.outputs[0]] = OnnxTensor(node.outputs[0], made, source.dtype, None, value)

    def _fold(self, node: OnnxNode, inputs: Sequence[OnnxTensor | None]) -> list[OnnxTensor] | None:
        """The results of a node on sizes and constants; None if it has other inputs, or they are large."""
        if node.op_type in ("Shape", "Size") and inputs and inputs[0] is not None:
            shape = inputs[0].shape
            chosen = shape[node.attributes.get("start", 0) : node.attributes.get("end")]
            numbers = chosen if node.op_type == "Shape" else math.prod(shape)
            sizes = normalize_constant(np.array(numbers, object if has_symbolic(shape) else np.int64))
            return [OnnxTensor("", sizes.shape, "int64", sizes)]
        if any(isinstance(value, Subgraph) for value in node.attributes.values()):
            return None
        first = inputs[0] if inputs else None
        if node.op_type == "CastLike" and first is not None and len(inputs) > 1 and inputs[1] is not None:
            cast = OnnxNode("Cast", node.inputs[:1], node.outputs, {"to": dtype_number(inputs[1].dtype)})
            return self._fold(cast, inputs[:1])
        if any(tensor is not None and (tensor.constant is None or tensor.parameter) for tensor in inputs):
            return None
        constants = fold_constants(node, [None if tensor is None else tensor.constant for tensor in inputs])
        if constants is None:
            return None
        return [OnnxTensor("", value.shape, _dtype(value), value) for value in constants]

    def call(
        self,
        node: OnnxNode,
        name: str,
        arguments: Mapping[str, Any],
        results: Sequence[Value],
        table: Mapping[str, Translator] | None = None,
    ) -> Sequence[Value | None]:
        """Translate a call of an ATen operation for a node, and return its results."""
        call = Call(
            name=name,
            arguments=arguments,
            results=tuple(results),
            module=self.module(node),
            origin=self.location(node),
            builder=self.importer,
        )
        return self.importer.translate(call, self.translators if table is None else table, node.op_type)

    def layer(self, node: OnnxNode, op: Op, inputs: Sequence[Value], result: Value) -> Value | None:
        """Add a layer without an ATen operation, and return its result."""
        arguments = {"inputs": list(inputs)}
        return self.call(node, "", arguments, [result], {"": lambda call: call.layer(op, *inputs)})[0]

    def module(self, node: OnnxNode) -> ModuleCall:
        """The module of a node, according to names in the file."""
        weights = [self.parameter_names[name] for name in node.inputs if name in self.parameter_names]
        return module_of(node, next(iter(weights), None))

    def location(self, node: OnnxNode) -> str:
        """The file and the node, for messages."""
        return f"{self.file}: {node}"

    def error(self, node: OnnxNode, message: str) -> CostcalcError:
        """An error about a node."""
        return CostcalcError(f"{self.location(node)} {message}")


def _dtype(value: Array) -> str:
    return {"i": "int64", "O": "int64", "b": "bool"}.get(value.dtype.kind, "float32")
