"""Receptive fields: published values, gradients in torch, and the reasons why a layer has none."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_graphs import chain

import costcalc
from costcalc import OPS, Builder, CostcalcError, Graph, Input, Node
from costcalc.analysis.receptive_field import (
    AxisReceptiveField,
    NoReceptiveField,
    coverage,
    receptive_fields,
    trace_receptive_fields,
)
from costcalc.cli import cli
from costcalc.frontends.spec import architectures


def run(*arguments):
    result = CliRunner().invoke(cli, ["field", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.output


def answer(*arguments):
    return json.loads(run(*arguments, "--format", "json"))


def last_field(name, **sizes):
    """Return the field of the last layer that has one."""
    return [field for field in receptive_fields(costcalc.load(name, **sizes)).values() if field is not None][-1]


# -- published ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "published", "size", "padding"),
    [
        ("alexnet", "alexnet_v2", 195, 64),
        ("vgg16", "vgg_16", 212, 90),
        ("inception_v3", "inception_v3", 1311, 618),
        # TF-Slim's stem pool pads its far side alone, so that its fields are shifted by 2, the stride of that pool.
        ("resnet50", "resnet_v1_50", 483, 239 + 2),
        ("resnet101", "resnet_v1_101", 1027, 511 + 2),
        ("resnet152", "resnet_v1_152", 1507, 751 + 2),
    ],
)
def test_published_fields(name, published, size, padding):
    """The table of Araujo, Norris and Sim's library (Distill 2019): field, stride 32, and effective padding, −low."""
    height, width = last_field(name)
    assert height == width == AxisReceptiveField(-padding, size - padding - 1, 32), published


def test_resnets_that_stride_in_the_3x3_see_less():
    """Each of three strided blocks has its stride in the 3×3 convolution and not in the 1×1 before it: 2·(8 + 16 + 32 − 4 − 8 − 16) pixels less."""
    for depth in (50, 101, 152):
        paper, v15 = last_field(f"resnet{depth}"), last_field(f"resnet{depth}-torchvision")
        assert paper[0].size - v15[0].size == 2 * ((8 - 4) + (16 - 8) + (32 - 16))


def test_vgg16_by_hand():
    """k − 1 times the stride before it, layer by layer: 1 + 2·2 + 1 = 6 after the first stage, and so on."""
    size, stride, low = 1, 1, 0
    for convolutions in (2, 2, 3, 3, 3):
        size, low = size + convolutions * 2 * stride, low - convolutions * stride
        size, stride = size + stride, stride * 2
    assert (size, stride, low) == (212, 32, -90)
    assert last_field("vgg16") == (AxisReceptiveField(low, low + size - 1, stride),) * 2
    assert last_field("vgg16")[0].center == -90 + 211 / 2 == 15.5


# -- by gradients -------------------------------------------------------------------------------------------------

INPUT = (1, 1, 41, 37)


def ones(graph):
    """Return a function that runs the graph in torch with all weights 1, so that no two paths cancel out."""

    def forward(x):
        tensors = {"input": x}
        for node in graph.nodes:
            op, taken = node.op, [tensors[name] for name in node.inputs]
            if op.name == "conv2d":
                weight = torch.ones(op.out_channels, taken[0].shape[1], *op.kernel_size, dtype=torch.float64)
                made = F.conv2d(taken[0], weight, None, op.stride, op.padding, op.dilation)
            elif op.name == "avg_pool2d":
                made = F.avg_pool2d(taken[0], op.kernel_size, op.stride, op.padding, op.ceil_mode)
            elif op.name == "pad":
                made = F.pad(taken[0], op.padding)
            elif op.name == "zero_pad_shortcut":
                made = taken[0][:, :, :: op.stride[0], :: op.stride[1]]
            else:
                made = sum(taken) if op.name == "add" else torch.cat(taken, 1)
            tensors[node.name] = made
        return made

    return forward


def dependencies(forward, position):
    """Return the first and last input pixel, per axis, that an output depends on; None if there is none."""
    x = torch.zeros(INPUT, dtype=torch.float64, requires_grad=True)
    forward(x)[0, :, position[0], position[1]].sum().backward()
    inside = x.grad[0, 0].nonzero()
    return [(int(inside[:, axis].min()), int(inside[:, axis].max())) for axis in (0, 1)] if len(inside) else None


@st.composite
def graphs(draw):
    """Convolutions and pools, dilated, strided and padded unevenly, with skips and branches that join."""
    builder = Builder("net", channels=1, height=INPUT[2], width=INPUT[3])
    side, two = (st.tuples(st.integers(1, most), st.integers(1, most)) for most in (3, 2))
    place, count = "input", draw(st.integers(1, 4))
    for i in range(count):
        kind = draw(st.sampled_from(["conv", "pool", "pad", "branches", "skip", "strided skip"]))
        kernel = draw(side)
        if kind == "conv":
            stride, dilation, padding = draw(two), draw(two), draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))
            fields = {"stride": stride, "dilation": dilation, "padding": padding}
            place = builder.add(f"{i}", OPS["conv2d"](1, kernel, **fields), place)
        elif kind == "pool":
            padding = tuple(k // 2 for k in kernel)
            place = builder.add(f"{i}", OPS["avg_pool2d"](kernel, stride=draw(side), padding=padding), place)
        elif kind == "pad":
            place = builder.add(f"{i}", OPS["pad"](draw(st.tuples(*[st.integers(0, 2)] * 4))), place)
        elif kind == "branches":  # each padded to keep its size, so that they can be joined
            ends = []
            for j, half in enumerate(draw(st.lists(st.integers(0, 2), min_size=2, max_size=3))):
                left = draw(st.integers(0, 2 * half))  # with different centres
                padded = builder.add(f"{i}/{j}/pad", OPS["pad"]((left, 2 * half - left, half, half)), place)
                ends.append(builder.add(f"{i}/{j}/conv", OPS["conv2d"](1, 2 * half + 1), padded))
            place = builder.add(f"{i}/join", OPS[draw(st.sampled_from(["add", "concat"]))](), *ends)
            place = builder.add(f"{i}/one", OPS["conv2d"](1, 1), place)
        else:
            stride = 1 if kind == "skip" else 2
            skip = place if stride == 1 else builder.add(f"{i}/skip", OPS["zero_pad_shortcut"](1, stride), place)
            main = builder.add(f"{i}/main", OPS["conv2d"](1, 3, stride=stride, padding=1), place)
            place = builder.add(f"{i}/add", OPS["add"](), main, skip)
    return builder


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(builder=graphs(), data=st.data())
def test_fields_are_what_gradients_reach(builder, data):
    """Within the borders, the first and the last pixel that an output depends on are those of its field."""
    try:
        graph = builder.build()
    except CostcalcError:  # drawn too large for its input
        return
    axes = receptive_fields(graph)[graph.outputs[0]]
    forward = ones(graph)
    places = graph.shapes[graph.outputs[0]][2:]
    for _ in range(4):
        place = tuple(data.draw(st.integers(0, n - 1)) for n in places)
        spans = [(i * a.stride + a.low, i * a.stride + a.high) for i, a in zip(place, axes, strict=True)]
        found = dependencies(forward, place)
        inside = all(low >= 0 and high < n for (low, high), n in zip(spans, INPUT[2:], strict=True))
        if inside:
            assert found == spans
        elif found is not None:
            for (first, last), (low, high) in zip(found, spans, strict=True):
                assert low <= first <= last <= high


# -- against the input --------------------------------------------------------------------------------------------


@given(
    low=st.integers(-200, 20), size=st.integers(1, 300), stride=st.integers(1, 40), outputs=st.integers(1, 30),
    pixels=st.integers(1, 300),
)  # fmt: skip
def test_seen_is_the_most_that_any_output_sees(low, size, stride, outputs, pixels):
    axis = AxisReceptiveField(low, low + size - 1, stride)
    seen = [
        len(set(range(i * stride + axis.low, i * stride + axis.high + 1)) & set(range(pixels))) for i in range(outputs)
    ]
    assert axis.visible_pixels(outputs, pixels) == max(seen)


def test_vgg16_sees_196_of_224():
    data = answer("vgg16")
    assert data["schema"] == "costcalc/field/1"
    assert (data["architecture"], data["input"], data["layer"]) == ("vgg16", [224, 224], None)
    rows = {row["name"]: row for row in data["rows"]}
    conv, pool = rows["stage5/conv_3/conv2d"], rows["stage5/pool"]
    assert (conv["size"], conv["stride"], conv["seen"], conv["centre"]) == (
        [196, 196],
        [16, 16],
        [196, 196],
        [7.5, 7.5],
    )
    assert (pool["size"], pool["stride"], pool["seen"], pool["sees_all"]) == ([212, 212], [32, 32], [212, 212], False)
    assert (data["last"], data["widest_convolution"]) == ("stage5/pool", "stage5/conv_3/conv2d")
    assert data["first_to_see_all"] is None
    gone = rows["head/fc1"]
    assert (gone["size"], gone["seen"], gone["reason"], gone["since"]) == (
        None,
        None,
        "no spatial dimensions are left",
        "head/flatten",
    )
    text = " ".join(run("vgg16").split())
    assert "stage5/conv_3/conv2d, the convolution that sees most, sees 196 of 224 (87.5%)" in text
    assert "No layer has an output that sees the whole input." in text


def test_the_convolution_that_sees_most_need_not_be_the_last():
    """Branches of one input: 7×3 has 21 pixels, 5×5 has 25; of two equal ones, the last."""
    wide, tall = OPS["conv2d"](1, 5, padding=2), OPS["conv2d"](1, (7, 3), padding=(3, 1))
    graph = chain(("a", wide, "input"), ("b", tall, "input"), ("sum", OPS["add"](), "a", "b"), shape=(1, 1, 32, 32))
    seen = coverage(graph)
    assert [s.visible for s in seen.layers] == [(5, 5), (7, 3), (7, 5)]
    assert seen.widest_convolution().layer == "a"
    equal = chain(("a", wide, "input"), ("b", wide, "input"), ("sum", OPS["add"](), "a", "b"), shape=(1, 1, 32, 32))
    assert coverage(equal).widest_convolution().layer == "b"
    assert coverage(chain(("pool", OPS["max_pool2d"](2)))).widest_convolution() is None


def test_the_convolution_that_sees_most_is_named(tmp_path):
    spec = tmp_path / "net.yaml"
    spec.write_text(
        "name: net\ninput: {channels: 1, height: 32, width: 32}\nlayers:\n  - add:\n"
        "      wide: conv2d(1, 5, padding=2)\n      tall: conv2d(1, (7, 3), padding=(3, 1))\n"
    )
    assert answer(spec)["widest_convolution"] == "wide"
    text = " ".join(run(spec).split())
    assert (
        "wide, the convolution that sees most, sees 5 of 32 (15.6%), and add, the last layer with a field, sees" in text
    )


def test_a_field_of_195_sees_194_where_it_always_crosses_the_border():
    """AlexNet's pool5 on 224 pixels: 6 outputs, of which the third reaches from −66 + 64 to 128 + 64."""
    sight = next(s for s in coverage(costcalc.load("alexnet-torchvision")).layers if s.layer == "avgpool")
    assert sight.receptive_field[0] == AxisReceptiveField(-66, 128, 32)
    assert sight.visible[0] == max(min(128 + 32 * i, 223) - max(-66 + 32 * i, 0) + 1 for i in range(6)) == 194


def test_the_first_layer_that_sees_all():
    data = answer("resnet50")
    rows = {row["name"]: row for row in data["rows"]}
    names = [row["name"] for row in data["rows"]]
    first = data["first_to_see_all"]
    # 11 pixels at stride 4 after the stem; three blocks of 2·4, four of 2·8, and the fourth of 2·16 make it 227, and
    # the output at 7 reaches from 7·16 − 113 to 7·16 + 113.
    assert rows[first]["size"] == [11 + 3 * 8 + 4 * 16 + 4 * 32] * 2 == [227, 227]
    assert first == "layer3/block_4/main/conv2/conv"
    assert not any(rows[name]["sees_all"] for name in names[: names.index(first)])
    assert f"{first} is the first with an output that sees the whole input." in " ".join(run("resnet50").split())
    small = answer("resnet50", "layer1", "--input", 32)
    assert small["input"] == [32, 32]
    assert small["first_to_see_all"] == "layer1/block_3/main/conv2/conv"


def test_an_input_that_is_not_square():
    text = run("resnet50", "layer4/block_3/relu", "--input", "320x480")
    assert "320×466 of 320×480 (100.0%×97.1%)" in text
    row = answer("resnet50", "layer4/block_3/relu", "--input", "320x480")["rows"][0]
    assert (row["size"], row["seen"], row["sees_all"]) == ([483, 483], [320, 466], False)


# -- layers without a field ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ([("flat", OPS["flatten"]())], "no spatial dimensions are left"),
        ([("pool", OPS["global_avg_pool2d"]())], "one output sees the whole plane"),
        ([("pool", OPS["adaptive_avg_pool2d"](3))], "its windows differ in size"),
        ([("odd", OPS["unknown"]("wavelet"))], "the windows of wavelet are not known"),
        (
            [
                ("half", OPS["conv2d"](3, 1, stride=2)),
                ("pad", OPS["pad"](2)),  # 8 again
                ("sum", OPS["add"](), "input", "pad"),
            ],
            "paths of strides 1 and 2 meet",
        ),
    ],
    ids=["flatten", "global", "uneven", "unknown", "strides"],
)
def test_the_reason_why_there_is_none(layers, reason):
    graph = chain(("conv", OPS["conv2d"](3, 1)), *layers, ("after", OPS["relu"]()))
    fields = trace_receptive_fields(graph)
    last = layers[-1][0]
    assert fields[last] == fields["after"] == NoReceptiveField(reason, last)
    assert receptive_fields(graph)["after"] is None
    sight = coverage(graph).layers[-1]
    assert (sight.receptive_field, sight.visible, sight.covers((8, 8))) == (NoReceptiveField(reason, last), None, False)


def test_only_normalizations_depend_on_statistics_of_all_positions():
    """The names of a reduction and of a normalisation end with the same word."""
    reasons = {}
    for op in (OPS["group_norm"](1), OPS["vector_norm"](dim=(2, 3), keepdim=True)):
        graph = chain(("conv", OPS["conv2d"](3, 1)), ("last", op))
        reasons[op.name] = trace_receptive_fields(graph)["last"].reason
    assert reasons["group_norm"] == "each output depends on statistics of all positions"
    assert reasons["vector_norm"] != reasons["group_norm"]


def test_a_branch_without_a_field_leaves_none():
    graph = chain(
        ("odd", OPS["unknown"]("wavelet"), "input"), ("one", OPS["conv2d"](3, 1), "input"), ("sum", OPS["add"](), "one", "odd")
    )  # fmt: skip
    assert trace_receptive_fields(graph)["sum"] == NoReceptiveField("the windows of wavelet are not known", "odd")


def test_even_adaptive_windows_have_a_field():
    graph = chain(("pool", OPS["adaptive_avg_pool2d"](4)))
    assert receptive_fields(graph)["pool"] == (AxisReceptiveField(0, 1, 2),) * 2


def test_a_network_without_images_has_no_fields():
    graph = Graph("mlp", (Input("input", (1, 8)),), (Node("fc", OPS["linear"](2), ("input",)),), ("fc",))
    with pytest.raises(CostcalcError, match="mlp has no receptive fields: no input of it is an image"):
        coverage(graph)
    assert trace_receptive_fields(graph)["fc"] == NoReceptiveField("the input is not an image", "input")


def test_later_layers_name_the_first_without_a_field():
    text = run("googlenet", "head")
    assert "none: one output sees the whole plane" in text
    assert "none since head/pool" in text
    assert "No layer here has a receptive field." in text


@pytest.mark.parametrize("name", architectures())
def test_the_command_and_the_report_agree(name):
    costs = costcalc.analyze(costcalc.load(name))
    for row, sight in zip(costs.rows, coverage(costcalc.load(name)).layers, strict=True):
        size = (
            None
            if isinstance(sight.receptive_field, NoReceptiveField)
            else tuple(axis.size for axis in sight.receptive_field)
        )
        assert (row.path, row.receptive_field) == (sight.layer, size)
        assert sight.visible is None or all(0 < n <= most for n, most in zip(sight.visible, size, strict=True))


@pytest.mark.parametrize("style", ["text", "markdown", "csv", "latex"])
def test_every_format(style):
    text = run("inception_v3", "--format", style)
    assert "1311" in text
    if style == "text":
        assert max(map(len, text.splitlines())) <= 100


def test_errors():
    result = CliRunner().invoke(cli, ["field", "vgg16", "stage6"])
    assert result.exit_code == 1
    assert "vgg16 has no layer 'stage6' (did you mean 'stage" in result.stderr
    result = CliRunner().invoke(cli, ["field", "vgg16", "--set", "batch=2"])
    assert (result.exit_code, "batch is not a setting" in result.stderr) == (1, True)
