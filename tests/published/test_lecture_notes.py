"""The checkable claims of the lecture notes, one test each: the rows notes-* of truth/published.csv.

A docstring has the claim in the notes' words (a later revision's where the notes break off), and then the rule under
which it is true, where it is true under one only. Every number comes from a shipped network, or from its layers.
"""

from fractions import Fraction
from itertools import pairwise
from math import ceil

import pytest
import sympy
from truth_data import chain, elements, exact, graph, ids, of_kind, projections, published, row, table, verdict

import costcalc
from costcalc.ir.ops.conv import Conv2d
from costcalc.ir.ops.linear import Linear
from costcalc.ir.ops.shape import Flatten

MODULE_3A = "inception3a"
STAGES = [f"stage{number}" for number in range(1, 6)]
LAYERS = [f"layer{number}" for number in range(1, 5)]
VGGS = {"A": "vgg11", "B": "vgg13", "C": "vgg16-1x1", "D": "vgg16", "E": "vgg19"}
RESNETS = {18: 2, 34: 2, 50: 3, 101: 3, 152: 3}  # weight layers of a block


def naive_module():
    return table("googlenet-naive").below(MODULE_3A)


def vgg_stage(count, channels=64, size=224):
    """The first stage of VGG with `count` 3×3 convolutions, fed as many channels as it makes."""
    settings = {"channels": channels, "base_channels": channels, "height": size, "width": size}
    return table("vgg16", convs=[count, 2, 3, 3, 3], **settings).below("stage1")


def convolutions(costs):
    return of_kind(costs, ["conv2d"])


def one_convolution(kernel, channels=64, size=224):
    """The single larger convolution that a stage of 3×3 stands for."""
    return chain(Conv2d(channels, kernel, padding=kernel // 2), channels=channels, height=size, width=size)


def total(rows, field):
    return sum(getattr(r, field) for r in rows)


def test_every_claim_has_a_test():
    tests = {name.removeprefix("test_notes_")[:2] for name in globals() if name.startswith("test_notes_")}
    assert {f"notes-{number}" for number in tests} == set(ids("notes-"))
    assert len(tests) == 28


# --- Inception -------------------------------------------------------------------------------------------------------


def test_notes_01_flops_of_the_naive_5x5():
    """'conv 5x5 = 2x28x28x32x192x5x5=240 Mflops'. Cut off to tens: the product is 240,844,800."""
    flops = row(naive_module(), f"{MODULE_3A}/5x5/conv/conv2d").flops
    assert flops == exact("notes-01") == 2 * 28 * 28 * 32 * 192 * 5 * 5
    assert flops // 10**7 * 10 == int(published()["notes-01"]["published"]) == 240
    assert verdict("240", "M", flops) == published()["notes-01"]["verdict"] == "truncated"


def test_notes_02_flops_of_the_naive_3x3():
    """'conv 3x3 = 2x28x28x128x192x3x3=350 Mflops'. Rounded to tens: the product is 346,816,512."""
    flops = row(naive_module(), f"{MODULE_3A}/3x3/conv/conv2d").flops
    assert flops == exact("notes-02") == 2 * 28 * 28 * 128 * 192 * 3 * 3
    assert round(flops, -7) == 350 * 10**6
    assert verdict("347", "M", flops) == "rounds-to"
    assert verdict("350", "M", flops) == published()["notes-02"]["verdict"] == "approx(+0.9%)"


@pytest.mark.parametrize("stacked", [0, 1, 2, 8])
def test_notes_03_channels_grow_fast_when_naive_modules_are_stacked(stacked):
    """'Due to max-pool, #channels grows very fast': by 64 + 128 + 32 a module, as the pool passes all of its input on.

    One module makes 416 of 192 channels, n of these widths make 192 + 224n.
    """
    fed = 192 + 224 * stacked
    module = costcalc.analyze(graph("googlenet-naive").extract(MODULE_3A, (1, fed, 28, 28)))
    _, channels, height, width = module.total().output
    assert channels == 192 + 224 * (stacked + 1)
    assert (height, width) == (28, 28)
    if not stacked:
        assert channels == exact("notes-03") == naive_module().total().output[1]


def test_notes_03_nine_stacked_naive_modules_grow_to_4944_channels():
    """The whole network of naive modules; the real one ends in 1,024 channels."""
    last = "inception5b"
    outputs = [table(name).below(last).total().output[1] for name in ("googlenet-naive", "googlenet")]
    assert outputs == [4944, 1024]


def test_notes_05_reduction_takes_the_5x5_from_240_to_25_mflops():
    """'Control the time complexity of the larger convolutions by reducing the channel dimension, e.g. now flops are' 25 M.

    The reduction and the 5×5 together; 9.68 times less.
    """
    branch = table("googlenet").below("inception3a/5x5").total()
    assert branch.flops == exact("notes-05") == 2 * 28 * 28 * (192 * 16 + 16 * 32 * 25)
    assert verdict("25", "M", branch.flops) == published()["notes-05"]["verdict"] == "rounds-to"
    assert verdict("9.68", "x", Fraction(exact("notes-01"), branch.flops)) == "rounds-to"


def test_notes_07_a_lot_of_gain_in_flops():
    """'By adding 1x1 convolutions before larger convs and after max pool … a lot of gain in terms of FLOPS!': 2.37 times.

    The convolutions of module 3a, the reduced module's projection after the pool included.
    """
    naive, reduced = naive_module().total().flops, table("googlenet").below(MODULE_3A).total().flops
    assert (naive, reduced) == (606_928_896, 256_098_304)
    assert naive / reduced == exact("notes-07")


# --- VGG's stages ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3, 4])
def test_notes_08_memory_for_activations_doubles(count):
    """'No free-lunch, though: memory for activations doubles': outputs of two 3×3 against one 5×5; n-fold for n.

    The input is not counted, channels in and out are equal, and the ReLUs work in place.
    """
    stage = [r for r in vgg_stage(count).rows if r.op in ("conv2d", "relu")]
    larger = one_convolution(2 * count + 1).total()
    assert total(stage, "activations") == count * larger.activations
    assert total(stage, "activation_bytes") == count * larger.activation_bytes
    if count == 2:
        assert total(stage, "activations") / larger.activations == exact("notes-08")


@pytest.mark.parametrize("channels", [1, 64, 512])
def test_notes_09_a_stage_requires_fewer_parameters(channels):
    """'… but requires less params': 18C² + 2C for two 3×3 against 25C² + C for one 5×5, 0.72 as C grows."""
    stage = total(convolutions(vgg_stage(2, channels, 32)), "params")
    larger = one_convolution(5, channels, 32).total().params
    assert stage == 18 * channels**2 + 2 * channels
    assert larger == 25 * channels**2 + channels
    assert stage < larger


def test_notes_09_the_ratio_of_parameters_tends_to_0_72():
    """From above: the limit of the closed forms of the layers' own formulas."""
    c = sympy.Symbol("C", integer=True, positive=True)
    convolution = Conv2d(c, 3, padding=1)
    ratio = chain(convolution, convolution, channels=c).total().params / one_convolution(5, c).total().params
    assert sympy.limit(ratio, c, sympy.oo) == sympy.Rational(18, 25)
    assert float(sympy.limit(ratio, c, sympy.oo)) == exact("notes-09")


@pytest.mark.parametrize(("channels", "size"), [(1, 32), (64, 224), (512, 32)])
def test_notes_10_a_stage_requires_less_computation(channels, size):
    """'… and computation': 36C²WH FLOPs for two 3×3 against 50C²WH for one 5×5, 0.72 always."""
    stage = total(convolutions(vgg_stage(2, channels, size)), "flops")
    larger = one_convolution(5, channels, size).total().flops
    assert stage == 36 * channels**2 * size * size
    assert larger == 50 * channels**2 * size * size
    assert stage / larger == exact("notes-10")


@pytest.mark.parametrize(("count", "kernel"), [(2, 5), (3, 7), (4, 9)])
def test_notes_11_a_stage_has_the_receptive_field_of_larger_convolutions(count, kernel):
    """'One stage has same receptive field of larger convolutions': 1 + 2n for n 3×3 at stride 1, before its pool.

    The pool that closes the stage adds one pixel more.
    """
    stage = vgg_stage(count)
    field = convolutions(stage)[-1].receptive_field
    assert field == one_convolution(kernel).total().receptive_field == (kernel, kernel)
    assert row(stage, "stage1/pool").receptive_field == (kernel + 1, kernel + 1)
    if count == 2:
        assert field[0] == exact("notes-11")


@pytest.mark.parametrize("count", [2, 3, 4])
def test_notes_12_a_stage_introduces_more_non_linearities(count):
    """'… and introduces more non-linearities': one ReLU a convolution, so n where the larger convolution has one."""
    stage = [r.op for r in vgg_stage(count).rows]
    assert stage == ["conv2d", "relu"] * count + ["max_pool2d"]
    if count == 2:
        assert stage.count("relu") == exact("notes-12")


GRAMMAR = {"conv-conv-pool", "conv-conv-conv-pool", "conv-conv-conv-conv-pool"}


def stage_shapes(name):
    """Each stage of a VGG in the notes' words; a convolution that is no 3×3 says so."""
    words = {"max_pool2d": "pool"}
    for stage in STAGES:
        nodes = [n for n in graph(name).select(stage) if n.op.name != "relu"]
        yield "-".join(words.get(n.op.name) or f"conv{'' if n.op.kernel_size == (3, 3) else '1x1'}" for n in nodes)


@pytest.mark.parametrize(("configuration", "obeys"), [("A", False), ("B", True), ("C", True), ("D", True), ("E", True)])
def test_notes_13_stages_of_vgg(configuration, obeys):
    """'In VGG, stages are either: conv-conv-pool, conv-conv-conv-pool, conv-conv-conv-conv-pool': false for VGG-11.

    Configuration A has stages of a single convolution. C obeys with a 1×1 as its third convolution.
    """
    stages = list(stage_shapes(VGGS[configuration]))
    assert len(stages) == 5
    assert ({stage.replace("1x1", "") for stage in stages} <= GRAMMAR) is obeys
    assert any("1x1" in stage for stage in stages) is (configuration == "C")
    if configuration == "A":
        assert stages[:2] == ["conv-pool"] * 2


# --- VGG-16 ----------------------------------------------------------------------------------------------------------


def test_notes_14_vgg_16_has_more_than_double_alexnets_parameters():
    """'It has more than double the number of the params': 2.22 times the lecture's AlexNet, 2.27 and 2.26 the others'."""
    vgg = table("vgg16").total().params
    assert vgg / table("alexnet-ungrouped").total().params == exact("notes-14")
    for name, times in (("alexnet-ungrouped", "2.22"), ("alexnet", "2.27"), ("alexnet-torchvision", "2.26")):
        ratio = Fraction(vgg, table(name).total().params)
        assert ratio > 2
        assert verdict(times, "x", ratio) == "rounds-to"


def test_notes_15_cost_is_constant_per_layer_up_to_the_last_stage():
    """'The cost within our stages stays constants … This is true up to the last stage': of a layer, not of a stage.

    Every convolution but a stage's first costs the same in stages 1 to 4 and a quarter in stage 5, whose channels do
    not double; the first costs half (of stage 5, a full one). Totals of stages are not constant.
    """
    costs = table("vgg16")
    macs = [[r.macs for r in convolutions(costs.below(stage))] for stage in STAGES]
    constant = exact("notes-15")
    assert all(set(stage[1:]) == {constant} for stage in macs[:4])
    assert {4 * cost for cost in macs[4]} == {constant}
    assert [stage[0] for stage in macs[1:4]] == [constant // 2] * 3
    assert macs[0][0] == 224 * 224 * 64 * 3 * 9
    assert len({sum(stage) for stage in macs[:4]}) == 3
    assert [sum(stage) for stage in macs[:3]] == [1_936_392_192, 2_774_532_096, 4_624_220_160]


@pytest.mark.parametrize(("batch", "outgrow"), [(1, False), (13, False), (14, True), (128, True)])
def test_notes_16_activations_cost_more_memory_than_parameters_from_batch_14_on(batch, outgrow):
    """'Activation cost way more than parameters to store them in memory': in training, from batch 14 on.

    Activations with their gradients, against parameters with gradients and momentum: 9.3 times at batch 128.
    """
    costs = table("vgg16", convention="bologna", batch=batch).total()
    assert (costs.activation_bytes > costs.param_bytes) is outgrow
    if batch == 128:
        assert costs.activation_bytes / costs.param_bytes == exact("notes-16")


def test_notes_16_is_the_opposite_at_inference_of_one_image():
    """57.6 MiB of activations and 527.8 MiB of parameters, each stored once."""
    costs = table("vgg16").total()
    assert verdict("57.6", "MB(2^20)", costs.activation_bytes) == "rounds-to"
    assert verdict("527.8", "MB(2^20)", costs.param_bytes) == "rounds-to"


def test_notes_17_the_first_layers_take_the_most_memory():
    """'The layers that are most responsible for the memory consuption are the first': 42.6 % is conv1_1 and conv1_2."""
    costs = table("vgg16")
    most = max(r.activations for r in costs.rows)
    first = [r for r in costs.rows if r.activations == most]
    assert [r.path for r in first] == ["stage1/conv_1/conv2d", "stage1/conv_2/conv2d"]
    assert total(first, "activations") / costs.total().activations == exact("notes-17")
    largest = [max(r.activations for r in costs.below(stage).rows) for stage in STAGES]
    assert largest == sorted(largest, reverse=True)
    assert (
        verdict("47.9", "%", 100 * costs.below("stage1").total().activations / costs.total().activations) == "rounds-to"
    )


def test_notes_18_no_stem_layers_cause_a_high_requirement():
    """'Very large activation, and absence of stem layers cause a high processing power requirement'.

    Down to 28×28 VGG-16 spends 19.5 times the MACs of GoogLeNet's stem, and 13.9 times its parameters.
    """
    costs, stem = table("vgg16"), table("googlenet").below("stem").total()
    down = [costs.below(stage).total() for stage in STAGES[:3]]
    assert down[-1].output[2:] == stem.output[2:] == (28, 28)
    assert (total(down, "macs"), stem.macs) == (9_335_144_448, 477_675_520)
    assert total(down, "macs") / stem.macs == exact("notes-18")
    assert (total(down, "params"), stem.params) == (1_735_488, 124_416)
    assert verdict("13.9", "x", Fraction(total(down, "params"), stem.params)) == "rounds-to"


# --- 1×1 convolutions and heads --------------------------------------------------------------------------------------


def test_notes_19_a_1x1_convolution_has_a_kernel_per_output_channel():
    """'A 1 x 1 convolution is actuallually a 1x1x128 convolution. If I want 3 output channel, we need 3 kernels'.

    It is a linear layer of 128 and 3 features at each position.
    """
    (convolution,) = chain(Conv2d(3, 1), channels=128, height=6, width=6).rows
    (linear,) = of_kind(chain(Flatten(), Linear(3), channels=128, height=1, width=1), ["linear"])
    assert convolution.parameters["weight"] == (3, 128, 1, 1)
    assert convolution.weights == exact("notes-19") == linear.weights
    assert convolution.params == linear.params == 3 * 128 + 3
    assert convolution.macs == 36 * linear.macs == 384 * 36


def test_notes_20_global_average_pooling_reduces_parameters():
    """'To reduce the number of parameters needed at the interface between convolutional features and fully connected layers'.

    49 times for GoogLeNet's 1,024 maps of 7×7; VGG's head of linear layers alone has 123,642,856.
    """
    before = table("googlenet").below("inception5b").total().output
    assert before == (1, 1024, 7, 7)
    pooled = table("googlenet").below("head").total().params
    flattened = chain(Flatten(), Linear(1000), channels=1024, height=7, width=7).total().params
    assert flattened / pooled == exact("notes-20") == (7 * 7 * 1024 * 1000 + 1000) / (1024 * 1000 + 1000)
    assert table("vgg16").below("head").total().params == 123_642_856


def test_notes_21_nin_has_no_parameters_after_its_convolutions():
    """'NiN proposed to get rid of spatial dimensions by averaging them out': its head has none, GoogLeNet keeps one layer."""
    head = table("nin").below("head")
    assert head.total().params == exact("notes-21")
    assert head.rows[0].inputs[0][1:] == (1000, 6, 6)
    assert head.rows[0].output[1:] == (1000, 1, 1)
    assert not of_kind(table("nin"), ["linear"])
    assert len(of_kind(table("googlenet"), ["linear"])) == 1


# --- Inception v3 ----------------------------------------------------------------------------------------------------


def factorised(*kernels, channels=64):
    steps = [Conv2d(channels, kernel, padding=tuple(k // 2 for k in kernel), bias=False) for kernel in kernels]
    return chain(*steps, channels=channels).total()


@pytest.mark.parametrize(
    ("kernels", "whole", "left"),
    [
        ([(3, 3), (3, 3)], (5, 5), Fraction(18, 25)),
        ([(1, 3), (3, 1)], (3, 3), Fraction(2, 3)),
        ([(1, 7), (7, 1)], (7, 7), Fraction(2, 7)),
    ],
)
def test_notes_22_factorisation_reduces_parameters_of_what_it_replaces(kernels, whole, left):
    """'It leverages convolution factorizations to … reduce the number of parameters': true of the layers replaced.

    Two 3×3 have 28 % less than a 5×5, n×1 and 1×n leave 2/n of an n×n; and so does their computation.
    """
    parts, one = factorised(*kernels), factorised(whole)
    assert Fraction(parts.params, one.params) == Fraction(parts.macs, one.macs) == left
    assert parts.output == one.output
    assert parts.receptive_field == one.receptive_field == whole


def test_notes_22_the_released_modules_are_factorised_so():
    """Inside Inception v3: the 5×5 as two 3×3, and each 7×7 as a 1×7 and a 7×1."""
    kernels = {
        branch: [n.op.kernel_size for n in graph("inception_v3").select(branch) if n.op.name == "conv2d"]
        for branch in ("mixed5b/3x3dbl", "mixed6b/7x7", "mixed6b/7x7dbl")
    }
    assert kernels["mixed5b/3x3dbl"] == [(1, 1), (3, 3), (3, 3)]
    assert kernels["mixed6b/7x7"] == [(1, 1), (1, 7), (7, 1)]
    assert kernels["mixed6b/7x7dbl"] == [(1, 1), (7, 1), (1, 7), (7, 1), (1, 7)]


def test_notes_22_is_false_of_the_whole_network():
    """Inception v3 has 3.41 times the parameters of v1, and 3.61 times its MACs."""
    third, first = table("inception_v3").total(), table("googlenet").total()
    assert third.params == exact("notes-22") > first.params
    assert verdict("3.41", "x", Fraction(third.params, first.params)) == "rounds-to"
    assert verdict("3.61", "x", Fraction(third.macs, first.macs)) == "rounds-to"


# --- ResNet ----------------------------------------------------------------------------------------------------------


def test_notes_24_36_identity_layers_on_20():
    """'If a network with 20 layers achieves performance X, then we can stack 36 more identity layers': CIFAR's 20 and 56."""
    shallow, deep = (table(f"resnet{depth}-cifar").total().weight_layers for depth in (20, 56))
    assert (shallow, deep) == (6 * 3 + 2, 6 * 9 + 2) == (20, 56)
    assert deep - shallow == exact("notes-24")


def block_kernels(name):
    """The kernels of the main paths of all residual blocks of a network, and whether a BatchNorm follows each."""
    for layer in [layer for layer in LAYERS if table(name).below(layer).rows]:
        for block in dict.fromkeys("/".join(n.name.split("/")[:2]) for n in graph(name).select(layer)):
            nodes = graph(name).select(f"{block}/main")
            yield [(n.op.kernel_size[0], after.op.name) for n, after in pairwise(nodes) if n.op.name == "conv2d"]


@pytest.mark.parametrize(
    ("name", "blocks", "basic"),
    [
        ("resnet18", 8, True),
        ("resnet34", 16, True),
        ("resnet20-cifar", 9, True),
        ("resnet110-cifar", 54, True),
        ("resnet50", 16, False),
        ("resnet101", 33, False),
        ("resnet152", 50, False),
    ],
)
def test_notes_25_each_residual_block_is_two_3x3_with_batch_norm(name, blocks, basic):
    """'Each residual block is a stack of two 3x3 convolutions with batch-norm': of ResNet-18, 34 and CIFAR's alone.

    From 50 layers on a block is 1×1, 3×3, 1×1.
    """
    kernels = [3, 3] if basic else [1, 3, 1]
    assert list(block_kernels(name)) == [[(kernel, "batch_norm2d") for kernel in kernels]] * blocks


@pytest.mark.parametrize(("name", "widening"), [("resnet18", 1), ("resnet34", 1), ("resnet50", 4), ("resnet152", 4)])
def test_notes_26_the_first_block_of_a_stage_halves_the_plane_and_doubles_the_channels(name, widening):
    """'The first block of each stage halves the spatial resolution … and doubles the number of channels': not of stage 1.

    Stage 1 keeps the plane; it keeps the 64 channels of basic blocks and makes 256 of them in bottlenecks.
    """
    costs = table(name)
    firsts = [costs.below(f"{layer}/block_1") for layer in LAYERS]
    halves = []
    for first in firsts:
        (_, channels, *plane), (_, wider, *smaller) = first.rows[0].inputs[0], first.total().output
        halves.append(([2 * n for n in smaller] == plane) and wider == 2 * channels)
    assert halves == [False, True, True, True]
    assert firsts[0].rows[0].inputs[0] == (1, 64, 56, 56)
    assert firsts[0].total().output == (1, 64 * widening, 56, 56)


@pytest.mark.parametrize("name", ["resnet18", "resnet34"])
def test_notes_27_every_3x3_that_keeps_its_channels_costs_the_same(name):
    """'Inspired by VGG regular design': 115,605,504 MACs in all four stages, in the last too, unlike VGG's."""
    for layer in LAYERS:
        kept = [r for r in convolutions(table(name).below(layer)) if r.parameters["weight"][0] == r.inputs[0][1]]
        assert len(kept) >= 3
        assert {r.macs for r in kept} == {exact("notes-27")}
    assert exact("notes-27") == 9 * 64 * 64 * 56 * 56


@pytest.mark.parametrize("depth", RESNETS)
def test_notes_28_resnet_x_has_x_layers(depth):
    """'ResNet-X, where X is the number of layers with learnable parameters': convolutions and linear on the main path.

    With the projections there are more, with BatchNorm about twice as many.
    """
    costs = table(f"resnet{depth}")
    blocks = sum(r.op == "add" for r in costs.rows)
    assert costs.total().weight_layers == depth == 1 + RESNETS[depth] * blocks + 1
    weighted = len(of_kind(costs, ["conv2d", "linear"]))
    normalised = sum(r.params > 0 for r in costs.rows)
    with_projections = {18: 21, 34: 37, 50: 54, 101: 105, 152: 156}
    with_normalisation = {18: 41, 34: 73, 50: 107, 101: 209, 152: 311}
    assert (weighted, normalised) == (with_projections[depth], with_normalisation[depth])
    assert ", ".join(map(str, RESNETS)) == published()["notes-28"]["exact"]


def test_notes_29_zero_padding_needs_no_extra_parameters():
    """'apply stride 2 to y and zero pad the missing channels (no extra parameters)': option A has those of the plain net.

    Option B adds three projections and their BatchNorm.
    """
    plain = table("plain34").total().params
    a, b, c = (table("resnet34", shortcut=option).total().params for option in "ABC")
    assert a - plain == exact("notes-29")
    assert b - plain == 64 * 128 + 128 * 256 + 256 * 512 + 2 * (128 + 256 + 512)
    assert c == 22_716_840


@pytest.mark.parametrize("size", [224, 225, 250])
@pytest.mark.parametrize("name", ["resnet18", "resnet34"])
def test_notes_30_a_projection_halves_the_plane_and_doubles_the_channels(name, size):
    """'1x1 conv with stride 2 and 2C output channels: halve the spatial dimension, double the number of channel'.

    Rounded up where the plane is odd, of C·2C weights; of basic blocks, in stages 2 to 4.
    """
    costs = table(name, height=size, width=size)
    assert [r.path.split("/")[0] for r in projections(costs)] == LAYERS[1:]
    for r in projections(costs):
        ((_, channels, height, width),) = r.inputs
        assert r.output == (1, 2 * channels, ceil(height / 2), ceil(width / 2))
        assert r.params == channels * 2 * channels


def test_notes_30_is_false_of_the_first_stage_of_bottlenecks():
    """Its projection has stride 1 and makes 4C channels."""
    (projection,) = projections(table("resnet50").below("layer1"))
    assert projection.inputs == ((1, 64, 56, 56),)
    assert projection.output == (1, 4 * 64, 56, 56)


def test_notes_31_stem_layers_aggressively_downsample_inputs():
    """'Stem layers aggressively downsamples inputs': GoogLeNet's, 224 to 28 in three convolutions and two pools."""
    stem = table("googlenet").below("stem")
    layers = [r for r in stem.rows if r.op in ("conv2d", "max_pool2d")]
    assert [r.op for r in layers] == ["conv2d", "max_pool2d", "conv2d", "conv2d", "max_pool2d"]
    assert [r.output[2] for r in layers] == [112, 56, 56, 56, 28]
    assert elements(stem.rows[0].inputs[0]) // 3 == (8 * exact("notes-31")) ** 2
    assert layers[-1].output[2:] == (exact("notes-31"),) * 2
