"""Calculated costs beside the costs that torch measures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias, cast

from costcalc.report.document import Cells, CellValue, Column, Document, JsonObject, LowerBound, Table
from costcalc.report.schemas import document_data
from costcalc.report.views.check_time import backward_flops, timing_data, timing_table, workload_text
from costcalc.report.views.heading import common_settings, mode_text, shapes_data, unknown_data, unknown_names
from costcalc.validation.costs import WHOLE_NETWORK

if TYPE_CHECKING:
    from costcalc.analysis.cost_table import Row
    from costcalc.core.sizes import Count
    from costcalc.torch_backend.clock import Timing
    from costcalc.validation.costs import CrossCheck, Difference

EQUAL, KNOWN, DIFFERS, UNKNOWN = "equal", "known", "DIFFERS", "unknown"
_MAX_LISTED_LAYERS = 5

_DifferenceOf: TypeAlias = "tuple[str, Difference]"  # a difference with the name of its network


def check_view(
    checks: Sequence[CrossCheck], timings: Sequence[Timing] = (), not_checked: Sequence[str] = ()
) -> Document:
    """Return one network layer by layer, or several networks in one row each, then the differences and the times.

    `timings` are of the same networks; `not_checked` has a message for each network that could not be checked.
    """
    first = _layers_table(checks[0]) if len(checks) == 1 else _networks_table(checks)
    tables = [first._replace(notes=(*first.notes, *not_checked_notes(not_checked)))]
    differing = [(check.calculated.name, difference) for check in checks for difference in check.differences]
    if differing:
        tables.append(differences_table(differing, several_networks=len(checks) > 1))
    tables += [timing_table(check.calculated, timing) for check, timing in zip(checks, timings, strict=False)]
    data = document_data(
        "check",
        networks=[_data(check) for check in checks],
        refused=list(not_checked),
        warnings=list(checks[0].measured.environment.warnings),
    )
    if timings:
        data["times"] = [timing_data(check.calculated, timing) for check, timing in zip(checks, timings, strict=True)]
    return Document(tuple(tables), data)


def not_checked_notes(messages: Iterable[str]) -> tuple[str, ...]:
    """Return a note for each network that could not be checked."""
    return tuple(f"Not checked: {message}" for message in messages)


def _verdicts(check: CrossCheck) -> dict[str, str]:
    """Return the verdict of each layer: the worst of its figures."""
    verdicts = {row.path: UNKNOWN if row.unknown_layers else EQUAL for row in check.calculated.rows}
    verdicts |= {difference.layer: KNOWN for difference in check.known_differences}
    return verdicts | {difference.layer: DIFFERS for difference in check.differences}


# -- one network --------------------------------------------------------------------------------------------------


def _layers_table(check: CrossCheck) -> Table:
    costs, train = check.calculated, check.calculated.training
    verdicts = _verdicts(check)
    counts: list[tuple[str, str, Callable[[Row], Count | None]]] = [
        ("params", "params", lambda row: row.params),
        ("FLOPs", "flops", lambda row: row.flops),
        *([("backward", "backward_flops", backward_flops)] if train else []),
    ]
    sides = ("calc.", "torch")
    columns = [Column("layer", "name"), *([] if train else [Column("output", "output", "shape")])]
    for title, key, _ in counts:
        columns += [Column(f"{title}\n{side}", f"{key}_{side}", "count", key) for side in sides]
    columns += [Column(f"act. mem.\n{side}", f"activation_bytes_{side}", "bytes", "memory") for side in sides]
    columns.append(Column("verdict", "verdict"))

    def cells(name: str, row: Row, measured: Row, verdict: str) -> Cells:
        cells: list[CellValue] = [name]
        if not train:
            cells.append(None if row.output is None else row.output[1:])
        for _, _, count in counts:
            cells += [_with_bound(row, count(row)), _with_bound(measured, count(measured))]
        return (*cells, row.activation_bytes, measured.activation_bytes, verdict)

    measured = {row.path: row for row in check.measured.costs.rows}
    rows = tuple(cells(row.path, row, measured[row.path], verdicts[row.path]) for row in costs.rows)
    total = costs.total()._replace(output=None)
    footer = cells("whole", total, check.measured.whole, verdicts.get(WHOLE_NETWORK, EQUAL))
    title = f"{costs.name}: calculated beside measured\n{workload_text(costs)}; {check.measured.environment}"
    return Table(title=title, columns=tuple(columns), rows=rows, footer=(footer,), notes=_notes([check]))


def _with_bound(row: Row, count: Count | None) -> Count | LowerBound | None:
    """Return a count, as a lower bound where a layer in the row is unknown."""
    return LowerBound(count) if row.unknown_layers and count is not None else count


def _notes(checks: Sequence[CrossCheck]) -> tuple[str, ...]:
    several = len(checks) > 1
    differences = sum(len(check.differences) for check in checks)
    layers = sum(len(check.calculated.rows) - len(check.calculated.unknown) for check in checks)
    known = [(check.calculated.name, difference) for check in checks for difference in check.known_differences]
    outcome = outcome_text(differences=differences, known=len(known))
    passes = "; forward and backward" if checks[0].calculated.training else ""
    notes = [
        f"{sum(check.compared for check in checks):,} figures of {layers:,} layers compared with ==: {outcome}.",
        "Compared are output shapes, each parameter and buffer, parameters and their bytes, FLOPs (2 per "
        f"multiply-accumulate{passes}) and the bytes of new tensors.",
        *known_difference_notes(known, several_networks=several),
    ]
    unknown = [
        unknown_names(check.calculated.unknown, check.calculated.name if several else "")
        for check in checks
        if check.calculated.unknown
    ]
    if unknown:
        notes.append(f"Not compared, because these layers are not modelled: {', '.join(unknown)}.")
    return (*notes, *checks[0].measured.environment.warnings)


def outcome_text(differences: int, known: int) -> str:
    """Return the outcome of a comparison in words: how many figures differ, and how many are known to."""
    if differences:
        rest = f"{differences:,} DIFFER"
    else:
        rest = "all others are equal" if known else "all are equal"
    return f"{known:,} differ as torch is known to, {rest}" if known else rest


# -- several networks ---------------------------------------------------------------------------------------------


def network_names(names: Sequence[str], settings: Sequence[str]) -> tuple[list[str], str]:
    """Return the names of networks, followed by settings where those differ, and the prefix of a title where not."""
    common = common_settings(settings)
    if common is not None:
        return list(names), f"{common}, "
    return [f"{name} ({each})" for name, each in zip(names, settings, strict=True)], ""


def _networks_table(checks: Sequence[CrossCheck]) -> Table:
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
    settings = [f"batch {check.calculated.batch}, {check.measured.environment.dtype}" for check in checks]
    names, common = network_names([check.calculated.name for check in checks], settings)
    outcomes = [
        (
            len(check.calculated.rows),
            check.compared,
            len(check.differences),
            len(check.known_differences),
            len(check.calculated.unknown),
        )
        for check in checks
    ]
    rows: list[Cells] = []
    for check, name, outcome in zip(checks, names, outcomes, strict=True):
        total = check.calculated.total()
        counts = [total.params, total.flops, *([backward_flops(total)] if train else [])]
        rows.append((name, *outcome, *(_with_bound(total, count) for count in counts), total.activation_bytes))
    sums = (sum(column) for column in zip(*outcomes, strict=True))
    footer = (f"{len(rows)} networks", *sums, *("" for _ in columns[6:]))
    device = checks[0].measured.environment.description
    title = f"{len(rows)} networks: calculated against measured\n{common}{mode_text(train)}; {device}"
    return Table(title=title, columns=columns, rows=tuple(rows), footer=(footer,), notes=_notes(checks))


# -- differences --------------------------------------------------------------------------------------------------


def differences_table(differing: Iterable[_DifferenceOf], several_networks: bool) -> Table:
    """Return all figures that differ, each with the calculated and the measured value."""
    columns = (
        *([Column("network", "network")] if several_networks else []),
        Column("layer", "layer"),
        Column("figure", "figure"),
        Column("calculated", "calculated", "exact"),
        Column("torch", "measured", "exact"),
    )
    rows = tuple(
        (
            *([network] if several_networks else []),
            d.layer,
            d.figure,
            _figure_cell(d.calculated),
            _figure_cell(d.measured),
        )
        for network, d in differing
    )
    return Table(f"{len(rows)} figures differ", columns, rows)


def known_difference_notes(known: Iterable[_DifferenceOf], several_networks: bool) -> list[str]:
    """Return a note for each reason of known differences: the figures, the layers and the reason."""
    by_reason: dict[str | None, list[_DifferenceOf]] = {}
    for network, difference in known:
        by_reason.setdefault(difference.reason, []).append((network, difference))
    notes = []
    for reason, differences in by_reason.items():
        figures = ", ".join(dict.fromkeys(d.figure for _, d in differences))
        layers = [*dict.fromkeys(f"{network} {d.layer}" if several_networks else d.layer for network, d in differences)]
        more = f" and {len(layers) - _MAX_LISTED_LAYERS} more" if len(layers) > _MAX_LISTED_LAYERS else ""
        listed = ", ".join(layers[:_MAX_LISTED_LAYERS]) + more
        notes.append(f"Known difference in {figures} ({listed}): {reason}. The calculated number is right.")
    return notes


def _figure_cell(value: object) -> CellValue:
    if value is None:
        return "none"
    return cast(CellValue, value or "()" if isinstance(value, tuple) else value)


# -- JSON ---------------------------------------------------------------------------------------------------------


def _data(check: CrossCheck) -> JsonObject:
    costs = check.calculated
    verdicts = _verdicts(check)
    measured = {row.path: row for row in check.measured.costs.rows}
    return {
        "architecture": costs.name,
        "settings": dict(costs.settings),
        "batch": costs.batch,
        "inputs": shapes_data(costs.inputs),
        "training": costs.training,
        "environment": check.measured.environment._asdict(),
        "compared": check.compared,
        "agrees": not check.differences,
        "differences": [difference._asdict() for difference in check.differences],
        "known_differences": [difference._asdict() for difference in check.known_differences],
        "unknown": unknown_data(costs),
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
            "calculated": _counts_data(costs.total(), costs.training),
            "measured": _counts_data(check.measured.whole, costs.training),
        },
    }


def _row_data(row: Row, training: bool) -> JsonObject:
    shapes: JsonObject = {"output": row.output, "parameters": dict(row.parameters), "buffers": dict(row.buffers)}
    return shapes | _counts_data(row, training)


def _counts_data(row: Row, training: bool) -> JsonObject:
    counts: JsonObject = {
        "params": row.params,
        "param_bytes": row.param_bytes,
        "flops": row.flops,
        "activations": row.activations,
        "activation_bytes": row.activation_bytes,
    }
    return counts | ({"backward_flops": backward_flops(row)} if training else {})
