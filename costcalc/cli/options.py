"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

FORMATS = ("text", "markdown", "csv", "json", "latex")

_Command = TypeVar("_Command", bound=Callable[..., Any])


def options(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    """Several options as one decorator, in the order in which --help lists them."""

    def decorate(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def printing_options(*further: str) -> Callable[[_Command], _Command]:
    """How and where to print: in one of the FORMATS, or of a command's own `further` ones."""
    formats = click.Choice([*FORMATS, *further])
    return options(
        click.option("--format", "style", type=formats, default="text", show_default=True, help="How to print."),
        click.option("-o", "--output", type=click.Path(), metavar="FILE", help="Write to FILE."),
    )


output_options = printing_options()
_dtype = click.option("--dtype", default="fp32", show_default=True, help="What tensors are stored in: fp16, int8, …")
_convention = click.option(
    "--convention", default="flops", show_default=True, metavar="NAME",
    help="How FLOPs and activation memory are counted: flops, macs, fvcore, … (`costcalc conventions`).",
)  # fmt: skip
rules_options = options(_dtype, _convention)
architecture_options = options(
    click.option("--input", "size", metavar="HxW", help="Input size: 320x480, 320, or CxHxW."),
    click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a setting; repeatable."),
)
network_options = options(
    click.option("--batch", metavar="N", help="Images at once.  [default: the spec's, 1]"),
    architecture_options,
    _dtype,
)
size_options = options(network_options, _convention)
