"""Prior costs of the parts of an explanation: how unusual each is before a number is seen.

The costs of the variant, of the convention (`Convention.prior`) and of the change add up; truncation costs 1 more.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType

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
