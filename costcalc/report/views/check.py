"""Cross-checks and timings as documents: the calculated beside the measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from costcalc.analysis.cost_table import CostTable, Row
from costcalc.core.dtypes import element_bytes
from costcalc.core.sizes import format_inputs, prod
from costcalc.core.units import BINARY
from costcalc.report.document import AtLeast, Column, Document, Table
from costcalc.validation.costs import WHOLE_NETWORK, CrossCheck, Difference

if TYPE_CHECKING:
    from costcalc.torch_backend.clock import LayerTimes, Times, Timing

EQUAL, KNOWN, DIFFERS, UNKNOWN = "equal", "known", "DIFFERS", "unknown"


def cross_check(checks: Sequence[CrossCheck], timings: Sequence[Timing] = (), refused: Sequence[str] = ()) -> Document:
    """One network layer by layer, or several a line each; then what differs, and `timings` of the same networks.

    `refused` says of further networks why they could not be checked.
    """
    first = _layers(checks[0]) if len(checks) == 1 else _networks(checks)
    tables = [first._replace(notes=(*first.notes, *(f"Not checked: {message}" for message in refused)))]
    differing = [(check.calculated.name, difference) for check in checks for difference in check.differences]
    if differing:
        tables.append(differences(differing, several=len(checks) > 1))
    for check, timing in zip(checks, timings, strict=False):
        tables.append(_times(check.calculated, timing))
    data = {
        "schema": "costcalc/check/1",
        "networks": [_data(check, verdicts=_verdicts(check)) for check in checks],
        "refused": list(refused),
        "warnings": list(checks[0].measured.environment.warnings),
    }
    if timings:
        data["times"] = [_times_data(check.calculated, timing) for check, timing in zip(checks, timings, strict=True)]
    return Document(tuple(tables), data)


def _verdicts(check: CrossCheck) -> dict[str, str]:
    """A word for each layer: the worst of its figures."""
    verdicts = {row.path: UNKNOWN if row.unknown_layers else EQUAL for row in check.calculated.rows}
    verdicts |= {difference.layer: KNOWN for difference in check.known_differences}
    return verdicts | {difference.layer: DIFFERS for difference in check.differences}


# -- one network --------------------------------------------------------------------------------------------------


def _layers(check: CrossCheck) -> Table:
    """Every layer, each count calculated and as torch has it."""
    costs, train = check.calculated, check.calculated.training
    verdicts = _verdicts(check)
    counts: list[tuple[str, str, Any]] = [
        ("params", "params", lambda row: row.params),
        ("FLOPs", "flops", lambda row: row.flops),
        *([("backward", "backward_flops", _backward)] if train else []),
    ]
    columns = [Column("layer", "name"), *([] if train else [Column("output", "output", "shape")])]
    for title, key, _ in counts:
        columns += [Column(f"{title}\n{who}", f"{key}_{who}", "count", key) for who in ("calc.", "torch")]
    columns += [Column(f"act. mem.\n{who}", f"activation_bytes_{who}", "bytes", "memory") for who in ("calc.", "torch")]
    columns.append(Column("verdict", "verdict"))

    def cells(name: str, row: Row, seen: Row, verdict: str) -> tuple[Any, ...]:
        shown: list[Any] = [name, *([] if train else [None if row.output is None else row.output[1:]])]
        for _, _, count in counts:
            shown += [_bound(row, count(row)), _bound(seen, count(seen))]
        shown += [row.activation_bytes, seen.activation_bytes]
        return (*shown, verdict)

    measured = {row.path: row for row in check.measured.costs.rows}
    rows = tuple(cells(row.path, row, measured[row.path], verdicts[row.path]) for row in costs.rows)
    total = costs.total()._replace(output=None)
    verdict = verdicts.get(WHOLE_NETWORK, EQUAL)
    footer = cells("whole", total, check.measured.whole, verdict)
    title = f"{costs.name}: calculated beside measured\n{_fed(costs)}; {check.measured.environment}"
    return Table(title, tuple(columns), rows, (footer,), _notes([check]))


def _bound(row: Row, count: Any) -> Any:
    """A count, as the lower bound that it is while a layer could not be counted."""
    return AtLeast(count) if row.unknown_layers and count is not None else count


def _backward(row: Row) -> Any:
    return None if row.backward_macs is None else 2 * row.backward_macs


def _fed(costs: CostTable) -> str:
    inputs = format_inputs(costs.inputs)
    return f"{inputs}, batch {costs.batch}, {'training' if costs.training else 'inference'}"


def _notes(checks: Sequence[CrossCheck]) -> tuple[str, ...]:
    training = checks[0].calculated.training
    compared = sum(check.compared for check in checks)
    disagreements = sum(len(check.differences) for check in checks)
    layers = sum(len(check.calculated.rows) - len(check.calculated.unknown) for check in checks)
    known = [(check.calculated.name, difference) for check in checks for difference in check.known_differences]
    verdict = f"{disagreements:,} DIFFER" if disagreements else "all others are equal" if known else "all are equal"
    excused = f"{len(known):,} differ as torch is known to, " if known else ""
    notes = [
        f"{compared:,} figures of {layers:,} layers compared with ==: {excused}{verdict}.",
        "Compared are output shapes, each parameter and buffer, parameters and their bytes, FLOPs (2 per "
        f"multiply-accumulate{'; forward and backward' if training else ''}) and the bytes of new tensors.",
    ]
    notes += known_differences(known, several=len(checks) > 1)
    unknown = [(check.calculated.name, row) for check in checks for row in check.calculated.unknown]
    if unknown:
        of = [f"{name} " if len(checks) > 1 else "" for name, _ in unknown]
        names = ", ".join(f"{name}{row.path} ({row.op})" for name, (_, row) in zip(of, unknown, strict=True))
        notes.append(f"Not compared, because nobody has told what they compute: {names}.")
    return (*notes, *checks[0].measured.environment.warnings)


# -- several networks ---------------------------------------------------------------------------------------------


def _networks(checks: Sequence[CrossCheck]) -> Table:
    """A line a network; batch and dtype stand in the line where they are not the same for all."""
    kinds = [f"batch {check.calculated.batch}, {check.measured.environment.dtype}" for check in checks]
    alike = len(set(kinds)) == 1
    train = checks[0].calculated.training
    columns = (
        Column("network", "name"),
        Column("layers", "layers", "exact"),
        Column("figures\ncompared", "compared", "exact"),
        Column("differ", "differ", "exact"),
        Column("known to\ndiffer", "known", "exact"),
        Column("not\ncompared", "unknown", "exact"),
        Column("params", "params", "count"),
        Column("FLOPs", "flops", "count", "work"),
        *([Column("backward", "backward_flops", "count", "work")] if train else []),
        Column("act. mem.", "activation_bytes", "bytes"),
    )
    rows: list[tuple[Any, ...]] = []
    for check, kind in zip(checks, kinds, strict=True):
        costs, total = check.calculated, check.calculated.total()
        name = costs.name if alike else f"{costs.name} ({kind})"
        counts = [total.params, total.flops, *([_backward(total)] if train else [])]
        outcome = (check.compared, len(check.differences), len(check.known_differences), len(costs.unknown))
        bounds = [_bound(total, count) for count in counts]
        rows.append((name, len(costs.rows), *outcome, *bounds, total.activation_bytes))
    sums = (sum(row[i] for row in rows) for i in range(1, 6))
    footer = (f"{len(rows)} networks", *sums, *("" for _ in columns[6:]))
    where = checks[0].measured.environment
    settings = f"{kinds[0]}, " if alike else ""
    mode = "training" if train else "inference"
    title = f"{len(rows)} networks: calculated against measured\n{settings}{mode}; {where.description}"
    return Table(title, columns, tuple(rows), (footer,), _notes(checks))


def differences(differing: Iterable[tuple[str, Difference]], several: bool) -> Table:
    """Figures that differ, each with its network: both values."""
    columns = (
        *([Column("network", "network")] if several else []),
        Column("layer", "layer"),
        Column("figure", "figure"),
        Column("calculated", "calculated", "exact"),
        Column("torch", "measured", "exact"),
    )
    rows = tuple(
        (*([network] if several else []), d.layer, d.figure, _cell(d.calculated), _cell(d.measured))
        for network, d in differing
    )
    return Table(f"{len(rows)} figures differ", columns, rows)


def known_differences(known: Iterable[tuple[str, Difference]], several: bool) -> list[str]:
    """A sentence for each reason that torch has for differing: in which figures, and where."""
    sentences = []
    by_reason: dict[str | None, list[tuple[str, Difference]]] = {}
    for network, difference in known:
        by_reason.setdefault(difference.reason, []).append((network, difference))
    for reason, places in by_reason.items():
        figures = ", ".join(dict.fromkeys(d.figure for _, d in places))
        where = [*dict.fromkeys(f"{network} {d.layer}" if several else d.layer for network, d in places)]
        named = ", ".join(where[:5]) + (f" and {len(where) - 5} more" if len(where) > 5 else "")
        sentences.append(f"Known difference in {figures} ({named}): {reason}. The calculated number is right.")
    return sentences


def _cell(value: Any) -> Any:
    if value is None:
        return "none"
    return value or "()" if isinstance(value, tuple) else value


def _data(check: CrossCheck, verdicts: Mapping[str, str]) -> dict[str, Any]:
    costs = check.calculated
    measured = {row.path: row for row in check.measured.costs.rows}
    return {
        "architecture": costs.name,
        "settings": dict(costs.settings),
        "batch": costs.batch,
        "inputs": {name: list(shape) for name, shape in costs.inputs.items()},
        "training": costs.training,
        "environment": check.measured.environment._asdict(),
        "compared": check.compared,
        "agrees": not check.differences,
        "differences": [difference._asdict() for difference in check.differences],
        "known_differences": [difference._asdict() for difference in check.known_differences],
        "unknown": [{"name": row.path, "op": row.op} for row in costs.unknown],
        "rows": [
            {
                "name": row.path,
                "op": row.op,
                "module": measured[row.path].op,
                "verdict": verdicts[row.path],
                "calculated": _row_data(row, costs.training),
                "measured": _row_data(measured[row.path], costs.training),
            }
            for row in costs.rows
        ],
        "whole": {
            "calculated": _counts(costs.total(), costs.training),
            "measured": _counts(check.measured.whole, costs.training),
        },
    }


def _row_data(row: Row, training: bool) -> dict[str, Any]:
    shapes = {"output": row.output, "parameters": dict(row.parameters), "buffers": dict(row.buffers)}
    return shapes | _counts(row, training)


def _counts(row: Row, training: bool) -> dict[str, Any]:
    counts = {
        "params": row.params,
        "param_bytes": row.param_bytes,
        "flops": row.flops,
        "activations": row.activations,
        "activation_bytes": row.activation_bytes,
    }
    return counts | ({"backward_flops": _backward(row)} if training else {})


# -- time ---------------------------------------------------------------------------------------------------------


def _times(costs: CostTable, timing: Timing) -> Table:
    """Every layer's time, what it makes of it, and the whole network's."""
    train = costs.training
    columns = [
        Column("layer", "name"),
        Column("forward" if train else "time", "forward", "time", "time"),
        Column("spread", "forward_spread", "time", "time"),
        *([Column("backward", "backward", "time", "time")] if train else []),
        *([Column("spread", "backward_spread", "time", "time")] if train else []),
        Column("share", "share", "share"),
        Column("FLOP/s", "flops_per_second", "count"),
        Column("moved/s", "bytes_per_second", "bytes"),
    ]
    known = [(row, times) for row, times in zip(costs.rows, timing.layers, strict=True) if not row.unknown_layers]
    together = sum(_median(times) for _, times in known)

    def cells(name: str, forward: Times, backward: Times | None, flops: Any, moved: Any, share: Any) -> tuple[Any, ...]:
        phases = [forward] if backward is None else [forward, backward]
        shown = [value for times in phases for value in (times.median, times.interquartile_range)]
        spent = sum(times.median for times in phases)
        return (name, *shown, share, _rate(flops, spent), _rate(moved, forward.median))

    rows = []
    for row, times in zip(costs.rows, timing.layers, strict=True):
        if row.unknown_layers:  # what ran in its place says nothing
            rows.append((row.path, *(None for _ in columns[1:])))
            continue
        share = _median(times) / together if together else None
        rows.append(cells(row.path, times.forward, times.backward, _flops(row, train), moved_bytes(costs, row), share))
    whole = timing.whole
    total = costs.total()
    empty = ("", "") if train else ()
    work = 0 if costs.unknown else _flops(total, train)
    footer = (
        ("all layers", AtLeast(together) if costs.unknown else together, "", *empty, "", _rate(work, together), ""),
        ("whole", whole.median, whole.interquartile_range, *empty, "", _rate(work, whole.median), ""),
    )
    mode = "a training step, forward and backward" if train else "inference"
    slowest = sorted(known, key=lambda pair: -_median(pair[1]))[:5]
    shares = [f"{row.path} {100 * _median(times) / together:.1f}%" for row, times in slowest if together]
    notes = [
        f"Medians of {timing.runs} runs after a warm-up, by {timing.clock}; the spread is the interquartile range. "
        "`whole` is timed without stopping at layers.",
        f"Slowest: {', '.join(shares)}.",
        "FLOP/s counts 2 per multiply-accumulate"
        + (", forward and backward" if train else "")
        + "; moved/s counts each input, parameter and output of the forward pass once: the least that has to move.",
    ]
    if timing.peak_bytes is not None:
        notes.append(
            f"Peak memory of one run, by the allocator: {timing.peak_bytes:,} bytes "
            f"({timing.peak_bytes / BINARY['MiB']:,.1f} MiB) beyond parameters, buffers and inputs."
        )
    title = f"{costs.name}: time of {mode}\n{_fed(costs)}; {timing.environment}"
    return Table(title, tuple(columns), tuple(rows), footer, tuple(notes))


def _median(times: LayerTimes) -> int:
    """Forward and backward of a layer together, in nanoseconds."""
    return int(times.forward.median + (times.backward.median if times.backward else 0))


def _flops(row: Row, training: bool) -> Any:
    return (row.flops or 0) + (_backward(row) or 0 if training else 0)


def moved_bytes(costs: CostTable, row: Row) -> int:
    """Bytes that a layer cannot help moving forward: each input, parameter and output once; 0 for a view."""
    if row.output is None or not (row.activations or (row.work and row.work.operations)):
        return 0
    return (sum(map(prod, row.inputs)) + (row.params or 0) + prod(row.output)) * element_bytes(costs.dtype)


def _rate(amount: int, nanoseconds: int) -> Any:
    """Amount a second; nothing where there is nothing to divide."""
    return amount * 10**9 // nanoseconds if amount and nanoseconds else ""


def _times_data(costs: CostTable, timing: Timing) -> dict[str, Any]:
    def data(times: Times) -> dict[str, int]:
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
                "bytes_moved_forward": moved_bytes(costs, row),
            }
            for row, times in zip(costs.rows, timing.layers, strict=True)
        ],
    }
