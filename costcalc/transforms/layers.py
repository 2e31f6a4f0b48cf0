"""Moves on single layers: what a network can do without, and batch norms folded away."""

from __future__ import annotations

from dataclasses import replace

from costcalc.core.errors import did_you_mean
from costcalc.core.sizes import Shape
from costcalc.ir.ops import OPS
from costcalc.ir.ops.conv import Conv2d
from costcalc.ir.ops.norm import BatchNorm2d
from costcalc.transforms.edit import Edit, given
from costcalc.transforms.rule import MoveArgument, rule

_NAMES = {"lrn": "local_response_norm", "bn": "batch_norm2d", "batch-norm": "batch_norm2d"}


def _kind(text: str) -> str:
    kind = _NAMES.get(text, text)
    if kind not in OPS and kind != "aux":
        near = did_you_mean(text, [*_NAMES, *OPS, "aux"])
        raise ValueError(f"no kind of layer {text!r}{near}: an op, or lrn, bn, or aux for auxiliary heads")
    return kind


@rule("without", MoveArgument("KIND", _kind, examples=("lrn", "dropout", "bn", "aux")))
def without(edit: Edit, kind: str) -> None:
    """Layers of a kind removed: local response norms (lrn), dropout, batch norms (bn), any op; auxiliary heads (aux).

    1. A layer that gives the shape it takes is removed, and what read it reads what it read.
    2. A layer that changes the shape, or joins several tensors, stays: what follows would no longer fit.
    3. Auxiliary heads are all outputs but the first, and every layer that no path to the first output needs.
    """
    if kind == "aux":
        _without_heads(edit)
        return
    for node in edit.graph.nodes:
        if not isinstance(node.op, OPS[kind]) or not edit.selects(node.name):
            continue
        shapes = edit.graph.input_shapes(node)
        made = edit.graph.shapes[node.name]
        if len(shapes) > 1:
            edit.skip(node.name, "it joins several tensors: without it, what follows would not know which to read")
        elif not _alike(edit, shapes[0], made):
            edit.skip(node.name, "it changes the shape of what it takes: what follows would no longer fit")
        elif any(other.shares == node.name for other in edit.graph.nodes):
            edit.skip(node.name, "another layer uses its parameters")
        else:
            edit.replace([node])
            edit.change(node.name, "removed")


def _alike(edit: Edit, one: Shape, other: Shape) -> bool:
    return len(one) == len(other) and all(
        edit.decide(a, "==", b, otherwise=False) for a, b in zip(one, other, strict=True)
    )


def _without_heads(edit: Edit) -> None:
    heads = [head for head in edit.graph.outputs[1:] if edit.selects(head)]
    dropped = {node.name for node in edit.prune(heads)}
    for head in heads:
        edit.change(head, f"auxiliary head removed, with {len(edit.needed([head]) & dropped)} layers")


@rule("fold-bn", same_function=True)
def fold_bn(edit: Edit) -> None:
    """A batch norm folded into the convolution before it: at inference both are one affine map.

    1. conv2d and a batch_norm2d that alone reads it become the conv2d, with a bias.
    2. With its weights carried over: weight · γ/√(σ² + ε), and (bias − μ) · γ/√(σ² + ε) + β.
    3. A batch norm that follows no convolution, or keeps no running statistics (it then uses those of each batch),
       stays.
    """
    for norm, op in edit.layers(BatchNorm2d):
        conv = edit.node.get(norm.inputs[0])
        if conv is None or not isinstance(conv.op, Conv2d):
            edit.skip(norm.name, "it follows no convolution")
        elif given(conv):
            edit.skip(norm.name, "it follows a convolution whose weights are inputs")
        elif edit.shares(conv):
            edit.skip(norm.name, "the convolution shares its parameters with another layer")
        elif edit.reader(conv) is not norm:
            edit.skip(norm.name, "another layer reads the convolution without it")
        elif not op.track_running_stats:
            edit.skip(norm.name, "it keeps no running statistics to fold")
        else:
            edit.replace([conv, norm], [replace(conv, op=replace(conv.op, bias=True))])
            edit.change(norm.name, "folded into the convolution before it")
