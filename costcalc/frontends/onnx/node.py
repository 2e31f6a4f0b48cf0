"""One node of an ONNX model as its translator sees it.

A translator works out the shapes of the results, by ONNX's definition of the operation, and says which operation of
torch's ATen library is the same: `importers.aten` makes layers of that. Where the two shapes differ, it was not.
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
    """A node: its inputs, its attributes, and the layers that it becomes."""

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
        """An input; None where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute, or the default."""
        return self.node.attributes.get(name, default)

    def ints(self, name: str, index: int | None) -> list[int] | None:
        """A list of whole numbers that is an attribute in some opsets and an input in others; None if left out."""
        if name in self.node.attributes:
            given = self.node.attributes[name]
            return list(given) if isinstance(given, list) else [given]
        tensor = None if index is None else self.get(index)
        if tensor is None:
            return None
        if tensor.constant is None:
            raise CostcalcError(f"takes {name} that depend on data ({tensor.name!r}), and so do the sizes it makes")
        return [as_int(number) for number in tensor.constant.reshape(-1).tolist()]

    def is_used(self, index: int) -> bool:
        """Whether anything takes that result."""
        outputs = self.node.outputs
        if index >= len(outputs) or not outputs[index]:
            return False
        return outputs[index] in self.interpreter.consumers or outputs[index] in self.interpreter.model.outputs

    # -- what it becomes ----------------------------------------------------------------------------------------------

    def aten(self, operation: str, shape: Sequence[int], dtype: str | None = None, /, **arguments: Any) -> OnnxTensor:
        """What an operation of ATen makes, of this shape; arguments are called as ATen calls them."""
        made = self.aten_outputs(operation, [(shape, dtype or self.x.dtype)], **arguments)[0]
        if made is None:
            raise ValueError(f"{operation} makes nothing")
        return made

    def aten_outputs(
        self, operation: str, results: Sequence[tuple[Sequence[int], str]], /, **arguments: Any
    ) -> list[OnnxTensor | None]:
        """What an operation of ATen makes that has several results."""
        given = {name: self._argument(argument) for name, argument in arguments.items()}
        sized = [(self._checked_shape(shape), dtype) for shape, dtype in results]
        wanted = [Value(expressions_of(shape), element_type_of(dtype)) for shape, dtype in sized]
        made = self.interpreter.call(self.node, operation, given, wanted)
        return [
            None if value is None else OnnxTensor("", shape, dtype, None, value, self.node.op_type)
            for value, (shape, dtype) in zip(made, sized, strict=False)
        ]

    def activation(self, operation: str, /, **arguments: Any) -> OnnxTensor:
        """What a function of one element makes; over its input where that may be, and the function is done so."""
        name = f"{operation}_.default"
        if name not in self.interpreter.translators or not self.interpreter.can_run_in_place(self.x, self.node.op_type):
            name = f"{operation}.default"
        return self.aten(name, self.x.shape, self=self.x, **arguments)

    def layer(self, op: Op, shape: Sequence[int], *inputs: OnnxTensor) -> OnnxTensor:
        """What a layer makes that is no operation of ATen's."""
        taken = [self.interpreter.operand(tensor) for tensor in inputs]
        sized = self._checked_shape(shape)
        value = self.interpreter.layer(
            self.node, op, taken, Value(expressions_of(sized), element_type_of(self.x.dtype))
        )
        assert value is not None
        return OnnxTensor("", sized, self.x.dtype, None, value, self.node.op_type)

    def constant(self, shape: Sequence[int], dtype: str) -> OnnxTensor:
        """A tensor that is there before the model runs, and is no parameter: a buffer, called as the first result."""
        return OnnxTensor(self.node.outputs[0], self._checked_shape(shape), dtype)

    def weight(self, index: int, shape: Shape | None = None) -> OnnxTensor | None:
        """A weight, seen as one of this shape; None where it is left out, or is nothing but zeros."""
        tensor = self.get(index)
        if tensor is None or (tensor.constant is not None and tensor.parameter is None and not tensor.constant.any()):
            return None
        if shape is None or tensor.shape == shape:
            return tensor
        if tensor.parameter is None or math.prod(shape) != math.prod(tensor.shape):
            raise ValueError(f"{tensor.name!r} is of shape {list(tensor.shape)}, not {list(shape)}")
        return OnnxTensor(tensor.name, shape, tensor.dtype, None, Value(shape, "float", parameter=tensor.parameter))

    def unknown(self) -> list[OnnxTensor | None]:
        """A layer that nobody knows, its results of the shapes that the file or onnx says."""
        results = []
        for place, name in enumerate(self.node.outputs):
            declared = self.interpreter.value_info_of(name, self.node) if name else None
            if declared is not None:
                results.append((tuple([int(n) for n in declared.shape or () if n is not None]), declared.dtype))
            elif self.is_used(place):
                message = "is not known to costcalc, and neither the file nor onnx says what shape its result"
                raise CostcalcError(f"{message} {name!r} has; a value_info would")
            else:
                break
        if not results:
            raise CostcalcError("is not known to costcalc, and nothing takes what it makes")
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
    """A dimension counted from the first. Raises ValueError where there is none."""
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} is no dimension of a tensor with {rank}")
    return axis % rank


def broadcast_shapes(*shapes: Shape) -> Shape:
    """The shape of what is computed element by element of tensors with these."""
    rank = max(map(len, shapes))
    result = []
    for sizes in zip(*[(1,) * (rank - len(shape)) + shape for shape in shapes], strict=True):
        several = {size for size in sizes if size != 1}
        if len(several) > 1:
            raise ValueError(f"takes tensors that do not fit: {' and '.join(str(list(s)) for s in shapes)}")
        result.append(several.pop() if several else 1)
    return tuple(result)


def dtype_of(number: int) -> str:
    """The dtype of ONNX's number."""
    if number not in DTYPES:
        raise ValueError(f"there is no type of elements {number}")
    return DTYPES[number]


def translate_node(
    interpreter: OnnxInterpreter, node: OnnxNode, inputs: Sequence[OnnxTensor | None]
) -> Sequence[OnnxTensor | None]:
    """The results of a step; those of one that nobody knows are of the shapes that the file or onnx says."""
    this = NodeContext(interpreter, node, inputs)
    translation = NODE_TRANSLATORS.get(node.op_type)
    if translation is not None:
        made = translation(this)
        return [made] if isinstance(made, OnnxTensor) else list(made)
    if node.op_type in _CONTROL_FLOW:
        raise CostcalcError(f"is control flow ({_CONTROL_FLOW[node.op_type]}): what it costs depends on data")
    if node.op_type in _DATA_DEPENDENT:
        raise CostcalcError("makes a tensor whose size depends on data, so that costs are no numbers")
    return this.unknown()


_CONTROL_FLOW: Mapping[str, str] = {
    "If": "a branch",
    "Loop": "a loop",
    "Scan": "a loop",
    "SequenceMap": "a loop",
}
_DATA_DEPENDENT = frozenset(["NonZero", "Compress", "Unique", "NonMaxSuppression", "StringSplit"])
