"""A graph on its way to another: what a rule looks at, and the edits it asks for.

A rule finds its places in the graph as it was; edits are collected, and made all at once by `finish`. So a place that
was changed is never looked at again by the rule that changed it, and the order of edits does not matter.
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


# Why a layer is left as it is.
SHARED = "its parameters are shared with another layer"
GIVEN = "its weights are not its own, but inputs"


class Change(NamedTuple):
    """A place that a rule changed: a layer, or the prefix of a module, and what became of it."""

    place: str
    did: str


class Skip(NamedTuple):
    """A place that a rule looked at and left as it was, and why."""

    place: str
    reason: str


class ConvUnit(NamedTuple):
    """A layer with weights, and the normalisation and the activation that follow it and nothing else reads."""

    layer: Node
    norm: Node | None
    activation: Node | None

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Those that are there, in running order."""
        return tuple(node for node in self if node is not None)

    @property
    def last(self) -> Node:
        """The node whose result is the unit's."""
        return self.nodes[-1]

    def again(self, op: Op, source: str, names: tuple[str, str, str]) -> tuple[Node, ...]:
        """A unit like this one round another layer, on `source`; `names` are of layer, batch norm and activation.

        It has a batch norm where this one has, and this one's activation, or ReLU. What an activation learns for each
        channel, it learns for each of the new layer's.
        """
        layer = replace(self.layer, name=names[0], op=op, inputs=(source,))
        norm = None if self.norm is None else replace(self.norm, name=names[1], inputs=(layer.name,))
        before = (norm or layer).name
        if self.activation is None:
            activation = Node(names[2], OPS["relu"](), (before,), origin=self.layer.origin)
        else:
            function = self.activation.op
            if (
                isinstance(function, Prelu)
                and isinstance(op, Conv2d)
                and not check_relation(function.num_parameters, "==", 1).answer
            ):
                function = replace(function, num_parameters=op.out_channels)
            activation = replace(self.activation, name=names[2], op=function, inputs=(before,))
        return ConvUnit(layer, norm, activation).nodes

    def alike(self, op: Op, source: str, names: tuple[str, str, str]) -> tuple[Node, ...]:
        """As `again`, and without an activation where this one has none."""
        return self.again(op, source, names)[: len(self.nodes)]


class _NodeGroup(NamedTuple):
    """New nodes, and the names that mean their own tensors when they say them."""

    nodes: tuple[Node, ...]
    own: frozenset[str]


class Edit:
    """The graph that a rule looks at, where it may change it, and what it asked for.

    `graph` is as it was; `node` has its layers by name, `readers` those that take each tensor.
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
        self._at = at
        self._first: list[_NodeGroup] = []
        self._groups: dict[str, _NodeGroup] = {}  # by the name of the node in whose place they are put
        self._gone: set[str] = set()
        self._result: dict[str, str] = {}  # by tensor: the new one that its readers read
        self._passed: dict[str, str] = {}  # by tensor: the old one that its readers read
        self._prefixes = {prefix for name in graph.shapes for prefix in prefixes(name)}
        self._sharing = {name for node in graph.nodes if node.shares for name in (node.name, node.shares)}

    # -- looking ---------------------------------------------------------------------------------------------------

    def selects(self, path: str) -> bool:
        """Whether the user's selector allows changes there: a pattern matches the path, or a prefix of it."""
        return not self._at or any(matches(path, pattern) for pattern in self._at)

    def layers(self, kind: type[_OpType]) -> Iterator[tuple[Node, _OpType]]:
        """The selected layers of a kind and their ops, in running order; one whose parameters are shared is skipped."""
        for node in self.graph.nodes:
            if isinstance(node.op, kind) and self.selects(node.name):
                if self.shares(node):
                    self.skip(node.name, SHARED)
                elif given(node):
                    self.skip(node.name, GIVEN)
                else:
                    yield node, node.op

    def reader(self, node: Node) -> Node | None:
        """The one layer that takes what a node makes; None where several do, or none, or it is an output."""
        readers = self.readers[node.name]
        return readers[0] if len(readers) == 1 and node.name not in self.graph.outputs else None

    def shares(self, node: Node) -> bool:
        """Whether a layer's parameters are another's too."""
        return node.name in self._sharing

    def decide(self, left: Size, relation: Relation, right: Size, *, otherwise: bool) -> bool:
        """Whether a relation between sizes holds: what the new network is may depend on it.

        Where it cannot be told of symbols, `otherwise` is taken, and that becomes an assumption of the new graph.
        Raises CostcalcError for an array whose elements would become different networks.
        """
        answer = statically_known(left, relation, right)
        if answer is not None:
            return answer
        if is_array(left) or is_array(right):
            raise CostcalcError(
                f"sizes of an array would change {self.graph.name} in different ways: take one at a time"
            )
        if otherwise:
            self.rewrite_assumptions.append(Assumption(left, relation, right))
        else:
            assert relation == "=="
            self.rewrite_assumptions.append(Assumption(left, ">=", 2) if right == 1 else Assumption(left, "!=", right))
        return otherwise

    def place(self, join: Node, layers: Iterable[Node]) -> str:
        """What a module is called: the group that holds its layers and no join but its own, or else its join."""
        own = {join.name: join} | {node.name: node for node in layers}
        group, kind = common(own), type(join.op)
        alone = self._held[group, kind] == sum(type(node.op) is kind for node in own.values())
        return group if group and alone else join.name

    def group(self, layers: Sequence[Node]) -> str | None:
        """The group that holds these layers, two or more, and nothing else, if there is one."""
        group = common(node.name for node in layers)
        return group if group and len(layers) > 1 and self._held[group, Op] == len(layers) else None

    @cached_property
    def _held(self) -> Counter[tuple[str, type[Op]]]:
        """How many layers of a kind each group holds; of kind Op, all."""
        return Counter(
            (prefix, kind)
            for node in self.graph.nodes
            for prefix in prefixes(node.name)
            for kind in (type(node.op), Op)
        )

    def unit(self, layer: Node) -> ConvUnit:
        """The layer with the batch norm and the activation that follow it."""
        norm = self._follower(layer, OPS["batch_norm2d"])
        activation = self._follower(norm or layer, Activation)
        return ConvUnit(layer, norm, activation)

    def _follower(self, node: Node, kind: type[Op]) -> Node | None:
        reader = self.reader(node)
        alone = reader is not None and len(reader.inputs) == 1 and reader.name not in self._sharing
        return reader if alone and reader is not None and isinstance(reader.op, kind) else None

    # -- telling ---------------------------------------------------------------------------------------------------

    def change(self, place: str, did: str) -> None:
        """Say that a place was changed."""
        self.changes.append(Change(place, did))

    def skip(self, place: str, reason: str) -> None:
        """Say that a place was left as it was."""
        self.skips.append(Skip(place, reason))

    # -- editing ---------------------------------------------------------------------------------------------------

    def replace(self, old: Sequence[Node], new: Sequence[Node] = ()) -> None:
        """Put `new` in the place of `old`, nodes in running order of which only the last is read by others.

        Who read the last of `old` reads the last of `new`; where there are none, what the first of `old` read. New
        nodes may name each other, and any tensor that is there before the last of `old`, as it was named before.
        """
        assert not self._gone & {node.name for node in old}, "two edits of one layer"
        last = old[-1].name
        self._gone.update(node.name for node in old)
        self._groups[last] = _NodeGroup(tuple(new), frozenset(node.name for node in new))
        if new:
            self._result[last] = new[-1].name
        else:
            self._passed[last] = old[0].inputs[0]

    def insert_after(self, node: Node, new: Sequence[Node]) -> None:
        """Put `new`, which read `node`, between it and what reads it."""
        self.replace([node], [node, *new])

    def put_first(self, tensor: str, new: Sequence[Node]) -> None:
        """Put `new`, which read an input of the graph, between it and what reads it."""
        self._first.append(_NodeGroup(tuple(new), frozenset([tensor, *(node.name for node in new)])))
        self._result[tensor] = new[-1].name

    def needed(self, outputs: Iterable[str]) -> set[str]:
        """The names of all tensors that these outputs are made from, and of layers whose parameters they use."""
        needed = set(outputs)
        for node in reversed(self.graph.nodes):
            if node.name in needed:
                needed.update(node.inputs, [node.shares] if node.shares else [])
        return needed

    def prune(self, outputs: Collection[str]) -> list[Node]:
        """Take outputs away from the graph, and with them the layers that nothing else needs: these are given back."""
        kept = self.needed(name for name in self.graph.outputs if name not in outputs)
        only = self.needed(outputs) - kept
        dropped = [node for node in self.graph.nodes if node.name in only]
        self._gone.update(node.name for node in dropped)
        return dropped

    def fresh(self, path: str) -> str:
        """A path that no layer has, or lies below: this one, or this one numbered."""
        found = next(name for name in chain([path], (f"{path}_{i}" for i in count(2))) if name not in self._prefixes)
        self._prefixes.add(found)
        return found

    def finish(self, name: str) -> Graph:
        """The graph with all edits made: the very same one where there are none.

        Raises CostcalcError where the layers no longer fit together.
        """
        premises = (*self.graph.rewrite_assumptions, *dict.fromkeys(self.rewrite_assumptions))
        if not self._gone and not self._first:
            return replace(self.graph, rewrite_assumptions=premises) if self.rewrite_assumptions else self.graph
        nodes = [self._resolved(node, group.own) for group in self._first for node in group.nodes]
        for node in self.graph.nodes:
            if node.name in self._groups:
                group = self._groups[node.name]
                nodes += [self._resolved(new, group.own) for new in group.nodes]
            elif node.name not in self._gone:
                nodes.append(self._resolved(node, frozenset()))
        kept = (name for name in self.graph.outputs if name in self._groups or name not in self._gone)
        outputs = tuple(dict.fromkeys(map(self._read, kept)))
        before = self.graph
        return replace(before, name=name, nodes=tuple(nodes), outputs=outputs, rewrite_assumptions=premises)

    def _resolved(self, node: Node, own: frozenset[str]) -> Node:
        inputs = tuple([name if name in own else self._read(name) for name in node.inputs])
        return node if inputs == node.inputs else replace(node, inputs=inputs)

    def _read(self, tensor: str) -> str:
        """What a reader of a tensor of the old graph reads in the new one."""
        while tensor in self._passed:
            tensor = self._passed[tensor]
        return self._result.get(tensor, tensor)


def given(node: Node) -> bool:
    """Whether a layer has inputs for its weights, and none of its own."""
    return isinstance(node.op, WeightedOp) and len(node.inputs) > node.op.num_data_inputs


def prefixes(path: str) -> list[str]:
    """The groups that a path lies in, the widest first, and the path itself."""
    parts = path.split("/")
    return ["/".join(parts[:i]) for i in range(1, len(parts) + 1)]


def common(paths: Iterable[str]) -> str:
    """The narrowest group that all paths lie in, or the path itself where it is one; empty where there is none."""
    levels = zip(*(path.split("/") for path in paths), strict=False)
    return "/".join(level[0] for level in takewhile(lambda level: len(set(level)) == 1, levels))


def matches(path: str, pattern: str) -> bool:
    """Whether a path, or a group that it lies in, matches a pattern such as `inception4*`."""
    return any(fnmatchcase(prefix, pattern) for prefix in prefixes(path))
