"""A stem in front of a network: what it is made of, what follows saves, and where there is one already."""

from __future__ import annotations

import re
from fractions import Fraction

import pytest
import sympy
from small_graphs import chain

import costcalc
from costcalc import Builder, CostcalcError, Graph, Input, Node, analyze, load, rewrite
from costcalc.analysis.receptive_field import receptive_fields
from costcalc.ir.ops import OPS

conv, relu, norm, pool = OPS["conv2d"], OPS["relu"], OPS["batch_norm2d"], OPS["max_pool2d"]
LACKING = [name for name in costcalc.architectures() if name.startswith("vgg") or name.endswith("-cifar")]


def rows(graph):
    return {row.path: row for row in analyze(graph).rows}


@pytest.mark.parametrize("name", costcalc.architectures())
def test_a_network_gets_a_stem_or_has_one(name):
    done = rewrite(load(name), "stem:2")
    if name in LACKING:
        assert len(done.changed) == 1
        assert done.skipped == ()
        # what follows is what it was, in the same order
        assert [(node.name, node.op) for node in done.before.nodes] == [
            (node.name, node.op) for node in done.after.nodes[-len(done.before.nodes) :]
        ]
        assert [done.after.shapes[output] for output in done.after.outputs] == [
            done.before.shapes[output] for output in done.before.outputs
        ]
    else:
        assert done.after is done.before
        (skip,) = done.skipped
        assert re.fullmatch("it already reduces the image by [0-9×]+: the network has a stem", skip.reason)


@pytest.mark.parametrize("stride", [2, 4, 8])
def test_what_a_stem_is_made_of(stride):
    large, small = conv(64, 7, stride=2, padding=3), conv(64, 3, padding=1)
    halving = pool(3, stride=2, padding=1)
    expected = [("stem/conv1", large), ("stem/relu1", relu())]
    expected += [("stem/pool1", halving)] if stride > 2 else []
    expected += [("stem/conv2", small), ("stem/relu2", relu()), ("stem/pool2", halving)] if stride > 4 else []
    done = rewrite(load("vgg16", height=512, width=512), f"stem:{stride}")
    assert [(node.name, node.op) for node in done.after.extract("stem").nodes] == expected
    assert done.after.shapes[expected[-1][0]] == (1, 64, 512 // stride, 512 // stride)
    assert receptive_fields(done.after)[expected[-1][0]][0].stride == stride
    made_of = {2: "7×7", 4: "7×7, max pool", 8: "7×7, max pool, 3×3, max pool"}[stride]
    assert done.changed == (("stage1/conv_1/conv2d", f"now after stem: {made_of}"),)


def test_a_stem_has_the_norm_and_lacks_the_bias_where_the_first_convolution_does():
    done = rewrite(load("resnet20-cifar"), "stem:8")
    assert [(node.name, node.op) for node in done.after.extract("stem_2").nodes] == [
        ("stem_2/conv1", conv(16, 7, stride=2, padding=3, bias=False)),
        ("stem_2/bn1", norm()),
        ("stem_2/relu1", relu()),
        ("stem_2/pool1", pool(3, stride=2, padding=1)),
        ("stem_2/conv2", conv(16, 3, padding=1, bias=False)),
        ("stem_2/bn2", norm()),
        ("stem_2/relu2", relu()),
        ("stem_2/pool2", pool(3, stride=2, padding=1)),
    ]
    assert done.changed == (("stem/conv1", "now after stem_2: 7×7, max pool, 3×3, max pool"),)
    assert done.after.shapes["stem/conv1"] == (1, 16, 4, 4)


def test_vgg16_after_a_stem_of_2_works_a_quarter_by_hand():
    done = rewrite(load("vgg16"), "stem:2")
    before, after = rows(done.before), rows(done.after)
    for path, row in before.items():
        if row.op == "conv2d" and path != "stage1/conv_1/conv2d":
            assert row.macs == 4 * after[path].macs
            assert row.params == after[path].params
    # the stem, 7·7·3·64 weights at 112²; the first convolution, which now takes 64 channels, not 3, at 112²
    assert after["stem/conv1"].macs == 147 * 64 * 112**2 == 118_013_952
    assert after["stage1/conv_1/conv2d"].macs == 9 * 64 * 64 * 112**2
    # the head flattens 512·3², not 512·7²
    assert before["head/fc1"].params == 512 * 49 * 4096 + 4096
    assert after["head/fc1"].params == 512 * 9 * 4096 + 4096


def test_vgg16_after_a_stem_of_4_by_hand():
    done = rewrite(load("vgg16"), "stem:4")
    stem = 7 * 7 * 3 * 64 + 64
    first = 9 * 64 * 64 - 9 * 3 * 64  # what the first convolution has more
    head = (512 * 7 * 7 - 512) * 4096  # 224 / 4 / 32 leaves 1×1 of the plane
    total = analyze(done.after).total()
    assert total.params == 138_357_544 + stem + first - head == 37_738_856
    before, after = rows(done.before), rows(done.after)
    for path in ("stage1/conv_2/conv2d", "stage2/conv_1/conv2d", "stage3/conv_3/conv2d", "stage4/conv_2/conv2d"):
        assert before[path].macs == 16 * after[path].macs
    assert before["stage5/conv_1/conv2d"].macs * 9 == after["stage5/conv_1/conv2d"].macs * 14**2  # 14 / 4 is 3


@pytest.mark.parametrize("stride", [2, 4, 8])
def test_what_follows_costs_stride_squared_less(stride):
    """Sizes that the strides divide: all but the stem, the first convolution and the head work 1/STRIDE²."""
    done = rewrite(load("resnet20-cifar", height=64, width=96), f"stem:{stride}")
    before, after = rows(done.before), rows(done.after)
    for path, row in before.items():
        if path.startswith("layer"):
            assert Fraction(after[path].macs, row.macs or 1) == (Fraction(1, stride**2) if row.macs else 0)
            assert after[path].activations * stride**2 == row.activations
            assert after[path].params == row.params


def test_plain_networks_have_a_stem_unless_they_are_asked_not_to():
    assert not rewrite(load("plain18"), "stem:4").changed
    without = load("plain18", stem="cifar")
    done = rewrite(without, "stem:4")
    assert done.changed == (("stem/conv1", "now after stem_2: 7×7, max pool"),)
    # a 7×7 and a max pool are the paper's stem: the stages after it cost what they cost in the paper's network
    paper, made = analyze(load("plain18")), analyze(done.after)
    for stage in ("layer1", "layer2", "layer3"):
        one, other = paper.below(stage).total(), made.below(stage).total()
        assert (one.params, one.work, one.activations) == (other.params, other.work, other.activations)
    assert made.below("stem_2").total().params == paper.below("stem").total().params


@pytest.mark.parametrize(("name", "move"), [("vgg11_bn", "stem:4"), ("resnet20-cifar", "stem:8")])
def test_torch_builds_what_was_made_and_measures_the_same(name, move):
    after = rewrite(load(name), move).after
    checked = costcalc.check(after, device="meta")
    assert checked.compared > 5 * len(after.nodes)
    assert checked.differences == ()


def test_applied_again_there_is_a_stem():
    once = rewrite(load("vgg11"), "stem:2").after
    again = rewrite(once, "stem:4")
    assert again.after is once
    assert again.skipped == (("stem/conv1", "it already reduces the image by 2: the network has a stem"),)


@pytest.mark.parametrize("height", [31, 32, 33, 34])
def test_odd_planes_are_rounded_up_by_each_stride(height):
    done = rewrite(load("resnet20-cifar", height=height, width=40), "stem:4")
    assert done.after.shapes["stem_2/pool1"] == (1, 16, -(-height // 4), 10)


def test_over_symbols():
    h, w, c = sympy.symbols("H W C", integer=True, positive=True)
    graph = chain(("a", conv(c, 3, padding=1)), ("r", relu()), ("b", conv(2 * c, 3, padding=1)), shape=(1, 3, h, w))
    form = analyze(rewrite(graph, "stem:2").after).total()
    for height, width, channels in ((32, 48, 16), (33, 47, 8)):
        number = chain(
            ("a", conv(channels, 3, padding=1)), ("r", relu()), ("b", conv(2 * channels, 3, padding=1)),
            shape=(1, 3, height, width),
        )  # fmt: skip
        expected = analyze(rewrite(number, "stem:2").after).total()
        values = {h: height, w: width, c: channels}
        assert form.macs.subs(values) == expected.macs
        assert sympy.sympify(form.params).subs(values) == expected.params


# -- graphs that are no spec's ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "place", "reason"),
    [
        ([("a", conv(4, 11, stride=4))], "a", "it already reduces the image by 4: the network has a stem"),
        ([("a", conv(4, 3, stride=(1, 2)))], "a", "it already reduces the image by 1×2: the network has a stem"),
        (
            [("pool", pool(2)), ("a", conv(4, 3))],
            "pool",
            "it already reduces the image by 2: the network has a stem",
        ),
        ([("flat", OPS["flatten"]()), ("fc", OPS["linear"](4))], "flat", "the network has no convolution"),
    ],
)
def test_why_there_is_no_stem(layers, place, reason):
    graph = chain(*layers, shape=(1, 3, 32, 32))
    done = rewrite(graph, "stem:2")
    assert done.skipped == ((place, reason),)
    assert done.after is graph


def test_layers_before_the_first_convolution_read_the_stem():
    graph = chain(("bn", norm()), ("pad", OPS["pad"](1)), ("a", conv(4, 3)), ("act", OPS["silu"]()))
    after = rewrite(graph, "stem:2").after
    assert [(node.name, node.inputs) for node in after.nodes] == [
        ("stem/conv1", ("input",)),
        ("stem/silu1", ("stem/conv1",)),
        ("bn", ("stem/silu1",)),
        ("pad", ("bn",)),
        ("a", ("pad",)),
        ("act", ("a",)),
    ]
    assert after.nodes[0].op == conv(4, 7, stride=2, padding=3)


def test_all_that_read_the_image_read_the_stem():
    b = Builder("two", channels=3, height=32, width=32)
    b.add("a", conv(4, 3, padding=1, groups=1))
    b.add("b", conv(4, 1), "input")
    b.add("sum", OPS["add"](), "a", "b")
    after = rewrite(b.build(), "stem:4").after
    assert [node.inputs for node in after.nodes[3:]] == [("stem/pool1",), ("stem/pool1",), ("a", "b")]
    # no activation is the convolution's own, so the stem has ReLU
    assert after.nodes[1] == Node("stem/relu1", relu(), ("stem/conv1",))


def test_groups_and_dilation_of_the_first_convolution_are_not_the_stems():
    graph = chain(("a", conv(6, 3, padding=2, dilation=2, groups=3)), shape=(1, 3, 32, 32))
    assert rewrite(graph, "stem:2").after.nodes[0].op == conv(6, 7, stride=2, padding=3)


def test_only_the_image_that_leads_to_the_first_convolution():
    nodes = (
        Node("a", conv(4, 3, padding=1), ("image",)),
        Node("pool", OPS["global_avg_pool2d"](), ("a",)),
        Node("flat", OPS["flatten"](), ("pool",)),
        Node("fc", OPS["linear"](4), ("facts",)),
        Node("both", OPS["add"](), ("flat", "fc")),
    )
    graph = Graph("facts", (Input("facts", (1, 7)), Input("image", (1, 3, 32, 32))), nodes, ("both",))
    after = rewrite(graph, "stem:2").after
    assert after.nodes[0].inputs == ("image",)
    assert next(node for node in after.nodes if node.name == "fc").inputs == ("facts",)

    shape = (1, 3, 32, 32)
    joined = (Node("sum", OPS["add"](), ("left", "right")), Node("a", conv(4, 3), ("sum",)))
    graph = Graph("pair", (Input("left", shape), Input("right", shape)), joined, ("a",))
    assert rewrite(graph, "stem:2").skipped == (("a", "the network has several images as inputs"),)


def test_a_selector_that_leaves_out_the_first_convolution_leaves_out_the_stem():
    graph = load("vgg11")
    assert rewrite(graph, "stem:2", at="stage1").changed
    done = rewrite(graph, "stem:2", at="stage2")
    assert done.after is graph
    assert done.skipped == ()
    assert rewrite(chain(("flat", OPS["flatten"]()), ("fc", OPS["linear"](4))), "stem:2", at="fc").skipped == ()


# -- mistakes -----------------------------------------------------------------------------------------------------------


def test_a_plane_that_becomes_too_small_says_where_and_what_may_help():
    with pytest.raises(CostcalcError) as error:
        rewrite(load("vgg16"), "stem:8")
    first, second = str(error.value).split("\n")
    assert first == (
        "stem:8 cannot be applied to vgg16: its layers would not fit together; try a smaller stride or a larger input"
    )
    assert second.endswith("stage5/pool: a kernel of 2 is larger than the input of 1 in height")
    assert rewrite(load("vgg16", height=256, width=256), "stem:8").changed


def test_a_skip_round_the_first_convolution_that_no_longer_fits():
    b = Builder("skip", channels=3, height=32, width=32)
    b.add("a", conv(8, 3, padding=1))
    b.add("b", conv(3, 3, padding=1))
    b.add("sum", OPS["add"](), "b", "input")
    with pytest.raises(CostcalcError, match="sum: add takes inputs that agree in channels, not 3 and 8"):
        rewrite(b.build(), "stem:2")


@pytest.mark.parametrize("move", ["stem:3", "stem:two", "stem:16"])
def test_strides_that_are_none(move):
    with pytest.raises(CostcalcError, match=f"^{move}: the stride of a stem is 2, 4 or 8, not "):
        rewrite(load("vgg11"), move)


def test_a_stride_must_be_given():
    with pytest.raises(CostcalcError, match=r"^stem needs an argument: stem:STRIDE$"):
        rewrite(load("vgg11"), "stem")
