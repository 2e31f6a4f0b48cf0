"""Closed forms: the costs of a whole network as exact formulas in its sizes and settings.

The graph is built with SymPy expressions for sizes, and the formulas of each op give its costs. If the height is a
multiple of the total stride, all floor divisions are exact, and costs are polynomials. With `exact`, floors remain, and
a formula holds for every size.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import permutations
from math import gcd, lcm
from typing import Any, NamedTuple

import sympy

from costcalc.analysis.analyze import analyze
from costcalc.analysis.cost_table import CostTable, Row
from costcalc.analysis.metrics import DEFAULT_METRICS, METRICS
from costcalc.core.axes import INPUT_DIM_NAMES, PLANE_DIM_NAMES
from costcalc.core.errors import CostcalcError, FixedSizeError, did_you_mean
from costcalc.core.sizes import Size, identical, is_plain, is_symbolic
from costcalc.exploration.symbolic.variable import (
    Variable,
    find_minimum,
    innermost_floors,
    is_nonnegative,
    normalize_floors,
)
from costcalc.frontends.target import load
from costcalc.ir.graph import Graph
from costcalc.ir.op import Assumption
from costcalc.ir.paths import stage_of

SQUARE = "size"  # the variable for the height and width of a square input

_LARGEST_MULTIPLE = 10**6
_MAX_ROUNDS = 20

Build = Callable[..., Graph]  # builds a network from sizes and settings by name


class RowFormulas(NamedTuple):
    """The closed forms of a layer, a stage or the whole network, by metric.

    Metrics that are not modelled are left out. With `unknown` layers, the formulas are lower bounds.
    """

    path: str
    formulas: Mapping[str, Any]
    unknown: int


@dataclass(frozen=True)
class ClosedForms:
    """The costs of a network, or of a part of it, as expressions in its variables.

    A form holds if every variable is in its domain and the `assumptions`, which could not be decided, are true. `of`
    names the metrics, and `layer` the part. `costs` has one row per layer, in the index symbols of the variables;
    `whole`, `by_stage` and `by_layer` return forms in the variables.
    """

    costs: CostTable
    variables: tuple[Variable, ...]
    of: tuple[str, ...]
    assumptions: tuple[Assumption, ...]
    exact: bool
    layer: str | None = None

    def whole(self) -> RowFormulas:
        """Return the forms of all layers together."""
        return self._form(self.layer or "whole", self.costs.rows)

    def by_stage(self, depth: int = 1) -> list[RowFormulas]:
        """Return one form per stage: the layers whose paths share their first `depth` parts."""
        stages: dict[str, list[Row]] = {}
        for row in self.costs.rows:
            stages.setdefault(stage_of(row.path, depth), []).append(row)
        return [self._form(stage, rows) for stage, rows in stages.items()]

    def by_layer(self) -> list[RowFormulas]:
        """Return one form per layer."""
        return [self._form(row.path, [row]) for row in self.costs.rows]

    def value(self, metric: str, values: Mapping[str, int]) -> int:
        """Return the value of a metric of the whole network; `values` has a number of its domain for each variable."""
        return int(self.whole().formulas[metric].subs({v.symbol: values[v.name] for v in self.variables}))

    def to_variables(self, size: Size) -> Any:
        """Convert a size of the graph from the index symbols to the variables."""
        return self._terms.of(size)

    def _form(self, path: str, rows: Sequence[Row]) -> RowFormulas:
        formulas = {}
        for metric in self.of:
            values = Counter(getattr(row, METRICS[metric].attribute) for row in rows)
            del values[None]
            if values:  # equal layers are converted once
                formulas[metric] = sympy.Add(*[times * self._terms.of(value) for value, times in values.items()])
        return RowFormulas(path, formulas, sum(row.unknown_layers for row in rows))

    @cached_property
    def _terms(self) -> _VariableSubstitution:
        return _VariableSubstitution(self.variables)


def closed_forms(
    target: str | os.PathLike[str] | Build,
    variables: str | Iterable[str],
    *,
    of: Sequence[str] = DEFAULT_METRICS,
    at: str | None = None,
    exact: bool = False,
    convention: str = "flops",
    dtype: str = "fp32",
    **options: Any,
) -> ClosedForms:
    """Return the costs of a network as exact formulas in some of its sizes and settings.

    By default, a variable takes the values for which all floor divisions are exact: a height is a multiple of the
    network's total stride, plus the remainder of its default. With `exact`, floors remain, and a variable takes every
    value that the graph's assumptions allow.

    Args:
        target: a TARGET as for `load`, or a function that builds the graph from sizes and settings by name.
        variables: names of input sizes (batch, channels, height, width, sequence, …), of integer settings, or `size`,
            the side of a square input.
        of: keys of METRICS.
        at: a layer, or a prefix that selects the layers below it; by default the whole network.
        exact: allow floors in the formulas.
        convention: how FLOPs, parameters and activations are counted, as for `analyze`.
        dtype: the type in which floating-point tensors are stored.
        options: the other sizes and settings, as plain numbers.

    Raises:
        CostcalcError: a variable does not exist, or the network's structure depends on it.
        TypeError: `target` is a graph, whose sizes cannot be changed.
    """
    reject_graph(target, "closed_forms")
    build: Build = partial(target if callable(target) else partial(load, target), **options)
    base = build()
    names = tuple(dict.fromkeys([variables] if isinstance(variables, str) else variables))
    _check_variables(build, base, names)
    _check_metrics(of)
    if at is not None:
        base.select(at)
    start = {} if exact else _strides(base, names)
    default = defaults(base)
    domains = [Variable(name, start.get(name, 1), default[name] % start.get(name, 1)) for name in names]
    for _ in range(_MAX_ROUNDS):
        graph = _build_symbolic(build, base, domains)
        costs = analyze(graph, convention=convention, dtype=dtype)
        if exact:
            narrowed = [_restrict_to_multiples(variable, graph, domains) for variable in domains]
            if narrowed == domains:
                return _build_closed_forms(graph, costs, domains, of, at, exact)
            domains = narrowed
            continue
        factors = _extra_multiples(domains, _floor_candidates(graph, costs, of))
        if not factors:
            return _build_closed_forms(graph, costs, domains, of, at, exact)
        for i, variable in enumerate(domains):
            multiple = variable.multiple * factors.get(variable.index_symbol, 1)
            domains[i] = Variable(variable.name, multiple, default[variable.name] % multiple)
        if max(v.multiple for v in domains) > _LARGEST_MULTIPLE:
            break
    raise CostcalcError(f"no multiples of {', '.join(names)} leave {base.name} without floors: use exact forms")


def reject_graph(target: object, name: str) -> None:
    """Raise TypeError if `target` is a graph instead of a function that builds graphs."""
    if isinstance(target, Graph):
        message = f"{name} builds the network itself: pass a name, a file or a function that builds a graph"
        raise TypeError(f"{message}; forms_of takes a graph, with expressions for sizes")


def forms_of(
    graph: Graph,
    variables: Sequence[Variable] | None = None,
    *,
    of: Sequence[str] = DEFAULT_METRICS,
    at: str | None = None,
    convention: str = "flops",
    dtype: str = "fp32",
) -> ClosedForms:
    """Return the closed forms of a graph whose sizes are expressions in index symbols of `variables`.

    Without `variables`, each symbol in the graph's sizes is a variable of the same name, which takes every value
    from 1 on, or every multiple of the number that the graph assumes to divide it.
    """
    _check_metrics(of)
    exact = variables is None
    costs = analyze(graph, convention=convention, dtype=dtype)
    if variables is None:
        symbols = {
            s for size in _floor_candidates(graph, costs, of) if is_symbolic(size) for s in sympy.S(size).free_symbols
        }
        unrestricted = [Variable(symbol.name) for symbol in sorted(symbols, key=lambda symbol: symbol.name)]
        variables = [_restrict_to_multiples(variable, graph, unrestricted) for variable in unrestricted]
    if at is not None:
        graph.select(at)
    return _build_closed_forms(graph, costs, variables, of, at, exact)


def _build_closed_forms(
    graph: Graph, costs: CostTable, variables: Sequence[Variable], of: Sequence[str], at: str | None, exact: bool
) -> ClosedForms:
    """Return the forms on the largest domain where one formula holds and the network can be built."""
    terms = _VariableSubstitution(variables)
    assumptions = dict.fromkeys(terms.assumption(each) for each in graph.assumptions)
    least = {v.symbol: v.smallest for v in variables}
    by_symbol = {v.symbol: v for v in variables}

    def raise_minimum(expression: Any) -> None:
        """Raise the minimum of a variable until an expression in it is never negative, if there is such a minimum."""
        if len(expression.free_symbols) == 1:
            (symbol,) = expression.free_symbols
            minimum = find_minimum(expression, by_symbol[symbol]._replace(least=least[symbol]))
            least[symbol] = least[symbol] if minimum is None else max(least[symbol], minimum)

    for left, relation, right in assumptions:
        if relation == ">=":
            raise_minimum(left - right)
    if not exact:
        for smallest in {
            m for size in _floor_candidates(graph, costs, of) if is_symbolic(size) for m in size.atoms(sympy.Min)
        }:
            for each in terms.plain(smallest).atoms(sympy.Min):
                for one, other in permutations(each.args, 2):
                    raise_minimum(sympy.expand(one - other))
    undecided = tuple(each for each in assumptions if not _always_holds(each, by_symbol, least))
    bounded = tuple(v._replace(least=least[v.symbol]) for v in variables)
    layer = None if at is None else at.strip("/")
    part = costs if layer is None else costs.below(layer)
    return ClosedForms(part, bounded, tuple(dict.fromkeys(of)), undecided, exact, layer)


def _always_holds(assumption: Assumption, variables: Mapping[Any, Variable], least: Mapping[Any, int]) -> bool:
    """Return whether an assumption provably holds on the whole domain, where variables start at `least`."""
    left, right = map(sympy.sympify, (assumption.left, assumption.right))
    relation = assumption.relation
    difference = left - right  # not expanded: is_nonnegative recognizes products of nondecreasing factors
    if relation == ">=":
        return is_nonnegative(difference, least)
    if relation == "==":
        return bool(sympy.expand(difference) == 0)
    if relation == "!=":
        return any(is_nonnegative(sign * difference - 1, least) for sign in (1, -1)) or _is_never_zero(
            difference, variables
        )
    counted = (left / right).xreplace({symbol: variable.size for symbol, variable in variables.items()})
    return bool(sympy.expand(counted).is_integer)


def _is_never_zero(difference: Any, variables: Mapping[Any, Variable]) -> bool:
    """Return whether an expression is linear in a variable and provably 0 for none of its values."""
    linear = _as_linear(difference)
    if linear is None:
        return False
    symbol, slope, constant = linear
    zero, variable = -constant / slope, variables[symbol]
    return not zero.is_Integer or zero < variable.smallest or zero % variable.multiple != variable.residue


def _as_linear(expression: Any) -> tuple[Any, Any, Any] | None:
    """Return symbol, slope and constant of slope·symbol + constant; None for any other expression."""
    constant, varying = sympy.expand(expression).as_coeff_Add()
    slope, symbol = varying.as_coeff_Mul()
    return (symbol, slope, constant) if symbol.is_Symbol and slope.is_Rational and constant.is_Rational else None


def _restrict_to_multiples(variable: Variable, graph: Graph, variables: Iterable[Variable]) -> Variable:
    """Restrict a variable to the values that satisfy the graph's assumptions on multiples.

    a·x/q + b/q is a multiple of n if a·x + b is a multiple of q·n. The solutions x are one residue class modulo
    q·n / gcd(a, q·n), or there is none.
    """
    terms = _VariableSubstitution(variables)
    for left, relation, right in map(terms.assumption, graph.assumptions):
        linear = _as_linear(left) if relation == "multiple of" and sympy.sympify(right).is_Integer else None
        if linear is None or linear[0] != variable.symbol:
            continue
        _, slope, constant = linear
        below = lcm(slope.q, constant.q)
        a, b, n = int(slope * below), int(constant * below), int(right) * below
        step = lcm(variable.multiple, n // gcd(a, n))
        for residue in range(variable.residue, variable.residue + step, variable.multiple):
            if (a * residue + b) % n == 0:
                variable = Variable(variable.name, step, residue % step)
                break
    return variable


class _VariableSubstitution:
    """Converts expressions in index symbols to expressions in variables, with nested floors merged.

    A minimum is replaced by its smallest argument if that argument is known.
    """

    def __init__(self, variables: Iterable[Variable]) -> None:
        variables = tuple(variables)
        self.named = {v.name: v.size for v in variables}
        self.counted = {v.index_symbol: v.counted for v in variables if v.index_symbol != v.symbol}
        self.least = {v.symbol: v.least for v in variables}
        self.known: dict[Any, Any] = {}

    def of(self, size: Size) -> Any:
        """Return the converted expression, expanded."""
        if is_plain(size):
            return sympy.Integer(size)
        if size not in self.known:
            self.known[size] = sympy.expand(self._resolve_minimum(self.plain(size)))
        return self.known[size]

    def plain(self, size: Size) -> Any:
        """Return the converted expression, not expanded."""
        expression = sympy.sympify(size)
        by_name = {s: self.named[s.name] for s in expression.free_symbols if s.name in self.named}
        return normalize_floors(expression.xreplace(by_name).xreplace(self.counted))

    def assumption(self, assumption: Assumption) -> Assumption:
        return Assumption(self.plain(assumption.left), assumption.relation, self.plain(assumption.right))

    def _resolve_minimum(self, expression: Any) -> Any:
        if not expression.has(sympy.Min):
            return expression
        return expression.replace(sympy.Min, self._smallest)

    def _smallest(self, *args: Any) -> Any:
        """Return the minimum of the arguments, without those that are never smaller than another argument."""
        candidates: list[Any] = []
        for arg in args:
            if not any(is_nonnegative(sympy.expand(arg - other), self.least) for other in candidates):
                candidates = [o for o in candidates if not is_nonnegative(sympy.expand(o - arg), self.least)] + [arg]
        return sympy.Min(*candidates)


# -- domains without floors ---------------------------------------------------------------------------------------


def _strides(graph: Graph, names: Iterable[str]) -> dict[str, int]:
    """Return the total stride for each spatial size in `names`: the least common multiple over all layers."""
    strides = [row.receptive_stride for row in analyze(graph).rows if row.receptive_stride]
    along = {"height": lcm(*(s[0] for s in strides)), "width": lcm(*(s[1] for s in strides))}
    along[SQUARE] = lcm(along["height"], along["width"])
    return {name: along[name] for name in names if name in along}


def _floor_candidates(graph: Graph, costs: CostTable, of: Sequence[str]) -> Iterator[Any]:
    """Yield every expression that must be free of floors: shapes, assumptions and the selected metrics."""
    for shape in graph.shapes.values():
        yield from shape
    for left, relation, right in graph.assumptions:
        yield left
        yield right
        if relation == "multiple of" and is_plain(right):
            yield sympy.floor(sympy.sympify(left) / right)
    for row in costs.rows:
        for metric in of:
            yield getattr(row, METRICS[metric].attribute)


def _extra_multiples(variables: Iterable[Variable], sizes: Iterable[Any]) -> dict[Any, int]:
    """Return the factors by which multiples must grow for the innermost floors to vanish, by index symbol.

    ⌊(p/q)·n + c⌋ needs no floor if n is a multiple of q. The result is empty if there are no floors.
    """
    counters = {v.index_symbol for v in variables}
    factors: dict[Any, int] = {}
    for floor in {f for size in {s for s in sizes if is_symbolic(s)} for f in innermost_floors(size)}:
        for term in sympy.Add.make_args(sympy.expand(floor.args[0])):
            below = term.as_coeff_Mul()[0].q
            inside = sorted(term.free_symbols & counters, key=lambda symbol: symbol.name)
            if inside:
                factors[inside[0]] = lcm(factors.get(inside[0], 1), below)
    return factors


# -- variables ----------------------------------------------------------------------------------------------------


def defaults(graph: Graph) -> dict[str, Any]:
    """Return the default of every size and setting."""
    sizes: dict[str, Any] = {}
    for each in graph.inputs:
        for name, size in zip(each.dim_names, each.shape, strict=True):
            if name:
                sizes.setdefault(name, size)
    if "height" in sizes and "width" in sizes:
        sizes[SQUARE] = sizes["height"]
    return {**sizes, **graph.settings}


def _check_variables(build: Build, base: Graph, names: tuple[str, ...]) -> None:
    """Raise CostcalcError, with a list of the possible variables, if a name is no size and no integer setting."""
    known = defaults(base)
    mistakes = [] if names else ["a closed form needs a variable"]
    kinds = {bool: "true or false", tuple: "a list", str: "text", float: "a number with a fraction"}
    for name in names:
        if name not in known:
            mistakes.append(f"{base.name} has no size or setting {name!r}{did_you_mean(name, known)}")
        elif not _is_int(known[name]):
            kind = kinds.get(type(known[name]), "no integer")
            mistakes.append(f"{name} is {kind} and decides the structure of {base.name}: it cannot be a variable")
    if SQUARE in names and SQUARE in known:
        height, width = known["height"], known["width"]
        if {"height", "width"} & {*names}:
            mistakes.append(f"{SQUARE} is height and width together: name either {SQUARE} or height and width")
        elif height != width:
            mistakes.append(
                f"{SQUARE} needs a square input, but the input of {base.name} is {height}×{width}: "
                f"name height,width, or make it square (--input {min(height, width)}x{min(height, width)})"
            )
    if mistakes:
        raise CostcalcError("\n".join([*mistakes, _variables_hint(_rejections(build, base))]))


def _check_metrics(of: Iterable[str]) -> None:
    for metric in of:
        if metric not in METRICS:
            near = did_you_mean(metric, METRICS)
            raise CostcalcError(f"no quantity {metric!r}{near}: there are {', '.join(METRICS)}")


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _size_arguments(variable: Variable) -> dict[str, Size]:
    """Return the sizes and settings that a variable stands for, as expressions."""
    names = PLANE_DIM_NAMES if variable.name == SQUARE else (variable.name,)
    return dict.fromkeys(names, variable.size)


def _build_symbolic(build: Build, base: Graph, variables: Sequence[Variable]) -> Graph:
    """Build the graph with expressions of the variables as sizes."""
    try:
        return build(**{name: size for variable in variables for name, size in _size_arguments(variable).items()})
    except FixedSizeError:
        raise
    except CostcalcError as error:
        rejections = _rejections(build, base)
        names = [v.name for v in variables if rejections[v.name]]
        if not names:
            raise
        messages = [
            f"{name} cannot be a variable of {base.name}: {_why_fixed(build, base, name) or rejections[name]}"
            for name in names
        ]
        raise CostcalcError("\n".join([*messages, _variables_hint(rejections)])) from error


def _rejections(build: Build, base: Graph) -> dict[str, str]:
    """Return, for each size and integer setting, why it cannot be a variable, or an empty text if it can."""
    rejections = {}
    default = defaults(base)
    with suppress(CostcalcError, TypeError):  # an imported model is imported once, with all its sizes dynamic
        build(**{name: Variable(name).size for name in INPUT_DIM_NAMES if _is_int(default.get(name))})
    for name, value in default.items():
        if _is_int(value) and (name != SQUARE or _is_square(base)):
            try:
                build(**_size_arguments(Variable(name)))
                rejections[name] = ""
            except (CostcalcError, TypeError) as error:  # TypeError: a function without this parameter
                rejections[name] = _first_line(error)
    return rejections


def _is_square(graph: Graph) -> bool:
    known = defaults(graph)
    return identical(known["height"], known["width"])


def _first_line(error: Exception) -> str:
    return str(error).split("\n")[0]


def _why_fixed(build: Build, base: Graph, name: str) -> str:
    """Return the error for another number than the default: it is easier to understand than the error for a symbol."""
    default = defaults(base)[name]
    try:
        build(**dict.fromkeys(_size_arguments(Variable(name)), default + 1))
    except CostcalcError as error:
        return f"it can be {default} but not {default + 1}: {_first_line(error)}"
    return ""


def _variables_hint(rejections: Mapping[str, str]) -> str:
    return f"variables can be {', '.join(name for name, rejection in rejections.items() if not rejection) or 'none'}"
