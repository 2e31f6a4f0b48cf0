"""`costcalc residual`: residual blocks and their shortcuts."""

from __future__ import annotations

from typing import Any

import click

from costcalc.cli.building_blocks import design_options, input_options, print_designs, read_sizes


@click.command("residual")
@click.option(
    "--ratio",
    type=int,
    default=4,
    show_default=True,
    metavar="R",
    help="Factor by which a bottleneck reduces channels.",
)
@input_options(256, 56)
@design_options
def command(ratio: int, channels: str, size: str, batch: str, **options: Any) -> None:
    """Compare residual blocks and their shortcuts.

    The blocks are bottleneck and basic; the shortcuts are options A, B and C of He et al.

    \b
    Examples:
      costcalc residual --channels 256 --size 56
      costcalc residual --symbolic
    """
    from costcalc.exploration.building_blocks import residual

    sizes = read_sizes(channels=channels, size=size, batch=batch)
    multiples = {"channels": ratio, "height": 2, "width": 2}
    print_designs("residual", residual, sizes, {"ratio": ratio}, multiples, **options)
