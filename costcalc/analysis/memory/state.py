"""The state of a simulated run: storages with reference counts, tensors that view them, and autograd nodes."""

from __future__ import annotations

from typing import Literal, NamedTuple

from costcalc.analysis.memory.timeline import PERSISTENT_KINDS, Allocation, AllocationKind, Event, Phase
from costcalc.core.sizes import Size
from costcalc.ir.execution import Execution
from costcalc.ir.kernel import Kernel
from costcalc.ir.layout import Layout

PARAMETER_GRADIENT: AllocationKind = "gradient of a parameter"
ACTIVATION_GRADIENT: AllocationKind = "gradient of an activation"


class Storage:
    """A block of memory with a reference count, and the autograd nodes that save it for backward."""

    __slots__ = ("kind", "layer", "name", "nbytes", "refcount", "saved_by")

    def __init__(self, layer: str, name: str, kind: AllocationKind, nbytes: Size) -> None:
        self.layer, self.name, self.kind, self.nbytes = layer, name, kind, nbytes
        self.refcount = 1
        self.saved_by: list[AutogradNode] = []


class TensorRef:
    """A tensor: its storage, its autograd node and, for a view, the tensor that it views."""

    __slots__ = ("base", "elements", "grad_fn", "storage")

    def __init__(
        self, storage: Storage, elements: Size, grad_fn: AutogradNode | None, base: TensorRef | None = None
    ) -> None:
        self.storage, self.elements, self.grad_fn, self.base = storage, elements, grad_fn, base


class AutogradNode:
    """The backward function of one kernel: from the gradient of its output, those of its operands and parameters."""

    __slots__ = (
        "broadcast_operands",
        "cloned_elements",
        "elements",
        "forwards_gradient",
        "grad",
        "gradient_ops",
        "gradient_order",
        "is_view",
        "layer",
        "layout",
        "leaf_parameter",
        "new_gradient_operands",
        "next_nodes",
        "num_dependents",
        "output_shape",
        "parameters",
        "recompute_record",
        "reduced_parameter",
        "saved",
        "unneeded_elements",
        "workspace_elements",
    )

    def __init__(self, layer: str, elements: Size, kernel: Kernel, next_nodes: list[AutogradNode | None]) -> None:
        self.layer, self.elements, self.next_nodes = layer, elements, next_nodes
        operands = (*kernel.differentiable_operands, *[-1] * len(next_nodes))[: len(next_nodes)]
        self.parameters: list[ParameterState] = []
        # Set if the graph uses a parameter as a tensor: the node then accumulates its gradient, and never runs.
        self.leaf_parameter: ParameterState | None = None
        # Saved tensors
        self.saved: list[Storage] = []
        self.recompute_record: RecomputeRecord | None = None  # of the checkpointed segment that recomputes `saved`
        # Unreachable nodes are freed when no tensor and no other node refers to them.
        self.num_dependents = 0
        # The gradient of the output, accumulated so far; its layout is None if it is contiguous.
        self.grad: Storage | None = None
        self.layout: Layout | None = None
        # How the backward function runs
        self.is_view = kernel.aliases is not None and not kernel.in_place
        self.output_shape, self.gradient_ops = kernel.output_shape, kernel.gradient_ops
        self.gradient_order = kernel.gradient_order
        self.forwards_gradient = kernel.forwards_gradient
        self.new_gradient_operands = tuple([operand in kernel.new_gradient_operands for operand in operands])
        self.broadcast_operands = tuple([operand in kernel.broadcast_operands for operand in operands])
        self.reduced_parameter = kernel.reduced_parameter
        self.workspace_elements = kernel.workspace_elements
        self.unneeded_elements: Size = 0  # elements of gradients that it computes for operands that require none
        self.cloned_elements: Size = 0  # elements of grad_output that are cloned before saved tensors are unpacked


class ParameterState:
    """A parameter, its storage and, once computed, its gradient."""

    __slots__ = (
        "elements",
        "existing_grad",
        "frozen",
        "grad",
        "layout",
        "name",
        "pending_gradients",
        "storage",
        "trainable",
    )

    def __init__(self, name: str, elements: Size, storage: Storage) -> None:
        self.name, self.elements, self.storage = name, elements, storage
        self.grad: Storage | None = None
        self.layout: Layout | None = None  # of the gradient; None if it is contiguous
        self.pending_gradients = 0  # autograd nodes that have yet to compute a gradient of it
        self.existing_grad: Storage | None = None  # the `.grad` before the run, into which gradients are accumulated
        self.frozen = False
        self.trainable = False  # not frozen, and an output depends on it


class RecordedStep(NamedTuple):
    """One step of the forward pass of a checkpointed segment."""

    action: Literal["run", "allocate", "retain", "release", "save"]
    layer: str = ""  # of the kernel that runs
    storage: Storage | None = None  # None if a parameter is saved, which needs no recomputation
    node: AutogradNode | None = None  # that saves the storage


class RecomputeRecord:
    """The forward pass of a checkpointed segment, recorded to be run a second time in the backward pass.

    The segment's input stays allocated until all its nodes that saved tensors have run. As in torch, the second run
    stops as soon as every saved tensor is recomputed.
    """

    __slots__ = ("done", "input", "pending_nodes", "steps")

    def __init__(self, input: Storage) -> None:
        self.input = input
        self.steps: list[RecordedStep] = []
        self.pending_nodes = 0  # nodes with saved tensors that have yet to run
        self.done = False

    def record_saved(self, node: AutogradNode, *saved: tuple[int, list[Storage | None]]) -> None:
        """Insert steps that save storages for `node`.

        Each item of `saved` is an index of `steps` and the storages to save before that step; indices are ascending.
        """
        for index, storages in reversed(saved):
            self.steps[index:index] = [RecordedStep("save", storage=storage, node=node) for storage in storages]
        if any(storages for _, storages in saved):
            node.recompute_record = self
            self.pending_nodes += 1

    def required_steps(self) -> list[RecordedStep]:
        """Return the steps up to the last that saves a storage."""
        last = max(index for index, step in enumerate(self.steps) if step.action == "save")
        return self.steps[: last + 1]


class SimulationState:
    """Everything that is allocated in a run, and the events so far."""

    def __init__(self, execution: Execution, *, training: bool, gradients: bool, element_size: int) -> None:
        self.execution, self.graph = execution, execution.graph
        self.training, self.gradients, self.element_size = training, gradients, element_size
        self.phase: Phase = "before"
        self.layer = ""  # the layer that runs; "" for the loss
        self.tensors: dict[str, TensorRef] = {}  # the live tensors by name
        self.nodes: list[AutogradNode] = []  # in the order of creation
        self.parameters: dict[tuple[str, str], ParameterState] = {}  # by layer and name
        self.buffer_storages: dict[str, Storage] = {}  # by layer, its last buffer
        self.saved_inputs: set[Storage] = set()
        self.recompute_record: RecomputeRecord | None = None  # of the checkpointed segment that runs forward
        self.recomputed_layers: set[str] = set()
        self._event_log: list[tuple[Phase, str, bool, Storage]] = []

    def allocate(self, name: str, kind: AllocationKind, elements: Size, element_size: int | None = None) -> Storage:
        """Allocate a storage with one reference; an element has the size of the dtype unless `element_size` is set."""
        storage = Storage(self.layer, name, kind, elements * (element_size or self.element_size))
        self._event_log.append((self.phase, self.layer, True, storage))
        if self.recompute_record is not None:
            self.recompute_record.steps.append(RecordedStep("allocate", storage=storage))
        return storage

    def retain(self, storage: Storage) -> None:
        """Add a reference to a storage."""
        storage.refcount += 1
        if self.recompute_record is not None:
            self.recompute_record.steps.append(RecordedStep("retain", storage=storage))

    def release(self, storage: Storage) -> None:
        """Remove a reference to a storage, and free the storage if it was the last one."""
        if self.recompute_record is not None:
            self.recompute_record.steps.append(RecordedStep("release", storage=storage))
        storage.refcount -= 1
        if not storage.refcount and storage.kind not in PERSISTENT_KINDS:
            self._event_log.append((self.phase, self.layer, False, storage))

    def save_for_backward(self, storage: Storage, node: AutogradNode) -> None:
        """Let `node` hold a reference to the storage until it has run."""
        storage.refcount += 1
        storage.saved_by.append(node)
        node.saved.append(storage)
        if storage.kind == "input":
            self.saved_inputs.add(storage)
        elif storage.kind == "activation":
            storage.kind = "saved for backward"

    def release_saved(self, node: AutogradNode) -> None:
        """Release the saved tensors of `node`."""
        for storage in node.saved:
            self.release(storage)
        node.saved = []

    def allocated(self, kind: AllocationKind) -> list[Storage]:
        """Return all storages of a kind that have been allocated so far, freed or not."""
        return [storage for _, _, allocates, storage in self._event_log if allocates and storage.kind == kind]

    def trainable_parameters(self) -> dict[ParameterState, str]:
        """Return the parameters that get a gradient, each with the last layer that uses it."""
        trainable: dict[ParameterState, str] = {}
        for (layer, _), parameter in self.parameters.items():
            if parameter.trainable:
                trainable[parameter] = layer
        return trainable

    def events(self) -> tuple[Event, ...]:
        """Return the events so far; the kind of an allocation is that of its storage now."""
        allocations: dict[int, Allocation] = {}
        events = []
        for phase, layer, allocates, storage in self._event_log:
            if allocates:
                allocations[id(storage)] = Allocation(storage.layer, storage.name, storage.kind, storage.nbytes)
            events.append(Event(phase, layer, allocates, allocations[id(storage)]))
        return tuple(events)
