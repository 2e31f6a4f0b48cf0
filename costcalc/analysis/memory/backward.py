"""The backward pass of a simulated run: compute and accumulate gradients, and free saved tensors.

Autograd runs its nodes in the reverse order of their creation: a node that is ready was created before all that have
run.
"""

from __future__ import annotations

from dataclasses import dataclass

from costcalc.analysis.memory.state import (
    ACTIVATION_GRADIENT,
    PARAMETER_GRADIENT,
    AutogradNode,
    ParameterState,
    RecomputeRecord,
    SimulationState,
    Storage,
)
from costcalc.analysis.memory.timeline import AllocationKind
from costcalc.core.dtypes import INT64_BYTES
from costcalc.ir.layout import Layout
from costcalc.ir.ops.shape import is_contiguous


@dataclass(slots=True)
class _OperandGradient:
    """A gradient that a node computes, and the next node that it goes to."""

    target: AutogradNode
    storage: Storage
    layout: Layout | None  # None if it is contiguous
    is_broadcast: bool  # it has the size of grad_output, and is then summed


class BackwardPass:
    """The loss, the sum of all elements of all outputs, and the backward pass from it."""

    def __init__(self, state: SimulationState) -> None:
        self.state = state
        self._loss_storages: list[Storage] = []

    def run_loss(self) -> None:
        """Sum the outputs, which are then freed."""
        state = self.state
        state.phase = "loss"
        total: Storage | None = None
        total_element_size: int | None = INT64_BYTES  # until a floating-point output is added
        for name in state.graph.outputs:
            element_size = None if state.graph.element_types[name] == "float" else INT64_BYTES
            output_sum = state.allocate("sum of an output", "transient", 1, element_size)
            if element_size is None:
                total_element_size = None
            previous, total = total, state.allocate("loss", "transient", 1, total_element_size)
            if previous is not None:
                state.release(previous)
            state.release(output_sum)
        for name in dict.fromkeys(state.graph.outputs):
            state.release(state.tensors[name].storage)
        assert total is not None
        self._loss_storages.append(total)

    def run(self) -> None:
        """Run all autograd nodes that a gradient reaches; then the loss is freed."""
        state = self.state
        state.phase = "backward"
        grad_fns = [state.tensors[name].grad_fn for name in reversed(state.graph.outputs)]
        if any(grad_fns):
            # The gradient of a sum is one number, expanded to the shape of the output.
            ones = state.allocate("gradient of the loss", "transient", 1)
            self._loss_storages.append(ones)
            for grad_fn in grad_fns:
                if grad_fn is not None and grad_fn.leaf_parameter is not None:
                    grad_fn.leaf_parameter.pending_gradients += 1
            for grad_fn in grad_fns:
                state.retain(ones)
                self._send_gradient(grad_fn, ones)
            for node in reversed(state.nodes):
                if node.grad is not None:
                    self._run_node(node, node.grad)
        state.layer = ""
        for storage in self._loss_storages:
            state.release(storage)

    def _run_node(self, node: AutogradNode, grad_output: Storage) -> None:
        """Compute gradients, release grad_output and the saved tensors, and send the gradients to their targets."""
        state, record = self.state, node.recompute_record
        state.layer = node.layer
        if record is not None and not node.cloned_elements:
            self._recompute(record)
        gradients = self._operand_gradients(node, grad_output)
        temporaries = []
        if node.cloned_elements:
            temporaries.append(state.allocate("copy", "transient", node.cloned_elements))
        if record is not None:
            self._recompute(record)
        if node.workspace_elements:
            temporaries.append(state.allocate("scratch", "transient", node.workspace_elements))
        if node.unneeded_elements:
            state.release(state.allocate("unneeded gradient", "transient", node.unneeded_elements))
        parameter_gradients = self._parameter_gradients(node)
        for storage in temporaries:
            state.release(storage)
        for gradient in gradients:
            if gradient.is_broadcast:
                self._sum_broadcast(gradient)
        node.grad = None
        state.release(grad_output)
        state.release_saved(node)
        if record is not None:
            record.pending_nodes -= 1
            if not record.pending_nodes:
                state.release(record.input)
        is_view = node.is_view or bool(node.gradient_ops)
        for gradient in gradients:
            self._send_gradient(gradient.target, gradient.storage, is_view=is_view, layout=gradient.layout)
        for parameter, storage in zip(node.parameters, parameter_gradients, strict=True):
            self._accumulate(parameter, storage, PARAMETER_GRADIENT)
        for parameter in node.parameters:
            parameter.pending_gradients -= 1
            if parameter.existing_grad is not None and not parameter.pending_gradients:  # added in place
                assert parameter.grad is not None
                state.release(parameter.grad)
                parameter.grad = None

    def _operand_gradients(self, node: AutogradNode, grad_output: Storage) -> list[_OperandGradient]:
        gradients = []
        for index, target in enumerate(node.next_nodes):
            if target is None:
                continue
            is_broadcast = node.broadcast_operands[index]
            is_grad_output, layout = _gradient_layout(node, index)
            if is_grad_output:
                self.state.retain(grad_output)
                storage = grad_output
                if storage in self._loss_storages:  # one expanded number, of which every part can be reshaped
                    layout = None
            else:
                elements = node.elements if is_broadcast else target.elements
                storage = self.state.allocate("gradient", ACTIVATION_GRADIENT, elements)
            gradients.append(_OperandGradient(target, storage, layout, is_broadcast))
        return gradients

    def _parameter_gradients(self, node: AutogradNode) -> list[Storage]:
        gradients = []
        for parameter in node.parameters:
            if node.recompute_record is not None and parameter.name == node.reduced_parameter:
                # Recomputed tensors are unpacked once and freed here; others stay saved until the node has run.
                self.state.release_saved(node)
            name = f"gradient of {parameter.name}"
            gradients.append(self.state.allocate(name, PARAMETER_GRADIENT, parameter.elements))
        return gradients

    def _sum_broadcast(self, gradient: _OperandGradient) -> None:
        """Reduce the gradient of a broadcast operand to the size of the operand."""
        expanded = gradient.storage
        gradient.storage = self.state.allocate("gradient", ACTIVATION_GRADIENT, gradient.target.elements)
        gradient.layout = None
        self.state.release(expanded)

    def _recompute(self, record: RecomputeRecord) -> None:
        """Run a checkpointed segment a second time, once; only the tensors that its nodes save stay allocated."""
        if record.done:
            return
        state = self.state
        phase, layer = state.phase, state.layer
        state.phase, record.done = "recomputation", True
        recomputed: dict[Storage, Storage] = {}
        saved: dict[Storage, int] = {}  # references held by nodes
        for step in record.required_steps():
            if step.action == "run":
                state.layer = step.layer
                state.recomputed_layers.add(step.layer)
                continue
            original = step.storage
            if original is None:
                continue
            if step.action == "allocate":
                recomputed[original] = state.allocate(original.name, "recomputed", original.nbytes, 1)
            elif original not in recomputed:  # from outside the segment: its input
                continue
            elif step.action == "release":
                state.release(recomputed[original])
            else:
                state.retain(recomputed[original])
                if step.node is not None:
                    step.node.saved.append(recomputed[original])
                    saved[original] = saved.get(original, 0) + 1
        for original, storage in recomputed.items():
            while storage.refcount > saved.get(original, 0):
                state.release(storage)
        state.phase, state.layer = phase, layer

    def _send_gradient(
        self, target: AutogradNode | None, gradient: Storage, *, is_view: bool = False, layout: Layout | None = None
    ) -> None:
        """Pass a reference to a gradient to a node; `is_view` if the gradient may be a view of grad_output."""
        if target is None:
            self.state.release(gradient)
            return
        parameter = target.leaf_parameter
        if parameter is None:
            self._accumulate(target, gradient, ACTIVATION_GRADIENT, layout)
            return
        self._accumulate(parameter, gradient, PARAMETER_GRADIENT, layout)
        parameter.pending_gradients -= 1
        if not parameter.pending_gradients:
            assert target.output_shape is not None
            contiguous = parameter.layout is None or is_contiguous(target.output_shape, parameter.layout)
            self._finish_leaf_gradient(parameter, is_view, contiguous)

    def _accumulate(
        self,
        target: AutogradNode | ParameterState,
        gradient: Storage,
        kind: AllocationKind,
        layout: Layout | None = None,
    ) -> None:
        """Set or add to the gradient of a target; a sum has the order of dimensions of the first gradient."""
        previous = target.grad
        if previous is None:
            target.grad, target.layout = gradient, layout
            return
        if target.layout is not None:
            target.layout = target.layout._replace(strided_dims=frozenset())
        target.grad = self.state.allocate("sum of gradients", kind, target.elements)
        self.state.release(previous)
        self.state.release(gradient)

    def _finish_leaf_gradient(self, parameter: ParameterState, is_view: bool, contiguous: bool) -> None:
        """Store the gradient of a parameter that is used as a tensor.

        It is copied if its storage is shared or expanded, or if it is not contiguous as the parameter is.
        """
        state, gradient = self.state, parameter.grad
        assert gradient is not None
        is_expanded = gradient.nbytes < parameter.elements * state.element_size
        is_shared = gradient in self._loss_storages or (gradient.refcount > 1 and not is_view)
        if parameter.existing_grad is not None:  # added in place
            parameter.grad = None
        elif is_shared or is_expanded or not contiguous:
            parameter.grad = state.allocate(f"gradient of {parameter.name}", PARAMETER_GRADIENT, parameter.elements)
        else:
            gradient.kind = PARAMETER_GRADIENT
            return
        state.release(gradient)


def _gradient_layout(node: AutogradNode, index: int) -> tuple[bool, Layout | None]:
    """Return whether the gradient of an operand is grad_output or a view of it, and its layout."""
    if node.new_gradient_operands[index] or not (node.gradient_ops or node.forwards_gradient):
        order = node.gradient_order(node.layout) if node.gradient_order and node.layout else None
        return False, None if order is None else Layout(None, order)
    if not node.gradient_ops:
        return True, node.layout
    assert node.output_shape is not None
    shapes, op = (node.output_shape,), node.gradient_ops[index]
    layouts = (node.layout or Layout(None, tuple(range(len(node.output_shape)))),)
    resolved = op.resolve(shapes, layouts)
    return not resolved.allocates_output(), resolved.layout(shapes, layouts)
