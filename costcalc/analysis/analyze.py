"""The analysis: from a graph to a table of costs with one row per layer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set
from typing import NamedTuple, TypedDict

from costcalc.analysis.conventions import (
    ALL_OUTPUTS,
    ALL_PARAMETERS,
    Convention,
    CountedLayer,
    get_convention,
    sum_terms,
)
from costcalc.analysis.cost_table import CostTable, Row
from costcalc.analysis.receptive_field import receptive_fields
from costcalc.core.devices import Device
from costcalc.core.dtypes import element_bytes, element_type_bytes
from costcalc.core.sizes import Count, Shape, Size, identical, prod
from costcalc.ir.graph import Graph, Node


class AnalysisOptions(TypedDict, total=False):
    """The options of `analyze` that other functions take and forward to it."""

    convention: str
    dtype: str


def analyze(
    graph: Graph,
    *,
    convention: str = "flops",
    dtype: str = "fp32",
    training: bool = False,
    frozen: Collection[str] = (),
    device: Device | None = None,
) -> CostTable:
    """Return the cost of every layer of `graph`, in execution order, for its whole batch.

    Counts are ints, arrays or expressions, as the sizes of the graph are.

    Args:
        graph: the network.
        convention: name of the convention that `flops` and the bytes of activations and parameters follow. Parameters,
            MACs and activation elements never follow it.
        dtype: type of parameters and of floating-point activations.
        training: analyze training mode, in which dropout allocates its output.
        frozen: paths of layers, or prefixes of paths, whose parameters require no gradient. Affects only the MACs of
            the backward pass.
        device: device whose kernels run, which decides which reshapes copy. Without one, attention has a contiguous
            output.

    Raises:
        CostcalcError: there is no such convention, dtype or layer.
    """
    size = element_bytes(dtype)
    analysis = _Analysis(graph, get_convention(convention), size, training, frozen, device)
    rows = tuple([analysis.row(node) for node in graph.nodes])
    return CostTable(
        graph.name,
        rows,
        title=graph.title,
        inputs={each.name: each.shape for each in graph.inputs},
        settings=graph.settings,
        dtype=dtype,
        convention=convention,
        training=training,
        input_bytes=sum([prod(each.shape) * element_type_bytes(each.element_type, size) for each in graph.inputs]),
        assumptions=tuple(map(str, graph.assumptions)),
        unknown=tuple([row for row in rows if row.work is None]),
        unused_parameters=graph.unused_parameters,
        notes=graph.notes,
    )


class _ParameterCounts(NamedTuple):
    """Counts of the parameters that a layer owns; None where they are not known."""

    total: Size | None
    weights: Size | None
    counted: Count | None  # as the convention counts them
    bytes: Size | None


class _ActivationCounts(NamedTuple):
    """Counts of the tensors that a layer allocates."""

    elements: Size
    counted: Count  # as the convention counts them
    bytes: Count


class _Analysis:
    """One analysis of a graph: its options, and the facts that are computed for all layers at once."""

    def __init__(
        self,
        graph: Graph,
        convention: Convention,
        dtype_bytes: int,
        training: bool,
        frozen: Collection[str],
        device: Device | None,
    ) -> None:
        self.graph = graph
        self.convention = convention
        self.dtype_bytes = dtype_bytes
        self.training = training
        self.execution = graph.execution(device, training)
        self.excluded_layers = convention.excluded_layers(graph)
        self.inputs = {node.name: graph.input_shapes(node) for node in graph.nodes}
        self.parameters = {node.name: node.op.parameters(*self.inputs[node.name]) for node in graph.nodes}
        self.trainable_layers = _trainable_layers(graph, self.parameters, frozen)
        self.requires_grad = _requires_grad(graph, self.trainable_layers)
        self.receptive_fields = receptive_fields(graph)
        self.spatial_sizes = _spatial_sizes(graph)
        self.weight_layers = _weight_layers(graph)

    def row(self, node: Node) -> Row:
        """Return the costs of a layer."""
        op, resolved_op = node.op, self.execution.op(node)
        inputs, output = self.inputs[node.name], self.graph.shapes[node.name]
        owned = {} if node.shares else self.parameters[node.name]
        layer = None  # what the convention counts; None if the cost of the layer is not known
        if op.modelled:
            work = op.work(inputs, output)
            layer = CountedLayer(resolved_op, inputs, output, work, node.functional, not node.shares)
        parameters = self._parameter_counts(node, layer, owned)
        allocated = (output, *op.extra_outputs(*inputs)) if resolved_op.allocates_output(self.training) else ()
        activations = self._activation_counts(node, layer, allocated)
        field = self.receptive_fields[node.name]
        return Row(
            path=node.name,
            op=op.label(),
            output=output,
            params=parameters.total,
            param_bytes=parameters.bytes,
            work=None if layer is None else layer.work,
            flops=None if layer is None else sum_terms(self.convention.work, layer),
            activations=activations.elements,
            activation_bytes=activations.bytes,
            weights=parameters.weights,
            counted_params=parameters.counted,
            counted_activations=activations.counted,
            backward_macs=None if layer is None else self._backward_macs(node, layer),
            unknown_layers=0 if op.modelled else 1,
            weight_layers=1 if node.name in self.weight_layers else 0,
            nonlinearities=1 if op.nonlinearity else 0,
            inputs=inputs,
            parameters=owned,
            buffers={} if node.shares else op.buffers(*inputs),
            spatial_size=self.spatial_sizes[node.name],
            receptive_field=None if field is None else tuple([axis.size for axis in field]),
            receptive_stride=None if field is None else tuple([axis.stride for axis in field]),
        )

    def _parameter_counts(self, node: Node, layer: CountedLayer | None, owned: Mapping[str, Shape]) -> _ParameterCounts:
        if layer is None and not node.shares:
            return _ParameterCounts(None, None, None, None)
        sizes = [(prod(shape), len(shape)) for shape in owned.values()]
        total, terms = sum([size for size, _ in sizes]), self.convention.parameters
        return _ParameterCounts(
            total=total,
            weights=sum([size for size, rank in sizes if rank > 1]),
            counted=total if layer is None or terms is ALL_PARAMETERS else sum_terms(terms, layer),
            bytes=total * self.dtype_bytes * self.convention.param_copies,
        )

    def _activation_counts(
        self, node: Node, layer: CountedLayer | None, allocated: tuple[Shape, ...]
    ) -> _ActivationCounts:
        sizes = [prod(shape) for shape in allocated]
        elements, terms = sum(sizes), self.convention.activations
        if layer is None or terms is ALL_OUTPUTS:
            counted: Count = elements
            stored: Count = self._stored_bytes(node, sizes)
        else:
            counted = sum_terms(terms, layer)
            stored = self._stored_bytes(node, [counted])
        return _ActivationCounts(elements, counted, 0 if node.name in self.excluded_layers else stored)

    def _stored_bytes(self, node: Node, elements: Sequence[Count]) -> Count:
        """Return the bytes that the convention stores for so many elements of each output of a layer."""
        types = self.graph.element_types
        if len(elements) < 2:
            return elements[0] * self._element_bytes(types[node.name]) if elements else 0
        element_types = [types[node.name]] * len(elements)
        element_types[1:] = node.op.extra_element_types(*[types[name] for name in node.inputs]) or element_types[1:]
        return sum([count * self._element_bytes(type_) for count, type_ in zip(elements, element_types, strict=True)])

    def _element_bytes(self, element_type: str) -> int:
        """Return the bytes that the convention stores for one element of an activation."""
        return element_type_bytes(element_type, self.dtype_bytes * self.convention.activation_copies)

    def _backward_macs(self, node: Node, layer: CountedLayer) -> Size:
        if node.name not in self.graph.reachable:
            return 0
        return node.op.backward_macs(
            layer.work.macs,
            node.name in self.trainable_layers,
            tuple([self.requires_grad[name] for name in node.inputs]),
            layer.inputs,
        )


def _trainable_layers(graph: Graph, parameters: Mapping[str, Mapping[str, Shape]], frozen: Collection[str]) -> Set[str]:
    """Return the names of the layers with parameters, their own or shared, that are not frozen."""
    frozen_layers = {node.shares or node.name for prefix in frozen for node in graph.select(prefix)}
    return {
        node.name for node in graph.nodes if parameters[node.name] and (node.shares or node.name) not in frozen_layers
    }


def _requires_grad(graph: Graph, trainable_layers: Set[str]) -> Mapping[str, bool]:
    """Return which tensors require a gradient: outputs of trainable layers and what is computed from them."""
    requires_grad = {each.name: False for each in graph.inputs}
    for node in graph.nodes:
        requires_grad[node.name] = graph.element_types[node.name] == "float" and (
            node.name in trainable_layers or any(requires_grad[name] for name in node.inputs)
        )
    return requires_grad


def _weight_layers(graph: Graph) -> Set[str]:
    """Return the weight layers on the path from the inputs to the main output that has the most of them.

    This is the number in the names of VGG-16 and ResNet-50: the projection of a residual block is on the shorter path,
    and BatchNorm is not a weight layer. Of paths with equally many, the one through the earlier inputs is taken.
    """
    count = {each.name: 0 for each in graph.inputs}
    previous: dict[str, str] = {}
    for node in graph.nodes:
        if not node.inputs:
            count[node.name] = 0
            continue
        previous[node.name] = max(node.inputs, key=count.__getitem__)
        count[node.name] = count[previous[node.name]] + node.op.weight_layer
    path = set()
    name = graph.outputs[0]
    while name in previous:
        path.add(name)
        name = previous[name]
    return {node.name for node in graph.nodes if node.name in path and node.op.weight_layer}


def _spatial_sizes(graph: Graph) -> Mapping[str, Shape | None]:
    """Return the spatial size that each layer works at, as `CostTable.by_resolution` defines it."""
    tensors = {name: graph.spatial_size(name) for name in graph.shapes}
    sizes: dict[str, Shape | None] = {}
    for node in graph.nodes:
        before, after = tensors[node.inputs[0]] if node.inputs else None, tensors[node.name]
        changes = before is not None and after is not None and not all(map(identical, before, after))
        sizes[node.name] = before if changes and not node.op.weight_layer and len(node.inputs) == 1 else after
    return sizes
