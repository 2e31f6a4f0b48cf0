"""`costcalc compare`: several networks side by side."""

from __future__ import annotations

from typing import Any

import click

from costcalc.analysis.metrics import METRICS
from costcalc.cli.options import output_options, size_options
from costcalc.cli.printing import print_document
from costcalc.cli.target import read_target


@click.command("compare")
@click.argument("targets", nargs=-1, required=True, metavar="TARGET…")
@click.option(
    "--by",
    type=click.Choice(["stage", "op"]),
    default="stage",
    show_default=True,
    help="What a row stands for; stages are aligned by resolution.",
)
@click.option(
    "--metric", type=click.Choice([*METRICS]), default="memory", show_default=True, help="The metric to compare by row."
)
@size_options
@output_options
def command(
    targets: tuple[str, ...], by: str, metric: str, output_format: str, output: str | None, **target_options: Any
) -> None:
    """Print networks side by side: one metric by stage, and all metrics in total.

    \b
    Examples:
      costcalc compare vgg16 alexnet --by stage --metric memory
      costcalc compare resnet50 vgg16:batch=32,dtype=fp16 googlenet
    """
    from costcalc.report.views.compare import compare_view

    tables = [read_target(target, **target_options).analyze() for target in targets]
    print_document(compare_view(tables, by, metric), output_format, output)
