"""LaTeX: tables for booktabs, formulas as equations for amsmath, titles and notes as comments."""

from __future__ import annotations

from collections.abc import Iterable
from functools import singledispatch

from costcalc.report.document import (
    CellValue,
    Chart,
    Column,
    Document,
    EquationGroup,
    Formula,
    Formulas,
    Part,
    Table,
    Text,
)
from costcalc.report.render.columns import format_cell, format_columns

_MAX_LINE = 88  # characters of an equation in a line of source
_ESCAPES = str.maketrans({
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": "$<$", ">": "$>$", "×": r"$\times$", "·": r"$\cdot$", "÷": r"$\div$", "≥": r"$\geq$", "≤": r"$\leq$",
    "≠": r"$\neq$", "→": r"$\to$", "−": "$-$", "…": r"\ldots{}", "²": "$^2$", "µ": r"$\mu$",
    "\n": " ", "█": r"\rule{1mm}{1.5ex}",
})  # fmt: skip


def render(document: Document) -> str:
    """Format a document as LaTeX."""
    return "\n\n".join(_part(part) for part in document.parts) + "\n"


@singledispatch
def _part(part: Part) -> str:
    raise NotImplementedError(type(part).__name__)


@_part.register
def _text(part: Text) -> str:
    title = [rf"\paragraph{{{_escape(part.title)}}}"] if part.title else []
    return "\n\n".join([*title, *map(_escape, part.paragraphs)])


@_part.register
def _chart(part: Chart) -> str:
    return _table(part.table())


@_part.register
def _table(part: Table) -> str:
    return "\n".join([*_comments(part.title, *part.notes), _tabular(part)])


@_part.register
def _formulas(part: Formulas) -> str:
    lines = _comments(part.title, *part.notes)
    if not part.groups:
        return "\n".join([*lines, _align(part.whole)])
    for group in (*part.groups, part.whole):
        if not all(each.formula is None or each.is_zero for each in group.equations):
            lines += ["", rf"\paragraph{{\texttt{{{_escape(group.name)}}}}}", _align(group)]
    return "\n".join(lines)


def _comments(*texts: str) -> list[str]:
    return [f"% {line}" for text in texts for line in text.split("\n")]


def _tabular(table: Table) -> str:
    columns = format_columns(table, _latex_cell)
    headings = [_escape(" ".join([*c.title, *([f"({c.unit})"] if c.unit else [])])) for c in columns]
    widths = [max(map(len, (heading, *c.cells))) for heading, c in zip(headings, columns, strict=True)]

    def line(cells: Iterable[str]) -> str:
        padded = (
            cell.rjust(width) if c.right_aligned else cell.ljust(width)
            for cell, width, c in zip(cells, widths, columns, strict=True)
        )
        return f" {' & '.join(padded)} \\\\"

    body = [line(c.cells[i] for c in columns) for i in range(len(table.rows) + len(table.footer))]
    alignment = "".join("r" if c.right_aligned else "l" for c in columns)
    lines = [rf"\begin{{tabular}}{{{alignment}}}", r"\toprule", line(headings)]
    lines += [r"\midrule", *body[: len(table.rows)]]
    lines += [r"\midrule", *body[len(table.rows) :]] if table.footer else []
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _latex_cell(value: CellValue, column: Column, scale: int, decimals: int) -> str:
    return f"${value.latex}$" if isinstance(value, Formula) else _escape(format_cell(value, column, scale, decimals))


def _align(group: EquationGroup) -> str:
    equations = []
    for equation in group.equations:
        if equation.formula is None:
            continue
        relation = r"&\geq" if equation.lower_bound else "&="
        lines = [rf"\text{{{equation.title}}} {relation}"]
        for term in equation.formula.latex_terms:
            if len(lines[-1]) + len(term) > _MAX_LINE:
                lines[-1] += r" \\"
                lines.append(r"  &\quad")
            lines[-1] += f" {term}"
        equations.append("\n".join(lines))
    return "\\begin{align*}\n" + " \\\\\n".join(equations) + "\n\\end{align*}"


def _escape(text: str) -> str:
    return text.translate(_ESCAPES)
