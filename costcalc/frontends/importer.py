"""A model as it is read, layer by layer, until it is a graph: who owns which parameters, and what layers are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from costcalc.core.errors import CostcalcError, OpError
from costcalc.core.sizes import Shape, is_plain
from costcalc.frontends.call import Call, ImportedLayer, ModuleCall, Translator, UnsupportedOp, Value
from costcalc.ir.graph import Graph, Input, Node
from costcalc.ir.op import Op, infer_output
from costcalc.ir.ops.tensors import Buffer, Parameter, Result
from costcalc.ir.ops.unknown import Unknown

ParameterUse = tuple[str, frozenset[str]]  # an operation's name, and the parameters that it takes


class GraphImporter:
    """A model that is being read.

    `uses` has for each parameter the operations that take it, each with all parameters that it takes: whether it
    belongs to one layer, to several alike, or is a tensor that several different ones take.
    """

    def __init__(self, name: str, uses: Mapping[str, Iterable[ParameterUse]]) -> None:
        self.name = name
        self.inputs: list[tuple[str, Value]] = []
        self.layers: list[ImportedLayer] = []
        self.notes: list[str] = []
        self._uses = {parameter: set(those) for parameter, those in uses.items()}
        self._owners: dict[tuple[Any, ...], ImportedLayer] = {}
        self._operands: dict[str, Value] = {}

    def translate(self, call: Call, translators: Mapping[str, Translator], op_type: str) -> Sequence[Value | None]:
        """The results of an operation: by its translator, or as a layer that nobody knows, called `kind`.

        A translation whose shapes are not those of the results is a wrong one, and taken for none. Results without
        elements cost nothing and are of no layer.
        """
        if call.results and all(result.is_empty for result in call.results):
            return call.results
        before = self.savepoint()
        translator = translators.get(call.name)
        try:
            if translator is None:
                raise UnsupportedOp
            answer = translator(call)
            made = (answer,) if isinstance(answer, Value) else tuple(answer)
            for value, result in zip(made, call.results, strict=False):
                if value is not None:
                    _check_result(value, result)
            return made
        except (UnsupportedOp, OpError) as error:  # an op may refuse what it is told
            reason = str(error)
        self.rollback(before)
        where = f" ({call.origin})" if call.origin else ""
        if reason:
            self.notes.append(f"{op_type}{where} is not known to costcalc: {reason}")
        tensors = tuple(tensor for tensor in _tensors(call.arguments.values()) if not tensor.is_empty)
        ops = [Unknown(op_type, sizes=result.shape, dtype=result.element_type) for result in call.results]
        return [self.add(call, op, tensors, {}) for op in ops]

    def savepoint(self) -> tuple[int, int, int]:
        """How far it has come, for `forget`."""
        return len(self.layers), len(self._owners), len(self._operands)

    def rollback(self, savepoint: tuple[int, int, int]) -> None:
        """Forget what was read since that mark."""
        count, *sizes = savepoint
        del self.layers[count:]
        tables: tuple[dict[Any, Any], ...] = (self._owners, self._operands)
        for table, size in zip(tables, sizes, strict=True):
            while len(table) > size:
                table.popitem()

    def add(
        self, call: Call, op: Op, inputs: Sequence[Value], weights: Mapping[str, Value], result: Value | None = None
    ) -> Value:
        """The result of a new layer, whose `weights` are its own, shared with an earlier layer, or further inputs."""
        for value in (*inputs, *weights.values()):
            if not isinstance(value, Value):
                raise UnsupportedOp(f"it takes {value!r} in place of a tensor")
            if value.is_empty:
                raise UnsupportedOp("it takes a tensor without elements")
        names = {what: value.parameter for what, value in weights.items()}
        shares = None
        if not self._form_one_layer(names.values()):
            inputs, weights = (*inputs, *weights.values()), {}
        taken = tuple([self._operand(value, call) for value in inputs])
        key = (op.name, *sorted(names.items())) if weights else None
        if key in self._owners:
            shares = self._owners[key]
        shape, _ = _infer(op, tuple(value.shape for value in taken))
        if isinstance(op, Result):
            assert result is not None
            made = Value(result.shape, result.element_type)
        else:
            made = Value(shape, op.element_type(*[value.element_type for value in taken]))
        self.layers.append(ImportedLayer(op, taken, made, weights, call.module, shares, call.origin))
        if key is not None:
            self._owners.setdefault(key, self.layers[-1])
        return made

    def _form_one_layer(self, parameters: Collection[str | None]) -> bool:
        """Whether all are parameters that one kind of operation takes, always these and no others."""
        uses = {use for parameter in parameters if parameter for use in self._uses[parameter]}
        return None not in parameters and {taken for _, taken in uses} <= {frozenset(parameters)} and len(uses) < 2

    def extra_outputs(self, call: Call, first: Value) -> tuple[Value, ...]:
        """The first result of a layer, and the others, each a layer of its own."""
        others = enumerate(call.results[1:], start=1)
        return (first, *(self.add(call, Result(index), (first,), {}, result) for index, result in others))

    def _operand(self, value: Value, call: Call) -> Value:
        """A tensor that a layer takes: of a parameter or a buffer, what the layer gives that is made for it once."""
        name = value.parameter or value.buffer
        if name is None:
            return value
        if name not in self._operands:
            op = Parameter(value.shape) if value.parameter else Buffer(value.shape, dtype=value.element_type)
            made = self._operands[name] = Value(value.shape, value.element_type)
            module = ModuleCall(tuple(name.split(".")))
            self.layers.append(ImportedLayer(op, (), made, {}, module, None, call.origin))
        return self._operands[name]

    def graph(self, outputs: Sequence[Value], title: str = "", unused: Mapping[str, Shape] | None = None) -> Graph:
        """The graph of what was read. Raises CostcalcError where it computes nothing, or layers do not fit."""
        read = {id(value) for layer in self.layers for value in layer.inputs} | {id(value) for value in outputs}
        layers = [layer for layer in self.layers if id(layer.output) in read or not isinstance(layer.op, Result)]
        names = {id(value): name for name, value in self.inputs}
        called = _layer_names(layers, set(names.values()))
        names |= {id(layer.output): name for layer, name in zip(layers, called, strict=True)}
        name_of = {id(layer): name for layer, name in zip(layers, called, strict=True)}
        alone = Counter(layer.module for layer in layers)
        nodes = tuple(
            Node(
                name,
                layer.op,
                tuple([names[id(value)] for value in layer.inputs]),
                name_of[id(layer.shares)] if layer.shares is not None else None,
                layer.origin,
                _is_functional(layer, alone[layer.module] == 1),
            )
            for layer, name in zip(layers, called, strict=True)
        )
        made = set(called)
        ends = tuple(dict.fromkeys(names[id(value)] for value in outputs if names.get(id(value)) in made))
        if not ends:
            raise CostcalcError(f"{self.name}: no result of the model is computed from tensors")
        inputs = tuple(Input(name, value.shape, value.element_type) for name, value in self.inputs)
        return Graph(
            self.name,
            inputs,
            nodes,
            ends,
            title,
            unused_parameters=dict(unused or {}),
            notes=tuple(dict.fromkeys(self.notes)),
        )


def _is_functional(layer: ImportedLayer, alone: bool) -> bool:
    """Whether the model calls it as a function: it is not all that a module of torch.nn does."""
    shapes = tuple(value.shape for value in layer.inputs)
    if layer.op.parameters(*shapes) or layer.op.buffers(*shapes) or not layer.op.arity[1]:
        return False
    return not (alone and layer.module.class_name.startswith("torch.nn.modules."))


def _infer(op: Op, shapes: tuple[Shape, ...]) -> tuple[Shape, Any]:
    try:
        return infer_output(op, shapes)
    except CostcalcError as error:
        raise UnsupportedOp(str(error)) from None


def _check_result(value: Value, result: Value) -> None:
    plain = all(map(is_plain, (*value.shape, *result.shape)))
    if len(value.shape) != len(result.shape) or (plain and value.shape != result.shape):
        raise UnsupportedOp(f"it would be of shape {value.shape}, and is {result.shape}")
    if value.element_type != result.element_type:
        raise UnsupportedOp(f"its elements would be {value.element_type}, and are {result.element_type}")


def _tensors(arguments: Iterable[Any]) -> Iterator[Value]:
    for argument in arguments:
        if isinstance(argument, Value):
            yield argument
        elif isinstance(argument, (list, tuple)):
            yield from _tensors(argument)


# -- names --------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class _ModuleScope:
    """One call of a module: the calls in it, by the module's name and number, and its own layers, in running order."""

    children: dict[tuple[str, int], _ModuleScope] = field(default_factory=dict)
    layers: list[int] = field(default_factory=list)


def _layer_names(layers: Sequence[ImportedLayer], taken: set[str]) -> list[str]:
    """A path for each layer.

    A module that is one layer gives it its own path; the layers of others are below the module's path, called as their
    op is. A module that is called more than once, and ops of one name beside each other, are numbered from 1.
    """
    root = _ModuleScope()
    for number, layer in enumerate(layers):
        place, (parts, calls) = root, (layer.module.path, layer.module.call_indices)
        for part, call in zip(parts, (*calls, *[0] * len(parts)), strict=False):
            place = place.children.setdefault((part.replace("/", "_"), call), _ModuleScope())
        place.layers.append(number)
    names = [""] * len(layers)
    _assign_names(root, "", layers, names, taken)
    return names


def _assign_names(
    scope: _ModuleScope, prefix: str, layers: Sequence[ImportedLayer], names: list[str], taken: set[str]
) -> None:
    times = Counter(part for part, _ in scope.children)
    used = set(taken)
    number: Counter[str] = Counter()
    for (part, _), below in scope.children.items():
        number[part] += 1
        name = part if times[part] == 1 else f"{part}_{number[part]}"
        while name in used:
            name += "_"
        used.add(name)
        if len(below.layers) == 1 and not below.children:
            names[below.layers[0]] = prefix + name
        else:
            _assign_names(below, f"{prefix}{name}/", layers, names, set())
    ops = Counter(layers[i].op.label() for i in scope.layers)
    number.clear()
    for i in scope.layers:
        label = layers[i].op.label().replace("/", "_")
        name = label
        while ops[label] > 1 or name in used:
            number[label] += 1
            name = f"{label}_{number[label]}"
            if name not in used:
                break
        used.add(name)
        names[i] = prefix + name
