"""Edits of a graph by a design move.

A rule searches the original graph; its edits are collected, and `finish` applies all of them at once. A rule therefore
never sees layers that it changed, and the order of edits does not matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import chain, count, takewhile
from typing import NamedTuple, TypeVar

from costcalc.core.errors import CostcalcError
from costcalc.core.sizes import Relation, Size, check_relation, is_array, statically_known
from costcalc.ir.graph import Graph, Node
from costcalc.ir.op import Assumption, Op
from costcalc.ir.ops import OPS
from costcalc.ir.ops.activation import Activation, Prelu
from costcalc.ir.ops.conv import Conv2d, WeightedOp

_OpType = TypeVar("_OpType", bound=Op)


# Reasons to skip a layer.
SHARED = "its parameters are shared with another layer"
WEIGHT_INPUTS = "its weights are inputs, not parameters"


class Change(NamedTuple):
    """A layer, or a module by its prefix, that a rule changed."""

    path: str
    description: str


class Skip(NamedTuple):
    """A layer, or a module by its prefix, that a rule did not change, with the reason."""

    path: str
    reason: str


class ConvUnit(NamedTuple):
    """A layer with weights, with its batch norm and activation if these are its only readers."""

    layer: Node
    norm: Node | None
    activation: Node | None

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes of the unit in execution order."""
        return tuple(node for node in self if node is not None)

    @property
    def last(self) -> Node:
        """The node with the output of the unit."""
        return self.nodes[-1]

    def with_op(
        self, op: Op, source: str, names: tuple[str, str, str], *, add_activation: bool = False
    ) -> tuple[Node, ...]:
        """Return the nodes of a unit like this one with another op, on the tensor `source`.

        `names` are the names of its layer, batch norm and activation. The unit has a batch norm and an activation if
        this one has; with `add_activation`, it has a ReLU if this one has no activation. A PReLU with a slope for each
        channel gets a slope for each channel of the new op.
        """
        layer = replace(self.layer, name=names[0], op=op, inputs=(source,))
        norm = None if self.norm is None else replace(self.norm, name=names[1], inputs=(layer.name,))
        before = (norm or layer).name
        activation = None
        if self.activation is None and add_activation:
            activation = Node(names[2], OPS["relu"](), (before,), origin=self.layer.origin)
        elif self.activation is not None:
            function = self.activation.op
            if (
                isinstance(function, Prelu)
                and isinstance(op, Conv2d)
                and not check_relation(function.num_parameters, "==", 1).answer
            ):
                function = replace(function, num_parameters=op.out_channels)
            activation = replace(self.activation, name=names[2], op=function, inputs=(before,))
        return ConvUnit(layer, norm, activation).nodes


class _NodeGroup(NamedTuple):
    """New nodes, and the names that refer to tensors of the group rather than of the original graph."""

    nodes: tuple[Node, ...]
    own: frozenset[str]


class Edit:
    """The original graph, the layers that a rule may change, and the edits it requests.

    `node` has the layers of `graph` by name, `readers` the layers that read each tensor.
    """

    def __init__(self, graph: Graph, at: Sequence[str] = ()) -> None:
        self.graph = graph
        self.node = {node.name: node for node in graph.nodes}
        self.readers: dict[str, list[Node]] = {name: [] for name in graph.shapes}
        for node in graph.nodes:
            for name in dict.fromkeys(node.inputs):
                self.readers[name].append(node)
        self.changes: list[Change] = []
        self.skips: list[Skip] = []
        self.rewrite_assumptions: list[Assumption] = []
        self._patterns = at
        self._first: list[_NodeGroup] = []
        self._groups: dict[str, _NodeGroup] = {}  # by the name of the node that they replace
        self._removed: set[str] = set()
        self._replaced: dict[str, str] = {}  # by tensor: the new tensor for its readers
        self._bypassed: dict[str, str] = {}  # by removed tensor: the original tensor for its readers
        self._prefixes = {prefix for name in graph.shapes for prefix in prefixes(name)}
        self._sharing = {name for node in graph.nodes if node.shares for name in (node.name, node.shares)}

    # -- queries ---------------------------------------------------------------------------------------------------

    def selects(self, path: str) -> bool:
        """Whether changes are allowed there: there are no patterns, or one matches the path or a prefix of it."""
        return not self._patterns or any(matches(path, pattern) for pattern in self._patterns)

    def layers(self, kind: type[_OpType]) -> Iterator[tuple[Node, _OpType]]:
        """The selected layers of a kind and their ops in execution order; skips shared parameters and weight inputs."""
        for node in self.graph.nodes:
            if isinstance(node.op, kind) and self.selects(node.name):
                if self.shares(node):
                    self.skip(node.name, SHARED)
                elif has_weight_inputs(node):
                    self.skip(node.name, WEIGHT_INPUTS)
                else:
                    yield node, node.op

    def reader(self, node: Node) -> Node | None:
        """The only reader of a node's output; None if it has several readers or none, or is an output of the graph."""
        readers = self.readers[node.name]
        return readers[0] if len(readers) == 1 and node.name not in self.graph.outputs else None

    def shares(self, node: Node) -> bool:
        """Whether a layer shares its parameters with another."""
        return node.name in self._sharing

    def decide(self, left: Size, relation: Relation, right: Size, *, otherwise: bool) -> bool:
        """Return whether a relation between sizes is true, for a condition that determines the new network.

        If symbols leave it open, the answer is `otherwise`, which becomes an assumption of the new graph.

        Raises:
            CostcalcError: the sizes are arrays whose elements would give different networks.
        """
        answer = statically_known(left, relation, right)
        if answer is not None:
            return answer
        if is_array(left) or is_array(right):
            raise CostcalcError(
                f"elements of an array of sizes would change {self.graph.name} in different ways: pass one at a time"
            )
        if otherwise:
            self.rewrite_assumptions.append(Assumption(left, relation, right))
        else:
            assert relation == "=="
            self.rewrite_assumptions.append(Assumption(left, ">=", 2) if right == 1 else Assumption(left, "!=", right))
        return otherwise

    def module_path(self, join: Node, layers: Iterable[Node]) -> str:
        """The path of a module: the group with its layers and with no join of another module, or else its join."""
        own = {join.name: join} | {node.name: node for node in layers}
        group, kind = common_group(own), type(join.op)
        alone = self._layer_counts[group, kind] == sum(type(node.op) is kind for node in own.values())
        return group if group and alone else join.name

    def group(self, layers: Sequence[Node]) -> str | None:
        """The group that consists of these layers, if there are two or more and such a group exists."""
        group = common_group(node.name for node in layers)
        return group if group and len(layers) > 1 and self._layer_counts[group, Op] == len(layers) else None

    @cached_property
    def _layer_counts(self) -> Counter[tuple[str, type[Op]]]:
        """The number of layers of each type in each group; for the type Op, all layers."""
        return Counter(
            (prefix, kind)
            for node in self.graph.nodes
            for prefix in prefixes(node.name)
            for kind in (type(node.op), Op)
        )

    def unit(self, layer: Node) -> ConvUnit:
        """Return a layer with the batch norm and the activation that follow it."""
        norm = self._follower(layer, OPS["batch_norm2d"])
        activation = self._follower(norm or layer, Activation)
        return ConvUnit(layer, norm, activation)

    def _follower(self, node: Node, kind: type[Op]) -> Node | None:
        reader = self.reader(node)
        alone = reader is not None and len(reader.inputs) == 1 and reader.name not in self._sharing
        return reader if alone and reader is not None and isinstance(reader.op, kind) else None

    # -- results ---------------------------------------------------------------------------------------------------

    def change(self, path: str, description: str) -> None:
        """Report a layer or module as changed."""
        self.changes.append(Change(path, description))

    def skip(self, path: str, reason: str) -> None:
        """Report a layer or module as not changed."""
        self.skips.append(Skip(path, reason))

    # -- editing ---------------------------------------------------------------------------------------------------

    def replace(self, old: Sequence[Node], new: Sequence[Node] = ()) -> None:
        """Replace nodes in execution order, of which only the last has other readers.

        Readers of the last of `old` read the last of `new` instead or, if `new` is empty, the input of the first of
        `old`. New nodes may refer to each other, and to tensors before the last of `old` by their original names.
        """
        assert not self._removed & {node.name for node in old}, "two edits of one layer"
        last = old[-1].name
        self._removed.update(node.name for node in old)
        self._groups[last] = _NodeGroup(tuple(new), frozenset(node.name for node in new))
        if new:
            self._replaced[last] = new[-1].name
        else:
            self._bypassed[last] = old[0].inputs[0]

    def insert_after(self, node: Node, new: Sequence[Node]) -> None:
        """Insert nodes between `node` and its readers."""
        self.replace([node], [node, *new])

    def put_first(self, tensor: str, new: Sequence[Node]) -> None:
        """Insert nodes between an input of the graph and its readers."""
        self._first.append(_NodeGroup(tuple(new), frozenset([tensor, *(node.name for node in new)])))
        self._replaced[tensor] = new[-1].name

    def dependencies(self, outputs: Iterable[str]) -> set[str]:
        """The names of these outputs, of all tensors they depend on, and of the layers whose parameters they share."""
        needed = set(outputs)
        for node in reversed(self.graph.nodes):
            if node.name in needed:
                needed.update(node.inputs, [node.shares] if node.shares else [])
        return needed

    def prune(self, outputs: Collection[str]) -> list[Node]:
        """Remove outputs, and the layers on which no other output depends; return these layers."""
        remaining = self.dependencies(name for name in self.graph.outputs if name not in outputs)
        only = self.dependencies(outputs) - remaining
        dropped = [node for node in self.graph.nodes if node.name in only]
        self._removed.update(node.name for node in dropped)
        return dropped

    def unused_path(self, path: str) -> str:
        """Return this path, or this path with a number, such that it is no layer or group; it is then reserved."""
        unused = next(name for name in chain([path], (f"{path}_{i}" for i in count(2))) if name not in self._prefixes)
        self._prefixes.add(unused)
        return unused

    def finish(self, name: str) -> Graph:
        """Return the graph with all edits, or the original one if there are none.

        Raises:
            CostcalcError: the shapes of the new layers are inconsistent.
        """
        assumptions = (*self.graph.rewrite_assumptions, *dict.fromkeys(self.rewrite_assumptions))
        if not self._removed and not self._first:
            return replace(self.graph, rewrite_assumptions=assumptions) if self.rewrite_assumptions else self.graph
        nodes = [self._resolved(node, group.own) for group in self._first for node in group.nodes]
        for node in self.graph.nodes:
            if node.name in self._groups:
                group = self._groups[node.name]
                nodes += [self._resolved(new, group.own) for new in group.nodes]
            elif node.name not in self._removed:
                nodes.append(self._resolved(node, frozenset()))
        remaining = (name for name in self.graph.outputs if name in self._groups or name not in self._removed)
        outputs = tuple(dict.fromkeys(map(self._read, remaining)))
        before = self.graph
        return replace(before, name=name, nodes=tuple(nodes), outputs=outputs, rewrite_assumptions=assumptions)

    def _resolved(self, node: Node, own: frozenset[str]) -> Node:
        inputs = tuple([name if name in own else self._read(name) for name in node.inputs])
        return node if inputs == node.inputs else replace(node, inputs=inputs)

    def _read(self, tensor: str) -> str:
        """The tensor of the new graph for the readers of a tensor of the original graph."""
        while tensor in self._bypassed:
            tensor = self._bypassed[tensor]
        return self._replaced.get(tensor, tensor)


def has_weight_inputs(node: Node) -> bool:
    """Whether a layer's weights are inputs, not parameters."""
    return isinstance(node.op, WeightedOp) and len(node.inputs) > node.op.num_data_inputs


def prefixes(path: str) -> list[str]:
    """The groups that contain a path, outermost first, and the path itself."""
    parts = path.split("/")
    return ["/".join(parts[:i]) for i in range(1, len(parts) + 1)]


def common_group(paths: Iterable[str]) -> str:
    """The innermost group that contains all paths, or the path if there is one; empty if there is no such group."""
    levels = zip(*(path.split("/") for path in paths), strict=False)
    return "/".join(level[0] for level in takewhile(lambda level: len(set(level)) == 1, levels))


def matches(path: str, pattern: str) -> bool:
    """Whether a path, or a group that contains it, matches a pattern such as `inception4*`."""
    return any(fnmatchcase(prefix, pattern) for prefix in prefixes(path))
