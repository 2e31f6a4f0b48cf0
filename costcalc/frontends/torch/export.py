"""Any torch module as a graph, by torch.export: nothing is computed, and the module is left as it is.

The export runs the module once on tensors without data. Each operation of what it gives is translated by its name
(`importers.aten`), at the module that it runs in, so that the paths of layers are those of the user's own code.
"""

from __future__ import annotations

import io
import logging
import operator
import os
import re
import sys
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from functools import cache
from textwrap import shorten
from typing import Any, NamedTuple, cast

import sympy
import torch
from torch import fx, nn
from torch.export.graph_signature import InputKind
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from torch.utils import _pytree as pytree
from torch.utils._sympy import functions as of_torch

import costcalc
from costcalc.core.dtypes import element_type_of
from costcalc.core.errors import CostcalcError
from costcalc.core.sizes import Shape, as_size
from costcalc.frontends.aten.base import translators
from costcalc.frontends.call import Call, ModuleCall, Value
from costcalc.frontends.free_sizes import SymbolicGraph, symbol_of
from costcalc.frontends.importer import GraphImporter, ParameterUse
from costcalc.ir.graph import Graph, Input, resolve_dim_names

_LIBRARY_PATHS = (
    *(os.path.dirname(os.path.abspath(file)) + os.sep for file in (torch.__file__, os.__file__)),
    os.path.dirname(os.path.abspath(costcalc.__file__)) + os.sep,  # costcalc
    "<frozen",
)


def from_torch(module: nn.Module, *args: Any, name: str | None = None, **kwargs: Any) -> Graph:
    """The graph of a module that is called with these tensors; keywords are the call's.

    Nothing is computed and no weights are copied: the module may be on any device, `meta` among them, and the example
    is on the same. It is taken as it is in evaluation mode, and left as it was. Operations that nobody knows become
    `unknown` layers, so that totals are lower bounds. Raises CostcalcError where torch cannot export the module, with
    its reason and what to try.
    """
    try:
        return trace(module, args, kwargs, name=name).graph
    except CostcalcError as error:
        if len(args) == 1 and isinstance(args[0], (tuple, list)):
            message = f"{error}\nit was called with one argument; from_torch(module, *example) calls it with each"
            raise CostcalcError(message) from error
        raise


def trace(
    module: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None = None,
    *,
    name: str | None = None,
    dynamic_sizes: Collection[str] = (),
) -> SymbolicGraph:
    """The graph of a module, with the sizes of its inputs that are named in `dynamic` as free as it leaves them.

    The sizes of an image are batch, channels, height and width; of a tensor of indices batch and sequence; of a
    sequence of vectors batch, sequence and features. Raises CostcalcError as `from_torch` does, and for a name that no
    input has a size of.
    """
    name = name or type(module).__name__
    if any(isinstance(part, torch.jit.ScriptModule) for part in module.modules()):
        raise CostcalcError(f"{name} cannot be imported: it is TorchScript; import the nn.Module that it was made of")
    kwargs = dict(kwargs or {})
    with _preserve_state(module), _silence_torch(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = _export(module, tuple(args), kwargs, name, dynamic_sizes)
        return _ExportInterpreter(module, program, name, dynamic_sizes).run()


@contextmanager
def _preserve_state(module: nn.Module) -> Iterator[None]:
    """The module in evaluation mode; afterwards all of its attributes are as they were before."""
    before = [
        (
            vars(part),
            dict(vars(part)),
            [(table, dict(table)) for table in (part._parameters, part._buffers, part._modules)],
        )
        for part in module.modules()
    ]
    module.eval()
    try:
        yield
    finally:
        for attributes, saved, tables in before:
            for table, entries in [*tables, (attributes, saved)]:
                table.clear()
                table.update(entries)


@contextmanager
def _silence_torch() -> Iterator[None]:
    """Without what torch logs, and without what it prints of what it refuses: that is told in an error, once."""
    loggers = [logger for name, logger in logging.root.manager.loggerDict.items() if name.partition(".")[0] == "torch"]
    handlers = {handler: handler.level for logger in loggers for handler in getattr(logger, "handlers", ())}
    printed = io.StringIO()
    for handler in handlers:
        handler.setLevel(logging.CRITICAL + 1)
    try:
        with redirect_stderr(printed):
            yield
    finally:
        for handler, level in handlers.items():
            handler.setLevel(level)
    sys.stderr.write(printed.getvalue())  # by the module's own code


class _Program(NamedTuple):
    """Operations in running order, what the first of them are given (a kind, and a name), and what is to be said."""

    graph: fx.Graph
    input_specs: Mapping[fx.Node, tuple[InputKind, str]]
    note: str | None = None


def _export(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], name: str, dynamic_sizes: Collection[str]
) -> _Program:
    """The operations of a module: exported by torch or, where it cannot, those that one run is seen to call."""
    free = _mark_dynamic(args, kwargs, name, dynamic_sizes, distinct=True)
    try:
        exported = torch.export.export(module, *free[:2], dynamic_shapes=free[2], strict=False)
    except Exception as error:  # whatever the module's own code raises
        try:
            if isinstance(error, GuardOnDataDependentSymNode) and all(t.is_meta for t in module.state_dict().values()):
                raise  # one run would not know either: no tensor has a value
            if not dynamic_sizes:
                return _trace_run(module, args, kwargs, error)
            free = _mark_dynamic(args, kwargs, name, dynamic_sizes, distinct=False)  # it may allow no others
            exported = torch.export.export(module, *free[:2], dynamic_shapes=free[2], strict=False)
        except Exception:
            raise CostcalcError(_export_error(name, error)) from error
    places = zip(_placeholders(exported.graph), exported.graph_signature.input_specs, strict=True)
    return _Program(exported.graph, {node: (spec.kind, str(spec.target or node.name)) for node, spec in places})


def _trace_run(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception) -> _Program:
    """What one run of a module calls, on tensors without data; tensors in its result are found wherever they are."""
    flat, structure = pytree.tree_flatten((args, kwargs))
    tensors = [value for value in flat if isinstance(value, torch.Tensor)]

    def run(*given: torch.Tensor) -> list[torch.Tensor]:
        rest = iter(given)
        filled = [next(rest) if isinstance(value, torch.Tensor) else value for value in flat]
        arguments, named = pytree.tree_unflatten(filled, structure)
        return list(_tensors_in(module(*arguments, **named)))

    traced = make_fx(run, tracing_mode="fake", pre_dispatch=True, _allow_non_fake_inputs=True)(*tensors)
    names = {id(tensor): (InputKind.PARAMETER, path) for path, tensor in reversed([*module.named_parameters()])}
    names |= {id(tensor): (InputKind.BUFFER, path) for path, tensor in module.named_buffers()}
    given: dict[fx.Node, tuple[InputKind, str]] = {}
    for node in traced.graph.nodes:
        if node.op == "placeholder":
            given[node] = (InputKind.USER_INPUT, f"input{len(given)}" if len(tensors) > 1 else "input")
        elif node.op == "get_attr":
            tensor = getattr(traced, str(node.target))
            node.meta["val"] = tensor
            given[node] = names.get(id(tensor), (InputKind.CONSTANT_TENSOR, str(node.target)))
    said = str(error).strip().partition("\n")[0]
    note = (
        f"torch.export refuses the model ({said}): one run was observed, and layers without parameters have no module"
    )
    return _Program(traced.graph, given, note)


def _tensors_in(result: Any, depth: int = 0) -> Iterator[torch.Tensor]:
    if isinstance(result, torch.Tensor):
        yield result
    elif depth < 10:
        parts: Any = ()
        if isinstance(result, Mapping):
            parts = result.values()
        elif isinstance(result, (list, tuple)):
            parts = result
        elif hasattr(result, "__dict__"):
            parts = vars(result).values()
        for part in parts:
            yield from _tensors_in(part, depth + 1)


def _mark_dynamic(
    args: tuple[Any, ...], kwargs: dict[str, Any], name: str, dynamic_sizes: Collection[str], *, distinct: bool
) -> tuple[tuple[Any, ...], dict[str, Any], Any]:
    """The example, and which of its sizes are free; if `apart`, they differ, for torch takes equal ones for one."""
    if not dynamic_sizes:
        return args, kwargs, None
    flat, structure = pytree.tree_flatten((args, kwargs))
    tensors = [value for value in flat if isinstance(value, torch.Tensor)]
    called = size_names(tensors)
    sizes: dict[str, int] = {}
    for tensor, names in zip(tensors, called, strict=True):
        sizes |= {size: extent for size, extent in zip(names, tensor.shape, strict=True) if size}
    unknown = [size for size in dynamic_sizes if size not in sizes]
    if unknown:
        raise CostcalcError(f"{name} has no size {unknown[0]!r}: its inputs have {', '.join(sizes)}")
    taken: set[int] = set()
    for size in dynamic_sizes:
        extent = start = max(sizes[size], 2)  # torch takes a size of 1 for fixed
        while distinct and extent in taken:
            extent += start
        taken.add(extent)
        sizes[size] = extent
    collection: Any = cast(Any, torch.export.ShapesCollection)()
    each = iter(called)
    for place, value in enumerate(flat):
        if isinstance(value, torch.Tensor):
            names = next(each)
            shape = [sizes[n] if n in dynamic_sizes else extent for n, extent in zip(names, value.shape, strict=True)]
            flat[place] = value.new_zeros(shape)
            collection[flat[place]] = {d: torch.export.Dim.AUTO for d, n in enumerate(names) if n in dynamic_sizes}
    args, kwargs = pytree.tree_unflatten(flat, structure)
    return args, kwargs, collection


def size_names(tensors: Iterable[torch.Tensor]) -> list[tuple[str, ...]]:
    """What the sizes of inputs are called; "" where they have no name."""
    return resolve_dim_names([Input("", tuple(tensor.shape), _element_type(tensor.dtype)) for tensor in tensors])


def _element_type(dtype: torch.dtype) -> str:
    return element_type_of(str(dtype).removeprefix("torch."))


def _export_error(name: str, error: Exception) -> str:
    """Why a module cannot be exported, where in its code, and what to try."""
    reason, advice = shorten(str(error).strip().partition("\n")[0], 200, placeholder=" …"), ""
    if isinstance(error, GuardOnDataDependentSymNode):
        reason = (
            f"sizes or branches depend on what is in a tensor, so that they have no number before it runs: {reason}"
        )
        advice = "\nparts where they do not can be imported alone: costcalc.from_torch(model.backbone, example)"
    else:
        reason = f"{type(error).__name__}: {reason}"
    place = source_location(error)
    return f"{name} cannot be imported: {reason}" + (f" ({place})" if place else "") + advice


def source_location(error: BaseException) -> str | None:
    """File and line of the last frame that is neither torch's, nor Python's, nor of here."""
    place, trace = None, error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith(_LIBRARY_PATHS):
            place = f"{file}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


class _ExportInterpreter:
    """Reads an exported program, operation by operation."""

    def __init__(self, module: nn.Module, program: _Program, name: str, dynamic_sizes: Collection[str]) -> None:
        self.module, self.program, self.name, self.dynamic_sizes = module, program, name, dynamic_sizes
        self.values: dict[fx.Node, Any] = {}
        self.symbols: dict[Any, Any] = {}  # torch's, and what they are called here
        self.example_sizes: dict[str, int] = {}  # what the sizes that are named have in the example
        self.fixed: dict[str, int] = {}
        self.tied: dict[str, str] = {}
        parameters = list(module.named_parameters(remove_duplicate=False))
        first: dict[int, str] = {}  # of a parameter's names
        for path, tensor in parameters:
            first.setdefault(id(tensor), path)
        self.canonical_name = {path: first[id(tensor)] for path, tensor in parameters}
        learnt = {
            node: self.canonical_name[given]
            for node, (kind, given) in program.input_specs.items()
            if kind is InputKind.PARAMETER
        }
        uses: dict[str, list[ParameterUse]] = {}
        for use in self._parameter_uses(program.graph, learnt):
            for parameter in use[1]:
                uses.setdefault(parameter, []).append(use)
        self.used_parameters = uses.keys()
        self.importer = GraphImporter(name, uses)
        if program.note:
            self.importer.notes.append(program.note)

    def _parameter_uses(self, graph: fx.Graph, named: Mapping[fx.Node, str]) -> Iterator[ParameterUse]:
        """Each operation, and the parameters that it takes by their first names; those of inner graphs included."""
        for node in graph.nodes:
            inner = _subgraph(node)
            if inner is not None:
                places = _placeholders(inner.graph)
                given = node.args[len(node.args) - len(places) :]
                pairs = zip(places, given, strict=True)
                below = {place: named[a] for place, a in pairs if isinstance(a, fx.Node) and a in named}
                yield from self._parameter_uses(inner.graph, below)
            elif node.op == "call_function":
                yield str(node.target), frozenset(named[taken] for taken in node.all_input_nodes if taken in named)

    def run(self) -> SymbolicGraph:
        """The graph, all operations read."""
        for node, (kind, name) in self.program.input_specs.items():
            self._add_input(node, kind, name)
        outputs = self._run_graph(self.program.graph)
        unused = {
            path: tuple(p.shape) for path, p in self.module.named_parameters() if path not in self.used_parameters
        }
        ends = [value for value in outputs if isinstance(value, Value)]
        return SymbolicGraph(self.importer.graph(ends, unused=unused), self.fixed, self.tied)

    def _parameters_of(self, node: fx.Node) -> Iterator[str]:
        if node.op == "call_function":
            for taken in node.all_input_nodes:
                value = self.values.get(taken)
                if isinstance(value, Value) and value.parameter:
                    yield value.parameter

    def _add_input(self, node: fx.Node, kind: InputKind, name: str) -> None:
        """What the program is given: a parameter or a buffer of the module, or one of its inputs."""
        tensor = node.meta.get("val")
        if not isinstance(tensor, torch.Tensor):
            self.values[node] = tensor
            return
        if kind is InputKind.USER_INPUT:
            self._bind_symbols(tensor)
        value = Value(self._shape(tensor), _element_type(tensor.dtype))
        if kind is InputKind.PARAMETER:
            value.parameter = self.canonical_name[name]
        elif kind is InputKind.USER_INPUT:
            self.importer.inputs.append((name, value))
        else:
            value.buffer = name
        self.values[node] = value

    def _bind_symbols(self, tensor: torch.Tensor) -> None:
        for name, size in zip(size_names([tensor])[0], tensor.shape, strict=True):
            number = size.node.hint if isinstance(size, torch.SymInt) else size
            if name not in self.dynamic_sizes or self.example_sizes.setdefault(name, number) != number:
                continue
            expression = size.node.expr if isinstance(size, torch.SymInt) else sympy.Integer(size)
            if expression.is_Integer:
                self.fixed.setdefault(name, int(expression))
                continue
            times, symbol = expression.as_coeff_Mul()
            if not symbol.is_Symbol:
                continue
            if symbol in self.symbols and self.symbols[symbol] != symbol_of(name):
                self.tied[name] = str(self.symbols[symbol])
            self.symbols.setdefault(symbol, symbol_of(name) / times)

    def _run_graph(self, graph: fx.Graph) -> list[Any]:
        """The results of a graph's operations, whose placeholders have values."""
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
        found: Any = operator.attrgetter(str(node.target))(owner)
        if isinstance(found, torch.Tensor):
            return Value(self._shape(found), _element_type(found.dtype), buffer=str(node.target))
        return found

    def _call_function(self, node: fx.Node) -> Any:
        target: Any = node.target
        if target is operator.getitem:
            whole, index = self._resolve(node.args[0]), node.args[1]
            return whole[index]
        seen: Any = node.meta.get("val")
        if not any(isinstance(part, torch.Tensor) for part in pytree.tree_leaves(seen)):
            return self._size(seen) if not isinstance(seen, (tuple, list)) else None
        if not isinstance(target, torch._ops.OpOverload):
            return self._call_subgraph(node)
        several = isinstance(seen, (tuple, list))
        results = tuple(
            Value(self._shape(tensor), _element_type(tensor.dtype))
            for tensor in (seen if several else [seen])
            if isinstance(tensor, torch.Tensor)
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
        known = translators() if namespace == "aten" else {}
        inner = None if name in known else _decompose(node)
        if inner is not None:
            ends = self._run_subgraph(inner, [self.values[taken] for taken in _tensor_inputs(node)])
            return ends if several else ends[0]
        kind = name.removesuffix(".default") if namespace == "aten" else str(target).removesuffix(".default")
        made = self.importer.translate(call, known, kind)
        return made if several else next(iter(made), None)

    def _call_subgraph(self, node: fx.Node) -> Any:
        """The results of an operation on a graph of its own, such as a block without gradients: those of the graph."""
        inner = _subgraph(node)
        if inner is None:
            raise CostcalcError(f"{self.name} cannot be imported: it uses {node.target}, whose branches depend on data")
        given = node.args[len(node.args) - len(_placeholders(inner.graph)) :]
        return self._run_subgraph(inner.graph, [self._resolve(argument) for argument in given])

    def _run_subgraph(self, inner: fx.Graph, arguments: Sequence[Any]) -> list[Any]:
        """The results of a graph of this one's operations, of what it is given."""
        self.values.update(zip(_placeholders(inner), arguments, strict=True))
        return self._run_graph(inner)

    def _arguments(self, target: torch._ops.OpOverload, node: fx.Node) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        for place, argument in enumerate(target._schema.arguments):
            if place < len(node.args):
                given = node.args[place]
            elif argument.name in node.kwargs:
                given = node.kwargs[argument.name]
            else:
                given = argument.default_value if argument.has_default_value() else None
            arguments[argument.name] = self._resolve(given)
        return arguments

    def _resolve(self, argument: Any) -> Any:
        if isinstance(argument, fx.Node):
            return self.values[argument]
        if isinstance(argument, (list, tuple)):
            return [self._resolve(part) for part in argument]
        if isinstance(argument, slice):
            return slice(*map(self._resolve, (argument.start, argument.stop, argument.step)))
        if isinstance(argument, torch.dtype):
            return str(argument).removeprefix("torch.")
        return self._size(argument)

    def _shape(self, tensor: torch.Tensor) -> Shape:
        return tuple([self._size(size) for size in tensor.shape])

    def _size(self, size: Any) -> Any:
        """A number of torch's as it is here: a size that is free is an expression in the names of sizes."""
        if not isinstance(size, torch.SymInt):
            return size
        expression = size.node.expr
        if expression.is_Integer:
            return int(expression)
        unnamed = expression.free_symbols - self.symbols.keys()
        if unnamed:
            raise CostcalcError(
                f"{self.name} cannot be imported: a tensor's size depends on what is in another tensor ({expression})"
            )
        return as_size(_replace_torch_functions(expression).subs(self.symbols))


_QUOTIENTS = (of_torch.FloorDiv, of_torch.CleanDiv)
_REMAINDERS = (of_torch.Mod, of_torch.PythonMod)


def _replace_torch_functions(expression: Any) -> Any:
    """An expression without torch's own functions of integers."""
    return expression.replace(lambda part: isinstance(part, (*_QUOTIENTS, *_REMAINDERS)), _with_floor)


def _with_floor(part: Any) -> Any:
    number, by = part.args
    quotient = sympy.floor(number / by)
    return quotient if isinstance(part, _QUOTIENTS) else number - by * quotient


def _subgraph(node: fx.Node) -> fx.GraphModule | None:
    """The graph that an operation runs, where it runs one: a block under no_grad, a checkpointed one."""
    owner = node.graph.owning_module
    if node.op != "call_function" or isinstance(node.target, torch._ops.OpOverload) or owner is None:
        return None
    places = [a for a in node.args if isinstance(a, fx.Node) and a.op == "get_attr"]
    inner = [operator.attrgetter(str(place.target))(owner) for place in places]
    graphs = [graph for graph in inner if isinstance(graph, fx.GraphModule)]
    return graphs[0] if len(graphs) == 1 else None


def _placeholders(graph: fx.Graph) -> list[fx.Node]:
    return [node for node in graph.nodes if node.op == "placeholder"]


def _tensor_inputs(node: fx.Node) -> list[fx.Node]:
    """What an operation takes that is a tensor."""
    return [taken for taken in node.all_input_nodes if isinstance(taken.meta.get("val"), torch.Tensor)]


@cache
def _decompositions() -> dict[Any, Any]:
    """How torch makes operations of others, of those that are not known themselves."""
    all_of_torch: Any = torch.export.default_decompositions()
    return {op: how for op, how in all_of_torch.items() if not _is_supported(op)}


def _is_supported(op: Any) -> bool:
    namespace, _, name = str(op).partition(".")
    return namespace == "aten" and name in translators()


def _decompose(node: fx.Node) -> fx.Graph | None:
    """The operations that torch itself makes of one, in its place; None unless all of them are known."""
    tensors = _tensor_inputs(node)

    def run(*given: torch.Tensor) -> Any:
        values = dict(zip(tensors, given, strict=True))
        arguments, keywords = fx.node.map_arg(
            (node.args, node.kwargs), lambda taken: values.get(taken, taken.meta.get("val"))
        )
        return cast(Any, node.target)(*arguments, **keywords)

    try:
        with torch.no_grad():
            graph = make_fx(run, _decompositions())(*[taken.meta["val"] for taken in tensors]).graph
    except Exception:  # whatever a decomposition raises of what it does not take
        return None
    for step in graph.nodes:
        if step.op == "call_function" and isinstance(step.target, torch._ops.OpOverload):
            if not _is_supported(step.target):
                return None
            step.meta |= {name: node.meta[name] for name in ("nn_module_stack", "stack_trace") if name in node.meta}
    return graph


def _module_call(node: fx.Node, parameter: str | None) -> ModuleCall:
    """The call of a module that an operation runs in; where that was not noted, the module that has its parameter."""
    stack = list((node.meta.get("nn_module_stack") or {}).items())
    stack = [(key, path, kind) for key, (path, kind) in stack if key.startswith("L__self__")]
    if not stack:
        return ModuleCall(tuple((parameter or "").split(".")[:-1]))
    calls: list[int] = []
    path = ""
    for key, path, _ in stack:
        depth = len(path.split(".")) if path else 0
        number = int(key.rpartition("@")[2]) if re.search(r"@\d+$", key) else 0
        calls += [0] * (depth - len(calls))
        if depth:
            calls[depth - 1] = number
    kind = stack[-1][2]
    parts = tuple(path.split(".")) if path else ()
    return ModuleCall(parts, kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}", tuple(calls))


def _origin(node: fx.Node) -> str | None:
    """File and line of the call, the last outside torch.nn."""
    places = re.findall(r'File "([^"]+)", line (\d+)', node.meta.get("stack_trace") or "")
    own = [place for place in places if "/torch/nn/" not in place[0]] or places
    return f"{own[-1][0].rpartition('/')[2]}:{own[-1][1]}" if own else None
