"""The kernels that a layer runs: the tensors they allocate, and those that autograd saves and allocates for them.

A layer runs one kernel or several (a local response normalization runs seven). Operands are numbered: the layer's
inputs 0 … n − 1 first, then the results of the layer's kernels n, n + 1, …. The last result is the layer's output.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any

from costcalc.core.sizes import Shape, Size
from costcalc.ir.layout import Layout


@dataclass(frozen=True, slots=True)
class AuxiliaryOutput:
    """A tensor that a kernel computes besides its output and saves for backward."""

    name: str
    elements: Size
    _: KW_ONLY
    element_size: int | None = None  # bytes; None: those of the network's dtype
    needed_in_forward: bool = True  # False: computed only where a gradient is needed
    saved_before_output: bool = False


@dataclass(frozen=True, slots=True)
class Kernel:
    """One operator that torch dispatches in a layer's forward pass, with its autograd node."""

    # Forward
    differentiable_operands: tuple[int, ...]  # operands that receive a gradient
    output_elements: Size
    _: KW_ONLY
    element_size: int | None = None  # bytes of an element of the output; None: those of the network's dtype
    aliases: int | None = None  # operand whose storage the output shares (a view, or in place)
    in_place: bool = False
    unsafe_view: bool = False  # a view that autograd does not track as one
    operands_kept_alive: tuple[int, ...] = ()  # operands without a gradient that the kernel reads
    auxiliary_outputs: tuple[AuxiliaryOutput, ...] = ()  # such as the indices of a max pool

    # Saved for backward, by the gradients that need it
    saved: tuple[int, ...] = ()  # needed by any gradient; the output has the number of the kernel
    saved_for_parameters: tuple[int, ...] = ()  # needed only by gradients of parameters
    saved_for_operand: tuple[tuple[int, int], ...] = ()  # (saved operand, the operand whose gradient needs it)

    # Gradients that backward returns
    forwards_gradient: bool = False  # grad_input is grad_output itself or a view of it
    new_gradient_operands: tuple[int, ...] = ()  # exceptions: operands that receive a new tensor all the same
    broadcast_operands: tuple[int, ...] = ()  # their gradient has the shape of the output first, and is then summed
    # Order in memory of the dimensions of a new gradient, by the layout of grad_output; None: contiguous
    gradient_order: Callable[[Layout], tuple[int, ...] | None] | None = None

    # Gradients of views and copies
    output_shape: Shape | None = None
    gradient_ops: tuple[Any, ...] = ()  # by operand: the op that maps grad_output to its gradient (Op imports this)

    # Temporary tensors of backward, beyond the gradients it returns
    workspace_elements: Size = 0
    # (operand, elements): the last one whose operand needs a gradient is added
    workspace_for_operand: tuple[tuple[int, Size], ...] = ()
    computes_unneeded_gradients: bool = False  # gradients of operands that need none are allocated, and freed at once
    reduced_parameter: str | None = None  # its gradient is a sum, computed after the saved tensors are freed


def same_order(layout: Layout) -> tuple[int, ...]:
    """Return the order of grad_output's dimensions: the `gradient_order` of elementwise kernels."""
    return layout.dim_order
