"""Design moves: their rules, and what each of them does to a network."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from costcalc.report.document import Cells, CellValue, Column, ColumnKind, Document, Table, ratio
from costcalc.report.schemas import document_data
from costcalc.report.views.counts import count_or_bound
from costcalc.report.views.heading import counting_notes, headline
from costcalc.report.views.rewrite import last_receptive_field, totals_with_field

if TYPE_CHECKING:
    from costcalc.analysis.cost_table import CostTable
    from costcalc.transforms import Rule

_METRICS: tuple[tuple[str, str, ColumnKind], ...] = (
    ("params", "params", "count"),
    ("MACs", "macs", "count"),
    ("act. mem.", "activation_bytes", "bytes"),
)


def moves_reference_view(moves: Sequence[Rule]) -> Document:
    """Return all design moves in one row each, or a single move with its rules."""
    data = document_data(
        "moves",
        moves=[
            {"name": move.name, "call": move.call, "same_function": move.same_function, "doc": move.doc}
            for move in moves
        ],
    )
    table = _rules_table(moves[0]) if len(moves) == 1 else _moves_table(moves)
    return Document((table,), data)


def _rules_table(move: Rule) -> Table:
    summary, _, details = move.doc.partition("\n\n")
    rules = re.sub(r"\n(?!\d+\.)\s*", " ", details).split("\n")
    note = "The network computes the same function once its weights are carried over."
    return Table(
        title=f"{move.call}\n{summary}",
        columns=(Column("rule", "rule"), Column("what it does", "doc")),
        rows=tuple(tuple(rule.split(". ", 1)) for rule in rules),
        notes=(note,) if move.same_function else (),
    )


def _moves_table(moves: Sequence[Rule]) -> Table:
    columns = (Column("move", "move"), Column("same\nfunction", "same_function"), Column("what it does", "doc"))
    rows = tuple((move.call, "yes" if move.same_function else "", move.doc.split("\n")[0]) for move in moves)
    notes = ("`costcalc moves RULE` prints the rules of one move.",)
    return Table(title=f"{len(moves)} design moves", columns=columns, rows=rows, notes=notes)


def moves_view(before: CostTable, results: Mapping[str, tuple[int, CostTable] | str]) -> Document:
    """Return what each of several moves, applied alone, does to a network.

    `results` has for each move the number of changes and the costs after it, or the reason why it cannot be applied.
    """
    columns = [Column("move", "move"), Column("matches", "places", "exact")]
    for title, key, kind in _METRICS:
        columns += [Column(title, key, kind), Column("÷", f"{key}_ratio", "ratio")]
    columns += [
        Column("field", "receptive_field", "side"),
        Column("depth", "weight_layers", "exact"),
        Column("non-\nlin.", "nonlinearities", "exact"),
    ]
    rows = [_row(before.name, "", before, before)]
    without_effect, refused = [], []
    for move, result in results.items():
        if isinstance(result, str):
            refused.append(f"{move} cannot be applied: {result}.")
        elif result[0]:
            rows.append(_row(move, *result, before))
        else:
            without_effect.append(move)
    notes = [f"Nothing to change for {', '.join(without_effect)}."] if without_effect else []
    notes += [*refused, "÷ is the ratio to the network as it is.", *counting_notes(before)]
    data = document_data(
        "moves-on",
        architecture=before.name,
        batch=before.batch,
        dtype=before.dtype,
        convention=before.convention,
        before=totals_with_field(before),
        moves=[
            {"move": move, "error": result}
            if isinstance(result, str)
            else {"move": move, "changed": result[0], "after": totals_with_field(result[1])}
            for move, result in results.items()
        ],
    )
    table = Table(title=headline(before), columns=tuple(columns), rows=tuple(rows), notes=tuple(notes))
    return Document((table,), data)


def _row(name: str, changes: int | str, costs: CostTable, before: CostTable) -> Cells:
    old, new = before.total(), costs.total()
    cells: list[CellValue] = [name, changes]
    for _, key, _ in _METRICS:
        cells += [count_or_bound(new, key), ratio(count_or_bound(new, key), count_or_bound(old, key))]
    return (*cells, last_receptive_field(costs.rows) or "", new.weight_layers, new.nonlinearities)
