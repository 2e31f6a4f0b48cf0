"""Break-even questions: all values of one variable for which a comparison of costs holds, checked by the analysis.

Both sides are closed forms. On each residue class of the variable, their difference is an integer-valued polynomial,
which its first values determine. Its sign changes are computed without roots: between two sign changes of the first
differences, which are an integer-valued polynomial of one degree less, the polynomial is monotonic, and bisection finds
its zero crossing.
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

_IndexRange = tuple[int, int | None, int]  # first, last (None: unbounded) and step, as indices of the domain


class NetworkSource(NamedTuple):
    """The network of an operand: a function that builds its graph from sizes and settings, and how to count it."""

    build: Build
    convention: str = "flops"
    dtype: str = "fp32"


class ValueRange(NamedTuple):
    """The values first, first + step, …, last; a `last` of None means that the range is unbounded."""

    first: int
    last: int | None
    step: int


class Check(NamedTuple):
    """Both sides at one value of the variable, counted by the analysis, and whether the comparison holds."""

    value: int
    left: Any
    right: Any
    holds: bool


class Solution(NamedTuple):
    """The values of `variable` for which the question holds, as ranges in rising order.

    `left` and `right` are the closed forms of the two sides. `checks` are the values at both sides of every end of a
    range, counted by `analyze` on a graph with plain numbers; they agree with the closed forms.
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
    resolve_target: Callable[[str], NetworkSource] | None = None,
    **options: Any,
) -> Solution:
    """Return all values of a size or setting for which a question such as `macs < 4G` holds.

    `target`, `variable`, `exact` and `options` are as for `closed_forms`; the module `question` describes questions.
    `resolve_target` returns the network of a TARGET in the question; by default, `load` with the same `options`.

    Raises:
        CostcalcError: the question cannot be parsed, or cannot be answered.
        TypeError: `target` is a graph, or `variable` is not one name.
    """
    reject_graph(target, "solve")
    if not isinstance(variable, str):
        raise TypeError(f"a question has one variable: pass the name of one size or setting, not {variable!r}")
    parsed = parse_question(question)
    build: Build = target if callable(target) else partial(load, target)
    network = NetworkSource(partial(build, **options), convention, dtype)
    if resolve_target is None:

        def resolve_target(name: str) -> NetworkSource:
            return NetworkSource(partial(load, name, **options), convention, dtype)

    base = network.build()
    sides = [
        _operand_form(side, network if side.target is None else resolve_target(side.target), variable, exact)
        for side in (parsed.left, parsed.right)
    ]
    domain = _common_domain([side.variable for side in sides if side.variable], variable)
    runs = _solve_ranges(parsed, sides, domain)
    assumptions = tuple(dict.fromkeys(each for side in sides for each in side.assumptions))
    checks = tuple(_check_boundaries(parsed, sides, domain, runs, assumptions))
    left, right = (side.form for side in sides)
    return Solution(parsed, base.name, convention, domain, tuple(runs), checks, left, right, assumptions, exact)


class _SolvedSide(NamedTuple):
    """An operand: its closed form, and a function that counts it by the analysis at a value of the variable."""

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
        costs = analyze(network.build(**(dict.fromkeys(names, value) if varies else {})), **rules)
        total = (costs if side.layer is None else costs.below(side.layer.strip("/"))).total()
        return getattr(total, metric.attribute)

    if side.layer is not None:
        graph.select(side.layer)
    if not varies:
        return _SolvedSide(sympy.Integer(counted(0)), None, (), counted)
    forms = closed_forms(network.build, [variable], of=[side.metric], at=side.layer, exact=exact, **rules)
    whole = forms.whole()
    if whole.unknown and metric.is_lower_bound:
        raise CostcalcError(f"'{side.text}' is only known as a lower bound: {graph.name} has unknown layers")
    return _SolvedSide(whole.formulas[side.metric], forms.variables[0], forms.assumptions, counted)


def _common_domain(variables: Sequence[Variable], name: str) -> Variable:
    """Return the intersection of the domains of the operands, which may be of different networks."""
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
                f"the two sides have no common {name}: one needs {common.multiple}·i + {common.residue}, the other "
                f"{other.multiple}·i + {other.residue}; use exact forms"
            )
            raise CostcalcError(message)
        common = Variable(name, multiple, residue, max(common.least, other.least))
    index = -(-(common.least - common.residue) // common.multiple)
    return common._replace(least=common.residue + index * common.multiple)


# -- sign changes of a difference ---------------------------------------------------------------------------------


def _solve_ranges(question: Question, sides: Sequence[_SolvedSide], domain: Variable) -> list[ValueRange]:
    """Return all values of the domain for which the comparison holds."""
    symbol, compare = domain.symbol, COMPARISONS[question.relation]
    wanted = {sign for sign in (-1, 0, 1) if compare(sign, 0)}
    above = sympy.expand(sides[0].form - sides[1].form)
    if not sympy.denom(sympy.together(above)).is_number:
        raise CostcalcError(f"a cost has {domain.name} in a denominator: the question cannot be answered")
    try:
        length = period_and_slope(above, symbol)[0]
    except ValueError:
        length = _MAX_CLASSES * domain.multiple + 1
    classes = length // gcd(length, domain.multiple)
    settled = _settles_from(above, domain)
    if classes > _MAX_CLASSES or settled is None or (settled - domain.least) // domain.multiple > _MAX_CLASSES:
        raise CostcalcError(
            f"'{question}' cannot be answered: the period of its floor divisions in {domain.name} is unknown or "
            "too long"
        )
    scale = sympy.lcm([term.as_coeff_Mul()[0].q for term in sympy.Add.make_args(above)])

    def difference(index: int) -> int:
        return int(scale * above.subs(symbol, domain.least + index * domain.multiple))

    start = -(-(settled - domain.least) // domain.multiple)
    early = [(index, _sign(difference(index)) in wanted) for index in range(start)]
    runs: list[_IndexRange] = [(index, index, 1) for index, holds in early if holds]
    runs += _solve_index_ranges(difference, wanted, start, classes, degree(above))
    step = domain.multiple
    return [
        ValueRange(domain.least + first * step, None if last is None else domain.least + last * step, each * step)
        for first, last, each in _merge_ranges(runs)
    ]


def _settles_from(expression: Any, domain: Variable) -> int | None:
    """Return a value from which on the smallest argument of every minimum does not change, or None if none is found.

    Over a period P, the difference of two arguments grows by P times its slope. From the first P consecutive values on
    that have the sign of the slope, the sign is fixed. A difference with a slope of 0 is periodic.
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
    """Yield the index ranges from `start` on; `degree_` is the degree of the difference on each residue class."""
    changes: list[list[int]] = []  # by class: the indices from which on the answer is another one
    answers: list[list[bool]] = []
    for first in range(start, start + classes):
        values = [difference(first + classes * i) for i in range(degree_ + 1)]
        signs = [(first + classes * i, sign in wanted) for i, sign in _sign_changes(_newton_differences(values))]
        switches = [signs[0], *(b for a, b in pairwise(signs) if a[1] != b[1])]
        changes.append([index for index, _ in switches])
        answers.append([holds for _, holds in switches])

    def holds(index: int) -> bool:
        one = (index - start) % classes
        return answers[one][bisect_right(changes[one], index) - 1]

    borders = sorted({start, *(index for each in changes for index in each[1:])})
    for begin, end in zip(borders, [*borders[1:], None], strict=True):
        pattern = [holds(index) for index in range(begin, begin + classes)]
        if end is not None and end - begin <= classes:
            yield from ((begin + i, begin + i, 1) for i in range(end - begin) if pattern[i])
            continue
        step = next(n for n in range(1, classes + 1) if pattern == (pattern[:n] * classes)[:classes])
        for i in range(step):
            if pattern[i]:
                yield begin + i, None if end is None else end - 1 - (end - 1 - begin - i) % step, step


def _newton_differences(values: list[int]) -> list[int]:
    """Return the first value, the first difference, the first second difference, and so on (Newton's form)."""
    differences = []
    while values:
        differences.append(values[0])
        values = [after - before for before, after in pairwise(values)]
    return differences


def _sign_changes(differences: list[int]) -> list[tuple[int, int]]:
    """Return the signs of the polynomial Σ differences[i]·C(n, i) over n = 0, 1, …, with the index of each change."""
    if len(differences) == 1:
        return [(0, _sign(differences[0]))]

    def sign(index: int) -> int:
        return _sign(sum(d * comb(index, i) for i, d in enumerate(differences)))

    slopes = _sign_changes(differences[1:])
    changes: list[tuple[int, int]] = []
    for (begin, slope), following in zip(slopes, [*slopes[1:], None], strict=True):
        end = None if following is None else following[0]  # the polynomial is monotonic from begin to end
        index: int | None = begin
        while index is not None:
            if not changes or changes[-1][1] != sign(index):
                changes.append((index, sign(index)))
            index = _next_change(sign, index, end) if slope * sign(index) < 0 or (slope and not sign(index)) else None
    return changes


def _next_change(sign: Callable[[int], int], index: int, end: int | None) -> int | None:
    """Return the first index after `index`, up to `end`, with another sign, or None; signs are monotonic there."""
    now, width = sign(index), 1
    while end is None and sign(index + width) == now:
        width *= 2
    above = index + width if end is None else end
    if sign(above) == now:
        return None
    below = index
    while above - below > 1:
        middle = (above + below) // 2
        below, above = (middle, above) if sign(middle) == now else (below, middle)
    return above


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)


def _merge_ranges(runs: Iterable[_IndexRange]) -> list[_IndexRange]:
    """Return the ranges in rising order, with adjacent ranges of step 1 merged."""
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
    """Count both sides by the analysis at both sides of every boundary.

    Raises CostcalcError where a closed form differs from the analysis.
    """
    values = {domain.least}
    for first, last, _ in runs:
        values |= {first - domain.multiple, first}
        values |= set() if last is None else {last, last + domain.multiple}
    for value in sorted(value for value in values if value >= domain.least):
        at = f"at {domain.name} = {value:,}"
        broken = [relation(each, str) for each in assumptions if not _holds_at(each, domain.symbol, value)]
        no_answer = f"'{question}' cannot be answered {at}, where an assumption is false: {' and '.join(broken)}"
        try:
            counts = [side.counted(value) for side in sides]
        except CostcalcError as error:
            raise CostcalcError(f"{no_answer}: {error}") if broken else error from None
        from_forms = [side.form.subs(domain.symbol, value) for side in sides]
        holds = bool(COMPARISONS[question.relation](counts[0], counts[1]))
        in_solution = any(run.first <= value and (run.last is None or value <= run.last)
                   and (value - run.first) % run.step == 0 for run in runs)  # fmt: skip
        if counts != from_forms or holds != in_solution:
            difference = f"{at} the closed forms of '{question}' give {from_forms}, the analysis {counts}"
            raise CostcalcError(f"{no_answer}: {difference}" if broken else f"{difference}: this is a bug in costcalc")
        yield Check(value, counts[0], counts[1], holds)


def _holds_at(assumption: Assumption, symbol: Any, value: int) -> bool:
    left, right = (sympy.sympify(side).subs(symbol, value) for side in (assumption.left, assumption.right))
    if assumption.relation == "multiple of":
        return bool((left / right).is_integer)
    holds = {"==": left == right, "!=": left != right, ">=": left >= right}[assumption.relation]
    return bool(holds)
