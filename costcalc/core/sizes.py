"""Arithmetic on sizes.

A size is a Python int, a NumPy array of ints or a SymPy expression: its carrier. One formula serves all three: ints for
a report, arrays for a sweep, expressions for closed forms. Formulas use only `+ - * //`, `prod` and the functions
below: SymPy evaluates `h % 2 == 0` to False without a warning, and `max(a, b)` is not defined for arrays.

To the type checker a size is an int, so that operations that leave the integers, such as `/`, are type errors.
`as_size` converts values of the other carriers.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, cast

if TYPE_CHECKING:
    from fractions import Fraction

Size: TypeAlias = int
Shape: TypeAlias = tuple[Size, ...]
Relation: TypeAlias = Literal["==", "!=", ">=", "multiple of"]
RELATION_SIGNS = {"==": "=", "!=": "≠", ">=": "≥", "multiple of": "is a multiple of"}  # as messages print them
Count: TypeAlias = "int | Fraction"  # a tool's real division can make a count a fraction

prod = math.prod


def as_size(value: object) -> Size:
    """Return `value` as a size: NumPy integers become a `SizeArray`, ints and SymPy expressions stay.

    Raises TypeError, with a message for users, for all other values, such as a bool or a float.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    numpy, sympy = sys.modules.get("numpy"), sys.modules.get("sympy")
    if numpy is not None and isinstance(value, (numpy.ndarray, numpy.integer)):
        from costcalc.core.arrays import SizeArray

        return cast(Size, SizeArray.of(value))
    if sympy is not None and isinstance(value, sympy.Expr):
        if value.is_number and not value.is_Integer:
            raise TypeError(f"must be an integer, not {value}")
        return int(value) if value.is_Integer else cast(Size, value)
    raise TypeError(f"must be an integer, not {value!r}")


def is_plain(value: object) -> bool:
    """Return whether a size is a Python int, so that structure may depend on it."""
    return isinstance(value, int)


def is_array(value: object) -> bool:
    """Return whether a size is an array."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray)


def is_symbolic(value: object) -> bool:
    """Return whether a size is an expression."""
    sympy = sys.modules.get("sympy")
    return sympy is not None and isinstance(value, sympy.Basic)


def ceil_div(a: Size, b: Size) -> Size:
    """Return a / b, rounded up."""
    return -(-a // b)


def exact_div(a: Size, b: Size) -> Size:
    """Return a / b for a divisor b of a, by a check or an assumption.

    The quotient of expressions has no floor: C/2 instead of floor(C/2).
    """
    if is_symbolic(a) or is_symbolic(b):
        return a if is_plain(b) and b == 1 else cast(Size, a / b)
    return a // b


def size_min(a: Size, b: Size) -> Size:
    """Return the smaller of two sizes: elementwise for arrays, `Min` for expressions."""
    if is_plain(a) and is_plain(b):
        return min(a, b)
    if is_array(a) or is_array(b):
        import numpy

        return cast(Size, numpy.minimum(a, b))
    import sympy

    return cast(Size, sympy.Min(a, b))


def window_positions(
    n: Size, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1, ceil_mode: bool = False
) -> Size:
    """Return the number of output positions of a sliding window, by torch's rule for pools and convolutions.

    The window slides over n input positions with padding at both ends. With `ceil_mode`, a last partial window counts,
    unless it starts in the padding after the last input position.
    """
    extent = dilation * (kernel - 1) + 1
    slack = n + 2 * padding - extent
    if stride == 1:  # the general rule, without a floor in an expression
        return slack + 1
    if not ceil_mode:
        return slack // stride + 1
    positions = ceil_div(slack, stride) + 1
    if padding + stride <= extent:  # no window starts in the padding
        return positions
    return size_min(positions, (n + padding - 1) // stride + 1)


def window_elements_inside(
    n: Size, positions: Size, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> Size:
    """Return the number of elements that a window reads in n input positions, over all its output positions.

    Elements in the padding do not count. Kernel position k at output position i reads input position
    i·stride + k·dilation − padding. It is inside for i from ceil((padding − k·dilation) / stride) to
    floor((n − 1 + padding − k·dilation) / stride), limited to 0 … positions − 1.
    """
    inside: Size = 0
    for kernel_position in range(kernel):
        offset = padding - kernel_position * dilation
        first = max(0, ceil_div(offset, stride))  # structure, and so a Python int
        last = n - 1 + offset if stride == 1 else (n - 1 + offset) // stride
        inside += -size_min(0, first - size_min(positions, last + 1))
    return inside


class RelationCheck(NamedTuple):
    """The result of checking a relation between sizes."""

    answer: bool | None  # None: undecided
    failing_index: tuple[int, ...] | None = None  # of the first element of an array that does not satisfy it


_TRUE, _FALSE, _UNDECIDED = RelationCheck(True), RelationCheck(False), RelationCheck(None)


def check_relation(left: Size, relation: Relation, right: Size) -> RelationCheck:
    """Check a relation between sizes of any carrier.

    A relation between arrays is true if it is true for all elements. A relation between expressions is decided from
    the assumptions of their symbols, if it can be.
    """
    if is_plain(left) and is_plain(right):
        if relation == "==":
            return _TRUE if left == right else _FALSE
        if relation == "!=":
            return _TRUE if left != right else _FALSE
        if relation == ">=":
            return _TRUE if left >= right else _FALSE
        return _TRUE if right != 0 and left % right == 0 else _FALSE
    if is_array(left) or is_array(right):
        return _check_arrays(left, relation, right)
    return _check_expressions(left, relation, right)


def statically_known(left: Size, relation: Relation, right: Size) -> bool | None:
    """Return whether a relation is true, so that structure may depend on it.

    None if it cannot be decided for an expression, or differs between the elements of an array.
    """
    answer = check_relation(left, relation, right).answer
    if answer is False and (is_array(left) or is_array(right)):
        return None if _relation_mask(left, relation, right).any() else False
    return answer


def _check_arrays(left: Size, relation: Relation, right: Size) -> RelationCheck:
    import numpy

    failing = numpy.argwhere(~_relation_mask(left, relation, right))
    return RelationCheck(False, tuple(int(i) for i in failing[0])) if len(failing) else _TRUE


def _relation_mask(left: Size, relation: Relation, right: Size) -> Any:
    """Return for each element of an array whether a relation is true."""
    import numpy

    a, b = numpy.broadcast_arrays(numpy.asarray(left), numpy.asarray(right))
    if relation == "==":
        mask = a == b
    elif relation == "!=":
        mask = a != b
    elif relation == ">=":
        mask = a >= b
    else:
        divisor = numpy.where(b == 0, 1, b)
        mask = (b != 0) & (a % divisor == 0)
    return mask.astype(bool)


@lru_cache(maxsize=10_000)  # the same few sizes are compared at every layer
def _check_expressions(left: Any, relation: Relation, right: Any) -> RelationCheck:
    import sympy

    if relation == "multiple of":
        if right == 1:
            return _TRUE
        quotient = sympy.sympify(left) / right
        return {True: _TRUE, False: _FALSE, None: _UNDECIDED}[quotient.is_integer]
    difference = sympy.expand(left - right)
    if relation == ">=":
        return {True: _TRUE, False: _FALSE, None: _UNDECIDED}[difference.is_nonnegative]
    if difference.is_zero is None and sympy.count_ops(difference) <= 60:
        difference = sympy.simplify(difference)
    zero = difference.is_zero
    if relation == "!=" and zero is not None:
        zero = not zero
    return {True: _TRUE, False: _FALSE, None: _UNDECIDED}[zero]


def element_at(size: Size, index: tuple[int, ...] | None, like: Size) -> Size:
    """Return the element of an array at an index of `like`, its shape broadcast; other sizes are unchanged."""
    if index is None or not is_array(size):
        return size
    import numpy

    return int(numpy.broadcast_arrays(numpy.asarray(size), numpy.asarray(like))[0][index])


def identical(a: object, b: object) -> bool:
    """Return whether two sizes are equal: equal ints, arrays with equal elements, or structurally equal expressions."""
    if type(a) is int and type(b) is int:
        return a == b
    if is_array(a) or is_array(b):
        import numpy

        return numpy.array_equal(cast(Any, a), cast(Any, b))
    return bool(a == b)


def can_broadcast(values: Iterable[object]) -> bool:
    """Return whether all arrays among the values can be broadcast to each other."""
    arrays = [cast(Any, value) for value in values if is_array(value)]
    if len(arrays) < 2:
        return True
    import numpy

    try:
        numpy.broadcast_shapes(*(array.shape for array in arrays))
    except ValueError:
        return False
    return True


def batch_of(shapes: Iterable[Shape]) -> Size:
    """Return the first size of the first input that has dimensions; 1 if none has."""
    return next((shape[0] for shape in shapes if shape), 1)


def without_batch(inputs: Mapping[str, Shape]) -> dict[str, Shape]:
    """Return the shapes of inputs without the batch. The shape of an input with another first size is unchanged."""
    batch = batch_of(inputs.values())
    return {name: shape[1:] if shape and identical(shape[0], batch) else shape for name, shape in inputs.items()}


def format_inputs(inputs: Mapping[str, Shape]) -> str:
    """Return inputs, without their batch, as text: `image 3×224×224, boxes 4`."""
    return ", ".join(
        f"{name} {format_shape(sizes)}" if sizes else name for name, sizes in without_batch(inputs).items()
    )


def format_shape(shape: Shape) -> str:
    """Return a shape as text, its sizes joined by ×; an array is …."""
    return "×".join(str(s) if not is_array(s) else "…" for s in shape)
