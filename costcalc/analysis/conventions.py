"""Conventions: what a lecture, a paper or a tool means by "FLOPs", by parameters and by activation memory.

A convention is a value. Its numbers are sums of named terms, each counted exactly from a layer's op, shapes and work,
so that one source's number can be told from another's term by term. "MACs" and "FLOPs" are never synonyms here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from functools import singledispatch
from types import MappingProxyType
from typing import Literal, NamedTuple

from costcalc.core.errors import CostcalcError, did_you_mean
from costcalc.core.sizes import Count, Shape, Size, prod, window_elements_inside
from costcalc.ir.graph import Graph
from costcalc.ir.op import Op
from costcalc.ir.ops.conv import Convolution, TransposedConvolution
from costcalc.ir.ops.pool import Pool
from costcalc.ir.work import Work

TableColumn = Literal["outputs", "weights", "params", "macs", "flops", "activations", "param_bytes", "activation_bytes"]


class CountedLayer(NamedTuple):
    """One layer as a term counts it: its op, the shapes it takes and makes, and its work.

    `functional`: the reference implementation calls it as a function, not as a module (some tools see only one of the
    two). `owns`: its parameters are its own, and not another layer's that it shares.
    """

    op: Op
    inputs: tuple[Shape, ...]
    output: Shape
    work: Work
    functional: bool = False
    owns_parameters: bool = True

    def parameters(self) -> Mapping[str, Shape]:
        """The shapes of the parameters it owns."""
        return self.op.parameters(*self.inputs) if self.owns_parameters else {}

    def window_elements_inside(self) -> Shape:
        """For each axis, the taps of its windows that fall on the input and not on padding, over all places.

        Of a transposed convolution, those of the windows of the one that goes the other way.
        """
        windows, taken, made = self.op.sliding_windows(*self.inputs) or (), self.inputs[0][2:], self.output[2:]
        if isinstance(self.op, TransposedConvolution):
            windows, taken, made = self.op.adjoint_windows(), made, taken
        return tuple([window_elements_inside(n, places, *w) for n, places, w in zip(taken, made, windows, strict=True)])


class Term(NamedTuple):
    """A part of a source's number: what it is in words, and what it comes to for one layer, exactly."""

    description: str
    amount: Callable[[CountedLayer], Count]


# -- terms --------------------------------------------------------------------------------------------------------


def _per_input_element(
    *names: str, per: int = 1, module: int = 1, function: int = 1
) -> Callable[[CountedLayer], Count]:
    """`per` for each element that enters an op of these names, times a factor for a call as a module or a function."""

    def count(layer: CountedLayer) -> Count:
        if layer.op.name not in names:
            return 0
        return per * (function if layer.functional else module) * prod(layer.inputs[0])

    return count


def _per_norm_element(
    *names: str, plain: int, affine: int, computed: int | None = None
) -> Callable[[CountedLayer], Count]:
    """`plain` for each element of a normalisation without a weight, `affine` of one with a weight.

    One that could have running statistics and has none counts as `computed`, with a weight as one more.
    """

    def count(layer: CountedLayer) -> Count:
        if layer.op.name not in names:
            return 0
        weighs = getattr(layer.op, "affine", False) or getattr(layer.op, "elementwise_affine", False)
        per = affine if weighs else plain
        if computed is not None and not getattr(layer.op, "track_running_stats", True):
            per = computed + weighs
        return per * prod(layer.inputs[0])

    return count


def _per_interpolated_element(
    per: Mapping[str, int], ranks: Set[int] = frozenset((3, 4, 5))
) -> Callable[[CountedLayer], Count]:
    """So many for each output element of an interpolation, by its mode."""

    def count(layer: CountedLayer) -> Count:
        if layer.op.name != "interpolate" or getattr(layer.op, "antialias", False) or len(layer.output) not in ranks:
            return 0
        return per.get(getattr(layer.op, "mode", ""), 0) * prod(layer.output)

    return count


def _output_elements(*names: str, module: int = 1, function: int = 1) -> Callable[[CountedLayer], Count]:
    """The output elements of ops of these names."""

    def count(layer: CountedLayer) -> Count:
        return (function if layer.functional else module) * prod(layer.output) if layer.op.name in names else 0

    return count


def _bias_adds(*names: str) -> Callable[[CountedLayer], Count]:
    return lambda layer: layer.work.adds if layer.op.name in names else 0


def _uncounted_products(*names: str) -> Callable[[CountedLayer], Count]:
    """Minus the multiply-accumulates of ops that a tool does not know."""
    return lambda layer: -layer.work.macs if layer.op.name in names else 0


def _left_batch_products(layer: CountedLayer) -> Count:
    """A product of matrices counted as the elements on the left times the columns on the right, less what it is."""
    if layer.op.name != "matmul" or len(layer.inputs[1]) < 2:
        return 0
    left, right = layer.inputs
    return prod(left) * right[-1] - layer.work.macs


def _parameters_where(kind: Callable[[CountedLayer, str, Shape], bool]) -> Callable[[CountedLayer], Count]:
    """Parameters of a kind, told from their layer, name and shape."""
    return lambda layer: sum([prod(shape) for name, shape in layer.parameters().items() if kind(layer, name, shape)])


def _running_statistics(layer: CountedLayer) -> Count:
    return sum([prod(s) for s in layer.op.buffers(*layer.inputs).values() if s]) if layer.owns_parameters else 0


def _products_with_padding(layer: CountedLayer) -> Count:
    """Minus two for each multiply-accumulate of a convolution whose tap falls on zero padding.

    Of a transposed one these are taps on what the padding cuts off.
    """
    op = layer.op
    if not isinstance(op, Convolution):
        return 0
    weight = op.weights(*layer.inputs)["weight"]
    return 2 * (layer.output[0] * prod(weight[:2]) * prod(layer.window_elements_inside()) - layer.work.macs)


def _norm_parameters(layer: CountedLayer) -> Count:
    if layer.op.name not in (*_BATCH_NORMS, *_OTHER_NORMS, "rms_norm"):
        return 0
    return layer.output[0] * sum([prod(shape) for shape in layer.op.parameters(*layer.inputs).values()])


def _pool_strides(layer: CountedLayer) -> Count:
    """Twice the output elements times the stride along both axes; an adaptive pool has no stride, and counts as 1."""
    if not isinstance(layer.op, Pool):
        return 0
    return 2 * prod(layer.output) * prod(getattr(layer.op, "stride", ()))


def _output_allocation(layer: CountedLayer) -> Count:
    return prod(layer.output) if layer.op.allocates_output() else 0


def _is_bias(layer: CountedLayer, name: str, shape: Shape) -> bool:
    return name == "bias" and layer.op.weight_layer


@singledispatch
def pool_window_elements(op: Op, inputs: tuple[Shape, ...], output: Shape) -> Size:
    """The operations of a pool as lectures count them: output elements × window size; 0 for what is no pool."""
    return 0


@pool_window_elements.register
def _(op: Pool, inputs: tuple[Shape, ...], output: Shape) -> Size:
    return op.window_elements(inputs, output)


_FVCORE_UNKNOWN = ("scaled_dot_product_attention", "bilinear", "baddbmm")
_RANKS = ("1d", "2d", "3d")
_AVERAGES = tuple([f"avg_pool{rank}" for rank in _RANKS])
_POOLS = (*[f"max_pool{rank}" for rank in _RANKS], *_AVERAGES, *[f"adaptive_max_pool{rank}" for rank in _RANKS])
_ADAPTIVE_2D = ("adaptive_avg_pool2d", "global_avg_pool2d")
_ADAPTIVE = (*_ADAPTIVE_2D, "adaptive_avg_pool1d", "adaptive_avg_pool3d")
_BATCH_NORMS = tuple([f"batch_norm{rank}" for rank in _RANKS])
_INSTANCE_NORMS = tuple([f"instance_norm{rank}" for rank in _RANKS])
_OTHER_NORMS = ("layer_norm", "group_norm", *_INSTANCE_NORMS)

MACS = Term("conv and linear", lambda layer: layer.work.macs)
MAC_ADDS = Term("each multiply-accumulate as two", lambda layer: layer.work.macs)
_CONVOLUTIONS = tuple(f"conv{way}{axes}d" for way in ("", "_transpose") for axes in (1, 2, 3))
_CONV_BIAS = Term("biases of convolutions", _bias_adds(*_CONVOLUTIONS))
_LINEAR_BIAS = Term("biases of linear layers", _bias_adds("linear"))
_NORM_TWICE = Term("two per BatchNorm element", _per_norm_element(*_BATCH_NORMS, plain=1, affine=2, computed=4))
_NORM_FIVE_TIMES = Term("five per element of other normalisations", _per_norm_element(*_OTHER_NORMS, plain=4, affine=5))
_POOL_WINDOWS = Term("pools, output × window", lambda layer: pool_window_elements(layer.op, layer.inputs, layer.output))
_WEIGHT_MATRICES = Term("kernels and matrices", _parameters_where(lambda layer, name, shape: len(shape) > 1))
_BIASES = Term("biases", _parameters_where(_is_bias))
NORM_PARAMETERS = Term(
    "scales and shifts",
    _parameters_where(lambda layer, name, shape: len(shape) < 2 and not _is_bias(layer, name, shape)),
)

ALL_PARAMETERS = (_WEIGHT_MATRICES, _BIASES, NORM_PARAMETERS)
ALL_OUTPUTS = (Term("every new tensor", _output_allocation),)


# -- conventions --------------------------------------------------------------------------------------------------


def no_layers(graph: Graph) -> Set[str]:
    """No layer: every one is counted."""
    return frozenset()


class Convention(NamedTuple):
    """How a source counts.

    Its number of a layer's work is the sum of the terms in `work`; so are its parameters and its activation elements,
    of `parameters` and `activations`. A layer's activation bytes are its activation elements × `activation_copies` ×
    the dtype's size, or 0 if `uncounted` names it; its parameter bytes are its parameters × `param_copies` × the
    dtype's size. `columns` are what its own tables print, each with the unit and the decimals they print it in;
    `batch` and `kilo` (what K is worth in a column of parameters) are those of its tables, and `with_input` says that
    its activations include the input.
    """

    name: str
    label: str  # what the source calls its number; in quotation marks where the word means something else here
    definition: str
    work: tuple[Term, ...]
    prior: int  # how rarely numbers counted so are published: 0 for the most common
    parameters: tuple[Term, ...] = ALL_PARAMETERS
    activations: tuple[Term, ...] = ALL_OUTPUTS
    activation_copies: int = 1
    param_copies: int = 1
    excluded_layers: Callable[[Graph], Set[str]] = no_layers
    columns: tuple[tuple[TableColumn, str, int], ...] = ()
    batch: int = 1
    kilo: int = 1000
    includes_input: bool = False


def sum_terms(terms: Iterable[Term], layer: CountedLayer) -> Count:
    """What terms come to for one layer."""
    return sum([term.amount(layer) for term in terms])


def _inception_branches_and_norms(graph: Graph) -> Set[str]:
    """Layers between a fork and the concat that closes it, and normalisations."""
    uncounted = {n.name for n in graph.nodes if n.op.name in ("batch_norm2d", "local_response_norm")}
    fork_of = _dominators(graph)
    sources = {node.name: node.inputs for node in graph.nodes}
    for node in graph.nodes:
        if node.op.name == "concat":
            waiting = [i for i in node.inputs if i != fork_of[node.name]]
            seen = {fork_of[node.name], *waiting}
            while waiting:
                name = waiting.pop()
                uncounted.add(name)
                further = [i for i in sources.get(name, ()) if i not in seen]
                seen.update(further)
                waiting += further
    return uncounted


def _dominators(graph: Graph) -> dict[str, str | None]:
    """For each node the nearest tensor that every path from the inputs to it passes (None: there is none).

    Immediate dominators in one pass, since nodes come in topological order (Cooper, Harvey and Kennedy, 2001).
    """
    depth: dict[str | None, int] = {None: 0} | {name: 1 for name, *_ in graph.inputs}
    above: dict[str, str | None] = {name: None for name, *_ in graph.inputs}
    for node in graph.nodes:
        meeting: str | None = node.inputs[0] if node.inputs else None
        for other in node.inputs[1:]:
            branch: str | None = other
            while meeting != branch:
                if depth[meeting] >= depth[branch]:
                    assert meeting is not None
                    meeting = above[meeting]
                else:
                    assert branch is not None
                    branch = above[branch]
        above[node.name] = meeting
        depth[node.name] = depth[meeting] + 1
    return above


_ADAPTIVE_INPUTS = Term("one per element into an adaptive pool", _per_input_element(*_ADAPTIVE_2D))
_FVCORE_PRODUCTS = (
    Term("products it does not know: attention in one call", _uncounted_products(*_FVCORE_UNKNOWN)),
    Term("matrix products by the left one's batch", _left_batch_products),
)
_FVCORE_RESAMPLING = (
    Term(
        "interpolated elements, four where bilinear",
        _per_interpolated_element({"nearest": 1, "bilinear": 4}, frozenset((4,))),
    ),
    Term("four per sampled element", lambda layer: 4 * prod(layer.output) if layer.op.name == "grid_sample" else 0),
)
_FVCORE_OTHERS = (_NORM_FIVE_TIMES, _ADAPTIVE_INPUTS, *_FVCORE_RESAMPLING)
_FVCORE = (MACS, *_FVCORE_PRODUCTS, _NORM_TWICE, *_FVCORE_OTHERS)

CONVENTIONS = MappingProxyType(
    {
        convention.name: convention
        for convention in (
            Convention(
                "flops",
                "FLOPs",
                "2 FLOPs per multiply-accumulate of convolutions, linear layers and matrix products, and nothing else: "
                "the lecture's 2·H·W·Cout·Cin·k². Taps on padding count. Activation memory is every new tensor once.",
                (MACS, MAC_ADDS),
                prior=0,
            ),
            Convention(
                "macs",
                "MACs",
                "1 per multiply-accumulate of convolutions, linear layers and matrix products, and nothing else: what "
                "the ResNet paper calls FLOPs and torchvision prints as GFLOPS.",
                (MACS,),
                prior=0,
            ),
            Convention(
                "full",
                "FLOPs",
                "Every operation: 2 per multiply-accumulate, and each add of a bias, a skip, a normalisation or an "
                "average, each compare of a ReLU or a max pool, each exp and each division as 1.",
                (
                    MACS,
                    MAC_ADDS,
                    Term("every other add", lambda layer: layer.work.adds),
                    Term("every other multiply", lambda layer: layer.work.muls),
                    Term("divisions", lambda layer: layer.work.divs),
                    Term("exps", lambda layer: layer.work.exps),
                    Term("compares", lambda layer: layer.work.compares),
                ),
                prior=2,
            ),
            Convention(
                "torch",
                "FLOPs",
                "PyTorch's torch.utils.flop_counter: 2 per multiply-accumulate of convolutions and matrix products, "
                "taps on padding included; bias, normalisations, activations and pools 0.",
                (MACS, MAC_ADDS),
                prior=0,
            ),
            Convention(
                "fvcore",
                '"flops"',
                'fvcore\'s FlopCountAnalysis, in eval mode: its "flops" are 1 per multiply-accumulate of convolutions '
                "and linear layers, 2 per element of a BatchNorm, and 1 per element that enters an adaptive average "
                "pool of a plane, also one that changes nothing; 5 per element of other normalisations (of RMSNorm 0), "
                "all 1 less without a weight; per output element, 1 of a nearest and 4 of a bilinear interpolation of "
                "a plane, 4 of grid_sample. Bias, activations and other pools are 0, and so is attention as one call "
                "(scaled_dot_product_attention). Of matrix products the batch of the left one alone counts.",
                _FVCORE,
                prior=1,
            ),
            Convention(
                "fvcore-training",
                '"flops"',
                "fvcore's FlopCountAnalysis of a model in training mode: as `fvcore`, but 5 per BatchNorm element, "
                "whose mean and variance it then counts, too. It is what a model gives on which eval() was not called.",
                (
                    MACS,
                    *_FVCORE_PRODUCTS,
                    Term("five per BatchNorm element", _per_norm_element(*_BATCH_NORMS, plain=4, affine=5)),
                    *_FVCORE_OTHERS,
                ),
                prior=2,
            ),
            Convention(
                "timm",
                '"MACs"',
                'timm\'s tables: infer_gmacs is what fvcore calls "flops" (1 per multiply-accumulate, 2 per BatchNorm '
                "element, 1 per element into an adaptive average pool). infer_macts, its activations, are the output "
                "elements of convolutions, linear layers and matrix products, and nothing else.",
                _FVCORE,
                prior=1,
                activations=(
                    Term(
                        "outputs of conv, linear and matrix products",
                        _output_elements(*_CONVOLUTIONS, "linear", "matmul", "addmm", "einsum"),
                    ),
                ),
            ),
            Convention(
                "ptflops",
                '"MACs"',
                'ptflops with its pytorch backend: "MACs" are 1 per multiply-accumulate and per bias add of '
                "convolutions and linear layers, 2 per BatchNorm element, and 1 per element that enters a ReLU or a "
                "pool called as a function, but 2 when it is called as a module: both the module's hook and the "
                "patched function count it. ReLU6 and SiLU are 1 per element; other activations, softmax and skips 0.",
                (
                    MACS,
                    _CONV_BIAS,
                    _LINEAR_BIAS,
                    Term("two per BatchNorm element", _per_norm_element(*_BATCH_NORMS, plain=1, affine=2)),
                    Term(
                        "elements of other normalisations",
                        _per_norm_element("group_norm", *_INSTANCE_NORMS, plain=1, affine=2),
                    ),
                    Term("elements of LayerNorm", _per_input_element("layer_norm")),
                    Term("elements into ReLU, twice for a module", _per_input_element("relu", module=2)),
                    Term("elements into pools, twice for a module", _per_input_element(*_POOLS, *_ADAPTIVE, module=2)),
                    Term("elements into ReLU6 and SiLU", _per_input_element("relu6", "silu")),
                ),
                prior=1,
            ),
            Convention(
                "ptflops-aten",
                '"MACs"',
                'ptflops with its aten backend: "MACs" are 1 per multiply-accumulate and per bias add of convolutions '
                "and linear layers, and nothing else.",
                (MACS, _CONV_BIAS, _LINEAR_BIAS),
                prior=2,
            ),
            Convention(
                "thop",
                '"MACs"',
                'thop: "MACs" are 1 per multiply-accumulate of convolutions and linear layers, 4 per BatchNorm '
                "element, and for pools that are modules 1 per output element of an average pool, and per output "
                "element of an adaptive one its window, Hin·Win/(Hout·Wout), plus 1: over all outputs that is its "
                "input and its output elements. Bias, ReLU, max pools and functions are 0.",
                (
                    MACS,
                    Term("four per BatchNorm element", _per_norm_element(*_BATCH_NORMS, plain=2, affine=4)),
                    Term(
                        "four per element of other normalisations",
                        _per_norm_element("layer_norm", *_INSTANCE_NORMS, plain=2, affine=4),
                    ),
                    Term("outputs of average pools", _output_elements(*_AVERAGES, function=0)),
                    Term("elements into adaptive pools", _per_input_element(*_ADAPTIVE, function=0)),
                    Term("outputs of adaptive pools", _output_elements(*_ADAPTIVE, function=0)),
                ),
                prior=1,
            ),
            Convention(
                "torchinfo",
                '"mult-adds"',
                'torchinfo: "mult-adds" are, for each layer with parameters, those that a place uses times the places: '
                "1 per multiply-accumulate and per bias add of convolutions and linear layers. A BatchNorm counts its "
                "parameters once an image; activations and pools 0.",
                (MACS, _CONV_BIAS, _LINEAR_BIAS, Term("parameters of normalisations, once an image", _norm_parameters)),
                prior=2,
            ),
            Convention(
                "calflops",
                "FLOPs",
                "calflops: 2 per multiply-accumulate of convolutions and linear layers, 1 per bias add of "
                "convolutions, 2 per BatchNorm element, 1 per element that enters a ReLU, a SiLU or a pool. Linear "
                "bias, ReLU6, sigmoid and skips are 0. Its MACs are those of `macs`.",
                (
                    MACS,
                    MAC_ADDS,
                    _CONV_BIAS,
                    _NORM_TWICE,
                    _NORM_FIVE_TIMES,
                    Term("elements into ReLU and SiLU", _per_input_element("relu", "silu")),
                    Term("elements into pools", _per_input_element(*_POOLS, *_ADAPTIVE)),
                ),
                prior=2,
            ),
            Convention(
                "xla",
                "FLOPs",
                "XLA's cost analysis (JAX, TensorFlow), of convolutions and matrix products alone: 2 per "
                "multiply-accumulate, without those whose tap falls on zero padding. A 3×3 with padding 1 on a plane "
                "of 16×16 has 46 of 48 taps inside along each axis, so (46/48)² of the usual number.",
                (MACS, MAC_ADDS, Term("less the taps on zero padding", _products_with_padding)),
                prior=3,
            ),
            Convention(
                "bologna",
                "FLOPs",
                "The Bologna lecture's tables: 2 per multiply-accumulate, pools output elements × window size, bias, "
                "ReLU and normalisations 0. Activations twice (value and gradient), parameters three times (value, "
                "gradient, momentum), MB = 2^20, at batch 128. The input is stored once and in no total; flatten and "
                "normalisations take no memory; an inception module stores its concat output alone.",
                (MACS, MAC_ADDS, _POOL_WINDOWS),
                prior=2,
                activation_copies=2,
                param_copies=3,
                excluded_layers=_inception_branches_and_norms,
                columns=(
                    ("outputs", "", 0),
                    ("flops", "M", 1),
                    ("activation_bytes", "MiB", 1),
                    ("params", "k", 0),
                    ("param_bytes", "MiB", 1),
                ),
                batch=128,
            ),
            Convention(
                "eecs498",
                '"FLOP"',
                'EECS 498-007 (Michigan): "FLOP" is 1 per multiply-accumulate, pools output elements × window size. '
                "Memory is every output once, KB = 2^10, batch 1. Parameters are weights without bias.",
                (MACS, _POOL_WINDOWS),
                prior=2,
                parameters=(_WEIGHT_MATRICES,),
                columns=(("activation_bytes", "KiB", 0), ("weights", "k", 0), ("flops", "M", 0)),
            ),
            Convention(
                "cs231n",
                '"ops"',
                'CS231n (Stanford): "ops" are 1 per multiply-accumulate. Memory is the elements of every output, pools '
                "and the input included. Parameters are weights without bias.",
                (MACS,),
                prior=1,
                parameters=(_WEIGHT_MATRICES,),
                columns=(("outputs", "", 0), ("weights", "", 0), ("flops", "M", 0)),
                includes_input=True,
            ),
            Convention(
                "googlenet-paper",
                '"ops"',
                'Table 1 of Going Deeper with Convolutions: "ops" are 1 per multiply-accumulate, M = 10^6. Parameters '
                "are weights without bias, and K is 1024 in their column: 112K is 114,688, and 1000K is 1,024,000.",
                (MACS,),
                prior=1,
                parameters=(_WEIGHT_MATRICES,),
                kilo=1024,
            ),
            Convention(
                "convnet-burden",
                '"FLOPs"',
                'convnet-burden (MatConvNet): "FLOPs" are 1 per multiply-accumulate (fused) and 1 per bias add; a pool '
                "counts twice its output elements × stride² (an adaptive pool as stride 1), a ReLU 2 per element and "
                "no memory. BatchNorm is merged into the convolution before it: 0.",
                (
                    MACS,
                    _CONV_BIAS,
                    _LINEAR_BIAS,
                    Term("pools, twice output × stride²", _pool_strides),
                    Term("two per ReLU element", _per_input_element("relu", per=2)),
                ),
                prior=3,
            ),
            Convention(
                "keras",
                "FLOPs",
                "Keras's count_params, a convention of parameters: trainable or not, so that the moving mean and "
                "variance of a BatchNorm count beside its scale and shift. Keras counts no operations of its own: "
                "FLOPs are 2 per multiply-accumulate.",
                (MACS, MAC_ADDS),
                prior=1,
                parameters=(*ALL_PARAMETERS, Term("moving means and variances", _running_statistics)),
            ),
        )
    }
)


def get_convention(name: str) -> Convention:
    """The convention of that name. Raises CostcalcError, with what may have been meant, when there is none."""
    if name not in CONVENTIONS:
        known = ", ".join(CONVENTIONS)
        raise CostcalcError(f"no convention {name!r}{did_you_mean(name, CONVENTIONS)}: there are {known}")
    return CONVENTIONS[name]
