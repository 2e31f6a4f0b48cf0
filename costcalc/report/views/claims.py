"""Verified claims as a document: what was printed beside what is true."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from costcalc.published.claims import VERDICTS, ClaimResult, MultipleValues
from costcalc.report.document import Column, Document, Kind, Table

_UNITS = "Exact values are elements, operations, bytes and pixels, and percent where percent is printed."


def claims(verified: Sequence[ClaimResult], only: Iterable[str], titles: Mapping[str, str]) -> Document:
    """Every claim in the table or slide that it stands in, and how many of each verdict every source has.

    `only` are the verdicts to show, `unexpected` standing for whatever its file does not expect (nothing: all);
    `titles` are the full names of the sources that are verified as a whole: where there are none, the claims were
    picked one by one, and stand in one table. How many there are is said of all claims, shown or not.
    """
    wanted = set(only)
    shown = [c for c in verified if not wanted or c.verdict in wanted or (c.unexpected and "unexpected" in wanted)]
    if not titles:
        title = f"{len(shown)} claim{'s' * (len(shown) != 1)}"
        table = _table(title, shown)
        return Document((table._replace(notes=(*table.notes, _UNITS)),), _data(shown, verified))
    sections: dict[tuple[str, str], list[ClaimResult]] = {}
    for each in shown:
        sections.setdefault((each.source, each.claim.section), []).append(each)
    tables = [_table(_titled(*section), rows) for section, rows in sections.items()]
    return Document((*tables, _summary(verified, titles)), _data(shown, verified))


def _titled(source: str, section: str) -> str:
    return f"{source}: {section}" if section else source


def _table(title: str, rows: Sequence[ClaimResult]) -> Table:
    phrases = any(" " in each.published and not each.unit for each in rows)
    explained = any(each.explanation for each in rows)
    off = any(each.error is not None for each in rows)
    printed: Kind = "text" if phrases else "exact"
    columns = [
        Column("claim", "id"),
        Column("published", "published", printed),
        Column("exact", "exact", "exact"),
        Column("verdict", "verdict"),
        *([Column("off by", "error", "exact")] if off else []),
        *([Column("why", "explanation")] if explained else []),
    ]
    cells = []
    for each in rows:
        row = [each.claim.id, _published(each), "" if each.exact is None else _value(each.exact), each.verdict]
        row += [_percent(each.error)] if off else []
        cells.append((*row, *([each.explanation] if explained else [])))
    surprises = [f"{each.claim.id} is not as its file says: {each.unexpected}." for each in rows if each.unexpected]
    return Table(title, tuple(columns), tuple(cells), (), tuple(surprises))


def _summary(verified: Sequence[ClaimResult], titles: Mapping[str, str]) -> Table:
    counts = _counts(verified)
    columns = (
        Column("source", "source"),
        Column("claims", "claims", "exact"),
        *(Column(_headed(verdict), verdict, "exact") for verdict in VERDICTS),
    )
    rows = [
        (source, sum(found.values()), *(found[verdict] for verdict in VERDICTS)) for source, found in counts.items()
    ]
    total = ("total", *(sum(column) for column in zip(*(row[1:] for row in rows), strict=True)))
    surprising = sum(bool(each.unexpected) for each in verified)
    notes = [_UNITS]
    notes += [f"{source}: {titles[source]}." for source in counts if source in titles] if len(rows) == 1 else []
    said = sum(bool(each.expected) for each in verified)
    if said:
        agree = "Every verdict is" if not surprising else f"{said - surprising:,} of {said:,} verdicts are"
        notes.append(f"{agree} the one that its file expects.")
    title = f"{len(verified):,} claim{'s' * (len(verified) != 1)} by verdict"
    return Table(title, columns, tuple(rows), (total,) if len(rows) > 1 else (), tuple(notes))


def _headed(verdict: str) -> str:
    return "not a\ncost" if verdict == "not-a-cost" else verdict


def _counts(verified: Iterable[ClaimResult]) -> dict[str, Counter[str]]:
    counts: dict[str, Counter[str]] = {}
    for each in verified:
        counts.setdefault(each.source, Counter())[each.verdict] += 1
    return counts


def _data(shown: Iterable[ClaimResult], verified: Iterable[ClaimResult]) -> dict[str, Any]:
    return {
        "schema": "costcalc/claims/1",
        "claims": [
            {
                "id": each.claim.id,
                "source": each.source,
                "where": each.claim.where,
                "network": each.network,
                "quantity": each.quantity,
                "convention": each.convention,
                "batch": each.batch,
                "published": each.published,
                "unit": each.unit,
                "exact": _value(each.exact),
                "verdict": each.verdict,
                "error": None if each.error is None else float(each.error),
                "explanation": each.explanation or None,
                "reproduced": _value(each.reproduced),
                "expected": list(each.expected),
                "unexpected": each.unexpected or None,
            }
            for each in shown
        ],
        "summary": {
            source: {verdict: found[verdict] for verdict in VERDICTS} for source, found in _counts(verified).items()
        },
    }


def _published(each: ClaimResult) -> str:
    return f"{each.published} {each.unit}" if each.unit else each.published


def _value(exact: Any) -> Any:
    """An int, a quotient as a float, or text: a shape as papers print it, several values between slashes."""
    if isinstance(exact, MultipleValues):
        return " / ".join(str(_value(value)) for value in exact.values)
    if isinstance(exact, tuple):
        return "x".join(map(str, exact))
    if isinstance(exact, Fraction):
        return exact.numerator if exact.denominator == 1 else float(exact)
    return exact


def _percent(error: Fraction | None) -> str:
    return "" if error is None else f"{float(100 * error):+.1f} %"
