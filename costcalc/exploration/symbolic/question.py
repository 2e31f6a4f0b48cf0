"""The syntax of break-even questions: `macs < 4G`, `memory > param-memory`, `macs at stem < macs at stem of resnet34`.

    question = side relation side
    side     = metric [at LAYER] [of TARGET], or a number
    relation = <  <=  >  >=  =

A number may have decimals and a unit: k, M, G and T are powers of 1000, Ki to Pi powers of 1024. A number below 2^20
that is compared with bytes needs a unit of bytes, such as GB or GiB. At least one side is a metric.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from costcalc.analysis.metrics import METRICS
from costcalc.core.comparisons import COMPARISONS, find_comparison
from costcalc.core.errors import CostcalcError, did_you_mean
from costcalc.core.written_numbers import WrittenNumber, check_byte_unit, find_unit, read_number

_EXAMPLE = "such as 'macs < 4G' or 'memory > param-memory'"


class Operand(NamedTuple):
    """One side of a question: a metric of a network or of a layer, or a number."""

    text: str
    metric: str | None
    layer: str | None = None  # None: the whole network
    target: str | None = None  # None: the target of the whole question
    number: Fraction = Fraction(0)
    written: WrittenNumber | None = None


class Question(NamedTuple):
    """A comparison of two operands, at least one of them a metric."""

    left: Operand
    relation: str
    right: Operand

    def __str__(self) -> str:
        return f"{self.left.text} {self.relation} {self.right.text}"


def parse_question(text: str) -> Question:
    """Parse a question. Raises CostcalcError with the reason if the text is not a question."""
    words = text.split()
    positions = [i for i, word in enumerate(words) if find_comparison(word)]
    if len(positions) == 1:
        left, relation, right = words[: positions[0]], words[positions[0]], words[positions[0] + 1 :]
    else:  # written without spaces; with spaces, the settings of a target may contain =
        match = re.fullmatch(r"([^<>≤≥=]+)(<=|>=|==|=<|=>|[<>≤≥=])([^<>≤≥=]+)", text.strip())
        if match is None or positions:
            problem = "has more than one relation" if len(positions) > 1 else "has no relation"
            raise CostcalcError(f"the question {text!r} {problem}: use one of {', '.join(COMPARISONS)}, {_EXAMPLE}")
        left, relation, right = match[1].split(), match[2], match[3].split()
    return _check_units(
        Question(_parse_operand(left, text), find_comparison(relation) or relation, _parse_operand(right, text))
    )


def _parse_operand(words: list[str], question: str) -> Operand:
    if not words:
        raise CostcalcError(f"the question {question!r} has only one side: write a question {_EXAMPLE}")
    written = " ".join(words)
    if words[0] in METRICS:
        options: dict[str, str] = {}
        rest = words[1:]
        while rest:
            if rest[0] not in ("at", "of") or len(rest) < 2 or rest[0] in options:
                message = f"{written!r} is not a side of a question: write {words[0]} [at LAYER] [of TARGET]"
                raise CostcalcError(message)
            options[rest[0]], rest = rest[1], rest[2:]
        return Operand(written, words[0], options.get("at"), options.get("of"))
    if not words[0][0].isdigit():
        known = ", ".join(METRICS)
        raise CostcalcError(
            f"no quantity {words[0]!r}{did_you_mean(words[0], METRICS)}: there are {known}, and numbers"
        )
    number = read_number(written)
    unit = find_unit(number.unit) if number else None
    if number is None or unit is None or unit.kind == "ratio":
        raise CostcalcError(f"{written!r} is not a number: write a number such as 4G, 1.5k, 20,000 or 512MiB")
    return Operand(written, None, number=number.value * unit.scale, written=number)


def _check_units(question: Question) -> Question:
    """Return the question unchanged. Raises CostcalcError if its sides have different units."""
    sides = (question.left, question.right)
    if all(side.metric is None for side in sides):
        raise CostcalcError(f"the question '{question}' compares two numbers: one side must be a quantity")
    kinds = [METRICS[side.metric].unit if side.metric else None for side in sides]
    for side, other in ((0, 1), (1, 0)):
        number = sides[side].written
        if number is None:
            continue
        if kinds[other] == "bytes":
            try:
                check_byte_unit(number)
            except CostcalcError as error:
                raise CostcalcError(f"'{question}': {error}") from None
        elif getattr(find_unit(number.unit), "kind", None) == "bytes":
            raise CostcalcError(f"{sides[other].metric} is a count, and {sides[side].text} is in bytes")
    if set(kinds) == {"count", "bytes"}:
        count, size = sorted((s.metric or "" for s in sides), key=lambda metric: METRICS[metric].unit, reverse=True)
        raise CostcalcError(f"{count} is a count, and {size} is in bytes: they cannot be compared")
    return question
