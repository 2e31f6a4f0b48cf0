"""Rules, and applying them: a design move by its name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any, NamedTuple

from costcalc.core.errors import CostcalcError, did_you_mean
from costcalc.ir.graph import Graph, GraphError
from costcalc.transforms.edit import Change, Edit, Skip, matches, prefixes

_FAMILIES = ("convolutions", "inception", "heads", "pointwise", "stem", "residual", "layers")


class MoveArgument(NamedTuple):
    """What a rule takes after its colon: `read` makes it of the text, and raises ValueError saying what it must be."""

    name: str  # as help and messages call it: RATIO, A|B|C
    read: Callable[[str], Any]
    default: str | None = None  # None: it must be given
    examples: tuple[str, ...] = ()  # what an overview of all moves tries


def _ratio(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) < 2:
        raise ValueError(f"RATIO is what channels are divided by, a whole number of at least 2, not {text!r}")
    return int(text)


RATIO = MoveArgument("RATIO", _ratio, "4", examples=("4",))


class Rule(NamedTuple):
    """A design move: `apply` finds its places in a graph, and asks for their edits."""

    name: str
    apply: Callable[..., None]
    argument: MoveArgument | None
    same_function: bool  # the network computes what it computed, once its weights are carried over
    remedy: str | None = None  # what may help where layers would no longer fit; unless said, fewer places

    @property
    def call(self) -> str:
        """How it is written on a command line."""
        if self.argument is None:
            return self.name
        written = f"{self.name}:{self.argument.name}"
        return written if self.argument.default is None else f"{self.name}[:{self.argument.name}]"

    @property
    def examples(self) -> list[str]:
        """The moves that an overview tries: the rule as it is, or with a few arguments."""
        if self.argument is None:
            return [self.name]
        return [f"{self.name}:{text}" if text else self.name for text in self.argument.examples]

    @property
    def doc(self) -> str:
        """What it does: one sentence, then its rules by number."""
        return inspect.cleandoc(self.apply.__doc__ or "")


class AppliedMove(NamedTuple):
    """One rule applied: the places it changed, and those it left and why."""

    rule: str
    changed: tuple[Change, ...]
    skipped: tuple[Skip, ...]


class Rewriting(NamedTuple):
    """A graph under design moves: as it was, as it became, and what each move did on the way."""

    before: Graph
    after: Graph
    steps: tuple[AppliedMove, ...]

    @property
    def changed(self) -> tuple[Change, ...]:
        """All places changed, in the order of the moves."""
        return tuple(change for step in self.steps for change in step.changed)

    @property
    def skipped(self) -> tuple[Skip, ...]:
        """All places left as they were, in the order of the moves."""
        return tuple(skip for step in self.steps for skip in step.skipped)


_RULES: dict[str, Rule] = {}


def rule(
    name: str, argument: MoveArgument | None = None, *, same_function: bool = False, remedy: str | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function of an `Edit` (and its argument, if it takes one) the rule of that name."""

    def declare(apply: Callable[..., None]) -> Callable[..., None]:
        assert name not in _RULES, f"two rules {name}"
        _RULES[name] = Rule(name, apply, argument, same_function, remedy)
        return apply

    return declare


def rules() -> Mapping[str, Rule]:
    """All rules by name."""
    for family in _FAMILIES:
        import_module(f"costcalc.transforms.{family}")
    return _RULES


def rule_named(name: str) -> Rule:
    """The rule of that name. Raises CostcalcError, with what may have been meant, when there is none."""
    known = rules()
    if name not in known:
        calls = ", ".join(rule.call for rule in known.values())
        raise CostcalcError(f"no design move {name!r}{did_you_mean(name, known)}: there are {calls}")
    return known[name]


def rewrite(graph: Graph, *moves: str, at: str | Iterable[str] = ()) -> Rewriting:
    """Apply design moves one after the other, each to what the one before made.

    A move is a rule's name, with its argument after a colon: `stack3x3`, `reduce:4`, `shortcut:A` (`rules()` has all).
    `at` limits them to the layers whose path, or a prefix of it, matches a pattern such as `inception4*`; of several
    patterns, any; without a pattern, all are. Sizes may be of any carrier: what a move had to take for granted of
    symbols is among the new graph's assumptions. Raises CostcalcError for a move that is none, for a pattern that
    matches nothing, for an array whose elements would become different networks, and where layers would no longer fit
    together.
    """
    if not isinstance(graph, Graph):
        raise TypeError(f"rewrite takes a graph, such as costcalc.load('vgg16'), not {graph!r}")
    if not all(isinstance(move, str) for move in moves):
        raise TypeError(f"design moves are texts, one after the other, such as 'stack3x3', 'reduce:4': not {moves!r}")
    patterns = (at,) if isinstance(at, str) else tuple(at)
    parsed = [_parse(move) for move in moves]
    steps = []
    after = graph
    for move, (rule, arguments) in zip(moves, parsed, strict=True):
        _check_patterns(after, patterns)
        edit = Edit(after, patterns)
        rule.apply(edit, *arguments)
        try:
            after = edit.finish(f"{after.name}+{move}")
        except GraphError as error:
            remedy = rule.remedy or ("" if patterns else "--at limits the places")
            message = f"{move} cannot be applied to {after.name}: its layers would no longer fit together"
            raise CostcalcError(f"{message}{remedy and '; '}{remedy}\n{error}") from None
        steps.append(AppliedMove(move, tuple(edit.changes), tuple(edit.skips)))
    return Rewriting(graph, after, tuple(steps))


def _parse(move: str) -> tuple[Rule, tuple[Any, ...]]:
    """The rule that a move names, and its argument read."""
    name, colon, text = move.partition(":")
    found = rule_named(name)
    if found.argument is None:
        if colon:
            raise CostcalcError(f"{name} takes nothing after it, not {text!r}")
        return found, ()
    if not colon:
        if found.argument.default is None:
            raise CostcalcError(f"{name} needs an argument: {found.call}")
        text = found.argument.default
    if colon and not text:
        raise CostcalcError(f"{move} lacks what comes after the colon: {found.call}")
    try:
        return found, (found.argument.read(text),)
    except ValueError as error:
        raise CostcalcError(f"{move}: {error}") from None


def _check_patterns(graph: Graph, patterns: Iterable[str]) -> None:
    names = [node.name for node in graph.nodes]
    for pattern in patterns:
        if not any(matches(name, pattern) for name in names):
            paths = dict.fromkeys(prefix for name in names for prefix in prefixes(name))
            raise CostcalcError(f"{graph.name} has no layer {pattern!r}{did_you_mean(pattern, paths)}")
