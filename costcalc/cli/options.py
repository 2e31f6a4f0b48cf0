"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from costcalc.report.render import FORMATS

_Command = TypeVar("_Command", bound=Callable[..., Any])


def combine_options(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    """Return one decorator for several options, which --help lists in this order."""

    def decorate(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def format_options(formats: Iterable[str] = FORMATS) -> Callable[[_Command], _Command]:
    """Return the options --format, with a choice of `formats`, and --output."""
    return combine_options(
        click.option(
            "--format",
            "output_format",
            type=click.Choice([*formats]),
            default="text",
            show_default=True,
            help="Output format.",
        ),
        click.option("-o", "--output", type=click.Path(), metavar="FILE", help="Write to FILE."),
    )


def grouping_options(groupings: Iterable[str], default: str) -> Callable[[_Command], _Command]:
    """Return the options --by, with a choice of `groupings`, and --depth; see `check_depth`."""
    return combine_options(
        click.option(
            "--by", type=click.Choice([*groupings]), default=default, show_default=True, help="What a row stands for."
        ),
        click.option(
            "--depth",
            type=click.IntRange(1),
            metavar="N",
            help="With --by stage: the number of path components that name a stage.  [default: 1]",
        ),
    )


def check_depth(by: str, depth: int | None) -> int:
    """Return the depth of stages. Raises click.UsageError for --depth without --by stage."""
    if depth is not None and by != "stage":
        raise click.UsageError("--depth requires --by stage")
    return depth or 1


def check_spec_path(path: str | None, option: str) -> None:
    """Raise click.BadParameter for a file that the other commands would not read as a spec."""
    from costcalc.frontends.spec.catalogue import is_spec_file

    if path is not None and not is_spec_file(path):
        raise click.BadParameter(f"{path!r} does not end in .yaml, as the file of a spec must", param_hint=option)


output_options = format_options()
_dtype = click.option("--dtype", default="fp32", show_default=True, help="Dtype of tensors: fp16, int8, …")
_convention = click.option(
    "--convention",
    default="flops",
    show_default=True,
    metavar="NAME",
    help="How FLOPs and activation memory are counted: flops, macs, fvcore, … (`costcalc conventions`).",
)
counting_options = combine_options(_dtype, _convention)
_input = click.option(
    "--input",
    "input_text",
    metavar="HxW",
    help="Input size: 320x480, 320 or CxHxW; for a PyTorch model also 128:int64 or ids=128:int64,…",
)
_set = click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a setting; repeatable.")
architecture_options = combine_options(_input, _set)
_batch = click.option("--batch", metavar="N", help="Batch size.  [default: the spec's, or 1]")
network_options = combine_options(_batch, architecture_options, _dtype)
LARGEST = "largest"
# `--input` without a value, as the last word of a command, means LARGEST.
network_or_largest_options = combine_options(
    _batch,
    click.option(
        "--input",
        "input_text",
        metavar="HxW",
        is_flag=False,
        flag_value=LARGEST,
        help=f"Input size: 320x480, 320 or CxHxW; or {LARGEST}, with --fit.",
    ),
    _set,
    _dtype,
)
spec_options = combine_options(_batch, architecture_options)
size_options = combine_options(network_options, _convention)
