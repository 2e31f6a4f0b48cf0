"""`costcalc list`: the architectures that ship with costcalc."""

from __future__ import annotations

import click

from costcalc.cli.options import output_options
from costcalc.cli.printing import print_document


@click.command("list")
@output_options
def command(output_format: str, output: str | None) -> None:
    """Print the architectures that ship with costcalc, with their main costs.

    \b
    Example:
      costcalc list
    """
    from costcalc.analysis.analyze import analyze
    from costcalc.frontends.spec import architectures
    from costcalc.report.views.list import list_view

    tables = (analyze(spec.build(name)) for name, spec in architectures().items())
    print_document(list_view(tables), output_format, output)
