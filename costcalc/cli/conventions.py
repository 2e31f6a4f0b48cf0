"""`costcalc conventions`: what lectures, papers and tools count."""

from __future__ import annotations

import click

from costcalc.cli.options import output_options
from costcalc.cli.printing import print_document


@click.command("conventions")
@click.argument("name", required=False)
@output_options
def command(name: str | None, output_format: str, output: str | None) -> None:
    """Print what lectures, papers and tools count.

    With NAME, prints the terms that this convention adds up.

    \b
    Example:
      costcalc conventions ptflops
    """
    from costcalc.analysis.conventions import CONVENTIONS, get_convention
    from costcalc.report.views.conventions import conventions_view

    conventions = [get_convention(name)] if name else list(CONVENTIONS.values())
    print_document(conventions_view(conventions), output_format, output)
