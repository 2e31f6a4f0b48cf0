"""Counting rules: the ways in which conventions count a quantity, each listed once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from typing import Any, NamedTuple

from costcalc.analysis.conventions import CONVENTIONS, Convention, Term, no_layers
from costcalc.ir.graph import Graph
from costcalc.published.reconcile.published_number import Quantity

BYTES_OF_PARAMETERS = "bytes of parameters"
QUANTITY_LABELS = {"flops": "MACs", "params": "parameters", "activations": "activation elements"}


class CountingRule(NamedTuple):
    """One way of counting a quantity: a sum of terms, and the conventions that count in this way."""

    quantity: Quantity
    label: str  # the name of the project's own count
    conventions: tuple[str, ...]
    terms: tuple[Term, ...] = ()
    multiplier: int = 1  # bytes per element, times the copies that the convention stores
    excluded_layers: Callable[[Graph], Set[str]] = no_layers
    kilo: int = 1000  # value of K
    batch: int = 1  # batch size of the convention's own tables
    includes_input: bool = False
    per_image: bool = True  # grows with the batch
    prior: int = 0


def counting_rules(quantities: Iterable[Quantity], element_size: int) -> list[CountingRule]:
    """Return every counting rule of these quantities, by rising prior cost; conventions with equal rules share one."""
    rules: dict[Any, CountingRule] = {}
    for quantity in quantities:
        for convention in CONVENTIONS.values():
            for rule in _counting_rules_of(convention, quantity, element_size):
                key = rule._replace(conventions=(), prior=0)
                known = rules.get(key, rule._replace(conventions=()))
                names = sorted((*known.conventions, convention.name), key=lambda name: CONVENTIONS[name].prior)
                rules[key] = known._replace(conventions=tuple(names), prior=min(known.prior, rule.prior))
    return sorted(rules.values(), key=lambda rule: rule.prior)


def _counting_rules_of(convention: Convention, quantity: Quantity, element_size: int) -> Iterator[CountingRule]:
    rule = CountingRule(
        quantity=quantity,
        label=QUANTITY_LABELS.get(quantity, ""),
        conventions=(convention.name,),
        prior=convention.prior,
    )
    of_activations = rule._replace(
        terms=convention.activations,
        excluded_layers=convention.excluded_layers,
        includes_input=convention.includes_input,
    )
    of_parameters = rule._replace(terms=convention.parameters, per_image=False)
    if quantity == "flops":
        yield rule._replace(terms=convention.work, batch=convention.batch)
    elif quantity == "params":
        yield of_parameters._replace(kilo=convention.kilo)
    elif quantity == "activations":
        yield of_activations
    else:
        yield of_parameters._replace(label=BYTES_OF_PARAMETERS, multiplier=element_size * convention.param_copies)
        yield of_activations._replace(
            label="bytes of activations",
            multiplier=element_size * convention.activation_copies,
            batch=convention.batch,
        )


def describe_counting(quantity: Quantity, label: str, conventions: tuple[str, ...]) -> str:
    """Describe a way of counting by its conventions and, for quantities other than operations, by its label."""
    if quantity == "flops":
        return ", ".join(conventions)
    return label if "flops" in conventions else f"{label} of {', '.join(conventions)}"
