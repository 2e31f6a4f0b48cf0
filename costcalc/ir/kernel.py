"""What a layer runs, for memory's sake: the tensors that it makes, and what autograd keeps and makes for them.

A layer is one kernel or a few (a local response normalisation is seven). Operands are numbered: the layer's inputs
0 … n − 1, then the kernels' results n, n + 1, …; the last result is the layer's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from costcalc.core.sizes import Shape, Size
from costcalc.ir.layout import Layout

INT64_BYTES = 8  # bytes of a pool's index, whatever the network computes in


class AuxiliaryOutput(NamedTuple):
    """A tensor that a kernel makes beside its result.

    It is kept for backward. `size` is what an element takes, where that is not the dtype's; one that is not `needed` by
    the forward pass is made only where there will be a backward pass. One that is there `first` is kept before the
    result is made.
    """

    name: str
    elements: Size
    element_size: int | None = None
    needed_in_forward: bool = True
    saved_before_output: bool = False


class Kernel(NamedTuple):
    """One operation that torch dispatches, and the node that autograd makes of it.

    `reads` are the operands that a gradient flows to. The result is a new tensor of so many elements, unless it
    `lies_in` the memory of an operand: a view of it (which autograd does not know of, if it is an `unsafe_view`), or it
    overwritten (`in_place`). `keeps` are the operands that
    backward needs, the result being one, and `keeps_to_learn` those that the gradients of parameters alone need;
    `keeps_for` are pairs of an operand and of that whose gradient alone needs it. An operand that no later kernel reads
    is dead after this one; `holds` are further ones that live until it has run. Backward makes a new gradient for each
    operand, or `passes_on` the one it is given, or a view of it, but for those that it `renews`; `scratch` is how many
    elements it holds at most beyond what it makes, and `scratch_for` how many more, for the last of the operands there
    that needs a gradient. An operand that it `repeats` (one that is broadcast) has a gradient as large as the result,
    which is then summed. If `unasked`, it makes a gradient for operands that need none, too, and drops it at once. It
    `sums` the gradient of the parameter of that name, which it makes many times over, at the very end, when it has let
    go of what it unpacked. An element of the result takes `size` bytes, where that is not what the dtype takes.

    A view or a copy names in `gradients`, by operand, the op that gives the operand's gradient when it is applied to
    the gradient of the result, which has this `shape`; the gradient is a new tensor where that op copies. A new
    gradient is contiguous, unless `gradient_order` gives the order in memory of its dimensions for the layout of the
    result's gradient.
    """

    differentiable_operands: tuple[int, ...]
    output_elements: Size
    aliases: int | None = None
    in_place: bool = False
    saved: tuple[int, ...] = ()
    saved_for_parameters: tuple[int, ...] = ()
    saved_for_operand: tuple[tuple[int, int], ...] = ()
    auxiliary_outputs: tuple[AuxiliaryOutput, ...] = ()
    operands_kept_alive: tuple[int, ...] = ()
    forwards_gradient: bool = False
    new_gradient_operands: tuple[int, ...] = ()
    workspace_elements: Size = 0
    workspace_for_operand: tuple[tuple[int, Size], ...] = ()
    broadcast_operands: tuple[int, ...] = ()
    computes_unneeded_gradients: bool = False
    reduced_parameter: str | None = None
    element_size: int | None = None
    unsafe_view: bool = False
    shape: Shape | None = None
    gradients: tuple[Any, ...] = ()  # ops, whose module imports this one
    gradient_order: Callable[[Layout], tuple[int, ...] | None] | None = None


def as_given(layout: Layout) -> tuple[int, ...]:
    """The `gradient_order` of a pointwise kernel: that of the result's gradient."""
    return layout.dim_order
