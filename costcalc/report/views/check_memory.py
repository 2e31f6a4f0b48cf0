"""Memory predicted beside memory observed in torch, as documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from costcalc.core.sizes import format_inputs
from costcalc.report.document import Column, Document, Table
from costcalc.report.views.check import DIFFERS, EQUAL, KNOWN, differences, known_differences
from costcalc.validation.memory import MemoryCheck, MemoryFigures

_OTHER = "other"  # where equality is not claimed
_TITLES = {"alive forward": "forward", "alive backward": "backward", "saved for backward": "saved"}
_SIDES = (("pred.", "predicted"), ("torch", "observed"))


def memory_check(checks: Sequence[MemoryCheck], refused: Sequence[str] = ()) -> Document:
    """One network layer by layer, or several a line each; then what differs.

    `refused` says of further networks why they could not be checked.
    """
    first = _layers(checks[0]) if len(checks) == 1 else _networks(checks)
    tables = [first._replace(notes=(*first.notes, *(f"Not checked: {message}" for message in refused)))]
    differing = [(check.predicted.name, difference) for check in checks for difference in check.differences]
    if differing:
        tables.append(differences(differing, several=len(checks) > 1))
    data = {
        "schema": "costcalc/memory-check/1",
        "networks": [_data(check) for check in checks],
        "refused": list(refused),
        "warnings": list(checks[0].observed.environment.warnings),
    }
    return Document(tuple(tables), data)


def _layers(check: MemoryCheck) -> Table:
    """Every layer: what is alive as it runs, and what autograd keeps of it, predicted and as torch has it."""
    run = check.predicted
    figures = [*check.layers[0].predicted]
    columns = [Column("layer", "name")]
    for figure in figures:
        key = _key(figure)
        columns += [Column(f"{_TITLES[figure]}\n{who}", f"{key}_{side}", "bytes", "bytes") for who, side in _SIDES]
    columns.append(Column("verdict", "verdict"))
    rows = []
    for layer in check.layers:
        cells = [_cell(figure, side[figure]) for figure in figures for side in layer[1:]]
        rows.append((layer.layer, *cells, _verdict(check, layer)))
    peak = "alive backward" if run.peak_at[1] == "backward" else "alive forward"
    whole = [side.get("peak live" if figure == peak else figure, "") for figure in figures for side in check.whole[1:]]
    footer = (("whole", *whole, _verdict(check, check.whole)),)
    inputs = format_inputs(check.inputs)
    title = (
        f"{run.name}: memory predicted beside observed\n"
        f"{inputs}, batch {run.batch}, {_mode(check)}; {check.observed.environment}"
    )
    return Table(title, tuple(columns), tuple(rows), footer, (*_outcome([check]), *_reading(check), *_notes([check])))


def _cell(figure: str, size: int) -> Any:
    """Nothing where a layer makes no tensor."""
    return size or ("" if figure.startswith("alive") else 0)


def _networks(checks: Sequence[MemoryCheck]) -> Table:
    """A line a network; batch and dtype stand in the line where they are not the same for all."""
    kinds = [f"batch {check.predicted.batch}, {check.predicted.dtype}" for check in checks]
    alike = len(set(kinds)) == 1
    columns = [
        Column("network", "name"),
        Column("figures\ncompared", "compared", "exact"),
        Column("differ", "differ", "exact"),
        Column("known to\ndiffer", "known", "exact"),
    ]
    figures = [figure for figure in checks[0].whole.predicted if figure != "saved input"]
    for figure in figures:
        title, key = figure.partition(" ")[0], _key(figure)
        columns += [Column(f"{title}\n{who}", f"{key}_{side}", "bytes", "bytes") for who, side in _SIDES]
    rows: list[tuple[Any, ...]] = []
    for check, kind in zip(checks, kinds, strict=True):
        name = check.predicted.name if alike else f"{check.predicted.name} ({kind})"
        sizes = [side[figure] for figure in figures for side in check.whole[1:]]
        rows.append((name, check.compared, len(check.differences), len(check.known_differences), *sizes))
    sums = (sum(row[i] for row in rows) for i in range(1, 4))
    footer = ((f"{len(rows)} networks", *sums, *("" for _ in columns[4:])),)
    settings = f"{kinds[0]}, " if alike else ""
    where = checks[0].observed.environment
    title = (
        f"{len(rows)} networks: memory predicted against observed\n{settings}{_mode(checks[0])}; {where.description}"
    )
    return Table(title, tuple(columns), tuple(rows), footer, (*_outcome(checks), *_notes(checks)))


def _mode(check: MemoryCheck) -> str:
    return "training" if check.predicted.gradients else "inference"


def _verdict(check: MemoryCheck, figures: MemoryFigures) -> str:
    """A word for a layer: the worst of its figures."""
    if not check.expects_equality:
        return EQUAL if figures.predicted == figures.observed else _OTHER
    if any(difference.layer == figures.layer for difference in check.differences):
        return DIFFERS
    return KNOWN if any(difference.layer == figures.layer for difference in check.known_differences) else EQUAL


def _outcome(checks: Sequence[MemoryCheck]) -> tuple[str, ...]:
    """How the comparison came out, where there was one."""
    if not checks[0].expects_equality:
        device = checks[0].observed.environment.device
        return (f"Nothing is compared: kernels on {device} keep other tensors than those that are predicted.",)
    disagreements = sum(len(check.differences) for check in checks)
    known = sum(len(check.known_differences) for check in checks)
    verdict = f"{disagreements:,} DIFFER" if disagreements else "all others are equal" if known else "all are equal"
    excused = f"{known:,} differ as torch is known to, " if known else ""
    compared, layers = sum(check.compared for check in checks), sum(len(check.layers) for check in checks)
    return (f"{compared:,} figures of {layers:,} layers compared with ==, to the byte: {excused}{verdict}.",)


def _reading(check: MemoryCheck) -> tuple[str, ...]:
    """What the columns are, and the row of the peak in words."""
    run = check.predicted
    beside = "beside parameters, buffers and inputs"
    peak = max(check.layers, key=lambda layer: max(_alive(layer).values()))
    alive = {phase: f"{size:,} bytes" for phase, size in _alive(peak).items()}
    for phase, size in _alive(peak).items():
        alive[phase] += ", the most of the run" if size == run.peak_live else ""
    if not run.gradients:
        return (
            f"Forward: the most that is alive as a layer makes a tensor (empty: it makes none), {beside}; as "
            f"{peak.layer} makes its, {alive['alive forward']}.",
        )
    kept = f" Of the inputs it keeps {run.saved_input:,} bytes more." if run.saved_input else ""
    return (
        "Forward and backward: the most that is alive as a layer makes a tensor then (empty: it makes none), "
        f"{beside}. Saved: what autograd keeps for the backward pass of what the layer made.{kept}",
        f"The row of {peak.layer}: as it runs forward, {alive['alive forward']} are alive; backward, "
        f"{alive['alive backward']}; of its own tensors {peak.predicted['saved for backward']:,} bytes are saved.",
    )


def _alive(layer: MemoryFigures) -> dict[str, int]:
    return {figure: size for figure, size in layer.predicted.items() if figure.startswith("alive")}


def _notes(checks: Sequence[MemoryCheck]) -> tuple[str, ...]:
    """What torch is known to get wrong, and what an allocator held."""
    several = len(checks) > 1
    notes = known_differences([(check.predicted.name, d) for check in checks for d in check.known_differences], several)
    if not several:
        first = {d.reason: d for d in reversed(checks[0].known_differences)}
        notes += [f"So torch says {d.measured:,} bytes for {d.calculated:,} at {d.layer}." for d in first.values()]
    for check in checks:
        if check.allocator_peak is not None:
            predicted = check.whole.predicted["peak live"]
            notes.append(
                f"{f'{check.predicted.name}: ' if several else ''}CUDA's allocator held at most "
                f"{check.allocator_peak:,} bytes, in rounded blocks, where {predicted:,} are predicted: "
                f"the difference of {check.allocator_peak - predicted:+,} is workspace and rounding, which the "
                "model does not predict, and what CUDA's kernels keep otherwise."
            )
    return (*notes, *checks[0].observed.environment.warnings)


def _key(figure: str) -> str:
    return figure.replace(" ", "_")


def _data(check: MemoryCheck) -> dict[str, Any]:
    run = check.predicted
    layer, phase = run.peak_at
    return {
        "architecture": run.name,
        "settings": dict(check.settings),
        "batch": run.batch,
        "inputs": {name: list(shape) for name, shape in check.inputs.items()},
        "training": run.training,
        "environment": check.observed.environment._asdict(),
        "claimed": check.expects_equality,
        "compared": check.compared,
        "agrees": not check.differences if check.expects_equality else None,
        "differences": [difference._asdict() for difference in check.differences],
        "known_differences": [difference._asdict() for difference in check.known_differences],
        "peak_at": {"layer": layer or None, "phase": phase},
        "allocator_peak": check.allocator_peak,
        "rows": [{"name": layer.layer, **_sides(check, layer)} for layer in check.layers],
        "whole": _sides(check, check.whole),
    }


def _sides(check: MemoryCheck, figures: MemoryFigures) -> dict[str, Any]:
    return {
        "verdict": _verdict(check, figures),
        "predicted": {_key(figure): size for figure, size in figures.predicted.items()},
        "observed": {_key(figure): size for figure, size in figures.observed.items()},
    }
