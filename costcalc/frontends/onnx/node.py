"""One node of an ONNX model as its translator sees it.

A translator works out the shapes of the results, by ONNX's definition of the operation, and says which operation of
torch's ATen library is the same: `importers.aten` makes layers of that. Where the two shapes differ, it was not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from costcalc.core.errors import CostcalcError
from costcalc.frontends.call import Value
from costcalc.frontends.onnx.free import expression_of, expressions, whole
from costcalc.frontends.onnx.reading import DTYPES, Step, check_shape, holds
from costcalc.frontends.onnx.walk import Tensor
from costcalc.ir.op import Op

if TYPE_CHECKING:
    from costcalc.frontends.onnx.walk import Walk

Results = "Tensor | Sequence[Tensor | None]"
Translation = Callable[["Node"], Any]
NODES: dict[str, Translation] = {}
Shape = tuple[int, ...]


def node(*kinds: str) -> Callable[[Translation], Translation]:
    """Register the translator of these operations of ONNX."""

    def add(function: Translation) -> Translation:
        for kind in kinds:
            if kind in NODES:
                raise ValueError(f"{kind} is translated twice")
            NODES[kind] = function
        return function

    return add


class Node:
    """A node: its inputs, its attributes, and the layers that it becomes."""

    def __init__(self, walk: Walk, step: Step, inputs: Sequence[Tensor | None]) -> None:
        self.walk, self.step, self.inputs = walk, step, inputs

    @property
    def x(self) -> Tensor:
        """The first input."""
        return self[0]

    def __getitem__(self, place: int) -> Tensor:
        found = self.get(place)
        if found is None:
            raise ValueError(f"input {place} is missing")
        return found

    def get(self, place: int) -> Tensor | None:
        """An input; None where it is left out."""
        return self.inputs[place] if place < len(self.inputs) else None

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute, or the default."""
        return self.step.attributes.get(name, default)

    def numbers(self, name: str, place: int | None) -> list[int] | None:
        """A list of whole numbers that is an attribute in some opsets and an input in others; None if left out."""
        if name in self.step.attributes:
            given = self.step.attributes[name]
            return list(given) if isinstance(given, list) else [given]
        tensor = None if place is None else self.get(place)
        if tensor is None:
            return None
        if tensor.constant is None:
            raise CostcalcError(f"takes {name} that depend on data ({tensor.name!r}), and so do the sizes it makes")
        return [whole(number) for number in tensor.constant.reshape(-1).tolist()]

    def used(self, place: int) -> bool:
        """Whether anything takes that result."""
        outputs = self.step.outputs
        if place >= len(outputs) or not outputs[place]:
            return False
        return outputs[place] in self.walk.readers or outputs[place] in self.walk.model.outputs

    # -- what it becomes ----------------------------------------------------------------------------------------------

    def aten(self, operation: str, shape: Sequence[int], dtype: str | None = None, /, **arguments: Any) -> Tensor:
        """What an operation of ATen makes, of this shape; arguments are called as ATen calls them."""
        made = self.aten_all(operation, [(shape, dtype or self.x.dtype)], **arguments)[0]
        if made is None:
            raise ValueError(f"{operation} makes nothing")
        return made

    def aten_all(
        self, operation: str, results: Sequence[tuple[Sequence[int], str]], /, **arguments: Any
    ) -> list[Tensor | None]:
        """What an operation of ATen makes that has several results."""
        given = {name: self._argument(argument) for name, argument in arguments.items()}
        sized = [(self._sized(shape), dtype) for shape, dtype in results]
        wanted = [Value(expressions(shape), holds(dtype)) for shape, dtype in sized]
        made = self.walk.call(self.step, operation, given, wanted)
        return [
            None if value is None else Tensor("", shape, dtype, None, value, self.step.kind)
            for value, (shape, dtype) in zip(made, sized, strict=False)
        ]

    def activation(self, operation: str, /, **arguments: Any) -> Tensor:
        """What a function of one element makes; over its input where that may be, and the function is done so."""
        name = f"{operation}_.default"
        if name not in self.walk.translators or not self.walk.may_overwrite(self.x, self.step.kind):
            name = f"{operation}.default"
        return self.aten(name, self.x.shape, self=self.x, **arguments)

    def layer(self, op: Op, shape: Sequence[int], *inputs: Tensor) -> Tensor:
        """What a layer makes that is no operation of ATen's."""
        taken = [self.walk.operand(tensor) for tensor in inputs]
        sized = self._sized(shape)
        value = self.walk.layer(self.step, op, taken, Value(expressions(sized), holds(self.x.dtype)))
        assert value is not None
        return Tensor("", sized, self.x.dtype, None, value, self.step.kind)

    def constant(self, tensor: Tensor, shape: Sequence[int], dtype: str) -> Tensor:
        """A tensor that is there before the model runs, and is no parameter: a buffer, called as the first result."""
        return Tensor(self.step.outputs[0], self._sized(shape), dtype)

    def weight(self, place: int, shape: Shape | None = None) -> Tensor | None:
        """A weight, seen as one of this shape; None where it is left out, or is nothing but zeros."""
        tensor = self.get(place)
        if tensor is None or (tensor.constant is not None and tensor.parameter is None and not tensor.constant.any()):
            return None
        if shape is None or tensor.shape == shape:
            return tensor
        if tensor.parameter is None or math.prod(shape) != math.prod(tensor.shape):
            raise ValueError(f"{tensor.name!r} is of shape {list(tensor.shape)}, not {list(shape)}")
        return Tensor(tensor.name, shape, tensor.dtype, None, Value(shape, "float", parameter=tensor.parameter))

    def unknown(self) -> list[Tensor | None]:
        """A layer that nobody knows, its results of the shapes that the file or onnx says."""
        results = []
        for place, name in enumerate(self.step.outputs):
            declared = self.walk.shape_of(name, self.step) if name else None
            if declared is not None:
                results.append((tuple([int(n) for n in declared.sizes or () if n is not None]), declared.dtype))
            elif self.used(place):
                message = "is not known to costcalc, and neither the file nor onnx says what shape its result"
                raise CostcalcError(f"{message} {name!r} has; a value_info would")
            else:
                break
        if not results:
            raise CostcalcError("is not known to costcalc, and nothing takes what it makes")
        return self.aten_all("", results, inputs=[tensor for tensor in self.inputs if tensor is not None])

    def _argument(self, argument: Any) -> Any:
        if isinstance(argument, Tensor):
            return self.walk.operand(argument)
        if isinstance(argument, (list, tuple)):
            return [self._argument(part) for part in argument]
        return expression_of(argument)

    def _sized(self, shape: Sequence[int]) -> Shape:
        sizes = tuple([whole(size) for size in shape])
        check_shape(sizes, "its result")
        if 0 in sizes:
            raise ValueError(f"its result would be empty: {list(sizes)}")
        return sizes


def axis_of(axis: int, rank: int) -> int:
    """A dimension counted from the first. Raises ValueError where there is none."""
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} is no dimension of a tensor with {rank}")
    return axis % rank


def broadcast(*shapes: Shape) -> Shape:
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


def translate(walk: Walk, step: Step, inputs: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
    """The results of a step; those of one that nobody knows are of the shapes that the file or onnx says."""
    this = Node(walk, step, inputs)
    translation = NODES.get(step.kind)
    if translation is not None:
        made = translation(this)
        return [made] if isinstance(made, Tensor) else list(made)
    if step.kind in _CONTROL:
        raise CostcalcError(f"is control flow ({_CONTROL[step.kind]}): what it costs depends on data")
    if step.kind in _DEPENDS:
        raise CostcalcError("makes a tensor whose size depends on data, so that costs are no numbers")
    return this.unknown()


_CONTROL: Mapping[str, str] = {
    "If": "a branch",
    "Loop": "a loop",
    "Scan": "a loop",
    "SequenceMap": "a loop",
}
_DEPENDS = frozenset(["NonZero", "Compress", "Unique", "NonMaxSuppression", "StringSplit"])
