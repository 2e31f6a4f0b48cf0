"""Cells as text: one unit and one number of decimals for each column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from costcalc.core.units import BINARY, DECIMAL, SECONDS, round_half_up
from costcalc.report.document import CellValue, Column, Formula, LowerBound, Table, is_exact_number

if TYPE_CHECKING:
    from fractions import Fraction

BAR_WIDTH = 40  # characters of a full bar
_LEFT_ALIGNED = ("text", "shape", "bar")

CellFormatter: TypeAlias = Callable[[CellValue, Column, int, int], str]


class RenderedColumn(NamedTuple):
    """A column as text: the lines of its title, its unit, its alignment, and the cells of rows and footer."""

    title: list[str]
    unit: str
    right_aligned: bool
    cells: list[str]


def format_columns(table: Table, formatter: CellFormatter) -> list[RenderedColumn]:
    """Format all columns of a table; the columns of one `unit_group` share a unit and a number of decimals."""
    values = [[row[i] for row in (*table.rows, *table.footer)] for i in range(len(table.columns))]
    groups: dict[str | int, list[CellValue]] = {}
    for i, column in enumerate(table.columns):
        groups.setdefault(column.unit_group or i, []).extend(values[i])
    rendered = []
    for i, column in enumerate(table.columns):
        scale, unit, decimals = _choose_unit(column, groups[column.unit_group or i])
        cells = [formatter(value, column, scale, decimals) for value in values[i]]
        if column.hide_repeats:
            cells = ["" if above == cell else cell for above, cell in zip([None, *cells], cells, strict=False)]
        rendered.append(RenderedColumn(column.title.split("\n"), unit, column.kind not in _LEFT_ALIGNED, cells))
    return rendered


def _choose_unit(column: Column, values: Sequence[CellValue]) -> tuple[int, str, int]:
    """Return scale, name and decimals of the unit in which the largest value has at most four integer digits."""
    units = {"count": DECIMAL, "bytes": BINARY, "time": SECONDS}.get(column.kind)
    if units is None:
        return 1, "", 0
    numbers = (value.value if isinstance(value, LowerBound) else value for value in values)
    magnitudes: list[int | Fraction] = [max(number, -number) for number in numbers if is_exact_number(number)]
    largest = max(magnitudes, default=0)
    unit = column.unit
    if unit is None:
        unit = next((name for name, scale in units.items() if largest < 10_000 * scale), list(units)[-1])
    in_unit = largest / units[unit]
    decimals = 0 if units[unit] == 1 else 1 if in_unit >= 1000 else 2 if in_unit >= 100 else 3
    return units[unit], unit, decimals if column.decimals is None else column.decimals


def format_cell(value: CellValue, column: Column, scale: int, decimals: int) -> str:
    """Format one value in the unit of `scale` with `decimals`."""
    if isinstance(value, LowerBound):
        text = format_cell(value.value, column, scale, decimals)
        return "> 0" if text.startswith("<") else f"≥ {text}"
    if isinstance(value, Formula):
        return value.text
    if value is None:
        return "?" if column.kind in ("count", "exact", "bytes", "time") else ""
    if isinstance(value, str):
        return value
    if isinstance(value, tuple):
        square = column.kind == "side" and len(set(value)) == 1
        return str(value[0]) if square else "×".join(map(str, value))
    return _format_number(value, column, scale, decimals)


def _format_number(value: int | float | Fraction, column: Column, scale: int, decimals: int) -> str:
    if column.kind == "exact":
        return f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(value, float) else str(value)
    if column.kind == "difference":
        return f"{value:+,}" if value else "0"
    if column.kind == "ratio":
        return f"{value:.2f}×" if value < 1000 else f"{value:,.0f}×"
    if column.kind == "share":
        return f"{100 * value:.1f}%"
    if column.kind == "bar":
        return "█" * round(BAR_WIDTH * float(value))
    if column.kind == "text" or not is_exact_number(value):
        return str(value)
    return _in_unit(value, scale, decimals)


def _in_unit(value: int | Fraction, scale: int, decimals: int) -> str:
    """Return a number rounded half up in the unit of `scale`; a number that would round to 0 is written as `<0.001`."""
    if value == 0:
        return "0"
    step = 10**decimals
    whole = round_half_up(value * step, scale)
    if whole == 0:
        return f"<{1 / step:.{decimals}f}" if decimals else "<1"
    text = f"{whole // step:,}"
    return text + f".{whole % step:0{decimals}d}" if decimals else text
