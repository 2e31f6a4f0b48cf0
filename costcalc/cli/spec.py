"""`costcalc spec`: the YAML of an architecture."""

from __future__ import annotations

import click

from costcalc.cli.printing import write


@click.command("spec")
@click.argument("name")
@click.option("-o", "--output", type=click.Path(), metavar="FILE", help="Write to FILE.")
def command(name: str, output: str | None) -> None:
    """Print the YAML of an architecture that ships with costcalc, to copy and change.

    \b
    Example:
      costcalc spec vgg16 -o mine.yaml && costcalc report mine.yaml
    """
    from costcalc.frontends.spec import shipped_source

    write(shipped_source(name), output)
