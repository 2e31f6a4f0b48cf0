"""The cross-check of memory: what a network's timeline says beside the storages that are alive when torch runs it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from costcalc.analysis.memory import Allocation, Event, Timeline, timeline
from costcalc.core.dtypes import element_bytes
from costcalc.core.errors import CostcalcError
from costcalc.core.sizes import Shape
from costcalc.ir.graph import Graph
from costcalc.validation.costs import WHOLE_NETWORK, Difference, find_differences, load_torch_backend
from costcalc.validation.known_differences import (
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
    """Bytes of a layer, or of the whole network, by figure: predicted and observed."""

    layer: str
    predicted: Mapping[str, int]
    observed: Mapping[str, int]


class MemoryCheck(NamedTuple):
    """A network's memory predicted and observed, layer by layer and whole, and which figures differ.

    `differences` are disagreements; `known` are figures that torch is known to get wrong on `meta`, or to have computed
    by other kernels in older releases, as it was known to. Equality is claimed of `meta` and CPUs alone: elsewhere
    kernels keep other tensors, and nothing is compared. `allocated` is the most that CUDA's allocator held for the same
    run, None on other devices.
    """

    predicted: Timeline
    observed: Observation
    inputs: Mapping[str, Shape]
    settings: Mapping[str, Any]
    layers: tuple[MemoryFigures, ...]
    whole: MemoryFigures
    differences: tuple[Difference, ...]
    known_differences: tuple[Difference, ...]
    allocator_peak: int | None

    @property
    def expects_equality(self) -> bool:
        """Whether equality is claimed of the device."""
        return self.observed.environment.device in ("meta", "cpu")

    @property
    def compared(self) -> int:
        """How many figures were compared."""
        return sum(len(figures.predicted) for figures in (*self.layers, self.whole)) if self.expects_equality else 0


def check_memory(graph: Graph, *, device: str = "auto", dtype: str = "fp32", train: bool = False) -> MemoryCheck:
    """Predict the memory of `graph`, build and run it in torch, and compare the two with ==.

    It is a forward pass under no_grad in evaluation mode, with `train` a forward and a backward pass in training mode.
    For each layer: the most that is alive as it makes a tensor, forward and with `train` backward, and the bytes that
    autograd keeps of what it made; the same for the whole network, and the inputs that autograd keeps. Raises
    CostcalcError as `check` does, and for a layer of which nobody has told what it keeps.
    """
    backend = load_torch_backend()
    where = backend.environment(device).device
    predicted = timeline(graph, training=train, dtype=dtype, device=where)
    if predicted.unknown:
        names = ", ".join(predicted.unknown)
        raise CostcalcError(f"{graph.name}: nobody has told what is kept by {names}: its memory cannot be checked")
    observed: Observation = backend.observe(graph, device=device, dtype=dtype, training=train, include_meta_only=True)
    *layers, whole = (
        MemoryFigures(layer, _memory_figures(predicted, layer, train), _memory_figures(observed, layer, train))
        for layer in (*(node.name for node in graph.nodes), WHOLE_NETWORK)
    )
    check = MemoryCheck(
        predicted,
        observed,
        {name: shape for name, shape, *_ in graph.inputs},
        graph.settings,
        tuple(layers),
        whole,
        (),
        (),
        backend.allocator_peak(graph, dtype=dtype, train=train) if where == "cuda" else None,
    )
    if not check.expects_equality:
        return check
    together, alone = _as_torch_runs(graph, predicted, observed.environment)
    differences: list[Difference] = []
    known: list[Difference] = []
    for layer, expected, found in (*layers, whole):
        for difference in find_differences(layer, expected, found):
            _, figure, calculated, measured, _ = difference
            if _memory_figures(together, layer, train)[figure] != measured:
                differences.append(difference)
                continue
            reasons = [
                reason for reason, run in alone.items() if _memory_figures(run, layer, train)[figure] != calculated
            ]
            known.append(difference._replace(reason="; ".join(reasons or alone)))
    return check._replace(differences=tuple(differences), known_differences=tuple(known))


def _memory_figures(answer: Timeline | Observation, layer: str, train: bool) -> dict[str, int]:
    """What is compared of a layer, or of the whole."""
    if layer == WHOLE_NETWORK:
        kept = {"saved for backward": answer.saved_for_backward, "saved input": answer.saved_input}
        return {"peak live": answer.peak_live} | (kept if train else {})
    alive: Mapping[tuple[str, Any], int] = answer.peak_by_layer
    forward = {"alive forward": alive.get((layer, "forward"), 0)}
    if not train:
        return forward
    backward = {"alive backward": alive.get((layer, "backward"), 0)}
    return forward | backward | {"saved for backward": answer.saved_by_layer.get(layer, 0)}


def _as_torch_runs(graph: Graph, run: Timeline, where: Environment) -> tuple[Timeline, dict[str, Timeline]]:
    """The run with all that is known of this torch on this device, and by reason with one thing alone."""
    together, alone = run, {}
    if others := other_kernels(graph, where):

        def by(*entries: OtherKernels) -> Timeline:
            return timeline(with_kernels(graph, entries), training=run.training, dtype=run.dtype)

        together, alone = by(*others), {entry.reason: by(entry) for entry in others}
    tensors: dict[str, dict[tuple[str, str], int]] = {node.name: {} for node in graph.nodes}
    for phase, layer, born, tensor in run.events:
        if born and phase in ("forward", "backward") and layer:
            tensors[layer][phase, tensor.name] = tensor.nbytes
    element = element_bytes(run.dtype)
    layers = [LayerAllocations(n.op, graph.input_shapes(n), element, tensors[n.name]) for n in graph.nodes]
    for entry in KNOWN_EXCESSES:
        if not entry.seen_with.covers(where):
            continue
        excesses = {n.name: tuple(entry.excesses(layer)) for n, layer in zip(graph.nodes, layers, strict=True)}
        if any(excesses.values()):
            together, alone[entry.reason] = _add_excess(together, excesses), _add_excess(run, excesses)
    return together, alone


def _add_excess(run: Timeline, excesses: Mapping[str, Iterable[Excess]]) -> Timeline:
    """The run with layers' tensors larger, or with a tensor more that a layer makes with its first ones."""
    larger: Mapping[tuple[str, str, str], int]
    larger = {(name, e.phase, e.tensor): e.nbytes for name, of in excesses.items() for e in of if e.tensor is not None}
    more: dict[tuple[str, str], int]
    more = {(name, e.phase): e.nbytes for name, of in excesses.items() for e in of if e.tensor is None}
    tensors: dict[int, Allocation] = {}
    events: list[Event] = []
    for event, following in zip(run.events, (*run.events[1:], None), strict=True):
        phase, layer, born, tensor = event
        if born:
            size = tensor.nbytes + larger.get((layer, phase, tensor.name), 0)
            tensors[id(tensor)] = tensor._replace(nbytes=size)
        events.append(event._replace(allocation=tensors[id(tensor)]))
        goes_on = following is not None and following[:3] == (phase, layer, True)
        if born and not goes_on and (layer, phase) in more:
            further = tensor._replace(name="made on meta alone", kind="transient", nbytes=more.pop((layer, phase)))
            events += [event._replace(allocation=further), event._replace(allocates=False, allocation=further)]
    return replace(run, events=tuple(events))
