"""The command about formulas of whole networks: formula."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from costcalc.analysis.metrics import METRICS
from costcalc.cli.options import printing_options, size_options
from costcalc.cli.printing import print_document, write
from costcalc.cli.target import read_target

if TYPE_CHECKING:
    from costcalc.exploration.symbolic import NetworkSource


@click.command()
@click.argument("target")
@click.option(
    "--in",
    "variables",
    multiple=True,
    required=True,
    metavar="NAME,…",
    help="What the formulas are in: batch, channels, height, width, size (a square's side), integer settings.",
)
@click.option(
    "--of",
    multiple=True,
    type=click.Choice([*METRICS]),
    help="What to give a formula of; repeatable.  [default: all but param-memory]",
)
@click.option("--at", "layer", metavar="LAYER", help="Of a layer, or of everything below a prefix.")
@click.option("--by", type=click.Choice(["whole", "stage", "layer"]), default="whole", show_default=True, help="Rows.")
@click.option(
    "--depth",
    type=click.IntRange(1),
    metavar="N",
    help="With --by stage: parts of a path that name a stage.  [default: 1]",
)
@click.option("--exact", is_flag=True, help="Keep the floors, so that every size will do.")
@click.option("--solve", "question", metavar="QUESTION", help="For which values of the one NAME it holds: 'macs < 4G'.")
@size_options
@printing_options("python")
def formula(
    target: str,
    variables: tuple[str, ...],
    of: tuple[str, ...],
    layer: str | None,
    by: str,
    depth: int | None,
    exact: bool,
    question: str | None,
    output_format: str,
    output: str | None,
    **target_options: Any,
) -> None:
    """Print what a network costs as exact formulas in its sizes and settings.

    A height or width stands for any multiple of the network's total stride, plus what its default is more than one:
    that leaves no floors. A QUESTION compares two quantities, `QUANTITY [at LAYER] [of TARGET]` or a number, by <, <=,
    >, >= or =; quantities are those of --of. Its answer is every value for which it holds, checked by counting.

    \b
    Examples:
      costcalc formula vgg16 --in height,width,base_channels
      costcalc formula resnet50 --in batch,size --by stage --of macs --format latex
      costcalc formula resnet50 --in size --exact --solve 'macs < 4G'
      costcalc formula vgg16 --in batch --convention bologna --solve 'memory > param-memory'
    """
    names = [name for given in variables for name in (part.strip() for part in given.split(",")) if name]
    if depth is not None and by != "stage":
        raise click.UsageError("--depth goes with --by stage")
    if question is not None:
        if layer is not None or of or by != "whole":
            raise click.UsageError("--solve says itself what it asks of: without --of, --at and --by")
        if len(set(names)) != 1:
            raise click.UsageError("--solve has one unknown: --in takes one name")
        if output_format == "python":
            raise click.UsageError("an answer of --solve is no formula: it has no --format python")
    from costcalc.exploration.symbolic import NetworkSource, closed_forms, solve
    from costcalc.report.views import formula as views

    def network(text: str) -> NetworkSource:
        wanted = read_target(text, **target_options)
        return NetworkSource(wanted.graph, **wanted.counting)

    build, convention, dtype = network(target)
    if question is not None:
        solution = solve(build, names[0], question, exact=exact, convention=convention, dtype=dtype, other=network)
        print_document(views.solution(solution), output_format, output)
        return
    given = {"of": of} if of else {}
    forms = closed_forms(build, names, at=layer, exact=exact, convention=convention, dtype=dtype, **given)
    rows = forms.by_stage(depth or 1) if by == "stage" else forms.by_layer() if by == "layer" else []
    if output_format == "python":
        write(views.python_module(forms, rows), output)
    elif output_format == "latex":
        write(views.latex_page(forms, rows), output)
    else:
        print_document(views.formulas(forms, by, rows), output_format, output)
