"""A table of values that are not text yet.

A view fills it; a renderer alone decides how a number looks. Every column has one unit.
"""

from __future__ import annotations

from numbers import Rational
from typing import Any, Literal, NamedTuple

Kind = Literal["text", "count", "exact", "bytes", "time", "ratio", "share", "shape", "side", "difference", "bar"]


class Column(NamedTuple):
    """A column: a title for people (of one or more lines), a key for programs, and what its cells are.

    A count is shown in one unit of 1000s (k, M, G), bytes in one of 1024s, a time (nanoseconds) in one of ns to s;
    columns of one `group` share their unit, and `unit` and `decimals` fix it. An exact count is shown in full, a
    quotient among such to four digits; a difference is an exact count with its sign. A side is the length of a square,
    or a (height, width) where it is none. A bar is a share, drawn. In a `grouped` column people see a cell only where
    it differs from the one above. Cells of a `spare` column are the first to go where people's table would be too wide.
    """

    title: str
    key: str
    kind: Kind = "text"
    group: str | None = None
    unit: str | None = None
    decimals: int | None = None
    grouped: bool = False
    spare: bool = False


class AtLeast(NamedTuple):
    """A sum over what could be counted, with something left that could not."""

    value: Any


class Formula(NamedTuple):
    """An expression: as it is read, as a program computes it, and in LaTeX, for math mode."""

    text: str
    python: str
    latex: str


class Table(NamedTuple):
    """Rows of values under columns; `footer` are rows of totals, `notes` sentences below. `None` is "not known"."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    footer: tuple[tuple[Any, ...], ...] = ()
    notes: tuple[str, ...] = ()


class Document(NamedTuple):
    """What a command answers: tables for people, and the same as JSON-ready data."""

    tables: tuple[Table, ...]
    data: dict[str, Any]


def is_number(value: object) -> bool:
    """Whether a cell is an exact number: an int, or the fraction that a tool's real division gives."""
    return isinstance(value, Rational)


def ratio(part: Any, whole: Any) -> float | None:
    """part / whole, where both are exact numbers; None where one is a lower bound, or not known, or whole is 0."""
    if not is_number(part) or not is_number(whole) or not whole:
        return None
    return float(part / whole)
