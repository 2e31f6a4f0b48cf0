"""The memory layout of a tensor: which dimensions are spatial, and the order of its strides."""

from __future__ import annotations

from typing import NamedTuple


class Layout(NamedTuple):
    """The memory layout of a tensor."""

    spatial_dims: tuple[int, int] | None  # height and width
    dim_order: tuple[int, ...]  # in memory, the outermost dimension first
    # Dimensions that are not contiguous with those inside them: the tensor was sliced or expanded
    strided_dims: frozenset[int] = frozenset()

    @classmethod
    def contiguous(cls, rank: int) -> Layout:
        """Return the layout of a new tensor; 4 dimensions are those of an image."""
        return NCHW if rank == 4 else cls(None, tuple(range(rank)))


NCHW = Layout((2, 3), (0, 1, 2, 3))
CHANNELS_LAST = (0, 2, 3, 1)  # a `dim_order`
