"""Prior costs of the parts of an explanation: how unusual each is before a number is seen.

The costs of the variant, of the convention (`Convention.prior`) and of the slip add up; truncation costs 1 more.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

MISLABELLED_COST = 1  # the number is called MACs, and the convention counts two per multiply-accumulate
TRUNCATED_COST = 1
SAME_NETWORK_COST = 1  # a variant of the same name: resnet50-torchvision for resnet50, vgg16_bn for vgg16
OTHER_NETWORK_COST = 3  # another member of the family


class Slip(NamedTuple):
    """One way in which a published count may differ from the network as it is, with its prior cost.

    `description` may have a field that is filled in for each candidate.
    """

    prior: int
    description: str


OWN_SIZE = Slip(1, "at its own {size}")  # the input size of the spec, where --input gives another
AUXILIARY_HEADS = Slip(1, "{with_or_without} auxiliary heads")
BIASES = Slip(2, "{with_or_without} biases")
NO_LINEAR_LAYERS = Slip(2, "without fully connected layers")
OTHER_SIZE = Slip(3, "at {size}×{size}")
OTHER_BATCH = Slip(3, "at batch {batch}")
LEFT_OUT = Slip(4, "one layer left out")
NO_SCALES = Slip(4, "without the scales of BatchNorm")  # as TF-slim and Keras build it before a ReLU
TWICE = Slip(5, "one layer counted twice")
SEPARABLE = Slip(6, "one k×k kernel as k×1 and 1×k")

CANDIDATE_SIZES = (32, 224, 227, 256, 299, 320, 331, 384, 448, 512)  # square inputs of published tables
CANDIDATE_BATCHES = tuple(2**n for n in range(11))

# The search ends where a larger fraction of the numbers printed to the same precision, between half and twice the
# published one, has an explanation of at most the same cost: an explanation of such a cost means nothing.
MAX_EXPLAINED_FRACTION = Fraction(1, 3)
