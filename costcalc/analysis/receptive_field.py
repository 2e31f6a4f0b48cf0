"""Receptive fields: the part of the input that one element of a tensor depends on.

Along an axis, output i depends on the input pixels i·stride + low to i·stride + high, borders ignored. A window with
kernel size k, stride s, padding p and dilation d changes low to low − p·stride, high to
high + (d·(k − 1) − p)·stride, and stride to stride·s. Where paths meet, the field is the union of their fields, so a
skip connection does not shrink it. (Araujo, Norris and Sim, Computing Receptive Fields of Convolutional Neural
Networks, Distill 2019.)
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import NamedTuple

from costcalc.core.errors import CostcalcError
from costcalc.core.sizes import Shape, prod
from costcalc.ir.graph import Graph, Node


class AxisReceptiveField(NamedTuple):
    """The field of output 0 along one axis, and the distance to the field of the next output, in input pixels."""

    low: int = 0
    high: int = 0
    stride: int = 1

    @property
    def size(self) -> int:
        """The width in pixels."""
        return self.high - self.low + 1

    @property
    def center(self) -> float:
        """The centre, with pixel i at i: the centre of a field of even size is between two pixels."""
        return (self.low + self.high) / 2

    def visible_pixels(self, outputs: int, pixels: int) -> int:
        """Return the largest number of `pixels` input pixels in the field of any of `outputs` outputs."""
        # Along the axis, the number of pixels inside the input rises, stays constant and falls. Its maximum is at one
        # of the two outputs next to the position where the centre of the field is the centre of the input.
        middle = (pixels - 1 - self.low - self.high) // (2 * self.stride)
        best = 0
        for index in (middle, middle + 1):
            offset = min(max(index, 0), outputs - 1) * self.stride
            best = max(best, min(offset + self.high, pixels - 1) - max(offset + self.low, 0) + 1)
        return best


class NoReceptiveField(NamedTuple):
    """Why a tensor has no receptive field, and the first layer on its path without one."""

    reason: str
    layer: str


ReceptiveField = tuple[AxisReceptiveField, ...]


def receptive_fields(graph: Graph) -> Mapping[str, ReceptiveField | None]:
    """Return the receptive field of each tensor by name, per axis, or None if it has none.

    The field of an input is the pixel itself. A tensor has no field if it has no spatial dimensions, if the windows of
    a layer differ in size or slide along other dimensions, or where paths meet whose strides or spatial dimensions
    differ.
    """
    return {
        name: None if isinstance(field, NoReceptiveField) else field
        for name, field in trace_receptive_fields(graph).items()
    }


def trace_receptive_fields(graph: Graph) -> Mapping[str, ReceptiveField | NoReceptiveField]:
    """Return the receptive field of each tensor by name, per axis, or the reason why it has none."""
    fields: dict[str, ReceptiveField | NoReceptiveField] = {
        name: NoReceptiveField("the input is not an image", name)
        if graph.spatial_size(name) is None
        else (AxisReceptiveField(),) * 2
        for name, *_ in graph.inputs
    }
    constant = set()  # tensors that depend on no input, which do not change a field
    for node in graph.nodes:
        input_fields = [fields[name] for name in node.inputs if name not in constant]
        if not input_fields:
            constant.add(node.name)
            fields[node.name] = NoReceptiveField("it does not depend on the input", node.name)
            continue
        field = _merge(node.name, input_fields)
        fields[node.name] = (
            field if isinstance(field, NoReceptiveField) else _apply_windows(graph, node, field, constant)
        )
    return fields


def _apply_windows(
    graph: Graph, node: Node, field: ReceptiveField, constant: Container[str]
) -> ReceptiveField | NoReceptiveField:
    windows = node.op.sliding_windows(*graph.input_shapes(node))
    input_dims = {graph.layouts[name].spatial_dims for name in node.inputs if name not in constant}
    spatial_dims = graph.layouts[node.name].spatial_dims
    if windows is None or spatial_dims is None:
        return NoReceptiveField(_undefined_reason(node, graph.spatial_size(node.name)), node.name)
    if len(input_dims) > 1:
        return NoReceptiveField("inputs with different spatial dimensions meet", node.name)
    if node.op.rank == 4 and input_dims != {spatial_dims}:
        return NoReceptiveField("its windows slide along other than the spatial dimensions", node.name)
    if not windows:
        return field
    return tuple(
        AxisReceptiveField(
            axis.low - padding * axis.stride,
            axis.high + (dilation * (kernel - 1) - padding) * axis.stride,
            axis.stride * stride,
        )
        for axis, (kernel, stride, padding, dilation) in zip(field, windows, strict=True)
    )


def _undefined_reason(node: Node, spatial_size: Shape | None) -> str:
    if not node.op.modelled:
        return f"the windows of {node.op.label()} are not known"
    if spatial_size is None:
        return "no spatial dimensions are left"
    if node.op.is_normalization:
        return "each output depends on statistics of all positions"
    return "one output sees the whole plane" if spatial_size == (1, 1) else "its windows differ in size"


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


# -- coverage of the input ----------------------------------------------------------------------------------------


class LayerCoverage(NamedTuple):
    """The receptive field of a layer, and the part of the input that it covers."""

    layer: str
    op: str
    output: Shape
    receptive_field: ReceptiveField | NoReceptiveField
    visible: tuple[int, ...] | None  # per axis, the most input pixels in the field of one output
    is_weight_layer: bool

    def covers(self, input_size: Shape) -> bool:
        """Return whether the field of one output covers the whole input."""
        return self.visible == input_size


class Coverage(NamedTuple):
    """The part of an input image, of size (height, width), that each layer of a network sees."""

    network: str
    input_size: Shape
    layers: tuple[LayerCoverage, ...]

    def widest_convolution(self) -> LayerCoverage | None:
        """Return the weight layer that sees the most input pixels, the last of several; None if none has a field."""
        widest, most = None, 0
        for layer in self.layers:
            pixels = 0 if layer.visible is None else prod(layer.visible)
            if layer.is_weight_layer and pixels >= most and layer.visible is not None:
                widest, most = layer, pixels
        return widest


def coverage(graph: Graph, layer: str | None = None) -> Coverage:
    """Return the coverage of each layer, or of each layer below the path `layer`.

    Raises:
        CostcalcError: the graph has no such layer, or no input is an image.
    """
    input_sizes = [each.shape[2:] for each in graph.inputs if len(each.shape) == 4]
    if not input_sizes:
        raise CostcalcError(f"{graph.name} has no receptive fields: no input of it is an image")
    nodes = graph.nodes if layer is None else graph.select(layer)
    fields = trace_receptive_fields(graph)
    input_size = input_sizes[0]
    layers = tuple(_layer_coverage(graph, node, fields[node.name], input_size) for node in nodes)
    return Coverage(graph.name, input_size, layers)


def _layer_coverage(
    graph: Graph, node: Node, field: ReceptiveField | NoReceptiveField, input_size: Shape
) -> LayerCoverage:
    output_size, visible = graph.spatial_size(node.name), None
    if output_size is not None and not isinstance(field, NoReceptiveField):
        axes = zip(field, output_size, input_size, strict=True)
        visible = tuple([axis.visible_pixels(outputs, pixels) for axis, outputs, pixels in axes])
    return LayerCoverage(
        layer=node.name,
        op=node.op.label(),
        output=graph.shapes[node.name],
        receptive_field=field,
        visible=visible,
        is_weight_layer=node.op.weight_layer,
    )
