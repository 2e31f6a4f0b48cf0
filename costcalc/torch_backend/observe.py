"""The memory of a network when torch runs it: every storage, from its allocation until it is freed.

Storages are observed at torch's dispatcher: after each operation, every output with an unknown storage is counted at
its full size until the storage object is freed. Workspace inside a kernel is not observed, and a view adds nothing.
Parameters, buffers and inputs are not counted. No allocator is involved, so `meta` gives the same integers as a device
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

# Gradients of activations cannot be distinguished from temporaries of the backward pass.
ObservedKind: TypeAlias = "AllocationKind | Literal['gradient', 'loss']"


class Observation(NamedTuple):
    """The live memory of one run, in bytes, without parameters, buffers and inputs.

    `peak_at` is the layer and the pass of the peak ("" for the loss), and `peak_by_layer` the peak while each layer
    ran. `by_kind` divides the peak: "saved for backward", "activation" (other allocations of the forward pass),
    "recomputed", "gradient of a parameter", "gradient" (other allocations of the backward pass) and "loss".
    `saved_by_layer` are the bytes that autograd saved, by the layer that allocated them.
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
    """Build `graph`, run it, and observe the memory of its tensors.

    Args:
        graph: the network.
        device: the device to run on; see `environment`.
        dtype: the dtype of parameters and of floating-point activations.
        training: run in training mode instead of evaluation mode.
        gradients: run a backward pass from the sum of all outputs, which are freed before it; otherwise the forward
            pass runs under no_grad. Follows `training` by default.
        frozen: paths of layers, or prefixes of paths, whose parameters require no gradient.
        accumulating: add gradients to existing ones, which are not counted.
        include_meta_only: also count tensors that `meta` returns and no device computes.
        checkpointed: prefixes of layers that run under torch.utils.checkpoint; see `LayerInterpreter`.

    Raises:
        CostcalcError: the device is not available, or torch cannot run a layer.
    """
    gradients = training if gradients is None else gradients
    where = environment(device, dtype)
    with prepare_workload(graph, where, training) as workload:
        network = workload.network
        frozen_layers = {node.name for prefix in frozen for node in graph.select(prefix)}
        for step in network.graph.nodes:
            if step.op == "call_module" and step.meta.get(LAYER) in frozen_layers:
                network.get_submodule(str(step.target)).requires_grad_(False)
        persistent = [*network.parameters(), *network.buffers()]
        if accumulating:
            for parameter in network.parameters():
                parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
            persistent += [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        workload = workload._replace(accumulating=accumulating)
        interpreter = LayerInterpreter(workload, lambda: None, checkpointed=checkpointed)
        live = LiveStorages(persistent, workload.inputs, lambda: interpreter.current, include_meta_only)
        with live.recording():
            interpreter.run_once(gradients)
    saved = live.saved_by_layer()
    by_kind = live.by_kind(parameter.grad for parameter in network.parameters())
    inputs = sum(storage.nbytes for storage in live.inputs if storage.saved)
    return Observation(live.peak, live.peak_by_layer, live.peak_at, by_kind, sum(saved.values()), inputs, saved, where)


@dataclass(eq=False)
class _ObservedStorage:
    """A storage: the layer and pass that allocated it, its bytes, and whether autograd saved it."""

    allocated_by: tuple[str, Phase]
    nbytes: int
    saved: bool = False


class LiveStorages(TorchDispatchMode):
    """Counts the live storages while anything runs in torch, on any device.

    The storages of `persistent` tensors and of `inputs` are known and not counted. `current` returns the layer that
    runs and the pass. Tensors that `meta` returns and no device computes count as 0 bytes unless `include_meta_only`.
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
        # By the address of the storage object, because data_ptr() is 0 on meta. Persistent storages are never freed;
        # others are removed when they are.
        self.tracked = {_address(tensor): _ObservedStorage(("", "before"), 0) for tensor in persistent}
        self.inputs = [_ObservedStorage(("", "before"), tensor.untyped_storage().nbytes()) for tensor in inputs]
        self.tracked |= zip(map(_address, inputs), self.inputs, strict=True)
        self._references: dict[int, weakref.ref[Any]] = {}

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Count storages, and note which ones autograd saves, while the context is entered."""
        with self, saved_tensors_hooks(self._pack, _unpack):
            yield

    def saved_by_layer(self) -> dict[str, int]:
        """Return the bytes that autograd saved, each storage once, by the layer that allocated it; without inputs."""
        saved: dict[str, int] = {}
        for storage in self.allocated:
            if storage.saved and storage.nbytes:  # checkpoint of torch 2.6 saves an empty tensor
                saved[storage.allocated_by[0]] = saved.get(storage.allocated_by[0], 0) + storage.nbytes
        return saved

    def by_kind(self, parameter_gradients: Iterable[Tensor | None] = ()) -> dict[ObservedKind, int]:
        """Return the live bytes at the peak by kind. `parameter_gradients` are the gradients after the run."""
        parameter_storages = {
            self.tracked[_address(gradient)] for gradient in parameter_gradients if gradient is not None
        }
        freed = set(self.freed[: self.freed_at_peak])
        kinds: dict[ObservedKind, int] = {}
        for storage in self.allocated[: self.allocated_at_peak]:
            if storage not in freed:
                kind = _kind(storage, storage in parameter_storages)
                kinds[kind] = kinds.get(kind, 0) + storage.nbytes
        return kinds

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation, and register the storages of its outputs."""
        result = func(*args, **(kwargs or {}))
        before = len(self.allocated)
        for index, tensor in enumerate(result if isinstance(result, (tuple, list)) else (result,)):
            if isinstance(tensor, Tensor) and _address(tensor) not in self.tracked:
                meta_only = not self.include_meta_only and tensor.is_meta and _is_meta_only(func, args, index)
                self._register(tensor.untyped_storage(), 0 if meta_only else tensor.untyped_storage().nbytes())
        if any(storage.nbytes for storage in self.allocated[before:]):
            current = self.current()
            self.peak_by_layer[current] = max(self.live, self.peak_by_layer.get(current, 0))
            if self.live > self.peak:
                self.peak, self.peak_at = self.live, current
                self.allocated_at_peak, self.freed_at_peak = len(self.allocated), len(self.freed)
        return result

    def _pack(self, tensor: Tensor) -> tuple[Tensor, int]:
        """Note that autograd saves a tensor.

        It is detached, because an output saved with its history would keep itself alive, and packed with its version,
        because torch does not check the version of packed tensors.
        """
        self.tracked[_address(tensor)].saved = True
        return tensor.detach(), tensor._version

    def _register(self, storage: torch.UntypedStorage, size: int) -> None:
        address = storage._cdata
        new = _ObservedStorage(self.current(), size)

        def on_free(_: Any) -> None:
            del self.tracked[address], self._references[address]
            self.freed.append(new)
            self.live -= new.nbytes

        self.tracked[address] = new
        self._references[address] = weakref.ref(storage, on_free)
        self.allocated.append(new)
        self.live += new.nbytes


def _kind(storage: _ObservedStorage, is_parameter_gradient: bool) -> ObservedKind:
    layer, direction = storage.allocated_by
    if storage.saved:
        return "saved for backward"
    if is_parameter_gradient:
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


def _is_meta_only(func: Any, args: Any, index: int) -> bool:
    """Return whether `meta` returns an output that no device computes.

    These are the mean and the deviation of a BatchNorm in evaluation mode, which uses the running statistics, and the
    gradients of a BatchNorm that are not required.
    """
    if func is _BATCH_NORM:
        return index > 0 and not args[5]
    return func is _BATCH_NORM_BACKWARD and not args[9][index]
