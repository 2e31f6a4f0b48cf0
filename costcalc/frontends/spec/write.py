"""Export of a graph as a flat spec with one item per layer. Loading the spec produces an equal graph."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml

from costcalc.core.axes import IMAGE_DIM_NAMES
from costcalc.core.errors import CostcalcError
from costcalc.core.sizes import is_array, is_plain, is_symbolic
from costcalc.ir.graph import Graph, Input, Node


def to_yaml(graph: Graph) -> str:
    """Return `graph` as the YAML text of a spec, with all sizes and settings fixed at their current values.

    Raises:
        CostcalcError: a size of the graph is an array or a symbolic expression, or an input size cannot be named.
    """
    sizes = [size for shape in graph.shapes.values() for size in shape]
    if not all(map(is_plain, sizes)):
        raise CostcalcError(
            f"{graph.name} has symbolic sizes or arrays of sizes: set every size to a number to write a spec"
        )
    calls = [_call(node, before) for node, before in zip(graph.nodes, _default_inputs(graph), strict=True)]
    lines = ["", "layers:"]
    lines += [f"  - {yaml_text(node.name)}: {yaml_text(call)}" for node, call in zip(graph.nodes, calls, strict=True)]
    return yaml_header(graph) + "\n".join(lines) + "\n" + yaml_footer(graph)


def yaml_header(graph: Graph, default_sizes: Mapping[str, int] | None = None, comment: str = "") -> str:
    """Return the part of a spec that precedes its layers: a comment, the name, the title and the inputs.

    `default_sizes` maps the names of symbolic sizes to their default values.

    Raises:
        CostcalcError: an input size has no default value, is not a number or symbol, or cannot be named.
    """
    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    lines.append(f"name: {yaml_text(graph.name)}")
    if graph.title and graph.title != graph.name:
        lines.append(f"title: {yaml_text(graph.title)}")
    given: dict[str, dict[str, int]] = {}
    known: dict[str, int] = {}  # sizes with the same name must be equal
    for each in graph.inputs:
        given[each.name] = _sizes(each, default_sizes or {}, known)
        known |= given[each.name]
    if [(i.name, i.element_type) for i in graph.inputs] == [("input", "float")] and tuple(
        given["input"]
    ) == IMAGE_DIM_NAMES:
        sizes = {name: size for name, size in given["input"].items() if (name, size) != ("batch", 1)}
        lines.append(f"input: {_mapping(sizes)}")
        return "\n".join(lines) + "\n"
    entries = []
    for name, shape, holds in graph.inputs:
        sizes = given[name]
        kind = {} if holds == "float" else {"holds": holds}
        if any(map(is_symbolic, shape)) or (len(graph.inputs) == 1 and tuple(sizes) == IMAGE_DIM_NAMES):
            entry = _mapping({**sizes, **kind})
        else:
            entry = str(list(shape)) if not kind else _mapping({"shape": list(shape), **kind})
        entries.append(f"{yaml_text(name)}: {entry}")
    lines += [f"inputs: {{{entries[0]}}}"] if len(entries) == 1 else ["inputs:", *("  " + entry for entry in entries)]
    return "\n".join(lines) + "\n"


def yaml_footer(graph: Graph) -> str:
    """Return the part of a spec that follows its layers: the outputs, unless the last layer is the only one."""
    if graph.outputs == (graph.nodes[-1].name,):
        return ""
    return f"\noutputs: [{', '.join(yaml_text(name) for name in graph.outputs)}]\n"


def _mapping(entries: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{name}: {value}" for name, value in entries.items()) + "}"


def _sizes(graph_input: Input, default_sizes: Mapping[str, int], known_sizes: Mapping[str, int]) -> dict[str, int]:
    """Return the sizes of an input by name. The name is that of the symbol or, for a number, of the dimension."""
    shape: tuple[Any, ...] = graph_input.shape
    symbols = [size.name for size in shape if getattr(size, "is_Symbol", False)]
    sizes: dict[str, int] = {}
    for dim, size in enumerate(shape):
        if getattr(size, "is_Symbol", False):
            name = size.name
            if name not in default_sizes:
                raise CostcalcError(f"input {graph_input.name}: the symbolic size {name} has no default; set one")
            size = default_sizes[name]
        elif is_plain(size):
            name = graph_input.dim_names[dim]
            if not name or name in (*symbols, *default_sizes):
                name = f"size_{dim}"
            if known_sizes.get(name, size) != size:
                name = f"{re.sub(r'[^a-zA-Z0-9]+', '_', graph_input.name)}_{name}"
        else:
            kind = "an array" if is_array(size) else f"{size}"
            raise CostcalcError(
                f"input {graph_input.name} has a size that is {kind}; in a spec, a size is a number or a name"
            )
        if name in sizes or not name.isidentifier():
            what = "is the name of two sizes" if name in sizes else "cannot name a size"
            raise CostcalcError(f"{graph_input.name}: {name!r} {what}")
        sizes[name] = int(size)
    return sizes


def _default_inputs(graph: Graph) -> list[str]:
    """Return the default input of each node: the output of the preceding node, or the first network input."""
    return [graph.inputs[0].name, *(node.name for node in graph.nodes)][:-1]


def _call(node: Node, default_input: str) -> str:
    call = str(node.op)
    extras = []
    if node.inputs != (default_input,) and (node.inputs or node.op.arity != (0, 0)):
        extras.append(f"inputs={_names(node.inputs)}")
    if node.shares is not None:
        extras.append(f"shares={_names((node.shares,))}")
    if node.functional:
        extras.append("functional=True")
    if not extras:
        return call
    return call[:-1] + ("" if call.endswith("()") else ", ") + ", ".join(extras) + ")"


def _names(names: tuple[str, ...]) -> str:
    names = tuple(
        "/" + name if name.startswith(".") else name for name in names
    )  # a leading dot is a path relative to the group
    return repr(names[0] if len(names) == 1 else list(names))


def yaml_text(text: str) -> str:
    """Return `text` as a YAML scalar, with quotes if YAML would resolve it to another value."""
    return yaml.safe_dump(text, width=10**9, allow_unicode=True).removesuffix("\n").removesuffix("\n...")


def expression_text(value: Any) -> str:
    """Return a value as an expression of the spec language.

    Raises:
        CostcalcError: the value is an array, or an expression that the spec language does not support.
    """
    if isinstance(value, (tuple, list)):
        return "(" + ", ".join(map(expression_text, value)) + "," * (len(value) == 1) + ")"
    if is_symbolic(value):
        return _expression(value)
    if is_array(value):
        raise CostcalcError("a layer has arrays for sizes: a spec states numbers")
    return repr(value)


def _expression(size: Any) -> str:
    """Return a symbolic size as an expression with sums, products, powers and floor divisions."""
    if size.is_Integer:
        return str(size)
    if size.is_Symbol:
        return str(size.name)
    kind = type(size).__name__
    if kind == "Add":
        terms = [_expression(term) for term in size.as_ordered_terms()]
        return " + ".join(terms).replace("+ -", "- ")
    if kind == "Mul":
        number, rest = size.as_coeff_Mul()
        # The division is exact: a check or an assumption of the graph ensures it.
        if number.is_Rational and not number.is_Integer:
            return f"{_factor(number.p * rest)} // {number.q}"
        if number == -1:
            return f"-{_factor(rest)}"
        return " * ".join(map(_factor, size.as_ordered_factors()))
    if kind == "Pow" and size.exp.is_Integer and 1 < size.exp < 5:
        return " * ".join([_factor(size.base)] * int(size.exp))
    if kind == "floor":
        above, below = size.args[0].together().as_numer_denom()
        return f"{_factor(above)} // {_factor(below)}"
    raise CostcalcError(f"the size {size} cannot be said in a spec")


def _factor(size: Any) -> str:
    text = _expression(size)
    return text if size.is_Symbol or (size.is_Integer and size >= 0) else f"({text})"


def symbol_names(graph: Graph) -> Iterator[str]:
    """Yield the names of the symbols in the shapes of a graph. A name can occur more than once."""
    for shape in graph.shapes.values():
        yield from _symbols(shape)


def _symbols(sizes: Iterable[Any]) -> Iterator[str]:
    for size in sizes:
        if is_symbolic(size):
            yield from (symbol.name for symbol in size.free_symbols)
