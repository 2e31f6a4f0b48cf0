"""All architectures that ship with costcalc, one row each."""

from __future__ import annotations

from collections.abc import Iterable

from costcalc.analysis.cost_table import CostTable
from costcalc.report.document import Cells, Column, Document, JsonObject, Table
from costcalc.report.schemas import document_data
from costcalc.report.views.counts import totals_data


def list_view(networks: Iterable[CostTable]) -> Document:
    """Return each network with its main costs."""
    columns = (
        Column("name", "name"),
        Column("network", "title"),
        Column("input", "input", "shape"),
        Column("weight\nlayers", "weight_layers", "exact"),
        Column("params", "params", "count"),
        Column("MACs", "macs", "count"),
        Column("activations", "activations", "count"),
    )
    rows: list[Cells] = []
    entries: list[JsonObject] = []
    for costs in networks:
        total = costs.total()
        shape = next(iter(costs.inputs.values()))[1:]
        rows.append((costs.name, costs.title, shape, total.weight_layers, total.params, total.macs, total.activations))
        entries.append({"name": costs.name, "title": costs.title, "input": list(shape), **totals_data(total)})
    notes = ("Batch 1, without auxiliary heads. `costcalc report NAME` shows one in full.",)
    table = Table(f"{len(rows)} architectures", columns, tuple(rows), (), notes)
    return Document((table,), document_data("list", architectures=entries))
