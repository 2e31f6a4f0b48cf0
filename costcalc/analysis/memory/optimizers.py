"""Optimizers: the state of each for a parameter, the workspace of its step and its FLOPs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from costcalc.core.errors import CostcalcError, did_you_mean


class Optimizer(NamedTuple):
    """An optimizer of torch.optim in its implementation on a CPU, which updates one parameter after the other.

    FLOPs follow the formula of the optimizer without weight decay, except for adamw. Operations once for a parameter,
    such as bias corrections of the moments, are not counted.
    """

    state_tensors: tuple[str, ...] = ()  # tensors of the size of the parameter that persist between steps
    has_step_counter: bool = False
    workspace_tensors: int = 0  # tensors of the size of the parameter that a step allocates
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
    """Return the optimizer of that name.

    Raises:
        CostcalcError: there is none; the message suggests a similar name.
    """
    if name not in OPTIMIZERS:
        known = ", ".join(OPTIMIZERS)
        raise CostcalcError(f"no optimizer {name!r}{did_you_mean(name, OPTIMIZERS)}: there are {known}")
    return OPTIMIZERS[name]
