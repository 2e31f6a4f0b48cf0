"""The importer: collects the layers of a model, decides which layer owns which parameters, and builds the graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from costcalc.core.errors import CostcalcError, OpError
from costcalc.core.sizes import Shape, is_plain
from costcalc.frontends.call import Call, ModuleCall, Translator, UnsupportedOp, Value
from costcalc.ir.graph import Graph, Input, Node
from costcalc.ir.op import Op, infer_output
from costcalc.ir.ops.tensors import Buffer, Parameter, Result
from costcalc.ir.ops.unknown import Unknown

ParameterUse = tuple[str, frozenset[str]]  # the name of an operator, and all parameters that one call of it takes


@dataclass(eq=False, kw_only=True)
class ImportedLayer:
    """A layer during import.

    `weights` are the parameters that the layer owns or shares, by the op's names for them; `shares` is the earlier
    layer that owns them, if one does.
    """

    op: Op
    inputs: tuple[Value, ...]
    output: Value
    weights: Mapping[str, Value]
    module: ModuleCall
    shares: ImportedLayer | None = None
    origin: str | None = None


class GraphImporter:
    """Builds a graph from the calls of a model's operators.

    `uses` lists, for each parameter, the operators that take it. It decides whether one layer owns the parameter,
    several equal layers share it, or it becomes a layer `parameter` that different layers take as an input.
    """

    def __init__(self, name: str, uses: Mapping[str, Iterable[ParameterUse]]) -> None:
        self.name = name
        self.inputs: list[tuple[str, Value]] = []
        self.layers: list[ImportedLayer] = []
        self.notes: list[str] = []
        self._uses = {parameter: set(calls) for parameter, calls in uses.items()}
        self._owners: dict[tuple[Any, ...], ImportedLayer] = {}
        self._operands: dict[str, Value] = {}

    def translate(self, call: Call, translators: Mapping[str, Translator], op_type: str) -> Sequence[Value | None]:
        """Return the results of a call: from its translator, or as an `unknown` layer named `op_type`.

        A translation whose shapes or element types differ from those of `call.results` is wrong; it is discarded, and
        the layer is unknown. Empty results cost nothing and are returned without a layer.
        """
        if call.results and all(result.is_empty for result in call.results):
            return call.results
        before = self.savepoint()
        translator = translators.get(call.name)
        try:
            if translator is None:
                raise UnsupportedOp
            answer = translator(call)
            values = (answer,) if isinstance(answer, Value) else tuple(answer)
            for value, result in zip(values, call.results, strict=False):
                if value is not None:
                    _check_result(value, result)
            return values
        except (UnsupportedOp, OpError) as error:  # OpError: a field of the op is out of range
            reason = str(error)
        self.rollback(before)
        location = f" ({call.origin})" if call.origin else ""
        if reason:
            self.notes.append(f"unsupported operator {op_type}{location}: {reason}")
        tensors = tuple(tensor for tensor in _tensors(call.arguments.values()) if not tensor.is_empty)
        ops = [Unknown(op_type, sizes=result.shape, dtype=result.element_type) for result in call.results]
        return [self.add(call, op, tensors, {}) for op in ops]

    def savepoint(self) -> tuple[int, int, int]:
        """Return the current state, for `rollback`."""
        return len(self.layers), len(self._owners), len(self._operands)

    def rollback(self, savepoint: tuple[int, int, int]) -> None:
        """Remove everything that was added since `savepoint`."""
        count, *sizes = savepoint
        del self.layers[count:]
        tables: tuple[dict[Any, Any], ...] = (self._owners, self._operands)
        for table, size in zip(tables, sizes, strict=True):
            while len(table) > size:
                table.popitem()

    def add(
        self, call: Call, op: Op, inputs: Sequence[Value], weights: Mapping[str, Value], result: Value | None = None
    ) -> Value:
        """Add a layer and return its output.

        The layer owns `weights`, shares them with an earlier layer, or takes them as additional inputs (see
        `Call.layer`). `result` is the output of a `result` layer. Raises UnsupportedOp if an input is not a tensor, or
        is empty, and if the op does not accept the shapes.
        """
        for value in (*inputs, *weights.values()):
            if not isinstance(value, Value):
                raise UnsupportedOp(f"an input is {value!r} instead of a tensor")
            if value.is_empty:
                raise UnsupportedOp("an input has no elements")
        names = {weight: value.parameter for weight, value in weights.items()}
        shares = None
        if not self._form_one_layer(names.values()):
            inputs, weights = (*inputs, *weights.values()), {}
        operands = tuple([self._operand(value, call) for value in inputs])
        key = (op.name, *sorted(names.items())) if weights else None
        if key in self._owners:
            shares = self._owners[key]
        shape = _infer_shape(op, tuple(value.shape for value in operands))
        if isinstance(op, Result):
            assert result is not None
            output = Value(result.shape, result.element_type)
        else:
            output = Value(shape, op.element_type(*[value.element_type for value in operands]))
        layer = ImportedLayer(
            op=op,
            inputs=operands,
            output=output,
            weights=weights,
            module=call.module,
            shares=shares,
            origin=call.origin,
        )
        self.layers.append(layer)
        if key is not None:
            self._owners.setdefault(key, layer)
        return output

    def _form_one_layer(self, parameters: Collection[str | None]) -> bool:
        """Whether all are parameters, and one kind of operator takes exactly these, always together."""
        uses = {use for parameter in parameters if parameter for use in self._uses[parameter]}
        return None not in parameters and {taken for _, taken in uses} <= {frozenset(parameters)} and len(uses) < 2

    def extra_outputs(self, call: Call, first: Value) -> tuple[Value, ...]:
        """Return all outputs of the layer whose first output is `first`; each of the others is a layer `result`."""
        others = enumerate(call.results[1:], start=1)
        return (first, *(self.add(call, Result(index), (first,), {}, result) for index, result in others))

    def _operand(self, value: Value, call: Call) -> Value:
        """Return a tensor as layers take it: a parameter or a buffer is the output of one layer made for it."""
        name = value.parameter or value.buffer
        if name is None:
            return value
        if name not in self._operands:
            op = Parameter(value.shape) if value.parameter else Buffer(value.shape, dtype=value.element_type)
            output = self._operands[name] = Value(value.shape, value.element_type)
            module = ModuleCall(tuple(name.split(".")))
            self.layers.append(
                ImportedLayer(op=op, inputs=(), output=output, weights={}, module=module, origin=call.origin)
            )
        return self._operands[name]

    def graph(self, outputs: Sequence[Value], title: str = "", unused: Mapping[str, Shape] | None = None) -> Graph:
        """Build the graph. Raises CostcalcError if no output depends on a layer, or if layers do not fit."""
        used = {id(value) for layer in self.layers for value in layer.inputs} | {id(value) for value in outputs}
        layers = [layer for layer in self.layers if id(layer.output) in used or not isinstance(layer.op, Result)]
        tensor_names = {id(value): name for name, value in self.inputs}
        layer_names = _layer_names(layers, set(tensor_names.values()))
        tensor_names |= {id(layer.output): name for layer, name in zip(layers, layer_names, strict=True)}
        name_of = {id(layer): name for layer, name in zip(layers, layer_names, strict=True)}
        layer_counts = Counter(layer.module for layer in layers)
        nodes = tuple(
            Node(
                name,
                layer.op,
                tuple([tensor_names[id(value)] for value in layer.inputs]),
                name_of[id(layer.shares)] if layer.shares is not None else None,
                layer.origin,
                _is_functional(layer, layer_counts[layer.module] == 1),
            )
            for layer, name in zip(layers, layer_names, strict=True)
        )
        computed = set(layer_names)
        output_names = tuple(
            dict.fromkeys(tensor_names[id(value)] for value in outputs if tensor_names.get(id(value)) in computed)
        )
        if not output_names:
            raise CostcalcError(
                f"{self.name}: the model returns no tensor that it computes; "
                "return a tensor, or a tuple or dictionary of tensors"
            )
        return Graph(
            self.name,
            tuple(Input(name, value.shape, value.element_type) for name, value in self.inputs),
            nodes,
            output_names,
            title,
            unused_parameters=dict(unused or {}),
            notes=tuple(dict.fromkeys(self.notes)),
        )


def _is_functional(layer: ImportedLayer, is_whole_module: bool) -> bool:
    """Whether the model calls a layer as a function: it has no parameters, and is not a whole module of torch.nn."""
    shapes = tuple(value.shape for value in layer.inputs)
    if layer.op.parameters(*shapes) or layer.op.buffers(*shapes) or not layer.op.arity[1]:
        return False
    return not (is_whole_module and layer.module.class_name.startswith("torch.nn.modules."))


def _infer_shape(op: Op, shapes: tuple[Shape, ...]) -> Shape:
    try:
        return infer_output(op, shapes)[0]
    except CostcalcError as error:
        raise UnsupportedOp(str(error)) from None


def _check_result(value: Value, result: Value) -> None:
    """Raise UnsupportedOp if a translation differs from the model in shape or element type."""
    plain = all(map(is_plain, (*value.shape, *result.shape)))
    if len(value.shape) != len(result.shape) or (plain and value.shape != result.shape):
        raise UnsupportedOp(f"the output shape would be {value.shape} instead of {result.shape}")
    if value.element_type != result.element_type:
        raise UnsupportedOp(f"the output elements would be {value.element_type} instead of {result.element_type}")


def _tensors(arguments: Iterable[Any]) -> Iterator[Value]:
    for argument in arguments:
        if isinstance(argument, Value):
            yield argument
        elif isinstance(argument, (list, tuple)):
            yield from _tensors(argument)


# -- names of layers ----------------------------------------------------------------------------------------------


@dataclass(eq=False)
class _ModuleScope:
    """One call of a module: the module calls inside it, by name and call index, and its own layers, in running order.

    Layers are given as indices into the list of all layers.
    """

    children: dict[tuple[str, int], _ModuleScope] = field(default_factory=dict)
    layers: list[int] = field(default_factory=list)


def _layer_names(layers: Sequence[ImportedLayer], reserved: set[str]) -> list[str]:
    """Return a path for each layer.

    A module that is one layer gives the layer its path. The layers of other modules are named after their ops, below
    the module's path. A module that is called several times is numbered from 1, as are equal names in one module.
    """
    root = _ModuleScope()
    for index, layer in enumerate(layers):
        scope, (path, call_indices) = root, (layer.module.path, layer.module.call_indices)
        for name, call_index in zip(path, (*call_indices, *[0] * len(path)), strict=False):
            scope = scope.children.setdefault((name.replace("/", "_"), call_index), _ModuleScope())
        scope.layers.append(index)
    names = [""] * len(layers)
    _assign_names(root, "", layers, names, reserved)
    return names


def _assign_names(
    scope: _ModuleScope, prefix: str, layers: Sequence[ImportedLayer], names: list[str], reserved: set[str]
) -> None:
    """Write the names of the layers of `scope` into `names`, by index."""
    call_counts = Counter(module for module, _ in scope.children)
    used = set(reserved)
    numbers: Counter[str] = Counter()
    for (module, _), child in scope.children.items():
        numbers[module] += 1
        name = module if call_counts[module] == 1 else f"{module}_{numbers[module]}"
        while name in used:
            name += "_"
        used.add(name)
        if len(child.layers) == 1 and not child.children:
            names[child.layers[0]] = prefix + name
        else:
            _assign_names(child, f"{prefix}{name}/", layers, names, set())
    label_counts = Counter(layers[index].op.label() for index in scope.layers)
    numbers.clear()
    for index in scope.layers:
        label = layers[index].op.label().replace("/", "_")
        name = label
        while label_counts[label] > 1 or name in used:
            numbers[label] += 1
            name = f"{label}_{numbers[label]}"
            if name not in used:
                break
        used.add(name)
        names[index] = prefix + name
