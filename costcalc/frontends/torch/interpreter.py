"""Translation of an exported program to a graph, operator by operator."""

from __future__ import annotations

import operator
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, cast

import torch
from torch import fx, nn
from torch.export.graph_signature import InputKind
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from costcalc.core.errors import CostcalcError
from costcalc.frontends.aten.base import translators
from costcalc.frontends.call import Call, ModuleCall, Value
from costcalc.frontends.free_sizes import SymbolicGraph
from costcalc.frontends.importer import GraphImporter, ParameterUse
from costcalc.frontends.torch.program import Program, placeholders
from costcalc.frontends.torch.symbols import SymbolTable, torch_element_type


class ExportInterpreter:
    """Visits the operators of a program in order, and translates each into layers."""

    def __init__(self, module: nn.Module, program: Program, name: str, dynamic_sizes: Collection[str]) -> None:
        self.module, self.program, self.name = module, program, name
        self.symbols = SymbolTable(name, dynamic_sizes)
        self.values: dict[fx.Node, Any] = {}
        parameters = list(module.named_parameters(remove_duplicate=False))
        first_names: dict[int, str] = {}
        for path, tensor in parameters:
            first_names.setdefault(id(tensor), path)
        self.canonical_names = {path: first_names[id(tensor)] for path, tensor in parameters}
        parameter_nodes = {
            node: self.canonical_names[path]
            for node, (kind, path) in program.input_specs.items()
            if kind is InputKind.PARAMETER
        }
        uses: dict[str, list[ParameterUse]] = {}
        for use in self._parameter_uses(program.graph, parameter_nodes):
            for parameter in use[1]:
                uses.setdefault(parameter, []).append(use)
        self.used_parameters = uses.keys()
        self.importer = GraphImporter(name, uses)
        if program.note:
            self.importer.notes.append(program.note)

    def _parameter_uses(self, graph: fx.Graph, parameters: Mapping[fx.Node, str]) -> Iterator[ParameterUse]:
        """Yield each operator, and the names of the parameters that it takes; those of subgraphs included."""
        for node in graph.nodes:
            subgraph = _subgraph(node)
            if subgraph is not None:
                inner = placeholders(subgraph.graph)
                outer = node.args[len(node.args) - len(inner) :]
                pairs = zip(inner, outer, strict=True)
                inner_parameters = {i: parameters[o] for i, o in pairs if isinstance(o, fx.Node) and o in parameters}
                yield from self._parameter_uses(subgraph.graph, inner_parameters)
            elif node.op == "call_function":
                taken = frozenset(parameters[source] for source in node.all_input_nodes if source in parameters)
                yield str(node.target), taken

    def run(self) -> SymbolicGraph:
        """Translate the whole program."""
        for node, (kind, name) in self.program.input_specs.items():
            self._add_input(node, kind, name)
        outputs = self._run_graph(self.program.graph)
        unused = {
            path: tuple(p.shape) for path, p in self.module.named_parameters() if path not in self.used_parameters
        }
        tensors = [value for value in outputs if isinstance(value, Value)]
        return SymbolicGraph(self.importer.graph(tensors, unused=unused), self.symbols.fixed, self.symbols.tied)

    def _add_input(self, node: fx.Node, kind: InputKind, name: str) -> None:
        """Give a placeholder its value: a parameter or a buffer of the module, or one of its inputs."""
        tensor = node.meta.get("val")
        if not isinstance(tensor, torch.Tensor):
            self.values[node] = tensor
            return
        if kind is InputKind.USER_INPUT:
            self.symbols.bind(tensor)
        value = self._value(tensor)
        if kind is InputKind.PARAMETER:
            value.parameter = self.canonical_names[name]
        elif kind is InputKind.USER_INPUT:
            self.importer.inputs.append((name, value))
        else:
            value.buffer = name
        self.values[node] = value

    def _value(self, tensor: torch.Tensor) -> Value:
        return Value(self.symbols.shape(tensor), torch_element_type(tensor.dtype))

    def _run_graph(self, graph: fx.Graph) -> list[Any]:
        """Translate a graph whose placeholders have values, and return its outputs."""
        for node in graph.nodes:
            if node.op == "output":
                return [self._resolve(argument) for argument in pytree.tree_leaves(node.args)]
            if node.op == "get_attr" and node not in self.values:
                self.values[node] = self._get_attr(graph, node)
            elif node.op == "call_function":
                self.values[node] = self._call_function(node)
        return []

    def _get_attr(self, graph: fx.Graph, node: fx.Node) -> Any:
        owner = graph.owning_module
        assert owner is not None
        attribute: Any = operator.attrgetter(str(node.target))(owner)
        if isinstance(attribute, torch.Tensor):
            value = self._value(attribute)
            value.buffer = str(node.target)
            return value
        return attribute

    def _call_function(self, node: fx.Node) -> Any:
        """Return the result of an operator: a value, a list of values, or a number."""
        target: Any = node.target
        if target is operator.getitem:
            container, index = self._resolve(node.args[0]), node.args[1]
            return container[index]
        traced: Any = node.meta.get("val")
        if not any(isinstance(part, torch.Tensor) for part in pytree.tree_leaves(traced)):
            return self.symbols.size(traced) if not isinstance(traced, (tuple, list)) else None
        if not isinstance(target, torch._ops.OpOverload):
            return self._call_subgraph(node)
        several = isinstance(traced, (tuple, list))
        results = tuple(
            self._value(tensor) for tensor in (traced if several else [traced]) if isinstance(tensor, torch.Tensor)
        )
        namespace, _, name = str(target).partition(".")
        call = Call(
            name=name,
            arguments=self._arguments(target, node),
            results=results,
            module=_module_call(node, next(self._parameters_of(node), None)),
            origin=_origin(node),
            builder=self.importer,
        )
        table = translators() if namespace == "aten" else {}
        decomposed = None if name in table else _decompose(node)
        if decomposed is not None:
            outputs = self._run_subgraph(decomposed, [self.values[source] for source in _tensor_inputs(node)])
            return outputs if several else outputs[0]
        op_type = (name if namespace == "aten" else str(target)).removesuffix(".default")
        values = self.importer.translate(call, table, op_type)
        return values if several else next(iter(values), None)

    def _parameters_of(self, node: fx.Node) -> Iterator[str]:
        """Yield the names of the parameters that an operator takes."""
        for source in node.all_input_nodes:
            value = self.values.get(source)
            if isinstance(value, Value) and value.parameter:
                yield value.parameter

    def _call_subgraph(self, node: fx.Node) -> Any:
        """Translate an operator that runs a graph, such as a block under no_grad, and return the graph's outputs."""
        subgraph = _subgraph(node)
        if subgraph is None:
            raise CostcalcError(
                f"{self.name} cannot be imported: it calls {node.target}, whose branch depends on data; "
                "import the module without it"
            )
        arguments = node.args[len(node.args) - len(placeholders(subgraph.graph)) :]
        return self._run_subgraph(subgraph.graph, [self._resolve(argument) for argument in arguments])

    def _run_subgraph(self, graph: fx.Graph, arguments: Sequence[Any]) -> list[Any]:
        """Translate a graph that is called with `arguments`, and return its outputs."""
        self.values.update(zip(placeholders(graph), arguments, strict=True))
        return self._run_graph(graph)

    def _arguments(self, target: torch._ops.OpOverload, node: fx.Node) -> dict[str, Any]:
        """Return all arguments of a call by name, with the schema's defaults."""
        arguments: dict[str, Any] = {}
        for index, argument in enumerate(target._schema.arguments):
            if index < len(node.args):
                value = node.args[index]
            elif argument.name in node.kwargs:
                value = node.kwargs[argument.name]
            else:
                value = argument.default_value if argument.has_default_value() else None
            arguments[argument.name] = self._resolve(value)
        return arguments

    def _resolve(self, argument: Any) -> Any:
        """Return an argument in the form that `Call` documents."""
        if isinstance(argument, fx.Node):
            return self.values[argument]
        if isinstance(argument, (list, tuple)):
            return [self._resolve(part) for part in argument]
        if isinstance(argument, slice):
            return slice(*map(self._resolve, (argument.start, argument.stop, argument.step)))
        if isinstance(argument, torch.dtype):
            return str(argument).removeprefix("torch.")
        return self.symbols.size(argument)


def _subgraph(node: fx.Node) -> fx.GraphModule | None:
    """Return the graph that an operator runs, if it runs one: a block under no_grad, or a checkpointed one."""
    owner = node.graph.owning_module
    if node.op != "call_function" or isinstance(node.target, torch._ops.OpOverload) or owner is None:
        return None
    attributes = [a for a in node.args if isinstance(a, fx.Node) and a.op == "get_attr"]
    values = [operator.attrgetter(str(attribute.target))(owner) for attribute in attributes]
    graphs = [value for value in values if isinstance(value, fx.GraphModule)]
    return graphs[0] if len(graphs) == 1 else None


def _tensor_inputs(node: fx.Node) -> list[fx.Node]:
    """Return the inputs of an operator that are tensors."""
    return [source for source in node.all_input_nodes if isinstance(source.meta.get("val"), torch.Tensor)]


# -- decomposition ----------------------------------------------------------------------------------------------------


@cache
def _decompositions() -> dict[Any, Any]:
    """Return torch's decompositions of the operators that have no translator."""
    table: Any = torch.export.default_decompositions()
    return {op: decomposition for op, decomposition in table.items() if not _has_translator(op)}


def _has_translator(op: Any) -> bool:
    namespace, _, name = str(op).partition(".")
    return namespace == "aten" and name in translators()


def _decompose(node: fx.Node) -> fx.Graph | None:
    """Decompose an operator into operators with translators, in its module; None if torch cannot."""
    tensors = _tensor_inputs(node)

    def run(*inputs: torch.Tensor) -> Any:
        values = dict(zip(tensors, inputs, strict=True))
        args, kwargs = fx.node.map_arg(
            (node.args, node.kwargs), lambda source: values.get(source, source.meta.get("val"))
        )
        return cast(Any, node.target)(*args, **kwargs)

    try:
        with torch.no_grad():
            graph = make_fx(run, _decompositions())(*[source.meta["val"] for source in tensors]).graph
    except Exception:  # decompositions raise any type for arguments that they do not support
        return None
    for step in graph.nodes:
        if step.op == "call_function" and isinstance(step.target, torch._ops.OpOverload):
            if not _has_translator(step.target):
                return None
            step.meta |= {name: node.meta[name] for name in ("nn_module_stack", "stack_trace") if name in node.meta}
    return graph


# -- where an operator is called --------------------------------------------------------------------------------------


def _module_call(node: fx.Node, parameter: str | None) -> ModuleCall:
    """Return the module call that an operator runs in, or the module of its first parameter if torch recorded none."""
    stack = list((node.meta.get("nn_module_stack") or {}).items())
    stack = [(key, path, module_class) for key, (path, module_class) in stack if key.startswith("L__self__")]
    if not stack:
        return ModuleCall(tuple((parameter or "").split(".")[:-1]))
    call_indices: list[int] = []
    path = ""
    for key, path, _ in stack:
        depth = len(path.split(".")) if path else 0
        call_index = int(key.rpartition("@")[2]) if re.search(r"@\d+$", key) else 0
        call_indices += [0] * (depth - len(call_indices))
        if depth:
            call_indices[depth - 1] = call_index
    module_class = stack[-1][2]
    class_name = (
        module_class if isinstance(module_class, str) else f"{module_class.__module__}.{module_class.__qualname__}"
    )
    return ModuleCall(tuple(path.split(".")) if path else (), class_name, tuple(call_indices))


def _origin(node: fx.Node) -> str | None:
    """Return the file and line of the call, the innermost one outside torch.nn."""
    frames = re.findall(r'File "([^"]+)", line (\d+)', node.meta.get("stack_trace") or "")
    outside = [frame for frame in frames if "/torch/nn/" not in frame[0]] or frames
    return f"{outside[-1][0].rpartition('/')[2]}:{outside[-1][1]}" if outside else None
