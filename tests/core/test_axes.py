"""The names of dimensions."""

from __future__ import annotations

import pytest

from costcalc.core.axes import INPUT_DIM_NAMES, dim_label, input_dim_names, operand_dim_names


def test_operands_are_named_by_what_ops_compute():
    assert operand_dim_names(3) == ("batch", "channels", "length")
    assert operand_dim_names(5) == ("batch", "channels", "depth", "height", "width")


@pytest.mark.parametrize(
    ("rank", "element_type", "names"),
    [
        (0, "float", ()),
        (1, "float", ("batch",)),
        (2, "float", ("batch", "features")),
        (2, "int64", ("batch", "sequence")),
        (3, "float", ("batch", "sequence", "features")),
        (4, "float", ("batch", "channels", "height", "width")),
        (6, "float", ("batch", "", "", "", "", "")),
    ],
)
def test_inputs_are_named_by_what_networks_take(rank, element_type, names):
    assert input_dim_names(rank, element_type) == names
    assert {*names} - {""} <= {*INPUT_DIM_NAMES}


def test_messages_name_the_dimensions_of_images_and_number_others():
    assert [dim_label(i, 4) for i in range(4)] == ["batch", "channels", "height", "width"]
    assert dim_label(1, 3) == "size 2"
