"""Fusion of ONNX nodes that exporters emit for a single layer.

ONNX has no linear layer for inputs of more than two dimensions, no SiLU and, before opset 20, no GELU. Exporters
decompose them: into a MatMul and an Add, a Sigmoid and a Mul, and so on. Each decomposition is fused into one node if
no other node reads the intermediate tensors.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from costcalc.core.dtypes import element_type_of
from costcalc.frontends.onnx.reader import Initializer, OnnxNode

Consumers = Mapping[str, Sequence[tuple[OnnxNode, int]]]


def consumers_of(nodes: Iterable[OnnxNode]) -> dict[str, list[tuple[OnnxNode, int]]]:
    """Map each tensor name to the nodes that consume it, each with the index of the input."""
    readers: dict[str, list[tuple[OnnxNode, int]]] = defaultdict(list)
    for node in nodes:
        for slot, name in enumerate(node.inputs):
            if name:
                readers[name].append((node, slot))
    return readers


def fuse(nodes: Sequence[OnnxNode], initializers: Mapping[str, Initializer], outputs: Iterable[str]) -> list[OnnxNode]:
    """Fuse the nodes that form one layer; a fused node takes the position of the last node that it replaces."""
    fusion = _FusionPass(_split_gemms(nodes, initializers), initializers, frozenset(outputs))
    for node in fusion.nodes:
        rule = _RULES.get(node.op_type)
        if rule is not None and id(node) not in fusion.removed:
            rule(fusion, node)
    return [
        fusion.replacements.get(id(node), node)
        for node in fusion.nodes
        if id(node) in fusion.replacements or id(node) not in fusion.removed
    ]


def _split_gemms(nodes: Sequence[OnnxNode], initializers: Mapping[str, Initializer]) -> list[OnnxNode]:
    """Split each Gemm whose third input is not a bias into a matrix product and an Add."""
    result = []
    for node in nodes:
        bias = node.inputs[2] if node.op_type == "Gemm" and len(node.inputs) > 2 else ""
        if bias in initializers and sum(size != 1 for size in initializers[bias].shape) > 1:
            between = f"{node.outputs[0]} without C"
            attributes = {name: value for name, value in node.attributes.items() if name != "beta"}
            product = OnnxNode("Gemm", node.inputs[:2], (between,), attributes, node.name, node.opset, node.metadata)
            result += [
                product,
                OnnxNode("Add", (between, bias), node.outputs, {}, node.name, node.opset, node.metadata),
            ]
        else:
            result.append(node)
    return result


class _FusionPass:
    def __init__(
        self, nodes: Sequence[OnnxNode], initializers: Mapping[str, Initializer], outputs: frozenset[str]
    ) -> None:
        self.nodes, self.initializers, self.outputs = nodes, initializers, outputs
        self.consumers = consumers_of(nodes)
        self.producer = {name: node for node in nodes for name in node.outputs if name}
        self.removed: set[int] = set()
        self.replacements: dict[int, OnnxNode] = {}

    def only_consumer(self, node: OnnxNode | None, kind: str) -> OnnxNode | None:
        """Return the only consumer of the output of `node` if its op type is `kind`, else None."""
        if node is None or len(node.outputs) != 1 or node.outputs[0] in self.outputs:
            return None
        readers = self.consumers.get(node.outputs[0], ())
        found = readers[0][0] if len(readers) == 1 else None
        return found if found is not None and found.op_type == kind and id(found) not in self.removed else None

    def other_input(self, node: OnnxNode, name: str) -> str:
        """Return the input of a binary node that is not `name`."""
        return node.inputs[1] if node.inputs[0] == name else node.inputs[0]

    def scalar(self, name: str) -> float | None:
        """Return the value of a constant with one element, or None for any other tensor."""
        kept = self.initializers.get(name)
        maker = self.producer.get(name)
        if kept is None and maker is not None and maker.op_type == "Constant":
            for given in maker.attributes.values():
                if isinstance(given, float):
                    return given
                kept = given if isinstance(given, Initializer) else None
        if kept is None or kept.value is None or math.prod(kept.shape) != 1:
            return None
        return float(kept.value.reshape(()))

    def replace(self, parts: Sequence[OnnxNode], kind: str, inputs: tuple[str, ...]) -> None:
        first, last = parts[0], parts[-1]
        self.removed |= {id(part) for part in parts}
        name = first.name or last.name
        self.replacements[id(last)] = OnnxNode(
            kind, inputs, last.outputs, {}, name, last.opset, first.metadata or last.metadata
        )


def _fuse_linear(fusion: _FusionPass, product: OnnxNode) -> None:
    """Fuse a MatMul by an initializer and an Add of an initializer into a linear layer."""
    addition = fusion.only_consumer(product, "Add")
    if addition is None:
        return
    name = product.inputs[1]
    maker = fusion.producer.get(name)
    turned = maker is not None and maker.op_type == "Transpose"
    weight = fusion.initializers.get(maker.inputs[0] if maker is not None and turned else name)
    bias = fusion.other_input(addition, product.outputs[0])
    if weight is None or len(weight.shape) != 2 or bias not in fusion.initializers:
        return
    features = weight.shape[0 if turned else 1]
    if fusion.initializers[bias].shape == (features,) and element_type_of(fusion.initializers[bias].dtype) == "float":
        fusion.replace((product, addition), "costcalc.Linear", (*product.inputs, bias))


def _fuse_gate(fusion: _FusionPass, gate: OnnxNode) -> None:
    """Fuse x · sigmoid(x) into SiLU and x · hardsigmoid(x) into hardswish."""
    product = fusion.only_consumer(gate, "Mul")
    if product is None or fusion.other_input(product, gate.outputs[0]) != gate.inputs[0]:
        return
    if gate.op_type == "Sigmoid":
        fusion.replace((gate, product), "costcalc.Silu", gate.inputs)
    elif abs(gate.attributes.get("alpha", 0.2) - 1 / 6) < 1e-3:
        fusion.replace((gate, product), "HardSwish", gate.inputs)


def _fuse_gelu(fusion: _FusionPass, erf: OnnxNode) -> None:
    """Fuse x/2 · (1 + erf(x/√2)) into GELU; the factor 1/2 may multiply x, the sum, or the product."""
    scaling = fusion.producer.get(erf.inputs[0])
    if scaling is None or scaling.op_type not in ("Div", "Mul") or fusion.only_consumer(scaling, "Erf") is not erf:
        return
    x = scaling.inputs[0] if fusion.scalar(scaling.inputs[1]) is not None else scaling.inputs[1]
    sum_ = fusion.only_consumer(erf, "Add")
    product = fusion.only_consumer(sum_, "Mul")
    if sum_ is None or product is None or fusion.scalar(fusion.other_input(sum_, erf.outputs[0])) != 1:
        return
    factor = fusion.other_input(product, sum_.outputs[0])
    last = fusion.only_consumer(product, "Mul")
    remaining = "" if last is None else fusion.other_input(last, product.outputs[0])
    halves_product = factor == x and fusion.scalar(remaining) == 0.5
    halves_sum = fusion.scalar(factor) == 0.5 and remaining == x
    if last is not None and (halves_product or halves_sum):
        fusion.replace((scaling, erf, sum_, product, last), "costcalc.Gelu", (x,))
        return
    half = fusion.producer.get(factor)
    if (
        half is None
        or half.op_type != "Mul"
        or x not in half.inputs
        or fusion.only_consumer(half, "Mul") is not product
    ):
        return
    if fusion.scalar(fusion.other_input(half, x)) == 0.5:
        fusion.replace((half, scaling, erf, sum_, product), "costcalc.Gelu", (x,))


def _fuse_layer_norm(fusion: _FusionPass, mean: OnnxNode) -> None:
    """Fuse a decomposed LayerNorm over the last dimension: (x − mean(x)) / √(var(x) + eps) · weight + bias."""
    difference = fusion.only_consumer(mean, "Sub")
    if difference is None or difference.inputs != (mean.inputs[0], mean.outputs[0]):
        return
    apart = [node for node, _ in fusion.consumers.get(difference.outputs[0], ())]
    square = next((node for node in apart if node.op_type in ("Pow", "Mul")), None)
    quotient = next((node for node in apart if node.op_type == "Div"), None)
    if square is None or quotient is None or len({id(node) for node in apart}) != 2:
        return
    variance = fusion.only_consumer(square, "ReduceMean")
    root = fusion.only_consumer(fusion.only_consumer(variance, "Add"), "Sqrt")
    scaled = fusion.only_consumer(quotient, "Mul")
    shifted = fusion.only_consumer(scaled, "Add")
    if variance is None or root is None or scaled is None or shifted is None:
        return
    added = fusion.producer[root.inputs[0]]
    if fusion.only_consumer(root, "Div") is not quotient or mean.attributes.get("axes") != [-1]:
        return
    weight, bias = fusion.other_input(scaled, quotient.outputs[0]), fusion.other_input(shifted, scaled.outputs[0])
    if all(name in fusion.initializers and len(fusion.initializers[name].shape) == 1 for name in (weight, bias)):
        parts = (mean, difference, square, variance, added, root, quotient, scaled, shifted)
        fusion.replace(parts, "LayerNormalization", (mean.inputs[0], weight, bias))


def _fuse_attention(fusion: _FusionPass, softmax: OnnxNode) -> None:
    """Fuse softmax(√s·q · √s·kᵀ + mask) · v into attention.

    Only exports of scaled_dot_product_attention scale both operands; attention written by hand scales the product.
    """
    scores = fusion.producer.get(softmax.inputs[0])
    mask: tuple[str, ...] = ()
    parts = [softmax]
    if scores is not None and scores.op_type == "Add":
        parts.insert(0, scores)
        product = fusion.producer.get(scores.inputs[0])
        mask = (scores.inputs[1],)
        if fusion.only_consumer(product, "Add") is not scores:
            return
        scores = product
    following = fusion.only_consumer(softmax, "MatMul")
    last = following is not None and following.inputs[0] == softmax.outputs[0]
    if scores is None or scores.op_type != "MatMul" or following is None or not last:
        return
    if (
        softmax.attributes.get("axis", -1) not in (-1, 3)
        or fusion.only_consumer(scores, parts[0].op_type) is not parts[0]
    ):
        return
    factors = [fusion.producer.get(name) for name in scores.inputs]
    scaled = []
    for factor in factors:
        if factor is None or factor.op_type != "Mul" or fusion.only_consumer(factor, "MatMul") is not scores:
            return
        by = fusion.producer.get(factor.inputs[1])
        if fusion.scalar(factor.inputs[1]) is None and (by is None or by.op_type != "Sqrt"):
            return
        scaled.append(factor)
    inputs = (scaled[0].inputs[0], scaled[1].inputs[0], following.inputs[1], *mask)
    fusion.replace((*scaled, scores, *parts, following), "costcalc.Attention", inputs)


_RULES: Mapping[str, Callable[[_FusionPass, OnnxNode], None]] = {
    "MatMul": _fuse_linear,
    "Sigmoid": _fuse_gate,
    "HardSigmoid": _fuse_gate,
    "Erf": _fuse_gelu,
    "Softmax": _fuse_attention,
    "ReduceMean": _fuse_layer_norm,
}
