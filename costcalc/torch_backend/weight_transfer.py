"""Transfer of weights across a rewrite: from the network of a graph to the network of the rewritten graph."""

from __future__ import annotations

from collections.abc import Container
from typing import NamedTuple

import torch
from torch import Tensor, fx, nn

from costcalc.core.errors import CostcalcError
from costcalc.core.sizes import format_shape
from costcalc.torch_backend.module import LAYER


class _BuiltLayer(NamedTuple):
    """A layer of a built network: its module, and the layers that use its output (None: an output uses it)."""

    module: nn.Module
    users: tuple[str | None, ...]

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Its parameters and buffers."""
        return {**dict(self.module.named_parameters()), **dict(self.module.named_buffers())}


def transfer_weights(before: fx.GraphModule, after: fx.GraphModule) -> None:
    """Copy the weights of `before` to `after`, so that both compute the same function if the move preserves it.

    Both are returned by `build`, for a graph and for the rewritten graph. A layer takes its weights from the layer of
    the same name: unchanged where the shapes are equal; reshaped between a linear layer, F × C·H·W, and a convolution
    with one group, F × C × H × W, in the order of flatten. A batch norm that `after` lacks is folded into the
    convolution whose only user it was: weight · γ/√(σ² + ε) and (bias − μ) · γ/√(σ² + ε) + β, with its running
    statistics. The two then agree in evaluation mode.

    Raises CostcalcError, which names every layer of `after` without a source of weights in `before`; then nothing is
    changed.
    """
    old, new = _layers(before, "before"), _layers(after, "after")
    copies: dict[Tensor, Tensor] = {}
    missing = []
    for name, layer in new.items():
        needed = layer.tensors
        source = _source_tensors(old, name, new.keys(), layer.module) if needed else {}
        fits = source.keys() == needed.keys() and all(source[key].shape == needed[key].shape for key in needed)
        if fits and all(_same_storage(source[key], copies.get(needed[key], source[key])) for key in needed):
            copies |= {needed[key]: source[key] for key in needed}
        else:
            shapes = ", ".join(f"{key} {format_shape(tuple(tensor.shape))}" for key, tensor in needed.items())
            missing.append(f"{name} ({shapes})")
    if missing:
        raise CostcalcError(f"the network before the rewrite has no weights for {', '.join(missing)}")
    with torch.no_grad():
        for target, tensor in copies.items():
            target.copy_(tensor)


def _same_storage(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors share a storage: layers that share weights need one source."""
    return bool(one.untyped_storage()._cdata == other.untyped_storage()._cdata)


def _layers(network: fx.GraphModule, which: str) -> dict[str, _BuiltLayer]:
    """Return the layers of a built network by name, in running order."""
    layers = {}
    for step in network.graph.nodes:
        if step.op == "call_module":
            if LAYER not in step.meta:
                raise CostcalcError(f"the network {which} the rewrite was not returned by costcalc's build")
            users = tuple(user.meta.get(LAYER) for user in step.users)
            layers[step.meta[LAYER]] = _BuiltLayer(network.get_submodule(step.target), users)
    return layers


def _source_tensors(
    old: dict[str, _BuiltLayer], name: str, remaining: Container[str], target: nn.Module
) -> dict[str, Tensor]:
    """Return the tensors of the layer of that name for `target`, with a removed batch norm folded in, and reshaped."""
    if name not in old:
        return {}
    layer = old[name]
    tensors = {key: tensor.detach() for key, tensor in layer.tensors.items()}
    if isinstance(layer.module, nn.Conv2d) and len(layer.users) == 1:
        (user,) = layer.users
        norm = None if user is None or user in remaining else old[user].module
        if isinstance(norm, nn.BatchNorm2d):
            tensors = _fold_batch_norm(tensors, norm)
    kinds = {type(layer.module), type(target)}
    if kinds == {nn.Linear, nn.Conv2d} and getattr(layer.module, "groups", 1) == getattr(target, "groups", 1) == 1:
        weight, shape = tensors["weight"], dict(target.named_parameters())["weight"].shape
        if weight.shape[0] == shape[0] and weight.numel() == shape.numel():
            tensors["weight"] = weight.reshape(shape)
    return tensors


def _fold_batch_norm(conv: dict[str, Tensor], norm: nn.BatchNorm2d) -> dict[str, Tensor]:
    """Return the tensors of a convolution with the following batch norm folded in, if that has running statistics."""
    if norm.running_mean is None or norm.running_var is None:
        return conv
    mean, variance = norm.running_mean, norm.running_var
    scale = torch.rsqrt(variance + norm.eps)
    if norm.affine:
        scale = scale * norm.weight.detach()
    bias = conv.get("bias", torch.zeros_like(mean)) - mean
    shift = norm.bias.detach() if norm.affine else torch.zeros_like(mean)
    return {"weight": conv["weight"] * scale.reshape(-1, 1, 1, 1), "bias": bias * scale + shift}
