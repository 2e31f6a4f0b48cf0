"""Writers of expressions: text in lecture notation, LaTeX and Python.

All three write a sum of terms, higher degrees first; a term is a rational coefficient times factors. SymPy's printers
are not used: they order factors alphabetically, and their Python code is not exact for large ints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import lcm
from typing import Any, NamedTuple

import sympy

from costcalc.core.sizes import RELATION_SIGNS
from costcalc.ir.op import Assumption

SymbolKey = Callable[[Any], Any]  # sort key of a symbol in a product
Name = Callable[[Any], str]  # the text written for a symbol

_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


class ExpressionWriter(NamedTuple):
    """Writes expressions with these names of symbols, and this order of symbols in products."""

    name: Name
    rank: SymbolKey

    def text(self, expression: Any) -> str:
        """Write an expression in lecture notation."""
        return text(expression, self.name, self.rank)

    def latex(self, expression: Any) -> str:
        """Write an expression in LaTeX, for math mode."""
        return latex(expression, self.name, self.rank)

    def python(self, expression: Any) -> str:
        """Write a Python expression; it is exact on ints if the expression is integer-valued."""
        return python(expression, self.rank)


class FormulaTerm(NamedTuple):
    """A product: the sign and the absolute value of its coefficient, and the factors with their exponents."""

    negative: bool
    coefficient: Any  # a positive rational
    factors: tuple[tuple[Any, int], ...]


def terms(expression: Any, rank: SymbolKey) -> list[FormulaTerm]:
    """Return the terms of a sum, ordered by falling degree, then by their factors."""
    unordered = [_term(term, rank) for term in sympy.Add.make_args(sympy.sympify(expression))]

    def sort_key(term: FormulaTerm) -> Any:
        above = [(base, exponent) for base, exponent in term.factors if exponent > 0]
        return -sum(degree(base) * exponent for base, exponent in above), [
            _factor_key(base, rank) for base, exponent in above for _ in range(exponent)
        ]

    return sorted(unordered, key=sort_key)


def degree(factor: Any) -> int:
    """Return the degree of a factor; the degree of a floor is that of its argument."""
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
    """Return a sort key: symbols by rank, then expressions by their first symbol, in a deterministic order."""
    inside = sorted(map(rank, factor.free_symbols))
    return (not factor.is_Symbol, inside[:1], sympy.default_sort_key(factor))


def _with_signs(parts: Iterable[tuple[bool, str]], minus: str = "−") -> Iterator[str]:
    """Yield each term with its sign; the first term has no plus sign."""
    for i, (negative, part) in enumerate(parts):
        if i:
            yield f"{minus if negative else '+'} {part}"
        else:
            yield f"{minus}{part}" if negative else part


# -- text ---------------------------------------------------------------------------------------------------------


def text(expression: Any, name: Name, rank: SymbolKey) -> str:
    """Write an expression in lecture notation: (297/4)·H·W·c² + 59·H·W·c."""
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
    if written.isdecimal():  # numbers in place of symbols: 3·3, because 3² is easily misread as 32
        return "·".join([written] * exponent)
    return written + str(exponent).translate(_SUPERSCRIPTS)


def _text_quotient(inside: Any, name: Name, rank: SymbolKey) -> str:
    above, below = _numerator_and_denominator(inside)
    written = _text_without_spaces(above, name, rank)
    return f"{written if len(terms(above, rank)) == 1 else f'({written})'}/{below}"


def _text_without_spaces(expression: Any, name: Name, rank: SymbolKey) -> str:
    """Write an expression without spaces, so that no line breaks inside it."""
    return text(expression, name, rank).replace(" ", "")


# -- LaTeX --------------------------------------------------------------------------------------------------------


def latex_terms(expression: Any, name: Name, rank: SymbolKey) -> list[str]:
    r"""Return each term with its sign: [r"\tfrac{297}{4} H W c^{2}", "+ 59 H W c"]."""
    return [*_with_signs(((t.negative, _latex_term(t, name, rank)) for t in terms(expression, rank)), "-")]


def latex(expression: Any, name: Name, rank: SymbolKey) -> str:
    """Write an expression in LaTeX, for math mode."""
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
    """Write a numerator or denominator, without brackets if it is a single sum."""
    if number == 1 and len(powers) == 1 and powers[0][1] == 1 and isinstance(powers[0][0], sympy.Add):
        return latex(powers[0][0], name, rank)
    factors = [_latex_power(base, n, name, rank) for base, n in powers]
    return " ".join(([str(number)] if number != 1 or not factors else []) + factors)


def _latex_thousands(number: int) -> str:
    """Write an integer with commas for thousands that TeX does not space as punctuation."""
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
    """Write a symbol of one letter with its subscript (F_1, C_out), and a longer name as a word in italics."""
    letter, _, index = name.partition("_")
    if len(letter) == 1 and index.isalnum():
        return rf"{letter}_{{{index}}}" if index.isdecimal() else rf"{letter}_{{\mathrm{{{index}}}}}"
    escaped = name.replace("_", r"\_")
    return name if len(name) == 1 else rf"\mathit{{{escaped}}}"


# -- Python -------------------------------------------------------------------------------------------------------


def python(expression: Any, rank: SymbolKey, divide: str = "//") -> str:
    """Write a Python expression over one common denominator.

    With "//" as `divide`, the result is exact on ints if the expression is integer-valued; use "/" for other quotients.
    A floor is written as //, and a minimum as min().
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
    """Return the smallest numerator and denominator with integer coefficients and positive exponents."""
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
    """Write an assumption: height ≥ 32; base_channels is a multiple of 4."""
    left, kind, right = assumption
    return f"{write(left)} {RELATION_SIGNS[kind]} {write(right)}"
