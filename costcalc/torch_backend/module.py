"""A graph as a torch module: one submodule a layer, named by its path, called in running order."""

from __future__ import annotations

import operator
import re
from keyword import kwlist
from typing import get_args

import torch
from torch import fx, nn

from costcalc.core.errors import CostcalcError
from costcalc.core.sizes import is_plain
from costcalc.ir.graph import Graph, Node
from costcalc.ir.op import Device
from costcalc.ir.ops.tensors import Result
from costcalc.torch_backend.lowering.base import lower

LAYER = "layer"  # where a step of the module keeps the name of its layer, in its `meta`
INPUT_SHAPES = "input_shapes"  # where the module keeps the shapes of the graph's inputs, in its own
# What no module below a network can be called: its attributes, and what its generated code cannot say.
_RESERVED_NAMES = frozenset([*dir(fx.GraphModule(nn.Module(), fx.Graph())), *kwlist, "self"])


def build(
    graph: Graph,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    allow_unknown: bool = False,
) -> fx.GraphModule:
    """`graph` as a module to train, run or export: call it with one tensor an input.

    Its result is the main output, or a tuple of all outputs, the main one first. Parameters are initialised as torch.nn
    does. The layer `inception3a/5x5/conv/conv2d` is the submodule `inception3a.5x5.conv.conv2d`, and so its parameters
    are named; a part of a path that a module cannot have as a name (`train`, `a.b`) gets an underscore. Layers that
    share parameters share them here. Batch and input size are as free as the layers leave them: a linear layer after a
    flatten fixes the plane. `print(network.code)` shows the forward pass as Python.

    A layer nobody knows (`unknown`) cannot be built: CostcalcError names all of them, unless `stand_ins` are allowed,
    which return tensors of the right shape without meaning. Raises CostcalcError for sizes that are no plain numbers.
    """
    if not all(is_plain(size) for shape in graph.shapes.values() for size in shape):
        raise CostcalcError(f"{graph.name} has sizes that are no plain numbers: torch builds networks of numbers")
    unknown = [f"{node.name} ({node.op.label()})" for node in graph.nodes if not node.op.modelled]
    if unknown and not allow_unknown:
        raise CostcalcError(f"{graph.name} cannot be built: nobody has told what {', '.join(unknown)} computes")
    where = torch.device(device or torch.get_default_device())
    execution = graph.execution(next((name for name in get_args(Device) if name == where.type), None))
    with where:
        modules = {node.name: lower(execution.op(node), *graph.input_shapes(node)) for node in graph.nodes}
    _share_parameters(graph.nodes, modules)
    root = nn.Module()
    steps = fx.Graph()
    values: dict[str, fx.Node] = {}
    for name, *_ in graph.inputs:
        values[name] = steps.placeholder(_placeholder_name(name, {str(value.target) for value in values.values()}))
    places: dict[nn.Module, str] = {}
    for node in graph.nodes:
        module = modules[node.name]
        if module not in places:
            places[module] = _add_module(root, node.name, module)
        if isinstance(node.op, Result):  # of all results of the layer; the others take the first
            arguments = values[node.inputs[0]].args[:1]
        else:
            arguments = tuple(values[name] for name in node.inputs)
        made = steps.call_module(places[module], arguments)
        made.meta[LAYER] = node.name
        if node.op.extra_outputs(*graph.input_shapes(node)):
            made = steps.call_function(operator.getitem, (made, 0))
            made.meta[LAYER] = node.name
        values[node.name] = made
    outputs = tuple(values[name] for name in graph.outputs)
    steps.output(outputs if len(outputs) > 1 else outputs[0])
    network = fx.GraphModule(root, steps, re.sub(r"\W", "_", graph.name))
    network.meta[INPUT_SHAPES] = tuple(shape for _, shape, *_ in graph.inputs)
    return network if dtype is None else network.to(dtype)


def _share_parameters(nodes: tuple[Node, ...], modules: dict[str, nn.Module]) -> None:
    """Give layers that share parameters one module or, where their ops differ otherwise, the same tensors."""
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
    """Put `module` where `path` says below `root`, in containers made as needed; the name it has there."""
    *groups, last = (part.replace(".", "_") for part in path.split("/"))
    where, names = root, []
    for group in groups:
        name = _unused_name(where, group, group=True)
        if name not in where._modules:
            where.add_module(name, _Container())
        where = where.get_submodule(name)
        names.append(name)
    names.append(_unused_name(where, last, group=False))
    where.add_module(names[-1], module)
    return ".".join(names)


class _Container(nn.Module):
    """A container of the layers below a part of a path."""


def _unused_name(where: nn.Module, name: str, *, group: bool) -> str:
    """`name`, with as many underscores as make it free: none of _TAKEN, and no other layer's; groups are entered."""
    while name in _RESERVED_NAMES or (
        name in where._modules and not (group and isinstance(where._modules[name], _Container))
    ):
        name += "_"
    return name


def _placeholder_name(name: str, taken: set[str]) -> str:
    """An input's name as Python can have it."""
    name = re.sub(r"\W|^(?=\d)", "_", name)
    while name in kwlist or name == "self" or name in taken:
        name += "_"
    return name
