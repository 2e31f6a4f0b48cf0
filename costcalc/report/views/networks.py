"""Views: cost tables made into the tables that commands print, and into the JSON that programs read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from math import log2
from typing import Any, NamedTuple

from costcalc.analysis.conventions import ALL_OUTPUTS, ALL_PARAMETERS, CONVENTIONS, Convention
from costcalc.analysis.cost_table import CostTable, Row
from costcalc.analysis.metrics import METRICS
from costcalc.core.sizes import format_inputs, prod
from costcalc.core.units import BINARY
from costcalc.report.document import AtLeast, Column, Document, Kind, Table, ratio

# -- one network --------------------------------------------------------------------------------------------------


class _Field(NamedTuple):
    """A column of a report: how it is headed, and where its cells come from."""

    column: Column
    cell: Callable[[Row], Any]
    share: bool = False  # a second column says what part of the total each cell is


def report(costs: CostTable, by: str = "layer", depth: int = 1) -> Document:
    """What one network costs, layer by layer or in groups, with totals, what is unknown and what is assumed."""
    grouped = {
        "layer": lambda: costs,
        "stage": lambda: costs.by_stage(depth),
        "op": costs.by_op,
        "resolution": costs.by_resolution,
    }[by]()
    convention = CONVENTIONS[costs.convention]
    fields = [*_fields(by, convention), *(_TRAINING if costs.training else ())]
    total = costs.total()
    columns: list[Column] = []
    cells: list[Callable[[Row], Any]] = []
    for field in fields:
        columns.append(field.column)
        cells.append(field.cell)
        if field.share:
            columns.append(Column("share", f"{field.column.key}_share", "share"))
            cells.append(_share_of(field.cell, total))
    rows = [tuple(cell(row) for cell in cells) for row in grouped.rows]
    last = tuple(
        None if column.key in ("output", "receptive_field") or column.kind == "share" else cell(total)
        for column, cell in zip(columns, cells, strict=True)
    )
    notes = (*_totals_note(costs, total), *notes_on(costs))
    table = Table(headline(costs), tuple(columns), tuple(rows), (last,), notes)
    return Document((table,), _report_data(costs, grouped, total))


def _share_of(cell: Callable[[Row], Any], total: Row) -> Callable[[Row], Any]:
    return lambda row: ratio(cell(row), cell(total))


def _fields(by: str, convention: Convention) -> list[_Field]:
    """The columns of a report: a convention with tables of its own prints theirs."""
    params = _Field(Column("params", "params", "count"), lambda r: known(r, "params"), share=by != "layer")
    macs = _Field(Column("MACs", "macs", "count", "work"), lambda r: known(r, "macs"))
    flops = _Field(Column(convention.label, "flops", "count", "work"), lambda r: known(r, "flops"), share=True)
    memory = _Field(
        Column("act. mem.", "activation_bytes", "bytes"), lambda r: known(r, "activation_bytes"), share=by != "layer"
    )
    paths = _Field(Column(by, "name"), lambda r: r.path)
    output = _Field(Column("output", "output", "shape"), lambda r: None if r.output is None else r.output[1:])
    field = _Field(Column("field", "receptive_field", "side"), lambda r: r.receptive_field)
    layers = _Field(Column("layers", "layers", "exact"), lambda r: r.layer_count)
    if convention.columns:
        own = [_own_column(key, unit, decimals, convention) for key, unit, decimals in convention.columns]
        return [paths, *([output] if by == "layer" else []), *own]
    work = [flops] if convention.name == "macs" else [macs, flops]
    if by == "op":
        return [paths, layers, params, *work, memory]
    return [paths, output, field, params, *work, memory]


_TRAINING = (
    _Field(Column("backward\nMACs", "backward_macs", "count"), lambda r: known(r, "backward_macs")),
    _Field(Column("saved", "saved_bytes", "bytes"), lambda r: known(r, "saved_bytes")),
)


def _own_column(key: str, unit: str, decimals: int, convention: Convention) -> _Field:
    """A column as a convention's own tables print it."""
    kind: Kind = "bytes" if key.endswith("_bytes") else "count"
    titles = {
        "outputs": "outputs/image",
        "weights": "weights",
        "flops": convention.label,
        "params": "params",
        "activation_bytes": "act. mem.",
        "param_bytes": "param mem.",
    }

    def cell(row: Row) -> Any:
        if key != "outputs":
            return known(row, key)
        return "" if row.layer_count != 1 or row.output is None else prod(row.output[1:])

    return _Field(Column(titles[key], key, kind, None, unit, decimals), cell)


_UNCERTAIN = ("params", "macs", "flops", "weights", "param_bytes", "backward_macs", "saved_bytes")


def known(row: Row, attribute: str) -> Any:
    """A count of a row: a lower bound where a layer in it could not be counted, None where that is all there is."""
    value = getattr(row, attribute)
    return AtLeast(value) if row.unknown_layers and value is not None and attribute in _UNCERTAIN else value


def headline(costs: CostTable, moved: str = "") -> str:
    """What was analysed, and how it was counted; `moved` says what was done to it."""
    inputs = format_inputs(costs.inputs)
    title = f"{costs.name}" + (f": {costs.title}" if costs.title not in ("", costs.name) else "")
    title = f"{costs.name}{moved}" if moved else title
    convention = CONVENTIONS[costs.convention]
    mode = ", training" if costs.training else ""
    return f"{title}\n{inputs}, batch {_exact(costs.batch)}, {costs.dtype}{mode}, convention {convention.name}"


def _totals_note(costs: CostTable, total: Row) -> tuple[str, ...]:
    """The totals in full: what an author prints and another can reproduce."""
    convention = CONVENTIONS[costs.convention]
    least = "≥ " if costs.unknown else ""
    work = "" if convention.name == "macs" else f", {least}{_exact(total.flops)} {convention.label}"
    return (
        f"In full: {least}{_exact(total.params)} parameters, {least}{_exact(total.macs)} MACs{work}, "
        f"{_exact(total.activations)} activation elements, {_exact(total.activation_bytes)} bytes of activations; "
        f"{total.weight_layers} weight layer{'s' * (total.weight_layers != 1)}.",
        *_counted_note(costs, total),
    )


def _counted_note(costs: CostTable, total: Row) -> tuple[str, ...]:
    """Parameters and activation elements as the convention counts them, where that is its own way."""
    convention = CONVENTIONS[costs.convention]
    least = "≥ " if costs.unknown else ""
    counted = []
    if convention.parameters is not ALL_PARAMETERS:
        counted.append(f"{least}{_exact(total.counted_params)} parameters")
    if convention.activations is not ALL_OUTPUTS:
        counted.append(f"{_exact(total.counted_activations)} activation elements")
    return (f"As {convention.name} counts: {', '.join(counted)}.",) if counted else ()


def notes_on(costs: CostTable) -> tuple[str, ...]:
    """What a reader must know of the counts: the convention, what is unknown, what is assumed."""
    notes = [f"Convention {costs.convention}: {CONVENTIONS[costs.convention].definition}"]
    if CONVENTIONS[costs.convention].columns:
        elements = sum(prod(shape) for shape in costs.inputs.values())
        notes.append(
            f"The input, in no row and no total: {_exact(elements)} elements, {_exact(costs.input_bytes)} bytes "
            f"({_exact_div(costs.input_bytes, BINARY['MiB'], 1)} MiB), stored once."
        )
    if costs.unknown:
        names = ", ".join(f"{row.path} ({row.op})" for row in costs.unknown)
        notes.append(f"Unknown, so that totals are lower bounds (≥): {names}.")
    if costs.assumptions:
        notes.append(f"Assuming {'; '.join(costs.assumptions)}.")
    if costs.unused_parameters:
        count = sum(map(prod, costs.unused_parameters.values()))
        notes.append(f"Not counted: {_exact(count)} parameters that nothing uses: {', '.join(_unused(costs))}.")
    return (*notes, *(f"{note}." for note in costs.notes))


def _unused(costs: CostTable) -> list[str]:
    """The parameters that nothing uses, by the modules of which nothing is used."""
    used = {""}
    for row in costs.rows:
        path = ""
        for part in row.path.split("/"):
            used |= {f"{path}{part}.", f"{path}{re.sub(r'_[0-9]+$', '', part)}."}  # of several calls, by number
            path += f"{part}."
    found: dict[str, None] = {}
    for name in costs.unused_parameters:
        parts = name.split(".")
        prefixes = [".".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
        found[next((p for p in prefixes if f"{p}." not in used), name)] = None
    return list(found)


def _exact(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _exact_div(value: Any, by: int, decimals: int) -> str:
    return f"{value / by:.{decimals}f}" if isinstance(value, int) else f"{value}/{by}"


def _bare(cell: Any) -> Any:
    return cell.value if isinstance(cell, AtLeast) else cell


def totals_data(total: Row) -> dict[str, Any]:
    """A `totals` object of the JSON contract."""
    return {
        "params": total.params,
        "param_bytes": total.param_bytes,
        "macs": total.macs,
        "flops": total.flops,
        "activations": total.activations,
        "activation_bytes": total.activation_bytes,
        "weight_layers": total.weight_layers,
        "nonlinearities": total.nonlinearities,
        "counted_params": total.counted_params,
        "counted_activations": total.counted_activations,
    }


def _report_data(costs: CostTable, grouped: CostTable, total: Row) -> dict[str, Any]:
    rows = [
        {
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
            **_training_data(row, costs.training),
        }
        for row in grouped.rows
    ]
    return {
        "schema": "costcalc/report/1",
        "architecture": costs.name,
        "settings": dict(costs.settings),
        "batch": costs.batch,
        "dtype": costs.dtype,
        "convention": costs.convention,
        "inputs": {name: list(shape) for name, shape in costs.inputs.items()},
        "input_bytes": costs.input_bytes,
        "rows": rows,
        "totals": {**totals_data(total), **_training_data(total, costs.training)},
        "training": costs.training,
        "unknown": _unknown_data(costs),
        "assumptions": list(costs.assumptions),
        "unused_params": {name: list(shape) for name, shape in costs.unused_parameters.items()},
        "notes": list(costs.notes),
    }


def _training_data(row: Row, training: bool) -> dict[str, Any]:
    return {"backward_macs": row.backward_macs, "saved_for_backward": row.saved_bytes} if training else {}


def _unknown_data(costs: CostTable) -> list[dict[str, str]]:
    return [{"name": row.path, "op": row.op} for row in costs.unknown]


# -- all networks -------------------------------------------------------------------------------------------------


def listing(networks: Iterable[CostTable]) -> Document:
    """Every architecture with its headline numbers."""
    columns = (
        Column("name", "name"),
        Column("network", "title"),
        Column("input", "input", "shape"),
        Column("weight\nlayers", "weight_layers", "exact"),
        Column("params", "params", "count"),
        Column("MACs", "macs", "count"),
        Column("activations", "activations", "count"),
    )
    rows, data = [], []
    for costs in networks:
        total = costs.total()
        shape = next(iter(costs.inputs.values()))[1:]
        rows.append((costs.name, costs.title, shape, total.weight_layers, total.params, total.macs, total.activations))
        data.append({"name": costs.name, "title": costs.title, "input": list(shape), **totals_data(total)})
    notes = ("Batch 1, without auxiliary heads. `costcalc report NAME` shows one in full.",)
    table = Table(f"{len(rows)} architectures", columns, tuple(rows), (), notes)
    return Document((table,), {"schema": "costcalc/list/1", "architectures": data})


# -- several networks ---------------------------------------------------------------------------------------------


def compare(networks: Sequence[CostTable], by: str = "stage", metric: str = "memory") -> Document:
    """Networks side by side: one metric by stage (aligned by resolution) or by op, then all metrics in total."""
    labels = _labels(networks)
    title, attribute, kind = METRICS[metric]
    groups, aligned = _aligned(networks, by)
    wide = len(networks) <= 2  # room for shares, and for the planes of stages
    planes = wide and by == "stage"
    first = labels[0]
    columns = [Column("stage" if by == "stage" else "op", by)]
    for label in labels:
        if planes:
            columns.append(Column("plane", f"{label}_plane"))
        columns.append(Column(_heading(label), f"{label}_{attribute}", kind, "metric"))
        if wide:
            columns.append(Column("share", f"{label}_share", "share"))
    columns += [Column("ratio" if wide else _heading(first, label), f"ratio_{label}", "ratio") for label in labels[1:]]
    totals = [costs.total() for costs in networks]
    whole = [known(total, attribute) for total in totals]
    rows, stages = [], []
    for group in groups:
        members = [table.get(group) for table in aligned]
        values = [None if row is None else known(row, attribute) for row in members]
        cells: list[Any] = [group]
        for row, value, total in zip(members, values, whole, strict=True):
            if planes:
                cells.append("" if row is None or row.path == "head" else row.path)
            cells.append("" if row is None else value)
            if wide:
                cells.append(None if row is None else ratio(value, total))
        rows.append((*cells, *(ratio(values[0], value) for value in values[1:])))
        stages.append({"stage": group, **_compared(labels, members, values, whole)})
    footer: list[Any] = ["total"]
    for value in whole:
        footer += [*([""] if planes else []), value, *([None] if wide else [])]
    footer += [ratio(whole[0], value) for value in whole[1:]]
    notes = []
    if by == "stage":
        notes.append(
            "A stage is all layers at one spatial size: 1/4 is a plane of about a quarter of the input's height. A "
            "pool closes the stage it reads; `head` follows after the plane is gone."
        )
    unit = CONVENTIONS[networks[0].convention]
    if unit.name != "flops":
        notes.append(f"Convention {unit.name}: {unit.definition}")
    alike = _settings_note(networks, labels)
    head = f"{' against '.join(labels)}: {title} by {by}\n{alike}, convention {unit.name}"
    detail = Table(head, tuple(columns), tuple(rows), (tuple(footer),), tuple(notes))
    data = {
        "schema": "costcalc/compare/1",
        "metric": metric,
        "by": by,
        "convention": unit.name,
        "architectures": [
            {"name": label, "batch": costs.batch, "dtype": costs.dtype, "totals": totals_data(total)}
            for label, costs, total in zip(labels, networks, totals, strict=True)
        ],
        "stages": stages,
    }
    return Document((detail, *_all_metrics(labels, networks, totals)), data)


def _all_metrics(labels: Sequence[str], networks: Sequence[CostTable], totals: Sequence[Row]) -> list[Table]:
    """All metrics in total, exactly; ratios beside them for two networks, in a table of their own for more."""
    label_of_flops = CONVENTIONS[networks[0].convention].label
    metrics = {
        "parameters": "params",
        "parameter bytes": "param_bytes",
        "MACs": "macs",
        label_of_flops: "flops",
        "activation elements": "activations",
        "activation bytes": "activation_bytes",
        "weight layers": "weight_layers",
    }
    shown = {name: [known(total, attribute) for total in totals] for name, attribute in metrics.items()}
    ratios = {name: [ratio(row[0], value) for value in row[1:]] for name, row in shown.items()}
    unknown = [f"{row.path} ({row.op}) of {costs.name}" for costs in networks for row in costs.unknown]
    notes = (f"Unknown, so that totals are lower bounds (≥): {', '.join(unknown)}.",) if unknown else ()
    counts = (Column("total", "metric"), *(Column(_heading(label), label, "exact") for label in labels))
    by_how_much = tuple(Column(_heading(labels[0], label), f"ratio_{label}", "ratio") for label in labels[1:])
    if len(labels) <= 2:
        rows = tuple((name, *shown[name], *ratios[name]) for name in metrics)
        return [Table("In total", (*counts, *by_how_much), rows, (), notes)]
    return [
        Table("In total", counts, tuple((name, *shown[name]) for name in metrics), (), notes),
        Table("Ratios", (counts[0], *by_how_much), tuple((name, *ratios[name]) for name in metrics)),
    ]


def _aligned(networks: Sequence[CostTable], by: str) -> tuple[list[str], list[dict[str, Row]]]:
    """Names of the groups in order, and for each network its row of each group."""
    if by == "op":
        tables = [{row.path: row for row in costs.by_op().rows} for costs in networks]
        return list(dict.fromkeys(name for table in tables for name in table)), tables
    tables = [_by_reduction(costs) for costs in networks]
    names = {name for table in tables for name in table}
    return sorted(names, key=lambda name: float("inf") if name == "head" else int(name.split("/")[1])), tables


def _by_reduction(costs: CostTable) -> dict[str, Row]:
    """Stages by how far the plane has shrunk, to the nearest power of two: 227 → 55 and 224 → 56 are both 1/4."""
    first = next(iter(costs.inputs.values()))

    def reduction(row: Row) -> str:
        return "head" if row.spatial_size is None else f"1/{2 ** max(0, round(log2(first[2] / row.spatial_size[0])))}"

    named = costs.group_by(reduction)
    planes = {
        reduction(row): "×".join(map(str, row.spatial_size))
        for row in reversed(costs.rows)
        if row.spatial_size is not None
    }
    return {row.path: row._replace(path=planes.get(row.path, row.path)) for row in named.rows}


def _compared(labels: Sequence[str], rows: Sequence[Row | None], values: Sequence[Any], whole: Sequence[Any]) -> Any:
    entries = {}
    for label, row, value, total in zip(labels, rows, values, whole, strict=True):
        entries[label] = (
            None if row is None else {"plane": row.spatial_size, "value": _bare(value), "share": ratio(value, total)}
        )
    ratios = {label: ratio(values[0], value) for label, value in zip(labels[1:], values[1:], strict=True)}
    return {"architectures": entries, "ratios": ratios}


def _labels(networks: Sequence[CostTable]) -> list[str]:
    """Names of the networks; one that is there twice also says in what it differs, or is numbered."""
    labels = []
    for place, costs in enumerate(networks):
        twins = [_particulars(other) for other in networks if other.name == costs.name]
        own = _particulars(costs)
        differing = [key for key in own if any(twin[key] != own[key] for twin in twins)]
        label = " ".join([costs.name, *(f"{key}={own[key]}" for key in differing)])
        if len(twins) > 1 and not differing:
            label += f" #{sum(other.name == costs.name for other in networks[: place + 1])}"
        labels.append(label)
    return labels


def _particulars(costs: CostTable) -> dict[str, str]:
    """What may differ between two networks of one name, as its user would ask for it."""
    shapes = ",".join("x".join(map(str, shape[2:] or shape[1:])) for shape in costs.inputs.values())
    settings = {key: list(value) if isinstance(value, tuple) else value for key, value in costs.settings.items()}
    written = {key: str(value).replace(" ", "") for key, value in settings.items()}
    return {"batch": str(costs.batch), "input": shapes, "dtype": costs.dtype, **written}


def _heading(label: str, divided_by: str | None = None) -> str:
    """A label as the title of a column, a line a part; with `divided_by`, that of a ratio."""
    parts = _breakable(label).split()
    if divided_by is not None:
        parts += ["÷", *_breakable(divided_by).split()]
    return "\n".join(parts).replace("÷\n", "÷ ")


def _breakable(label: str) -> str:
    """A label with spaces where it may be cut into lines: after a hyphen, before a design move."""
    return label.replace("-", "- ").replace("+", " +")


def _settings_note(networks: Sequence[CostTable], labels: Sequence[str]) -> str:
    """Batch and dtype: once when all agree, else for each."""
    kinds = [f"batch {costs.batch}, {costs.dtype}" for costs in networks]
    if len(set(kinds)) == 1:
        return kinds[0]
    return "; ".join(f"{label}: {kind}" for label, kind in zip(labels, kinds, strict=True))


# -- naive against reduced modules --------------------------------------------------------------------------------


def naive_versus_reduced(
    modules: Sequence[tuple[str, CostTable, CostTable]], stacked: tuple[str, CostTable, CostTable]
) -> Document:
    """Each module in both designs on the same input, then the network with naive modules stacked."""
    name, naive, reduced = stacked
    columns = [Column("module", "name"), Column("in", "in_channels", "exact")]
    columns += [Column(f"out\n{which}", f"out_channels_{which}", "exact") for which in ("naive", "reduced")]
    metrics: tuple[tuple[str, Kind, str], ...] = (
        ("params", "count", "params"),
        (CONVENTIONS[naive.convention].label, "count", "flops"),
        ("memory", "bytes", "activation_bytes"),
    )
    for title, kind, key in metrics:
        columns += [Column(f"{title}\n{which}", f"{key}_{which}", kind, key) for which in ("naive", "reduced")]
        columns.append(Column("ratio", f"{key}_ratio", "ratio"))
    rows, data = [], []
    for module, *pair in modules:
        totals = [costs.total() for costs in pair]
        channels = [row.output[1] for row in totals if row.output is not None]
        taken = next(iter(pair[0].inputs.values()))[1]
        cells: list[Any] = [module, taken, *channels]
        entry: dict[str, Any] = {"name": module, "in_channels": taken, "out_channels": _both(channels)}
        for key in ("params", "macs", "flops", "activation_bytes"):
            values = [getattr(total, key) for total in totals]
            entry[key] = _both(values)
            if key != "macs":
                cells += [*values, ratio(*values)]
        rows.append(tuple(cells))
        data.append(entry)
    notes = [
        "Naive and reduced (with 1×1 convolutions) modules have the same input; the ratio is naive ÷ reduced.",
        *_branch_notes(*modules[0][1:]),
    ]
    single = Table(
        f"{name}: naive against reduced modules, each on the input it has in the network\n"
        f"batch {naive.batch}, {naive.dtype}, convention {naive.convention}",
        tuple(columns),
        tuple(rows),
        (),
        tuple(notes),
    )
    both = [costs.total() for costs in (naive, reduced)]
    widest = [max(_channels(costs)) for costs in (naive, reduced)]
    lines = [("widest tensor, channels", *widest, ratio(*widest))]
    for title, key in (
        ("parameters", "params"),
        ("MACs", "macs"),
        (CONVENTIONS[naive.convention].label, "flops"),
        ("activation elements", "activations"),
        ("activation bytes", "activation_bytes"),
    ):
        values = [getattr(total, key) for total in both]
        lines.append((title, *values, ratio(*values)))
    whole = Table(
        f"{name}: the whole network, naive modules stacked (their channels grow) against the real one",
        (Column("total", "metric"), Column("naive", "naive", "exact"), Column("reduced", "reduced", "exact"),
         Column("ratio", "ratio", "ratio")),
        tuple(lines),
    )  # fmt: skip
    return Document(
        (single, whole),
        {
            "schema": "costcalc/naive-vs-reduced/1",
            "architecture": name,
            "settings": {k: v for k, v in reduced.settings.items() if k != "reduced"},
            "batch": naive.batch,
            "dtype": naive.dtype,
            "convention": naive.convention,
            "modules": data,
            "stacked": {"naive": totals_data(both[0]), "reduced": totals_data(both[1])},
        },
    )


def _both(values: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(("naive", "reduced"), values, strict=True))


def _channels(costs: CostTable) -> list[Any]:
    return [row.output[1] for row in costs.rows if row.output is not None]


def _branch_notes(naive: CostTable, reduced: CostTable) -> list[str]:
    """For each branch with a reduction, its multiply-accumulates written out in both designs: 2·H·W·C_out·C_in·k·k."""
    notes = []
    branches = dict.fromkeys("/".join(row.path.split("/")[:2]) for row in reduced.rows)
    for branch in branches:
        products = [[_product(r) for r in costs.below(branch).rows if r.macs] for costs in (naive, reduced)]
        if products[0] and products[0] != products[1]:
            written = [" + ".join(p) for p in products]
            counts = [2 * (costs.below(branch).total().macs or 0) for costs in (naive, reduced)]
            notes.append(
                f"{branch}: naive {written[0]} = {counts[0]:,}; reduced {written[1]} = {counts[1]:,} "
                f"({counts[0] / counts[1]:.2f}× fewer), 2 FLOPs a MAC."
            )
    return notes


def _product(row: Row) -> str:
    """2·H·W·C_out·C_in·k·k of a convolution, from its shapes; the batch in front unless it is 1."""
    assert row.output is not None
    batch, _, *plane = row.output
    factors = [2, *([] if batch == 1 else [batch]), *plane, *row.parameters["weight"]]
    return "·".join(map(str, factors))


# -- one layer, explained -----------------------------------------------------------------------------------------


def explanation(costs: CostTable, layer: str, lines: Iterable[Any]) -> Document:
    """Formula, numbers and value of each cost of each layer; `lines` are `formula.Explanation`s."""
    lines = list(lines)
    columns = (
        Column("layer", "layer"),
        Column("cost", "cost"),
        Column("formula", "formula"),
        Column("numbers", "numbers"),
        Column("value", "value", "exact"),
    )
    prefix = layer + "/"
    rows, shown = [], ""
    for line in lines:
        path = line.path.removeprefix(prefix) if line.path != layer else layer.split("/")[-1]
        rows.append(("" if path == shown else path, line.quantity, line.formula, line.numbers, line.value))
        shown = path
    total = costs.total()
    label = CONVENTIONS[costs.convention].label
    totals = [("parameters", total.params), ("MACs", total.macs), (label, total.flops)]
    totals += [("activation bytes", total.activation_bytes)]
    footer = [
        ("together" if i == 0 else "", name, "", "", value)
        for i, (name, value) in enumerate(t for t in totals if t[0] != "MACs" or label != "MACs")
    ]
    explained = {line.path for line in lines}
    silent = [
        row.path.removeprefix(prefix) for row in costs.rows if row.path not in explained and row not in costs.unknown
    ]
    notes = [*_legend(lines)]
    if silent:
        notes.append(f"Costs nothing here: {', '.join(silent)}.")
    notes += notes_on(costs)
    several = len(costs.rows) > 1
    table = Table(f"{layer} of {headline(costs)}", columns, tuple(rows), tuple(footer) if several else (), tuple(notes))
    data = {
        "schema": "costcalc/explain/1",
        "architecture": costs.name,
        "layer": layer,
        "convention": costs.convention,
        "lines": [
            {"name": e.path, "quantity": e.quantity, "formula": e.formula, "numbers": e.numbers, "value": e.value}
            for e in lines
        ],
        "totals": totals_data(total),
        "unknown": _unknown_data(costs),
    }
    return Document((table,), data)


def _legend(lines: Iterable[Any]) -> list[str]:
    meanings: dict[str, str] = {}
    for line in lines:
        meanings.update(line.meanings)
    return ["; ".join(f"{symbol} {meaning}" for symbol, meaning in meanings.items()) + "."] if meanings else []
