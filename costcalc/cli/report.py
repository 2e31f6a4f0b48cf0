"""`costcalc report`: the costs of one network."""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource

from costcalc.analysis.cost_table import GROUPINGS
from costcalc.cli.options import check_depth, grouping_options, output_options, size_options
from costcalc.cli.printing import fail, print_document, uncounted_message
from costcalc.cli.target import read_target


@click.command("report")
@click.argument("target")
@grouping_options(GROUPINGS, default="layer")
@click.option("--naive-vs-reduced", is_flag=True, help="Compare Inception modules with and without 1×1 reductions.")
@click.option(
    "--training",
    is_flag=True,
    help="Add the MACs of the backward pass and the bytes saved for it (see `costcalc memory`).",
)
@click.option("--strict", is_flag=True, help="Exit with 1 when a layer could not be counted.")
@size_options
@output_options
@click.pass_context
def command(
    context: click.Context,
    /,
    target: str,
    by: str,
    depth: int | None,
    naive_vs_reduced: bool,
    training: bool,
    strict: bool,
    output_format: str,
    output: str | None,
    **target_options: Any,
) -> None:
    """Print the costs of a network, layer by layer or in groups.

    \b
    Examples:
      costcalc report vgg16 --by stage
      costcalc report googlenet --naive-vs-reduced
      costcalc report net.yaml --batch 8 --input 320x480 --set classes=10
    """
    depth = check_depth(by, depth)
    if naive_vs_reduced and (context.get_parameter_source("by") != ParameterSource.DEFAULT or strict or training):
        raise click.UsageError("--naive-vs-reduced cannot be combined with --by, --strict or --training")
    network = read_target(target, **target_options)
    if naive_vs_reduced:
        from costcalc.exploration.inception_reductions import naive_versus_reduced
        from costcalc.report.views.naive_versus_reduced import naive_versus_reduced_view

        network.require_no_moves("--naive-vs-reduced")
        modules, stacked = naive_versus_reduced(network.name, network.options, **network.counting)
        print_document(naive_versus_reduced_view(modules, stacked), output_format, output)
        return
    from costcalc.report.views.report import report_view

    costs = network.analyze(training)
    print_document(report_view(costs, by, depth), output_format, output)
    if strict and costs.unknown:
        fail(uncounted_message(len(costs.unknown)))
