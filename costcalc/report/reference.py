"""The reference of ops as a document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from costcalc.report.table import Column, Document, Table

_ALWAYS = (
    "Every call also takes inputs='name' or inputs=['name', …], the layers it runs on in place of the one before it, "
    "and an op takes shares='name', the layer whose parameters it uses too."
)


def ops_reference(ops: Sequence[Any]) -> Document:
    """All ops as one table of calls, or a single op in full; `ops` are what `spec.reference.describe` gives."""
    data = {
        "schema": "costcalc/schema/1",
        "ops": [{"name": op.name, "doc": op.doc, "arguments": [a._asdict() for a in op.arguments]} for op in ops],
    }
    if len(ops) != 1:
        summary = (Column("op", "op"), Column("arguments", "arguments"), Column("meaning", "meaning"))
        meanings = tuple((op.name, op.call[len(op.name) + 1 : -1], op.doc.split("\n")[0]) for op in ops)
        return Document((Table(f"{len(ops)} ops", summary, meanings, (), (_ALWAYS,)),), data)
    (op,) = ops
    columns = (Column("argument", "argument"), Column("takes", "takes"), Column("default", "default"))
    rows = tuple((a.name, a.takes, "required" if a.default is None else a.default) for a in op.arguments)
    table = Table(op.call, columns, rows, (), (*op.doc.split("\n"), "", _ALWAYS))
    return Document((table,), data)
