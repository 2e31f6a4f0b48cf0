"""What memory a network takes when torch runs it: every storage, from the operation that makes it until it dies.

Storages are seen as torch's dispatcher returns them: after each operation, every output that lies in a storage not yet
known is counted at its full size, until the storage object dies. What a kernel uses inside is not seen, and a view adds
nothing. Parameters, buffers and inputs are left out. This needs no allocator, so `meta` gives the integers of a device
that computes.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode

from costcalc.analysis.memory.timeline import AllocationKind, Pass, Phase
from costcalc.ir.graph import Graph
from costcalc.torch_backend.device import Environment, environment
from costcalc.torch_backend.interpreter import LayerInterpreter, prepare_workload
from costcalc.torch_backend.module import LAYER

# Gradients of activations, and temporaries of the backward pass, cannot be told apart.
ObservedKind: TypeAlias = "AllocationKind | Literal['gradient', 'loss']"


class Observation(NamedTuple):
    """What was alive in one run, in bytes, without parameters, buffers and inputs.

    `saved_by_layer` is by the layer that made what autograd keeps. `by_kind` is what was alive at the peak: "saved for
    backward", "activation" (what else the forward pass made), "recomputed", "gradient of a parameter", "gradient" (what
    else the backward pass made) and "loss". `peak_at` is the layer that ran, none for the loss, and its direction;
    `most_alive` is for each of them the most that was alive as it made a storage.
    """

    peak_live: int
    peak_by_layer: Mapping[tuple[str, Pass], int]
    peak_at: tuple[str, Pass]
    by_kind: Mapping[ObservedKind, int]
    saved_for_backward: int
    saved_input: int
    saved_by_layer: Mapping[str, int]
    environment: Environment


def observe(
    graph: Graph,
    *,
    device: str = "auto",
    dtype: str = "fp32",
    training: bool = False,
    gradients: bool | None = None,
    frozen: Collection[str] = (),
    accumulating: bool = False,
    include_meta_only: bool = False,
    checkpointed: Collection[str] = (),
) -> Observation:
    """Build `graph`, run it, and tell what memory its tensors took.

    Without `gradients` it is a forward pass under no_grad, in training or evaluation mode; with them (as in training,
    unless told otherwise) a backward pass from the sum of all outputs follows, which are dead by then. The parameters
    of `frozen` layers, or of all below such a prefix, need no gradient; if `accumulating`, all others have one before,
    which is not counted, and new ones are added to it. `as_told`, what `meta` gives and no device computes is counted,
    too. What is below the prefixes in `checkpointed` runs under torch.utils.checkpoint (see `Watch`). Raises
    CostcalcError for a device that is not there and for a layer that torch refuses, with its reason.
    """
    gradients = training if gradients is None else gradients
    where = environment(device, dtype)
    with prepare_workload(graph, where, training) as running:
        network = running.network
        still = {node.name for prefix in frozen for node in graph.select(prefix)}
        for step in network.graph.nodes:
            if step.op == "call_module" and step.meta.get(LAYER) in still:
                network.get_submodule(str(step.target)).requires_grad_(False)
        standing = [*network.parameters(), *network.buffers()]
        if accumulating:
            for parameter in network.parameters():
                parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
            standing += [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        watch = LayerInterpreter(running._replace(accumulating=accumulating), lambda: None, checkpointed=checkpointed)
        live = LiveStorages(standing, running.inputs, lambda: watch.current, include_meta_only)
        with live.recording():
            watch.run_once(gradients)
    saved = live.saved_by_layer()
    of_class = live.by_kind(parameter.grad for parameter in network.parameters())
    inputs = sum(storage.nbytes for storage in live.inputs if storage.saved)
    return Observation(live.peak, live.peak_by_layer, live.peak_at, of_class, sum(saved.values()), inputs, saved, where)


@dataclass(eq=False)
class _ObservedStorage:
    """A storage that was seen: what made it, its bytes, and whether autograd was seen to keep it."""

    allocated_by: tuple[str, Phase]
    nbytes: int
    saved: bool = False


class LiveStorages(TorchDispatchMode):
    """Counts the storages that are alive while anything runs in torch, on any device.

    What is `standing` before, and `inputs`, are known and not counted. `now` names who runs, and in which direction.
    What `meta` gives and no device computes counts as nothing, unless it is taken `as_told`.
    """

    def __init__(
        self,
        persistent: Iterable[Tensor],
        inputs: Iterable[Tensor] = (),
        current: Callable[[], tuple[str, Pass]] = lambda: ("", "forward"),
        include_meta_only: bool = False,
    ) -> None:
        TorchDispatchMode.__init__(self)
        self.current, self.include_meta_only = current, include_meta_only
        self.live = self.peak = 0
        self.peak_at: tuple[str, Pass] = ("", "forward")
        self.peak_by_layer: dict[tuple[str, Pass], int] = {}
        self.allocated: list[_ObservedStorage] = []
        self.freed: list[_ObservedStorage] = []
        self.allocated_at_peak = self.freed_at_peak = 0
        # By the address of the storage object: data_ptr() is 0 on meta. Storages that stand never die, others are
        # forgotten when they do.
        self.tracked = {_address(tensor): _ObservedStorage(("", "before"), 0) for tensor in persistent}
        self.inputs = [_ObservedStorage(("", "before"), tensor.untyped_storage().nbytes()) for tensor in inputs]
        self.tracked |= zip(map(_address, inputs), self.inputs, strict=True)
        self._references: dict[int, weakref.ref[Any]] = {}

    @contextmanager
    def recording(self) -> Iterator[None]:
        """While this is entered, storages are counted, and what autograd keeps is noted."""
        with self, saved_tensors_hooks(self._pack, _unpack):
            yield

    def saved_by_layer(self) -> dict[str, int]:
        """The bytes that autograd kept, each storage once, by who made it; without what stood before, and inputs."""
        saved: dict[str, int] = {}
        for storage in self.allocated:
            if storage.saved and storage.nbytes:  # checkpoint of torch 2.6 saves an empty tensor
                saved[storage.allocated_by[0]] = saved.get(storage.allocated_by[0], 0) + storage.nbytes
        return saved

    def by_kind(self, parameter_gradients: Iterable[Tensor | None] = ()) -> dict[ObservedKind, int]:
        """The bytes that were alive at the peak; `parameter_gradients` are those that there are at the end."""
        learnt = {self.tracked[_address(gradient)] for gradient in parameter_gradients if gradient is not None}
        dead = set(self.freed[: self.freed_at_peak])
        kinds: dict[ObservedKind, int] = {}
        for storage in self.allocated[: self.allocated_at_peak]:
            if storage not in dead:
                kind = _kind(storage, storage in learnt)
                kinds[kind] = kinds.get(kind, 0) + storage.nbytes
        return kinds

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One operation, and what is alive after it."""
        result = func(*args, **(kwargs or {}))
        before = len(self.allocated)
        for place, tensor in enumerate(result if isinstance(result, (tuple, list)) else (result,)):
            if isinstance(tensor, Tensor) and _address(tensor) not in self.tracked:
                unreal = not self.include_meta_only and tensor.is_meta and _is_meta_only(func, args, place)
                self._register(tensor.untyped_storage(), 0 if unreal else tensor.untyped_storage().nbytes())
        if any(storage.nbytes for storage in self.allocated[before:]):
            now = self.current()
            self.peak_by_layer[now] = max(self.live, self.peak_by_layer.get(now, 0))
            if self.live > self.peak:
                self.peak, self.peak_at = self.live, now
                self.allocated_at_peak, self.freed_at_peak = len(self.allocated), len(self.freed)
        return result

    def _pack(self, tensor: Tensor) -> tuple[Tensor, int]:
        """Autograd packs a tensor away.

        Detached, for a result that is kept with its history keeps itself; with its version, for torch does not look at
        that of what a hook has packed.
        """
        self.tracked[_address(tensor)].saved = True
        return tensor.detach(), tensor._version

    def _register(self, storage: torch.UntypedStorage, size: int) -> None:
        address = storage._cdata
        new = _ObservedStorage(self.current(), size)

        def die(_: Any) -> None:
            del self.tracked[address], self._references[address]
            self.freed.append(new)
            self.live -= new.nbytes

        self.tracked[address] = new
        self._references[address] = weakref.ref(storage, die)
        self.allocated.append(new)
        self.live += new.nbytes


def _kind(storage: _ObservedStorage, is_learnt: bool) -> ObservedKind:
    layer, direction = storage.allocated_by
    if storage.saved:
        return "saved for backward"
    if is_learnt:
        return "gradient of a parameter"
    if direction == "recomputation":
        return "recomputed"
    return "loss" if not layer else "activation" if direction == "forward" else "gradient"


def _unpack(packed: tuple[Tensor, int]) -> Tensor:
    tensor, version = packed
    if tensor._version != version:
        raise RuntimeError("a tensor needed for a gradient has been modified by an inplace operation")
    return tensor


def _address(tensor: Tensor) -> int:
    address: int = tensor.untyped_storage()._cdata
    return address


_BATCH_NORM = torch.ops.aten.native_batch_norm.default
_BATCH_NORM_BACKWARD = torch.ops.aten.native_batch_norm_backward.default


def _is_meta_only(func: Any, args: Any, place: int) -> bool:
    """Whether an output is one that no device computes: `meta` alone gives it.

    These are the mean and the deviation of a BatchNorm in evaluation, which uses the running ones, and a BatchNorm's
    gradients that were not asked for.
    """
    if func is _BATCH_NORM:
        return place > 0 and not args[5]
    return func is _BATCH_NORM_BACKWARD and not args[9][place]
