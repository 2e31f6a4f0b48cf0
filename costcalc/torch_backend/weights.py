"""Copying weights between two implementations of a network, so that their outputs can be compared."""

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
    """A module with parameters or buffers, not counting those of its submodules."""

    name: str
    tensors: dict[str, Tensor]

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(f'{name} {format_shape(shape)}' for name, shape in _shapes(self))})"


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Copy all parameters and buffers of `source` into `target`, matched by order and shape; names of modules may
    differ.

    The order is that of registration. Where the shapes do not match in that order, it is the order of first execution:
    a `target` returned by `build` has it in its code, and a copy of `source` without weights runs on `meta`, in
    training mode so that auxiliary heads run too (torchvision's GoogLeNet registers them last). Only the weights of
    `target` are changed, and only if all match.

    Raises CostcalcError, which names the first module that does not match: the names and shapes of its tensors must be
    equal, and so must the number of modules.
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
    """Return the modules with tensors in the order of registration. A shared tensor belongs to the first module."""
    holders = []
    seen: set[int] = set()
    for name, module in network.named_modules():
        named = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        tensors = {key: tensor for key, tensor in named if id(tensor) not in seen}
        seen.update(map(id, tensors.values()))
        if tensors:
            holders.append(_ModuleTensors(name, tensors))
    return holders


def _in_call_order(network: fx.GraphModule) -> list[_ModuleTensors]:
    """Return the same in the order in which the network calls them."""
    order = [str(step.target) for step in network.graph.nodes if step.op == "call_module"]
    return sorted(_in_registration_order(network), key=lambda holder: order.index(holder.name))


def _in_execution_order(network: nn.Module, shapes: Iterable[Shape]) -> list[_ModuleTensors]:
    """Return the same in the order in which they first run on `meta`; modules that do not run come last."""
    tensors = [*network.parameters(), *network.buffers()]
    on_meta = copy.deepcopy(network, {id(tensor): _to_meta(tensor) for tensor in tensors}).train()
    order: dict[str, None] = {}
    for name, module in on_meta.named_modules():
        module.register_forward_pre_hook(lambda module, inputs, name=name: order.setdefault(name))
    inputs = [
        torch.empty((2, *shape[1:]), device="meta") for shape in shapes
    ]  # BatchNorm trains on two images at least
    holders = _in_registration_order(network)
    try:
        on_meta(*inputs)
    except Exception as error:
        message = (
            f"the order of modules differs, and {type(network).__name__} cannot run on the target's inputs: {error}"
        )
        raise CostcalcError(message) from error
    position = {name: index for index, name in enumerate(order)}
    return sorted(holders, key=lambda holder: position.get(holder.name, len(position)))


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
            return f"weights do not match: {their} in the source, {our} in the target"
    more, which = (theirs, "source") if len(theirs) > len(ours) else (ours, "target")
    rest = ", ".join(holder.name for holder in more[min(len(theirs), len(ours)) :])
    return f"weights do not match: only the {which} has {rest}"
