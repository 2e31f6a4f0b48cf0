"""The memory of a forward pass, a backward pass and an optimizer step, tensor by tensor.

    from costcalc.analysis.memory import timeline

    training = timeline(costcalc.load("vgg16", batch=32), training=True, optimizer="adam")
    training.peak_total, training.peak_at, training.by_kind, training.saved_for_backward

The simulation needs only a graph. It is exact to the byte for the tensors that torch's dispatcher allocates, which
`torch_backend.observe` measures.
"""

from costcalc.analysis.memory.checkpoint import CHECKPOINTS, Checkpoint
from costcalc.analysis.memory.fit import Fit, largest_batch, largest_input
from costcalc.analysis.memory.optimizers import OPTIMIZERS
from costcalc.analysis.memory.simulation import timeline
from costcalc.analysis.memory.timeline import (
    ALLOCATION_KINDS,
    PERSISTENT_KINDS,
    Allocation,
    AllocationKind,
    Event,
    Phase,
    Timeline,
    with_saved_bytes,
)
from costcalc.analysis.memory.training_flops import TrainingFlops, training_flops

__all__ = [
    "ALLOCATION_KINDS",
    "CHECKPOINTS",
    "OPTIMIZERS",
    "PERSISTENT_KINDS",
    "Allocation",
    "AllocationKind",
    "Checkpoint",
    "Event",
    "Fit",
    "Phase",
    "Timeline",
    "TrainingFlops",
    "largest_batch",
    "largest_input",
    "timeline",
    "training_flops",
    "with_saved_bytes",
]
