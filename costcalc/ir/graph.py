"""The layer graph: immutable, and valid from birth.

A graph is a flat tuple of nodes in running order. A node's inputs name the graph's inputs or earlier nodes, so a cycle
cannot be said; its name is a path such as `inception3a/5x5/conv/conv2d`, and every prefix of it names a group. Shapes
are worked out when the graph is made, so a graph whose layers do not fit together cannot be made.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

from costcalc.core.axes import input_dim_names
from costcalc.core.errors import CostcalcError, OpError, did_you_mean
from costcalc.core.sizes import Shape, Size, batch_of, identical
from costcalc.ir.layout import Layout
from costcalc.ir.op import Assumption, Device, Op, infer_output
from costcalc.ir.ops.tensors import Buffer, Parameter, Result
from costcalc.ir.paths import is_selected, prefixes


@dataclass(frozen=True, slots=True)
class Node:
    """One layer: a name (a path), an op, and the names of what it takes.

    `shares` names an earlier node whose parameters this one uses too; they are counted there. `origin` says where the
    node was written (`specs/googlenet.yaml:31`). `functional`: the reference implementation calls it as a function
    (`F.relu(x)`), not as a module, which some tools count otherwise. Neither takes part in comparison.
    """

    name: str
    op: Op
    inputs: tuple[str, ...]
    shares: str | None = None
    origin: str | None = field(default=None, compare=False)
    functional: bool = field(default=False, compare=False)


class Input(NamedTuple):
    """What a graph is fed: a name, a shape with the batch first, and what its elements are (see `op.HOLDS`)."""

    name: str
    shape: Shape
    element_type: str = "float"

    @property
    def dim_names(self) -> tuple[str, ...]:
        """The names of its dimensions; "" for a dimension without a name."""
        return input_dim_names(len(self.shape), self.element_type)


def resolve_dim_names(inputs: Iterable[Input]) -> list[tuple[str, ...]]:
    """What the sizes of inputs are called: a name is one size, that of the first input that has it.

    One that would be called so, and differs, has no name: the 2 of a graph's list of edges is not its batch of nodes.
    """
    known: dict[str, Size] = {}
    return [
        tuple(
            [
                name if name and identical(known.setdefault(name, extent), extent) else ""
                for name, extent in zip(each.dim_names, each.shape, strict=True)
            ]
        )
        for each in inputs
    ]


class GraphProblem(NamedTuple):
    """One layer that does not fit, and the field at fault, if one is."""

    node: Node
    message: str
    field: str | None = None

    def __str__(self) -> str:
        origin = f"{self.node.origin}: " if self.node.origin else ""
        return f"{origin}{self.node.name}: {self.message}"


class GraphError(CostcalcError):
    """A graph that cannot be; `problems` are all its layers that do not fit, each once."""

    def __init__(self, problems: Iterable[GraphProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class ShapeInference(NamedTuple):
    """The shapes of all tensors of a graph by name, what was assumed of symbolic sizes, and the layers that failed."""

    shapes: dict[str, Shape]
    assumptions: list[Assumption]
    problems: list[GraphProblem]


@dataclass(frozen=True)
class Graph:
    """A network. Equality is by name, inputs, nodes and outputs: who made it, and from what settings, is not compared.

    Raises GraphError naming every layer that does not fit.
    """

    name: str
    inputs: tuple[Input, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]  # the main one first
    title: str = field(default="", compare=False)
    settings: Mapping[str, Any] = field(default_factory=dict, compare=False)
    rewrite_assumptions: tuple[Assumption, ...] = field(
        default=(), compare=False
    )  # what a rewrite took for granted of symbols
    unused_parameters: Mapping[str, Shape] = field(
        default_factory=dict, compare=False
    )  # parameters of a model that no layer has
    notes: tuple[str, ...] = field(default=(), compare=False)  # what an importer has to say
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
                raise CostcalcError(f"{self.name}: the output {name!r} is no layer{did_you_mean(name, layers)}")
        object.__setattr__(self, "shapes", shapes)
        object.__setattr__(self, "assumptions", tuple(dict.fromkeys([*self.rewrite_assumptions, *assumptions])))

    @property
    def batch(self) -> Size:
        """The first size of the first input that has sizes."""
        return batch_of(each.shape for each in self.inputs)

    def with_batch(self, batch: Size) -> Graph:
        """The same layers, fed another batch: inputs whose first size it is. Raises GraphError where one cannot be."""
        old = self.batch
        inputs = [
            each._replace(shape=(batch, *each.shape[1:])) if each.shape and identical(each.shape[0], old) else each
            for each in self.inputs
        ]
        return replace(self, inputs=tuple(inputs))

    def input_shapes(self, node: Node) -> tuple[Shape, ...]:
        """The shapes a node takes."""
        return tuple([self.shapes[name] for name in node.inputs])

    def resolved_op(self, node: Node) -> Op:
        """The op as it runs without a device (see `Execution.op`)."""
        return self.execution().op(node)

    @property
    def layouts(self) -> Mapping[str, Layout]:
        """The layout of each tensor by name, without a device (see `Execution.layouts`)."""
        return self.execution().layouts

    def execution(self, device: Device | None = None, gradients: bool = False) -> Execution:
        """The graph as the kernels of `device` run it, with `gradients` in training."""
        if (device, gradients) not in self._executions:
            self._executions[device, gradients] = Execution(self, device, gradients)
        return self._executions[device, gradients]

    @cached_property
    def _executions(self) -> dict[tuple[Device | None, bool], Execution]:
        return {}

    @cached_property
    def element_types(self) -> Mapping[str, str]:
        """What the elements of each tensor are, by its name: one of `op.HOLDS`."""
        holds = {name: what for name, _, what in self.inputs}
        makers = {node.name: node for node in self.nodes}
        for node in self.nodes:
            taken = [holds[name] for name in node.inputs]
            holds[node.name] = node.op.element_type(*taken)
            if isinstance(node.op, Result) and node.inputs[0] in makers:
                maker = makers[node.inputs[0]]
                others = maker.op.extra_element_types(*[holds[name] for name in maker.inputs])
                holds[node.name] = others[node.op.index - 1] if others else taken[0]
        return holds

    def spatial_size(self, tensor: str) -> Shape | None:
        """Height and width of an image; None for a vector, or a sequence of them."""
        plane, shape = self.layouts[tensor].spatial_dims, self.shapes[tensor]
        return None if plane is None else (shape[plane[0]], shape[plane[1]])

    @cached_property
    def reachable(self) -> frozenset[str]:
        """The tensors that an output depends on, outputs included: what nothing depends on has no gradient.

        Nor has what integers, or true and false, are made of.
        """
        reached = set(self.outputs)
        for node in reversed(self.nodes):
            if node.name in reached and self.element_types[node.name] == "float":
                reached.update(node.inputs)
        return frozenset(reached)

    def select(self, layer: str) -> tuple[Node, ...]:
        """The node of that name, or everything below that prefix.

        Raises CostcalcError, with what may have been meant, when there is neither.
        """
        layer = layer.strip("/")
        found = tuple(node for node in self.nodes if is_selected(node.name, layer))
        if not found:
            near = did_you_mean(layer, prefixes(node.name for node in self.nodes))
            raise CostcalcError(f"{self.name} has no layer {layer!r}{near}")
        return found

    def extract(self, prefix: str, *shapes: Shape) -> Graph:
        """The layers below a prefix as a graph of their own.

        What they take from outside becomes its inputs, under the same names and, unless `shapes` gives others in the
        order in which they are first taken, with the same shapes. Its outputs are the layers that nothing below the
        prefix takes, the last first.
        """
        nodes = self.select(prefix)
        inside = {node.name for node in nodes}
        taken = dict.fromkeys(name for node in nodes for name in node.inputs)
        outside = [name for name in taken if name not in inside]
        inputs = map(
            Input,
            outside,
            shapes or [self.shapes[name] for name in outside],
            [self.element_types[name] for name in outside],
        )
        ends = tuple(node.name for node in reversed(nodes) if node.name not in taken)
        return Graph(f"{self.name}:{prefix}", tuple(inputs), nodes, ends, self.title, self.settings)


@dataclass(frozen=True)
class Execution:
    """A graph as the kernels of a device run it: the layout of each tensor, and the variant of each op that runs.

    Without a device, fused kernels give contiguous results (see `Op.running`).
    """

    graph: Graph
    device: Device | None = None
    gradients: bool = False

    def op(self, node: Node) -> Op:
        """The op as it can run.

        Not in place where a later layer, or an output, still reads what it would overwrite; copying where its result
        cannot be a view of its input; with the kernels that the device picks.
        """
        if node.name not in self._unsafe_in_place:
            return self._resolve(node)
        changes: dict[str, Any] = {"inplace": False}
        return replace(node.op, **changes)

    def input_layouts(self, node: Node) -> tuple[Layout, ...]:
        """The layouts of a node's inputs."""
        return tuple([self.layouts[name] for name in node.inputs])

    @cached_property
    def layouts(self) -> Mapping[str, Layout]:
        """The layout of each tensor by name: its plane, and the order of its dimensions in memory."""
        layouts = {name: Layout.contiguous(len(shape)) for name, shape, _ in self.graph.inputs}
        for node in self.graph.nodes:
            inputs = tuple([layouts[name] for name in node.inputs])
            shapes = self.graph.input_shapes(node)
            resolve = node.op.resolve(shapes, inputs, self.device, self._requires_grad(node))
            layout = resolve.layout(shapes, inputs)
            if layout.strided_dims and resolve.allocates_output():  # a new tensor has none
                layout = layout._replace(strided_dims=frozenset())
            layouts[node.name] = layout
        return layouts

    def _resolve(self, node: Node) -> Op:
        shapes, layouts = self.graph.input_shapes(node), self.input_layouts(node)
        return node.op.resolve(shapes, layouts, self.device, self._requires_grad(node))

    def _requires_grad(self, node: Node) -> tuple[bool, ...]:
        return tuple([name in self._trained for name in node.inputs])

    @cached_property
    def _trained(self) -> frozenset[str]:
        """The tensors that depend on parameters, if there are gradients."""
        graph = self.graph
        trained: set[str] = set()
        for node in graph.nodes if self.gradients else ():
            depends = bool(node.op.parameters(*graph.input_shapes(node))) or not trained.isdisjoint(node.inputs)
            if depends and graph.element_types[node.name] == "float":
                trained.add(node.name)
        return frozenset(trained)

    @cached_property
    def _unsafe_in_place(self) -> frozenset[str]:
        """Layers in place whose input, or a view of it, is read by a later layer, is an output, or is to stay.

        What stays are parameters and buffers.
        """
        graph = self.graph
        last_read = {name: place for place, node in enumerate(graph.nodes) for name in node.inputs}
        standing = [node.name for node in graph.nodes if isinstance(node.op, (Parameter, Buffer))]
        last_read |= dict.fromkeys([*graph.outputs, *standing], len(graph.nodes))
        memory_of = {name: name for name, *_ in graph.inputs}  # by tensor: the first tensor that lay where it lies
        needed_until = {name: last_read.get(name, -1) for name, *_ in graph.inputs}  # by such a place
        unsafe = set()
        for place, node in enumerate(graph.nodes):
            memory = memory_of[node.inputs[0]] if node.inputs else node.name
            in_place = getattr(node.op, "inplace", False)
            if in_place and needed_until[memory] > place:
                unsafe.add(node.name)
                memory = node.name
            elif self._resolve(node).allocates_output():
                memory = node.name
            memory_of[node.name] = memory
            needed_until[memory] = max(needed_until.get(memory, -1), last_read.get(node.name, -1))
        return frozenset(unsafe)


def infer_shapes(inputs: Iterable[Input], nodes: Collection[Node]) -> ShapeInference:
    """Shapes of all tensors in running order.

    A layer that fails is reported once: what depends on it is passed over in silence.
    """
    shapes: dict[str, Shape | None] = {name: shape for name, shape, _ in inputs}
    further: dict[str, tuple[Shape, ...]] = {}
    assumptions: list[Assumption] = []
    problems: list[GraphProblem] = []
    parameters: dict[str, dict[str, Shape]] = {}
    sharing = {node.shares for node in nodes} - {None}
    for node in nodes:
        name, op = node.name, node.op
        if name in shapes or not all(name.split("/")):
            what = "is the name of two layers" if name in shapes else "is no path: a part of it is empty"
            problems.append(GraphProblem(node, f"{name!r} {what}"))
            continue
        shapes[name] = None
        missing = [i for i in node.inputs if i not in shapes]
        if missing:
            message = f"takes {missing[0]!r}, which is no input and no earlier layer{did_you_mean(missing[0], shapes)}"
            problems.append(GraphProblem(node, message, "inputs"))
            continue
        given = [shapes[i] for i in node.inputs]
        known = tuple([shape for shape in given if shape is not None])
        if len(known) < len(given):
            continue
        try:
            shapes[name], assumed = infer_output(op, known)
            further[name] = op.extra_outputs(*known)
            if isinstance(op, Result):
                shapes[name] = _extra_output_shape(op, further.get(node.inputs[0], ()))
        except OpError as error:
            problems.append(GraphProblem(node, str(error), error.field))
            continue
        assumptions += assumed
        if node.functional and (op.parameters(*known) or op.buffers(*known)):
            message = f"{op.name} keeps parameters or statistics here: it is a module, and never called as a function"
            problems.append(GraphProblem(node, message, "functional"))
        if name in sharing or node.shares is not None:
            parameters[name] = op.parameters(*known)
        if node.shares is not None and shapes.get(node.shares, ()) is not None:
            owned, needed = parameters.get(node.shares), parameters[name]
            if owned is None:
                message = f"shares the parameters of {node.shares!r}, which is no earlier layer"
                problems.append(GraphProblem(node, message, "shares"))
            elif not _same_parameter_shapes(owned, needed):
                message = f"cannot share the parameters of {node.shares!r}: it needs {needed}, and they are {owned}"
                problems.append(GraphProblem(node, message, "shares"))
    return ShapeInference({n: s for n, s in shapes.items() if s is not None}, assumptions, problems)


def _extra_output_shape(op: Result, further: tuple[Shape, ...]) -> Shape:
    if op.index > len(further):
        has = f"{1 + len(further)} results" if further else "one result"
        raise OpError(f"result {op.index} is no result of the layer it takes, which has {has}, counted from 0", "index")
    return further[op.index - 1]


def _same_parameter_shapes(some: Mapping[str, Shape], others: Mapping[str, Shape]) -> bool:
    """Whether parameters have the same names and shapes, whatever carrier their sizes are."""
    return some.keys() == others.keys() and all(
        len(shape) == len(others[name]) and all(map(identical, shape, others[name])) for name, shape in some.items()
    )


class Builder:
    """Makes a graph layer by layer, in Python.

    b = Builder("small", channels=3, height=32, width=32)
    b.add("conv", Conv2d(16, 3))
    b.add("relu", Relu())
    graph = b.build()
    """

    def __init__(self, name: str, *, batch: Size = 1, channels: Size, height: Size, width: Size) -> None:
        self.name = name
        self.inputs = [Input("input", (batch, channels, height, width))]
        self.nodes: list[Node] = []

    def add(self, name: str, op: Op, *inputs: str, shares: str | None = None, functional: bool = False) -> str:
        """Append a layer that takes `inputs` (the layer before it unless given), and return its name."""
        before = self.nodes[-1].name if self.nodes else self.inputs[0].name
        taken = inputs or ((before,) if op.arity != (0, 0) else ())
        self.nodes.append(Node(name, op, taken, shares, functional=functional))
        return name

    def build(self, *outputs: str) -> Graph:
        """The graph, its outputs the last layer unless given. Raises GraphError for all layers that do not fit."""
        return Graph(self.name, tuple(self.inputs), tuple(self.nodes), outputs or (self.nodes[-1].name,))
