"""Renderers: a document as text, Markdown, LaTeX, CSV or JSON. Nothing is text before it comes here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, zip_longest
from typing import Any, NamedTuple

from costcalc.core.units import BINARY, DECIMAL, SECONDS, round_half_up
from costcalc.report.document import AtLeast, Column, Document, Formula, Table, is_number

WIDTH = 100
BAR = 40  # characters of a whole bar
NARROWEST = 20  # characters that a column of text is left with, however wide the others are
_LEFT_OUT = "…"
_TOO_WIDE = f"{_LEFT_OUT}: too wide for this table; the other formats have it."


class _RenderedColumn(NamedTuple):
    """A column as text: lines of its title, unit, alignment, cells of the rows and then of the footer."""

    title: list[str]
    unit: str
    right: bool
    cells: list[str]

    @property
    def width(self) -> int:
        """Characters of its longest line."""
        return max(map(_width, (*self.title, self.unit, *(line for cell in self.cells for line in cell.split("\n")))))


def render(document: Document, style: str) -> str:
    """The document in one of the STYLES, ending in a line feed."""
    return STYLES[style](document)


def _text(document: Document) -> str:
    return "\n".join(_text_table(table) for table in document.tables)


def _text_table(table: Table) -> str:
    spare = [place for place, column in enumerate(table.columns) if column.spare]
    columns = _fitted(_printed(table, _cell), spare)
    widths = [column.width for column in columns]
    gap = _gap(columns)
    heads = max(len(c.title) for c in columns)

    def lines(cells: Iterable[str]) -> Iterator[str]:
        """One row of cells, which may have several lines each."""
        for parts in zip_longest(*(cell.split("\n") for cell in cells), fillvalue=""):
            aligned = (
                " " * (width - _width(part)) + part if column.right else part + " " * (width - _width(part))
                for part, width, column in zip(parts, widths, columns, strict=True)
            )
            yield gap.join(aligned).rstrip()

    rule = gap.join("-" * width for width in widths)
    body = [[*lines(c.cells[i] for c in columns)] for i in range(len(table.rows) + len(table.footer))]
    rows, footer = body[: len(table.rows)], body[len(table.rows) :]
    printed = [*_wrapped(table.title), ""]
    printed += [line for i in range(heads) for line in lines([*c.title, *[""] * heads][i] for c in columns)]
    if any(c.unit for c in columns):
        printed += lines(c.unit for c in columns)
    printed += [rule, *chain(*rows), *([rule, *chain(*footer)] if footer else [])]
    notes = [*table.notes, *([_TOO_WIDE] if any(_LEFT_OUT in columns[place].cells for place in spare) else [])]
    if notes:
        printed.append("")
        printed += [part for note in notes for part in _wrapped(note)]
    return "\n".join(printed) + "\n"


def _width(text: str) -> int:
    """How many columns of a terminal a text takes: East Asian characters take two."""
    if max(text, default="") < "\u1100":
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def _gap(columns: list[_RenderedColumn]) -> str:
    return "  " if sum(c.width + 2 for c in columns) - 2 <= WIDTH else " "


def _fitted(columns: list[_RenderedColumn], spare: list[int]) -> list[_RenderedColumn]:
    """Columns that fit WIDTH together, where text can give way: the longest cells of the `spare` ones go, then prose is
    wrapped, then long paths are cut.

    JSON and CSV have all of it in full.
    """
    import textwrap

    def over() -> int:
        return sum(c.width + 1 for c in columns) - 1 - WIDTH

    while over() > 0:
        beyond = [
            (_width(cell), i, row) for i in spare for row, cell in enumerate(columns[i].cells)
            if _width(cell) > max(map(_width, columns[i].title))
        ]  # fmt: skip
        if not beyond:
            break
        _, i, longest = max(beyond)
        cells = [_LEFT_OUT if row == longest else cell for row, cell in enumerate(columns[i].cells)]
        columns[i] = columns[i]._replace(cells=cells)

    prose = [i for i, c in enumerate(columns) if i and not c.right and c.width > NARROWEST]
    if over() > 0 and prose:
        room = (sum(columns[i].width for i in prose) - over()) // len(prose)
        for i in prose:
            wrapped = ["\n".join(textwrap.wrap(cell, max(room, NARROWEST))) for cell in columns[i].cells]
            columns[i] = columns[i]._replace(cells=wrapped)
    if over() > 0 and columns[0].width - over() >= NARROWEST:
        width = columns[0].width - over()
        columns[0] = columns[0]._replace(cells=[_elided(cell, width) for cell in columns[0].cells])
    return columns


def _elided(path: str, width: int) -> str:
    """A path cut in its middle to a width."""
    if len(path) <= width:
        return path
    head = (width - 1) // 2
    return f"{path[:head]}…{path[len(path) - (width - 1 - head) :]}"


def _wrapped(text: str) -> list[str]:
    import textwrap

    return [
        part
        for paragraph in text.split("\n")
        for part in textwrap.wrap(paragraph, WIDTH, subsequent_indent="  ", break_on_hyphens=False) or [""]
    ]


def _markdown(document: Document) -> str:
    parts = []
    for table in document.tables:
        head, *rest = table.title.split("\n")
        paragraphs = [f"### {head}", *rest, _grid(table)]
        paragraphs += ["\n".join(f"- {note}" for note in table.notes)] if table.notes else []
        parts.append("\n\n".join(paragraphs))
    return "\n\n".join(parts) + "\n"


def _latex(document: Document) -> str:
    parts = []
    for table in document.tables:
        comments = [f"% {line}" for text in (table.title, *table.notes) for line in text.split("\n")]
        parts.append("\n".join([*comments, _tabular(table)]))
    return "\n\n".join(parts) + "\n"


def _tabular(table: Table) -> str:
    """The grid for LaTeX's booktabs: text escaped, formulas in math mode."""
    columns = _printed(table, _latex_cell)
    heads = [_latex_escape(" ".join([*c.title, *([f"({c.unit})"] if c.unit else [])])) for c in columns]
    widths = [max(map(len, (head, *c.cells))) for head, c in zip(heads, columns, strict=True)]

    def line(cells: Iterable[str]) -> str:
        padded = (
            cell.rjust(width) if c.right else cell.ljust(width)
            for cell, width, c in zip(cells, widths, columns, strict=True)
        )
        return f" {' & '.join(padded)} \\\\"

    body = [line(c.cells[i] for c in columns) for i in range(len(table.rows) + len(table.footer))]
    lines = [rf"\begin{{tabular}}{{{''.join('r' if c.right else 'l' for c in columns)}}}", r"\toprule", line(heads)]
    lines += [r"\midrule", *body[: len(table.rows)]]
    lines += [r"\midrule", *body[len(table.rows) :]] if table.footer else []
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


_LATEX = str.maketrans({
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": "$<$", ">": "$>$", "×": r"$\times$", "·": r"$\cdot$", "÷": r"$\div$", "≥": r"$\geq$", "≤": r"$\leq$",
    "≠": r"$\neq$", "→": r"$\to$", "−": "$-$", "…": r"\ldots{}", "²": "$^2$", "µ": r"$\mu$",
    "\n": " ", "█": r"\rule{1mm}{1.5ex}",
})  # fmt: skip


def _latex_escape(text: str) -> str:
    return text.translate(_LATEX)


def _latex_cell(value: Any, column: Column, scale: int, decimals: int) -> str:
    return f"${value.latex}$" if isinstance(value, Formula) else _latex_escape(_cell(value, column, scale, decimals))


def _markdown_escape(text: str) -> str:
    return text.replace("<", "&lt;").replace("|", "\\|")


def _grid(table: Table) -> str:
    """The grid for Markdown, the footer in bold."""
    import tabulate

    columns = _printed(table, _cell)
    headers = [" ".join([*c.title, *([f"({c.unit})"] if c.unit else [])]) for c in columns]
    rows = [[_markdown_escape(c.cells[i]) for c in columns] for i in range(len(table.rows))]
    for i in range(len(table.rows), len(table.rows) + len(table.footer)):
        rows.append([f"**{_markdown_escape(c.cells[i])}**" if c.cells[i] else "" for c in columns])
    align = ["right" if c.right else "left" for c in columns]
    return tabulate.tabulate(rows, headers, tablefmt="pipe", colalign=align, disable_numparse=True)


def _csv(document: Document) -> str:
    """Exact values, rows only: a total would be added twice by whoever adds the column."""
    import csv
    import io

    parts = []
    for table in document.tables:
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([column.key for column in table.columns])
        for row in table.rows:
            writer.writerow([_plain(cell) for cell in row])
        parts.append(out.getvalue())
    return "\n".join(parts)


def _plain(cell: Any) -> str:
    value = cell.value if isinstance(cell, AtLeast) else cell
    if isinstance(value, Formula):
        return value.python
    if value is None:
        return ""
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _json(document: Document) -> str:
    import json

    return json.dumps(document.data, indent=2, ensure_ascii=False, default=_jsonable) + "\n"


def _jsonable(value: Any) -> Any:
    if is_number(value):
        return float(value)
    return value.tolist() if hasattr(value, "tolist") else str(value)


STYLES: dict[str, Callable[[Document], str]] = {
    "text": _text,
    "markdown": _markdown,
    "csv": _csv,
    "json": _json,
    "latex": _latex,
}


# -- one cell -----------------------------------------------------------------------------------------------------


def _printed(table: Table, write: Callable[[Any, Column, int, int], str]) -> list[_RenderedColumn]:
    """All columns as text, the cells of a column (and of a group of columns) in one unit with equally many decimals.

    `write` makes the text of a value.
    """
    values = [[row[place] for row in (*table.rows, *table.footer)] for place in range(len(table.columns))]
    groups: dict[Any, list[Any]] = {}
    for place, column in enumerate(table.columns):
        groups.setdefault(column.group or place, []).extend(values[place])
    printed = []
    for place, column in enumerate(table.columns):
        scale, unit, decimals = _unit(column, groups[column.group or place])
        cells = [write(value, column, scale, decimals) for value in values[place]]
        if column.grouped:
            cells = ["" if before == cell else cell for before, cell in zip([None, *cells], cells, strict=False)]
        printed.append(
            _RenderedColumn(column.title.split("\n"), unit, column.kind not in ("text", "shape", "bar"), cells)
        )
    return printed


def _unit(column: Column, values: list[Any]) -> tuple[int, str, int]:
    """Scale, name and decimals of the unit in which the largest value has at most four digits before the point."""
    units = {"count": DECIMAL, "bytes": BINARY, "time": SECONDS}.get(column.kind)
    if units is None:
        return 1, "", 0
    bare = (v.value if isinstance(v, AtLeast) else v for v in values)
    largest: Any = max((abs(v) for v in bare if is_number(v)), default=0)
    unit = column.unit
    if unit is None:
        unit = next((u for u, scale in units.items() if largest < 10_000 * scale), list(units)[-1])
    shown = largest / units[unit]
    decimals = 0 if units[unit] == 1 else 1 if shown >= 1000 else 2 if shown >= 100 else 3
    return units[unit], unit, decimals if column.decimals is None else column.decimals


def _cell(value: Any, column: Column, scale: int, decimals: int) -> str:
    if isinstance(value, AtLeast):
        shown = _cell(value.value, column, scale, decimals)
        return "> 0" if shown.startswith("<") else f"≥ {shown}"
    if isinstance(value, Formula):
        return value.text
    if value is None:
        return "?" if column.kind in ("count", "exact", "bytes", "time") else ""
    if isinstance(value, tuple):
        alike = column.kind == "side" and len(set(value)) == 1
        return str(value[0]) if alike else "×".join(map(str, value))
    if isinstance(value, str):
        return value
    if column.kind == "exact":
        return f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(value, float) else str(value)
    if column.kind == "difference":
        return f"{value:+,}" if value else "0"
    if column.kind == "ratio":
        return f"{value:.2f}×" if value < 1000 else f"{value:,.0f}×"
    if column.kind == "share":
        return f"{100 * value:.1f}%"
    if column.kind == "bar":
        return "█" * round(BAR * float(value))
    if column.kind == "text" or not is_number(value):
        return str(value)
    return _rounded(value, scale, decimals)


def _rounded(value: Any, scale: int, decimals: int) -> str:
    """The number rounded half up, as people do; one that would round to nothing is less than the last place."""
    if value == 0:
        return "0"
    step = 10**decimals
    whole = round_half_up(value * step, scale)
    if whole == 0:
        return f"<{1 / step:.{decimals}f}" if decimals else "<1"
    text = f"{whole // step:,}"
    return text + f".{whole % step:0{decimals}d}" if decimals else text
