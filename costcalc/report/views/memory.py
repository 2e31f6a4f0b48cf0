"""Where the memory goes: classes at the peak, stages, and a run as bars."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from costcalc.analysis.cost_table import CostTable
from costcalc.core.sizes import format_inputs
from costcalc.core.units import BINARY
from costcalc.report.document import AtLeast, Column, Document, Table, ratio

if TYPE_CHECKING:
    from costcalc.analysis.memory import AllocationKind, Fit, Timeline, TrainingFlops

CLASSES: tuple[AllocationKind, ...] = (
    "saved for backward",
    "activation",
    "recomputed",
    "gradient of an activation",
    "gradient of a parameter",
    "transient",
    "input",
    "parameter",
    "buffer",
    "optimizer state",
)


class MemoryReport(NamedTuple):
    """A run's timeline, the costs as a lecture counts memory, what it computes, and what fits, if that was asked."""

    timeline: Timeline
    lecture: CostTable
    arithmetic: TrainingFlops
    fit: Fit | None = None


def memory(runs: Sequence[MemoryReport]) -> Document:
    """One run in full, or several side by side."""
    if len(runs) == 1:
        run = runs[0]
        tables = [_at_the_peak(run)]
        if run.timeline.gradients:
            tables += [_saved(run.timeline), _computed(run)]
        return Document((*tables, _bars(run.timeline)), _data(run))
    data = {"schema": "costcalc/memory-comparison/1", "runs": [_data(run) for run in runs]}
    return Document((_side_by_side(runs),), data)


def memory_overview(timelines: Sequence[Timeline]) -> Document:
    """A row a run: its peaks, what autograd keeps if it does, and where the peak is."""
    training = any(timeline.gradients for timeline in timelines)
    columns = [
        Column("network", "network"),
        Column("parameters", "parameter_bytes", "bytes"),
        Column("peak, all", "peak_total", "bytes"),
        Column("activations, gradients", "peak_live", "bytes"),
        *([Column("saved for backward", "saved_for_backward", "bytes")] if training else []),
        Column("the peak is at", "peak_at"),
    ]
    rows: list[tuple[Any, ...]] = []
    for t in timelines:
        sums = (t.peak_total, t.peak_live, *([t.saved_for_backward] if training else []))
        rows.append((t.name, t.persistent.get("parameter", 0), *(_sum(t, size) for size in sums), _where(t)))
    keys = [column.key for column in columns]
    data = {"schema": "costcalc/memory-overview/1", "runs": [dict(zip(keys, row, strict=True)) for row in rows]}
    modes = " and ".join(dict.fromkeys(f"batch {t.batch:,}, {t.dtype}, {_mode(t)}" for t in timelines))
    return Document((Table(f"Memory of {len(rows)} networks\n{modes}", tuple(columns), tuple(rows)),), data)


def _headline(run: MemoryReport) -> str:
    costs, timeline = run.lecture, run.timeline
    title = f"{costs.name}: {costs.title}" if costs.title not in ("", costs.name) else costs.name
    inputs = format_inputs(costs.inputs)
    return f"{title}\n{inputs}, batch {timeline.batch:,}, {timeline.dtype}, {_mode(timeline)}"


def _mode(timeline: Timeline) -> str:
    if not timeline.gradients:
        return "a forward pass in training mode, without gradients" if timeline.training else "inference"
    mode = "training" + (f" with {timeline.optimizer}" if timeline.optimizer else ", without an optimizer")
    mode += " and fp32 master weights" if timeline.master_weights else ""
    return mode + (f", checkpointed by {timeline.checkpoint}" if timeline.checkpoint != "none" else "")


def _sum(timeline: Timeline, value: int) -> Any:
    """A sum; a lower bound where there are layers that nobody knows."""
    return AtLeast(value) if timeline.unknown else value


def _where(timeline: Timeline) -> str:
    layer, phase = timeline.peak_at
    if phase == "step":
        return f"{layer}, in the optimizer's step"
    return f"{layer}, {phase}" if layer else "the loss"


def _at_the_peak(run: MemoryReport) -> Table:
    timeline = run.timeline
    kinds, total = timeline.by_kind, timeline.peak_total
    rows = [(kind, kinds[kind], ratio(kinds[kind], total), kinds[kind]) for kind in CLASSES if kinds.get(kind)]
    columns = (
        Column("alive at the peak", "class"),
        Column("memory", "bytes", "bytes"),
        Column("share", "share", "share"),
        Column("bytes", "exact_bytes", "exact"),
    )
    passing = [tensor for tensor in timeline.live_at_peak if tensor.kind not in timeline.persistent]
    largest = sorted(passing, key=lambda tensor: -tensor.nbytes)[:3]
    notes = [
        f"The peak is at {_where(timeline)}. Largest there, of what comes and goes: "
        + ", ".join(f"{tensor.name} of {tensor.layer} ({_mib(tensor.nbytes)})" for tensor in largest)
        + ".",
        f"Activations and gradients alone: at most {timeline.peak_live:,} bytes.",
    ]
    if timeline.gradients:
        kept = f"Autograd keeps {timeline.saved_for_backward:,} bytes for the backward pass"
        notes.append(kept + (f", and the input ({timeline.saved_input:,})." if timeline.saved_input else "."))
        lecture = run.lecture.total()
        counted = (lecture.activation_bytes or 0) + (lecture.param_bytes or 0)
        notes.append(
            f"By the lecture's rule (outputs twice, parameters three times) it would be {_mib(counted)}: "
            f"{_mib(lecture.activation_bytes or 0)} of activations and {_mib(lecture.param_bytes or 0)} of parameters."
        )
    if run.fit is not None:
        notes.append(_fitting(run.fit))
    if timeline.unknown:
        notes.append(f"Lower bounds (≥): nobody has told what is kept by {', '.join(timeline.unknown)}.")
    footer = (("all", _sum(timeline, total), 1.0, _sum(timeline, total)),)
    return Table(_headline(run), columns, tuple(rows), footer, tuple(notes))


def _fitting(fit: Fit) -> str:
    budget = f"{_mib(fit.budget)} ({fit.budget:,} bytes)"
    largest, following = (_size_of(fit, size) for size in (fit.largest, fit.next_size))
    if not fit.largest:
        return f"Not even {following} fits in {budget}: it takes {fit.next_peak:,} bytes, {fit.exceeds_by:,} too many."
    beyond = "there is no larger one" if fit.next_size is None else f"{following} takes {fit.exceeds_by:,} too many"
    return f"The largest that fits in {budget} is {largest}: it takes {fit.peak:,} bytes; {beyond}."


def _size_of(fit: Fit, size: int | None) -> str:
    return f"batch {size:,}" if fit.variable == "batch" else f"input {size}×{size}"


def _mib(size: Any) -> str:
    return f"{size / BINARY['MiB']:,.1f} MiB"


def _stage(layer: str) -> str:
    return layer.partition("/")[0]


def _saved(timeline: Timeline) -> Table:
    """What autograd keeps, by the stage that made it."""
    stages: dict[str, int] = {}
    for layer, size in timeline.saved_by_layer.items():
        stages[_stage(layer)] = stages.get(_stage(layer), 0) + size
    total = timeline.saved_for_backward
    rows = [(stage, size, ratio(size, total), ratio(size, total)) for stage, size in stages.items()]
    columns = (
        Column("stage", "stage"),
        Column("saved for backward", "saved_bytes", "bytes"),
        Column("share", "share", "share"),
        Column("", "bar", "bar"),
    )
    footer = (("total", _sum(timeline, total), 1.0, ""),)
    return Table("What autograd keeps, by the stage that made it", columns, tuple(rows), footer)


class _Moment(NamedTuple):
    """A stretch of the run, and the most that is alive in it."""

    phase: str
    stage: str
    alive: int


def _moments(timeline: Timeline) -> list[_Moment]:
    """The run by phase and stage; what is recomputed is a part of the backward pass, an optimizer's step is one."""
    moments: list[_Moment] = []
    for event, alive in zip(timeline.events, timeline.live, strict=True):
        phase, stage = event.phase, _stage(event.layer)
        if phase == "before":
            continue
        if phase == "recomputation":
            phase = "backward"
        if phase == "step" or not stage:
            phase, stage = "step" if phase == "step" else "loss", ""
        if moments and moments[-1][:2] == (phase, stage):
            moments[-1] = moments[-1]._replace(alive=max(moments[-1].alive, alive))
        else:
            moments.append(_Moment(phase, stage, alive))
    return moments if moments[-1].phase != "loss" else moments[:-1]  # where it dies, and nothing else happens


def _computed(run: MemoryReport) -> Table:
    """What a step computes, and which layers do so twice."""
    timeline, counts = run.timeline, run.arithmetic
    parts = {
        "forward": (counts.forward_macs, 2 * counts.forward_macs),
        "backward": (counts.backward_macs, 2 * counts.backward_macs),
        "forward again": (counts.recomputed_macs, 2 * counts.recomputed_macs),
        "optimizer's step": ("", counts.step_flops),
    }
    rows = [(part, macs, flops, ratio(flops, counts.flops)) for part, (macs, flops) in parts.items() if flops]
    columns = (
        Column("computed", "part"),
        Column("MACs", "macs", "count"),
        Column("FLOPs", "flops", "count"),
        Column("share", "share", "share"),
    )
    macs = counts.forward_macs + counts.backward_macs + counts.recomputed_macs
    footer = (("all", _sum(timeline, macs), _sum(timeline, counts.flops), 1.0),)
    notes = ["Convolutions and matrix products, 2 FLOPs a MAC; of what is done to single elements, the step alone."]
    if timeline.checkpointed:
        notes.append(
            f"Checkpointed, so that they keep only what they take, and run again: {', '.join(timeline.checkpointed)}."
        )
    reasons: dict[str, list[str]] = {}
    for prefix, reason in timeline.not_checkpointed.items():
        reasons.setdefault(reason, []).append(prefix)
    notes += [f"Left as they are: {', '.join(prefixes)} ({reason})." for reason, prefixes in reasons.items()]
    return Table("What a step computes", columns, tuple(rows), footer, tuple(notes))


def _bars(timeline: Timeline) -> Table:
    highest = max(timeline.live) or 1
    rows = []
    before = ""
    for moment in _moments(timeline):
        share = ratio(moment.alive, highest)
        rows.append((moment.phase if moment.phase != before else "", moment.stage, moment.alive, share))
        before = moment.phase
    columns = (
        Column("phase", "phase"),
        Column("stage", "stage"),
        Column("alive", "alive_bytes", "bytes"),
        Column("", "bar", "bar"),
    )
    standing = sum(timeline.persistent.values())
    title = f"The most that is alive in each stage, beside the {_mib(standing)} that are there all the time"
    return Table(title, columns, tuple(rows))


def _side_by_side(runs: Sequence[MemoryReport]) -> Table:
    """One column a run."""
    names = [f"{run.timeline.name}\nbatch {run.timeline.batch:,}" for run in runs]
    columns = [Column("alive at the peak", "class")]
    columns += [Column(name, name.partition("\n")[0], "bytes", "bytes") for name in names]
    timelines = [run.timeline for run in runs]
    rows: list[tuple[Any, ...]] = []
    for kind in CLASSES:
        if any(timeline.by_kind.get(kind) for timeline in timelines):
            rows.append((kind, *(timeline.by_kind.get(kind, 0) for timeline in timelines)))
    footer: list[tuple[Any, ...]] = [("all", *(_sum(t, t.peak_total) for t in timelines))]
    footer.append(("activations, gradients", *(_sum(t, t.peak_live) for t in timelines)))
    if any(timeline.gradients for timeline in timelines):
        footer.append(("saved for backward", *(_sum(t, t.saved_for_backward) for t in timelines)))
    notes = [f"{t.name}: the peak is at {_where(t)}." for t in timelines]
    notes += [f"{run.timeline.name}: {_fitting(run.fit)}" for run in runs if run.fit is not None]
    for run in runs:
        if run.timeline.gradients:
            computed, again = run.arithmetic.flops, 2 * run.arithmetic.recomputed_macs
            repeated = f", {again:,} of them in layers that run again" if again else ""
            notes.append(f"{run.timeline.name}: a step computes {computed:,} FLOPs{repeated}.")
    unknown = [f"{t.name}: {', '.join(t.unknown)}" for t in timelines if t.unknown]
    notes += [f"Lower bounds (≥), for nobody has told what is kept by {'; '.join(unknown)}."] if unknown else []
    modes = " and ".join(dict.fromkeys(f"{t.dtype}, {_mode(t)}" for t in timelines))
    return Table(f"Memory side by side\n{modes}", tuple(columns), tuple(rows), tuple(footer), tuple(notes))


def _data(run: MemoryReport) -> dict[str, Any]:
    timeline, fit, counts = run.timeline, run.fit, run.arithmetic
    layer, phase = timeline.peak_at
    return {
        "schema": "costcalc/memory/1",
        "architecture": timeline.name,
        "settings": dict(run.lecture.settings),
        "batch": timeline.batch,
        "dtype": timeline.dtype,
        "training": timeline.training,
        "optimizer": timeline.optimizer,
        "saved_for_backward": timeline.saved_for_backward,
        "saved_input": timeline.saved_input,
        "peak_live": timeline.peak_live,
        "peak_total": timeline.peak_total,
        "by_class": {kind: timeline.by_kind.get(kind, 0) for kind in CLASSES},
        "peak_at": {"layer": layer or None, "phase": phase},
        "saved_by_layer": dict(timeline.saved_by_layer),
        "master_weights": timeline.master_weights,
        "checkpoint": timeline.checkpoint,
        "checkpointed": list(timeline.checkpointed),
        "left": dict(timeline.not_checkpointed),
        "recomputed_layers": list(timeline.recomputed),
        "forward_macs": counts.forward_macs,
        "backward_macs": counts.backward_macs,
        "recomputed_macs": counts.recomputed_macs,
        "recomputed_flops": 2 * counts.recomputed_macs,
        "step_flops": counts.step_flops,
        "flops": counts.flops,
        "fit": None if fit is None else _fit_data(fit),
        "unknown": list(timeline.unknown),
        "events": list(_events(timeline)),
    }


def _fit_data(fit: Fit) -> dict[str, Any]:
    return {
        "budget": fit.budget,
        fit.variable: fit.largest,
        "peak": fit.peak,
        f"next_{fit.variable}": fit.next_size,
        "next_peak": fit.next_peak,
        "exceeds_by": fit.exceeds_by,
    }


def _events(timeline: Timeline) -> Iterable[dict[str, Any]]:
    for (phase, layer, born, tensor), alive in zip(timeline.events, timeline.live, strict=True):
        yield {
            "phase": phase,
            "layer": layer or None,
            "event": "born" if born else "freed",
            "tensor": f"{tensor.layer} {tensor.name}".strip(),
            "class": tensor.kind,
            "bytes": tensor.nbytes,
            "live": alive,
        }
