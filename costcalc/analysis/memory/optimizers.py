"""Optimizers: what each keeps for a parameter between steps, and what its step makes for it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from costcalc.core.errors import CostcalcError, did_you_mean


class Optimizer(NamedTuple):
    """A rule that changes parameters by their gradients, as torch.optim computes it one parameter at a time.

    `copies` are tensors as large as the parameter that are kept between steps; `counts`: it also keeps how many steps
    there were. `scratch` is how many tensors as large as the parameter a step makes; the last of them is alive until
    the next parameter's are made. (On a GPU torch.optim steps all parameters together, and makes them for all.)

    `flops` are the operations of a step for each element of a parameter, from its formula as torch.optim has it,
    without weight decay but for adamw, whose point it is. What is computed once for a whole parameter, such as how the
    moments' bias is corrected, is not counted.
    """

    state_tensors: tuple[str, ...] = ()
    has_step_counter: bool = False
    workspace_tensors: int = 0
    flops_per_element: int = 0


OPTIMIZERS: Mapping[str, Optimizer] = MappingProxyType(
    {
        # p −= lr·g: 2.
        "sgd": Optimizer(flops_per_element=2),
        # b = μ·b + g: 2, p −= lr·b: 2.
        "sgd-momentum": Optimizer(("momentum",), flops_per_element=4),
        # m += (1 − β₁)·(g − m): 3, v = β₂·v + (1 − β₂)·g·g: 4, p −= s·m/(√v/c + ε): 3 and 3 (Kingma and Ba, 2015).
        "adam": Optimizer(
            ("first moment", "second moment"), has_step_counter=True, workspace_tensors=2, flops_per_element=13
        ),
        # The same after p = (1 − lr·λ)·p: 1 (Loshchilov and Hutter, 2019).
        "adamw": Optimizer(
            ("first moment", "second moment"), has_step_counter=True, workspace_tensors=2, flops_per_element=14
        ),
        # v = α·v + (1 − α)·g·g: 4, p −= lr·g/(√v + ε): 3 and 2.
        "rmsprop": Optimizer(("second moment",), has_step_counter=True, workspace_tensors=1, flops_per_element=9),
    }
)


def get_optimizer(name: str) -> Optimizer:
    """The optimizer of that name. Raises CostcalcError, with what may have been meant, where there is none."""
    if name not in OPTIMIZERS:
        known = ", ".join(OPTIMIZERS)
        raise CostcalcError(f"no optimizer {name!r}{did_you_mean(name, OPTIMIZERS)}: there are {known}")
    return OPTIMIZERS[name]
