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
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any

from costcalc.core.errors import CostcalcError
from costcalc.core.sizes import is_symbolic
from costcalc.frontends.spec.expression import OF_CALLS
from costcalc.frontends.spec.items import JOINS
from costcalc.frontends.spec.language import Spec
from costcalc.frontends.spec.write import head, symbol_names, tail, text_of, to_yaml, written
from costcalc.ir.graph import Graph, Node
from costcalc.ir.ops import OPS

MOST_ARGUMENTS = 12  # of a block: with more of them its calls say less than its layers
FLAT = 3  # a group of so few layers that starts elsewhere than at the layer before is written by their paths

_CALLED = {"out_channels": "channels", "out_features": "features", "kernel_size": "kernel"}
_WIDTHS = ("channels", "features", "size", "groups", "end", "start", "length")  # sizes, the best name first
_WITH_MODULES = ("activation", "conv", "linear", "norm", "pool", "resampling")  # in torch.nn
_WORDS = (*OF_CALLS, "skip", "side", "true", "false", "null", *JOINS)


@dataclass(eq=False)
class _Leaf:
    """A layer in a list: the name it has there (a path, where no group has it), and its place in the graph."""

    name: str
    place: int


@dataclass(eq=False)
class _Group:
    """Layers, one after another, that share a prefix; `start` is the tensor that it runs on as a block."""

    name: str
    prefix: str
    first: int
    end: int
    start: str
    items: list[_Leaf | _Group]
    kind: int = -1  # groups of one kind hold the same layers, wired alike


@dataclass(frozen=True)
class _Body:
    """Where a list of items stands: the whole network, or a block."""

    prefix: str
    first: int
    end: int
    start: str


@dataclass(frozen=True)
class _Reference:
    """A tensor, as a call in the list below `prefix` takes it."""

    prefix: str
    tensor: str


@dataclass
class _Slot:
    """An argument of a call: of which name, with what value, left out where that is the default."""

    name: str
    value: Any
    default: Any = MISSING
    owner: str = ""  # the path of the call within the block


@dataclass
class _Line:
    """A call, with what it would be named."""

    name: str
    callee: str
    slots: list[_Slot]


@dataclass
class _Nest:
    """A group that is written where it stands."""

    name: str
    lines: list[_Line | _Nest]


@dataclass
class _Block:
    """A block: its name, its arguments with their defaults, and what each slot of its body says (None: its value)."""

    name: str
    groups: list[_Group]
    arguments: dict[str, Any] = field(default_factory=dict)  # MISSING: it must be given
    said: list[str | None] = field(default_factory=list)
    given: dict[int, dict[str, Any]] = field(default_factory=dict)  # the arguments' values, by a group's first layer


def to_spec(graph: Graph, free: Graph | None = None, comment: str = "") -> str:
    """The spec of `graph`, nested and with blocks; reading it back gives an equal graph.

    `free` is the same network with symbols for some sizes of its inputs: the spec is then in their names, so that it
    takes other sizes. Raises CostcalcError for a graph that cannot be said, such as one of arrays.
    """
    for each in ([] if free is None else [free]) + [graph]:
        try:
            text = folded(each, _numbers(each, graph), comment)
            spec = Spec(text, "")
            # what does nothing at these numbers, such as repeating one image, is in the free network alone
            if spec.build() == graph or (each is free and spec.build(None, _symbols(each)) == each):
                return text
        except CostcalcError:  # what cannot be folded, or not with names for sizes, may still be said
            continue
    text = "".join(f"# {line}\n" for line in comment.splitlines()) + to_yaml(graph)
    if Spec(text, f"{graph.name} as a spec").build() != graph:
        raise CostcalcError(f"{graph.name} cannot be said as a spec: it would be another network")
    return text


def folded(graph: Graph, sizes: Mapping[str, int], comment: str = "") -> str:
    """A graph as a spec; `sizes` are the numbers of the symbols that it is in."""
    return head(graph, sizes, comment) + _Folding(graph).text() + tail(graph)


def _symbols(free: Graph) -> dict[str, Any]:
    """The input sizes that a graph leaves free, by name."""
    return {str(size): size for given in free.inputs for size in given.shape if is_symbolic(size)}


def _numbers(free: Graph, graph: Graph) -> dict[str, int]:
    """The numbers that the input sizes of a graph have in another."""
    pairs = zip(free.inputs, graph.inputs, strict=True)
    sizes = [pair for one, other in pairs for pair in zip(one.shape, other.shape, strict=True)]
    return {str(size): number for size, number in sizes if is_symbolic(size)}


class _Folding:
    """The folding of one graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.nodes = graph, graph.nodes
        self.places = {node.name: place for place, node in enumerate(self.nodes)}
        self.inputs = {given.name for given in graph.inputs}
        self.last: dict[str, int] = {}  # the place of the last layer below each prefix
        for node, place in zip(self.nodes, self.places.values(), strict=True):
            for slash in re.finditer("/", node.name):
                self.last[node.name[: slash.start()]] = place
        self.taken = {*_WORDS, *symbol_names(graph)}
        self.whole = _Body("", 0, len(self.nodes), graph.inputs[0].name)
        self.items = self._items(0, len(self.nodes), "")
        self.kinds: dict[int, list[_Group]] = {}
        known: dict[Any, int] = {}
        for group in self._groups(self.items):
            group.kind = known.setdefault(self._structure(group), len(known))
            self.kinds.setdefault(group.kind, []).append(group)
        self.chosen = {kind for kind, groups in self.kinds.items() if len(groups) > 1}
        self.blocks: dict[int, _Block] = {}
        self._choose()

    def text(self) -> str:
        """The sections `blocks` and `layers`."""
        layers = self._rendered(self._lines(self.items, self.whole), None, 1)
        blocks: list[str] = []
        for kind in self._in_order():
            block = self.blocks[kind]
            group = block.groups[0]
            body = self._lines(group.items, _body(group))
            arguments = [n if d is MISSING else f"{n}={written(d)}" for n, d in block.arguments.items()]
            header = f"{block.name}({', '.join(arguments)})"
            blocks += ["" if blocks else "blocks:", f"  {text_of(header)}:"]
            blocks += self._rendered(body, iter(block.said), 2)
        return "\n".join(["", *blocks, *([""] if blocks else []), "layers:", *layers]) + "\n"

    # -- groups ---------------------------------------------------------------------------------------------------

    def _items(self, first: int, end: int, prefix: str) -> list[_Leaf | _Group]:
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
        items: list[_Leaf | _Group] = []
        for name, start, stop in runs:
            if name in longest and longest[name] == (stop - start, -start):
                below = f"{prefix}{name}/"
                inner = self._items(start, stop, below)
                items.append(_Group(name, below, start, stop, self._start(start, stop), inner))
            else:
                items += [_Leaf(self.nodes[place].name[len(prefix) :], place) for place in range(start, stop)]
        return items

    def _groups(self, items: Iterable[_Leaf | _Group]) -> Iterator[_Group]:
        for item in items:
            if isinstance(item, _Group):
                yield from self._groups(item.items)
                yield item

    def _before(self, place: int) -> str:
        return self.nodes[place - 1].name if place else self.graph.inputs[0].name

    def _is_inside(self, tensor: str, first: int, end: int) -> bool:
        return first <= self.places.get(tensor, -1) < end

    def _start(self, first: int, end: int) -> str:
        """What layers run on: the tensor before them if one takes it, or else the first that they take."""
        outside = [t for n in self.nodes[first:end] for t in n.inputs if not self._is_inside(t, first, end)]
        before = self._before(first)
        return before if before in outside or not outside else outside[0]

    def _structure(self, group: _Group) -> Any:
        """What groups of one kind have in common: the layers' names and ops, and what they take."""
        first, end = group.first, group.end

        def reference(tensor: str | None) -> Any:
            if tensor is None:
                return None
            if self._is_inside(tensor, first, end):
                return self.places[tensor] - first
            return "." if tensor == group.start else "outside"

        made = []
        for node in self.nodes[first:end]:
            takes: Any = tuple(map(reference, node.inputs))
            if len(takes) > 1 and all(isinstance(each, str) for each in takes):
                takes = "several from outside"
            made.append((node.name[len(group.prefix) :], node.op.name, node.functional, takes, reference(node.shares)))
        return tuple(made)

    # -- blocks ---------------------------------------------------------------------------------------------------

    def _choose(self) -> None:
        """Leave those kinds that make the spec shorter as blocks, the largest first, and find their arguments."""
        while True:
            written_times: Counter[int] = Counter()
            self._count(self.items, written_times)
            lengths = {kind: self._length(self.kinds[kind][0].items) for kind in self.chosen}
            idle = [k for k, length in lengths.items() if written_times[k] * (length - 1) <= length + 1]
            if idle:
                self.chosen.remove(max(idle, key=lambda kind: (self._layers(kind), -kind)))
                continue
            self.blocks = {}
            order = self._in_order()
            for kind in order:
                self.blocks[kind] = self._block(kind)
                if len(self.blocks[kind].arguments) > MOST_ARGUMENTS:
                    self.chosen.remove(kind)
                    break
            else:
                return

    def _count(self, items: Iterable[_Leaf | _Group], times: Counter[int]) -> None:
        """How often a kind is written: what a block holds is written once."""
        for item in items:
            if isinstance(item, _Group):
                times[item.kind] += 1
                if item.kind not in self.chosen or times[item.kind] == 1:
                    self._count(item.items, times)

    def _length(self, items: Sequence[_Leaf | _Group]) -> int:
        """In how many lines items are written."""
        inner = (item for item in items if isinstance(item, _Group) and item.kind not in self.chosen)
        return len(items) + sum(self._length(group.items) - (len(group.items) == 1) for group in inner)

    def _layers(self, kind: int) -> int:
        group = self.kinds[kind][0]
        return group.end - group.first

    def _in_order(self) -> list[int]:
        """The kinds that are blocks, those that others call first."""
        return list(dict.fromkeys(g.kind for g in self._groups(self.items) if g.kind in self.chosen))

    def _block(self, kind: int) -> _Block:
        groups = self.kinds[kind]
        block = _Block(self._block_name(groups), groups)
        bodies = [_body(group) for group in groups]
        rows = [_slots(self._lines(group.items, body)) for group, body in zip(groups, bodies, strict=True)]
        columns: list[tuple[_Slot, list[Any]]] = []  # of arguments, each with its values
        found: dict[Any, int] = {}  # the column of each list of values

        def column(slot: _Slot, values: list[Any]) -> int | None:
            alike = self._alike(slot, values, bodies)
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
                    written(size) if place is None else said[place]
                    for size, place in zip(slots[0].value, places, strict=True)
                ]
                block.said.append("(" + ", ".join(parts) + "," * (len(parts) == 1) + ")")
            elif places is None:
                block.said.append(self._constant([slot.value for slot in slots], bodies))
            else:
                block.said.append(said[places])
        return block

    def _alike(self, slot: _Slot, values: list[Any], bodies: list[_Body]) -> Any:
        """The same for slots that one argument can serve; None where all uses say the same."""
        if _is_reference(values[0]):
            if self._constant(values, bodies) is not None:
                return None
            return slot.name, tuple(
                tuple((r.prefix[len(body.prefix) :], r.tensor) for r in _references(value))
                for value, body in zip(values, bodies, strict=True)
            )
        keys = tuple(map(_key, values))
        return None if len(set(keys)) == 1 else (_sort(slot), keys)

    def _constant(self, values: list[Any], bodies: list[_Body]) -> str | None:
        """What a reference is called in a block, if that is the same for all of its uses."""
        if not _is_reference(values[0]):
            return None
        relative = {self._named(value, body) for value, body in zip(values, bodies, strict=True)}
        if len(relative) == 1 and None not in relative:
            return relative.pop()
        absolute = {self._named(value, self.whole, far=True) for value in values}
        return absolute.pop() if len(absolute) == 1 else None

    def _named(self, value: Any, body: _Body, far: bool = False) -> str | None:
        """References as a call in `body` writes them; None where that cannot be said from within.

        In the network itself, what is further away is named from the root; `far`: everything is.
        """
        names = []
        for reference in _references(value):
            prefix, tensor = reference.prefix, reference.tensor
            if far:
                name = "/" + self._short(tensor, "")
            elif body.prefix and tensor == body.start:
                name = "../" * prefix[len(body.prefix) :].count("/") + "."
            elif body.prefix and not self._is_inside(tensor, body.first, body.end):
                return None
            elif tensor.startswith(prefix):
                name = self._short(tensor, prefix)
            elif body.prefix:
                shared = prefix
                while not tensor.startswith(shared):
                    shared = shared[: shared[:-1].rfind("/") + 1]
                name = "../" * prefix[len(shared) :].count("/") + self._short(tensor, shared)
            else:
                name = "/" + self._short(tensor, "")
            names.append(name)
        return repr(names) if isinstance(value, tuple) else repr(names[0])

    def _short(self, path: str, prefix: str) -> str:
        """The path of a tensor below a prefix; that of a group, where it is the last that the group makes."""
        at = path.find("/", len(prefix))
        while at > 0:
            above = path[:at]
            if self.last[above] == self.places.get(path) and above not in self.places and above not in self.inputs:
                return above[len(prefix) :]
            at = path.find("/", at + 1)
        return path[len(prefix) :]

    def _arguments(self, block: _Block, columns: list[tuple[_Slot, list[Any]]]) -> list[str]:
        """Name the arguments of a block, choose their defaults, and say each column in them."""
        said: dict[int, str] = {}
        whole = {
            at
            for at, (slot, values) in enumerate(columns)
            if _sort(slot) == "width" and all(type(v) is int and v > 0 for v in values)
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
                if (_sort(slot), _sort(kernel)) == ("padding", "kernel") and all(
                    type(k) is int and p == k // 2 for p, k in zip(values, sizes, strict=True)
                ):
                    halves[at] = other
        own = [at for at in range(len(columns)) if at not in times and at not in halves]
        wished = Counter(_called(columns[at][0]) for at in own)
        names: dict[int, str] = {}
        for at in own:
            slot = columns[at][0]
            called = _called(slot)
            owner = re.sub(r"\W+", "_", slot.owner).strip("_")
            both = f"{owner}_{called}" if owner[:1].isalpha() else f"{called}_{owner}"
            name = called if wished[called] == 1 else both
            names[at] = _unused(name, {*names.values(), *self.taken})
        defaults: dict[int, Any] = {}
        for at in own:
            slot, values = columns[at]
            value, uses = Counter(map(repr, values)).most_common(1)[0]
            plain = all(isinstance(v, (bool, int, float, type(None))) for v in values)
            if plain and uses * 2 > len(values) and (_sort(slot) != "width" or _called(slot) == "groups"):
                defaults[at] = next(v for v in values if repr(v) == value)
        for at in [*(a for a in own if a not in defaults), *defaults]:
            block.arguments[names[at]] = defaults.get(at, MISSING)
        for place, group in enumerate(block.groups):
            block.given[group.first] = {names[at]: columns[at][1][place] for at in own}
        for at in range(len(columns)):
            other, factor = times.get(at, (halves.get(at, at), 1))
            said[at] = names[other] + (f" * {factor}" if at in times else " // 2" if at in halves else "")
        return [said[at] for at in range(len(columns))]

    def _block_name(self, groups: Sequence[_Group]) -> str:
        """A block's name, from what most of its uses are called: `inception3a` is an inception, `layers/0` a layer."""
        names = Counter(_singular(group.prefix.split("/")[:-1]) for group in groups)
        name = names.most_common(1)[0][0]
        if name in OPS or name in self.taken or keyword.iskeyword(name):
            name += "_block"
        return _unused(name, {*(b.name for b in self.blocks.values()), *OPS, *self.taken})

    # -- lines ----------------------------------------------------------------------------------------------------

    def _lines(self, items: Iterable[_Leaf | _Group], body: _Body, prefix: str | None = None) -> list[_Line | _Nest]:
        """Items as calls and groups; those of groups that are blocks are calls of these."""
        prefix = body.prefix if prefix is None else prefix
        lines: list[_Line | _Nest] = []
        for item in items:
            if isinstance(item, _Leaf):
                lines.append(self._layer(item, body, prefix))
            elif item.kind in self.blocks:
                block = self.blocks[item.kind]
                slots = [_Slot(n, block.given[item.first][n], d) for n, d in block.arguments.items()]
                before = body.start if item.first == body.first else self._before(item.first)
                takes = None if item.start == before else _Reference(prefix, item.start)
                slots.append(_Slot("inputs", takes, None))
                lines.append(_Line(item.name, block.name, _owned(slots, prefix + item.name, block.name, body)))
            elif self._is_flat(item, body):
                inner = [replace(each, name=f"{item.name}/{each.name}") for each in item.items]
                lines += self._lines(inner, body, prefix)
            else:
                lines.append(_Nest(item.name, self._lines(item.items, body, item.prefix)))
        return lines

    def _is_flat(self, group: _Group, body: _Body) -> bool:
        """Whether a group is written by its layers' paths: it is one item, or few that start elsewhere."""
        before = body.start if group.first == body.first else self._before(group.first)
        few = all(isinstance(item, _Leaf) or item.kind in self.blocks for item in group.items)
        elsewhere = group.start != before
        return len(group.items) == 1 or (few and len(group.items) <= FLAT and elsewhere)

    def _layer(self, leaf: _Leaf, body: _Body, prefix: str) -> _Line:
        node = self.nodes[leaf.place]
        slots = [_Slot(f.name, *_field(node, f)) for f in fields(node.op)]
        before = body.start if leaf.place == body.first else self._before(leaf.place)
        takes: Any = None
        if node.inputs != (before,) and (node.inputs or node.op.arity != (0, 0)):
            takes = tuple(_Reference(prefix, tensor) for tensor in node.inputs)
            takes = takes[0] if len(takes) == 1 else takes
        slots.append(_Slot("inputs", takes, None))
        slots.append(_Slot("shares", None if node.shares is None else _Reference(prefix, node.shares), None))
        # what torch.nn has no module for is always called as a function: that need not be said
        functional = node.functional and type(node.op).__module__.rpartition(".")[2] in _WITH_MODULES
        slots.append(_Slot("functional", functional, False))
        return _Line(leaf.name, node.op.name, _owned(slots, node.name, node.op.name, body))

    def _rendered(self, lines: Sequence[_Line | _Nest], said: Iterator[str | None] | None, depth: int) -> list[str]:
        """Lines of YAML; in a block, `said` is what its slots say, in order."""
        wishes = _wishes([line.name for line in lines])
        calls: list[tuple[str | None, str | list[str]]] = []  # an item's name, if it says one, and what it is
        for wish, line in zip(wishes, lines, strict=True):
            if isinstance(line, _Nest):
                calls.append((wish, self._rendered(line.lines, said, depth + 2)))
            else:
                calls.append((None if wish == line.callee else wish, self._call(line, said)))
        made: list[str] = []
        at = 0
        while at < len(calls):
            name, call = calls[at]
            key = "  " * depth + "- " + ("" if name is None else f"{text_of(name)}:")
            if isinstance(call, list):
                made += [key, *call]
                at += 1
                continue
            times = 1
            while wishes[at] != lines[at].name and at + times < len(calls) and calls[at + times] == (name, call):
                times += 1
            shown = text_of(call + (f" * {times}" if times > 1 else ""))
            made.append(key + (" " if name is not None else "") + shown)
            at += times
        return made

    def _call(self, line: _Line, said: Iterator[str | None] | None) -> str:
        given: list[str] = []
        for slot in line.slots:
            text = None if said is None else next(said)
            if text is None:
                if slot.default is not MISSING and _key(slot.value) == _key(slot.default):
                    continue
                named = self._named(slot.value, self.whole) if _is_reference(slot.value) else None
                text = named or written(slot.value)
            first = slot.default is MISSING or (slot.name == "kernel" and len(given) == line.slots.index(slot))
            given.append(text if first else f"{slot.name}={text}")
        return f"{line.callee}({', '.join(given)})"


def _body(group: _Group) -> _Body:
    return _Body(group.prefix, group.first, group.end, group.start)


def _owned(slots: list[_Slot], path: str, callee: str, body: _Body) -> list[_Slot]:
    owner = path[len(body.prefix) :]
    if "/" in owner and re.sub(r"_\d+$", "", owner[owner.rindex("/") + 1 :]) == callee:
        owner = owner[: owner.rindex("/")]
    for slot in slots:
        slot.owner = owner
    return slots


def _slots(lines: Iterable[_Line | _Nest]) -> list[_Slot]:
    return [slot for line in lines for slot in (_slots(line.lines) if isinstance(line, _Nest) else line.slots)]


def _field(node: Node, declared: Any) -> tuple[Any, Any]:
    """The value of an op's field as a call gives it, and its default."""
    argument = declared.metadata["argument"]

    def shown(value: Any) -> Any:
        alike = argument.kind in ("per_axis", "sides", "wholes") and len(set(value or ())) == 1
        return value[0] if alike and (argument.kind != "wholes" or len(value) == 1) else value

    default = declared.default
    if default is not MISSING:
        default = shown(argument.read(declared.name, default))
    return shown(getattr(node.op, declared.name)), default


def _key(value: Any) -> Any:
    return type(value).__name__, repr(value)


def _is_reference(value: Any) -> bool:
    return isinstance(value, _Reference) or (
        isinstance(value, tuple) and bool(value) and isinstance(value[0], _Reference)
    )


def _references(value: Any) -> tuple[_Reference, ...]:
    return value if isinstance(value, tuple) else (value,)


def _called(slot: _Slot) -> str:
    """What an argument for a slot is called."""
    if slot.name == "inputs":
        return "sources" if isinstance(slot.value, tuple) else "source"
    return "shared" if slot.name == "shares" else _CALLED.get(slot.name, slot.name)


def _sort(slot: _Slot) -> str:
    """What a slot is about: only arguments of one sort are said in each other."""
    called = _called(slot)
    return "width" if _rank(slot) < len(_WIDTHS) else called.rpartition("_")[2].rstrip("0123456789") or called


def _rank(slot: _Slot) -> int:
    """How well a slot names a number of channels or another size: the less the better."""
    words = re.sub(r"\d+", "", _called(slot)).split("_")
    return min((place for place, word in enumerate(_WIDTHS) if word in words), default=len(_WIDTHS))


def _are_shapes(slot: _Slot, values: Sequence[Any]) -> bool:
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


def _singular(path: Sequence[str]) -> str:
    """The kind of thing at a path: at `inception3a` an inception, at `encoder_layer_0` an encoder_layer."""
    names = [name for name in path if not name.isdigit()] or ["block"]
    name = re.sub(r"\W+", "_", re.sub(r"[_\d.]*\d[a-z]?$", "", names[-1])).strip("_").lower() or "block"
    if not path[-1].isdigit():
        return name if name[0].isalpha() else "branch"
    many = name.endswith("s") and not name.endswith("ss")
    name = name[:-1] if many else f"{name}_block" if name != "block" else name
    return name if name[:1].isalpha() else "branch"


def _wishes(names: Sequence[str]) -> list[str]:
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
