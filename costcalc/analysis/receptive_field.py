"""Receptive fields: the part of the input that one element of a tensor can see.

Along an axis, output i sees the input pixels i·stride + low to i·stride + high, borders ignored. A window of k taps
(stride s, padding p, dilation d) makes of it low − p·stride, high + (d·(k − 1) − p)·stride and stride·s; where paths
meet, the field is the span of all of them, so a skip does not shrink it. (Araujo, Norris and Sim, Computing Receptive
Fields of Convolutional Neural Networks, Distill 2019.)
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import NamedTuple

from costcalc.core.errors import CostcalcError
from costcalc.core.sizes import Shape, prod
from costcalc.ir.graph import Graph, Node


class AxisReceptiveField(NamedTuple):
    """The field of output 0 along one axis, in input pixels, and how far that of the next output is."""

    low: int = 0
    high: int = 0
    stride: int = 1

    @property
    def size(self) -> int:
        """How many pixels wide."""
        return self.high - self.low + 1

    @property
    def center(self) -> float:
        """Its middle, pixel i being at i, so that a field of even size has its middle between two pixels."""
        return (self.low + self.high) / 2

    def visible_pixels(self, outputs: int, pixels: int) -> int:
        """The most of `pixels` pixels that one of `outputs` outputs sees: what hangs over a border sees nothing."""
        # How much is seen grows, stays and falls again along the axis: the best output is one of the two beside the
        # place where the field's middle is the input's.
        middle = (pixels - 1 - self.low - self.high) // (2 * self.stride)
        best = 0
        for place in (middle, middle + 1):
            first = min(max(place, 0), outputs - 1) * self.stride
            best = max(best, min(first + self.high, pixels - 1) - max(first + self.low, 0) + 1)
        return best


class NoReceptiveField(NamedTuple):
    """Why a tensor has no receptive field, and the layer from which on it has none."""

    reason: str
    layer: str


ReceptiveField = tuple[AxisReceptiveField, ...]


def receptive_fields(graph: Graph) -> Mapping[str, ReceptiveField | None]:
    """The field of each node by name, per axis; None once the plane is gone or its windows are not all alike.

    A graph's inputs see themselves. Where paths of different strides meet, or planes that lie in different dimensions,
    no one field describes the result: None. Nor does it where windows slide over what is not the plane.
    """
    return {
        name: None if isinstance(field, NoReceptiveField) else field
        for name, field in trace_receptive_fields(graph).items()
    }


def trace_receptive_fields(graph: Graph) -> Mapping[str, ReceptiveField | NoReceptiveField]:
    """The field of each node by name, per axis, or why it has none."""
    fields: dict[str, ReceptiveField | NoReceptiveField] = {
        name: NoReceptiveField("the input is no plane", name)
        if graph.spatial_size(name) is None
        else (AxisReceptiveField(),) * 2
        for name, *_ in graph.inputs
    }
    constant = set()  # what depends on no input, and so neither adds to a field nor takes it away
    for node in graph.nodes:
        seen = [fields[i] for i in node.inputs if i not in constant]
        if not seen:
            constant.add(node.name)
            fields[node.name] = NoReceptiveField("it does not depend on the input", node.name)
            continue
        field = _merge(node.name, seen)
        fields[node.name] = (
            field if isinstance(field, NoReceptiveField) else _apply_windows(graph, node, field, constant)
        )
    return fields


def _apply_windows(
    graph: Graph, node: Node, field: ReceptiveField, constant: Container[str]
) -> ReceptiveField | NoReceptiveField:
    windows = node.op.sliding_windows(*graph.input_shapes(node))
    read = {graph.layouts[name].spatial_dims for name in node.inputs if name not in constant}
    plane = graph.layouts[node.name].spatial_dims
    if windows is None or plane is None:
        return NoReceptiveField(_undefined_reason(node, graph.spatial_size(node.name)), node.name)
    if len(read) > 1:
        return NoReceptiveField("planes that lie in different dimensions meet", node.name)
    if node.op.rank == 4 and read != {plane}:
        return NoReceptiveField("it takes for the plane what is not the plane", node.name)
    if not windows:
        return field
    return tuple(
        AxisReceptiveField(
            a.low - padding * a.stride, a.high + (dilation * (kernel - 1) - padding) * a.stride, a.stride * stride
        )
        for a, (kernel, stride, padding, dilation) in zip(field, windows, strict=True)
    )


def _undefined_reason(node: Node, plane: Shape | None) -> str:
    if not node.op.modelled:
        return f"nobody has told what a {node.op.label()} looks at"
    if plane is None:
        return "the plane is gone"
    if node.op.is_normalization:
        return "each place is scaled by what is in all of them"
    return "one place sees the whole plane" if plane == (1, 1) else "its windows differ in size"


def _merge(name: str, fields: list[ReceptiveField | NoReceptiveField]) -> ReceptiveField | NoReceptiveField:
    if len(fields) == 1:
        return fields[0]
    known: list[ReceptiveField] = []
    for field in fields:
        if isinstance(field, NoReceptiveField):
            return field
        known.append(field)
    for axes in zip(*known, strict=True):
        strides = sorted({axis.stride for axis in axes})
        if len(strides) > 1:
            return NoReceptiveField(f"paths of strides {' and '.join(map(str, strides))} meet", name)
    return tuple(
        AxisReceptiveField(min(a.low for a in axes), max(a.high for a in axes), axes[0].stride)
        for axes in zip(*known, strict=True)
    )


# -- against the input --------------------------------------------------------------------------------------------


class LayerCoverage(NamedTuple):
    """What a layer sees: its field or why it has none, and per axis the pixels of the input that one output sees."""

    layer: str
    op: str
    output: Shape
    receptive_field: ReceptiveField | NoReceptiveField
    visible: tuple[int, ...] | None
    is_weight_layer: bool  # whether it is a weight layer

    def covers(self, plane: Shape) -> bool:
        """Whether one output sees the whole input."""
        return self.visible == plane


class Coverage(NamedTuple):
    """How much of its input, of a plane of such a height and width, each layer of a network sees."""

    network: str
    input_size: Shape
    layers: tuple[LayerCoverage, ...]

    def widest_convolution(self) -> LayerCoverage | None:
        """The weight layer that sees most pixels of the input, the last of several; None where none has a field."""
        widest, most = None, 0
        for sight in self.layers:
            pixels = 0 if sight.visible is None else prod(sight.visible)
            if sight.is_weight_layer and pixels >= most and sight.visible is not None:
                widest, most = sight, pixels
        return widest


def coverage(graph: Graph, layer: str | None = None) -> Coverage:
    """What each layer, or each below a prefix, sees. Raises CostcalcError where there is no such layer or no plane."""
    planes = [shape[2:] for _, shape, *_ in graph.inputs if len(shape) == 4]
    if not planes:
        raise CostcalcError(f"{graph.name} takes no image: it has no receptive fields")
    nodes = graph.nodes if layer is None else graph.select(layer)
    fields = trace_receptive_fields(graph)
    return Coverage(
        graph.name, planes[0], tuple(_layer_coverage(graph, node, fields[node.name], planes[0]) for node in nodes)
    )


def _layer_coverage(graph: Graph, node: Node, field: ReceptiveField | NoReceptiveField, plane: Shape) -> LayerCoverage:
    output = graph.shapes[node.name]
    places, seen = graph.spatial_size(node.name), None
    if places is not None and not isinstance(field, NoReceptiveField):
        seen = tuple([a.visible_pixels(*sizes) for a, *sizes in zip(field, places, plane, strict=True)])
    return LayerCoverage(node.name, node.op.label(), output, field, seen, node.op.weight_layer)
