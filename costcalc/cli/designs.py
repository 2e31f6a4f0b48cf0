"""Commands that lay designs for the same job side by side: stage, head, residual."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from costcalc.cli.options import combine_options, output_options, rules_options
from costcalc.cli.printing import print_document
from costcalc.cli.target import read_plane, read_positive

if TYPE_CHECKING:
    from costcalc.exploration.building_blocks import DesignComparison

_common_options = combine_options(
    click.option("--batch", default="1", show_default=True, metavar="N", help="Images at once."),
    click.option(
        "--symbolic", is_flag=True, help="Sizes as symbols, whatever numbers are given for them; the structure stays."
    ),
    rules_options,
    output_options,
)


def _channels_and_size(channels: int, size: int) -> Callable[[Any], Any]:
    return combine_options(
        click.option("--channels", default=str(channels), show_default=True, metavar="C", help="Channels it takes."),
        click.option(
            "--size", default=str(size), show_default=True, metavar="HxW", help="Plane it takes: 28x56, or 56."
        ),
    )


@click.command()
@click.option("--convs", type=int, default=2, show_default=True, metavar="N", help="Convolutions of the stage.")
@click.option("--kernel", type=int, default=3, show_default=True, metavar="K", help="Their kernels, K×K; K is odd.")
@click.option("--out-channels", metavar="C", help="Channels of every output.  [default: the input's]")
@click.option("--no-bias", is_flag=True, help="Convolutions without bias.")
@_channels_and_size(64, 56)
@_common_options
def stage(
    convs: int,
    kernel: int,
    out_channels: str | None,
    no_bias: bool,
    channels: str,
    size: str,
    batch: str,
    **common_options: Any,
) -> None:
    """Print what a stage of small convolutions costs, against one large one with the same receptive field.

    \b
    Examples:
      costcalc stage --convs 2 --channels 64 --size 56
      costcalc stage --convs 3 --symbolic
    """
    from costcalc.exploration.building_blocks import stage

    sizes = _sizes(channels=channels, size=size, batch=batch)
    if out_channels is not None:
        sizes["out_channels"] = read_positive(out_channels, "--out-channels")
    structure = {"convs": convs, "kernel": kernel, "bias": not no_bias}
    _print_designs("stage", lambda **given: (stage(**given),), sizes, structure, **common_options)


@click.command()
@click.option("--classes", default="1000", show_default=True, metavar="K", help="Classes to tell apart.")
@click.option("--hidden", metavar="F,F,…", help="Layers before the last of the fully connected head: 4096,4096.")
@_channels_and_size(1024, 7)
@_common_options
def head(classes: str, hidden: str | None, channels: str, size: str, batch: str, **common_options: Any) -> None:
    """Print what a fully connected head costs, against global average pooling; the default is GoogLeNet's.

    \b
    Examples:
      costcalc head
      costcalc head --channels 512 --hidden 4096,4096
    """
    from costcalc.exploration.building_blocks import head

    sizes = _sizes(channels=channels, size=size, batch=batch)
    sizes["classes"] = read_positive(classes, "--classes", "1000")
    if hidden is not None:
        sizes["hidden"] = [read_positive(each, "--hidden", "4096,4096") for each in hidden.split(",")]
    _print_designs("head", lambda **given: (head(**given),), sizes, {}, **common_options)


@click.command()
@click.option("--ratio", type=int, default=4, show_default=True, metavar="R", help="How far a bottleneck narrows.")
@_channels_and_size(256, 56)
@_common_options
def residual(ratio: int, channels: str, size: str, batch: str, **common_options: Any) -> None:
    """Print what residual blocks cost, bottleneck against basic, and what their skips cost: options A, B and C.

    \b
    Examples:
      costcalc residual --channels 256 --size 56
      costcalc residual --symbolic
    """
    from costcalc.exploration.building_blocks import residual

    sizes = _sizes(channels=channels, size=size, batch=batch)
    _print_designs(
        "residual", residual, sizes, {"ratio": ratio}, {"channels": ratio, "height": 2, "width": 2}, **common_options
    )


def _sizes(*, channels: str, size: str, batch: str) -> dict[str, Any]:
    """The sizes of an input."""
    return {
        "batch": read_positive(batch, "--batch"),
        "channels": read_positive(channels, "--channels", "64"),
        **read_plane(size, "--size"),
    }


def _print_designs(
    command: str,
    designs: Callable[..., Any],
    sizes: Mapping[str, Any],
    structure: Mapping[str, Any],
    multiples: Mapping[str, int] | None = None,
    *,
    symbolic: bool,
    output_format: str,
    output: str | None,
    **rules: str,
) -> None:
    """Print designs in numbers or, where asked, in symbols; `multiples` are what a formula takes of a size."""
    from costcalc.exploration.building_blocks import in_symbols
    from costcalc.report.views.building_blocks import designs as view

    settings = {**structure, **sizes}
    numbers: tuple[DesignComparison, ...] = tuple(designs(**settings, **rules))
    if not symbolic:
        print_document(view(command, settings, numbers), output_format, output)
        return
    symbols = in_symbols(sizes, multiples or {})
    formulas = tuple(designs(**structure, **symbols.sizes, **rules))
    print_document(view(command, settings, numbers, formulas, symbols), output_format, output)
