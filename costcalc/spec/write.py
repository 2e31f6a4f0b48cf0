"""A graph as a spec: flat, one item a layer, so that reading it back gives an equal graph."""

from __future__ import annotations

import yaml

from costcalc.dims import is_plain
from costcalc.errors import CostcalcError
from costcalc.graph import Graph, Node
from costcalc.spec.expression import INPUT_SIZES


def to_yaml(graph: Graph) -> str:
    """The spec of `graph`, its sizes and settings fixed at what they are.

    Raises CostcalcError for a graph of arrays or expressions: a spec states numbers.
    """
    sizes = [size for _, shape, *_ in graph.inputs for size in shape]
    calls = [_call(node, before) for node, before in zip(graph.nodes, _before(graph), strict=True)]
    if not all(map(is_plain, sizes)) or not all(is_plain(s) for shape in graph.shapes.values() for s in shape):
        raise CostcalcError(f"{graph.name} has sizes that are no plain numbers: a spec states numbers")
    lines = [f"name: {_text(graph.name)}"]
    if graph.title and graph.title != graph.name:
        lines.append(f"title: {_text(graph.title)}")
    if [i.name for i in graph.inputs] == ["input"] and len(sizes) == 4:
        given = {name: size for name, size in zip(INPUT_SIZES, sizes, strict=True) if (name, size) != ("batch", 1)}
        lines.append("input: {" + ", ".join(f"{name}: {size}" for name, size in given.items()) + "}")
    else:
        lines.append("inputs:")
        lines += [f"  {_text(name)}: {list(shape)}" for name, shape, *_ in graph.inputs]
    lines += ["", "layers:"]
    lines += [f"  - {_text(node.name)}: {_text(call)}" for node, call in zip(graph.nodes, calls, strict=True)]
    if graph.outputs != (graph.nodes[-1].name,):
        lines += ["", f"outputs: [{', '.join(_text(name) for name in graph.outputs)}]"]
    return "\n".join(lines) + "\n"


def _before(graph: Graph) -> list[str]:
    """The tensor that each item runs on unless it says otherwise."""
    return [graph.inputs[0].name, *(node.name for node in graph.nodes)][:-1]


def _call(node: Node, before: str) -> str:
    call = str(node.op)
    extras = []
    if node.inputs != (before,) and (node.inputs or node.op.arity != (0, 0)):
        extras.append(f"inputs={_names(node.inputs)}")
    if node.shares is not None:
        extras.append(f"shares={node.shares!r}")
    if node.functional:
        extras.append("functional=True")
    if not extras:
        return call
    return call[:-1] + ("" if call.endswith("()") else ", ") + ", ".join(extras) + ")"


def _names(names: tuple[str, ...]) -> str:
    return repr(names[0] if len(names) == 1 else list(names))


def _text(text: str) -> str:
    """Text as YAML writes it, quoted where it would read as something else."""
    return yaml.safe_dump(text, width=10**9, allow_unicode=True).removesuffix("\n").removesuffix("\n...")
