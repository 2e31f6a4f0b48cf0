"""Graphs: validation, equality, and the selection and extraction of layers by prefix."""

from __future__ import annotations

import numpy as np
import pytest
import sympy

import costcalc
from costcalc import Builder, CostcalcError, Graph, GraphError, Input, Node
from costcalc.analysis.receptive_field import AxisReceptiveField, receptive_fields
from costcalc.core.sizes import as_size
from costcalc.frontends.spec.language import Spec
from costcalc.ir.ops import OPS


def chain(*ops, size=8):
    builder = Builder("net", channels=3, height=size, width=size)
    for number, op in enumerate(ops, 1):
        builder.add(f"layer{number}", op)
    return builder


def test_a_builder_builds_the_same_graph_as_a_spec():
    builder = Builder("net", channels=3, height=8, width=8)
    builder.add("conv", OPS["conv2d"](4, 3, padding=1))
    builder.add("main", OPS["relu"](inplace=False), "conv")
    builder.add("add", OPS["add"](), "main", "conv")
    text = """
name: net
input: {channels: 3, height: 8, width: 8}
layers:
  - conv: conv2d(4, 3, padding=1)
  - add: {main: relu(inplace=False), other: skip}
""".replace("relu(inplace=False)", '"relu(inplace=False)"')
    spec = Spec(text, "net.yaml")
    assert spec.build() == builder.build()
    assert hash(spec.build()) == hash(builder.build())


def test_invalid_layers_are_reported_once_and_layers_after_them_are_not():
    builder = chain(OPS["conv2d"](4, 9), OPS["relu"](), OPS["linear"](5))
    builder.add("bad", OPS["conv2d"](4, 3, groups=2), "input")
    builder.add("lost", OPS["relu"](), "layer9")
    builder.add("bad", OPS["relu"](), "input")
    with pytest.raises(GraphError) as error:
        builder.build()
    assert [p.node.name for p in error.value.problems] == ["layer1", "bad", "lost", "bad"]
    assert "lost: takes 'layer9', which is neither an input nor an earlier layer" in str(error.value)
    assert "'bad' is the name of two layers" in str(error.value)


def test_a_graph_needs_an_input_a_layer_and_an_output():
    node = Node("a", OPS["relu"](), ("input",))
    with pytest.raises(CostcalcError, match="at least one input, one layer and one output"):
        Graph("net", (Input("input", (1, 3, 4, 4)),), (), ())
    with pytest.raises(CostcalcError, match="the output 'b' is not a layer"):
        Graph("net", (Input("input", (1, 3, 4, 4)),), (node,), ("b",))


def test_shared_parameters_count_once_and_work_every_time():
    builder = chain(OPS["conv2d"](3, 3, padding=1))
    builder.add("shared", OPS["conv2d"](3, 3, padding=1), shares="layer1")
    costs = costcalc.analyze(builder.build())
    assert [row.params for row in costs.rows] == [3 * 3 * 9 + 3, 0]
    assert costs.total().macs == 2 * (8 * 8 * 3 * 3 * 9)
    builder.add("not", OPS["conv2d"](4, 3, padding=1), shares="layer1")
    with pytest.raises(GraphError, match="not: cannot share the parameters of 'layer1'"):
        builder.build()


def test_sharing_works_for_arrays_and_after_an_invalid_layer():
    widths = as_size(np.array([3, 5]))
    builder = Builder("net", channels=widths, height=8, width=8)
    builder.add("a", OPS["conv2d"](widths, 1))
    builder.add("b", OPS["conv2d"](widths, 1), shares="a")
    assert costcalc.analyze(builder.build()).total().params.tolist() == [3 * 3 + 3, 5 * 5 + 5]
    broken = chain(OPS["conv2d"](3, 99))
    broken.add("b", OPS["conv2d"](3, 99, padding=50), "input", shares="layer1")
    with pytest.raises(GraphError) as error:
        broken.build()
    assert [p.node.name for p in error.value.problems] == ["layer1"]


def test_select_by_layer_and_by_prefix():
    graph = costcalc.load("googlenet")
    assert [n.name for n in graph.select("head/fc")] == ["head/fc"]
    assert len(graph.select("inception3a/5x5")) == 4
    with pytest.raises(CostcalcError, match=r"no layer 'inception3a/55' \(did you mean 'inception3a/5x5'"):
        graph.select("inception3a/55")


def test_extract_returns_a_graph():
    module = costcalc.load("googlenet").extract("inception3a")
    assert [i.shape for i in module.inputs] == [(1, 192, 28, 28)]
    assert costcalc.analyze(module).total().params == 163_696
    wider = costcalc.load("googlenet").extract("inception3a", (1, 256, 28, 28))
    assert wider.shapes["inception3a/concat"] == (1, 256, 28, 28)


def test_symbolic_checks_become_assumptions_and_arrays_name_the_index():
    h = sympy.Symbol("h", integer=True, positive=True)
    builder = Builder("net", channels=3, height=h, width=h)
    builder.add("conv", OPS["conv2d"](4, 7))
    graph = builder.build()
    assert "h ≥ 7" in map(str, graph.assumptions)
    assert "h ≥ 7" in costcalc.analyze(graph).assumptions
    builder = Builder("net", channels=3, height=as_size(np.array([9, 8, 6])), width=9)
    builder.add("conv", OPS["conv2d"](4, 7))
    with pytest.raises(GraphError, match=r"larger than the input of 6 in height \(at index 2\)"):
        builder.build()


def test_receptive_field_of_a_skip_is_that_of_its_longest_path():
    builder = chain(OPS["conv2d"](3, 3, padding=1))
    builder.add("a", OPS["conv2d"](3, 5, padding=2), "layer1")
    builder.add("add", OPS["add"](), "a", "layer1")
    builder.add("down", OPS["conv2d"](3, 3, stride=2, padding=1, dilation=1), "add")
    builder.add("wide", OPS["conv2d"](3, 3, padding=2, dilation=2), "down")
    fields = receptive_fields(builder.build())
    assert fields["layer1"] == (AxisReceptiveField(-1, 1, 1),) * 2
    assert fields["add"] == (AxisReceptiveField(-3, 3, 1),) * 2
    assert fields["down"] == (AxisReceptiveField(-4, 4, 2),) * 2
    assert fields["wide"] == (AxisReceptiveField(-8, 8, 2),) * 2
    assert fields["wide"][0].size == 17


def test_receptive_field_is_the_span_of_branches_with_different_centres():
    builder = Builder("net", channels=3, height=8, width=8)
    builder.add("left", OPS["pad"]((2, 0, 0, 0)), "input")
    builder.add("a", OPS["conv2d"](3, (1, 3)), "left")
    builder.add("right", OPS["pad"]((0, 2, 0, 0)), "input")
    builder.add("b", OPS["conv2d"](3, (1, 3)), "right")
    builder.add("both", OPS["add"](), "a", "b")
    height, width = receptive_fields(builder.build())["both"]
    assert (height.size, width.low, width.high) == (1, -2, 2)


def test_receptive_field_ends_with_the_plane():
    costs = costcalc.analyze(costcalc.load("vgg16"))
    by_path = {row.path: row for row in costs.rows}
    assert by_path["stage5/conv_3/conv2d"].receptive_field == (196, 196)
    assert by_path["stage5/conv_3/conv2d"].receptive_stride == (16, 16)
    assert by_path["head/flatten"].receptive_field is None


def test_a_long_graph_costs_no_more_a_layer_than_a_short_one():
    """Analysis is linear: counted in steps of the interpreter's profiler-free clock, with room for the caches."""
    from time import perf_counter

    def per_layer(layers):
        graph = chain(*[OPS["relu"]()] * layers).build()
        best = min(_timed(lambda: costcalc.analyze(graph), perf_counter) for _ in range(3))
        return best / layers

    assert per_layer(20_000) < 4 * per_layer(1_000)


def _timed(call, clock):
    start = clock()
    call()
    return clock() - start
