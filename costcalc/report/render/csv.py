"""CSV: exact values under the keys of the columns, without totals, which a sum over the column would count twice."""

from __future__ import annotations

import csv
import io

from costcalc.report.document import CellValue, Document, Formula, LowerBound


def render(document: Document) -> str:
    """Format the tables of a document as CSV, separated by an empty line."""
    parts = []
    for table in document.tables():
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([column.key for column in table.columns])
        for row in table.rows:
            writer.writerow([_csv_value(cell) for cell in row])
        parts.append(out.getvalue())
    return "\n".join(parts)


def _csv_value(cell: CellValue) -> str:
    value = cell.value if isinstance(cell, LowerBound) else cell
    if isinstance(value, Formula):
        return value.python
    if value is None:
        return ""
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
