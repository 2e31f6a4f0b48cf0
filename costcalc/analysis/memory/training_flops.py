"""The work of a training step, beside the memory that it needs."""

from __future__ import annotations

from typing import NamedTuple

from costcalc.analysis.cost_table import CostTable
from costcalc.analysis.memory.optimizers import OPTIMIZERS
from costcalc.analysis.memory.timeline import Timeline
from costcalc.core.sizes import Size


class TrainingFlops(NamedTuple):
    """The multiply-accumulates of a run by pass, and the FLOPs of the optimizer step.

    Passes count convolutions and matrix products only, 2 FLOPs per multiply-accumulate.
    """

    forward_macs: Size
    backward_macs: Size
    recomputed_macs: Size
    step_flops: Size

    @property
    def flops(self) -> Size:
        """The FLOPs of all passes and the optimizer step."""
        return 2 * (self.forward_macs + self.backward_macs + self.recomputed_macs) + self.step_flops


def training_flops(costs: CostTable, timeline: Timeline) -> TrainingFlops:
    """Return the work of a run. Layers that are not modelled count as zero.

    The gradients of a convolution with respect to its weight and to its input each have as many multiply-accumulates as
    its forward pass. The backward pass of a dense network therefore has twice as many as the forward pass, minus those
    of the first layer, whose input requires no gradient.

    Args:
        costs: the cost table of the same graph with the same frozen layers.
        timeline: the run.
    """
    recomputed = frozenset(timeline.recomputed)
    step_flops: Size = 0
    if timeline.optimizer is not None:
        step_flops = OPTIMIZERS[timeline.optimizer].flops_per_element * timeline.trainable_elements
    return TrainingFlops(
        forward_macs=sum([row.macs or 0 for row in costs.rows]),
        backward_macs=sum([row.backward_macs or 0 for row in costs.rows]) if timeline.gradients else 0,
        recomputed_macs=sum([row.macs or 0 for row in costs.rows if row.path in recomputed]),
        step_flops=step_flops,
    )
