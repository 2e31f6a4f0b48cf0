"""The values that views produce and renderers format: documents of tables, charts, formulas and text.

Nothing here is formatted. A view fills a document with exact values; a renderer alone decides what a number looks like.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from numbers import Rational
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, TypeGuard

if TYPE_CHECKING:
    from fractions import Fraction

ColumnKind: TypeAlias = Literal[
    "text", "count", "exact", "bytes", "time", "ratio", "share", "shape", "side", "difference", "bar"
]
CellValue: TypeAlias = "str | int | float | Fraction | tuple[int | float, ...] | LowerBound | Formula | None"
Cells: TypeAlias = tuple[CellValue, ...]
Json: TypeAlias = "bool | int | float | str | Fraction | Sequence[Json] | Mapping[str, Json] | None"
JsonObject: TypeAlias = dict[str, Json]


class Column(NamedTuple):
    """A column of a table: its title, its key in CSV and JSON, and the kind of its cells.

    Each kind has its format:

    - count: in one decimal unit (k, M, G) for the whole column; bytes in KiB, MiB or GiB; time (in ns) in ns to s.
    - exact: in full; a quotient of exact numbers with four digits. difference: exact and with its sign.
    - side: the side of a square, or (height, width). shape: sizes joined by ×.
    - ratio: a factor. share: a percentage. bar: a share, drawn.
    """

    title: str  # may have several lines
    key: str
    kind: ColumnKind = "text"
    unit_group: str | None = None  # columns of one group share their unit
    unit: str | None = None  # a fixed unit
    decimals: int | None = None  # a fixed number of decimals
    hide_repeats: bool = False  # leave a cell empty where it equals the one above
    droppable: bool = False  # elide the longest cells first where the table is too wide for text


class LowerBound(NamedTuple):
    """A total that leaves out layers whose cost is unknown."""

    value: int | Fraction


class Formula(NamedTuple):
    """An expression as text, as Python code, and as LaTeX for math mode, term by term."""

    text: str
    python: str
    latex_terms: tuple[str, ...]

    @property
    def latex(self) -> str:
        """The whole expression in LaTeX."""
        return " ".join(self.latex_terms)


class Table(NamedTuple):
    """Rows of values under columns, with rows of totals and notes below. A cell of None is an unknown value."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Cells, ...]
    footer: tuple[Cells, ...] = ()
    notes: tuple[str, ...] = ()


class Series(NamedTuple):
    """One line, or one set of bars, of a chart: a value for each position on the x axis, None where there is none."""

    name: str
    values: tuple[int | Fraction | None, ...]


class Chart(NamedTuple):
    """Series of exact values over a common x axis. Renderers without graphics write it as a table, with bars."""

    title: str
    kind: Literal["bar", "line"]
    x: tuple[str | int, ...]
    series: tuple[Series, ...]
    x_label: str = ""
    y_label: str = ""
    y_kind: ColumnKind = "count"
    notes: tuple[str, ...] = ()

    def table(self, *, bars: bool = False) -> Table:
        """The values as a table: one row for each position and series, with `bars` a bar beside each value."""
        several = len(self.series) > 1
        x_kind: ColumnKind = "exact" if all(isinstance(position, int) for position in self.x) else "text"
        columns = (
            Column(self.x_label, "x", x_kind, hide_repeats=several),
            *((Column("", "series"),) if several else ()),
            Column(self.y_label, "y", self.y_kind),
            *((Column("", "bar", "bar"),) if bars else ()),
        )
        values = [value for series in self.series for value in series.values if value is not None]
        magnitudes: list[int | Fraction] = [max(value, -value) for value in values]
        largest = max(magnitudes, default=0)
        rows: list[Cells] = []
        for i, position in enumerate(self.x):
            for series in self.series:
                value = series.values[i]
                share = None if value is None or not largest else float(max(value, 0) / largest)
                name = (series.name,) if several else ()
                rows.append((position, *name, value, *((share,) if bars else ())))
        title = self.title
        if not several and self.series and self.series[0].name:
            title = f"{title}\n{self.series[0].name}"
        return Table(title, columns, tuple(rows), (), self.notes)


class Text(NamedTuple):
    """Paragraphs of prose under an optional title."""

    paragraphs: tuple[str, ...]
    title: str = ""


class Equation(NamedTuple):
    """One cost and its formula: exact, or a lower bound; None where it is unknown."""

    title: str
    key: str
    formula: Formula | None
    lower_bound: bool = False

    @property
    def is_zero(self) -> bool:
        """Whether the cost is 0."""
        return self.formula is not None and self.formula.python == "0"


class EquationGroup(NamedTuple):
    """The equations of one layer, of one stage or of the whole network."""

    name: str
    equations: tuple[Equation, ...]


class FormulaDomain(NamedTuple):
    """The values that a variable may take: `minimum` or more, and `residue` modulo `multiple`."""

    name: str
    multiple: int
    residue: int
    minimum: int


class Formulas(NamedTuple):
    """The formulas of a network by layer or stage, with those of the whole.

    Renderers write them as a table, as LaTeX equations, or as a module of Python functions.
    """

    title: str
    by: str
    groups: tuple[EquationGroup, ...]  # empty where only the whole is shown
    whole: EquationGroup
    notes: tuple[str, ...]
    variables: tuple[FormulaDomain, ...]
    subject: str  # as docstrings of a Python module name it
    docstring: tuple[str, ...]  # title and notes, in the full names of the variables

    def table(self) -> Table:
        """The formulas as a table: costs of 0 are left out, except of the whole."""
        whole = [_equation_cells(each) for each in self.whole.equations]
        columns: tuple[Column, ...] = (Column("cost", "quantity"), Column("formula", "formula"))
        if not self.groups:
            return Table(self.title, columns, tuple(whole), (), self.notes)
        columns = (Column(self.by, "name", hide_repeats=True), *columns)
        rows = [
            (group.name, *_equation_cells(each))
            for group in self.groups
            for each in group.equations
            if not each.is_zero
        ]
        footer = [(self.whole.name, *cells) for cells in whole]
        zero = [group.name for group in self.groups if all(each.is_zero for each in group.equations)]
        notes = (*self.notes, f"Costs nothing: {', '.join(zero)}.") if zero else self.notes
        return Table(self.title, columns, tuple(rows), tuple(footer), notes)


def _equation_cells(equation: Equation) -> Cells:
    formula = equation.formula
    if formula is None:
        return (equation.title, "?")
    if equation.lower_bound:
        formula = Formula(f"≥ {formula.text}", formula.python, (r"\geq", *formula.latex_terms))
    return (equation.title, formula)


Part: TypeAlias = Table | Chart | Text | Formulas


class Document(NamedTuple):
    """The output of a command before formatting: parts for people, and the same facts as data for JSON."""

    parts: tuple[Part, ...]
    data: JsonObject

    def tables(self) -> Iterator[Table]:
        """The parts that have rows, as tables: all but text."""
        for part in self.parts:
            if isinstance(part, Table):
                yield part
            elif isinstance(part, Chart | Formulas):
                yield part.table()


def is_exact_number(value: object) -> TypeGuard[int | Fraction]:
    """Whether a cell is an exact number: an int or a Fraction."""
    return isinstance(value, Rational)


def ratio(part: object, whole: object) -> float | None:
    """part / whole of two exact numbers; None where one is a lower bound or unknown, or where whole is 0."""
    if not is_exact_number(part) or not is_exact_number(whole):
        return None
    return float(part / whole) if whole else None
