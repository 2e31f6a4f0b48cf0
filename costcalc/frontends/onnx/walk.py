"""Reads an ONNX model step by step: what is constant is worked out, and the rest becomes layers."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from costcalc.core.errors import CostcalcError, did_you_mean
from costcalc.frontends.aten import translators
from costcalc.frontends.call import Call, Module, Translator, Value
from costcalc.frontends.importer import Importing, Use
from costcalc.frontends.onnx.constants import Array, fold, rearranged
from costcalc.frontends.onnx.free import expressions, has_free
from costcalc.frontends.onnx.fusing import fuse, readers_of
from costcalc.frontends.onnx.naming import module_of, plain_name
from costcalc.frontends.onnx.reading import (
    Declared,
    Inner,
    Model,
    Step,
    Stored,
    check_shape,
    holds,
    infer_shapes,
    normal,
    number_of,
)
from costcalc.frontends.onnx.sizes import Asked
from costcalc.ir.graph import Graph
from costcalc.ir.op import Op

# Which inputs of a step are weights: a layer's own, where the file has them.
WEIGHTS: Mapping[str, tuple[int, ...]] = {
    "Conv": (1, 2), "ConvTranspose": (1, 2), "Gemm": (1, 2), "MatMul": (1,), "costcalc.Linear": (1, 2),
    "BatchNormalization": (1, 2, 3, 4), "InstanceNormalization": (1, 2), "LayerNormalization": (1, 2),
    "GroupNormalization": (1, 2), "RMSNormalization": (1,), "PRelu": (1,), "Gather": (0,),
    "LSTM": (1, 2, 3), "GRU": (1, 2, 3), "RNN": (1, 2, 3),
}  # fmt: skip
RECURRENT = ("LSTM", "GRU", "RNN")
_LINEAR = dict.fromkeys(("Gemm", "MatMul", "costcalc.Linear"), "linear")
_STATISTICS: Mapping[str, tuple[int, ...]] = {"BatchNormalization": (3, 4)}  # that are kept, and not learnt
# What leaves the elements of a weight as they are.
_REARRANGES = ("Transpose", "Cast", "CastLike", "Unsqueeze", "Squeeze", "Reshape")
# What makes a tensor that nothing but the next layer needs, so that an activation function can overwrite it.
_OVERWRITTEN = frozenset(
    ["Conv", "ConvTranspose", "Gemm", "costcalc.Linear", "BatchNormalization", "Add", "Sub", "Sum", "Concat"]
)


@dataclass(eq=False)
class Tensor:
    """A tensor as it is read: its shape, its elements where they are constant, and what it is to layers.

    `kind` is the step that makes it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    constant: Array | None = None
    value: Value | None = None
    kind: str = ""

    @property
    def is_constant(self) -> bool:
        """Whether it is there before the model runs, and is not learnt."""
        return self.value is None or self.value.buffer is not None

    @property
    def parameter(self) -> str | None:
        """The name of the parameter that it is."""
        return None if self.value is None else self.value.parameter

    @property
    def number(self) -> float | int | bool | None:
        """Its only element, where it is constant."""
        if self.constant is None or self.constant.size != 1 or self.parameter:
            return None
        found: float | int | bool = self.constant.reshape(()).item()
        return found


Translation = Callable[["Walk", Step, "Sequence[Tensor | None]"], "Sequence[Tensor | None]"]


class Walk:
    """Reads the steps of a model."""

    def __init__(self, file: str, model: Model, asked: Asked) -> None:
        self.file, self.model = file, model
        self.stored, steps = dict(model.stored), []
        for step in model.steps:
            # torch.onnx.export stores one of several equal tensors, and names the others so: they are tensors alike.
            if step.kind == "Identity" and step.inputs[:1] and step.inputs[0] in self.stored and len(step.outputs) == 1:
                self.stored[step.outputs[0]] = self.stored[step.inputs[0]]
            else:
                steps.append(step)
        self.steps = fuse(steps, self.stored, model.outputs)
        self.readers = readers_of(self.steps)
        self.tensors: dict[str, Tensor] = {}
        self.translators = translators()
        self._names: dict[str, str] = {}
        self._taken: set[str] = set()
        self._inferred: Mapping[str, Declared] | None = None
        weights = [given for given in model.inputs if self._is_weight(given)]
        free = [given for given in model.inputs if given not in weights]
        if not free:
            raise CostcalcError(f"{file}: the model has no inputs that are not weights")
        self.sizes = asked.of(file, free)
        self.shapes = self.sizes.shapes
        self.stored |= {given.name: Stored(_plain(given.sizes), given.dtype, None) for given in weights}
        self.learnt = self._learnt()
        self.importing = Importing(model.name, self._uses())
        for given in free:
            value = Value(expressions(self.shapes[given.name]), holds(given.dtype))
            self.importing.inputs.append((self.plain(given.name).replace("/", "_"), value))
            self.tensors[given.name] = Tensor(given.name, self.shapes[given.name], given.dtype, None, value)

    # -- which tensors are weights ------------------------------------------------------------------------------------

    def _is_weight(self, given: Declared) -> bool:
        """Whether an input is a weight that the file leaves out: it is nothing but a weight to all that take it."""
        if given.sizes is None or not all(isinstance(size, int) for size in given.sizes):
            return False
        readers = self.readers.get(given.name, ())
        inputs = {other.name for other in self.model.inputs}
        if holds(given.dtype) != "float" or not readers:
            return False
        return all(
            slot in WEIGHTS.get(step.kind, ())
            and not (
                step.kind in ("MatMul", "Gather") and (len(given.sizes) != 2 or step.inputs[0] in inputs - {given.name})
            )
            for step, slot in readers
        ) or given.name.endswith((".weight", ".bias", ".running_mean", ".running_var"))

    def _learnt(self) -> dict[str, str]:
        """For each tensor that is a parameter, or one with its elements rearranged, the parameter's name."""
        learnt = {}
        for name, stored in self.stored.items():
            weighty = any(slot in WEIGHTS.get(step.kind, ()) for step, slot in self.readers.get(name, ()))
            learns = holds(stored.dtype) == "float" and not self._is_kept(name)
            if learns and (weighty or (math.prod(stored.shape) > 1 and not _is_computed(name, stored))):
                learnt[name] = self.plain(name)
        for step in self.steps:
            source = step.inputs[0] if step.inputs else ""
            if source not in learnt or not step.outputs:
                continue
            if step.kind in _REARRANGES:
                uses = self.readers.get(step.outputs[0], ())
                if uses and all(slot in WEIGHTS.get(user.kind, ()) for user, slot in uses):
                    learnt[step.outputs[0]] = learnt[source]
        return learnt

    def _is_kept(self, name: str) -> bool:
        """Whether a tensor is nothing but statistics, or a state to start from: kept, and not learnt."""
        uses, value = self.readers.get(name, ()), self.stored[name].value
        start = value is not None and not value.any()  # of a recurrent layer: exporters store the zeros
        return bool(uses) and all(
            slot in _STATISTICS.get(step.kind, ()) or (start and step.kind in RECURRENT and slot in (5, 6))
            for step, slot in uses
        )

    def _uses(self) -> dict[str, set[Use]]:
        found: dict[str, set[Use]] = {name: set() for name in self.learnt.values()}
        for step in self.steps:
            if step.kind in ("Shape", "Size") or (step.outputs and step.outputs[0] in self.learnt):
                continue
            statistics = _STATISTICS.get(step.kind, ())
            taken = [name for slot, name in enumerate(step.inputs) if name in self.learnt and slot not in statistics]
            names = frozenset(self.parts_of(step) if step.kind in RECURRENT else [self.learnt[name] for name in taken])
            layer = _LINEAR.get(step.kind, step.kind)
            for name in names:
                found.setdefault(name, set()).add((layer, names))
        return found

    def parts_of(self, step: Step) -> list[str]:
        """The parameters of a recurrent step, those of one direction after those of the other.

        Each is a part of a weight of the file: its weights for the input, for the state, and a bias for each.
        """
        kept = [name for name in step.inputs[1:4] if name in self.learnt]
        backward = step.attributes.get("direction") == "bidirectional"
        parts = [(self.learnt[kept[0]], ""), (self.learnt[kept[1]], "")] if len(kept) > 1 else []
        parts += [(self.learnt[kept[2]], ".input"), (self.learnt[kept[2]], ".state")] if len(kept) > 2 else []
        return [f"{name}{end}{side}" for side in ("", ".reverse")[: 1 + backward] for name, end in parts]

    # -- tensors ------------------------------------------------------------------------------------------------------

    def plain(self, name: str) -> str:
        """A tensor's name as that of a parameter or a buffer; no two have the same."""
        if name not in self._names:
            wanted, number = plain_name(name), 1
            while wanted in self._taken:
                number += 1
                wanted = f"{plain_name(name)}_{number}"
            self._taken.add(wanted)
            self._names[name] = wanted
        return self._names[name]

    def tensor(self, name: str, step: Step) -> Tensor:
        """A tensor that a step takes."""
        if name not in self.tensors:
            if name not in self.stored:
                message = f"takes {name!r}, which is no input, and which no earlier node makes"
                raise self.error(step, message + did_you_mean(name, [*self.tensors, *self.stored]))
            self.tensors[name] = self._kept(name, self.stored[name])
        return self.tensors[name]

    def _kept(self, name: str, stored: Stored) -> Tensor:
        tensor = Tensor(name, stored.shape, stored.dtype, stored.value)
        if name in self.learnt:
            tensor.value = Value(stored.shape, holds(stored.dtype), parameter=self.learnt[name])
        return tensor

    def operand(self, tensor: Tensor) -> Value:
        """A tensor as layers take it; a constant is a buffer of the model."""
        if tensor.value is None:
            if 0 in tensor.shape:
                raise ValueError(f"{tensor.name!r} is empty")
            tensor.value = Value(expressions(tensor.shape), holds(tensor.dtype), buffer=self.plain(tensor.name))
        return tensor.value

    def shape_of(self, name: str, step: Step) -> Declared | None:
        """What the file, or onnx, knows of a tensor that nobody here knows how to compute."""
        declared = self.model.declared.get(name)
        if declared is None or declared.sizes is None or not all(isinstance(n, int) for n in declared.sizes):
            if self._inferred is None:
                self._inferred = infer_shapes(self.model, self.shapes.items())
            declared = self._inferred.get(name)
        if declared is None or declared.sizes is None or not all(isinstance(n, int) for n in declared.sizes):
            return None
        check_shape(_plain(declared.sizes), f"{self.where(step)}: {name!r}")
        return declared

    def may_overwrite(self, tensor: Tensor, kind: str) -> bool:
        """Whether an activation function can lie where its input lay: nobody else reads it, and no gradient needs it.

        ONNX has no operations in place; torch's networks and costcalc's specs do these so.
        """
        alone = len(self.readers.get(tensor.name, ())) == 1 and tensor.name not in self.model.outputs
        # Those of torchvision's SqueezeExcitation, of channels on a plane of one place, are not in place.
        squeezed = kind in ("Relu", "HardSigmoid") and len(tensor.shape) > 2 and math.prod(tensor.shape[2:]) == 1
        return alone and tensor.kind in _OVERWRITTEN and not squeezed

    # -- the walk -----------------------------------------------------------------------------------------------------

    def graph(self, translate: Translation) -> Graph:
        """The graph of the model, all steps read: `translate` says which layers one is that is not worked out."""
        for step in self.steps:
            if step.outputs and step.outputs[0] in self.learnt:
                self._rearranged(step)
                continue
            inputs = [self.tensor(name, step) if name else None for name in step.inputs]
            try:
                folded = self._folded(step, inputs)
                results = self._translated(step, inputs, translate) if folded is None else folded
            except CostcalcError as error:
                if str(error).startswith(self.file):
                    raise
                raise self.error(step, str(error)) from None
            except (ValueError, TypeError, LookupError, AssertionError, OverflowError, ArithmeticError) as error:
                raise self.error(step, f"is not valid: {str(error) or type(error).__name__}") from None
            for name, tensor in zip(step.outputs, results, strict=False):
                if name and tensor is not None:
                    if name in self.tensors or name in self.stored:
                        raise self.error(step, f"makes {name!r}, which is there already")
                    check_shape(tensor.shape, f"{self.where(step)}: {name!r}")
                    tensor.name = tensor.name or name
                    self.tensors[name] = tensor
        ends = []
        for name in self.model.outputs:
            if name in self.stored:
                continue
            if name not in self.tensors:
                raise CostcalcError(f"{self.file}: no node makes the output {name!r}{did_you_mean(name, self.tensors)}")
            value = self.tensors[name].value
            ends += [] if value is None else [value]
        read = {name for step in self.model.steps for name in step.inputs}
        unused = {
            self.plain(name): stored.shape
            for name, stored in self.model.stored.items()
            if name in self.learnt and name not in read
        }
        return self.importing.graph(ends, unused=unused)

    def _translated(
        self, step: Step, inputs: Sequence[Tensor | None], translate: Translation
    ) -> Sequence[Tensor | None]:
        """The results of a step that is not worked out; of constants alone they are constants, and of no layer."""
        if not inputs or not all(tensor is None or tensor.is_constant for tensor in inputs):
            return translate(self, step, inputs)
        before = self.importing.mark()
        results = translate(self, step, inputs)
        self.importing.forget(before)
        return [None if made is None else Tensor("", made.shape, made.dtype, made.constant) for made in results]

    def _rearranged(self, step: Step) -> None:
        """A weight, its elements in other places: it is the same parameter."""
        source = self.tensor(step.inputs[0], step)
        given = [self.tensor(name, step).constant if name else None for name in step.inputs[1:]]
        try:
            made = rearranged(step, source.shape, given)
        except (ValueError, TypeError, LookupError, AssertionError) as error:
            raise self.error(step, f"is not valid: {error}") from None
        value = Value(made, holds(source.dtype), parameter=self.learnt[step.outputs[0]])
        self.tensors[step.outputs[0]] = Tensor(step.outputs[0], made, source.dtype, None, value)

    def _folded(self, step: Step, inputs: Sequence[Tensor | None]) -> list[Tensor] | None:
        """The results of a step on sizes and constants alone; None where it takes others, or they are large."""
        if step.kind in ("Shape", "Size") and inputs and inputs[0] is not None:
            shape = inputs[0].shape
            chosen = shape[step.attributes.get("start", 0) : step.attributes.get("end")]
            numbers = chosen if step.kind == "Shape" else math.prod(shape)
            sizes = normal(np.array(numbers, object if has_free(shape) else np.int64))
            return [Tensor("", sizes.shape, "int64", sizes)]
        if any(isinstance(value, Inner) for value in step.attributes.values()):
            return None
        first = inputs[0] if inputs else None
        if step.kind == "CastLike" and first is not None and len(inputs) > 1 and inputs[1] is not None:
            cast = Step("Cast", step.inputs[:1], step.outputs, {"to": number_of(inputs[1].dtype)})
            return self._folded(cast, inputs[:1])
        if any(tensor is not None and (tensor.constant is None or tensor.parameter) for tensor in inputs):
            return None
        constants = fold(step, [None if tensor is None else tensor.constant for tensor in inputs])
        if constants is None:
            return None
        return [Tensor("", value.shape, _dtype(value), value) for value in constants]

    def call(
        self,
        step: Step,
        name: str,
        arguments: Mapping[str, Any],
        results: Sequence[Value],
        table: Mapping[str, Translator] | None = None,
    ) -> Sequence[Value | None]:
        """What a call of an ATen operation makes, at the place of the step."""
        call = Call(name, arguments, tuple(results), self.module(step), self.where(step), self.importing)
        return self.importing.translate(call, self.translators if table is None else table, step.kind)

    def layer(self, step: Step, op: Op, inputs: Sequence[Value], result: Value) -> Value | None:
        """What a layer that is no operation of ATen's makes."""
        arguments = {"inputs": list(inputs)}
        return self.call(step, "", arguments, [result], {"": lambda call: call.layer(op, *inputs)})[0]

    def module(self, step: Step) -> Module:
        """The module that a step is in, as far as names tell."""
        weights = [self.learnt[name] for name in step.inputs if name in self.learnt]
        return module_of(step, next(iter(weights), None))

    def where(self, step: Step) -> str:
        """The file, and the node in it."""
        return f"{self.file}: {step}"

    def error(self, step: Step, message: str) -> CostcalcError:
        """What is wrong with a step."""
        return CostcalcError(f"{self.where(step)} {message}")


def _is_computed(name: str, stored: Stored) -> bool:
    """Whether a tensor that no layer has for a weight is a mask, or one value that was worked out for the file.

    Exporters call what they work out as the operation that would: `onnx::Where_12`, `val_20`, `ones_like_1`. It may be
    a parameter, its elements elsewhere, so that the name does not do.
    """
    if stored.value is None:
        return False
    values = np.unique(stored.value)
    if len(values) == 1:
        made = re.fullmatch(r"onnx::\w+_\d+|val_\d+", name) is not None
        return made or re.sub(r"_\d+$", "", name) in _operations()
    return len(values) == 2 and bool(values[0] == 0 or values[0] <= -1e4) and values[1] in (0, 1)


@cache
def _operations() -> frozenset[str]:
    """What ATen's operations are called."""
    return frozenset(name.partition(".")[0] for name in translators())


def _dtype(value: Array) -> str:
    return {"i": "int64", "O": "int64", "b": "bool"}.get(value.dtype.kind, "float32")


def _plain(sizes: Sequence[int | str | None] | None) -> tuple[int, ...]:
    return tuple([size for size in sizes or () if isinstance(size, int)])
