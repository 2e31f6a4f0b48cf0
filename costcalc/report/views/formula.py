"""Views of closed forms, as tables, as LaTeX and as a Python module, and of the questions that they answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from typing import TYPE_CHECKING, Any

from costcalc.analysis.conventions import CONVENTIONS
from costcalc.analysis.metrics import METRICS
from costcalc.core.sizes import without_batch
from costcalc.exploration.symbolic import expression_writer as writing
from costcalc.report.document import Column, Document, Formula, Table

if TYPE_CHECKING:
    from costcalc.exploration.symbolic import ClosedForms, Solution, Variable
    from costcalc.exploration.symbolic.break_even import ValueRange
    from costcalc.exploration.symbolic.closed_forms import RowFormulas

# What a formula writes for a variable, in the order of factors; what is not here is written by its name.
_SHORT = {"batch": "N", "height": "H", "width": "W", "size": "S", "channels": "C", "base_channels": "c", "classes": "K"}
_LAST = "classes"
_LINE = 88  # characters of LaTeX to a line
_EXACT = ("activations", "memory")  # what is known also where a layer is not


class _FormulaWriter:
    """Writes expressions in variables: short symbols where no other variable is called so."""

    def __init__(self, variables: Iterable[Variable]) -> None:
        names = [v.name for v in variables]
        taken = {*names}
        self.short = {n: n if _SHORT.get(n, n) in taken - {n} else _SHORT.get(n, n) for n in names}
        usual = list(_SHORT)
        order = sorted(names, key=lambda n: (n == _LAST, usual.index(n) if n in usual else len(usual), names.index(n)))
        self._place = {name: place for place, name in enumerate(order)}

    def rank(self, symbol: Any) -> Any:
        return self._place[symbol.name]

    def name(self, symbol: Any) -> str:
        return self.short[symbol.name]

    def text(self, expression: Any) -> str:
        return writing.text(expression, self.name, self.rank)

    def latex_terms(self, expression: Any) -> list[str]:
        return writing.latex_terms(expression, self.name, self.rank)

    def python(self, expression: Any) -> str:
        return writing.python(expression, self.rank)

    def formula(self, expression: Any) -> Formula:
        return Formula(self.text(expression), self.python(expression), writing.latex(expression, self.name, self.rank))


# -- tables and data ----------------------------------------------------------------------------------------------


def formulas(forms: ClosedForms, by: str, rows: Sequence[RowFormulas]) -> Document:
    """The forms of the whole below those of the `rows`, which are stages or layers (none for the whole alone)."""
    writer = _FormulaWriter(forms.variables)
    whole = forms.whole()
    groups = [_lines(form, forms, writer, zeros=False) for form in rows]
    last = _lines(whole, forms, writer, zeros=True)
    columns = [Column("cost", "quantity"), Column("formula", "formula")]
    cells: list[tuple[Any, ...]] = [*last]
    footer: list[tuple[Any, ...]] = []
    if rows:
        columns.insert(0, Column(by, "name", grouped=True))
        cells = [(form.path, *line) for form, group in zip(rows, groups, strict=True) for line in group]
        footer = [(whole.path, *line) for line in last]
    silent = [form.path for form, group in zip(rows, groups, strict=True) if not group]
    notes = [f"Costs nothing: {', '.join(silent)}."] if silent else []
    table = Table(
        _headline(forms, writer), tuple(columns), tuple(cells), tuple(footer), (*_notes(forms, writer), *notes)
    )
    return Document((table,), _data(forms, by, rows, writer))


def _lines(form: RowFormulas, forms: ClosedForms, writer: _FormulaWriter, zeros: bool) -> list[tuple[str, Any]]:
    """A cell with the cost's name and one with its formula, for each cost that is not 0."""
    lines: list[tuple[str, Any]] = []
    for metric in forms.of:
        if metric not in form.formulas:
            lines.append((_title(metric, forms.costs.convention), "?"))
        elif zeros or form.formulas[metric] != 0:
            made = writer.formula(form.formulas[metric])
            if form.unknown and metric not in _EXACT:
                made = Formula(f"≥ {made.text}", made.python, rf"\geq {made.latex}")
            lines.append((_title(metric, forms.costs.convention), made))
    return lines


def _title(metric: str, convention: str) -> str:
    if metric == "flops":
        return CONVENTIONS[convention].label
    return {"memory": "activation bytes", "param-memory": "parameter bytes"}.get(metric, METRICS[metric].title)


def _headline(forms: ClosedForms, writer: _FormulaWriter) -> str:
    costs = forms.costs
    title = costs.name + (f": {costs.title}" if costs.title not in ("", costs.name) else "")
    inputs = ", ".join(
        f"{name} {'×'.join(writer.text(forms.to_variables(size)) for size in sizes)}".rstrip()
        for name, sizes in without_batch(costs.inputs).items()
    )
    part = f"{forms.layer} of " if forms.layer else ""
    batch = writer.text(forms.to_variables(costs.batch))
    return f"{part}{title}\n{inputs}, batch {batch}, {costs.dtype}, convention {costs.convention}"


def _notes(forms: ClosedForms, writer: _FormulaWriter) -> list[str]:
    notes = _meanings(forms.variables, writer)
    if not forms.exact and any(v.multiple > 1 for v in forms.variables):
        notes.append("The multiples leave no floor anywhere in the network; --exact is for every size.")
    notes += _assumed(forms.assumptions, writer)
    costs = forms.costs
    notes += _convention({*forms.of}, costs.convention)
    if costs.unknown:
        names = ", ".join(f"{row.path} ({row.op})" for row in costs.unknown)
        notes.append(f"Unknown, so that totals are lower bounds (≥): {names}.")
    return notes


def _meanings(variables: Iterable[Variable], writer: _FormulaWriter) -> list[str]:
    """What symbols stand for, and which values those may have that not every number is: H: height, a multiple of 32."""
    meanings = []
    for variable in variables:
        short = writer.short[variable.name]
        named = variable.name if short != variable.name else ""
        square = "the height and width of a square" if variable.name == "size" else ""
        if said := [part for part in (named, square, _values(variable, f"{short} = ")) if part]:
            meanings.append(f"{short}: {', '.join(said)}")
    return [f"{'; '.join(meanings)}."] if meanings else []


def _values(variable: Variable, equals: str = "") -> str:
    multiple, residue, least = variable.multiple, variable.residue, variable.least
    beyond = f"from {least:,} on" if least > variable.smallest else ""
    if multiple == 1:
        return beyond
    values = f"{equals}{multiple:,}·i + {residue:,}" if residue else f"a multiple of {multiple:,}"
    return f"{values} {beyond}".strip()


def _assumed(assumptions: Iterable[Any], writer: _FormulaWriter) -> list[str]:
    found = [writing.relation(each, writer.text) for each in assumptions]
    return [f"Assuming {'; '.join(found)}."] if found else []


def _convention(metrics: Set[str | None], convention: str) -> list[str]:
    """What the convention is, where a metric depends on it."""
    depends = metrics & {"flops", "memory", "param-memory"}
    return [f"Convention {convention}: {CONVENTIONS[convention].definition}"] if depends else []


def _data(forms: ClosedForms, by: str, rows: Iterable[RowFormulas], writer: _FormulaWriter) -> dict[str, Any]:
    costs = forms.costs
    named = {v.name for v in forms.variables}

    def as_data(form: RowFormulas) -> dict[str, str]:
        return {METRICS[metric].attribute: writer.python(e) for metric, e in form.formulas.items()}

    return {
        "schema": "costcalc/formula/1",
        "architecture": costs.name,
        "layer": forms.layer,
        "by": by,
        "settings": {name: value for name, value in costs.settings.items() if name not in named},
        "inputs": {
            name: [writer.python(forms.to_variables(size)) for size in shape] for name, shape in costs.inputs.items()
        },
        "dtype": costs.dtype,
        "convention": costs.convention,
        "exact": forms.exact,
        "variables": [v.name for v in forms.variables],
        "domain": {v.name: v.data() for v in forms.variables},
        "formulas": as_data(forms.whole()),
        "rows": [{"name": form.path, "formulas": as_data(form), "unknown": form.unknown} for form in rows],
        "assumptions": [writing.relation(each, writer.python) for each in forms.assumptions],
        "unknown": [{"name": row.path, "op": row.op} for row in costs.unknown],
    }


# -- LaTeX --------------------------------------------------------------------------------------------------------


def latex_page(forms: ClosedForms, rows: Sequence[RowFormulas]) -> str:
    """Equations for amsmath, a paragraph for each row; what the text says around its table is in comments."""
    writer = _FormulaWriter(forms.variables)
    parts = [f"% {line}" for text in (_headline(forms, writer), *_notes(forms, writer)) for line in text.split("\n")]
    for form in (*rows, forms.whole()):
        if not rows or any(form.formulas.values()):
            if rows:
                parts += ["", rf"\paragraph{{\texttt{{{_escaped(form.path)}}}}}"]
            parts += [_align(form, forms, writer)]
    return "\n".join(parts) + "\n"


def _escaped(path: str) -> str:
    return "".join(f"\\{character}" if character in "#$%&_{}" else character for character in path)


def _align(form: RowFormulas, forms: ClosedForms, writer: _FormulaWriter) -> str:
    equations = []
    for metric, expression in form.formulas.items():
        relation = r"&\geq" if form.unknown and metric not in _EXACT else "&="
        lines = [rf"\text{{{_title(metric, forms.costs.convention)}}} {relation}"]
        for term in writer.latex_terms(expression):
            if len(lines[-1]) + len(term) > _LINE:
                lines[-1] += r" \\"
                lines.append(r"  &\quad")
            lines[-1] += f" {term}"
        equations.append("\n".join(lines))
    return "\\begin{align*}\n" + " \\\\\n".join(equations) + "\n\\end{align*}"


# -- Python -------------------------------------------------------------------------------------------------------

_CHECK = '''

def _check(**values: int) -> None:
    """Raise ValueError for a value that is not on the domain of its variable."""
    for name, value in values.items():
        multiple, residue, least = DOMAIN[name]
        if not isinstance(value, int) or value < least or value % multiple != residue:
            form = f"{multiple}*i + {residue}" if multiple > 1 else "an integer"
            raise ValueError(f"{name} must be {form} of at least {least}, not {value!r}")
'''


def python_module(forms: ClosedForms, rows: Sequence[RowFormulas]) -> str:
    """A module with a function for each cost: of the whole, or, with `rows`, of each of them by name."""
    writer = _FormulaWriter(forms.variables)
    names = [v.name for v in forms.variables]
    plain = _plain_writer(forms)
    notes = [note.replace("\\", "\\\\") for note in _notes(forms, plain)]
    head = "\n\n".join(["Closed forms of " + _headline(forms, plain).replace("\n", ".\n\n") + ".", *notes])
    domain = "".join(f'    "{v.name}": ({v.multiple}, {v.residue}, {v.least}),\n' for v in forms.variables)
    parts = [f'"""{head}\n"""\n\n# By variable: multiple, residue, least value.\nDOMAIN = {{\n{domain}}}\n', _CHECK]
    whole = forms.whole()
    for metric in forms.of:
        title = _title(metric, forms.costs.convention).replace('"', "'")
        least = " or more" if whole.unknown and metric not in _EXACT else ""
        arguments = ", ".join(f"{name}: int" for name in names)
        check = f"    _check({', '.join(f'{name}={name}' for name in names)})\n"
        key = METRICS[metric].attribute
        if rows:
            body = "".join(
                f"        {form.path!r}: {writer.python(form.formulas[metric])},\n"
                for form in rows if metric in form.formulas
            )  # fmt: skip
            parts.append(
                f"\n\ndef {key}({arguments}) -> dict[str, int]:\n"
                f'    """The {title}{least} of each {_of_what(forms)}."""\n{check}    return {{\n{body}    }}\n'
            )
        else:
            body = writer.python(whole.formulas[metric]) if metric in whole.formulas else "0"
            parts.append(
                f"\n\ndef {key}({arguments}) -> int:\n"
                f'    """The {title}{least} of {_of_what(forms)}."""\n{check}    return {body}\n'
            )
    return "".join(parts)


def _of_what(forms: ClosedForms) -> str:
    return f"{forms.layer} of {forms.costs.name}" if forms.layer else forms.costs.name


def _plain_writer(forms: ClosedForms) -> _FormulaWriter:
    """Names in full, as in the code."""
    writer = _FormulaWriter(forms.variables)
    writer.short = {v.name: v.name for v in forms.variables}
    return writer


# -- questions ----------------------------------------------------------------------------------------------------


def solution(solved: Solution) -> Document:
    """For which values a question holds, and both sides counted around every border."""
    writer = _FormulaWriter([solved.variable])
    name, question = solved.variable.name, solved.question
    columns = (
        Column(name, "value", "exact"),
        Column(_stacked(question.left.text), "left", "exact"),
        Column(_stacked(question.right.text), "right", "exact"),
        Column("holds", "holds"),
    )
    rows = [(check.value, check.left, check.right, "yes" if check.holds else "no") for check in solved.checks]
    title = f"{solved.network}: {question} holds {answer(solved)}"
    notes = [
        "Counted layer by layer for plain numbers, on both sides of every border, and equal to the formulas.",
        *(
            f"{side.text} = {writer.text(form)}"
            for side, form in ((question.left, solved.left), (question.right, solved.right))
            if side.metric is not None
        ),
        *_meanings([solved.variable], writer),
        *_assumed(solved.assumptions, writer),
        *_convention({question.left.metric, question.right.metric}, solved.convention),
    ]
    sides = {"left": (question.left, solved.left), "right": (question.right, solved.right)}
    data = {
        "schema": "costcalc/formula/1",
        "architecture": solved.network,
        "convention": solved.convention,
        "exact": solved.exact,
        "variables": [name],
        "domain": {name: solved.variable.data()},
        "formulas": {
            METRICS[side.metric].attribute: writer.python(form)
            for side, form in sides.values()
            if side.metric is not None and side.layer is None and side.target is None
        },
        "question": str(question),
        **{place: {"text": side.text, "formula": writer.python(form)} for place, (side, form) in sides.items()},
        "solutions": [{"first": run.first, "last": run.last, "step": run.step} for run in solved.runs],
        "answer": answer(solved),
        "checks": [
            {name: check.value, "left": check.left, "right": check.right, "holds": check.holds}
            for check in solved.checks
        ],
        "assumptions": [writing.relation(each, writer.python) for each in solved.assumptions],
    }
    return Document((Table(title, columns, tuple(rows), (), tuple(notes)),), data)


def _stacked(side: str) -> str:
    return side.replace(" at ", "\nat ").replace(" of ", "\nof ")


def answer(solved: Solution) -> str:
    """The solution in words: for every batch ≥ 14."""
    variable = solved.variable
    name = variable.name
    if not solved.runs:
        return f"for no {name}"
    singles: list[str] = []
    parts: list[str] = []

    def close() -> None:
        if singles:
            parts.append(f"for {name} = {_listed(singles)}")
            singles.clear()

    for run in solved.runs:
        if run.first == run.last:
            singles.append(f"{run.first:,}")
            continue
        close()
        parts.append(f"for every {name}{_span(run, variable)}")
    close()
    among = f" ({_values(variable)})" if variable.multiple > 1 else ""
    return ", and ".join(parts) + among


def _span(run: ValueRange, variable: Variable) -> str:
    steps = f" in steps of {run.step:,}" if run.step != variable.multiple else ""
    if run.last is None:
        return steps if run.first == variable.least and not steps else f" ≥ {run.first:,}{steps}"
    if run.first == variable.least and not steps:
        return f" ≤ {run.last:,}"
    return f" from {run.first:,} to {run.last:,}{steps}"


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words[:-1]) + (" and " if len(words) > 1 else "") + words[-1]
