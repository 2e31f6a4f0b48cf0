"""Units, and numbers written with them: the same in questions, claims, published numbers and on the command line."""

from fractions import Fraction

import pytest

from costcalc.core.comparisons import COMPARISONS, find_comparison
from costcalc.core.errors import CostcalcError
from costcalc.core.units import BINARY, DECIMAL, round_half_up
from costcalc.core.written_numbers import UNITS, find_unit, read_bytes, read_number


def test_scales():
    assert DECIMAL == {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
    assert BINARY == {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "PiB": 2**50}
    assert UNITS["MB"] == ("bytes", 10**6)
    assert UNITS["MiB"] == ("bytes", 2**20)
    assert UNITS["Mi"] == ("count", 2**20)
    assert UNITS["K"] == UNITS["k"] == ("count", 1000)
    assert UNITS["KB"] == UNITS["kB"] == ("bytes", 1000)
    assert UNITS["%"].scale == Fraction(1, 100)


@pytest.mark.parametrize(
    ("text", "digits", "unit", "bound", "value", "step"),
    [
        ("13.6 G", "13.6", "G", "", "13.6", "0.1"),
        ("<25 M", "25", "M", "<", 25, 1),
        ("≥ 1,234.50GiB", "1,234.50", "GiB", "≥", "1234.5", "0.01"),
        ("~14 x", "14", "x", "", 14, 1),
        ("49/27", "49/27", "", "", "49/27", 0),
        ("1.5e9 FLOPs", "1.5e9", "FLOPs", "", 1_500_000_000, 100_000_000),
        ("138,357,544", "138,357,544", "", "", 138_357_544, 1),
        ("15,5G", "15", ",5G", "", 15, 1),
    ],
)
def test_numbers_with_a_unit(text, digits, unit, bound, value, step):
    number = read_number(text)
    assert number == (digits, unit, bound)
    assert (number.value, number.step) == (Fraction(value), Fraction(step))


@pytest.mark.parametrize("text", ["", "G", "about 2", ".5", "1" * 300])
def test_texts_that_are_no_number(text):
    assert read_number(text) is None


def test_units_are_found_in_any_case():
    assert find_unit("gib") == UNITS["GiB"]
    assert find_unit("mb") == UNITS["MB"]
    assert find_unit("") == ("count", 1)
    assert find_unit("gallons") is None


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("24GiB", 24 * 2**30),
        ("16 gb", 16 * 10**9),
        ("16Gi", 2**34),
        ("16G", 16 * 10**9),
        ("1.5B", 1),
        ("1048576", 2**20),
    ],
)
def test_bytes(text, size):
    assert read_bytes(text, "--fit") == size


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("24", "--fit 24: 24 bytes are very few: write a size with its unit, such as 24GiB"),
        ("500000", "such as 500000KiB or 500000B"),
        ("24 gallons", "--fit is a size such as 24GiB, 16GB or 512MiB, not '24 gallons'"),
        ("<24GiB", "--fit is a size such as 24GiB"),
        ("-24GiB", "--fit is a size such as 24GiB"),
        ("24%", "--fit is a size such as 24GiB"),
        ("9e99", "more than any memory"),
    ],
)
def test_sizes_that_are_refused(text, message):
    with pytest.raises(CostcalcError) as error:
        read_bytes(text, "--fit")
    assert message in str(error.value)


def test_rounding_half_up():
    assert [round_half_up(value, 10) for value in (4, 5, 14, 15, 25)] == [0, 1, 1, 2, 3]
    assert round_half_up(Fraction(5, 2), Fraction(1)) == 3


def test_comparisons():
    assert [find_comparison(sign) for sign in ("≤", "≥", "==", "=<", "<", "is")] == ["<=", ">=", "=", "<=", "<", None]
    assert COMPARISONS["<="](2, 2)
    assert not COMPARISONS["<"](2, 2)
