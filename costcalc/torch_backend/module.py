"""A graph as a torch module: one submodule a layer, named by its path, called in running order."""

from __future__ import annotations

import operator
import re
from keyword import kwlist
from typing import get_args

import torch
from torch import fx, nn

from costcalc.core.devices import Device
from costcalc.core.errors import CostcalcError
from costcalc.core.sizes import is_plain
from costcalc.ir.graph import Graph, Node
from costcalc.ir.ops.tensors import Result
from costcalc.torch_backend.lowering.base import lower

LAYER = "layer"  # the key of the layer's name in the `meta` of an fx node
INPUT_SHAPES = "input_shapes"  # the key of the shapes of the graph's inputs in the `meta` of the module
# Names that no submodule can have: attributes of a GraphModule, and words that generated code cannot use.
_RESERVED_NAMES = frozenset([*dir(fx.GraphModule(nn.Module(), fx.Graph())), *kwlist, "self"])


def build(
    graph: Graph,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    allow_unknown: bool = False,
) -> fx.GraphModule:
    """Return `graph` as a torch module to train, run or export, called with one tensor for each input.

    The result is the main output or, of several outputs, a tuple with the main one first. Parameters are initialised as
    torch.nn does. The layer `inception3a/5x5/conv/conv2d` is the submodule `inception3a.5x5.conv.conv2d`; a part of a
    path that cannot be the name of a module (`train`, `a.b`) gets an underscore. Layers that share parameters share
    tensors. The batch and the input size may vary as far as the layers allow: a linear layer after a flatten fixes the
    spatial size. `print(network.code)` shows the forward pass as Python.

    With `allow_unknown`, an unknown layer returns a tensor of the right shape that has no meaning; without it, such
    layers raise CostcalcError, which names all of them. Raises CostcalcError for sizes that are not plain ints.
    """
    if not all(is_plain(size) for shape in graph.shapes.values() for size in shape):
        raise CostcalcError(f"{graph.name} has sizes that are not plain numbers; torch needs numbers")
    unknown = [f"{node.name} ({node.op.label()})" for node in graph.nodes if not node.op.modelled]
    if unknown and not allow_unknown:
        raise CostcalcError(f"{graph.name} cannot be built: it has unknown layers: {', '.join(unknown)}")
    target = torch.device(device or torch.get_default_device())
    execution = graph.execution(next((name for name in get_args(Device) if name == target.type), None))
    with target:
        modules = {node.name: lower(execution.op(node), *graph.input_shapes(node)) for node in graph.nodes}
    _share_parameters(graph.nodes, modules)
    root = nn.Module()
    steps = fx.Graph()
    values: dict[str, fx.Node] = {}
    for name, *_ in graph.inputs:
        values[name] = steps.placeholder(_placeholder_name(name, {str(value.target) for value in values.values()}))
    targets: dict[nn.Module, str] = {}
    for node in graph.nodes:
        module = modules[node.name]
        if module not in targets:
            targets[module] = _add_module(root, node.name, module)
        if isinstance(node.op, Result):  # takes the tuple of all results; other layers take the first
            arguments = values[node.inputs[0]].args[:1]
        else:
            arguments = tuple(values[name] for name in node.inputs)
        step = steps.call_module(targets[module], arguments)
        step.meta[LAYER] = node.name
        if node.op.extra_outputs(*graph.input_shapes(node)):
            step = steps.call_function(operator.getitem, (step, 0))
            step.meta[LAYER] = node.name
        values[node.name] = step
    outputs = tuple(values[name] for name in graph.outputs)
    steps.output(outputs if len(outputs) > 1 else outputs[0])
    network = fx.GraphModule(root, steps, re.sub(r"\W", "_", graph.name))
    network.meta[INPUT_SHAPES] = tuple(shape for _, shape, *_ in graph.inputs)
    return network if dtype is None else network.to(dtype)


def _share_parameters(nodes: tuple[Node, ...], modules: dict[str, nn.Module]) -> None:
    """Give layers that share parameters one module or, where their ops differ, the same tensors."""
    ops = {node.name: node.op for node in nodes}
    for node in nodes:
        if node.shares is None:
            continue
        owner = modules[node.shares]
        if ops[node.shares] == node.op:
            modules[node.name] = owner
            continue
        tensors = [*owner.named_parameters(recurse=False), *owner.named_buffers(recurse=False)]
        for name, tensor in tensors:
            setattr(modules[node.name], name, tensor)


def _add_module(root: nn.Module, path: str, module: nn.Module) -> str:
    """Add `module` below `root` at `path`, creating containers, and return its qualified name."""
    *groups, last = (part.replace(".", "_") for part in path.split("/"))
    parent, names = root, []
    for group in groups:
        name = _unused_name(parent, group, group=True)
        if name not in parent._modules:
            parent.add_module(name, _Container())
        parent = parent.get_submodule(name)
        names.append(name)
    names.append(_unused_name(parent, last, group=False))
    parent.add_module(names[-1], module)
    return ".".join(names)


class _Container(nn.Module):
    """A container for the layers whose paths share a prefix."""


def _unused_name(parent: nn.Module, name: str, *, group: bool) -> str:
    """Return `name` with underscores added until it is neither reserved nor used by another layer of `parent`."""
    while name in _RESERVED_NAMES or (
        name in parent._modules and not (group and isinstance(parent._modules[name], _Container))
    ):
        name += "_"
    return name


def _placeholder_name(name: str, used: set[str]) -> str:
    """Return the name of an input as a Python identifier."""
    name = re.sub(r"\W|^(?=\d)", "_", name)
    while name in kwlist or name == "self" or name in used:
        name += "_"
    return name
