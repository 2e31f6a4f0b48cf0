"""Weights carried from one network to another, so that the two can be held to the same outputs."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, fx, nn

from costcalc.core.errors import CostcalcError
from costcalc.core.sizes import Shape, format_shape
from costcalc.torch_backend.module import INPUT_SHAPES


class _ModuleTensors(NamedTuple):
    """A module that has parameters or buffers of its own."""

    name: str
    tensors: dict[str, Tensor]

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(f'{name} {format_shape(shape)}' for name, shape in _shapes(self))})"


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Copy all parameters and buffers of `source` into `target`, matched by order and shape, whatever they are called.

    The order is that in which modules are registered. Where that does not fit, it is that in which they first run: a
    `target` of `build` knows its own, and a twin of `source` without weights is run on `meta`, on tensors such as the
    target takes, in training so that auxiliary heads run too (torchvision's GoogLeNet registers them last). Nothing
    but the target's weights is changed, and those only when all fit.

    Raises CostcalcError naming the first module that does not fit: its tensors' names and shapes must be the same, and
    there must be equally many.
    """
    theirs, ours = _in_registration_order(source), _in_registration_order(target)
    reordered = not _match(theirs, ours) and _match(sorted(theirs, key=_shapes), sorted(ours, key=_shapes))
    if reordered and isinstance(target, fx.GraphModule) and INPUT_SHAPES in target.meta:
        theirs, ours = _in_execution_order(source, target.meta[INPUT_SHAPES]), _in_call_order(target)
    if not _match(theirs, ours):
        raise CostcalcError(_mismatch_message(theirs, ours))
    with torch.no_grad():
        for their, our in zip(theirs, ours, strict=True):
            for name, tensor in our.tensors.items():
                tensor.copy_(their.tensors[name])


def _in_registration_order(network: nn.Module) -> list[_ModuleTensors]:
    """What holds tensors, in the order of registration; a tensor that two modules share is the first's."""
    holders = []
    told: set[int] = set()
    for name, module in network.named_modules():
        named = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        tensors = {key: tensor for key, tensor in named if id(tensor) not in told}
        told.update(map(id, tensors.values()))
        if tensors:
            holders.append(_ModuleTensors(name, tensors))
    return holders


def _in_call_order(network: fx.GraphModule) -> list[_ModuleTensors]:
    """The same in the order in which the module calls them."""
    order = [str(step.target) for step in network.graph.nodes if step.op == "call_module"]
    return sorted(_in_registration_order(network), key=lambda holder: order.index(holder.name))


def _in_execution_order(network: nn.Module, shapes: Iterable[Shape]) -> list[_ModuleTensors]:
    """The same in the order in which they first run, seen on a twin without weights; what does not run comes last."""
    tensors = [*network.parameters(), *network.buffers()]
    twin = copy.deepcopy(network, {id(tensor): _to_meta(tensor) for tensor in tensors}).train()
    order: dict[str, None] = {}
    for name, module in twin.named_modules():
        module.register_forward_pre_hook(lambda module, inputs, name=name: order.setdefault(name))
    inputs = [
        torch.empty((2, *shape[1:]), device="meta") for shape in shapes
    ]  # BatchNorm trains on two images at least
    holders = _in_registration_order(network)
    try:
        twin(*inputs)
    except Exception as error:
        message = (
            f"the modules' order differs, and {type(network).__name__} does not run on the target's inputs: {error}"
        )
        raise CostcalcError(message) from error
    ran = {name: place for place, name in enumerate(order)}
    return sorted(holders, key=lambda holder: ran.get(holder.name, len(ran)))


def _to_meta(tensor: Tensor) -> Tensor:
    empty = torch.empty_like(tensor, device="meta")
    return nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty


def _shapes(holder: _ModuleTensors) -> list[tuple[str, Shape]]:
    return [(name, tuple(tensor.shape)) for name, tensor in holder.tensors.items()]


def _match(theirs: list[_ModuleTensors], ours: list[_ModuleTensors]) -> bool:
    return list(map(_shapes, theirs)) == list(map(_shapes, ours))


def _mismatch_message(theirs: list[_ModuleTensors], ours: list[_ModuleTensors]) -> str:
    for their, our in zip(theirs, ours, strict=False):
        if _shapes(their) != _shapes(our):
            return f"weights do not fit: {their} cannot go into {our}"
    more, which = (theirs, "source") if len(theirs) > len(ours) else (ours, "target")
    rest = ", ".join(holder.name for holder in more[min(len(theirs), len(ours)) :])
    return f"weights do not fit: only the {which} has {rest}"
