"""Validation of memory: the timeline of a network compared with the storages that are live when torch runs it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from costcalc.analysis.memory import Allocation, Event, Timeline, timeline
from costcalc.core.dtypes import element_bytes
from costcalc.core.sizes import Shape
from costcalc.ir.graph import Graph
from costcalc.validation.costs import WHOLE_NETWORK, Difference, find_differences, load_torch_backend
from costcalc.validation.known_memory_differences import (
    KNOWN_EXCESSES,
    Excess,
    LayerAllocations,
    OtherKernels,
    other_kernels,
    with_kernels,
)

if TYPE_CHECKING:
    from costcalc.torch_backend import Environment, Observation


class MemoryFigures(NamedTuple):
    """The predicted and the observed bytes of a layer, or of the whole network, by figure."""

    layer: str
    predicted: Mapping[str, int]
    observed: Mapping[str, int]


class MemoryCheck(NamedTuple):
    """The memory of a network predicted and observed, layer by layer and for the whole network."""

    predicted: Timeline
    observed: Observation
    inputs: Mapping[str, Shape]
    settings: Mapping[str, Any]
    layers: tuple[MemoryFigures, ...]
    whole: MemoryFigures
    differences: tuple[Difference, ...]  # disagreements
    known_differences: tuple[Difference, ...]  # explained by OTHER_KERNELS and KNOWN_EXCESSES
    allocator_peak: int | None  # bytes, of CUDA's allocator in the same run; None on other devices

    @property
    def expects_equality(self) -> bool:
        """Whether predicted and observed memory must be equal: on a CPU and on `meta`.

        Kernels of other devices save other tensors, so that nothing is compared there.
        """
        return self.observed.environment.device in ("meta", "cpu")

    @property
    def compared(self) -> int:
        """The number of figures compared."""
        return sum(len(figures.predicted) for figures in (*self.layers, self.whole)) if self.expects_equality else 0


def check_memory(graph: Graph, *, device: str = "auto", dtype: str = "fp32", train: bool = False) -> MemoryCheck:
    """Compare predicted memory with the memory that torch uses, byte for byte.

    Builds `graph` in torch and runs it on `device`: one forward pass under `torch.no_grad()` in evaluation mode or,
    with `train=True`, a forward and a backward pass in training mode.

    Compared for every layer: the peak of live storages as the layer creates tensors (forward and, with `train=True`,
    backward) and the bytes of its tensors that autograd saves for backward. Compared for the whole network: the same,
    and the bytes of inputs that autograd saves.

    Raises:
        CostcalcError: the graph has a layer whose saved tensors are not modelled, torch is not installed, or torch
            cannot build or run the graph.
    """
    backend = load_torch_backend()
    device_type = backend.environment(device).device
    predicted = timeline(graph, training=train, dtype=dtype, device=device_type)
    predicted.require_modelled("check memory")
    observed: Observation = backend.observe(graph, device=device, dtype=dtype, training=train, include_meta_only=True)
    *layers, whole = (
        MemoryFigures(layer, _memory_figures(predicted, layer, train), _memory_figures(observed, layer, train))
        for layer in (*(node.name for node in graph.nodes), WHOLE_NETWORK)
    )
    check = MemoryCheck(
        predicted=predicted,
        observed=observed,
        inputs={name: shape for name, shape, *_ in graph.inputs},
        settings=graph.settings,
        layers=tuple(layers),
        whole=whole,
        differences=(),
        known_differences=(),
        allocator_peak=backend.allocator_peak(graph, dtype=dtype, train=train) if device_type == "cuda" else None,
    )
    if not check.expects_equality:
        return check
    combined, by_reason = _expected_of_torch(graph, predicted, observed.environment)
    differences: list[Difference] = []
    known: list[Difference] = []
    for layer, expected, measured in (*layers, whole):
        for difference in find_differences(layer, expected, measured):
            figure = difference.figure
            if _memory_figures(combined, layer, train)[figure] != difference.measured:
                differences.append(difference)
                continue
            reasons = [
                reason
                for reason, run in by_reason.items()
                if _memory_figures(run, layer, train)[figure] != difference.calculated
            ]
            known.append(difference._replace(reason="; ".join(reasons or by_reason)))
    return check._replace(differences=tuple(differences), known_differences=tuple(known))


def _memory_figures(run: Timeline | Observation, layer: str, train: bool) -> dict[str, int]:
    """Return what is compared of a layer, or of the whole network."""
    if layer == WHOLE_NETWORK:
        saved = {"saved for backward": run.saved_for_backward, "saved input": run.saved_input}
        return {"peak live": run.peak_live} | (saved if train else {})
    peaks: Mapping[tuple[str, Any], int] = run.peak_by_layer
    forward = {"alive forward": peaks.get((layer, "forward"), 0)}
    if not train:
        return forward
    backward = {"alive backward": peaks.get((layer, "backward"), 0)}
    return forward | backward | {"saved for backward": run.saved_by_layer.get(layer, 0)}


def _expected_of_torch(graph: Graph, run: Timeline, environment: Environment) -> tuple[Timeline, dict[str, Timeline]]:
    """Return the run with all known differences of this torch on this device and, by reason, with one alone."""
    combined, by_reason = run, {}
    if entries := other_kernels(graph, environment):

        def run_with(*entries: OtherKernels) -> Timeline:
            as_run = with_kernels(graph, entries)
            return timeline(as_run, training=run.training, dtype=run.dtype, device=environment.device)

        combined, by_reason = run_with(*entries), {entry.reason: run_with(entry) for entry in entries}
    layers = _layer_allocations(graph, run)
    for excess in KNOWN_EXCESSES:
        if not excess.seen_with.covers(environment):
            continue
        excesses = {name: excess.excesses(layer) for name, layer in layers.items()}
        if any(excesses.values()):
            combined, by_reason[excess.reason] = _add_excess(combined, excesses), _add_excess(run, excesses)
    return combined, by_reason


def _layer_allocations(graph: Graph, run: Timeline) -> dict[str, LayerAllocations]:
    tensors: dict[str, dict[tuple[str, str], int]] = {node.name: {} for node in graph.nodes}
    for phase, layer, allocates, allocation in run.events:
        if allocates and phase in ("forward", "backward") and layer:
            tensors[layer][phase, allocation.name] = allocation.nbytes
    element_size = element_bytes(run.dtype)
    return {
        node.name: LayerAllocations(node.op, graph.input_shapes(node), element_size, tensors[node.name])
        for node in graph.nodes
    }


def _add_excess(run: Timeline, excesses: Mapping[str, Iterable[Excess]]) -> Timeline:
    """Return the run with larger tensors and extra ones; a layer allocates an extra tensor after its first ones."""
    added: dict[tuple[str, str, str], int] = {}  # by layer, phase and tensor
    extra: dict[tuple[str, str], int] = {}  # by layer and phase
    for name, excess in ((name, excess) for name, of_layer in excesses.items() for excess in of_layer):
        if excess.tensor is None:
            extra[name, excess.phase] = excess.nbytes
        else:
            added[name, excess.phase, excess.tensor] = excess.nbytes
    allocations: dict[int, Allocation] = {}
    events: list[Event] = []
    for event, next_event in zip(run.events, (*run.events[1:], None), strict=True):
        phase, layer, allocates, allocation = event
        if allocates:
            nbytes = allocation.nbytes + added.get((layer, phase, allocation.name), 0)
            allocations[id(allocation)] = allocation._replace(nbytes=nbytes)
        events.append(event._replace(allocation=allocations[id(allocation)]))
        is_last = next_event is None or next_event[:3] != (phase, layer, True)
        if allocates and is_last and (layer, phase) in extra:
            nbytes = extra.pop((layer, phase))
            temporary = allocation._replace(name="allocated on meta only", kind="transient", nbytes=nbytes)
            events += [event._replace(allocation=temporary), event._replace(allocates=False, allocation=temporary)]
    return replace(run, events=tuple(events))
