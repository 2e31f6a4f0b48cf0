"""Moves on convolutions: what they promise on every network, and what they do, worked out by hand."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from itertools import product

import numpy
import pytest
import sympy
from small_graphs import chain

import costcalc
from costcalc import Builder, Graph, Input, Node, analyze, load, rewrite
from costcalc.analysis.receptive_field import receptive_fields
from costcalc.ir.ops import OPS

conv, relu, norm = OPS["conv2d"], OPS["relu"], OPS["batch_norm2d"]
MOVES = ["stack3x3", "unstack", "factorize", "separable"]


@cache
def network(name):
    return load(name)


@cache
def rewritten(name, move):
    return rewrite(network(name), move)


def places(done):
    return [entry.path for entry in done.changed]


def ops(graph):
    return [(node.name, node.op) for node in graph.nodes]


def total(graph):
    return analyze(graph).total()


# -- laws -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "move"), list(product(costcalc.architectures(), MOVES)))
def test_other_layers_stay_and_see_what_they_saw(name, move):
    """Op, costs, shape and receptive field of every layer that was no place of the move."""
    done = rewritten(name, move)
    before, after = (
        {row.path: (node.op, row) for node, row in zip(graph.nodes, analyze(graph).rows, strict=True)}
        for graph in (done.before, done.after)
    )
    for path, (op, row) in after.items():
        if path in before and path not in places(done):
            old_op, old_row = before[path]
            assert op == old_op
            # which weight layers are on the longest path is a matter of the whole network
            assert row == old_row._replace(weight_layers=row.weight_layers)
    gone = before.keys() - after.keys()
    if move == "unstack":
        assert {before[path][0].name for path in gone} <= {"conv2d", "batch_norm2d", "relu"}
    else:
        assert gone == set(places(done))
    assert [done.after.shapes[output] for output in done.after.outputs] == [
        done.before.shapes[output] for output in done.before.outputs
    ]


@pytest.mark.parametrize("move", ["stack3x3", "factorize", "separable"])
@pytest.mark.parametrize("name", costcalc.architectures())
def test_every_convolution_is_changed_or_it_is_said_why_not(name, move):
    done = rewritten(name, move)
    convolutions = [node.name for node in done.before.nodes if node.op.name == "conv2d"]
    assert sorted([*places(done), *(entry.path for entry in done.skipped)]) == sorted(convolutions)


@pytest.mark.parametrize("name", costcalc.architectures())
def test_every_convolution_is_in_a_run_or_it_is_said_why_not(name):
    done = rewritten(name, "unstack")
    words = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9}
    joined = [words.get(entry.description.split()[0]) or int(entry.description.split()[0]) for entry in done.changed]
    of = [node for node in done.before.nodes if node.op.name == "conv2d"]
    assert sum(joined) + len(done.skipped) == len(of)
    made = {node.name: node.op for node in done.after.nodes}
    for place, count in zip(places(done), joined, strict=True):
        assert made[place].kernel_size == (2 * count + 1,) * 2


@pytest.mark.parametrize("name", costcalc.architectures())
def test_unstack_takes_back_what_stack3x3_did(name):
    """Whole networks: the convolutions that were stacked stand beside no 3×3 in any of them."""
    stacked = rewritten(name, "stack3x3")
    assert rewrite(stacked.after, "unstack").after.nodes == rewritten(name, "unstack").after.nodes
    if stacked.changed:
        assert rewrite(stacked.after, "unstack", at=places(stacked)).after.nodes == stacked.before.nodes


@pytest.mark.parametrize("name", [name for name in costcalc.architectures() if name.startswith("vgg")])
def test_stack3x3_takes_back_what_unstack_did(name):
    """Within a stage of VGG all 3×3 make as many channels: the stack has the very sizes, under other names."""
    joined = rewritten(name, "unstack")
    again = rewrite(joined.after, "stack3x3").after
    assert [node.op for node in again.nodes] == [node.op for node in joined.before.nodes]
    assert analyze(again).total() == analyze(joined.before).total()


@pytest.mark.parametrize("move", MOVES)
def test_torch_builds_what_was_made_and_measures_the_same(move):
    name, places_changed = {
        "stack3x3": ("alexnet", 2),  # stride 4 without padding, and two groups
        "unstack": ("resnet18", 5),
        "factorize": ("nin", 4),
        "separable": ("resnet20-cifar", 19),
    }[move]
    done = rewritten(name, move)
    assert len(done.changed) == places_changed
    checked = costcalc.check(done.after, device="meta")
    assert checked.compared > 5 * len(done.after.nodes)
    assert checked.differences == ()


@pytest.mark.parametrize("move", ["stack3x3", "factorize"])
def test_torch_agrees_at_odd_sizes(move):
    op = conv(6, 7, stride=(3, 2), padding=(1, 2), groups=3)
    for size in product((6, 7, 11), (5, 8, 13)):
        graph = chain(("conv", op), ("norm", norm()), ("relu", relu()), shape=(2, 3, *size))
        after = rewrite(graph, move).after
        assert after.shapes["relu"] == graph.shapes["relu"]
        assert costcalc.check(after, device="meta").differences == ()


# -- stacks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [5, 7, 9, 11])
def test_a_stack_has_the_shape_and_field_of_its_convolution_at_every_size_stride_and_padding(kernel):
    for stride, padding in product((1, 2, 3, 4), range(kernel + 2)):
        least = max(1, kernel - 2 * padding)
        for height, width in ((least, least + 1), (least + 2, least + 5), (least + 8, least + 3)):
            op = conv(8, kernel, stride=stride, padding=padding)
            graph = chain(("conv", op), ("end", relu()), shape=(1, 4, height, width))
            after = rewrite(graph, "stack3x3").after
            assert after.shapes["end"] == graph.shapes["end"]
            assert receptive_fields(after)["end"] == receptive_fields(graph)["end"]
            steps = [node.op for node in after.nodes if node.op.name == "conv2d"]
            assert len(steps) == (kernel - 1) // 2
            assert sum(step.padding[0] for step in steps) == padding
            assert {step.kernel_size for step in steps} == {(3, 3)}
            assert rewrite(after, "unstack").after.nodes == graph.nodes


def test_padding_is_spread_with_the_larger_parts_first_per_axis():
    graph = chain(("conv", conv(4, 11, stride=(4, 2), padding=(2, 6))), shape=(1, 3, 224, 224))
    after = rewrite(graph, "stack3x3").after
    steps = [node.op for node in after.nodes if node.op.name == "conv2d"]
    assert [step.padding for step in steps] == [(1, 2), (1, 1), (0, 1), (0, 1), (0, 1)]
    assert [step.stride for step in steps] == [(1, 1)] * 4 + [(4, 2)]
    same = rewrite(chain(("conv", conv(4, 7, padding=3))), "stack3x3").after
    assert {shape[2:] for shape in same.shapes.values()} == {(8, 8)}


@pytest.mark.parametrize(("kernel", "count"), [(5, 2), (7, 3)])
def test_c_to_c_channels_by_hand(kernel, count):
    """5×5: 25C² weights, two 3×3: 18C². 7×7: 49C², three 3×3: 27C². MACs are those times H·W."""
    c, h, w = sympy.symbols("C H W", integer=True, positive=True)
    op = conv(c, kernel, padding=kernel // 2, bias=False)
    graph = chain(("conv", op), ("relu", relu()), shape=(1, c, h, w))
    one, stack = total(graph), total(rewrite(graph, "stack3x3").after)
    assert (one.params, one.macs) == (kernel**2 * c**2, kernel**2 * c**2 * h * w)
    assert (stack.params, stack.macs) == (9 * count * c**2, 9 * count * c**2 * h * w)
    assert (one.activations, stack.activations) == (c * h * w, count * c * h * w)
    assert (one.nonlinearities, stack.nonlinearities) == (1, count)
    assert stack.receptive_field == one.receptive_field == (kernel, kernel)


def test_the_naive_5x5_of_inception3a_by_hand():
    """192→32: 25·192·32 = 153,600 weights; as a stack 9·192·32 + 9·32·32 = 55,296 + 9,216 = 64,512."""
    done = rewrite(load("googlenet-naive"), "stack3x3", at="inception3a")
    assert done.changed == (("inception3a/5x5/conv/conv2d", "5×5 → two 3×3"),)
    old, new = (analyze(graph).below("inception3a/5x5").total() for graph in (done.before, done.after))
    assert (old.weights, new.weights) == (153_600, 64_512)
    assert (old.macs, new.macs) == (153_600 * 28 * 28, 64_512 * 28 * 28)
    assert ops(done.after.extract("inception3a/5x5")) == [
        ("inception3a/5x5/conv/conv2d/conv_1", conv(32, 3, padding=1)),
        ("inception3a/5x5/conv/conv2d/relu_1", relu()),
        ("inception3a/5x5/conv/conv2d/conv_2", conv(32, 3, padding=1)),
        ("inception3a/5x5/conv/relu", relu()),
    ]


def test_a_stack_before_a_stride_works_on_the_whole_plane():
    """AlexNet's conv1, 227 and stride 4: 96·363·55² = 105,415,200 MACs. As five 3×3 without padding: 3→96 at 225²,

    96→96 at 223², 221² and 219², and 96→96 at 55². It sees the same 11×11, for 119 times the work.
    """
    done = rewrite(load("alexnet"), "stack3x3", at="conv1")
    old, new = (analyze(graph).below("conv1").total() for graph in (done.before, done.after))
    assert old.macs == 96 * 363 * 55**2 == 105_415_200
    inner = 9 * 96 * 96 * (223**2 + 221**2 + 219**2 + 55**2)
    assert new.macs == 9 * 3 * 96 * 225**2 + inner == 131_220_000 + 12_404_772_864
    assert new.output == old.output == (1, 96, 55, 55)
    assert new.receptive_field == old.receptive_field == (11, 11)


def test_groups_stay_and_the_paddings_of_alexnets_conv2():
    done = rewrite(load("alexnet"), "stack3x3", at="conv2")
    assert ops(done.after.extract("conv2")) == [
        ("conv2/conv_1", conv(256, 3, padding=1, groups=2)),
        ("conv2/relu_1", relu()),
        ("conv2/conv_2", conv(256, 3, padding=1, groups=2)),
    ]
    # 9·(96/2)·256 + 256 and 9·(256/2)·256 + 256
    assert analyze(done.after).below("conv2").total().params == 110_592 + 256 + 294_912 + 256


def test_a_depthwise_convolution_becomes_depthwise_ones():
    graph = chain(("conv", conv(8, 5, padding=2, groups=8)), shape=(1, 8, 9, 9))
    after = rewrite(graph, "stack3x3").after
    assert [node.op.groups for node in after.nodes if node.op.name == "conv2d"] == [8, 8]
    assert total(after).weights == 2 * 9 * 8


def test_between_stand_the_norm_and_the_activation_of_the_convolution():
    graph = chain(
        ("a", conv(4, 7, bias=False)),
        ("n", norm(eps=0.001)),
        ("p", OPS["prelu"](4)),
        ("tail", conv(5, 3)),
        shape=(1, 3, 20, 20),
    )
    three = conv(4, 3, bias=False)
    assert ops(rewrite(graph, "stack3x3").after) == [
        ("a/conv_1", three),
        ("a/bn_1", norm(eps=0.001)),
        ("a/prelu_1", OPS["prelu"](4)),
        ("a/conv_2", three),
        ("a/bn_2", norm(eps=0.001)),
        ("a/prelu_2", OPS["prelu"](4)),
        ("a/conv_3", three),
        ("n", norm(eps=0.001)),
        ("p", OPS["prelu"](4)),
        ("tail", conv(5, 3)),
    ]


@pytest.mark.parametrize("after", [("pool", OPS["max_pool2d"](2)), ("again", conv(2, 1)), ("drop", OPS["dropout"]())])
@pytest.mark.parametrize(("move", "kernels"), [("stack3x3", [(3, 3)] * 2), ("factorize", [(1, 5), (5, 1)])])
def test_without_an_activation_of_its_own_there_is_relu_between(after, move, kernels):
    made = rewrite(chain(("a", conv(4, 5)), after), move, at="a").after.nodes[:3]
    assert [node.name for node in made] == ["a/conv_1", "a/relu_1", "a/conv_2"]
    assert [made[0].op.kernel_size, made[2].op.kernel_size] == kernels
    assert made[1].op == relu()


def test_a_call_as_a_function_stays_one():
    after = rewrite(load("inception_v3"), "stack3x3", at="mixed5b/5x5").after
    inserted = [node for node in after.nodes if "5x5/conv/conv2d/relu" in node.name]
    assert [node.functional for node in inserted] == [True]


def test_a_convolution_with_several_readers_and_outputs_in_the_middle():
    b = Builder("wide", channels=3, height=16, width=16)
    b.add("conv", conv(4, 5, padding=2))
    b.add("left", norm(), "conv")
    b.add("right", relu(inplace=False), "conv")
    b.add("sum", OPS["add"](), "left", "right")
    after = rewrite(b.build("sum", "conv"), "stack3x3").after
    assert [(node.name, node.inputs) for node in after.nodes] == [
        ("conv/conv_1", ("input",)),
        ("conv/relu_1", ("conv/conv_1",)),  # neither norm nor activation is the convolution's own
        ("conv/conv_2", ("conv/relu_1",)),
        ("left", ("conv/conv_2",)),
        ("right", ("conv/conv_2",)),
        ("sum", ("left", "right")),
    ]
    assert after.outputs == ("sum", "conv/conv_2")


def test_names_that_are_taken_are_not_taken_again():
    graph = chain(("a", conv(4, 5)), ("a/conv_1", conv(4, 1)), ("a/relu_1", relu()))
    names = [node.name for node in rewrite(graph, "stack3x3").after.nodes]
    assert names == ["a/conv_1_2", "a/relu_1_2", "a/conv_2", "a/conv_1", "a/relu_1"]


@pytest.mark.parametrize(
    ("op", "move", "reason"),
    [
        (conv(4, (1, 7)), "stack3x3", "its kernel is 1×7, not square"),
        (conv(4, (5, 3)), "stack3x3", "its kernel is 5×3, not square"),
        (conv(4, 3), "stack3x3", "its kernel is 3×3, not larger"),
        (conv(4, 2), "stack3x3", "its kernel is 2×2, not larger"),
        (conv(4, 1), "stack3x3", "its kernel is 1×1, not larger"),
        (conv(4, 6), "stack3x3", "its kernel is 6×6, not odd"),
        (conv(4, 5, dilation=(1, 2)), "stack3x3", "it is dilated"),
        (conv(4, 1), "factorize", "its kernel is 1×1 already"),
        (conv(4, (1, 3)), "factorize", "its kernel is 1×3, not square"),
        (conv(4, (3, 1)), "factorize", "its kernel is 3×1, not square"),
        (conv(4, 3, dilation=2), "factorize", "it is dilated"),
        (conv(4, 1), "separable", "its kernel is 1×1 already"),
        (conv(4, (3, 5)), "separable", "its kernel is 3×5, not square"),
        (conv(6, 3, groups=3), "separable", "it is grouped"),
        (conv(4, 5), "unstack", "its kernel is 5×5, not 3×3"),
        (conv(4, (3, 1)), "unstack", "its kernel is 3×1, not 3×3"),
        (conv(4, 3, dilation=(2, 1)), "unstack", "it is dilated"),
        (conv(4, 3), "unstack", "there is no other 3×3 convolution to join it with"),
    ],
)
def test_why_a_convolution_is_left(op, move, reason):
    graph = chain(("a", op), ("relu", relu()), shape=(1, 3, 16, 16))
    done = rewrite(graph, move)
    assert done.skipped == (("a", reason),)
    assert done.after is graph


@pytest.mark.parametrize(("move", "kernel"), [("stack3x3", 5), ("factorize", 5), ("separable", 5), ("unstack", 3)])
def test_shared_parameters_are_left(move, kernel):
    b = Builder("shared", channels=4, height=16, width=16)
    op = conv(4, kernel, padding=kernel // 2)
    b.add("one", op)
    b.add("two", op, shares="one")
    reason = "its parameters are shared with another layer"
    assert rewrite(b.build(), move).skipped == (("one", reason), ("two", reason))


# -- runs -----------------------------------------------------------------------------------------------------------


def test_the_stages_of_vgg16_as_one_convolution_each():
    done = rewritten("vgg16", "unstack")
    assert done.changed == (
        ("stage1/conv_2/conv2d", "two 3×3 → 5×5"),
        ("stage2/conv_2/conv2d", "two 3×3 → 5×5"),
        ("stage3/conv_3/conv2d", "three 3×3 → 7×7"),
        ("stage4/conv_3/conv2d", "three 3×3 → 7×7"),
        ("stage5/conv_3/conv2d", "three 3×3 → 7×7"),
    )
    assert done.skipped == ()
    assert ops(done.after.extract("stage3")) == [
        ("stage3/conv_3/conv2d", conv(256, 7, padding=3)),
        ("stage3/conv_3/relu", relu()),
        ("stage3/pool", OPS["max_pool2d"](2)),
    ]
    # stage 4 is 256→512 with 512→512 twice, 9·(256·512 + 2·512²), against 49·256·512
    old, new = (analyze(graph).below("stage4").total() for graph in (done.before, done.after))
    assert (old.weights, new.weights) == (9 * (256 * 512 + 2 * 512**2), 49 * 256 * 512) == (5_898_240, 6_422_528)
    # stage 5 is 512→512 three times: 27·512² against 49·512²
    old, new = (analyze(graph).below("stage5").total() for graph in (done.before, done.after))
    assert Fraction(new.weights, old.weights) == Fraction(49, 27)


def test_a_run_ends_where_it_strides_and_the_last_may():
    three = conv(4, 3, padding=1)
    graph = chain(
        ("a", three),
        ("b", conv(6, 3, stride=2, padding=1)),
        ("c", three),
        ("d", conv(4, 3, stride=(1, 2))),
        ("e", conv(4, 3, stride=2, padding=1)),
        ("f", three),
        shape=(1, 3, 33, 33),
    )
    done = rewrite(graph, "unstack")
    assert done.changed == (("b", "two 3×3 → 5×5"), ("d", "two 3×3 → 5×5"))
    assert dict(done.skipped) == dict.fromkeys("ef", "only the last convolution of a run may have a stride above 1")
    assert ops(done.after)[:2] == [
        ("b", conv(6, 5, stride=2, padding=2)),
        ("d", conv(4, 5, stride=(1, 2), padding=1)),
    ]
    assert done.after.shapes["f"] == graph.shapes["f"]
    assert receptive_fields(done.after)["f"] == receptive_fields(graph)["f"]


def test_a_run_ends_where_groups_change():
    graph = chain(("a", conv(4, 3)), ("b", conv(4, 3, groups=2)), ("c", conv(4, 3, groups=2)), shape=(1, 3, 16, 16))
    done = rewrite(graph, "unstack")
    assert done.changed == (("c", "two 3×3 → 5×5"),)
    assert done.skipped == (("a", "the 3×3 convolution next to it has another number of groups"),)
    assert ops(done.after)[1] == ("c", conv(4, 5, groups=2))


@pytest.mark.parametrize(
    "between",
    [OPS["max_pool2d"](1), OPS["dropout"](), OPS["local_response_norm"](5), conv(4, 1), conv(4, 5)],
    ids=lambda op: op.name,
)
def test_another_layer_between_ends_a_run(between):
    graph = chain(("a", conv(4, 3)), ("x", between), ("b", conv(4, 3)), shape=(1, 3, 16, 16))
    assert rewrite(graph, "unstack").changed == ()


@pytest.mark.parametrize("read", ["a", "n", "r"])
def test_what_another_layer_reads_ends_a_run(read):
    b = Builder("read", channels=3, height=16, width=16)
    b.add("a", conv(4, 3))
    b.add("n", norm())
    b.add("r", relu(inplace=False))
    b.add("b", conv(4, 3))
    b.add("also", OPS["max_pool2d"](2), read)
    graph = b.build("b", "also")
    assert not rewrite(graph, "unstack").changed
    assert not rewrite(Graph("out", graph.inputs, graph.nodes[:4], ("b", read)), "unstack").changed


def test_a_run_is_named_by_the_group_that_held_it_alone():
    def named(*layers):
        (place,) = places(rewrite(chain(*layers, shape=(1, 3, 16, 16)), "unstack"))
        return place

    three = conv(4, 3)
    assert named(("m/a", three), ("m/relu", relu()), ("m/b", three), ("relu", relu())) == "m"
    assert named(("s/m/a", three), ("s/m/b", three)) == "s/m"
    assert named(("s/m/a", three), ("s/m/b", three), ("s/pool", OPS["max_pool2d"](2))) == "s/m"
    assert named(("m/a", three), ("m/b", three), ("m/relu", relu())) == "m/b"
    assert named(("a", three), ("b", three)) == "b"
    assert named(("m/x/a", three), ("m/y/b", three)) == "m"
    assert named(("input/a", three), ("input/b", three)) == "input/b"  # `input` is what the network is fed


def test_runs_are_limited_to_the_selected_layers():
    layers = [(name, conv(4, 3)) for name in "abcd"]
    graph = chain(*layers, shape=(1, 3, 16, 16))
    assert rewrite(graph, "unstack").changed == (("d", "four 3×3 → 9×9"),)
    done = rewrite(graph, "unstack", at=["b", "c"])
    assert done.changed == (("c", "two 3×3 → 5×5"),)
    assert [node.name for node in done.after.nodes] == ["a", "c", "d"]


def test_residual_blocks_are_runs_that_skips_end():
    done = rewritten("resnet18", "unstack")
    assert places(done)[:2] == ["layer1/block_1/main/conv2/conv", "layer1/block_2/main/conv2/conv"]
    # where a block strides in its first convolution, its second cannot join it
    assert set(done.skipped) >= {
        (f"layer2/block_1/main/{conv}/conv", "only the last convolution of a run may have a stride above 1")
        for conv in ("conv1", "conv2")
    }


# -- factorised and separable -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 5, 7])
def test_factorising_saves_all_but_2_of_n_by_hand(n):
    c, h, w = sympy.symbols("C H W", integer=True, positive=True)
    graph = chain(("conv", conv(c, n, padding=n // 2, bias=False)), shape=(1, c, h, w))
    made = [row for row in analyze(rewrite(graph, "factorize").after).rows if row.op == "conv2d"]
    assert [row.params for row in made] == [n * c**2] * 2
    assert total(graph).params == n**2 * c**2
    if n % 2:  # 'same' padding: both work on the whole plane
        assert sum(row.macs for row in made) == 2 * n * c**2 * h * w


@pytest.mark.parametrize("n", [2, 3, 4, 7])
def test_a_factorised_convolution_has_the_same_shape_and_field(n):
    for stride, padding in product(((1, 1), (2, 1), (1, 3), (2, 2)), ((0, 0), (1, 2), (n, 0))):
        graph = chain(("conv", conv(8, n, stride=stride, padding=padding)), ("end", relu()), shape=(1, 3, 13, 10))
        after = rewrite(graph, "factorize").after
        assert after.shapes["end"] == graph.shapes["end"]
        assert receptive_fields(after)["end"] == receptive_fields(graph)["end"]


def test_a_factorised_7x7_is_the_branch_of_inception_v3():
    """mixed6e's 7×7 branch: 1×1, 1×7 and 7×1, all to 192 channels."""
    spec = load("inception_v3").extract("mixed6e/7x7")
    (source,) = spec.inputs
    bn = norm(eps=0.001)
    layers = [
        ("reduce", conv(192, 1, bias=False)), ("bn1", bn), ("relu1", relu()),
        ("conv", conv(192, 7, padding=3, bias=False)), ("bn2", bn), ("relu2", relu()),
    ]  # fmt: skip
    after = rewrite(chain(*layers, shape=source.shape), "factorize", at="conv").after
    assert [node.op for node in after.nodes] == [node.op for node in spec.nodes]
    assert analyze(after).total().work == analyze(spec).total().work
    assert [node.name for node in after.nodes[3:7]] == ["conv/conv_1", "conv/bn_1", "conv/relu_1", "conv/conv_2"]


@pytest.mark.parametrize("k", [2, 3, 5])
def test_a_separable_convolution_by_hand(k):
    """MobileNets, section 3.1: k²·C_in·H·W + C_in·C_out·H·W of k²·C_in·C_out·H·W is 1/C_out + 1/k²."""
    graph = chain(("conv", conv(32, k, stride=2, padding=1)), shape=(2, 16, 20, 20))
    done = rewrite(graph, "separable")
    assert done.changed == (("conv", f"{k}×{k} → depthwise {k}×{k} and pointwise 1×1"),)
    assert ops(done.after) == [
        ("conv/depthwise", conv(16, k, stride=2, padding=1, groups=16, bias=False)),
        ("conv/pointwise", conv(32, 1)),
    ]
    old, new = total(graph), total(done.after)
    assert Fraction(new.macs, old.macs) == Fraction(1, 32) + Fraction(1, k * k)
    assert new.params == k * k * 16 + 16 * 32 + 32
    assert new.output == old.output
    assert new.receptive_field == old.receptive_field


def test_mobilenets_layer_by_hand():
    """Its paper's table 3, a 3×3 from 512 to 512 channels at 14×14: 462 M MACs, and 52.3 M when separable."""
    graph = chain(("conv", conv(512, 3, padding=1, bias=False)), shape=(1, 512, 14, 14))
    assert total(graph).macs == 9 * 512 * 512 * 14 * 14 == 462_422_016
    made = total(rewrite(graph, "separable").after)
    assert made.macs == (9 * 512 + 512 * 512) * 14 * 14 == 52_283_392
    assert made.params == 9 * 512 + 512 * 512 == 266_752


def test_a_dilated_convolution_is_separable():
    graph = chain(("conv", conv(8, 3, dilation=2, padding=2, bias=False)))
    assert ops(rewrite(graph, "separable").after) == [
        ("conv/depthwise", conv(3, 3, dilation=2, padding=2, groups=3, bias=False)),
        ("conv/pointwise", conv(8, 1, bias=False)),
    ]


def test_norm_and_activation_stay_behind_a_separable_convolution():
    names = [node.name for node in rewrite(load("resnet20-cifar"), "separable", at="stem").after.nodes[:4]]
    assert names == ["stem/conv1/depthwise", "stem/conv1/pointwise", "stem/bn1", "stem/relu"]


def test_one_plane_is_depthwise_already_when_one_is_made():
    graph = chain(("grey", conv(8, 3)), shape=(1, 1, 8, 8))
    done = rewrite(graph, "separable")
    assert ops(done.after)[0] == ("grey/depthwise", conv(1, 3, bias=False))
    again = rewrite(done.after, "separable")
    assert again.after is done.after
    assert again.skipped[0] == ("grey/depthwise", "it has one input and one output channel: it is already depthwise")


# -- other carriers, and graphs that are no spec's ----------------------------------------------------------------------


@pytest.mark.parametrize("move", MOVES)
def test_an_array_of_widths_is_the_numbers_one_by_one(move):
    widths = [16, 24, 64]
    totals = total(rewrite(load("vgg11", base_channels=numpy.array(widths)), move).after)
    each = [total(rewrite(load("vgg11", base_channels=width), move).after) for width in widths]
    assert [int(n) for n in totals.macs] == [row.macs for row in each]
    assert [int(n) for n in totals.params] == [row.params for row in each]


def test_a_stack_over_symbols_is_the_stack_of_numbers():
    def stack(height, width):
        op = conv(12, 7, stride=2, padding=3)
        return total(rewrite(chain(("a", op), shape=(1, 3, height, width)), "stack3x3").after)

    h, w = sympy.symbols("H W", integer=True, positive=True)
    form = stack(h, w)
    for size in ((7, 9), (8, 8), (31, 12)):
        values = dict(zip((h, w), size, strict=True))
        assert form.macs.subs(values) == stack(*size).macs
        assert form.activations.subs(values) == stack(*size).activations


def test_groups_that_may_be_one_are_taken_for_groups():
    g = sympy.Symbol("g", integer=True, positive=True)
    graph = chain(("a", conv(4 * g, 3, groups=g)), ("b", conv(4 * g, 3, groups=g)), shape=(1, 4 * g, 9, 9))
    assert rewrite(graph, "separable").skipped == (("a", "it is grouped"), ("b", "it is grouped"))
    assert ops(rewrite(graph, "unstack").after) == [("b", conv(4 * g, 5, groups=g))]


def test_moves_meet_other_names_other_activations_and_several_inputs():
    silu, add = OPS["silu"](), OPS["add"]()
    nodes = (
        Node("L0", conv(8, 5, padding=2), ("left",)),
        Node("L1", silu, ("L0",)),
        Node("R0", conv(8, 5, padding=2), ("right",)),
        Node("sum", add, ("L1", "R0")),
        Node("end", conv(8, 7), ("sum",)),
    )
    shape = (1, 3, 16, 16)
    graph = Graph("two", (Input("left", shape), Input("right", shape)), nodes, ("end", "L1"))
    done = rewrite(graph, "stack3x3")
    assert places(done) == ["L0", "R0", "end"]
    kinds = {node.name: node.op.name for node in done.after.nodes}
    assert (kinds["L0/silu_1"], kinds["R0/relu_1"], kinds["end/relu_2"]) == ("silu", "relu", "relu")
    assert done.after.outputs == ("end/conv_3", "L1")
    assert rewrite(done.after, "unstack").after.nodes == nodes
    separable = rewrite(graph, "separable").after
    assert [separable.shapes[name] for name in separable.outputs] == [graph.shapes[name] for name in graph.outputs]


def test_moves_follow_one_another():
    """A 7×7 as three 3×3, these as 1×3 and 3×1: 18 weights for every 49, from C to C channels."""
    graph = chain(("conv", conv(16, 7, padding=3, bias=False)), shape=(1, 16, 28, 28))
    done = rewrite(graph, "stack3x3", "factorize")
    assert [len(step.changed) for step in done.steps] == [1, 3]
    assert Fraction(total(done.after).macs, total(graph).macs) == Fraction(18, 49)
    assert total(done.after).receptive_field == (7, 7)


@pytest.mark.parametrize("move", ["stack3x3", "factorize", "separable"])
def test_what_is_made_says_where_its_layer_was_written(move):
    graph = load("alexnet-ungrouped")
    written = {node.name: node.origin for node in graph.nodes}
    made = rewrite(graph, move, at="conv2").after.select("conv2")
    assert len(made) > 1
    assert {node.origin for node in made} == {written["conv2"], *([] if move == "separable" else [written["relu2"]])}
