"""The tables of the lectures, the papers and torchvision, cell by cell: truth/published.csv, all but the notes' claims.

Each row has what was printed, how it was counted and the exact value. Ours must equal the exact value, and the printed
number must follow from it as the row's verdict says: exact, rounded, truncated, or wrong by the error that it names.
"""

from dataclasses import replace
from fractions import Fraction

import pytest
import sympy
from truth_data import (
    POOLS,
    WEIGHTED,
    chain,
    elements,
    exact,
    follows,
    graph,
    ids,
    of_kind,
    projections,
    published,
    read,
    row,
    table,
    verdict,
)

import costcalc
from costcalc.ops.convolution import Conv2d
from costcalc.ops.pooling import MaxPool2d

VGG_CONVS = [f"stage{s}/conv_{i}/conv2d" for s, count in enumerate((2, 2, 3, 3, 3), 1) for i in range(1, count + 1)]
VGG_LAYERS = {
    **{f"conv{number}": path for number, path in enumerate(VGG_CONVS, 1)},
    **{f"pool{stage}": f"stage{stage}/pool" for stage in range(1, 6)},
    **{f"fc{13 + number}": f"head/fc{number}" for number in (1, 2, 3)},
    "flatten": "head/flatten",
}
ALEXNET_LAYERS = {name: name for name in ("conv1", "conv2", "conv3", "conv4", "conv5", "pool1", "pool2", "flatten")}
ALEXNET_LAYERS |= {"pool3": "pool5", "fc6": "fc6", "fc7": "fc7", "fc8": "fc8"}
GOOGLENET_LAYERS = {
    "conv1": "stem/conv1/conv2d",
    "conv2": "stem/conv2/conv2d",
    "conv3": "stem/conv3/conv2d",
    "pool1": "stem/pool1",
    "pool2": "stem/pool2",
    "pool3": "pool3",
    "pool4": "pool4",
    "avgpool": "head/pool",
    "fc1": "head/fc",
}
# The lecture numbers the modules, and calls two of them incep5.
BOLOGNA_MODULES = {
    "incep1": "3a",
    "incep2": "3b",
    "incep3": "4a",
    "incep4": "4b",
    "incep5": "4c",
    "incep5b": "4d",
    "incep6": "4e",
    "incep7": "5a",
    "incep8": "5b",
}
MODULES = list(BOLOGNA_MODULES.values())

# Rows whose verdict is in words, or whose printed number is a shape: each has a test of its own.
IN_WORDS = {*ids("iv3-p-t1-"), "iv3-p-25m", "iv3-p-grid", "gln-p-aux", "resnet-p-double"}
# Rows that print a formula, and the factor that it says.
FORMULAS = {
    "bo-sl-26": ("36C^2HW", 36),
    "bo-sl-27": ("18C^2", 18),
    "bo-sl-28": ("34C^2HW", 34),
    "bo-sl-29": ("17C^2", 17),
    "eecs-basic": ("18HWC^2", 18),
    "eecs-bottleneck": ("17HWC^2", 17),
    "cs231n-7x7": ("27C^2 vs 49C^2", 49 / 27),
}
# torchvision's networks that no spec describes.
UNDESCRIBED = ("squeezenet", "densenet", "mobilenet", "resnext", "wide_resnet", "efficientnet")


# --- Bologna: tables at batch 128 ------------------------------------------------------------------------------------

BATCH = 128
RELU_ELEMENTS = (
    658_272  # outputs of conv1 to conv5, fc6 and fc7 of AlexNet, which only its published totals count again
)


def bologna(name):
    return table(name, convention="bologna", batch=BATCH)


def bologna_cell(costs, layers, layer, column):
    """A cell of a row of the lecture's tables."""
    if layer == "input":
        return {"act": elements(costs.inputs["input"]), "actmem": costs.input_bytes}[column]
    if layer == "total":
        return bologna_total(costs, column)
    if layer in BOLOGNA_MODULES:
        return bologna_module_cell(costs, "inception" + BOLOGNA_MODULES[layer], column)
    found = row(costs, layers[layer])
    return {
        "act": elements(found.output),
        "mflops": found.flops,
        "actmem": found.activation_bytes,
        "params": found.params,
        "parmem": found.param_bytes,
    }[column]


def bologna_module_cell(costs, prefix, column):
    """A module's row: the output and the memory of its concat, and parameters without bias."""
    module = costs.below(prefix).total()
    return {
        "act": elements(module.output),
        "mflops": module.flops,
        "actmem": module.activation_bytes,
        "params": module.weights,
        "parmem": module.weights * 3 * 4,
    }[column]


def bologna_total(costs, column):
    """A total. AlexNet's flops and activation memory are its rows and its ReLUs; no other total counts ReLUs."""
    total = costs.total()
    relus = RELU_ELEMENTS * BATCH if costs.name == "alexnet-ungrouped" else 0
    # The rows of inception modules leave out bias, so GoogLeNet's total has those of its other layers alone.
    unbiased = sum(costs.below("inception" + module).total().params for module in MODULES)
    weights = sum(costs.below("inception" + module).total().weights for module in MODULES)
    params = total.params - unbiased + weights
    return {
        "mflops": total.flops + relus,
        "actmem": total.activation_bytes + relus * 2 * 4,
        "params": params,
        "parmem": params * 3 * 4,
    }[column]


def bologna_cells():
    for key, name, layers in (
        ("alex", "alexnet-ungrouped", ALEXNET_LAYERS),
        ("vgg16", "vgg16", VGG_LAYERS),
        ("gln", "googlenet", GOOGLENET_LAYERS),
    ):
        for claim in ids(f"bo-{key}-"):
            yield claim, bologna_cell(bologna(name), layers, *claim.split("-")[2:])


def bologna_slides():
    """Statements of the lecture's slides."""
    alexnet, vgg, googlenet = (table(name).total() for name in ("alexnet-ungrouped", "vgg16", "googlenet"))
    vgg_batch, alexnet_batch = bologna("vgg16"), bologna("alexnet-ungrouped")
    vgg_bytes = vgg_batch.total().activation_bytes + vgg_batch.total().param_bytes
    basic, bottleneck = residual_block("resnet18"), residual_block("resnet50")
    slides = {
        "bo-sl-06": alexnet.flops,
        "bo-sl-08": vgg.flops,
        "bo-sl-09": vgg_batch.total().flops,
        "bo-sl-10": ratio(vgg_batch.total().flops, bologna_total(alexnet_batch, "mflops")),
        "bo-sl-11": vgg_bytes,
        "bo-sl-12": ratio(vgg_bytes, bologna_total(alexnet_batch, "actmem")),
        "bo-sl-13": ratio(vgg.params, alexnet.params),
        "bo-sl-23": googlenet.flops,
        "bo-sl-24": googlenet.params,
        "bo-sl-26": ratio(basic.flops, 64**2 * 56**2),
        "bo-sl-27": ratio(basic.weights, 64**2),
        "bo-sl-28": ratio(bottleneck.flops, 64**2 * 56**2),
        "bo-sl-29": ratio(bottleneck.weights, 64**2),
    }
    yield from slides.items()


def residual_block(name):
    """A block of the first stage (C = 64 on 56×56) that changes nothing, so without a projection."""
    return table(name).below("layer1/block_2").total()


def ratio(ours, other):
    return float(Fraction(ours, other))


# --- EECS 498 --------------------------------------------------------------------------------------------------------


def eecs_alexnet():
    costs = table("alexnet-torchvision", convention="eecs498", height=227, width=227)
    for claim in ids("eecs-alex-"):
        layer, column = claim.split("-")[2:]
        found = row(costs, ALEXNET_LAYERS[layer])
        cells = {"mem": found.activation_bytes, "params": found.weights, "flop": found.flops}
        if layer == "flatten":  # listed with the bytes of the tensor that it is a view of, and in no total
            assert cells == {"mem": 0, "params": 0, "flop": 0}
            cells["mem"] = elements(found.output) * 4
        yield claim, cells[column]


def eecs_totals():
    """Outputs of convolutions and linear layers alone, weights without bias, and MACs without pools."""
    alexnet = table("alexnet-torchvision", convention="eecs498", height=227, width=227)
    vgg = table("vgg16", convention="eecs498")
    quantities = {
        "mem": [sum(r.activation_bytes for r in of_kind(costs, WEIGHTED)) for costs in (alexnet, vgg)],
        "params": [costs.total().weights for costs in (alexnet, vgg)],
        "flop": [costs.total().macs for costs in (alexnet, vgg)],
    }
    for column, (small, large) in quantities.items():
        yield f"eecs-tot-alex-{column}", small
        yield f"eecs-tot-vgg-{column}", large
        yield f"eecs-tot-{column}-ratio", ratio(large, small)


EECS_STEM = {
    "conv": "stem/conv1/conv2d",
    "conv1x1": "stem/conv2/conv2d",
    "conv3x3": "stem/conv3/conv2d",
    "max-pool": "stem/pool1",
    "max-pool2": "stem/pool2",
}


def eecs_stem():
    """GoogLeNet down to 28×28 (its LRN is not on the slide) against VGG-16 down to 28×28 (without its pools)."""
    costs = table("googlenet", convention="eecs498")
    for layer, path in EECS_STEM.items():
        found = row(costs, path)
        yield f"eecs-stem-{layer}-mem", found.activation_bytes
        if found.kind == "conv2d":
            yield f"eecs-stem-{layer}-params", found.weights
        yield f"eecs-stem-{layer}-flop", found.flops
    stem = costs.below("stem")
    memory = sum(r.activation_bytes for r in of_kind(stem, ["conv2d", *POOLS]))
    yield "eecs-stem-tot-mem", memory
    yield "eecs-stem-tot-params", stem.total().weights
    yield "eecs-stem-tot-flop", stem.total().flops
    vgg = vgg_to_28(table("vgg16", convention="eecs498"))
    for column, value in vgg.items():
        yield f"eecs-stem-vgg-{column}", value
    yield "eecs-stem-ratio-mem", ratio(vgg["mem"], memory)
    yield "eecs-stem-ratio-params", ratio(vgg["params"], stem.total().weights)
    yield "eecs-stem-ratio-flop", ratio(vgg["flop"], stem.total().macs)


def vgg_to_28(costs):
    """What VGG spends on convolutions before its plane is 28×28: its first three stages."""
    convs = [r for stage in ("stage1", "stage2", "stage3") for r in of_kind(costs.below(stage), ["conv2d"])]
    return {
        "mem": sum(r.activation_bytes for r in convs),
        "params": sum(r.weights for r in convs),
        "flop": sum(r.macs for r in convs),
    }


def eecs_networks():
    yield "eecs-basic", ratio(residual_block("resnet18").macs, 64**2 * 56**2)
    yield "eecs-bottleneck", ratio(residual_block("resnet50").macs, 64**2 * 56**2)
    for depth in (18, 34, 50, 101, 152):
        yield f"eecs-resnet-layers-{depth}", table(f"resnet{depth}").total().weight_layers
        yield f"resnet-paper-t1-{depth}", table(f"resnet{depth}").total().macs
    yield "eecs-mobilenet", float(sympy.limit(separable_speedup(C), C, sympy.oo))


C = sympy.Symbol("C", integer=True, positive=True)


def separable_speedup(channels):
    """MACs of a 3×3 convolution over those of a depthwise 3×3 and a 1×1."""
    dense = chain(Conv2d(channels, 3, padding=1), channels=channels).total().macs
    separable = [Conv2d(channels, 3, padding=1, groups=channels), Conv2d(channels, 1)]
    return sympy.Rational(1) * dense / chain(*separable, channels=channels).total().macs


# --- CS231n ----------------------------------------------------------------------------------------------------------


def cs231n():
    costs = table("vgg16", convention="cs231n")
    fed = elements(costs.inputs["input"])
    for claim in ids("cs231n-vgg-0", "cs231n-vgg-1", "cs231n-vgg-2"):
        layer, column = claim.split("-")[3:]
        if layer == "input":
            yield claim, {"mem": fed, "w": 0}[column]
        else:
            found = row(costs, VGG_LAYERS[layer])
            yield claim, {"mem": found.activations, "w": found.weights}[column]
    yield "cs231n-vgg-total-mem", costs.total().activations + fed
    yield "cs231n-vgg-total-bytes-md", costs.total().activation_bytes + costs.input_bytes
    yield "cs231n-vgg-total-bytes-slides", costs.total().activation_bytes + costs.input_bytes
    yield "cs231n-vgg-total-params", costs.total().weights
    three = chain(*[Conv2d(64, 3, padding=1)] * 3, channels=3, height=224, width=224).total()
    yield "cs231n-3x3stack-act", three.activations
    yield "cs231n-3x3stack-bytes", three.activation_bytes * 2
    yield "cs231n-7x7", ratio(one_convolution(7).weights, stacked_convolutions(3).weights)
    yield "cs231n-googlenet-params", table("googlenet").total().params
    naive = graph("googlenet-naive").extract("inception3b", (1, 256, 28, 28))
    yield "cs231n-inc-naive", costcalc.analyze(naive).total().macs
    yield "cs231n-inc-bottleneck", costcalc.analyze(bottleneck_inception()).total().macs


def one_convolution(kernel, channels=64):
    return chain(Conv2d(channels, kernel, padding=kernel // 2, bias=False), channels=channels).total()


def stacked_convolutions(count, channels=64, kernel=3):
    convolutions = [Conv2d(channels, kernel, padding=kernel // 2, bias=False)] * count
    return chain(*convolutions, channels=channels).total()


def bottleneck_inception():
    """The slide's module: 64 channels before the 3×3 and the 5×5 and after the pool."""
    builder = costcalc.Builder("bottleneck", channels=256, height=28, width=28)
    builder.add("1x1", Conv2d(128, 1))
    builder.add("3x3/reduce", Conv2d(64, 1), "input")
    builder.add("3x3/conv", Conv2d(192, 3, padding=1))
    builder.add("5x5/reduce", Conv2d(64, 1), "input")
    builder.add("5x5/conv", Conv2d(96, 5, padding=2))
    builder.add("pool/max", MaxPool2d(3, stride=1, padding=1), "input")
    builder.add("pool/proj", Conv2d(64, 1))
    return builder.build()


# --- Papers ----------------------------------------------------------------------------------------------------------


def papers():
    total = {name: table(name).total() for name in costcalc.architectures()}
    yield "alexnet-p-params", total["alexnet"].params
    yield "alexnet-p-neurons", sum(r.activations for r in of_kind(table("alexnet"), WEIGHTED))
    yield "nin-gist", total["nin"].param_bytes
    yield "nin-gist-alex", total["alexnet"].param_bytes
    for letter, name in zip("ABCDE", ("vgg11", "vgg13", "vgg16-1x1", "vgg16", "vgg19"), strict=True):
        yield f"vgg-p-t2-{letter}", total[name].params
    yield "vgg-p-81", percent_more(one_convolution(7).weights, stacked_convolutions(3).weights)
    yield "resnet-p-vgg16", total["vgg16"].macs
    yield "resnet-p-vgg19", total["vgg19"].macs
    yield "resnet-p-18pct", float(Fraction(100 * total["plain34"].macs, total["vgg19"].macs))
    yield "resnet-p-plain34", total["plain34"].macs
    yield "resnet-p-13", len(projections(table("resnet34", shortcut="C"))) - len(projections(table("resnet34")))
    for depth in (20, 32, 44, 56, 110):
        yield f"resnet-p-t6-{depth}", total[f"resnet{depth}-cifar"].params
    yield "resnet-p-t6-1202", table("resnet20-cifar", blocks=[200, 200, 200]).total().params
    yield "gln-p-12x", ratio(total["alexnet"].params, total["googlenet"].params)
    yield "gln-p-22", total["googlenet"].weight_layers
    yield "gln-p-budget", total["googlenet"].macs
    yield "iv3-p-278", ratio(one_convolution(5).weights, one_convolution(3).weights)
    yield "iv3-p-28", percent_saved(one_convolution(5).weights, stacked_convolutions(2).weights)
    yield "iv3-p-33", percent_saved(one_convolution(3).macs, asymmetric_convolutions(3).macs)
    yield "iv3-p-11", percent_saved(one_convolution(3).weights, stacked_convolutions(2, kernel=2).weights)
    yield "iv3-p-42", total["inception_v3"].weight_layers
    yield "iv3-p-5b", total["inception_v3"].macs
    yield "iv3-p-25x", ratio(total["inception_v3"].macs, total["googlenet"].macs)


def percent_more(ours, other):
    return float(100 * (Fraction(ours, other) - 1))


def percent_saved(before, after):
    return float(100 * (1 - Fraction(after, before)))


def asymmetric_convolutions(n, channels=64):
    across, down = [Conv2d(channels, k, padding=(k[0] // 2, k[1] // 2), bias=False) for k in ((1, n), (n, 1))]
    return chain(across, down, channels=channels).total()


def googlenet_table_1():
    """Weights without bias, and MACs."""
    costs = table("googlenet")
    rows = {"conv1": ["stem/conv1"], "conv2+conv3": ["stem/conv2", "stem/conv3"], "fc": ["head/fc"]}
    rows |= {module: ["inception" + module] for module in MODULES}
    for name, prefixes in rows.items():
        parts = [costs.below(prefix).total() for prefix in prefixes]
        yield f"gln-p-t1-{name}-params", sum(part.weights for part in parts)
        yield f"gln-p-t1-{name}-ops", sum(part.macs for part in parts)
    yield "gln-p-total-params", costs.total().weights
    yield "gln-p-total-ops", costs.total().macs


# torchvision's name for a network, and the spec that is this network.
TORCHVISION = {
    "alexnet": "alexnet-torchvision",
    "googlenet": "googlenet-torchvision",
    "inception_v3": "inception_v3",
    **{f"vgg{depth}": f"vgg{depth}-torchvision" for depth in (11, 13, 16, 19)},
    **{f"vgg{depth}_bn": f"vgg{depth}_bn" for depth in (11, 13, 16, 19)},
    "resnet18": "resnet18",
    "resnet34": "resnet34",
    **{f"resnet{depth}": f"resnet{depth}-torchvision" for depth in (50, 101, 152)},
}


def torchvision():
    """The metadata's parameters; inception_v3's are with its auxiliary head, googlenet's and all MACs without."""
    for theirs, ours in TORCHVISION.items():
        settings = {"aux": True} if theirs == "inception_v3" else {}
        yield f"tv-{theirs}-params", table(ours, **settings).total().params
        yield f"tv-{theirs}-gmacs", table(ours).total().macs


# --- The tests -------------------------------------------------------------------------------------------------------

TABLES = (
    *(bologna_cells, bologna_slides, eecs_alexnet, eecs_totals, eecs_stem, eecs_networks, cs231n),
    *(papers, googlenet_table_1, torchvision),
)
ELSEWHERE = ("notes-", *(f"tv-{name}" for name in UNDESCRIBED))
NUMBERS = [claim for claim in published() if not claim.startswith(ELSEWHERE) and claim not in IN_WORDS]


@pytest.fixture(scope="module")
def ours():
    """Our value of every row, by id."""
    cells = [cell for cells in TABLES for cell in cells()]
    by_id = dict(cells)
    assert len(by_id) == len(cells)
    return by_id


@pytest.mark.parametrize("claim", NUMBERS)
def test_our_number_is_the_exact_one(claim, ours):
    value = exact(claim)
    # Counts are equal; a ratio was divided in floating point, by others in another order.
    assert ours[claim] == (value if isinstance(value, int) else pytest.approx(value, rel=1e-15, abs=0))


@pytest.mark.parametrize("claim", [claim for claim in NUMBERS if claim not in FORMULAS])
def test_the_printed_number_follows_as_the_verdict_says(claim, ours):
    """For a wrong cell the verdict is the signed error: then this says that the printed number does not follow."""
    printed = published()[claim]
    assert verdict(printed["published"], printed["unit"], ours[claim]) == printed["verdict"]


@pytest.mark.parametrize("claim", FORMULAS)
def test_the_printed_formula_has_our_factor(claim, ours):
    formula, factor = FORMULAS[claim]
    assert (published()[claim]["published"], published()[claim]["verdict"]) == (formula, "exact")
    assert ours[claim] == factor


def test_every_row_of_the_file_is_tested_or_named(ours):
    """28 rows are the notes' claims, with a file of tests to themselves; 14 are of networks that no spec describes."""
    assert set(ours) == set(NUMBERS)
    assert len(published()) == len(read("published.csv")) == 521
    assert len(NUMBERS) + len(IN_WORDS) == 521 - 28 - 14


# --- Rows in words ---------------------------------------------------------------------------------------------------

INCEPTION_V3_SHAPES = {
    "iv3-p-t1-1": "stem/conv1a/conv2d",
    "iv3-p-t1-2": "stem/conv2a/conv2d",
    "iv3-p-t1-3": "stem/conv2b/conv2d",
    "iv3-p-t1-4": "stem/pool1",
    "iv3-p-t1-6": "stem/pool2",
    "iv3-p-t1-7": "mixed5d/concat",
    "iv3-p-t1-8": "mixed6e/concat",
    "iv3-p-t1-9": "mixed7a/concat",
    "iv3-p-t1-10": "mixed7c/concat",
    "iv3-p-t1-11": "head/avgpool",
}


def printed_shape(shape):
    _, channels, height, width = shape
    return f"{height}x{width}x{channels}"


def test_inception_v3_table_1_shapes_of_the_released_network():
    """All but 71×71×80: the released conv3b is a 1×1 (80 channels at 73×73), and conv4a already makes 192."""
    costs = table("inception_v3")
    shapes = {"iv3-p-t1-0": printed_shape(costs.inputs["input"])}
    shapes |= {claim: printed_shape(row(costs, path).output) for claim, path in INCEPTION_V3_SHAPES.items()}
    assert shapes == {claim: published()[claim]["published"] for claim in ids("iv3-p-t1-") if claim != "iv3-p-t1-5"}
    assert "71x71x80" not in {printed_shape(r.output) for r in costs.rows if len(r.output) == 4}
    assert printed_shape(row(costs, "stem/conv3b/conv2d").output) == "73x73x80"


@pytest.mark.parametrize(("padding", "last"), [(0, "33x33x288"), (1, "35x35x288")])
def test_inception_v3_table_1_shapes_of_the_paper(padding, last):
    """The printed layers one after another; the last shape is the printed one only if the last convolution is padded.

    The table itself calls the third convolution padded, and no other.
    """
    stem = [Conv2d(32, 3, stride=2), Conv2d(32, 3), Conv2d(64, 3, padding=1), MaxPool2d(3, stride=2)]
    stem += [Conv2d(80, 3), Conv2d(192, 3, stride=2), Conv2d(288, 3, padding=padding)]
    costs = chain(*stem, channels=3, height=299, width=299)
    shapes = [printed_shape(shape) for shape in [costs.inputs["input"], *(r.output for r in costs.rows)]]
    claims = ids("iv3-p-t1-")[:8]
    assert shapes[:7] == [published()[claim]["published"] for claim in claims[:7]]
    assert shapes[7] == last
    assert (last == published()[claims[7]]["published"]) is bool(padding)
    assert published()[claims[7]]["exact"] == "33x33x288 as printed; 35x35x288 padded"


def test_inception_v3_has_less_than_25_million_parameters_without_its_auxiliary_head():
    total, limit = table("inception_v3").total().params, 25 * 10**6
    assert published()["iv3-p-25m"]["published"] == "<25"
    assert total == exact("iv3-p-25m") < limit < table("inception_v3", aux=True).total().params


def test_inception_v3_grid_reduction():
    """A convolution to twice the channels before the pool costs four times what it costs after."""
    convolution, pool = Conv2d(2 * 320, 1), MaxPool2d(2)
    before = chain(convolution, pool, channels=320, height=36, width=36).total()
    after = chain(pool, convolution, channels=320, height=36, width=36).total()
    assert (before.macs, after.macs) == (2 * 36**2 * 320**2, 2 * (36 // 2) ** 2 * 320**2)
    assert before.output == after.output
    assert ratio(before.macs, after.macs) == exact("iv3-p-grid")


def test_googlenet_auxiliary_heads_average_to_4_by_4():
    costs = table("googlenet", aux=True)
    shapes = [printed_shape(row(costs, f"{head}/avg_pool2d").output) for head in ("aux1", "aux2")]
    assert " / ".join(shapes) == published()["gln-p-aux"]["published"] == published()["gln-p-aux"]["exact"]


def test_a_projection_nearly_doubles_a_bottleneck():
    """The paper says doubled: (17C² + 16C²) / 17C², which is 1.94."""
    identity, projection = [table("resnet50", shortcut=s).below("layer1/block_2").total() for s in "BC"]
    assert ratio(projection.macs, identity.macs) == exact("resnet-p-double") == 33 / 17 < 2


# --- Why the wrong cells are wrong -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("column", "rows_say"), [("mflops", "290766.6"), ("actmem", "763.4")])
def test_alexnets_published_totals_count_relus_and_its_rows_do_not(column, rows_say):
    """Two totals follow another rule than the table's own rows and than VGG's: 658,272 ReLU elements more.

    One flop for each, and a tensor of its own (value and gradient) for each.
    """
    costs = bologna("alexnet-ungrouped")
    relus = sum(elements(r.output) for r in of_kind(costs, ["relu"]))
    assert relus == RELU_ELEMENTS
    total, added = {
        "mflops": (costs.total().flops, relus * BATCH),
        "actmem": (costs.total().activation_bytes, relus * BATCH * 2 * 4),
    }[column]
    claim = f"bo-alex-total-{column}"
    assert verdict(rows_say, published()[claim]["unit"], total) == "rounds-to"
    assert not follows(claim, total)
    assert total + added == exact(claim)
    assert follows(claim, total + added)
    assert bologna_total(bologna("vgg16"), column) == exact(f"bo-vgg16-total-{column}")


@pytest.mark.parametrize(
    ("name", "layers", "claims"),
    [
        ("alexnet-ungrouped", ["fc6"], ["bo-alex-fc6-params"]),
        ("vgg16", ["head/fc1"], ["bo-vgg16-fc14-params", "bo-vgg16-fc14-parmem"]),
        ("vgg16", ["head/fc3"], ["bo-vgg16-fc16-params"]),
        ("vgg16", ["head/fc1", "head/fc3"], ["bo-vgg16-total-params", "bo-vgg16-total-parmem"]),
    ],
)
def test_the_lectures_sheet_adds_a_bias_per_input(name, layers, claims):
    """Instead of one per output, in some of its linear layers."""
    costs = bologna(name)
    wrong = sum(row(costs, layer).inputs[0][1] - row(costs, layer).output[1] for layer in layers)
    for claim in claims:
        counted = costs.total() if "total" in claim else row(costs, *layers)
        right = {"params": counted.params, "parmem": counted.param_bytes}[claim.split("-")[-1]]
        scale = 12 if claim.endswith("parmem") else 1
        assert right == exact(claim)
        assert not follows(claim, right)
        assert follows(claim, right + wrong * scale)


def sheet_flops(costs, module):
    """An inception module as the lecture's sheet counts it.

    The reductions as r·c_out, with the channels of the convolution that follows, instead of c_in·r; the pool as
    2·9·c_in a position.
    """
    prefix = f"inception{module}"
    right = costs.below(prefix).total().flops
    error = 0
    for branch in ("3x3", "5x5"):
        reduction, after = [row(costs, f"{prefix}/{branch}/{part}/conv2d") for part in ("reduce", "conv")]
        error += 2 * elements(reduction.output) * (after.output[1] - reduction.inputs[0][1])
    error += 9 * elements(row(costs, f"{prefix}/pool/max_pool2d").output)
    return right + error * BATCH


def test_the_lectures_sheet_counts_reductions_by_what_they_feed():
    costs = bologna("googlenet")
    sheet = {f"bo-gln-{name}-mflops": sheet_flops(costs, module) for name, module in BOLOGNA_MODULES.items()}
    for claim, value in sheet.items():
        assert not follows(claim, exact(claim))
        assert follows(claim, value)
    others = costs.total().flops - sum(costs.below("inception" + module).total().flops for module in MODULES)
    assert not follows("bo-gln-total-mflops", costs.total().flops)
    assert follows("bo-gln-total-mflops", others + sum(sheet.values()))


AS_DRAWN = {"convs": [2, 2, 2, 3, 3]}


def test_the_slides_vgg_16_lacks_a_convolution():
    """EECS 498 draws stage 3 with two convolutions: its wrong VGG numbers are those of that network, to the digit."""
    drawn = table("vgg16", convention="eecs498", **AS_DRAWN)
    wrong = {"eecs-tot-vgg-mem": sum(r.activation_bytes for r in of_kind(drawn, WEIGHTED))}
    wrong["eecs-tot-vgg-flop"] = drawn.total().macs
    wrong |= {f"eecs-stem-vgg-{column}": value for column, value in vgg_to_28(drawn).items()}
    for claim, value in wrong.items():
        assert not follows(claim, exact(claim))
        assert follows(claim, value)
    assert follows("eecs-tot-vgg-params", drawn.total().weights)  # rounds to the same


def test_the_slides_ratios_follow_from_its_wrong_vgg_16(ours):
    drawn = table("vgg16", convention="eecs498", **AS_DRAWN)
    memory = sum(r.activation_bytes for r in of_kind(drawn, WEIGHTED))
    assert follows("eecs-tot-mem-ratio", ratio(memory, ours["eecs-tot-alex-mem"]))
    assert follows("eecs-stem-ratio-mem", ratio(vgg_to_28(drawn)["mem"], ours["eecs-stem-tot-mem"]))
    # These two divide what was printed: 13.6 by 0.7, and 1.1 M by 124 K.
    assert follows(
        "eecs-tot-flop-ratio", Fraction(round(drawn.total().macs, -8), round(ours["eecs-tot-alex-flop"], -8))
    )
    params = vgg_to_28(drawn)["params"], ours["eecs-stem-tot-params"]
    assert follows("eecs-stem-ratio-params", Fraction(round(params[0], -5), round(params[1], -3)))


def test_the_slides_stem_total_is_not_the_sum_of_its_rows(ours):
    """418 for 481: the rows that it prints are right and add to 481."""
    rows = [claim for claim in ids("eecs-stem-") if claim.endswith("-flop") and claim.split("-")[2] in ("conv", "max")]
    rows += ["eecs-stem-conv1x1-flop", "eecs-stem-conv3x3-flop"]
    assert len(rows) == len(EECS_STEM)
    assert sum(int(published()[claim]["published"]) for claim in rows) == 481
    assert verdict("481", "M", ours["eecs-stem-tot-flop"]) == "rounds-to"
    assert not follows("eecs-stem-tot-flop", ours["eecs-stem-tot-flop"])


def test_cs231ns_bottleneck_module_counts_its_3x3_twice(ours):
    three = row(costcalc.analyze(bottleneck_inception()), "3x3/conv").macs
    assert not follows("cs231n-inc-bottleneck", ours["cs231n-inc-bottleneck"])
    assert follows("cs231n-inc-bottleneck", ours["cs231n-inc-bottleneck"] + three)


def test_the_lectures_2_3_times_alexnet_is_torchvisions_alexnet():
    vgg = table("vgg16").total().params
    assert not follows("bo-sl-13", ratio(vgg, table("alexnet-ungrouped").total().params))
    assert follows("bo-sl-13", ratio(vgg, table("alexnet-torchvision").total().params))


def test_the_resnet_papers_vgg_16_is_its_convolutions_alone():
    """15.3 leaves out the linear layers that the same sentence's 19.6 for VGG-19 counts."""
    convolutions = [sum(r.macs for r in of_kind(table(name), ["conv2d"])) for name in ("vgg16", "vgg19")]
    assert follows("resnet-p-vgg16", convolutions[0])
    assert not follows("resnet-p-vgg16", table("vgg16").total().macs)
    assert not follows("resnet-p-vgg19", convolutions[1])
    assert follows("resnet-p-vgg19", table("vgg19").total().macs)


def test_googlenets_printed_5a_costs_what_a_wider_reduction_would():
    """54 M fits 48 channels before the 5×5; the same table's row says 32, which costs 51.1 M."""
    net = graph("googlenet")
    wide = "inception5a/5x5/reduce/conv2d"
    nodes = [replace(n, op=replace(n.op, out_channels=48)) if n.name == wide else n for n in net.nodes]
    printed, real = costcalc.analyze(replace(net, nodes=tuple(nodes))), table("googlenet")
    assert row(real, wide).output[1] == 32
    assert not follows("gln-p-t1-5a-ops", real.below("inception5a").total().macs)
    assert follows("gln-p-t1-5a-ops", printed.below("inception5a").total().macs)


@pytest.mark.parametrize(("channels", "speedup"), [(64, "7.89"), (512, "8.84")])
def test_depthwise_separable_convolutions_approach_nine_times(channels, speedup):
    """9C / (9 + C): 9 is the limit, never reached."""
    assert sympy.simplify(separable_speedup(C) - 9 * C / (9 + C)) == 0
    assert verdict(speedup, "x", float(separable_speedup(channels))) == "rounds-to"
