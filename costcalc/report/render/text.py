"""Text for a terminal: aligned columns, at most `MAX_WIDTH` wide where the text in them can be shortened."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from functools import singledispatch
from itertools import chain, zip_longest

from costcalc.report.document import Chart, Document, Formulas, Part, Table, Text
from costcalc.report.render.columns import RenderedColumn, format_cell, format_columns

MAX_WIDTH = 100
MIN_TEXT_WIDTH = 20  # characters that a column of text is left with, however wide the other columns are
_ELLIPSIS = "…"
_TOO_WIDE = f"{_ELLIPSIS}: too wide for this table; the other formats have it."


def render(document: Document) -> str:
    """Format a document as text."""
    return "\n".join(_part(part) for part in document.parts)


@singledispatch
def _part(part: Part) -> str:
    raise NotImplementedError(type(part).__name__)


@_part.register
def _text(part: Text) -> str:
    paragraphs = ["\n".join(_wrap(paragraph)) for paragraph in ((part.title,) if part.title else ()) + part.paragraphs]
    return "\n\n".join(paragraphs) + "\n"


@_part.register
def _chart(part: Chart) -> str:
    return _table(part.table(bars=True))


@_part.register
def _formulas(part: Formulas) -> str:
    return _table(part.table())


@_part.register
def _table(part: Table) -> str:
    droppable = [i for i, column in enumerate(part.columns) if column.droppable]
    columns = _fit_to_width(format_columns(part, format_cell), droppable)
    widths = [_column_width(column) for column in columns]
    gap = _column_gap(widths)

    def lines(cells: Iterable[str]) -> Iterator[str]:
        """One row of cells, each of one or more lines."""
        for parts in zip_longest(*(cell.split("\n") for cell in cells), fillvalue=""):
            padded = (
                " " * (width - _display_width(line)) + line
                if column.right_aligned
                else line + " " * (width - _display_width(line))
                for line, width, column in zip(parts, widths, columns, strict=True)
            )
            yield gap.join(padded).rstrip()

    rule = gap.join("-" * width for width in widths)
    title_lines = max(len(column.title) for column in columns)
    body = [[*lines(column.cells[i] for column in columns)] for i in range(len(part.rows) + len(part.footer))]
    rows, footer = body[: len(part.rows)], body[len(part.rows) :]
    printed = [*_wrap(part.title), ""]
    printed += [line for i in range(title_lines) for line in lines([*c.title, *[""] * title_lines][i] for c in columns)]
    if any(column.unit for column in columns):
        printed += lines(column.unit for column in columns)
    printed += [rule, *chain(*rows), *([rule, *chain(*footer)] if footer else [])]
    notes = [*part.notes, *([_TOO_WIDE] if any(_ELLIPSIS in columns[i].cells for i in droppable) else [])]
    if notes:
        printed.append("")
        printed += [line for note in notes for line in _wrap(note)]
    return "\n".join(printed) + "\n"


def _column_width(column: RenderedColumn) -> int:
    lines = (*column.title, column.unit, *(line for cell in column.cells for line in cell.split("\n")))
    return max(map(_display_width, lines))


def _display_width(text: str) -> int:
    """Return the terminal columns that a text occupies: two for each East Asian wide character."""
    if max(text, default="") < "\u1100":
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def _column_gap(widths: Sequence[int]) -> str:
    return "  " if sum(width + 2 for width in widths) - 2 <= MAX_WIDTH else " "


def _fit_to_width(columns: list[RenderedColumn], droppable: Sequence[int]) -> list[RenderedColumn]:
    """Shorten columns until the table fits `MAX_WIDTH`, or nothing is left to shorten.

    In this order: the longest cells of `droppable` columns are elided, prose is wrapped, and paths in the first column
    are cut in the middle.
    """

    def excess() -> int:
        return sum(_column_width(column) + 1 for column in columns) - 1 - MAX_WIDTH

    while excess() > 0:
        wider_than_title = [
            (_display_width(cell), i, row)
            for i in droppable
            for row, cell in enumerate(columns[i].cells)
            if _display_width(cell) > max(map(_display_width, columns[i].title))
        ]
        if not wider_than_title:
            break
        _, i, longest = max(wider_than_title)
        cells = [_ELLIPSIS if row == longest else cell for row, cell in enumerate(columns[i].cells)]
        columns[i] = columns[i]._replace(cells=cells)

    prose = [i for i, c in enumerate(columns) if i and not c.right_aligned and _column_width(c) > MIN_TEXT_WIDTH]
    if excess() > 0 and prose:
        width = (sum(_column_width(columns[i]) for i in prose) - excess()) // len(prose)
        for i in prose:
            wrapped = ["\n".join(textwrap.wrap(cell, max(width, MIN_TEXT_WIDTH))) for cell in columns[i].cells]
            columns[i] = columns[i]._replace(cells=wrapped)
    if excess() > 0 and _column_width(columns[0]) - excess() >= MIN_TEXT_WIDTH:
        width = _column_width(columns[0]) - excess()
        columns[0] = columns[0]._replace(cells=[_elide_middle(cell, width) for cell in columns[0].cells])
    return columns


def _elide_middle(path: str, width: int) -> str:
    if len(path) <= width:
        return path
    head = (width - 1) // 2
    return f"{path[:head]}{_ELLIPSIS}{path[len(path) - (width - 1 - head) :]}"


def _wrap(text: str) -> list[str]:
    return [
        line
        for paragraph in text.split("\n")
        for line in textwrap.wrap(paragraph, MAX_WIDTH, subsequent_indent="  ", break_on_hyphens=False) or [""]
    ]
