"""How ordinary an explanation is: what each part of it costs.

Costs add up: that of the variant, of the convention, of the change, and 1 if the number is truncated, not rounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType

# A convention: how often its numbers are met in papers, READMEs and slides.
CONVENTION_COST: Mapping[str, int] = MappingProxyType(
    {"macs": 0, "flops": 0, "torch": 0}
    | dict.fromkeys(("fvcore", "timm", "thop", "ptflops", "keras", "cs231n", "googlenet-paper"), 1)
    | dict.fromkeys(("full", "fvcore-training", "ptflops-aten", "torchinfo", "calflops", "bologna", "eecs498"), 2)
    | dict.fromkeys(("xla", "convnet-burden"), 3)
)
MISLABELLED = 1  # the number is called MACs, and the convention counts two per multiply-accumulate
TRUNCATED = 1
SAME_NETWORK = 1  # a variant of the same name: resnet50-torchvision for resnet50, vgg16_bn for vgg16
OTHER_NETWORK = 3  # another member of the family
CHANGE_COST: Mapping[str, int] = MappingProxyType(
    {
        "as it is": 0,
        "own size": 1,  # the input size of the spec, where --input gives another
        "heads": 1,
        "bias": 2,
        "fully connected": 2,
        "size": 3,
        "batch": 3,
        "left out": 4,
        "scale": 4,
        "twice": 5,
        "separable": 6,
    }
)
SIZES = (32, 224, 227, 256, 299, 320, 331, 384, 448, 512)  # square inputs of published tables
BATCHES = tuple(2**n for n in range(11))

# The largest part of all numbers printed alike, between half and twice the published one, that may have an explanation
# as ordinary: where more have one, having one says nothing.
TOO_LIKELY = Fraction(1, 3)
