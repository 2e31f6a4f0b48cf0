"""Optimizers: what each keeps for a parameter between steps, and what its step makes for it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from costcalc.errors import CostcalcError, did_you_mean


class Optimizer(NamedTuple):
    """A rule that changes parameters by their gradients, as torch.optim computes it one parameter at a time.

    `copies` are tensors as large as the parameter that are kept between steps; `counts`: it also keeps how many steps
    there were. `scratch` is how many tensors as large as the parameter a step makes; the last of them is alive until
    the next parameter's are made. (On a GPU torch.optim steps all parameters together, and makes them for all.)
    """

    copies: tuple[str, ...] = ()
    counts: bool = False
    scratch: int = 0


OPTIMIZERS: Mapping[str, Optimizer] = MappingProxyType(
    {
        "sgd": Optimizer(),
        "sgd-momentum": Optimizer(("momentum",)),
        "adam": Optimizer(("first moment", "second moment"), counts=True, scratch=2),
        "adamw": Optimizer(("first moment", "second moment"), counts=True, scratch=2),
        "rmsprop": Optimizer(("second moment",), counts=True, scratch=1),
    }
)


def optimizer_named(name: str) -> Optimizer:
    """The optimizer of that name. Raises CostcalcError, with what may have been meant, where there is none."""
    if name not in OPTIMIZERS:
        known = ", ".join(OPTIMIZERS)
        raise CostcalcError(f"no optimizer {name!r}{did_you_mean(name, OPTIMIZERS)}: there are {known}")
    return OPTIMIZERS[name]
