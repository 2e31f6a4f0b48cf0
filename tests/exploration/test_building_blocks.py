"""Designs side by side: every comparison of the lecture notes by hand, in numbers and in symbols."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from stopwatch import process

import costcalc
from costcalc import CostcalcError
from costcalc.analysis.conventions import CONVENTIONS
from costcalc.cli import cli
from costcalc.exploration.building_blocks import head, in_symbols, residual, stage
from costcalc.ir.op import Assumption


def run(*arguments):
    result = CliRunner().invoke(cli, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def answer(*arguments):
    """The designs of a command by their names (and comparison, where there are several), and all data."""
    data = json.loads(run(*arguments, "--format", "json"))
    assert data["schema"] == f"costcalc/{arguments[0]}/1"
    several = len({design["comparison"] for design in data["designs"]}) > 1
    key = (lambda d: f"{d['comparison']} {d['name']}") if several else (lambda d: d["name"])
    return {key(design): design for design in data["designs"]}, data


def counts(design, *keys):
    return tuple(design["totals"][key] for key in keys)


def cells(text, line):
    """The cells of a line of a text table, which stand two or more spaces apart."""
    found = next(part for part in text.splitlines() if part.startswith(f"{line} "))
    return [cell.strip() for cell in found.split("  ") if cell.strip()][1:]


# -- stages -------------------------------------------------------------------------------------------------------


def test_stage_by_hand():
    designs, _ = answer("stage", "--convs", 2, "--channels", 64, "--size", 56)
    two, one = designs["stage"], designs["one"]
    assert counts(two, "params", "macs", "flops", "activations", "activation_bytes", "weight_layers") == (
        2 * (64 * 64 * 3 * 3 + 64),
        2 * 56 * 56 * 64 * 64 * 9,
        36 * 64 * 64 * 56 * 56,
        2 * 64 * 56 * 56,
        4 * 2 * 64 * 56 * 56,
        2,
    )
    assert counts(one, "params", "macs", "flops", "activations", "activation_bytes", "weight_layers") == (
        64 * 64 * 5 * 5 + 64,
        56 * 56 * 64 * 64 * 25,
        50 * 64 * 64 * 56 * 56,
        64 * 56 * 56,
        4 * 64 * 56 * 56,
        1,
    )
    assert two["receptive_field"] == one["receptive_field"] == [5, 5]
    assert (two["nonlinearities"], one["nonlinearities"]) == (2, 1)
    assert (two["weights"], one["weights"]) == (18 * 64 * 64, 25 * 64 * 64)
    assert one["ratios"]["flops"] == 18 / 25
    assert one["ratios"]["activations"] == 2


def test_stage_in_symbols_is_the_lectures():
    text = run("stage", "--convs", 2, "--channels", 64, "--size", 56, "--symbolic")
    assert cells(text, "parameters") == ["18·C² + 2·C", "25·C² + C", "(18·C + 2)/(25·C + 1)"]
    assert cells(text, "FLOPs") == ["36·H·W·C²", "50·H·W·C²", "18/25"]
    assert cells(text, "activation elements") == ["2·H·W·C", "H·W·C", "2"]
    assert cells(text, "receptive field") == ["5×5", "5×5", "1"]
    assert cells(text, "non-linearities") == ["2", "1", "2"]
    assert "These formulas hold for all sizes, not only for those set: C channels; H height; W width." in text
    designs, data = answer("stage", "--symbolic")
    assert designs["stage"]["formulas"]["params"] == "18*C**2 + 2*C"
    assert designs["one"]["formulas"]["flops"] == "50*H*W*C**2"
    assert data["symbols"] == {"C": 64, "H": 56, "W": 56}


@pytest.mark.parametrize(("convs", "kernel"), [(1, 3), (2, 3), (3, 3), (4, 3), (2, 5), (3, 7), (3, 1)])
@pytest.mark.parametrize("bias", [True, False])
def test_any_stage_has_the_field_of_its_one_convolution(convs, kernel, bias):
    """n k×k have n·k² weights where one of n(k − 1) + 1 has (n(k − 1) + 1)², and n times its activations."""
    compared = stage(convs, kernel=kernel, channels=6, out_channels=8, height=9, width=11, batch=2, bias=bias)
    small, large = (design.costs.total() for design in compared.designs)
    side = convs * (kernel - 1) + 1
    assert small.receptive_field == large.receptive_field == (side, side)
    assert small.params == 8 * 6 * kernel**2 + (convs - 1) * 8 * 8 * kernel**2 + bias * convs * 8
    assert large.params == 8 * 6 * side**2 + bias * 8
    assert small.activations == convs * large.activations == convs * 2 * 8 * 9 * 11
    assert small.macs == 2 * 9 * 11 * (8 * 6 + (convs - 1) * 8 * 8) * kernel**2
    assert (small.nonlinearities, large.nonlinearities) == (convs, 1)
    assert small.output == large.output == (2, 8, 9, 11)


def test_a_stage_of_vgg_is_a_stage():
    """Its costs are those of VGG-16's second stage without its pool: 64 channels to 128, two 3×3."""
    made = stage(2, channels=64, out_channels=128, height=112, width=112).designs[0].costs.total()
    rows = [r for r in costcalc.analyze(costcalc.load("vgg16")).below("stage2").rows if r.op != "max_pool2d"]
    for count in ("params", "macs", "flops", "activations", "nonlinearities"):
        assert getattr(made, count) == sum(getattr(row, count) for row in rows)


# -- heads --------------------------------------------------------------------------------------------------------


def test_googlenets_head_by_hand():
    designs, _ = answer("head")
    flat, average, maps = (designs[name] for name in ("fully-connected", "global-average", "class-maps"))
    assert flat["totals"]["params"] == 7 * 7 * 1024 * 1000 + 1000 == 50_177_000
    assert average["totals"]["params"] == 1024 * 1000 + 1000 == 1_025_000
    assert maps["totals"]["params"] == 1024 * 1000 + 1000
    assert counts(flat, "macs", "activations", "weight_layers") == (7 * 7 * 1024 * 1000, 1000, 1)
    assert counts(average, "macs", "activations", "weight_layers") == (1024 * 1000, 1024 + 1000, 1)
    assert counts(maps, "macs", "activations", "weight_layers") == (7 * 7 * 1024 * 1000, 7 * 7 * 1000 + 1000, 1)
    assert [d["nonlinearities"] for d in (flat, average, maps)] == [0, 0, 1]
    assert [d["receptive_field"] for d in (flat, average, maps)] == [None, None, None]
    head_of_googlenet = costcalc.analyze(costcalc.load("googlenet")).below("head").total()
    assert head_of_googlenet.params == average["totals"]["params"]


def test_vggs_head_is_vggs():
    designs, _ = answer("head", "--channels", 512, "--hidden", "4096,4096")
    flat = designs["fully-connected"]
    assert flat["totals"]["params"] == (7 * 7 * 512 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 1000 == 123_642_856
    assert (flat["nonlinearities"], flat["totals"]["weight_layers"]) == (2, 3)
    real = costcalc.analyze(costcalc.load("vgg16")).below("head").total()
    assert (real.params, real.macs) == counts(flat, "params", "macs")


def test_nins_head_is_nins():
    """Network in Network's last convolution and what follows it, on its 1024 channels (224 pixels leave 6×6)."""
    costs = costcalc.analyze(costcalc.load("nin"))
    rows = costs.below("mlpconv4/cccp2").rows + costs.below("mlpconv4/relu_3").rows + costs.below("head").rows
    plane = rows[0].output[2:]
    made = head(channels=1024, height=plane[0], width=plane[1], classes=1000).designs[2].costs
    assert [(r.op, r.output, r.params, r.macs) for r in made.rows] == [(r.op, r.output, r.params, r.macs) for r in rows]


def test_heads_in_symbols():
    text = run("head", "--symbolic")
    ratio = "(H·W·C + 1)/(C + 1)"
    assert cells(text, "parameters") == ["H·W·C·K + K", "C·K + K", "C·K + K", ratio, ratio]
    assert cells(text, "activation elements") == ["K", "C + K", "H·W·K + K", "K/(C + K)", "1/(H·W + 1)"]
    designs, data = answer("head", "--channels", 512, "--hidden", "4096,4096", "--batch", 8, "--symbolic")
    assert data["symbols"] == {"N": 8, "C": 512, "H": 7, "W": 7, "K": 1000, "F_1": 4096, "F_2": 4096}
    macs = designs["fully-connected"]["formulas"]["macs"]
    assert eval(macs, {}, data["symbols"]) == 8 * (25088 * 4096 + 4096 * 4096 + 4096 * 1000)
    assert "F_2 features of hidden layer 2" in " ".join(run("head", "--hidden", "4096,4096", "--symbolic").split())


# -- residual blocks ----------------------------------------------------------------------------------------------


def test_blocks_by_hand():
    designs, _ = answer("residual", "--channels", 256, "--size", 56)
    basic, bottleneck = designs["block basic"], designs["block bottleneck"]
    plane = 56 * 56
    assert basic["weights"] == 2 * 9 * 256 * 256
    assert basic["totals"]["params"] == 2 * 9 * 256 * 256 + 2 * 2 * 256
    assert basic["totals"]["macs"] == 2 * 9 * 256 * 256 * plane
    assert basic["totals"]["activations"] == 256 * plane * (2 * 2 + 1)  # two convolutions, each with BatchNorm; the sum
    assert bottleneck["weights"] == 256 * 64 + 9 * 64 * 64 + 64 * 256
    assert bottleneck["totals"]["params"] == bottleneck["weights"] + 2 * (64 + 64 + 256)
    assert bottleneck["totals"]["macs"] == (256 * 64 + 9 * 64 * 64 + 64 * 256) * plane
    assert bottleneck["totals"]["activations"] == plane * (2 * 64 + 2 * 64 + 2 * 256 + 256)
    assert [d["nonlinearities"] for d in (basic, bottleneck)] == [2, 3]
    assert [d["totals"]["weight_layers"] for d in (basic, bottleneck)] == [2, 3]
    assert [d["receptive_field"] for d in (basic, bottleneck)] == [[5, 5], [3, 3]]


def test_a_bottleneck_costs_about_what_a_basic_block_over_a_quarter_does():
    """He et al., figure 5: 256 → 64 → 64 → 256 beside 64 → 64: 17 to 18 in weights and MACs, whatever the width."""
    designs, _ = answer("residual", "--symbolic")
    narrow = designs["block basic-narrow"]
    assert narrow["weights"] == 2 * 9 * 64 * 64
    assert narrow["ratios"]["macs"] == 17 / 18
    assert cells(run("residual", "--symbolic"), "MACs")[-1] == "17/18"


def test_skips_by_hand():
    designs, _ = answer("residual", "--channels", 256, "--size", 56)
    plane, half = 56 * 56, 28 * 28
    keys = ("params", "macs", "activations")
    assert counts(designs["skip-kept identity"], *keys) == (0, 0, 0)
    assert counts(designs["skip-kept projection"], *keys) == (256 * 256 + 2 * 256, 256 * 256 * plane, 2 * 256 * plane)
    assert counts(designs["skip-changed zeros"], *keys) == (0, 0, 512 * half)
    assert counts(designs["skip-changed projection"], *keys) == (
        256 * 512 + 2 * 512,
        256 * 512 * half,
        2 * 512 * half,
    )


def test_a_projection_nearly_doubles_a_bottleneck():
    """He et al., section 4.1: with projections as skips "the time complexity and model size are doubled": 33 to 17."""
    designs, data = answer("residual", "--symbolic")
    values = {**data["symbols"], "C": 1024}
    skip, path = (designs[f"skip-kept {name}"]["formulas"]["macs"] for name in ("projection", "bottleneck"))
    assert eval(skip, {}, values) * 17 == eval(path, {}, values) * 16


@pytest.mark.parametrize(
    ("network", "layer", "given", "shape", "comparison", "design", "part"),
    [
        ("resnet50", "layer2/block_2", {}, (512, 28), "block", "bottleneck", ""),
        ("resnet34", "layer4/block_2", {}, (512, 7), "block", "basic", ""),
        ("resnet34", "layer3/block_2", {}, (256, 14), "skip-kept", "basic", "main"),
        ("resnet34", "layer3/block_2", {"shortcut": "C"}, (256, 14), "skip-kept", "projection", "shortcut"),
        ("resnet34", "layer3/block_1", {}, (128, 28), "skip-changed", "projection", "shortcut"),
        ("resnet34", "layer3/block_1", {}, (128, 28), "skip-changed", "basic", "main"),
        ("resnet34", "layer3/block_1", {"shortcut": "A"}, (128, 28), "skip-changed", "zeros", "shortcut"),
        ("resnet50", "layer3/block_1", {"shortcut": "A"}, (512, 28), "skip-changed", "bottleneck", "main"),
    ],
)
def test_blocks_are_those_of_the_resnets(network, layer, given, shape, comparison, design, part):
    """Layer for layer what `specs/resnet.yaml` makes: names, kinds, shapes and parameters."""
    channels, side = shape
    real = costcalc.analyze(costcalc.load(network, **given).extract(layer))
    assert next(iter(real.inputs.values())) == (1, channels, side, side)
    compared = {c.key: c for c in residual(channels=channels, height=side, width=side)}[comparison]
    made = next(d.costs for d in compared.designs if d.key == design)
    prefix = f"{layer}/{part}" if part else layer
    assert [(r.path, r.op, r.output, r.parameters, r.macs, r.activations, r.receptive_field) for r in made.rows] == [
        (r.path.removeprefix(f"{layer}/"), r.op, r.output, r.parameters, r.macs, r.activations, r.receptive_field)
        for r in real.below(prefix).rows
    ]
    assert made.rows


# -- laws ---------------------------------------------------------------------------------------------------------

COMMANDS = {
    "stage": [("stage", "--out-channels", "48", "--batch", "3"), ("stage", "--convs", "4", "--no-bias")],
    "head": [("head",), ("head", "--hidden", "64,32", "--batch", "2", "--size", "5x8")],
    "residual": [("residual",), ("residual", "--ratio", "8", "--size", "10x14", "--batch", "2")],
}


@pytest.mark.parametrize("arguments", [a for each in COMMANDS.values() for a in each], ids=" ".join)
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_formulas_give_the_numbers(arguments, convention):
    """What is printed for programs is Python: with the sizes put in, it is the totals, exactly."""
    designs, data = answer(*arguments, "--symbolic", "--convention", convention, "--dtype", "fp16")
    for design in designs.values():
        for key, total in {**design["totals"], "weights": design["weights"]}.items():
            assert eval(design["formulas"][key], {}, data["symbols"]) == total, key
        fractions = {name: Fraction(value) for name, value in data["symbols"].items()}
        for key, ratio in design.get("ratios", {}).items():
            formula = design["ratio_formulas"][key]
            assert (None if formula is None else float(eval(formula, {}, fractions))) == ratio, key


@settings(max_examples=25, deadline=None)
@given(c=st.integers(1, 300), h=st.integers(1, 60), w=st.integers(1, 60), n=st.integers(1, 9))
def test_formulas_hold_at_every_size(c, h, w, n):
    designs, _ = answer("residual", "--batch", "2", "--symbolic")
    values = {"N": n, "C": 4 * c, "H": 2 * h, "W": 2 * w}
    numbers = residual(batch=n, channels=4 * c, height=2 * h, width=2 * w)
    for comparison in numbers:
        for design in comparison.designs:
            formulas = designs[f"{comparison.key} {design.key}"]["formulas"]
            total = design.costs.total()
            for key in ("params", "macs", "flops", "activations", "activation_bytes", "weights"):
                assert eval(formulas[key], {}, values) == getattr(total, key)


@pytest.mark.parametrize(
    "arguments",
    [
        ("stage",),
        ("stage", "--symbolic", "--batch", "2", "--out-channels", "8"),
        ("head",),
        ("head", "--symbolic", "--batch", "2", "--hidden", "4096,4096"),
        ("residual",),
        ("residual", "--symbolic", "--batch", "2"),
        ("residual", "--channels", "2048", "--size", "224", "--batch", "32"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("style", ["text", "markdown", "csv", "latex"])
def test_every_format_fits(arguments, style):
    text = run(*arguments, "--format", style)
    assert text.endswith("\n")
    if style == "text":
        assert max(map(len, text.splitlines())) <= 100


def test_ratios_give_way_only_where_the_table_would_be_too_wide():
    """With hidden layers, those of several terms are too long for a terminal; every other format has them."""
    arguments = ("head", "--hidden", "4096,4096", "--symbolic")
    text = run(*arguments)
    assert "…: too wide for this table; the other formats have it." in text
    assert cells(text, "MACs")[-2:] == ["…", "…"]
    assert cells(text, "weight layers")[-2:] == ["3", "3"]
    assert "…" not in run("head", "--symbolic") + run("stage", "--symbolic")
    assert cells(run("residual", "--symbolic"), "parameters")[3:] == ["…", "(17·C + 48)/(18·C + 16)"]
    assert "(H·W·C·F_1 + F_1·F_2 + F_2·K)/(C·K)" in run(*arguments, "--format", "markdown")
    assert ",(H*W*C*F_1 + F_1*F_2 + F_2*K)/(C*K)," in run(*arguments, "--format", "csv")


@pytest.mark.parametrize(
    "arguments",
    [("stage", "--out-channels", "8", "--batch", "2"), ("head", "--hidden", "4,4"), ("residual",)],
    ids=" ".join,
)
def test_latex_is_math(arguments):
    page = run(*arguments, "--symbolic", "--format", "latex")
    code = "\n".join(line for line in page.splitlines() if not line.startswith("%"))
    assert code.isascii()
    assert r"\_" not in code
    assert code.count("$") % 2 == 0
    assert code.count("{") == code.count("}")
    expected = {
        "stage": [
            r"$18 N H W C_{\mathrm{out}}^{2} + 18 N H W C_{\mathrm{out}} C$",
            r"$\frac{9 C_{\mathrm{out}} + 9 C}{25 C}$",
        ],
        "head": [r"$H W C F_{1} + F_{1} F_{2} + F_{2} K$", r"$\div$ average, linear"],
        "residual": [r"$\tfrac{17}{16} C^{2} + 3 C$", r"$\tfrac{17}{18}$", r"3$\times$3"],
    }
    for written in expected[arguments[0]]:
        assert written in code


def test_what_the_domain_implies_is_not_assumed():
    """C is a multiple of 4, so a quarter of it is at least 1."""
    assert answer("residual", "--symbolic")[1]["assumptions"] == []
    assert "Assuming" not in run("residual", "--symbolic", "--ratio", "8")
    symbols = in_symbols({"channels": 8, "height": 2, "width": 2}, {"channels": 4, "height": 2, "width": 2})
    assert "C/4 ≥ 1" in map(str, residual(**symbols.sizes)[0].assumptions)
    c = symbols.sizes["channels"]
    implied = {4: True, 8: False}
    for divisor, holds in implied.items():
        assert symbols.implies(Assumption(c, "multiple of", divisor)) is holds
        assert symbols.implies(Assumption(c, ">=", divisor)) is holds


def test_he_et_al_are_cited_for_a_ratio_of_4_alone():
    assert "similar time" in run("residual")
    for ratio in ("1", "2", "8"):
        text = run("residual", "--ratio", ratio)
        assert "similar" not in text
        assert "The weights are those of convolutions only." in text


def test_symbols_are_for_all_sizes_and_the_help_says_so():
    assert run("stage", "--symbolic", "--channels", 8, "--size", 28) == run("stage", "--symbolic")
    for command in ("stage", "head", "residual"):
        said = " ".join(run(command, "--help").split())
        assert "Print formulas in symbols instead of numbers, for all sizes." in said


# -- mistakes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("stage --convs 0", "a stage has from 1 to 1000 convolutions, not 0"),
        ("stage --convs 1001", "a stage has from 1 to 1000 convolutions, not 1001"),
        ("stage --kernel 4", "a kernel must be odd to preserve the spatial size: 3, 5 or 7, not 4"),
        ("stage --kernel -3", "a kernel must be odd to preserve the spatial size: 3, 5 or 7, not -3"),
        ("stage --channels 0", "--channels must be a whole number of at least 1 and at most 18 digits, such as 64, not '0'"),
        ("stage --out-channels x", "--out-channels must be a whole number of at least 1"),
        ("stage --size 56x", "--size is HxW, such as 320x480, or the side of a square, such as 320, not '56x'"),
        ("stage --size 3x56x56", "--size is HxW, such as 320x480, or the side of a square, not '3x56x56'"),
        ("stage --batch 1.5", "--batch must be a whole number"),
        ("stage --dtype fp31", "no dtype 'fp31' (did you mean 'fp32' or 'fp16'?)"),
        ("stage --convention flop", "no convention 'flop' (did you mean 'flops'?)"),
        ("head --hidden 4096,", "--hidden must be a whole number of at least 1 and at most 18 digits, such as 4096,4096"),
        ("head --classes 0", "--classes must be a whole number"),
        ("residual --ratio 3", "256 channels cannot be divided by a ratio of 3"),
        ("residual --ratio 0", "the ratio of a bottleneck must be at least 1, not 0"),
        ("residual --ratio 3 --symbolic", "256 channels cannot be divided by a ratio of 3"),
        ("residual --size 57x56 --symbolic", "with symbols, height must be a multiple of 2, not 57"),
    ],
)  # fmt: skip
def test_mistakes_are_told(arguments, message):
    result = CliRunner().invoke(cli, arguments.split())
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_an_odd_plane_is_halved_upwards():
    """In numbers, any plane goes: 57 leaves 29 places, on the skip as on the main path."""
    designs, _ = answer("residual", "--size", 57, "--channels", 8)
    assert designs["skip-changed projection"]["totals"]["macs"] == 8 * 16 * 29 * 29
    assert designs["skip-changed zeros"]["totals"]["activations"] == 16 * 29 * 29


def test_a_head_has_bounds():
    with pytest.raises(CostcalcError, match="a head has at most 1000 layers, not 1001"):
        head(channels=1, height=1, width=1, classes=1, hidden=[1] * 1000)


@pytest.mark.parametrize("arguments", [("stage",), ("head",), ("residual",)], ids=" ".join)
def test_numbers_need_neither_sympy_nor_numpy_nor_torch(arguments):
    code = (
        f"import sys; from costcalc.cli import cli; cli.main({list(arguments)}, standalone_mode=False); "
        "sys.exit(any(name in sys.modules for name in ('numpy', 'sympy', 'torch', 'tabulate')))"
    )
    process("-c", code)()
