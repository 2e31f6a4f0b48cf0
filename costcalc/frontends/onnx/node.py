"""The interface between an ONNX node and its translator.

A translator computes the output shapes from the ONNX definition of the operator and selects the equivalent ATen
operator, which the ATen importer lowers to layers. If the shapes of the two disagree, the operators are not equivalent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from costcalc.core.dtypes import element_type_of
from costcalc.core.errors import CostcalcError
from costcalc.frontends.call import Value, make_registry
from costcalc.frontends.onnx.interpreter import OnnxTensor
from costcalc.frontends.onnx.reader import DTYPES, OnnxNode, check_shape
from costcalc.frontends.onnx.symbolic_int import as_int, expression_of, expressions_of
from costcalc.ir.op import Op

if TYPE_CHECKING:
    from costcalc.frontends.onnx.interpreter import OnnxInterpreter

NodeTranslator = Callable[["NodeContext"], Any]
NODE_TRANSLATORS: dict[str, NodeTranslator] = {}
onnx_op = make_registry(NODE_TRANSLATORS)
Shape = tuple[int, ...]


class NodeContext:
    """An ONNX node with its inputs and attributes, and methods that add the layers it translates to."""

    def __init__(self, interpreter: OnnxInterpreter, node: OnnxNode, inputs: Sequence[OnnxTensor | None]) -> None:
        self.interpreter, self.node, self.inputs = interpreter, node, inputs

    @property
    def x(self) -> OnnxTensor:
        """The first input."""
        return self[0]

    def __getitem__(self, index: int) -> OnnxTensor:
        found = self.get(index)
        if found is None:
            raise ValueError(f"input {index} is missing")
        return found

    def get(self, index: int) -> OnnxTensor | None:
        """Return the input at `index`, or None if the node omits it."""
        return self.inputs[index] if index < len(self.inputs) else None

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return the value of an attribute, or `default` if the node does not set it."""
        return self.node.attributes.get(name, default)

    def ints(self, name: str, index: int | None) -> list[int] | None:
        """Return a list of integers that is an attribute in some opsets and an input in others; None if omitted."""
        if name in self.node.attributes:
            given = self.node.attributes[name]
            return list(given) if isinstance(given, list) else [given]
        tensor = None if index is None else self.get(index)
        if tensor is None:
            return None
        if tensor.constant is None:
            raise CostcalcError(
                f"needs a constant {name}: {tensor.name!r} depends on data, and so does the size of the output"
            )
        return [as_int(number) for number in tensor.constant.reshape(-1).tolist()]

    def is_used(self, index: int) -> bool:
        """Return whether another node or a graph output uses the output at `index`."""
        outputs = self.node.outputs
        if index >= len(outputs) or not outputs[index]:
            return False
        return outputs[index] in self.interpreter.consumers or outputs[index] in self.interpreter.model.outputs

    # -- lowering -----------------------------------------------------------------------------------------------------

    def aten(self, operation: str, shape: Sequence[int], dtype: str | None = None, /, **arguments: Any) -> OnnxTensor:
        """Call an ATen operator and return its output, which has shape `shape`; keywords are ATen argument names."""
        made = self.aten_outputs(operation, [(shape, dtype or self.x.dtype)], **arguments)[0]
        if made is None:
            raise ValueError(f"{operation} makes nothing")
        return made

    def aten_outputs(
        self, operation: str, results: Sequence[tuple[Sequence[int], str]], /, **arguments: Any
    ) -> list[OnnxTensor | None]:
        """Call an ATen operator with several outputs; `results` lists the shape and dtype of each."""
        given = {name: self._argument(argument) for name, argument in arguments.items()}
        sized = [(self._checked_shape(shape), dtype) for shape, dtype in results]
        wanted = [Value(expressions_of(shape), element_type_of(dtype)) for shape, dtype in sized]
        made = self.interpreter.call(self.node, operation, given, wanted)
        return [
            None if value is None else OnnxTensor("", shape, dtype, None, value, self.node.op_type)
            for value, (shape, dtype) in zip(made, sized, strict=False)
        ]

    def activation(self, operation: str, /, **arguments: Any) -> OnnxTensor:
        """Call an element-wise ATen operator on the first input, in place if ATen and the graph permit it."""
        name = f"{operation}_.default"
        if name not in self.interpreter.translators or not self.interpreter.can_run_in_place(self.x, self.node.op_type):
            name = f"{operation}.default"
        return self.aten(name, self.x.shape, self=self.x, **arguments)

    def layer(self, op: Op, shape: Sequence[int], *inputs: OnnxTensor) -> OnnxTensor:
        """Add a layer that has no ATen equivalent and return its output."""
        taken = [self.interpreter.operand(tensor) for tensor in inputs]
        sized = self._checked_shape(shape)
        value = self.interpreter.layer(
            self.node, op, taken, Value(expressions_of(sized), element_type_of(self.x.dtype))
        )
        assert value is not None
        return OnnxTensor("", sized, self.x.dtype, None, value, self.node.op_type)

    def constant(self, shape: Sequence[int], dtype: str) -> OnnxTensor:
        """Return a buffer named after the first output: a tensor that exists before the model runs."""
        return OnnxTensor(self.node.outputs[0], self._checked_shape(shape), dtype)

    def weight(self, index: int, shape: Shape | None = None) -> OnnxTensor | None:
        """Return a weight viewed with shape `shape`, or None if the input is omitted or is a constant of zeros."""
        tensor = self.get(index)
        if tensor is None or (tensor.constant is not None and tensor.parameter is None and not tensor.constant.any()):
            return None
        if shape is None or tensor.shape == shape:
            return tensor
        if tensor.parameter is None or math.prod(shape) != math.prod(tensor.shape):
            raise ValueError(f"{tensor.name!r} is of shape {list(tensor.shape)}, not {list(shape)}")
        return OnnxTensor(tensor.name, shape, tensor.dtype, None, Value(shape, "float", parameter=tensor.parameter))

    def unknown(self) -> list[OnnxTensor | None]:
        """Add an `unknown` layer for an unsupported operator, with output shapes from the file or shape inference."""
        results = []
        for place, name in enumerate(self.node.outputs):
            declared = self.interpreter.value_info_of(name, self.node) if name else None
            if declared is not None:
                results.append((tuple([int(n) for n in declared.shape or () if n is not None]), declared.dtype))
            elif self.is_used(place):
                message = "is not supported, and neither the file nor ONNX declares the shape of its output"
                raise CostcalcError(f"{message} {name!r}: add a value_info for it")
            else:
                break
        if not results:
            raise CostcalcError("is not supported, and none of its outputs is used")
        return self.aten_outputs("", results, inputs=[tensor for tensor in self.inputs if tensor is not None])

    def _argument(self, argument: Any) -> Any:
        if isinstance(argument, OnnxTensor):
            return self.interpreter.operand(argument)
        if isinstance(argument, (list, tuple)):
            return [self._argument(part) for part in argument]
        return expression_of(argument)

    def _checked_shape(self, shape: Sequence[int]) -> Shape:
        sizes = tuple([as_int(size) for size in shape])
        check_shape(sizes, "its result")
        if 0 in sizes:
            raise ValueError(f"its result would be empty: {list(sizes)}")
        return sizes


def normalize_axis(axis: int, rank: int) -> int:
    """Return `axis` as a non-negative index. Raises ValueError if it is out of range."""
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} is out of range for a tensor of {rank} dimensions")
    return axis % rank


def broadcast_shapes(*shapes: Shape) -> Shape:
    """Return the shape to which `shapes` broadcast. Raises ValueError if they are incompatible."""
    rank = max(map(len, shapes))
    result = []
    for sizes in zip(*[(1,) * (rank - len(shape)) + shape for shape in shapes], strict=True):
        several = {size for size in sizes if size != 1}
        if len(several) > 1:
            raise ValueError(f"cannot broadcast its inputs: {' and '.join(str(list(s)) for s in shapes)}")
        result.append(several.pop() if several else 1)
    return tuple(result)


def dtype_of(number: int) -> str:
    """Return the dtype for an ONNX `TensorProto.DataType` number."""
    if number not in DTYPES:
        raise ValueError(f"{number} is not a supported element type of ONNX")
    return DTYPES[number]


def translate_node(
    interpreter: OnnxInterpreter, node: OnnxNode, inputs: Sequence[OnnxTensor | None]
) -> Sequence[OnnxTensor | None]:
    """Translate a node and return its outputs; an unsupported operator becomes an `unknown` layer."""
    this = NodeContext(interpreter, node, inputs)
    translation = NODE_TRANSLATORS.get(node.op_type)
    if translation is not None:
        made = translation(this)
        return [made] if isinstance(made, OnnxTensor) else list(made)
    if node.op_type in _CONTROL_FLOW:
        raise CostcalcError(f"is control flow ({_CONTROL_FLOW[node.op_type]}): its cost depends on data")
    if node.op_type in _DATA_DEPENDENT:
        raise CostcalcError("has an output whose size depends on data, so that its cost is unknown")
    return this.unknown()


_CONTROL_FLOW: Mapping[str, str] = {
    "If": "a branch",
    "Loop": "a loop",
    "Scan": "a loop",
    "SequenceMap": "a loop",
}
_DATA_DEPENDENT = frozenset(["NonZero", "Compress", "Unique", "NonMaxSuppression", "StringSplit"])
