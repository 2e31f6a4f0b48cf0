"""A spec with values: blocks and repeats written out, every layer named and made into a node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from costcalc.core.errors import OpError, did_you_mean
from costcalc.frontends.spec.document import MAX_DEPTH, Place, Problem
from costcalc.frontends.spec.expression import OF_CALLS, Call, Fault
from costcalc.frontends.spec.items import MAX_MISTAKES, Branches, Callees, Group, Item, below
from costcalc.ir.graph import Node
from costcalc.ir.ops import OPS

if TYPE_CHECKING:
    from costcalc.frontends.spec.language import Spec

MAX_LAYERS = 20_000
MAX_STEPS = 40_000  # items unrolled, layers or not: blocks that call blocks can multiply without making a layer


class _Layer(NamedTuple):
    """A call chosen to run (None: there was a mistake in it), and the name it would like among its siblings."""

    name: str
    call: Call | None


class _Nested(NamedTuple):
    """A named group, with the values its expressions see."""

    name: str
    items: tuple[Item, ...]
    scope: Mapping[str, Any]


class _Fork(NamedTuple):
    """Branches from one tensor, each a run of parts; they meet in `op`, or are side branches when there is none."""

    op: str | None
    place: Place
    branches: list[list[_Part]]


_Part = _Layer | _Nested | _Fork


def _wished_names(parts: Iterable[_Part]) -> Iterator[str]:
    """The names of siblings in the order in which they are emitted: branches and their join are siblings too."""
    for part in parts:
        if isinstance(part, _Fork):
            for branch in part.branches:
                yield from _wished_names(branch)
            if part.op is not None:
                yield part.op
        else:
            yield part.name


def _numbered(names: list[str]) -> Iterator[str]:
    """Names that several siblings share are numbered from 1, all of them."""
    shared = Counter(names)
    seen: Counter[str] = Counter()
    for name in names:
        seen[name] += 1
        yield f"{name}_{seen[name]}" if shared[name] > 1 else name


class Unroller:
    """Unrolls a spec with given settings into nodes.

    A tensor is the name of the node that makes it; None stands for one that a mistake kept from being made.
    """

    def __init__(self, spec: Spec, settings: Mapping[str, Any], inputs: Iterable[str]) -> None:
        self.spec, self.settings = spec, settings
        self.callees = Callees(spec.blocks)
        self.nodes: list[Node] = []
        self.problems: list[Problem] = []
        self.calls: dict[str, Call] = {}  # that made each node
        self.tensors: dict[str, str | None] = {name: name for name in inputs}  # by path; a prefix's is its last
        self.inputs = frozenset(self.tensors)
        self.starts: dict[str, str | None] = {}  # what a group or a block runs on, by its prefix
        self.sides: list[str] = []
        self.open_blocks: list[str] = []
        self.steps = 0
        self.main: str | None = next(iter(self.tensors))
        try:
            self.main = self._run(spec.layers, "", self.main, settings)
        except _TooLarge as fault:
            self.problems.append(fault.problem)

    def outputs(self) -> tuple[str, ...]:
        """The main output, then those of the side branches; or those the spec names. Raises Fault."""
        if self.spec.outputs:
            for name in self.spec.outputs:
                if name.text not in self.tensors:
                    raise Fault(name.place, f"no layer {name.text!r}{did_you_mean(name.text, self.tensors)}")
            return tuple(o for name in self.spec.outputs if (o := self.tensors[name.text]) is not None)
        if not self.nodes and not self.problems and not self.spec.problems:
            raise Fault(None, "makes no layer: every item is skipped")
        if self.main in self.inputs and not self.problems and not self.spec.problems:
            raise Fault(None, "makes no layer on the main line: all are in side branches")
        return tuple(dict.fromkeys(([self.main] if self.main else []) + self.sides))

    def _run(self, items: Iterable[Item], prefix: str, start: str | None, scope: Mapping[str, Any]) -> str | None:
        self.starts[prefix] = start
        parts = [part for item in items for part in self._parts(item, scope)]
        names = _numbered(list(_wished_names(parts)))
        return self._emit(parts, names, prefix, start)

    def _parts(self, item: Item, scope: Mapping[str, Any]) -> list[_Part]:
        """What an item stands for, its condition decided and its repeats written out; nothing when it is skipped."""
        self._step(item.place)
        if isinstance(item, Group):
            return [_Nested(item.name, item.items, scope)]
        if isinstance(item, Branches):
            branches = [self._parts(branch, scope) for branch in item.branches]
            return [_Fork(item.op, item.place, branches)]
        if item.expression is None:
            return [_Layer(item.name or "?", None)]
        try:
            calls = item.expression.layers(scope, self.callees, MAX_LAYERS)
        except Fault as fault:
            self.problems.append(fault.problem)
            return [_Layer(item.name or "?", None)]
        self._step(item.place, len(calls))
        return [_Layer(item.name or call.callee, call) for call in calls]

    def _emit(self, parts: Iterable[_Part], names: Iterator[str], prefix: str, start: str | None) -> str | None:
        """Make the nodes of siblings, each on the tensor before it, and return the last tensor."""
        current = start
        for part in parts:
            if isinstance(part, _Fork):
                ends = [self._emit(branch, names, prefix, current) for branch in part.branches]
                if part.op is None:
                    self.sides += [end for end in ends if end is not None and end != current]
                else:
                    current = self._make(Call(part.op, {}, part.place), prefix + next(names), prefix, ends)
            elif isinstance(part, _Nested):
                path = prefix + next(names)
                current = self._run(part.items, path + "/", current, part.scope)
            else:
                current = self._make(part.call, prefix + next(names), prefix, [current])
        return current

    def _make(self, call: Call | None, path: str, prefix: str, inputs: list[str | None]) -> str | None:
        """The layer or the block's layers that a call stands for, on `inputs` unless it names others."""
        if call is None:
            self.tensors[path] = None
            return None
        shares, functional = None, call.arguments.get("functional", False)
        try:
            if "inputs" in call.arguments:
                given, place = call.arguments["inputs"], call.place("inputs")
                inputs = [
                    self._tensor(name, prefix, place) for name in (given if isinstance(given, tuple) else (given,))
                ]
            if "shares" in call.arguments:
                shares = self._tensor(call.arguments["shares"], prefix, call.place("shares"))
            if not isinstance(functional, bool):
                raise Fault(call.place("functional"), f"functional must be true or false, not {functional!r}")
            if call.callee not in self.spec.blocks:
                return self._make_node(call, path, inputs, shares, functional)
            if len(inputs) != 1:
                raise Fault(call.place("inputs"), f"a block takes 1 input, not {len(inputs)}")
            return self._make_block(call, path, inputs[0])
        except _TooLarge:
            raise
        except Fault as fault:
            self.problems.append(fault.problem)
            self._step(fault.problem.place or call.place(), 0)
            self.tensors[path] = None
            return None

    def _make_block(self, call: Call, path: str, start: str | None) -> str | None:
        block = self.spec.blocks[call.callee]
        if block.name in self.open_blocks:
            around = " → ".join([*self.open_blocks[self.open_blocks.index(block.name) :], block.name])
            raise Fault(call.place(), f"the block {block.name!r} includes itself: {around}")
        if len(self.open_blocks) >= MAX_DEPTH:
            raise Fault(call.place(), f"blocks within blocks, more than {MAX_DEPTH} deep")
        if not block.sound:
            self.tensors[path] = None
            return None
        scope = {**self.settings, **call.arguments}
        for name, default in block.arguments.items():
            if name not in call.arguments and default is not None:
                scope[name] = default.value(scope)
        self.open_blocks.append(block.name)
        try:
            return self._run(block.items, path + "/", start, scope)
        finally:
            self.open_blocks.pop()

    def _make_node(
        self, call: Call, path: str, inputs: list[str | None], shares: str | None = None, functional: bool = False
    ) -> str | None:
        fields = {name: value for name, value in call.arguments.items() if name not in OF_CALLS}
        try:
            op = OPS[call.callee](**fields)
        except OpError as error:
            for name, value in fields.items():  # an op stops at its first bad field: here are the others
                try:
                    OPS[call.callee].arguments[name].read(name, value)
                except OpError as other:
                    if other.field != error.field:
                        self.problems.append(Problem(call.place(name), str(other)))
            raise Fault(call.place(error.field), str(error)) from None
        if op.arity == (0, 0) and "inputs" not in call.arguments:
            inputs = []
        taken = [name for name in inputs if name is not None]
        if len(self.nodes) >= MAX_LAYERS:
            raise _TooLarge(call.place(), f"the spec makes more than {MAX_LAYERS:,} layers")
        if path in self.calls:
            raise Fault(call.place(), f"{path!r} is the name of two layers")
        self.calls[path] = call
        made = path if len(taken) == len(inputs) else None
        if made is not None:
            origin = f"{self.spec.file}:{call.line + 1}"
            self.nodes.append(Node(path, op, tuple(taken), shares, origin, functional))
        self.tensors[path] = made
        above = path
        while "/" in above:  # a group's tensor is its last; a layer's own name stays its own
            above = above[: above.rindex("/")]
            if above not in self.calls and above not in self.inputs:
                self.tensors[above] = made
        return made

    def _tensor(self, name: Any, prefix: str, place: Place) -> str | None:
        """The tensor that `name` refers to.

        It is relative to the enclosing group, or from the root with a leading /; a leading ../ leaves a part of the
        group's path, and . is what the group runs on.
        """
        if not isinstance(name, str):
            raise Fault(place, f"an input is the name of a layer, not {name!r}")
        wanted = name
        while name.startswith("../"):
            if not prefix:
                raise Fault(place, f"{wanted!r} leads out of the network")
            prefix, name = prefix[: prefix[:-1].rfind("/") + 1], name[3:]
        if name == ".":
            if prefix not in self.starts:
                raise Fault(place, f"{wanted!r}: {prefix[:-1]!r} is part of a layer's name, and no group")
            return self.starts[prefix]
        path = name[1:] if name.startswith("/") else prefix + name
        if path in self.tensors:
            return self.tensors[path]
        recent = [*self.tensors][-300:]
        below = [t[len(prefix) :] for t in recent if t.startswith(prefix)]
        near = did_you_mean(name, [*below, *("/" + t for t in recent)])
        where = f" below {prefix[:-1]!r}" if prefix and not name.startswith("/") else ""
        raise Fault(place, f"no layer {name!r} before this one{where}{near}")

    def _step(self, place: Place, times: int = 1) -> None:
        self.steps += times
        if len(self.problems) > MAX_MISTAKES:
            raise _TooLarge(below(place), f"more than {MAX_MISTAKES} mistakes: nothing below is read")
        if self.steps > MAX_STEPS:
            raise _TooLarge(place, f"the spec unrolls to more than {MAX_STEPS:,} items")


class _TooLarge(Fault):
    """Ends the unrolling: whatever else is wrong, this is too large."""
