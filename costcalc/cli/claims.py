"""`costcalc claims`: published numbers, verified."""

from __future__ import annotations

import click

from costcalc.cli.options import output_options
from costcalc.cli.printing import fail, print_document
from costcalc.published.claims import VERDICTS


@click.command("claims")
@click.argument("selection", nargs=-1, metavar="[FILE|SOURCE|CLAIM]…")
@click.option(
    "--only",
    multiple=True,
    type=click.Choice([*VERDICTS, "unexpected"]),
    help="Print only claims with this verdict; repeatable. `unexpected`: the claims file expects another verdict.",
)
@output_options
def command(selection: tuple[str, ...], only: tuple[str, ...], output_format: str, output: str | None) -> None:
    """Print published numbers beside the exact ones, with verdicts.

    Without arguments, prints the claims of all sources that ship with costcalc. Exits with 1 when a claim has another
    verdict than its file expects. docs/claims.md explains how to write a FILE of claims.

    \b
    Examples:
      costcalc claims --only wrong
      costcalc claims cs231n
      costcalc claims slides.yaml
    """
    from costcalc.published.claims import choose, sources, verify
    from costcalc.report.views.claims import claims_view

    choices = choose(selection or sources())
    verified = verify(choices)
    titles = {choice.file.name: choice.file.source for choice in choices if choice.ids is None}
    print_document(claims_view(verified, only, titles), output_format, output)
    unexpected = [each.claim.id for each in verified if each.unexpected]
    if unexpected:
        text = "claims are not as their file says" if len(unexpected) > 1 else "claim is not as its file says"
        fail(f"{len(unexpected)} {text}: {', '.join(unexpected)}")
