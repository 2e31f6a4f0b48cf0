"""Whole networks: every row of truth/variants.csv, and the names that ship with their parameters and MACs."""

from dataclasses import replace

import pytest
from truth_data import POOLS, WEIGHTED, graph, is_identity, of_kind, read, table

import costcalc

VGG_AS_DRAWN = {"convs": [2, 2, 2, 3, 3]}

# Each row of the file: the spec that describes it, and its settings.
VARIANTS = {
    "AlexNet ungrouped, 227 (Bologna, CS231n)": ("alexnet-ungrouped", {}),
    "AlexNet grouped, 227 (paper, bvlc_alexnet)": ("alexnet", {}),
    "AlexNet one-weird-trick, 224, pad 2 (torchvision)": ("alexnet-torchvision", {}),
    "AlexNet owt widths, 227, pad 2 (EECS498)": ("alexnet-torchvision", {"height": 227, "width": 227}),
    "VGG-A (11)": ("vgg11", {}),
    "VGG-B (13)": ("vgg13", {}),
    "VGG-C (16 with 1x1)": ("vgg16-1x1", {}),
    "VGG-D (16)": ("vgg16", {}),
    "VGG-E (19)": ("vgg19", {}),
    "VGG-16 as drawn on the EECS498 slide (one conv3-256 missing)": ("vgg16", VGG_AS_DRAWN),
    "GoogLeNet paper/Caffe main path, 5x5, bias": ("googlenet", {}),
    "GoogLeNet torchvision (3x3 for 5x5, BN, no bias)": ("googlenet-torchvision", {}),
    "ResNet-18 option A": ("resnet18", {"shortcut": "A"}),
    "ResNet-18 option B": ("resnet18", {}),
    "ResNet-18 option C": ("resnet18", {"shortcut": "C"}),
    "ResNet-34 option A": ("resnet34", {"shortcut": "A"}),
    "ResNet-34 option B": ("resnet34", {"shortcut": "B"}),
    "ResNet-34 option C": ("resnet34", {"shortcut": "C"}),
    "ResNet-50 v1 option B (paper)": ("resnet50", {}),
    "ResNet-50 v1.5 option B (torchvision)": ("resnet50-torchvision", {}),
    "ResNet-101 v1 option B (paper)": ("resnet101", {}),
    "ResNet-101 v1.5 option B (torchvision)": ("resnet101-torchvision", {}),
    "ResNet-152 v1 option B (paper)": ("resnet152", {}),
    "ResNet-152 v1.5 option B (torchvision)": ("resnet152-torchvision", {}),
    "ResNet-50 v1 option C": ("resnet50", {"shortcut": "C"}),
    "plain-18": ("plain18", {}),
    "plain-34": ("plain34", {}),
    "NiN ImageNet (Caffe), 224": ("nin", {}),
    "NiN ImageNet (Caffe), 227": ("nin", {"height": 227, "width": 227}),
    "CIFAR ResNet-20 option A": ("resnet20-cifar", {}),
    "CIFAR ResNet-32 option A": ("resnet32-cifar", {}),
    "CIFAR ResNet-44 option A": ("resnet44-cifar", {}),
    "CIFAR ResNet-56 option A": ("resnet56-cifar", {}),
    "CIFAR ResNet-110 option A": ("resnet110-cifar", {}),
    "CIFAR ResNet-1202 option A": ("resnet20-cifar", {"blocks": [200, 200, 200]}),
    "Inception v3 released, 299, no aux": ("inception_v3", {}),
}

# Rows with separate tests: auxiliary heads, of which only the parameters count, and a bias that is no setting.
WITH_HEADS = "GoogLeNet Caffe train_val with 2 aux heads"
WITH_BIAS = "ResNet-50 v1 with conv1 bias (Kaiming Caffe prototxt)"


def truth(variant):
    (row,) = (row for row in read("variants.csv") if row["variant"] == variant)
    return {key: int(value) for key, value in row.items() if key not in ("variant", "note")}


def costs_of(costs):
    """Return the columns of the file, which ignore outputs of BatchNorm, LRN, joins, shortcuts and identity pools."""
    convs, weighted = of_kind(costs, ["conv2d"]), of_kind(costs, WEIGHTED)
    pools = [row for row in of_kind(costs, POOLS) if not is_identity(row)]
    return {
        "params": costs.total().params,
        "weights_only": costs.total().weights,
        "macs_conv_fc": costs.total().macs,
        "macs_conv": sum(row.macs for row in convs),
        "act_conv_fc_outputs": sum(row.activations for row in weighted),
        "act_all_outputs_no_input": sum(row.activations for row in [*weighted, *pools]),
        "conv_fc_modules": len(weighted),
    }


@pytest.mark.parametrize("variant", VARIANTS)
def test_variant_agrees(variant):
    name, settings = VARIANTS[variant]
    assert costs_of(table(name, **settings)) == truth(variant)


def test_only_parameters_of_auxiliary_heads_count():
    """The file has the parameters of the heads; its other columns are for the main path."""
    main = costs_of(table("googlenet"))
    costs = table("googlenet", aux=True)
    assert main | {"params": costs.total().params} == truth(WITH_HEADS)
    assert [costs.below(head).total().params for head in ("aux1", "aux2")] == [3_188_840, 3_190_888]


def test_a_bias_in_the_first_convolution():
    """The authors' deploy file has a bias in conv1, which is no setting of the spec: the graph is rewritten."""
    net = graph("resnet50")
    nodes = [replace(n, op=replace(n.op, bias=True)) if n.name == "stem/conv1" else n for n in net.nodes]
    biased = replace(net, nodes=tuple(nodes))
    assert costs_of(costcalc.analyze(biased)) == truth(WITH_BIAS)


def test_every_row_of_the_file_has_a_test():
    rows = [row["variant"] for row in read("variants.csv")]
    assert len(rows) == 38
    assert {*VARIANTS, WITH_HEADS, WITH_BIAS} == set(rows)


# The names that ship: input, parameters, MACs; at batch 1, without auxiliary heads.
SPECS = {
    "alexnet": (227, 60_965_224, 724_406_816),
    "alexnet-ungrouped": (227, 62_378_344, 1_135_256_096),
    "alexnet-torchvision": (224, 61_100_840, 714_188_480),
    "nin": (224, 7_595_176, 1_100_188_800),
    "vgg11": (224, 132_863_336, 7_609_090_048),
    "vgg13": (224, 133_047_848, 11_308_466_176),
    "vgg16": (224, 138_357_544, 15_470_264_320),
    "vgg19": (224, 143_667_240, 19_632_062_464),
    "vgg16-1x1": (224, 133_638_952, 11_770_888_192),
    "vgg11-torchvision": (224, 132_863_336, 7_609_090_048),
    "vgg13-torchvision": (224, 133_047_848, 11_308_466_176),
    "vgg16-torchvision": (224, 138_357_544, 15_470_264_320),
    "vgg19-torchvision": (224, 143_667_240, 19_632_062_464),
    "vgg11_bn": (224, 132_863_336 + 2 * 2752, 7_609_090_048),
    "vgg13_bn": (224, 133_047_848 + 2 * 2944, 11_308_466_176),
    "vgg16_bn": (224, 138_365_992, 15_470_264_320),
    "vgg19_bn": (224, 143_667_240 + 2 * 5504, 19_632_062_464),
    "googlenet": (224, 6_998_552, 1_582_671_872),
    "googlenet-naive": (224, 97_526_008, 12_568_061_056),
    "googlenet-torchvision": (224, 6_624_904, 1_498_376_192),
    "inception_v3": (299, 23_834_568, 5_713_216_096),
    "resnet18": (224, 11_689_512, 1_814_073_344),
    "resnet34": (224, 21_797_672, 3_663_761_408),
    "resnet50": (224, 25_557_032, 3_857_973_248),
    "resnet101": (224, 44_549_160, 7_570_194_432),
    "resnet152": (224, 60_192_808, 11_282_415_616),
    "resnet50-torchvision": (224, 25_557_032, 4_089_184_256),
    "resnet101-torchvision": (224, 44_549_160, 7_801_405_440),
    "resnet152-torchvision": (224, 60_192_808, 11_513_626_624),
    "plain18": (224, 11_515_688, 1_794_805_760),
    "plain34": (224, 21_623_848, 3_644_493_824),
    "resnet20-cifar": (32, 269_722, 40_551_040),
    "resnet32-cifar": (32, 464_154, 68_862_592),
    "resnet44-cifar": (32, 658_586, 97_174_144),
    "resnet56-cifar": (32, 853_018, 125_485_696),
    "resnet110-cifar": (32, 1_727_962, 252_887_680),
}


@pytest.mark.parametrize("name", SPECS)
def test_parameters_and_macs_of_a_shipped_name(name):
    size, params, macs = SPECS[name]
    costs = table(name)
    assert list(costs.inputs.values()) == [(1, 3, size, size)]
    assert (costs.total().params, costs.total().macs) == (params, macs)


def test_every_shipped_name_has_its_numbers():
    assert set(costcalc.architectures()) == SPECS.keys()


@pytest.mark.parametrize(
    ("name", "params"),
    [("googlenet", 13_378_280), ("googlenet-torchvision", 13_004_888), ("inception_v3", 27_161_264)],
)
def test_auxiliary_heads_count_with_aux(name, params):
    with_heads, without = table(name, aux=True), table(name)
    assert with_heads.total().params == params
    assert with_heads.total().weight_layers == without.total().weight_layers
    assert with_heads.total().macs > without.total().macs


@pytest.mark.parametrize("depth", [11, 13, 16, 19])
@pytest.mark.parametrize("style", ["-torchvision", "_bn"])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (224, 448), (300, 257), (512, 512)])
def test_torchvisions_vgg_has_the_same_parameters_at_every_input_size(depth, style, height, width):
    name = f"vgg{depth}{style}"
    assert table(name, height=height, width=width).total().params == table(name).total().params


def test_parameters_of_the_vgg_paper_grow_with_the_input():
    """Without an adaptive pool, the input of the first linear layer is 14×14 at 448 and 7×7 at 224."""
    more = (14 * 14 - 7 * 7) * 512 * 4096
    assert table("vgg16", height=448, width=448).total().params == table("vgg16").total().params + more


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("alexnet", 8),
        ("nin", 12),
        ("vgg11", 11),
        ("vgg13", 13),
        ("vgg16", 16),
        ("vgg16_bn", 16),
        ("vgg16-1x1", 16),
        ("vgg19", 19),
        ("googlenet", 22),
        ("inception_v3", 48),
        ("resnet18", 18),
        ("resnet34", 34),
        ("resnet50", 50),
        ("resnet50-torchvision", 50),
        ("resnet101", 101),
        ("resnet152", 152),
        ("plain34", 34),
        ("resnet110-cifar", 110),
    ],
)
def test_weight_layers(name, layers):
    assert table(name).total().weight_layers == layers


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("alexnet", 5 + 2),
        ("vgg16", 13 + 2),  # every weight layer but the last
        ("nin", 4 * 3),  # its class maps too
        ("resnet18", 1 + 8 * 2),  # the stem's, and two a block
        ("resnet50", 1 + 16 * 3),
        ("plain34", 1 + 32),
        ("googlenet", 3 + 9 * 6),  # six convolutions a module
    ],
)
def test_nonlinearities(name, count):
    assert table(name).total().nonlinearities == count
