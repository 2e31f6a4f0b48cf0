"""What a run is made of as it goes on: memory that is held, tensors that lie in it, and autograd's nodes."""

from __future__ import annotations

from collections.abc import Sequence

from costcalc.analysis.memory.timeline import Kind
from costcalc.core.sizes import Size
from costcalc.ir.kernel import Kernel


class Memory:
    """A piece of memory, how many still need it, and the autograd nodes that keep what is in it."""

    __slots__ = ("holders", "keepers", "kind", "layer", "size", "what")

    def __init__(self, layer: str, what: str, kind: Kind, size: Size) -> None:
        self.layer, self.what, self.kind, self.size = layer, what, kind, size
        self.holders = 1
        self.keepers: list[Backward] = []


class Value:
    """A tensor as a layer reads it: where it lies, and what makes its gradient; of a view also what it is a view of."""

    __slots__ = ("base", "elements", "memory", "source")

    def __init__(self, memory: Memory, elements: Size, source: Backward | None, base: Value | None = None) -> None:
        self.memory, self.elements, self.source, self.base = memory, elements, source, base


class Backward:
    """An autograd node: given the gradient of a kernel's result, it makes those of its operands and parameters."""

    __slots__ = (
        "again",
        "copied",
        "elements",
        "gradient",
        "is_view",
        "kept",
        "layer",
        "leaf",
        "parameters",
        "passes_on",
        "readers",
        "renews",
        "repeats",
        "scratch",
        "sums",
        "targets",
        "unasked",
    )

    def __init__(self, layer: str, elements: Size, kernel: Kernel, targets: list[Backward | None]) -> None:
        self.layer, self.elements, self.targets = layer, elements, targets
        self.passes_on, self.scratch, self.sums = kernel.passes_on, kernel.scratch, kernel.sums
        self.is_view = kernel.lies_in is not None and not kernel.in_place
        self.leaf: Learnt | None = None  # the parameter that its result is, and no node then: it only takes gradients
        operands = (*kernel.reads, *[-1] * len(targets))[: len(targets)]
        self.renews = tuple([operand in kernel.renews for operand in operands])
        self.repeats = tuple([operand in kernel.repeats for operand in operands])
        self.parameters: list[Learnt] = []
        self.kept: list[Memory] = []
        self.unasked: Size = 0  # elements of gradients that it makes, and nobody needs
        self.gradient: Memory | None = None  # of its result, as far as it has been made
        self.copied: Size = 0  # elements of what it is given that it copies before it needs what is kept
        self.again: Again | None = None  # what makes the things it keeps, where they are not kept
        self.readers = 0  # of what no output depends on: results and nodes that it is needed by


class Again:
    """A checkpointed segment, which keeps what it takes for as long as one of its nodes needs anything kept.

    `steps` are what its forward pass does to memory: it is born, held and dropped, a kernel runs, a node of autograd
    packs a piece away (or a parameter, which is no piece). Run again, it stops as soon as all is there that is packed.
    """

    __slots__ = ("done", "steps", "taken", "waiting")

    def __init__(self, taken: Memory) -> None:
        self.taken = taken
        self.steps: list[tuple[str, Memory | None, Backward | str | None]] = []
        self.waiting = 0  # how many nodes have yet to run that packed anything
        self.done = False

    def packs(self, node: Backward, *packed: tuple[int, Sequence[Memory | None]]) -> None:
        """A node packs pieces away, before the steps at these places; the last of them may be the end."""
        for place, pieces in reversed(packed):
            self.steps[place:place] = [("pack", piece, node) for piece in pieces]
        if any(pieces for _, pieces in packed):
            node.again = self
            self.waiting += 1

    def needed(self) -> list[tuple[str, Memory | None, Backward | str | None]]:
        """The steps up to the last that packs anything."""
        last = max(place for place, step in enumerate(self.steps) if step[0] == "pack")
        return self.steps[: last + 1]


class Learnt:
    """A parameter: its elements, and its gradient once there is one."""

    __slots__ = ("awaited", "elements", "frozen", "gradient", "there", "trained", "what")

    def __init__(self, what: str, elements: Size) -> None:
        self.what, self.elements = what, elements
        self.gradient: Memory | None = None
        self.awaited = 0  # how many nodes have yet to give it one
        self.there: Memory | None = None  # the gradient that was there before, to which it is added
        self.frozen = False
        self.trained = False  # by an optimizer
