"""A stem put in front of a network: its plane made small before the expensive layers see it."""

from __future__ import annotations

from dataclasses import replace

from costcalc.core.sizes import format_shape
from costcalc.ir.graph import Node
from costcalc.ir.ops import OPS
from costcalc.ir.ops.conv import Conv2d
from costcalc.transforms.edit import GIVEN, Edit, given
from costcalc.transforms.rule import MoveArgument, rule

_MADE_OF = {2: "7×7", 4: "7×7, max pool", 8: "7×7, max pool, 3×3, max pool"}


def _stride(text: str) -> int:
    if text not in map(str, _MADE_OF):
        raise ValueError(f"a stem strides by 2, 4 or 8, not {text!r}")
    return int(text)


@rule(
    "stem", MoveArgument("STRIDE", _stride, examples=("2", "4")), remedy="a smaller stride, or a larger input, may do"
)
def stem(edit: Edit, stride: int) -> None:
    """A stem in front of a network without one: the plane shrinks at once, what follows costs less.

    1. 2 is a 7×7 convolution of stride 2 and padding 3; 4 is that and a 3×3 max pool of stride 2 and padding 1; 8 is
       that, a 3×3 convolution of padding 1, and a second such pool (as GoogLeNet and ResNet begin).
    2. Its convolutions make as many channels as the network's first convolution does, with a bias, a batch norm and an
       activation as there; with ReLU where that has none.
    3. All that read the image now reads the stem. Layers after it work on 1/STRIDE² of the places; a linear layer after
       a flatten shrinks with the plane.
    4. A network has a stem already when a layer strides on the way to its first convolution, or that strides itself.
       One that takes several images stays.
    """
    graph = edit.graph
    first = next((node for node in graph.nodes if isinstance(node.op, Conv2d)), None)
    if not edit.selects((first or graph.nodes[0]).name):
        return
    if first is None:
        edit.skip(graph.nodes[0].name, "the network has no convolution")
        return
    assert isinstance(first.op, Conv2d)
    if given(first):
        edit.skip(first.name, GIVEN)
        return
    leading = edit.needed([first.name])
    images = [name for name, *_ in graph.inputs if name in leading]
    for node in graph.nodes:
        windows = node.op.sliding_windows(*graph.input_shapes(node)) if node.name in leading else ()
        strides = [window.stride for window in windows or ()]
        if any(each > 1 for each in strides):
            by = format_shape(tuple(dict.fromkeys(strides)))
            edit.skip(node.name, f"it shrinks the image by {by} already: the network has a stem")
            return
    if sum(len(shape) == 4 for _, shape, *_ in graph.inputs) > 1:
        edit.skip(first.name, "the network takes several images")
        return

    at = edit.fresh("stem")
    unit = edit.unit(first)
    activation = "relu" if unit.activation is None else unit.activation.op.name
    large = Conv2d(first.op.out_channels, (7, 7), stride=(2, 2), padding=(3, 3), bias=first.op.bias)
    small = replace(large, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
    pool = OPS["max_pool2d"](3, stride=2, padding=1)
    new = [*unit.again(large, images[0], (f"{at}/conv1", f"{at}/bn1", f"{at}/{activation}1"))]
    if stride > 2:
        new.append(Node(f"{at}/pool1", pool, (new[-1].name,), origin=first.origin))
    if stride > 4:
        new += unit.again(small, new[-1].name, (f"{at}/conv2", f"{at}/bn2", f"{at}/{activation}2"))
        new.append(Node(f"{at}/pool2", pool, (new[-1].name,), origin=first.origin))
    edit.put_first(images[0], new)
    edit.change(first.name, f"now after {at}: {_MADE_OF[stride]}")
