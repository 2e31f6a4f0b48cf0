"""The torch backend: the same graph as a torch module, run and measured.

    from costcalc.torch_backend import build, copy_weights

    network = build(costcalc.load("resnet50", classes=10))  # train it, export it

The one part of costcalc that imports torch; whoever does not ask for it never loads it.
"""

from costcalc.torch_backend.allocator import allocator_peak
from costcalc.torch_backend.clock import Timing, time_layers
from costcalc.torch_backend.device import Environment, environment
from costcalc.torch_backend.lowering import lower
from costcalc.torch_backend.measure import Measurement, measure
from costcalc.torch_backend.module import build
from costcalc.torch_backend.observe import LiveStorages, Observation, observe
from costcalc.torch_backend.weight_transfer import transfer_weights
from costcalc.torch_backend.weights import copy_weights

__all__ = [
    "Environment",
    "LiveStorages",
    "Measurement",
    "Observation",
    "Timing",
    "allocator_peak",
    "build",
    "copy_weights",
    "environment",
    "lower",
    "measure",
    "observe",
    "time_layers",
    "transfer_weights",
]
