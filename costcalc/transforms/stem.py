"""Insert a stem, which reduces the image before the expensive layers."""

from __future__ import annotations

from dataclasses import replace

from costcalc.core.sizes import format_shape
from costcalc.ir.graph import Node
from costcalc.ir.ops import OPS
from costcalc.ir.ops.conv import Conv2d
from costcalc.transforms.edit import WEIGHT_INPUTS, Edit, has_weight_inputs
from costcalc.transforms.rule import MoveArgument, rule

_STEMS = {2: "7×7", 4: "7×7, max pool", 8: "7×7, max pool, 3×3, max pool"}


def _stride(text: str) -> int:
    if text not in map(str, _STEMS):
        raise ValueError(f"the stride of a stem is 2, 4 or 8, not {text!r}")
    return int(text)


@rule("stem", MoveArgument("STRIDE", _stride, examples=("2", "4")), remedy="try a smaller stride or a larger input")
def stem(edit: Edit, stride: int) -> None:
    """Insert a stem before a network without one: it reduces the image, and the layers after it cost less.

    1. 2 is a 7×7 convolution of stride 2 and padding 3; 4 is that and a 3×3 max pool of stride 2 and padding 1; 8 is
       that, a 3×3 convolution of padding 1, and a second such pool (as GoogLeNet and ResNet begin).
    2. Its convolutions have as many output channels as the network's first convolution, and a bias, a batch norm and an
       activation like it; ReLU if it has no activation.
    3. All layers that read the image now read the stem. Layers after it compute 1/STRIDE² of the positions; a linear
       layer after a flatten has fewer inputs.
    4. A network has a stem if its first convolution, or a layer before it, has a stride above 1. Networks with a stem
       or with several images as inputs are skipped.
    """
    graph = edit.graph
    first = next((node for node in graph.nodes if isinstance(node.op, Conv2d)), None)
    if not edit.selects((first or graph.nodes[0]).name):
        return
    if first is None:
        edit.skip(graph.nodes[0].name, "the network has no convolution")
        return
    assert isinstance(first.op, Conv2d)
    if has_weight_inputs(first):
        edit.skip(first.name, WEIGHT_INPUTS)
        return
    leading = edit.dependencies([first.name])
    images = [name for name, *_ in graph.inputs if name in leading]
    for node in graph.nodes:
        windows = node.op.sliding_windows(*graph.input_shapes(node)) if node.name in leading else ()
        strides = [window.stride for window in windows or ()]
        if any(each > 1 for each in strides):
            by = format_shape(tuple(dict.fromkeys(strides)))
            edit.skip(node.name, f"it already reduces the image by {by}: the network has a stem")
            return
    if sum(len(shape) == 4 for _, shape, *_ in graph.inputs) > 1:
        edit.skip(first.name, "the network has several images as inputs")
        return

    path = edit.unused_path("stem")
    unit = edit.unit(first)
    activation = "relu" if unit.activation is None else unit.activation.op.name
    large = Conv2d(first.op.out_channels, (7, 7), stride=(2, 2), padding=(3, 3), bias=first.op.bias)
    small = replace(large, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
    pool = OPS["max_pool2d"](3, stride=2, padding=1)
    new = [
        *unit.with_op(large, images[0], (f"{path}/conv1", f"{path}/bn1", f"{path}/{activation}1"), add_activation=True)
    ]
    if stride > 2:
        new.append(Node(f"{path}/pool1", pool, (new[-1].name,), origin=first.origin))
    if stride > 4:
        names = (f"{path}/conv2", f"{path}/bn2", f"{path}/{activation}2")
        new += unit.with_op(small, new[-1].name, names, add_activation=True)
        new.append(Node(f"{path}/pool2", pool, (new[-1].name,), origin=first.origin))
    edit.put_first(images[0], new)
    edit.change(first.name, f"now after {path}: {_STEMS[stride]}")
