"""Python: formulas as a module with one function for each cost, which checks its arguments."""

from __future__ import annotations

from costcalc.report.document import Document, Equation, Formulas

_CHECK = '''

def _check(**values: int) -> None:
    """Raise ValueError for a value that is not on the domain of its variable."""
    for name, value in values.items():
        multiple, residue, least = DOMAIN[name]
        if not isinstance(value, int) or value < least or value % multiple != residue:
            form = f"{multiple}*i + {residue}" if multiple > 1 else "an integer"
            raise ValueError(f"{name} must be {form} of at least {least}, not {value!r}")
'''


def render(document: Document) -> str:
    """Format the formulas of a document as a Python module. Raises ValueError for a document without formulas."""
    for part in document.parts:
        if isinstance(part, Formulas):
            return _module(part)
    raise ValueError("only formulas can be written as a Python module")


def _module(formulas: Formulas) -> str:
    docstring = "\n\n".join(formulas.docstring).replace("\\", "\\\\")
    domain = "".join(f'    "{v.name}": ({v.multiple}, {v.residue}, {v.minimum}),\n' for v in formulas.variables)
    header = f'"""{docstring}\n"""\n\n# By variable: multiple, residue, least value.\nDOMAIN = {{\n{domain}}}\n'
    functions = (_function(formulas, i, equation) for i, equation in enumerate(formulas.whole.equations))
    return "".join([header, _CHECK, *functions])


def _function(formulas: Formulas, index: int, whole: Equation) -> str:
    """The function of one cost: of the whole, or of each layer or stage by name."""
    title = whole.title.replace('"', "'") + (" or more" if whole.lower_bound else "")
    names = [variable.name for variable in formulas.variables]
    arguments = ", ".join(f"{name}: int" for name in names)
    check = f"    _check({', '.join(f'{name}={name}' for name in names)})\n"
    if not formulas.groups:
        expression = "0" if whole.formula is None else whole.formula.python
        return (
            f"\n\ndef {whole.key}({arguments}) -> int:\n"
            f'    """The {title} of {formulas.subject}."""\n{check}    return {expression}\n'
        )
    cases = ((group.name, group.equations[index].formula) for group in formulas.groups)
    body = "".join(f"        {name!r}: {formula.python},\n" for name, formula in cases if formula is not None)
    return (
        f"\n\ndef {whole.key}({arguments}) -> dict[str, int]:\n"
        f'    """The {title} of each {formulas.subject}."""\n{check}    return {{\n{body}    }}\n'
    )
