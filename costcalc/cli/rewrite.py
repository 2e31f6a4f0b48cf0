"""`costcalc rewrite`: a network before and after design moves."""

from __future__ import annotations

from typing import Any

import click

from costcalc.cli.options import check_spec_path, output_options, size_options
from costcalc.cli.printing import print_document, write
from costcalc.cli.target import read_target


@click.command("rewrite")
@click.argument("target")
@click.argument("rules", nargs=-1, required=True, metavar="RULE…")
@click.option(
    "--at",
    multiple=True,
    metavar="PATTERN",
    help="Change only layers whose path, or a prefix of it, matches PATTERN, such as 'inception4*'; repeatable.",
)
@click.option("--save", type=click.Path(), metavar="FILE", help="Write the new network to FILE as a spec.")
@size_options
@output_options
def command(
    target: str,
    rules: tuple[str, ...],
    at: tuple[str, ...],
    save: str | None,
    output_format: str,
    output: str | None,
    **target_options: Any,
) -> None:
    """Print how design moves change every cost of a network.

    RULEs are design moves (`costcalc moves` lists them). They are applied in turn, wherever they fit.

    \b
    Examples:
      costcalc rewrite alexnet stack3x3
      costcalc rewrite vgg16 gap-head fold-bn --save slim.yaml
      costcalc rewrite googlenet-naive reduce:4 --at 'inception4*'
    """
    from costcalc.analysis.analyze import analyze
    from costcalc.report.views.rewrite import rewrite_view
    from costcalc.transforms import rewrite
    from costcalc.transforms import rules as all_rules

    if target.partition(":")[0] in all_rules():
        raise click.UsageError(f"{target} is a RULE; pass the TARGET before it")
    check_spec_path(save, "--save")
    network = read_target(target, **target_options)
    result = rewrite(network.graph(), *rules, at=at)
    if save is not None:
        from costcalc.frontends.spec import to_yaml

        write(to_yaml(result.after), save)
    before, after = (analyze(graph, **network.counting) for graph in (result.before, result.after))
    print_document(rewrite_view(before, after, result.steps, save), output_format, output)
