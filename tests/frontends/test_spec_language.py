"""The spec language: names, blocks, branches, repeats, conditions, inputs, outputs, settings and variants."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import costcalc
from costcalc import Builder, CostcalcError, Graph, Input, Node, load, to_yaml
from costcalc.frontends.spec import Spec, architectures
from costcalc.ir.ops import OPS

HEAD = "name: net\ninput: {channels: 3, height: 32, width: 32}\n"


def build(body, variant=None, **given):
    return Spec(HEAD + body, "net.yaml").build(variant, given)


def names(graph):
    return [node.name for node in graph.nodes]


def takes(graph):
    return {node.name: node.inputs for node in graph.nodes}


@pytest.mark.parametrize("name", architectures())
def test_a_shipped_spec_written_flat_reads_back_equal(name):
    graph = load(name)
    assert Spec(to_yaml(graph), "flat.yaml").build() == graph


def test_siblings_that_share_a_name_are_numbered_all_of_them():
    graph = build("layers:\n  - relu()\n  - conv2d(4, 3)\n  - relu()\n  - tail: relu() * 2\n")
    assert names(graph) == ["relu_1", "conv2d", "relu_2", "tail_1", "tail_2"]


def test_repeats_of_two_items_count_on():
    body = "blocks:\n  b(c):\n    - conv2d(c, 1)\nlayers:\n  - block: b(4)\n  - block: b(8) * 2\n"
    assert names(build(body)) == ["block_1/conv2d", "block_2/conv2d", "block_3/conv2d"]


def test_a_join_and_its_branches_are_siblings_and_a_named_join_is_a_group():
    body = """
layers:
  - concat:
      left: conv2d(4, 1)
      right:
        - conv2d(4, 1)
        - relu()
  - mix:
      add: {same: skip, other: relu(inplace=False)}
""".replace("relu(inplace=False)}", '"relu(inplace=False)"}')
    graph = build(body)
    assert names(graph) == ["left", "right/conv2d", "right/relu", "concat", "mix/other", "mix/add"]
    assert takes(graph)["concat"] == ("left", "right/relu")
    assert takes(graph)["mix/add"] == ("concat", "mix/other")


def test_two_joins_in_one_list_are_numbered_with_their_branches():
    body = "layers:\n" + "  - add: {a: skip, b: relu}\n".replace("relu", '"relu(inplace=False)"') * 2
    assert names(build(body)) == ["b_1", "add_1", "b_2", "add_2"]


def test_conditions_choose_and_skip_makes_no_node():
    body = """
settings: {deep: true, kind: {default: a, choices: [a, b]}}
layers:
  - conv2d(4, 3) if deep else skip
  - relu() if kind == 'b' else relu6()
  - tail: skip if deep and not kind == 'b' else dropout()
"""
    assert names(build(body)) == ["conv2d", "relu6"]
    assert names(build(body, deep=False, kind="b")) == ["relu", "tail"]


def test_blocks_take_arguments_defaults_and_settings():
    body = """
settings: {extra: 4}
blocks:
  outer(c, times=2, inner=c * 2):
    - conv2d(c, 1) * times
    - inner_block(inner)
  inner_block(c):
    - conv2d(c + extra, 1)
layers:
  - outer(8)
  - last: outer(8, inner=1, times=0)
"""
    graph = build(body)
    assert [graph.shapes[n][1] for n in names(graph)] == [8, 8, 8 * 2 + 4, 1 + 4]
    assert names(graph)[-1] == "last/inner_block/conv2d"


def test_inputs_name_layers_and_prefixes_relative_and_from_the_root():
    body = """
layers:
  - stem:
      - a: conv2d(4, 1)
      - b: relu(inputs='a')
      - c: add(inputs=['a', 'b'])
  - again: conv2d(4, 1, inputs='input')
  - deep:
      - join: add(inputs=['/stem', '/again'])
      - all: concat(inputs=['/input', 'join', '/stem/a'])
"""
    graph = build(body)
    assert takes(graph)["stem/c"] == ("stem/a", "stem/b")
    assert takes(graph)["again"] == ("input",)
    assert takes(graph)["deep/join"] == ("stem/c", "again")
    assert takes(graph)["deep/all"] == ("input", "deep/join", "stem/a")


def test_outputs_are_the_last_item_and_the_end_of_each_side_branch():
    body = """
settings: {aux: true}
layers:
  - conv2d(4, 1)
  - side:
      aux1: linear(3) if aux else skip
      aux2:
        - flatten()
        - linear(2)
  - relu()
"""
    graph = build(body)
    assert graph.outputs == ("relu", "aux1", "aux2/linear")
    assert takes(graph)["relu"] == ("conv2d",)
    assert build(body, aux=False).outputs == ("relu", "aux2/linear")
    assert costcalc.analyze(graph).total().weight_layers == 1  # those of side branches do not count


def test_a_side_branch_that_makes_nothing_is_no_output():
    body = """
blocks:
  maybe(c):
    - relu() if c > 3 else skip
layers:
  - conv2d(4, 1)
  - side:
      a: maybe(1)
      b:
        - dropout() if false else skip
  - relu()
"""
    assert build(body).outputs == ("relu",)


def test_a_file_without_variants_has_none(tmp_path):
    path = tmp_path / "net.yaml"
    path.write_text(HEAD + "layers:\n  - relu()\n")
    assert load(f"{path}:net").name == "net"
    with pytest.raises(CostcalcError, match="has no variant 'wide'"):
        load(f"{path}:wide")


def test_shares_uses_another_layers_parameters():
    graph = build("layers:\n  - a: conv2d(3, 1)\n  - b: conv2d(3, 1, shares='a')\n")
    assert graph.nodes[1].shares == "a"
    assert costcalc.analyze(graph).total().params == 12


def test_variants_set_settings_and_input_and_keywords_come_after():
    body = "settings: {c: 4}\nvariants:\n  net: {}\n  wide: {c: 8, input: {height: 64}}\nlayers:\n  - conv2d(c, 1)\n"
    assert build(body).shapes["conv2d"] == (1, 4, 32, 32)
    assert build(body, "wide").shapes["conv2d"] == (1, 8, 64, 32)
    assert build(body, "wide", c=2, width=5, batch=3).shapes["conv2d"] == (3, 2, 64, 5)
    with pytest.raises(CostcalcError, match=r"no variant 'wid' \(did you mean 'wide'\?\)"):
        build(body, "wid")


def test_a_file_and_its_variants_are_targets(tmp_path):
    path = tmp_path / "net.yaml"
    path.write_text(HEAD + "settings: {c: 4}\nvariants:\n  net: {}\n  wide: {c: 8}\nlayers:\n  - conv2d(c, 1)\n")
    assert load(str(path)).name == "net"
    assert load(f"{path}:wide").shapes["conv2d"][1] == 8


def test_keys_that_need_quotes_are_read_when_they_have_them():
    graph = build("layers:\n  - '1_1': relu()\n  - 'on': relu()\n  - 1x1: relu()\n")
    assert names(graph) == ["1_1", "on", "1x1"]
    assert Spec(to_yaml(graph), "flat.yaml").build() == graph


def test_outputs_and_several_inputs_can_be_written():
    nodes = (
        Node("a", OPS["linear"](4), ("left",)),
        Node("b", OPS["linear"](4), ("right",)),
        Node("c/d", OPS["add"](), ("b", "a")),
        Node("c", OPS["relu"](), ("a",)),
        Node("dead: end", OPS["relu"](), ("c/d",)),
    )
    graph = Graph("two in: two out", (Input("left", (5, 3)), Input("right", (5, 7))), nodes, ("c", "a", "c/d"))
    assert Spec(to_yaml(graph), "flat.yaml").build() == graph


def test_what_has_no_numbers_cannot_be_written():
    import sympy

    with pytest.raises(CostcalcError, match="set every size to a number"):
        to_yaml(load("nin", batch=sympy.Symbol("B", positive=True, integer=True)))


@st.composite
def graphs(draw):
    """Random graphs with branches, skips, joins, shared weights and several outputs."""
    builder = Builder("random", batch=draw(st.integers(1, 3)), channels=4, height=8, width=8)
    made = ["input"]
    parts = st.text("ab1_", min_size=1, max_size=3)
    for number in range(draw(st.integers(1, 8))):
        name = "/".join([*draw(st.lists(parts, max_size=2)), f"n{number}"])
        kind = draw(st.sampled_from(["conv", "relu", "add", "pool", "drop"]))
        some = draw(st.lists(st.sampled_from(made), min_size=2, max_size=3))
        if kind == "add":
            builder.add(name, OPS["add"](), *some)
        else:
            op = {
                "conv": OPS["conv2d"](4, (1, 3), padding=(0, 1), groups=draw(st.sampled_from([1, 2]))),
                "relu": OPS["leaky_relu"](draw(st.floats(0, 1)), draw(st.booleans())),
                "pool": OPS["avg_pool2d"](3, 1, 1),
                "drop": OPS["dropout"](0.25),
            }[kind]
            builder.add(name, op, some[0])
        made.append(name)
    return builder.build(*draw(st.lists(st.sampled_from(made[1:]), min_size=1, max_size=3, unique=True)))


@given(graphs())
@settings(max_examples=150, deadline=None)
def test_graph_to_yaml_to_graph_is_the_identity(graph):
    assert Spec(to_yaml(graph), "flat.yaml").build() == graph
