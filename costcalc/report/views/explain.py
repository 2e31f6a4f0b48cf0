"""The formula of each cost of a layer, with its numbers and its value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from costcalc.analysis.conventions import CONVENTIONS
from costcalc.analysis.cost_table import CostTable
from costcalc.report.document import Cells, Column, Document, Table
from costcalc.report.schemas import document_data
from costcalc.report.views.counts import totals_data
from costcalc.report.views.heading import counting_notes, headline, unknown_data

if TYPE_CHECKING:
    from costcalc.exploration.symbolic import Explanation


def explain_view(costs: CostTable, layer: str, explanations: Sequence[Explanation]) -> Document:
    """Return the explanations of all layers at or below `layer`, whose costs are `costs`."""
    columns = (
        Column("layer", "layer"),
        Column("cost", "cost"),
        Column("formula", "formula"),
        Column("numbers", "numbers"),
        Column("value", "value", "exact"),
    )
    prefix = layer + "/"
    rows: list[Cells] = []
    previous = ""
    for each in explanations:
        path = each.path.removeprefix(prefix) if each.path != layer else layer.split("/")[-1]
        rows.append(("" if path == previous else path, each.quantity, each.formula, each.numbers, each.value))
        previous = path
    footer = _footer(costs) if len(costs.rows) > 1 else ()
    explained = {each.path for each in explanations}
    free = [row.path.removeprefix(prefix) for row in costs.rows if row.path not in explained and not row.unknown_layers]
    notes = [*_legend(explanations), *([f"Costs nothing here: {', '.join(free)}."] if free else [])]
    table = Table(
        title=f"{layer} of {headline(costs)}",
        columns=columns,
        rows=tuple(rows),
        footer=footer,
        notes=(*notes, *counting_notes(costs)),
    )
    data = document_data(
        "explain",
        architecture=costs.name,
        layer=layer,
        convention=costs.convention,
        lines=[
            {
                "name": each.path,
                "quantity": each.quantity,
                "formula": each.formula,
                "numbers": each.numbers,
                "value": each.value,
            }
            for each in explanations
        ],
        totals=totals_data(costs.total()),
        unknown=unknown_data(costs),
    )
    return Document((table,), data)


def _footer(costs: CostTable) -> tuple[Cells, ...]:
    total = costs.total()
    totals = {
        "parameters": total.params,
        "MACs": total.macs,
        CONVENTIONS[costs.convention].label: total.flops,
        "activation bytes": total.activation_bytes,
    }
    return tuple(("" if i else "together", name, "", "", value) for i, (name, value) in enumerate(totals.items()))


def _legend(explanations: Sequence[Explanation]) -> list[str]:
    """Return a note with the meaning of each symbol, or none."""
    meanings: dict[str, str] = {}
    for each in explanations:
        meanings.update(each.meanings)
    return ["; ".join(f"{symbol} {meaning}" for symbol, meaning in meanings.items()) + "."] if meanings else []
