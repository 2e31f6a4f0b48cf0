"""Conventions: what lectures, papers and tools count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from costcalc.report.document import Column, Document, JsonObject, Table
from costcalc.report.schemas import document_data

if TYPE_CHECKING:
    from costcalc.analysis.conventions import Convention


def conventions_view(conventions: Sequence[Convention]) -> Document:
    """Return all conventions with their definitions, or a single convention with the terms of its sums."""
    table = _terms_table(conventions[0]) if len(conventions) == 1 else _conventions_table(conventions)
    return Document((table,), document_data("conventions", conventions=[_data(each) for each in conventions]))


def _conventions_table(conventions: Sequence[Convention]) -> Table:
    columns = (Column("convention", "name"), Column("its number", "label"), Column("definition", "definition"))
    rows = tuple((each.name, each.label, each.definition) for each in conventions)
    notes = (
        "A number in quotation marks is the source's own word, where it means something else than here.",
        "`costcalc conventions NAME` prints the terms that its numbers are sums of.",
    )
    return Table(title=f"{len(conventions)} conventions", columns=columns, rows=rows, notes=notes)


def _terms_table(convention: Convention) -> Table:
    sums = {
        convention.label: [term.description for term in convention.work],
        "parameters": [term.description for term in convention.parameters],
        "activations": [
            *(term.description for term in convention.activations),
            *(["the input"] if convention.includes_input else []),
        ],
    }
    rows = tuple((name if i == 0 else "", term) for name, terms in sums.items() for i, term in enumerate(terms))
    notes = [convention.definition]
    if convention.activation_copies > 1 or convention.param_copies > 1:
        copies = f"activations × {convention.activation_copies} and parameters × {convention.param_copies}"
        notes.append(f"Memory is counted as {copies}.")
    columns = (Column("number", "number"), Column("sum of", "term"))
    return Table(title=convention.name, columns=columns, rows=rows, notes=tuple(notes))


def _data(convention: Convention) -> JsonObject:
    return {
        "name": convention.name,
        "label": convention.label,
        "definition": convention.definition,
        "flops": [term.description for term in convention.work],
        "params": [term.description for term in convention.parameters],
        "activations": [term.description for term in convention.activations],
        "with_input": convention.includes_input,
        "activation_copies": convention.activation_copies,
        "param_copies": convention.param_copies,
        "batch": convention.batch,
        "kilo": convention.kilo,
    }
