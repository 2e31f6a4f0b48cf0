"""From a graph to its costs: one row a layer, each count from the op's own formulas."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypedDict

from costcalc.analysis.conventions import ALL_OUTPUTS, ALL_PARAMETERS, CountedLayer, get_convention, sum_terms
from costcalc.analysis.cost_table import CostTable, Row
from costcalc.analysis.receptive_field import receptive_fields
from costcalc.core.dtypes import ELEMENT_TYPES, element_bytes
from costcalc.core.sizes import Shape, Size, identical, prod
from costcalc.ir.graph import Graph, Node
from costcalc.ir.work import Work


class AnalysisOptions(TypedDict, total=False):
    """How to count: what `analyze` and everything above it takes by these names."""

    convention: str
    dtype: str


def analyze(
    graph: Graph,
    *,
    convention: str = "flops",
    dtype: str = "fp32",
    training: bool = False,
    frozen: Collection[str] = (),
) -> CostTable:
    """The cost of every layer of `graph`, in running order, for its whole batch.

    `flops` and the bytes of activations and parameters follow `convention`; parameters, MACs and activation elements
    never do. `dtype` is what every tensor is stored in; in `training`, dropout makes a tensor. The parameters of
    `frozen` layers, or of all below such a prefix, need no gradient, which `backward_macs` alone shows. Counts are of
    whatever carrier the graph's sizes are: ints, arrays or expressions. Raises CostcalcError for an unknown convention,
    dtype or layer.
    """
    rule = get_convention(convention)
    element = element_bytes(dtype)
    stored = element * rule.activation_copies
    uncounted = rule.excluded_layers(graph)
    fields = receptive_fields(graph)
    planes = _spatial_sizes(graph)
    weighing = _weight_layers(graph)
    reached = graph.reachable
    still = {node.shares or node.name for prefix in frozen for node in graph.select(prefix)}
    # Whether training needs a tensor's gradient: where it depends on parameters (the data does not).
    learns = {name: False for name, *_ in graph.inputs}
    rows = []
    for node in graph.nodes:
        op, name = node.op, node.name
        inputs, output = graph.input_shapes(node), graph.shapes[name]
        used = op.parameters(*inputs)
        parameters = {} if node.shares else used
        taught = bool(used) and (node.shares or name) not in still
        differentiable = graph.element_types[name] == "float"
        learns[name] = differentiable and (taught or any(learns[i] for i in node.inputs))
        work = op.work(inputs, output) if op.modelled else None
        params = sum([prod(shape) for shape in parameters.values()]) if op.modelled or node.shares else None
        runs = graph.resolved_op(node)
        holds = ELEMENT_TYPES[graph.element_types[name]]  # bytes of an element that is not of the dtype
        made = (
            [prod(shape) for shape in (output, *op.extra_outputs(*inputs))] if runs.allocates_output(training) else []
        )
        activations = sum(made)
        layer = None if work is None else CountedLayer(runs, inputs, output, work, node.functional, not node.shares)
        every = rule.activations is ALL_OUTPUTS or layer is None
        counted = activations if every or layer is None else sum_terms(rule.activations, layer)
        counted_bytes = counted * (stored if holds is None else holds)
        others = op.extra_element_types(*[graph.element_types[i] for i in node.inputs])
        if others and every:
            sizes = [ELEMENT_TYPES[what] or stored for what in (graph.element_types[name], *others)]
            counted_bytes = sum([count * size for count, size in zip(made, sizes, strict=False)])
        field = fields[name]
        rows.append(
            Row(
                name,
                op.label(),
                output,
                params,
                work,
                None if layer is None else sum_terms(rule.work, layer),
                activations,
                None if params is None else params * element * rule.param_copies,
                0 if name in uncounted else counted_bytes,
                None if params is None else sum([prod(s) for s in parameters.values() if len(s) > 1]),
                1 if name in weighing else 0,
                None if field is None else tuple([axis.size for axis in field]),
                None if field is None else tuple([axis.stride for axis in field]),
                inputs,
                parameters,
                {} if node.shares else op.buffers(*inputs),
                planes[name],
                backward_macs=None
                if work is None
                else _backward_macs(work, taught, node, inputs, learns, name in reached),
                unknown_layers=0 if op.modelled else 1,
                counted_params=params
                if rule.parameters is ALL_PARAMETERS or layer is None
                else sum_terms(rule.parameters, layer),
                counted_activations=counted,
                nonlinearities=1 if op.nonlinearity else 0,
            )
        )
    return CostTable(
        graph.name,
        tuple(rows),
        title=graph.title,
        inputs={name: shape for name, shape, *_ in graph.inputs},
        settings=graph.settings,
        dtype=dtype,
        convention=convention,
        training=training,
        input_bytes=sum(prod(shape) * (ELEMENT_TYPES[holds] or element) for _, shape, holds in graph.inputs),
        assumptions=tuple(map(str, graph.assumptions)),
        unknown=tuple(row for row in rows if row.work is None),
        unused_parameters=graph.unused_parameters,
        notes=graph.notes,
    )


def _backward_macs(
    work: Work,
    trainable: bool,
    node: Node,
    inputs: tuple[Shape, ...],
    requires_grad: Mapping[str, bool],
    reachable: bool,
) -> Size:
    if not reachable:
        return 0
    return node.op.backward_macs(work.macs, trainable, tuple([requires_grad[i] for i in node.inputs]), inputs)


def _weight_layers(graph: Graph) -> set[str]:
    """The weight layers on the longest path from the inputs to the main output, by their number.

    The rule that names VGG-16 and ResNet-50: a projection lies on the shorter way round its block, and BatchNorm is no
    weight layer. Of equally long paths, the first branch is taken.
    """
    longest: dict[str, int] = {name: 0 for name, *_ in graph.inputs}
    before: dict[str, str] = {}
    weighing = set()
    for node in graph.nodes:
        if not node.inputs:
            longest[node.name] = 0
            continue
        before[node.name] = max(node.inputs, key=longest.__getitem__)
        longest[node.name] = longest[before[node.name]] + node.op.weight_layer
        if node.op.weight_layer:
            weighing.add(node.name)
    path = set()
    name = graph.outputs[0]
    while name in before:
        path.add(name)
        name = before[name]
    return path & weighing


def _spatial_sizes(graph: Graph) -> dict[str, Shape | None]:
    """The plane each layer works at; None once it is gone.

    A layer works at the size of its output; a pool, or another layer that changes the plane without weights, at the
    size of its input: it closes the stage that it reads.
    """
    planes: dict[str, Shape | None] = {}
    for node in graph.nodes:
        read, made = graph.spatial_size(node.inputs[0]) if node.inputs else None, graph.spatial_size(node.name)
        changes = read is not None and made is not None and not all(map(identical, read, made))
        planes[node.name] = read if changes and not node.op.weight_layer and len(node.inputs) == 1 else made
    return planes
