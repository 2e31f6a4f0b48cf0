"""Markdown: a heading, a pipe table with its totals in bold, and a list of notes for each part."""

from __future__ import annotations

from functools import singledispatch

from costcalc.report.document import Chart, Document, Formulas, Part, Table, Text
from costcalc.report.render.columns import format_cell, format_columns


def render(document: Document) -> str:
    """Format a document as Markdown."""
    return "\n\n".join(_part(part) for part in document.parts) + "\n"


@singledispatch
def _part(part: Part) -> str:
    raise NotImplementedError(type(part).__name__)


@_part.register
def _text(part: Text) -> str:
    return "\n\n".join([*([f"### {part.title}"] if part.title else []), *part.paragraphs])


@_part.register
def _chart(part: Chart) -> str:
    return _table(part.table(bars=True))


@_part.register
def _formulas(part: Formulas) -> str:
    return _table(part.table())


@_part.register
def _table(part: Table) -> str:
    heading, *rest = part.title.split("\n")
    notes = ["\n".join(f"- {note}" for note in part.notes)] if part.notes else []
    return "\n\n".join([f"### {heading}", *rest, _pipe_table(part), *notes])


def _pipe_table(table: Table) -> str:
    import tabulate

    columns = format_columns(table, format_cell)
    headers = [" ".join([*c.title, *([f"({c.unit})"] if c.unit else [])]) for c in columns]
    rows = [[_escape(c.cells[i]) for c in columns] for i in range(len(table.rows))]
    for i in range(len(table.rows), len(table.rows) + len(table.footer)):
        rows.append([f"**{_escape(c.cells[i])}**" if c.cells[i] else "" for c in columns])
    align = ["right" if c.right_aligned else "left" for c in columns]
    return tabulate.tabulate(rows, headers, tablefmt="pipe", colalign=align, disable_numparse=True)


def _escape(text: str) -> str:
    return text.replace("<", "&lt;").replace("|", "\\|")
