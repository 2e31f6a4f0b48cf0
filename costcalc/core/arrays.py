"""Exact arrays of sizes: int64 while every result fits, and Python ints otherwise.

No other module of the core imports NumPy. `sizes.as_size` imports this module for its first array.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

_INT64_MAX = 2**63 - 1
# Upper bounds of the magnitude of a result, by the largest magnitudes of its operands
_BOUND: dict[Any, Callable[..., int]] = {
    np.add: lambda a, b: a + b,
    np.subtract: lambda a, b: a + b,
    np.multiply: lambda a, b: a * b,
    np.floor_divide: lambda a, b: a,  # b is never 0
    np.negative: lambda a: a,
    np.absolute: lambda a: a,
}


class SizeArray(np.ndarray[Any, Any]):
    """An integer array whose sums, differences and products never overflow.

    `height = SizeArray.of(numpy.array([224, 448]))`. Arithmetic with arrays and ints broadcasts as in NumPy. A result
    that may not fit int64 is computed with Python ints (dtype object), and converted to int64 if it fits.
    """

    @classmethod
    def of(cls, values: Any) -> Any:
        """Return integers of any width as a SizeArray; an array without dimensions becomes an int.

        Raises TypeError for other values, and for an empty array.
        """
        array = np.asarray(values)
        if array.size == 0:
            raise TypeError("must have at least one element")
        if array.dtype.kind == "O":
            if not all(isinstance(v, (int, np.integer)) and not isinstance(v, bool) for v in array.flat):
                raise TypeError("must be an array of integers")
            exact = np.frompyfunc(int, 1, 1)(array)
        elif array.dtype.kind in "iu":
            exact = array.astype(object) if array.dtype == np.uint64 else array.astype(np.int64)
        else:
            raise TypeError(f"must be an array of integers, not of {array.dtype}")
        return int(exact) if array.ndim == 0 else _narrow(np.asarray(exact)).view(cls)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        operands: list[Any] = [np.asarray(i) for i in inputs]
        if "out" in kwargs:
            # `a += b` writes into a, whose dtype may be too narrow: return a new array instead
            kwargs.pop("out")
        integral = all(o.dtype.kind in "iuO" for o in operands)
        wide = any(o.dtype.kind == "O" for o in operands)
        if integral and not wide:
            if method == "__call__" and ufunc in _BOUND:
                wide = _BOUND[ufunc](*(_magnitude(o) for o in operands)) > _INT64_MAX
            else:
                wide = ufunc in (np.add, np.multiply, np.power, np.square)
        if integral and wide:
            operands = [o.astype(object) for o in operands]
        result = getattr(ufunc, method)(*operands, **kwargs)
        if not isinstance(result, np.ndarray) or result.dtype.kind not in "iuO":
            return result
        return _narrow(result).view(SizeArray)

    def sum(self, *args: Any, **kwargs: Any) -> Any:
        """Return the exact sum, with the arguments of numpy.ndarray.sum."""
        return np.add.reduce(self, *args, **{"axis": None, **kwargs})


def _magnitude(array: Any) -> int:
    return max(abs(int(array.max())), abs(int(array.min()))) if array.size else 0


def _narrow(array: Any) -> Any:
    """Return an array of Python ints as int64 if all fit; other arrays (the floats of a division) are unchanged."""
    if array.dtype.kind == "O" and array.size and all(type(v) is int for v in array.flat):
        return array.astype(np.int64) if _magnitude(array) <= _INT64_MAX else array
    return array
