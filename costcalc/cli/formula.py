"""`costcalc formula`: the costs of a network as formulas in its sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from costcalc.analysis.metrics import METRICS
from costcalc.cli.options import check_depth, format_options, grouping_options, size_options
from costcalc.cli.printing import print_document
from costcalc.cli.target import read_target
from costcalc.report.render import FORMULA_FORMATS

if TYPE_CHECKING:
    from costcalc.exploration.symbolic import NetworkSource


@click.command("formula")
@click.argument("target")
@click.option(
    "--in",
    "variables",
    multiple=True,
    required=True,
    metavar="NAME,…",
    help="Variables of the formulas: batch, channels, height, width, size (side of a square), or integer settings.",
)
@click.option(
    "--of",
    "metrics",
    multiple=True,
    type=click.Choice([*METRICS]),
    help="Costs to print; repeatable.  [default: all but param-memory]",
)
@click.option("--at", "layer", metavar="LAYER", help="Only a layer, or all layers below a prefix of paths.")
@grouping_options(("whole", "stage", "layer"), default="whole")
@click.option("--exact", is_flag=True, help="Keep floor divisions, so that the formulas hold for every size.")
@click.option(
    "--solve", "question", metavar="QUESTION", help="Print the values of NAME that satisfy QUESTION: 'macs < 4G'."
)
@size_options
@format_options(FORMULA_FORMATS)
def command(
    target: str,
    variables: tuple[str, ...],
    metrics: tuple[str, ...],
    layer: str | None,
    by: str,
    depth: int | None,
    exact: bool,
    question: str | None,
    output_format: str,
    output: str | None,
    **target_options: Any,
) -> None:
    """Print the costs of a network as exact formulas in its sizes and settings.

    Without --exact, formulas hold where height and width differ from their defaults by a multiple of the network's
    total stride, so that no floor divisions remain. A QUESTION compares `COST [at LAYER] [of TARGET]` with another one
    or with a number by <, <=, >, >= or =; a COST is a choice of --of. The answer is checked by counting.

    \b
    Examples:
      costcalc formula vgg16 --in height,width,base_channels
      costcalc formula resnet50 --in batch,size --by stage --of macs --format latex
      costcalc formula resnet50 --in size --exact --solve 'macs < 4G'
      costcalc formula vgg16 --in batch --convention bologna --solve 'memory > param-memory'
    """
    names = [name for words in variables for name in (part.strip() for part in words.split(",")) if name]
    depth = check_depth(by, depth)
    if question is not None:
        if layer is not None or metrics or by != "whole":
            raise click.UsageError("--solve cannot be combined with --of, --at or --by: QUESTION names cost and layer")
        if len(set(names)) != 1:
            raise click.UsageError("--solve needs exactly one variable: pass one NAME to --in")
        if output_format == "python":
            raise click.UsageError("--solve prints no formula: pass another --format than python")
    from costcalc.exploration.symbolic import NetworkSource, closed_forms, solve
    from costcalc.report.views.formula import formulas_view, solution_view

    def resolve(text: str) -> NetworkSource:
        network = read_target(text, **target_options)
        return NetworkSource(network.graph, **network.counting)

    build, convention, dtype = resolve(target)
    if question is not None:
        solution = solve(
            build, names[0], question, exact=exact, convention=convention, dtype=dtype, resolve_target=resolve
        )
        print_document(solution_view(solution), output_format, output)
        return
    chosen: dict[str, Any] = {"of": metrics} if metrics else {}
    forms = closed_forms(build, names, at=layer, exact=exact, convention=convention, dtype=dtype, **chosen)
    rows = forms.by_stage(depth) if by == "stage" else forms.by_layer() if by == "layer" else []
    print_document(formulas_view(forms, by, rows), output_format, output)
