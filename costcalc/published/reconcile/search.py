"""The search for the ways of counting that give a published number.

An explanation is the TARGET or another variant of its family, one counting rule, and at most one slip. The prior costs
of these parts add up, and the search goes through all candidates in the order of their costs. It ends at the cost at
which so many numbers have an explanation that an explanation means nothing (`priors.MAX_EXPLAINED_FRACTION`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, get_args

from costcalc.core.dtypes import element_bytes
from costcalc.core.errors import CostcalcError
from costcalc.core.sizes import Count, Shape, is_plain
from costcalc.core.units import round_half_up
from costcalc.frontends.spec.catalogue import find_spec
from costcalc.frontends.target import ImportedModel, is_imported
from costcalc.published.reconcile.bridge import BridgeStep, bridge
from costcalc.published.reconcile.candidates import Candidate, CandidateGenerator, CandidateSource, SingleModelSpec
from costcalc.published.reconcile.counting_rules import counting_rules, describe_counting
from costcalc.published.reconcile.network_terms import NetworkTerms, TermCounter
from costcalc.published.reconcile.priors import MAX_EXPLAINED_FRACTION, TRUNCATED_COST
from costcalc.published.reconcile.published_number import (
    QUANTITIES,
    PublishedNumber,
    Quantity,
    UnitInterpretation,
    parse_published_number,
)

Match = Literal["exact", "rounds", "truncated"]
MATCHES: tuple[Match, ...] = get_args(Match)


class OwnCount(NamedTuple):
    """The project's count of the target by one way of counting."""

    quantity: Quantity
    label: str
    conventions: tuple[str, ...]
    value: Count

    @property
    def counted_as(self) -> str:
        """The way of counting, in words."""
        return describe_counting(self.quantity, self.label, self.conventions)


class Explanation(NamedTuple):
    """A way of counting that gives the number as printed. It is a possibility, not a proof."""

    architecture: str
    quantity: Quantity
    label: str
    conventions: tuple[str, ...]
    change: str  # the slip and the batch in words; empty for the network as it is
    layers: tuple[str, ...]  # the layers that the slip may be about, any one of them
    value: Count
    match: Match
    unit: str  # the reading of an ambiguous unit, such as MB or K
    cost: int
    bridge: tuple[BridgeStep, ...]
    ties: int = 0  # other explanations of the same cost
    numbers_explained: int = 0  # numbers of the window with an explanation of at most this cost

    @property
    def counted_as(self) -> str:
        """The way of counting, in words."""
        return describe_counting(self.quantity, self.label, self.conventions)


class Reconciliation(NamedTuple):
    """The explanations of a published number, the likeliest first, and the project's own counts."""

    architecture: str
    at: str | None
    batch: int
    inputs: Mapping[str, Shape]
    published: PublishedNumber
    quantities: tuple[Quantity, ...]
    explanations: tuple[Explanation, ...]
    own_counts: tuple[OwnCount, ...]
    window_size: int  # how many numbers there are of the same precision, between half and twice the published one
    exhausted: bool  # every candidate was tried; False where the search ended earlier
    unknown: tuple[str, ...]  # layers whose op is not modelled


def reconcile(
    target: str,
    value: str,
    options: Mapping[str, Any] | None = None,
    *,
    of: Iterable[Quantity] = (),
    at: str | None = None,
    dtype: str = "fp32",
) -> Reconciliation:
    """Find the ways of counting that give a published number.

    `options` are sizes and settings as `load` takes them, all plain numbers. `of` restricts the quantities; by default,
    every quantity that the unit of `value` allows is tried. `at` is a layer, or a prefix of layers, that the number is
    about.

    Raises:
        CostcalcError: `value` is no number, or `load` refuses the target or its options.
    """
    number = parse_published_number(value)
    quantities = _select_quantities(number, tuple(of))
    element_size = element_bytes(dtype)
    return _Search(target, dict(options or {}), number, quantities, at, element_size).result()


def _select_quantities(number: PublishedNumber, of: tuple[Quantity, ...]) -> tuple[Quantity, ...]:
    allowed = tuple(q for q in QUANTITIES if q != "memory") if number.quantity is None else (number.quantity,)
    for quantity in of:
        if quantity not in allowed and number.quantity is not None:
            raise CostcalcError(f"{number.text!r} is a number of {number.quantity}, and not of {quantity}")
    return tuple(q for q in QUANTITIES if q in of) or allowed


class _Match(NamedTuple):
    """A candidate under one reading of the unit, with the digits it is printed as and the cost of that."""

    candidate: Candidate
    interpretation: UnitInterpretation
    digits: int
    cost: int


class _Search:
    """Searches the candidates in the order of their costs; a network is built only when its candidates are next."""

    def __init__(
        self,
        target: str,
        options: dict[str, Any],
        number: PublishedNumber,
        quantities: tuple[Quantity, ...],
        at: str | None,
        element_size: int,
    ) -> None:
        spec, variant = (SingleModelSpec(ImportedModel(target)), target) if is_imported(target) else find_spec(target)
        self.target = variant or spec.default_variant()
        self.number, self.quantities, self.element_size = number, quantities, element_size
        self.graph = spec.build(self.target, options)
        if not all(is_plain(size) for shape in self.graph.shapes.values() for size in shape):
            raise CostcalcError(f"{self.target} has symbolic sizes or arrays of sizes: set every size to a number")
        at = at.strip("/") if at else None
        if at is not None:
            self.graph.select(at)
        self.rules = counting_rules(quantities, element_size)
        self.counter = TermCounter(self.rules, at)
        self.generator = CandidateGenerator(
            spec,
            self.target,
            options={key: value for key, value in options.items() if key != "batch"},
            batch=self.graph.batch,
            rules=self.rules,
            counter=self.counter,
            says_macs=number.is_macs,
        )
        self.unit_interpretations = {
            (rule.quantity, rule.kilo): number.unit_interpretations(rule.quantity, rule.kilo) for rule in self.rules
        }

    def result(self) -> Reconciliation:
        """Run the search."""
        explanations, exhausted = self._explanations()
        return Reconciliation(
            architecture=self.target,
            at=self.counter.at,
            batch=self.graph.batch,
            inputs={name: shape for name, shape, *_ in self.graph.inputs},
            published=self.number,
            quantities=self.quantities,
            explanations=tuple(explanations),
            own_counts=tuple(self._own_counts()),
            window_size=len(self.number.window),
            exhausted=exhausted,
            unknown=self.counter.unmodelled_layers(self.graph),
        )

    def _explanations(self) -> tuple[list[Explanation], bool]:
        """Return the explanations by rising cost, and whether every candidate was tried."""
        window = self.number.window
        sources = deque(sorted(self.generator.sources(), key=lambda source: source.min_cost))
        pending: dict[int, list[_Match]] = {}
        numbers_explained: set[int] = set()
        seen: set[Any] = set()
        explanations: list[Explanation] = []
        cost = 0
        while sources or pending:
            while sources and sources[0].min_cost <= cost:
                for match in self._matches(sources.popleft()):
                    pending.setdefault(match.cost, []).append(match)
            hits = []
            for match in pending.pop(cost, []):
                key = _identity(match)
                if key in seen:  # the same number with the same change, of a likelier network or convention
                    continue
                seen.add(key)
                if match.digits in window:
                    numbers_explained.add(match.digits)
                if match.digits == self.number.digits and not self._is_redundant(match):
                    hits.append(match)
            if len(numbers_explained) > MAX_EXPLAINED_FRACTION * len(window):
                return explanations, False
            equal_cost = [self._explanation(match) for match in hits]
            for each in sorted(equal_cost, key=lambda each: MATCHES.index(each.match)):
                explanations.append(each._replace(ties=len(hits) - 1, numbers_explained=len(numbers_explained)))
            cost += 1
        return explanations, True

    def _matches(self, source: CandidateSource) -> Iterator[_Match]:
        for candidate in self.generator.candidates(source):
            for interpretation in self.unit_interpretations[candidate.rule.quantity, candidate.rule.kilo]:
                yield from _printed_forms(candidate, interpretation)

    def _is_redundant(self, match: _Match) -> bool:
        """Return whether the value without the slip is printed as the same number: then the slip explains nothing."""
        if match.candidate.adjustment is None:
            return False
        unadjusted = match.candidate._replace(value=match.candidate.unadjusted)
        forms = _printed_forms(unadjusted, match.interpretation)
        return any(form.digits == self.number.digits and form.cost <= match.cost for form in forms)

    def _explanation(self, match: _Match) -> Explanation:
        candidate, interpretation, _, cost = match
        rule, adjustment = candidate.rule, candidate.adjustment
        batch = self.graph.batch
        exact = self.number.digits * interpretation.step == candidate.value
        at_batch = "" if candidate.batch == batch or not rule.per_image else f"at batch {candidate.batch}"
        steps = bridge(
            candidate, self.target, self._network(), self.counter, batch=batch, element_size=self.element_size
        )
        return Explanation(
            architecture=candidate.network.name,
            quantity=rule.quantity,
            label=rule.label,
            conventions=rule.conventions,
            change=", ".join(filter(None, (at_batch, adjustment.description if adjustment else ""))),
            layers=adjustment.layers if adjustment else (),
            value=candidate.value,
            match="exact" if exact else "rounds" if cost == candidate.cost else "truncated",
            unit=interpretation.description,
            cost=cost,
            bridge=tuple(steps),
        )

    def _own_counts(self) -> Iterator[OwnCount]:
        """Yield the target's count by every rule; rules with equal values share one."""
        network = self._network()
        conventions_by_count: dict[tuple[Quantity, str, Count], list[str]] = {}
        for rule in self.rules:
            value = (self.graph.batch if rule.per_image else 1) * self.counter.value(network, rule)
            conventions_by_count.setdefault((rule.quantity, rule.label, value), []).extend(rule.conventions)
        for (quantity, label, value), conventions in conventions_by_count.items():
            yield OwnCount(quantity, label, tuple(conventions), value)

    def _network(self) -> NetworkTerms:
        network = self.generator.network(self.target)
        assert network is not None
        return network


def _printed_forms(candidate: Candidate, interpretation: UnitInterpretation) -> list[_Match]:
    """Return the digits that a value is printed as, with the cost of each form: rounded half up, and truncated."""
    parts, step = candidate.value * interpretation.step.denominator, interpretation.step.numerator
    rounded, truncated = round_half_up(parts, step), parts // step
    forms = [_Match(candidate, interpretation, rounded, candidate.cost)]
    if truncated not in (rounded, 0):
        forms.append(_Match(candidate, interpretation, truncated, candidate.cost + TRUNCATED_COST))
    return forms


def _identity(match: _Match) -> Any:
    """Return a key that is equal for two matches that print the same number with the same change."""
    adjustment = match.candidate.adjustment
    return (
        match.candidate.rule.label,
        match.candidate.value,
        adjustment and adjustment.description,
        match.digits,
        match.interpretation.description,
    )
