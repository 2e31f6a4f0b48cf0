"""Closed forms of the costs of a network, and the solutions of break-even questions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from typing import TYPE_CHECKING, TypeAlias

from costcalc.analysis.conventions import CONVENTIONS
from costcalc.analysis.metrics import METRICS
from costcalc.core.sizes import without_batch
from costcalc.exploration.symbolic import expression_writer as writing
from costcalc.report.document import (
    Column,
    Document,
    Equation,
    EquationGroup,
    Formula,
    FormulaDomain,
    Formulas,
    JsonObject,
    Table,
)
from costcalc.report.schemas import document_data
from costcalc.report.views.heading import convention_note, network_title, unknown_data, unknown_note

if TYPE_CHECKING:
    import sympy

    from costcalc.exploration.symbolic import ClosedForms, Solution, Variable
    from costcalc.exploration.symbolic.break_even import ValueRange
    from costcalc.exploration.symbolic.closed_forms import RowFormulas
    from costcalc.ir.op import Assumption

    _Expression: TypeAlias = sympy.Expr

# Short symbols of variables, in the order of factors; other variables are written with their names.
_SHORT_NAMES = {
    "batch": "N",
    "height": "H",
    "width": "W",
    "size": "S",
    "channels": "C",
    "base_channels": "c",
    "classes": "K",
}
_LAST_FACTOR = "classes"


class _FormulaWriter:
    """Writes expressions with a symbol for each variable: a short one unless another variable has that name."""

    def __init__(self, variables: Iterable[Variable], *, full_names: bool = False) -> None:
        names = [variable.name for variable in variables]
        self.symbols = {name: name for name in names}
        if not full_names:
            for name in names:
                short = _SHORT_NAMES.get(name, name)
                self.symbols[name] = name if short in {*names} - {name} else short
        usual = list(_SHORT_NAMES)
        position = {name: usual.index(name) if name in usual else len(usual) for name in names}
        order = sorted(names, key=lambda name: (name == _LAST_FACTOR, position[name], names.index(name)))
        self._order = {name: i for i, name in enumerate(order)}

    def symbol_key(self, symbol: sympy.Symbol) -> int:
        return self._order[symbol.name]

    def name(self, symbol: sympy.Symbol) -> str:
        return self.symbols[symbol.name]

    def text(self, expression: _Expression) -> str:
        return writing.text(expression, self.name, self.symbol_key)

    def python(self, expression: _Expression) -> str:
        return writing.python(expression, self.symbol_key)

    def formula(self, expression: _Expression) -> Formula:
        latex_terms = writing.latex_terms(expression, self.name, self.symbol_key)
        return Formula(self.text(expression), self.python(expression), tuple(latex_terms))


# -- closed forms -------------------------------------------------------------------------------------------------


def formulas_view(forms: ClosedForms, by: str, rows: Sequence[RowFormulas]) -> Document:
    """Return the closed forms of a network and of `rows`, its stages or layers; without rows, of the whole alone."""
    writer = _FormulaWriter(forms.variables)
    full_names = _FormulaWriter(forms.variables, full_names=True)
    headline = _headline(forms, full_names).replace("\n", ".\n\n")
    formulas = Formulas(
        title=_headline(forms, writer),
        by=by,
        groups=tuple(_equations(form, forms, writer) for form in rows),
        whole=_equations(forms.whole(), forms, writer),
        notes=tuple(_notes(forms, writer)),
        variables=tuple(FormulaDomain(v.name, v.multiple, v.residue, v.least) for v in forms.variables),
        subject=f"{forms.layer} of {forms.costs.name}" if forms.layer else forms.costs.name,
        docstring=(f"Closed forms of {headline}.", *_notes(forms, full_names)),
    )
    return Document((formulas,), _data(forms, by, rows, writer))


def _equations(form: RowFormulas, forms: ClosedForms, writer: _FormulaWriter) -> EquationGroup:
    equations = (
        Equation(
            title=_title(metric, forms.costs.convention),
            key=METRICS[metric].attribute,
            formula=writer.formula(form.formulas[metric]) if metric in form.formulas else None,
            lower_bound=bool(form.unknown) and METRICS[metric].is_lower_bound,
        )
        for metric in forms.of
    )
    return EquationGroup(form.path, tuple(equations))


def _title(metric: str, convention: str) -> str:
    if metric == "flops":
        return CONVENTIONS[convention].label
    return METRICS[metric].name_in_totals if METRICS[metric].unit == "bytes" else METRICS[metric].title


def _headline(forms: ClosedForms, writer: _FormulaWriter) -> str:
    costs = forms.costs
    inputs = ", ".join(
        f"{name} {'×'.join(writer.text(forms.to_variables(size)) for size in sizes)}".rstrip()
        for name, sizes in without_batch(costs.inputs).items()
    )
    part = f"{forms.layer} of " if forms.layer else ""
    batch = writer.text(forms.to_variables(costs.batch))
    return f"{part}{network_title(costs)}\n{inputs}, batch {batch}, {costs.dtype}, convention {costs.convention}"


def _notes(forms: ClosedForms, writer: _FormulaWriter) -> list[str]:
    notes = _variables_note(forms.variables, writer)
    if not forms.exact and any(variable.multiple > 1 for variable in forms.variables):
        notes.append("These multiples leave no floor divisions in the network; --exact holds for every size.")
    return [
        *notes,
        *_assumptions_note(forms.assumptions, writer),
        *_convention_notes({*forms.of}, forms.costs.convention),
        *unknown_note(forms.costs),
    ]


def _variables_note(variables: Iterable[Variable], writer: _FormulaWriter) -> list[str]:
    """Return a note with the meaning and the values of each symbol: `H: height, a multiple of 32.`."""
    meanings = []
    for variable in variables:
        symbol = writer.symbols[variable.name]
        name = variable.name if symbol != variable.name else ""
        square = "the height and width of a square" if variable.name == "size" else ""
        if parts := [part for part in (name, square, _values_text(variable, f"{symbol} = ")) if part]:
            meanings.append(f"{symbol}: {', '.join(parts)}")
    return [f"{'; '.join(meanings)}."] if meanings else []


def _values_text(variable: Variable, equals: str = "") -> str:
    """Return the values of a variable in words, or nothing for all positive integers."""
    multiple, residue, least = variable.multiple, variable.residue, variable.least
    start = f"from {least:,} on" if least > variable.smallest else ""
    if multiple == 1:
        return start
    values = f"{equals}{multiple:,}·i + {residue:,}" if residue else f"a multiple of {multiple:,}"
    return f"{values} {start}".strip()


def _assumptions_note(assumptions: Iterable[Assumption], writer: _FormulaWriter) -> list[str]:
    relations = [writing.relation(each, writer.text) for each in assumptions]
    return [f"Assuming {'; '.join(relations)}."] if relations else []


def _convention_notes(metrics: Set[str | None], convention: str) -> list[str]:
    """Return the definition of the convention where a metric depends on it."""
    depends = any(METRICS[metric].follows_convention for metric in metrics if metric is not None)
    return [convention_note(convention)] if depends else []


def _data(forms: ClosedForms, by: str, rows: Iterable[RowFormulas], writer: _FormulaWriter) -> JsonObject:
    costs = forms.costs
    variables = {variable.name for variable in forms.variables}

    def formulas(form: RowFormulas) -> JsonObject:
        return {METRICS[metric].attribute: writer.python(each) for metric, each in form.formulas.items()}

    return document_data(
        "formula",
        architecture=costs.name,
        layer=forms.layer,
        by=by,
        settings={name: value for name, value in costs.settings.items() if name not in variables},
        inputs={
            name: [writer.python(forms.to_variables(size)) for size in shape] for name, shape in costs.inputs.items()
        },
        dtype=costs.dtype,
        convention=costs.convention,
        exact=forms.exact,
        variables=[variable.name for variable in forms.variables],
        domain={variable.name: variable.data() for variable in forms.variables},
        formulas=formulas(forms.whole()),
        rows=[{"name": form.path, "formulas": formulas(form), "unknown": form.unknown} for form in rows],
        assumptions=[writing.relation(each, writer.python) for each in forms.assumptions],
        unknown=unknown_data(costs),
    )


# -- break-even questions -----------------------------------------------------------------------------------------


def solution_view(solution: Solution) -> Document:
    """Return the values for which a question is true, with both sides counted next to the end of each range."""
    writer = _FormulaWriter([solution.variable])
    name, question = solution.variable.name, solution.question
    columns = (
        Column(name, "value", "exact"),
        Column(_break_before_prepositions(question.left.text), "left", "exact"),
        Column(_break_before_prepositions(question.right.text), "right", "exact"),
        Column("holds", "holds"),
    )
    sides = {"left": (question.left, solution.left), "right": (question.right, solution.right)}
    notes = [
        "Both sides are counted layer by layer at the values next to each border, and equal the formulas.",
        *(f"{side.text} = {writer.text(form)}" for side, form in sides.values() if side.metric is not None),
        *_variables_note([solution.variable], writer),
        *_assumptions_note(solution.assumptions, writer),
        *_convention_notes({question.left.metric, question.right.metric}, solution.convention),
    ]
    data = document_data(
        "formula",
        architecture=solution.network,
        convention=solution.convention,
        exact=solution.exact,
        variables=[name],
        domain={name: solution.variable.data()},
        formulas={
            METRICS[side.metric].attribute: writer.python(form)
            for side, form in sides.values()
            if side.metric is not None and side.layer is None and side.target is None
        },
        question=str(question),
        **{key: {"text": side.text, "formula": writer.python(form)} for key, (side, form) in sides.items()},
        solutions=[{"first": each.first, "last": each.last, "step": each.step} for each in solution.runs],
        answer=solution_text(solution),
        checks=[
            {name: check.value, "left": check.left, "right": check.right, "holds": check.holds}
            for check in solution.checks
        ],
        assumptions=[writing.relation(each, writer.python) for each in solution.assumptions],
    )
    table = Table(
        title=f"{solution.network}: {question} holds {solution_text(solution)}",
        columns=columns,
        rows=tuple((each.value, each.left, each.right, "yes" if each.holds else "no") for each in solution.checks),
        notes=tuple(notes),
    )
    return Document((table,), data)


def _break_before_prepositions(side: str) -> str:
    return side.replace(" at ", "\nat ").replace(" of ", "\nof ")


def solution_text(solution: Solution) -> str:
    """Return the solutions in words: `for every batch ≥ 14`."""
    variable = solution.variable
    if not solution.runs:
        return f"for no {variable.name}"
    parts: list[str] = []
    singles: list[str] = []  # consecutive ranges of one value each

    def close_singles() -> None:
        if singles:
            parts.append(f"for {variable.name} = {_enumerate(singles)}")
            singles.clear()

    for values in solution.runs:
        if values.first == values.last:
            singles.append(f"{values.first:,}")
        else:
            close_singles()
            parts.append(f"for every {variable.name}{_range_text(values, variable)}")
    close_singles()
    domain = f" ({_values_text(variable)})" if variable.multiple > 1 else ""
    return ", and ".join(parts) + domain


def _range_text(values: ValueRange, variable: Variable) -> str:
    steps = f" in steps of {values.step:,}" if values.step != variable.multiple else ""
    from_start = values.first == variable.least and not steps
    if values.last is None:
        return "" if from_start else f" ≥ {values.first:,}{steps}"
    return f" ≤ {values.last:,}" if from_start else f" from {values.first:,} to {values.last:,}{steps}"


def _enumerate(words: Sequence[str]) -> str:
    return ", ".join(words[:-1]) + (" and " if len(words) > 1 else "") + words[-1]
