"""Inception modules with and without their 1×1 reductions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from costcalc.analysis.conventions import CONVENTIONS
from costcalc.analysis.cost_table import CostTable, Row
from costcalc.analysis.metrics import DEFAULT_METRICS, names_in_totals
from costcalc.core.sizes import Size
from costcalc.report.document import Cells, CellValue, Column, ColumnKind, Document, Json, JsonObject, Table, ratio
from costcalc.report.schemas import document_data
from costcalc.report.views.counts import totals_data

_DESIGNS = ("naive", "reduced")


def naive_versus_reduced_view(
    modules: Sequence[tuple[str, CostTable, CostTable]], stacked: tuple[str, CostTable, CostTable]
) -> Document:
    """Return each Inception module in both designs on the same input, then the network with naive modules stacked.

    `modules` are names with the costs of the naive and of the reduced design; `stacked` is the same for the network.
    """
    name, naive, reduced = stacked
    table, entries = _modules(modules, naive, name)
    data = document_data(
        "naive-vs-reduced",
        architecture=name,
        settings={key: value for key, value in reduced.settings.items() if key != "reduced"},
        batch=naive.batch,
        dtype=naive.dtype,
        convention=naive.convention,
        modules=entries,
        stacked=_by_design([totals_data(naive.total()), totals_data(reduced.total())]),
    )
    return Document((table, _whole_network(name, naive, reduced)), data)


def _modules(
    modules: Sequence[tuple[str, CostTable, CostTable]], costs: CostTable, network: str
) -> tuple[Table, list[JsonObject]]:
    columns = [Column("module", "name"), Column("in", "in_channels", "exact")]
    columns += [Column(f"out\n{design}", f"out_channels_{design}", "exact") for design in _DESIGNS]
    metrics: tuple[tuple[str, ColumnKind, str], ...] = (
        ("params", "count", "params"),
        (CONVENTIONS[costs.convention].label, "count", "flops"),
        ("memory", "bytes", "activation_bytes"),
    )
    for title, kind, key in metrics:
        columns += [Column(f"{title}\n{design}", f"{key}_{design}", kind, key) for design in _DESIGNS]
        columns.append(Column("ratio", f"{key}_ratio", "ratio"))
    rows: list[Cells] = []
    entries: list[JsonObject] = []
    for module, *designs in modules:
        totals = [design.total() for design in designs]
        out_channels = [total.output[1] for total in totals if total.output is not None]
        in_channels = next(iter(designs[0].inputs.values()))[1]
        cells: list[CellValue] = [module, in_channels, *out_channels]
        entry: JsonObject = {"name": module, "in_channels": in_channels, "out_channels": _by_design(out_channels)}
        for key in ("params", "macs", "flops", "activation_bytes"):
            values = [getattr(total, key) for total in totals]
            entry[key] = _by_design(values)
            if key != "macs":
                cells += [*values, ratio(*values)]
        rows.append(tuple(cells))
        entries.append(entry)
    title = (
        f"{network}: naive against reduced modules, each on the input it has in the network\n"
        f"batch {costs.batch}, {costs.dtype}, convention {costs.convention}"
    )
    notes = (
        "Naive and reduced (with 1×1 convolutions) modules have the same input; the ratio is naive ÷ reduced.",
        *_branch_notes(*modules[0][1:]),
    )
    return Table(title=title, columns=tuple(columns), rows=tuple(rows), notes=notes), entries


def _whole_network(name: str, naive: CostTable, reduced: CostTable) -> Table:
    totals = [naive.total(), reduced.total()]
    metrics = names_in_totals(CONVENTIONS[naive.convention].label, DEFAULT_METRICS)
    widest = [_max_channels(costs) for costs in (naive, reduced)]
    rows: list[Cells] = [("widest tensor, channels", *widest, ratio(*widest))]
    for title, attribute in metrics.items():
        values = [getattr(total, attribute) for total in totals]
        rows.append((title, *values, ratio(*values)))
    columns = (
        Column("total", "metric"),
        *(Column(design, design, "exact") for design in _DESIGNS),
        Column("ratio", "ratio", "ratio"),
    )
    heading = f"{name}: the whole network, naive modules stacked (their channels grow) against the real one"
    return Table(heading, columns, tuple(rows))


def _by_design(values: Sequence[Json]) -> JsonObject:
    return dict(zip(_DESIGNS, values, strict=True))


def _max_channels(costs: CostTable) -> Size:
    return max(row.output[1] for row in costs.rows if row.output is not None)


def _branch_notes(naive: CostTable, reduced: CostTable) -> Iterator[str]:
    """Yield the MACs of each branch with a reduction as products, 2·H·W·C_out·C_in·k·k, in both designs."""
    branches = dict.fromkeys("/".join(row.path.split("/")[:2]) for row in reduced.rows)
    for branch in branches:
        products = [[_flops_product(row) for row in costs.below(branch).rows if row.macs] for costs in (naive, reduced)]
        if not products[0] or products[0] == products[1]:
            continue
        sums = [" + ".join(terms) for terms in products]
        flops = [2 * (costs.below(branch).total().macs or 0) for costs in (naive, reduced)]
        yield (
            f"{branch}: naive {sums[0]} = {flops[0]:,}; reduced {sums[1]} = {flops[1]:,} "
            f"({flops[0] / flops[1]:.2f}× fewer), 2 FLOPs a MAC."
        )


def _flops_product(row: Row) -> str:
    """Return the FLOPs of a convolution as a product of its sizes, with the batch first unless it is 1."""
    assert row.output is not None
    batch, _, *spatial_size = row.output
    factors = [2, *([] if batch == 1 else [batch]), *spatial_size, *row.parameters["weight"]]
    return "·".join(map(str, factors))
