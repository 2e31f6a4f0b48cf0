"""Printing documents, notes and error messages."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

import click

from costcalc.core.errors import CostcalcError

if TYPE_CHECKING:
    from costcalc.report.document import Document

_printed_notes: set[str] = set()


def print_document(document: Document, output_format: str, output: str | None) -> None:
    """Write a document in a format of `costcalc.report.render` to a file, or to standard output."""
    from costcalc.report.render import render

    write(render(document, output_format), output)


def write(text: str, output: str | None) -> None:
    """Write text to a file, or to standard output. Raises CostcalcError where it cannot be written."""
    if output is None:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:  # handled by `main`
            raise
        except OSError as error:
            raise CostcalcError(f"cannot write the output: {error.strerror}") from None
        return
    try:
        with open(output, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise CostcalcError(f"{output}: cannot write the file: {error.strerror}") from None


def print_note(message: str) -> None:
    """Print a note to standard error, once for each message."""
    if message not in _printed_notes:
        _printed_notes.add(message)
        click.echo(f"costcalc: {message}", err=True)


def fail(message: str) -> NoReturn:
    """Print an error message and exit with 1."""
    sys.stdout.flush()
    click.echo(f"costcalc: {message}", err=True)
    sys.exit(1)


def uncounted_message(layers: int) -> str:
    """Return the error message of --strict."""
    return f"{layers} layer{'s' * (layers > 1)} could not be counted (--strict)"
