"""Where torch's own numbers are known to be wrong: the law decides, and the check gives the reason.

Each entry says exactly what torch gives instead, and with which releases and devices, so that it excuses this number
and no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from costcalc.analysis.cost_table import Row
from costcalc.core.sizes import Shape, prod
from costcalc.core.torch_versions import OLDEST_TESTED, Release, release
from costcalc.ir.graph import Graph
from costcalc.ir.kernel import Kernel
from costcalc.ir.op import Op
from costcalc.ir.ops.activation import Mish
from costcalc.ir.ops.attention import ScaledDotProductAttention
from costcalc.ir.ops.conv import Convolution, ConvTranspose3d
from costcalc.ir.ops.linear import Bilinear, Linear
from costcalc.ir.ops.matmul import Einsum, Matmul
from costcalc.ir.ops.norm import BatchNorm
from costcalc.ir.ops.recurrent import Gru, Lstm, Rnn
from costcalc.ir.ops.resampling import Fold, Unfold
from costcalc.ir.ops.shape import Flatten

if TYPE_CHECKING:
    from costcalc.torch_backend.device import Environment


class SeenWith(NamedTuple):
    """The devices and the torch releases, both ends included, that a difference was seen with.

    Without a `last` release, the difference is there in the newest one that was tested.
    """

    devices: tuple[str, ...]
    first: Release = OLDEST_TESTED
    last: Release | None = None

    def covers(self, where: Environment) -> bool:
        """Whether the difference is expected of this device and this torch."""
        version = release(where.torch)
        return where.device in self.devices and self.first <= version and (self.last is None or version <= self.last)


ON_CPU, ON_META = SeenWith(("cpu",)), SeenWith(("meta",))
# What torch.utils.flop_counter computes from shapes alone is the same on every device.
ON_EVERY_DEVICE = SeenWith(("cpu", "meta", "cuda", "mps"))


class KnownDifference(NamedTuple):
    """A figure that torch gets wrong: what it gives for a layer (None where it is right), why, and where."""

    figure: str
    torch_value: Callable[[Op, Row], Any]
    reason: str
    seen_with: SeenWith


def _dense_weight_gradient(op: Op, row: Row) -> int | None:
    """The weight's gradient counted as a dense convolution's, groups times too high; that of the input is right."""
    if not isinstance(op, Convolution) or op.groups == 1 or row.macs is None or not row.backward_macs:
        return None
    return 2 * (row.backward_macs + (op.groups - 1) * row.macs)


def _input_sized_output(op: Op, row: Row) -> int | None:
    if not isinstance(op, ConvTranspose3d) or not row.activations or not row.activation_bytes:
        return None
    return row.activation_bytes // row.activations * prod(row.inputs[0])


def _view_on_meta(op: Op, row: Row) -> int | None:
    return 0 if isinstance(op, Flatten) and row.activations else None


def _counted_as_zero(*ops: type[Op]) -> Callable[[Op, Row], int | None]:
    return lambda op, row: 0 if isinstance(op, ops) and (row.macs or row.backward_macs) else None


def _product_with_a_vector(op: Op, row: Row) -> int | None:
    """A vector on the right, or one on the left of many matrices; on the left of one, it is taken for a matrix."""
    if not isinstance(op, Matmul):
        return None
    left, right = map(len, row.inputs)
    return 0 if right == 1 or (left == 1 and right > 2) else None


def _sum_over_one(op: Op, row: Row) -> int | None:
    return 0 if isinstance(op, Einsum) and all(extent == 1 for extent in op.contracted_sizes(row.inputs)) else None


def _input_sized_storage(op: Op, row: Row) -> int | None:
    """The input's bytes, where it is larger than the output."""
    if not isinstance(op, (Unfold, Fold)) or not row.activations or not row.activation_bytes:
        return None
    room: int = row.activation_bytes // row.activations * prod(row.inputs[0])
    return max(int(row.activation_bytes), room)


def _scores_again(op: Op, row: Row) -> int | None:
    """Every gradient, whether it is needed or not, and the products of queries and keys once more."""
    if not isinstance(op, ScaledDotProductAttention) or not row.backward_macs:
        return None
    query, key, value, *_ = row.inputs
    return 2 * prod(query[:-1]) * key[-2] * (3 * query[-1] + 2 * value[-1])


KNOWN_DIFFERENCES = (
    *[
        KnownDifference(figure, wrong, reason, seen_with)
        for figure in ("FLOPs", "backward FLOPs")
        for wrong, reason, seen_with in (
            (
                _counted_as_zero(ScaledDotProductAttention),
                "torch.utils.flop_counter knows the attention kernels of GPUs, and counts that of a CPU as nothing",
                ON_CPU._replace(last=(2, 14)),
            ),
            (
                _counted_as_zero(Bilinear),
                "torch.utils.flop_counter does not know what a bilinear layer runs",
                ON_EVERY_DEVICE,
            ),
            (
                _counted_as_zero(Lstm, Gru, Rnn),
                "torch.utils.flop_counter does not know the kernels that run a whole sequence, oneDNN's and cuDNN's, "
                "and counts them as nothing",
                SeenWith(("cpu", "cuda")),
            ),
            (
                _product_with_a_vector,
                "torch.utils.flop_counter counts the product of a matrix and a vector, or of two vectors, as nothing",
                ON_EVERY_DEVICE,
            ),
            (
                _sum_over_one,
                "torch.einsum multiplies element by element where it sums over sizes of 1 alone, which "
                "torch.utils.flop_counter does not count",
                ON_EVERY_DEVICE,
            ),
        )
    ],
    KnownDifference(
        "backward FLOPs",
        _scores_again,
        "torch.utils.flop_counter counts what a CPU's attention kernel runs to make its gradients: it computes the "
        "products of queries and keys a second time, instead of saving them, and always makes every gradient",
        ON_CPU._replace(first=(2, 15)),
    ),
    KnownDifference(
        "backward FLOPs",
        _dense_weight_gradient,
        "torch.utils.flop_counter ignores the groups of a convolution in the gradient of its weight, and counts it "
        "groups times too high",
        ON_EVERY_DEVICE,
    ),
    KnownDifference(
        "activation bytes",
        _input_sized_output,
        "a transposed 3-d convolution with less output than input makes its result, on a CPU and by some of the "
        "ways it may be computed in, in memory for as many elements as its input has",
        ON_CPU,
    ),
    KnownDifference(
        "activation bytes",
        _input_sized_storage,
        "the room that torch makes for what unfold and fold give is the input's first, and grows where that is too "
        "small, but is never less",
        ON_CPU,
    ),
    KnownDifference(
        "activation bytes",
        _view_on_meta,
        "convolutions on meta do not keep the channels of a permuted input last in memory, as those on real devices "
        "do, so that a flatten, which must then copy, is a view there",
        ON_META._replace(first=(2, 10)),
    ),
)


class OtherKernels(NamedTuple):
    """An op that other torch releases run by other kernels than those that are predicted: by which, and why."""

    op: type[Op]
    as_run: type[Op]
    reason: str
    seen_with: SeenWith


class _LinearAsView(Linear):
    """A linear layer that adds its bias to rows, and returns a view of the result in the input's shape."""

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        product = super().kernels(inputs, output, training)
        if len(output) == 2 or not self.bias:
            return product
        rows = len(inputs)
        return (*product, Kernel((rows,), prod(output), aliases=rows, forwards_gradient=True))


OTHER_KERNELS = (
    OtherKernels(
        Linear,
        _LinearAsView,
        "before release 2.15 torch returned a view where a linear layer with a bias takes other than two dimensions, "
        "and so copied the gradient of a layer that overwrites it twice more; the predicted memory is that of 2.15",
        SeenWith(("cpu", "meta"), last=(2, 14)),
    ),
)


def other_kernels(graph: Graph, where: Environment) -> tuple[OtherKernels, ...]:
    """Those that this torch runs on this device for layers of the graph."""
    ops = {type(node.op) for node in graph.nodes}
    return tuple([entry for entry in OTHER_KERNELS if entry.op in ops and entry.seen_with.covers(where)])


def with_kernels(graph: Graph, entries: Iterable[OtherKernels]) -> Graph:
    """The graph whose layers run by these kernels; with none, the graph itself."""
    as_run = {entry.op: entry.as_run for entry in entries}
    if not as_run:
        return graph
    return replace(graph, nodes=tuple([replace(node, op=_with_class(node.op, as_run)) for node in graph.nodes]))


def _with_class(op: Op, as_run: Mapping[type[Op], type[Op]]) -> Op:
    if type(op) not in as_run:
        return op
    return as_run[type(op)](**op.values())


class LayerAllocations(NamedTuple):
    """A layer, its inputs' shapes, the bytes of an element, and of each tensor that it makes, by phase and name."""

    op: Op
    inputs: tuple[Shape, ...]
    element_size: int
    tensors: Mapping[tuple[str, str], int]


class Excess(NamedTuple):
    """Bytes that torch makes too many: of the layer's tensor of that name, or of one more that is dead at once."""

    phase: Literal["forward", "backward"]
    nbytes: int
    tensor: str | None = None


class KnownExcess(NamedTuple):
    """Memory that torch makes on `meta` alone: what is too much at a layer, why, and in which releases."""

    excesses: Callable[[LayerAllocations], Iterator[Excess]]
    reason: str
    seen_with: SeenWith


FP32_BYTES = 4  # bytes of an element


def _unused_statistics(layer: LayerAllocations) -> Iterator[Excess]:
    """A mean and an inverse deviation for each channel."""
    if isinstance(layer.op, BatchNorm) and ("forward", "mean") not in layer.tensors:
        yield Excess("forward", 2 * layer.inputs[0][1] * max(layer.element_size, FP32_BYTES))


def _statistics_in_float32(layer: LayerAllocations) -> Iterator[Excess]:
    if isinstance(layer.op, BatchNorm) and layer.element_size < FP32_BYTES:
        for name in ("mean", "inverse deviation"):
            if ("forward", name) in layer.tensors:
                yield Excess("forward", layer.inputs[0][1] * (FP32_BYTES - layer.element_size), name)


def _unneeded_input_gradient(layer: LayerAllocations) -> Iterator[Excess]:
    """That of the input, where there are those of the parameters alone."""
    backward = [name for phase, name in layer.tensors if phase == "backward"]
    if isinstance(layer.op, BatchNorm) and backward and "gradient" not in backward:
        yield Excess("backward", layer.tensors["forward", "output"])


def _decomposed_gradient(layer: LayerAllocations) -> Iterator[Excess]:
    """Seven further tensors as large as the gradient are alive where most are."""
    if isinstance(layer.op, Mish) and ("backward", "gradient") in layer.tensors:
        yield Excess("backward", 7 * layer.tensors["backward", "gradient"])


KNOWN_EXCESSES = (
    KnownExcess(
        _unused_statistics,
        "a BatchNorm in evaluation uses its running statistics, and meta makes those of the batch all the same, where "
        "a CPU leaves them empty",
        ON_META,
    ),
    KnownExcess(
        _statistics_in_float32,
        "a BatchNorm of half precision keeps its mean and deviation in float32 on meta, and in its own dtype on a CPU",
        ON_META,
    ),
    KnownExcess(
        _unneeded_input_gradient,
        "a BatchNorm on meta makes the gradient of an input that needs none",
        ON_META,
    ),
    KnownExcess(
        _decomposed_gradient,
        "the gradient of mish is made step by step on meta, and by one kernel on a CPU",
        ON_META,
    ),
)
