"""What the commands stage, head and residual share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

from costcalc.cli.options import combine_options, counting_options, output_options
from costcalc.cli.printing import print_document
from costcalc.core.written_sizes import read_positive, read_spatial_size

if TYPE_CHECKING:
    from costcalc.exploration.building_blocks import DesignComparison

design_options = combine_options(
    click.option("--batch", default="1", show_default=True, metavar="N", help="Batch size."),
    click.option("--symbolic", is_flag=True, help="Print formulas in symbols instead of numbers, for all sizes."),
    counting_options,
    output_options,
)


def input_options(channels: int, size: int) -> Callable[[Any], Any]:
    """Return the options --channels and --size with these defaults."""
    return combine_options(
        click.option(
            "--channels", default=str(channels), show_default=True, metavar="C", help="Channels of the input."
        ),
        click.option("--size", default=str(size), show_default=True, metavar="HxW", help="Input size: 28x56 or 56."),
    )


def read_sizes(*, channels: str, size: str, batch: str) -> dict[str, Any]:
    """Return the sizes of the input."""
    return {
        "batch": read_positive(batch, "--batch"),
        "channels": read_positive(channels, "--channels", "64"),
        **read_spatial_size(size, "--size"),
    }


def print_designs(
    command: str,
    compare: Callable[..., Iterable[DesignComparison]],
    sizes: Mapping[str, Any],
    structure: Mapping[str, Any],
    multiples: Mapping[str, int] | None = None,
    *,
    symbolic: bool,
    output_format: str,
    output: str | None,
    **counting: str,
) -> None:
    """Print the comparisons of designs in numbers or, with `symbolic`, as formulas in `sizes`.

    `multiples` are the numbers that symbols for sizes are multiples of.
    """
    from costcalc.exploration.building_blocks import in_symbols
    from costcalc.report.views.building_blocks import designs_view

    settings = {**structure, **sizes}
    comparisons = tuple(compare(**settings, **counting))
    if not symbolic:
        print_document(designs_view(command, settings, comparisons), output_format, output)
        return
    symbols = in_symbols(sizes, multiples or {})
    symbolic_comparisons = tuple(compare(**structure, **symbols.sizes, **counting))
    document = designs_view(command, settings, comparisons, symbolic_comparisons, symbols)
    print_document(document, output_format, output)
