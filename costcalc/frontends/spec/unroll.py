"""Unrolling of a spec into graph nodes: conditions are evaluated, blocks and repeats expanded, and layers named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from costcalc.core.errors import OpError, did_you_mean
from costcalc.frontends.spec.document import MAX_DEPTH, Diagnostic, Location
from costcalc.frontends.spec.expression import CALL_KEYWORDS, LayerCall, LocatedError
from costcalc.frontends.spec.items import MAX_MISTAKES, BranchItem, GroupItem, Item, Signatures, line_after
from costcalc.ir.graph import Node
from costcalc.ir.ops import OPS

if TYPE_CHECKING:
    from costcalc.frontends.spec.language import Spec

MAX_LAYERS = 20_000
MAX_STEPS = 40_000  # limit on unrolled items: nested blocks can multiply items without creating a layer


class _LayerPart(NamedTuple):
    """A call and its requested name among its siblings. The call is None if it contains a mistake."""

    name: str
    call: LayerCall | None


class _GroupPart(NamedTuple):
    """A named group and the values of the names that its expressions can use."""

    name: str
    items: tuple[Item, ...]
    scope: Mapping[str, Any]


class _BranchPart(NamedTuple):
    """Branches that start from one tensor. `op` joins their outputs; if it is None, they are side branches."""

    op: str | None
    location: Location
    branches: list[list[_Part]]


_Part = _LayerPart | _GroupPart | _BranchPart


def _requested_names(parts: Iterable[_Part]) -> Iterator[str]:
    """Yield the requested names of siblings, including branches and their join, in the order of emission."""
    for part in parts:
        if isinstance(part, _BranchPart):
            for branch in part.branches:
                yield from _requested_names(branch)
            if part.op is not None:
                yield part.op
        else:
            yield part.name


def _number_duplicates(names: list[str]) -> Iterator[str]:
    """Yield the names, with every name that occurs more than once numbered from 1."""
    shared = Counter(names)
    seen: Counter[str] = Counter()
    for name in names:
        seen[name] += 1
        yield f"{name}_{seen[name]}" if shared[name] > 1 else name


class Unroller:
    """Unrolls a spec with the values of its settings into nodes.

    A tensor is represented by the name of the node that computes it, or by None if a mistake prevented that node.
    """

    def __init__(self, spec: Spec, settings: Mapping[str, Any], inputs: Iterable[str]) -> None:
        self.spec, self.settings = spec, settings
        self.signatures = Signatures(spec.blocks)
        self.nodes: list[Node] = []
        self.problems: list[Diagnostic] = []
        self.calls: dict[str, LayerCall] = {}  # the call that created each node, by path
        # Tensors by path. The tensor of a group is the output of its last layer.
        self.tensors: dict[str, str | None] = {name: name for name in inputs}
        self.inputs = frozenset(self.tensors)
        self.group_inputs: dict[str, str | None] = {}  # the input of each group or block, by prefix
        self.side_outputs: list[str] = []
        self.block_stack: list[str] = []
        self.item_count = 0
        self.main_output: str | None = next(iter(self.tensors))
        try:
            self.main_output = self._run(spec.layers, "", self.main_output, settings)
        except _LimitExceeded as fault:
            self.problems.append(fault.diagnostic)

    def outputs(self) -> tuple[str, ...]:
        """Return the outputs that the spec lists or, by default, the main output and those of the side branches.

        Raises:
            LocatedError: a listed output is not the name of a tensor, or the main line has no layer.
        """
        if self.spec.outputs:
            for name in self.spec.outputs:
                if name.text not in self.tensors:
                    raise LocatedError(name.location, f"no layer {name.text!r}{did_you_mean(name.text, self.tensors)}")
            return tuple(o for name in self.spec.outputs if (o := self.tensors[name.text]) is not None)
        if not self.nodes and not self.problems and not self.spec.problems:
            raise LocatedError(None, "makes no layer: every item is skipped")
        if self.main_output in self.inputs and not self.problems and not self.spec.problems:
            raise LocatedError(None, "makes no layer on the main line: all are in side branches")
        return tuple(dict.fromkeys(([self.main_output] if self.main_output else []) + self.side_outputs))

    def _run(self, items: Iterable[Item], prefix: str, start: str | None, scope: Mapping[str, Any]) -> str | None:
        self.group_inputs[prefix] = start
        parts = [part for item in items for part in self._parts(item, scope)]
        names = _number_duplicates(list(_requested_names(parts)))
        return self._emit(parts, names, prefix, start)

    def _parts(self, item: Item, scope: Mapping[str, Any]) -> list[_Part]:
        """Return the parts of an item after its condition and repeats are evaluated; the list is empty for `skip`."""
        self._count_items(item.location)
        if isinstance(item, GroupItem):
            return [_GroupPart(item.name, item.items, scope)]
        if isinstance(item, BranchItem):
            branches = [self._parts(branch, scope) for branch in item.branches]
            return [_BranchPart(item.op, item.location, branches)]
        if item.expression is None:
            return [_LayerPart(item.name or "?", None)]
        try:
            calls = item.expression.layer_calls(scope, self.signatures, MAX_LAYERS)
        except LocatedError as fault:
            self.problems.append(fault.diagnostic)
            return [_LayerPart(item.name or "?", None)]
        self._count_items(item.location, len(calls))
        return [_LayerPart(item.name or call.callee, call) for call in calls]

    def _emit(self, parts: Iterable[_Part], names: Iterator[str], prefix: str, start: str | None) -> str | None:
        """Create the nodes of siblings, each with the preceding tensor as its input, and return the last tensor."""
        current = start
        for part in parts:
            if isinstance(part, _BranchPart):
                ends = [self._emit(branch, names, prefix, current) for branch in part.branches]
                if part.op is None:
                    self.side_outputs += [end for end in ends if end is not None and end != current]
                else:
                    current = self._make_call(LayerCall(part.op, {}, part.location), prefix + next(names), prefix, ends)
            elif isinstance(part, _GroupPart):
                path = prefix + next(names)
                current = self._run(part.items, path + "/", current, part.scope)
            else:
                current = self._make_call(part.call, prefix + next(names), prefix, [current])
        return current

    def _make_call(self, call: LayerCall | None, path: str, prefix: str, inputs: list[str | None]) -> str | None:
        """Create the nodes of a layer or block and return its output. The call's own `inputs=` overrides `inputs`."""
        if call is None:
            self.tensors[path] = None
            return None
        shares, functional = None, call.arguments.get("functional", False)
        try:
            if "inputs" in call.arguments:
                given, location = call.arguments["inputs"], call.location("inputs")
                inputs = [
                    self._tensor(name, prefix, location) for name in (given if isinstance(given, tuple) else (given,))
                ]
            if "shares" in call.arguments:
                shares = self._tensor(call.arguments["shares"], prefix, call.location("shares"))
            if not isinstance(functional, bool):
                raise LocatedError(call.location("functional"), f"functional must be true or false, not {functional!r}")
            if call.callee not in self.spec.blocks:
                return self._make_node(call, path, inputs, shares, functional)
            if len(inputs) != 1:
                raise LocatedError(call.location("inputs"), f"a block takes 1 input, not {len(inputs)}")
            return self._make_block(call, path, inputs[0])
        except _LimitExceeded:
            raise
        except LocatedError as fault:
            self.problems.append(fault.diagnostic)
            self._count_items(fault.diagnostic.location or call.location(), 0)
            self.tensors[path] = None
            return None

    def _make_block(self, call: LayerCall, path: str, start: str | None) -> str | None:
        block = self.spec.blocks[call.callee]
        if block.name in self.block_stack:
            around = " → ".join([*self.block_stack[self.block_stack.index(block.name) :], block.name])
            raise LocatedError(call.location(), f"the block {block.name!r} includes itself: {around}")
        if len(self.block_stack) >= MAX_DEPTH:
            raise LocatedError(call.location(), f"blocks within blocks, more than {MAX_DEPTH} deep")
        if not block.valid:
            self.tensors[path] = None
            return None
        scope = {**self.settings, **call.arguments}
        for name, default in block.arguments.items():
            if name not in call.arguments and default is not None:
                scope[name] = default.evaluate(scope)
        self.block_stack.append(block.name)
        try:
            return self._run(block.items, path + "/", start, scope)
        finally:
            self.block_stack.pop()

    def _make_node(
        self, call: LayerCall, path: str, inputs: list[str | None], shares: str | None = None, functional: bool = False
    ) -> str | None:
        fields = {name: value for name, value in call.arguments.items() if name not in CALL_KEYWORDS}
        try:
            op = OPS[call.callee](**fields)
        except OpError as error:
            for name, value in fields.items():  # an op reports only its first invalid field
                try:
                    OPS[call.callee].argument_specs[name].convert(name, value)
                except OpError as other:
                    if other.field != error.field:
                        self.problems.append(Diagnostic(call.location(name), str(other)))
            raise LocatedError(call.location(error.field), str(error)) from None
        if op.arity == (0, 0) and "inputs" not in call.arguments:
            inputs = []
        taken = [name for name in inputs if name is not None]
        if len(self.nodes) >= MAX_LAYERS:
            raise _LimitExceeded(call.location(), f"the spec makes more than {MAX_LAYERS:,} layers")
        if path in self.calls:
            raise LocatedError(call.location(), f"{path!r} is the name of two layers")
        self.calls[path] = call
        made = path if len(taken) == len(inputs) else None
        if made is not None:
            origin = f"{self.spec.file}:{call.line + 1}"
            self.nodes.append(Node(path, op, tuple(taken), shares, origin, functional))
        self.tensors[path] = made
        above = path
        while "/" in above:  # update the enclosing groups, but not layers or inputs with such a name
            above = above[: above.rindex("/")]
            if above not in self.calls and above not in self.inputs:
                self.tensors[above] = made
        return made

    def _tensor(self, name: Any, prefix: str, location: Location) -> str | None:
        """Return the tensor that `name` refers to.

        A name is relative to the enclosing group. A leading `/` makes it relative to the root, each leading `../`
        moves one group up, and `.` refers to the input of the group.

        Raises:
            LocatedError: no earlier layer or input has this name.
        """
        if not isinstance(name, str):
            raise LocatedError(location, f"an input is the name of a layer, not {name!r}")
        wanted = name
        while name.startswith("../"):
            if not prefix:
                raise LocatedError(location, f"{wanted!r} goes above the top level of the network")
            prefix, name = prefix[: prefix[:-1].rfind("/") + 1], name[3:]
        if name == ".":
            if prefix not in self.group_inputs:
                raise LocatedError(location, f"{wanted!r}: {prefix[:-1]!r} is part of a layer's name, and no group")
            return self.group_inputs[prefix]
        path = name[1:] if name.startswith("/") else prefix + name
        if path in self.tensors:
            return self.tensors[path]
        recent = [*self.tensors][-300:]
        below = [t[len(prefix) :] for t in recent if t.startswith(prefix)]
        near = did_you_mean(name, [*below, *("/" + t for t in recent)])
        where = f" below {prefix[:-1]!r}" if prefix and not name.startswith("/") else ""
        raise LocatedError(location, f"no layer {name!r} before this one{where}{near}")

    def _count_items(self, location: Location, times: int = 1) -> None:
        self.item_count += times
        if len(self.problems) > MAX_MISTAKES:
            raise _LimitExceeded(line_after(location), f"more than {MAX_MISTAKES} mistakes: nothing below is read")
        if self.item_count > MAX_STEPS:
            raise _LimitExceeded(location, f"the spec unrolls to more than {MAX_STEPS:,} items")


class _LimitExceeded(LocatedError):
    """Stops the unrolling of a spec that exceeds a limit; mistakes in later items are not collected."""
