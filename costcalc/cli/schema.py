"""`costcalc schema`: the ops that a spec may call."""

from __future__ import annotations

import click

from costcalc.cli.options import output_options
from costcalc.cli.printing import print_document


@click.command("schema")
@click.argument("op", required=False)
@output_options
def command(op: str | None, output_format: str, output: str | None) -> None:
    """Print the ops that a spec may call, with their arguments.

    With OP, prints the documentation of that op.

    \b
    Example:
      costcalc schema conv2d
    """
    from costcalc.frontends.spec.reference import describe
    from costcalc.report.views.schema import schema_view

    print_document(schema_view(describe(op)), output_format, output)
