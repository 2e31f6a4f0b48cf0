"""Printing a document, and failing in words."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

import click

from costcalc.core.errors import CostcalcError

if TYPE_CHECKING:
    from costcalc.report.document import Document

_printed_notes: set[str] = set()


def print_document(document: Document, output_format: str, output: str | None) -> None:
    """Write a document in one of the FORMATS."""
    from costcalc.report.render.render import render

    write(render(document, output_format), output)


def write(text: str, output: str | None) -> None:
    """Write to a file, or to the terminal. Raises CostcalcError where that cannot be."""
    if output is None:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:  # a reader that stops reading: see `main`
            raise
        except OSError as error:
            raise CostcalcError(f"the output cannot be written: {error.strerror}") from None
        return
    try:
        with open(output, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise CostcalcError(f"{output}: cannot be written: {error.strerror}") from None


def print_note(message: str) -> None:
    """Say something beside the output, once."""
    if message not in _printed_notes:
        _printed_notes.add(message)
        click.echo(f"costcalc: {message}", err=True)


def fail(message: str) -> NoReturn:
    """Say what is wrong, and exit with 1."""
    sys.stdout.flush()
    click.echo(f"costcalc: {message}", err=True)
    sys.exit(1)


def uncounted_message(layers: int) -> str:
    """What --strict fails with."""
    return f"{layers} layer{'s' * (layers > 1)} could not be counted (--strict)"
