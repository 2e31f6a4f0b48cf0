"""Measured times of the layers of a network, with the FLOP/s and bytes/s they achieve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from costcalc.core.dtypes import element_bytes
from costcalc.core.sizes import Count, format_inputs, prod
from costcalc.core.units import BINARY
from costcalc.report.document import Cells, Column, JsonObject, LowerBound, Table
from costcalc.report.views.heading import mode_text

if TYPE_CHECKING:
    from costcalc.analysis.cost_table import CostTable, Row
    from costcalc.torch_backend.clock import LayerTimes, Times, Timing

_SLOWEST = 5  # layers that a note names


def backward_flops(row: Row) -> int | None:
    """Return 2 FLOPs for each MAC of the backward pass; None where they are unknown."""
    return None if row.backward_macs is None else 2 * row.backward_macs


def workload_text(costs: CostTable) -> str:
    """Return inputs, batch and mode of a measured run."""
    return f"{format_inputs(costs.inputs)}, batch {costs.batch}, {mode_text(costs.training)}"


def timing_table(costs: CostTable, timing: Timing) -> Table:
    """Return the times of each layer, of all layers together, and of the whole network."""
    train = costs.training
    columns = (
        Column("layer", "name"),
        Column("forward" if train else "time", "forward", "time", "time"),
        Column("spread", "forward_spread", "time", "time"),
        *([Column("backward", "backward", "time", "time")] if train else []),
        *([Column("spread", "backward_spread", "time", "time")] if train else []),
        Column("share", "share", "share"),
        Column("FLOP/s", "flops_per_second", "count"),
        Column("moved/s", "bytes_per_second", "bytes"),
    )
    known = [(row, times) for row, times in zip(costs.rows, timing.layers, strict=True) if not row.unknown_layers]
    all_layers = sum(_median(times) for _, times in known)
    rows: list[Cells] = []
    for row, times in zip(costs.rows, timing.layers, strict=True):
        if row.unknown_layers:  # torch runs a substitute for an unknown layer
            rows.append((row.path, *(None for _ in columns[1:])))
        else:
            rows.append(_layer_cells(costs, row, times, all_layers))
    mode = "a training step, forward and backward" if train else "inference"
    return Table(
        title=f"{costs.name}: time of {mode}\n{workload_text(costs)}; {timing.environment}",
        columns=columns,
        rows=tuple(rows),
        footer=_footer(costs, timing, all_layers),
        notes=_notes(costs, timing, known, all_layers),
    )


def _layer_cells(costs: CostTable, row: Row, times: LayerTimes, all_layers: int) -> Cells:
    phases = [times.forward] if times.backward is None else [times.forward, times.backward]
    spans = [value for phase in phases for value in (phase.median, phase.interquartile_range)]
    share = _median(times) / all_layers if all_layers else None
    flops_rate = _per_second(_flops(row, costs.training), sum(phase.median for phase in phases))
    return (row.path, *spans, share, flops_rate, _per_second(min_bytes_moved(costs, row), times.forward.median))


def _footer(costs: CostTable, timing: Timing, all_layers: int) -> tuple[Cells, ...]:
    whole = timing.whole
    empty = ("", "") if costs.training else ()
    flops = 0 if costs.unknown else _flops(costs.total(), costs.training)
    layers_time = LowerBound(all_layers) if costs.unknown else all_layers
    return (
        ("all layers", layers_time, "", *empty, "", _per_second(flops, all_layers), ""),
        ("whole", whole.median, whole.interquartile_range, *empty, "", _per_second(flops, whole.median), ""),
    )


def _notes(costs: CostTable, timing: Timing, known: list[tuple[Row, LayerTimes]], all_layers: int) -> tuple[str, ...]:
    slowest = sorted(known, key=lambda pair: -_median(pair[1]))[:_SLOWEST]
    shares = [f"{row.path} {100 * _median(times) / all_layers:.1f}%" for row, times in slowest if all_layers]
    notes = [
        f"Medians of {timing.runs} runs after a warm-up, by {timing.clock}; the spread is the interquartile range. "
        "`whole` is timed without stopping at layers.",
        f"Slowest: {', '.join(shares)}.",
        f"FLOP/s counts 2 per multiply-accumulate{', forward and backward' if costs.training else ''}; moved/s counts "
        "each input, parameter and output of the forward pass once: the minimum that a layer has to move.",
    ]
    if timing.peak_bytes is not None:
        notes.append(
            f"Peak memory of one run, by the allocator: {timing.peak_bytes:,} bytes "
            f"({timing.peak_bytes / BINARY['MiB']:,.1f} MiB) beyond parameters, buffers and inputs."
        )
    return tuple(notes)


def _median(times: LayerTimes) -> int:
    """Return forward and backward of a layer together, in nanoseconds."""
    return int(times.forward.median + (times.backward.median if times.backward else 0))


def _flops(row: Row, training: bool) -> Count:
    return (row.flops or 0) + (backward_flops(row) or 0 if training else 0)


def min_bytes_moved(costs: CostTable, row: Row) -> int:
    """Return the bytes of inputs, parameters and output of a layer, the minimum it moves forward; 0 for a view."""
    if row.output is None or not (row.activations or (row.work and row.work.operations)):
        return 0
    return (sum(map(prod, row.inputs)) + (row.params or 0) + prod(row.output)) * element_bytes(costs.dtype)


def _per_second(amount: Count, nanoseconds: int) -> int | Literal[""]:
    """Return an amount per second; an empty cell where amount or time is 0."""
    return amount * 10**9 // nanoseconds if amount and nanoseconds else ""


def timing_data(costs: CostTable, timing: Timing) -> JsonObject:
    """Return all times of a network for JSON."""

    def data(times: Times) -> JsonObject:
        return {"median_ns": times.median, "low_quartile_ns": times.low, "high_quartile_ns": times.high}

    return {
        "architecture": costs.name,
        "training": costs.training,
        "runs": timing.runs,
        "clock": timing.clock,
        "peak_bytes": timing.peak_bytes,
        "whole": data(timing.whole),
        "layers": [
            {
                "name": times.layer,
                "forward": data(times.forward),
                "backward": data(times.backward) if times.backward else None,
                "flops": _flops(row, costs.training),
                "bytes_moved_forward": min_bytes_moved(costs, row),
            }
            for row, times in zip(costs.rows, timing.layers, strict=True)
        ],
    }
