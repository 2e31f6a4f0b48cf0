"""`costcalc head`: a fully connected head against global average pooling."""

from __future__ import annotations

from typing import Any

import click

from costcalc.cli.building_blocks import design_options, input_options, print_designs, read_sizes
from costcalc.core.written_sizes import read_positive


@click.command("head")
@click.option("--classes", default="1000", show_default=True, metavar="K", help="Number of classes.")
@click.option("--hidden", metavar="F,F,…", help="Features of the hidden layers of the fully connected head: 4096,4096.")
@input_options(1024, 7)
@design_options
def command(classes: str, hidden: str | None, channels: str, size: str, batch: str, **options: Any) -> None:
    """Compare a fully connected head with global average pooling.

    The default sizes are those of GoogLeNet.

    \b
    Examples:
      costcalc head
      costcalc head --channels 512 --hidden 4096,4096
    """
    from costcalc.exploration.building_blocks import head

    sizes = read_sizes(channels=channels, size=size, batch=batch)
    sizes["classes"] = read_positive(classes, "--classes", "1000")
    if hidden is not None:
        sizes["hidden"] = [read_positive(each, "--hidden", "4096,4096") for each in hidden.split(",")]
    print_designs("head", lambda **arguments: (head(**arguments),), sizes, {}, **options)
