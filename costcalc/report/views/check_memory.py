"""Predicted memory beside the memory that torch uses, byte for byte."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from costcalc.core.sizes import format_inputs
from costcalc.report.document import Cells, Column, Document, JsonObject, Table
from costcalc.report.schemas import document_data
from costcalc.report.views.check import (
    DIFFERS,
    EQUAL,
    KNOWN,
    differences_table,
    known_difference_notes,
    network_names,
    not_checked_notes,
    outcome_text,
)
from costcalc.report.views.heading import mode_text, shapes_data

if TYPE_CHECKING:
    from costcalc.validation.memory import MemoryCheck, MemoryFigures

_NOT_COMPARED = "other"  # verdict of a figure that differs where equality is not claimed
_TITLES = {"alive forward": "forward", "alive backward": "backward", "saved for backward": "saved"}
_SIDES = (("pred.", "predicted"), ("torch", "observed"))


def memory_check_view(checks: Sequence[MemoryCheck], not_checked: Sequence[str] = ()) -> Document:
    """Return one network layer by layer, or several networks in one row each, then the differences.

    `not_checked` has a message for each network that could not be checked.
    """
    first = _layers_table(checks[0]) if len(checks) == 1 else _networks_table(checks)
    tables = [first._replace(notes=(*first.notes, *not_checked_notes(not_checked)))]
    differing = [(check.predicted.name, difference) for check in checks for difference in check.differences]
    if differing:
        tables.append(differences_table(differing, several_networks=len(checks) > 1))
    data = document_data(
        "memory-check",
        networks=[_data(check) for check in checks],
        refused=list(not_checked),
        warnings=list(checks[0].observed.environment.warnings),
    )
    return Document(tuple(tables), data)


def _figure_columns(figure: str, title: str) -> list[Column]:
    key = _key(figure)
    return [Column(f"{title}\n{heading}", f"{key}_{side}", "bytes", "bytes") for heading, side in _SIDES]


def _layers_table(check: MemoryCheck) -> Table:
    run = check.predicted
    figures = [*check.layers[0].predicted]
    columns = [Column("layer", "name")]
    for figure in figures:
        columns += _figure_columns(figure, _TITLES[figure])
    columns.append(Column("verdict", "verdict"))
    rows: list[Cells] = []
    for layer in check.layers:
        cells = [_cell(figure, side[figure]) for figure in figures for side in (layer.predicted, layer.observed)]
        rows.append((layer.layer, *cells, _verdict(check, layer)))
    peak = "alive backward" if run.peak_at[1] == "backward" else "alive forward"
    whole = [
        side.get("peak live" if figure == peak else figure, "")
        for figure in figures
        for side in (check.whole.predicted, check.whole.observed)
    ]
    settings = f"{format_inputs(check.inputs)}, batch {run.batch}, {mode_text(run.gradients)}"
    return Table(
        title=f"{run.name}: memory predicted beside observed\n{settings}; {check.observed.environment}",
        columns=tuple(columns),
        rows=tuple(rows),
        footer=(("whole", *whole, _verdict(check, check.whole)),),
        notes=(*_outcome_note([check]), *_column_notes(check), *_notes([check])),
    )


def _cell(figure: str, size: int) -> int | Literal[""]:
    """Return a size; an empty cell where a layer creates no tensor."""
    return size or ("" if figure.startswith("alive") else 0)


def _networks_table(checks: Sequence[MemoryCheck]) -> Table:
    columns = [
        Column("network", "name"),
        Column("figures\ncompared", "compared", "exact"),
        Column("differ", "differ", "exact"),
        Column("known to\ndiffer", "known", "exact"),
    ]
    figures = [figure for figure in checks[0].whole.predicted if figure != "saved input"]
    for figure in figures:
        columns += _figure_columns(figure, figure.partition(" ")[0])
    settings = [f"batch {check.predicted.batch}, {check.predicted.dtype}" for check in checks]
    names, common = network_names([check.predicted.name for check in checks], settings)
    outcomes = [(check.compared, len(check.differences), len(check.known_differences)) for check in checks]
    rows: list[Cells] = []
    for check, name, outcome in zip(checks, names, outcomes, strict=True):
        whole = check.whole
        rows.append(
            (name, *outcome, *(side[figure] for figure in figures for side in (whole.predicted, whole.observed)))
        )
    sums = (sum(column) for column in zip(*outcomes, strict=True))
    footer = (f"{len(rows)} networks", *sums, *("" for _ in columns[4:]))
    device = checks[0].observed.environment.description
    mode = mode_text(checks[0].predicted.gradients)
    return Table(
        title=f"{len(rows)} networks: memory predicted against observed\n{common}{mode}; {device}",
        columns=tuple(columns),
        rows=tuple(rows),
        footer=(footer,),
        notes=(*_outcome_note(checks), *_notes(checks)),
    )


def _verdict(check: MemoryCheck, figures: MemoryFigures) -> str:
    """Return the verdict of a layer: the worst of its figures."""
    if not check.expects_equality:
        return EQUAL if figures.predicted == figures.observed else _NOT_COMPARED
    if any(difference.layer == figures.layer for difference in check.differences):
        return DIFFERS
    return KNOWN if any(difference.layer == figures.layer for difference in check.known_differences) else EQUAL


def _outcome_note(checks: Sequence[MemoryCheck]) -> tuple[str, ...]:
    if not checks[0].expects_equality:
        device = checks[0].observed.environment.device
        return (f"Nothing is compared: kernels on {device} may save other tensors than those predicted.",)
    differences = sum(len(check.differences) for check in checks)
    known = sum(len(check.known_differences) for check in checks)
    compared, layers = sum(check.compared for check in checks), sum(len(check.layers) for check in checks)
    outcome = outcome_text(differences=differences, known=known)
    return (f"{compared:,} figures of {layers:,} layers compared with ==, to the byte: {outcome}.",)


def _column_notes(check: MemoryCheck) -> tuple[str, ...]:
    """Return the meaning of the columns, with the layer of the peak as an example."""
    run = check.predicted
    layer = max(check.layers, key=lambda layer: max(_live_figures(layer).values()))
    live = {figure: f"{size:,} bytes" for figure, size in _live_figures(layer).items()}
    for figure, size in _live_figures(layer).items():
        live[figure] += ", the peak of the run" if size == run.peak_live else ""
    excluded = "without parameters, buffers and inputs"
    if not run.gradients:
        return (
            f"Forward: peak live bytes while a layer creates a tensor (empty: it creates none), {excluded}; for "
            f"{layer.layer}, {live['alive forward']}.",
        )
    saved_input = f" {run.saved_input:,} bytes of the inputs are saved, too." if run.saved_input else ""
    return (
        "Forward and backward: peak live bytes while a layer creates a tensor in that pass (empty: it creates none), "
        f"{excluded}. Saved: bytes of the layer's tensors that autograd saves for backward.{saved_input}",
        f"For {layer.layer}: forward, {live['alive forward']}; backward, {live['alive backward']}; saved, "
        f"{layer.predicted['saved for backward']:,} bytes.",
    )


def _live_figures(layer: MemoryFigures) -> dict[str, int]:
    return {figure: size for figure, size in layer.predicted.items() if figure.startswith("alive")}


def _notes(checks: Sequence[MemoryCheck]) -> tuple[str, ...]:
    """Return the known differences and the memory of CUDA's allocator."""
    several = len(checks) > 1
    known = [(check.predicted.name, difference) for check in checks for difference in check.known_differences]
    notes = known_difference_notes(known, several)
    if not several:
        examples = {difference.reason: difference for difference in reversed(checks[0].known_differences)}
        notes += [
            f"For example, torch has {each.measured:,} bytes instead of {each.calculated:,} at {each.layer}."
            for each in examples.values()
        ]
    for check in checks:
        if check.allocator_peak is not None:
            predicted = check.whole.predicted["peak live"]
            notes.append(
                f"{f'{check.predicted.name}: ' if several else ''}CUDA's allocator held at most "
                f"{check.allocator_peak:,} bytes, in rounded blocks, where {predicted:,} are predicted. The difference "
                f"of {check.allocator_peak - predicted:+,} is workspace, rounding and tensors that CUDA's kernels save "
                "differently, none of which is predicted."
            )
    return (*notes, *checks[0].observed.environment.warnings)


def _key(figure: str) -> str:
    return figure.replace(" ", "_")


def _data(check: MemoryCheck) -> JsonObject:
    run = check.predicted
    layer, phase = run.peak_at
    return {
        "architecture": run.name,
        "settings": dict(check.settings),
        "batch": run.batch,
        "inputs": shapes_data(check.inputs),
        "training": run.training,
        "environment": check.observed.environment._asdict(),
        "claimed": check.expects_equality,
        "compared": check.compared,
        "agrees": not check.differences if check.expects_equality else None,
        "differences": [difference._asdict() for difference in check.differences],
        "known_differences": [difference._asdict() for difference in check.known_differences],
        "peak_at": {"layer": layer or None, "phase": phase},
        "allocator_peak": check.allocator_peak,
        "rows": [{"name": layer.layer, **_figures_data(check, layer)} for layer in check.layers],
        "whole": _figures_data(check, check.whole),
    }


def _figures_data(check: MemoryCheck, figures: MemoryFigures) -> JsonObject:
    return {
        "verdict": _verdict(check, figures),
        "predicted": {_key(figure): size for figure, size in figures.predicted.items()},
        "observed": {_key(figure): size for figure, size in figures.observed.items()},
    }
