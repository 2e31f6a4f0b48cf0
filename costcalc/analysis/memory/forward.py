"""The forward pass of a simulated run: allocate outputs, record autograd nodes, and free what has no reader left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from costcalc.analysis.memory.checkpoint import SavedStorage, Segment
from costcalc.analysis.memory.forward_kernel import KernelCall, KernelRunner
from costcalc.analysis.memory.state import (
    AutogradNode,
    RecomputeRecord,
    SimulationState,
    Storage,
    TensorRef,
)
from costcalc.core.dtypes import ELEMENT_TYPES
from costcalc.core.sizes import prod
from costcalc.ir.graph import Node
from costcalc.ir.kernel import Kernel
from costcalc.ir.ops.tensors import Buffer, Parameter


class ForwardPass:
    """A forward pass over all layers in execution order; the outputs are live at its end."""

    def __init__(self, state: SimulationState, segments: Sequence[Segment] = ()) -> None:
        self.state = state
        self._graph, self._reachable = state.graph, state.graph.reachable
        self._segments = {segment.node_range.start: segment for segment in segments}
        self._storages = {name: tensor.storage for name, tensor in state.tensors.items()}  # by tensor, freed or not
        self._kernels = KernelRunner(state)

    def run(self) -> None:
        """Run all layers.

        Raises CostcalcError if a layer in place overwrites a tensor that is saved for backward.
        """
        state, graph = self.state, self._graph
        freed_after = self._freed_after()
        state.phase = "forward"
        stop = -1
        for index, node in enumerate(graph.nodes):
            state.layer = node.name
            if index in self._segments:
                stop = self._segments[index].node_range.stop
                self._start_segment(self._segments[index])
            tensor = state.tensors[node.name] = self._run_layer(node)
            self._storages[node.name] = tensor.storage
            for name in freed_after.get(index, ()):
                self._free(name)
            if index + 1 == stop:
                state.recompute_record = None
        state.layer = ""

    def saved_storages(self) -> tuple[list[SavedStorage], dict[str, SavedStorage], dict[str, list[str]]]:
        """Return the storages saved for backward and, by tensor, its storage and the layers that overwrite it."""

        def record(storage: Storage) -> SavedStorage:
            return SavedStorage(storage.layer, frozenset([n.layer for n in storage.saved_by]), storage.nbytes)

        saved = [record(storage) for storage in self.state.allocated("saved for backward")]
        by_tensor = {name: record(storage) for name, storage in self._storages.items()}
        overwritten_by = self._kernels.overwritten_by
        overwritten = {name: overwritten_by.get(storage, []) for name, storage in self._storages.items()}
        return saved, by_tensor, overwritten

    def _freed_after(self) -> dict[int, list[str]]:
        """Return by index of a node the tensors that no later layer reads; a tensor without readers is one at once."""
        last_reader = {name: index for index, node in enumerate(self._graph.nodes) for name in node.inputs}
        freed_after: dict[int, list[str]] = {}
        for index, node in enumerate(self._graph.nodes):
            if node.name not in self._graph.outputs:
                freed_after.setdefault(last_reader.get(node.name, index), []).append(node.name)
        return freed_after

    def _free(self, name: str) -> None:
        tensor = self.state.tensors.pop(name)
        self.state.release(tensor.storage)
        if name not in self._reachable and tensor.grad_fn is not None:
            self._release_node(tensor.grad_fn)

    def _start_segment(self, segment: Segment) -> None:
        """Save the input of a checkpointed segment, and record what follows."""
        state, storage = self.state, self._storages[segment.input]
        state.save_for_backward(storage, AutogradNode(state.layer, 0, Kernel((), 0), []))
        state.recompute_record = RecomputeRecord(storage)

    def _run_layer(self, node: Node) -> TensorRef:
        state, graph = self.state, self._graph
        op, shapes = state.execution.op(node), graph.input_shapes(node)
        operands = [state.tensors[name] for name in node.inputs]
        if isinstance(op, Parameter):
            return self._parameter_tensor(node)
        if isinstance(op, Buffer):
            return TensorRef(state.buffer_storages[node.name], prod(op.shape), None)
        kernels = op.kernels(shapes, graph.shapes[node.name], state.training)
        if not kernels:
            state.retain(operands[0].storage)
            return self._referenced(operands[0], node.name)
        used = [state.parameters[node.name, name] for name in op.parameters(*shapes)] if state.gradients else []
        trainable = [parameter for parameter in used if not parameter.frozen]
        # The parameters belong to the first kernel that is more than a view or a copy.
        with_parameters = next((index for index, kernel in enumerate(kernels) if not kernel.gradient_ops), 0)
        released_after = _released_after(kernels, len(operands))
        for index, kernel in enumerate(kernels):
            if index == len(kernels) - 1:
                kernel = replace(kernel, element_size=ELEMENT_TYPES[graph.element_types[node.name]])
            has_parameters = index == with_parameters
            output = self._kernels.run(
                KernelCall(
                    kernel=kernel,
                    operands=operands,
                    parameters=trainable if has_parameters else [],
                    uses_parameters=has_parameters and bool(used),
                    reachable=node.name in self._reachable,
                )
            )
            operands.append(output)
            for operand in released_after[index]:
                state.release(operands[operand].storage)
        return self._referenced(operands[-1], node.name)

    def _referenced(self, tensor: TensorRef, layer: str) -> TensorRef:
        """Return the output of a layer; if it is unreachable, count it as a reference to its autograd node."""
        if layer not in self._reachable and tensor.grad_fn is not None:
            tensor.grad_fn.num_dependents += 1
        return tensor

    def _parameter_tensor(self, node: Node) -> TensorRef:
        """Return a parameter that the graph uses as a tensor."""
        state, parameter = self.state, self.state.parameters[node.name, "weight"]
        grad_fn = None
        if state.gradients and not parameter.frozen:
            shape = self._graph.shapes[node.name]
            grad_fn = AutogradNode(
                node.name, parameter.elements, Kernel((), parameter.elements, output_shape=shape), []
            )
            grad_fn.leaf_parameter = parameter
        return TensorRef(parameter.storage, parameter.elements, grad_fn)

    def _release_node(self, node: AutogradNode) -> None:
        """Remove a reference to an autograd node; an unreachable one without any is freed with its saved tensors."""
        node.num_dependents -= 1
        if node.num_dependents or node.layer in self._reachable:
            return
        self.state.release_saved(node)
        for next_node in node.next_nodes:
            if next_node is not None:
                self._release_node(next_node)


def _released_after(kernels: Sequence[Kernel], inputs: int) -> list[list[int]]:
    """Return by kernel the operands that no later kernel reads; the last kernel's output is the layer's."""
    released_after: list[list[int]] = [[] for _ in kernels]
    for index in range(len(kernels) - 1):
        operand = inputs + index
        readers = [
            reader
            for reader, kernel in enumerate(kernels)
            if operand in (*kernel.differentiable_operands, *kernel.operands_kept_alive, kernel.aliases)
        ]
        released_after[max(readers, default=index)].append(operand)
    return released_after
