"""The names of a tensor's dimensions.

An op names the dimensions of its operands by what it computes: a 1d convolution takes (batch, channels, length). The
inputs of a network are named by what networks take: an input of three dimensions is (batch, sequence, features).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from costcalc.core.errors import OpError

PLANE_DIM_NAMES = ("height", "width")
IMAGE_DIM_NAMES = ("batch", "channels", *PLANE_DIM_NAMES)

_OPERAND_DIM_NAMES = {
    2: ("batch", "features"),
    3: ("batch", "channels", "length"),
    4: IMAGE_DIM_NAMES,
    5: ("batch", "channels", "depth", *PLANE_DIM_NAMES),
}
_INPUT_DIM_NAMES = {**_OPERAND_DIM_NAMES, 3: ("batch", "sequence", "features")}
INPUT_DIM_NAMES = ("batch", "channels", "depth", *PLANE_DIM_NAMES, "sequence", "features")  # of inputs of any rank

EXAMPLE_IMAGE: Mapping[str, int] = MappingProxyType({"channels": 3, "height": 224, "width": 224})  # ImageNet's crop


def operand_dim_names(rank: int) -> tuple[str, ...]:
    """Return the names of the dimensions of an op's input with 2 to 5 dimensions."""
    return _OPERAND_DIM_NAMES[rank]


def input_dim_names(rank: int, element_type: str = "float") -> tuple[str, ...]:
    """Return the names of the dimensions of a network's input; "" for a dimension without a name.

    A matrix of integers is a batch of sequences of indices; one of floats, a batch of feature vectors.
    """
    if rank == 2 and element_type != "float":
        return ("batch", "sequence")
    return _INPUT_DIM_NAMES.get(rank, ("batch", *("",) * (rank - 1))[:rank])


def dim_label(index: int, rank: int) -> str:
    """Return what messages call a dimension: "height" of an image, or "size 2" of other tensors."""
    return IMAGE_DIM_NAMES[index] if rank == len(IMAGE_DIM_NAMES) else f"size {index + 1}"


def normalize_dim(dim: int, rank: int, argument: str = "dim") -> int:
    """Return a dimension, which may be counted from the end, counted from 0. Raises OpError for one out of range."""
    if not -rank <= dim < rank:
        raise OpError(f"{argument} {dim} is not a dimension of an input with {rank}", argument)
    return dim % rank
