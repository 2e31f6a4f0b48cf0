"""Replace convolutions: by stacks of small kernels and back, by factors, and by depthwise separable convolutions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from costcalc.core.sizes import format_shape
from costcalc.ir.graph import Node
from costcalc.ir.ops.conv import Conv2d
from costcalc.ir.paths import is_below
from costcalc.transforms.edit import ConvUnit, Edit, prefixes
from costcalc.transforms.rule import rule

_NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight", 9: "nine", 10: "ten"}
_THREE = (3, 3)


@rule("stack3x3")
def stack3x3(edit: Edit) -> None:
    """Replace a large convolution by a stack of 3×3, with activations between, of the same receptive field.

    1. A k×k convolution, k odd and above 3, not dilated, becomes n = (k − 1)/2 convolutions of 3×3.
    2. They have its output channels, its groups and its bias, if any: from C to C channels, the weights change from
       k²·C² to 9n·C².
    3. The last has its stride, so that receptive field and output shape do not change; the others have stride 1.
    4. Its padding is distributed over them as evenly as possible, the larger parts first.
    5. Between two of them are its activation, or ReLU if it has none, and a batch norm if it has one.
    """
    for layer, op in edit.layers(Conv2d):
        size = format_shape(op.kernel_size)
        k = op.kernel_size[0]
        if op.kernel_size != (k, k):
            edit.skip(layer.name, f"its kernel is {size}, not square")
        elif k <= 3:
            edit.skip(layer.name, f"its kernel is {size}, not larger")
        elif k % 2 == 0:
            edit.skip(layer.name, f"its kernel is {size}, not odd")
        elif op.dilation != (1, 1):
            edit.skip(layer.name, "it is dilated")
        else:
            n = (k - 1) // 2
            paddings = zip(*(_spread(padding, n) for padding in op.padding), strict=True)
            steps = [replace(op, kernel_size=_THREE, stride=(1, 1), padding=padding) for padding in paddings]
            steps[-1] = replace(steps[-1], stride=op.stride)
            edit.replace([layer], _chain(edit, layer, steps))
            edit.change(layer.name, f"{size} → {_of(n)} 3×3")


@rule("unstack")
def unstack(edit: Edit) -> None:
    """Replace a run of 3×3 convolutions by one large convolution of the same receptive field: stack3x3 reversed.

    1. A run is two or more 3×3 convolutions, not dilated, with equal groups; each has the next as its only reader, with
       at most its batch norm and its activation between them. Runs are as long as possible.
    2. A convolution with a stride above 1 ends a run.
    3. n of them become one of (2n + 1)×(2n + 1) with the sum of their paddings, and the last one's stride, channels,
       bias, batch norm and activation; batch norms and activations between them are removed.
    4. Its name is the path of the group that consists of the run; without such a group, the name of the last.
    """
    runs: list[list[ConvUnit]] = []
    open_runs: dict[str, list[ConvUnit]] = {}  # by the tensor that the next of a run reads
    reasons: dict[str, str] = {}  # by name: why a convolution is not in one run with its neighbour
    for layer, op in edit.layers(Conv2d):
        if op.kernel_size != _THREE:
            edit.skip(layer.name, f"its kernel is {format_shape(op.kernel_size)}, not 3×3")
            continue
        if op.dilation != (1, 1):
            edit.skip(layer.name, "it is dilated")
            continue
        unit = edit.unit(layer)
        run = open_runs.get(layer.inputs[0], [])
        if run and edit.reader(run[-1].last) is layer:
            before = run[-1].layer
            reason = _separation(edit, before, layer)
            if reason is None:
                run.append(unit)
                open_runs[unit.last.name] = run
                continue
            reasons.setdefault(before.name, reason)
            reasons.setdefault(layer.name, reason)
        runs.append([unit])
        open_runs[unit.last.name] = runs[-1]
    below = Counter(prefix for name in edit.graph.shapes for prefix in prefixes(name))
    for run in runs:
        name = run[0].layer.name
        if len(run) == 1:
            edit.skip(name, reasons.get(name, "there is no other 3×3 convolution to join it with"))
        else:
            _unstack(edit, run, below)


def _separation(edit: Edit, before: Node, after: Node) -> str | None:
    """The reason why a 3×3 convolution is not in one run with its only reader, if there is one."""
    assert isinstance(before.op, Conv2d)
    assert isinstance(after.op, Conv2d)
    if before.op.stride != (1, 1):
        return "only the last convolution of a run may have a stride above 1"
    if not edit.decide(before.op.groups, "==", after.op.groups, otherwise=False):
        return "the 3×3 convolution next to it has another number of groups"
    return None


def _unstack(edit: Edit, run: Sequence[ConvUnit], below: Mapping[str, int]) -> None:
    """Replace a run by one layer; `below` has the number of tensors in each group."""
    ops = [unit.layer.op for unit in run if isinstance(unit.layer.op, Conv2d)]
    last = run[-1].layer
    old = [*(node for unit in run[:-1] for node in unit.nodes), last]
    group = next((p for p in reversed(prefixes(last.name)) if all(is_below(node.name, p) for node in old)), "")
    k = 2 * len(run) + 1
    padding = (sum(op.padding[0] for op in ops), sum(op.padding[1] for op in ops))
    new = replace(
        last,
        name=group if below.get(group) == len(old) else last.name,
        op=replace(ops[-1], kernel_size=(k, k), padding=padding),
        inputs=run[0].layer.inputs,
    )
    edit.replace(old, [new])
    edit.change(new.name, f"{_of(len(run))} 3×3 → {k}×{k}")


@rule("factorize")
def factorize(edit: Edit) -> None:
    """Factorise a convolution into 1×n and n×1, with the same receptive field, as in Inception v3.

    1. An n×n convolution, n above 1, not dilated, becomes a 1×n with its stride and padding along the width, and an n×1
       with those along the height.
    2. Both have its output channels, its groups and its bias, if any: from C to C channels, the weights change from
       n²·C² to 2n·C².
    3. Between them are its activation, or ReLU if it has none, and a batch norm if it has one.
    """
    for layer, op in edit.layers(Conv2d):
        n = op.kernel_size[0]
        if not _square_above_1(edit, layer, op):
            continue
        if op.dilation != (1, 1):
            edit.skip(layer.name, "it is dilated")
            continue
        wide = replace(op, kernel_size=(1, n), stride=(1, op.stride[1]), padding=(0, op.padding[1]))
        tall = replace(op, kernel_size=(n, 1), stride=(op.stride[0], 1), padding=(op.padding[0], 0))
        edit.replace([layer], _chain(edit, layer, [wide, tall]))
        edit.change(layer.name, f"{n}×{n} → 1×{n} and {n}×1")


@rule("separable")
def separable(edit: Edit) -> None:
    """Replace a convolution by a depthwise one, for each channel by itself, and a 1×1 that mixes channels.

    1. A k×k convolution, k above 1, of one group becomes a depthwise k×k (as many groups and channels as its input has;
       its stride, padding and dilation; no bias) and a pointwise 1×1 with its output channels and its bias, if any.
    2. No layer is between them, as in Xception, which trains better without (Chollet, 2017, section 4.7); MobileNet has
       a batch norm and ReLU there.
    3. Its multiply-accumulates are multiplied by 1/C_out + 1/k² (Howard et al., MobileNets, 2017, section 3.1).
    """
    for layer, op in edit.layers(Conv2d):
        channels = edit.graph.input_shapes(layer)[0][1]
        if not _square_above_1(edit, layer, op):
            continue
        if not edit.decide(op.groups, "==", 1, otherwise=False):
            edit.skip(layer.name, "it is grouped")
        elif all(edit.decide(size, "==", 1, otherwise=False) for size in (channels, op.out_channels)):
            edit.skip(layer.name, "it has one input and one output channel: it is already depthwise")
        else:
            size = format_shape(op.kernel_size)
            depthwise = replace(
                layer,
                name=edit.unused_path(f"{layer.name}/depthwise"),
                op=replace(op, out_channels=channels, groups=channels, bias=False),
            )
            pointwise = replace(
                layer,
                name=edit.unused_path(f"{layer.name}/pointwise"),
                op=Conv2d(op.out_channels, (1, 1), bias=op.bias),
                inputs=(depthwise.name,),
            )
            edit.replace([layer], [depthwise, pointwise])
            edit.change(layer.name, f"{size} → depthwise {size} and pointwise 1×1")


def _square_above_1(edit: Edit, layer: Node, op: Conv2d) -> bool:
    """Return whether a kernel is n×n with n above 1; skip the layer otherwise."""
    height, width = op.kernel_size
    if height == width > 1:
        return True
    size = format_shape(op.kernel_size)
    edit.skip(layer.name, f"its kernel is {size}, not square" if height != width else f"its kernel is {size} already")
    return False


def _chain(edit: Edit, layer: Node, steps: Sequence[Conv2d]) -> list[Node]:
    """Return convolutions in sequence that replace one layer, all but the last in units like that layer's."""
    unit = edit.unit(layer)
    activation = "relu" if unit.activation is None else unit.activation.op.name
    nodes: list[Node] = []
    source = layer.inputs[0]
    for i, op in enumerate(steps[:-1], 1):
        conv, norm, act = (edit.unused_path(f"{layer.name}/{kind}_{i}") for kind in ("conv", "bn", activation))
        nodes += unit.with_op(op, source, (conv, norm, act), add_activation=True)
        source = nodes[-1].name
    last = edit.unused_path(f"{layer.name}/conv_{len(steps)}")
    return [*nodes, replace(layer, name=last, op=steps[-1], inputs=(source,))]


def _spread(padding: int, n: int) -> list[int]:
    """Distribute a padding over n layers as evenly as possible, the larger parts first.

    Each 3×3 reduces a side by 2, and its padding p_j adds 2·p_j. With the larger parts first, the first j layers have
    at least j/n of the padding, so the plane after them, N + 2·(p_1 + … + p_j) − 2j, is at least the smaller of N and
    N + 2p − 2n, the size after all of them, which is at least 1 for the one large kernel.
    """
    return [padding // n + (i < padding % n) for i in range(n)]


def _of(count: int) -> str:
    return _NUMBERS.get(count, f"{count} of")
