"""Formulas: of one layer in symbols, of whole networks as closed forms, and the questions that these answer."""

from costcalc.exploration.symbolic.closed_form import ClosedForms, closed_forms, forms_of
from costcalc.exploration.symbolic.explanation import LECTURE, Explanation, explain
from costcalc.exploration.symbolic.solve import Network, Solution, solve
from costcalc.exploration.symbolic.variable import Variable

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
