"""Closed forms against the integer analysis, at random sizes of every network, and against hand arithmetic."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import sympy
from formula_command import formula, formula_json, refused
from hypothesis import given, settings
from hypothesis import strategies as st
from small_graphs import chain
from stopwatch import bare_pythons, kept, process

import costcalc
from costcalc import Builder, CostcalcError, closed_forms, forms_of, load, solve
from costcalc.analysis.metrics import METRICS
from costcalc.exploration.symbolic import Variable
from costcalc.exploration.symbolic import expression_writer as writing
from costcalc.exploration.symbolic.break_even import ValueRange
from costcalc.exploration.symbolic.variable import is_nonnegative, normalize_floors, period_and_slope
from costcalc.ir.op import Assumption
from costcalc.ir.ops import OPS

ARCHITECTURES = list(costcalc.architectures())
ALL = tuple(METRICS)
REDUCTION = str(Path(__file__).parents[2] / "docs" / "examples" / "reduction.yaml")


def by_name(symbol):
    return symbol.name


def variables_of(name):
    settings = load(name).settings
    return ["batch", "height", "width", *(n for n in ("classes", "base_channels") if n in settings)]


@cache
def forms(name, exact):
    """All metrics of an architecture, as Python expressions that are compiled: whole, by stage, by layer."""
    made = closed_forms(name, variables_of(name), of=ALL, exact=exact)

    def compiled(form):
        return {m: compile(writing.python(e, by_name), m, "eval") for m, e in form.formulas.items()}

    rows = {"whole": [made.whole()], "stage": made.by_stage(), "layer": made.by_layer()}
    return made, {by: [(form.path, compiled(form)) for form in rows_] for by, rows_ in rows.items()}


def equals_the_analysis(name, exact, values):
    _, rows = forms(name, exact)
    costs = costcalc.analyze(load(name, **values))
    tables = {"whole": [costs.total()], "stage": costs.by_stage().rows, "layer": costs.rows}
    for by, table in tables.items():
        assert [path for path, _ in rows[by]] == [row.path for row in table] or by == "whole"
        for (path, formulas), row in zip(rows[by], table, strict=True):
            for metric, code in formulas.items():
                found = eval(code, {"min": min}, dict(values))
                assert type(found) is int
                assert found == getattr(row, METRICS[metric].attribute), (path, metric, values)


def drawn(data, made, furthest=12):
    return {v.name: v.least + v.multiple * data.draw(st.integers(0, furthest), v.name) for v in made.variables}


# -- every network -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ARCHITECTURES)
@settings(max_examples=3, deadline=None)
@given(data=st.data())
def test_forms_equal_the_analysis_on_the_default_domain(name, data):
    made, _ = forms(name, False)
    equals_the_analysis(name, False, drawn(data, made))


@pytest.mark.parametrize("name", ARCHITECTURES)
@settings(max_examples=2, deadline=None)
@given(data=st.data())
def test_exact_forms_equal_the_analysis_at_every_size(name, data):
    made, _ = forms(name, True)
    equals_the_analysis(name, True, drawn(data, made, furthest=300))


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_domain_begins_where_the_network_does(name, exact):
    """True at its least values and of its default, and one step below there is no network."""
    made, _ = forms(name, exact)
    assert not made.assumptions
    least = {v.name: v.least for v in made.variables}
    equals_the_analysis(name, exact, least)
    graph = load(name)
    default = {"batch": 1, "height": graph.inputs[0].shape[2], "width": graph.inputs[0].shape[3]} | {
        n: v for n, v in graph.settings.items() if n in least
    }
    equals_the_analysis(name, exact, default)
    for v in made.variables:
        assert (v.multiple, v.residue) == (1, 0) or not exact
        if v.least > v.smallest:
            with pytest.raises(CostcalcError):
                load(name, **{**least, v.name: v.least - v.multiple})


@pytest.mark.parametrize(
    ("name", "convention"),
    [("googlenet", "bologna"), ("googlenet", "xla"), ("vgg16-torchvision", "full"), ("alexnet", "convnet-burden"),
     ("alexnet-torchvision", "xla"), ("nin", "thop"), ("resnet18", "keras")],
)  # fmt: skip
def test_conventions_have_forms_too(name, convention):
    for exact in (False, True):
        made = closed_forms(name, ["batch", "size"], convention=convention, dtype="fp16", of=ALL, exact=exact)
        v = made.variables[1]
        for size in {v.least, v.least + v.multiple, v.least + 7 * v.multiple}:
            total = costcalc.analyze(
                load(name, batch=3, height=size, width=size), convention=convention, dtype="fp16"
            ).total()
            for metric in ALL:
                assert made.value(metric, {"batch": 3, "size": size}) == getattr(total, METRICS[metric].attribute)


@pytest.mark.parametrize(
    ("name", "multiple", "residue", "least"),
    [
        ("vgg16", 32, 0, 32),
        ("googlenet", 32, 0, 32),
        ("inception_v3", 32, 299 - 32 * 9, 75),
        ("alexnet", 32, 227 - 32 * 7, 67),
        ("resnet20-cifar", 4, 0, 4),
        ("nin", 32, 0, 64),
    ],
)
def test_a_height_is_a_multiple_of_the_total_stride_plus_the_residue_of_its_default(name, multiple, residue, least):
    (v,) = closed_forms(name, ["height"]).variables
    assert (v.multiple, v.residue, v.least) == (multiple, residue, least)
    assert v.data() == {"multiple": multiple, "residue": residue} | ({"least": least} if least > v.smallest else {})


def test_windows_of_an_adaptive_pool_ask_for_a_further_multiple_only_where_they_are_counted():
    """VGG-16's adaptive pool to 7×7 is even on 7·i places: 7·32 = 224. Its MACs do not depend on it."""
    assert closed_forms("vgg16-torchvision", ["height"], of=["macs"]).variables[0].multiple == 32
    assert closed_forms("vgg16-torchvision", ["height"], of=["flops"], convention="full").variables[0].multiple == 224


def test_taps_inside_the_input_ask_for_a_least_value():
    """A 5×5 with padding 2 on a plane of 1 has 1 tap inside, not 5 − 2·(1 + 2)/…: from a plane of 2 on there is one
    formula, and GoogLeNet's last planes are a 32nd of its input."""
    (v,) = closed_forms("googlenet", ["size"], of=["flops"], convention="xla").variables
    assert v.least == 64
    (v,) = closed_forms("googlenet", ["size"], of=["flops"], convention="flops").variables
    assert v.least == 32


def test_other_inputs_have_other_residues():
    assert closed_forms("resnet50", ["size"], height=300, width=300).variables[0].residue == 300 % 32


# -- by hand -------------------------------------------------------------------------------------------------------


def test_vgg16_by_hand():
    """Stage s has planes of H/2^s × W/2^s at its convolutions (s = 0 … 4), with c, 2c, 4c, 8c, 8c channels."""
    h, w, c = (sympy.Symbol(n, integer=True, positive=True) for n in ("height", "width", "base_channels"))
    convs = [
        (3, c, 1), (c, c, 1),
        (c, 2 * c, 2), (2 * c, 2 * c, 2),
        (2 * c, 4 * c, 4), (4 * c, 4 * c, 4), (4 * c, 4 * c, 4),
        (4 * c, 8 * c, 8), (8 * c, 8 * c, 8), (8 * c, 8 * c, 8),
        (8 * c, 8 * c, 16), (8 * c, 8 * c, 16), (8 * c, 8 * c, 16),
    ]  # fmt: skip
    fc1 = 8 * c * (h / 32) * (w / 32) * 4096
    macs = sum(9 * i * o * (h / s) * (w / s) for i, o, s in convs) + fc1 + 4096 * 4096 + 4096 * 1000
    params = sum(9 * i * o + o for i, o, _ in convs) + fc1 + 4096 + 4096 * 4096 + 4096 + 4096 * 1000 + 1000
    # The same by arithmetic: 9·(1 + (2 + 4)/4 + (8 + 16 + 16)/16 + (32 + 64 + 64)/64 + 3·64/256) = 9·33/4, and
    # 9·3 of the first convolution + 8·4096/32² of the first linear layer.
    assert 9 * (
        1 + sympy.Rational(6, 4) + sympy.Rational(40, 16) + sympy.Rational(160, 64) + sympy.Rational(192, 256)
    ) == (sympy.Rational(297, 4))
    assert 9 * 3 + 8 * 4096 // 32**2 == 59
    whole = closed_forms("vgg16", ["height", "width", "base_channels"]).whole().formulas
    assert whole["macs"] == sympy.expand(macs) == sympy.expand(297 * h * w * c**2 / 4 + 59 * h * w * c + 4096 * 5096)
    assert whole["params"] == sympy.expand(params)
    assert whole["params"].coeff(h * w * c) == 32
    assert whole["flops"] == 2 * whole["macs"]


def test_vgg_parameters_grow_with_the_input_and_googlenets_do_not():
    vgg, googlenet = (closed_forms(name, ["height", "width"]).whole() for name in ("vgg16", "googlenet"))
    assert {s.name for s in vgg.formulas["params"].free_symbols} == {"height", "width"}
    assert googlenet.formulas["params"] == 6_998_552


def test_googlenets_head_by_hand():
    """Global average pooling leaves 1024 features: 1024·K weights and K biases, whatever the input."""
    whole = closed_forms("googlenet", ["batch", "height", "classes"], at="head").whole()
    n, k = (sympy.Symbol(name, integer=True, positive=True) for name in ("batch", "classes"))
    assert whole.formulas["params"] == 1025 * k
    assert whole.formulas["macs"] == 1024 * n * k


def test_a_stage_of_two_3x3_by_hand():
    """18·C² + 2·C parameters of two 3×3 from C to C channels, 25·C² + C of a 5×5 (the lecture's comparison)."""

    def stage(*kernels):
        def build(channels=64, height=56, width=56):
            b = Builder("stage", channels=channels, height=height, width=width)
            for i, k in enumerate(kernels):
                b.add(f"conv{i}", OPS["conv2d"](channels, k, padding=k // 2))
            return b.build()

        return closed_forms(build, ["channels", "height", "width"], of=["params", "flops"]).whole().formulas

    c, h, w = (sympy.Symbol(name, integer=True, positive=True) for name in ("channels", "height", "width"))
    assert stage(3, 3) == {"params": 18 * c**2 + 2 * c, "flops": 36 * c**2 * h * w}
    assert stage(5) == {"params": 25 * c**2 + c, "flops": 50 * c**2 * h * w}


# -- graphs of one's own --------------------------------------------------------------------------------------------


def ceil_pool(kernel, stride):
    """A pool in ceil mode whose last window may start in the padding: its output is a smallest of two."""

    def build(height=16, width=16, batch=1):
        pool = OPS["max_pool2d"](kernel, stride=stride, ceil_mode=True)
        return chain(("pool", pool), ("conv", OPS["conv2d"](4, 1)), shape=(batch, 3, height, width))

    return build


@pytest.mark.parametrize(("kernel", "stride"), [(1, 2), (1, 3), (2, 3), (3, 2)])
def test_ceil_mode(kernel, stride):
    for exact in (False, True):
        made = closed_forms(ceil_pool(kernel, stride), ["height"], exact=exact)
        assert exact or not made.whole().formulas["macs"].has(sympy.Min, sympy.floor)
        (v,) = made.variables
        for height in range(v.least, v.least + 12 * v.multiple, v.multiple):
            total = costcalc.analyze(ceil_pool(kernel, stride)(height=height)).total()
            assert made.value("macs", {"height": height}) == total.macs


def test_a_graph_with_expressions_for_sizes_has_forms():
    h, c = sympy.Symbol("h", integer=True, positive=True), sympy.Symbol("c", integer=True, positive=True)
    made = forms_of(load("vgg16", height=32 * h, width=224, base_channels=c))
    assert [v.name for v in made.variables] == ["c", "h"]
    assert made.exact
    expected = costcalc.analyze(load("vgg16", height=96, base_channels=5)).total()
    assert made.value("macs", {"h": 3, "c": 5}) == expected.macs
    assert made.value("params", {"h": 3, "c": 5}) == expected.params


def test_a_symbol_without_assumptions_is_a_size_all_the_same():
    made = forms_of(chain(("pool", OPS["max_pool2d"](2)), shape=(1, 3, sympy.Symbol("h"), 8)), of=["activations"])
    assert writing.python(made.whole().formulas["activations"], by_name) == "12*(h//2)"
    assert made.variables == (Variable("h", least=2),)


def test_a_graph_in_the_counters_of_variables():
    height = Variable("height", 32)
    made = forms_of(load("vgg16", height=height.size), [height], of=["macs"])
    assert made.value("macs", {"height": 224}) == costcalc.analyze(load("vgg16")).total().macs
    assert writing.text(made.whole().formulas["macs"], by_name, by_name) == "68,970,496·height + 20,873,216"


def test_a_function_that_rewrites_a_graph_is_a_target():
    def without_the_head(**sizes):
        graph = load("vgg16", **sizes)
        nodes = tuple(node for node in graph.nodes if not node.name.startswith("head"))
        return costcalc.Graph("trunk", graph.inputs, nodes, (nodes[-1].name,), settings=graph.settings)

    whole = closed_forms(without_the_head, ["height", "width"]).whole()
    assert whole.formulas["params"] == 14_714_688
    (v,) = closed_forms(without_the_head, ["size"], height=96, width=96).variables
    assert (v.multiple, v.residue) == (32, 0)


def test_a_setting_that_is_divided_has_multiples_too(tmp_path):
    spec = tmp_path / "net.yaml"
    spec.write_text(
        "name: net\ninput: {channels: 3, height: 8, width: 8}\nsettings: {c: 10, d: 6}\n"
        "layers:\n  - a: conv2d(c // 4 + d // 3, 1)\n  - b: conv2d(8, 3, groups=d // d)\n"
    )
    made = closed_forms(str(spec), ["c", "d"])
    assert [v.data() for v in made.variables] == [{"multiple": 4, "residue": 2}, {"multiple": 3, "residue": 0}]
    for c, d in ((2, 3), (6, 9), (10, 6)):
        assert made.value("params", {"c": c, "d": d}) == costcalc.analyze(load(str(spec), c=c, d=d)).total().params


def test_a_quotient_of_variables_needs_exact_forms(tmp_path):
    spec = tmp_path / "net.yaml"
    spec.write_text(
        "name: net\ninput: {channels: 3, height: 8, width: 8}\nsettings: {c: 10, d: 3}\n"
        "layers:\n  - a: conv2d(c // d, 1)\n"
    )
    assert "no multiples of c, d leave net without floors" in refused(spec, "--in", "c,d")
    data = formula_json(spec, "--in", "c,d", "--of", "params", "--exact")
    assert data["formulas"] == {"params": "4*(c//d)"}
    assert "4·⌊c/d⌋" in formula(spec, "--in", "c,d", "--of", "params", "--exact")
    assert "cannot be answered" in refused(spec, "--in", "d", "--exact", "--solve", "params < 10")


def test_metrics_that_are_none_are_said():
    with pytest.raises(CostcalcError, match=re.escape("no quantity 'mac' (did you mean 'macs'")):
        closed_forms("vgg16", "height", of=["mac"])


def test_groups_divide():
    """A variable in a denominator: what must be divisible is assumed, and said."""
    made = closed_forms("alexnet", ["groups"])
    assert [writing.relation(a, str) for a in made.assumptions] == [
        f"{n} is a multiple of groups" for n in (96, 256, 384)
    ]
    for groups in (1, 2, 4, 8):
        total = costcalc.analyze(load("alexnet", groups=groups)).total()
        assert eval(writing.python(made.whole().formulas["macs"], by_name), {"groups": groups}) == total.macs
    assert "Assuming 96 is a multiple of groups; 256" in formula("alexnet", "--in", "groups")


def test_an_unknown_layer_makes_lower_bounds(tmp_path):
    spec = tmp_path / "net.yaml"
    spec.write_text(
        "name: net\ninput: {channels: 3, height: 8, width: 8}\n"
        "layers:\n  - a: conv2d(4, 1)\n  - b: unknown('wavelet')\n"
    )
    text = formula(spec, "--in", "height")
    assert "≥ 96·H" in text
    assert "Unknown, so that totals are lower bounds (≥): b (wavelet)." in text
    layers = formula(spec, "--in", "height", "--by", "layer", "--of", "macs")
    assert re.search(r"^b +MACs +\?$", layers, re.MULTILINE)
    data = formula_json(spec, "--in", "height", "--by", "layer")
    assert data["unknown"] == [{"name": "b", "op": "wavelet"}]
    assert "macs" not in data["rows"][1]["formulas"]
    assert "MACs or more of net" in formula(spec, "--in", "height", "--format", "python")
    assert r"\text{MACs} &\geq 96 H" in formula(spec, "--in", "height", "--format", "latex")
    with pytest.raises(CostcalcError, match="only known as a lower bound"):
        solve(str(spec), "height", "macs < 1k")
    assert solve(str(spec), "height", "activations <= 512").runs == (ValueRange(1, 8, 1),)


# -- what is known of floors ----------------------------------------------------------------------------------------

X = sympy.Symbol("x", integer=True, positive=True)


@st.composite
def floor_expressions(draw):
    """Sizes as layers make them: one window after another, some in ceil mode."""
    size = X
    for _ in range(draw(st.integers(1, 4))):
        k, s, p = draw(st.integers(1, 7)), draw(st.integers(1, 4)), draw(st.integers(0, 3))
        slack = size + 2 * p - k
        size = (slack // s if draw(st.booleans()) else -(-slack // s)) + 1
    return draw(st.integers(1, 5)) * size + draw(st.integers(-9, 9))


@settings(max_examples=30, deadline=None)
@given(floor_expressions(), st.integers(1, 500))
def test_joined_floors_are_the_same_number(expression, value):
    plain = normalize_floors(expression)
    assert plain.subs(X, value) == expression.subs(X, value)
    assert not any(f.args[0].has(sympy.floor) for f in plain.atoms(sympy.floor))


@settings(max_examples=20, deadline=None)
@given(floor_expressions(), floor_expressions(), st.integers(1, 500), st.integers(-9, 9))
def test_growth_and_signs_hold_where_they_are_said_to(one, other, value, constant):
    for expression in (one, one - other, sympy.Min(one, one + constant)):
        length, slope = period_and_slope(expression, X)
        assert expression.subs(X, value + length) == expression.subs(X, value) + slope * length
        if is_nonnegative(expression, {X: 5}):
            assert expression.subs(X, 5 + value) >= 0
        elif (expression).subs(X, 5) >= 0 and slope >= 0:
            assert any(expression.subs(X, 5 + place) < 0 for place in range(length))


# -- what is printed ------------------------------------------------------------------------------------------------


def test_vgg16_reads_as_the_lecture_writes_it():
    text = formula("vgg16", "--in", "height,width,base_channels")
    assert "parameters        32·H·W·c + 3,591·c² + 93·c + 20,882,408\n" in text
    assert "MACs              (297/4)·H·W·c² + 59·H·W·c + 20,873,216\n" in text
    assert "\nH: height, a multiple of 32; W: width, a multiple of 32; c: base_channels.\n" in text
    assert "input 3×H×W, batch 1, fp32, convention flops" in text


def test_the_residue_and_the_least_value_are_said():
    assert "S: size, the height and width of a square, S = 32·i + 11 from 75 on." in formula(
        "inception_v3", "--in", "size"
    )
    assert "H: height, from 31 on" in formula("googlenet", "--in", "height", "--exact")


def test_exact_forms_have_a_floor_for_a_plane():
    text = formula("vgg16", "--in", "height,width", "--exact", "--of", "params")
    assert "2,097,152·⌊H/32⌋·⌊W/32⌋ + 35,597,096" in text


@pytest.mark.parametrize(
    "args",
    [
        "inception_v3 --in height,width --exact", "resnet152 --in batch,height,width,base_channels --by layer",
        "vgg16 --in size --exact --convention xla --of flops", "vgg16 --in size --solve macs<macs",
        f"{REDUCTION} --in r --solve macs<params",
    ],
)  # fmt: skip
def test_text_fits_100_columns(args):
    assert max(map(len, formula(*args.split()).splitlines())) <= 100


def test_stages_add_up_to_the_whole():
    for by, rows in (("stage", 6), ("layer", 39)):
        data = formula_json("vgg16", "--in", "batch,height,base_channels", "--by", by)
        assert len(data["rows"]) == rows
        for key, whole in data["formulas"].items():
            parts = sum(sympy.sympify(row["formulas"][key]) for row in data["rows"])
            numbers = {"batch": 3, "height": 96, "base_channels": 8}
            assert parts.subs(numbers) == sympy.sympify(whole).subs(numbers)


def test_at_a_layer_the_whole_is_the_part():
    data = formula_json(
        "googlenet", "--in", "batch,height,width", "--at", "inception3a/5x5", "--by", "stage", "--depth", 3
    )
    assert data["layer"] == "inception3a/5x5"
    assert [row["name"] for row in data["rows"]] == ["inception3a/5x5/reduce", "inception3a/5x5/conv"]
    # 192·16 + 25·16·32 multiply-accumulates at each of H/8·W/8 places
    assert data["formulas"]["macs"] == f"{(192 * 16 + 25 * 16 * 32) // 64}*batch*height*width"
    assert formula("googlenet", "--in", "batch", "--at", "inception3a/").startswith(
        "inception3a of googlenet: GoogLeNet"
    )


def test_json_is_the_contract():
    data = formula_json("vgg16", "--in", "height,width,base_channels", "--of", "params", "--of", "param-memory", "--of",
                        "memory", "--set", "classes=10", "--dtype", "fp16")  # fmt: skip
    assert data["schema"] == "costcalc/formula/1"
    assert list(data["formulas"]) == ["params", "param_bytes", "activation_bytes"]
    assert data["domain"] == {
        "height": {"multiple": 32, "residue": 0}, "width": {"multiple": 32, "residue": 0},
        "base_channels": {"multiple": 1, "residue": 0},
    }  # fmt: skip
    assert data["settings"]["classes"] == 10
    assert "base_channels" not in data["settings"]
    assert data["inputs"] == {"input": ["1", "3", "height", "width"]}
    values = {"height": 64, "width": 96, "base_channels": 12}
    total = costcalc.analyze(load("vgg16", classes=10, **values), dtype="fp16").total()
    for key, expression in data["formulas"].items():
        assert eval(expression, {}, dict(values)) == getattr(total, key)
        assert sympy.sympify(expression).subs(values) == getattr(total, key)


def test_json_divides_once():
    data = formula_json("vgg16", "--in", "height,width,base_channels", "--of", "macs")
    expression = "(297*height*width*base_channels**2 + 236*height*width*base_channels + 83492864)//4"
    assert data["formulas"]["macs"] == expression


def test_exact_expressions_are_read_by_sympy_with_its_own_smallest():
    data = formula_json("googlenet", "--in", "size", "--exact", "--convention", "xla", "--of", "flops")
    expression = data["formulas"]["flops"]
    assert "min(0, " in expression
    for size in (31, 50, 62, 63, 224, 301):
        value = costcalc.analyze(load("googlenet", height=size, width=size), convention="xla").total().flops
        assert eval(expression, {"min": min}, {"size": size}) == value
        assert sympy.sympify(expression, {"min": sympy.Min}).subs("size", size) == value


def test_csv_has_the_expressions():
    lines = formula("vgg16", "--in", "height", "--of", "macs", "--format", "csv").splitlines()
    assert lines == ["quantity,formula", "MACs,68970496*height + 20873216"]
    lines = formula("vgg16", "--in", "height", "--by", "stage", "--format", "csv").splitlines()
    assert lines[0] == "name,quantity,formula"
    assert all(line.startswith(("stage", "head")) for line in lines[1:])


def test_markdown_has_the_table():
    assert "| MACs | 68,970,496·H + 20,873,216 |" in re.sub(
        " +", " ", formula("vgg16", "--in", "height", "--of", "macs", "--format", "markdown")
    )


@pytest.mark.parametrize("by", ["whole", "stage", "layer"])
def test_latex(by):
    page = formula("vgg16", "--in", "height,width,base_channels", "--by", by, "--format", "latex")
    assert r"\text{MACs} &= \tfrac{297}{4} H W c^{2} + 59 H W c + 20{,}873{,}216" in page
    code = [line for line in page.splitlines() if not line.startswith("%")]
    assert not re.search(r"[^\x00-\x7f]", "\n".join(code))
    assert page.count("{") == page.count("}")
    assert page.count(r"\begin{align*}") == page.count(r"\end{align*}") == {"whole": 1, "stage": 7, "layer": 22}[by]
    assert all(line.startswith("%") or "_" not in line.replace(r"\_", "") for line in page.splitlines())


def test_the_answer_in_latex():
    page = formula("vgg16", "--in", "batch", "--solve", "memory > param-memory", "--format", "latex")
    assert page.startswith("% vgg16: memory > param-memory holds for every batch ≥ 10\n")
    code = [line for line in page.splitlines() if not line.startswith("%")]
    assert code[0] == r"\begin{tabular}{rrrl}"
    assert " ".join(code[-3].split()) == r"10 & 603,483,200 & 553,430,176 & yes \\"


def test_latex_of_floors_and_fractions():
    page = formula("vgg16", "--in", "size,classes", "--exact", "--format", "latex", "--of", "params")
    assert r"\left\lfloor \frac{S}{32} \right\rfloor^{2}" in page
    page = formula("alexnet", "--in", "groups", "--format", "latex", "--of", "macs")
    assert r"\frac{821698560}{\mathit{groups}}" in page.replace("{,}", "")
    page = formula("googlenet", "--in", "size", "--exact", "--convention", "xla", "--of", "flops", "--format", "latex")
    assert r"\min(0, -\left\lfloor \frac{S + 1}{32} \right\rfloor + 2)" in page


@pytest.mark.parametrize("options", [[], ["--exact"], ["--by", "stage"], ["--by", "layer"]], ids=" ".join)
def test_the_python_module_runs(options, tmp_path):
    path = tmp_path / "module.py"
    formula("inception_v3", "--in", "batch,size", *options, "--format", "python", "-o", path)
    module: dict = {}
    exec(compile(path.read_text(encoding="utf-8"), "module.py", "exec"), module)
    costs = costcalc.analyze(load("inception_v3", batch=2, height=107, width=107))
    for key in ("params", "macs", "flops", "activations", "activation_bytes"):
        function = module[key]
        found = function(batch=2, size=107)
        if "--by" not in options:
            assert type(found) is int
            assert found == getattr(costs.total(), key)
        else:
            table = costs.by_stage() if "stage" in options else costs
            assert found == {row.path: getattr(row, key) for row in table.rows}
        assert function.__doc__
        least = 75
        for wrong in ({"size": 107.0}, {"size": least - 32 if options != ["--exact"] else 74}, {"batch": 0}):
            with pytest.raises(ValueError, match="must be"):
                function(**{"batch": 2, "size": 107} | wrong)
        if "--exact" not in options:
            with pytest.raises(ValueError, match=re.escape("size must be 32*i + 11 of at least 75, not 299.5")):
                function(2, 299.5)
            with pytest.raises(ValueError):
                function(2, 108)


def test_the_python_module_runs_alone(tmp_path):
    """Without costcalc or SymPy."""
    path = tmp_path / "forms.py"
    formula("resnet50", "--in", "size", "--format", "python", "-o", path)
    code = "import forms, sys; print(forms.macs(224)); assert not {'sympy', 'costcalc'} & {*sys.modules}"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert int(done.stdout) == 3_857_973_248


def test_names_stay_as_they_are_where_a_symbol_is_taken(tmp_path):
    spec = tmp_path / "net.yaml"
    spec.write_text(
        "name: net\ninput: {channels: 3, height: 8, width: 8}\nsettings: {N: 2, width_of: 4}\n"
        "layers:\n  - a: conv2d(N, 1)\n  - b: conv2d(width_of, 1)\n"
    )
    text = formula(spec, "--in", "batch,N,width_of", "--of", "macs")
    assert "64·batch·N·width_of + 192·batch·N" in text
    latex = formula(spec, "--in", "batch,N,width_of", "--of", "macs", "--format", "latex")
    assert r"64 \mathit{batch} N \mathit{width\_of}" in latex


# -- mistakes -------------------------------------------------------------------------------------------------------

CAN = "variables can be batch, channels, height, width, size, classes, base_channels"


@pytest.mark.parametrize(
    ("args", "messages"),
    [
        (["vgg16", "--in", "convs,hight"],
         ["convs is a list and decides the structure of vgg16: it cannot be a variable",
          "vgg16 has no size or setting 'hight' (did you mean 'height'?)", CAN]),
        (["vgg16", "--in", "adaptive"], ["adaptive is true or false and decides the structure of vgg16"]),
        (["resnet50", "--in", "block"], ["block is text and decides the structure of resnet50"]),
        (["vgg16", "--in", "last_kernel"],
         ["last_kernel cannot be a variable of vgg16: specs/vgg.yaml:32:24: kernel_size is structure",
          CAN]),
        (["vgg16", "--in", ","], ["a closed form needs a variable", CAN]),
        (["vgg16", "--in", "size,height"], ["size is height and width together: name either size or height and width"]),
        (["vgg16", "--in", "size", "--input", "224x320"],
         ["size needs a square input, but the input of vgg16 is 224×320: name height,width, or make it square "
          "(--input 224x224)", "variables can be batch, channels, height, width, classes"]),
        (["vgg16", "--in", "height", "--at", "stage9"], ["vgg16 has no layer 'stage9' (did you mean 'stage"]),
        (["vgg16", "--in", "height", "--convention", "maccs"], ["no convention 'maccs' (did you mean 'macs'"]),
        (["vgg16", "--in", "height", "--dtype", "fp31"], ["no dtype 'fp31' (did you mean 'fp32'"]),
        (["vgg17", "--in", "height"], ["no architecture 'vgg17' (did you mean"]),
        (["vgg16", "--in", "height", "--solve", "macs at stage9 < 4G"], ["vgg16 has no layer 'stage9'"]),
        (["vgg16", "--in", "height", "--solve", "macs < macs of vgg17"], ["no architecture 'vgg17'"]),
    ],
)  # fmt: skip
def test_mistakes_are_said(args, messages):
    output = refused(*args)
    for message in messages:
        assert message in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["vgg16"], "Missing option '--in'"),
        (["vgg16", "--in", "height", "--depth", "2"], "--depth requires --by stage"),
        (["vgg16", "--in", "height,width", "--solve", "macs < 4G"], "--solve needs exactly one variable"),
        (
            ["vgg16", "--in", "height", "--of", "macs", "--solve", "macs < 4G"],
            "--solve cannot be combined with --of, --at or --by",
        ),
        (["vgg16", "--in", "height", "--solve", "macs < 4G", "--format", "python"], "--solve prints no formula"),
        (["vgg16", "--in", "height", "--of", "mac"], "'mac' is not one of"),
    ],
)
def test_misuse_is_said(args, message):
    assert message in refused(*args, code=2)


def test_parameters_shared_at_the_default_alone(tmp_path):
    spec = tmp_path / "net.yaml"
    spec.write_text(
        "name: net\ninput: {channels: 8, height: 8, width: 8}\nsettings: {c: 8}\n"
        "layers:\n  - a: conv2d(c, 1)\n  - b: conv2d(c, 1, shares='a')\n"
    )
    output = refused(spec, "--in", "c")
    assert "c cannot be a variable of net: it can be 8 but not 9: " in output
    assert "b: cannot share the parameters of 'a': it needs {'weight': (9, 9, 1, 1)" in output
    assert "structure" not in output
    assert "variables can be batch, height, width, size" in output


def test_what_is_no_target_or_no_name_is_said():
    graph = load("resnet18")
    with pytest.raises(TypeError, match=r"closed_forms builds the network itself: .*; forms_of takes a graph"):
        closed_forms(graph, "batch")
    with pytest.raises(TypeError, match=r"solve builds the network itself: .*; forms_of takes a graph"):
        solve(graph, "batch", "macs < 4G")
    with pytest.raises(
        TypeError,
        match=re.escape("a question has one variable: pass the name of one size or setting, not ['batch']"),
    ):
        solve("resnet18", ["batch"], "macs < 4G")


# -- what moves assume ----------------------------------------------------------------------------------------------


def moved(name, *moves):
    return lambda **sizes: costcalc.rewrite(load(name, **sizes), *moves).after


@pytest.mark.parametrize("exact", [False, True])
def test_a_move_that_assumes_a_multiple_narrows_the_domain(exact):
    """A bottleneck to a quarter: channels that are multiples of 4, and no assumption remains."""
    made = closed_forms(moved("resnet34", "bottleneck"), "base_channels", exact=exact)
    assert (made.variables, made.assumptions) == ((Variable("base_channels", 4, 0, 4),), ())
    for c in (4, 20, 64):
        costs = costcalc.analyze(moved("resnet34", "bottleneck")(base_channels=c)).total()
        assert made.value("macs", {"base_channels": c}) == costs.macs
        assert made.value("params", {"base_channels": c}) == costs.params


def test_a_move_that_assumes_a_plane_raises_the_least_value():
    """What is averaged away is larger than 1×1: from 64 on, H/32 is at least 2."""
    for exact in (False, True):
        (v,) = closed_forms(moved("vgg16", "gap-head"), "height", exact=exact).variables
        assert (v.multiple, v.least) == (1 if exact else 32, 64)


def test_multiples_in_exact_forms():
    """Groups divide 3·c + 2 by 4 where c is 2 modulo 4; the floor of the plane stays."""

    def build(c=2, height=8):
        layers = ("a", OPS["conv2d"](3 * c + 2, 1, stride=2)), ("b", OPS["conv2d"](8, 1, groups=4))
        return replace(chain(*layers, shape=(1, 3, height, 1)), settings={"c": c})

    made = closed_forms(build, ["c", "height"], exact=True)
    assert made.variables[0].data() == {"multiple": 4, "residue": 2}
    assert made.variables[1].data() == {"multiple": 1, "residue": 0}
    assert made.assumptions == ()
    for c, height in ((2, 1), (6, 9), (10, 12)):
        assert made.value("macs", {"c": c, "height": height}) == costcalc.analyze(build(c, height)).total().macs
    assert solve(build, "c", "macs < 1k", exact=True).variable.multiple == 4
    c = sympy.Symbol("c", integer=True, positive=True)
    (v,) = forms_of(build(c)).variables
    assert v == Variable("c", 4, 2, 2)


def premised(*premises):
    """One convolution to c channels, as a rewrite leaves it that took something for granted of c."""

    def build(c=4):
        graph = chain(("a", OPS["conv2d"](c, 1)), shape=(1, 1, 1, 1))
        return replace(graph, rewrite_assumptions=tuple(Assumption(c, *each) for each in premises), settings={"c": c})

    return build


def test_what_is_not_equal_is_listed_where_the_domain_does_not_imply_it():
    for exact in (False, True):
        made = closed_forms(premised(("!=", 3)), "c", exact=exact)
        assert [writing.relation(a, str) for a in made.assumptions] == ["c ≠ 3"]
    for premises in (
        [("!=", 3), ("multiple of", 2)],
        [("!=", 3), (">=", 4)],
        [("!=", 0)],
        [("!=", sympy.Rational(1, 2))],
    ):
        assert closed_forms(premised(*premises), "c").assumptions == ()
    c, d = (sympy.Symbol(name, integer=True, positive=True) for name in "cd")
    graph = replace(
        premised()(c),
        rewrite_assumptions=(Assumption(c, "!=", d), Assumption(c + d, "!=", 1), Assumption(c + d, "!=", 3)),
    )
    found = forms_of(graph, [Variable("c"), Variable("d")]).assumptions
    assert [writing.relation(a, str) for a in found] == ["c ≠ d", "c + d ≠ 3"]


def test_an_answer_that_ends_where_an_assumption_does_not_hold():
    """A rewrite that goes another way at 3, where the formula does not hold."""

    def build(c=4):
        return premised(("!=", 3))(c) if c != 3 else chain(("a", OPS["conv2d"](100, 1)), shape=(1, 1, 1, 1))

    with pytest.raises(CostcalcError) as error:
        solve(build, "c", "macs <= 3")
    assert "'macs <= 3' cannot be answered at c = 3, where an assumption is false: c ≠ 3" in str(error.value)
    assert "mistake" not in str(error.value)
    assert solve(build, "c", "macs <= 5").runs == (ValueRange(1, 5, 1),)


def test_a_network_without_an_image_has_a_batch_alone(tmp_path):
    spec = tmp_path / "net.yaml"
    spec.write_text("name: net\ninputs: {x: [1, 16]}\nsettings: {f: 4}\nlayers:\n  - fc: linear(f)\n")
    assert formula_json(spec, "--in", "batch,f", "--of", "macs")["formulas"] == {"macs": "16*batch*f"}
    output = refused(spec, "--in", "height")
    assert "net has no size or setting 'height'" in output
    assert "variables can be batch, f" in output


# -- how fast -------------------------------------------------------------------------------------------------------


def test_the_whole_of_resnet50_takes_at_most_100_bare_pythons():
    """Which is under 2 s where a bare Python takes 20 ms."""
    command = process("-m", "costcalc", "formula", "resnet50", "--in", "batch,height,width,classes")
    command()
    assert kept(100, lambda: bare_pythons(command, runs=3))
