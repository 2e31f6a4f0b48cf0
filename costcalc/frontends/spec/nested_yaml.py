"""Write a graph as a spec for people to read and edit: nested by the paths of its layers, with blocks for repeats.

Layers that share the beginning of their paths form a group, and groups that repeat are calls of a block (see
`blocks`). Layers that cannot be grouped, such as layers of two alternating modules, are written with whole paths.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING
from typing import Any

from costcalc.core.errors import CostcalcError
from costcalc.core.sizes import is_symbolic
from costcalc.frontends.spec.blocks import BlockFinder, CallLine, GroupLines, value_key
from costcalc.frontends.spec.language import Spec
from costcalc.frontends.spec.layer_tree import LayerTree, is_reference, scope_of
from costcalc.frontends.spec.write import expression_text, to_yaml, yaml_footer, yaml_header, yaml_text
from costcalc.ir.graph import Graph


def to_spec(graph: Graph, symbolic: Graph | None = None, comment: str = "") -> str:
    """Return the spec of `graph`, nested and with blocks; reading it returns an equal graph.

    `symbolic` is the same network with symbols for some sizes of its inputs: the spec then uses their names, so that
    these sizes can be set.

    Raises:
        CostcalcError: the graph cannot be written as a spec, for example because its sizes are arrays.
    """
    for each in ([] if symbolic is None else [symbolic]) + [graph]:
        try:
            text = nested_yaml(each, _size_values(each, graph), comment)
            spec = Spec(text, "")
            # Layers without effect at these sizes, such as repeating one image, are in the symbolic network alone.
            if spec.build() == graph or (each is symbolic and spec.build(None, _symbolic_sizes(each)) == each):
                return text
        except CostcalcError:  # without names for sizes, or as a flat spec, it may still work
            continue
    text = "".join(f"# {line}\n" for line in comment.splitlines()) + to_yaml(graph)
    if Spec(text, f"{graph.name} as a spec").build() != graph:
        raise CostcalcError(f"{graph.name} cannot be written as a spec: reading it would return another network")
    return text


def nested_yaml(graph: Graph, sizes: Mapping[str, int], comment: str = "") -> str:
    """Return a graph as a spec; `sizes` are the numbers for the symbols in its shapes."""
    return yaml_header(graph, sizes, comment) + _blocks_and_layers(graph) + yaml_footer(graph)


def _symbolic_sizes(symbolic: Graph) -> dict[str, Any]:
    """Return the symbolic sizes of a graph's inputs, by name."""
    return {str(size): size for given in symbolic.inputs for size in given.shape if is_symbolic(size)}


def _size_values(symbolic: Graph, graph: Graph) -> dict[str, int]:
    """Return the value that each symbolic input size of `symbolic` has in `graph`, by name."""
    pairs = zip(symbolic.inputs, graph.inputs, strict=True)
    sizes = [pair for one, other in pairs for pair in zip(one.shape, other.shape, strict=True)]
    return {str(size): number for size, number in sizes if is_symbolic(size)}


def _blocks_and_layers(graph: Graph) -> str:
    """Return the YAML text of the sections `blocks` and `layers`."""
    finder = BlockFinder(graph)
    tree = finder.tree
    layers = _render(finder.lines(tree.items, tree.root), None, 1, tree)
    blocks: list[str] = []
    for block in finder.ordered_blocks():
        group = block.groups[0]
        body = finder.lines(group.items, scope_of(group))
        arguments = [n if d is MISSING else f"{n}={expression_text(d)}" for n, d in block.arguments.items()]
        header = f"{block.name}({', '.join(arguments)})"
        blocks += ["" if blocks else "blocks:", f"  {yaml_text(header)}:"]
        blocks += _render(body, iter(block.argument_texts), 2, tree)
    return "\n".join(["", *blocks, *([""] if blocks else []), "layers:", *layers]) + "\n"


def _render(
    lines: Sequence[CallLine | GroupLines], argument_texts: Iterator[str | None] | None, depth: int, tree: LayerTree
) -> list[str]:
    """Lines of YAML; in a block, `argument_texts` are the texts of its calls' arguments, in order."""
    names = _unnumbered_names([line.name for line in lines])
    items: list[tuple[str | None, str | list[str]]] = []  # the name, unless it is the callee's, and the content
    for name, line in zip(names, lines, strict=True):
        if isinstance(line, GroupLines):
            items.append((name, _render(line.lines, argument_texts, depth + 2, tree)))
        else:
            items.append((None if name == line.callee else name, _call_text(line, argument_texts, tree)))
    rendered: list[str] = []
    index = 0
    while index < len(items):
        item_name, content = items[index]
        key = "  " * depth + "- " + ("" if item_name is None else f"{yaml_text(item_name)}:")
        if isinstance(content, list):
            rendered += [key, *content]
            index += 1
            continue
        times = 1
        is_numbered = names[index] != lines[index].name
        while is_numbered and index + times < len(items) and items[index + times] == (item_name, content):
            times += 1
        call = yaml_text(content + (f" * {times}" if times > 1 else ""))
        rendered.append(key + (" " if item_name is not None else "") + call)
        index += times
    return rendered


def _call_text(line: CallLine, argument_texts: Iterator[str | None] | None, tree: LayerTree) -> str:
    texts: list[str] = []
    for number, argument in enumerate(line.arguments):
        text = None if argument_texts is None else next(argument_texts)
        if text is None:
            if argument.default is not MISSING and value_key(argument.value) == value_key(argument.default):
                continue
            reference = tree.reference_text(argument.value, tree.root) if is_reference(argument.value) else None
            text = reference or expression_text(argument.value)
        positional = argument.default is MISSING or (argument.name == "kernel" and len(texts) == number)
        texts.append(text if positional else f"{argument.name}={text}")
    return f"{line.callee}({', '.join(texts)})"


def _unnumbered_names(names: Sequence[str]) -> list[str]:
    """The names of siblings without the numbers that the reader adds: relu and relu for relu_1 and relu_2."""
    stems: dict[str, list[str]] = {}
    for name in names:
        match = re.fullmatch(r"(.+)_([1-9]\d*)", name)
        if match:
            stems.setdefault(match[1], []).append(match[2])
    present = {*names}
    numbered = {
        stem
        for stem, numbers in stems.items()
        if len(numbers) > 1 and stem not in present and numbers == [str(n + 1) for n in range(len(numbers))]
    }
    unnumbered = []
    for name in names:
        stem = name.rpartition("_")[0]
        is_numbered = stem in numbered and re.fullmatch(r"[1-9]\d*", name[len(stem) + 1 :])
        unnumbered.append(stem if is_numbered else name)
    return unnumbered
