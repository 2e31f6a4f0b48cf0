"""The layers of a graph as a tree by their paths, and the references to tensors that a spec makes in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from costcalc.frontends.spec.items import JOINS
from costcalc.ir.graph import Graph


@dataclass(eq=False)
class Leaf:
    """A layer in a list: its name there (a path, where it is in no group of the list), and its index in the graph."""

    name: str
    index: int


@dataclass(eq=False)
class Subtree:
    """Consecutive layers that share a prefix; `source` is their input tensor as a block."""

    name: str
    prefix: str
    first: int
    end: int
    source: str
    items: list[Leaf | Subtree]
    structure: int = -1  # equal for groups of the same layers with the same connections


@dataclass(frozen=True)
class Scope:
    """The layers that a list of items describes: the whole network, or a block."""

    prefix: str
    first: int
    end: int
    source: str


@dataclass(frozen=True)
class TensorReference:
    """A tensor as an argument of a call in the list below `prefix`."""

    prefix: str
    tensor: str


class LayerTree:
    """The layers of one graph, grouped by their paths."""

    def __init__(self, graph: Graph) -> None:
        self.nodes, self.main_input = graph.nodes, graph.inputs[0].name
        self.index_of = {node.name: index for index, node in enumerate(self.nodes)}
        self.inputs = {given.name for given in graph.inputs}
        self.last_below: dict[str, int] = {}  # the index of the last layer below each prefix
        for index, node in enumerate(self.nodes):
            for slash in re.finditer("/", node.name):
                self.last_below[node.name[: slash.start()]] = index
        self.root = Scope("", 0, len(self.nodes), self.main_input)
        self.items = self._items(0, len(self.nodes), "")
        self.by_structure: dict[int, list[Subtree]] = {}
        numbers: dict[Any, int] = {}
        for group in self.groups():
            group.structure = numbers.setdefault(self._structure(group), len(numbers))
            self.by_structure.setdefault(group.structure, []).append(group)

    def groups(self) -> Iterator[Subtree]:
        """All groups, each after the groups in it."""
        return _groups(self.items)

    def before(self, index: int) -> str:
        """The tensor before a layer in the order of the graph."""
        return self.nodes[index - 1].name if index else self.main_input

    def _items(self, first: int, end: int, prefix: str) -> list[Leaf | Subtree]:
        """Layers as items: one group for each name on their paths, the longest run of layers below it."""
        runs: list[tuple[str, int, int]] = []  # layers with the same next name; "" for a layer of this list itself
        leaves = set()
        for index in range(first, end):
            name, below, _ = self.nodes[index].name[len(prefix) :].partition("/")
            if not below:
                leaves.add(name)
                name = ""
            if runs and name and runs[-1][0] == name:
                runs[-1] = (name, runs[-1][1], index + 1)
            else:
                runs.append((name, index, index + 1))
        longest: dict[str, tuple[int, int]] = {}
        for name, start, stop in runs:
            if name and stop - start > 1 and name not in leaves and name not in (*JOINS, "side"):
                longest[name] = max(longest.get(name, (0, 0)), (stop - start, -start))
        items: list[Leaf | Subtree] = []
        for name, start, stop in runs:
            if name in longest and longest[name] == (stop - start, -start):
                below = f"{prefix}{name}/"
                inner = self._items(start, stop, below)
                items.append(Subtree(name, below, start, stop, self._source_of(start, stop), inner))
            else:
                items += [Leaf(self.nodes[index].name[len(prefix) :], index) for index in range(start, stop)]
        return items

    def _is_inside(self, tensor: str, first: int, end: int) -> bool:
        return first <= self.index_of.get(tensor, -1) < end

    def _source_of(self, first: int, end: int) -> str:
        """The input tensor of layers: the tensor before them if one of them reads it, else the first that they read."""
        outside = [t for n in self.nodes[first:end] for t in n.inputs if not self._is_inside(t, first, end)]
        before = self.before(first)
        return before if before in outside or not outside else outside[0]

    def _structure(self, group: Subtree) -> Any:
        """The names, ops and connections of a group's layers, equal for groups that one block can describe."""
        first, end = group.first, group.end

        def reference(tensor: str | None) -> Any:
            if tensor is None:
                return None
            if self._is_inside(tensor, first, end):
                return self.index_of[tensor] - first
            return "." if tensor == group.source else "outside"

        layers = []
        for node in self.nodes[first:end]:
            sources: Any = tuple(map(reference, node.inputs))
            if len(sources) > 1 and all(isinstance(each, str) for each in sources):
                sources = "several from outside"
            name = node.name[len(group.prefix) :]
            layers.append((name, node.op.name, node.functional, sources, reference(node.shares)))
        return tuple(layers)

    def reference_text(self, value: Any, scope: Scope, absolute: bool = False) -> str | None:
        """References as a call in `scope` writes them; None if the scope is a block and a tensor is outside it.

        In the network itself, a tensor outside the enclosing group is named from the root; with `absolute`, all are.
        """
        names = []
        for reference in references(value):
            prefix, tensor = reference.prefix, reference.tensor
            if absolute:
                name = "/" + self._relative_path(tensor, "")
            elif scope.prefix and tensor == scope.source:
                name = "../" * prefix[len(scope.prefix) :].count("/") + "."
            elif scope.prefix and not self._is_inside(tensor, scope.first, scope.end):
                return None
            elif tensor.startswith(prefix):
                name = self._relative_path(tensor, prefix)
            elif scope.prefix:
                shared = prefix
                while not tensor.startswith(shared):
                    shared = shared[: shared[:-1].rfind("/") + 1]
                name = "../" * prefix[len(shared) :].count("/") + self._relative_path(tensor, shared)
            else:
                name = "/" + self._relative_path(tensor, "")
            names.append(name)
        return repr(names) if isinstance(value, tuple) else repr(names[0])

    def _relative_path(self, path: str, prefix: str) -> str:
        """The path of a tensor below a prefix; the path of a group, if the tensor is the group's last."""
        end = path.find("/", len(prefix))
        while end > 0:
            group = path[:end]
            is_last = self.last_below[group] == self.index_of.get(path)
            if is_last and group not in self.index_of and group not in self.inputs:
                return group[len(prefix) :]
            end = path.find("/", end + 1)
        return path[len(prefix) :]


def scope_of(group: Subtree) -> Scope:
    """The scope of a group as a block."""
    return Scope(group.prefix, group.first, group.end, group.source)


def is_reference(value: Any) -> bool:
    """Whether an argument's value is a reference, or several."""
    first = value[0] if isinstance(value, tuple) and value else value
    return isinstance(first, TensorReference)


def references(value: Any) -> tuple[TensorReference, ...]:
    """The references in an argument's value."""
    return value if isinstance(value, tuple) else (value,)


def _groups(items: Iterable[Leaf | Subtree]) -> Iterator[Subtree]:
    for item in items:
        if isinstance(item, Subtree):
            yield from _groups(item.items)
            yield item
