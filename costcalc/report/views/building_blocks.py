"""Designs that do the same job side by side, in numbers or in symbols."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from costcalc.analysis.conventions import CONVENTIONS
from costcalc.core.sizes import Count, Shape, Size, is_symbolic
from costcalc.exploration.building_blocks import expand_formula, quotient
from costcalc.report.document import CellValue, Column, ColumnKind, Document, Formula, Json, JsonObject, Table
from costcalc.report.schemas import document_data
from costcalc.report.views.counts import totals_data
from costcalc.report.views.heading import assumptions_note

if TYPE_CHECKING:
    import sympy

    from costcalc.analysis.cost_table import CostTable, Row
    from costcalc.exploration.building_blocks import DesignComparison, DesignSymbols

_Cost: TypeAlias = "Count | Shape | None"
_T = TypeVar("_T")


def designs_view(
    command: str,
    settings: Mapping[str, Json],
    comparisons: Sequence[DesignComparison],
    symbolic_comparisons: Sequence[DesignComparison] = (),
    symbols: DesignSymbols | None = None,
) -> Document:
    """Return each comparison as a table with one row a cost and one column a design, and ratios of the first design.

    With `symbols`, the tables are of `symbolic_comparisons`, which are the same comparisons in symbols; the data has
    both.
    """
    costs = comparisons[0].designs[0].costs
    entries = [entry for comparison in comparisons for entry in _data(comparison)]
    data = document_data(
        command,
        settings=dict(settings),
        batch=costs.batch,
        dtype=costs.dtype,
        convention=costs.convention,
        designs=entries,
    )
    if symbols is None:
        subtitle = f"{_input_text(costs)}, batch {costs.batch:,}, {costs.dtype}, convention {costs.convention}"
        return Document(tuple(_table(comparison, subtitle) for comparison in comparisons), data)
    formulas = (entry for comparison in symbolic_comparisons for entry in _formulas_data(comparison))
    for entry, formula in zip(entries, formulas, strict=True):
        entry |= formula
    subtitle = f"in symbols, {costs.dtype}, convention {costs.convention}"
    tables = [_table(comparison, subtitle, symbolic=True) for comparison in symbolic_comparisons]
    assumptions = dict.fromkeys(
        str(assumption)
        for comparison in symbolic_comparisons
        for assumption in comparison.assumptions
        if not symbols.implies(assumption)
    )
    meanings = "; ".join(_symbol_text(symbols, name) for name in symbols.meanings)
    notes = (f"These formulas hold for all sizes, not only for those set: {meanings}.", *assumptions_note(assumptions))
    tables[-1] = tables[-1]._replace(notes=(*tables[-1].notes, *notes))
    data |= {"symbols": symbols.values, "multiples": symbols.multiples, "assumptions": [*assumptions]}
    return Document(tuple(tables), data)


def _symbol_text(symbols: DesignSymbols, name: str) -> str:
    multiple = symbols.multiples[name]
    return f"{name} {symbols.meanings[name]}" + (f", a multiple of {multiple}" if multiple > 1 else "")


def _input_text(costs: CostTable) -> str:
    _, channels, height, width = next(iter(costs.inputs.values()))
    return f"input {channels:,}×{height}×{width}"


def _costs(convention: str) -> dict[str, Callable[[Row], _Cost]]:
    """Return the costs that are compared, by title."""
    return {
        "parameters": lambda row: row.params,
        "weights": lambda row: row.weights,
        "biases, BatchNorm": _biases_and_norms,
        "MACs": lambda row: row.macs,
        CONVENTIONS[convention].label: lambda row: row.flops,
        "activation elements": lambda row: row.activations,
        "activation bytes": lambda row: row.activation_bytes,
        "receptive field": lambda row: row.receptive_field,
        "non-linearities": lambda row: row.nonlinearities,
        "weight layers": lambda row: row.weight_layers,
    }


def _biases_and_norms(row: Row) -> Size:
    assert row.params is not None  # designs have no unknown layers
    assert row.weights is not None
    return row.params - row.weights


def _table(comparison: DesignComparison, subtitle: str, *, symbolic: bool = False) -> Table:
    designs = comparison.designs
    totals = [design.costs.total() for design in designs]
    kind: ColumnKind = "text" if symbolic else "exact"
    columns = [Column("cost", "cost"), *(Column(design.title, design.key, kind) for design in designs)]
    if comparison.ratios:
        ratio_kind: ColumnKind = "text" if symbolic else "ratio"
        columns += [
            Column(
                title="ratio" if len(designs) == 2 else f"÷ {design.title}",
                key=f"ratio_{design.key}",
                kind=ratio_kind,
                droppable=symbolic,
            )
            for design in designs[1:]
        ]
    divide = _symbolic_ratio if symbolic else _ratio
    rows = []
    for title, cost in _costs(designs[0].costs.convention).items():
        values = [cost(total) for total in totals]
        if all(value is None for value in values):  # no design has a receptive field
            continue
        ratios = [divide(values[0], value) for value in values[1:]] if comparison.ratios else []
        rows.append((title, *map(_cell, values), *ratios))
    return Table(
        title=f"{comparison.title}\n{subtitle}", columns=tuple(columns), rows=tuple(rows), notes=comparison.notes
    )


def _cell(value: _Cost) -> CellValue:
    """Return a value as a cell: a symbolic one as a formula, a missing receptive field as an empty cell."""
    if is_symbolic(value):
        return _formula(expand_formula(value))
    return "" if value is None else value


def _formula(expression: sympy.Expr) -> Formula:
    from costcalc.exploration.symbolic import LECTURE_WRITER

    return Formula(
        LECTURE_WRITER.text(expression), LECTURE_WRITER.python(expression), (LECTURE_WRITER.latex(expression),)
    )


def _height(value: _Cost) -> Count | None:
    return value[0] if isinstance(value, tuple) else value


def _ratio(first: _Cost, other: _Cost) -> float | None:
    """Return first ÷ other, of receptive fields by their height; None where either is missing or other is 0."""
    dividend, divisor = _height(first), _height(other)
    return None if dividend is None or not divisor else float(dividend / divisor)


def _symbolic_ratio(first: _Cost, other: _Cost) -> Formula | None:
    """Return first ÷ other as a formula whose Python code divides with /, since the ratio need not be an integer."""
    from costcalc.exploration.symbolic import LECTURE_WRITER
    from costcalc.exploration.symbolic.expression_writer import python

    dividend, divisor = _height(first), _height(other)
    if dividend is None or divisor is None or divisor == 0:
        return None
    expression = quotient(dividend, divisor)
    return _formula(expression)._replace(python=python(expression, LECTURE_WRITER.rank, "/"))


def _data(comparison: DesignComparison) -> list[JsonObject]:
    """Return each design with its totals, and the ratios of the first design to it."""
    totals = [design.costs.total() for design in comparison.designs]
    entries: list[JsonObject] = []
    for design, total in zip(comparison.designs, totals, strict=True):
        receptive_field = total.receptive_field
        entry: JsonObject = {
            "comparison": comparison.key,
            "name": design.key,
            "title": " ".join(design.title.split("\n")),
            "totals": totals_data(total),
            "weights": total.weights,
            "receptive_field": None if receptive_field is None else list(receptive_field),
            "nonlinearities": total.nonlinearities,
        }
        if comparison.ratios and total is not totals[0]:
            entry["ratios"] = _ratios(totals[0], total, _ratio)
        entries.append(entry)
    return entries


def _formulas_data(comparison: DesignComparison) -> list[JsonObject]:
    """Return the totals of each design as expressions, and the ratios of the first design to it."""
    totals = [design.costs.total() for design in comparison.designs]
    entries: list[JsonObject] = []
    for total in totals:
        costs = totals_data(total) | {"weights": total.weights}
        entries.append({"formulas": {key: _formula(expand_formula(cost)).python for key, cost in costs.items()}})
        if comparison.ratios and total is not totals[0]:
            ratios = _ratios(totals[0], total, _symbolic_ratio)
            entries[-1]["ratio_formulas"] = {key: ratio and ratio.python for key, ratio in ratios.items()}
    return entries


def _ratios(first: Row, other: Row, divide: Callable[[_Cost, _Cost], _T]) -> dict[str, _T]:
    dividends, divisors = totals_data(first), totals_data(other)
    return {key: divide(dividends[key], divisors[key]) for key in divisors}
