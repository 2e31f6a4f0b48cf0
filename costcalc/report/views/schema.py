"""The ops that a spec may call, with their arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from costcalc.report.document import Column, Document, JsonObject, Table
from costcalc.report.schemas import document_data


class _Argument(Protocol):
    """An argument of an op: its name, the values it takes, and its default, None for a required argument."""

    @property
    def name(self) -> str: ...
    @property
    def takes(self) -> str: ...
    @property
    def default(self) -> str | None: ...


class _Op(Protocol):
    """The documentation of an op: its name, its call with defaults, its arguments and its docstring."""

    @property
    def name(self) -> str: ...
    @property
    def call(self) -> str: ...
    @property
    def arguments(self) -> Sequence[_Argument]: ...
    @property
    def doc(self) -> str: ...


_COMMON_ARGUMENTS = (
    "Every call also takes inputs='name' or inputs=['name', …]: the layers it reads instead of the one before it. "
    "Every op takes shares='name', the layer whose parameters it shares, and functional=True where the reference "
    "implementation calls it as a function."
)


def schema_view(ops: Sequence[_Op]) -> Document:
    """Return all ops in one row each, or a single op with its arguments and documentation."""
    data = document_data(
        "schema",
        ops=[
            {"name": op.name, "doc": op.doc, "arguments": [_argument_data(each) for each in op.arguments]} for op in ops
        ],
    )
    table = _arguments_table(ops[0]) if len(ops) == 1 else _ops_table(ops)
    return Document((table,), data)


def _argument_data(argument: _Argument) -> JsonObject:
    return {"name": argument.name, "takes": argument.takes, "default": argument.default}


def _ops_table(ops: Sequence[_Op]) -> Table:
    columns = (Column("op", "op"), Column("arguments", "arguments"), Column("meaning", "meaning"))
    rows = tuple((op.name, op.call[len(op.name) + 1 : -1], op.doc.split("\n")[0]) for op in ops)
    return Table(title=f"{len(ops)} ops", columns=columns, rows=rows, notes=(_COMMON_ARGUMENTS,))


def _arguments_table(op: _Op) -> Table:
    columns = (Column("argument", "argument"), Column("takes", "takes"), Column("default", "default"))
    rows = tuple((a.name, a.takes, "required" if a.default is None else a.default) for a in op.arguments)
    notes = (*op.doc.split("\n"), "", _COMMON_ARGUMENTS)
    return Table(title=op.call, columns=columns, rows=rows, notes=notes)
