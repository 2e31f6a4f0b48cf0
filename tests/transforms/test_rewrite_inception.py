"""Inception modules without their 1×1 reductions, and with: on shipped networks, and on modules made by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from math import ceil
from time import process_time

import numpy
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st
from small_graphs import chain

import costcalc
from costcalc import OPS, Builder, CostcalcError, Graph, Input, Node, analyze, check, load, rewrite
from costcalc.transforms.dominators import immediate_dominators

GOOGLENET = [f"inception{name}" for name in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")]


def conv(channels, kernel=1, **fields):
    """A convolution that keeps the plane."""
    fields = {"padding": kernel // 2 if isinstance(kernel, int) else tuple(k // 2 for k in kernel), **fields}
    return OPS["conv2d"](channels, kernel, **fields)


RELU = OPS["relu"]()
CONCAT = OPS["concat"]()
POOL = OPS["max_pool2d"](3, stride=1, padding=1)


def graph(*layers, outputs=None, shape=(2, 12, 8, 8)):
    return chain(*layers, shape=shape, outputs=outputs)


def names(some):
    return [node.name for node in some.nodes]


def node_of(some, name):
    return next(node for node in some.nodes if node.name == name)


def reasons(step):
    return dict(step.skipped)


# -- GoogLeNet: the specs have both designs ---------------------------------------------------------------------------


def test_naive_inception_of_googlenet_is_its_naive_variant():
    done = rewrite(load("googlenet"), "naive-inception")
    assert done.after.nodes == load("googlenet-naive").nodes
    assert analyze(done.after).total().params == 97_526_008
    assert [entry.path for entry in done.changed] == GOOGLENET
    assert {entry.description for entry in done.changed} == {"removed 3x3/reduce, 5x5/reduce, pool/proj"}
    assert done.skipped == ()


@pytest.mark.parametrize("settings", [{}, {"aux": True}, {"batch": 3, "height": 160}, {"style": "torchvision"}])
def test_it_does_so_under_every_setting(settings):
    naive = load("googlenet-naive", **settings)
    assert rewrite(load("googlenet", **settings), "naive-inception").after.nodes == naive.nodes


def test_the_lecture_s_flops_of_the_naive_module():
    rows = {row.path: row for row in analyze(rewrite(load("googlenet"), "naive-inception").after).rows}
    assert rows["inception3a/5x5/conv/conv2d"].flops == 2 * 28 * 28 * 32 * 192 * 5 * 5 == 240_844_800
    assert rows["inception3a/3x3/conv/conv2d"].flops == 2 * 28 * 28 * 128 * 192 * 3 * 3 == 346_816_512
    assert rows["inception3a/concat"].output[1] == 64 + 128 + 32 + 192


@pytest.mark.parametrize("style", ["paper", "torchvision"])
def test_reduce_makes_the_layers_that_the_spec_has(style):
    """All of googlenet's, by name, kind, inputs and the way they are called: only the widths of 1×1s are others."""
    made = rewrite(load("googlenet-naive", style=style), "reduce:4").after
    written = load("googlenet", style=style)
    for one, other in zip(made.nodes, written.nodes, strict=True):
        assert (one.name, type(one.op), one.inputs, one.functional) == (
            other.name,
            type(other.op),
            other.inputs,
            other.functional,
        )
        if "/reduce/" not in one.name and "/proj/" not in one.name:
            assert one.op == other.op
        elif isinstance(one.op, OPS["conv2d"]):
            assert replace(one.op, out_channels=1) == replace(other.op, out_channels=1)


@pytest.mark.parametrize("ratio", [2, 3, 4, 7, 64])
@pytest.mark.parametrize("name", ["googlenet-naive", "inception_v3"])
def test_every_reduction_makes_the_share_of_what_comes_in_at_last(name, ratio):
    before = load(name)
    done = rewrite(before, f"reduce:{ratio}")
    there = set(names(before))
    new = [n for n in done.after.nodes if n.name not in there and isinstance(n.op, OPS["conv2d"])]
    assert len(new) == {"googlenet-naive": 27, "inception_v3": 3}[name]
    for layer in new:
        (shape,) = done.after.input_shapes(layer)
        assert layer.op.out_channels == ceil(shape[1] / ratio)
        assert done.after.shapes[layer.name] == (1, layer.op.out_channels, *shape[2:])


def test_a_module_is_reduced_by_what_the_one_before_now_makes():
    done = rewrite(load("googlenet-naive"), "reduce:4")
    first, second = 192, 64 + 128 + 32 + 192 // 4
    assert [entry.description for entry in done.changed[:2]] == [
        f"added 3x3/reduce, 5x5/reduce, pool/proj of {first // 4} channels",
        f"added 3x3/reduce, 5x5/reduce, pool/proj of {second // 4} channels",
    ]
    rows = {row.path: row for row in analyze(done.after).rows}
    assert rows["inception3a/5x5/reduce/conv2d"].macs == 28 * 28 * 192 * 48
    assert rows["inception3a/5x5/conv/conv2d"].macs == 28 * 28 * 48 * 32 * 5 * 5
    assert rows["inception3b/pool/proj/conv2d"].params == 272 * 68 + 68


@pytest.mark.parametrize("ratio", [2, 4, 5])
@pytest.mark.parametrize("style", ["paper", "torchvision"])
def test_reduced_and_naive_again_is_what_was(ratio, style):
    naive = load("googlenet-naive", style=style)
    assert rewrite(naive, f"reduce:{ratio}", "naive-inception").after.nodes == naive.nodes


def test_a_reduced_network_has_nothing_to_reduce():
    done = rewrite(load("googlenet"), "reduce")
    assert done.after is done.before
    assert [entry.path for entry in done.skipped] == [
        f"{module}/{path}" for module in GOOGLENET for path in ("3x3/reduce", "5x5/reduce", "pool/proj")
    ]
    assert {entry.reason for entry in done.skipped} == {"it is a 1×1 reduction"}


def test_the_ratio_is_4_unless_given():
    naive = load("googlenet-naive")
    assert rewrite(naive, "reduce").after.nodes == rewrite(naive, "reduce:4").after.nodes


@pytest.mark.parametrize("text", ["0.25", "1", "0", "-4", "x", "٤", "1/4"])
def test_a_ratio_that_is_none(text):
    message = f"reduce:{text}: RATIO, the divisor of the channels, must be an integer of at least 2, not {text!r}"
    with pytest.raises(CostcalcError) as error:
        rewrite(load("googlenet"), f"reduce:{text}")
    assert str(error.value) == message


# -- Inception v3: branches of several layers, a concat in a concat, pools that stride --------------------------------


def test_inception_v3_without_reductions():
    done = rewrite(load("inception_v3", aux=True), "naive-inception")
    assert done.skipped == ()
    assert {entry.path: entry.description.removeprefix("removed ") for entry in done.changed} == {
        **dict.fromkeys(["mixed5b", "mixed5c", "mixed5d"], "5x5/reduce, 3x3dbl/reduce, pool/proj"),
        "mixed6a": "3x3dbl/reduce",
        **dict.fromkeys(["mixed6b", "mixed6c", "mixed6d", "mixed6e"], "7x7/reduce, 7x7dbl/reduce, pool/proj"),
        "mixed7a": "3x3/reduce, 7x7x3/reduce",
        **dict.fromkeys(["mixed7b", "mixed7c"], "3x3/reduce, 3x3dbl/reduce, pool/proj"),
    }
    after = done.after
    assert not any("/reduce/" in name or "/proj/" in name for name in names(after))
    assert node_of(after, "mixed7b/1x1/conv/conv2d") == node_of(done.before, "mixed7b/1x1/conv/conv2d")
    # what read the reduction reads the fork, both kernels of it
    for path in ("1x3", "3x1"):
        assert node_of(after, f"mixed7b/3x3/wide/{path}/conv2d").inputs == ("mixed7a/concat",)
    assert "aux/conv0/conv2d" in names(after)  # a 1×1 after a pool, and in no module


def test_inception_v3_gains_reductions_where_it_has_none():
    done = rewrite(load("inception_v3"), "reduce")
    incoming = 64 + 64 + 96 + 64
    assert done.changed == (
        ("mixed6a", f"added 3x3/reduce, pool/proj of {incoming // 4} channels"),
        ("mixed7a", f"added pool/proj of {768 // 4} channels"),
    )
    assert [n.name for n in done.after.select("mixed6a/pool")] == [
        "mixed6a/pool/max_pool2d", "mixed6a/pool/proj/conv2d", "mixed6a/pool/proj/bn", "mixed6a/pool/proj/relu",
    ]  # fmt: skip


# -- places -----------------------------------------------------------------------------------------------------------


def test_layers_before_the_first_changed_module_cost_what_they_cost():
    before = load("googlenet")
    rows = analyze(before).rows
    after = analyze(rewrite(before, "naive-inception", at="inception5b").after).rows
    untouched = [row for row in rows if not row.path.startswith(("inception5b", "head"))]
    assert after[: len(untouched)] == tuple(untouched)


@pytest.mark.parametrize(
    ("at", "did"),
    [
        ("inception4a", "removed 3x3/reduce, 5x5/reduce, pool/proj"),
        ("inception4a/concat", "removed 3x3/reduce, 5x5/reduce, pool/proj"),
        ("inception4a/5x5", "removed 5x5/reduce"),
        ("inception4a/5x5/reduce/conv2d", "removed 5x5/reduce"),
    ],
)
def test_a_module_or_a_branch_of_it(at, did):
    done = rewrite(load("googlenet"), "naive-inception", at=at)
    assert done.changed == (("inception4a", did),)
    assert done.skipped == ()


@pytest.mark.parametrize("at", ["inception4a/5x5", "inception4a/5x5/conv/conv2d"])
def test_reducing_one_branch(at):
    done = rewrite(load("googlenet-naive"), "reduce:4", at=at)
    assert [entry.path for entry in done.changed] == ["inception4a"]
    assert done.changed[0].description.startswith("added 5x5/reduce of ")


def test_modules_without_groups_are_called_by_their_concat_and_their_layers_by_name():
    flat = graph(
        ("stem", conv(8)), ("c3", conv(6, 3)), ("r3", RELU), ("p", POOL, "stem"), ("joined", CONCAT, "r3", "p"),
    )  # fmt: skip
    done = rewrite(flat, "reduce:2")
    assert done.changed == (("joined", "added c3_reduce, p_proj of 4 channels"),)
    assert [(n.name, n.inputs) for n in done.after.nodes] == [
        ("stem", ("input",)),
        ("c3_reduce/conv2d", ("stem",)),
        ("c3_reduce/relu", ("c3_reduce/conv2d",)),
        ("c3", ("c3_reduce/relu",)),
        ("r3", ("c3",)),
        ("p", ("stem",)),
        ("p_proj/conv2d", ("p",)),
        ("p_proj/relu", ("p_proj/conv2d",)),
        ("joined", ("r3", "p_proj/relu")),
    ]
    again = rewrite(done.after, "naive-inception")
    assert again.changed == (("joined", "removed c3_reduce, p_proj"),)
    assert again.after.nodes == flat.nodes


def test_two_modules_in_one_group_are_called_by_their_concats():
    two = graph(
        ("net/a", conv(4, 3)), ("net/join", CONCAT, "net/a", "input"),
        ("net/b", conv(4, 3)), ("net/join_2", CONCAT, "net/b", "net/join"),
    )  # fmt: skip
    done = rewrite(two, "reduce:2")
    assert done.changed == (
        ("net/join", "added net/a_reduce of 6 channels"),
        ("net/join_2", "added net/b_reduce of 8 channels"),
    )
    assert names(done.after) == ["net/a_reduce", "net/a", "net/join", "net/b_reduce", "net/b", "net/join_2"]


def test_a_name_that_is_taken_is_numbered():
    taken = graph(
        ("m/b/conv", conv(4, 3)), ("m/b/reduce", RELU), ("m/join", CONCAT, "m/b/reduce", "input"),
    )  # fmt: skip
    assert names(rewrite(taken, "reduce:2").after)[:2] == ["m/b/reduce_2/conv", "m/b/reduce_2/reduce"]


def test_a_unit_is_like_the_one_that_it_serves():
    """Batch norm and its settings, bias, activation, the way it is called; a PReLU learns for its own channels."""
    b = Builder("like", channels=8, height=8, width=8)
    b.add("m/3x3/c", conv(6, 3, bias=False))
    b.add("m/3x3/n", OPS["batch_norm2d"](eps=0.5))
    b.add("m/3x3/a", OPS["prelu"](6))
    b.add("m/5x5", conv(4, 5), "input")
    b.add("m/pool", OPS["avg_pool2d"](3, stride=1, padding=1), "input")
    b.add("m/join", CONCAT, "m/3x3/a", "m/5x5", "m/pool")
    after = rewrite(b.build(), "reduce:4").after
    assert [(n.name, n.op) for n in after.nodes] == [
        ("m/3x3/reduce/c", conv(2, bias=False)),
        ("m/3x3/reduce/n", OPS["batch_norm2d"](eps=0.5)),
        ("m/3x3/reduce/a", OPS["prelu"](2)),
        ("m/3x3/c", conv(6, 3, bias=False)),
        ("m/3x3/n", OPS["batch_norm2d"](eps=0.5)),
        ("m/3x3/a", OPS["prelu"](6)),
        ("m/5x5_reduce", conv(2)),
        ("m/5x5", conv(4, 5)),
        ("m/pool", OPS["avg_pool2d"](3, stride=1, padding=1)),
        ("m/pool_proj/c", conv(2, bias=False)),
        ("m/pool_proj/n", OPS["batch_norm2d"](eps=0.5)),
        ("m/pool_proj/a", OPS["prelu"](2)),
        ("m/join", CONCAT),
    ]
    assert rewrite(after, "naive-inception").after.nodes == b.build().nodes


def test_kernels_that_are_long_one_way_strided_or_dilated_are_larger_ones():
    odd = graph(
        ("wide", conv(4, (1, 3), stride=2)), ("tall", conv(4, (3, 1), stride=2), "input"),
        ("far", conv(4, 3, stride=2, padding=2, dilation=2), "input"),
        ("half", conv(4, 1, stride=2), "input"),  # a 1×1 that strides reduces the plane: no reduction, no larger kernel
        ("join", CONCAT, "wide", "tall", "far", "half"),
    )  # fmt: skip
    done = rewrite(odd, "reduce:3")
    assert done.changed == (("join", "added wide_reduce, tall_reduce, far_reduce of 4 channels"),)
    assert done.after.shapes["join"] == odd.shapes["join"]
    assert rewrite(done.after, "naive-inception").after.nodes == odd.nodes


def test_a_module_of_squeezenet_and_one_of_densenet_s_kind():
    """Its fork is what the expanding convolutions read; a concat of the fork and what is made of it is a module, too."""
    fire = graph(
        ("squeeze", conv(4)), ("e1", conv(8)), ("e3", conv(8, 3), "squeeze"), ("join", CONCAT, "e1", "e3"),
    )  # fmt: skip
    assert rewrite(fire, "reduce:2").changed == (("join", "added e3_reduce of 2 channels"),)
    assert reasons(rewrite(fire, "naive-inception")) == {"join": "it has no 1×1 reduction"}
    dense = graph(
        ("d1/c1", conv(8)), ("d1/c3", conv(4, 3)), ("join_1", CONCAT, "input", "d1/c3"),
        ("d2/c1", conv(8)), ("d2/c3", conv(4, 3)), ("join_2", CONCAT, "input", "d1/c3", "d2/c3"),
    )  # fmt: skip
    done = rewrite(dense, "naive-inception")
    assert done.changed == (("join_1", "removed d1/c1"),)  # what d2 reads is no fork of join_2: the input is
    assert rewrite(dense, "naive-inception").after.shapes["join_2"] == dense.shapes["join_2"]


def test_a_branch_in_two_modules_is_changed_once():
    both = graph(
        ("r", conv(4)), ("c", conv(4, 3)), ("one", CONCAT, "c", "input"), ("deep", conv(4, 3), "one"),
        ("two", CONCAT, "deep", "c"),
    )  # fmt: skip
    done = rewrite(both, "naive-inception")
    assert [entry.path for entry in done.changed] == ["one"]
    assert names(done.after) == ["c", "one", "deep", "two"]


def test_a_module_in_a_branch_of_another_is_its_own():
    outer = graph(
        ("o/r", conv(4)), ("o/c", conv(6, 3)),
        ("o/i/r", conv(2)), ("o/i/c", conv(5, 3)), ("o/i/join", CONCAT, "o/i/c", "o/c"),
        ("o/end", conv(7, 3)), ("o/join", CONCAT, "o/end", "input"),
    )  # fmt: skip
    done = rewrite(outer, "naive-inception")
    assert done.changed == (("o/i", "removed r"), ("o", "removed r"))
    assert names(done.after) == ["o/c", "o/i/c", "o/i/join", "o/end", "o/join"]


# -- what is left, and why --------------------------------------------------------------------------------------------


def test_what_is_no_module_is_not_spoken_of():
    rows = graph(("a", conv(4, 3)), ("b", conv(4, 3), "input"), ("join", OPS["concat"](dim=2), "a", "b"))
    flat = graph(("f", OPS["flatten"]()), ("join", CONCAT, "f", "f"))
    alone = graph(("a", conv(4, 3)), ("join", CONCAT, "a"))
    for none in (rows, flat, alone, load("vgg16"), load("resnet50")):
        for move in ("naive-inception", "reduce:4"):
            done = rewrite(none, move)
            assert (done.after is none, done.changed, done.skipped) == (True, (), ())


def test_branches_from_two_inputs_have_no_fork():
    two = Graph(
        "two",
        (Input("left", (1, 4, 8, 8)), Input("right", (1, 4, 8, 8))),
        (Node("a", conv(4, 3), ("left",)), Node("b", conv(4, 3), ("right",)), Node("join", CONCAT, ("a", "b"))),
        ("join",),
    )
    for move in ("naive-inception", "reduce:4"):
        assert rewrite(two, move).skipped == (("join", "its branches come from different inputs of the network"),)
        assert rewrite(two, move, at="a").skipped == ()


MODULE = [("r", conv(4)), ("c", conv(6, 3)), ("join", CONCAT, "c", "input")]


@pytest.mark.parametrize(
    ("layers", "outputs", "reason"),
    [
        ([MODULE[0], ("c", conv(6)), MODULE[2]], None, "layers other than larger convolutions read it"),
        ([*MODULE[:2], ("join", CONCAT, "c", "r", "input")], None, "layers other than larger convolutions read it"),
        ([*MODULE, ("also", RELU, "r")], ("join", "also"), "layers other than larger convolutions read it"),
        (MODULE, ("join", "r"), "it is an output of the network"),
        ([MODULE[0], ("c", conv(4, 3, groups=4)), MODULE[2]], None, "a grouped convolution reads it"),
    ],
)
def test_why_a_reduction_stays(layers, outputs, reason):
    done = rewrite(graph(*layers, outputs=outputs), "naive-inception")
    assert done.after is done.before
    assert reasons(done) == {"r": reason}


@pytest.mark.parametrize(
    ("shared", "reason"),
    [
        ("r", "its parameters are shared with another layer"),
        ("c", "a convolution that reads it shares its parameters with another layer"),
    ],
)
def test_shared_parameters_stay(shared, reason):
    b = Builder("shared", channels=4, height=8, width=8)
    for name, op, *inputs in [("r", conv(4)), ("c", conv(4, 3)), ("join", CONCAT, "c", "input"), ("end", conv(4))]:
        b.add(name, op, *inputs)
    b.add("other", conv(4) if shared == "r" else conv(4, 3), shares=shared)
    assert reasons(rewrite(b.build(), "naive-inception")) == {"r": reason}
    if shared == "c":  # without its reduction, as reduce finds it
        b.nodes = [Node("c", conv(4, 3), ("input",)), *b.nodes[2:]]
        assert reasons(rewrite(b.build(), "reduce")) == {"c": "its parameters are shared with another layer"}


def test_a_pool_s_1x1_goes_before_larger_kernels_too_and_stays_before_others():
    pooled = graph(
        ("p", POOL), ("r", conv(4)), ("c", conv(6, 3)), ("q", OPS["avg_pool2d"](3, stride=1, padding=1), "input"),
        ("s", conv(4)), ("relu", RELU), ("t", conv(6)), ("join", CONCAT, "c", "t"),
    )  # fmt: skip
    done = rewrite(pooled, "naive-inception")
    assert done.changed == (("join", "removed r"),)
    assert reasons(done) == {"s": "layers other than larger convolutions read it"}
    assert reasons(rewrite(pooled, "reduce")) == {"r": "it is a 1×1 reduction"}


def test_why_a_branch_is_not_reduced():
    grouped = graph(("g", conv(12, 3, groups=12)), ("join", CONCAT, "g", "input"))
    assert reasons(rewrite(grouped, "reduce")) == {"g": "it is a grouped convolution"}
    pyramid = graph(
        ("p3", POOL), ("p5", OPS["max_pool2d"](5, stride=1, padding=2), "input"), ("join", CONCAT, "p3", "p5")
    )
    assert set(reasons(rewrite(pyramid, "reduce")).values()) == {
        "its module has no convolution whose form a reduction could take"
    }
    # a pool that others read, too, ends no branch; a norm before the kernel is another order
    other = graph(
        ("p", POOL), ("n", OPS["batch_norm2d"](), "input"), ("c", conv(4, 3)), ("join", CONCAT, "p", "c"), ("end", RELU, "p"),
        outputs=("join", "end"),
    )  # fmt: skip
    assert reasons(rewrite(other, "reduce")) == {
        "join": "no branch starts with a larger convolution or ends with a pool"
    }


def test_a_u_net_s_skips_are_no_inception_modules():
    net = graph(
        ("e1", conv(4, 3)), ("down", OPS["max_pool2d"](2)), ("e2", conv(8, 3)), ("d2", conv(4)),
        ("up", OPS["unknown"]("upsample", shape=(4, 8, 8))), ("join", CONCAT, "up", "e1"), ("end", conv(4, 3)),
    )  # fmt: skip
    for move in ("naive-inception", "reduce"):
        done = rewrite(net, move)
        assert done.changed == ()
        assert [entry.path for entry in done.skipped] == ["join"]


# -- sizes of every carrier -------------------------------------------------------------------------------------------


def sized(channels):
    return graph(
        ("m/3x3", conv(8, 3)), ("m/pool", POOL, "input"), ("m/join", CONCAT, "m/3x3", "m/pool"),
        ("n/3x3", conv(8, 3)), ("n/join", CONCAT, "n/3x3", "m/join"), shape=(1, channels, 6, 6),
    )  # fmt: skip


def test_a_form_and_an_array_equal_the_numbers():
    c = sympy.Symbol("c", integer=True, positive=True)
    sizes = [4, 5, 7, 192]
    form, array = (rewrite(sized(channels), "reduce:4").after for channels in (c, numpy.array(sizes)))
    for i, size in enumerate(sizes):
        plain = analyze(rewrite(sized(size), "reduce:4").after).total()
        assert sympy.sympify(analyze(form).total().params).subs(c, size) == plain.params
        assert analyze(array).total().params[i] == plain.params
        assert analyze(array).total().macs[i] == plain.macs
    assert rewrite(sized(4 * c), "reduce:4").after.shapes["m/pool_proj"][1] == c


@pytest.mark.parametrize(
    ("name", "move"), [("googlenet", "naive-inception"), ("googlenet-naive", "reduce:4"), ("inception_v3", "reduce:3")]
)
def test_torch_agrees(name, move):
    found = check(rewrite(load(name), move).after, device="meta")
    assert found.compared > 500
    assert found.differences == ()


# -- forks ------------------------------------------------------------------------------------------------------------


@st.composite
def random_graphs(draw):
    count = draw(st.integers(1, 12))
    inputs = tuple(Input(f"in{i}", (1, 2, 4, 4)) for i in range(draw(st.integers(1, 2))))
    tensors = [name for name, *_ in inputs]
    nodes = []
    for i in range(count):
        read = draw(st.lists(st.sampled_from(tensors), min_size=1, max_size=3))
        nodes.append(Node(f"n{i}", CONCAT, tuple(read)))
        tensors.append(f"n{i}")
    return Graph("random", inputs, tuple(nodes), (nodes[-1].name,))


@given(random_graphs())
def test_a_fork_is_the_nearest_tensor_without_which_a_join_is_out_of_reach(some):
    """By the definition: take a tensor away, and see what the inputs still reach."""
    found = immediate_dominators(some)
    order = [*(name for name, *_ in some.inputs), *names(some)]
    without = {}
    for gone in order:
        reached = {name for name, *_ in some.inputs} - {gone}
        for node in some.nodes:
            if node.name != gone and reached & set(node.inputs):
                reached.add(node.name)
        without[gone] = reached
    for tensor in order:
        needed = [gone for gone in order if gone != tensor and tensor not in without[gone]]
        assert found[tensor] == (needed[-1] if needed else None)


def long_graph(length):
    """A chain, and joins of its end with each tensor of it: from the end up to the fork is half the chain on average."""
    nodes = [Node(f"n{i}", RELU, (f"n{i - 1}" if i else "input",)) for i in range(length)]
    nodes += [Node(f"j{i}", OPS["add"](), (f"n{i}", nodes[-1].name)) for i in range(length)]
    return Graph("long", (Input("input", (1, 1, 1, 1)),), tuple(nodes), (nodes[-1].name,))


def test_forks_are_found_without_walking_the_way_up():
    """Four times the layers: four times the time, and a little; walking up would take sixteen times."""

    def seconds(some):
        best = 60.0
        for _ in range(5):
            start = process_time()
            immediate_dominators(some)
            best = min(best, process_time() - start)
        return best

    small, large = long_graph(2_000), long_graph(8_000)
    found = immediate_dominators(small)
    assert all(found[f"j{i}"] == f"n{i}" for i in range(2_000))
    assert seconds(large) < 9 * seconds(small)


def test_modules_of_every_architecture_come_one_after_the_other():
    for name in costcalc.architectures():
        places = [entry.path for entry in rewrite(load(name), "naive-inception").changed]
        order = [list(dict.fromkeys(n.name.split("/")[0] for n in load(name).nodes)).index(p) for p in places]
        assert all(a < b for a, b in pairwise(order))
