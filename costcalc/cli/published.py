"""Commands about published numbers: claims, reconcile."""

from __future__ import annotations

from typing import Any

import click

from costcalc.cli.options import network_options, output_options
from costcalc.cli.printing import fail, print_document
from costcalc.cli.target import read_target

VERDICTS = ("exact", "rounds", "truncated", "approximate", "wrong", "conditional", "not-a-cost")


@click.command()
@click.argument("selection", nargs=-1, metavar="[FILE|SOURCE|CLAIM]…")
@click.option(
    "--only",
    multiple=True,
    type=click.Choice([*VERDICTS, "unexpected"]),
    help="Print claims of this verdict alone; repeatable. Unexpected: not the verdict that the file expects.",
)
@output_options
def claims(selection: tuple[str, ...], only: tuple[str, ...], output_format: str, output: str | None) -> None:
    """Print published numbers beside the exact ones: right, off by a rule, or wrong, and why.

    Without an argument, those of every source that ships. A claim that comes out otherwise than its file expects exits
    with 1. How to write a FILE of claims: docs/claims.md.

    \b
    Examples:
      costcalc claims --only wrong
      costcalc claims cs231n
      costcalc claims slides.yaml
    """
    from costcalc.published.claims import choose, sources, verify
    from costcalc.report.views import claims as views

    choices = choose(selection or sources())
    verified = verify(choices)
    titles = {choice.file.name: choice.file.source for choice in choices if choice.ids is None}
    print_document(views.claims(verified, only, titles), output_format, output)
    surprises = [each.claim.id for each in verified if each.unexpected]
    if surprises:
        said = "claims are not as their file says" if len(surprises) > 1 else "claim is not as its file says"
        fail(f"{len(surprises)} {said}: {', '.join(surprises)}")


@click.command()
@click.argument("target")
@click.argument("value", nargs=-1, required=True, metavar="VALUE")
@click.option(
    "--of",
    multiple=True,
    type=click.Choice(["flops", "params", "activations", "memory"]),
    help="What the number is of; repeatable.  [default: all that its unit allows]",
)
@click.option("--at", "layer", metavar="LAYER", help="The layer, or prefix of layers, that the number is of.")
@click.option(
    "--top", type=click.IntRange(1), default=10, show_default=True, metavar="N", help="Explanations to print."
)
@network_options
@output_options
def reconcile(
    target: str,
    value: tuple[str, ...],
    of: tuple[Any, ...],
    layer: str | None,
    top: int,
    output_format: str,
    output: str | None,
    **target_options: Any,
) -> None:
    """Print which ways of counting give a published number, the most ordinary first; exit 1 when none does.

    VALUE is the number as it is printed: 3.8G, 138M params, 4.09 GMACs, 96MB. Its digits say how precise it is.

    \b
    Examples:
      costcalc reconcile resnet50 4.11G
      costcalc reconcile vgg16 24M activations
      costcalc reconcile googlenet 112K --of params --at stem/conv3
    """
    from costcalc.published.reconcile import reconcile
    from costcalc.report.views.reconcile import reconciliation

    wanted = read_target(target, **target_options, convention="flops").require_no_moves("reconcile")
    number = " ".join(value)
    found = reconcile(wanted.name, number, wanted.options, of=of, at=layer, dtype=wanted.counting["dtype"])
    print_document(reconciliation(found, top), output_format, output)
    if not found.explanations:
        truth = ", ".join(f"{each.value:,} {each.label}" for each in found.own_counts if "macs" in each.conventions)
        what = wanted.name if layer is None else f"{layer} of {wanted.name}"
        fail(f"no explanation of {number} for {what}, which has {truth}")
