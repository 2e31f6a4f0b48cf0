"""The allocations that outlive a run, and the optimizer step that updates them."""

from __future__ import annotations

from costcalc.analysis.memory.optimizers import Optimizer
from costcalc.analysis.memory.state import PARAMETER_GRADIENT, ParameterState, SimulationState, Storage, TensorRef
from costcalc.core.dtypes import DTYPE_BYTES, ELEMENT_TYPES, INT64_BYTES
from costcalc.core.sizes import prod
from costcalc.ir.graph import Node
from costcalc.ir.ops.tensors import Buffer

# Bytes of an element of the optimizer's step counter and of master weights, in a network of any dtype.
FP32_BYTES = DTYPE_BYTES["fp32"]


def allocate_persistent(
    state: SimulationState,
    *,
    optimizer: Optimizer | None,
    frozen: frozenset[str],
    accumulating: bool,
    master_weights: bool,
) -> None:
    """Allocate inputs, parameters, buffers, optimizer state and, if `accumulating`, existing gradients."""
    graph = state.graph
    for name, shape, element_type in graph.inputs:
        storage = state.allocate(name, "input", prod(shape), ELEMENT_TYPES[element_type])
        state.tensors[name] = TensorRef(storage, prod(shape), None)
    for node in graph.nodes:
        state.layer = node.name
        _allocate_parameters(state, node, node.name in frozen)
        _allocate_buffers(state, node)
    if not state.gradients:
        return
    for (layer, _), parameter in state.parameters.items():
        if layer not in graph.reachable or parameter.frozen or parameter.trainable:
            continue
        state.layer, parameter.trainable = layer, True
        if accumulating:
            parameter.existing_grad = state.allocate(
                f"gradient of {parameter.name}", PARAMETER_GRADIENT, parameter.elements
            )
        if optimizer is not None:
            _allocate_optimizer_state(state, parameter, optimizer, master_weights)


def _allocate_parameters(state: SimulationState, node: Node, frozen: bool) -> None:
    """Allocate the parameters of a layer; those that it shares belong to another layer."""
    for name, shape in node.op.parameters(*state.graph.input_shapes(node)).items():
        if node.shares is None:
            storage = state.allocate(name, "parameter", prod(shape))
            state.parameters[node.name, name] = ParameterState(name, prod(shape), storage)
        else:
            state.parameters[node.name, name] = state.parameters[node.shares, name]
        if frozen:
            state.parameters[node.name, name].frozen = True


def _allocate_buffers(state: SimulationState, node: Node) -> None:
    if node.shares is not None:
        return
    for name, shape in node.op.buffers(*state.graph.input_shapes(node)).items():
        element_size = None
        if isinstance(node.op, Buffer):
            element_size = ELEMENT_TYPES[state.graph.element_types[node.name]]
        elif not shape:  # a counter, such as num_batches_tracked of a batch norm
            element_size = INT64_BYTES
        state.buffer_storages[node.name] = state.allocate(name, "buffer", prod(shape), element_size)


def _allocate_optimizer_state(
    state: SimulationState, parameter: ParameterState, optimizer: Optimizer, master_weights: bool
) -> None:
    element_size = FP32_BYTES if master_weights else None
    if master_weights:
        state.allocate(f"master copy of {parameter.name}", "optimizer state", parameter.elements, FP32_BYTES)
    for name in optimizer.state_tensors:
        state.allocate(f"{name} of {parameter.name}", "optimizer state", parameter.elements, element_size)
    if optimizer.has_step_counter:
        state.allocate(f"steps of {parameter.name}", "optimizer state", 1, FP32_BYTES)


def run_optimizer_step(state: SimulationState, optimizer: Optimizer, master_weights: bool) -> None:
    """Update the parameters one after the other, then free their gradients unless they accumulate.

    The last workspace tensor of a parameter is freed when those of the next one are allocated. With master weights, all
    gradients are first copied to fp32.
    """
    state.phase = "step"
    trainable = state.trainable_parameters()
    fp32_gradients = []
    if master_weights:
        for parameter, layer in trainable.items():
            state.layer = layer
            fp32_gradients.append(
                state.allocate(f"fp32 gradient of {parameter.name}", PARAMETER_GRADIENT, parameter.elements, FP32_BYTES)
            )
    if optimizer.workspace_tensors:
        _allocate_workspaces(state, optimizer, FP32_BYTES if master_weights else None)
    for storage in fp32_gradients:
        state.release(storage)
    for parameter, layer in trainable.items():
        state.layer = layer
        if parameter.grad is not None:
            state.release(parameter.grad)


def _allocate_workspaces(state: SimulationState, optimizer: Optimizer, element_size: int | None) -> None:
    previous: Storage | None = None
    for parameter, layer in state.trainable_parameters().items():
        state.layer = layer
        *temporaries, last = [
            state.allocate(f"step of {parameter.name}", "transient", parameter.elements, element_size)
            for _ in range(optimizer.workspace_tensors)
        ]
        for storage in temporaries:
            state.release(storage)
        if previous is not None:
            state.release(previous)
        previous = last
    if previous is not None:
        state.release(previous)
