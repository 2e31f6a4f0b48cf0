"""Replace 1×1 convolutions by linear layers at every position, and back."""

from __future__ import annotations

from dataclasses import replace

from costcalc.core.sizes import format_shape
from costcalc.ir.graph import Node
from costcalc.ir.ops.conv import Conv2d
from costcalc.ir.ops.linear import Linear
from costcalc.ir.ops.shape import Permute
from costcalc.transforms.edit import Edit
from costcalc.transforms.heads import find_heads, sibling, to_convolution
from costcalc.transforms.rule import rule

_LAST, _FIRST = Permute((0, 2, 3, 1)), Permute((0, 3, 1, 2))


@rule("1x1-to-linear", same_function=True)
def to_linear(edit: Edit) -> None:
    """Replace a 1×1 convolution by a linear layer at every position.

    1. conv2d with a 1×1 kernel, stride 1, no padding and one group becomes permute to channels last, linear with the
       convolution's name, features and bias, and permute back.
    2. With its weights carried over, the weight of C_out × C_in × 1 × 1 becomes that of C_out × C_in.
    3. All other convolutions are skipped.
    """
    for node, op in edit.layers(Conv2d):
        reason = _no_linear_layer(edit, op)
        if reason:
            edit.skip(node.name, reason)
            continue
        last = replace(node, name=sibling(edit, node, "channels_last"), op=_LAST)
        linear = replace(node, op=Linear(op.out_channels, op.bias), inputs=(last.name,))
        first = replace(node, name=sibling(edit, node, "channels_first"), op=_FIRST, inputs=(node.name,))
        edit.replace([node], [last, linear, first])
        edit.change(node.name, "a linear layer at every position")


def _no_linear_layer(edit: Edit, op: Conv2d) -> str | None:
    if op.kernel_size != (1, 1):
        return f"its kernel is {format_shape(op.kernel_size)}, not 1×1"
    if op.stride != (1, 1):
        return "its stride is not 1"
    if op.padding != (0, 0):
        return "it has padding"
    return None if edit.decide(op.groups, "==", 1, otherwise=False) else "it has groups"


@rule("linear-to-1x1", same_function=True)
def to_1x1(edit: Edit) -> None:
    """Replace a linear layer at every position by a 1×1 convolution.

    1. A linear layer on images with the channels last becomes conv2d with a 1×1 kernel, and the linear layer's name,
       features and bias.
    2. The permute to channels last before it, and the one back after it, are removed: this reverts 1x1-to-linear
       exactly. Without such a permute, its inverse is inserted.
    3. A linear layer on a flattened plane of one position, as after global average pooling, becomes a 1×1 convolution
       before the flatten, with the linear layers that follow it, as in fc-to-conv.
    4. A linear layer on a larger flattened plane is skipped (see fc-to-conv), and so is one on any other vector.
    """
    head_of = {node.name: head for head in find_heads(edit) for node in head.linears}
    converted: dict[str, int] = {}  # by permute to channels last: the number of its converted readers
    for node, op in edit.layers(Linear):
        head = head_of.get(node.name)
        if head is not None and head.is_single_position(edit):
            to_convolution(edit, head, node)
        elif head is not None:
            edit.skip(node.name, "its input is a whole plane: fc-to-conv makes it a convolution")
        elif edit.graph.layouts[node.inputs[0]].spatial_dims != (1, 2) or len(edit.graph.shapes[node.name]) != 4:
            edit.skip(node.name, "its input is no plane (for a flattened plane, see fc-to-conv)")
        else:
            before = _at_every_position(edit, node, op)
            if before is not None:
                converted[before.name] = converted.get(before.name, 0) + 1
            edit.change(node.name, "a 1×1 convolution")
    for name, count in converted.items():
        if count == len(edit.readers[name]) and name not in edit.graph.outputs:
            edit.replace([edit.node[name]])


def _at_every_position(edit: Edit, node: Node, op: Linear) -> Node | None:
    """Replace a linear layer on channels last by a 1×1 convolution; return the permute before it, if it is bypassed."""
    conv = replace(node, op=Conv2d(op.out_features, (1, 1), bias=op.bias))
    before, after = edit.node.get(node.inputs[0]), edit.reader(node)
    old, new = [node], [conv]
    if before is not None and before.op == _LAST:
        new[0] = replace(conv, inputs=before.inputs)
    else:
        first = replace(node, name=sibling(edit, node, "channels_first"), op=_FIRST)
        new = [first, replace(conv, inputs=(first.name,))]
        before = None
    if after is not None and after.op == _FIRST:
        old.append(after)
    else:
        new.append(replace(node, name=sibling(edit, node, "channels_last"), op=_LAST, inputs=(node.name,)))
    edit.replace(old, new)
    return before
