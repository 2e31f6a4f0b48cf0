"""Moves on residual blocks: their kinds into each other, and how their shortcuts match shapes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod
from typing import NamedTuple

from costcalc.core.sizes import Shape, Size, exact_div, format_shape
from costcalc.ir.graph import Node
from costcalc.ir.op import Op
from costcalc.ir.ops.activation import Activation
from costcalc.ir.ops.arithmetic import Add
from costcalc.ir.ops.conv import Conv2d
from costcalc.ir.ops.copies import ZeroPadShortcut
from costcalc.ir.ops.norm import BatchNorm2d
from costcalc.transforms.edit import ConvUnit, Edit, common
from costcalc.transforms.rule import RATIO, MoveArgument, rule


class _ResidualBlock(NamedTuple):
    """An addition of two paths from one tensor: the main one, and a shortcut with fewer convolutions or none.

    A path is its layers in running order, each read by the next alone, the last by the addition.
    """

    place: str
    add: Node
    fork: str
    main: tuple[Node, ...]
    shortcut: tuple[Node, ...]


def _blocks(edit: Edit) -> Iterator[_ResidualBlock]:
    """The selected residual blocks, in running order; an addition of images that is none is skipped."""
    for add in edit.graph.nodes:
        if not isinstance(add.op, Add) or len(edit.graph.shapes[add.name]) != 4:
            continue
        shapes = edit.graph.shapes
        if len(add.inputs) == 1 or any(len(shapes[name]) != 4 for name in add.inputs):
            continue
        if len(add.inputs) != 2:
            if edit.selects(add.name):
                edit.skip(add.name, "it adds more than two tensors")
            continue
        (fork, one), (other_fork, other) = (_path(edit, name) for name in add.inputs)
        main, short = (one, other) if _convolutions(one) >= _convolutions(other) else (other, one)
        place = edit.place(add, main + short)
        if not edit.selects(place) and not edit.selects(add.name):
            continue
        if fork != other_fork or add.inputs[0] == add.inputs[1]:
            edit.skip(place, "it adds no two paths from one tensor whose layers only the next one reads")
        elif _convolutions(main) == _convolutions(short):
            edit.skip(place, "neither of its paths has more convolutions than the other")
        elif any(edit.shares(node) for node in main + short):
            edit.skip(place, "parameters of it are shared with another layer")
        else:
            yield _ResidualBlock(place, add, fork, main, short)


def _path(edit: Edit, tensor: str) -> tuple[str, tuple[Node, ...]]:
    """The layers that lead to a tensor, as far back as each is read by the next alone; and what the first reads."""
    path: list[Node] = []
    while (node := edit.node.get(tensor)) and edit.reader(node) and len(node.inputs) == 1:
        path.append(node)
        tensor = node.inputs[0]
    return tensor, tuple(reversed(path))


def _convolutions(path: Sequence[Node]) -> int:
    return sum(isinstance(node.op, Conv2d) for node in path)


def _units(path: Sequence[Node]) -> list[ConvUnit] | None:
    """A path as convolutions, each with the batch norm and the activation after it; None where it is none."""
    units: list[ConvUnit] = []
    for node in path:
        if isinstance(node.op, Conv2d):
            units.append(ConvUnit(node, None, None))
        elif units and isinstance(node.op, BatchNorm2d) and units[-1].nodes == (units[-1].layer,):
            units[-1] = units[-1]._replace(norm=node)
        elif units and isinstance(node.op, Activation) and units[-1].activation is None:
            units[-1] = units[-1]._replace(activation=node)
        else:
            return None
    return units


# -- kinds of blocks ----------------------------------------------------------------------------------------------


class _Main(NamedTuple):
    """A main path that one kind of block has: its units, their convolutions, and the whole path's stride."""

    units: list[ConvUnit]
    ops: list[Conv2d]
    stride: tuple[int, int]

    @property
    def is_basic(self) -> bool:
        """Two convolutions larger than 1×1."""
        return [op.kernel_size != (1, 1) for op in self.ops] == [True, True]

    @property
    def is_bottleneck(self) -> bool:
        """A convolution larger than 1×1 between two that are 1×1."""
        return [op.kernel_size != (1, 1) for op in self.ops] == [False, True, False]


def _main(edit: Edit, block: _ResidualBlock) -> _Main | str:
    """The main path as units; or why the block is of neither kind."""
    if not isinstance(block.main[0].op, Conv2d):
        return "its main path does not start with a convolution, as in the pre-activation order"
    units = _units(block.main)
    if units is None:
        return "its main path is not only convolutions, each with its batch norm and activation"
    ops = [unit.layer.op for unit in units if isinstance(unit.layer.op, Conv2d)]
    if not all(edit.decide(op.groups, "==", 1, otherwise=False) for op in ops):
        return "its main path has a grouped convolution"
    return _Main(units, ops, (prod(op.stride[0] for op in ops), prod(op.stride[1] for op in ops)))


@rule("bottleneck", RATIO)
def bottleneck(edit: Edit, ratio: int) -> None:
    """Basic residual blocks made bottlenecks: the large kernel between two 1×1, at 1/RATIO of the channels.

    1. A residual block adds two paths from one tensor, the main one and a shortcut with fewer convolutions, or none; it
       is basic when its main path is two convolutions larger than 1×1, each with its batch norm and activation, if any.
    2. They become a 1×1 convolution to C/RATIO channels, where C are the block's, with the stride of the whole path;
       the second convolution, without stride, at as many; and a 1×1 convolution to C channels.
    3. Batch norms, activations and biases of the first two are as the first convolution's, of the last as the second's.
    4. The block's input, output and shortcut stay as they are. A block whose channels RATIO does not divide is skipped.
    """
    for block in _blocks(edit):
        main = _main(edit, block)
        channels = edit.graph.shapes[block.add.name][1]
        if isinstance(main, str):
            edit.skip(block.place, main)
        elif main.is_bottleneck:
            edit.skip(block.place, "it is a bottleneck already")
        elif not main.is_basic:
            edit.skip(block.place, "its main path is not two convolutions larger than 1×1")
        elif not edit.decide(channels, "multiple of", ratio, otherwise=True):
            edit.skip(block.place, f"its channels are no multiple of {ratio}")
        else:
            inner = exact_div(channels, ratio)
            first, second = main.ops
            _remake(edit, block, main, [
                (main.units[0], Conv2d(inner, (1, 1), stride=main.stride, bias=first.bias)),
                (main.units[0], replace(second, out_channels=inner, stride=(1, 1), bias=first.bias)),
                (main.units[1], Conv2d(channels, (1, 1), bias=second.bias)),
            ])  # fmt: skip


@rule("basic")
def basic(edit: Edit) -> None:
    """Bottleneck residual blocks made basic ones: two large kernels at all of the block's channels.

    1. Residual blocks are as in bottleneck; one is a bottleneck when its main path is a convolution larger than 1×1
       between two that are 1×1.
    2. They become two convolutions with that kernel to C channels, where C are the block's; the first has the stride of
       the whole path.
    3. Batch norms, activations and biases are as those of the bottleneck's first and last convolution.
    4. The block's input, output and shortcut stay as they are.
    """
    for block in _blocks(edit):
        main = _main(edit, block)
        channels = edit.graph.shapes[block.add.name][1]
        if isinstance(main, str):
            edit.skip(block.place, main)
        elif main.is_basic:
            edit.skip(block.place, "it is a basic block already")
        elif not main.is_bottleneck:
            edit.skip(block.place, "its main path is not 1×1, a larger convolution, 1×1")
        else:
            first, large, last = main.ops
            _remake(edit, block, main, [
                (main.units[0], replace(large, out_channels=channels, stride=main.stride, bias=first.bias)),
                (main.units[2], replace(large, out_channels=channels, stride=(1, 1), bias=last.bias)),
            ])  # fmt: skip


def _remake(edit: Edit, block: _ResidualBlock, main: _Main, wanted: list[tuple[ConvUnit, Conv2d]]) -> None:
    """Make the main path of these convolutions, each in a unit like that one, unless its shape would be another."""
    ops = [op for _, op in wanted]
    if not _gives(edit, block, ops):
        edit.skip(block.place, "its output would have another shape")
        return
    names = _Names(edit, block, main.units, len(wanted))
    nodes: list[Node] = []
    source = block.fork
    for i, (like, op) in enumerate(wanted):
        nodes += like.alike(op, source, names.of(i))
        source = nodes[-1].name
    edit.replace(block.main, nodes)
    edit.change(block.place, f"{_shown(main.ops)} → {_shown(ops)}")


def _gives(edit: Edit, block: _ResidualBlock, ops: Sequence[Op]) -> bool:
    """Whether these layers one after the other make the block's shape of what it reads, as far as can be told."""
    shape: Shape = edit.graph.shapes[block.fork]
    for op in ops:
        shape = op.output(shape)
    made = edit.graph.shapes[block.add.name]
    return all(edit.decide(a, "==", b, otherwise=True) for a, b in zip(shape, made, strict=True))


def _shown(ops: Sequence[Conv2d]) -> str:
    """Convolutions as a table of a paper has them: 1×1×64, 3×3×64, 1×1×256."""
    return ", ".join(format_shape((*op.kernel_size, op.out_channels)) for op in ops)


class _Names:
    """What the layers of a new main path are called: as those of the old one, numbered on.

    conv1/conv, relu, conv2/conv give conv1/conv, relu_1, conv2/conv, relu_2, conv3/conv: a layer counts on from the
    first unit's, and activations between units are numbered where there are several.
    """

    def __init__(self, edit: Edit, block: _ResidualBlock, units: Sequence[ConvUnit], count: int) -> None:
        self._edit = edit
        self._first, self._second, self._last = units[0], units[1], units[-1]
        self._count = count
        self._free = {node.name for node in block.main}
        group = common(self._free)
        self._root = f"{group}/" if group else ""

    def of(self, i: int) -> tuple[str, str, str]:
        """Of the layer, the batch norm and the activation of unit number `i`, from 0."""
        first, second, last = self._first, self._second, self._last
        layer = self._counted(first.layer, second.layer, i)
        norm = self._counted(first.norm or last.norm, second.norm, i)
        activation = first.activation or last.activation
        if activation is None or self._head(activation) == self._head(first.layer):
            return (layer, norm, self._counted(activation, second.activation, i))
        bare = re.sub(r"_\d+$", "", self._head(activation))
        return (layer, norm, self._called(activation, bare if self._count == 2 else f"{bare}_{i + 1}"))

    def _head(self, node: Node) -> str:
        """The first part of a layer's path inside the main path."""
        return node.name.removeprefix(self._root).partition("/")[0]

    def _counted(self, node: Node | None, second: Node | None, i: int) -> str:
        """A path with `i` added to its number; numbered from 1 where that of the second unit does not count on."""
        if node is None:
            return ""
        head = self._head(node)
        if head == self._head(self._first.layer):  # in one group with its convolution
            second = self._second.layer
        stem = head.rstrip("0123456789")
        number = int(head[len(stem) :] or 0)
        goes_on = second is not None and self._head(second) == f"{stem}{number + 1}"
        return self._called(node, f"{stem}{number + i}" if goes_on else f"{head}_{i + 1}")

    def _called(self, node: Node, head: str) -> str:
        """A path with another first part: one of the old main path's, or one that no layer has."""
        path = f"{self._root}{head}{node.name.removeprefix(self._root + self._head(node))}"
        if path not in self._free:
            return self._edit.fresh(path)
        self._free.remove(path)
        return path


# -- shortcuts --------------------------------------------------------------------------------------------------------


def _option(text: str) -> str:
    if text not in ("A", "B", "C"):
        raise ValueError(
            f"a shortcut matches shapes by A (zeros), B (1×1 where they change) or C (1×1 everywhere), not {text!r}"
        )
    return text


_KINDS = {"identity": "the identity", "zeros": "zeros for missing channels", "projection": "a 1×1 convolution"}


@rule("shortcut", MoveArgument("A|B|C", _option, examples=("A", "B", "C")))
def shortcut(edit: Edit, option: str) -> None:
    """How shortcuts match the shape of what they are added to (He et al., 2015): A zeros, B and C 1×1 convolutions.

    1. Residual blocks are as in bottleneck; the main path may have any layers that slide windows, and its stride is the
       product of theirs. The shape changes where it strides, or makes other channels than it reads.
    2. A: where the shape changes, every stride-th position, and zeros for the channels that are missing; else nothing.
       B: where the shape changes, a 1×1 convolution with that stride; else nothing. C: such a convolution everywhere.
    3. A convolution has a bias where the main path's last has one, and a batch norm where that has one.
    4. A shortcut of other layers than these, and one that is so already, stays. Zeros cannot take channels away.
    """
    for block in _blocks(edit):
        now = _kind(block.shortcut)
        stride = _stride(edit, block)
        if now is None:
            edit.skip(block.place, "its shortcut is neither nothing, zeros, nor a 1×1 convolution with its batch norm")
        elif stride is None:
            edit.skip(block.place, "its main path has a layer that slides no window")
        else:
            _match(edit, block, option, now, stride)


def _kind(shortcut: Sequence[Node]) -> str | None:
    if not shortcut:
        return "identity"
    first = shortcut[0].op
    if len(shortcut) == 1 and isinstance(first, ZeroPadShortcut):
        return "zeros"
    plain = all(isinstance(node.op, BatchNorm2d) for node in shortcut[1:]) and len(shortcut) <= 2
    return "projection" if plain and isinstance(first, Conv2d) and first.kernel_size == (1, 1) else None


def _stride(edit: Edit, block: _ResidualBlock) -> tuple[int, int] | None:
    """How far the main path's windows step, all together; None where a layer has none."""
    strides = [(1, 1)]
    for node in block.main:
        windows = node.op.sliding_windows(*edit.graph.input_shapes(node))
        if windows is None or (windows and len(windows) != 2):
            return None
        if windows:
            strides.append((windows[0].stride, windows[1].stride))
    return prod(s for s, _ in strides), prod(s for _, s in strides)


def _match(edit: Edit, block: _ResidualBlock, option: str, now: str, stride: tuple[int, int]) -> None:
    """Make the shortcut what the option says, or say why it stays."""
    before, after = edit.graph.shapes[block.fork], edit.graph.shapes[block.add.name]
    strided = stride != (1, 1)
    changes = strided or (now != "identity" and not edit.decide(before[1], "==", after[1], otherwise=False))
    wanted = "projection" if option == "C" or (changes and option == "B") else "zeros" if changes else "identity"
    if wanted == now:
        edit.skip(block.place, f"its shortcut is {_KINDS[now]} already")
        return
    if wanted == "zeros" and not edit.decide(after[1], ">=", before[1], otherwise=True):
        edit.skip(block.place, "zeros cannot take channels away")
        return
    new = _shortcut(edit, block, wanted, after[1], stride)
    if not _gives(edit, block, [node.op for node in new]):
        edit.skip(block.place, "such a shortcut would have another shape than its main path")
        return
    if block.shortcut:
        edit.replace(block.shortcut, new)
    else:
        inputs = tuple([new[-1].name if name == block.fork else name for name in block.add.inputs])
        edit.replace([block.add], [*new, replace(block.add, inputs=inputs)])
    edit.change(block.place, f"{_KINDS[now]} → {_KINDS[wanted]}")


def _shortcut(edit: Edit, block: _ResidualBlock, wanted: str, channels: Size, stride: tuple[int, int]) -> list[Node]:
    """The layers of a shortcut, named as the block's own, or as its main path's last convolution is."""
    if wanted == "identity":
        return []
    if block.shortcut:
        path = edit.group(block.shortcut) or block.shortcut[0].name
    else:
        path = edit.fresh(f"{block.add.name}_shortcut" if block.place == block.add.name else f"{block.place}/shortcut")
    origin = block.add.origin
    if wanted == "zeros":
        return [Node(path, ZeroPadShortcut(channels, stride=stride), (block.fork,), origin=origin)]
    last = next(node for node in reversed(block.main) if isinstance(node.op, Conv2d))
    assert isinstance(last.op, Conv2d)
    norm = edit.unit(last).norm
    op = Conv2d(channels, (1, 1), stride=stride, bias=last.op.bias)
    if norm is None:
        return [Node(path, op, (block.fork,), origin=origin)]
    group = edit.group([last, norm])
    names = [f"{path}/{node.name.removeprefix(f'{group}/') if group else node.op.name}" for node in (last, norm)]
    return [Node(names[0], op, (block.fork,), origin=origin), replace(norm, name=names[1], inputs=(names[0],))]
