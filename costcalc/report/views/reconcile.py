"""The explanations of a published number as a document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from costcalc.analysis.conventions import CONVENTIONS
from costcalc.core.sizes import format_inputs
from costcalc.core.units import BINARY, DECIMAL, round_half_up
from costcalc.report.document import Column, Document, Table

_MATCH = {"exact": "exact", "rounds": "rounded", "truncated": "truncated"}
_CHANCE = (
    "Chance: the part of the {numbers:,} numbers printed to the same precision between half and twice this one for "
    "which an explanation at least as ordinary can be found. An explanation is a candidate and no proof: the likelier "
    "it is to be found for any number, the less it says."
)


def reconciliation(found: Any, top: int = 10) -> Document:
    """The `top` explanations of a number and the bridge to each, or our own numbers where there is none.

    `found` is a `reconcile.Reconciliation`; JSON has all explanations.
    """
    tables = _explained(found, top) if found.explanations else (_unexplained(found),)
    return Document(tables, _data(found))


def _headline(found: Any) -> str:
    where = found.architecture if found.at is None else f"{found.at} of {found.architecture}"
    inputs = format_inputs(found.inputs)
    return f"{found.published.text} for {where}\n{inputs}, batch {found.batch}"


def _explained(found: Any, top: int) -> tuple[Table, ...]:
    shown = found.explanations[:top]
    columns = (
        Column("#", "rank", "exact"),
        Column("network", "architecture"),
        Column("counted as", "counted_as"),
        Column("and", "change"),
        Column("exactly", "value", "exact"),
        Column("printed", "match"),
        Column("cost", "cost", "exact"),
        Column("chance", "chance", "share"),
    )
    rows = [
        (
            rank,
            each.architecture,
            each.counted_as,
            _change(each),
            each.value,
            _MATCH[each.match] + (f", {each.unit}" if each.unit else ""),
            each.cost,
            each.numbers_explained / found.window_size,
        )
        for rank, each in enumerate(shown, 1)
    ]
    best = shown[0]
    notes = [_sentence(best, found.published)]
    if len(best.layers) > 1:
        layers = ", ".join(best.layers[:12]) + (", …" if len(best.layers) > 12 else "")
        notes.append(f"The layer is any one of {len(best.layers)}: {layers}.")
    rule = CONVENTIONS[best.conventions[0]]
    if best.quantity == "flops" or rule.name != "flops":
        notes.append(f"Convention {rule.name}: {rule.definition}")
    notes.append(
        f"{best.ties} other{'s are' if best.ties > 1 else ' is'} as ordinary as the first."
        if best.ties
        else "No other is as ordinary as the first."
    )
    if len(found.explanations) > top:
        notes.append(f"{len(found.explanations) - top} more, less ordinary: --top {len(found.explanations)}.")
    notes.append(_CHANCE.format(numbers=found.window_size))
    notes += _unknown(found)
    steps = (Column("#", "rank", "exact"), Column("step", "step"), Column("amount", "amount", "exact"))
    bridges: list[tuple[Any, ...]] = []
    for rank, each in enumerate(shown, 1):
        bridges += [(rank if i == 0 else "", step.description, step.amount) for i, step in enumerate(each.bridge)]
        bridges.append(("", f"= {each.architecture}, {each.counted_as}", each.value))
    return (
        Table(_headline(found), columns, tuple(rows), (), tuple(notes)),
        Table("From our number to theirs", steps, tuple(bridges)),
    )


def _change(each: Any) -> str:
    return str(each.change) + (f" (any of {len(each.layers)})" if len(each.layers) > 1 else "")


def _sentence(best: Any, number: Any) -> str:
    """The first bridge in one line, in the unit of the printed number: `4.134 G = 3.858 G MACs of resnet50 + …`."""
    binary = "2^" in best.unit or number.is_binary
    unit, scale = list((BINARY if binary else DECIMAL).items())[number.prefix_power]
    unit = unit.removesuffix("B") if binary else unit
    parts = [f"{_in(abs(step.amount), scale, unit)} {step.description}" for step in best.bridge]
    signs = ["", *(" − " if step.amount < 0 else " + " for step in best.bridge[1:])]
    return f"{_in(best.value, scale, unit)} = {''.join(s + p for s, p in zip(signs, parts, strict=True))}."


def _in(value: Any, scale: int, unit: str) -> str:
    if scale == 1:
        return f"{value:,}"
    thousandths = round_half_up(1000 * value, scale)
    return f"{thousandths // 1000:,}.{thousandths % 1000:03d} {unit}" if thousandths else f"<0.001 {unit}"


def _unexplained(found: Any) -> Table:
    columns = (Column("ours", "counted_as"), Column("exactly", "value", "exact"))
    rows = tuple((each.counted_as, each.value) for each in found.own_counts)
    notes = ["No explanation: no variant, convention and single change gives this number."]
    if not found.exhausted:
        notes = [
            "No explanation. The search ended where more than a third of all numbers printed to this precision would "
            "have one, and having one would say nothing."
        ]
    return Table(_headline(found), columns, rows, (), (*notes, *_unknown(found)))


def _unknown(found: Any) -> Sequence[str]:
    return (
        [f"Not counted, so that our numbers are lower bounds (≥): {', '.join(found.unknown)}."] if found.unknown else []
    )


def _data(found: Any) -> dict[str, Any]:
    number = found.published
    return {
        "schema": "costcalc/reconcile/1",
        "architecture": found.architecture,
        "layer": found.at,
        "batch": found.batch,
        "inputs": {name: list(shape) for name, shape in found.inputs.items()},
        "published": number.text,
        "quantities": list(found.quantities),
        "numbers": found.window_size,
        "exhausted": found.exhausted,
        "explanations": [
            {
                "architecture": each.architecture,
                "quantity": each.quantity,
                "counted_as": each.counted_as,
                "conventions": list(each.conventions),
                "change": each.change or None,
                "layers": list(each.layers),
                "exact": each.value,
                "match": each.match,
                "unit": each.unit or None,
                "cost": each.cost,
                "alike": each.ties,
                "explained": each.numbers_explained,
                "bridge": [{"step": step.description, "amount": step.amount} for step in each.bridge],
            }
            for each in found.explanations
        ],
        "ours": [
            {
                "quantity": each.quantity,
                "counted_as": each.counted_as,
                "conventions": list(each.conventions),
                "exact": each.value,
            }
            for each in found.own_counts
        ],
        "unknown": list(found.unknown),
    }
