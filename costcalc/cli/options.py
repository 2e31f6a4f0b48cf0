"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

FORMATS = ("text", "markdown", "csv", "json", "latex")

_Command = TypeVar("_Command", bound=Callable[..., Any])


def combine_options(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    """Several options as one decorator, in the order in which --help lists them."""

    def decorate(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def printing_options(*extra_formats: str) -> Callable[[_Command], _Command]:
    """How and where to print: in one of the FORMATS, or of a command's own `further` ones."""
    formats = click.Choice([*FORMATS, *extra_formats])
    return combine_options(
        click.option(
            "--format", "output_format", type=formats, default="text", show_default=True, help="How to print."
        ),
        click.option("-o", "--output", type=click.Path(), metavar="FILE", help="Write to FILE."),
    )


output_options = printing_options()
_dtype = click.option("--dtype", default="fp32", show_default=True, help="What tensors are stored in: fp16, int8, …")
_convention = click.option(
    "--convention", default="flops", show_default=True, metavar="NAME",
    help="How FLOPs and activation memory are counted: flops, macs, fvcore, … (`costcalc conventions`).",
)  # fmt: skip
rules_options = combine_options(_dtype, _convention)
_input = click.option(
    "--input",
    "input_text",
    metavar="HxW",
    help="Input size: 320x480, 320, or CxHxW; of one's own model also 128:int64, or ids=128:int64,…",
)
_set = click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a setting; repeatable.")
architecture_options = combine_options(_input, _set)
_batch = click.option("--batch", metavar="N", help="Images at once.  [default: the spec's, 1]")
network_options = combine_options(_batch, architecture_options, _dtype)
LARGEST = "largest"
# Where a size may be asked for: `--input` without one, as the last word, is LARGEST.
network_or_largest_options = combine_options(
    _batch,
    click.option(
        "--input", "input_text", metavar="HxW", is_flag=False, flag_value=LARGEST,
        help=f"Input size: 320x480, 320, or CxHxW; or {LARGEST}, which may be left out at the end (see --fit).",
    ),
    _set,
    _dtype,
)  # fmt: skip
spec_options = combine_options(_batch, architecture_options)
size_options = combine_options(network_options, _convention)
