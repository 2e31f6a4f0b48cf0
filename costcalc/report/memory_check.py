"""Memory predicted beside memory observed in torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from costcalc.crosscheck import MemoryCheck
from costcalc.report.table import Column, Document, Table


def memory_check(checks: Sequence[MemoryCheck], refused: Sequence[str] = ()) -> Document:
    """One network layer by layer, or several a line each; then what differs.

    `refused` says of further networks why they could not be checked.
    """
    first = _layers(checks[0]) if len(checks) == 1 else _networks(checks)
    tables = [first._replace(notes=(*_notes(checks), *(f"Not checked: {message}" for message in refused)))]
    differing = [(check.predicted.name, difference) for check in checks for difference in check.differences]
    if differing:
        columns = (
            Column("network", "network"),
            Column("layer", "layer"),
            Column("figure", "figure"),
            Column("predicted", "predicted", "exact"),
            Column("torch", "observed", "exact"),
        )
        rows = tuple((name, d.layer, d.figure, d.calculated, d.measured) for name, d in differing)
        tables.append(Table(f"{len(rows)} figures differ", columns, rows))
    data = {
        "schema": "costcalc/memory-check/1",
        "networks": [_data(check) for check in checks],
        "refused": list(refused),
    }
    return Document(tuple(tables), data)


def _layers(check: MemoryCheck) -> Table:
    figures = list(check.layers[0][1])
    columns = [Column("layer", "name")]
    for figure in figures:
        title, key = figure.replace("saved for backward", "saved"), figure.replace(" ", "_")
        columns += [Column(f"{title}\n{who}", f"{key}_{who}", "bytes", "bytes") for who in ("pred.", "torch")]
    columns.append(Column("verdict", "verdict"))
    rows = []
    for layer, expected, found in check.layers:
        values = [value for figure in figures for value in (expected[figure], found[figure])]
        rows.append((layer, *values, _verdict(expected, found)))
    whole: list[Any] = []
    expected, found = check.whole
    for figure in figures:
        named = "peak alive" if figure == "alive forward" else figure
        whole += [side.get(named, "") for side in check.whole]
    footer = (("whole", *whole, _verdict(expected, found)),)
    timeline = check.predicted
    mode = "training" if timeline.gradients else "inference"
    title = f"{timeline.name}: memory predicted beside observed\nbatch {timeline.batch}, {mode}; {_where(check)}"
    return Table(title, tuple(columns), tuple(rows), footer)


def _networks(checks: Sequence[MemoryCheck]) -> Table:
    columns = (
        Column("network", "name"),
        Column("batch", "batch", "exact"),
        Column("figures\ncompared", "compared", "exact"),
        Column("differ", "differ", "exact"),
        Column("peak alive\npred.", "peak_live_predicted", "bytes", "bytes"),
        Column("peak alive\ntorch", "peak_live_observed", "bytes", "bytes"),
        Column("saved\npred.", "saved_predicted", "bytes", "bytes"),
        Column("saved\ntorch", "saved_observed", "bytes", "bytes"),
    )
    rows: list[tuple[Any, ...]] = []
    for check in checks:
        both = (check.predicted, check.observed)
        peaks, saved = [a.peak_live for a in both], [a.saved_for_backward for a in both]
        name, batch = check.predicted.name, check.predicted.batch
        rows.append((name, batch, check.compared, len(check.differences), *peaks, *saved))
    sums = (sum(row[i] for row in rows) for i in (2, 3))
    footer = ((f"{len(rows)} networks", "", *sums, "", "", "", ""),)
    mode = "training" if checks[0].predicted.gradients else "inference"
    title = f"{len(rows)} networks: memory predicted against observed\n{mode}; {_where(checks[0])}"
    return Table(title, columns, tuple(rows), footer)


def _where(check: MemoryCheck) -> str:
    return str(check.observed.environment)


def _verdict(expected: dict[str, int], found: dict[str, int]) -> str:
    return "equal" if expected == found else "DIFFERS"


def _notes(checks: Sequence[MemoryCheck]) -> tuple[str, ...]:
    differing = sum(len(check.differences) for check in checks)
    compared = sum(check.compared for check in checks)
    outcome = f"{differing:,} DIFFER" if differing else "all are equal"
    alive = (
        "Alive is the most there is as a layer makes a tensor (0: it makes none), without parameters, buffers, inputs"
    )
    saved = "; saved is what autograd keeps of what it made" if checks[0].predicted.gradients else ""
    return (f"{compared:,} figures compared with ==, to the byte: {outcome}.", f"{alive}{saved}.")


def _data(check: MemoryCheck) -> dict[str, Any]:
    expected, found = check.whole
    return {
        "architecture": check.predicted.name,
        "batch": check.predicted.batch,
        "training": check.predicted.training,
        "environment": check.observed.environment._asdict(),
        "compared": check.compared,
        "agrees": not check.differences,
        "differences": [difference._asdict() for difference in check.differences],
        "whole": {"predicted": expected, "observed": found},
        "rows": [{"name": layer, "predicted": p, "observed": o} for layer, p, o in check.layers],
    }
