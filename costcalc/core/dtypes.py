"""The dtypes that a network can be stored in, and the bytes that one element takes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from costcalc.core.errors import CostcalcError, did_you_mean

DTYPE_BYTES: Mapping[str, int] = MappingProxyType(
    {"fp64": 8, "fp32": 4, "tf32": 4, "fp16": 2, "bf16": 2, "fp8": 1, "int64": 8, "int32": 4, "int16": 2, "int8": 1}
)


def element_bytes(dtype: str) -> int:
    """How many bytes one element takes. Raises CostcalcError, with what may have been meant, for an unknown dtype."""
    if dtype not in DTYPE_BYTES:
        raise CostcalcError(f"no dtype {dtype!r}{did_you_mean(dtype, DTYPE_BYTES)}: there are {', '.join(DTYPE_BYTES)}")
    return DTYPE_BYTES[dtype]


# What elements are, and the bytes of one; what is computed, `float`, takes what the dtype that is asked for takes.
ELEMENT_TYPES: Mapping[str, int | None] = {"float": None, "int64": 8, "int32": 4, "uint8": 1, "bool": 1}

_ELEMENT_TYPE_OF = {
    "int64": "int64", "uint64": "int64", "uint32": "int64", "int32": "int32", "int16": "int32", "uint16": "int32",
    "int8": "uint8", "uint8": "uint8", "bool": "bool",
}  # fmt: skip


def element_type_of(dtype: str) -> str:
    """Return the element type that stands for a dtype of torch or ONNX, by its name: "int32" for "int16".

    Integers without an element type of their own count as the next wider one, int8 as uint8; all other dtypes are
    "float", the dtype of the network.
    """
    return _ELEMENT_TYPE_OF.get(dtype, "float")
