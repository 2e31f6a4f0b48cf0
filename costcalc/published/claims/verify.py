"""Verification of claims: the exact value of each, and the verdict on the published number."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

from costcalc.core.comparisons import COMPARISONS
from costcalc.core.errors import did_you_mean
from costcalc.core.written_numbers import UNITS, WrittenNumber
from costcalc.frontends.spec import SpecError
from costcalc.frontends.spec.document import Diagnostic, Location, YamlMapping, YamlNode, YamlScalar, YamlSequence
from costcalc.frontends.spec.expression import LocatedError
from costcalc.frontends.spec.items import MAX_MISTAKES, line_after
from costcalc.published.claims.claims_file import (
    CASE_FIELDS,
    COMPARISON_FIELDS,
    RATIO_FIELDS,
    SELECTION_FIELDS,
    SUM_FIELDS,
    Claim,
    ClaimFields,
    inherit_fields,
    unknown_field_message,
)
from costcalc.published.claims.evaluator import AnalysisCache, Evaluator, quantity_of
from costcalc.published.claims.sources import Choice
from costcalc.published.claims.verdict import (
    CORRECT_VERDICTS,
    VERDICTS,
    ExactValue,
    Finding,
    MultipleValues,
    approximate_or_wrong,
    judge,
    parse_shape,
    read_claimed_number,
    unknown_unit_message,
    worst_finding,
)
from costcalc.published.claims.wrong_numbers import explain_wrong_number

_OPERAND_FIELDS = (*SELECTION_FIELDS, *SUM_FIELDS, *RATIO_FIELDS)
_OVERRIDE_FIELDS = (*_OPERAND_FIELDS, *COMPARISON_FIELDS, "each")


class ClaimResult(NamedTuple):
    """A verified claim."""

    claim: Claim
    source: str
    published: str  # as printed, without the unit
    unit: str
    verdict: str
    expected: tuple[str, ...]  # the verdicts that the file allows; empty: any
    unexpected: str = ""  # what differs from the file's expectation
    explanation: str = ""

    # Empty for a claim that is not a cost
    network: str = ""
    quantity: str = ""
    convention: str = ""
    batch: int = 1
    exact: ExactValue | MultipleValues | None = None  # in base units, or in percent where percent is printed
    error: Fraction | None = None  # signed relative error of a number that is approximate or wrong
    reproduced: ExactValue | MultipleValues | None = None  # value of the count that explains a wrong number


class _Outcome(NamedTuple):
    """The exact value of one reading of a claim, and the finding on the published number."""

    exact: ExactValue | MultipleValues
    finding: Finding

    @property
    def correct(self) -> bool:
        """Whether the published number follows from the exact value."""
        return self.finding.verdict in CORRECT_VERDICTS


def verify(choices: Iterable[Choice]) -> list[ClaimResult]:
    """Verify the selected claims, in the order of their files. Raises SpecError with every mistake of a file."""
    shared = AnalysisCache({}, {})
    return [each for choice in choices for each in _verify(choice, shared)]


def _verify(choice: Choice, shared: AnalysisCache) -> list[ClaimResult]:
    file, ids = choice
    evaluator = Evaluator(file.networks, os.path.dirname(file.file), shared)
    verified, problems = [], list(file.problems)
    for claim in file.claims:
        if ids is not None and claim.id not in ids:
            continue
        try:
            verified.append(_Verifier(evaluator, claim).result(file.name))
        except LocatedError as fault:
            location, message = fault.diagnostic
            if location or not file.problems:  # a missing field may be a misspelt one, which is reported already
                problems.append(Diagnostic(location or claim.location, message))
        except SpecError as error:
            problems += error.problems
        if len(problems) > MAX_MISTAKES:
            problems.append(
                Diagnostic(line_after(claim.location), f"more than {MAX_MISTAKES} mistakes: nothing below is read")
            )
            break
    if problems:
        raise SpecError(file.file, file.text, problems)
    return verified


class _Verifier:
    """Verifies one claim."""

    def __init__(self, evaluator: Evaluator, claim: Claim) -> None:
        self.evaluator, self.claim, self.fields = evaluator, claim, claim.fields
        self.printed, self.unit = self._parse_published()

    def result(self, source: str) -> ClaimResult:
        fields, expected = self.fields, tuple(self._expected_verdicts("verdict"))
        if "not_a_cost" in fields:
            why = self._text_field("not_a_cost")
            result = ClaimResult(self.claim, source, *self._published_text(), "not-a-cost", expected, explanation=why)
            return self._check_expected_verdict(result)
        outcome = self._outcome(fields)
        verdict, error = outcome.finding
        explanation = self._text_field("why")
        if "rule" in fields:
            explanation = ": ".join(filter(None, (self._text_field("rule"), explanation)))
            verdict, error = ("conditional", None) if self._conditional(outcome) else (verdict, error)
        elif "holds_for" in fields or "fails_for" in fields:
            location = (fields.get("holds_for") or fields["fails_for"]).location
            raise LocatedError(location, "holds_for and fails_for need a rule: add `rule:` with the condition")
        if verdict == "wrong" and not explanation and self.printed is not None and "reproduced_by" not in fields:
            explanation = explain_wrong_number(
                self.evaluator, fields, self.printed, self._effective_unit(self.printed, self.claim.published)[0]
            )
        again = [self._outcome(case) for case in self._cases("reproduced_by")]
        costs = self.evaluator.costs(next(self._instances(fields)))
        result = ClaimResult(
            self.claim,
            source,
            *self._published_text(),
            verdict,
            expected,
            explanation=explanation,
            network=costs.name,
            quantity=self._text_field("quantity"),
            convention=costs.convention,
            batch=costs.batch,
            exact=self._in_printed_unit(outcome.exact),
            error=error,
            reproduced=self._in_printed_unit(again[0].exact) if again else None,
        )
        if not all(outcome.correct for outcome in again):
            return result._replace(unexpected="reproduced_by does not give the published number")
        return self._check_expected_verdict(result)

    def _check_expected_verdict(self, result: ClaimResult) -> ClaimResult:
        if not result.expected or result.verdict in result.expected:
            return result
        return result._replace(unexpected=f"{result.verdict}, not {' or '.join(result.expected)}")

    # -- outcomes -------------------------------------------------------------------------------------------------

    def _conditional(self, outcome: _Outcome) -> bool:
        """Return whether the claim is right in the cases of holds_for and wrong in those of fails_for."""
        right, wrong = (
            [self._outcome(case).correct for case in self._cases(name)] for name in ("holds_for", "fails_for")
        )
        if not right and not wrong:
            raise LocatedError(self.fields["rule"].location, "a rule needs examples: add holds_for and fails_for")
        outcomes = {outcome.correct, *right, *wrong}
        return all(right) and not any(wrong) and len(outcomes) == 2

    def _cases(self, name: str) -> Iterator[ClaimFields]:
        for case in _as_list(self.fields.get(name)):
            if not isinstance(case, YamlMapping):
                raise LocatedError(
                    case.location, f"{name} must be a mapping of the fields that differ, or a list of such mappings"
                )
            yield self._override_fields(self.fields, case)

    def _override_fields(
        self, fields: ClaimFields, case: YamlMapping, known: tuple[str, ...] = _OVERRIDE_FIELDS
    ) -> dict[str, YamlNode]:
        for key, _ in case.entries:
            if key.text not in known:
                raise LocatedError(key.location, unknown_field_message(key.text, known))
        base = {name: value for name, value in fields.items() if name not in CASE_FIELDS and name != "rule"}
        return inherit_fields(base, case)

    def _outcome(self, fields: ClaimFields) -> _Outcome:
        cases = list(self._instances(fields))
        values = [self.evaluator.value(case) for case in cases]
        readings = [name for name in COMPARISON_FIELDS if name in fields]
        findings: list[Finding] = []
        for name in readings:
            location = fields[name].location
            if name != "equals" and any(isinstance(value, tuple) for value in values):
                raise LocatedError(location, f"{name} compares numbers, and the quantity is a shape: use equals")
            for reading in _as_list(fields[name]):
                if isinstance(reading, YamlMapping):
                    others = [
                        self.evaluator.value(self._override_fields(case, reading, _OPERAND_FIELDS)) for case in cases
                    ]
                    if name != "equals" and any(isinstance(other, tuple) for other in others):
                        raise LocatedError(reading.location, f"{name} compares numbers, not shapes")
                    findings += [_compare_values(name, *pair) for pair in zip(values, others, strict=True)]
                else:
                    findings += self._compare_with_printed(name, reading, values, fields)
        if not readings:
            findings = self._compare_with_printed("equals", self.claim.published, values, fields)
        distinct = tuple(dict.fromkeys(values))
        return _Outcome(distinct[0] if len(distinct) == 1 else MultipleValues(tuple(values)), worst_finding(findings))

    def _instances(self, fields: ClaimFields) -> Iterator[ClaimFields]:
        """Yield the fields of every instance of the claim: one, unless it has `each`."""
        value = fields.get("each")
        if value is None:
            yield fields
            return
        if not isinstance(value, YamlSequence) or not value.items:
            raise LocatedError(value.location, "each must be a list of layers, or of mappings of fields that differ")
        base = {name: field for name, field in fields.items() if name != "each"}
        for item in value.items:
            yield (
                self._override_fields(base, item, _OPERAND_FIELDS)
                if isinstance(item, YamlMapping)
                else {**base, "layers": item}
            )

    def _compare_with_printed(
        self, name: str, reading: YamlNode, values: list[ExactValue], fields: ClaimFields
    ) -> list[Finding]:
        """Compare values with printed numbers or shapes: one for all values, or one for each, separated by slashes."""
        if not isinstance(reading, YamlScalar):
            raise LocatedError(
                reading.location, f"{name} must be a printed number or shape, or a mapping of the fields that differ"
            )
        parts = reading.text.split(" / ")
        if len(parts) not in (1, len(values)):
            raise LocatedError(
                reading.location,
                f"{len(parts)} numbers for {len(values)} value{'s' * (len(values) > 1)}",
            )
        findings = []
        for part, value in zip(parts * (len(values) // len(parts)), values, strict=True):
            if isinstance(value, tuple):
                shape = parse_shape(part)
                if shape is None or name != "equals":
                    raise LocatedError(
                        reading.location, f"{part!r} is no shape: write height, width and channels, such as 35x35x288"
                    )
                findings.append(Finding("exact" if shape == value else "wrong"))
                continue
            number = read_claimed_number(part)
            if number is None:
                message = f"{part!r} is no number: add its meaning with equals, above or below"
                raise LocatedError(
                    reading.location, message if reading is self.claim.published else f"{part!r} is no number"
                )
            scale = self._scale_of(number, fields, reading)
            if reading is self.claim.published:
                findings.append(judge(number, scale, value))
            else:
                findings.append(_compare_values(name, value, number.value * scale))
        return findings

    # -- the published number ------------------------------------------------------------------------------------------

    def _parse_published(self) -> tuple[WrittenNumber | None, str]:
        """Parse the published number. Returns None for a phrase, and the unit as printed."""
        if any(name in self.fields for name in COMPARISON_FIELDS) or "not_a_cost" in self.fields:
            return None, ""
        number = read_claimed_number(self.claim.published.text)
        return number, (number.unit if number and number.unit else self._text_field("unit"))

    def _published_text(self) -> tuple[str, str]:
        text = self.claim.published.text
        return (text, "") if self.printed is None else (text.removesuffix(self.printed.unit).strip(), self.unit)

    def _in_printed_unit(self, exact: ExactValue | MultipleValues) -> ExactValue | MultipleValues:
        if isinstance(exact, MultipleValues):
            return MultipleValues(tuple([self._in_percent(value) for value in exact.values]))
        return self._in_percent(exact)

    def _in_percent(self, exact: ExactValue) -> ExactValue:
        return exact * 100 if self.unit == "%" and not isinstance(exact, tuple) else exact

    def _scale_of(self, number: WrittenNumber, fields: ClaimFields, printed: YamlScalar) -> Fraction:
        """Return the scale of a number's unit. Raises LocatedError for a unit that does not fit the quantity."""
        name, location = self._effective_unit(number, printed)
        kind = "ratio" if any(relation in fields for relation in RATIO_FIELDS) else quantity_of(fields).kind
        if not name:
            return Fraction(1)
        if name not in UNITS:
            raise LocatedError(location, unknown_unit_message(name))
        unit = UNITS[name]
        if unit.kind != kind:
            nouns = {"count": "a count", "bytes": "bytes", "ratio": "a ratio", "shape": "a shape"}
            quantity = "a relation such as over" if kind == "ratio" else f"quantity {self._text_field('quantity')}"
            raise LocatedError(location, f"{name} is a unit of {nouns[unit.kind]}, and {quantity} is {nouns[kind]}")
        return unit.scale

    def _effective_unit(self, number: WrittenNumber, printed: YamlScalar) -> tuple[str, Location]:
        """Return the unit that the source means by a printed unit, and the location of that unit in the file."""
        name, location = number.unit, printed.location
        if not name and printed is self.claim.published:
            name = self._text_field("unit")
            location = self.fields["unit"].location if name else location
        meant = self.fields.get("units")
        if meant is not None and not isinstance(meant, YamlMapping):
            raise LocatedError(
                meant.location, "units must be a mapping of printed units to their meanings, such as {MB: MiB}"
            )
        own = meant.get(name) if meant else None
        return (name, location) if own is None else (getattr(own, "text", ""), own.location)

    def _text_field(self, name: str) -> str:
        value = self.fields.get(name)
        if value is None:
            return ""
        if not isinstance(value, YamlScalar) or not value.text:
            raise LocatedError(value.location, f"{name} must be text")
        return " ".join(value.text.split())

    def _expected_verdicts(self, name: str) -> Iterator[str]:
        for word in _as_list(self.fields.get(name)):
            text = getattr(word, "text", "")
            if text not in VERDICTS:
                near = did_you_mean(text, VERDICTS)
                raise LocatedError(word.location, f"no verdict {text!r}{near}: there are {', '.join(VERDICTS)}")
            yield text


def _as_list(value: YamlNode | None) -> Sequence[YamlNode]:
    """Return the items of a list, or a single value as a list of one."""
    return value.items if isinstance(value, YamlSequence) else () if value is None else (value,)


def _compare_values(name: str, value: ExactValue, other: ExactValue) -> Finding:
    """Return the finding on a phrase: that a value equals another one, or is above or below it.

    A phrase such as "doubles" has no decimals to round to.
    """
    if name == "equals":
        if value == other or isinstance(value, tuple) or isinstance(other, tuple):
            return Finding("exact" if value == other else "wrong")
        return approximate_or_wrong(Fraction(other), Fraction(value))
    assert not isinstance(value, tuple)
    assert not isinstance(other, tuple)
    return Finding("exact" if COMPARISONS[">" if name == "above" else "<"](value, other) else "wrong")
