"""Formulas of single layers, closed forms of whole networks, and break-even questions."""

from costcalc.exploration.symbolic.break_even import NetworkSource, Solution, solve
from costcalc.exploration.symbolic.closed_forms import ClosedForms, closed_forms, forms_of
from costcalc.exploration.symbolic.layer_formulas import LECTURE_WRITER, Explanation, explain
from costcalc.exploration.symbolic.variable import Variable

__all__ = [
    "LECTURE_WRITER",
    "ClosedForms",
    "Explanation",
    "NetworkSource",
    "Solution",
    "Variable",
    "closed_forms",
    "explain",
    "forms_of",
    "solve",
]
