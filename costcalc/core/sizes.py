"""Arithmetic on a size.

A size is a Python int, a NumPy array of ints, or a SymPy expression, and one formula serves all three: numbers for a
report, arrays for a sweep, closed forms for a lecture. Formulas use only `+ - * //`, `prod` and the helpers below,
because SymPy answers `h % 2 == 0` with a silent False and `max(a, b)` needs an order that arrays do not have.

To the type checker a size *is* an int: what an int cannot do without leaving the integers, such as `/`, is not done to
a size at all. `as_size` is the door through which the other carriers come in.
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
    """`value` as a size: ints stay, NumPy integers become exact `SizeArray`s, SymPy expressions stay.

    Raises TypeError, in words for a user, for everything else (a bool or a float is not a size).
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
    """Whether a size is an ordinary number, so that structure may depend on it."""
    return isinstance(value, int)


def is_array(value: object) -> bool:
    """Whether a size is an array of sizes."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray)


def is_symbolic(value: object) -> bool:
    """Whether a size is an expression."""
    sympy = sys.modules.get("sympy")
    return sympy is not None and isinstance(value, sympy.Basic)


def ceil_div(a: Size, b: Size) -> Size:
    """a / b rounded up."""
    return -(-a // b)


def exact_div(a: Size, b: Size) -> Size:
    """a / b where a check has shown, or an assumption says, that b divides a.

    An expression stays free of floors this way: C/2, not floor(C/2).
    """
    if is_symbolic(a) or is_symbolic(b):
        return a if is_plain(b) and b == 1 else cast(Size, a / b)
    return a // b


def size_min(a: Size, b: Size) -> Size:
    """The smaller of two sizes, element by element for arrays, `Min` for expressions."""
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
    """How many places a sliding window has on n positions padded at both ends (torch's pooling and convolution rule).

    In ceil mode a last, partial window counts, unless it would start in the padding at the far end; it cannot where
    padding + stride is at most the window's reach.
    """
    reach = dilation * (kernel - 1) + 1
    slack = n + 2 * padding - reach
    if stride == 1:  # the rule below, without a floor round an expression
        return slack + 1
    if not ceil_mode:
        return slack // stride + 1
    places = ceil_div(slack, stride) + 1
    if padding + stride <= reach:
        return places
    return size_min(places, (n + padding - 1) // stride + 1)


def window_elements_inside(
    n: Size, positions: Size, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> Size:
    """How many taps of a window fall on n positions, and not on the padding at their ends, over all its places.

    The window's tap t at place i looks at position i·stride + t·dilation − padding, so it is inside at the places from
    ceil((padding − t·dilation) / stride) to floor((n − 1 + padding − t·dilation) / stride), of those there are.
    """
    inside: Size = 0
    for tap in range(kernel):
        offset = padding - tap * dilation
        first = max(0, ceil_div(offset, stride))  # of structure alone, which is plain
        last = n - 1 + offset if stride == 1 else (n - 1 + offset) // stride
        inside += -size_min(0, first - size_min(positions, last + 1))
    return inside


class RelationCheck(NamedTuple):
    """What is known of a relation between sizes: true, false (for an array, `where` first), or undecided."""

    answer: bool | None
    failing_index: tuple[int, ...] | None = None


_TRUE, _FALSE, _UNDECIDED = RelationCheck(True), RelationCheck(False), RelationCheck(None)


def check_relation(left: Size, relation: Relation, right: Size) -> RelationCheck:
    """Whether `left relation right` holds, for sizes of any carrier.

    An array relation is true when it holds everywhere, and false with the index of the first element where it does
    not. An expression is decided from the assumptions of its symbols, or left open (answer None).
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
    """Whether a relation holds, so that structure may depend on it.

    None where that cannot be told: of expressions that leave it open, of an array for whose elements answers differ.
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
    """For each element of an array whether a relation holds."""
    import numpy

    a, b = numpy.broadcast_arrays(numpy.asarray(left), numpy.asarray(right))
    if relation == "==":
        holds = a == b
    elif relation == "!=":
        holds = a != b
    elif relation == ">=":
        holds = a >= b
    else:
        divisor = numpy.where(b == 0, 1, b)
        holds = (b != 0) & (a % divisor == 0)
    return holds.astype(bool)


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
    """The element of `size` at an index of the array it was compared with (`size` itself when it is no array)."""
    if index is None or not is_array(size):
        return size
    import numpy

    return int(numpy.broadcast_arrays(numpy.asarray(size), numpy.asarray(like))[0][index])


def identical(a: object, b: object) -> bool:
    """Whether two sizes are the very same: equal ints, arrays equal element by element, expressions alike."""
    if type(a) is int and type(b) is int:
        return a == b
    if is_array(a) or is_array(b):
        import numpy

        return numpy.array_equal(cast(Any, a), cast(Any, b))
    return bool(a == b)


def can_broadcast(values: Iterable[object]) -> bool:
    """Whether all arrays among the values fit each other."""
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
    """The first size of the first input that is no single number; 1 where all are."""
    return next((shape[0] for shape in shapes if shape), 1)


def without_batch(inputs: Mapping[str, Shape]) -> dict[str, Shape]:
    """The sizes of inputs after the batch; all of one whose first size is another."""
    batch = batch_of(inputs.values())
    return {name: shape[1:] if shape and identical(shape[0], batch) else shape for name, shape in inputs.items()}


def format_inputs(inputs: Mapping[str, Shape]) -> str:
    """Inputs as they are printed before their batch: `image 3×224×224, boxes 4`."""
    return ", ".join(
        f"{name} {format_shape(sizes)}" if sizes else name for name, sizes in without_batch(inputs).items()
    )


def format_shape(shape: Shape) -> str:
    """A shape as text, sizes joined by ×."""
    return "×".join(str(s) if not is_array(s) else "…" for s in shape)
