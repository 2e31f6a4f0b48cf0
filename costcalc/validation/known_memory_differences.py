"""Memory that torch is known to use differently: other kernels in older releases, and extra tensors on `meta`.

An entry changes the predicted run by what torch is known to do, for one op, with the torch releases and on the devices
that it names. The observed run must then equal the changed prediction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

from costcalc.core.devices import Device
from costcalc.core.dtypes import DTYPE_BYTES
from costcalc.core.sizes import Shape
from costcalc.ir.graph import Graph
from costcalc.ir.kernel import Kernel
from costcalc.ir.layout import Layout
from costcalc.ir.op import Op
from costcalc.ir.ops.activation import Mish
from costcalc.ir.ops.linear import Linear
from costcalc.ir.ops.norm import BatchNorm, LayerNorm
from costcalc.validation.known_differences import ON_META, SeenWith

if TYPE_CHECKING:
    from costcalc.torch_backend.device import Environment


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherKernels:
    """An op that other torch releases run with other kernels than the predicted ones."""

    op: type[Op]
    runs_as: type[Op]  # the op with the kernels of these releases
    reason: str
    seen_with: SeenWith


class _LinearAsView(Linear):
    """A linear layer with a bias that flattens its input to two dimensions, and returns a view of the result."""

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        *product, last = super().kernels(inputs, output, training)
        if len(output) > 2 and self.bias:
            last = replace(last, unsafe_view=False)
        return (*product, last)


class _LayerNormAsOnCpu(LayerNorm):
    """A layer normalisation whose input gradient is contiguous on every device."""

    def resolve(
        self,
        inputs: tuple[Shape, ...],
        layouts: tuple[Layout, ...],
        device: Device | None = None,
        requires_grad: tuple[bool, ...] = (),
    ) -> Op:
        return self


OTHER_KERNELS = (
    OtherKernels(
        op=Linear,
        runs_as=_LinearAsView,
        reason="before release 2.15, torch returned a view from a linear layer with a bias unless the input has two "
        "dimensions, so that autograd copies the gradient of a layer that overwrites it twice more; the prediction is "
        "that of 2.15",
        seen_with=SeenWith(("cpu", "meta"), last=(2, 14)),
    ),
    OtherKernels(
        op=LayerNorm,
        runs_as=_LayerNormAsOnCpu,
        reason="before release 2.15, the gradient of the input of a layer normalisation is contiguous on meta, as on a "
        "CPU; since then, it has the memory format of the gradient of the output",
        seen_with=ON_META._replace(last=(2, 14)),
    ),
)


def other_kernels(graph: Graph, environment: Environment) -> tuple[OtherKernels, ...]:
    """Return the entries for this torch and device whose ops are in the graph."""
    ops = {type(node.op) for node in graph.nodes}
    return tuple([entry for entry in OTHER_KERNELS if entry.op in ops and entry.seen_with.covers(environment)])


def with_kernels(graph: Graph, entries: Iterable[OtherKernels]) -> Graph:
    """Return the graph with the kernels of these entries; the same graph if there are none."""
    runs_as = {entry.op: entry.runs_as for entry in entries}
    if not runs_as:
        return graph
    return replace(graph, nodes=tuple([replace(node, op=_with_class(node.op, runs_as)) for node in graph.nodes]))


def _with_class(op: Op, runs_as: Mapping[type[Op], type[Op]]) -> Op:
    if type(op) not in runs_as:
        return op
    return runs_as[type(op)](**op.values())


class LayerAllocations(NamedTuple):
    """A layer with the bytes of an element of the dtype, and of each tensor that it allocates, by phase and name."""

    op: Op
    inputs: tuple[Shape, ...]
    element_size: int
    tensors: Mapping[tuple[str, str], int]


class Excess(NamedTuple):
    """Bytes that torch allocates beyond those predicted: in the tensor of that name, or in a temporary one."""

    phase: Literal["forward", "backward"]
    nbytes: int
    tensor: str | None = None  # None: an extra tensor, freed at once


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownExcess:
    """Extra memory that torch allocates for some layers of an op."""

    op: type[Op]
    values: Callable[[LayerAllocations], Iterator[Excess]]  # of a layer with this op
    reason: str
    seen_with: SeenWith

    def excesses(self, layer: LayerAllocations) -> tuple[Excess, ...]:
        """Return the memory that torch allocates for a layer in excess of the prediction; empty for most layers."""
        return tuple(self.values(layer)) if isinstance(layer.op, self.op) else ()


_FP32_BYTES = DTYPE_BYTES["fp32"]


def _unused_statistics(layer: LayerAllocations) -> Iterator[Excess]:
    """Yield the statistics of the batch, which are not used: a mean and an inverse deviation for each channel."""
    if ("forward", "mean") not in layer.tensors:
        yield Excess("forward", 2 * layer.inputs[0][1] * max(layer.element_size, _FP32_BYTES))


def _statistics_in_float32(layer: LayerAllocations) -> Iterator[Excess]:
    if layer.element_size < _FP32_BYTES:
        for name in ("mean", "inverse deviation"):
            if ("forward", name) in layer.tensors:
                yield Excess("forward", layer.inputs[0][1] * (_FP32_BYTES - layer.element_size), name)


def _unneeded_input_gradient(layer: LayerAllocations) -> Iterator[Excess]:
    """Yield the gradient of the input if only gradients of parameters are required."""
    backward = [name for phase, name in layer.tensors if phase == "backward"]
    if backward and "gradient" not in backward:
        yield Excess("backward", layer.tensors["forward", "output"])


def _decomposed_gradient(layer: LayerAllocations) -> Iterator[Excess]:
    """Yield seven tensors of the size of the gradient, which the decomposition has allocated at its peak."""
    if ("backward", "gradient") in layer.tensors:
        yield Excess("backward", 7 * layer.tensors["backward", "gradient"])


KNOWN_EXCESSES = (
    KnownExcess(
        op=BatchNorm,
        values=_unused_statistics,
        reason="a BatchNorm in evaluation mode uses its running statistics, and meta allocates those of the batch too, "
        "which are empty on a CPU",
        seen_with=ON_META,
    ),
    KnownExcess(
        op=BatchNorm,
        values=_statistics_in_float32,
        reason="a BatchNorm of half precision saves its mean and deviation in float32 on meta, and in its own dtype on "
        "a CPU",
        seen_with=ON_META,
    ),
    KnownExcess(
        op=BatchNorm,
        values=_unneeded_input_gradient,
        reason="a BatchNorm on meta computes the gradient of its input even if the input does not require it",
        seen_with=ON_META,
    ),
    KnownExcess(
        op=Mish,
        values=_decomposed_gradient,
        reason="the gradient of mish is decomposed into elementary operations on meta, and one kernel on a CPU",
        seen_with=ON_META,
    ),
)
