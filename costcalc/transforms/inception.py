"""Remove and insert 1×1 reductions in inception modules: branches from one tensor that a concat joins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from costcalc.core.sizes import Size, ceil_div, format_shape, identical
from costcalc.ir.graph import Node
from costcalc.ir.ops.conv import Conv2d
from costcalc.ir.ops.copies import Concat
from costcalc.ir.ops.pool import Pool
from costcalc.transforms.dominators import immediate_dominators
from costcalc.transforms.edit import ConvUnit, Edit, common_group, has_weight_inputs
from costcalc.transforms.rule import RATIO, rule


class _InceptionModule(NamedTuple):
    """Branches from one tensor, the fork, and the concat that joins them, with nested concats as one join."""

    path: str
    group: str  # the innermost group of all its layers, perhaps with other layers; empty without one
    heads: tuple[Node, ...]  # its layers that read the fork, without those of inner modules, in execution order
    convolutions: tuple[Node, ...]
    joins: frozenset[str]

    def selected(self, edit: Edit, path: str) -> bool:
        """Whether the move may change the layer at `path`: a pattern matches `path` or the module's concat."""
        return edit.selects(path) or any(map(edit.selects, self.joins))

    def within(self, path: str) -> str:
        """Return the part of a layer's path below the path of the module."""
        return path.removeprefix(f"{self.path}/")


def _modules(edit: Edit) -> Iterator[_InceptionModule]:
    """The modules of a graph, in execution order; the layers of an inner module are not part of the outer one."""
    graph = edit.graph
    order = {node.name: i for i, node in enumerate(graph.nodes)}
    concats = [node for node in graph.nodes if _joins_channels(edit, node)]
    names = {node.name for node in concats}
    part_of_another = {node.name for node in concats if (reader := edit.reader(node)) and reader.name in names}
    dominators = immediate_dominators(graph) if concats else {}
    claimed: set[str] = set()
    closed: dict[str, str] = {}  # by the concat of an inner module: its fork
    for concat in concats:
        if concat.name in part_of_another:
            continue
        joins, ends, pending = {concat.name}, set[str](), [concat]
        while pending:
            for name in pending.pop().inputs:
                if name in part_of_another:
                    joins.add(name)
                    pending.append(edit.node[name])
                else:
                    ends.add(name)
        fork = dominators[concat.name]
        if len(ends) < 2:
            continue
        if fork is None:
            if edit.selects(concat.name):
                edit.skip(concat.name, "its branches come from different inputs of the network")
            continue
        inside = set(joins)
        pending_names = list(ends)
        while pending_names:
            name = pending_names.pop()
            if name != fork and name not in inside:
                inside.add(name)
                pending_names += [closed[name]] if name in closed else edit.node[name].inputs
        closed[concat.name] = fork
        layers = [edit.node[name] for name in sorted(inside, key=order.__getitem__)]
        heads = tuple(n for n in edit.readers[fork] if n.name in inside and n.name not in claimed)
        claimed |= inside
        yield _InceptionModule(
            edit.module_path(concat, layers),
            common_group(node.name for node in layers),
            heads,
            tuple(node for node in layers if isinstance(node.op, Conv2d) and not has_weight_inputs(node)),
            frozenset(joins),
        )


def _joins_channels(edit: Edit, node: Node) -> bool:
    return isinstance(node.op, Concat) and len(edit.graph.shapes[node.name]) == 4 and node.op.dim % 4 == 1


def _is_larger(node: Node) -> bool:
    """Whether a layer is a convolution with a kernel of more than one position."""
    return isinstance(node.op, Conv2d) and not has_weight_inputs(node) and node.op.kernel_size != (1, 1)


def _is_grouped(edit: Edit, node: Node) -> bool:
    return isinstance(node.op, Conv2d) and not edit.decide(node.op.groups, "==", 1, otherwise=False)


def _is_pointwise(node: Node) -> bool:
    """Whether a layer is a 1×1 convolution of each position by itself."""
    op = node.op
    pointwise = isinstance(op, Conv2d) and (op.kernel_size, op.stride, op.padding) == ((1, 1), (1, 1), (0, 0))
    return pointwise and not has_weight_inputs(node)


class _PointwiseReduction(NamedTuple):
    """A 1×1 unit at the start of a branch, or after a pool there."""

    unit: ConvUnit
    path: str
    readers: tuple[Node, ...]
    ends: bool  # its only readers are the module's joins


def _reductions(edit: Edit, module: _InceptionModule) -> Iterator[_PointwiseReduction]:
    """The selected 1×1 units that may be reductions, without branches that consist of one."""
    for head in module.heads:
        pooled = isinstance(head.op, Pool)
        layer = edit.reader(head) if pooled else head
        if layer is None or not _is_pointwise(layer) or not module.selected(edit, layer.name):
            continue
        unit = edit.unit(layer)
        readers = tuple(edit.readers[unit.last.name])
        ends = all(reader.name in module.joins for reader in readers) and unit.last.name not in edit.graph.outputs
        if pooled or not ends:
            yield _PointwiseReduction(unit, edit.group(unit.nodes) or layer.name, readers, ends)


@rule("naive-inception")
def naive_inception(edit: Edit) -> None:
    """Remove the 1×1 reductions of inception modules: every kernel reads all input channels.

    1. A module is a concat along channels of branches from one tensor, its fork: the nearest tensor on all paths to the
       concat. A concat whose only reader is a concat is part of that one.
    2. A reduction is a 1×1 convolution of stride 1 on the fork, with its batch norm and activation, that only larger
       convolutions read; or one on a pool of the fork, that only the concat or larger convolutions read. It is removed.
    3. A branch that consists of a 1×1 convolution does not change.
    4. A reduction is not removed if a grouped convolution, or a layer that shares its parameters, reads it.
    """
    for module in _modules(edit):
        reductions = list(_reductions(edit, module))
        removed = []
        for reduction in reductions:
            reason = _removal_obstacle(edit, reduction)
            if reason:
                edit.skip(reduction.path, reason)
            else:
                edit.replace(reduction.unit.nodes)
                removed.append(module.within(reduction.path))
        if removed:
            edit.change(module.path, f"removed {', '.join(removed)}")
        elif not reductions and module.selected(edit, module.path):
            edit.skip(module.path, "it has no 1×1 reduction")


def _removal_obstacle(edit: Edit, reduction: _PointwiseReduction) -> str | None:
    """The reason why a 1×1 unit cannot be removed, if there is one."""
    unit, _, readers, ends = reduction
    if unit.last.name in edit.graph.outputs:
        return "it is an output of the network"
    if edit.shares(unit.layer):
        return "its parameters are shared with another layer"
    if ends:
        return None
    if not all(map(_is_larger, readers)):
        return "layers other than larger convolutions read it"
    if any(map(edit.shares, readers)):
        return "a convolution that reads it shares its parameters with another layer"
    if any(_is_grouped(edit, reader) for reader in readers):
        return "a grouped convolution reads it"
    return None


class _Insertion(NamedTuple):
    """A 1×1 unit to insert before a convolution or after a pool, in the form of an existing unit."""

    path: str
    like: ConvUnit


@rule("reduce", RATIO)
def reduce(edit: Edit, ratio: int) -> None:
    """Insert 1×1 reductions to 1/RATIO of the channels in inception modules, before larger kernels and after pools.

    1. Modules are as in naive-inception.
    2. Before each convolution larger than 1×1 that reads the fork, a 1×1 convolution reduces the C input channels to
       ceil(C / RATIO); a batch norm and an activation follow it if they follow the convolution.
    3. So does one after each pool of the fork whose only reader is the concat; a batch norm and an activation follow it
       if they follow the module's first convolution.
    4. C is the number of channels after the changes of earlier modules.
    5. A branch with a 1×1 reduction, as defined in naive-inception, is skipped.
    """
    planned: list[tuple[_InceptionModule, dict[str, _Insertion]]] = []
    for module in _modules(edit):
        insertions: dict[str, _Insertion] = {}
        fitting = [head for head in module.heads if _is_larger(head) or _is_last_pool(edit, module, head)]
        for head in fitting:
            if module.selected(edit, head.name):
                reason = _irreducible(edit, module, head)
                if reason:
                    edit.skip(head.name, reason)
                else:
                    insertions[head.name] = _insertion(edit, module, head)
        reduced = [reduction for reduction in _reductions(edit, module) if _removal_obstacle(edit, reduction) is None]
        for reduction in reduced:
            edit.skip(reduction.path, "it is a 1×1 reduction")
        if not fitting and not reduced and module.selected(edit, module.path):
            edit.skip(module.path, "no branch starts with a larger convolution or ends with a pool")
        planned.append((module, insertions))
    all_insertions = {name: each for _, insertions in planned for name, each in insertions.items()}
    reduced_channels = _insert(edit, all_insertions, ratio)
    for module, insertions in planned:
        if insertions:
            paths = ", ".join(module.within(insertion.path) for insertion in insertions.values())
            channels = format_shape((reduced_channels[next(iter(insertions))],))
            edit.change(module.path, f"added {paths} of {channels} channels")


def _is_last_pool(edit: Edit, module: _InceptionModule, head: Node) -> bool:
    reader = edit.reader(head)
    return isinstance(head.op, Pool) and reader is not None and reader.name in module.joins


def _irreducible(edit: Edit, module: _InceptionModule, head: Node) -> str | None:
    """The reason why a branch cannot have a reduction, if there is one."""
    if edit.shares(head):
        return "its parameters are shared with another layer"
    if _is_grouped(edit, head):
        return "it is a grouped convolution"
    if not module.convolutions:
        return "its module has no convolution whose form a reduction could take"
    return None


def _insertion(edit: Edit, module: _InceptionModule, head: Node) -> _Insertion:
    """The unit to insert before a convolution or after a pool; in the group of the branch if there is one."""
    pool = isinstance(head.op, Pool)
    name = "proj" if pool else "reduce"
    root = f"{module.group}/" if module.group else ""
    branch, _, below = head.name.removeprefix(root).partition("/")
    path = f"{root}{branch}/{name}" if below else f"{head.name}_{name}"
    return _Insertion(edit.unused_path(path), edit.unit(module.convolutions[0] if pool else head))


def _insert(edit: Edit, insertions: Mapping[str, _Insertion], ratio: int) -> dict[str, Size]:
    """Insert 1×1 units at these convolutions and pools; return the output channels of each.

    One pass in execution order computes the channels: the output of a module depends on the modules before it.
    """
    reduced: dict[str, Size] = {}
    shapes = dict(edit.graph.shapes)
    changed: set[str] = set()
    for node in edit.graph.nodes:
        if not changed.isdisjoint(node.inputs):
            shapes[node.name] = node.op.output(*(shapes[name] for name in node.inputs))
        if node.name in insertions:
            pool = isinstance(node.op, Pool)
            source = node.name if pool else node.inputs[0]
            channels = reduced[node.name] = ceil_div(shapes[source][1], ratio)
            path, like = insertions[node.name]
            assert isinstance(like.layer.op, Conv2d)
            op = Conv2d(channels, (1, 1), bias=like.layer.op.bias)
            unit = like.with_op(op, source, _names(edit, path, like))
            if pool:
                batch, _, *plane = shapes[node.name]
                shapes[node.name] = (batch, channels, *plane)
                edit.insert_after(node, unit)
            else:
                edit.replace([node], [*unit, replace(node, inputs=(unit[-1].name,))])
        if not all(map(identical, shapes[node.name], edit.graph.shapes[node.name])):
            changed.add(node.name)
    return reduced


def _names(edit: Edit, path: str, like: ConvUnit) -> tuple[str, str, str]:
    """The names of a new unit's layers: as those of the existing unit, if these are a group."""
    if len(like.nodes) == 1:
        return (path, path, path)
    group = edit.group(like.nodes)
    layer, norm, activation = (
        "" if node is None else node.name.removeprefix(f"{group}/") if group else node.op.name for node in like
    )
    return (f"{path}/{layer}", f"{path}/{norm}", f"{path}/{activation}")
