"""Remove layers of a kind or auxiliary heads, and fold batch norms into convolutions."""

from __future__ import annotations

from dataclasses import replace

from costcalc.core.errors import did_you_mean
from costcalc.core.sizes import Shape
from costcalc.ir.ops import OPS
from costcalc.ir.ops.conv import Conv2d
from costcalc.ir.ops.norm import BatchNorm2d
from costcalc.transforms.edit import Edit, has_weight_inputs
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
    """Remove layers of a kind: local response norms (lrn), dropout, batch norms (bn), any op; auxiliary heads (aux).

    1. A layer whose output has the shape of its input is removed, and its readers read its input.
    2. A layer that changes the shape, or has several inputs, is skipped: the layers after it would not fit.
    3. Auxiliary heads are all outputs except for the first, and all layers on which the first does not depend.
    """
    if kind == "aux":
        _without_heads(edit)
        return
    for node in edit.graph.nodes:
        if not isinstance(node.op, OPS[kind]) or not edit.selects(node.name):
            continue
        shapes = edit.graph.input_shapes(node)
        shape = edit.graph.shapes[node.name]
        if len(shapes) > 1:
            edit.skip(node.name, "it has several inputs: without it, its readers would have no single input")
        elif not _have_one_shape(edit, shapes[0], shape):
            edit.skip(node.name, "it changes the shape of its input: the layers after it would not fit")
        elif any(other.shares == node.name for other in edit.graph.nodes):
            edit.skip(node.name, "another layer shares its parameters")
        else:
            edit.replace([node])
            edit.change(node.name, "removed")


def _have_one_shape(edit: Edit, one: Shape, other: Shape) -> bool:
    return len(one) == len(other) and all(
        edit.decide(a, "==", b, otherwise=False) for a, b in zip(one, other, strict=True)
    )


def _without_heads(edit: Edit) -> None:
    heads = [head for head in edit.graph.outputs[1:] if edit.selects(head)]
    dropped = {node.name for node in edit.prune(heads)}
    for head in heads:
        edit.change(head, f"auxiliary head removed, with {len(edit.dependencies([head]) & dropped)} layers")


@rule("fold-bn", same_function=True)
def fold_bn(edit: Edit) -> None:
    """Fold a batch norm into the convolution before it: at inference both are one affine map.

    1. conv2d and a batch_norm2d that is its only reader become the conv2d, with a bias.
    2. Its weights carried over are weight · γ/√(σ² + ε) and (bias − μ) · γ/√(σ² + ε) + β.
    3. A batch norm that does not follow a convolution, or does not track running statistics (it then uses the
       statistics of each batch), is skipped.
    """
    for norm, op in edit.layers(BatchNorm2d):
        conv = edit.node.get(norm.inputs[0])
        if conv is None or not isinstance(conv.op, Conv2d):
            edit.skip(norm.name, "it follows no convolution")
        elif has_weight_inputs(conv):
            edit.skip(norm.name, "it follows a convolution whose weights are inputs")
        elif edit.shares(conv):
            edit.skip(norm.name, "the convolution shares its parameters with another layer")
        elif edit.reader(conv) is not norm:
            edit.skip(norm.name, "another layer reads the convolution without it")
        elif not op.track_running_stats:
            edit.skip(norm.name, "it does not track running statistics")
        else:
            edit.replace([conv, norm], [replace(conv, op=replace(conv.op, bias=True))])
            edit.change(norm.name, "folded into the convolution before it")
