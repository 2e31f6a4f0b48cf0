"""Variables of closed forms, and proofs of properties of expressions on all of their values.

A variable takes the values of one residue class that are not below a minimum. A property is proved for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from math import lcm
from typing import Any, NamedTuple

import sympy

from costcalc.core.sizes import Size

_SEARCH_LIMIT = 2**62  # the largest index that the search for a minimum tries
_LONGEST_PERIOD = 1000  # the longest period over which an expression is evaluated at every value


class Variable(NamedTuple):
    """A size or setting that a formula depends on, with the values residue, residue + multiple, … not below `least`."""

    name: str
    multiple: int = 1
    residue: int = 0
    least: int = 1

    @property
    def smallest(self) -> int:
        """The smallest positive number of the residue class; `least` is larger if a network needs larger sizes."""
        return self.residue or self.multiple

    @property
    def symbol(self) -> Any:
        """The variable as an expression."""
        return sympy.Symbol(self.name, integer=True, positive=True)

    @property
    def index_symbol(self) -> Any:
        """The symbol that numbers the values, such as i in height = 32·i."""
        if self.multiple == 1:
            return self.symbol
        return sympy.Symbol(f"{self.name} counted", integer=True, **{self._sign: True})

    @property
    def _sign(self) -> str:
        return "nonnegative" if self.residue else "positive"

    @property
    def size(self) -> Size:
        """The size that a graph is built with: multiple · index symbol + residue."""
        size: Size = self.multiple * self.index_symbol + self.residue
        return size

    @property
    def counted(self) -> Any:
        """The index symbol as an expression in the variable."""
        return (self.symbol - self.residue) / self.multiple

    def data(self) -> dict[str, int]:
        """Return the domain for JSON, with `least` if it is larger than the smallest positive number of the class."""
        least = {"least": self.least} if self.least > self.smallest else {}
        return {"multiple": self.multiple, "residue": self.residue} | least


# -- floors -------------------------------------------------------------------------------------------------------


def normalize_floors(expression: Any) -> Any:
    """Merge nested floors, and move an integer that is added to a floor into it.

    ⌊(⌊(x + j)/m⌋ + i)/n⌋ = ⌊(x + j + i·m)/(m·n)⌋ (Graham, Knuth and Patashnik, Concrete Mathematics, 3.11), and
    ⌊x/n⌋ + i = ⌊(x + i·n)/n⌋: a spatial size becomes one floor, and most equal sizes become equal expressions.
    """
    if not isinstance(expression, sympy.Basic) or not expression.has(sympy.floor):
        return expression
    return _merge_nested_floors(expression)


@cache
def _merge_nested_floors(expression: Any) -> Any:
    if not expression.args:
        return expression
    parts = [_merge_nested_floors(part) for part in expression.args]
    if isinstance(expression, sympy.floor):
        return _simplify_floor(parts[0])
    merged = expression.func(*parts)
    return _absorb_integer(merged) if isinstance(merged, sympy.Add) else merged


def _absorb_integer(total: Any) -> Any:
    """Rewrite c·⌊x⌋ + c·i as c·⌊x + i⌋ for a positive integer i, and return any other sum as it is."""
    number, rest = total.as_coeff_Add()
    times, atom = rest.as_coeff_Mul()
    addend = number / times
    return times * sympy.floor(atom.args[0] + addend) if _is_floor(atom) and _is_positive_integer(addend) else total


def _is_floor(part: Any) -> bool:
    return isinstance(part, sympy.floor)


def _is_positive_integer(number: Any) -> bool:
    return bool(number.is_Integer and number > 0)


@cache
def _simplify_floor(inside: Any) -> Any:
    floor = sympy.floor(inside)
    if not _is_floor(floor):  # SymPy has moved the integer part out of the floor
        return _merge_nested_floors(floor)
    constant, varying = sympy.expand(floor.args[0]).as_coeff_Add()
    times, atom = varying.as_coeff_Mul()
    if not atom.is_integer:
        return floor
    below, whole = times.q, sympy.floor(constant * times.q)
    if times.p == -1:  # ⌊(i − x)/n⌋ = −⌈(x − i)/n⌉ = −⌊(x − i + n − 1)/n⌋
        return -_simplify_floor((atom - whole + below - 1) / below)
    if times.p == 1 and _is_floor(atom):
        return _simplify_floor((atom.args[0] + whole) / below)
    return floor


def innermost_floors(expression: Any) -> set[Any]:
    """Return the floors in an expression that contain no other floor."""
    if not isinstance(expression, sympy.Basic):
        return set()
    return {f for f in expression.atoms(sympy.floor) if not f.args[0].has(sympy.floor)}


def period_and_slope(expression: Any, symbol: Any) -> tuple[int, Any]:
    """Return a period P, and the slope s with f(n + P) = f(n) + s·P for every n, or None if there is no such slope.

    On each residue class modulo P, the expression is a polynomial in `symbol`. With a minimum of expressions with
    different slopes, it is a polynomial from some value on. If the argument of a floor grows by c/q over its period,
    the period of the floor is q times as long.

    Raises:
        ValueError: a floor contains a product of sizes.
    """
    if not expression.has(symbol):
        return 1, sympy.Integer(0)
    if expression == symbol:
        return 1, sympy.Integer(1)
    parts = [period_and_slope(part, symbol) for part in expression.args]
    length = lcm(*(each for each, _ in parts))
    slopes = [slope for _, slope in parts]
    if isinstance(expression, sympy.floor):
        if slopes[0] is None:
            raise ValueError("a product of sizes in a floor")
        change = sympy.Rational(slopes[0] * length)
        return length * change.q, slopes[0]
    if isinstance(expression, sympy.Add) and None not in slopes:
        return length, sum(slopes)
    if isinstance(expression, sympy.Mul) and sum(part.has(symbol) for part in expression.args) == 1:
        number = sympy.Mul(*(part for part in expression.args if not part.has(symbol)))
        slope = next(s for part, s in zip(expression.args, slopes, strict=True) if part.has(symbol))
        return length, None if slope is None or not number.is_Rational else number * slope
    if isinstance(expression, sympy.Min) and len(set(slopes)) == 1:
        return length, slopes[0]
    return length, None


# -- properties on the whole domain -------------------------------------------------------------------------------


def is_nondecreasing(expression: Any, least: Mapping[Any, int]) -> bool:
    """Return whether the expression provably never decreases as its symbols grow from their minimum.

    This is the case for sums, floors and minima of nondecreasing parts, and for products of nondecreasing parts that
    are also 0 or more at the minimum.
    """
    if expression.is_number or expression.is_Symbol:
        return True
    if isinstance(expression, (sympy.Add, sympy.Min, sympy.floor)):
        return all(is_nondecreasing(part, least) for part in expression.args)
    if isinstance(expression, sympy.Mul):
        return all(is_nondecreasing(part, least) and part.subs(least) >= 0 for part in expression.args)
    if isinstance(expression, sympy.Pow) and expression.exp.is_Integer and expression.exp > 0:
        return is_nondecreasing(expression.base, least) and bool(expression.base.subs(least) >= 0)
    return False


def is_nonnegative(expression: Any, least: Mapping[Any, int]) -> bool:
    """Return whether the expression is provably 0 or more on the whole domain.

    If an expression in one symbol has a slope of 0 or more, it is enough that it is nonnegative over the first period.
    """
    first = expression.subs(least)
    if not first.is_number or first < 0:
        return False
    if is_nondecreasing(expression, least):
        return True
    if len(expression.free_symbols) != 1:
        return False
    (symbol,) = expression.free_symbols
    length, slope = _period_and_slope_or_none(expression, symbol)
    if slope is None or slope < 0 or length > _LONGEST_PERIOD:
        return False
    return all(expression.subs(symbol, least[symbol] + offset) >= 0 for offset in range(length))


def _period_and_slope_or_none(expression: Any, symbol: Any) -> tuple[int, Any]:
    try:
        return period_and_slope(expression, symbol)
    except ValueError:
        return 1, None


def find_minimum(expression: Any, variable: Variable) -> int | None:
    """Return the smallest value of the variable from which on `expression` is 0 or more, or None if there is no proof.

    The expression must not have other variables.
    """
    symbol = variable.symbol
    if expression.free_symbols != {symbol} or not is_nondecreasing(expression, {symbol: variable.least}):
        return None

    def is_nonnegative_at(index: int) -> bool:
        return bool(expression.subs(symbol, variable.least + index * variable.multiple) >= 0)

    above = 0
    while not is_nonnegative_at(above):
        above = 2 * above + 1
        if above > _SEARCH_LIMIT:
            return None
    below = -1
    while above - below > 1:
        middle = (above + below) // 2
        below, above = (below, middle) if is_nonnegative_at(middle) else (middle, above)
    return variable.least + above * variable.multiple
