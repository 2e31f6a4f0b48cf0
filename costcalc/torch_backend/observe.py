"""What memory a network takes when torch runs it: every storage, from the operation that makes it until it dies.

Storages are seen as torch's dispatcher returns them: after each operation, every output that lies in a storage not yet
known is counted at its full size, until the storage object dies. What a kernel uses inside is not seen, and a view adds
nothing. Parameters, buffers and inputs are left out. This needs no allocator, so `meta` gives the integers of a device
that computes.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from costcalc.graph import Graph
from costcalc.torch_backend.device import Environment, environment
from costcalc.torch_backend.watch import Subject, Watch, subject


class Observation(NamedTuple):
    """What was alive in one run, in bytes, without parameters, buffers and inputs.

    `saved_by_layer` is by the layer that made what autograd keeps. `by_class` is what was alive at the peak: what
    autograd keeps, other tensors of the forward pass, gradients of parameters, and what else the backward pass made.
    `peak_at` is the layer that ran, none for the loss, and its direction.
    """

    peak_live: int
    peak_at: tuple[str, str]
    by_class: Mapping[str, int]
    saved_for_backward: int
    saved_input: int
    saved_by_layer: Mapping[str, int]
    environment: Environment


def observe(
    graph: Graph, *, device: str = "auto", dtype: str = "fp32", training: bool = False, gradients: bool | None = None
) -> Observation:
    """Build `graph`, run it, and tell what memory its tensors took.

    Without `gradients` it is a forward pass under no_grad, in training or evaluation mode; with them (as in training,
    unless told otherwise) a backward pass from the sum of all outputs follows, which are dead by then. Raises
    CostcalcError for a device that is not there and for a layer that torch refuses, with its reason.
    """
    gradients = training if gradients is None else gradients
    where = environment(device, dtype)
    with subject(graph, where, training) as running:
        kept = _kept(running) if gradients else _Kept()
        live = _run(running, gradients)
    by_class = {"saved": 0, "activation": 0, "parameter gradient": 0, "gradient": 0, "loss": 0}
    parameter_gradients = {id(p.grad.untyped_storage()) for p in running.network.parameters() if p.grad is not None}
    for storage in live.at_peak:
        if storage.number in kept.numbers:
            kind = "saved"
        elif not storage.made_by[0]:
            kind = "loss"
        elif storage.made_by[1] == "forward":
            kind = "activation"
        else:
            kind = "parameter gradient" if storage.identity() in parameter_gradients else "gradient"
        by_class[kind] += storage.size
    return Observation(
        live.peak, live.peak_at, by_class, sum(kept.by_layer.values()), kept.of_inputs, kept.by_layer, where
    )


@dataclass
class _Storage:
    """A storage that was seen: the how manyth, what made it, and its bytes."""

    number: int
    made_by: tuple[str, str]
    size: int
    alive: weakref.ref[Any]

    def identity(self) -> int | None:
        """Of the storage object, while there is one."""
        storage = self.alive()
        return None if storage is None else id(storage)


class _Live(TorchDispatchMode):
    """Keeps count of the storages that are alive."""

    def __init__(self, watch: Watch[None], ignored: Iterable[Tensor]) -> None:
        super().__init__()
        self.watch = watch
        self.live = self.peak = self.seen = 0
        self.peak_at = ("", "forward")
        self.at_peak: list[_Storage] = []
        self.known: dict[int, _Storage | None] = {tensor.untyped_storage()._cdata: None for tensor in ignored}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One operation, and what is alive after it."""
        result = func(*args, **(kwargs or {}))
        for place, tensor in enumerate(tree_leaves(result)):
            if isinstance(tensor, Tensor):
                self._register(tensor.untyped_storage(), empty=tensor.is_meta and _is_empty(func, args, place))
        if self.live > self.peak:
            self.peak, self.peak_at = self.live, self.watch.now
            self.at_peak = [storage for storage in self.known.values() if storage is not None]
        return result

    def _register(self, storage: torch.UntypedStorage, *, empty: bool) -> None:
        address = storage._cdata  # of the object: data_ptr() is 0 on meta
        if address in self.known:
            return
        size = 0 if empty else storage.nbytes()

        def die(_: Any) -> None:
            del self.known[address]
            self.live -= size

        self.known[address] = _Storage(self.seen, self.watch.now, size, weakref.ref(storage, die))
        self.seen += 1
        self.live += size


_EVALUATED_BATCH_NORM = torch.ops.aten.native_batch_norm.default


def _is_empty(func: Any, args: Any, place: int) -> bool:
    """Whether the output is one that only `meta` makes: mean and deviation from a BatchNorm that has no use for them."""
    return func is _EVALUATED_BATCH_NORM and place > 0 and not args[5]


@dataclass
class _Kept:
    """What autograd was seen to keep: numbers of storages, and bytes by the layer that made them."""

    numbers: set[int] = field(default_factory=set)
    by_layer: dict[str, int] = field(default_factory=dict)
    of_inputs: int = 0


def _kept(running: Subject) -> _Kept:
    """All that autograd packs away in a run, each storage once."""
    kept = _Kept()
    inputs = {tensor.untyped_storage()._cdata: tensor.untyped_storage() for tensor in running.inputs}
    held: dict[int, Any] = {}  # alive until the end, so that no address is used twice
    watch, live = _observers(running)

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in held:
            held[storage._cdata] = storage
            seen = live.known.get(storage._cdata)
            if seen is not None:
                kept.numbers.add(seen.number)
                layer = seen.made_by[0]
                kept.by_layer[layer] = kept.by_layer.get(layer, 0) + seen.size
            elif storage._cdata in inputs:
                kept.of_inputs += storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor), live:
        watch.watch(True)
    return kept


def _run(running: Subject, gradients: bool) -> _Live:
    watch, live = _observers(running)
    with live:
        watch.watch(gradients)
    return live


def _observers(running: Subject) -> tuple[Watch[None], _Live]:
    watch = Watch(running, lambda: None)
    network = running.network
    return watch, _Live(watch, [*network.parameters(), *network.buffers(), *running.inputs])
