"""Commands that say what costcalc knows: conventions, schema, spec."""

from __future__ import annotations

import click

from costcalc.cli.options import output_options
from costcalc.cli.printing import print_document, write


@click.command()
@click.argument("name", required=False)
@output_options
def conventions(name: str | None, output_format: str, output: str | None) -> None:
    """Print what lectures, papers and tools count; with NAME, one convention and the terms of its sums.

    \b
    Example:
      costcalc conventions ptflops
    """
    from costcalc.analysis.conventions import CONVENTIONS, get_convention
    from costcalc.report.views.reference import conventions_reference

    chosen = [get_convention(name)] if name else list(CONVENTIONS.values())
    print_document(conventions_reference(chosen), output_format, output)


@click.command()
@click.argument("op", required=False)
@output_options
def schema(op: str | None, output_format: str, output: str | None) -> None:
    """Print the ops a spec may call, their arguments and defaults; with OP, one of them in full.

    \b
    Example:
      costcalc schema conv2d
    """
    from costcalc.frontends.spec.reference import describe
    from costcalc.report.views.reference import ops_reference

    print_document(ops_reference(describe(op)), output_format, output)


@click.command()
@click.argument("name")
@click.option("-o", "--output", type=click.Path(), metavar="FILE", help="Write to FILE.")
def spec(name: str, output: str | None) -> None:
    """Print the YAML that describes a shipped architecture, to copy and change.

    \b
    Example:
      costcalc spec vgg16 -o mine.yaml && costcalc report mine.yaml
    """
    from costcalc.frontends.spec import shipped_source

    write(shipped_source(name), output)
