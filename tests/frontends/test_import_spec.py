"""A graph as a spec that people read: what is a block, what its arguments are called, and that it reads back equal."""

from __future__ import annotations

import pytest
import sympy
from click.testing import CliRunner
from hypothesis import given, settings
from test_spec_language import graphs

from costcalc import CostcalcError, Graph, Input, Node, load
from costcalc.cli import cli
from costcalc.frontends.spec import Spec, architectures
from costcalc.frontends.spec.nested_yaml import nested_yaml, to_spec
from costcalc.ir.ops import OPS


@pytest.mark.parametrize("name", architectures())
def test_a_shipped_spec_reads_back_equal(name):
    graph = load(name)
    assert Spec(nested_yaml(graph, {}), "folded.yaml").build() == graph


@given(graphs())
@settings(max_examples=60, deadline=None)
def test_a_random_graph_reads_back_equal(graph):
    assert Spec(to_spec(graph), "folded.yaml").build() == graph


def test_modules_that_repeat_are_blocks():
    text = to_spec(load("googlenet"))
    assert "- inception3a: inception(64, 96, 128, 16, 32, 32)" in text
    assert "padding=kernel // 2" in text
    assert len(text.splitlines()) < 60
    assert len(to_spec(load("resnet152")).splitlines()) < 60


def test_sizes_have_names_and_layers_may_use_them():
    head = "name: net\ninputs: {tokens: {batch: 1, sequence: 8, holds: int64}}\n"
    spec = Spec(head + "layers:\n  - embedding(10, 6)\n  - reshape((batch, sequence, 2, 3))\n", "net.yaml")
    assert spec.build().inputs == (Input("tokens", (1, 8), "int64"),)
    assert spec.build(None, {"sequence": 5, "batch": 3}).shapes["reshape"] == (3, 5, 2, 3)
    with pytest.raises(CostcalcError, match="no setting 'sequenc'"):
        spec.build(None, {"sequenc": 5})


@pytest.mark.parametrize(
    ("rank", "element_type", "free", "written"),
    [
        (3, "float", 0, "{x: {batch: 4, sequence: 5, features: 6}}"),
        (3, "float", 1, "{x: {batch: 4, sequence: 5, features: 6}}"),
        (2, "int64", 0, "{x: {batch: 4, sequence: 5, holds: int64}}"),
        (2, "float", 0, "{x: {batch: 4, features: 5}}"),
        (6, "float", 0, "{x: {batch: 4, size_1: 5, size_2: 6, size_3: 7, size_4: 8, size_5: 9}}"),
    ],
)
def test_the_sizes_of_an_input_are_named_as_in_the_graph(rank, element_type, free, written):
    shape = tuple(range(4, 4 + rank))
    name = Input("x", shape, element_type).dim_names[free]
    symbol = sympy.Symbol(name, integer=True, positive=True)
    sizes = (*shape[:free], symbol, *shape[free + 1 :])
    graph = Graph("net", (Input("x", sizes, element_type),), (Node("flatten", OPS["flatten"](), ("x",)),), ("flatten",))
    assert f"inputs: {written}" in nested_yaml(graph, {name: shape[free]})


def test_a_graph_in_symbols_is_written_in_their_names():
    batch = sympy.Symbol("batch", integer=True, positive=True)

    def graph(size):
        nodes = (Node("a/0", OPS["flatten"](), ("x",)), Node("a/1", OPS["reshape"]((2 * size, 6)), ("a/0",)))
        return Graph("net", (Input("x", (size, 3, 2, 2)),), nodes, ("a/1",))

    text = to_spec(graph(1), graph(batch))
    assert "reshape((2 * batch, 6))" in text
    assert Spec(text, "net.yaml").build(None, {"batch": 4}) == graph(4)


def test_the_command_writes_what_the_others_read(tmp_path):
    path = tmp_path / "net.yaml"
    done = CliRunner().invoke(cli, ["import", "alexnet", "-o", str(path)])
    assert done.exit_code == 0, done.output
    assert path.read_text().startswith("# Imported from alexnet by costcalc: ")
    assert load(path) == load("alexnet")
    assert CliRunner().invoke(cli, ["import", "alexnet", "-o", "net.txt"]).exit_code == 2
