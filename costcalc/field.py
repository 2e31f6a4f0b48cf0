"""Receptive fields: the part of the input that one element of a tensor can see.

Along an axis, output i sees the input pixels i·stride + low to i·stride + high, borders ignored. A window of k taps
(stride s, padding p, dilation d) makes of it low − p·stride, high + (d·(k − 1) − p)·stride and stride·s; where paths
meet, the field is the span of all of them, so a skip does not shrink it. (Araujo, Norris and Sim, Computing Receptive
Fields of Convolutional Neural Networks, Distill 2019.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from costcalc.graph import Graph


class Axis(NamedTuple):
    """The field of output 0 along one axis, in input pixels, and how far that of the next output is."""

    low: int = 0
    high: int = 0
    stride: int = 1

    @property
    def size(self) -> int:
        """How many pixels wide."""
        return self.high - self.low + 1


def receptive_fields(graph: Graph) -> Mapping[str, tuple[Axis, ...] | None]:
    """The field of each node by name, per axis; None once the plane is gone or its windows are not all alike.

    A graph's inputs see themselves. Where paths of different strides meet, no one field describes the result: None.
    """
    fields: dict[str, tuple[Axis, ...] | None] = {
        name: (Axis(),) * 2 if len(shape) == 4 else None for name, shape in graph.inputs
    }
    for node in graph.nodes:
        windows = node.op.windows(*graph.input_shapes(node))
        fields[node.name] = None if windows is None else _through(windows, _join([fields[i] for i in node.inputs]))
    return fields


def _through(windows: tuple[NamedTuple, ...], field: tuple[Axis, ...] | None) -> tuple[Axis, ...] | None:
    if field is None or not windows:
        return field
    return tuple(
        Axis(a.low - padding * a.stride, a.high + (dilation * (kernel - 1) - padding) * a.stride, a.stride * stride)
        for a, (kernel, stride, padding, dilation) in zip(field, windows, strict=True)
    )


def _join(fields: list[tuple[Axis, ...] | None]) -> tuple[Axis, ...] | None:
    if len(fields) == 1:
        return fields[0]
    known = [f for f in fields if f is not None]
    if len(known) < len(fields) or len({tuple(a.stride for a in f) for f in known}) > 1:
        return None
    return tuple(
        Axis(min(a.low for a in axes), max(a.high for a in axes), axes[0].stride) for axes in zip(*known, strict=True)
    )
