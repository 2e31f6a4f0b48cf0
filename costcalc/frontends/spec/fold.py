"""A graph as a spec that people read and edit: nested as its layers' paths are, with blocks where parts repeat.

Layers that share the beginning of their paths are a group. Groups that hold the same layers, wired alike, are calls of
one block; what differs between them are its arguments. A layer of a block is found relative to the block, so that one
body serves all of them: `.` is what the block runs on, `../a` a layer beside it. Whatever no group can say, such as
layers of two modules that alternate, is written by the layer's whole path.
"""

from __future__ import annotations

import keyword
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, replace
from typing import Any

from costcalc.core.errors import CostcalcError
from costcalc.core.sizes import is_symbolic
from costcalc.frontends.spec.expression import CALL_KEYWORDS
from costcalc.frontends.spec.items import JOINS
from costcalc.frontends.spec.language import Spec
from costcalc.frontends.spec.write import expression_text, symbol_names, to_yaml, yaml_footer, yaml_header, yaml_text
from costcalc.ir.graph import Graph
from costcalc.ir.op import Op
from costcalc.ir.ops import OPS

MAX_BLOCK_ARGUMENTS = 12  # of a block: with more of them its calls say less than its layers
MAX_FLAT_LAYERS = 3  # a group of so few layers that starts elsewhere than at the layer before is written by their paths

_ARGUMENT_NAMES = {"out_channels": "channels", "out_features": "features", "kernel_size": "kernel"}
_SIZE_WORDS = ("channels", "features", "size", "groups", "end", "start", "length")  # sizes, the best name first
_RESERVED_WORDS = (*CALL_KEYWORDS, "skip", "side", "true", "false", "null", *JOINS)


@dataclass(eq=False)
class _Leaf:
    """A layer in a list: the name it has there (a path, where no group has it), and its place in the graph."""

    name: str
    index: int


@dataclass(eq=False)
class _Subtree:
    """Layers, one after another, that share a prefix; `start` is the tensor that it runs on as a block."""

    name: str
    prefix: str
    first: int
    end: int
    source: str
    items: list[_Leaf | _Subtree]
    structure: int = -1  # groups of one kind hold the same layers, wired alike


@dataclass(frozen=True)
class _Scope:
    """Where a list of items stands: the whole network, or a block."""

    prefix: str
    first: int
    end: int
    source: str


@dataclass(frozen=True)
class _TensorReference:
    """A tensor, as a call in the list below `prefix` takes it."""

    prefix: str
    tensor: str


@dataclass
class _CallArgument:
    """An argument of a call: of which name, with what value, left out where that is the default."""

    name: str
    value: Any
    default: Any = MISSING
    owner: str = ""  # the path of the call within the block


@dataclass
class _CallLine:
    """A call, with what it would be named."""

    name: str
    callee: str
    arguments: list[_CallArgument]


@dataclass
class _GroupLines:
    """A group that is written where it stands."""

    name: str
    lines: list[_CallLine | _GroupLines]


@dataclass
class _BlockPlan:
    """A block: its name, its arguments with their defaults, and what each slot of its body says (None: its value)."""

    name: str
    groups: list[_Subtree]
    arguments: dict[str, Any] = field(default_factory=dict)  # MISSING: it must be given
    argument_texts: list[str | None] = field(default_factory=list)
    call_values: dict[int, dict[str, Any]] = field(
        default_factory=dict
    )  # the arguments' values, by a group's first layer


def to_spec(graph: Graph, symbolic: Graph | None = None, comment: str = "") -> str:
    """The spec of `graph`, nested and with blocks; reading it back gives an equal graph.

    `free` is the same network with symbols for some sizes of its inputs: the spec is then in their names, so that it
    takes other sizes. Raises CostcalcError for a graph that cannot be said, such as one of arrays.
    """
    for each in ([] if symbolic is None else [symbolic]) + [graph]:
        try:
            text = nested_yaml(each, _size_values(each, graph), comment)
            spec = Spec(text, "")
            # what does nothing at these numbers, such as repeating one image, is in the free network alone
            if spec.build() == graph or (each is symbolic and spec.build(None, _symbolic_sizes(each)) == each):
                return text
        except CostcalcError:  # what cannot be folded, or not with names for sizes, may still be said
            continue
    text = "".join(f"# {line}\n" for line in comment.splitlines()) + to_yaml(graph)
    if Spec(text, f"{graph.name} as a spec").build() != graph:
        raise CostcalcError(f"{graph.name} cannot be said as a spec: it would be another network")
    return text


def nested_yaml(graph: Graph, sizes: Mapping[str, int], comment: str = "") -> str:
    """A graph as a spec; `sizes` are the numbers of the symbols that it is in."""
    return yaml_header(graph, sizes, comment) + _BlockFinder(graph).text() + yaml_footer(graph)


def _symbolic_sizes(symbolic: Graph) -> dict[str, Any]:
    """The input sizes that a graph leaves free, by name."""
    return {str(size): size for given in symbolic.inputs for size in given.shape if is_symbolic(size)}


def _size_values(symbolic: Graph, graph: Graph) -> dict[str, int]:
    """The numbers that the input sizes of a graph have in another."""
    pairs = zip(symbolic.inputs, graph.inputs, strict=True)
    sizes = [pair for one, other in pairs for pair in zip(one.shape, other.shape, strict=True)]
    return {str(size): number for size, number in sizes if is_symbolic(size)}


class _BlockFinder:
    """The folding of one graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.nodes = graph, graph.nodes
        self.index_of = {node.name: place for place, node in enumerate(self.nodes)}
        self.inputs = {given.name for given in graph.inputs}
        self.last_below: dict[str, int] = {}  # the place of the last layer below each prefix
        for node, place in zip(self.nodes, self.index_of.values(), strict=True):
            for slash in re.finditer("/", node.name):
                self.last_below[node.name[: slash.start()]] = place
        self.reserved_names = {*_RESERVED_WORDS, *symbol_names(graph)}
        self.root = _Scope("", 0, len(self.nodes), graph.inputs[0].name)
        self.items = self._items(0, len(self.nodes), "")
        self.kinds: dict[int, list[_Subtree]] = {}
        known: dict[Any, int] = {}
        for group in self._groups(self.items):
            group.structure = known.setdefault(self._structure(group), len(known))
            self.kinds.setdefault(group.structure, []).append(group)
        self.block_structures = {kind for kind, groups in self.kinds.items() if len(groups) > 1}
        self.blocks: dict[int, _BlockPlan] = {}
        self._select_blocks()

    def text(self) -> str:
        """The sections `blocks` and `layers`."""
        layers = self._render(self._lines(self.items, self.root), None, 1)
        blocks: list[str] = []
        for kind in self._block_order():
            block = self.blocks[kind]
            group = block.groups[0]
            body = self._lines(group.items, _scope_of(group))
            arguments = [n if d is MISSING else f"{n}={expression_text(d)}" for n, d in block.arguments.items()]
            header = f"{block.name}({', '.join(arguments)})"
            blocks += ["" if blocks else "blocks:", f"  {yaml_text(header)}:"]
            blocks += self._render(body, iter(block.argument_texts), 2)
        return "\n".join(["", *blocks, *([""] if blocks else []), "layers:", *layers]) + "\n"

    # -- groups ---------------------------------------------------------------------------------------------------

    def _items(self, first: int, end: int, prefix: str) -> list[_Leaf | _Subtree]:
        """Layers as items: a group for each name on their paths, by the longest run of its layers."""
        runs: list[tuple[str, int, int]] = []  # of layers with the same next name; "" for a layer of this list itself
        leaves = set()
        for place in range(first, end):
            name, below, _ = self.nodes[place].name[len(prefix) :].partition("/")
            if not below:
                leaves.add(name)
                name = ""
            if runs and name and runs[-1][0] == name:
                runs[-1] = (name, runs[-1][1], place + 1)
            else:
                runs.append((name, place, place + 1))
        longest: dict[str, tuple[int, int]] = {}
        for name, start, stop in runs:
            if name and stop - start > 1 and name not in leaves and name not in (*JOINS, "side"):
                longest[name] = max(longest.get(name, (0, 0)), (stop - start, -start))
        items: list[_Leaf | _Subtree] = []
        for name, start, stop in runs:
            if name in longest and longest[name] == (stop - start, -start):
                below = f"{prefix}{name}/"
                inner = self._items(start, stop, below)
                items.append(_Subtree(name, below, start, stop, self._source_of(start, stop), inner))
            else:
                items += [_Leaf(self.nodes[place].name[len(prefix) :], place) for place in range(start, stop)]
        return items

    def _groups(self, items: Iterable[_Leaf | _Subtree]) -> Iterator[_Subtree]:
        for item in items:
            if isinstance(item, _Subtree):
                yield from self._groups(item.items)
                yield item

    def _before(self, index: int) -> str:
        return self.nodes[index - 1].name if index else self.graph.inputs[0].name

    def _is_inside(self, tensor: str, first: int, end: int) -> bool:
        return first <= self.index_of.get(tensor, -1) < end

    def _source_of(self, first: int, end: int) -> str:
        """What layers run on: the tensor before them if one takes it, or else the first that they take."""
        outside = [t for n in self.nodes[first:end] for t in n.inputs if not self._is_inside(t, first, end)]
        before = self._before(first)
        return before if before in outside or not outside else outside[0]

    def _structure(self, group: _Subtree) -> Any:
        """What groups of one kind have in common: the layers' names and ops, and what they take."""
        first, end = group.first, group.end

        def reference(tensor: str | None) -> Any:
            if tensor is None:
                return None
            if self._is_inside(tensor, first, end):
                return self.index_of[tensor] - first
            return "." if tensor == group.source else "outside"

        made = []
        for node in self.nodes[first:end]:
            takes: Any = tuple(map(reference, node.inputs))
            if len(takes) > 1 and all(isinstance(each, str) for each in takes):
                takes = "several from outside"
            made.append((node.name[len(group.prefix) :], node.op.name, node.functional, takes, reference(node.shares)))
        return tuple(made)

    # -- blocks ---------------------------------------------------------------------------------------------------

    def _select_blocks(self) -> None:
        """Leave those kinds that make the spec shorter as blocks, the largest first, and find their arguments."""
        while True:
            written_times: Counter[int] = Counter()
            self._count(self.items, written_times)
            lengths = {kind: self._length(self.kinds[kind][0].items) for kind in self.block_structures}
            idle = [k for k, length in lengths.items() if written_times[k] * (length - 1) <= length + 1]
            if idle:
                self.block_structures.remove(max(idle, key=lambda kind: (self._layers(kind), -kind)))
                continue
            self.blocks = {}
            order = self._block_order()
            for kind in order:
                self.blocks[kind] = self._block(kind)
                if len(self.blocks[kind].arguments) > MAX_BLOCK_ARGUMENTS:
                    self.block_structures.remove(kind)
                    break
            else:
                return

    def _count(self, items: Iterable[_Leaf | _Subtree], times: Counter[int]) -> None:
        """How often a kind is written: what a block holds is written once."""
        for item in items:
            if isinstance(item, _Subtree):
                times[item.structure] += 1
                if item.structure not in self.block_structures or times[item.structure] == 1:
                    self._count(item.items, times)

    def _length(self, items: Sequence[_Leaf | _Subtree]) -> int:
        """In how many lines items are written."""
        inner = (item for item in items if isinstance(item, _Subtree) and item.structure not in self.block_structures)
        return len(items) + sum(self._length(group.items) - (len(group.items) == 1) for group in inner)

    def _layers(self, kind: int) -> int:
        group = self.kinds[kind][0]
        return group.end - group.first

    def _block_order(self) -> list[int]:
        """The kinds that are blocks, those that others call first."""
        return list(
            dict.fromkeys(g.structure for g in self._groups(self.items) if g.structure in self.block_structures)
        )

    def _block(self, kind: int) -> _BlockPlan:
        groups = self.kinds[kind]
        block = _BlockPlan(self._block_name(groups), groups)
        bodies = [_scope_of(group) for group in groups]
        rows = [_call_arguments(self._lines(group.items, body)) for group, body in zip(groups, bodies, strict=True)]
        columns: list[tuple[_CallArgument, list[Any]]] = []  # of arguments, each with its values
        found: dict[Any, int] = {}  # the column of each list of values

        def column(slot: _CallArgument, values: list[Any]) -> int | None:
            alike = self._column_key(slot, values, bodies)
            if alike is None:
                return None
            at = found.setdefault(alike, len(columns))
            if at == len(columns):
                columns.append((slot, values))
            elif _rank(slot) < _rank(columns[at][0]):  # the better name
                columns[at] = (slot, values)
            return at

        whole: list[int | list[int | None] | None] = []
        for slots in zip(*rows, strict=True):
            values = [slot.value for slot in slots]
            if _are_shapes(slots[0], values):  # each of their sizes is a value of its own
                size = replace(slots[0], name="features" if slots[0].name == "normalized_shape" else "size")
                whole.append([column(size, [*each]) for each in zip(*values, strict=True)])
            else:
                whole.append(column(slots[0], values))
        said = self._arguments(block, columns)
        for slots, places in zip(zip(*rows, strict=True), whole, strict=True):
            if isinstance(places, list):
                parts = [
                    expression_text(size) if place is None else said[place]
                    for size, place in zip(slots[0].value, places, strict=True)
                ]
                block.argument_texts.append("(" + ", ".join(parts) + "," * (len(parts) == 1) + ")")
            elif places is None:
                block.argument_texts.append(self._common_reference([slot.value for slot in slots], bodies))
            else:
                block.argument_texts.append(said[places])
        return block

    def _column_key(self, slot: _CallArgument, values: list[Any], bodies: list[_Scope]) -> Any:
        """The same for slots that one argument can serve; None where all uses say the same."""
        if _is_reference(values[0]):
            if self._common_reference(values, bodies) is not None:
                return None
            return slot.name, tuple(
                tuple((r.prefix[len(body.prefix) :], r.tensor) for r in _references(value))
                for value, body in zip(values, bodies, strict=True)
            )
        keys = tuple(map(_key, values))
        return None if len(set(keys)) == 1 else (_category(slot), keys)

    def _common_reference(self, values: list[Any], bodies: list[_Scope]) -> str | None:
        """What a reference is called in a block, if that is the same for all of its uses."""
        if not _is_reference(values[0]):
            return None
        relative = {self._reference_text(value, body) for value, body in zip(values, bodies, strict=True)}
        if len(relative) == 1 and None not in relative:
            return relative.pop()
        absolute = {self._reference_text(value, self.root, far=True) for value in values}
        return absolute.pop() if len(absolute) == 1 else None

    def _reference_text(self, value: Any, body: _Scope, far: bool = False) -> str | None:
        """References as a call in `body` writes them; None where that cannot be said from within.

        In the network itself, what is further away is named from the root; `far`: everything is.
        """
        names = []
        for reference in _references(value):
            prefix, tensor = reference.prefix, reference.tensor
            if far:
                name = "/" + self._relative_path(tensor, "")
            elif body.prefix and tensor == body.source:
                name = "../" * prefix[len(body.prefix) :].count("/") + "."
            elif body.prefix and not self._is_inside(tensor, body.first, body.end):
                return None
            elif tensor.startswith(prefix):
                name = self._relative_path(tensor, prefix)
            elif body.prefix:
                shared = prefix
                while not tensor.startswith(shared):
                    shared = shared[: shared[:-1].rfind("/") + 1]
                name = "../" * prefix[len(shared) :].count("/") + self._relative_path(tensor, shared)
            else:
                name = "/" + self._relative_path(tensor, "")
            names.append(name)
        return repr(names) if isinstance(value, tuple) else repr(names[0])

    def _relative_path(self, path: str, prefix: str) -> str:
        """The path of a tensor below a prefix; that of a group, where it is the last that the group makes."""
        at = path.find("/", len(prefix))
        while at > 0:
            above = path[:at]
            if (
                self.last_below[above] == self.index_of.get(path)
                and above not in self.index_of
                and above not in self.inputs
            ):
                return above[len(prefix) :]
            at = path.find("/", at + 1)
        return path[len(prefix) :]

    def _arguments(self, block: _BlockPlan, columns: list[tuple[_CallArgument, list[Any]]]) -> list[str]:
        """Name the arguments of a block, choose their defaults, and say each column in them."""
        said: dict[int, str] = {}
        whole = {
            at
            for at, (slot, values) in enumerate(columns)
            if _category(slot) == "width" and all(type(v) is int and v > 0 for v in values)
        }
        times: dict[int, tuple[int, int]] = {}  # columns that are a multiple of another
        for at in sorted(whole, key=lambda at: columns[at][1]):
            for other in whole - times.keys() - {at}:
                factors = {divmod(a, b) for a, b in zip(columns[at][1], columns[other][1], strict=True)}
                if len(factors) == 1 and (factor := factors.pop())[1] == 0 and factor[0] > 1:
                    times[at] = (other, factor[0])
                    break
        halves = {}  # paddings that keep the size
        for at, (slot, values) in enumerate(columns):
            for other, (kernel, sizes) in enumerate(columns):
                if (_category(slot), _category(kernel)) == ("padding", "kernel") and all(
                    type(k) is int and p == k // 2 for p, k in zip(values, sizes, strict=True)
                ):
                    halves[at] = other
        own = [at for at in range(len(columns)) if at not in times and at not in halves]
        wished = Counter(_argument_name(columns[at][0]) for at in own)
        names: dict[int, str] = {}
        for at in own:
            slot = columns[at][0]
            called = _argument_name(slot)
            owner = re.sub(r"\W+", "_", slot.owner).strip("_")
            both = f"{owner}_{called}" if owner[:1].isalpha() else f"{called}_{owner}"
            name = called if wished[called] == 1 else both
            names[at] = _unused(name, {*names.values(), *self.reserved_names})
        defaults: dict[int, Any] = {}
        for at in own:
            slot, values = columns[at]
            value, uses = Counter(map(repr, values)).most_common(1)[0]
            plain = all(isinstance(v, (bool, int, float, type(None))) for v in values)
            if plain and uses * 2 > len(values) and (_category(slot) != "width" or _argument_name(slot) == "groups"):
                defaults[at] = next(v for v in values if repr(v) == value)
        for at in [*(a for a in own if a not in defaults), *defaults]:
            block.arguments[names[at]] = defaults.get(at, MISSING)
        for place, group in enumerate(block.groups):
            block.call_values[group.first] = {names[at]: columns[at][1][place] for at in own}
        for at in range(len(columns)):
            other, factor = times.get(at, (halves.get(at, at), 1))
            said[at] = names[other] + (f" * {factor}" if at in times else " // 2" if at in halves else "")
        return [said[at] for at in range(len(columns))]

    def _block_name(self, groups: Sequence[_Subtree]) -> str:
        """A block's name, from what most of its uses are called: `inception3a` is an inception, `layers/0` a layer."""
        names = Counter(_block_base_name(group.prefix.split("/")[:-1]) for group in groups)
        name = names.most_common(1)[0][0]
        if name in OPS or name in self.reserved_names or keyword.iskeyword(name):
            name += "_block"
        return _unused(name, {*(b.name for b in self.blocks.values()), *OPS, *self.reserved_names})

    # -- lines ----------------------------------------------------------------------------------------------------

    def _lines(
        self, items: Iterable[_Leaf | _Subtree], body: _Scope, prefix: str | None = None
    ) -> list[_CallLine | _GroupLines]:
        """Items as calls and groups; those of groups that are blocks are calls of these."""
        prefix = body.prefix if prefix is None else prefix
        lines: list[_CallLine | _GroupLines] = []
        for item in items:
            if isinstance(item, _Leaf):
                lines.append(self._layer(item, body, prefix))
            elif item.structure in self.blocks:
                block = self.blocks[item.structure]
                slots = [_CallArgument(n, block.call_values[item.first][n], d) for n, d in block.arguments.items()]
                before = body.source if item.first == body.first else self._before(item.first)
                takes = None if item.source == before else _TensorReference(prefix, item.source)
                slots.append(_CallArgument("inputs", takes, None))
                lines.append(_CallLine(item.name, block.name, _set_owner(slots, prefix + item.name, block.name, body)))
            elif self._is_flat(item, body):
                inner = [replace(each, name=f"{item.name}/{each.name}") for each in item.items]
                lines += self._lines(inner, body, prefix)
            else:
                lines.append(_GroupLines(item.name, self._lines(item.items, body, item.prefix)))
        return lines

    def _is_flat(self, group: _Subtree, body: _Scope) -> bool:
        """Whether a group is written by its layers' paths: it is one item, or few that start elsewhere."""
        before = body.source if group.first == body.first else self._before(group.first)
        few = all(isinstance(item, _Leaf) or item.structure in self.blocks for item in group.items)
        elsewhere = group.source != before
        return len(group.items) == 1 or (few and len(group.items) <= MAX_FLAT_LAYERS and elsewhere)

    def _layer(self, leaf: _Leaf, body: _Scope, prefix: str) -> _CallLine:
        node = self.nodes[leaf.index]
        slots = [_CallArgument(name, *_argument_and_default(node.op, name)) for name in node.op.argument_specs]
        before = body.source if leaf.index == body.first else self._before(leaf.index)
        takes: Any = None
        if node.inputs != (before,) and (node.inputs or node.op.arity != (0, 0)):
            takes = tuple(_TensorReference(prefix, tensor) for tensor in node.inputs)
            takes = takes[0] if len(takes) == 1 else takes
        slots.append(_CallArgument("inputs", takes, None))
        slots.append(
            _CallArgument("shares", None if node.shares is None else _TensorReference(prefix, node.shares), None)
        )
        # An op without a module is always called as a function.
        slots.append(_CallArgument("functional", node.functional and node.op.is_module, False))
        return _CallLine(leaf.name, node.op.name, _set_owner(slots, node.name, node.op.name, body))

    def _render(
        self, lines: Sequence[_CallLine | _GroupLines], said: Iterator[str | None] | None, depth: int
    ) -> list[str]:
        """Lines of YAML; in a block, `said` is what its slots say, in order."""
        wishes = _unnumbered_names([line.name for line in lines])
        calls: list[tuple[str | None, str | list[str]]] = []  # an item's name, if it says one, and what it is
        for wish, line in zip(wishes, lines, strict=True):
            if isinstance(line, _GroupLines):
                calls.append((wish, self._render(line.lines, said, depth + 2)))
            else:
                calls.append((None if wish == line.callee else wish, self._call(line, said)))
        made: list[str] = []
        at = 0
        while at < len(calls):
            name, call = calls[at]
            key = "  " * depth + "- " + ("" if name is None else f"{yaml_text(name)}:")
            if isinstance(call, list):
                made += [key, *call]
                at += 1
                continue
            times = 1
            while wishes[at] != lines[at].name and at + times < len(calls) and calls[at + times] == (name, call):
                times += 1
            shown = yaml_text(call + (f" * {times}" if times > 1 else ""))
            made.append(key + (" " if name is not None else "") + shown)
            at += times
        return made

    def _call(self, line: _CallLine, said: Iterator[str | None] | None) -> str:
        given: list[str] = []
        for slot in line.arguments:
            text = None if said is None else next(said)
            if text is None:
                if slot.default is not MISSING and _key(slot.value) == _key(slot.default):
                    continue
                named = self._reference_text(slot.value, self.root) if _is_reference(slot.value) else None
                text = named or expression_text(slot.value)
            first = slot.default is MISSING or (slot.name == "kernel" and len(given) == line.arguments.index(slot))
            given.append(text if first else f"{slot.name}={text}")
        return f"{line.callee}({', '.join(given)})"


def _scope_of(group: _Subtree) -> _Scope:
    return _Scope(group.prefix, group.first, group.end, group.source)


def _set_owner(slots: list[_CallArgument], path: str, callee: str, body: _Scope) -> list[_CallArgument]:
    owner = path[len(body.prefix) :]
    if "/" in owner and re.sub(r"_\d+$", "", owner[owner.rindex("/") + 1 :]) == callee:
        owner = owner[: owner.rindex("/")]
    for slot in slots:
        slot.owner = owner
    return slots


def _call_arguments(lines: Iterable[_CallLine | _GroupLines]) -> list[_CallArgument]:
    return [
        slot
        for line in lines
        for slot in (_call_arguments(line.lines) if isinstance(line, _GroupLines) else line.arguments)
    ]


def _argument_and_default(op: Op, name: str) -> tuple[Any, Any]:
    """Return the value of an op's argument as a call shows it, and its default (MISSING: it has none)."""
    spec = op.argument_specs[name]
    default = spec.default if spec.default is MISSING else spec.display(spec.convert(name, spec.default))
    return spec.display(getattr(op, name)), default


def _key(value: Any) -> Any:
    return type(value).__name__, repr(value)


def _is_reference(value: Any) -> bool:
    return isinstance(value, _TensorReference) or (
        isinstance(value, tuple) and bool(value) and isinstance(value[0], _TensorReference)
    )


def _references(value: Any) -> tuple[_TensorReference, ...]:
    return value if isinstance(value, tuple) else (value,)


def _argument_name(slot: _CallArgument) -> str:
    """What an argument for a slot is called."""
    if slot.name == "inputs":
        return "sources" if isinstance(slot.value, tuple) else "source"
    return "shared" if slot.name == "shares" else _ARGUMENT_NAMES.get(slot.name, slot.name)


def _category(slot: _CallArgument) -> str:
    """What a slot is about: only arguments of one sort are said in each other."""
    called = _argument_name(slot)
    return "width" if _rank(slot) < len(_SIZE_WORDS) else called.rpartition("_")[2].rstrip("0123456789") or called


def _rank(slot: _CallArgument) -> int:
    """How well a slot names a number of channels or another size: the less the better."""
    words = re.sub(r"\d+", "", _argument_name(slot)).split("_")
    return min((place for place, word in enumerate(_SIZE_WORDS) if word in words), default=len(_SIZE_WORDS))


def _are_shapes(slot: _CallArgument, values: Sequence[Any]) -> bool:
    """Whether values are lists of as many sizes each, and not the same."""
    if slot.name not in ("shape", "sizes", "normalized_shape") or not all(isinstance(v, tuple) for v in values):
        return False
    return len({len(value) for value in values}) == 1 and len(set(map(_key, values))) > 1


def _unused(name: str, taken: Iterable[str]) -> str:
    taken, wanted, number = {*taken}, name + "_" * keyword.iskeyword(name), 1
    name = wanted
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    return name


def _block_base_name(path: Sequence[str]) -> str:
    """The kind of thing at a path: at `inception3a` an inception, at `encoder_layer_0` an encoder_layer."""
    names = [name for name in path if not name.isdigit()] or ["block"]
    name = re.sub(r"\W+", "_", re.sub(r"[_\d.]*\d[a-z]?$", "", names[-1])).strip("_").lower() or "block"
    if not path[-1].isdigit():
        return name if name[0].isalpha() else "branch"
    many = name.endswith("s") and not name.endswith("ss")
    name = name[:-1] if many else f"{name}_block" if name != "block" else name
    return name if name[:1].isalpha() else "branch"


def _unnumbered_names(names: Sequence[str]) -> list[str]:
    """What siblings would be called so that numbering those alike gives their names: relu for relu_1 and relu_2."""
    stems: dict[str, list[str]] = {}
    for name in names:
        found = re.fullmatch(r"(.+)_([1-9]\d*)", name)
        if found:
            stems.setdefault(found[1], []).append(found[2])
    present = {*names}
    numbered = {
        stem
        for stem, numbers in stems.items()
        if len(numbers) > 1 and stem not in present and numbers == [str(n + 1) for n in range(len(numbers))]
    }
    wishes = []
    for name in names:
        stem = name.rpartition("_")[0]
        wishes.append(stem if stem in numbered and re.fullmatch(r"[1-9]\d*", name[len(stem) + 1 :]) else name)
    return wishes
