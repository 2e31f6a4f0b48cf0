"""Design moves by name, and their application to graphs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any, NamedTuple

from costcalc.core.errors import CostcalcError, did_you_mean
from costcalc.ir.graph import Graph, GraphError
from costcalc.transforms.edit import Change, Edit, Skip, matches, prefixes

_FAMILIES = ("convolutions", "inception", "heads", "pointwise_convolutions", "stem", "residual", "removal")


class MoveArgument(NamedTuple):
    """The argument of a rule, after the colon; `read` parses it and raises ValueError with the allowed values."""

    name: str  # in help and messages: RATIO, A|B|C
    read: Callable[[str], Any]
    default: str | None = None  # None: required
    examples: tuple[str, ...] = ()  # for an overview of all moves


def _ratio(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) < 2:
        raise ValueError(f"RATIO, the divisor of the channels, must be an integer of at least 2, not {text!r}")
    return int(text)


RATIO = MoveArgument("RATIO", _ratio, "4", examples=("4",))


class Rule(NamedTuple):
    """A design move: `apply` searches a graph for the layers it fits, and requests their edits."""

    name: str
    apply: Callable[..., None]
    argument: MoveArgument | None
    same_function: bool  # the network computes the same function once its weights are carried over
    remedy: str | None = None  # advice if layers would not fit; by default, to change fewer layers

    @property
    def call(self) -> str:
        """The move as written on the command line."""
        if self.argument is None:
            return self.name
        written = f"{self.name}:{self.argument.name}"
        return written if self.argument.default is None else f"{self.name}[:{self.argument.name}]"

    @property
    def examples(self) -> list[str]:
        """The moves for an overview: the rule without an argument, or with example arguments."""
        if self.argument is None:
            return [self.name]
        return [f"{self.name}:{text}" if text else self.name for text in self.argument.examples]

    @property
    def doc(self) -> str:
        """Its documentation: one sentence, then numbered rules."""
        return inspect.cleandoc(self.apply.__doc__ or "")


class AppliedMove(NamedTuple):
    """One rule applied: the layers it changed, and those it skipped with the reasons."""

    rule: str
    changed: tuple[Change, ...]
    skipped: tuple[Skip, ...]


class Rewriting(NamedTuple):
    """A graph before and after design moves, and the results of each move."""

    before: Graph
    after: Graph
    steps: tuple[AppliedMove, ...]

    @property
    def changed(self) -> tuple[Change, ...]:
        """All changes, in the order of the moves."""
        return tuple(change for step in self.steps for change in step.changed)

    @property
    def skipped(self) -> tuple[Skip, ...]:
        """All skipped layers, in the order of the moves."""
        return tuple(skip for step in self.steps for skip in step.skipped)


_RULES: dict[str, Rule] = {}


def rule(
    name: str, argument: MoveArgument | None = None, *, same_function: bool = False, remedy: str | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function of an `Edit`, and an argument if the rule has one, as the rule of that name."""

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
    """Return the rule of that name. Raises CostcalcError, with the nearest names, if there is none."""
    known = rules()
    if name not in known:
        calls = ", ".join(rule.call for rule in known.values())
        raise CostcalcError(f"no design move {name!r}{did_you_mean(name, known)}: there are {calls}")
    return known[name]


def rewrite(graph: Graph, *moves: str, at: str | Iterable[str] = ()) -> Rewriting:
    """Apply design moves in sequence, each to the result of the one before.

    A move is the name of a rule, with its argument after a colon: `stack3x3`, `reduce:4`, `shortcut:A` (`rules()` has
    all). `at` limits them to layers whose path, or a prefix of it, matches one of the patterns, such as `inception4*`;
    without patterns, all layers may change. Sizes may be numbers, arrays or symbols; conditions on symbols become
    assumptions of the new graph.

    Raises:
        CostcalcError: a move does not exist, a pattern matches no layer, elements of an array would give different
            networks, or the new layers do not fit together.
    """
    if not isinstance(graph, Graph):
        raise TypeError(f"rewrite needs a graph, such as costcalc.load('vgg16'), not {graph!r}")
    if not all(isinstance(move, str) for move in moves):
        raise TypeError(f"design moves must be strings, such as 'stack3x3', 'reduce:4', not {moves!r}")
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
            remedy = rule.remedy or ("" if patterns else "limit the layers with --at")
            message = f"{move} cannot be applied to {after.name}: its layers would not fit together"
            raise CostcalcError(f"{message}{remedy and '; '}{remedy}\n{error}") from None
        steps.append(AppliedMove(move, tuple(edit.changes), tuple(edit.skips)))
    return Rewriting(graph, after, tuple(steps))


def _parse(move: str) -> tuple[Rule, tuple[Any, ...]]:
    """The rule that a move names, and its parsed argument."""
    name, colon, text = move.partition(":")
    rule = rule_named(name)
    if rule.argument is None:
        if colon:
            raise CostcalcError(f"{name} has no argument: remove {colon + text!r}")
        return rule, ()
    if not colon:
        if rule.argument.default is None:
            raise CostcalcError(f"{name} needs an argument: {rule.call}")
        text = rule.argument.default
    if colon and not text:
        raise CostcalcError(f"{move} has no argument after the colon: {rule.call}")
    try:
        return rule, (rule.argument.read(text),)
    except ValueError as error:
        raise CostcalcError(f"{move}: {error}") from None


def _check_patterns(graph: Graph, patterns: Iterable[str]) -> None:
    names = [node.name for node in graph.nodes]
    for pattern in patterns:
        if not any(matches(name, pattern) for name in names):
            paths = dict.fromkeys(prefix for name in names for prefix in prefixes(name))
            raise CostcalcError(f"{graph.name} has no layer {pattern!r}{did_you_mean(pattern, paths)}")
