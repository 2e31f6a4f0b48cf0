"""The layer graph: immutable, and validated when it is created.

A graph is a flat tuple of nodes in execution order. The inputs of a node are inputs of the graph or earlier nodes, so a
graph has no cycles. The name of a node is a path, such as `inception3a/5x5/conv/conv2d`; each prefix of a path names a
group of layers. A new graph infers all shapes and raises an error for layers that do not fit together.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

from costcalc.core.axes import input_dim_names
from costcalc.core.devices import Device
from costcalc.core.errors import CostcalcError, OpError, did_you_mean
from costcalc.core.sizes import Shape, Size, batch_of, identical
from costcalc.ir.execution import Execution
from costcalc.ir.layout import Layout
from costcalc.ir.op import Assumption, Op, infer_output
from costcalc.ir.ops.tensors import Result
from costcalc.ir.paths import is_selected, prefixes


@dataclass(frozen=True, slots=True)
class Node:
    """One layer: an op, and the tensors it takes."""

    name: str  # a path
    op: Op
    inputs: tuple[str, ...]  # inputs of the graph, or earlier nodes
    shares: str | None = None  # an earlier node whose parameters this node uses; they are counted there
    origin: str | None = field(default=None, compare=False)  # its source location: specs/googlenet.yaml:31
    # Called as a function (F.relu(x)) in the reference implementation; some tools count such layers differently.
    functional: bool = field(default=False, compare=False)


class Input(NamedTuple):
    """An input of a graph."""

    name: str
    shape: Shape  # the batch first
    element_type: str = "float"  # one of `ELEMENT_TYPES`

    @property
    def dim_names(self) -> tuple[str, ...]:
        """The names of the input's dimensions; "" for a dimension without a name."""
        return input_dim_names(len(self.shape), self.element_type)


def resolve_dim_names(inputs: Iterable[Input]) -> list[tuple[str, ...]]:
    """Return the names of the dimensions of several inputs, so that a name means one size.

    The first input with a dimension of a name defines its size. Dimensions of other sizes lose the name: the 2 of a
    list of edges (2, E) is not the batch of the nodes (N, F).
    """
    sizes: dict[str, Size] = {}
    return [
        tuple(
            [
                name if name and identical(sizes.setdefault(name, size), size) else ""
                for name, size in zip(each.dim_names, each.shape, strict=True)
            ]
        )
        for each in inputs
    ]


class GraphProblem(NamedTuple):
    """A layer that cannot be part of a graph."""

    node: Node
    message: str
    field: str | None = None  # the argument of the op, or the attribute of the node, that causes the error

    def __str__(self) -> str:
        origin = f"{self.node.origin}: " if self.node.origin else ""
        return f"{origin}{self.node.name}: {self.message}"


class GraphError(CostcalcError):
    """An invalid graph; `problems` lists all its invalid layers, each once."""

    def __init__(self, problems: Iterable[GraphProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class ShapeInference(NamedTuple):
    """The result of `infer_shapes`."""

    shapes: dict[str, Shape]  # by tensor
    assumptions: list[Assumption]  # about symbolic sizes
    problems: list[GraphProblem]  # without the layers that depend on them


@dataclass(frozen=True)
class Graph:
    """A network.

    Two graphs are equal if their names, inputs, nodes and outputs are.

    Raises:
        GraphError: with all layers that do not fit together.
    """

    name: str
    inputs: tuple[Input, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]  # the main output first
    title: str = field(default="", compare=False)
    settings: Mapping[str, Any] = field(default_factory=dict, compare=False)
    # Assumptions about symbolic sizes made by the design moves that the graph results from
    rewrite_assumptions: tuple[Assumption, ...] = field(default=(), compare=False)
    # Parameters of an imported model that no layer uses
    unused_parameters: Mapping[str, Shape] = field(default_factory=dict, compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)  # remarks of an importer
    shapes: Mapping[str, Shape] = field(init=False, compare=False, repr=False)
    assumptions: tuple[Assumption, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.inputs or not self.nodes or not self.outputs:
            raise CostcalcError(f"{self.name}: a graph needs at least one input, one layer and one output")
        shapes, assumptions, problems = infer_shapes(self.inputs, self.nodes)
        if problems:
            raise GraphError(problems)
        layers = {node.name for node in self.nodes}
        for name in self.outputs:
            if name not in layers:
                raise CostcalcError(f"{self.name}: the output {name!r} is not a layer{did_you_mean(name, layers)}")
        object.__setattr__(self, "shapes", shapes)
        object.__setattr__(self, "assumptions", tuple(dict.fromkeys([*self.rewrite_assumptions, *assumptions])))

    @property
    def batch(self) -> Size:
        """The batch size: the first size of the first input that has dimensions."""
        return batch_of(each.shape for each in self.inputs)

    def with_batch(self, batch: Size) -> Graph:
        """Return the same layers with another batch size.

        It replaces the first size of all inputs whose first size is the batch. Raises GraphError if a layer does not
        accept it.
        """
        old = self.batch
        inputs = [
            each._replace(shape=(batch, *each.shape[1:])) if each.shape and identical(each.shape[0], old) else each
            for each in self.inputs
        ]
        return replace(self, inputs=tuple(inputs))

    def input_shapes(self, node: Node) -> tuple[Shape, ...]:
        """Return the shapes of a node's inputs."""
        return tuple([self.shapes[name] for name in node.inputs])

    def resolved_op(self, node: Node) -> Op:
        """Return the op that runs without a device (see `Execution.op`)."""
        return self.execution().op(node)

    @cached_property
    def layouts(self) -> Mapping[str, Layout]:
        """The layouts of all tensors, without a device (see `Execution.layouts`)."""
        return self.execution().layouts

    def execution(self, device: Device | None = None, gradients: bool = False) -> Execution:
        """Return the ops and layouts on a device, with `gradients` those of training."""
        execution = self._executions.get((device, gradients))
        if execution is None:
            execution = self._executions[device, gradients] = Execution(self, device, gradients)
        return execution

    @cached_property
    def _executions(self) -> dict[tuple[Device | None, bool], Execution]:
        return {}

    @cached_property
    def element_types(self) -> Mapping[str, str]:
        """The element types of all tensors by name."""
        types = {each.name: each.element_type for each in self.inputs}
        producers = {node.name: node for node in self.nodes}
        for node in self.nodes:
            input_types = [types[name] for name in node.inputs]
            types[node.name] = node.op.element_type(*input_types)
            if isinstance(node.op, Result) and node.inputs[0] in producers:
                producer = producers[node.inputs[0]]
                extra_types = producer.op.extra_element_types(*[types[name] for name in producer.inputs])
                types[node.name] = extra_types[node.op.index - 1] if extra_types else input_types[0]
        return types

    def spatial_size(self, tensor: str) -> Shape | None:
        """Return the height and width of a tensor; None if it has no spatial dimensions."""
        dims, shape = self.layouts[tensor].spatial_dims, self.shapes[tensor]
        return None if dims is None else (shape[dims[0]], shape[dims[1]])

    @cached_property
    def reachable(self) -> frozenset[str]:
        """The tensors that backward can reach from the outputs, and the outputs.

        A tensor of integers or booleans has no gradient, and neither have the inputs of its layer.
        """
        reachable = set(self.outputs)
        for node in reversed(self.nodes):
            if node.name in reachable and self.element_types[node.name] == "float":
                reachable.update(node.inputs)
        return frozenset(reachable)

    def select(self, layer: str) -> tuple[Node, ...]:
        """The node of that name, or everything below that prefix.

        Raises CostcalcError, with what may have been meant, when there is neither.
        """
        layer = layer.strip("/")
        selected = tuple(node for node in self.nodes if is_selected(node.name, layer))
        if not selected:
            near = did_you_mean(layer, prefixes(node.name for node in self.nodes))
            raise CostcalcError(f"{self.name} has no layer {layer!r}{near}")
        return selected

    def extract(self, prefix: str, *shapes: Shape) -> Graph:
        """Return the layers below a prefix as a graph.

        Tensors that these layers take from other layers become inputs with the same names. `shapes` are the shapes of
        the inputs, in the order in which the layers take them; without them, the shapes stay as they are. The outputs
        are the layers that no layer below the prefix takes, the last one first.
        """
        nodes = self.select(prefix)
        selected = {node.name for node in nodes}
        read = dict.fromkeys(name for node in nodes for name in node.inputs)
        sources = [name for name in read if name not in selected]
        inputs = [
            Input(name, shape, self.element_types[name])
            for name, shape in zip(sources, shapes or [self.shapes[name] for name in sources], strict=True)
        ]
        outputs = tuple(node.name for node in reversed(nodes) if node.name not in read)
        return Graph(f"{self.name}:{prefix}", tuple(inputs), nodes, outputs, self.title, self.settings)


def infer_shapes(inputs: Iterable[Input], nodes: Collection[Node]) -> ShapeInference:
    """Infer the shapes of all tensors, in execution order.

    An invalid layer is reported once: layers that depend on it are skipped.
    """
    shapes: dict[str, Shape | None] = {name: shape for name, shape, _ in inputs}
    extra_outputs: dict[str, tuple[Shape, ...]] = {}
    assumptions: list[Assumption] = []
    problems: list[GraphProblem] = []
    parameters: dict[str, dict[str, Shape]] = {}
    sharing = {node.shares for node in nodes} - {None}
    for node in nodes:
        name, op = node.name, node.op
        if name in shapes or not all(name.split("/")):
            what = "is the name of two layers" if name in shapes else "is not a path: one of its parts is empty"
            problems.append(GraphProblem(node, f"{name!r} {what}"))
            continue
        shapes[name] = None
        missing = [i for i in node.inputs if i not in shapes]
        if missing:
            near = did_you_mean(missing[0], shapes)
            message = f"takes {missing[0]!r}, which is neither an input nor an earlier layer{near}"
            problems.append(GraphProblem(node, message, "inputs"))
            continue
        known = tuple([shape for source in node.inputs if (shape := shapes[source]) is not None])
        if len(known) < len(node.inputs):
            continue
        try:
            shapes[name], assumed = infer_output(op, known)
            extra_outputs[name] = op.extra_outputs(*known)
            if isinstance(op, Result):
                shapes[name] = _extra_output_shape(op, extra_outputs.get(node.inputs[0], ()))
        except OpError as error:
            problems.append(GraphProblem(node, str(error), error.field))
            continue
        assumptions += assumed
        if node.functional and (op.parameters(*known) or op.buffers(*known)):
            message = f"{op.name} has parameters or statistics here: it is a module, and cannot be functional"
            problems.append(GraphProblem(node, message, "functional"))
        if name in sharing or node.shares is not None:
            parameters[name] = op.parameters(*known)
        if node.shares is not None and shapes.get(node.shares, ()) is not None:
            owned, needed = parameters.get(node.shares), parameters[name]
            if owned is None:
                message = f"shares the parameters of {node.shares!r}, which is not an earlier layer"
                problems.append(GraphProblem(node, message, "shares"))
            elif not _same_parameter_shapes(owned, needed):
                message = f"cannot share the parameters of {node.shares!r}: it needs {needed}, and they are {owned}"
                problems.append(GraphProblem(node, message, "shares"))
    return ShapeInference({n: s for n, s in shapes.items() if s is not None}, assumptions, problems)


def _extra_output_shape(op: Result, extra_outputs: tuple[Shape, ...]) -> Shape:
    if op.index > len(extra_outputs):
        results = f"{1 + len(extra_outputs)} results" if extra_outputs else "one result"
        raise OpError(f"the layer has no result {op.index}: it has {results}, numbered from 0", "index")
    return extra_outputs[op.index - 1]


def _same_parameter_shapes(some: Mapping[str, Shape], others: Mapping[str, Shape]) -> bool:
    """Return whether parameters have the same names and shapes."""
    return some.keys() == others.keys() and all(
        len(shape) == len(others[name]) and all(map(identical, shape, others[name])) for name, shape in some.items()
    )


class Builder:
    """Builds a graph layer by layer.

    builder = Builder("small", channels=3, height=32, width=32)
    builder.add("conv", Conv2d(16, 3))
    builder.add("relu", Relu())
    graph = builder.build()
    """

    def __init__(self, name: str, *, batch: Size = 1, channels: Size, height: Size, width: Size) -> None:
        self.name = name
        self.inputs = [Input("input", (batch, channels, height, width))]
        self.nodes: list[Node] = []

    def add(self, name: str, op: Op, *inputs: str, shares: str | None = None, functional: bool = False) -> str:
        """Append a layer and return its name. `inputs` default to the layer before it."""
        before = self.nodes[-1].name if self.nodes else self.inputs[0].name
        sources = inputs or ((before,) if op.arity != (0, 0) else ())
        self.nodes.append(Node(name, op, sources, shares, functional=functional))
        return name

    def build(self, *outputs: str) -> Graph:
        """Return the graph. `outputs` default to the last layer. Raises GraphError with all invalid layers."""
        return Graph(self.name, tuple(self.inputs), tuple(self.nodes), outputs or (self.nodes[-1].name,))
