"""Where torch's own numbers are known to be wrong: the law decides, and the check gives the reason.

Each entry says exactly what torch gives instead, so that it excuses this number and no other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from costcalc.costs import Row
from costcalc.ops.convolution import Conv2d
from costcalc.ops.op import Op
from costcalc.ops.reshaping import Flatten


class KnownDifference(NamedTuple):
    """A figure that torch gets wrong: what it says of a layer (None where it is right), why, and in which versions."""

    figure: str
    wrong: Callable[[Op, Row], Any]
    reason: str
    seen_in: str


def _weight_gradient_without_groups(op: Op, row: Row) -> int | None:
    """The weight's gradient counted as a dense convolution's, groups times too high; that of the input is right."""
    if not isinstance(op, Conv2d) or op.groups == 1 or row.macs is None or not row.backward_macs:
        return None
    return 2 * (row.backward_macs + (op.groups - 1) * row.macs)


def _no_copy(op: Op, row: Row) -> int | None:
    return 0 if isinstance(op, Flatten) and row.activations else None


KNOWN_DIFFERENCES = (
    KnownDifference(
        "backward FLOPs",
        _weight_gradient_without_groups,
        "torch.utils.flop_counter ignores the groups of a convolution in the gradient of its weight, and counts it "
        "groups times too high",
        "torch 2.6.0 and 2.14.1",
    ),
    KnownDifference(
        "activation bytes",
        _no_copy,
        "convolutions on meta do not keep the channels of a permuted input last in memory, as those on real devices "
        "do, so that a flatten, which must then copy, is a view there",
        "torch 2.14.1",
    ),
)
