"""Convert residual blocks between basic and bottleneck, and change how their shortcuts match shapes."""

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
from costcalc.transforms.edit import ConvUnit, Edit, common_group
from costcalc.transforms.rule import RATIO, MoveArgument, rule


class _ResidualBlock(NamedTuple):
    """An addition of two paths from one tensor: the main one, and a shortcut with fewer convolutions or none.

    A path is a sequence of layers in execution order, each with one reader: the next, or the addition.
    """

    path: str
    add: Node
    fork: str
    main: tuple[Node, ...]
    shortcut: tuple[Node, ...]


def _blocks(edit: Edit) -> Iterator[_ResidualBlock]:
    """The selected residual blocks, in execution order; skips other additions of images."""
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
        path = edit.module_path(add, main + short)
        if not edit.selects(path) and not edit.selects(add.name):
            continue
        if fork != other_fork or add.inputs[0] == add.inputs[1]:
            edit.skip(path, "it does not add two paths from one tensor whose layers have no other readers")
        elif _convolutions(main) == _convolutions(short):
            edit.skip(path, "neither of its paths has more convolutions than the other")
        elif any(edit.shares(node) for node in main + short):
            edit.skip(path, "it shares parameters with another layer")
        else:
            yield _ResidualBlock(path, add, fork, main, short)


def _path(edit: Edit, tensor: str) -> tuple[str, tuple[Node, ...]]:
    """The longest sequence of layers to a tensor, each with the next as its only reader, and the input of the first."""
    path: list[Node] = []
    while (node := edit.node.get(tensor)) and edit.reader(node) and len(node.inputs) == 1:
        path.append(node)
        tensor = node.inputs[0]
    return tensor, tuple(reversed(path))


def _convolutions(path: Sequence[Node]) -> int:
    return sum(isinstance(node.op, Conv2d) for node in path)


def _units(path: Sequence[Node]) -> list[ConvUnit] | None:
    """A path as convolutions, each with the batch norm and the activation after it; None if it has other layers."""
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
    """A main path of convolutions: its units, their ops, and the stride of the whole path."""

    units: list[ConvUnit]
    ops: list[Conv2d]
    stride: tuple[int, int]

    @property
    def is_basic(self) -> bool:
        """Whether it is two convolutions larger than 1×1."""
        return [op.kernel_size != (1, 1) for op in self.ops] == [True, True]

    @property
    def is_bottleneck(self) -> bool:
        """Whether it is a convolution larger than 1×1 between two that are 1×1."""
        return [op.kernel_size != (1, 1) for op in self.ops] == [False, True, False]


def _main(edit: Edit, block: _ResidualBlock) -> _Main | str:
    """The main path as units, or the reason why the block is neither basic nor a bottleneck."""
    if not isinstance(block.main[0].op, Conv2d):
        return "its main path does not start with a convolution, as in the pre-activation order"
    units = _units(block.main)
    if units is None:
        return "its main path has layers other than convolutions, batch norms and activations"
    ops = [unit.layer.op for unit in units if isinstance(unit.layer.op, Conv2d)]
    if not all(edit.decide(op.groups, "==", 1, otherwise=False) for op in ops):
        return "its main path has a grouped convolution"
    return _Main(units, ops, (prod(op.stride[0] for op in ops), prod(op.stride[1] for op in ops)))


@rule("bottleneck", RATIO)
def bottleneck(edit: Edit, ratio: int) -> None:
    """Convert basic residual blocks to bottlenecks: the large kernel between two 1×1, at 1/RATIO of the channels.

    1. A residual block adds two paths from one tensor, the main one and a shortcut with fewer convolutions, or none; it
       is basic when its main path is two convolutions larger than 1×1, each with its batch norm and activation, if any.
    2. They become a 1×1 convolution to C/RATIO channels, where C are the block's, with the stride of the whole
       path; the second convolution at as many, with stride 1; and a 1×1 convolution to C channels.
    3. The first two have the batch norm, activation and bias of the first convolution, the last those of the second.
    4. The block's input, output and shortcut do not change. A block whose channels RATIO does not divide is skipped.
    """
    for block in _blocks(edit):
        main = _main(edit, block)
        channels = edit.graph.shapes[block.add.name][1]
        if isinstance(main, str):
            edit.skip(block.path, main)
        elif main.is_bottleneck:
            edit.skip(block.path, "it is already a bottleneck")
        elif not main.is_basic:
            edit.skip(block.path, "its main path is not two convolutions larger than 1×1")
        elif not edit.decide(channels, "multiple of", ratio, otherwise=True):
            edit.skip(block.path, f"its channels are not a multiple of {ratio}")
        else:
            inner = exact_div(channels, ratio)
            first, second = main.ops
            _replace_main(edit, block, main, [
                (main.units[0], Conv2d(inner, (1, 1), stride=main.stride, bias=first.bias)),
                (main.units[0], replace(second, out_channels=inner, stride=(1, 1), bias=first.bias)),
                (main.units[1], Conv2d(channels, (1, 1), bias=second.bias)),
            ])  # fmt: skip


@rule("basic")
def basic(edit: Edit) -> None:
    """Convert bottleneck residual blocks to basic blocks: two large kernels at all of the block's channels.

    1. Residual blocks are as in bottleneck; one is a bottleneck when its main path is a convolution larger than 1×1
       between two that are 1×1.
    2. They become two convolutions with that kernel to C channels, where C are the block's; the first has the stride of
       the whole path.
    3. They have the batch norms, activations and biases of the bottleneck's first and last convolution.
    4. The block's input, output and shortcut do not change.
    """
    for block in _blocks(edit):
        main = _main(edit, block)
        channels = edit.graph.shapes[block.add.name][1]
        if isinstance(main, str):
            edit.skip(block.path, main)
        elif main.is_basic:
            edit.skip(block.path, "it is already a basic block")
        elif not main.is_bottleneck:
            edit.skip(block.path, "its main path is not 1×1, a larger convolution, 1×1")
        else:
            first, large, last = main.ops
            _replace_main(edit, block, main, [
                (main.units[0], replace(large, out_channels=channels, stride=main.stride, bias=first.bias)),
                (main.units[2], replace(large, out_channels=channels, stride=(1, 1), bias=last.bias)),
            ])  # fmt: skip


def _replace_main(edit: Edit, block: _ResidualBlock, main: _Main, new: list[tuple[ConvUnit, Conv2d]]) -> None:
    """Replace the main path by convolutions in units like existing ones, unless the output shape would change."""
    ops = [op for _, op in new]
    if not _preserves_shape(edit, block, ops):
        edit.skip(block.path, "the shape of its output would change")
        return
    names = _Names(edit, block, main.units, len(new))
    nodes: list[Node] = []
    source = block.fork
    for i, (like, op) in enumerate(new):
        nodes += like.with_op(op, source, names.of(i))
        source = nodes[-1].name
    edit.replace(block.main, nodes)
    edit.change(block.path, f"{_format_convs(main.ops)} → {_format_convs(ops)}")


def _preserves_shape(edit: Edit, block: _ResidualBlock, ops: Sequence[Op]) -> bool:
    """Whether these layers in sequence on the block's input have the block's output shape; assumed of symbols."""
    shape: Shape = edit.graph.shapes[block.fork]
    for op in ops:
        shape = op.output(shape)
    output_shape = edit.graph.shapes[block.add.name]
    return all(edit.decide(a, "==", b, otherwise=True) for a, b in zip(shape, output_shape, strict=True))


def _format_convs(ops: Sequence[Conv2d]) -> str:
    """Convolutions as in the tables of papers: 1×1×64, 3×3×64, 1×1×256."""
    return ", ".join(format_shape((*op.kernel_size, op.out_channels)) for op in ops)


class _Names:
    """The names of a new main path's layers, continuing the numbers of the old one.

    conv1/conv, relu, conv2/conv give conv1/conv, relu_1, conv2/conv, relu_2, conv3/conv: layers are numbered from the
    first unit's, and activations between units if there are several.
    """

    def __init__(self, edit: Edit, block: _ResidualBlock, units: Sequence[ConvUnit], count: int) -> None:
        self._edit = edit
        self._first, self._second, self._last = units[0], units[1], units[-1]
        self._count = count
        self._free = {node.name for node in block.main}
        group = common_group(self._free)
        self._root = f"{group}/" if group else ""

    def of(self, i: int) -> tuple[str, str, str]:
        """The names of the layer, the batch norm and the activation of unit `i`, from 0."""
        first, second, last = self._first, self._second, self._last
        layer = self._counted(first.layer, second.layer, i)
        norm = self._counted(first.norm or last.norm, second.norm, i)
        activation = first.activation or last.activation
        if activation is None or self._head(activation) == self._head(first.layer):
            return (layer, norm, self._counted(activation, second.activation, i))
        bare = re.sub(r"_\d+$", "", self._head(activation))
        return (layer, norm, self._with_head(activation, bare if self._count == 2 else f"{bare}_{i + 1}"))

    def _head(self, node: Node) -> str:
        """The first part of a layer's path inside the main path."""
        return node.name.removeprefix(self._root).partition("/")[0]

    def _counted(self, node: Node | None, second: Node | None, i: int) -> str:
        """A path with `i` added to its number; numbered from 1 if the second unit's number is not the next."""
        if node is None:
            return ""
        head = self._head(node)
        if head == self._head(self._first.layer):  # in one group with its convolution
            second = self._second.layer
        stem = head.rstrip("0123456789")
        number = int(head[len(stem) :] or 0)
        is_next = second is not None and self._head(second) == f"{stem}{number + 1}"
        return self._with_head(node, f"{stem}{number + i}" if is_next else f"{head}_{i + 1}")

    def _with_head(self, node: Node, head: str) -> str:
        """A path with another first part: one of the old main path's, or an unused one."""
        path = f"{self._root}{head}{node.name.removeprefix(self._root + self._head(node))}"
        if path not in self._free:
            return self._edit.unused_path(path)
        self._free.remove(path)
        return path


# -- shortcuts --------------------------------------------------------------------------------------------------------


def _option(text: str) -> str:
    if text not in ("A", "B", "C"):
        raise ValueError(
            f"a shortcut matches shapes by A (zeros), B (1×1 if they change) or C (1×1 everywhere), not {text!r}"
        )
    return text


_KINDS = {"identity": "the identity", "zeros": "zeros for missing channels", "projection": "a 1×1 convolution"}


@rule("shortcut", MoveArgument("A|B|C", _option, examples=("A", "B", "C")))
def shortcut(edit: Edit, option: str) -> None:
    """Change how shortcuts match the shape of the main path (He et al., 2015): A zeros, B and C 1×1 convolutions.

    1. Residual blocks are as in bottleneck; the main path may have any layers with sliding windows, and its stride is
       the product of theirs. The shape changes if the stride is above 1 or the number of channels changes.
    2. A: if the shape changes, every stride-th position, and zeros for the additional channels; else the identity.
       B: if the shape changes, a 1×1 convolution with that stride; else the identity. C: such a convolution everywhere.
    3. A convolution has a bias and a batch norm if the main path's last convolution has them.
    4. A shortcut with other layers, or already of that kind, is skipped. Zeros cannot remove channels.
    """
    for block in _blocks(edit):
        now = _kind(block.shortcut)
        stride = _stride(edit, block)
        if now is None:
            edit.skip(block.path, "its shortcut is not the identity, zeros, or a 1×1 convolution with its batch norm")
        elif stride is None:
            edit.skip(block.path, "its main path has a layer without a sliding window")
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
    """The product of the strides of the main path's windows; None if a layer has no window."""
    strides = [(1, 1)]
    for node in block.main:
        windows = node.op.sliding_windows(*edit.graph.input_shapes(node))
        if windows is None or (windows and len(windows) != 2):
            return None
        if windows:
            strides.append((windows[0].stride, windows[1].stride))
    return prod(s for s, _ in strides), prod(s for _, s in strides)


def _match(edit: Edit, block: _ResidualBlock, option: str, now: str, stride: tuple[int, int]) -> None:
    """Replace the shortcut as the option requires, or skip the block."""
    before, after = edit.graph.shapes[block.fork], edit.graph.shapes[block.add.name]
    strided = stride != (1, 1)
    changes = strided or (now != "identity" and not edit.decide(before[1], "==", after[1], otherwise=False))
    wanted = "projection" if option == "C" or (changes and option == "B") else "zeros" if changes else "identity"
    if wanted == now:
        edit.skip(block.path, f"its shortcut is already {_KINDS[now]}")
        return
    if wanted == "zeros" and not edit.decide(after[1], ">=", before[1], otherwise=True):
        edit.skip(block.path, "zeros cannot remove channels")
        return
    new = _shortcut(edit, block, wanted, after[1], stride)
    if not _preserves_shape(edit, block, [node.op for node in new]):
        edit.skip(block.path, "such a shortcut would not have the shape of the main path")
        return
    if block.shortcut:
        edit.replace(block.shortcut, new)
    else:
        inputs = tuple([new[-1].name if name == block.fork else name for name in block.add.inputs])
        edit.replace([block.add], [*new, replace(block.add, inputs=inputs)])
    edit.change(block.path, f"{_KINDS[now]} → {_KINDS[wanted]}")


def _shortcut(edit: Edit, block: _ResidualBlock, wanted: str, channels: Size, stride: tuple[int, int]) -> list[Node]:
    """The layers of a shortcut, named like the present shortcut or like the main path's last convolution."""
    if wanted == "identity":
        return []
    if block.shortcut:
        path = edit.group(block.shortcut) or block.shortcut[0].name
    else:
        path = edit.unused_path(
            f"{block.add.name}_shortcut" if block.path == block.add.name else f"{block.path}/shortcut"
        )
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
