"""Formulas: of one layer in symbols, of whole networks as closed forms, and the questions that these answer."""

from costcalc.formula.closed_form import ClosedForms, closed_forms, forms_of
from costcalc.formula.explanation import LECTURE, Explanation, explain
from costcalc.formula.solve import Network, Solution, solve
from costcalc.formula.variable import Variable

__all__ = [
    "LECTURE",
    "ClosedForms",
    "Explanation",
    "Network",
    "Solution",
    "Variable",
    "closed_forms",
    "explain",
    "forms_of",
    "solve",
]
