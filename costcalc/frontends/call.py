"""What an importer reads of a model: its tensors, and one call of an operation, as values that know no framework.

An operation is translated by a function registered for its name, which looks at the call and says which layers it is:

    @aten("linear.default")
    def _(call: Call) -> Value:
        weight, bias = call["weight"], call["bias"]
        op = Linear(weight.shape[0], bias=bias is not None)
        return call.layer(op, call["input"], weight=weight, bias=bias)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from costcalc.core.sizes import Shape, is_plain
from costcalc.ir.op import Op

if TYPE_CHECKING:
    from costcalc.frontends.importer import GraphImporter


@dataclass(eq=False)
class Value:
    """A tensor of the model.

    `parameter` is the name of the parameter that it is, `buffer` that of the buffer: "layer1.0.conv1.weight". Neither
    is a layer until it is used as an operand.
    """

    shape: Shape
    element_type: str = "float"
    parameter: str | None = None
    buffer: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it has no elements, so that it costs nothing and no layer makes it."""
        return any(is_plain(extent) and extent == 0 for extent in self.shape)


@dataclass(eq=False)
class ImportedLayer:
    """A layer as it is imported: what it computes of what, with which of the model's parameters, and where it is from.

    `weights` are the op's own parameters, by the op's names for them. `shares` is the layer whose parameters they are,
    where an earlier one has the same.
    """

    op: Op
    inputs: tuple[Value, ...]
    output: Value
    weights: Mapping[str, Value]
    module: ModuleCall
    shares: ImportedLayer | None = None
    origin: str | None = None


@dataclass(frozen=True)
class ModuleCall:
    """One call of a module of the model: the names on the way down to it, its class, and which call of it this is."""

    path: tuple[str, ...] = ()
    class_name: str = ""
    call_indices: tuple[int, ...] = ()  # for each name on the way, how many calls of that module came before


class UnsupportedOp(Exception):
    """An operation that costcalc has no op for; the layer becomes `unknown`, with the reason if there is one."""


@dataclass
class Call:
    """One operation of a model.

    `call["weight"]` is its argument of that name, the default where it is not given: a `Value` for a tensor, a size for
    a number (an int, or an expression where the model is traced with free sizes), lists, texts and None as they are; a
    dtype is its name ("float32", "int64"). `results` are the tensors it makes, with their shapes.
    """

    name: str  # "conv2d.default"
    arguments: Mapping[str, Any]
    results: tuple[Value, ...]
    module: ModuleCall
    origin: str | None
    importer: GraphImporter

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    @property
    def shape(self) -> Shape:
        """That of its (first) result."""
        return self.results[0].shape

    def layer(self, op: Op, *inputs: Value, **weights: Value | None) -> Value:
        """The result of a layer that computes `op`; with `weights`, by the op's names for its parameters.

        Where these are parameters of the model that no other layer has, they are the layer's own; where an earlier
        layer has all the same, it shares them. Else they become further inputs, in the order in which they are given.
        """
        given = {name: value for name, value in weights.items() if value is not None}
        return self.importer.add(self, op, inputs, given)

    def layer_outputs(self, op: Op, *inputs: Value, **weights: Value | None) -> tuple[Value, ...]:
        """All results of a layer that has several: its own, and a `result` for each further one that is used."""
        first = self.layer(op, *inputs, **weights)
        return self.importer.extra_outputs(self, first)


SingleOutputTranslator = Callable[[Call], Value]  # a translator to a layer with one result
Translator = Callable[[Call], "Value | Sequence[Value | None]"]


def make_registry() -> tuple[dict[str, Translator], Callable[..., Callable[[Translator], Translator]]]:
    """A table of translators by the operation's name, and the decorator that adds to it."""
    table: dict[str, Translator] = {}

    def register(*names: str) -> Callable[[Translator], Translator]:
        def add(function: Translator) -> Translator:
            for name in names:
                if name in table:
                    raise ValueError(f"{name} is translated twice")
                table[name] = function
            return function

        return add

    return table, register
