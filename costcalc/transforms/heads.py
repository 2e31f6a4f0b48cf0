"""Moves on heads: what comes after the plane, from the flatten to the last linear layer."""

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
from costcalc.ir.ops.linear import Linear
from costcalc.ir.ops.norm import Dropout
from costcalc.ir.ops.pool import AdaptiveAvgPool2d, AvgPool2d, GlobalAvgPool2d
from costcalc.ir.ops.shape import Flatten
from costcalc.transforms.edit import SHARED, Edit
from costcalc.transforms.rule import MoveArgument, rule


class Head(NamedTuple):
    """A flatten of images into vectors, and what follows it up to the last linear layer, each read by the next alone.

    `pools` are the average pool and the dropouts before the flatten that nothing else reads, the pool first: none
    without a pool. `layers` are linear layers, activations and dropouts; the last is linear, where there are any.
    """

    pools: tuple[Node, ...]
    flatten: Node
    layers: tuple[Node, ...]
    channels: Size
    plane: tuple[Size, Size]

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All its layers, in running order."""
        return (*self.pools, self.flatten, *self.layers)

    @property
    def linears(self) -> tuple[Node, ...]:
        """Its linear layers."""
        return tuple([node for node in self.layers if isinstance(node.op, Linear)])

    def averages(self, edit: Edit) -> bool:
        """Whether its pool leaves one position of the plane."""
        return bool(self.pools) and self.single(edit)

    def single(self, edit: Edit) -> bool:
        """Whether what it flattens is a single position."""
        return all(edit.decide(size, "==", 1, otherwise=False) for size in self.plane)


def heads(edit: Edit) -> Iterator[Head]:
    """Every flatten of whole images into vectors, selected or not, with what belongs to it."""
    for node in edit.graph.nodes:
        if isinstance(node.op, Flatten):
            taken = node.inputs[0]
            shape, layout = edit.graph.shapes[taken], edit.graph.layouts[taken]
            if len(shape) == 4 and layout.spatial_dims == (2, 3) and len(edit.graph.shapes[node.name]) == 2:
                _, channels, height, width = shape
                if node.op.start_dim % 4 == 1:
                    yield Head(_pools(edit, node), node, _layers(edit, node), channels, (height, width))


def _layers(edit: Edit, flatten: Node) -> tuple[Node, ...]:
    layers: list[Node] = []
    through = 0  # how many of them there are up to the last linear layer
    node = edit.reader(flatten)
    while node is not None and len(node.inputs) == 1:
        if isinstance(node.op, Linear):
            through = len(layers) + 1
        elif isinstance(node.op, Softmax) or not isinstance(node.op, (Activation, Dropout)):
            break
        elif isinstance(node.op, Prelu) and not through and not check_relation(node.op.num_parameters, "==", 1).answer:
            break  # it may have another slope at each position of the plane
        layers.append(node)
        node = edit.reader(node)
    return tuple(layers[:through])


def _pools(edit: Edit, flatten: Node) -> tuple[Node, ...]:
    found = [flatten]
    while (node := edit.node.get(found[0].inputs[0])) is not None and edit.reader(node) is found[0]:
        if isinstance(node.op, (AdaptiveAvgPool2d, GlobalAvgPool2d, AvgPool2d)):
            return (node, *found[:-1])
        if not isinstance(node.op, Dropout):
            break
        found.insert(0, node)
    return ()


def sibling(edit: Edit, node: Node, name: str) -> str:
    """A new path beside a layer's."""
    return edit.fresh("/".join([*node.name.split("/")[:-1], name]))


def _nin(text: str) -> bool:
    if text not in ("", "nin"):
        raise ValueError(f"takes nin, or nothing, not {text!r}")
    return text == "nin"


@rule("gap-head", MoveArgument("nin", _nin, default="", examples=("", "nin")))
def gap_head(edit: Edit, nin: bool) -> None:
    """The plane averaged away before the classifier: one linear layer in place of all, or none with gap-head:nin.

    1. A place is a flatten of a plane, and the linear layers after it with the activations and dropouts between them,
       each read by the next alone. Auxiliary heads are places as well.
    2. It becomes global average pooling, the flatten, and the last linear layer, whose inputs are now the channels.
    3. An adaptive average pool directly before the flatten goes, too: it would average twice.
    4. Of its dropouts the last one stays, before the linear layer, as in GoogLeNet. Activations before the first linear
       layer stay, before the pool.
    5. A head whose plane is averaged away already stays.
    6. With nin (Lin et al., Network in Network), the last linear layer becomes a 1×1 convolution that makes a map of
       each class, with its name, and ReLU follows; then global average pooling, and the flatten. A head whose plane
       was averaged away before its linear layers is changed alike. The last dropout stays, before the convolution.
    """
    for head in heads(edit):
        place = head.flatten.name
        if not edit.selects(place):
            continue
        reason = _gap_obstacle(edit, head, nin)
        if reason:
            edit.skip(place, reason)
            continue
        shape = format_shape((head.channels,) if head.averages(edit) else (head.channels, *head.plane))
        many = f"{len(head.linears)} linear layers" if len(head.linears) > 1 else "a linear layer"
        if nin:
            _nin_head(edit, head)
            edit.change(place, f"{many} on {shape} → class maps by a 1×1 convolution, averaged")
        else:
            _averaged_head(edit, head)
            edit.change(place, f"{many} on {shape} → one on {format_shape((head.channels,))} averages")


def _gap_obstacle(edit: Edit, head: Head, nin: bool) -> str | None:
    if edit.readers[head.flatten.name] and edit.reader(head.flatten) is None:
        return "its vector is read by several layers, or is an output"
    if not head.linears:
        return "no linear layer takes its vector"
    if any(map(edit.shares, head.nodes)):
        return SHARED
    if head.averages(edit):
        return None if nin else "its plane is averaged away already"
    return "its plane is a single position" if head.single(edit) else None


def _in_a_row(source: str, nodes: list[Node]) -> list[Node]:
    """The layers, each on the one before, and the first on `source`."""
    placed: list[Node] = []
    for node in nodes:
        placed.append(replace(node, inputs=(placed[-1].name if placed else source,)))
    return placed


def _split(edit: Edit, head: Head) -> tuple[list[Node], list[Node], list[Node]]:
    """What a head gives to the one that follows it: its old layers, activations on its input, and its last dropout.

    A pool before the flatten is an old layer where its head's average does its work.
    """
    old = list(head.nodes)
    if head.pools and not head.averages(edit) and not _adaptive_before(head):
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
    if head.averages(edit):
        pool = head.pools[0]
    else:
        name = sibling(edit, head.flatten, "pool")
        pool = Node(name, OPS["global_avg_pool2d"](), (), origin=head.flatten.origin)
    new = [*before, *dropouts, maps, relu, pool, head.flatten]
    edit.replace(old, _in_a_row(old[0].inputs[0], new))


@rule("fc-to-conv", same_function=True)
def fc_to_conv(edit: Edit) -> None:
    """A fully connected head as convolutions: the first as large as the plane, the others 1×1.

    1. A flatten of a C×H×W plane and the linear layers after it, with the activations and dropouts between them, each
       read by the next alone, become a convolution with a kernel of H×W and no padding, and 1×1 convolutions.
    2. Names stay, and so do the layers between. The flatten comes last, so that the output has the shape it had.
    3. With its weights carried over, each row of a linear layer's weight, F × C·H·W, is a kernel of C×H×W. On a larger
       input the network slides (Sermanet et al., OverFeat, 2014).
    4. A linear layer that comes from no flatten of a plane stays. On a plane that is no plain number there is no such
       kernel: that is an error.
    """
    head_of = {node.name: head for head in heads(edit) for node in head.linears}
    for node, _ in edit.layers(Linear):
        head = head_of.get(node.name)
        if head is None:
            edit.skip(node.name, "it comes from no flatten of a plane")
        elif not all(map(is_plain, head.plane)):
            plane = format_shape(head.plane)
            raise CostcalcError(f"{node.name} would have a kernel of {plane}, and a kernel is a plain number")
        else:
            to_convolution(edit, head, node)


def to_convolution(edit: Edit, head: Head, node: Node) -> None:
    """Ask for a linear layer of a head to become a convolution: with the last one, all of them do."""
    if any(map(edit.shares, head.layers)):
        edit.skip(node.name, SHARED)
    elif not all(edit.selects(other.name) for other in head.linears):
        edit.skip(node.name, "it goes with the other linear layers of its head, which are not selected")
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
