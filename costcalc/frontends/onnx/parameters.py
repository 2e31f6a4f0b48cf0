"""The parameters of an ONNX model: which of its tensors are weights, and the layers that use them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np

from costcalc.core.dtypes import element_type_of
from costcalc.frontends.aten.base import translators
from costcalc.frontends.importer import ParameterUse
from costcalc.frontends.onnx.fusing import consumers_of
from costcalc.frontends.onnx.names import TensorNames
from costcalc.frontends.onnx.reader import Initializer, OnnxNode, ValueInfo, static_shape

# The inputs of an operation that are weights of its layer, if the file stores them.
WEIGHT_INPUTS: Mapping[str, tuple[int, ...]] = {
    "Conv": (1, 2), "ConvTranspose": (1, 2), "Gemm": (1, 2), "MatMul": (1,), "costcalc.Linear": (1, 2),
    "BatchNormalization": (1, 2, 3, 4), "InstanceNormalization": (1, 2), "LayerNormalization": (1, 2),
    "GroupNormalization": (1, 2), "RMSNormalization": (1,), "PRelu": (1,), "Gather": (0,),
    "LSTM": (1, 2, 3), "GRU": (1, 2, 3), "RNN": (1, 2, 3),
}  # fmt: skip
RECURRENT_OPS = ("LSTM", "GRU", "RNN")
_LINEAR_OPS = dict.fromkeys(("Gemm", "MatMul", "costcalc.Linear"), "linear")
_STATISTICS_INPUTS: Mapping[str, tuple[int, ...]] = {"BatchNormalization": (3, 4)}  # buffers, not parameters
# Operations that do not change the elements of a weight.
_LAYOUT_OPS = ("Transpose", "Cast", "CastLike", "Unsqueeze", "Squeeze", "Reshape")


class ModelParameters:
    """The parameters among the stored tensors and the inputs of a model."""

    def __init__(
        self,
        inputs: Sequence[ValueInfo],
        nodes: Sequence[OnnxNode],
        initializers: Mapping[str, Initializer],
        tensor_names: TensorNames,
    ) -> None:
        self.inputs, self.nodes, self.consumers = inputs, nodes, consumers_of(nodes)
        self.initializers = dict(initializers) | {
            given.name: Initializer(static_shape(given.shape), given.dtype, None)
            for given in inputs
            if self._is_weight(given)
        }
        self.names = self._find_names(tensor_names)

    def _is_weight(self, value_info: ValueInfo) -> bool:
        """Whether an input is a weight that the file does not store: all its readers use it as a weight."""
        if value_info.shape is None or not all(isinstance(size, int) for size in value_info.shape):
            return False
        readers = self.consumers.get(value_info.name, ())
        inputs = {other.name for other in self.inputs}
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

    def _find_names(self, tensor_names: TensorNames) -> dict[str, str]:
        """The parameter's name of each tensor that is a parameter, or one with rearranged elements."""
        names = {}
        for name, stored in self.initializers.items():
            is_weight = any(slot in WEIGHT_INPUTS.get(node.op_type, ()) for node, slot in self.consumers.get(name, ()))
            trainable = element_type_of(stored.dtype) == "float" and not self._is_buffer(name)
            if trainable and (is_weight or (math.prod(stored.shape) > 1 and not _is_exporter_constant(name, stored))):
                names[name] = tensor_names.unique_name(name)
        for node in self.nodes:
            source = node.inputs[0] if node.inputs else ""
            if source not in names or not node.outputs:
                continue
            if node.op_type in _LAYOUT_OPS:
                uses = self.consumers.get(node.outputs[0], ())
                if uses and all(slot in WEIGHT_INPUTS.get(user.op_type, ()) for user, slot in uses):
                    names[node.outputs[0]] = names[source]
        return names

    def _is_buffer(self, name: str) -> bool:
        """Whether all uses of a tensor are running statistics or the initial state of a recurrent layer."""
        uses, value = self.consumers.get(name, ()), self.initializers[name].value
        zeros = value is not None and not value.any()  # exporters store the zeros of an initial state
        return bool(uses) and all(
            slot in _STATISTICS_INPUTS.get(node.op_type, ())
            or (zeros and node.op_type in RECURRENT_OPS and slot in (5, 6))
            for node, slot in uses
        )

    def uses(self) -> dict[str, set[ParameterUse]]:
        """The operations that use each parameter, with the other parameters of the layer."""
        uses: dict[str, set[ParameterUse]] = {name: set() for name in self.names.values()}
        for node in self.nodes:
            if node.op_type in ("Shape", "Size") or (node.outputs and node.outputs[0] in self.names):
                continue
            statistics = _STATISTICS_INPUTS.get(node.op_type, ())
            weights = [name for slot, name in enumerate(node.inputs) if name in self.names and slot not in statistics]
            names = frozenset(
                self.recurrent(node) if node.op_type in RECURRENT_OPS else [self.names[name] for name in weights]
            )
            layer = _LINEAR_OPS.get(node.op_type, node.op_type)
            for name in names:
                uses.setdefault(name, set()).add((layer, names))
        return uses

    def recurrent(self, node: OnnxNode) -> list[str]:
        """The parameters of a recurrent node, one direction after the other.

        Each is a part of a weight in the file: the weights for the input and for the state, and a bias for each.
        """
        stored_names = [name for name in node.inputs[1:4] if name in self.names]
        backward = node.attributes.get("direction") == "bidirectional"
        parts = [(self.names[stored_names[0]], ""), (self.names[stored_names[1]], "")] if len(stored_names) > 1 else []
        parts += (
            [(self.names[stored_names[2]], ".input"), (self.names[stored_names[2]], ".state")]
            if len(stored_names) > 2
            else []
        )
        return [f"{name}{end}{side}" for side in ("", ".reverse")[: 1 + backward] for name, end in parts]


def _is_exporter_constant(name: str, initializer: Initializer) -> bool:
    """Whether a tensor that is no layer's weight is a mask, or a constant of one value computed by the exporter.

    Exporters name such constants for the operation: `onnx::Where_12`, `val_20`, `ones_like_1`. Rearranged parameters
    can have such names too, so the name is not sufficient.
    """
    if initializer.value is None:
        return False
    values = np.unique(initializer.value)
    if len(values) == 1:
        generated = re.fullmatch(r"onnx::\w+_\d+|val_\d+", name) is not None
        return generated or re.sub(r"_\d+$", "", name) in _aten_names()
    return len(values) == 2 and bool(values[0] == 0 or values[0] <= -1e4) and values[1] in (0, 1)


@cache
def _aten_names() -> frozenset[str]:
    """The names of ATen's operations."""
    return frozenset(name.partition(".")[0] for name in translators())
