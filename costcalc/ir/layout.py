"""The memory layout of a tensor: which dimensions are spatial, and the order of its strides."""

from __future__ import annotations

from typing import NamedTuple


class Layout(NamedTuple):
    """Where the dimensions of a tensor are.

    `plane` are its height and width, None where it has none; `order` is that in which dimensions lie in memory, the
    outermost first. The `gaps` are dimensions whose places lie further apart, or closer, than what is inside them is
    long: something was cut out of it, or it is repeated.
    """

    spatial_dims: tuple[int, int] | None
    dim_order: tuple[int, ...]
    strided_dims: frozenset[int] = frozenset()

    @classmethod
    def contiguous(cls, rank: int) -> Layout:
        """That of a tensor as it comes: with 4 dimensions they are batch, channels, height and width."""
        return _NCHW if rank == 4 else cls(None, tuple(range(rank)))


_NCHW = Layout((2, 3), (0, 1, 2, 3))


CHANNELS_LAST = (0, 2, 3, 1)
