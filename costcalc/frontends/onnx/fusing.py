"""Steps that exporters write for one layer, put together again.

ONNX has no linear layer of more than two dimensions, no SiLU, and before opset 20 no GELU: exporters write a matrix
product and an addition, a sigmoid and a product, and so on. Each is one step here, with the tensors that the layer
makes, where nothing else reads what lies between.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from costcalc.frontends.onnx.reading import Step, Stored, holds

Readers = Mapping[str, Sequence[tuple[Step, int]]]


def readers_of(steps: Iterable[Step]) -> dict[str, list[tuple[Step, int]]]:
    """For each tensor, the steps that take it, and as which input."""
    readers: dict[str, list[tuple[Step, int]]] = defaultdict(list)
    for step in steps:
        for slot, name in enumerate(step.inputs):
            if name:
                readers[name].append((step, slot))
    return readers


def fuse(steps: Sequence[Step], stored: Mapping[str, Stored], outputs: Iterable[str]) -> list[Step]:
    """The steps, those that are one layer put together; a step stands where the last of its parts stood."""
    fusing = _Fusing(_split_gemms(steps, stored), stored, frozenset(outputs))
    for step in fusing.steps:
        rule = _RULES.get(step.kind)
        if rule is not None and id(step) not in fusing.gone:
            rule(fusing, step)
    return [
        fusing.become.get(id(step), step)
        for step in fusing.steps
        if id(step) in fusing.become or id(step) not in fusing.gone
    ]


def _split_gemms(steps: Sequence[Step], stored: Mapping[str, Stored]) -> list[Step]:
    """A Gemm whose third input is no bias is a product and an addition."""
    result = []
    for step in steps:
        bias = step.inputs[2] if step.kind == "Gemm" and len(step.inputs) > 2 else ""
        if bias in stored and sum(size != 1 for size in stored[bias].shape) > 1:
            between = f"{step.outputs[0]} without C"
            attributes = {name: value for name, value in step.attributes.items() if name != "beta"}
            product = Step("Gemm", step.inputs[:2], (between,), attributes, step.name, step.opset, step.notes)
            result += [product, Step("Add", (between, bias), step.outputs, {}, step.name, step.opset, step.notes)]
        else:
            result.append(step)
    return result


class _Fusing:
    def __init__(self, steps: Sequence[Step], stored: Mapping[str, Stored], outputs: frozenset[str]) -> None:
        self.steps, self.stored, self.outputs = steps, stored, outputs
        self.readers = readers_of(steps)
        self.maker = {name: step for step in steps for name in step.outputs if name}
        self.gone: set[int] = set()
        self.become: dict[int, Step] = {}

    def only_reader(self, step: Step | None, kind: str) -> Step | None:
        """The step that alone reads the result of another, where it is of this kind."""
        if step is None or len(step.outputs) != 1 or step.outputs[0] in self.outputs:
            return None
        readers = self.readers.get(step.outputs[0], ())
        found = readers[0][0] if len(readers) == 1 else None
        return found if found is not None and found.kind == kind and id(found) not in self.gone else None

    def other(self, step: Step, name: str) -> str:
        """What a step of two inputs takes beside one."""
        return step.inputs[1] if step.inputs[0] == name else step.inputs[0]

    def number(self, name: str) -> float | None:
        """The value of a constant of one element."""
        kept = self.stored.get(name)
        maker = self.maker.get(name)
        if kept is None and maker is not None and maker.kind == "Constant":
            for given in maker.attributes.values():
                if isinstance(given, float):
                    return given
                kept = given if isinstance(given, Stored) else None
        if kept is None or kept.value is None or math.prod(kept.shape) != 1:
            return None
        return float(kept.value.reshape(()))

    def replace(self, parts: Sequence[Step], kind: str, inputs: tuple[str, ...]) -> None:
        first, last = parts[0], parts[-1]
        self.gone |= {id(part) for part in parts}
        name = first.name or last.name
        self.become[id(last)] = Step(kind, inputs, last.outputs, {}, name, last.opset, first.notes or last.notes)


def _linear(fusing: _Fusing, product: Step) -> None:
    """MatMul by stored weights, then Add of a stored bias."""
    addition = fusing.only_reader(product, "Add")
    if addition is None:
        return
    name = product.inputs[1]
    maker = fusing.maker.get(name)
    turned = maker is not None and maker.kind == "Transpose"
    weight = fusing.stored.get(maker.inputs[0] if maker is not None and turned else name)
    bias = fusing.other(addition, product.outputs[0])
    if weight is None or len(weight.shape) != 2 or bias not in fusing.stored:
        return
    features = weight.shape[0 if turned else 1]
    if fusing.stored[bias].shape == (features,) and holds(fusing.stored[bias].dtype) == "float":
        fusing.replace((product, addition), "costcalc.Linear", (*product.inputs, bias))


def _gated(fusing: _Fusing, gate: Step) -> None:
    """x · sigmoid(x), and x · hardsigmoid(x)."""
    product = fusing.only_reader(gate, "Mul")
    if product is None or fusing.other(product, gate.outputs[0]) != gate.inputs[0]:
        return
    if gate.kind == "Sigmoid":
        fusing.replace((gate, product), "costcalc.Silu", gate.inputs)
    elif abs(gate.attributes.get("alpha", 0.2) - 1 / 6) < 1e-3:
        fusing.replace((gate, product), "HardSwish", gate.inputs)


def _gelu(fusing: _Fusing, erf: Step) -> None:
    """x/2 · (1 + erf(x/√2)), the half first or last."""
    scaling = fusing.maker.get(erf.inputs[0])
    if scaling is None or scaling.kind not in ("Div", "Mul") or fusing.only_reader(scaling, "Erf") is not erf:
        return
    x = scaling.inputs[0] if fusing.number(scaling.inputs[1]) is not None else scaling.inputs[1]
    sum_ = fusing.only_reader(erf, "Add")
    product = fusing.only_reader(sum_, "Mul")
    if sum_ is None or product is None or fusing.number(fusing.other(sum_, erf.outputs[0])) != 1:
        return
    factor = fusing.other(product, sum_.outputs[0])
    if factor == x:
        last = fusing.only_reader(product, "Mul")
        if last is not None and fusing.number(fusing.other(last, product.outputs[0])) == 0.5:
            fusing.replace((scaling, erf, sum_, product, last), "costcalc.Gelu", (x,))
        return
    half = fusing.maker.get(factor)
    if half is None or half.kind != "Mul" or x not in half.inputs or fusing.only_reader(half, "Mul") is not product:
        return
    if fusing.number(fusing.other(half, x)) == 0.5:
        fusing.replace((half, scaling, erf, sum_, product), "costcalc.Gelu", (x,))


def _layer_norm(fusing: _Fusing, mean: Step) -> None:
    """(x − mean) / √(mean of its square + eps), times a stored weight, plus a stored bias, over the last dimension."""
    difference = fusing.only_reader(mean, "Sub")
    if difference is None or difference.inputs != (mean.inputs[0], mean.outputs[0]):
        return
    apart = [step for step, _ in fusing.readers.get(difference.outputs[0], ())]
    square = next((step for step in apart if step.kind in ("Pow", "Mul")), None)
    quotient = next((step for step in apart if step.kind == "Div"), None)
    if square is None or quotient is None or len({id(step) for step in apart}) != 2:
        return
    variance = fusing.only_reader(square, "ReduceMean")
    root = fusing.only_reader(fusing.only_reader(variance, "Add"), "Sqrt")
    scaled = fusing.only_reader(quotient, "Mul")
    shifted = fusing.only_reader(scaled, "Add")
    if variance is None or root is None or scaled is None or shifted is None:
        return
    added = fusing.maker[root.inputs[0]]
    if fusing.only_reader(root, "Div") is not quotient or mean.attributes.get("axes") != [-1]:
        return
    weight, bias = fusing.other(scaled, quotient.outputs[0]), fusing.other(shifted, scaled.outputs[0])
    if all(name in fusing.stored and len(fusing.stored[name].shape) == 1 for name in (weight, bias)):
        parts = (mean, difference, square, variance, added, root, quotient, scaled, shifted)
        fusing.replace(parts, "LayerNormalization", (mean.inputs[0], weight, bias))


def _attention(fusing: _Fusing, softmax: Step) -> None:
    """softmax(√s·q · √s·kᵀ + mask) · v: so is scaled_dot_product_attention written, and nothing by hand."""
    scores = fusing.maker.get(softmax.inputs[0])
    mask: tuple[str, ...] = ()
    parts = [softmax]
    if scores is not None and scores.kind == "Add":
        parts.insert(0, scores)
        product = fusing.maker.get(scores.inputs[0])
        mask = (scores.inputs[1],)
        if fusing.only_reader(product, "Add") is not scores:
            return
        scores = product
    following = fusing.only_reader(softmax, "MatMul")
    last = following is not None and following.inputs[0] == softmax.outputs[0]
    if scores is None or scores.kind != "MatMul" or following is None or not last:
        return
    if softmax.attributes.get("axis", -1) not in (-1, 3) or fusing.only_reader(scores, parts[0].kind) is not parts[0]:
        return
    factors = [fusing.maker.get(name) for name in scores.inputs]
    scaled = []
    for factor in factors:
        if factor is None or factor.kind != "Mul" or fusing.only_reader(factor, "MatMul") is not scores:
            return
        by = fusing.maker.get(factor.inputs[1])
        if fusing.number(factor.inputs[1]) is None and (by is None or by.kind != "Sqrt"):
            return
        scaled.append(factor)
    inputs = (scaled[0].inputs[0], scaled[1].inputs[0], following.inputs[1], *mask)
    fusing.replace((*scaled, scores, *parts, following), "costcalc.Attention", inputs)


_RULES: Mapping[str, Callable[[_Fusing, Step], None]] = {
    "MatMul": _linear,
    "Sigmoid": _gated,
    "HardSigmoid": _gated,
    "Erf": _gelu,
    "Softmax": _attention,
    "ReduceMean": _layer_norm,
}
