"""`costcalc stage`: a stack of small convolutions against a large one."""

from __future__ import annotations

from typing import Any

import click

from costcalc.cli.building_blocks import design_options, input_options, print_designs, read_sizes
from costcalc.core.written_sizes import read_positive


@click.command("stage")
@click.option("--convs", type=int, default=2, show_default=True, metavar="N", help="Number of convolutions.")
@click.option("--kernel", type=int, default=3, show_default=True, metavar="K", help="Their kernel size K×K, K odd.")
@click.option("--out-channels", metavar="C", help="Output channels of each convolution.  [default: as the input]")
@click.option("--no-bias", is_flag=True, help="Convolutions without bias.")
@input_options(64, 56)
@design_options
def command(
    convs: int,
    kernel: int,
    out_channels: str | None,
    no_bias: bool,
    channels: str,
    size: str,
    batch: str,
    **options: Any,
) -> None:
    """Compare small convolutions with one large convolution.

    The designs are a stage of small convolutions and one convolution of the same receptive field.

    \b
    Examples:
      costcalc stage --convs 2 --channels 64 --size 56
      costcalc stage --convs 3 --symbolic
    """
    from costcalc.exploration.building_blocks import stage

    sizes = read_sizes(channels=channels, size=size, batch=batch)
    if out_channels is not None:
        sizes["out_channels"] = read_positive(out_channels, "--out-channels")
    structure = {"convs": convs, "kernel": kernel, "bias": not no_bias}
    print_designs("stage", lambda **arguments: (stage(**arguments),), sizes, structure, **options)
