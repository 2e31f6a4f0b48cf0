"""A network before and after design moves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from costcalc.analysis.conventions import CONVENTIONS
from costcalc.analysis.metrics import DEFAULT_METRICS, names_in_totals
from costcalc.core.sizes import Shape, Size
from costcalc.report.document import Cells, CellValue, Column, ColumnKind, Document, JsonObject, Table, ratio
from costcalc.report.schemas import document_data
from costcalc.report.views.counts import CountOrBound, count_or_bound, totals_data
from costcalc.report.views.heading import counting_notes, headline, unknown_data

if TYPE_CHECKING:
    from costcalc.analysis.cost_table import CostTable, Row
    from costcalc.transforms import AppliedMove

_MAX_LISTED_LAYERS = 3  # layers with the same change or reason that the table names; JSON has all

_Metric = tuple[str, str, ColumnKind]  # title, attribute of a row, kind of its column


def rewrite_view(
    before: CostTable, after: CostTable, steps: Sequence[AppliedMove], saved: str | None = None
) -> Document:
    """Return what design moves changed, and every cost before and after, in total and by stage.

    `saved` is the file that the new network was written to.
    """
    data = document_data(
        "rewrite",
        architecture=before.name,
        rewritten=after.name,
        moves=[step.rule for step in steps],
        settings=dict(before.settings),
        batch=before.batch,
        dtype=before.dtype,
        convention=before.convention,
        before=totals_with_field(before),
        after=totals_with_field(after),
        changed=[change.path for step in steps for change in step.changed],
        skipped=[
            {"move": step.rule, "name": skip.path, "reason": skip.reason} for step in steps for skip in step.skipped
        ],
        steps=[
            {
                "move": step.rule,
                "changed": [{"name": change.path, "did": change.description} for change in step.changed],
                "skipped": [{"name": skip.path, "reason": skip.reason} for skip in step.skipped],
            }
            for step in steps
        ],
        stages=[
            {"stage": name, "before": old and totals_data(old), "after": new and totals_data(new)}
            for name, old, new in _aligned_stages(before, after)
        ],
        unknown=unknown_data(after),
        saved=saved,
    )
    tables = (_totals_table(before, after, steps, saved), _changes_table(steps), *_stage_tables(before, after))
    return Document(tables, data)


def totals_with_field(costs: CostTable) -> JsonObject:
    """Return the totals of a network for JSON, with its last receptive field."""
    return {**totals_data(costs.total()), "receptive_field": last_receptive_field(costs.rows)}


def last_receptive_field(rows: Sequence[Row]) -> Shape | None:
    """Return the receptive field of the last layer that has one."""
    return next((row.receptive_field for row in reversed(rows) if row.receptive_field is not None), None)


# -- in total -----------------------------------------------------------------------------------------------------


def _totals_table(before: CostTable, after: CostTable, steps: Sequence[AppliedMove], saved: str | None) -> Table:
    old, new = before.total(), after.total()
    metrics = names_in_totals(CONVENTIONS[before.convention].label, DEFAULT_METRICS) | {
        "depth (weight layers)": "weight_layers",
        "non-linearities": "nonlinearities",
    }
    rows = [_totals_row(title, count_or_bound(old, key), count_or_bound(new, key)) for title, key in metrics.items()]
    fields = [last_receptive_field(costs.rows) for costs in (before, after)]
    for axis, values in _fields_by_axis(fields).items():
        rows.insert(5, _totals_row(f"receptive field{axis}, pixels", *values))
    columns = (
        Column("total", "metric"),
        Column("before", "before", "exact"),
        Column("after", "after", "exact"),
        Column("difference", "difference", "difference"),
        Column("after ÷ before", "ratio", "ratio"),
    )
    title = headline(before, suffix=f" before and after {', '.join(step.rule for step in steps)}")
    notes = () if saved is None else (f"The new network is in {saved}: `costcalc report {saved}`.",)
    return Table(title=title, columns=columns, rows=tuple(rows), notes=notes)


def _totals_row(title: str, old: CountOrBound, new: CountOrBound) -> Cells:
    difference = new - old if isinstance(old, int) and isinstance(new, int) else None
    return (title, old, new, difference, ratio(new, old))


def _fields_by_axis(fields: Sequence[Shape | None]) -> Mapping[str, tuple[Size, Size]]:
    """Return the receptive fields before and after by axis: once for squares, nothing where one is missing."""
    before, after = fields
    if before is None or after is None:
        return {}
    if len(set(before)) == len(set(after)) == 1:
        return {"": (before[0], after[0])}
    return {" along width": (before[1], after[1]), " along height": (before[0], after[0])}


# -- by stage -----------------------------------------------------------------------------------------------------


def _aligned_stages(before: CostTable, after: CostTable) -> list[tuple[str, Row | None, Row | None]]:
    """Return the stages of both networks by name: in the order of the new one, with removed stages where they were."""
    old, new = ({row.path: row for row in costs.by_stage().rows} for costs in (before, after))
    order = list(new)
    index = 0
    for name in old:
        if name in new:
            index = order.index(name) + 1
        else:
            order.insert(index, name)
            index += 1
    return [(name, old.get(name), new.get(name)) for name in order]


def _stage_tables(before: CostTable, after: CostTable) -> list[Table]:
    """Return two tables, since one with all metrics would be too wide for a terminal."""
    label = CONVENTIONS[before.convention].label
    parts: dict[str, list[_Metric]] = {
        "parameters, work and memory": [
            ("params", "params", "count"),
            ("MACs", "macs", "count"),
            ("act. mem.", "activation_bytes", "bytes"),
        ],
        f"{label}, receptive field, weight layers on the longest path, non-linearities": [
            (label, "flops", "count"),
            ("field", "receptive_field", "side"),
            ("depth", "weight_layers", "exact"),
            ("non-lin.", "nonlinearities", "exact"),
        ],
    }
    stages = _aligned_stages(before, after)
    totals = [costs.total()._replace(receptive_field=None) for costs in (before, after)]
    tables: list[Table] = []
    for part, metrics in parts.items():
        columns = [Column("stage", "stage")]
        for title, key, kind in metrics:
            columns += [Column(f"{title}\n{when}", f"{key}_{when}", kind, key) for when in ("before", "after")]
            columns += [] if kind in ("side", "exact") else [Column("÷", f"{key}_ratio", "ratio")]
        rows = tuple(_stage_row(name, old, new, metrics) for name, old, new in stages)
        footer = _stage_row("total", totals[0], totals[1], metrics)
        tables.append(Table(title=f"By stage: {part}", columns=tuple(columns), rows=rows, footer=(footer,)))
    return [*tables[:-1], tables[-1]._replace(notes=counting_notes(after))]


def _stage_row(name: str, old: Row | None, new: Row | None, metrics: Iterable[_Metric]) -> Cells:
    """Return one stage before and after; cells of a network without that stage are empty."""
    cells: list[CellValue] = [name]
    for _, key, kind in metrics:
        if kind == "side":
            cells += ["" if row is None else row.receptive_field or "" for row in (old, new)]
            continue
        before, after = ("" if row is None else count_or_bound(row, key) for row in (old, new))
        cells += [before, after, *([] if kind == "exact" else [ratio(after, before)])]
    return tuple(cells)


# -- changed layers -----------------------------------------------------------------------------------------------


def _changes_table(steps: Iterable[AppliedMove]) -> Table:
    """Return what each move changed and skipped, with equal changes and equal reasons in one row."""
    rows: list[Cells] = []
    for step in steps:
        paths_by_outcome: dict[str, list[str]] = {}
        for change in step.changed:
            paths_by_outcome.setdefault(f"changed: {change.description}", []).append(change.path)
        for skip in step.skipped:
            paths_by_outcome.setdefault(f"skipped: {skip.reason}", []).append(skip.path)
        if not step.changed:
            nothing = "changed: nothing" if paths_by_outcome else "changed: nothing, since the move fits no layer"
            paths_by_outcome = {nothing: [], **paths_by_outcome}
        for i, (outcome, paths) in enumerate(paths_by_outcome.items()):
            more = [f"{len(paths) - _MAX_LISTED_LAYERS} more"] if len(paths) > _MAX_LISTED_LAYERS else []
            listed = ", ".join([*paths[:_MAX_LISTED_LAYERS], *more])
            rows.append((step.rule if i == 0 else "", len(paths), outcome, listed))
    columns = (
        Column("move", "move"),
        Column("matches", "places", "exact"),
        Column("outcome", "what"),
        Column("layers", "where"),
    )
    return Table("What was changed, and what was not", columns, tuple(rows))
