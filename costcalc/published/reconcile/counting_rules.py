"""The ways to count a quantity: those of all conventions, each sum of terms once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from typing import Any, NamedTuple

from costcalc.analysis.conventions import CONVENTIONS, Convention, Term, no_layers
from costcalc.ir.graph import Graph
from costcalc.published.reconcile.published_number import Quantity

BYTES_OF_PARAMETERS = "bytes of parameters"
LABELS = {"flops": "MACs", "params": "parameters", "activations": "activation elements"}


class Measure(NamedTuple):
    """One way of counting a quantity: a sum of terms, and the conventions that count so.

    `label` is what our own number is called. Bytes are `copies` × the terms; `with_input` adds the input's elements;
    `kilo` is what K is worth; `batch` that of the source's tables, 1 where they have none of their own.
    """

    quantity: Quantity
    label: str
    conventions: tuple[str, ...]
    terms: tuple[Term, ...]
    copies: int
    excluded_layers: Callable[[Graph], Set[str]]
    kilo: int
    batch: int
    includes_input: bool
    per_image: bool
    cost: int


def measures(quantities: Iterable[Quantity], element: int) -> list[Measure]:
    """Every way to count these quantities, conventions that count alike together, the most ordinary first."""
    found: dict[Any, Measure] = {}
    for quantity in quantities:
        for rule in CONVENTIONS.values():
            for measure in _measures_of(rule, quantity, element):
                key = measure._replace(conventions=(), cost=0)
                known = found.get(key, measure._replace(conventions=()))
                names = sorted((*known.conventions, rule.name), key=lambda name: CONVENTIONS[name].prior)
                found[key] = known._replace(conventions=tuple(names), cost=min(known.cost, measure.cost))
    return sorted(found.values(), key=lambda measure: measure.cost)


def _measures_of(rule: Convention, quantity: Quantity, element: int) -> Iterator[Measure]:
    names, cost = (rule.name,), rule.prior
    plain = Measure(quantity, LABELS.get(quantity, ""), names, (), 1, no_layers, 1000, rule.batch, False, True, cost)
    if quantity == "flops":
        yield plain._replace(terms=rule.work)
    elif quantity == "params":
        yield plain._replace(terms=rule.parameters, kilo=rule.kilo, batch=1, per_image=False)
    elif quantity == "activations":
        yield plain._replace(
            terms=rule.activations, excluded_layers=rule.excluded_layers, includes_input=rule.includes_input, batch=1
        )
    else:
        yield plain._replace(
            label=BYTES_OF_PARAMETERS,
            terms=rule.parameters,
            copies=element * rule.param_copies,
            batch=1,
            per_image=False,
        )
        yield plain._replace(
            label="bytes of activations",
            terms=rule.activations,
            copies=element * rule.activation_copies,
            excluded_layers=rule.excluded_layers,
            includes_input=rule.includes_input,
        )


def counted_as(quantity: Quantity, label: str, conventions: tuple[str, ...]) -> str:
    """How something is counted, in words: its conventions, and of what where that is not operations."""
    if quantity == "flops":
        return ", ".join(conventions)
    return label if "flops" in conventions else f"{label} of {', '.join(conventions)}"
