"""The references of ops, of conventions and of design moves as documents."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from costcalc.analysis.conventions import Convention
from costcalc.report.document import Column, Document, Table

_ALWAYS = (
    "Every call also takes inputs='name' or inputs=['name', …], the layers it runs on in place of the one before it, "
    "and an op takes shares='name', the layer whose parameters it uses too, and functional=True where the reference "
    "implementation calls it as a function."
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


def conventions_reference(conventions: Sequence[Convention]) -> Document:
    """All conventions with their definitions, or a single one in full: the terms that its numbers are sums of."""
    data = {"schema": "costcalc/conventions/1", "conventions": [_convention_data(each) for each in conventions]}
    table = _all_conventions(conventions) if len(conventions) != 1 else _one_convention(*conventions)
    return Document((table,), data)


def _all_conventions(conventions: Sequence[Convention]) -> Table:
    columns = (Column("convention", "name"), Column("its number", "label"), Column("definition", "definition"))
    rows = tuple((each.name, each.label, each.definition) for each in conventions)
    notes = (
        "A number in quotation marks is the source's own word, where it means something else than here.",
        "`costcalc conventions NAME` prints the terms that its numbers are sums of.",
    )
    return Table(f"{len(conventions)} conventions", columns, rows, (), notes)


def _one_convention(each: Convention) -> Table:
    sums = {
        each.label: [term.description for term in each.work],
        "parameters": [term.description for term in each.parameters],
        "activations": [term.description for term in each.activations] + ["the input"] * each.includes_input,
    }
    rows = tuple((name if i == 0 else "", term) for name, terms in sums.items() for i, term in enumerate(terms))
    kept = f"Memory keeps activations × {each.activation_copies} and parameters × {each.param_copies}."
    notes = (each.definition, *([kept] if each.activation_copies > 1 or each.param_copies > 1 else []))
    return Table(each.name, (Column("number", "number"), Column("sum of", "term")), rows, (), notes)


def _convention_data(each: Convention) -> dict[str, Any]:
    return {
        "name": each.name,
        "label": each.label,
        "definition": each.definition,
        "flops": [term.description for term in each.work],
        "params": [term.description for term in each.parameters],
        "activations": [term.description for term in each.activations],
        "with_input": each.includes_input,
        "activation_copies": each.activation_copies,
        "param_copies": each.param_copies,
        "batch": each.batch,
        "kilo": each.kilo,
    }


def moves_reference(moves: Sequence[Any]) -> Document:
    """All design moves with what they do, or a single one with its rules; `moves` are `rewrites.Rule`s."""
    data = {
        "schema": "costcalc/moves/1",
        "moves": [
            {"name": move.name, "call": move.call, "same_function": move.same_function, "doc": move.doc}
            for move in moves
        ],
    }
    if len(moves) == 1:
        summary, _, details = moves[0].doc.partition("\n\n")
        keeps = "The network computes what it computed, once its weights are carried over." * moves[0].same_function
        rules = re.sub(r"\n(?!\d+\.)\s*", " ", details).split("\n")
        numbered = tuple(tuple(rule.split(". ", 1)) for rule in rules)
        parts = (Column("rule", "rule"), Column("what it does", "doc"))
        table = Table(f"{moves[0].call}\n{summary}", parts, numbered, (), (keeps,) if keeps else ())
        return Document((table,), data)
    columns = (Column("move", "move"), Column("same\nfunction", "same_function"), Column("what it does", "doc"))
    rows = tuple((move.call, "yes" if move.same_function else "", move.doc.split("\n")[0]) for move in moves)
    notes = ("`costcalc moves RULE` prints the rules of one of them.",)
    return Document((Table(f"{len(moves)} design moves", columns, rows, (), notes),), data)
