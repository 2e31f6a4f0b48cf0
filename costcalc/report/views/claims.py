"""Published numbers beside the exact ones, with a verdict on each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from costcalc.published.claims import VERDICTS, MultipleValues
from costcalc.report.document import Cells, CellValue, Column, ColumnKind, Document, JsonObject, Table
from costcalc.report.schemas import document_data

if TYPE_CHECKING:
    from costcalc.published.claims import ClaimResult
    from costcalc.published.claims.verdict import ExactValue

_UNITS_NOTE = "Exact values are elements, operations, bytes and pixels, and percent where percent is printed."


def claims_view(verified: Sequence[ClaimResult], only: Iterable[str], titles: Mapping[str, str]) -> Document:
    """Return claims by source and section, then the number of claims of each source by verdict.

    `only` limits the claims shown to these verdicts; `unexpected` is any verdict that the claims file does not expect.
    `titles` are the full names of the sources that are verified as a whole; without any, all claims are in one table.
    """
    wanted = set(only)
    shown = [
        each
        for each in verified
        if not wanted or each.verdict in wanted or (each.unexpected and "unexpected" in wanted)
    ]
    data = document_data(
        "claims",
        claims=[_claim_data(each) for each in shown],
        summary={
            source: {verdict: counts[verdict] for verdict in VERDICTS}
            for source, counts in _count_verdicts(verified).items()
        },
    )
    if not titles:
        table = _claims_table(_number_of_claims(shown), shown)
        return Document((table._replace(notes=(*table.notes, _UNITS_NOTE)),), data)
    sections: dict[tuple[str, str], list[ClaimResult]] = {}
    for each in shown:
        sections.setdefault((each.source, each.claim.section), []).append(each)
    tables = [_claims_table(_section_title(*section), rows) for section, rows in sections.items()]
    return Document((*tables, _summary_table(verified, titles)), data)


def _number_of_claims(claims: Sequence[ClaimResult]) -> str:
    return f"{len(claims):,} claim{'s' * (len(claims) != 1)}"


def _section_title(source: str, section: str) -> str:
    return f"{source}: {section}" if section else source


def _claims_table(title: str, claims: Sequence[ClaimResult]) -> Table:
    has_phrases = any(" " in each.published and not each.unit for each in claims)
    has_explanations = any(each.explanation for each in claims)
    has_errors = any(each.error is not None for each in claims)
    published_kind: ColumnKind = "text" if has_phrases else "exact"
    columns = (
        Column("claim", "id"),
        Column("published", "published", published_kind),
        Column("exact", "exact", "exact"),
        Column("verdict", "verdict"),
        *([Column("off by", "error", "exact")] if has_errors else []),
        *([Column("why", "explanation")] if has_explanations else []),
    )
    rows: list[Cells] = []
    for each in claims:
        exact = "" if each.exact is None else _display_value(each.exact)
        cells: list[CellValue] = [each.claim.id, _published_text(each), exact, each.verdict]
        if has_errors:
            cells.append(_percent(each.error))
        if has_explanations:
            cells.append(each.explanation)
        rows.append(tuple(cells))
    notes = tuple(f"{each.claim.id} is not as its file says: {each.unexpected}." for each in claims if each.unexpected)
    return Table(title=title, columns=columns, rows=tuple(rows), notes=notes)


def _summary_table(verified: Sequence[ClaimResult], titles: Mapping[str, str]) -> Table:
    columns = (
        Column("source", "source"),
        Column("claims", "claims", "exact"),
        *(Column(_verdict_title(verdict), verdict, "exact") for verdict in VERDICTS),
    )
    by_source = _count_verdicts(verified)
    counts: list[tuple[int, ...]] = [
        (sum(each.values()), *(each[verdict] for verdict in VERDICTS)) for each in by_source.values()
    ]
    rows: tuple[Cells, ...] = tuple((source, *each) for source, each in zip(by_source, counts, strict=True))
    total = ("total", *(sum(column) for column in zip(*counts, strict=True)))
    notes = [_UNITS_NOTE]
    if len(rows) == 1:
        notes += [f"{source}: {titles[source]}." for source in by_source if source in titles]
    expected = sum(bool(each.expected) for each in verified)
    if expected:
        unexpected = sum(bool(each.unexpected) for each in verified)
        subject = f"{expected - unexpected:,} of {expected:,} verdicts are" if unexpected else "Every verdict is"
        notes.append(f"{subject} the one that its file expects.")
    return Table(
        title=f"{_number_of_claims(verified)} by verdict",
        columns=columns,
        rows=rows,
        footer=(total,) if len(rows) > 1 else (),
        notes=tuple(notes),
    )


def _verdict_title(verdict: str) -> str:
    return "not a\ncost" if verdict == "not-a-cost" else verdict


def _count_verdicts(verified: Iterable[ClaimResult]) -> dict[str, Counter[str]]:
    """Return the number of claims by source and verdict."""
    counts: dict[str, Counter[str]] = {}
    for each in verified:
        counts.setdefault(each.source, Counter())[each.verdict] += 1
    return counts


def _claim_data(each: ClaimResult) -> JsonObject:
    return {
        "id": each.claim.id,
        "source": each.source,
        "where": each.claim.where,
        "network": each.network,
        "quantity": each.quantity,
        "convention": each.convention,
        "batch": each.batch,
        "published": each.published,
        "unit": each.unit,
        "exact": _display_value(each.exact),
        "verdict": each.verdict,
        "error": None if each.error is None else float(each.error),
        "explanation": each.explanation or None,
        "reproduced": _display_value(each.reproduced),
        "expected": list(each.expected),
        "unexpected": each.unexpected or None,
    }


def _published_text(each: ClaimResult) -> str:
    return f"{each.published} {each.unit}" if each.unit else each.published


def _display_value(exact: ExactValue | MultipleValues | None) -> int | float | str | None:
    """Return an int, a quotient as a float, or text: a shape as `3x224x224`, several values separated by slashes."""
    if isinstance(exact, MultipleValues):
        return " / ".join(str(_display_value(value)) for value in exact.values)
    if isinstance(exact, tuple):
        return "x".join(map(str, exact))
    if isinstance(exact, Fraction):
        return exact.numerator if exact.denominator == 1 else float(exact)
    return exact


def _percent(error: Fraction | None) -> str:
    return "" if error is None else f"{float(100 * error):+.1f} %"
