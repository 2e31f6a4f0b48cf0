"""One kernel of the forward pass: its output, its autograd node and the tensors that it saves for backward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from costcalc.analysis.memory.state import (
    AutogradNode,
    ParameterState,
    RecomputeRecord,
    RecordedStep,
    SimulationState,
    Storage,
    TensorRef,
)
from costcalc.core.errors import CostcalcError
from costcalc.core.sizes import Size
from costcalc.ir.kernel import AuxiliaryOutput, Kernel


class KernelCall(NamedTuple):
    """A kernel, its operands, and the trainable ones among the parameters that it uses."""

    kernel: Kernel
    operands: list[TensorRef]
    parameters: list[ParameterState]
    uses_parameters: bool
    reachable: bool  # whether an output depends on the layer


class KernelRunner:
    """Runs the kernels of the layer `state.layer`."""

    def __init__(self, state: SimulationState) -> None:
        self.state = state
        self.overwritten_by: dict[Storage, list[str]] = {}  # layers in place, by the storage that they overwrite
        self._reachable = state.graph.reachable

    def run(self, call: KernelCall) -> TensorRef:
        """Return the output of a kernel, to which the caller holds a reference.

        Raises CostcalcError if the kernel overwrites a tensor that is saved for backward.
        """
        state, record = self.state, self.state.recompute_record
        kernel, operands = call.kernel, call.operands
        start = middle = 0
        if record is not None:
            start = len(record.steps)
            record.steps.append(RecordedStep("run", layer=state.layer))
        sources = [operands[index] for index in kernel.differentiable_operands]
        requires_grad = call.parameters or (state.gradients and any(source.grad_fn is not None for source in sources))
        auxiliary = [
            (state.allocate(output.name, "transient", output.elements, output.element_size), output)
            for output in kernel.auxiliary_outputs
            if requires_grad or output.needed_in_forward
        ]
        if record is not None:
            middle = len(record.steps)
        storage, base = self._output_storage(kernel, operands)
        if not requires_grad:
            for auxiliary_storage, _ in auxiliary:
                state.release(auxiliary_storage)
            return TensorRef(storage, kernel.output_elements, None, base)
        overwrites_view = kernel.in_place and base is not None and base.grad_fn is not None
        if base is not None and overwrites_view:
            node = self._view_overwrite_node(call, base)
        else:
            node = self._autograd_node(call, kernel, sources, kernel.output_elements)
        if record is None:
            self._save_tensors(call, node, storage, auxiliary)
        else:
            self._record_saved_tensors(record, call, node, storage, auxiliary, start, middle)
        if base is None or not overwrites_view:
            return TensorRef(storage, kernel.output_elements, node, base)
        # The output is a new strided view of the base; its gradient is copied into one of the size of the base.
        view = AutogradNode(state.layer, kernel.output_elements, Kernel((), kernel.output_elements), [node])
        node.num_dependents += not call.reachable
        state.nodes.append(view)
        return TensorRef(storage, kernel.output_elements, view, TensorRef(storage, base.elements, node))

    def _output_storage(self, kernel: Kernel, operands: Sequence[TensorRef]) -> tuple[Storage, TensorRef | None]:
        """Return the storage of a kernel's output and, if the output is a view, its base."""
        state = self.state
        if kernel.aliases is None:
            return state.allocate("output", "activation", kernel.output_elements, kernel.element_size), None
        aliased = operands[kernel.aliases]
        state.retain(aliased.storage)
        if kernel.in_place:
            self.overwritten_by.setdefault(aliased.storage, []).append(state.layer)
            self._check_not_saved(aliased.storage)
        base = aliased.base if kernel.in_place or kernel.unsafe_view else aliased.base or aliased
        return aliased.storage, base

    def _check_not_saved(self, storage: Storage) -> None:
        """Raise CostcalcError if the gradient of a reachable layer needs the storage, which is overwritten."""
        graph, overwriting = self.state.graph, self.state.layer
        for layer in [node.layer for node in storage.saved_by if node.layer in self._reachable]:
            raise CostcalcError(
                f"{graph.name}: layer {overwriting!r} overwrites a tensor that is needed for the gradient of "
                f"{layer!r}; set inplace=False on {overwriting!r}"
            )

    def _view_overwrite_node(self, call: KernelCall, base: TensorRef) -> AutogradNode:
        """Return the autograd node of a kernel that overwrites a view, CopySlices in torch.

        In backward, the gradient of the base is cloned, the part that the view covers is copied for the backward
        function of the kernel, and the result is written back to that part.
        """
        elements = call.kernel.output_elements
        kernel = replace(
            call.kernel, forwards_gradient=False, workspace_elements=call.kernel.workspace_elements + elements
        )
        node = self._autograd_node(call, kernel, [base], base.elements)
        node.cloned_elements = elements
        return node

    def _autograd_node(
        self, call: KernelCall, kernel: Kernel, sources: Sequence[TensorRef], elements: Size
    ) -> AutogradNode:
        """Append the autograd node of a kernel that computes the gradients of `sources`."""
        node = AutogradNode(self.state.layer, elements, kernel, [source.grad_fn for source in sources])
        node.parameters = call.parameters
        for operand, workspace_elements in reversed(kernel.workspace_for_operand):
            if call.operands[operand].grad_fn is not None:
                node.workspace_elements += workspace_elements
                break
        if kernel.computes_unneeded_gradients:
            node.unneeded_elements = sum([source.elements for source in sources if source.grad_fn is None])
        next_nodes = [next_node for next_node in node.next_nodes if next_node is not None]
        if call.reachable:
            leaves = [next_node.leaf_parameter for next_node in next_nodes]
            for parameter in (*call.parameters, *(leaf for leaf in leaves if leaf is not None)):
                parameter.pending_gradients += 1
        else:
            for next_node in next_nodes:
                next_node.num_dependents += 1
        self.state.nodes.append(node)
        return node

    def _save_tensors(
        self,
        call: KernelCall,
        node: AutogradNode,
        output: Storage,
        auxiliary: Sequence[tuple[Storage, AuxiliaryOutput]],
    ) -> None:
        for storage, _ in auxiliary:  # the node takes over their only reference
            storage.kind = "saved for backward"
            node.saved.append(storage)
        for storage in _saved_storages(call, output):
            self.state.save_for_backward(storage, node)

    def _record_saved_tensors(
        self,
        record: RecomputeRecord,
        call: KernelCall,
        node: AutogradNode,
        output: Storage,
        auxiliary: Sequence[tuple[Storage, AuxiliaryOutput]],
        start: int,
        middle: int,
    ) -> None:
        """Record what is saved before the kernel runs (step `start`), before (`middle`) and after it has an output."""
        saved = _saved_storages(call, output)
        before: list[Storage | None] = [storage for storage in saved if storage is not output]
        if call.uses_parameters:
            before.append(None)
        early: list[Storage | None] = [storage for storage, extra in auxiliary if extra.saved_before_output]
        late: list[Storage | None] = [storage for storage, extra in auxiliary if not extra.saved_before_output]
        if output in saved:
            late.append(output)
        record.record_saved(node, (start, before), (middle, early), (len(record.steps), late))
        for storage, _ in auxiliary:
            self.state.release(storage)


def _saved_storages(call: KernelCall, output: Storage) -> list[Storage]:
    """Return the storages that a kernel saves for backward, each once."""
    kernel, operands = call.kernel, call.operands
    saved = [*kernel.saved, *(kernel.saved_for_parameters if call.parameters else ())]
    saved += [index for index, operand in kernel.saved_for_operand if operands[operand].grad_fn is not None]
    return list(dict.fromkeys(output if index == len(operands) else operands[index].storage for index in saved))
