"""Expressions as people and programs write them: as a lecture does, in LaTeX, and in Python.

All three write one normal form: a sum of terms, higher degrees first, each a rational coefficient and factors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import lcm
from typing import Any, NamedTuple

import sympy

from costcalc.core.sizes import RELATION_SIGNS
from costcalc.ir.op import Assumption

SymbolKey = Callable[[Any], Any]  # of a symbol: where it stands in a product, smallest first
Name = Callable[[Any], str]  # of a symbol: what is written for it

_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


class ExpressionWriter(NamedTuple):
    """How expressions are written: what for a symbol, and where it stands in a product."""

    name: Name
    rank: SymbolKey

    def text(self, expression: Any) -> str:
        """As the lecture writes it."""
        return text(expression, self.name, self.rank)

    def latex(self, expression: Any) -> str:
        """In LaTeX, for math mode."""
        return latex(expression, self.name, self.rank)

    def python(self, expression: Any) -> str:
        """As a Python expression in the symbols' own names, exact on ints where it is a whole number."""
        return python(expression, self.rank)


class FormulaTerm(NamedTuple):
    """A product: the size of its coefficient, whether it is taken away, and factors with their exponents."""

    negative: bool
    coefficient: Any  # a positive rational
    factors: tuple[tuple[Any, int], ...]


def terms(expression: Any, rank: SymbolKey) -> list[FormulaTerm]:
    """The terms of a sum, of higher degree first, then by the rank of their factors."""
    made = [_term(term, rank) for term in sympy.Add.make_args(sympy.sympify(expression))]

    def place(term: FormulaTerm) -> Any:
        above = [(base, exponent) for base, exponent in term.factors if exponent > 0]
        return -sum(degree(base) * exponent for base, exponent in above), [
            _factor_key(base, rank) for base, exponent in above for _ in range(exponent)
        ]

    return sorted(made, key=place)


def degree(factor: Any) -> int:
    """How many sizes a factor is a product of, at most; a floor is as what it is taken of."""
    if isinstance(factor, (sympy.Add, sympy.Min, sympy.floor)):
        return max(degree(term) for term in factor.args)
    if isinstance(factor, sympy.Mul):
        return sum(degree(f) for f in factor.args)
    if isinstance(factor, sympy.Pow):
        return degree(factor.base) * int(factor.exp)
    return 1 if factor.free_symbols else 0


def _term(product: Any, rank: SymbolKey) -> FormulaTerm:
    number, rest = product.as_coeff_Mul()
    powers = [(f.base, int(f.exp)) if isinstance(f, sympy.Pow) else (f, 1) for f in sympy.Mul.make_args(rest)]
    factors = sorted(((f, n) for f, n in powers if f != 1), key=lambda power: _factor_key(power[0], rank))
    return FormulaTerm(bool(number < 0), abs(number), tuple(factors))


def _factor_key(factor: Any, rank: SymbolKey) -> Any:
    """Symbols by rank, then what is made of them, by its first symbol: all in an order that two runs agree on."""
    inside = sorted(map(rank, factor.free_symbols))
    return (not factor.is_Symbol, inside[:1], sympy.default_sort_key(factor))


def _with_signs(parts: Iterable[tuple[bool, str]], minus: str = "−") -> Iterator[str]:
    """Each term with its sign, the first without a +."""
    for place, (negative, part) in enumerate(parts):
        if place:
            yield f"{minus if negative else '+'} {part}"
        else:
            yield f"{minus}{part}" if negative else part


# -- text ---------------------------------------------------------------------------------------------------------


def text(expression: Any, name: Name, rank: SymbolKey) -> str:
    """As the lecture writes it: (297/4)·H·W·c² + 59·H·W·c."""
    return " ".join(_with_signs((term.negative, _text_term(term, name, rank)) for term in terms(expression, rank)))


def _text_term(term: FormulaTerm, name: Name, rank: SymbolKey) -> str:
    number = term.coefficient
    below = [_text_power(base, -n, name, rank) for base, n in term.factors if n < 0]
    above = [_text_power(base, n, name, rank) for base, n in term.factors if n > 0]
    if number.q > 1 and (number.p > 1 or below or not above):
        quotient = f"{number.p:,}/{number.q:,}"
        above.insert(0, f"({quotient})" if above or below else quotient)
    elif number.q > 1:
        below.append(f"{number.q:,}")
    elif number != 1 or not above:
        above.insert(0, f"{int(number):,}")
    under = f"/({'·'.join(below)})" if len(below) > 1 else f"/{below[0]}" if below else ""
    return "·".join(above) + under


def _text_power(base: Any, exponent: int, name: Name, rank: SymbolKey) -> str:
    if base.is_Symbol:
        written = name(base)
    elif isinstance(base, sympy.floor):
        written = f"⌊{_text_quotient(base.args[0], name, rank)}⌋"
    elif isinstance(base, sympy.Min):
        written = f"min({','.join(_text_without_spaces(a, name, rank) for a in _sorted_arguments(base))})"
    else:
        written = f"({text(base, name, rank)})"
    if exponent == 1:
        return written
    if written.isdecimal():  # numbers put in for symbols: 3², not 3 with a digit that may be read as its last
        return "·".join([written] * exponent)
    return written + str(exponent).translate(_SUPERSCRIPTS)


def _text_quotient(inside: Any, name: Name, rank: SymbolKey) -> str:
    above, below = _numerator_and_denominator(inside)
    written = _text_without_spaces(above, name, rank)
    return f"{written if len(terms(above, rank)) == 1 else f'({written})'}/{below}"


def _text_without_spaces(expression: Any, name: Name, rank: SymbolKey) -> str:
    """Without spaces, so that no line breaks there."""
    return text(expression, name, rank).replace(" ", "")


# -- LaTeX --------------------------------------------------------------------------------------------------------


def latex_terms(expression: Any, name: Name, rank: SymbolKey) -> list[str]:
    r"""Each term with its sign: [r"\tfrac{297}{4} H W c^{2}", "+ 59 H W c"]."""
    return [*_with_signs(((t.negative, _latex_term(t, name, rank)) for t in terms(expression, rank)), "-")]


def latex(expression: Any, name: Name, rank: SymbolKey) -> str:
    """The expression in LaTeX, for math mode."""
    return " ".join(latex_terms(expression, name, rank))


def _latex_term(term: FormulaTerm, name: Name, rank: SymbolKey) -> str:
    number = term.coefficient
    over = [(base, n) for base, n in term.factors if n > 0]
    under = [(base, -n) for base, n in term.factors if n < 0]
    if under:
        return (
            rf"\frac{{{_latex_product(number.p, over, name, rank)}}}{{{_latex_product(number.q, under, name, rank)}}}"
        )
    above = [_latex_power(base, n, name, rank) for base, n in over]
    if number.q != 1:
        above.insert(0, rf"\tfrac{{{_latex_thousands(number.p)}}}{{{_latex_thousands(number.q)}}}")
    elif number != 1 or not above:
        above.insert(0, _latex_thousands(int(number)))
    return " ".join(above)


def _latex_product(number: int, powers: list[tuple[Any, int]], name: Name, rank: SymbolKey) -> str:
    """Above or below a line, where a sum that stands alone needs no brackets."""
    if number == 1 and len(powers) == 1 and powers[0][1] == 1 and isinstance(powers[0][0], sympy.Add):
        return latex(powers[0][0], name, rank)
    factors = [_latex_power(base, n, name, rank) for base, n in powers]
    return " ".join(([str(number)] if number != 1 or not factors else []) + factors)


def _latex_thousands(number: int) -> str:
    """A whole number with its thousands told apart, by a comma that is no punctuation to TeX."""
    return f"{number:,}".replace(",", "{,}")


def _latex_power(base: Any, exponent: int, name: Name, rank: SymbolKey) -> str:
    if base.is_Symbol:
        written = latex_name(name(base))
    elif isinstance(base, sympy.floor):
        above, below = _numerator_and_denominator(base.args[0])
        written = rf"\left\lfloor \frac{{{latex(above, name, rank)}}}{{{below}}} \right\rfloor"
    elif isinstance(base, sympy.Min):
        written = rf"\min({', '.join(latex(a, name, rank) for a in _sorted_arguments(base))})"
    else:
        written = rf"\left({latex(base, name, rank)}\right)"
    return written if exponent == 1 else f"{written}^{{{exponent}}}"


def latex_name(name: str) -> str:
    """A symbol of one letter as it is, with its index below (F_1, C_out); a longer name as one word."""
    letter, _, index = name.partition("_")
    if len(letter) == 1 and index.isalnum():
        return rf"{letter}_{{{index}}}" if index.isdecimal() else rf"{letter}_{{\mathrm{{{index}}}}}"
    escaped = name.replace("_", r"\_")
    return name if len(name) == 1 else rf"\mathit{{{escaped}}}"


# -- Python -------------------------------------------------------------------------------------------------------


def python(expression: Any, rank: SymbolKey, divide: str = "//") -> str:
    """A Python expression in the variables' own names, exact on ints: all over one common denominator, with //.

    The division is exact wherever the expression is a whole number; for a quotient that is none, `divide` by "/". A
    floor is //, a smallest is min.
    """
    above, below = _numerator_and_denominator(sympy.sympify(expression))
    written = _python_sum(above, rank)
    if below == 1:
        return written
    if len(sympy.Add.make_args(above)) > 1 or written.startswith("-"):
        written = f"({written})"
    bottom = _python_sum(below, rank)
    return f"{written}{divide}{bottom if bottom.isidentifier() or bottom.isdecimal() else f'({bottom})'}"


def _python_sum(expression: Any, rank: SymbolKey) -> str:
    return " ".join(_with_signs(((t.negative, _python_term(t, rank)) for t in terms(expression, rank)), "-"))


def _python_term(term: FormulaTerm, rank: SymbolKey) -> str:
    factors = [_python_power(base, n, rank) for base, n in term.factors]
    if term.coefficient != 1 or not factors:
        factors.insert(0, str(term.coefficient))
    return "*".join(factors)


def _python_power(base: Any, exponent: int, rank: SymbolKey) -> str:
    if base.is_Symbol:
        written = base.name
    elif isinstance(base, sympy.floor):
        written = f"({python(base.args[0], rank)})"
    elif isinstance(base, sympy.Min):
        written = f"min({', '.join(python(a, rank) for a in _sorted_arguments(base))})"
    else:
        written = f"({python(base, rank)})"
    return written if exponent == 1 else f"{written}**{exponent}"


def _sorted_arguments(smallest: Any) -> list[Any]:
    return sorted(smallest.args, key=sympy.default_sort_key)


def _numerator_and_denominator(expression: Any) -> tuple[Any, Any]:
    """Numerator and denominator: the smallest that makes every coefficient whole and every exponent positive."""
    parts = sympy.Add.make_args(expression)
    below = sympy.Integer(lcm(*(part.as_coeff_Mul()[0].q for part in parts)))
    powers: dict[Any, int] = {}
    for part in parts:
        for factor in sympy.Mul.make_args(part):
            if isinstance(factor, sympy.Pow) and factor.exp < 0:
                powers[factor.base] = max(powers.get(factor.base, 0), -int(factor.exp))
    for base, exponent in powers.items():
        below *= base**exponent
    return sympy.Add(*[part * below for part in parts]), below


# -- relations ----------------------------------------------------------------------------------------------------


def relation(assumption: Assumption, write: Callable[[Any], str]) -> str:
    """What is assumed, in words: height ≥ 32; base_channels is a multiple of 4."""
    left, kind, right = assumption
    return f"{write(left)} {RELATION_SIGNS[kind]} {write(right)}"
