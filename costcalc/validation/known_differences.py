"""Figures of single layers that torch is known to count or allocate differently, and the exact value it gives.

An entry excuses this value and no other, for one op, with the torch releases and on the devices that it names. The
calculated value is right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from costcalc.analysis.cost_table import Row
from costcalc.core.sizes import prod
from costcalc.core.torch_versions import OLDEST_TESTED, Release, release
from costcalc.ir.op import Op
from costcalc.ir.ops.attention import ScaledDotProductAttention
from costcalc.ir.ops.conv import Convolution, ConvTranspose3d
from costcalc.ir.ops.linear import Bilinear
from costcalc.ir.ops.matmul import Einsum, Matmul
from costcalc.ir.ops.recurrent import Gru, Lstm, Rnn
from costcalc.ir.ops.resampling import Fold, Unfold
from costcalc.ir.ops.shape import Flatten

if TYPE_CHECKING:
    from costcalc.torch_backend.device import Environment


class SeenWith(NamedTuple):
    """The devices and the range of torch releases, both ends included, that a difference was seen with.

    Without a `last` release, the range ends with the newest tested one, and is expected to continue.
    """

    devices: tuple[str, ...]
    first: Release = OLDEST_TESTED
    last: Release | None = None

    def covers(self, environment: Environment) -> bool:
        """Return whether the difference is expected on this device with this torch."""
        version = release(environment.torch)
        return (
            environment.device in self.devices and self.first <= version and (self.last is None or version <= self.last)
        )


ON_CPU, ON_META = SeenWith(("cpu",)), SeenWith(("meta",))
# torch.utils.flop_counter computes its counts from shapes, which are the same on every device.
ON_EVERY_DEVICE = SeenWith(("cpu", "meta", "cuda", "mps"))


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownDifference:
    """A figure that torch gives differently for some layers of an op."""

    figure: str
    ops: tuple[type[Op], ...]
    value: Callable[[Any, Row], Any]  # what torch gives for an op and its row; None where torch is right
    reason: str
    seen_with: SeenWith

    def torch_value(self, op: Op, row: Row) -> Any:
        """Return the value that torch is known to give for a layer, None if it gives the calculated one."""
        return self.value(op, row) if isinstance(op, self.ops) else None


def _zero_if_counted(_: Op, row: Row) -> int | None:
    return 0 if row.macs or row.backward_macs else None


def _zero_for_a_vector(_: Matmul, row: Row) -> int | None:
    """0 if the right operand is a vector, or the left one and the right one a batch of matrices.

    A vector on the left of one matrix is multiplied as a matrix of one row, which torch counts.
    """
    left, right = map(len, row.inputs)
    return 0 if right == 1 or (left == 1 and right > 2) else None


def _zero_without_a_sum(op: Einsum, row: Row) -> int | None:
    return 0 if all(extent == 1 for extent in op.contracted_sizes(row.inputs)) else None


def _dense_weight_gradient(op: Convolution, row: Row) -> int | None:
    """The FLOPs of both gradients, with that of the weight as in a convolution without groups."""
    if op.groups == 1 or row.macs is None or not row.backward_macs:
        return None
    return 2 * (row.backward_macs + (op.groups - 1) * row.macs)


def _all_gradients_and_scores(_: ScaledDotProductAttention, row: Row) -> int | None:
    """The FLOPs of all three gradients, required or not, and of the product of queries and keys."""
    if not row.backward_macs:
        return None
    query, key, value = row.inputs[:3]
    return 2 * prod(query[:-1]) * key[-2] * (3 * query[-1] + 2 * value[-1])


def _input_bytes(_: Op, row: Row) -> int | None:
    """The bytes of as many elements as the input has."""
    if not row.activations or not row.activation_bytes:
        return None
    return row.activation_bytes // row.activations * prod(row.inputs[0])


def _at_least_input_bytes(op: Op, row: Row) -> int | None:
    of_input = _input_bytes(op, row)
    return None if of_input is None or row.activation_bytes is None else max(int(row.activation_bytes), of_input)


def _zero_if_copied(_: Flatten, row: Row) -> int | None:
    return 0 if row.activations else None


def _not_counted(
    *ops: type[Op], value: Callable[[Any, Row], int | None] = _zero_if_counted, reason: str, seen_with: SeenWith
) -> tuple[KnownDifference, ...]:
    """Return entries for an op of which torch.utils.flop_counter counts neither FLOPs nor backward FLOPs."""
    return tuple(
        KnownDifference(figure=figure, ops=ops, value=value, reason=reason, seen_with=seen_with)
        for figure in ("FLOPs", "backward FLOPs")
    )


KNOWN_DIFFERENCES = (
    *_not_counted(
        ScaledDotProductAttention,
        reason="torch.utils.flop_counter has formulas for the attention kernels of GPUs and none for that of a CPU, "
        "which it counts as zero",
        seen_with=ON_CPU._replace(last=(2, 14)),
    ),
    *_not_counted(
        Bilinear,
        reason="torch.utils.flop_counter has no formula for the kernel of a bilinear layer, and counts it as zero",
        seen_with=ON_EVERY_DEVICE,
    ),
    *_not_counted(
        Lstm,
        Gru,
        Rnn,
        reason="torch.utils.flop_counter has no formula for the kernels of oneDNN and cuDNN that run a whole "
        "sequence, and counts them as zero",
        seen_with=SeenWith(("cpu", "cuda")),
    ),
    *_not_counted(
        Matmul,
        value=_zero_for_a_vector,
        reason="torch.utils.flop_counter counts the product of a matrix and a vector, or of two vectors, as zero",
        seen_with=ON_EVERY_DEVICE,
    ),
    *_not_counted(
        Einsum,
        value=_zero_without_a_sum,
        reason="torch.einsum multiplies elementwise if all sizes that it sums over are 1, which "
        "torch.utils.flop_counter does not count",
        seen_with=ON_EVERY_DEVICE,
    ),
    KnownDifference(
        figure="backward FLOPs",
        ops=(ScaledDotProductAttention,),
        value=_all_gradients_and_scores,
        reason="torch.utils.flop_counter counts the attention kernel of a CPU as it runs in backward: it recomputes "
        "the product of queries and keys instead of saving it, and always computes every gradient",
        seen_with=ON_CPU._replace(first=(2, 15)),
    ),
    KnownDifference(
        figure="backward FLOPs",
        ops=(Convolution,),
        value=_dense_weight_gradient,
        reason="torch.utils.flop_counter ignores the groups of a convolution in the gradient of its weight, and counts "
        "it groups times too high",
        seen_with=ON_EVERY_DEVICE,
    ),
    KnownDifference(
        figure="activation bytes",
        ops=(ConvTranspose3d,),
        value=_input_bytes,
        reason="some CPU kernels of a transposed 3-d convolution with less output than input allocate as many elements "
        "for the output as the input has",
        seen_with=ON_CPU,
    ),
    KnownDifference(
        figure="activation bytes",
        ops=(Unfold, Fold),
        value=_at_least_input_bytes,
        reason="the CPU kernels of unfold and fold allocate an output of the size of the input first, which grows "
        "where that is too small and never shrinks",
        seen_with=ON_CPU,
    ),
    KnownDifference(
        figure="activation bytes",
        ops=(Flatten,),
        value=_zero_if_copied,
        reason="on meta, the output of a convolution does not have the channels-last format of a permuted input, as it "
        "has on other devices, so that a flatten that must copy is a view",
        seen_with=ON_META._replace(first=(2, 10)),
    ),
)
