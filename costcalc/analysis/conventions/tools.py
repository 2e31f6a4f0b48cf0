"""The conventions of tools that count operations or parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from costcalc.analysis.conventions.terms import ALL_PARAMETERS, MAC_ADDS, MACS, Convention, CountedLayer, Term
from costcalc.core.sizes import Count, prod
from costcalc.ir.op import Op
from costcalc.ir.ops.activation import Relu, Relu6, Silu
from costcalc.ir.ops.attention import ScaledDotProductAttention
from costcalc.ir.ops.conv import Convolution
from costcalc.ir.ops.linear import Bilinear, Linear
from costcalc.ir.ops.matmul import Addmm, Baddbmm, Einsum, Matmul
from costcalc.ir.ops.norm import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, Normalization
from costcalc.ir.ops.pool import AdaptiveAvgPool, AdaptiveAvgPool2d, AvgPool, GlobalAvgPool2d, Pool, SlidingPool
from costcalc.ir.ops.resampling import GridSample, Interpolate

# -- counts by op -------------------------------------------------------------------------------------------------


def _input_elements(
    *ops: type[Op], per_element: int = 1, module: int = 1, function: int = 1
) -> Callable[[CountedLayer], Count]:
    """Count `per_element` for each element of the first input, times `module` or `function`: the way it is called."""

    def count(layer: CountedLayer) -> Count:
        if not isinstance(layer.op, ops):
            return 0
        return per_element * (function if layer.functional else module) * prod(layer.inputs[0])

    return count


def _output_elements(*ops: type[Op], module: int = 1, function: int = 1) -> Callable[[CountedLayer], Count]:
    """Count each element of the output, times `module` or `function`: the way the layer is called."""

    def count(layer: CountedLayer) -> Count:
        return (function if layer.functional else module) * prod(layer.output) if isinstance(layer.op, ops) else 0

    return count


def _norm_elements(*ops: type[Normalization], plain: int, affine: int) -> Callable[[CountedLayer], Count]:
    """Count `plain` for each element of a normalisation without a weight, and `affine` with a weight."""

    def count(layer: CountedLayer) -> Count:
        if not isinstance(layer.op, ops):
            return 0
        return (affine if layer.op.has_weight else plain) * prod(layer.inputs[0])

    return count


def _batch_norm_elements(layer: CountedLayer) -> Count:
    """Count 1 for each element, 2 with a weight; 3 more where the statistics are computed from the batch."""
    if not isinstance(layer.op, BatchNorm):
        return 0
    return (1 + layer.op.has_weight + 3 * (not layer.op.track_running_stats)) * prod(layer.inputs[0])


def _interpolated_elements(per_element: Mapping[str, int]) -> Callable[[CountedLayer], Count]:
    """Count so many for each output element of an interpolated image, by mode."""

    def count(layer: CountedLayer) -> Count:
        if not isinstance(layer.op, Interpolate) or layer.op.antialias or len(layer.output) != 4:
            return 0
        return per_element.get(layer.op.mode, 0) * prod(layer.output)

    return count


def _bias_adds(*ops: type[Op]) -> Callable[[CountedLayer], Count]:
    return lambda layer: layer.work.adds if isinstance(layer.op, ops) else 0


def _minus_macs(*ops: type[Op]) -> Callable[[CountedLayer], Count]:
    """Subtract the multiply-accumulates of ops that a tool does not count."""
    return lambda layer: -layer.work.macs if isinstance(layer.op, ops) else 0


def _minus_broadcast_batch(layer: CountedLayer) -> Count:
    """Replace the MACs of a matrix product by left elements × right columns, which ignores the batch of the right."""
    if not isinstance(layer.op, Matmul) or len(layer.inputs[1]) < 2:
        return 0
    left, right = layer.inputs
    return prod(left) * right[-1] - layer.work.macs


def _minus_products_with_padding(layer: CountedLayer) -> Count:
    """Subtract 2 for each multiply-accumulate of a convolution with an element of its zero padding.

    For a transposed convolution, these are the products that add to elements which the padding removes.
    """
    if not isinstance(layer.op, Convolution):
        return 0
    weight = layer.op.weights(*layer.inputs)["weight"]
    return 2 * (layer.output[0] * prod(weight[:2]) * prod(layer.window_elements_inside()) - layer.work.macs)


def _norm_parameters_per_image(layer: CountedLayer) -> Count:
    if not isinstance(layer.op, Normalization):
        return 0
    return layer.output[0] * sum([prod(shape) for shape in layer.op.parameters(*layer.inputs).values()])


def _pool_strides(layer: CountedLayer) -> Count:
    """Count twice the output elements of a pool × its stride along both axes, which is 1 for an adaptive pool."""
    if not isinstance(layer.op, Pool):
        return 0
    stride = layer.op.stride if isinstance(layer.op, SlidingPool) else None
    return 2 * prod(layer.output) * prod(stride or ())


def _running_statistics(layer: CountedLayer) -> Count:
    buffers = layer.op.buffers(*layer.inputs) if layer.owns_parameters else {}
    return sum([prod(shape) for shape in buffers.values() if shape])


# -- terms of several tools ---------------------------------------------------------------------------------------

_ADAPTIVE_2D = (AdaptiveAvgPool2d, GlobalAvgPool2d)
_OTHER_NORMS = (LayerNorm, GroupNorm, InstanceNorm)

_CONV_BIAS = Term("biases of convolutions", _bias_adds(Convolution))
_LINEAR_BIAS = Term("biases of linear layers", _bias_adds(Linear))
_NORM_TWICE = Term("two per BatchNorm element", _batch_norm_elements)
_NORM_FIVE_TIMES = Term("five per element of other normalisations", _norm_elements(*_OTHER_NORMS, plain=4, affine=5))
_FVCORE_PRODUCTS = (
    Term(
        "products it does not know: attention in one call",
        _minus_macs(ScaledDotProductAttention, Bilinear, Baddbmm),
    ),
    Term("matrix products by the left one's batch", _minus_broadcast_batch),
)
_FVCORE_OTHERS = (
    _NORM_FIVE_TIMES,
    Term("one per element into an adaptive pool", _input_elements(*_ADAPTIVE_2D)),
    Term("interpolated elements, four where bilinear", _interpolated_elements({"nearest": 1, "bilinear": 4})),
    Term("four per sampled element", lambda layer: 4 * prod(layer.output) if isinstance(layer.op, GridSample) else 0),
)
_FVCORE = (MACS, *_FVCORE_PRODUCTS, _NORM_TWICE, *_FVCORE_OTHERS)

# -- the tools ----------------------------------------------------------------------------------------------------

TOOLS = (
    Convention(
        name="torch",
        label="FLOPs",
        definition=(
            "PyTorch's torch.utils.flop_counter: 2 per multiply-accumulate of convolutions and matrix products, where "
            "multiplications with zero padding are counted; bias, normalisations, activations and pools 0."
        ),
        work=(MACS, MAC_ADDS),
        prior=0,
    ),
    Convention(
        name="fvcore",
        label='"flops"',
        definition=(
            'fvcore\'s FlopCountAnalysis, in eval mode: its "flops" are 1 per multiply-accumulate of convolutions and '
            "linear layers, 2 per element of a BatchNorm, 5 per element of other normalisations (RMSNorm 0), each 1 "
            "less without a weight, and 1 per input element of a two-dimensional adaptive average pool, even if it is "
            "the identity; per output element, 1 for nearest and 4 for bilinear interpolation of an image, and 4 for "
            "grid_sample. Bias, activations and other pools are 0, and so is attention as one call "
            "(scaled_dot_product_attention). For matrix products, only the batch of the left operand counts."
        ),
        work=_FVCORE,
        prior=1,
    ),
    Convention(
        name="fvcore-training",
        label='"flops"',
        definition=(
            "fvcore's FlopCountAnalysis of a model in training mode: as `fvcore`, but 5 per BatchNorm element, "
            "because mean and variance are then counted, too. It is the number of a model on which eval() was not "
            "called."
        ),
        work=(
            MACS,
            *_FVCORE_PRODUCTS,
            Term("five per BatchNorm element", _norm_elements(BatchNorm, plain=4, affine=5)),
            *_FVCORE_OTHERS,
        ),
        prior=2,
    ),
    Convention(
        name="timm",
        label='"MACs"',
        definition=(
            'timm\'s tables: infer_gmacs is the number that fvcore calls "flops" (1 per multiply-accumulate, 2 per '
            "BatchNorm element, 1 per input element of an adaptive average pool). infer_macts, its activations, are "
            "the output elements of convolutions, linear layers and matrix products, and nothing else."
        ),
        work=_FVCORE,
        prior=1,
        activations=(
            Term(
                "outputs of conv, linear and matrix products",
                _output_elements(Convolution, Linear, Matmul, Addmm, Einsum),
            ),
        ),
    ),
    Convention(
        name="ptflops",
        label='"MACs"',
        definition=(
            'ptflops with its pytorch backend: "MACs" are 1 per multiply-accumulate and per bias add of convolutions '
            "and linear layers, 2 per BatchNorm element, and 1 per input element of a ReLU or a pool called as a "
            "function, but 2 if it is called as a module, since both the module's hook and the patched function count "
            "it. ReLU6 and SiLU are 1 per element; other activations, softmax and skip connections 0."
        ),
        work=(
            MACS,
            _CONV_BIAS,
            _LINEAR_BIAS,
            Term("two per BatchNorm element", _norm_elements(BatchNorm, plain=1, affine=2)),
            Term(
                "elements of other normalisations",
                _norm_elements(GroupNorm, InstanceNorm, plain=1, affine=2),
            ),
            Term("elements of LayerNorm", _input_elements(LayerNorm)),
            Term("elements into ReLU, twice for a module", _input_elements(Relu, module=2)),
            Term("elements into pools, twice for a module", _input_elements(Pool, module=2)),
            Term("elements into ReLU6 and SiLU", _input_elements(Relu6, Silu)),
        ),
        prior=1,
    ),
    Convention(
        name="ptflops-aten",
        label='"MACs"',
        definition=(
            'ptflops with its aten backend: "MACs" are 1 per multiply-accumulate and per bias add of convolutions '
            "and linear layers, and nothing else."
        ),
        work=(MACS, _CONV_BIAS, _LINEAR_BIAS),
        prior=2,
    ),
    Convention(
        name="thop",
        label='"MACs"',
        definition=(
            'thop: "MACs" are 1 per multiply-accumulate of convolutions and linear layers, 4 per BatchNorm element, '
            "and, for pools that are modules, 1 per output element of an average pool and, per output element of an "
            "adaptive one, its window Hin·Win/(Hout·Wout) plus 1, which adds up to its input and its output elements. "
            "Bias, ReLU, max pools and functions are 0."
        ),
        work=(
            MACS,
            Term("four per BatchNorm element", _norm_elements(BatchNorm, plain=2, affine=4)),
            Term(
                "four per element of other normalisations",
                _norm_elements(LayerNorm, InstanceNorm, plain=2, affine=4),
            ),
            Term("outputs of average pools", _output_elements(AvgPool, function=0)),
            Term("elements into adaptive pools", _input_elements(AdaptiveAvgPool, function=0)),
            Term("outputs of adaptive pools", _output_elements(AdaptiveAvgPool, function=0)),
        ),
        prior=1,
    ),
    Convention(
        name="torchinfo",
        label='"mult-adds"',
        definition=(
            'torchinfo: "mult-adds" are, for each layer with parameters, the parameters that an output position uses '
            "× the number of positions: 1 per multiply-accumulate and per bias add of convolutions and linear layers. "
            "A BatchNorm counts its parameters once per image; activations and pools 0."
        ),
        work=(
            MACS,
            _CONV_BIAS,
            _LINEAR_BIAS,
            Term("parameters of normalisations, once an image", _norm_parameters_per_image),
        ),
        prior=2,
    ),
    Convention(
        name="calflops",
        label="FLOPs",
        definition=(
            "calflops: 2 per multiply-accumulate of convolutions and linear layers, 1 per bias add of convolutions, 2 "
            "per BatchNorm element, 1 per input element of a ReLU, a SiLU or a pool. Linear bias, ReLU6, sigmoid and "
            "skip connections are 0. Its MACs are those of `macs`."
        ),
        work=(
            MACS,
            MAC_ADDS,
            _CONV_BIAS,
            _NORM_TWICE,
            _NORM_FIVE_TIMES,
            Term("elements into ReLU and SiLU", _input_elements(Relu, Silu)),
            Term("elements into pools", _input_elements(Pool)),
        ),
        prior=2,
    ),
    Convention(
        name="xla",
        label="FLOPs",
        definition=(
            "XLA's cost analysis (JAX, TensorFlow) of convolutions and matrix products alone: 2 per "
            "multiply-accumulate, without multiplications with zero padding. A 3×3 convolution with padding 1 of "
            "16×16 elements has 46 of 48 products inside the input along each axis, so (46/48)² of the usual number."
        ),
        work=(MACS, MAC_ADDS, Term("minus multiplications with zero padding", _minus_products_with_padding)),
        prior=3,
    ),
)

CONVNET_BURDEN = Convention(
    name="convnet-burden",
    label='"FLOPs"',
    definition=(
        'convnet-burden (MatConvNet): "FLOPs" are 1 per multiply-accumulate (fused) and 1 per bias add; a pool '
        "counts twice its output elements × stride² (an adaptive pool as stride 1), a ReLU 2 per element and "
        "no memory. BatchNorm is merged into the convolution before it: 0."
    ),
    work=(
        MACS,
        _CONV_BIAS,
        _LINEAR_BIAS,
        Term("pools, twice output × stride²", _pool_strides),
        Term("two per ReLU element", _input_elements(Relu, per_element=2)),
    ),
    prior=3,
)

KERAS = Convention(
    name="keras",
    label="FLOPs",
    definition=(
        "Keras's count_params, a convention for parameters: all of them, trainable or not, so that the moving mean "
        "and variance of a BatchNorm count like its scale and shift. Keras itself counts no operations: FLOPs are 2 "
        "per multiply-accumulate."
    ),
    work=(MACS, MAC_ADDS),
    prior=1,
    parameters=(*ALL_PARAMETERS, Term("moving means and variances", _running_statistics)),
)
