"""The registry of ops: the name of every op that a spec may call, and the family module that defines it.

A family is imported when one of its ops is first looked up, so a report of VGG imports few of them. To add an op, add
its name here, its class to the family, and a case to `tests/op_cases.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from costcalc.ir.op import Op

_FAMILY_OF = {
    name: family
    for family, names in {
        "conv": "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d",
        "linear": "linear bilinear",
        "matmul": "matmul addmm baddbmm einsum cdist",
        "attention": "scaled_dot_product_attention",
        "embedding": "embedding embedding_bag",
        "recurrent": "lstm gru rnn lstm_cell gru_cell rnn_cell",
        "pool": "max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d "
        "adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d "
        "adaptive_max_pool3d global_avg_pool2d",
        "activation": "relu relu6 leaky_relu prelu elu gelu silu mish sigmoid tanh softplus hardswish hardsigmoid "
        "softmax softmin log_softmax log_sigmoid hardtanh threshold celu selu rrelu softsign "
        "tanhshrink softshrink hardshrink glu",
        "arithmetic": "sub rsub mul div floor_divide remainder fmod pow atan2 maximum minimum lerp addcmul "
        "addcdiv where masked_fill add",
        "unary": "neg abs sign floor ceil trunc round square reciprocal sqrt rsqrt exp exp2 expm1 log log2 log10 "
        "log1p sin cos tan asin acos atan sinh cosh asinh acosh atanh erf erfc erfinv lgamma digamma "
        "clamp nan_to_num",
        "comparison": "eq ne lt le gt ge logical_and logical_or logical_xor logical_not isnan isinf isfinite "
        "bitwise_and bitwise_or bitwise_xor bitwise_not",
        "reduction": "sum mean prod amax amin max min argmax argmin any all var std var_mean std_mean logsumexp "
        "vector_norm cumsum cumprod",
        "norm": "batch_norm1d batch_norm2d batch_norm3d layer_norm rms_norm group_norm instance_norm1d "
        "instance_norm2d instance_norm3d local_response_norm",
        "dropout": "dropout feature_dropout alpha_dropout feature_alpha_dropout",
        "resampling": "interpolate pixel_shuffle pixel_unshuffle channel_shuffle grid_sample unfold fold",
        "copies": "concat pad zero_pad_shortcut clone cast repeat repeat_interleave stack flip roll pad_nd tril "
        "triu fill copy",
        "tensors": "parameter buffer result",
        "shape": "flatten permute reshape squeeze unsqueeze expand contiguous",
        "unknown": "unknown",
        "slicing": "slice select diagonal tensor_unfold",
        "indexing": "index index_select gather index_put scatter scatter_add scatter_reduce masked_scatter "
        "index_add slice_scatter select_scatter topk kthvalue sort argsort one_hot",
        "creation": "full rand randn arange linspace eye",
    }.items()
    for name in names.split()
}


class _Registry(Mapping[str, type[Op]]):
    """A mapping of op names to classes that imports each family on first use."""

    def __init__(self) -> None:
        self._loaded: dict[str, type[Op]] = {}

    def __getitem__(self, name: str) -> type[Op]:
        if name not in self._loaded:
            family = vars(import_module(f"costcalc.ir.ops.{_FAMILY_OF[name]}"))
            public = [c for name, c in family.items() if isinstance(c, type) and not name.startswith("_")]
            self._loaded |= {c.name: c for c in public if hasattr(c, "name")}
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in _FAMILY_OF

    def __iter__(self) -> Iterator[str]:
        return iter(_FAMILY_OF)

    def __len__(self) -> int:
        return len(_FAMILY_OF)


# Any: the constructor signature is known only after the family is imported.
OPS: Mapping[str, type[Any]] = _Registry()
