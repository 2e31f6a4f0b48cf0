"""Commands about design moves: rewrite, moves."""

from __future__ import annotations

from typing import Any

import click

from costcalc.cli.options import output_options, size_options
from costcalc.cli.printing import print_document, write
from costcalc.cli.target import read_target


@click.command()
@click.argument("target")
@click.argument("rules", nargs=-1, required=True, metavar="RULE…")
@click.option(
    "--at",
    multiple=True,
    metavar="PATTERN",
    help="Only layers whose path, or a prefix of it, matches, such as 'inception4*'; repeatable.",
)
@click.option("--save", type=click.Path(), metavar="FILE", help="Write the new network as a spec, for other commands.")
@size_options
@output_options
def rewrite(
    target: str, rules: tuple[str, ...], at: tuple[str, ...], save: str | None, style: str, output: str | None,
    **sizes: Any,
) -> None:  # fmt: skip
    """Print what a change of design does to every cost.

    RULEs are design moves (`costcalc moves` lists them), applied one after the other wherever they fit.

    \b
    Examples:
      costcalc rewrite alexnet stack3x3
      costcalc rewrite vgg16 gap-head fold-bn --save slim.yaml
      costcalc rewrite googlenet-naive reduce:4 --at 'inception4*'
    """
    from costcalc.analysis import analyze
    from costcalc.report.rewriting import rewriting
    from costcalc.rewrites import rewrite

    wanted = read_target(target, **sizes)
    done = rewrite(wanted.graph(), *rules, at=at)
    if save is not None:
        from costcalc.spec import to_yaml

        write(to_yaml(done.after), save)
    before, after = (analyze(graph, **wanted.rules) for graph in (done.before, done.after))
    print_document(rewriting(before, after, done.steps, save), style, output)


@click.command()
@click.argument("rule", required=False)
@output_options
def moves(rule: str | None, style: str, output: str | None) -> None:
    """Print the design moves that `costcalc rewrite` takes; with RULE, exactly what one of them does.

    \b
    Example:
      costcalc moves stack3x3
    """
    from costcalc.report.reference import moves_reference
    from costcalc.rewrites import rule_named, rules

    print_document(moves_reference([rule_named(rule)] if rule else list(rules().values())), style, output)
