"""JSON: the data of a document, with exact integers."""

from __future__ import annotations

import json

from costcalc.report.document import Document, is_exact_number


def render(document: Document) -> str:
    """Format the data of a document as JSON."""
    return json.dumps(document.data, indent=2, ensure_ascii=False, default=_json_default) + "\n"


def _json_default(value: object) -> float | list[int] | str:
    """Return a fraction as a float, an array of sizes as a list, and any other value as text."""
    if is_exact_number(value):
        return float(value)
    return value.tolist() if hasattr(value, "tolist") else str(value)
