"""`costcalc receptive-field`: the part of the input that outputs depend on."""

from __future__ import annotations

from typing import Any

import click

from costcalc.cli.options import architecture_options, output_options
from costcalc.cli.printing import print_document
from costcalc.cli.target import read_target


@click.command("receptive-field")
@click.argument("target")
@click.argument("layer", required=False)
@architecture_options
@output_options
def command(target: str, layer: str | None, output_format: str, output: str | None, **target_options: Any) -> None:
    """Print the receptive field of each layer, and how much of the input it covers.

    LAYER is the path of a layer, or a prefix of paths for all layers below it. `costcalc field` is the same command.

    \b
    Examples:
      costcalc receptive-field vgg16
      costcalc receptive-field resnet50 layer4 --input 320x480
    """
    from costcalc.analysis.receptive_field import coverage
    from costcalc.report.views.receptive_field import receptive_field_view

    result = coverage(read_target(target, **target_options).graph(), layer)
    print_document(receptive_field_view(result, layer), output_format, output)
