"""What a training step computes: the other side of what its memory costs."""

from __future__ import annotations

from typing import NamedTuple

from costcalc.analysis.cost_table import CostTable
from costcalc.analysis.memory.optimizers import OPTIMIZERS
from costcalc.analysis.memory.timeline import Timeline
from costcalc.core.sizes import Size


class TrainingFlops(NamedTuple):
    """A run's multiply-accumulates, each 2 FLOPs, by what they are for; and the FLOPs of the optimizer's step.

    Convolutions and matrix products alone: what is done to single elements is in the step, and nowhere else.
    """

    forward_macs: Size
    backward_macs: Size
    recomputed_macs: Size
    step_flops: Size

    @property
    def flops(self) -> Size:
        """All of it."""
        return 2 * (self.forward_macs + self.backward_macs + self.recomputed_macs) + self.step_flops


def training_flops(costs: CostTable, timeline: Timeline) -> TrainingFlops:
    """What `timeline` computes, of the same graph as `costs`, which have the same layers frozen.

    A convolution takes as many multiply-accumulates for the gradient of its weight, and of its input, as forward: the
    backward pass of a dense network takes 2 · forward − those of the first layer, whose input needs no gradient. Layers
    that nobody knows count as nothing.
    """
    again = frozenset(timeline.recomputed)
    step = (
        0
        if timeline.optimizer is None
        else OPTIMIZERS[timeline.optimizer].flops_per_element * timeline.trainable_elements
    )
    return TrainingFlops(
        sum([row.macs or 0 for row in costs.rows]),
        sum([row.backward_macs or 0 for row in costs.rows]) if timeline.gradients else 0,
        sum([row.macs or 0 for row in costs.rows if row.path in again]),
        step,
    )
