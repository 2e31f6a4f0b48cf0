"""Residual blocks: basic and bottleneck into each other, and the options for their shortcuts."""

from __future__ import annotations

from itertools import product

import numpy
import pytest
import sympy
from small_graphs import chain

import costcalc
from costcalc import OPS, Builder, CostcalcError, analyze, check, load, rewrite

RESNETS = [name for name in costcalc.architectures() if name.startswith("resnet")]
RELU, ADD, NORM = OPS["relu"](), OPS["add"](), OPS["batch_norm2d"]()


def conv(channels, kernel=1, **fields):
    """A convolution that keeps the plane."""
    fields = {"padding": kernel // 2 if isinstance(kernel, int) else tuple(k // 2 for k in kernel), **fields}
    return OPS["conv2d"](channels, kernel, **fields)


def graph(*layers, outputs=None, shape=(2, 8, 8, 8)):
    return chain(*layers, shape=shape, outputs=outputs)


def written(some):
    return [(node.name, node.op, node.inputs) for node in some.nodes]


def params(some, below=""):
    return analyze(some).below(below).total().params if below else analyze(some).total().params


# -- shortcuts: the spec has all three --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RESNETS)
def test_every_option_into_every_other_is_the_spec_s_own(name):
    for one, other in product("ABC", repeat=2):
        done = rewrite(load(name, shortcut=one), f"shortcut:{other}")
        assert done.after.nodes == load(name, shortcut=other).nodes
        places = [entry.path for entry in (*done.changed, *done.skipped)]
        blocks = [node.name.removesuffix("/add") for node in done.before.nodes if node.op == ADD]
        assert sorted(places) == sorted(blocks)


def test_what_the_options_of_resnet_34_cost():
    """He et al., 2015, section 3.3: B projects where the shape changes, C everywhere, A has no parameters."""
    b = load("resnet34")
    a, c = (rewrite(b, f"shortcut:{option}").after for option in "AC")
    changing = sum(n * 2 * n + 2 * (2 * n) for n in (64, 128, 256))
    others = 3 * (64 * 64 + 2 * 64) + 3 * (128 * 128 + 2 * 128) + 5 * (256 * 256 + 2 * 256) + 2 * (512 * 512 + 2 * 512)
    assert params(b) - params(a) == changing == 173_824
    assert params(c) - params(b) == others
    assert [params(each) for each in (a, b, c)] == [21_623_848, 21_797_672, 22_716_840]


def test_what_is_said_of_shortcuts():
    done = rewrite(load("resnet18"), "shortcut:A")
    assert done.changed == tuple(
        (f"layer{n}/block_1", "a 1×1 convolution → zeros for missing channels") for n in (2, 3, 4)
    )
    assert dict(done.skipped) == dict.fromkeys(
        ["layer1/block_1", "layer1/block_2", "layer2/block_2", "layer3/block_2", "layer4/block_2"],
        "its shortcut is already the identity",
    )
    done = rewrite(done.after, "shortcut:A")
    assert {entry.reason for entry in done.skipped} == {
        "its shortcut is already the identity",
        "its shortcut is already zeros for missing channels",
    }
    done = rewrite(load("resnet18"), "shortcut:C", at="layer2")
    assert done.changed == (("layer2/block_2", "the identity → a 1×1 convolution"),)
    assert done.skipped == (("layer2/block_1", "its shortcut is already a 1×1 convolution"),)


@pytest.mark.parametrize("text", ["D", "a", "AB"])
def test_an_option_that_is_none(text):
    with pytest.raises(CostcalcError) as error:
        rewrite(load("resnet18"), f"shortcut:{text}")
    assert str(error.value) == (
        f"shortcut:{text}: a shortcut matches shapes by A (zeros), B (1×1 if they change) or C (1×1 everywhere), "
        f"not {text!r}"
    )
    with pytest.raises(CostcalcError, match="shortcut needs an argument"):
        rewrite(load("resnet18"), "shortcut")


def test_a_shortcut_is_like_the_main_path_s_last_convolution():
    """Without a batch norm and with a bias where that is so; the way it is written elsewhere, and in any order."""
    plain = graph(("c1", conv(8, 3)), ("r", RELU), ("c2", conv(8, 3)), ("sum", ADD, "input", "c2"))
    after = rewrite(plain, "shortcut:C").after
    assert written(after)[3:] == [
        ("sum_shortcut", conv(8), ("input",)),
        ("sum", ADD, ("sum_shortcut", "c2")),
    ]
    assert rewrite(after, "shortcut:B").after.nodes == plain.nodes
    wide = graph(
        ("b/c1", conv(16, 3, stride=(2, 1), bias=False)), ("b/n1", OPS["batch_norm2d"](eps=0.5)), ("b/r", RELU),
        ("b/down/c", conv(16, stride=(2, 1), bias=False), "input"), ("b/down/n", OPS["batch_norm2d"](eps=0.5)),
        ("b/sum", ADD, "b/down/n", "b/r"),
    )  # fmt: skip
    assert rewrite(wide, "shortcut:A").changed == ()  # as many convolutions on either path: which is the main one?
    deep = graph(
        ("b/c1", conv(4, 3)), ("b/r", RELU), ("b/c2", conv(16, 3, stride=(2, 1), bias=False)),
        ("b/n2", OPS["batch_norm2d"](eps=0.5)),
        ("b/down/c", conv(16, stride=(2, 1), bias=False), "input"), ("b/down/n", OPS["batch_norm2d"](eps=0.5)),
        ("b/sum", ADD, "b/down/n", "b/n2"),
    )  # fmt: skip
    zeros = rewrite(deep, "shortcut:A").after
    assert written(zeros)[4:] == [
        ("b/down", OPS["zero_pad_shortcut"](16, stride=(2, 1)), ("input",)),
        ("b/sum", ADD, ("b/down", "b/n2")),
    ]
    again = rewrite(zeros, "shortcut:B").after
    assert written(again)[4:] == [
        ("b/down/conv2d", conv(16, stride=(2, 1), bias=False), ("input",)),
        ("b/down/batch_norm2d", OPS["batch_norm2d"](eps=0.5), ("b/down/conv2d",)),
        ("b/sum", ADD, ("b/down/batch_norm2d", "b/n2")),
    ]
    assert params(again) == params(deep)


def test_the_stride_is_that_of_all_windows_of_the_main_path():
    pooled = graph(
        ("c1", conv(16, 3, stride=2)), ("p", OPS["avg_pool2d"](3, stride=2, padding=1)), ("d", OPS["dropout"]()),
        ("c2", conv(16, 3)), ("s", OPS["zero_pad_shortcut"](16, stride=4), "input"), ("sum", ADD, "c2", "s"),
    )  # fmt: skip
    after = rewrite(pooled, "shortcut:B").after
    assert written(after)[4] == ("s", conv(16, stride=4), ("input",))
    assert rewrite(after, "shortcut:A").after.nodes == pooled.nodes


def test_pre_activation_blocks_have_shortcuts_too():
    """He et al., 2016: norm and activation come first, so the last convolution has none after it."""
    pre = graph(
        ("b/n1", NORM), ("b/r1", RELU), ("b/c1", conv(8, 3)), ("b/n2", NORM), ("b/r2", RELU), ("b/c2", conv(8, 3)),
        ("b/sum", ADD, "b/c2", "input"),
    )  # fmt: skip
    assert written(rewrite(pre, "shortcut:C").after)[6] == ("b/shortcut", conv(8), ("input",))
    reason = "its main path does not start with a convolution, as in the pre-activation order"
    for move in ("bottleneck", "basic"):
        assert rewrite(pre, move).skipped == (("b", reason),)


# -- kinds of blocks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in RESNETS if "torchvision" not in name])
def test_there_and_back_is_the_spec_s_own(name):
    before = load(name)
    moves = ["basic", "bottleneck:4"] if before.settings["block"] == "bottleneck" else ["bottleneck:4", "basic"]
    done = rewrite(before, *moves)
    assert done.after.nodes == before.nodes
    blocks = [node.name.removesuffix("/add") for node in before.nodes if node.op == ADD]
    for step in done.steps:
        assert [entry.path for entry in step.changed] == blocks
        assert step.skipped == ()


def test_a_stride_in_the_3x3_comes_back_in_the_first_1x1():
    """torchvision's bottleneck strides in its 3×3; what `bottleneck` makes is the paper's."""
    before = load("resnet50-torchvision")
    assert rewrite(before, "basic", "bottleneck:4").after.nodes == load("resnet50").nodes
    assert rewrite(before, "basic").after.nodes == rewrite(load("resnet50"), "basic").after.nodes


def test_basic_against_bottleneck_at_256_channels():
    """Two 3×3 of 256 are 17 times the bottleneck of 64, and the shape in and out is the same."""
    block = "layer1/block_2"
    bottleneck = load("resnet50")
    basic = rewrite(bottleneck, "basic").after
    narrow = 256 * 64 + 64 * 64 * 3 * 3 + 64 * 256
    wide = 2 * 9 * 256**2
    assert (narrow, wide) == (69_632, 1_179_648)
    assert params(bottleneck, block) == narrow + 2 * (64 + 64 + 256)
    assert params(basic, block) == wide + 2 * (256 + 256)
    assert analyze(bottleneck).below(block).total().macs == 56 * 56 * narrow
    assert analyze(basic).below(block).total().macs == 56 * 56 * wide
    assert basic.shapes[f"{block}/add"] == bottleneck.shapes[f"{block}/add"] == (1, 256, 56, 56)


def test_what_a_basic_block_becomes():
    done = rewrite(load("resnet34"), "bottleneck", at="layer2/block_1")
    assert done.changed == (("layer2/block_1", "3×3×128, 3×3×128 → 1×1×32, 3×3×32, 1×1×128"),)
    main = [(n.name.removeprefix("layer2/block_1/main/"), n.op) for n in done.after.select("layer2/block_1/main")]
    assert main == [
        ("conv1/conv", conv(32, stride=2, bias=False)), ("conv1/bn", NORM), ("relu_1", RELU),
        ("conv2/conv", conv(32, 3, bias=False)), ("conv2/bn", NORM), ("relu_2", RELU),
        ("conv3/conv", conv(128, bias=False)), ("conv3/bn", NORM),
    ]  # fmt: skip
    rows = {row.path: row for row in analyze(done.before).rows}
    below = {row.path: row for row in analyze(done.after).rows}
    same = [path for path in rows if not path.startswith("layer2/block_1/main/")]
    # outside the block all is as it was, but for how far back it sees
    for path in same:
        assert [getattr(below[path], key) for key in ("output", "params", "work", "activations")] == [
            getattr(rows[path], key) for key in ("output", "params", "work", "activations")
        ]


@pytest.mark.parametrize("ratio", [2, 4, 8, 16])
def test_other_ratios(ratio):
    done = rewrite(load("resnet18"), f"bottleneck:{ratio}")
    inner = 64 // ratio
    assert params(done.after, "layer1/block_1") == 2 * 64 * inner + 9 * inner**2 + 2 * (2 * inner + 64)
    assert rewrite(done.after, "basic").after.nodes == load("resnet18").nodes


def test_channels_that_the_ratio_does_not_divide():
    done = rewrite(load("resnet20-cifar", base_channels=18), "bottleneck:4")
    assert {entry.path.split("/")[0] for entry in done.changed} == {"layer2", "layer3"}  # 36 and 72
    assert [entry.path for entry in done.skipped] == ["layer1/block_1", "layer1/block_2", "layer1/block_3"]
    assert {entry.reason for entry in done.skipped} == {"its channels are not a multiple of 4"}
    with pytest.raises(CostcalcError) as error:
        rewrite(load("resnet18"), "bottleneck:0.25")
    assert str(error.value) == (
        "bottleneck:0.25: RATIO, the divisor of the channels, must be an integer of at least 2, not '0.25'"
    )


def test_what_is_so_already():
    assert {entry.reason for entry in rewrite(load("resnet18"), "basic").skipped} == {"it is already a basic block"}
    done = rewrite(load("resnet50"), "bottleneck:4")
    assert {entry.reason for entry in done.skipped} == {"it is already a bottleneck"}
    assert len(done.skipped) == 16
    for move in ("basic", "bottleneck", "shortcut:A"):
        done = rewrite(load("plain18"), move)
        assert (done.changed, done.skipped) == ((), ())


def test_plain_units_other_kernels_and_other_names():
    """No norms, biases, a PReLU for each channel, kernels that are long one way, names without groups or numbers."""
    flat = graph(
        ("wide", conv(8, (1, 5), stride=(1, 2))), ("act", OPS["prelu"](8)), ("tall", conv(8, (3, 1))),
        ("down", conv(8, stride=(1, 2)), "input"), ("sum", ADD, "down", "tall"),
    )  # fmt: skip
    done = rewrite(flat, "bottleneck:2")
    assert done.changed == (("sum", "1×5×8, 3×1×8 → 1×1×4, 3×1×4, 1×1×8"),)
    assert written(done.after) == [
        ("wide_1", conv(4, stride=(1, 2)), ("input",)),
        ("act_1", OPS["prelu"](4), ("wide_1",)),
        ("wide_2", conv(4, (3, 1)), ("act_1",)),
        ("act_2", OPS["prelu"](4), ("wide_2",)),
        ("wide_3", conv(8), ("act_2",)),
        ("down", conv(8, stride=(1, 2)), ("input",)),
        ("sum", ADD, ("down", "wide_3")),
    ]
    numbered = graph(
        ("conv7", conv(8, 3)), ("bn7", NORM), ("relu_3", RELU), ("conv8", conv(8, 3)), ("bn8", NORM),
        ("sum", ADD, "bn8", "input"), ("conv9", conv(8, 3)),
    )  # fmt: skip
    done = rewrite(numbered, "bottleneck:2")
    assert [n.name for n in done.after.nodes] == [
        "conv7", "bn7", "relu_1", "conv8", "bn8", "relu_2", "conv9_2", "bn9", "sum", "conv9",
    ]  # fmt: skip
    inside = graph(
        ("b/1/c", conv(8, 3)), ("b/1/r", RELU), ("b/2/c", conv(8, 3)), ("b/sum", ADD, "b/2/c", "input"),
    )  # fmt: skip
    done = rewrite(inside, "bottleneck:2")
    assert [n.name for n in done.after.nodes] == ["b/1/c", "b/1/r", "b/2/c", "b/2/r", "b/3/c", "b/sum"]
    assert rewrite(done.after, "basic").after.nodes == inside.nodes


# -- what is left, and why --------------------------------------------------------------------------------------------

BASIC = [("c1", conv(8, 3)), ("r", RELU), ("c2", conv(8, 3))]
SUM = ("sum", ADD, "c2", "input")


@pytest.mark.parametrize(
    ("layers", "outputs", "reason"),
    [
        ([*BASIC, ("sum", ADD, "c2", "input", "r")], None, "it adds more than two tensors"),
        ([("x", RELU), ("y", RELU, "input"), ("sum", ADD, "x", "y")], None, "neither of its paths has more convolutions than the other"),
        ([*BASIC, ("d", conv(8, 3), "input"), ("e", conv(8, 3)), ("sum", ADD, "c2", "e")], None, "neither of its paths has more convolutions than the other"),
        ([*BASIC, ("sum", ADD, "c2", "c2")], None, "it does not add two paths from one tensor whose layers have no other readers"),
        ([*BASIC, ("sum", ADD, "c2", "r")], None, None),
        ([*BASIC, SUM, ("also", RELU, "r")], ("sum", "also"), "it does not add two paths from one tensor whose layers have no other readers"),
        ([*BASIC, SUM], ("sum", "c1"), "it does not add two paths from one tensor whose layers have no other readers"),
    ],
)  # fmt: skip
def test_additions_that_are_no_blocks(layers, outputs, reason):
    some = graph(*layers, outputs=outputs)
    for move in ("bottleneck", "basic", "shortcut:A"):
        done = rewrite(some, move)
        assert done.after is some
        ((place, why),) = done.skipped
        assert place == "sum"
        # with a skip round one convolution there is a block, but of neither kind
        assert why == reason or reason is None


@pytest.mark.parametrize(
    ("main", "bottleneck", "basic"),
    [
        ([("c1", conv(8, 3, groups=8)), ("c2", conv(8, 3))], "its main path has a grouped convolution", None),
        ([("c1", conv(8)), ("c2", conv(8, 3, groups=4)), ("c3", conv(8))], "its main path has a grouped convolution", None),
        ([*BASIC, ("d", OPS["dropout"]())], "its main path has layers other than convolutions, batch norms and activations", None),
        ([("c1", conv(8, 3)), ("r", RELU), ("n", NORM), ("c2", conv(8, 3))], "its main path has layers other than convolutions, batch norms and activations", None),
        ([("c1", conv(8, 3)), ("c2", conv(8))], "its main path is not two convolutions larger than 1×1", "its main path is not 1×1, a larger convolution, 1×1"),
        ([("c1", conv(8, 3)), ("c2", conv(8, 3)), ("c3", conv(8, 3))], "its main path is not two convolutions larger than 1×1", "its main path is not 1×1, a larger convolution, 1×1"),
        ([("c1", conv(8, 3, padding=0)), ("c2", conv(8, 3, padding=2))], "the shape of its output would change", "it is already a basic block"),
        ([("c1", conv(8, padding=1)), ("c2", conv(8, 3, padding=0)), ("c3", conv(8))], "it is already a bottleneck", "the shape of its output would change"),
    ],
)  # fmt: skip
def test_main_paths_that_stay(main, bottleneck, basic):
    some = graph(*main, ("sum", ADD, main[-1][0], "input"))
    for move, reason in (("bottleneck:2", bottleneck), ("basic", basic or bottleneck)):
        done = rewrite(some, move)
        assert done.after is some
        assert done.skipped == (("sum", reason),)


@pytest.mark.parametrize(
    ("layers", "option", "reason"),
    [
        ([*BASIC, ("p", OPS["avg_pool2d"](3, stride=1, padding=1), "input"), ("sum", ADD, "c2", "p")], "C",
         "its shortcut is not the identity, zeros, or a 1×1 convolution with its batch norm"),
        ([*BASIC, ("s", conv(8, 1), "input"), ("t", RELU), ("sum", ADD, "c2", "t")], "A",
         "its shortcut is not the identity, zeros, or a 1×1 convolution with its batch norm"),
        ([("c1", conv(8, 3)), ("c2", conv(4, 3)), ("s", conv(4), "input"), ("sum", ADD, "c2", "s")], "A",
         "zeros cannot remove channels"),
        ([("c1", conv(16, 2, stride=2, padding=2)), ("c2", conv(16, 3)), ("s", conv(16, stride=2, padding=2), "input"),
          ("sum", ADD, "c2", "s")], "A", "such a shortcut would not have the shape of the main path"),
    ],
)  # fmt: skip
def test_shortcuts_that_stay(layers, option, reason):
    some = graph(*layers)
    done = rewrite(some, f"shortcut:{option}")
    assert done.after is some
    assert done.skipped == (("sum", reason),)


def test_a_main_path_without_windows():
    gone = graph(("c", conv(8, 3)), ("g", OPS["global_avg_pool2d"]()), ("sum", ADD, "g", "input"), shape=(1, 8, 1, 1))
    assert rewrite(gone, "shortcut:C").skipped == (("sum", "its main path has a layer without a sliding window"),)


def test_shared_parameters_stay():
    b = Builder("shared", channels=8, height=8, width=8)
    for name, op, *inputs in [*BASIC, SUM]:
        b.add(name, op, *inputs)
    b.add("other", conv(8, 3), shares="c1")
    for move in ("bottleneck", "basic", "shortcut:C"):
        assert rewrite(b.build(), move).skipped == (("sum", "it shares parameters with another layer"),)


# -- sizes of every carrier, and torch --------------------------------------------------------------------------------


@pytest.mark.parametrize("moves", [["bottleneck:4"], ["shortcut:A"], ["shortcut:C"], ["bottleneck:8", "basic"]])
def test_a_form_equals_the_numbers(moves):
    c, batch = sympy.symbols("c batch", integer=True, positive=True)
    form = analyze(rewrite(load("resnet18", base_channels=c, batch=batch), *moves).after).total()
    assert not sympy.sympify(form.params).has(sympy.floor)
    for channels in (16, 64):
        plain = analyze(rewrite(load("resnet18", base_channels=channels, batch=2), *moves).after).total()
        for key in ("params", "macs", "activations"):
            assert sympy.sympify(getattr(form, key)).subs({c: channels, batch: 2}) == getattr(plain, key)


def test_an_array_of_widths():
    done = rewrite(load("resnet18", base_channels=numpy.array([16, 64])), "bottleneck:4", "shortcut:A")
    for i, channels in enumerate((16, 64)):
        plain = rewrite(load("resnet18", base_channels=channels), "bottleneck:4", "shortcut:A")
        assert params(done.after)[i] == params(plain.after)
    # what divides in one of them, and not in the other, would be two networks
    with pytest.raises(CostcalcError, match="would change resnet18 in different ways: pass one at a time"):
        rewrite(load("resnet18", base_channels=numpy.array([16, 18])), "bottleneck:4")


def test_symbols_that_may_be_equal():
    """Whether C channels become others is not known of C and D: that they do is assumed, and said."""
    c, d = sympy.symbols("C D", integer=True, positive=True)
    open_ = graph(
        ("c1", conv(d, 3)), ("c2", conv(d, 3)), ("s", conv(d), "input"), ("sum", ADD, "c2", "s"), shape=(1, c, 8, 8)
    )
    done = rewrite(open_, "shortcut:A")
    assert done.changed == (("sum", "a 1×1 convolution → zeros for missing channels"),)
    assert [str(each) for each in done.after.assumptions] == ["C ≠ D", "D ≥ C"]
    kept = rewrite(open_, "shortcut:B")
    assert kept.skipped == (("sum", "its shortcut is already a 1×1 convolution"),)
    assert (kept.after, [str(each) for each in kept.after.assumptions]) == (open_, ["C ≠ D"])
    assert rewrite(open_, "shortcut:C").skipped == (("sum", "its shortcut is already a 1×1 convolution"),)


@pytest.mark.parametrize(
    ("name", "move"),
    [("resnet34", "bottleneck:4"), ("resnet50", "basic"), ("resnet50", "shortcut:A"), ("resnet18", "shortcut:C")],
)
def test_torch_agrees(name, move):
    found = check(rewrite(load(name), move).after, device="meta")
    assert found.compared > 500
    assert found.differences == ()
