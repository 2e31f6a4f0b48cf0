"""The memory of a run: tensors live at its peak, tensors saved for backward, FLOPs, and a timeline by stage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from costcalc.analysis.memory.timeline import ALLOCATION_KINDS
from costcalc.core.sizes import Count, format_inputs
from costcalc.core.units import BINARY
from costcalc.report.document import Cells, Column, Document, Json, JsonObject, LowerBound, Table, ratio
from costcalc.report.schemas import document_data
from costcalc.report.views.heading import network_title

if TYPE_CHECKING:
    from costcalc.analysis.cost_table import CostTable
    from costcalc.analysis.memory import Fit, Timeline, TrainingFlops

_LARGEST = 3  # tensors at the peak that a note names


class MemoryReport(NamedTuple):
    """The timeline of a run with its FLOPs, the costs by the lecture's convention, and the fit to a budget, if any."""

    timeline: Timeline
    lecture_costs: CostTable
    flops: TrainingFlops
    fit: Fit | None = None


def memory_view(runs: Sequence[MemoryReport]) -> Document:
    """Return one run in full, or several runs side by side."""
    if len(runs) != 1:
        return Document(
            (_comparison_table(runs),), document_data("memory-comparison", runs=[_data(run) for run in runs])
        )
    run = runs[0]
    tables = [_peak_table(run)]
    if run.timeline.gradients:
        tables += [_saved_table(run.timeline), _flops_table(run)]
    return Document((*tables, _timeline_table(run.timeline)), _data(run))


def memory_list_view(timelines: Sequence[Timeline]) -> Document:
    """Return the peaks of several runs, one row a run."""
    training = any(timeline.gradients for timeline in timelines)
    columns = (
        Column("network", "network"),
        Column("parameters", "parameter_bytes", "bytes"),
        Column("peak, all", "peak_total", "bytes"),
        Column("activations, gradients", "peak_live", "bytes"),
        *([Column("saved for backward", "saved_for_backward", "bytes")] if training else []),
        Column("the peak is at", "peak_at"),
    )
    rows: list[Cells] = []
    runs: list[JsonObject] = []
    for each in timelines:
        parameters = each.persistent.get("parameter", 0)
        sizes = (each.peak_total, each.peak_live, *([each.saved_for_backward] if training else []))
        values: tuple[Json, ...] = (each.name, parameters, *sizes, _peak_location(each))
        runs.append(dict(zip((column.key for column in columns), values, strict=True)))
        rows.append((each.name, parameters, *(_with_bound(each, size) for size in sizes), _peak_location(each)))
    settings = dict.fromkeys(f"batch {each.batch:,}, {each.dtype}, {_mode(each)}" for each in timelines)
    table = Table(f"Memory of {len(rows)} networks\n{' and '.join(settings)}", columns, tuple(rows))
    return Document((table,), document_data("memory-overview", runs=runs))


def _headline(run: MemoryReport) -> str:
    costs, timeline = run.lecture_costs, run.timeline
    settings = f"{format_inputs(costs.inputs)}, batch {timeline.batch:,}, {timeline.dtype}, {_mode(timeline)}"
    return f"{network_title(costs)}\n{settings}"


def _mode(timeline: Timeline) -> str:
    if not timeline.gradients:
        return "a forward pass in training mode, without gradients" if timeline.training else "inference"
    mode = "training" + (f" with {timeline.optimizer}" if timeline.optimizer else ", without an optimizer")
    mode += " and fp32 master weights" if timeline.master_weights else ""
    return mode + (f", checkpointed by {timeline.checkpoint}" if timeline.checkpoint != "none" else "")


def _with_bound(timeline: Timeline, size: int) -> int | LowerBound:
    """Return a sum of bytes, as a lower bound where saved tensors of a layer are not modelled."""
    return LowerBound(size) if timeline.unknown else size


def _peak_location(timeline: Timeline) -> str:
    layer, phase = timeline.peak_at
    if phase == "step":
        return f"{layer}, in the optimizer's step"
    return f"{layer}, {phase}" if layer else "the loss"


# -- one run ------------------------------------------------------------------------------------------------------


def _peak_table(run: MemoryReport) -> Table:
    timeline = run.timeline
    sizes, total = timeline.by_kind, timeline.peak_total
    columns = (
        Column("alive at the peak", "class"),
        Column("memory", "bytes", "bytes"),
        Column("share", "share", "share"),
        Column("bytes", "exact_bytes", "exact"),
    )
    return Table(
        title=_headline(run),
        columns=columns,
        rows=tuple(
            (kind, sizes[kind], ratio(sizes[kind], total), sizes[kind]) for kind in ALLOCATION_KINDS if sizes.get(kind)
        ),
        footer=(("all", _with_bound(timeline, total), 1.0, _with_bound(timeline, total)),),
        notes=tuple(_peak_notes(run)),
    )


def _peak_notes(run: MemoryReport) -> Iterator[str]:
    timeline = run.timeline
    created = [tensor for tensor in timeline.live_at_peak if tensor.kind not in timeline.persistent]
    largest = sorted(created, key=lambda tensor: -tensor.nbytes)[:_LARGEST]
    listed = ", ".join(f"{tensor.name} of {tensor.layer} ({_mib(tensor.nbytes)})" for tensor in largest)
    yield f"The peak is at {_peak_location(timeline)}. The largest tensors that the run creates, there: {listed}."
    yield f"Activations and gradients alone: at most {timeline.peak_live:,} bytes."
    if timeline.gradients:
        saved_input = f", and the input ({timeline.saved_input:,})" if timeline.saved_input else ""
        yield f"Autograd saves {timeline.saved_for_backward:,} bytes for the backward pass{saved_input}."
        total = run.lecture_costs.total()
        activations, parameters = total.activation_bytes or 0, total.param_bytes or 0
        yield (
            "By the lecture's rule (outputs twice, parameters three times) it would be "
            f"{_mib(activations + parameters)}: {_mib(activations)} of activations and {_mib(parameters)} of "
            "parameters."
        )
    if run.fit is not None:
        yield _fit_text(run.fit)
    if timeline.unknown:
        yield f"Lower bounds (≥): saved tensors are not modelled for {', '.join(timeline.unknown)}."


def _fit_text(fit: Fit) -> str:
    budget = f"{_mib(fit.budget)} ({fit.budget:,} bytes)"
    largest, following = (_size_text(fit, size) for size in (fit.largest, fit.next_size))
    if not fit.largest:
        return f"Not even {following} fits in {budget}: it takes {fit.next_peak:,} bytes, {fit.exceeds_by:,} too many."
    limit = "there is no larger one" if fit.next_size is None else f"{following} takes {fit.exceeds_by:,} too many"
    return f"The largest that fits in {budget} is {largest}: it takes {fit.peak:,} bytes; {limit}."


def _size_text(fit: Fit, size: int | None) -> str:
    return f"batch {size:,}" if fit.variable == "batch" else f"input {size}×{size}"


def _mib(size: Count) -> str:
    return f"{size / BINARY['MiB']:,.1f} MiB"


def _stage(layer: str) -> str:
    return layer.partition("/")[0]


def _saved_table(timeline: Timeline) -> Table:
    stages: dict[str, int] = {}
    for layer, size in timeline.saved_by_layer.items():
        stages[_stage(layer)] = stages.get(_stage(layer), 0) + size
    total = timeline.saved_for_backward
    columns = (
        Column("stage", "stage"),
        Column("saved for backward", "saved_bytes", "bytes"),
        Column("share", "share", "share"),
        Column("", "bar", "bar"),
    )
    return Table(
        title="Saved for backward, by the stage that creates the tensors",
        columns=columns,
        rows=tuple((stage, size, ratio(size, total), ratio(size, total)) for stage, size in stages.items()),
        footer=(("total", _with_bound(timeline, total), 1.0, ""),),
    )


def _flops_table(run: MemoryReport) -> Table:
    timeline, counts = run.timeline, run.flops
    macs = {
        "forward": counts.forward_macs,
        "backward": counts.backward_macs,
        "recomputation": counts.recomputed_macs,
    }
    rows: list[Cells] = [(part, each, 2 * each, ratio(2 * each, counts.flops)) for part, each in macs.items() if each]
    if counts.step_flops:
        rows.append(("optimizer's step", "", counts.step_flops, ratio(counts.step_flops, counts.flops)))
    columns = (
        Column("computed", "part"),
        Column("MACs", "macs", "count"),
        Column("FLOPs", "flops", "count"),
        Column("share", "share", "share"),
    )
    footer = ("all", _with_bound(timeline, sum(macs.values())), _with_bound(timeline, counts.flops), 1.0)
    notes = [
        "Convolutions and matrix products at 2 FLOPs a MAC; elementwise operations are counted in the optimizer's step "
        "alone."
    ]
    if timeline.checkpointed:
        checkpointed = ", ".join(timeline.checkpointed)
        notes.append(f"Checkpointed, so that only their inputs are saved and they are recomputed: {checkpointed}.")
    reasons: dict[str, list[str]] = {}
    for prefix, reason in timeline.not_checkpointed.items():
        reasons.setdefault(reason, []).append(prefix)
    notes += [f"Not checkpointed: {', '.join(prefixes)} ({reason})." for reason, prefixes in reasons.items()]
    return Table(
        title="What a training step computes", columns=columns, rows=tuple(rows), footer=(footer,), notes=tuple(notes)
    )


class _StagePeak(NamedTuple):
    """A stage in one phase of the run, and the peak of live bytes in it."""

    phase: str
    stage: str
    live: int


def _stage_peaks(timeline: Timeline) -> list[_StagePeak]:
    """Return the peaks of a run by phase and stage. Recomputation is a part of backward; the optimizer step is one."""
    peaks: list[_StagePeak] = []
    for event, live in zip(timeline.events, timeline.live, strict=True):
        phase, stage = event.phase, _stage(event.layer)
        if phase == "before":
            continue
        if phase == "recomputation":
            phase = "backward"
        if phase == "step" or not stage:
            phase, stage = "step" if phase == "step" else "loss", ""
        if peaks and peaks[-1][:2] == (phase, stage):
            peaks[-1] = peaks[-1]._replace(live=max(peaks[-1].live, live))
        else:
            peaks.append(_StagePeak(phase, stage, live))
    # At the end, the loss is only freed.
    return peaks if peaks[-1].phase != "loss" else peaks[:-1]


def _timeline_table(timeline: Timeline) -> Table:
    highest = max(timeline.live) or 1
    rows: list[Cells] = []
    previous = ""
    for phase, stage, live in _stage_peaks(timeline):
        rows.append((phase if phase != previous else "", stage, live, ratio(live, highest)))
        previous = phase
    columns = (
        Column("phase", "phase"),
        Column("stage", "stage"),
        Column("alive", "alive_bytes", "bytes"),
        Column("", "bar", "bar"),
    )
    persistent = _mib(sum(timeline.persistent.values()))
    return Table(f"Peak of each stage, without the {persistent} that are alive all the time", columns, tuple(rows))


# -- several runs -------------------------------------------------------------------------------------------------


def _comparison_table(runs: Sequence[MemoryReport]) -> Table:
    """Return the classes of live tensors at the peak, one column a run."""
    timelines = [run.timeline for run in runs]
    names = [f"{each.name}\nbatch {each.batch:,}" for each in timelines]
    columns = [Column("alive at the peak", "class")]
    columns += [Column(name, name.partition("\n")[0], "bytes", "bytes") for name in names]
    rows: list[Cells] = [
        (kind, *(each.by_kind.get(kind, 0) for each in timelines))
        for kind in ALLOCATION_KINDS
        if any(each.by_kind.get(kind) for each in timelines)
    ]
    footer: list[Cells] = [
        ("all", *(_with_bound(each, each.peak_total) for each in timelines)),
        ("activations, gradients", *(_with_bound(each, each.peak_live) for each in timelines)),
    ]
    if any(each.gradients for each in timelines):
        footer.append(("saved for backward", *(_with_bound(each, each.saved_for_backward) for each in timelines)))
    notes = [f"{each.name}: the peak is at {_peak_location(each)}." for each in timelines]
    notes += [f"{run.timeline.name}: {_fit_text(run.fit)}" for run in runs if run.fit is not None]
    for run in runs:
        if run.timeline.gradients:
            recomputed = 2 * run.flops.recomputed_macs
            part = f", {recomputed:,} of them in layers that are recomputed" if recomputed else ""
            notes.append(f"{run.timeline.name}: a step computes {run.flops.flops:,} FLOPs{part}.")
    unknown = [f"{each.name}: {', '.join(each.unknown)}" for each in timelines if each.unknown]
    notes += [f"Lower bounds (≥): saved tensors are not modelled for {'; '.join(unknown)}."] if unknown else []
    modes = " and ".join(dict.fromkeys(f"{each.dtype}, {_mode(each)}" for each in timelines))
    return Table(
        title=f"Memory side by side\n{modes}",
        columns=tuple(columns),
        rows=tuple(rows),
        footer=tuple(footer),
        notes=tuple(notes),
    )


# -- JSON ---------------------------------------------------------------------------------------------------------


def _data(run: MemoryReport) -> JsonObject:
    timeline, counts = run.timeline, run.flops
    layer, phase = timeline.peak_at
    return document_data(
        "memory",
        architecture=timeline.name,
        settings=dict(run.lecture_costs.settings),
        batch=timeline.batch,
        dtype=timeline.dtype,
        training=timeline.training,
        optimizer=timeline.optimizer,
        saved_for_backward=timeline.saved_for_backward,
        saved_input=timeline.saved_input,
        peak_live=timeline.peak_live,
        peak_total=timeline.peak_total,
        by_class={kind: timeline.by_kind.get(kind, 0) for kind in ALLOCATION_KINDS},
        peak_at={"layer": layer or None, "phase": phase},
        saved_by_layer=dict(timeline.saved_by_layer),
        master_weights=timeline.master_weights,
        checkpoint=timeline.checkpoint,
        checkpointed=list(timeline.checkpointed),
        left=dict(timeline.not_checkpointed),
        recomputed_layers=list(timeline.recomputed),
        forward_macs=counts.forward_macs,
        backward_macs=counts.backward_macs,
        recomputed_macs=counts.recomputed_macs,
        recomputed_flops=2 * counts.recomputed_macs,
        step_flops=counts.step_flops,
        flops=counts.flops,
        fit=None if run.fit is None else _fit_data(run.fit),
        unknown=list(timeline.unknown),
        events=list(_events_data(timeline)),
    )


def _fit_data(fit: Fit) -> JsonObject:
    return {
        "budget": fit.budget,
        fit.variable: fit.largest,
        "peak": fit.peak,
        f"next_{fit.variable}": fit.next_size,
        "next_peak": fit.next_peak,
        "exceeds_by": fit.exceeds_by,
    }


def _events_data(timeline: Timeline) -> Iterator[Json]:
    for (phase, layer, allocates, tensor), live in zip(timeline.events, timeline.live, strict=True):
        yield {
            "phase": phase,
            "layer": layer or None,
            "event": "born" if allocates else "freed",
            "tensor": f"{tensor.layer} {tensor.name}".strip(),
            "class": tensor.kind,
            "bytes": tensor.nbytes,
            "live": live,
        }
