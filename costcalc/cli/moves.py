"""`costcalc moves`: the design moves, and what each of them does to a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from costcalc.cli.options import output_options, size_options
from costcalc.cli.printing import print_document
from costcalc.cli.target import read_target
from costcalc.core.errors import CostcalcError

if TYPE_CHECKING:
    from costcalc.analysis.cost_table import CostTable


@click.command("moves")
@click.argument("rule", required=False)
@click.option("--on", "target", metavar="TARGET", help="Apply each move to TARGET and print the costs after it.")
@size_options
@output_options
def command(
    rule: str | None, target: str | None, output_format: str, output: str | None, **target_options: Any
) -> None:
    """Print the design moves that `costcalc rewrite` applies.

    With RULE, prints the rules of that move.

    \b
    Examples:
      costcalc moves stack3x3
      costcalc moves --on vgg16
    """
    if target is None and any(target_options[name] for name in ("batch", "input_text", "settings")):
        raise click.UsageError("--batch, --input and --set require --on TARGET")
    from costcalc.report.views.moves import moves_reference_view, moves_view
    from costcalc.transforms import rewrite, rule_named, rules

    name, colon, _ = (rule or "").partition(":")
    chosen = [rule_named(name)] if rule else list(rules().values())
    if target is None:
        print_document(moves_reference_view(chosen), output_format, output)
        return
    from costcalc.analysis.analyze import analyze

    network = read_target(target, **target_options)
    before = network.graph()
    results: dict[str, tuple[int, CostTable] | str] = {}
    for move in [rule] if rule and colon else [example for each in chosen for example in each.examples]:
        try:
            result = rewrite(before, move)
        except CostcalcError as error:
            results[move] = str(error).split("\n")[0].removeprefix(f"{move} cannot be applied to {before.name}: ")
        else:
            results[move] = (len(result.changed), analyze(result.after, **network.counting))
    print_document(moves_view(analyze(before, **network.counting), results), output_format, output)
