"""Conventions: the integers that tools print, the tables of other sources, and laws for all conventions."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import cache
from math import prod

import numpy as np
import pytest
import sympy
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from stopwatch import process
from truth_data import graph, ids, of_kind, published, read, row, table, verdict

import costcalc
from costcalc import Builder, CostcalcError, to_yaml
from costcalc.analysis.conventions import CONVENTIONS, CountedLayer, sum_terms
from costcalc.analysis.metrics import METRICS
from costcalc.core.sizes import as_size, window_elements_inside, window_positions
from costcalc.frontends.spec import Spec
from costcalc.ir.ops import OPS

# What the tools print, batch 1, eval mode, torchvision's models (torch 2.14.1, torchvision 0.29.1, fvcore
# 0.1.5.post20221221, ptflops 0.7.5, thop 0.1.1, torchinfo 1.8.0, calflops 0.3.2).
TOOLS = ("torch", "fvcore", "ptflops", "ptflops-aten", "thop", "torchinfo", "calflops", "macs")
PRINTED = {
    "alexnet-torchvision": (61_100_840, 1_428_376_960, 714_197_696, 716_441_128, 714_682_664, 714_206_912, 714_682_664,
                            1_429_741_184, 714_188_480),
    "vgg11-torchvision": (132_863_336, 15_218_180_096, 7_609_115_136, 7_643_686_888, 7_616_525_288, 7_609_140_224,
                          7_616_525_288, 15_239_186_944, 7_609_090_048),
    "vgg16-torchvision": (138_357_544, 30_940_528_640, 15_470_289_408, 15_523_225_576, 15_483_821_032, 15_470_314_496,
                          15_483_821_032, 30_973_778_432, 15_470_264_320),
    "vgg16_bn": (138_365_992, 30_940_528_640, 15_497_384_448, 15_550_320_616, 15_483_821_032, 15_524_504_576,
                 15_483_829_480, 31_000_873_472, 15_470_264_320),
    "googlenet-torchvision": (6_624_904, 2_996_752_384, 1_504_878_688, 1_513_907_448, 1_498_377_192, 1_511_332_032,
                              1_498_391_752, 3_009_356_752, 1_498_376_192),
    "inception_v3": (23_834_568, 11_426_432_192, 5_731_282_144, 5_747_660_552, 5_713_217_096, 5_749_219_168,
                     5_713_251_528, 11_458_393_728, 5_713_216_096),
    "resnet18": (11_689_512, 3_628_146_688, 1_819_065_856, 1_825_313_768, 1_814_074_344, 1_824_033_792, 1_814_083_944,
                 3_636_250_112, 1_814_073_344),
    "resnet34": (21_797_672, 7_327_522_816, 3_671_262_720, 3_680_019_432, 3_663_762_408, 3_678_739_456, 3_663_779_432,
                 7_339_389_440, 3_663_761_408),
    "resnet50-torchvision": (25_557_032, 8_178_368_512, 4_111_512_576, 4_132_436_968, 4_089_185_256, 4_133_742_592,
                             4_089_238_376, 8_211_108_352, 4_089_184_256),
}  # fmt: skip


@pytest.mark.parametrize("name", PRINTED)
def test_every_tool_to_the_digit(name):
    params, *printed = PRINTED[name]
    for tool, expected in zip(TOOLS, printed, strict=True):
        costs = table(name, convention=tool).total()
        assert (costs.params, costs.flops) == (params, expected), tool
    assert table(name, convention="timm").total().flops == table(name, convention="fvcore").total().flops


def test_fvcore_in_training_mode_counts_five_per_batch_norm_element():
    """The 4.145 G of ResNet-50."""
    macs, elements = 4_089_184_256, (4_111_512_576 - 4_089_184_256 - 2048 * 49) // 2
    assert table("resnet50-torchvision", convention="fvcore-training").total().flops == macs + 5 * elements + 2048 * 49


def test_which_calls_of_inception_v3_are_functions():
    """torchvision's model: 2,350,848 elements enter pools that are modules, 2,577,152 pools that are functions."""
    network = graph("inception_v3")
    entering = {True: 0, False: 0}
    for node in network.nodes:
        if node.op.name in ("max_pool2d", "avg_pool2d"):
            entering[node.functional] += prod(network.shapes[node.inputs[0]])
    assert entering == {False: 2_350_848, True: 2_577_152}
    assert all(node.functional for node in network.nodes if node.op.name == "relu")
    assert not any(node.functional for node in graph("resnet50").nodes)


# -- calls as functions -------------------------------------------------------------------------------------------


def small(functional: bool) -> costcalc.Graph:
    builder = Builder("net", batch=2, channels=3, height=8, width=8)
    builder.add("conv", OPS["conv2d"](4, 3, padding=1))
    builder.add("relu", OPS["relu"](), functional=functional)
    builder.add("max", OPS["max_pool2d"](2), functional=functional)
    builder.add("avg", OPS["avg_pool2d"](2), functional=functional)
    builder.add("gap", OPS["adaptive_avg_pool2d"](1), functional=functional)
    return builder.build()


def test_only_ptflops_and_thop_count_functions_and_modules_differently():
    module, function = small(False), small(True)
    assert module == function
    relu, entering_pools, gap = 2 * 4 * 64, 2 * 4 * (64 + 16 + 4), 2 * 4 * 4
    for name in CONVENTIONS:
        of_module, of_function = (costcalc.analyze(net, convention=name).total().flops for net in (module, function))
        more = {"ptflops": relu + entering_pools, "thop": 2 * 4 * 4 + gap + 2 * 4}.get(name, 0)
        assert of_module - of_function == more, name
    costs = [costcalc.analyze(net, convention="full") for net in (module, function)]
    assert costs[0].rows == costs[1].rows


def test_a_call_as_a_function_is_written_and_read():
    text = to_yaml(small(True))
    assert text.count("functional=True") == 4
    again = Spec(text, "net.yaml").build()
    assert [n.functional for n in again.nodes] == [False, True, True, True, True]
    assert "functional" not in to_yaml(small(False))


def test_functional_may_be_an_expression():
    body = "settings: {called: true}\nlayers:\n  - relu(functional=called)\n"
    spec = Spec("name: net\ninput: {channels: 3, height: 8, width: 8}\n" + body, "net.yaml")
    assert [spec.build(None, {"called": c}).nodes[0].functional for c in (True, False)] == [True, False]


# -- one tool at a time -------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 8), st.integers(1, 8))
def test_the_real_division_of_thop_is_whole_over_all_outputs(height, width, out_h, out_w):
    """Per output element Hin·Win/(Hout·Wout) + 1, for each of the outputs."""
    builder = Builder("net", batch=3, channels=5, height=height, width=width)
    builder.add("pool", OPS["adaptive_avg_pool2d"]((out_h, out_w)))
    each = Fraction(height * width, out_h * out_w) + 1
    assert costcalc.analyze(builder.build(), convention="thop").total().flops == 3 * 5 * out_h * out_w * each


def window_elements_by_hand(n, outputs, kernel, stride, padding, dilation):
    positions = (i * stride + t * dilation - padding for i in range(outputs) for t in range(kernel))
    return sum(0 <= position < n for position in positions)


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 30), st.integers(1, 7), st.integers(1, 4), st.integers(0, 6), st.integers(1, 3))
def test_window_elements_inside_are_those_at_input_elements(n, kernel, stride, padding, dilation):
    axis = (kernel, stride, padding, dilation)
    assume(window_positions(n, *axis) >= 1)
    expected = window_elements_by_hand(n, window_positions(n, *axis), *axis)
    assert window_elements_inside(n, window_positions(n, *axis), *axis) == expected
    array = as_size(np.array([n, n + 5]))
    assert window_elements_inside(array, window_positions(array, *axis), *axis)[0] == expected


@pytest.mark.parametrize("axis", [(3, 1, 1, 1), (7, 2, 3, 1), (1, 2, 0, 1), (3, 1, 2, 2), (5, 3, 4, 1), (11, 4, 2, 1)])
def test_window_elements_inside_of_a_symbol(axis):
    symbol = sympy.Symbol("n", integer=True, positive=True)
    formula = sympy.sympify(window_elements_inside(symbol, window_positions(symbol, *axis), *axis))
    for n in range(11, 24):
        assert formula.subs(symbol, n) == window_elements_by_hand(n, window_positions(n, *axis), *axis)


def test_xla_subtracts_multiplications_with_padding():
    builder = Builder("net", channels=8, height=16, width=16)
    builder.add("conv", OPS["conv2d"](4, 3, padding=1))
    costs = costcalc.analyze(builder.build(), convention="xla").total()
    assert costs.flops == 2 * 4 * 8 * 46 * 46
    assert costs.flops == Fraction(46, 48) ** 2 * 2 * costs.macs
    for name in ("vgg16", "alexnet", "resnet50", "googlenet"):
        expected = 0
        network = graph(name)
        for layer in of_kind(table(name), ["conv2d", "linear"]):
            op = next(n.op for n in network.nodes if n.name == layer.path)
            inside = 1
            if op.name == "conv2d":
                for n, outputs, axis in zip(layer.inputs[0][2:], layer.output[2:], op.sliding_windows(), strict=True):
                    inside *= window_elements_by_hand(n, outputs, *axis)
            expected += 2 * inside * prod(layer.parameters["weight"][:2])
        assert table(name, convention="xla").total().flops == expected


def test_convnet_burden_of_alexnet():
    """Its README prints 727 MFLOPs: 724.4 M multiply-accumulates, biases, pools, two for each ReLU."""
    relus = 290_400 + 186_624 + 64_896 + 64_896 + 43_264 + 4096 + 4096
    pools = 69_984 + 43_264 + 9216
    expected = 724_406_816 + (relus + 1000) + 2 * pools * 2 * 2 + 2 * relus
    assert table("alexnet", convention="convnet-burden").total().flops == expected == 727_362_344


def test_keras_counts_moving_statistics_as_parameters():
    costs = table("resnet50", convention="keras").total()
    assert costs.params == 25_557_032
    assert costs.counted_params == 25_557_032 + 2 * 26_560
    assert table("vgg16", convention="keras").total().counted_params == 138_357_544


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("resnet50-torchvision", "ResNet-50 v1.5 option B (torchvision)"),
        ("vgg16", "VGG-D (16)"),
        ("inception_v3", "Inception v3 released, 299, no aux"),
        ("alexnet", "AlexNet grouped, 227 (paper, bvlc_alexnet)"),
        ("googlenet", "GoogLeNet paper/Caffe main path, 5x5, bias"),
    ],
)
def test_macts_of_timm_are_the_outputs_of_conv_and_linear(name, variant):
    expected = next(int(r["act_conv_fc_outputs"]) for r in read("variants.csv") if r["variant"] == variant)
    costs = table(name, convention="timm").total()
    assert costs.counted_activations == expected
    assert costs.activation_bytes == 4 * expected
    assert costs.activations == table(name).total().activations


@pytest.mark.parametrize("name", ["eecs498", "cs231n", "googlenet-paper"])
def test_lectures_count_weights_without_bias(name):
    costs = table("vgg16", convention=name).total()
    assert (costs.params, costs.counted_params) == (138_357_544, 138_344_128)


MODULES = {"conv2+conv3": ("stem/conv2", "stem/conv3"), "fc": ("head/fc",), "conv1": ("stem/conv1",)}


@pytest.mark.parametrize("name", ids("gln-p-t1-"))
def test_table_1_of_the_googlenet_paper(name):
    """Weights without bias in units of 1024, and multiply-adds in millions, agree or disagree with it as they should."""
    part, _, quantity = name.removeprefix("gln-p-t1-").rpartition("-")
    costs = table("googlenet", convention="googlenet-paper")
    totals = [costs.below(path).total() for path in MODULES.get(part, (f"inception{part}",))]
    value = sum(t.counted_params if quantity == "params" else t.flops for t in totals)
    assert value == int(published()[name]["exact"])
    unit = "M" if quantity == "ops" else {1024: "Ki"}[CONVENTIONS["googlenet-paper"].kilo]
    assert verdict(published()[name]["published"], unit, value) == published()[name]["verdict"]


# -- laws ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONVENTIONS)
def test_a_convention_is_declared_in_full(name):
    convention = CONVENTIONS[name]
    assert convention.name == name
    assert len(convention.definition) > 80
    assert convention.definition.endswith(".")
    assert "\n" not in convention.definition
    for terms in (convention.work, convention.parameters, convention.activations):
        words = [term.description for term in terms]
        assert len(set(words)) == len(words) > 0
    assert convention.prior in range(4)


@pytest.mark.parametrize("name", CONVENTIONS)
@pytest.mark.parametrize("network", ["googlenet-torchvision", "resnet18", "alexnet"])
def test_conventions_agree_on_ints_arrays_and_expressions(name, network):
    keys, sizes = ("batch", "height", "width"), [(2, 299, 331), (1, 320, 299)]
    expected = [table(network, convention=name, **dict(zip(keys, s, strict=True))).total() for s in sizes]
    of_arrays = costcalc.analyze(of_sizes(network), convention=name).total()
    of_symbol = costcalc.analyze(of_any_batch(network), convention=name).total()
    for count in ("flops", "counted_params", "counted_activations"):
        for i in range(2):
            assert np.broadcast_to(getattr(of_arrays, count), 2)[i] == getattr(expected[i], count), count
        assert sympy.sympify(getattr(of_symbol, count)).subs("batch", 2) == getattr(expected[0], count), count


@cache
def of_sizes(network):
    arrays = {"batch": np.array([2, 1]), "height": np.array([299, 320]), "width": np.array([331, 299])}
    return costcalc.load(network, **arrays)


@cache
def of_any_batch(network):
    return costcalc.load(network, batch=sympy.Symbol("batch"), height=299, width=331)


@pytest.mark.parametrize("name", CONVENTIONS)
def test_conventions_of_one_layer_on_symbolic_planes(name):
    """Both sizes of an image as symbols, for single layers: expressions of a whole network would be too large."""
    h, w = (sympy.Symbol(s, integer=True, positive=True) for s in "hw")
    for op in (OPS["conv2d"](4, 3, stride=2, padding=1), OPS["batch_norm2d"](), OPS["max_pool2d"](3, 2, padding=1),
               OPS["adaptive_avg_pool2d"](3), OPS["relu"]()):  # fmt: skip
        counted = []
        for height, width in ((h, w), (23, 40)):
            inputs = ((2, 6, height, width),)
            output = op.output(*inputs)
            layer = CountedLayer(op, inputs, output, op.work(inputs, output))
            counted.append(sum_terms(CONVENTIONS[name].work, layer))
        assert sympy.sympify(counted[0]).subs({h: 23, w: 40}) == counted[1]


@pytest.mark.parametrize("name", CONVENTIONS)
def test_a_layer_with_shared_parameters_owns_none(name):
    """Work counts every time, parameters once."""
    builder = Builder("net", channels=4, height=8, width=8)
    builder.add("a", OPS["conv2d"](4, 3, padding=1))
    builder.add("bn", OPS["batch_norm2d"]())
    alone = costcalc.analyze(builder.build(), convention=name).total()
    builder.add("b", OPS["conv2d"](4, 3, padding=1), shares="a")
    builder.add("bn2", OPS["batch_norm2d"](), shares="bn")
    twice = costcalc.analyze(builder.build(), convention=name).total()
    assert twice.counted_params == alone.counted_params
    assert twice.flops == 2 * alone.flops


def test_an_unknown_layer_is_counted_by_no_convention():
    builder = Builder("net", channels=3, height=8, width=8)
    builder.add("odd", OPS["unknown"]("mystery"))
    for name in CONVENTIONS:
        (only,) = costcalc.analyze(builder.build(), convention=name).rows
        assert (only.flops, only.counted_params) == (None, None)


def test_a_misspelt_convention_is_answered():
    with pytest.raises(CostcalcError, match=r"no convention 'ptflop' \(did you mean 'ptflops'\?\): there are flops, "):
        costcalc.analyze(graph("nin"), convention="ptflop")


def test_only_layers_without_parameters_are_functions():
    builder = Builder("net", channels=3, height=8, width=8)
    builder.add("conv", OPS["conv2d"](4, 3), functional=True)
    with pytest.raises(CostcalcError, match="conv: conv2d has parameters or statistics here: it is a module"):
        builder.build()
    good = small(False)
    assert row(costcalc.analyze(replace(good, name="other")), "conv").params == 4 * 3 * 9 + 4


def test_the_default_convention_loads_no_tools():
    """Modules of tools import most families of ops, which a report with the default convention does not need."""
    analysis = "import sys; import costcalc; costcalc.analyze(costcalc.load('alexnet')); "
    process("-c", analysis + "sys.exit('costcalc.analysis.conventions.tools' in sys.modules)")()


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_lower_bounds_and_convention_of_a_metric(metric):
    builder = Builder("net", channels=3, height=8, width=8)
    builder.add("conv", OPS["conv2d"](4, 3))
    known = getattr(costcalc.analyze(builder.build()).total(), metric.attribute)
    builder.add("odd", OPS["unknown"]("wavelet"))
    costs = costcalc.analyze(builder.build())
    assert (getattr(costs.rows[-1], metric.attribute) is None) == metric.is_lower_bound
    of_each = {getattr(table("alexnet", convention=name).total(), metric.attribute) for name in CONVENTIONS}
    assert (len(of_each) > 1) == metric.follows_convention
    assert getattr(costs.total(), metric.attribute) >= known
