"""Published numbers and how they were counted: those that have an explanation, and those that must have none."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from functools import cache
from pathlib import Path

import pytest
from truth_data import exact, published

import costcalc
from costcalc import CostcalcError
from costcalc.analysis.conventions import CONVENTIONS
from costcalc.published.reconcile import Explanation, priors, reconcile
from costcalc.published.reconcile.published_number import parse_published_number

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
MODULE = str(EXAMPLES / "inception-module.yaml")


@cache
def cached(target, value, options):
    return reconcile(target, value, **json.loads(options))


def search(target, value, **options):
    """What is found, searched for once for all tests."""
    return cached(target, value, json.dumps(options))


def best(target, value, **options):
    return search(target, value, **options).explanations[0]


def facts(explanation: Explanation):
    """What an explanation says: network, first convention, change, how it is printed, and what it comes to."""
    return (
        explanation.architecture,
        explanation.conventions[0],
        explanation.change,
        explanation.match,
        explanation.value,
    )


LEFT_OUT, TWICE, FLAT = "one layer left out", "one layer counted twice", "one k×k kernel as k×1 and 1×k"
WITHOUT_FC = "without fully connected layers"

# What is published, what of, and the most ordinary explanation: a fact of its own, from the source named beside it.
KNOWN = [
    # ResNet paper, table 1: multiply-adds, strides in the 1×1
    ("resnet18", "1.8G", {}, ("resnet18", "macs", "", "rounds", 1_814_073_344)),
    ("resnet34", "3.6G", {}, ("resnet34", "macs", "", "truncated", 3_663_761_408)),
    ("resnet50", "3.8G", {}, ("resnet50", "macs", "", "truncated", 3_857_973_248)),
    ("resnet101", "7.6G", {}, ("resnet101", "macs", "", "rounds", 7_570_194_432)),
    ("resnet152", "11.3G", {}, ("resnet152", "macs", "", "rounds", 11_282_415_616)),
    ("plain34", "3.6G", {}, ("plain34", "macs", "", "rounds", 3_644_493_824)),
    # the other numbers of ResNet-50
    ("resnet50", "3.86G", {}, ("resnet50", "macs", "", "rounds", 3_857_973_248)),
    ("resnet50", "4.09 GMACs", {}, ("resnet50-torchvision", "macs", "", "rounds", 4_089_184_256)),
    ("resnet50", "4.11G", {}, ("resnet50-torchvision", "fvcore", "", "rounds", 4_111_512_576)),
    ("resnet50", "4.145G", {}, ("resnet50-torchvision", "fvcore-training", "", "rounds", 4_144_854_528)),
    ("resnet50", "8.18G", {}, ("resnet50-torchvision", "flops", "", "rounds", 8_178_368_512)),
    ("resnet50", "8.21G", {}, ("resnet50-torchvision", "calflops", "", "rounds", 8_211_108_352)),
    ("resnet50", "4132436968", {}, ("resnet50-torchvision", "ptflops", "", "exact", 4_132_436_968)),
    ("resnet50", "4133742592", {}, ("resnet50-torchvision", "thop", "", "exact", 4_133_742_592)),
    ("resnet50", "11.11M", {"of": ("activations",)}, ("resnet50-torchvision", "timm", "", "rounds", 11_114_984)),
    ("resnet50", "25636712", {}, ("resnet50", "keras", "with biases", "exact", 25_636_712)),
    # ResNet paper, table 6
    ("resnet20-cifar", "0.27M params", {}, ("resnet20-cifar", "flops", "", "rounds", 269_722)),
    ("resnet110-cifar", "1.7M params", {}, ("resnet110-cifar", "flops", "", "rounds", 1_727_962)),
    # VGG: the paper, the ResNet paper's two ways to count it, EECS 498's slide without one conv3-256
    ("vgg16", "138M parameters", {}, ("vgg16", "flops", "", "rounds", 138_357_544)),
    ("vgg16", "15.3G", {}, ("vgg16", "macs", WITHOUT_FC, "rounds", 15_346_630_656)),
    ("vgg19", "19.6G", {}, ("vgg19", "macs", "", "rounds", 19_632_062_464)),
    ("vgg16", "13.6G", {}, ("vgg16", "macs", LEFT_OUT, "rounds", 13_620_576_256)),
    ("vgg16", "48.6MB", {}, ("vgg16", "timm", LEFT_OUT, "truncated", 51_015_584)),
    ("vgg16", "14733.5MB", {}, ("vgg16", "bologna", "at batch 128", "rounds", 15_449_169_920)),
    ("vgg16", "528MB", {}, ("vgg16", "flops", "", "rounds", 553_430_176)),
    # AlexNet
    ("alexnet", "60M params", {}, ("alexnet", "flops", "", "truncated", 60_965_224)),
    ("alexnet", "0.714G", {}, ("alexnet-torchvision", "macs", "", "rounds", 714_188_480)),
    ("alexnet", "650K activations", {}, ("alexnet", "timm", WITHOUT_FC, "rounds", 650_080)),
    ("alexnet", "727362344", {}, ("alexnet", "convnet-burden", "", "exact", 727_362_344)),
    # GoogLeNet: the paper's text and table 1, Caffe's and torchvision's parameters with auxiliary heads
    ("googlenet", "1.58G", {}, ("googlenet", "macs", "", "rounds", 1_582_671_872)),
    ("googlenet", "13378280", {}, ("googlenet", "flops", "with auxiliary heads", "exact", 13_378_280)),
    ("googlenet", "13004888", {}, ("googlenet-torchvision", "flops", "with auxiliary heads", "exact", 13_004_888)),
    ("googlenet", "2.7K", {"at": "stem/conv1"}, ("googlenet", "cs231n", FLAT, "rounds", 2688)),
    ("googlenet", "34M", {"at": "stem/conv1"}, ("googlenet", "macs", FLAT, "rounds", 33_718_272)),
    ("googlenet", "159K", {"at": "inception3a"}, ("googlenet", "googlenet-paper", "", "truncated", 163_328)),
    ("googlenet", "1000K", {"at": "head/fc"}, ("googlenet", "googlenet-paper", "", "exact", 1_024_000)),
    ("googlenet", "128M", {"at": "inception3a"}, ("googlenet", "macs", "", "rounds", 128_049_152)),
    # Inception v3: the paper, torchvision, TF-slim and Keras (no scales), and 299 taken for 224
    ("inception_v3", "5G", {}, ("inception_v3", "macs", "", "truncated", 5_713_216_096)),
    ("inception_v3", "5.73G", {}, ("inception_v3", "fvcore", "", "rounds", 5_731_282_144)),
    ("inception_v3", "27161264", {}, ("inception_v3", "flops", "with auxiliary heads", "exact", 27_161_264)),
    ("inception_v3", "5.75G", {"options": {"height": 224, "width": 224}},
     ("inception_v3", "ptflops", "at its own 299×299", "rounds", 5_747_660_552)),
    # CS231n's Inception module on 28×28×256, and the slide that counts its 3×3 twice; NiN's snapshot
    (MODULE, "358M", {"at": "module"}, ("inception-module", "macs", TWICE, "rounds", 358_055_936)),
    (f"{MODULE}:inception-module-naive", "854M", {}, ("inception-module-naive", "macs", "", "rounds", 854_196_224)),
    ("nin", "29MB", {}, ("nin", "flops", "", "rounds", 30_380_704)),
    # the lecture notes' naive 5×5 and what became of it
    ("googlenet-naive", "240M", {"at": "inception3a/5x5"},
     ("googlenet-naive", "flops", "", "truncated", 240_844_800)),
    ("googlenet", "25M", {"at": "inception3a/5x5", "of": ("flops",)},
     ("googlenet", "flops", "", "rounds", 24_887_296)),
]  # fmt: skip

# Numbers that no ordinary count gives, and where they stand.
NOTHING = [
    ("vgg16", "24M activations", {}),  # CS231n's total: the volumes beside it add up to 15.2 M
    ("vgg16", "24M", {}),
    ("vgg16", "93MB", {}),  # the same, × 4 bytes
    ("vgg16", "96MB", {}),
    ("googlenet", "4M params", {}),  # CS231n's parameters of GoogLeNet
    ("googlenet", "389996M", {}),  # Bologna's total, with its slip in nine modules
    ("googlenet", "31380.5M", {"at": "inception3a"}),
    ("vgg16", "138382K params", {}),  # Bologna's biases, counted as channels in
    ("vgg16", "102786K params", {"at": "head/fc1"}),
    ("alexnet", "37758K params", {"at": "fc6"}),
    ("vgg16", "16.5GB", {}),
    ("googlenet", "463K params", {"at": "inception4c"}),  # the GoogLeNet paper's rows that do not fit its widths
    ("googlenet", "1072K params", {"at": "inception5a"}),
    ("googlenet", "418M", {"at": "stem"}),  # EECS 498: digits transposed, 481
    ("alexnet", "145M", {"at": "conv4"}),
    ("resnet50", "3.5G", {}),
    ("resnet50", "5G", {}),
]


@pytest.mark.parametrize(("target", "value", "options", "expected"), KNOWN, ids=lambda v: v if type(v) is str else "")
def test_a_known_number_has_its_explanation_first(target, value, options, expected):
    assert facts(best(target, value, **options)) == expected


@pytest.mark.parametrize(("target", "value", "options"), NOTHING, ids=lambda v: v if type(v) is str else "")
def test_a_number_that_nothing_gives(target, value, options):
    found = search(target, value, **options)
    assert found.explanations == ()
    assert found.own_counts


def test_there_are_enough_of_both():
    assert len(KNOWN) >= 30
    assert len(NOTHING) >= 10


@pytest.mark.parametrize(
    ("name", "target", "value"),
    [
        ("resnet-paper-t1-50", "resnet50", "3.8G"),
        ("eecs-tot-vgg-flop", "vgg16", "13.6G"),
        ("cs231n-vgg-total-mem", "vgg16", "24M activations"),
        ("cs231n-inc-bottleneck", MODULE, "358M"),
        ("iv3-p-5b", "inception_v3", "5G"),
        ("gln-p-budget", "googlenet", "1.5G"),
    ],
)
def test_our_own_number_is_the_published_tables_exact_one(name, target, value):
    number = parse_published_number(value)
    assert number.digits * Fraction(10) ** number.exponent == Fraction(published()[name]["published"])
    ours = {each.value for each in search(target, value).own_counts}
    assert exact(name) in ours


def test_two_tools_that_print_the_same_are_both_named():
    first, second = reconcile("resnet50", "4.13G").explanations
    assert {first.conventions[0], second.conventions[0]} == {"ptflops", "thop"}
    assert (first.cost, first.ties) == (second.cost, second.ties) == (2, 1)


def test_the_layer_left_out_is_any_of_those_alike():
    """EECS 498 left out a conv3-256; by its multiply-accumulates it could be any of six."""
    layers = best("vgg16", "13.6G").layers
    assert {"stage3/conv_2/conv2d", "stage3/conv_3/conv2d"} < set(layers)
    costs = costcalc.analyze(costcalc.load("vgg16"))
    assert [row.macs for row in costs.rows if row.path in layers] == [1_849_688_064] * 6
    assert best(MODULE, "358M").layers == ("module/3x3/conv",)


# -- what every explanation must be -------------------------------------------------------------------------------


@pytest.mark.parametrize(("target", "value", "options", "expected"), KNOWN, ids=lambda v: v if type(v) is str else "")
def test_bridges_add_up_and_costs_are_in_order(target, value, options, expected):
    found = search(target, value, **options)
    number = parse_published_number(value)
    costs = [each.cost for each in found.explanations]
    assert costs == sorted(costs)
    for each in found.explanations:
        assert sum(step.amount for step in each.bridge) == each.value
        assert all(step.amount for step in each.bridge)
        assert each.bridge[0].amount in {ours.value for ours in found.own_counts if "macs" in ours.conventions}
        kilo = 1024 if each.unit.endswith(("2^10", "2^20", "2^30", "1024")) else 1000
        steps = each.value / number.step(kilo)
        low, high = {"exact": (0, 0), "rounds": (Fraction(-1, 2), Fraction(1, 2)), "truncated": (0, 1)}[each.match]
        assert low <= steps - number.digits <= high
        assert each.numbers_explained <= priors.MAX_EXPLAINED_FRACTION * found.window_size


def test_a_cost_is_the_sum_of_its_parts():
    thop = CONVENTIONS["thop"].prior
    assert best("resnet50", "4133742592").cost == priors.SAME_NETWORK_COST + thop
    assert best("resnet50", "3.8G").cost == priors.TRUNCATED_COST
    assert best("vgg16", "13.6G").cost == priors.LEFT_OUT.prior
    assert best("vgg16", "7609090048").cost == priors.OTHER_NETWORK_COST
    assert (
        best("inception_v3", "5749219168", options={"height": 224, "width": 224}).cost == priors.OWN_SIZE.prior + thop
    )


def test_a_change_that_changes_nothing_printed_is_no_explanation():
    """Without its biases vgg16 has 138.34 M parameters, printed 138M, too."""
    found = search("vgg16", "138M params").explanations
    assert {each.change for each in found if each.architecture == "vgg16"} == {""}


def test_a_tie_is_told():
    """GoogLeNet's 1.5 G: the paper's 1.583 truncated, or torchvision's 1.498 rounded: one as ordinary as the other."""
    first, second = search("googlenet", "1.5G").explanations[:2]
    assert facts(first) == ("googlenet-torchvision", "macs", "", "rounds", 1_498_376_192)
    assert facts(second) == ("googlenet", "macs", "", "truncated", 1_582_671_872)
    assert (first.cost, second.cost) == (1, 1)
    assert first.ties == second.ties >= 1


def test_a_number_said_to_be_of_macs_is_less_likely_to_be_of_flops():
    plain, macs = (reconcile("resnet50", value).explanations for value in ("8.18G", "8.18 GMACs"))
    assert macs[0].cost == plain[0].cost + 1


def test_more_digits_leave_less_to_chance():
    chances = []
    for value in ("4.1G", "4.11G", "4.112G", "4.1115G"):
        found = reconcile("resnet50", value)
        each = next(e for e in found.explanations if e.conventions[0] == "fvcore")
        chances.append(each.numbers_explained / found.window_size)
    assert chances == sorted(chances, reverse=True)
    assert chances[0] > 10 * chances[-1]


def test_batch_size_and_settings_are_those_asked_for():
    given = {"batch": 128}
    assert best("vgg16", "14733.5MB", options=given).change == ""
    found = best("resnet50", f"{16 * 3_857_973_248} MACs", options={"batch": 3})
    assert (found.change, found.bridge[0].amount) == ("at batch 16", 3 * 3_857_973_248)
    one = best("resnet50", "3857973248", options={"batch": 8})
    assert (one.change, one.cost, one.bridge[-1].description) == ("at batch 1", priors.OTHER_BATCH.prior, "at batch 1")
    ours = reconcile("resnet50", "1G", options={"classes": 10, "batch": 3}, of=("flops",)).own_counts
    assert 3 * (3_857_973_248 - 2048 * 990) in {each.value for each in ours}


def test_another_input_size():
    found = best("resnet50", f"{costcalc.analyze(costcalc.load('resnet50', height=320, width=320)).total().macs}")
    assert (found.architecture, found.change, found.cost) == ("resnet50", "at 320×320", priors.OTHER_SIZE.prior)


def test_keras_and_tf_slim_make_inception_v3_without_scales():
    changes = {(e.conventions[0], e.change) for e in reconcile("inception_v3", "23851784").explanations}
    assert ("keras", "without the scales of BatchNorm") in changes


def test_dtype_is_what_bytes_are_counted_in():
    assert best("vgg16", "276715088 bytes", dtype="fp16").match == "exact"


def test_of_restricts_the_quantities():
    found = reconcile("vgg16", "15.1M", of=("activations",))
    assert found.quantities == ("activations",)
    assert {each.quantity for each in found.explanations} == {"activations"}
    assert found.explanations[0].value == 15_087_080
    assert reconcile("vgg16", "15.1M").quantities == ("flops", "params", "activations")


def test_unknown_layers_are_said_to_be_left_out(tmp_path):
    path = tmp_path / "net.yaml"
    path.write_text(
        "name: net\ninput: {channels: 3, height: 8, width: 8}\nlayers:\n  - conv2d(4, 3)\n  - odd: unknown('x')\n"
    )
    found = reconcile(str(path), "112 params")
    assert found.unknown == ("odd",)
    assert found.explanations[0].value == 112


def test_every_convention_is_found_by_its_own_number():
    for name, convention in CONVENTIONS.items():
        costs = costcalc.analyze(costcalc.load("resnet18"), convention=name).total()
        found = search("resnet18", str(costs.flops), of=("flops",)).explanations
        assert name in found[0].conventions, convention.definition


# -- the number as printed ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "digits", "exponent", "power", "binary", "quantity"),
    [
        ("3.8G", 38, -1, 3, False, None),
        ("13.60 G", 1360, -2, 3, False, None),
        ("138M params", 138, 0, 2, False, "params"),
        ("25.6 million parameters", 256, -1, 2, False, "params"),
        ("4.09 GMACs", 409, -2, 3, False, "flops"),
        ("4 mult-adds", 4, 0, 0, False, "flops"),
        ("1.8e9 FLOPs", 18, 8, 0, False, "flops"),
        ("3 billion FLOPS", 3, 0, 3, False, "flops"),
        ("96MB", 96, 0, 2, False, "memory"),
        ("57.6 MiB", 576, -1, 2, True, "memory"),
        ("112Ki", 112, 0, 1, True, None),
        ("2.7k", 27, -1, 1, False, None),
        ("24M activations", 24, 0, 2, False, "activations"),
        ("650K neurons", 650, 0, 1, False, "activations"),
        ("138,357,544", 138_357_544, 0, 0, False, None),
        ("~ 1.5 G", 15, -1, 3, False, None),
        ("528 bytes", 528, 0, 0, False, "memory"),
        ("3.8×10⁹", 38, 8, 0, False, None),
        ("3.8 x 10^9 FLOPs", 38, 8, 0, False, "flops"),
    ],
)
def test_a_number_is_read_as_printed(text, digits, exponent, power, binary, quantity):
    number = parse_published_number(text)
    assert (number.digits, number.exponent) == (digits, exponent)
    assert (number.prefix_power, number.is_binary, number.quantity) == (power, binary, quantity)


def test_an_op_in_place_whose_input_is_still_read_makes_a_tensor_here_too(tmp_path):
    path = tmp_path / "fork.yaml"
    path.write_text(
        "name: fork\ninput: {channels: 3, height: 8, width: 8}\n"
        "layers:\n  - conv2d(5, 1)\n  - add:\n      main: [relu()]\n      same: skip\n"
    )
    activations = costcalc.analyze(costcalc.load(path)).total().activations
    assert activations == 3 * 5 * 8 * 8
    found = reconcile(str(path), str(activations), of=["activations"])
    assert [ours.value for ours in found.own_counts if "flops" in ours.conventions] == [activations]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("many", "write the published number as it is printed, such as 3.8G"),
        ("-3G", "write the published number as it is printed"),
        ("", "write the published number as it is printed"),
        ("3.8X", "no unit 'X' in '3.8X'"),
        ("15,5G", "no unit ',5G' in '15,5G'"),
        ("1,38,357", "no unit ',38,357'"),
        ("3.8 G bananas", "no unit 'G bananas'"),
        ("0.0G", "must be more than 0"),
        ("312 TFLOP/s", "is a rate"),
        ("15 GFLOPs per second", "is a rate"),
        ("1e40", "more than any network costs"),
        ("9" * 40, "more than any network costs"),
        ("3.1415926535897932384G", "has more digits than any count"),
    ],
)
def test_what_is_no_number_is_answered(text, message):
    with pytest.raises(CostcalcError, match=message):
        parse_published_number(text)


def test_a_unit_and_a_quantity_must_agree():
    with pytest.raises(CostcalcError, match="'96MB' is a number of memory, and not of params"):
        reconcile("vgg16", "96MB", of=("params",))


# -- the command --------------------------------------------------------------------------------------------------


def run(*args, code=0):
    done = subprocess.run([sys.executable, "-m", "costcalc", "reconcile", *args], capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def test_json_has_it_all():
    data = json.loads(run("resnet50", "4.13G", "--format", "json")[0])
    assert data["schema"] == "costcalc/reconcile/1"
    assert (data["architecture"], data["published"], data["layer"], data["batch"]) == ("resnet50", "4.13G", None, 1)
    assert [e["conventions"][0] for e in data["explanations"]] == ["ptflops", "thop"]
    thop = data["explanations"][1]
    assert thop["exact"] == 4_133_742_592
    assert thop["bridge"] == [
        {"step": "MACs of resnet50", "amount": 3_857_973_248},
        {"step": "as resnet50-torchvision", "amount": 231_211_008},
        {"step": "four per BatchNorm element", "amount": 44_455_936},
        {"step": "elements into adaptive pools", "amount": 100_352},
        {"step": "outputs of adaptive pools", "amount": 2048},
    ]


def test_the_text_says_how_sure_it_is():
    text, _ = run("resnet50", "4.11G")
    assert "4.112 G = 3.858 G MACs of resnet50 + 0.231 G as resnet50-torchvision + 0.022 G two per" in text
    assert "No other is as likely as the first." in text
    assert "An explanation is a possibility and no proof" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 100


def test_nothing_found_exits_1_and_says_what_is_true():
    text, error = run("vgg16", "24M", "activations", code=1)
    assert "15,087,080" in text
    assert "No explanation." in text
    assert error == (
        "costcalc: no explanation of 24M activations for vgg16, which has 15,087,080 activation elements\n"
    )
    data = json.loads(run("vgg16", "24M activations", "--format", "json", code=1)[0])
    assert data["explanations"] == []
    assert {"quantity": "activations", "exact": 15_237_608}.items() <= data["ours"][2].items()
    _, error = run("googlenet", "418M", "--at", "stem", code=1)
    assert "for stem of googlenet, which has 477,675,520 MACs, 124,416 parameters" in error


@pytest.mark.parametrize("style", ["text", "markdown", "csv", "json", "latex"])
def test_every_format(style, tmp_path):
    text, _ = run("vgg16", "13.6G", "--format", style)
    run("vgg16", "13.6G", "--format", style, "-o", str(tmp_path / "out"))
    assert (tmp_path / "out").read_text(encoding="utf-8") == text
    if style != "latex":
        assert "13620576256" in text.replace(",", "")


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["vgg61", "3G"], 1, "no architecture 'vgg61'"),
        (["vgg16"], 2, "Missing argument 'VALUE"),
        (["vgg16", "lots"], 1, "write the published number as it is printed, such as 3.8G"),
        (["vgg16", "3", "apples"], 1, "no unit 'apples' in '3 apples'"),
        (["vgg16", "3G", "--at", "stage9"], 1, "vgg16 has no layer 'stage9' (did you mean 'stage"),
        (["vgg16", "3G", "--of", "flop"], 2, "'flop' is not one of"),
        (["vgg16", "96MB", "--of", "flops"], 1, "'96MB' is a number of memory, and not of flops"),
        (["vgg16", "3G", "--set", "clases=1"], 1, "did you mean 'classes'?"),
        (["vgg16", "3G", "--input", "16"], 1, "a kernel of 2 is larger than the input of 1"),
        (["vgg16", "3G", "--dtype", "fp31"], 1, "no dtype 'fp31'"),
        (["vgg16", "3G", "--top", "0"], 2, "0 is not in the range"),
    ],
)
def test_mistakes_of_users(args, code, message):
    assert message in run(*args, code=code)[1]
