"""`costcalc reconcile`: the ways of counting that give a published number."""

from __future__ import annotations

from typing import Any

import click

from costcalc.cli.options import network_options, output_options
from costcalc.cli.printing import fail, print_document
from costcalc.cli.target import read_target
from costcalc.published.reconcile.published_number import QUANTITIES, Quantity


@click.command("reconcile")
@click.argument("target")
@click.argument("value", nargs=-1, required=True, metavar="VALUE")
@click.option(
    "--of",
    "quantities",
    multiple=True,
    type=click.Choice([*QUANTITIES]),
    help="The quantity of the number; repeatable.  [default: all that its unit allows]",
)
@click.option("--at", "layer", metavar="LAYER", help="The layer, or prefix of paths, that the number is about.")
@click.option(
    "--top", type=click.IntRange(1), default=10, show_default=True, metavar="N", help="Number of explanations to print."
)
@network_options
@output_options
def command(
    target: str,
    value: tuple[str, ...],
    quantities: tuple[Quantity, ...],
    layer: str | None,
    top: int,
    output_format: str,
    output: str | None,
    **target_options: Any,
) -> None:
    """Print the ways of counting that give a published number.

    The most likely one is first; exits with 1 if there is none. VALUE is the number as it is printed: 3.8G,
    138M params, 4.09 GMACs, 96MB. Its digits determine its precision.

    \b
    Examples:
      costcalc reconcile resnet50 4.11G
      costcalc reconcile vgg16 24M activations
      costcalc reconcile googlenet 112K --of params --at stem/conv3
    """
    from costcalc.published.reconcile import reconcile
    from costcalc.report.views.reconcile import reconcile_view

    network = read_target(target, **target_options, convention="flops").require_no_moves("reconcile")
    number = " ".join(value)
    dtype = network.counting["dtype"]
    result = reconcile(network.name, number, network.options, of=quantities, at=layer, dtype=dtype)
    print_document(reconcile_view(result, top), output_format, output)
    if not result.explanations:
        subject = network.name if layer is None else f"{layer} of {network.name}"
        own = ", ".join(f"{each.value:,} {each.label}" for each in result.own_counts if "macs" in each.conventions)
        fail(f"no explanation of {number} for {subject}, which has {own}")
