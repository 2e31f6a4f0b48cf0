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


class Axis(NamedTuple):
    """The field of output 0 along one axis, in input pixels, and how far that of the next output is."""

    low: int = 0
    high: int = 0
    stride: int = 1

    @property
    def size(self) -> int:
        """How many pixels wide."""
        return self.high - self.low + 1

    @property
    def centre(self) -> float:
        """Its middle, pixel i being at i, so that a field of even size has its middle between two pixels."""
        return (self.low + self.high) / 2

    def seen(self, outputs: int, pixels: int) -> int:
        """The most of `pixels` pixels that one of `outputs` outputs sees: what hangs over a border sees nothing."""
        # How much is seen grows, stays and falls again along the axis: the best output is one of the two beside the
        # place where the field's middle is the input's.
        middle = (pixels - 1 - self.low - self.high) // (2 * self.stride)
        best = 0
        for place in (middle, middle + 1):
            first = min(max(place, 0), outputs - 1) * self.stride
            best = max(best, min(first + self.high, pixels - 1) - max(first + self.low, 0) + 1)
        return best


class NoField(NamedTuple):
    """Why a tensor has no receptive field, and the layer from which on it has none."""

    reason: str
    layer: str


Field = tuple[Axis, ...]


def receptive_fields(graph: Graph) -> Mapping[str, Field | None]:
    """The field of each node by name, per axis; None once the plane is gone or its windows are not all alike.

    A graph's inputs see themselves. Where paths of different strides meet, or planes that lie in different dimensions,
    no one field describes the result: None. Nor does it where windows slide over what is not the plane.
    """
    return {name: None if isinstance(field, NoField) else field for name, field in traced_fields(graph).items()}


def traced_fields(graph: Graph) -> Mapping[str, Field | NoField]:
    """The field of each node by name, per axis, or why it has none."""
    fields: dict[str, Field | NoField] = {
        name: NoField("the input is no plane", name) if graph.plane(name) is None else (Axis(),) * 2
        for name, *_ in graph.inputs
    }
    constant = set()  # what depends on no input, and so neither adds to a field nor takes it away
    for node in graph.nodes:
        seen = [fields[i] for i in node.inputs if i not in constant]
        if not seen:
            constant.add(node.name)
            fields[node.name] = NoField("it does not depend on the input", node.name)
            continue
        field = _join(node.name, seen)
        fields[node.name] = field if isinstance(field, NoField) else _through(graph, node, field, constant)
    return fields


def _through(graph: Graph, node: Node, field: Field, constant: Container[str]) -> Field | NoField:
    windows = node.op.windows(*graph.input_shapes(node))
    read = {graph.layouts[name].plane for name in node.inputs if name not in constant}
    plane = graph.layouts[node.name].plane
    if windows is None or plane is None:
        return NoField(_why_none(node, graph.plane(node.name)), node.name)
    if len(read) > 1:
        return NoField("planes that lie in different dimensions meet", node.name)
    if node.op.rank == 4 and read != {plane}:
        return NoField("it takes for the plane what is not the plane", node.name)
    if not windows:
        return field
    return tuple(
        Axis(a.low - padding * a.stride, a.high + (dilation * (kernel - 1) - padding) * a.stride, a.stride * stride)
        for a, (kernel, stride, padding, dilation) in zip(field, windows, strict=True)
    )


def _why_none(node: Node, plane: Shape | None) -> str:
    if not node.op.counted:
        return f"nobody has told what a {node.op.label()} looks at"
    if plane is None:
        return "the plane is gone"
    if node.op.name.endswith(("_norm", "_norm2d")):
        return "each place is scaled by what is in all of them"
    return "one place sees the whole plane" if plane == (1, 1) else "its windows differ in size"


def _join(name: str, fields: list[Field | NoField]) -> Field | NoField:
    if len(fields) == 1:
        return fields[0]
    known: list[Field] = []
    for field in fields:
        if isinstance(field, NoField):
            return field
        known.append(field)
    for axes in zip(*known, strict=True):
        strides = sorted({axis.stride for axis in axes})
        if len(strides) > 1:
            return NoField(f"paths of strides {' and '.join(map(str, strides))} meet", name)
    return tuple(
        Axis(min(a.low for a in axes), max(a.high for a in axes), axes[0].stride) for axes in zip(*known, strict=True)
    )


# -- against the input --------------------------------------------------------------------------------------------


class Sight(NamedTuple):
    """What a layer sees: its field or why it has none, and per axis the pixels of the input that one output sees."""

    layer: str
    kind: str
    output: Shape
    field: Field | NoField
    seen: tuple[int, ...] | None
    weighs: bool  # whether it is a weight layer

    def sees_all(self, plane: Shape) -> bool:
        """Whether one output sees the whole input."""
        return self.seen == plane


class Coverage(NamedTuple):
    """How much of its input, of a plane of such a height and width, each layer of a network sees."""

    network: str
    plane: Shape
    layers: tuple[Sight, ...]

    def widest_convolution(self) -> Sight | None:
        """The weight layer that sees most pixels of the input, the last of several; None where none has a field."""
        widest, most = None, 0
        for sight in self.layers:
            pixels = 0 if sight.seen is None else prod(sight.seen)
            if sight.weighs and pixels >= most and sight.seen is not None:
                widest, most = sight, pixels
        return widest


def coverage(graph: Graph, layer: str | None = None) -> Coverage:
    """What each layer, or each below a prefix, sees. Raises CostcalcError where there is no such layer or no plane."""
    planes = [shape[2:] for _, shape, *_ in graph.inputs if len(shape) == 4]
    if not planes:
        raise CostcalcError(f"{graph.name} takes no image: it has no receptive fields")
    nodes = graph.nodes if layer is None else graph.select(layer)
    fields = traced_fields(graph)
    return Coverage(graph.name, planes[0], tuple(_sight(graph, node, fields[node.name], planes[0]) for node in nodes))


def _sight(graph: Graph, node: Node, field: Field | NoField, plane: Shape) -> Sight:
    output = graph.shapes[node.name]
    places, seen = graph.plane(node.name), None
    if places is not None and not isinstance(field, NoField):
        seen = tuple([a.seen(*sizes) for a, *sizes in zip(field, places, plane, strict=True)])
    return Sight(node.name, node.op.label(), output, field, seen, node.op.weight_layer)
