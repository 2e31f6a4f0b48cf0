"""Reads an ONNX model step by step: what is constant is worked out, and the rest becomes layers."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from costcalc.core.dtypes import element_type_of
from costcalc.core.errors import CostcalcError, did_you_mean
from costcalc.frontends.aten.base import translators
from costcalc.frontends.call import Call, ModuleCall, Translator, Value
from costcalc.frontends.importer import GraphImporter, ParameterUse
from costcalc.frontends.onnx.constants import Array, fold_constants, rearranged_shape
from costcalc.frontends.onnx.free import expressions_of, has_symbolic
from costcalc.frontends.onnx.fusing import consumers_of, fuse
from costcalc.frontends.onnx.naming import dotted_name, module_of
from costcalc.frontends.onnx.reading import (
    Initializer,
    OnnxModel,
    OnnxNode,
    Subgraph,
    ValueInfo,
    check_shape,
    dtype_number,
    infer_value_info,
    normalize_constant,
)
from costcalc.frontends.onnx.sizes import SizeRequest
from costcalc.ir.graph import Graph
from costcalc.ir.op import Op

# Which inputs of a step are weights: a layer's own, where the file has them.
WEIGHT_INPUTS: Mapping[str, tuple[int, ...]] = {
    "Conv": (1, 2), "ConvTranspose": (1, 2), "Gemm": (1, 2), "MatMul": (1,), "costcalc.Linear": (1, 2),
    "BatchNormalization": (1, 2, 3, 4), "InstanceNormalization": (1, 2), "LayerNormalization": (1, 2),
    "GroupNormalization": (1, 2), "RMSNormalization": (1,), "PRelu": (1,), "Gather": (0,),
    "LSTM": (1, 2, 3), "GRU": (1, 2, 3), "RNN": (1, 2, 3),
}  # fmt: skip
RECURRENT_OPS = ("LSTM", "GRU", "RNN")
_LINEAR_OPS = dict.fromkeys(("Gemm", "MatMul", "costcalc.Linear"), "linear")
_STATISTICS_INPUTS: Mapping[str, tuple[int, ...]] = {"BatchNormalization": (3, 4)}  # that are kept, and not learnt
# What leaves the elements of a weight as they are.
_LAYOUT_OPS = ("Transpose", "Cast", "CastLike", "Unsqueeze", "Squeeze", "Reshape")
# What makes a tensor that nothing but the next layer needs, so that an activation function can overwrite it.
_OVERWRITABLE_OPS = frozenset(
    ["Conv", "ConvTranspose", "Gemm", "costcalc.Linear", "BatchNormalization", "Add", "Sub", "Sum", "Concat"]
)


@dataclass(eq=False)
class OnnxTensor:
    """A tensor as it is read: its shape, its elements where they are constant, and what it is to layers.

    `kind` is the step that makes it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    constant: Array | None = None
    value: Value | None = None
    producer: str = ""

    @property
    def is_constant(self) -> bool:
        """Whether it is there before the model runs, and is not learnt."""
        return self.value is None or self.value.buffer is not None

    @property
    def parameter(self) -> str | None:
        """The name of the parameter that it is."""
        return None if self.value is None else self.value.parameter

    @property
    def scalar(self) -> float | int | bool | None:
        """Its only element, where it is constant."""
        if self.constant is None or self.constant.size != 1 or self.parameter:
            return None
        found: float | int | bool = self.constant.reshape(()).item()
        return found


TranslateNode = Callable[["OnnxInterpreter", OnnxNode, "Sequence[OnnxTensor | None]"], "Sequence[OnnxTensor | None]"]


class OnnxInterpreter:
    """Reads the steps of a model."""

    def __init__(self, file: str, model: OnnxModel, request: SizeRequest) -> None:
        self.file, self.model = file, model
        self.initializers, nodes = dict(model.initializers), []
        for node in model.nodes:
            # torch.onnx.export stores one of several equal tensors, and names the others so: they are tensors alike.
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
        self._names: dict[str, str] = {}
        self._taken: set[str] = set()
        self._inferred: Mapping[str, ValueInfo] | None = None
        weights = [given for given in model.inputs if self._is_weight(given)]
        free = [given for given in model.inputs if given not in weights]
        if not free:
            raise CostcalcError(f"{file}: the model has no inputs that are not weights")
        self.sizes = request.resolve(file, free)
        self.shapes = self.sizes.shapes
        self.initializers |= {
            given.name: Initializer(_static_shape(given.shape), given.dtype, None) for given in weights
        }
        self.parameter_names = self._find_parameters()
        self.importer = GraphImporter(model.name, self._parameter_uses())
        for given in free:
            value = Value(expressions_of(self.shapes[given.name]), element_type_of(given.dtype))
            self.importer.inputs.append((self.unique_name(given.name).replace("/", "_"), value))
            self.tensors[given.name] = OnnxTensor(given.name, self.shapes[given.name], given.dtype, None, value)

    # -- which tensors are weights ------------------------------------------------------------------------------------

    def _is_weight(self, value_info: ValueInfo) -> bool:
        """Whether an input is a weight that the file leaves out: it is nothing but a weight to all that take it."""
        if value_info.shape is None or not all(isinstance(size, int) for size in value_info.shape):
            return False
        readers = self.consumers.get(value_info.name, ())
        inputs = {other.name for other in self.model.inputs}
        if element_type_of(value_info.dtype) != "float" or not readers:
            return False
        return all(
            slot in WEIGHT_INPUTS.get(node.op_type, ())
            and not (
                node.op_type in ("MatMul", "Gather")
                and (len(value_info.shape) != 2 or node.inputs[0] in inputs - {value_info.name})
            )
            for node, slot in readers
        ) or value_info.name.endswith((".weight", ".bias", ".running_mean", ".running_var"))

    def _find_parameters(self) -> dict[str, str]:
        """For each tensor that is a parameter, or one with its elements rearranged, the parameter's name."""
        learnt = {}
        for name, stored in self.initializers.items():
            weighty = any(slot in WEIGHT_INPUTS.get(node.op_type, ()) for node, slot in self.consumers.get(name, ()))
            learns = element_type_of(stored.dtype) == "float" and not self._is_buffer(name)
            if learns and (weighty or (math.prod(stored.shape) > 1 and not _is_exporter_constant(name, stored))):
                learnt[name] = self.unique_name(name)
        for node in self.nodes:
            source = node.inputs[0] if node.inputs else ""
            if source not in learnt or not node.outputs:
                continue
            if node.op_type in _LAYOUT_OPS:
                uses = self.consumers.get(node.outputs[0], ())
                if uses and all(slot in WEIGHT_INPUTS.get(user.op_type, ()) for user, slot in uses):
                    learnt[node.outputs[0]] = learnt[source]
        return learnt

    def _is_buffer(self, name: str) -> bool:
        """Whether a tensor is nothing but statistics, or a state to start from: kept, and not learnt."""
        uses, value = self.consumers.get(name, ()), self.initializers[name].value
        start = value is not None and not value.any()  # of a recurrent layer: exporters store the zeros
        return bool(uses) and all(
            slot in _STATISTICS_INPUTS.get(node.op_type, ())
            or (start and node.op_type in RECURRENT_OPS and slot in (5, 6))
            for node, slot in uses
        )

    def _parameter_uses(self) -> dict[str, set[ParameterUse]]:
        found: dict[str, set[ParameterUse]] = {name: set() for name in self.parameter_names.values()}
        for node in self.nodes:
            if node.op_type in ("Shape", "Size") or (node.outputs and node.outputs[0] in self.parameter_names):
                continue
            statistics = _STATISTICS_INPUTS.get(node.op_type, ())
            taken = [
                name for slot, name in enumerate(node.inputs) if name in self.parameter_names and slot not in statistics
            ]
            names = frozenset(
                self.recurrent_parameters(node)
                if node.op_type in RECURRENT_OPS
                else [self.parameter_names[name] for name in taken]
            )
            layer = _LINEAR_OPS.get(node.op_type, node.op_type)
            for name in names:
                found.setdefault(name, set()).add((layer, names))
        return found

    def recurrent_parameters(self, node: OnnxNode) -> list[str]:
        """The parameters of a recurrent step, those of one direction after those of the other.

        Each is a part of a weight of the file: its weights for the input, for the state, and a bias for each.
        """
        kept = [name for name in node.inputs[1:4] if name in self.parameter_names]
        backward = node.attributes.get("direction") == "bidirectional"
        parts = [(self.parameter_names[kept[0]], ""), (self.parameter_names[kept[1]], "")] if len(kept) > 1 else []
        parts += (
            [(self.parameter_names[kept[2]], ".input"), (self.parameter_names[kept[2]], ".state")]
            if len(kept) > 2
            else []
        )
        return [f"{name}{end}{side}" for side in ("", ".reverse")[: 1 + backward] for name, end in parts]

    # -- tensors ------------------------------------------------------------------------------------------------------

    def unique_name(self, name: str) -> str:
        """A tensor's name as that of a parameter or a buffer; no two have the same."""
        if name not in self._names:
            wanted, number = dotted_name(name), 1
            while wanted in self._taken:
                number += 1
                wanted = f"{dotted_name(name)}_{number}"
            self._taken.add(wanted)
            self._names[name] = wanted
        return self._names[name]

    def tensor(self, name: str, node: OnnxNode) -> OnnxTensor:
        """A tensor that a step takes."""
        if name not in self.tensors:
            if name not in self.initializers:
                message = f"takes {name!r}, which is no input, and which no earlier node makes"
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
        """A tensor as layers take it; a constant is a buffer of the model."""
        if tensor.value is None:
            if 0 in tensor.shape:
                raise ValueError(f"{tensor.name!r} is empty")
            tensor.value = Value(
                expressions_of(tensor.shape), element_type_of(tensor.dtype), buffer=self.unique_name(tensor.name)
            )
        return tensor.value

    def value_info_of(self, name: str, node: OnnxNode) -> ValueInfo | None:
        """What the file, or onnx, knows of a tensor that nobody here knows how to compute."""
        declared = self.model.value_info.get(name)
        if declared is None or declared.shape is None or not all(isinstance(n, int) for n in declared.shape):
            if self._inferred is None:
                self._inferred = infer_value_info(self.model, self.shapes.items())
            declared = self._inferred.get(name)
        if declared is None or declared.shape is None or not all(isinstance(n, int) for n in declared.shape):
            return None
        check_shape(_static_shape(declared.shape), f"{self.location(node)}: {name!r}")
        return declared

    def can_run_in_place(self, tensor: OnnxTensor, op_type: str) -> bool:
        """Whether an activation function can lie where its input lay: nobody else reads it, and no gradient needs it.

        ONNX has no operations in place; torch's networks and costcalc's specs do these so.
        """
        alone = len(self.consumers.get(tensor.name, ())) == 1 and tensor.name not in self.model.outputs
        # Those of torchvision's SqueezeExcitation, of channels on a plane of one place, are not in place.
        squeezed = op_type in ("Relu", "HardSigmoid") and len(tensor.shape) > 2 and math.prod(tensor.shape[2:]) == 1
        return alone and tensor.producer in _OVERWRITABLE_OPS and not squeezed

    # -- the walk -----------------------------------------------------------------------------------------------------

    def graph(self, translate: TranslateNode) -> Graph:
        """The graph of the model, all steps read: `translate` says which layers one is that is not worked out."""
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
                        raise self.error(node, f"makes {name!r}, which is there already")
                    check_shape(tensor.shape, f"{self.location(node)}: {name!r}")
                    tensor.name = tensor.name or name
                    self.tensors[name] = tensor
        ends = []
        for name in self.model.outputs:
            if name in self.initializers:
                continue
            if name not in self.tensors:
                raise CostcalcError(f"{self.file}: no node makes the output {name!r}{did_you_mean(name, self.tensors)}")
            value = self.tensors[name].value
            ends += [] if value is None else [value]
        read = {name for node in self.model.nodes for name in node.inputs}
        unused = {
            self.unique_name(name): stored.shape
            for name, stored in self.model.initializers.items()
            if name in self.parameter_names and name not in read
        }
        return self.importer.graph(ends, unused=unused)

    def _translate(
        self, node: OnnxNode, inputs: Sequence[OnnxTensor | None], translate: TranslateNode
    ) -> Sequence[OnnxTensor | None]:
        """The results of a step that is not worked out; of constants alone they are constants, and of no layer."""
        if not inputs or not all(tensor is None or tensor.is_constant for tensor in inputs):
            return translate(self, node, inputs)
        before = self.importer.savepoint()
        results = translate(self, node, inputs)
        self.importer.rollback(before)
        return [None if made is None else OnnxTensor("", made.shape, made.dtype, made.constant) for made in results]

    def _rearrange_parameter(self, node: OnnxNode) -> None:
        """A weight, its elements in other places: it is the same parameter."""
        source = self.tensor(node.inputs[0], node)
        given = [self.tensor(name, node).constant if name else None for name in node.inputs[1:]]
        try:
            made = rearranged_shape(node, source.shape, given)
        except (ValueError, TypeError, LookupError, AssertionError) as error:
            raise self.error(node, f"is not valid: {error}") from None
        value = Value(made, element_type_of(source.dtype), parameter=self.parameter_names[node.outputs[0]])
        self.tensors[node.outputs[0]] = OnnxTensor(node.outputs[0], made, source.dtype, None, value)

    def _fold(self, node: OnnxNode, inputs: Sequence[OnnxTensor | None]) -> list[OnnxTensor] | None:
        """The results of a step on sizes and constants alone; None where it takes others, or they are large."""
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
        """What a call of an ATen operation makes, at the place of the step."""
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
        """What a layer that is no operation of ATen's makes."""
        arguments = {"inputs": list(inputs)}
        return self.call(node, "", arguments, [result], {"": lambda call: call.layer(op, *inputs)})[0]

    def module(self, node: OnnxNode) -> ModuleCall:
        """The module that a step is in, as far as names tell."""
        weights = [self.parameter_names[name] for name in node.inputs if name in self.parameter_names]
        return module_of(node, next(iter(weights), None))

    def location(self, node: OnnxNode) -> str:
        """The file, and the node in it."""
        return f"{self.file}: {node}"

    def error(self, node: OnnxNode, message: str) -> CostcalcError:
        """What is wrong with a step."""
        return CostcalcError(f"{self.location(node)} {message}")


def _is_exporter_constant(name: str, initializer: Initializer) -> bool:
    """Whether a tensor that no layer has for a weight is a mask, or one value that was worked out for the file.

    Exporters call what they work out as the operation that would: `onnx::Where_12`, `val_20`, `ones_like_1`. It may be
    a parameter, its elements elsewhere, so that the name does not do.
    """
    if initializer.value is None:
        return False
    values = np.unique(initializer.value)
    if len(values) == 1:
        made = re.fullmatch(r"onnx::\w+_\d+|val_\d+", name) is not None
        return made or re.sub(r"_\d+$", "", name) in _aten_names()
    return len(values) == 2 and bool(values[0] == 0 or values[0] <= -1e4) and values[1] in (0, 1)


@cache
def _aten_names() -> frozenset[str]:
    """What ATen's operations are called."""
    return frozenset(name.partition(".")[0] for name in translators())


def _dtype(value: Array) -> str:
    return {"i": "int64", "O": "int64", "b": "bool"}.get(value.dtype.kind, "float32")


def _static_shape(sizes: Sequence[int | str | None] | None) -> tuple[int, ...]:
    return tuple([size for size in sizes or () if isinstance(size, int)])
