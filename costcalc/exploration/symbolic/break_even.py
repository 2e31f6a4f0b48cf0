"""For which values of one variable does a question hold? Answered in integers, and checked by the analysis itself.

Both sides are closed forms. On each residue class of the variable their difference is a polynomial that is whole at
every place, so its values at the first places give it, and its sign changes are found without a root: where the
differences between neighbours keep their sign, it rises or falls, and bisection finds where it crosses 0. The
differences are such a polynomial themselves, of a degree less.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import combinations, pairwise
from math import comb, gcd, lcm
from typing import Any, NamedTuple

import sympy

from costcalc.analysis.analyze import AnalysisOptions, analyze
from costcalc.analysis.metrics import METRICS
from costcalc.core.axes import PLANE_DIM_NAMES
from costcalc.core.comparisons import COMPARISONS
from costcalc.core.errors import CostcalcError
from costcalc.exploration.symbolic.closed_forms import SQUARE, Build, closed_forms, defaults, reject_graph
from costcalc.exploration.symbolic.expression_writer import degree, relation
from costcalc.exploration.symbolic.question import Operand, Question, parse_question
from costcalc.exploration.symbolic.variable import Variable, period_and_slope
from costcalc.frontends.target import load
from costcalc.ir.op import Assumption

_MAX_CLASSES = 10_000

_IndexRange = tuple[int, int | None, int]  # first, last (None: there is none) and step, counted from the least value


class NetworkSource(NamedTuple):
    """What a side of a question is of: a function that makes the graph from sizes and settings, and how to count it."""

    build: Build
    convention: str = "flops"
    dtype: str = "fp32"


class ValueRange(NamedTuple):
    """The values first, first + step, … up to `last`, or without an end where it is None."""

    first: int
    last: int | None
    step: int


class Check(NamedTuple):
    """Both sides at one value of the variable, as the analysis counts them, and whether the relation holds there."""

    value: int
    left: Any
    right: Any
    holds: bool


class Solution(NamedTuple):
    """The values of `variable` for which the question holds, as runs in rising order.

    Each end of a run was checked: `checks` are the values on both sides of it, counted by `analyze` on a graph of plain
    numbers, which gave what the forms `left` and `right` say.
    """

    question: Question
    network: str
    convention: str
    variable: Variable
    runs: tuple[ValueRange, ...]
    checks: tuple[Check, ...]
    left: Any
    right: Any
    assumptions: tuple[Assumption, ...]
    exact: bool


def solve(
    target: str | os.PathLike[str] | Build,
    variable: str,
    question: str,
    *,
    exact: bool = False,
    convention: str = "flops",
    dtype: str = "fp32",
    other: Callable[[str], NetworkSource] | None = None,
    **given: Any,
) -> Solution:
    """The values of a size or setting for which a question such as `macs < 4G` holds, every one of them.

    `target`, `variable`, `exact` and `given` are as for `closed_forms`, the language of questions is that of
    `formula.question`; `other` reads a TARGET in it, by default as `target` is read, with the same `given`. Raises
    CostcalcError for a question that cannot be read, or not be answered, and TypeError for a graph in place of what
    builds it, and for more than the name of one variable.
    """
    reject_graph(target, "solve")
    if not isinstance(variable, str):
        raise TypeError(f"a question has one unknown: variable is the name of a size or setting, not {variable!r}")
    asked = parse_question(question)
    build: Build = target if callable(target) else partial(load, target)
    first = NetworkSource(partial(build, **given), convention, dtype)
    if other is None:

        def other(name: str) -> NetworkSource:
            return NetworkSource(partial(load, name, **given), convention, dtype)

    base = first.build()
    sides = [
        _operand_form(side, first if side.target is None else other(side.target), variable, exact)
        for side in (asked.left, asked.right)
    ]
    domain = _common_domain([side.variable for side in sides if side.variable], variable)
    runs = _solve_ranges(asked, sides, domain)
    assumptions = tuple(dict.fromkeys(each for side in sides for each in side.assumptions))
    checks = tuple(_check_boundaries(asked, sides, domain, runs, assumptions))
    left, right = (side.form for side in sides)
    return Solution(asked, base.name, convention, domain, tuple(runs), checks, left, right, assumptions, exact)


class _SolvedSide(NamedTuple):
    """A side as a form in the variable, and as what the analysis counts for a value of it."""

    form: Any
    variable: Variable | None
    assumptions: tuple[Assumption, ...]
    counted: Callable[[int], Any]


def _operand_form(side: Operand, network: NetworkSource, variable: str, exact: bool) -> _SolvedSide:
    if side.metric is None:
        number = int(side.number) if side.number.denominator == 1 else side.number
        return _SolvedSide(sympy.Rational(number), None, (), lambda value: number)
    metric = METRICS[side.metric]
    rules: AnalysisOptions = {"convention": network.convention, "dtype": network.dtype}
    graph = network.build()
    varies = side.target is None or variable in defaults(graph)

    def counted(value: int) -> Any:
        names = PLANE_DIM_NAMES if variable == SQUARE else (variable,)
        made = network.build(**(dict.fromkeys(names, value) if varies else {}))
        costs = analyze(made, **rules)
        total = (costs if side.layer is None else costs.below(side.layer.strip("/"))).total()
        return getattr(total, metric.attribute)

    if side.layer is not None:
        graph.select(side.layer)
    if not varies:
        return _SolvedSide(sympy.Integer(counted(0)), None, (), counted)
    forms = closed_forms(network.build, [variable], of=[side.metric], at=side.layer, exact=exact, **rules)
    whole = forms.whole()
    if whole.unknown and metric.is_lower_bound:
        raise CostcalcError(f"'{side.text}' is known as a lower bound alone: {graph.name} has unknown layers")
    return _SolvedSide(whole.formulas[side.metric], forms.variables[0], forms.assumptions, counted)


def _common_domain(variables: Sequence[Variable], name: str) -> Variable:
    """The values that all domains have: the sides may be of different networks."""
    if not variables:
        return Variable(name)
    common = variables[0]
    for other in variables[1:]:
        multiple = lcm(common.multiple, other.multiple)
        residue = next(
            (r for r in range(common.residue, multiple, common.multiple) if r % other.multiple == other.residue), None
        )
        if residue is None:
            message = (
                f"no {name} is {common.multiple}·i + {common.residue} and {other.multiple}·i + {other.residue}, as the "
                "two sides need it: ask for exact forms"
            )
            raise CostcalcError(message)
        common = Variable(name, multiple, residue, max(common.least, other.least))
    beyond = -(-(common.least - common.residue) // common.multiple)
    return common._replace(least=common.residue + beyond * common.multiple)


# -- where a difference changes its sign --------------------------------------------------------------------------


def _solve_ranges(question: Question, sides: Sequence[_SolvedSide], domain: Variable) -> list[ValueRange]:
    """All values on the domain for which the relation holds."""
    symbol, compare = domain.symbol, COMPARISONS[question.relation]
    wanted = {sign for sign in (-1, 0, 1) if compare(sign, 0)}
    above = sympy.expand(sides[0].form - sides[1].form)
    if not sympy.denom(sympy.together(above)).is_number:
        raise CostcalcError(f"{domain.name} divides a cost: no question about it can be answered")
    try:
        length = period_and_slope(above, symbol)[0]
    except ValueError:
        length = _MAX_CLASSES * domain.multiple + 1
    classes = length // gcd(length, domain.multiple)
    settled = _settles_from(above, domain)
    if classes > _MAX_CLASSES or settled is None or (settled - domain.least) // domain.multiple > _MAX_CLASSES:
        raise CostcalcError(f"'{question}' has floors that keep changing with {domain.name}: it cannot be answered")
    scale = sympy.lcm([term.as_coeff_Mul()[0].q for term in sympy.Add.make_args(above)])

    def difference(place: int) -> int:
        return int(scale * above.subs(symbol, domain.least + place * domain.multiple))

    start = -(-(settled - domain.least) // domain.multiple)
    early = [(place, _sign(difference(place)) in wanted) for place in range(start)]
    runs: list[_IndexRange] = [(place, place, 1) for place, holds in early if holds]
    runs += _solve_index_ranges(difference, wanted, start, classes, degree(above))
    step = domain.multiple
    return [
        ValueRange(domain.least + first * step, None if last is None else domain.least + last * step, each * step)
        for first, last, each in _merge_ranges(runs)
    ]


def _settles_from(expression: Any, domain: Variable) -> int | None:
    """A value from which on it is settled which of several sizes is the smallest; None: none is found.

    Over a period P a difference of two grows by P times its slope, at every place: it settles where the last of P
    neighbours has the sign of the slope. Without a slope, it is the same at each place of a period.
    """
    settled = domain.least
    for smallest in expression.atoms(sympy.Min):
        for one, another in combinations(smallest.args, 2):
            difference = sympy.expand(one - another)
            length, slope = period_and_slope(difference, domain.symbol)
            if slope is None:
                return None
            for value in range(domain.least, domain.least + length if slope else domain.least):
                ahead = difference.subs(domain.symbol, value) * sympy.sign(slope)
                periods = max(0, sympy.ceiling(-ahead / (abs(slope) * length)))
                settled = max(settled, value + int(periods) * length)
    return settled


def _solve_index_ranges(
    difference: Callable[[int], int], wanted: set[int], start: int, classes: int, degree_: int
) -> Iterator[_IndexRange]:
    """Runs of places from `start` on: on each class of places, the difference is a polynomial of such a degree."""
    changes: list[list[int]] = []  # by class: the places where the relation begins or ceases to hold
    answers: list[list[bool]] = []
    for first in range(start, start + classes):
        values = [difference(first + classes * i) for i in range(degree_ + 1)]
        signs = [(first + classes * i, sign in wanted) for i, sign in _sign_changes(_newton_differences(values))]
        kept = [signs[0], *(b for a, b in pairwise(signs) if a[1] != b[1])]
        changes.append([place for place, _ in kept])
        answers.append([holds for _, holds in kept])

    def holds(place: int) -> bool:
        one = (place - start) % classes
        return answers[one][bisect_right(changes[one], place) - 1]

    borders = sorted({start, *(place for each in changes for place in each[1:])})
    for begin, end in zip(borders, [*borders[1:], None], strict=True):
        pattern = [holds(place) for place in range(begin, begin + classes)]
        if end is not None and end - begin <= classes:
            yield from ((begin + i, begin + i, 1) for i in range(end - begin) if pattern[i])
            continue
        step = next(n for n in range(1, classes + 1) if pattern == (pattern[:n] * classes)[:classes])
        for i in range(step):
            if pattern[i]:
                yield begin + i, None if end is None else end - 1 - (end - 1 - begin - i) % step, step


def _newton_differences(values: list[int]) -> list[int]:
    """The first of the values, of their differences, of the differences of these, and so on (Newton's form)."""
    found = []
    while values:
        found.append(values[0])
        values = [after - before for before, after in pairwise(values)]
    return found


def _sign_changes(differences: list[int]) -> list[tuple[int, int]]:
    """Where the polynomial Σ differences[i]·C(n, i) over n = 0, 1, … has which sign: each place where it changes."""
    if len(differences) == 1:
        return [(0, _sign(differences[0]))]

    def sign(place: int) -> int:
        return _sign(sum(d * comb(place, i) for i, d in enumerate(differences)))

    slopes = _sign_changes(differences[1:])
    found: list[tuple[int, int]] = []
    for (begin, slope), following in zip(slopes, [*slopes[1:], None], strict=True):
        end = None if following is None else following[0]  # from begin to end it only rises, falls, or stays
        place: int | None = begin
        while place is not None:
            if not found or found[-1][1] != sign(place):
                found.append((place, sign(place)))
            place = _next_change(sign, place, end) if slope * sign(place) < 0 or (slope and not sign(place)) else None
    return found


def _next_change(sign: Callable[[int], int], place: int, end: int | None) -> int | None:
    """The first place after `place` and up to `end` with another sign, where signs only rise, or only fall."""
    now, width = sign(place), 1
    while end is None and sign(place + width) == now:
        width *= 2
    above = place + width if end is None else end
    if sign(above) == now:
        return None
    below = place
    while above - below > 1:
        middle = (above + below) // 2
        below, above = (middle, above) if sign(middle) == now else (below, middle)
    return above


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)


def _merge_ranges(runs: Iterable[_IndexRange]) -> list[_IndexRange]:
    """The runs in rising order, those that follow each other without a gap as one."""
    joined: list[_IndexRange] = []
    for first, last, step in sorted(runs, key=lambda run: run[0]):
        dense = step == 1 or first == last
        if joined and dense and joined[-1][2] == 1 and joined[-1][1] == first - 1:
            joined[-1] = (joined[-1][0], last, 1)
        else:
            joined.append((first, last, 1 if dense else step))
    return joined


# -- the check ----------------------------------------------------------------------------------------------------


def _check_boundaries(
    question: Question,
    sides: Sequence[_SolvedSide],
    domain: Variable,
    runs: Iterable[ValueRange],
    assumptions: Sequence[Assumption],
) -> Iterator[Check]:
    """Both sides by the analysis on both sides of every border. Raises CostcalcError where a form says otherwise."""
    places = {domain.least}
    for first, last, _ in runs:
        places |= {first - domain.multiple, first}
        places |= set() if last is None else {last, last + domain.multiple}
    for value in sorted(place for place in places if place >= domain.least):
        at = f"at {domain.name} = {value:,}"
        broken = [relation(each, str) for each in assumptions if not _holds_at(each, domain.symbol, value)]
        no_answer = f"'{question}' has no answer that holds {at}, where it is not so that {' and '.join(broken)}"
        try:
            counts = [side.counted(value) for side in sides]
        except CostcalcError as error:
            raise CostcalcError(f"{no_answer}: {error}") if broken else error from None
        formed = [side.form.subs(domain.symbol, value) for side in sides]
        holds = bool(COMPARISONS[question.relation](counts[0], counts[1]))
        said = any(run.first <= value and (run.last is None or value <= run.last)
                   and (value - run.first) % run.step == 0 for run in runs)  # fmt: skip
        if counts != formed or holds != said:
            found = f"{at} the closed forms of '{question}' give {formed}, the analysis {counts}"
            raise CostcalcError(f"{no_answer}: {found}" if broken else f"{found}: this is a mistake of costcalc")
        yield Check(value, counts[0], counts[1], holds)


def _holds_at(assumption: Assumption, symbol: Any, value: int) -> bool:
    left, right = (sympy.sympify(side).subs(symbol, value) for side in (assumption.left, assumption.right))
    if assumption.relation == "multiple of":
        return bool((left / right).is_integer)
    holds = {"==": left == right, "!=": left != right, ">=": left >= right}[assumption.relation]
    return bool(holds)
