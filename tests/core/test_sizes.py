"""Arithmetic on sizes: windows by enumeration, arrays that never overflow, checks with three answers."""

from __future__ import annotations

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from costcalc.core.arrays import SizeArray
from costcalc.core.sizes import as_size, ceil_div, check_relation, exact_div, identical, size_min, window_positions

H = sympy.Symbol("H", integer=True, positive=True)


@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 6), st.integers(0, 3), st.integers(1, 3), st.booleans())
def test_window_positions_are_the_starts_of_windows(n, kernel, stride, padding, dilation, ceil_mode):
    extent = dilation * (kernel - 1) + 1
    padding = min(padding, extent // 2)
    starts = range(-padding, n + padding, stride)
    if ceil_mode:
        # a partial window counts, unless it starts in the padding after the input
        windows = [s for s in starts if s + extent <= n + padding or (s + extent < n + padding + stride and s < n)]
    else:
        windows = [s for s in starts if s + extent <= n + padding]
    if windows and n + 2 * padding >= extent:
        assert window_positions(n, kernel, stride, padding, dilation, ceil_mode) == len(windows)


@given(st.integers(-(10**9), 10**9), st.integers(1, 10**6))
def test_ceil_div_rounds_up(a, b):
    assert ceil_div(a, b) == -((-a) // b)
    assert (ceil_div(a, b) - 1) * b < a <= ceil_div(a, b) * b


def test_array_products_become_python_ints_when_int64_would_overflow():
    size = as_size(np.array([2**40, 3]))
    product = size * size
    assert product.tolist() == [2**80, 9]
    assert product.dtype == object
    assert (product // 2**60).dtype == np.int64
    assert (size + size).dtype == np.int64


@given(st.lists(st.integers(-(2**70), 2**70), min_size=1, max_size=4), st.integers(-(2**70), 2**70))
def test_array_arithmetic_is_exact(values, other):
    array = SizeArray.of(np.array(values, dtype=object))
    for name in ("__add__", "__sub__", "__mul__", "__rsub__"):
        assert getattr(array, name)(other).tolist() == [getattr(v, name)(other) for v in values]
    assert (-array).tolist() == [-v for v in values]
    assert array.sum() == sum(values)
    if other:
        assert (array // other).tolist() == [v // other for v in values]
    assert size_min(array, other).tolist() == [min(v, other) for v in values]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint64])
def test_narrow_arrays_do_not_overflow(dtype):
    size = as_size(np.array([100, 127], dtype=dtype))
    assert (size * 1000 * 1000 * 1000).tolist() == [100 * 10**9, 127 * 10**9]


@pytest.mark.parametrize("value", [True, 2.0, "3", None, np.array([1.5]), np.array([], dtype=int), np.array([True]),
                                   sympy.Rational(1, 2), [1, 2]])  # fmt: skip
def test_values_that_are_not_sizes_are_refused(value):
    with pytest.raises(TypeError, match="must"):
        as_size(value)


def test_numpy_scalars_and_sympy_integers_are_ints():
    assert type(as_size(np.int64(3))) is int
    assert type(as_size(np.array(3))) is int
    assert type(as_size(sympy.Integer(3))) is int


def test_checks_have_three_answers():
    assert check_relation(3, ">=", 3).answer is True
    assert check_relation(3, "multiple of", 2).answer is False
    assert check_relation(3, "multiple of", 0).answer is False
    assert check_relation(as_size(np.array([4, 6, 7, 8])), "multiple of", 2) == (False, (2,))
    assert check_relation(H, ">=", 1).answer is True
    assert check_relation(H, ">=", 7).answer is None
    assert check_relation(-H, ">=", 0).answer is False
    assert check_relation(H * 2, "multiple of", 2).answer is True
    assert check_relation(H, "multiple of", 2).answer is None
    assert check_relation((H + 1) ** 2, "==", H**2 + 2 * H + 1).answer is True
    assert check_relation(H, "==", H + 1).answer is False


def test_exact_div_of_an_expression_has_no_floor():
    assert exact_div(H, 2) == H / 2
    assert exact_div(H, 1) is H
    assert exact_div(12, 4) == 3


def test_identical():
    assert identical(3, 3)
    assert identical(as_size(np.array([1, 2])), np.array([1, 2]))
    assert not identical(as_size(np.array([1, 2])), 1)
    assert identical(H + 1, 1 + H)
