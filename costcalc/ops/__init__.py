"""The registry of ops: every name a spec may call, and the family that defines it.

A family is imported when one of its ops is first asked for: a report of VGG does not pay for the rest. Adding an op is
one line here, its class in the family, and a case in `tests/op_cases.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from costcalc.ops.op import Op

_FAMILY_OF = {
    name: family
    for family, names in {
        "convolution": "conv2d",
        "linear": "linear",
        "pooling": "max_pool2d avg_pool2d adaptive_avg_pool2d global_avg_pool2d",
        "activation": "relu relu6 leaky_relu prelu elu gelu silu mish sigmoid tanh softplus hardswish hardsigmoid "
        "softmax",
        "normalization": "batch_norm2d local_response_norm dropout",
        "joining": "concat add",
        "source": "parameter buffer result",
        "reshaping": "flatten permute pad zero_pad_shortcut unknown",
        "views": "reshape squeeze unsqueeze expand slice select contiguous",
        "copies": "clone cast repeat repeat_interleave stack flip roll pad_nd tril triu fill copy",
        "indexing": "index index_select gather index_put scatter scatter_add index_add slice_scatter select_scatter "
        "topk kthvalue sort argsort one_hot",
        "factories": "full rand randn arange linspace eye",
    }.items()
    for name in names.split()
}


class _Registry(Mapping[str, type[Op]]):
    """Op classes by name, their families loaded on first use."""

    def __init__(self) -> None:
        self._loaded: dict[str, type[Op]] = {}

    def __getitem__(self, name: str) -> type[Op]:
        if name not in self._loaded:
            family = vars(import_module(f"costcalc.ops.{_FAMILY_OF[name]}"))
            self._loaded |= {c.name: c for c in family.values() if isinstance(c, type) and hasattr(c, "name")}
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in _FAMILY_OF

    def __iter__(self) -> Iterator[str]:
        return iter(_FAMILY_OF)

    def __len__(self) -> int:
        return len(_FAMILY_OF)


# Any: what a class takes is known once its family is loaded.
OPS: Mapping[str, type[Any]] = _Registry()
