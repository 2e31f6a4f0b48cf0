"""Weights carried across a rewrite: from the network of a graph to that of what a design move made of it."""

from __future__ import annotations

from collections.abc import Container
from typing import NamedTuple

import torch
from torch import Tensor, fx, nn

from costcalc.core.errors import CostcalcError
from costcalc.core.sizes import format_shape
from costcalc.torch_backend.module import LAYER


class _BuiltLayer(NamedTuple):
    """A layer of a built network: its module, and the layers that read it (None: an output does)."""

    module: nn.Module
    users: tuple[str | None, ...]

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Its parameters and buffers."""
        return {**dict(self.module.named_parameters()), **dict(self.module.named_buffers())}


def transfer_weights(before: fx.GraphModule, after: fx.GraphModule) -> None:
    """Give `after` the weights of `before`, so that both compute the same function where a move keeps it.

    Both are networks of `build`, of a graph and of that graph rewritten. A layer takes its weights from the layer of
    its name: as they are where the shapes are equal; between a linear layer and a convolution with one group,
    F × C·H·W and F × C × H × W, in the order in which a flatten reads a plane. A batch norm that `after` lacks is
    folded into the convolution that it alone read: weight · γ/√(σ² + ε), and (bias − μ) · γ/√(σ² + ε) + β, with its
    running statistics. So the two agree in inference (`eval()`).

    Raises CostcalcError naming every layer of `after` whose weights cannot come from `before`; nothing is changed then.
    """
    old, new = _layers(before, "before"), _layers(after, "after")
    copies: dict[Tensor, Tensor] = {}
    lacking = []
    for name, layer in new.items():
        needed = layer.tensors
        given = _source_tensors(old, name, new.keys(), layer.module) if needed else {}
        fits = given.keys() == needed.keys() and all(given[key].shape == needed[key].shape for key in needed)
        if fits and all(_same_storage(given[key], copies.get(needed[key], given[key])) for key in needed):
            copies |= {needed[key]: given[key] for key in needed}
        else:
            shapes = ", ".join(f"{key} {format_shape(tuple(tensor.shape))}" for key, tensor in needed.items())
            lacking.append(f"{name} ({shapes})")
    if lacking:
        raise CostcalcError(f"weights cannot come from the network before for {', '.join(lacking)}")
    with torch.no_grad():
        for target, source in copies.items():
            target.copy_(source)


def _same_storage(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are one: layers that share weights can take them from one place alone."""
    return bool(one.untyped_storage()._cdata == other.untyped_storage()._cdata)


def _layers(network: fx.GraphModule, which: str) -> dict[str, _BuiltLayer]:
    """The layers of a network of `build` by name, in running order."""
    layers = {}
    for step in network.graph.nodes:
        if step.op == "call_module":
            if LAYER not in step.meta:
                raise CostcalcError(f"the network {which} is none of costcalc's build: its steps do not name layers")
            readers = tuple(reader.meta.get(LAYER) for reader in step.users)
            layers[step.meta[LAYER]] = _BuiltLayer(network.get_submodule(step.target), readers)
    return layers


def _source_tensors(
    old: dict[str, _BuiltLayer], name: str, kept: Container[str], wanted: nn.Module
) -> dict[str, Tensor]:
    """What the layer of that name has for `wanted`: a batch norm that is not kept folded in, and reshaped."""
    if name not in old:
        return {}
    layer = old[name]
    tensors = {key: tensor.detach() for key, tensor in layer.tensors.items()}
    if isinstance(layer.module, nn.Conv2d) and len(layer.users) == 1:
        (reader,) = layer.users
        norm = None if reader is None or reader in kept else old[reader].module
        if isinstance(norm, nn.BatchNorm2d):
            tensors = _fold_batch_norm(tensors, norm)
    kinds = {type(layer.module), type(wanted)}
    if kinds == {nn.Linear, nn.Conv2d} and getattr(layer.module, "groups", 1) == getattr(wanted, "groups", 1) == 1:
        weight, shape = tensors["weight"], dict(wanted.named_parameters())["weight"].shape
        if weight.shape[0] == shape[0] and weight.numel() == shape.numel():
            tensors["weight"] = weight.reshape(shape)
    return tensors


def _fold_batch_norm(conv: dict[str, Tensor], norm: nn.BatchNorm2d) -> dict[str, Tensor]:
    """A convolution's tensors with a batch norm after it folded in; as they are where it keeps no statistics."""
    if norm.running_mean is None or norm.running_var is None:
        return conv
    mean, variance = norm.running_mean, norm.running_var
    scale = torch.rsqrt(variance + norm.eps)
    if norm.affine:
        scale = scale * norm.weight.detach()
    bias = conv.get("bias", torch.zeros_like(mean)) - mean
    shift = norm.bias.detach() if norm.affine else torch.zeros_like(mean)
    return {"weight": conv["weight"] * scale.reshape(-1, 1, 1, 1), "bias": bias * scale + shift}
