"""The dtypes of networks, and the element types of their tensors.

A network has one dtype, in which it computes: "fp32", "bf16". A tensor has an element type, which does not depend on
it: "float" for tensors in the network's dtype, or a type of integers or booleans.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from costcalc.core.errors import CostcalcError, did_you_mean

INT64_BYTES = 8  # of an index

# Bytes of an element, by dtype
DTYPE_BYTES: Mapping[str, int] = MappingProxyType(
    {"fp64": 8, "fp32": 4, "tf32": 4, "fp16": 2, "bf16": 2, "fp8": 1, "int64": 8, "int32": 4, "int16": 2, "int8": 1}
)

# Bytes of an element, by element type, the widest first; None: those of the network's dtype
ELEMENT_TYPES: Mapping[str, int | None] = MappingProxyType(
    {"float": None, "int64": INT64_BYTES, "int32": 4, "uint8": 1, "bool": 1}
)

_ELEMENT_TYPE_OF = {
    "int64": "int64", "uint64": "int64", "uint32": "int64", "int32": "int32", "int16": "int32", "uint16": "int32",
    "int8": "uint8", "uint8": "uint8", "bool": "bool",
}  # fmt: skip


def element_bytes(dtype: str) -> int:
    """Return the bytes of an element in a dtype. Raises CostcalcError for an unknown dtype."""
    if dtype not in DTYPE_BYTES:
        raise CostcalcError(f"no dtype {dtype!r}{did_you_mean(dtype, DTYPE_BYTES)}: there are {', '.join(DTYPE_BYTES)}")
    return DTYPE_BYTES[dtype]


def element_type_bytes(element_type: str, float_bytes: int) -> int:
    """Return the bytes of an element of a type, in a network whose dtype takes `float_bytes`."""
    return ELEMENT_TYPES[element_type] or float_bytes


def element_type_of(dtype: str) -> str:
    """Return the element type for the name of a dtype in torch or ONNX: "int32" for "int16".

    Integers without their own element type count as the next wider one, int8 as uint8; all other dtypes are "float".
    """
    return _ELEMENT_TYPE_OF.get(dtype, "float")
