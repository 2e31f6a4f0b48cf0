"""Dtypes and element types."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import costcalc
from costcalc.core.dtypes import ELEMENT_TYPES, element_type_bytes, element_type_of
from costcalc.frontends.onnx.reader import DTYPES

INTEGERS = {
    "int64": "int64", "uint64": "int64", "uint32": "int64", "int32": "int32", "int16": "int32", "uint16": "int32",
    "int8": "uint8", "uint8": "uint8", "bool": "bool",
}  # fmt: skip


def test_integers_are_the_next_wider_element_type():
    assert {name: element_type_of(name) for name in INTEGERS} == INTEGERS
    assert {element_type_of(name) for name in DTYPES.values() if name not in INTEGERS} == {"float"}
    assert set(INTEGERS.values()) | {"float"} == set(ELEMENT_TYPES)


def test_only_floats_take_the_bytes_of_the_networks_dtype():
    assert [element_type_bytes(name, 2) for name in ELEMENT_TYPES] == [2, 8, 4, 1, 1]


@pytest.mark.parametrize("name", ["int16", "uint16", "uint32"])
def test_an_input_of_narrow_integers_is_no_float_tensor(name):
    """An element takes as many bytes at every dtype of the network."""

    class Widened(nn.Module):
        def forward(self, x):
            return x.float() + 1.0

    graph = costcalc.from_torch(Widened(), torch.zeros(2, 6, dtype=getattr(torch, name)))
    assert graph.inputs[0].element_type == INTEGERS[name]
    size = ELEMENT_TYPES[INTEGERS[name]]
    assert [costcalc.analyze(graph, dtype=dtype).input_bytes for dtype in ("fp32", "fp16")] == [2 * 6 * size] * 2
