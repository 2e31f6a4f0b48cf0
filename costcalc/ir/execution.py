"""How a graph runs on a device: the variants of its ops, and the memory layouts of its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from costcalc.core.devices import Device
from costcalc.ir.layout import Layout
from costcalc.ir.op import Op
from costcalc.ir.ops.tensors import Buffer, Parameter

if TYPE_CHECKING:
    from costcalc.ir.graph import Graph, Node


@dataclass(frozen=True)
class Execution:
    """The execution of a graph on a device: the variant of each op that runs, and the layout of each tensor.

    Without a device, the results of fused kernels are contiguous (see `Op.resolve`).
    """

    graph: Graph
    device: Device | None = None
    gradients: bool = False

    def op(self, node: Node) -> Op:
        """Return the variant of a node's op that runs.

        An op runs out of place if its input is read later, copies if its result cannot be a view of its input, and
        runs the kernels that the device picks.
        """
        if node.name not in self._unsafe_in_place:
            return self._resolve(node)
        changes: dict[str, Any] = {"inplace": False}
        return replace(node.op, **changes)

    def input_layouts(self, node: Node) -> tuple[Layout, ...]:
        """Return the layouts of a node's inputs."""
        return tuple([self.layouts[name] for name in node.inputs])

    @cached_property
    def layouts(self) -> Mapping[str, Layout]:
        """The layouts of all tensors by name."""
        layouts = {each.name: Layout.contiguous(len(each.shape)) for each in self.graph.inputs}
        for node in self.graph.nodes:
            inputs = tuple([layouts[name] for name in node.inputs])
            shapes = self.graph.input_shapes(node)
            op = node.op
            if op.has_variants():
                op = op.resolve(shapes, inputs, self.device, self._requires_grad(node))
            layout = op.layout(shapes, inputs)
            if layout.strided_dims and op.allocates_output():  # a new tensor has none
                layout = layout._replace(strided_dims=frozenset())
            layouts[node.name] = layout
        return layouts

    def _resolve(self, node: Node) -> Op:
        if not node.op.has_variants():
            return node.op
        shapes, layouts = self.graph.input_shapes(node), self.input_layouts(node)
        return node.op.resolve(shapes, layouts, self.device, self._requires_grad(node))

    def _requires_grad(self, node: Node) -> tuple[bool, ...]:
        return tuple([name in self._depends_on_parameters for name in node.inputs])

    @cached_property
    def _depends_on_parameters(self) -> frozenset[str]:
        """The tensors that depend on parameters; none without gradients."""
        graph = self.graph
        dependent: set[str] = set()
        for node in graph.nodes if self.gradients else ():
            depends = bool(node.op.parameters(*graph.input_shapes(node))) or not dependent.isdisjoint(node.inputs)
            if depends and graph.element_types[node.name] == "float":
                dependent.add(node.name)
        return frozenset(dependent)

    @cached_property
    def _unsafe_in_place(self) -> frozenset[str]:
        """The in-place layers that must not overwrite their input.

        The input, or a view of it, is read by a later layer, is an output, or is a parameter or a buffer.
        """
        graph = self.graph
        last_read = {name: index for index, node in enumerate(graph.nodes) for name in node.inputs}
        persistent = [node.name for node in graph.nodes if isinstance(node.op, (Parameter, Buffer))]
        last_read |= dict.fromkeys([*graph.outputs, *persistent], len(graph.nodes))
        storage_of = {each.name: each.name for each in graph.inputs}  # by tensor: the tensor that allocated its storage
        live_until = {each.name: last_read.get(each.name, -1) for each in graph.inputs}  # by storage
        unsafe = set()
        for index, node in enumerate(graph.nodes):
            storage = storage_of[node.inputs[0]] if node.inputs else node.name
            if getattr(node.op, "inplace", False) and live_until[storage] > index:
                unsafe.add(node.name)
                storage = node.name
            elif self._resolve(node).allocates_output():
                storage = node.name
            storage_of[node.name] = storage
            live_until[storage] = max(live_until.get(storage, -1), last_read.get(node.name, -1))
        return frozenset(unsafe)
