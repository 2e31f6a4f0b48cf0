"""The ways of counting that give a published number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from costcalc.analysis.conventions import CONVENTIONS
from costcalc.core.sizes import Count, format_inputs
from costcalc.core.units import BINARY, DECIMAL, round_half_up
from costcalc.report.document import Cells, Column, Document, JsonObject, Table
from costcalc.report.schemas import document_data
from costcalc.report.views.heading import convention_note, shapes_data

if TYPE_CHECKING:
    from costcalc.published.reconcile import Explanation, Reconciliation
    from costcalc.published.reconcile.published_number import PublishedNumber

_MATCHES = {"exact": "exact", "rounds": "rounded", "truncated": "truncated"}
_MAX_LISTED_LAYERS = 12
_CHANCE_NOTE = (
    "Chance: the share of the {numbers:,} numbers printed to the same precision, between half and twice this one, that "
    "have an explanation at least as likely. An explanation is a possibility and no proof: the more numbers have one, "
    "the less it says."
)


def reconcile_view(result: Reconciliation, top: int = 10) -> Document:
    """Return the `top` explanations with the steps that lead to each, or the project's own counts without any.

    JSON has all explanations.
    """
    tables = _explanation_tables(result, top) if result.explanations else (_own_counts_table(result),)
    return Document(tables, _data(result))


def _headline(result: Reconciliation) -> str:
    subject = result.architecture if result.at is None else f"{result.at} of {result.architecture}"
    return f"{result.published.text} for {subject}\n{format_inputs(result.inputs)}, batch {result.batch}"


def _explanation_tables(result: Reconciliation, top: int) -> tuple[Table, Table]:
    explanations = result.explanations[:top]
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
    rows = tuple(
        (
            rank,
            each.architecture,
            each.counted_as,
            _change_text(each),
            each.value,
            _MATCHES[each.match] + (f", {each.unit}" if each.unit else ""),
            each.cost,
            each.numbers_explained / result.window_size,
        )
        for rank, each in enumerate(explanations, 1)
    )
    notes = tuple(_explanation_notes(result, top))
    bridge_columns = (Column("#", "rank", "exact"), Column("step", "step"), Column("amount", "amount", "exact"))
    steps: list[Cells] = []
    for rank, each in enumerate(explanations, 1):
        steps += [(rank if i == 0 else "", step.description, step.amount) for i, step in enumerate(each.bridge)]
        steps.append(("", f"= {each.architecture}, {each.counted_as}", each.value))
    return (
        Table(title=_headline(result), columns=columns, rows=rows, notes=notes),
        Table(title="From our number to theirs", columns=bridge_columns, rows=tuple(steps)),
    )


def _explanation_notes(result: Reconciliation, top: int) -> list[str]:
    best = result.explanations[0]
    notes = [_bridge_text(best, result.published)]
    if len(best.layers) > 1:
        more = ", …" if len(best.layers) > _MAX_LISTED_LAYERS else ""
        layers = ", ".join(best.layers[:_MAX_LISTED_LAYERS]) + more
        notes.append(f"The layer is any one of {len(best.layers)}: {layers}.")
    convention = CONVENTIONS[best.conventions[0]]
    if best.quantity == "flops" or convention.name != "flops":
        notes.append(convention_note(convention.name))
    if best.ties:
        notes.append(f"{best.ties} other{'s are' if best.ties > 1 else ' is'} as likely as the first.")
    else:
        notes.append("No other is as likely as the first.")
    total = len(result.explanations)
    if total > top:
        notes.append(f"{total - top} more, less likely: --top {total}.")
    return [*notes, _CHANCE_NOTE.format(numbers=result.window_size), *_unknown_note(result)]


def _change_text(explanation: Explanation) -> str:
    layers = len(explanation.layers)
    return explanation.change + (f" (any of {layers})" if layers > 1 else "")


def _bridge_text(explanation: Explanation, number: PublishedNumber) -> str:
    """Return the bridge in one line, in the unit of the published number: `4.134 G = 3.858 G MACs of resnet50 + …`."""
    binary = "2^" in explanation.unit or number.is_binary
    unit, scale = list((BINARY if binary else DECIMAL).items())[number.prefix_power]
    unit = unit.removesuffix("B") if binary else unit
    amounts: list[Count] = [max(step.amount, -step.amount) for step in explanation.bridge]
    parts = [
        f"{_in_unit(amount, scale, unit)} {step.description}"
        for amount, step in zip(amounts, explanation.bridge, strict=True)
    ]
    signs = ["", *(" − " if step.amount < 0 else " + " for step in explanation.bridge[1:])]
    terms = "".join(sign + part for sign, part in zip(signs, parts, strict=True))
    return f"{_in_unit(explanation.value, scale, unit)} = {terms}."


def _in_unit(value: Count, scale: int, unit: str) -> str:
    if scale == 1:
        return f"{value:,}"
    thousandths = round_half_up(1000 * value, scale)
    return f"{thousandths // 1000:,}.{thousandths % 1000:03d} {unit}" if thousandths else f"<0.001 {unit}"


def _own_counts_table(result: Reconciliation) -> Table:
    columns = (Column("ours", "counted_as"), Column("exactly", "value", "exact"))
    rows = tuple((each.counted_as, each.value) for each in result.own_counts)
    note = "No explanation: no variant, convention and single change gives this number."
    if not result.exhausted:
        note = (
            "No explanation. The search ended where more than a third of all numbers printed to this precision would "
            "have one, so that an explanation would say nothing."
        )
    return Table(title=_headline(result), columns=columns, rows=rows, notes=(note, *_unknown_note(result)))


def _unknown_note(result: Reconciliation) -> Sequence[str]:
    names = ", ".join(result.unknown)
    return [f"Not counted, so that our numbers are lower bounds (≥): {names}."] if names else []


def _data(result: Reconciliation) -> JsonObject:
    return document_data(
        "reconcile",
        architecture=result.architecture,
        layer=result.at,
        batch=result.batch,
        inputs=shapes_data(result.inputs),
        published=result.published.text,
        quantities=list(result.quantities),
        numbers=result.window_size,
        exhausted=result.exhausted,
        explanations=[_explanation_data(each) for each in result.explanations],
        ours=[
            {
                "quantity": each.quantity,
                "counted_as": each.counted_as,
                "conventions": list(each.conventions),
                "exact": each.value,
            }
            for each in result.own_counts
        ],
        unknown=list(result.unknown),
    )


def _explanation_data(explanation: Explanation) -> JsonObject:
    return {
        "architecture": explanation.architecture,
        "quantity": explanation.quantity,
        "counted_as": explanation.counted_as,
        "conventions": list(explanation.conventions),
        "change": explanation.change or None,
        "layers": list(explanation.layers),
        "exact": explanation.value,
        "match": explanation.match,
        "unit": explanation.unit or None,
        "cost": explanation.cost,
        "alike": explanation.ties,
        "explained": explanation.numbers_explained,
        "bridge": [{"step": step.description, "amount": step.amount} for step in explanation.bridge],
    }
