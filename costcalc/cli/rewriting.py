"""Commands about design moves: rewrite, moves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from costcalc.cli.options import output_options, size_options
from costcalc.cli.printing import print_document, write
from costcalc.cli.target import read_target
from costcalc.core.errors import CostcalcError

if TYPE_CHECKING:
    from costcalc.analysis.cost_table import CostTable


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
    target: str, rules: tuple[str, ...], at: tuple[str, ...], save: str | None, output_format: str, output: str | None,
    **target_options: Any,
) -> None:  # fmt: skip
    """Print what a change of design does to every cost.

    RULEs are design moves (`costcalc moves` lists them), applied one after the other wherever they fit.

    \b
    Examples:
      costcalc rewrite alexnet stack3x3
      costcalc rewrite vgg16 gap-head fold-bn --save slim.yaml
      costcalc rewrite googlenet-naive reduce:4 --at 'inception4*'
    """
    from costcalc.analysis.analyze import analyze
    from costcalc.report.views.rewrite import rewriting
    from costcalc.transforms import rewrite
    from costcalc.transforms import rules as known_rules

    if target.partition(":")[0] in known_rules():
        raise click.UsageError(f"{target} is a RULE: the TARGET comes first")
    if save is not None and not save.endswith((".yaml", ".yml")):
        raise click.BadParameter(f"a spec is a .yaml file, and {save!r} is none", param_hint="--save")
    wanted = read_target(target, **target_options)
    done = rewrite(wanted.graph(), *rules, at=at)
    if save is not None:
        from costcalc.frontends.spec import to_yaml

        write(to_yaml(done.after), save)
    before, after = (analyze(graph, **wanted.counting) for graph in (done.before, done.after))
    print_document(rewriting(before, after, done.steps, save), output_format, output)


@click.command()
@click.argument("rule", required=False)
@click.option("--on", "target", metavar="TARGET", help="What each move does to this network, one in a line.")
@size_options
@output_options
def moves(rule: str | None, target: str | None, output_format: str, output: str | None, **target_options: Any) -> None:
    """Print the design moves that `costcalc rewrite` takes; with RULE, exactly what one of them does.

    \b
    Examples:
      costcalc moves stack3x3
      costcalc moves --on vgg16
    """
    if target is None and any(target_options[name] for name in ("batch", "input_text", "settings")):
        raise click.UsageError("--batch, --input and --set go with --on TARGET")
    from costcalc.transforms import rewrite, rule_named, rules

    name, colon, _ = (rule or "").partition(":")
    chosen = [rule_named(name)] if rule else list(rules().values())
    if target is None:
        from costcalc.report.views.reference import moves_reference

        print_document(moves_reference(chosen), output_format, output)
        return
    from costcalc.analysis.analyze import analyze
    from costcalc.report.views.rewrite import overview

    wanted = read_target(target, **target_options)
    before = wanted.graph()
    tried: dict[str, tuple[int, CostTable] | str] = {}
    for move in [rule] if rule and colon else [move for each in chosen for move in each.examples]:
        try:
            done = rewrite(before, move)
        except CostcalcError as error:
            tried[move] = str(error).split("\n")[0].removeprefix(f"{move} cannot be applied to {before.name}: ")
        else:
            tried[move] = (len(done.changed), analyze(done.after, **wanted.counting))
    print_document(overview(analyze(before, **wanted.counting), tried), output_format, output)
