"""The result of a simulation: the events of a run in order, and the figures derived from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Literal, NamedTuple, get_args

from costcalc.analysis.cost_table import CostTable
from costcalc.core.errors import CostcalcError
from costcalc.core.sizes import Size

Pass = Literal["forward", "backward", "recomputation"]  # in which a layer runs
Phase = Literal["before", "forward", "loss", "backward", "recomputation", "step"]
AllocationKind = Literal[  # in the order of reports
    "saved for backward",
    "activation",
    "recomputed",
    "gradient of an activation",
    "gradient of a parameter",
    "transient",
    "input",
    "parameter",
    "buffer",
    "optimizer state",
]
ALLOCATION_KINDS: tuple[AllocationKind, ...] = get_args(AllocationKind)
# Allocated before the run and not freed in it; not included in `live` and `peak_live`.
PERSISTENT_KINDS: frozenset[AllocationKind] = frozenset({"parameter", "buffer", "optimizer state", "input"})


class Allocation(NamedTuple):
    """One allocation of a run.

    A tensor that autograd saves is "saved for backward" from its allocation on; a tensor that a checkpointed segment
    allocates in the backward pass is "recomputed", saved or not.
    """

    layer: str  # that allocates it; "" for the loss and for inputs
    name: str  # within the layer, such as "output" or "gradient of weight"
    kind: AllocationKind
    nbytes: Size


class Event(NamedTuple):
    """An allocation, or the release of one."""

    phase: Phase
    layer: str  # that runs; "" for the loss
    allocates: bool
    allocation: Allocation


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """The memory of one run of a network with its whole batch, event by event. Sizes are in bytes."""

    # The run
    name: str
    batch: Size
    dtype: str
    training: bool
    gradients: bool
    optimizer: str | None
    master_weights: bool = False
    checkpoint: str = "none"

    events: tuple[Event, ...]
    saved_input: Size = 0  # bytes of network inputs that are saved for backward, not included in `saved_for_backward`
    trainable_elements: Size = 0  # elements of the parameters that get a gradient
    # Layers whose saved tensors are not modelled, each with its op; sizes are lower bounds if there are any.
    unknown: Mapping[str, str] = field(default_factory=dict)
    checkpointed: tuple[str, ...] = ()  # stages or blocks of which only the input is saved
    not_checkpointed: Mapping[str, str] = field(default_factory=dict)  # the other ones, each with the reason
    recomputed: tuple[str, ...] = ()  # layers that run a second time in the backward pass

    def require_modelled(self, action: str) -> None:
        """Check that sizes are exact.

        Args:
            action: what exact sizes are needed for, as in "cannot check memory".

        Raises:
            CostcalcError: the saved tensors of a layer are not modelled.
        """
        if self.unknown:
            layers = ", ".join(f"{layer!r} (op {op})" for layer, op in self.unknown.items())
            noun = "layer" if len(self.unknown) == 1 else "layers"
            raise CostcalcError(f"{self.name}: cannot {action}: saved tensors are not modelled for {noun} {layers}")

    @cached_property
    def live(self) -> tuple[Size, ...]:
        """The bytes that are live after each event, without persistent allocations."""
        live: Size = 0
        levels = []
        for _, _, allocates, (_, _, kind, nbytes) in self.events:
            if kind not in PERSISTENT_KINDS:
                live += nbytes if allocates else -nbytes
            levels.append(live)
        return tuple(levels)

    @cached_property
    def persistent(self) -> Mapping[AllocationKind, Size]:
        """The bytes of parameters, buffers, optimizer state and inputs."""
        return _by_kind(event.allocation for event in self.events if event.allocation.kind in PERSISTENT_KINDS)

    @cached_property
    def peak_live(self) -> Size:
        """The peak of live bytes in the forward and the backward pass, without persistent allocations."""
        steps = sum([event.phase == "step" for event in self.events])
        return max(self.live[: len(self.live) - steps])

    @property
    def peak_total(self) -> Size:
        """The peak of live bytes, with the optimizer step and persistent allocations."""
        return max(self.live) + sum(self.persistent.values())

    @cached_property
    def peak_event(self) -> int:
        """The index of the first event at `peak_total`."""
        return self.live.index(max(self.live))

    @property
    def peak_at(self) -> tuple[str, Phase]:
        """The layer that runs at the peak ("" for the loss), and the phase."""
        event = self.events[self.peak_event]
        return event.layer, event.phase

    @cached_property
    def live_at_peak(self) -> tuple[Allocation, ...]:
        """The allocations that are live at the peak, in the order of allocation."""
        live: dict[int, Allocation] = {}
        for event in self.events[: self.peak_event + 1]:
            if event.allocates:
                live[id(event.allocation)] = event.allocation
            else:
                del live[id(event.allocation)]
        return tuple(live.values())

    @cached_property
    def peak_by_layer(self) -> Mapping[tuple[str, Phase], Size]:
        """The peak of live bytes at the allocations of a layer ("" for the loss) in a phase."""
        peaks: dict[tuple[str, Phase], Size] = {}
        for event, live in zip(self.events, self.live, strict=True):
            if event.allocates and event.phase != "before":
                key = (event.layer, event.phase)
                peaks[key] = max(peaks.get(key, 0), live)
        return MappingProxyType(peaks)

    @property
    def by_kind(self) -> Mapping[AllocationKind, Size]:
        """The live bytes at the peak by kind of allocation; their sum is `peak_total`."""
        return _by_kind(self.live_at_peak)

    @cached_property
    def saved(self) -> tuple[Allocation, ...]:
        """The allocations that autograd saves for backward, without parameters, buffers and inputs."""
        allocations = (event.allocation for event in self.events if event.allocates)
        return tuple(allocation for allocation in allocations if allocation.kind == "saved for backward")

    @property
    def saved_for_backward(self) -> Size:
        """The bytes of `saved`."""
        return sum(allocation.nbytes for allocation in self.saved)

    @property
    def saved_by_layer(self) -> Mapping[str, Size]:
        """`saved_for_backward` by the layer that allocates the tensors, which may be saved by another one."""
        layers: dict[str, Size] = {}
        for allocation in self.saved:
            layers[allocation.layer] = layers.get(allocation.layer, 0) + allocation.nbytes
        return layers


def with_saved_bytes(costs: CostTable, timeline: Timeline) -> CostTable:
    """Return the cost table of the same graph with the bytes that autograd saves of the tensors of each layer."""
    saved = timeline.saved_by_layer
    return replace(costs, rows=tuple(row._replace(saved_bytes=saved.get(row.path, 0)) for row in costs.rows))


def _by_kind(allocations: Iterable[Allocation]) -> Mapping[AllocationKind, Size]:
    kinds: dict[AllocationKind, Size] = {}
    for allocation in allocations:
        kinds[allocation.kind] = kinds.get(allocation.kind, 0) + allocation.nbytes
    return MappingProxyType(kinds)
