"""Lowering of comparisons, logical and bitwise operations."""

from __future__ import annotations

from costcalc.ir.ops import OPS, comparison
from costcalc.torch_backend.lowering.base import of_tensor_and_scalar, of_tensors, register_functions

_WITH_SCALAR = ("eq", "ne", "lt", "le", "gt", "ge", "bitwise_and", "bitwise_or", "bitwise_xor")
_TENSORS_ONLY = ("logical_and", "logical_or", "logical_xor", *comparison.UNARY_FUNCTIONS)

register_functions({OPS[name]: of_tensor_and_scalar(name) for name in _WITH_SCALAR})
register_functions({OPS[name]: of_tensors(name) for name in _TENSORS_ONLY})
