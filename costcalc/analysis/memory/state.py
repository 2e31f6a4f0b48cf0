"""What a run is made of as it goes on: memory that is held, tensors that lie in it, and autograd's nodes."""

from __future__ import annotations

from collections.abc import Sequence

from costcalc.analysis.memory.timeline import AllocationKind
from costcalc.core.sizes import Size
from costcalc.ir.kernel import Kernel
from costcalc.ir.layout import Layout


class Storage:
    """A piece of memory, how many still need it, and the autograd nodes that keep what is in it."""

    __slots__ = ("kind", "layer", "name", "nbytes", "refcount", "saved_by")

    def __init__(self, layer: str, name: str, kind: AllocationKind, nbytes: Size) -> None:
        self.layer, self.name, self.kind, self.nbytes = layer, name, kind, nbytes
        self.refcount = 1
        self.saved_by: list[AutogradNode] = []


class TensorRef:
    """A tensor as a layer reads it: where it lies, and what makes its gradient; of a view also what it is a view of."""

    __slots__ = ("base", "elements", "grad_fn", "storage")

    def __init__(
        self, storage: Storage, elements: Size, grad_fn: AutogradNode | None, base: TensorRef | None = None
    ) -> None:
        self.storage, self.elements, self.grad_fn, self.base = storage, elements, grad_fn, base


class AutogradNode:
    """An autograd node: given the gradient of a kernel's result, it makes those of its operands and parameters."""

    __slots__ = (
        "broadcast_operands",
        "cloned_elements",
        "elements",
        "forwards_gradient",
        "grad",
        "gradient_order",
        "gradients",
        "is_view",
        "layer",
        "layout",
        "leaf_parameter",
        "new_gradient_operands",
        "next_nodes",
        "num_dependents",
        "parameters",
        "recompute_record",
        "reduced_parameter",
        "saved",
        "shape",
        "unneeded_elements",
        "workspace_elements",
    )

    def __init__(self, layer: str, elements: Size, kernel: Kernel, next_nodes: list[AutogradNode | None]) -> None:
        self.layer, self.elements, self.next_nodes = layer, elements, next_nodes
        self.forwards_gradient, self.workspace_elements, self.reduced_parameter = (
            kernel.forwards_gradient,
            kernel.workspace_elements,
            kernel.reduced_parameter,
        )
        self.is_view = kernel.aliases is not None and not kernel.in_place
        self.leaf_parameter: ParameterState | None = (
            None  # the parameter that its result is, and no node then: it only takes gradients
        )
        operands = (*kernel.differentiable_operands, *[-1] * len(next_nodes))[: len(next_nodes)]
        self.new_gradient_operands = tuple([operand in kernel.new_gradient_operands for operand in operands])
        self.broadcast_operands = tuple([operand in kernel.broadcast_operands for operand in operands])
        self.shape, self.gradients, self.gradient_order = kernel.shape, kernel.gradients, kernel.gradient_order
        self.layout: Layout | None = None  # of its result's gradient; None where it is contiguous
        self.parameters: list[ParameterState] = []
        self.saved: list[Storage] = []
        self.unneeded_elements: Size = 0  # elements of gradients that it makes, and nobody needs
        self.grad: Storage | None = None  # of its result, as far as it has been made
        self.cloned_elements: Size = 0  # elements of what it is given that it copies before it needs what is kept
        self.recompute_record: RecomputeRecord | None = None  # what makes the things it keeps, where they are not kept
        self.num_dependents = 0  # of what no output depends on: results and nodes that it is needed by


class RecomputeRecord:
    """A checkpointed segment, which keeps what it takes for as long as one of its nodes needs anything kept.

    `steps` are what its forward pass does to memory: it is born, held and dropped, a kernel runs, a node of autograd
    packs a piece away (or a parameter, which is no piece). Run again, it stops as soon as all is there that is packed.
    """

    __slots__ = ("done", "input", "pending_nodes", "steps")

    def __init__(self, input: Storage) -> None:
        self.input = input
        self.steps: list[tuple[str, Storage | None, AutogradNode | str | None]] = []
        self.pending_nodes = 0  # how many nodes have yet to run that packed anything
        self.done = False

    def record_saved(self, node: AutogradNode, *packed: tuple[int, Sequence[Storage | None]]) -> None:
        """A node packs pieces away, before the steps at these places; the last of them may be the end."""
        for place, pieces in reversed(packed):
            self.steps[place:place] = [("pack", piece, node) for piece in pieces]
        if any(pieces for _, pieces in packed):
            node.recompute_record = self
            self.pending_nodes += 1

    def required_steps(self) -> list[tuple[str, Storage | None, AutogradNode | str | None]]:
        """The steps up to the last that packs anything."""
        last = max(place for place, step in enumerate(self.steps) if step[0] == "pack")
        return self.steps[: last + 1]


class ParameterState:
    """A parameter: its elements, and its gradient once there is one."""

    __slots__ = ("elements", "existing_grad", "frozen", "grad", "layout", "name", "pending_gradients", "trainable")

    def __init__(self, name: str, elements: Size) -> None:
        self.name, self.elements = name, elements
        self.grad: Storage | None = None
        self.layout: Layout | None = None  # of its gradient; None where it is contiguous
        self.pending_gradients = 0  # how many nodes have yet to give it one
        self.existing_grad: Storage | None = None  # the gradient that was there before, to which it is added
        self.frozen = False
        self.trainable = False  # by an optimizer
