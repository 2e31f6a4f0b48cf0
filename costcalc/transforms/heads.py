"""Replace heads: the layers from the flatten of the plane to the last linear layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from costcalc.core.errors import CostcalcError
from costcalc.core.sizes import Size, check_relation, format_shape, is_plain
from costcalc.ir.graph import Node
from costcalc.ir.ops import OPS
from costcalc.ir.ops.activation import Activation, Prelu, Softmax
from costcalc.ir.ops.conv import Conv2d
from costcalc.ir.ops.dropout import Dropout
from costcalc.ir.ops.linear import Linear
from costcalc.ir.ops.pool import AdaptiveAvgPool2d, AvgPool2d, GlobalAvgPool2d
from costcalc.ir.ops.shape import Flatten
from costcalc.transforms.edit import SHARED, Edit
from costcalc.transforms.rule import MoveArgument, rule


class Head(NamedTuple):
    """A flatten of images into vectors, and the layers after it up to the last linear one, each with one reader.

    `pools` are an average pool and the dropouts between it and the flatten, without other readers; empty without such
    a pool. `layers` are linear layers, activations and dropouts; the last is linear.
    """

    pools: tuple[Node, ...]
    flatten: Node
    layers: tuple[Node, ...]
    channels: Size
    plane: tuple[Size, Size]

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All its layers, in execution order."""
        return (*self.pools, self.flatten, *self.layers)

    @property
    def linears(self) -> tuple[Node, ...]:
        """Its linear layers."""
        return tuple([node for node in self.layers if isinstance(node.op, Linear)])

    def is_averaged(self, edit: Edit) -> bool:
        """Whether a pool averages its plane to a single position."""
        return bool(self.pools) and self.is_single_position(edit)

    def is_single_position(self, edit: Edit) -> bool:
        """Whether its plane is a single position."""
        return all(edit.decide(size, "==", 1, otherwise=False) for size in self.plane)


def find_heads(edit: Edit) -> Iterator[Head]:
    """All heads of the graph, selected or not."""
    for node in edit.graph.nodes:
        if isinstance(node.op, Flatten):
            source = node.inputs[0]
            shape, layout = edit.graph.shapes[source], edit.graph.layouts[source]
            if len(shape) == 4 and layout.spatial_dims == (2, 3) and len(edit.graph.shapes[node.name]) == 2:
                _, channels, height, width = shape
                if node.op.start_dim % 4 == 1:
                    yield Head(_pools(edit, node), node, _layers(edit, node), channels, (height, width))


def _layers(edit: Edit, flatten: Node) -> tuple[Node, ...]:
    layers: list[Node] = []
    end = 0  # the number of layers up to the last linear one
    node = edit.reader(flatten)
    while node is not None and len(node.inputs) == 1:
        if isinstance(node.op, Linear):
            end = len(layers) + 1
        elif isinstance(node.op, Softmax) or not isinstance(node.op, (Activation, Dropout)):
            break
        elif isinstance(node.op, Prelu) and not end and not check_relation(node.op.num_parameters, "==", 1).answer:
            break  # the slopes may differ between positions of the plane
        layers.append(node)
        node = edit.reader(node)
    return tuple(layers[:end])


def _pools(edit: Edit, flatten: Node) -> tuple[Node, ...]:
    path = [flatten]
    while (node := edit.node.get(path[0].inputs[0])) is not None and edit.reader(node) is path[0]:
        if isinstance(node.op, (AdaptiveAvgPool2d, GlobalAvgPool2d, AvgPool2d)):
            return (node, *path[:-1])
        if not isinstance(node.op, Dropout):
            break
        path.insert(0, node)
    return ()


def sibling(edit: Edit, node: Node, name: str) -> str:
    """An unused path in the group of a layer."""
    return edit.unused_path("/".join([*node.name.split("/")[:-1], name]))


def _nin(text: str) -> bool:
    if text not in ("", "nin"):
        raise ValueError(f"the argument is nin or nothing, not {text!r}")
    return text == "nin"


@rule("gap-head", MoveArgument("nin", _nin, default="", examples=("", "nin")))
def gap_head(edit: Edit, nin: bool) -> None:
    """Average the plane before the classifier: one linear layer replaces all, or with gap-head:nin a convolution.

    1. A head is a flatten of a plane, and the linear layers after it with the activations and dropouts between them,
       each with the next as its only reader. Auxiliary heads are changed, too.
    2. It becomes global average pooling, the flatten, and the last linear layer, whose inputs are now the channels.
    3. An adaptive average pool directly before the flatten is removed: it would average twice.
    4. The last dropout remains, before the linear layer, as in GoogLeNet. Activations before the first linear layer
       remain, before the pool.
    5. A head whose plane is averaged already is skipped.
    6. With nin (Lin et al., Network in Network), the last linear layer becomes a 1×1 convolution of the same name that
       computes a map of each class, and ReLU follows; then global average pooling, and the flatten. A head whose plane
       is averaged before its linear layers is changed in the same way. The last dropout is before the convolution.
    """
    for head in find_heads(edit):
        path = head.flatten.name
        if not edit.selects(path):
            continue
        reason = _gap_obstacle(edit, head, nin)
        if reason:
            edit.skip(path, reason)
            continue
        shape = format_shape((head.channels,) if head.is_averaged(edit) else (head.channels, *head.plane))
        many = f"{len(head.linears)} linear layers" if len(head.linears) > 1 else "a linear layer"
        if nin:
            _nin_head(edit, head)
            edit.change(path, f"{many} on {shape} → class maps by a 1×1 convolution, averaged")
        else:
            _averaged_head(edit, head)
            edit.change(path, f"{many} on {shape} → one on {format_shape((head.channels,))} averages")


def _gap_obstacle(edit: Edit, head: Head, nin: bool) -> str | None:
    if edit.readers[head.flatten.name] and edit.reader(head.flatten) is None:
        return "its vector has several readers, or is an output"
    if not head.linears:
        return "no linear layer reads its vector"
    if any(map(edit.shares, head.nodes)):
        return SHARED
    if head.is_averaged(edit):
        return None if nin else "its plane is averaged already"
    return "its plane is a single position" if head.is_single_position(edit) else None


def _in_a_row(source: str, nodes: list[Node]) -> list[Node]:
    """Connect layers in sequence, the first to `source`."""
    connected: list[Node] = []
    for node in nodes:
        connected.append(replace(node, inputs=(connected[-1].name if connected else source,)))
    return connected


def _split(edit: Edit, head: Head) -> tuple[list[Node], list[Node], list[Node]]:
    """Split a head into the layers to replace, the activations on its input, and its last dropout.

    A pool before the flatten is replaced if the new average pool makes it redundant.
    """
    old = list(head.nodes)
    if head.pools and not head.is_averaged(edit) and not _adaptive_before(head):
        old = [head.flatten, *head.layers]
    first = head.layers.index(head.linears[0])
    before = [node for node in head.layers[:first] if isinstance(node.op, Activation)]
    dropouts = [node for node in old if isinstance(node.op, Dropout)]
    return old, before, dropouts[-1:]


def _adaptive_before(head: Head) -> bool:
    return len(head.pools) == 1 and isinstance(head.pools[0].op, AdaptiveAvgPool2d)


def _averaged_head(edit: Edit, head: Head) -> None:
    old, before, dropouts = _split(edit, head)
    name = sibling(edit, head.flatten, "pool")
    pool = Node(name, OPS["global_avg_pool2d"](), (), origin=head.flatten.origin)
    new = [*before, pool, head.flatten, *dropouts, head.linears[-1]]
    edit.replace(old, _in_a_row(old[0].inputs[0], new))


def _nin_head(edit: Edit, head: Head) -> None:
    old, before, dropouts = _split(edit, head)
    last = head.linears[-1]
    assert isinstance(last.op, Linear)
    maps = replace(last, op=Conv2d(last.op.out_features, (1, 1), bias=last.op.bias))
    relu = Node(sibling(edit, last, "relu"), OPS["relu"](), (), origin=last.origin)
    if head.is_averaged(edit):
        pool = head.pools[0]
    else:
        name = sibling(edit, head.flatten, "pool")
        pool = Node(name, OPS["global_avg_pool2d"](), (), origin=head.flatten.origin)
    new = [*before, *dropouts, maps, relu, pool, head.flatten]
    edit.replace(old, _in_a_row(old[0].inputs[0], new))


@rule("fc-to-conv", same_function=True)
def fc_to_conv(edit: Edit) -> None:
    """Replace a fully connected head by convolutions: the first as large as the plane, the others 1×1.

    1. A flatten of a C×H×W plane and the linear layers after it, with the activations and dropouts between them, each
       with the next as its only reader, become a convolution with a kernel of H×W and no padding, and 1×1 convolutions.
    2. Names and the layers between do not change. The flatten is last, so that the output shape does not change.
    3. With its weights carried over, each row of a linear layer's weight, F × C·H·W, is a kernel of C×H×W. On a larger
       input the network slides (Sermanet et al., OverFeat, 2014).
    4. A linear layer without a flatten of a plane before it is skipped. A plane with sizes that are not plain numbers
       is an error: kernel sizes are plain numbers.
    """
    head_of = {node.name: head for head in find_heads(edit) for node in head.linears}
    for node, _ in edit.layers(Linear):
        head = head_of.get(node.name)
        if head is None:
            edit.skip(node.name, "it does not follow a flatten of a plane")
        elif not all(map(is_plain, head.plane)):
            plane = format_shape(head.plane)
            raise CostcalcError(f"{node.name} would have a kernel of {plane}: kernel sizes must be plain numbers")
        else:
            to_convolution(edit, head, node)


def to_convolution(edit: Edit, head: Head, node: Node) -> None:
    """Replace the linear layers of a head by convolutions, or skip a layer; all change at the last of them."""
    if any(map(edit.shares, head.layers)):
        edit.skip(node.name, SHARED)
    elif not all(edit.selects(other.name) for other in head.linears):
        edit.skip(node.name, "other linear layers of its head are not selected")
    elif node is head.linears[-1]:
        _as_convolutions(edit, head)


def _as_convolutions(edit: Edit, head: Head) -> None:
    kernel = head.plane
    new: list[Node] = []
    for node in head.layers:
        if isinstance(node.op, Linear):
            edit.change(node.name, f"a convolution with a kernel of {format_shape(kernel)}")
            node = replace(node, op=Conv2d(node.op.out_features, kernel, bias=node.op.bias))
            kernel = (1, 1)
        new.append(node)
    old = [head.flatten, *head.layers]
    edit.replace(old, _in_a_row(head.flatten.inputs[0], [*new, head.flatten]))
