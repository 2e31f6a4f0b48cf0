"""Networks side by side: one metric by stage or op, then all metrics in total."""

from __future__ import annotations

from collections.abc import Sequence
from math import log2
from typing import NamedTuple

from costcalc.analysis.conventions import CONVENTIONS
from costcalc.analysis.cost_table import CostTable, Row
from costcalc.analysis.metrics import METRICS, names_in_totals
from costcalc.report.document import CellValue, Column, ColumnKind, Document, JsonObject, LowerBound, Table, ratio
from costcalc.report.schemas import document_data
from costcalc.report.views.counts import CountOrBound, count_or_bound, totals_data
from costcalc.report.views.heading import common_settings, convention_note, lower_bounds_note

_STAGE_NOTE = (
    "A stage is all layers at one spatial size: at 1/4, height is about a quarter of the input's. A pool closes the "
    "stage it reads; `head` is all layers after the last spatial tensor."
)


class _Network(NamedTuple):
    """One of the networks: its label, its costs, its groups by name, and the total of the metric."""

    label: str
    costs: CostTable
    groups: dict[str, Row]
    total: Row
    metric_total: CountOrBound


def compare_view(tables: Sequence[CostTable], by: str = "stage", metric: str = "memory") -> Document:
    """Return one metric of several networks by `stage`, aligned by resolution, or by `op`; then all totals."""
    compared = METRICS[metric]
    attribute = compared.attribute
    group_names, groups = _align_groups(tables, by)
    labels = _labels(tables)
    totals = [costs.total() for costs in tables]
    networks = [
        _Network(label, costs, rows, total, count_or_bound(total, attribute))
        for label, costs, rows, total in zip(labels, tables, groups, totals, strict=True)
    ]
    rows, stages = [], []
    for group in group_names:
        values = [
            None if group not in network.groups else count_or_bound(network.groups[group], attribute)
            for network in networks
        ]
        rows.append(_row(group, networks, values, by))
        stages.append({"stage": group, **_comparison_data(group, networks, values)})
    convention = tables[0].convention
    notes = [
        *([_STAGE_NOTE] if by == "stage" else []),
        *([convention_note(convention)] if convention != "flops" else []),
    ]
    heading = (
        f"{' against '.join(labels)}: {compared.title} by {by}\n{_settings_text(networks)}, convention {convention}"
    )
    columns, footer = _columns(networks, by, attribute, compared.unit), _footer(networks, by)
    detail = Table(title=heading, columns=columns, rows=tuple(rows), footer=(footer,), notes=tuple(notes))
    data = document_data(
        "compare",
        metric=metric,
        by=by,
        convention=convention,
        architectures=[
            {
                "name": network.label,
                "batch": network.costs.batch,
                "dtype": network.costs.dtype,
                "totals": totals_data(network.total),
            }
            for network in networks
        ],
        stages=stages,
    )
    return Document((detail, *_total_tables(networks)), data)


# -- one metric by group ------------------------------------------------------------------------------------------


def _has_shares(networks: Sequence[_Network]) -> bool:
    """Whether the table has room for shares, and for the spatial size of each stage."""
    return len(networks) <= 2


def _columns(networks: Sequence[_Network], by: str, attribute: str, kind: ColumnKind) -> tuple[Column, ...]:
    shares = _has_shares(networks)
    columns = [Column(by, by)]
    for network in networks:
        label = network.label
        if shares and by == "stage":
            columns.append(Column("plane", f"{label}_plane"))
        columns.append(Column(_heading(label), f"{label}_{attribute}", kind, "metric"))
        if shares:
            columns.append(Column("share", f"{label}_share", "share"))
    first = networks[0].label
    for network in networks[1:]:
        title = "ratio" if shares else _heading(first, network.label)
        columns.append(Column(title, f"ratio_{network.label}", "ratio"))
    return tuple(columns)


def _row(group: str, networks: Sequence[_Network], values: Sequence[CountOrBound], by: str) -> tuple[CellValue, ...]:
    cells: list[CellValue] = [group]
    for network, value in zip(networks, values, strict=True):
        row = network.groups.get(group)
        if _has_shares(networks) and by == "stage":
            cells.append("" if row is None or row.path == "head" else row.path)
        cells.append("" if row is None else value)
        if _has_shares(networks):
            cells.append(None if row is None else ratio(value, network.metric_total))
    return (*cells, *(ratio(values[0], value) for value in values[1:]))


def _footer(networks: Sequence[_Network], by: str) -> tuple[CellValue, ...]:
    cells: list[CellValue] = ["total"]
    for network in networks:
        if _has_shares(networks) and by == "stage":
            cells.append("")
        cells.append(network.metric_total)
        if _has_shares(networks):
            cells.append(None)
    return (*cells, *(ratio(networks[0].metric_total, network.metric_total) for network in networks[1:]))


def _align_groups(networks: Sequence[CostTable], by: str) -> tuple[list[str], list[dict[str, Row]]]:
    """Return the names of all groups in order, and for each network its rows by group."""
    if by == "op":
        groups = [{row.path: row for row in costs.by_op().rows} for costs in networks]
        return list(dict.fromkeys(name for rows in groups for name in rows)), groups
    groups = [_by_reduction(costs) for costs in networks]
    names = {name for rows in groups for name in rows}
    return sorted(names, key=lambda name: float("inf") if name == "head" else int(name.split("/")[1])), groups


def _by_reduction(costs: CostTable) -> dict[str, Row]:
    """Return stages by how much height has shrunk, to the nearest power of two: 227 → 55 and 224 → 56 are both 1/4.

    The path of each row is the spatial size of the stage.
    """
    first = next(iter(costs.inputs.values()))

    def reduction(row: Row) -> str:
        return "head" if row.spatial_size is None else f"1/{2 ** max(0, round(log2(first[2] / row.spatial_size[0])))}"

    grouped = costs.group_by(reduction)
    sizes = {
        reduction(row): "×".join(map(str, row.spatial_size))
        for row in reversed(costs.rows)
        if row.spatial_size is not None
    }
    return {row.path: row._replace(path=sizes.get(row.path, row.path)) for row in grouped.rows}


def _comparison_data(group: str, networks: Sequence[_Network], values: Sequence[CountOrBound]) -> JsonObject:
    entries: JsonObject = {}
    for network, value in zip(networks, values, strict=True):
        row = network.groups.get(group)
        entries[network.label] = None if row is None else {
            "plane": row.spatial_size,
            "value": value.value if isinstance(value, LowerBound) else value,
            "share": ratio(value, network.metric_total),
        }  # fmt: skip
    ratios = {network.label: ratio(values[0], value) for network, value in zip(networks[1:], values[1:], strict=True)}
    return {"architectures": entries, "ratios": ratios}


# -- all metrics in total -----------------------------------------------------------------------------------------


def _total_tables(networks: Sequence[_Network]) -> list[Table]:
    """Return all metrics in total, with the ratio of two networks beside them, or of more in a second table."""
    flops_label = CONVENTIONS[networks[0].costs.convention].label
    metrics = names_in_totals(flops_label) | {"weight layers": "weight_layers"}
    counts = {name: [count_or_bound(each.total, attribute) for each in networks] for name, attribute in metrics.items()}
    ratios = {name: [ratio(values[0], value) for value in values[1:]] for name, values in counts.items()}
    unknown = [f"{row.path} ({row.op}) of {each.costs.name}" for each in networks for row in each.costs.unknown]
    notes = tuple(lower_bounds_note(", ".join(unknown)))
    metric = Column("total", "metric")
    count_columns = [Column(_heading(each.label), each.label, "exact") for each in networks]
    first = networks[0].label
    ratio_columns = [Column(_heading(first, each.label), f"ratio_{each.label}", "ratio") for each in networks[1:]]
    if _has_shares(networks):
        rows = tuple((name, *counts[name], *ratios[name]) for name in metrics)
        return [Table("In total", (metric, *count_columns, *ratio_columns), rows, (), notes)]
    count_rows = tuple((name, *counts[name]) for name in metrics)
    ratio_rows = tuple((name, *ratios[name]) for name in metrics)
    return [
        Table("In total", (metric, *count_columns), count_rows, (), notes),
        Table("Ratios", (metric, *ratio_columns), ratio_rows),
    ]


# -- labels -------------------------------------------------------------------------------------------------------


def _labels(networks: Sequence[CostTable]) -> list[str]:
    """Return the names of the networks; equal names are followed by the settings that differ, or by a number."""
    labels = []
    for i, costs in enumerate(networks):
        namesakes = [_distinguishing_options(other) for other in networks if other.name == costs.name]
        options = _distinguishing_options(costs)
        differing = [key for key in options if any(other.get(key) != options[key] for other in namesakes)]
        label = " ".join([costs.name, *(f"{key}={options[key]}" for key in differing)])
        if len(namesakes) > 1 and not differing:
            label += f" #{sum(other.name == costs.name for other in networks[: i + 1])}"
        labels.append(label)
    return labels


def _distinguishing_options(costs: CostTable) -> dict[str, str]:
    """Return the options that may differ between two networks of one name, as a user writes them."""
    shapes = ",".join("x".join(map(str, shape[2:] or shape[1:])) for shape in costs.inputs.values())
    settings = {key: list(value) if isinstance(value, tuple) else value for key, value in costs.settings.items()}
    written = {key: str(value).replace(" ", "") for key, value in settings.items()}
    return {"batch": str(costs.batch), "input": shapes, "dtype": costs.dtype, **written}


def _heading(label: str, divisor: str | None = None) -> str:
    """Return a label as the title of a column, one line for each part; with a `divisor`, as that of a ratio."""
    parts = _with_break_points(label).split()
    if divisor is not None:
        parts += ["÷", *_with_break_points(divisor).split()]
    return "\n".join(parts).replace("÷\n", "÷ ")


def _with_break_points(label: str) -> str:
    """Return a label with spaces where a line may end: after a hyphen, and before a design move."""
    return label.replace("-", "- ").replace("+", " +")


def _settings_text(networks: Sequence[_Network]) -> str:
    """Return batch and dtype, once where all networks agree."""
    settings = [f"batch {network.costs.batch}, {network.costs.dtype}" for network in networks]
    common = common_settings(settings)
    if common is not None:
        return common
    return "; ".join(f"{network.label}: {each}" for network, each in zip(networks, settings, strict=True))
