"""A network before and after design moves, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from costcalc.analysis.conventions import CONVENTIONS
from costcalc.analysis.cost_table import CostTable, Row
from costcalc.report.document import Column, Document, Kind, Table, ratio
from costcalc.report.views.networks import headline, known, notes_on, totals_data

SHOWN = 3  # places of one kind that the table names; JSON has them all


def rewriting(before: CostTable, after: CostTable, steps: Sequence[Any], saved: str | None = None) -> Document:
    """What design moves changed, and what that did to every cost, in total and by stage.

    `steps` are `rewrites.Step`s; `saved` is the file that the new network was written to.
    """
    data = {
        "schema": "costcalc/rewrite/1",
        "architecture": before.name,
        "rewritten": after.name,
        "moves": [step.rule for step in steps],
        "settings": dict(before.settings),
        "batch": before.batch,
        "dtype": before.dtype,
        "convention": before.convention,
        "before": _totals(before),
        "after": _totals(after),
        "changed": [change.place for step in steps for change in step.changed],
        "skipped": [
            {"move": step.rule, "name": skip.place, "reason": skip.reason} for step in steps for skip in step.skipped
        ],
        "steps": [
            {
                "move": step.rule,
                "changed": [{"name": change.place, "did": change.did} for change in step.changed],
                "skipped": [{"name": skip.place, "reason": skip.reason} for skip in step.skipped],
            }
            for step in steps
        ],
        "stages": [
            {"stage": name, "before": old and totals_data(old), "after": new and totals_data(new)}
            for name, old, new in _stages(before, after)
        ],
        "unknown": [{"name": row.path, "op": row.op} for row in after.unknown],
        "saved": saved,
    }
    return Document((_whole(before, after, steps, saved), _places(steps), *_by_stage(before, after)), data)


def overview(before: CostTable, tried: Mapping[str, tuple[int, CostTable] | str]) -> Document:
    """What each of several moves, alone, does to one network.

    `tried` has for each move the places changed and the network after it, or why it cannot be applied.
    """
    columns = [Column("move", "move"), Column("places", "places", "exact")]
    metrics: list[tuple[str, str, Kind]] = [
        ("params", "params", "count"),
        ("MACs", "macs", "count"),
        ("act. mem.", "activation_bytes", "bytes"),
    ]
    for title, key, kind in metrics:
        columns += [Column(title, key, kind), Column("÷", f"{key}_ratio", "ratio")]
    columns += [Column("field", "receptive_field", "side"), Column("depth", "weight_layers", "exact")]
    columns.append(Column("non-\nlin.", "nonlinearities", "exact"))
    old = before.total()

    def cells(name: str, places: Any, costs: CostTable) -> tuple[Any, ...]:
        new = costs.total()
        values: list[Any] = [name, places]
        for _, key, _ in metrics:
            values += [known(new, key), ratio(known(new, key), known(old, key))]
        return (*values, _field(costs.rows) or "", new.weight_layers, new.nonlinearities)

    applied = {move: done for move, done in tried.items() if not isinstance(done, str) and done[0]}
    rows = [cells(before.name, "", before), *(cells(move, *done) for move, done in applied.items())]
    idle = [move for move, done in tried.items() if not isinstance(done, str) and not done[0]]
    notes = [f"Nothing to change for {', '.join(idle)}."] if idle else []
    notes += [f"{move} cannot be applied: {why}." for move, why in tried.items() if isinstance(why, str)]
    notes += ["÷ is by the network as it is.", *notes_on(before)]
    data = {
        "schema": "costcalc/moves-on/1",
        "architecture": before.name,
        "batch": before.batch,
        "dtype": before.dtype,
        "convention": before.convention,
        "before": _totals(before),
        "moves": [
            {"move": move, "error": done}
            if isinstance(done, str)
            else {"move": move, "changed": done[0], "after": _totals(done[1])}
            for move, done in tried.items()
        ],
    }
    return Document((Table(headline(before), tuple(columns), tuple(rows), (), tuple(notes)),), data)


def _totals(costs: CostTable) -> dict[str, Any]:
    return {**totals_data(costs.total()), "receptive_field": _field(costs.rows)}


def _field(rows: Sequence[Row]) -> Any:
    """The receptive field of the last layer that has one."""
    return next((row.receptive_field for row in reversed(rows) if row.receptive_field is not None), None)


def _whole(before: CostTable, after: CostTable, steps: Sequence[Any], saved: str | None) -> Table:
    old, new = before.total(), after.total()
    metrics = {
        "parameters": "params",
        "MACs": "macs",
        CONVENTIONS[before.convention].label: "flops",
        "activation elements": "activations",
        "activation bytes": "activation_bytes",
        "depth (weight layers)": "weight_layers",
        "non-linearities": "nonlinearities",
    }
    rows = [_metric(title, known(old, key), known(new, key)) for title, key in metrics.items()]
    fields = [_field(costs.rows) for costs in (before, after)]
    for axis, values in _per_axis(fields).items():
        rows.insert(5, _metric(f"receptive field{axis}, pixels", *values))
    columns = (
        Column("total", "metric"),
        Column("before", "before", "exact"),
        Column("after", "after", "exact"),
        Column("difference", "difference", "difference"),
        Column("after ÷ before", "ratio", "ratio"),
    )
    moved = f" before and after {', '.join(step.rule for step in steps)}"
    notes = () if saved is None else (f"The new network is in {saved}: `costcalc report {saved}`.",)
    return Table(headline(before, moved), columns, tuple(rows), (), notes)


def _metric(title: str, old: Any, new: Any) -> tuple[Any, ...]:
    exact = isinstance(old, int) and isinstance(new, int)
    return (title, old, new, new - old if exact else None, ratio(new, old))


def _per_axis(fields: Sequence[Any]) -> Mapping[str, tuple[Any, ...]]:
    """The fields before and after, once for both axes where they are squares; none where one is gone."""
    if any(field is None for field in fields):
        return {}
    if all(len(set(field)) == 1 for field in fields):
        return {"": tuple(field[0] for field in fields)}
    return {" along width": tuple(f[1] for f in fields), " along height": tuple(f[0] for f in fields)}


def _stages(before: CostTable, after: CostTable) -> list[tuple[str, Row | None, Row | None]]:
    """The stages of both networks by name, in running order: those of the new one, the others where they were."""
    old, new = ({row.path: row for row in costs.by_stage().rows} for costs in (before, after))
    order = list(new)
    place = 0
    for name in old:
        if name in new:
            place = order.index(name) + 1
        else:
            order.insert(place, name)
            place += 1
    return [(name, old.get(name), new.get(name)) for name in order]


def _by_stage(before: CostTable, after: CostTable) -> list[Table]:
    """Two tables, for one of all metrics would be wider than a terminal."""
    label = CONVENTIONS[before.convention].label
    stages = _stages(before, after)
    parts: dict[str, list[tuple[str, str, Kind]]] = {
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
    tables: list[Table] = []
    for part, metrics in parts.items():
        columns = [Column("stage", "stage")]
        for title, key, kind in metrics:
            columns += [Column(f"{title}\n{which}", f"{key}_{which}", kind, key) for which in ("before", "after")]
            columns += [] if kind in ("side", "exact") else [Column("÷", f"{key}_ratio", "ratio")]
        rows = [_stage(name, pair, metrics) for name, *pair in stages]
        total = _stage("total", [costs.total()._replace(receptive_field=None) for costs in (before, after)], metrics)
        tables.append(Table(f"By stage: {part}", tuple(columns), tuple(rows), (total,)))
    return [*tables[:-1], tables[-1]._replace(notes=notes_on(after))]


def _stage(name: str, pair: Sequence[Row | None], metrics: Iterable[tuple[str, str, Kind]]) -> tuple[Any, ...]:
    """One stage before and after, with ratios of what can be added; empty where a network has no such stage."""
    cells: list[Any] = [name]
    for _, key, kind in metrics:
        old, new = ("" if row is None else known(row, key) for row in pair)
        if kind == "side":
            cells += [old or "", new or ""]
        else:
            cells += [old, new, *([] if kind == "exact" else [ratio(new, old)])]
    return tuple(cells)


def _places(steps: Iterable[Any]) -> Table:
    """What each move changed and what it left, places of one kind in one row."""
    rows = []
    for step in steps:
        kinds: dict[tuple[str, str], list[str]] = {}
        for change in step.changed:
            kinds.setdefault(("changed", change.did), []).append(change.place)
        for skip in step.skipped:
            kinds.setdefault(("skipped", skip.reason), []).append(skip.place)
        if not step.changed:
            kinds = {("changed", "nothing" if kinds else "nothing, for there is no such place"): [], **kinds}
        for i, ((verdict, what), places) in enumerate(kinds.items()):
            more = [f"{len(places) - SHOWN} more"] if len(places) > SHOWN else []
            where = ", ".join([*places[:SHOWN], *more])
            rows.append((step.rule if i == 0 else "", len(places), f"{verdict}: {what}", where))
    columns = (
        Column("move", "move"),
        Column("places", "places", "exact"),
        Column("what became of them", "what"),
        Column("where", "where"),
    )
    return Table("What was changed, and what was not", columns, tuple(rows))
