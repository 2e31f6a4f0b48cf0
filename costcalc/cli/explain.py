"""`costcalc explain`: the formulas of a layer's costs."""

from __future__ import annotations

from typing import Any

import click

from costcalc.cli.options import output_options, size_options
from costcalc.cli.printing import print_document
from costcalc.cli.target import read_target


@click.command("explain")
@click.argument("target")
@click.argument("layer")
@size_options
@output_options
def command(target: str, layer: str, output_format: str, output: str | None, **target_options: Any) -> None:
    """Print the formula of each cost of a layer, with its numbers and its value.

    LAYER is the path of a layer, or a prefix of paths for all layers below it.

    \b
    Example:
      costcalc explain googlenet inception3a/5x5
    """
    from costcalc.analysis.analyze import analyze
    from costcalc.exploration.symbolic import explain
    from costcalc.report.views.explain import explain_view

    network = read_target(target, **target_options)
    graph = network.graph()
    layer = layer.strip("/")
    explanations = explain(graph, layer, **network.counting)
    costs = analyze(graph, **network.counting).below(layer)
    print_document(explain_view(costs, layer, explanations), output_format, output)
