"""The values: what is born and dies in a run, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Literal, NamedTuple, get_args

from costcalc.analysis.cost_table import CostTable
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
# There before the run, and after it: no part of `peak_live`.
PERSISTENT_KINDS: frozenset[AllocationKind] = frozenset({"parameter", "buffer", "optimizer state", "input"})


class Allocation(NamedTuple):
    """A piece of memory: the layer that makes it (none: the loss, or an input), what it is there, its kind and bytes.

    Where autograd keeps a tensor of the forward pass, that is its kind from its birth on. What a checkpointed segment
    makes in the backward pass is recomputed, kept or not.
    """

    layer: str
    name: str
    kind: AllocationKind
    nbytes: Size


class Event(NamedTuple):
    """A tensor is born or dies while a layer runs (none: the loss)."""

    phase: Phase
    layer: str
    allocates: bool
    allocation: Allocation


@dataclass(frozen=True)
class Timeline:
    """All tensors of one run, and in what order they are born and die. Bytes, for the whole batch.

    `saved_input` are the bytes of inputs that autograd keeps, in no other sum of what it keeps.
    `unknown` are layers of which nobody has told what they keep: while there are any, sums are lower bounds.
    `trained` are the elements of parameters that get a gradient.
    With a `checkpoint` by stage or block, the `checkpointed` ones keep only what they take, and those in `left` are as
    they were, for the reason given; `recomputed` are the layers that run again in the backward pass.
    """

    name: str
    batch: Size
    dtype: str
    training: bool
    gradients: bool
    optimizer: str | None
    events: tuple[Event, ...]
    saved_input: Size = 0
    unknown: tuple[str, ...] = ()
    trainable_elements: Size = 0
    checkpoint: str = "none"
    checkpointed: tuple[str, ...] = ()
    not_checkpointed: Mapping[str, str] = field(default_factory=dict)
    recomputed: tuple[str, ...] = ()
    master_weights: bool = False

    @cached_property
    def live(self) -> tuple[Size, ...]:
        """What is alive after each event, but for what stands before the run: parameters, buffers, states, inputs."""
        alive: Size = 0
        levels = []
        for _, _, born, (_, _, kind, size) in self.events:
            if kind not in PERSISTENT_KINDS:
                alive += size if born else -size
            levels.append(alive)
        return tuple(levels)

    @cached_property
    def persistent(self) -> Mapping[AllocationKind, Size]:
        """What is alive before the run, and after it: parameters, buffers, the optimizer's state, inputs."""
        return _by_kind(event.allocation for event in self.events if event.allocation.kind in PERSISTENT_KINDS)

    @cached_property
    def peak_live(self) -> Size:
        """The most that is ever alive of activations, gradients and transients, forward and backward."""
        steps = sum([event.phase == "step" for event in self.events])
        return max(self.live[: len(self.live) - steps])

    @property
    def peak_total(self) -> Size:
        """The most that is ever alive, the optimizer's step and all that stands included."""
        return max(self.live) + sum(self.persistent.values())

    @cached_property
    def peak_event(self) -> int:
        """The place of the event with which `peak_total` is first reached."""
        return self.live.index(max(self.live))

    @property
    def peak_at(self) -> tuple[str, Phase]:
        """The layer that runs at the peak (none: the loss), and in which phase."""
        event = self.events[self.peak_event]
        return event.layer, event.phase

    @cached_property
    def live_at_peak(self) -> tuple[Allocation, ...]:
        """Every tensor that is alive at the peak, in the order of birth."""
        alive: dict[int, Allocation] = {}
        for event in self.events[: self.peak_event + 1]:
            if event.allocates:
                alive[id(event.allocation)] = event.allocation
            else:
                del alive[id(event.allocation)]
        return tuple(alive.values())

    @cached_property
    def peak_by_layer(self) -> Mapping[tuple[str, Phase], Size]:
        """The most that is alive as a layer makes a tensor, by layer (none: the loss) and phase."""
        levels: dict[tuple[str, Phase], Size] = {}
        for event, alive in zip(self.events, self.live, strict=True):
            if event.allocates and event.phase != "before":
                who = (event.layer, event.phase)
                levels[who] = max(levels.get(who, 0), alive)
        return MappingProxyType(levels)

    @property
    def by_kind(self) -> Mapping[AllocationKind, Size]:
        """What is alive at the peak, by kind; together they are `peak_total`."""
        return _by_kind(self.live_at_peak)

    @cached_property
    def saved(self) -> tuple[Allocation, ...]:
        """All that autograd keeps for the backward pass and that is no parameter, buffer or input."""
        return tuple(e.allocation for e in self.events if e.allocates and e.allocation.kind == "saved for backward")

    @property
    def saved_for_backward(self) -> Size:
        """Bytes of `saved`."""
        return sum(tensor.nbytes for tensor in self.saved)

    @property
    def saved_by_layer(self) -> Mapping[str, Size]:
        """`saved_for_backward` by the layer that made the tensors."""
        layers: dict[str, Size] = {}
        for tensor in self.saved:
            layers[tensor.layer] = layers.get(tensor.layer, 0) + tensor.nbytes
        return layers


def with_saved_bytes(costs: CostTable, timeline: Timeline) -> CostTable:
    """The costs of the same graph, with what autograd keeps of what each layer makes."""
    saved = timeline.saved_by_layer
    return replace(costs, rows=tuple(row._replace(saved_bytes=saved.get(row.path, 0)) for row in costs.rows))


def _by_kind(tensors: Iterable[Allocation]) -> Mapping[AllocationKind, Size]:
    kinds: dict[AllocationKind, Size] = {}
    for tensor in tensors:
        kinds[tensor.kind] = kinds.get(tensor.kind, 0) + tensor.nbytes
    return MappingProxyType(kinds)
