"""The costs of one network by layer, stage, op or resolution."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from costcalc.analysis.conventions import ALL_OUTPUTS, ALL_PARAMETERS, CONVENTIONS, Convention
from costcalc.analysis.cost_table import GROUPINGS, CostTable, Row
from costcalc.core.sizes import prod
from costcalc.report.document import CellValue, Column, ColumnKind, Document, JsonObject, Table, ratio
from costcalc.report.schemas import document_data
from costcalc.report.views.counts import count_or_bound, totals_data
from costcalc.report.views.heading import counting_notes, format_exact, headline, shapes_data, unknown_data

_Cell: TypeAlias = Callable[[Row], CellValue]


class _ReportColumn(NamedTuple):
    """A column of a report and the value of its cells; with `share`, a second column has the share of the total."""

    column: Column
    cell: _Cell
    share: bool = False


def report_view(costs: CostTable, by: str = "layer", depth: int = 1) -> Document:
    """Return the costs of a network by one of `GROUPINGS`, with totals, unknown layers and assumptions."""
    grouped = GROUPINGS[by](costs, depth)
    report_columns = _report_columns(by, CONVENTIONS[costs.convention])
    if costs.training:
        report_columns += _TRAINING_COLUMNS
    total = costs.total()
    columns: list[Column] = []
    cells: list[_Cell] = []
    for column, cell, share in report_columns:
        columns.append(column)
        cells.append(cell)
        if share:
            columns.append(Column("share", f"{column.key}_share", "share"))
            cells.append(_share_of(cell, total))
    rows = tuple(tuple(cell(row) for cell in cells) for row in grouped.rows)
    footer = tuple(
        None if column.key in ("output", "receptive_field") or column.kind == "share" else cell(total)
        for column, cell in zip(columns, cells, strict=True)
    )
    notes = (*_totals_notes(costs, total), *counting_notes(costs))
    table = Table(title=headline(costs), columns=tuple(columns), rows=rows, footer=(footer,), notes=notes)
    return Document((table,), _data(costs, grouped, total))


def _share_of(cell: _Cell, total: Row) -> _Cell:
    return lambda row: ratio(cell(row), cell(total))


def _count(attribute: str) -> _Cell:
    return lambda row: count_or_bound(row, attribute)


def _report_columns(by: str, convention: Convention) -> list[_ReportColumn]:
    """Return the columns of a report: those that the convention defines, or else the default ones."""
    grouped = by != "layer"
    path = _ReportColumn(Column(by, "name"), lambda row: row.path)
    output = _ReportColumn(
        Column("output", "output", "shape"), lambda row: None if row.output is None else row.output[1:]
    )
    if convention.columns:
        own = [_convention_column(key, unit, decimals, convention) for key, unit, decimals in convention.columns]
        return [path, *([] if grouped else [output]), *own]
    params = _ReportColumn(Column("params", "params", "count"), _count("params"), share=grouped)
    macs = _ReportColumn(Column("MACs", "macs", "count", "work"), _count("macs"))
    flops = _ReportColumn(Column(convention.label, "flops", "count", "work"), _count("flops"), share=True)
    memory = _ReportColumn(Column("act. mem.", "activation_bytes", "bytes"), _count("activation_bytes"), share=grouped)
    work = [flops] if convention.name == "macs" else [macs, flops]
    if by == "op":
        layers = _ReportColumn(Column("layers", "layers", "exact"), lambda row: row.layer_count)
        return [path, layers, params, *work, memory]
    receptive_field = _ReportColumn(Column("field", "receptive_field", "side"), lambda row: row.receptive_field)
    return [path, output, receptive_field, params, *work, memory]


_TRAINING_COLUMNS = [
    _ReportColumn(Column("backward\nMACs", "backward_macs", "count"), _count("backward_macs")),
    _ReportColumn(Column("saved", "saved_bytes", "bytes"), _count("saved_bytes")),
]


def _convention_column(key: str, unit: str, decimals: int, convention: Convention) -> _ReportColumn:
    """Return a column of a convention's own tables, in the unit and with the decimals it prints."""
    kind: ColumnKind = "bytes" if key.endswith("_bytes") else "count"
    titles = {
        "outputs": "outputs/image",
        "weights": "weights",
        "flops": convention.label,
        "params": "params",
        "activation_bytes": "act. mem.",
        "param_bytes": "param mem.",
    }
    column = Column(title=titles[key], key=key, kind=kind, unit=unit, decimals=decimals)
    return _ReportColumn(column, _outputs_per_image if key == "outputs" else _count(key))


def _outputs_per_image(row: Row) -> CellValue:
    return "" if row.layer_count != 1 or row.output is None else prod(row.output[1:])


def _totals_notes(costs: CostTable, total: Row) -> tuple[str, ...]:
    """Return the totals in full: the numbers that can be compared digit by digit."""
    convention = CONVENTIONS[costs.convention]
    bound = "≥ " if costs.unknown else ""
    flops = "" if convention.name == "macs" else f", {bound}{format_exact(total.flops)} {convention.label}"
    return (
        f"In full: {bound}{format_exact(total.params)} parameters, {bound}{format_exact(total.macs)} MACs{flops}, "
        f"{format_exact(total.activations)} activation elements, {format_exact(total.activation_bytes)} bytes of "
        f"activations; {total.weight_layers} weight layer{'s' * (total.weight_layers != 1)}.",
        *_convention_totals_note(convention, total, bound),
    )


def _convention_totals_note(convention: Convention, total: Row, bound: str) -> tuple[str, ...]:
    """Return parameters and activation elements by the convention, where it counts them differently."""
    counted = []
    if convention.parameters is not ALL_PARAMETERS:
        counted.append(f"{bound}{format_exact(total.counted_params)} parameters")
    if convention.activations is not ALL_OUTPUTS:
        counted.append(f"{format_exact(total.counted_activations)} activation elements")
    return (f"As {convention.name} counts: {', '.join(counted)}.",) if counted else ()


def _data(costs: CostTable, grouped: CostTable, total: Row) -> JsonObject:
    return document_data(
        "report",
        architecture=costs.name,
        settings=dict(costs.settings),
        batch=costs.batch,
        dtype=costs.dtype,
        convention=costs.convention,
        inputs=shapes_data(costs.inputs),
        input_bytes=costs.input_bytes,
        rows=[_row_data(row, costs.training) for row in grouped.rows],
        totals={**totals_data(total), **_training_data(total, costs.training)},
        training=costs.training,
        unknown=unknown_data(costs),
        assumptions=list(costs.assumptions),
        unused_params=shapes_data(costs.unused_parameters),
        notes=list(costs.notes),
    )


def _row_data(row: Row, training: bool) -> JsonObject:
    return {
        "name": row.path,
        "op": row.op,
        "stage": row.path.split("/")[0],
        "output": row.output,
        "params": row.params,
        "param_bytes": row.param_bytes,
        "weights": row.weights,
        "macs": row.macs,
        "flops": row.flops,
        "activations": row.activations,
        "activation_bytes": row.activation_bytes,
        "receptive_field": row.receptive_field,
        "receptive_stride": row.receptive_stride,
        "unknown": row.unknown_layers,
        **_training_data(row, training),
    }


def _training_data(row: Row, training: bool) -> JsonObject:
    return {"backward_macs": row.backward_macs, "saved_for_backward": row.saved_bytes} if training else {}
