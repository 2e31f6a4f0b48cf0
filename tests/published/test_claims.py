"""Claims: those that ship against tests/truth/published.csv, the language, its errors, and the command."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from fractions import Fraction
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stopwatch import bare_pythons, kept
from truth_data import exact, published, verdict

from costcalc import CostcalcError
from costcalc.cli.claims import command
from costcalc.core.written_numbers import UNITS
from costcalc.published.claims import VERDICTS, Choice, ClaimsFile, MultipleValues, choose, read, sources, verify
from costcalc.published.claims.evaluator import CLAIM_QUANTITIES
from costcalc.published.claims.verdict import judge, read_claimed_number

FOLDER = Path(__file__).parent / "bad_claims"
DOCS = Path(__file__).parents[2] / "docs"


# --- The claims that ship --------------------------------------------------------------------------------------------

WORDS = {
    "exact": "exact",
    "shape": "exact",
    "rounds-to": "rounds",
    "truncated": "truncated",
    "approx": "approximate",
    "DISAGREES": "wrong",
    "relative claim true": "conditional",
}
# What is said of the number after a bare "true", and is no condition.
TRUE = re.compile(r"true( \((\d+\.\d+x?|exactly 2|\d+\.\d+x)\))?")
# Rows that state a rule about shapes or counts and have no exact value.
WITHOUT_VALUE = {"notes-13", "notes-25", "notes-26", "notes-30"}


@cache
def shipped():
    return {each.claim.id: each for each in verify(choose(sources()))}


def expected_verdict(row):
    """The verdict of a row of published.csv, in the words of claims."""
    words = row["verdict"]
    if words.startswith("true"):
        return "exact" if TRUE.fullmatch(words) else "conditional"
    return next(ours for theirs, ours in WORDS.items() if words.startswith(theirs))


def as_text(value):
    """A value as published.csv writes it: shapes and lists."""
    if isinstance(value, MultipleValues):
        shapes = isinstance(value.values[0], tuple)
        return (" / " if shapes else ", ").join(map(as_text, value.values))
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


CLAIMED = list(published())


def test_every_row_of_the_file_is_a_claim():
    assert len(CLAIMED) == 521
    assert set(CLAIMED) <= set(shipped())
    others = {name for name in set(shipped()) - set(published()) if not name.startswith("tools-")}
    assert others == {"notes-top-5"}


@pytest.mark.parametrize("name", CLAIMED)
def test_verdict_and_exact_value_are_those_of_the_file(name):
    each, row = shipped()[name], published()[name]
    assert each.verdict == expected_verdict(row)
    assert not each.unexpected
    text = row["exact"]
    if isinstance(each.exact, (MultipleValues, tuple)):
        assert as_text(each.exact) == text or name in WITHOUT_VALUE or f"{as_text(each.exact)} padded" in text
    elif name not in WITHOUT_VALUE:
        # Counts are equal; a ratio was divided in floating point, by others in another order.
        value = exact(name)
        assert each.exact == (value if isinstance(value, int) else pytest.approx(value, rel=1e-15, abs=0))


def test_rows_without_an_exact_value():
    assert {name for name in CLAIMED if not published()[name]["exact"]} == WITHOUT_VALUE
    assert as_text(shipped()["notes-13"].exact) == "2, 2, 3, 3, 3"
    assert shipped()["notes-25"].exact == 2
    for name in ("notes-26", "notes-30"):
        assert as_text(shipped()[name].exact) == "28x28x128 / 14x14x256 / 7x7x512"


NUMBERS = [name for name in CLAIMED if re.fullmatch(r"[\d.]+", published()[name]["published"])]


@pytest.mark.parametrize("name", NUMBERS)
def test_printed_number_and_error_are_those_of_the_file(name):
    """The numbers as printed, and the signed errors that the file's verdicts name, recomputed from its own numbers."""
    each, row = shipped()[name], published()[name]
    assert each.published.lstrip("~") == row["published"]
    unit = row["unit"].split("(")[0]
    assert each.unit == {"Ki": "K", "% saved": "%", "% cheaper": "%"}.get(unit, unit) or unit not in UNITS
    again = verdict(row["published"], row["unit"], Fraction(each.exact))
    assert again == row["verdict"]
    named = re.search(r"\(([+-][\d.]+)%\)", again)
    assert (each.error is not None) is bool(named)
    if named:
        assert f"{float(100 * each.error):+.1f}" == named[1]


@pytest.mark.parametrize(
    "name", [name for name in CLAIMED if re.match(r"\d+x\d+x\d+( |$)", published()[name]["published"])]
)
def test_printed_shapes_are_those_of_the_file(name):
    assert (shipped()[name].published, shipped()[name].unit) == (published()[name]["published"], "")


def test_nothing_that_ships_is_unexpected_and_every_claim_expects_a_verdict():
    assert not [each.claim.id for each in shipped().values() if each.unexpected]
    assert all(each.expected for each in shipped().values())


def test_every_wrong_number_is_explained():
    for each in shipped().values():
        assert each.explanation or each.verdict not in ("wrong", "conditional")


def test_explanations_that_name_another_count_give_the_printed_number():
    """`reproduced` is what the explanation counts: held to the numbers that published.csv gives in words."""
    reproduced = {each.claim.id: each.reproduced for each in shipped().values() if each.reproduced is not None}
    assert len(reproduced) >= 25
    assert reproduced["eecs-tot-vgg-flop"] == 15470264320 - 1849688064
    assert reproduced["eecs-tot-vgg-mem"] == 4 * 12753896
    assert reproduced["eecs-stem-vgg-mem"] == 4 * (2 * 3211264 + 2 * 1605632 + 2 * 802816)
    assert reproduced["eecs-stem-vgg-params"] == 1_144_512
    assert reproduced["cs231n-inc-bottleneck"] == 271_351_808 + 28 * 28 * 192 * 9 * 64
    assert reproduced["bo-alex-fc6-params"] == 9216 * 4096 + 9216
    assert reproduced["bo-vgg16-fc14-params"] == 25088 * 4096 + 25088
    assert reproduced["bo-vgg16-total-params"] == 138_381_632
    assert reproduced["gln-p-t1-conv1-ops"] == 112 * 112 * 64 * 3 * (7 + 7)
    assert reproduced["resnet-p-vgg16"] == 15_346_630_656
    module = 128 * 2 * 28 * 28 * (192 * 64 + 96 * 128 + 96 * 128 * 9 + 16 * 32 + 16 * 32 * 25 + 192 * 32 + 9 * 192)
    assert reproduced["bo-gln-incep1-mflops"] == module


def test_a_tool_is_its_convention():
    """The integers that tools print, of nine networks and eight totals each."""
    tools = [each for name, each in shipped().items() if name.startswith("tools-")]
    assert len(tools) == 9 * 8 + 1
    assert [each.verdict for each in tools] == ["exact"] * 72 + ["rounds"]
    assert len({each.exact for each in tools if each.network == "resnet50-torchvision"}) == 9


def test_the_readme_counts_them():
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    assert f"{len(shipped())} claims of {len(sources())} sources" in readme


def test_sources_are_read_by_name():
    assert {"bologna", "cs231n", "eecs498", "lecture-notes", "torchvision"} <= set(sources())
    assert read("cs231n").source.startswith("CS231n")
    with pytest.raises(CostcalcError, match=r"no source 'cs231' \(did you mean 'cs231n'\?\)"):
        read("cs231")


# --- Printed numbers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("printed", "scale", "value", "expected"),
    [
        ("13.6", 10**9, 13_600_000_000, "exact"),
        ("13.6", 10**9, 13_649_999_999, "rounds"),
        ("13.6", 10**9, 13_550_000_000, "rounds"),
        ("13.6", 10**9, 13_650_000_000, "truncated"),
        ("13.6", 10**9, 13_699_999_999, "truncated"),
        ("13.6", 10**9, 13_700_000_000, "approximate"),
        ("13.6", 10**9, 13_549_999_999, "approximate"),
        ("105", 1, 100, "approximate"),
        ("106", 1, 100, "wrong"),
        ("0", 1, 0, "exact"),
        ("0", 10**6, 499_999, "rounds"),
        ("0", 10**6, 500_000, "truncated"),
        ("1", 10**6, 500_000, "rounds"),
        ("1", 1, 0, "wrong"),
        ("2.78", 1, Fraction(25, 9), "rounds"),
        ("81", Fraction(1, 100), Fraction(22, 27), "rounds"),
        ("49/27", 1, Fraction(49, 27), "exact"),
        ("<25", 10**6, 24_999_999, "exact"),
        ("<25", 10**6, 25_000_000, "wrong"),
        (">= 2", 1, 2, "exact"),
        ("138,357,544", 1, 138_357_544, "exact"),
        ("~230", 1, 230, "exact"),
    ],
)
def test_verdict_of_a_printed_number(printed, scale, value, expected):
    assert judge(read_claimed_number(printed), Fraction(scale), value).verdict == expected


@given(value=st.integers(1, 10**12), decimals=st.integers(0, 6), power=st.integers(0, 9))
def test_a_number_rounded_half_up_or_cut_off_is_never_worse_than_that(value, decimals, power):
    step = 10**decimals
    quotient = Fraction(value, 10**power)
    rounded, cut = (int(quotient * step + half) for half in (Fraction(1, 2), 0))
    texts = [f"{n // step}.{n % step:0{decimals}d}" if decimals else str(n) for n in (rounded, cut)]
    found = [judge(read_claimed_number(text), Fraction(10**power), value).verdict for text in texts]
    assert found[0] in ("exact", "rounds")
    assert found[1] in ("exact", "rounds", "truncated")
    assert [f.replace("rounds", "rounds-to") for f in found] == [verdict(text, "", quotient) for text in texts]


@pytest.mark.parametrize(
    "text", ["", "G", "about 2", "15,5 G", "1,38,357", "1 / 2", "1/0", "1.", "9" * 50, "2x3", "4x4x512", "2 % / 3 %"]
)
def test_what_is_no_number(text):
    assert read_claimed_number(text) is None


# --- The language ----------------------------------------------------------------------------------------------------


def claims(text, name="slides.yaml"):
    return verify([Choice(ClaimsFile("source: a slide\n" + text, name))])


def claim(text):
    (only,) = claims(f"network: vgg16\nquantity: params\nclaims:\n  - {{published: 1, {text}}}\n")
    return only


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        ("quantity: params", 138_357_544),
        ("quantity: weights", 138_344_128),
        ("quantity: macs", 15_470_264_320),
        ("quantity: flops", 2 * 15_470_264_320),
        ("quantity: flops, convention: eecs498, layers: stage1/pool", 112 * 112 * 64 * 4),
        ("quantity: macs, batch: 3", 3 * 15_470_264_320),
        ("quantity: activations", 15_087_080),
        ("quantity: activation_bytes, dtype: fp16", 2 * 15_087_080),
        ("quantity: output, layers: [stage1/conv_1, stage1/conv_2]", 224 * 224 * 64),
        ("quantity: outputs, layers: stage1/conv_1", 2 * 224 * 224 * 64),
        ("quantity: output, layers: head/flatten", 7 * 7 * 512),
        ("quantity: outputs, layers: input, batch: 2", 2 * 3 * 224 * 224),
        ("quantity: output_bytes, convention: bologna, layers: head/flatten", 2 * 4 * 7 * 7 * 512),
        ("quantity: output_bytes, convention: bologna, layers: input", 4 * 3 * 224 * 224),
        ("quantity: activation_bytes, convention: bologna, layers: input", 4 * 3 * 224 * 224),
        ("quantity: weight_bytes, convention: bologna", 3 * 4 * 138_344_128),
        ("quantity: param_bytes, layers: head/fc3", 4 * (4096 * 1000 + 1000)),
        ("quantity: params, layers: input", 0),
        ("quantity: weight_layers", 16),
        ("quantity: layers, op: relu", 15),
        ("quantity: layers, op: [conv2d, linear]", 16),
        ("quantity: layers, layers: 'stage*/pool'", 5),
        ("quantity: layers, layers: '*'", 39),
        ("quantity: channels, layers: stage2", 128),
        ("quantity: height, layers: stage2", 56),
        ("quantity: width, layers: stage2, input: {height: 64, width: 32}", 8),
        ("quantity: receptive_field, layers: stage1", 6),
        ("quantity: shape, layers: stage1", (112, 112, 64)),
        ("quantity: shape, layers: head/fc1", (4096,)),
        ("set: {classes: 10}, layers: head/fc3", 40_970),
        ("plus: {layers: head/fc3}", 138_357_544 + 4_097_000),
        ("plus: [{layers: head/fc3}, 10 * classes]", 138_357_544 + 4_097_000 + 10_000),
        ("minus: {layers: head}", 138_357_544 - 123_642_856),
        ("over: {network: alexnet}", Fraction(138_357_544, 60_965_224)),
        ("over: {network: alexnet, plus: {network: nin}}", Fraction(138_357_544, 60_965_224 + 7_595_176)),
        ("over: base_channels * height", Fraction(138_357_544, 64 * 224)),
        ("more_than: {network: alexnet}", Fraction(138_357_544, 60_965_224) - 1),
        ("less_than: {network: vgg19}", 1 - Fraction(138_357_544, 143_667_240)),
        ("layers: head, plus: {layers: stage5}, over: {layers: stage5}", 1 + Fraction(123_642_856, 7_079_424)),
    ],
)
def test_exact_values(fields, value):
    """Worked out by hand, or from the totals that other tests hold."""
    reading = "equals: 3x3x3" if isinstance(value, tuple) else "equals: 7"
    assert claim(f"{fields}, {reading}").exact == value


def test_every_quantity_has_a_meaning_in_the_docs():
    described = (DOCS / "claims.md").read_text(encoding="utf-8")
    for name, quantity in CLAIM_QUANTITIES.items():
        assert f"| `{name}` | {quantity.description} |" in described
    for unit in UNITS:
        assert f"`{unit}`" in described


def test_bounds_are_part_of_what_is_printed():
    (found,) = claims("network: vgg16\nquantity: params\nclaims:\n  - {published: <139 M}\n")
    assert (found.published, found.unit, found.verdict) == ("<139", "M", "exact")


def test_percent_of_several():
    found = claim("less_than: {network: vgg19}, unit: '%', each: [{network: vgg16}, {network: vgg13}]")
    assert found.exact == MultipleValues(
        tuple(100 * (1 - Fraction(params, 143_667_240)) for params in (138_357_544, 133_047_848))
    )


def test_percent():
    found = claim("less_than: {network: vgg19}, unit: '%'")
    assert found.exact == 100 * (1 - Fraction(138_357_544, 143_667_240))
    assert found.verdict == "wrong"


def test_what_is_said_deeper_wins():
    first, second, third, fourth = claims("""
network: vgg16
quantity: params
batch: 2
claims:
  - {published: 1, quantity: macs}
  - quantity: macs
    claims:
      - {published: 1}
      - {published: 1, batch: 3}
      - {published: 1, network: nin}
""")
    macs = 15_470_264_320
    assert (first.exact, second.exact, third.exact) == (2 * macs, 2 * macs, 3 * macs)
    assert (fourth.network, fourth.exact) == ("nin", 2 * 1_100_188_800)


def test_another_network_starts_from_its_own_settings_and_input():
    own, other, ratio = claims("""
network: vgg16
set: {convs: [1, 1, 2, 2, 2]}
input: {height: 64, width: 64}
quantity: macs
claims:
  - {published: 1}
  - {published: 1, network: nin}
  - {published: 1, over: {network: nin}}
""")
    assert other.exact == 1_100_188_800
    assert ratio.exact == Fraction(own.exact, other.exact)


def test_a_table_is_a_claim_a_cell():
    cells = claims("""
network: vgg16
claims:
  - where: a table
    id: t
    columns:
      params: {quantity: params, unit: K}
      macs: {quantity: macs, unit: M}
    rows:
      stage1: {params: 39, macs: 1936}
      fc1: {layers: head/fc1, params: {published: 102786, verdict: approximate, why: a slip}}
      alexnet: {network: alexnet, params: 60965}
""")
    assert [(c.claim.id, c.published, c.unit, c.verdict) for c in cells] == [
        ("t-stage1-params", "39", "K", "rounds"),
        ("t-stage1-macs", "1936", "M", "rounds"),
        ("t-fc1-params", "102786", "K", "approximate"),
        ("t-alexnet-params", "60965", "K", "rounds"),
    ]
    assert {c.claim.section for c in cells} == {"a table"}
    assert cells[0].claim.where == "a table, stage1"
    assert cells[2].explanation == "a slip"


def test_each_is_right_if_all_are():
    assert claim("quantity: layers, op: conv2d, each: [stage1, stage2], equals: 2").verdict == "exact"
    assert claim("quantity: layers, op: conv2d, each: [stage1, stage3], equals: 2").verdict == "wrong"
    both = claim("quantity: layers, op: conv2d, each: [stage1, stage3], equals: 2 / 3")
    assert (both.verdict, both.exact) == ("exact", MultipleValues((2, 3)))
    nets = claim("quantity: weight_layers, each: [{network: vgg11}, {network: vgg19}], equals: 11 / 19")
    assert nets.verdict == "exact"


@pytest.mark.parametrize(
    ("reading", "expected"),
    [
        ("equals: 2", "approximate"),
        ("equals: 3", "wrong"),
        ("above: 2", "exact"),
        ("above: 3", "wrong"),
        ("below: 3", "exact"),
        ("below: 2", "wrong"),
        ("above: 2, below: 3", "exact"),
        ("above: 2, below: 2.05", "wrong"),
        ("above: [1, 2]", "exact"),
        ("above: {network: alexnet}", "exact"),
        ("above: {network: vgg19}", "wrong"),
        ("above: [{network: alexnet}, {network: vgg19}]", "wrong"),
        ("equals: {network: vgg16-torchvision}", "exact"),
        ("equals: {network: vgg19}", "approximate"),
    ],
)
def test_what_a_phrase_means(reading, expected):
    """138.4 M by 67 M is 2.07; a phrase is no printed number, and has no decimals to round to."""
    ratio = "" if "network" in reading else "over: 67 * 1000 * 1000, "
    assert claim(f"{ratio}{reading}").verdict == expected


def test_a_rule_needs_a_case_where_it_holds_and_one_where_it_does_not():
    held = "quantity: activation_bytes, convention: bologna, over: {quantity: param_bytes}, above: 1, rule: batches"
    assert claim(f"{held}, batch: 14, fails_for: {{batch: 13}}").verdict == "conditional"
    assert claim(f"{held}, batch: 14, holds_for: {{batch: 15}}, fails_for: [{{batch: 1}}]").verdict == "conditional"
    assert claim(f"{held}, batch: 13, holds_for: {{batch: 14}}").verdict == "conditional"
    # Named wrongly: then the verdict is that of the claim as it stands.
    assert claim(f"{held}, batch: 14, fails_for: {{batch: 14}}").verdict == "exact"
    assert claim(f"{held}, batch: 14, holds_for: {{batch: 15}}").verdict == "exact"
    assert claim(f"{held}, batch: 13, holds_for: {{batch: 12}}").verdict == "wrong"


def test_what_a_file_does_not_explain_is_reconciled():
    """The slide's VGG-16 that lacks a convolution is found; CS231n's 24 M is nothing that can be counted."""
    text = "network: vgg16\nclaims:\n  - {published: 13.6 G, quantity: macs%s}\n  - {published: 24 M, quantity: activations}\n"
    found, nothing = claims(text % "")
    assert found.explanation.startswith("perhaps one layer left out, counted as macs")
    assert found.explanation.endswith(": 13,620,576,256")
    assert nothing.explanation == "reconcile finds no likely way of counting that gives it"
    assert claims(text % ", why: a slip")[0].explanation == "a slip"


OWN = "networks: {own: {input: {channels: 3, height: 8, width: 8}, layers: ['conv2d(8, 3)']}}\n"


@pytest.mark.parametrize(
    "fields",
    [
        "network: own, quantity: params",
        "network: googlenet, quantity: params, over: {network: alexnet}",
        "network: googlenet, quantity: params, layers: [stem/conv1, stem/conv2]",
        "network: googlenet, quantity: params, layers: 'inception*'",
        "network: googlenet, quantity: params, op: conv2d",
        "network: googlenet, quantity: activations, layers: input",
        "network: googlenet, quantity: channels",
        "network: googlenet, quantity: params, equals: 7777",
    ],
)
def test_what_cannot_be_reconciled_has_no_explanation(fields):
    (found,) = claims(f"{OWN}claims:\n  - {{published: 7777, {fields}}}\n")
    assert (found.verdict, found.explanation) == ("wrong", "")


def test_an_explanation_must_give_what_is_printed():
    drawn = "published: 13.6 G, quantity: macs, verdict: wrong, reproduced_by: {set: {convs: [2, 2, %s, 3, 3]}}"
    text = "network: vgg16\nclaims:\n  - {%s}\n"
    (right,), (wrong,) = claims(text % (drawn % 2)), claims(text % (drawn % 1))
    assert (right.unexpected, right.reproduced) == ("", 13_620_576_256)
    assert wrong.unexpected == "reproduced_by does not give the published number"


@pytest.mark.parametrize(
    ("verdicts", "unexpected"), [("rounds", ""), ("[exact, rounds]", ""), ("wrong", "rounds, not wrong")]
)
def test_verdicts_that_a_file_expects(verdicts, unexpected):
    (found,) = claims(f"verdict: {verdicts}\nnetwork: vgg16\nquantity: params\nclaims:\n  - {{published: 138 M}}\n")
    assert (found.verdict, found.unexpected) == ("rounds", unexpected)


def test_limits():
    """(9C² + C) / 9C² tends to 1, and (8C + C) / (9C² + C) to 0."""
    grows, vanishes = claims("""
networks:
  net:
    input: {channels: 8, height: 8, width: 8}
    settings: {C: 8}
    layers:
      - fed: conv2d(C, 1)
      - counted: conv2d(C, 3, padding=1)
network: net
quantity: params
limit: C
claims:
  - {published: 1 x, layers: counted, over: {quantity: weights}}
  - {published: 0 x, layers: fed, over: {layers: counted}}
""")
    assert (grows.exact, vanishes.exact) == (1, 0)


def test_units_are_what_the_source_means_by_them():
    text = "network: vgg16\nquantity: param_bytes\n%sclaims:\n  - {published: 528 MB}\n"
    (plain,), (binary,) = claims(text % ""), claims(text % "units: {MB: MiB}\n")
    assert (plain.verdict, binary.verdict) == ("approximate", "rounds")
    assert binary.unit == "MB"


def test_networks_of_a_file_beside_it(tmp_path):
    (tmp_path / "net.yaml").write_text(
        "name: net\ninput: {channels: 3, height: 8, width: 8}\nlayers:\n  - conv2d(8, 3)\n"
    )
    path = tmp_path / "slides.yaml"
    path.write_text("source: s\nclaims:\n  - {published: 224, network: net.yaml, quantity: params}\n")
    (found,) = verify(choose([str(path)]))
    assert (found.verdict, found.network, found.source) == ("exact", "net", "slides")


def test_variants_of_a_network_in_the_file():
    wide, narrow = claims("""
networks:
  net:
    input: {channels: 3, height: 8, width: 8}
    settings: {width_: 8}
    variants:
      net: {}
      net-wide: {width_: 16}
    layers:
      - conv2d(width_, 3)
quantity: params
claims:
  - {published: 448, network: net-wide}
  - {published: 224, network: net}
""")
    assert (wide.verdict, narrow.verdict) == ("exact", "exact")


def test_ten_lines_of_the_docs_check_a_slide():
    """The first example of docs/claims.md is a whole file of at most ten lines."""
    example = re.search(r"```yaml\n(.*?)```", (DOCS / "claims.md").read_text(encoding="utf-8"), re.DOTALL)[1]
    assert len(example.splitlines()) <= 10
    found = verify([Choice(ClaimsFile(example, "slides.yaml"))])
    assert {each.verdict for each in found} >= {"rounds", "wrong"}


def test_every_example_of_the_docs_is_a_file_of_claims_that_holds():
    text = (DOCS / "claims.md").read_text(encoding="utf-8")
    for example in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL):
        whole = example if example.startswith("source:") else f"source: docs\n{example}"
        assert not [each.unexpected for each in verify([Choice(ClaimsFile(whole, "docs.yaml"))]) if each.unexpected]


# --- Mistakes --------------------------------------------------------------------------------------------------------


def message_of(text, name):
    with pytest.raises(CostcalcError) as error:
        verify([Choice(ClaimsFile(text, name))])
    return str(error.value)


def test_an_unknown_convention_is_named():
    message = message_of(
        "source: s\nclaims: [{published: 1, network: nin, quantity: params, convention: bolonia}]", "f"
    )
    assert message.startswith("f:2:69: no convention 'bolonia' (did you mean 'bologna'?)")


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_bad_claims(path):
    """The message is exactly the one beside the file."""
    assert message_of(path.read_text(encoding="utf-8"), path.name) + "\n" == path.with_suffix(".txt").read_text("utf-8")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("claims:\n" + "  - {published: 1, netwrk: a}\n" * 5000, "more than 200 mistakes"),
        ("network: vgg16\nquantity: params\nclaims:\n" + "  - {published: 1, layers: a}\n" * 5000, "more than 200"),
        (f"claims:\n  - {{published: '{'9' * 20_000}', network: vgg16, quantity: params}}\n", "is no number"),
        (f"network: vgg16\nquantity: params\nclaims:\n  - {{published: 1, layers: '{'*a' * 40}'}}\n", "has no layer"),
        (f"network: vgg16\nquantity: params\nclaims:\n  - {{published: 1, plus: {'9*' * 60}9}}\n", "more than 40 deep"),
        ("claims: " + "[" * 100_000, "nest"),
    ],
    ids=["mistakes", "more mistakes", "digits", "stars", "product", "depth"],
)
def test_hostile_claims(text, expected, fresh_memory):
    text = "source: s\n" + text
    assert expected in message_of(text, "hostile.yaml")
    assert kept(200, lambda: bare_pythons(lambda: message_of(text, "hostile.yaml")))  # about 2 s


# --- The command -----------------------------------------------------------------------------------------------------


def run(*args, code=0, cwd=None):
    done = subprocess.run(
        [sys.executable, "-m", "costcalc", "claims", *map(str, args)],
        capture_output=True, text=True, encoding="utf-8", cwd=cwd,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert done.returncode == code, done.stderr
    return done


def test_json_is_the_contract():
    data = json.loads(run("--format", "json").stdout)
    assert data["schema"] == "costcalc/claims/1"
    by_id = {entry["id"]: entry for entry in data["claims"]}
    assert len(by_id) == len(shipped())
    claim = by_id["cs231n-vgg-total-mem"]
    assert (claim["source"], claim["published"], claim["unit"]) == ("cs231n", "24", "M")
    assert (claim["exact"], claim["verdict"]) == (15_237_608, "wrong")
    assert "15.2 M" in claim["explanation"]
    assert by_id["notes-07"]["exact"] == exact("notes-07")
    assert by_id["iv3-p-t1-0"]["exact"] == "299x299x3"
    assert by_id["notes-28"]["exact"] == "18 / 34 / 50 / 101 / 152"
    assert by_id["notes-top-5"]["exact"] is None
    assert {entry["verdict"] for entry in data["claims"]} == set(VERDICTS)
    assert sum(data["summary"]["bologna"].values()) == 257


def test_only_shows_some_and_counts_all():
    wrong = json.loads(run("cs231n", "--only", "wrong", "--format", "json").stdout)
    assert [entry["verdict"] for entry in wrong["claims"]] == ["wrong"] * 5
    assert sum(wrong["summary"]["cs231n"].values()) == 54
    two = json.loads(run("--only", "wrong", "--only", "conditional", "--format", "json").stdout)
    assert len(two["claims"]) == 32 + 10
    assert json.loads(run("--only", "unexpected", "--format", "json").stdout)["claims"] == []
    assert f"{len(shipped())} claims by verdict" in run("--only", "unexpected").stdout
    (only,) = (parameter for parameter in command.params if parameter.name == "only")
    assert only.type.choices == (*VERDICTS, "unexpected")


def test_claims_are_shown_by_id():
    text = run("cs231n-vgg-total-mem", "eecs-tot-vgg-flop").stdout
    assert text.startswith("2 claims\n")
    assert "15,237,608" in text
    assert "15,470,264,320" in text
    assert (
        "no source and no claim 'eecs-tot-vgg-flops' (did you mean 'eecs-tot-vgg-flop'"
        in run("eecs-tot-vgg-flops", code=1).stderr
    )


SLIDE = "source: a slide\nnetwork: vgg16\nquantity: params\nclaims:\n  - {id: a, published: 138 M%s}\n  - {id: b, published: 150 M}\n"


def test_a_file_that_expects_nothing_only_reports(tmp_path):
    (tmp_path / "slides.yaml").write_text(SLIDE % "")
    done = run("slides.yaml", cwd=tmp_path)
    assert "wrong" in done.stdout
    assert done.stderr == ""


def test_a_verdict_that_is_not_expected_exits_1(tmp_path):
    (tmp_path / "slides.yaml").write_text(SLIDE % ", verdict: exact")
    done = run("slides.yaml", cwd=tmp_path, code=1)
    assert "a is not as its file says: rounds, not exact." in done.stdout
    assert done.stderr == "costcalc: 1 claim is not as its file says: a\n"
    assert "a is not as its file says" not in run("slides.yaml", "--only", "wrong", cwd=tmp_path, code=1).stdout


def test_mistakes_are_messages(tmp_path):
    (tmp_path / "slides.yaml").write_text(SLIDE % ", netwrk: a")
    assert (
        "slides.yaml:5:31: no field 'netwrk' (did you mean 'network'?)"
        in run("slides.yaml", cwd=tmp_path, code=1).stderr
    )
    assert "nowhere.yaml: cannot be read" in run("nowhere.yaml", code=1).stderr


@pytest.mark.parametrize("style", ["text", "markdown", "csv", "json", "latex"])
def test_every_format(style, tmp_path):
    printed = run("cs231n", "--format", style).stdout
    run("cs231n", "--format", style, "-o", tmp_path / "out")
    assert (tmp_path / "out").read_text(encoding="utf-8") == printed
    if style == "csv":
        assert "\ncs231n-vgg-total-mem,24 M,15237608,wrong,+57.5 %," in printed


def test_text_fits_100_columns():
    for line in run().stdout.splitlines():
        assert len(line) <= 100
