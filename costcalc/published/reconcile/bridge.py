"""Bridges: the steps from the project's own count of a target to a candidate's value."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from costcalc.analysis.conventions import ALL_OUTPUTS, ALL_PARAMETERS, MACS, no_layers
from costcalc.core.sizes import Count
from costcalc.published.reconcile.candidates import Candidate
from costcalc.published.reconcile.counting_rules import BYTES_OF_PARAMETERS, QUANTITY_LABELS, CountingRule
from costcalc.published.reconcile.network_terms import NetworkTerms, TermCounter


class BridgeStep(NamedTuple):
    """One difference between the project's own count and a published number."""

    description: str
    amount: Count


def bridge(
    candidate: Candidate, target: str, network: NetworkTerms, counter: TermCounter, *, batch: int, element_size: int
) -> Iterator[BridgeStep]:
    """Yield the steps from the own count of the target's `network` to a candidate.

    Their amounts add up to the candidate's value, exactly.
    """
    rule = candidate.rule
    own = _own_rule(rule, element_size)
    batch = batch if rule.per_image else 1
    value = batch * counter.value(network, own)
    selected = target if counter.at is None else f"{counter.at} of {target}"
    yield BridgeStep(f"{rule.label} of {selected}", value)
    for description, stage in _stages(own, rule, candidate.network.name):
        amount = batch * counter.value(candidate.network, stage) - value
        if amount:
            value += amount
            yield BridgeStep(description, amount)
    if candidate.unadjusted != value:
        yield BridgeStep(f"batch {candidate.batch}", candidate.unadjusted - value)
    if candidate.adjustment:
        yield BridgeStep(str(candidate.adjustment), candidate.value - candidate.unadjusted)


def _own_rule(rule: CountingRule, element_size: int) -> CountingRule:
    """Return the project's own way of counting the quantity of a rule."""
    of_parameters = rule.label in (QUANTITY_LABELS["params"], BYTES_OF_PARAMETERS)
    return rule._replace(
        terms=(MACS,) if rule.quantity == "flops" else ALL_PARAMETERS if of_parameters else ALL_OUTPUTS,
        multiplier=element_size if rule.quantity == "memory" else 1,
        excluded_layers=no_layers,
        includes_input=False,
    )


def _stages(own: CountingRule, rule: CountingRule, network: str) -> Iterator[tuple[str, CountingRule]]:
    """Yield the counting rules that lead from `own` to `rule` one change at a time, each with a description."""
    yield f"as {network}", own
    stage = own
    if set(own.terms) <= set(rule.terms):
        for term in rule.terms:
            if term not in own.terms:
                stage = stage._replace(terms=(*stage.terms, term))
                yield term.description, stage
    else:
        stage = stage._replace(terms=rule.terms)
        yield f"{' and '.join(term.description for term in rule.terms)} alone", stage
    stage = stage._replace(excluded_layers=rule.excluded_layers)
    yield f"layers that {' and '.join(rule.conventions)} leaves out", stage
    yield "the input", stage._replace(includes_input=rule.includes_input)
    yield f"stored {rule.multiplier // own.multiplier} times", rule
