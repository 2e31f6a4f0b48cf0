"""One operator call of an imported model, as values that are independent of the framework, and the translator registry.

A translator is a function registered for an operator's name. It reads the arguments of a call and adds the layers that
compute it:

    @aten_op("linear.default")
    def _(call: Call) -> Value:
        weight, bias = call["weight"], call["bias"]
        op = Linear(weight.shape[0], bias=bias is not None)
        return call.layer(op, call["input"], weight=weight, bias=bias)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from costcalc.core.sizes import Shape, is_plain
from costcalc.ir.op import Op


@dataclass(eq=False)
class Value:
    """A tensor of the model.

    `parameter` or `buffer` is the tensor's name in the model ("layer1.0.conv1.weight") if it is one of these. Such a
    tensor becomes a layer only if a layer uses it as an operand.
    """

    shape: Shape
    element_type: str = "float"
    parameter: str | None = None
    buffer: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether the tensor has no elements: it costs nothing, and no layer computes it."""
        return any(is_plain(extent) and extent == 0 for extent in self.shape)


@dataclass(frozen=True)
class ModuleCall:
    """One call of a module: the module's path in the model, its class, and which call of the module it is."""

    path: tuple[str, ...] = ()
    class_name: str = ""
    call_indices: tuple[int, ...] = ()  # for each name in `path`, the number of earlier calls of that module


class UnsupportedOp(Exception):
    """An operator that no op of costcalc computes; it becomes an `unknown` layer, with this message as the reason."""


class LayerBuilder(Protocol):
    """The importer as a translator sees it."""

    def add(
        self, call: Call, op: Op, inputs: Sequence[Value], weights: Mapping[str, Value], result: Value | None = None
    ) -> Value:
        """Add a layer and return its output."""
        ...

    def extra_outputs(self, call: Call, first: Value) -> tuple[Value, ...]:
        """Return all outputs of the layer whose first output is `first`."""
        ...


@dataclass(kw_only=True)
class Call:
    """One call of an operator.

    `call["weight"]` is the argument of that name, or its default: a `Value` for a tensor, a size for a number (an int,
    or an expression if the model has dynamic sizes), and lists, strings and None unchanged. A dtype is its name
    ("float32", "int64"). `results` are the tensors that the call returns.
    """

    name: str  # with the overload: "conv2d.default"
    arguments: Mapping[str, Any]
    results: tuple[Value, ...]
    module: ModuleCall
    origin: str | None
    builder: LayerBuilder

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    @property
    def operator(self) -> str:
        """The operator's name without its overload, and without the underscore of an in-place form: "relu"."""
        name = self.name.partition(".")[0]
        return name.removesuffix("_") if self.is_in_place else name

    @property
    def overload(self) -> str:
        """The name of the overload: "default", "Tensor"."""
        return self.name.partition(".")[2]

    @property
    def is_in_place(self) -> bool:
        """Whether the operator overwrites its input, as `relu_` does (`__and__` does not)."""
        name = self.name.partition(".")[0]
        return name.endswith("_") and not name.endswith("__")

    @property
    def shape(self) -> Shape:
        """The shape of the first result."""
        return self.results[0].shape

    def layer(self, op: Op, *inputs: Value, **weights: Value | None) -> Value:
        """Add a layer that computes `op` and return its output.

        `weights` are parameters by the op's names for them. The layer owns them if they are parameters of the model
        that no other layer uses, and shares those of an earlier layer that uses the same ones. Otherwise they become
        additional inputs, in the order of the keywords.
        """
        present = {name: value for name, value in weights.items() if value is not None}
        return self.builder.add(self, op, inputs, present)

    def layer_outputs(self, op: Op, *inputs: Value, **weights: Value | None) -> tuple[Value, ...]:
        """Add a layer with several outputs and return them; each after the first is a `result` layer if it is used."""
        first = self.layer(op, *inputs, **weights)
        return self.builder.extra_outputs(self, first)


SingleOutputTranslator = Callable[[Call], Value]
Translator = Callable[[Call], "Value | Sequence[Value | None]"]
FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def make_registry(table: dict[str, FunctionT]) -> Callable[..., Callable[[FunctionT], FunctionT]]:
    """Return a decorator that registers a function in `table` under each of the names it is called with.

    The decorator raises ValueError for a name that is registered already.
    """

    def register(*names: str) -> Callable[[FunctionT], FunctionT]:
        def add(function: FunctionT) -> FunctionT:
            for name in names:
                if name in table:
                    raise ValueError(f"{name} is registered twice")
                table[name] = function
            return function

        return add

    return register
