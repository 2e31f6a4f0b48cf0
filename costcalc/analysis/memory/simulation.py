"""Simulation of a forward pass, a backward pass and an optimizer step, tensor by tensor, as torch runs them.

A tensor is allocated when a layer runs and freed after its last reader; a tensor that is saved for backward is freed
after the autograd node that saves it has run. Each storage is counted once, at its full size, however many tensors
view it.

The events are those seen under a torch dispatch mode (`torch_backend/observe.py`): the sum of two gradients of one
tensor is a third tensor, where torch without a mode adds in place. Memory that a kernel allocates and frees internally
is not modelled.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from costcalc.analysis.memory.backward import BackwardPass
from costcalc.analysis.memory.checkpoint import Segment, candidate_segments, select_segments
from costcalc.analysis.memory.forward import ForwardPass
from costcalc.analysis.memory.optimizers import get_optimizer
from costcalc.analysis.memory.persistent import allocate_persistent, run_optimizer_step
from costcalc.analysis.memory.state import SimulationState
from costcalc.analysis.memory.timeline import Timeline
from costcalc.core.devices import Device
from costcalc.core.dtypes import element_bytes
from costcalc.core.errors import CostcalcError
from costcalc.ir.graph import Graph


def timeline(
    graph: Graph,
    *,
    training: bool = False,
    gradients: bool | None = None,
    dtype: str = "fp32",
    optimizer: str | None = None,
    frozen: Collection[str] = (),
    accumulating: bool = False,
    checkpoint: str = "none",
    master_weights: bool = False,
    device: Device | None = None,
) -> Timeline:
    """Simulate the memory of one run of `graph` with its whole batch.

    The loss is the sum of all elements of all outputs. Network inputs require no gradient.

    Args:
        graph: the network, with its batch.
        training: run in training mode instead of evaluation mode.
        gradients: run a backward pass after the forward pass, instead of a forward pass under `torch.no_grad()`. The
            default is the value of `training`.
        dtype: the dtype of parameters and activations.
        optimizer: end with a step of this optimizer, a key of `OPTIMIZERS`; its state exists from an earlier step.
        frozen: layers, or prefixes of layer names, whose parameters require no gradient.
        accumulating: accumulate into existing `.grad` tensors, as for a later micro-batch or after
            `zero_grad(set_to_none=False)`.
        checkpoint: recompute activations in the backward pass by "stage" or "block" (see `memory.checkpoint`).
        master_weights: a network in fp16 or bf16 whose optimizer has a copy of each parameter, and its state, in fp32
            (Micikevicius et al., "Mixed precision training", 2018). Its step first copies all gradients to fp32.
        device: the device whose kernels run. By default attention is one fused kernel with a contiguous output.

    Raises:
        CostcalcError: the dtype, optimizer, layer or checkpoint is unknown, an option needs another one, or a layer in
            place overwrites a tensor that is needed for a gradient.
    """
    gradients = training if gradients is None else gradients
    if gradients and not training:
        raise CostcalcError("gradients require training mode: set training=True")
    for option, is_set in (
        ("optimizer", optimizer),
        ("frozen", frozen),
        ("accumulating", accumulating),
        ("checkpoint", checkpoint != "none"),
    ):
        if is_set and not gradients:
            raise CostcalcError(f"{option} requires a backward pass: set training=True and leave gradients unset")
    update = None if optimizer is None else get_optimizer(optimizer)
    if master_weights and update is None:
        raise CostcalcError("master weights require an optimizer, for example adam")
    if master_weights and dtype not in ("fp16", "bf16"):
        raise CostcalcError(f"master weights are fp32 copies of fp16 or bf16 parameters, but the dtype is {dtype}")
    frozen_layers = frozenset(node.name for prefix in frozen for node in graph.select(prefix))

    def run_forward(segments: Sequence[Segment]) -> ForwardPass:
        state = SimulationState(
            graph.execution(device, gradients),
            training=training,
            gradients=gradients,
            element_size=element_bytes(dtype),
        )
        allocate_persistent(
            state,
            optimizer=update,
            frozen=frozen_layers,
            accumulating=accumulating,
            master_weights=master_weights,
        )
        forward = ForwardPass(state, segments)
        forward.run()
        return forward

    segments, not_checkpointed = candidate_segments(graph, checkpoint)
    forward = run_forward(())
    if segments:
        segments, not_useful = select_segments(graph, segments, *forward.saved_storages())
        not_checkpointed |= not_useful
        forward = run_forward(segments)
    state = forward.state
    if gradients:
        backward = BackwardPass(state)
        backward.run_loss()
        backward.run()
    if update is not None:
        run_optimizer_step(state, update, master_weights)
    return Timeline(
        name=graph.name,
        batch=graph.batch,
        dtype=dtype,
        training=training,
        gradients=gradients,
        optimizer=optimizer,
        events=state.events(),
        saved_input=sum(storage.nbytes for storage in state.saved_inputs),
        unknown={node.name: node.op.label() for node in graph.nodes if not node.op.modelled},
        trainable_elements=sum([parameter.elements for parameter in state.trainable_parameters()]),
        checkpoint=checkpoint,
        checkpointed=tuple(segment.prefix for segment in segments),
        not_checkpointed=not_checkpointed,
        recomputed=tuple(node.name for node in graph.nodes if node.name in state.recomputed_layers),
        master_weights=master_weights,
    )
