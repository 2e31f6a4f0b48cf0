"""Break-even questions: against hand arithmetic, and against trying every value."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
from formula_command import formula, formula_json
from hypothesis import given, settings
from hypothesis import strategies as st
from small_graphs import chain

import costcalc
from costcalc import CostcalcError, load, solve
from costcalc.exploration.symbolic.break_even import ValueRange, _newton_differences, _sign_changes
from costcalc.exploration.symbolic.question import parse_question
from costcalc.ir.ops import OPS
from costcalc.report.views.formula import solution_text

REDUCTION = str(Path(__file__).parents[2] / "docs" / "examples" / "reduction.yaml")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(-30, 30), min_size=1, max_size=4))
def test_signs_of_a_polynomial(coefficients):
    def at(n):
        return sum(c * n**i for i, c in enumerate(coefficients))

    signs = _sign_changes(_newton_differences([at(n) for n in range(len(coefficients))]))
    assert [place for place, _ in signs] == sorted({place for place, _ in signs})
    assert all(a[1] != b[1] for a, b in pairwise(signs))
    for n in [*range(80), 1000, 10**9]:
        assert [s for place, s in signs if place <= n][-1] == (at(n) > 0) - (at(n) < 0)


def test_from_which_batch_on_activations_outgrow_parameters():
    """The lecture's rule: activations twice, 8 bytes an element; parameters three times, 12 bytes each."""
    solved = solve("vgg16", "batch", "memory > param-memory", convention="bologna")
    assert solved.runs == (ValueRange(14, None, 1),)
    elements, parameters = 15_087_080, 138_357_544
    assert 13 * elements * 8 < parameters * 12 < 14 * elements * 8
    assert [(c.value, c.left, c.right, c.holds) for c in solved.checks[1:]] == [
        (13, 13 * elements * 8, parameters * 12, False),
        (14, 14 * elements * 8, parameters * 12, True),
    ]
    text = formula("vgg16", "--in", "batch", "--convention", "bologna", "--solve", "memory > param-memory")
    assert text.startswith("vgg16: memory > param-memory holds for every batch ≥ 14\n")


def test_for_which_r_a_reduction_is_cheaper():
    """192·r + 25·r·32 < 25·192·32 where r < 153,600 / 992 = 154.8…"""
    assert 192 * 154 + 25 * 154 * 32 < 25 * 192 * 32 < 192 * 155 + 25 * 155 * 32
    question = f"macs < macs of {REDUCTION}:direct"
    solved = solve(REDUCTION, "r", question)
    assert solved.runs == (ValueRange(1, 154, 1),)
    assert solved.checks[-1].left == (192 * 155 + 25 * 155 * 32) * 28 * 28
    data = formula_json(REDUCTION, "--in", "r", "--solve", question)
    assert data["solutions"] == [{"first": 1, "last": 154, "step": 1}]
    assert data["answer"] == "for every r ≤ 154"
    assert data["checks"][-1] == {"r": 155, "left": 120_547_840, "right": 120_422_400, "holds": False}
    assert data["right"]["formula"] == "120422400"


def test_the_largest_input_under_4_gmacs():
    solved = solve("resnet50", "size", "macs < 4G")
    assert solved.runs == (ValueRange(32, 224, 32),)
    exact = solve("resnet50", "size", "macs < 4G", exact=True)
    assert exact.runs == (ValueRange(1, 224, 1),)
    assert [c.value for c in exact.checks] == [1, 224, 225]
    text = formula("resnet50", "--in", "size", "--solve", "macs < 4G")
    assert text.startswith("resnet50: macs < 4G holds for every size ≤ 224 (a multiple of 32)\n")
    assert "256  5,038,358,528  4,000,000,000  no" in text


def stepped(height=9):
    """A plane of (height − 1) // 3 + 1 places: MACs that go up by steps."""
    return chain(("pool", OPS["avg_pool2d"](1, stride=3)), ("conv", OPS["conv2d"](1, 1)), shape=(1, 1, height, 1))


@pytest.mark.parametrize("relation", ["<", "<=", ">", ">=", "="])
@pytest.mark.parametrize("bound", [0, 1, 5, 6])
def test_solutions_are_those_that_trying_finds(relation, bound):
    solved = solve(stepped, "height", f"macs {relation} {bound}", exact=True)
    compare = {"<": int.__lt__, "<=": int.__le__, ">": int.__gt__, ">=": int.__ge__, "=": int.__eq__}[relation]
    tried = [h for h in range(1, 60) if compare(costcalc.analyze(stepped(h)).total().macs, bound)]
    found = [h for r in solved.runs for h in range(r.first, (r.last or 59) + 1, r.step)]
    assert found == tried


def test_steps_of_different_lengths():
    """⌊h/2⌋ = ⌊h/3⌋ of positive numbers at 3 alone: (3 − 1)/2 = 3/3."""

    def build(height=12):
        return chain(
            ("a", OPS["max_pool2d"](2, stride=2)), ("b", OPS["max_pool2d"](3, stride=3), "input"),
            shape=(1, 1, height, 3), outputs=("a", "b"),
        )  # fmt: skip

    solved = solve(build, "height", "activations at a = activations at b", exact=True)
    tried = [h for h in range(3, 200) if h // 2 == h // 3]
    assert solved.runs == tuple(ValueRange(h, h, 1) for h in tried) == (ValueRange(3, 3, 1),)
    other = solve(build, "height", "activations at a > activations at b", exact=True)
    assert other.runs == (ValueRange(4, None, 1),)


def test_a_square_against_a_line_has_several_intervals(tmp_path):
    """c + c² + 200 MACs against 31·c: equal where c² − 30·c + 200 = (c − 10)·(c − 20) = 0."""
    spec = tmp_path / "net.yaml"
    spec.write_text(
        "name: net\ninput: {channels: 1, height: 1, width: 1}\nsettings: {c: 4, square: true}\n"
        "variants: {net: {}, line: {square: false}}\n"
        "layers:\n  - a: conv2d(c, 1) if square else conv2d(31 * c, 1)\n"
        "  - b: conv2d(c, 1) if square else skip\n  - c: conv2d(200, 1, inputs='/input') if square else skip\n"
    )
    question = f"macs > macs of {spec}:line"
    solved = solve(str(spec), "c", question)
    assert solved.runs == (ValueRange(1, 9, 1), ValueRange(21, None, 1))
    assert [c.value for c in solved.checks] == [1, 9, 10, 20, 21]
    assert solve(str(spec), "c", f"macs = macs of {spec}:line").runs == (ValueRange(10, 10, 1), ValueRange(20, 20, 1))
    text = formula(spec, "--in", "c", "--solve", question)
    assert "holds for every c ≤ 9, and for every c ≥ 21\n" in text.replace("\n  ", " ")
    assert formula_json(spec, "--in", "c", "--solve", f"macs = macs of {spec}:line")["answer"] == "for c = 10 and 20"
    assert formula_json(spec, "--in", "c", "--solve", f"macs <= macs of {spec}:line")["answer"] == (
        "for every c from 10 to 20"
    )


def test_a_number_may_be_a_fraction():
    assert solve("vgg16", "batch", "macs > 0.5").runs == (ValueRange(1, None, 1),)
    solved = solve(REDUCTION, "r", "params <= 1025.5")  # 993·r + 32
    assert solved.runs == (ValueRange(1, 1, 1),)
    data = formula_json(REDUCTION, "--in", "r", "--solve", "params <= 1025.5")
    assert data["answer"] == "for r = 1"
    assert data["checks"][0]["right"] == 1025.5


def test_every_and_none():
    assert formula_json("vgg16", "--in", "batch", "--solve", "macs > params")["answer"] == "for every batch"
    assert formula_json("vgg16", "--in", "batch", "--solve", "macs < 1k")["answer"] == "for no batch"
    assert formula_json("vgg16", "--in", "batch", "--solve", "macs < 1k")["solutions"] == []
    assert formula_json("vgg16", "--in", "size", "--solve", "params = params")["answer"] == (
        "for every size (a multiple of 32)"
    )


def test_an_answer_may_have_a_rhythm():
    """⌊(h − 1)/2⌋ + 1 = ⌊h/2⌋ where h is even: for every second height."""

    def build(height=12):
        return chain(
            ("a", OPS["max_pool2d"](1, stride=2)), ("b", OPS["max_pool2d"](2, stride=2), "input"),
            shape=(1, 1, height, 2), outputs=("a", "b"),
        )  # fmt: skip

    solved = solve(build, "height", "activations at a = activations at b", exact=True)
    assert solved.runs == (ValueRange(2, None, 2),)
    assert solution_text(solved) == "for every height ≥ 2 in steps of 2"


def test_two_networks_share_a_domain_or_it_is_said():
    solved = solve("vgg16", "size", "macs > macs of resnet20-cifar")
    assert (solved.variable.multiple, solved.variable.residue) == (32, 0)
    with pytest.raises(
        CostcalcError, match=re.escape("the two sides have no common size: one needs 32·i + 3, the other 32·i + 0")
    ):
        solve("alexnet", "size", "macs < macs of resnet18")
    exact = solve("alexnet", "size", "macs < macs of resnet18", exact=True)
    assert exact.runs == (ValueRange(67, None, 1),)


def test_a_target_of_a_question_takes_settings_of_its_own():
    data = formula_json("vgg16", "--in", "batch", "--solve", "macs >= macs of vgg16:batch=32")
    assert data["answer"] == "for every batch"
    data = formula_json(
        "vgg16", "--in", "base_channels", "--solve", "params > params of vgg19:base_channels=64,classes=10"
    )
    assert data["domain"]["base_channels"] == {"multiple": 1, "residue": 0}


def test_the_network_asked_of_may_lack_the_variable():
    """What does not have the setting does not change with it."""
    solved = solve("vgg16", "base_channels", "macs < macs of googlenet")
    googlenet = costcalc.analyze(load("googlenet")).total().macs
    (run,) = solved.runs
    assert costcalc.analyze(load("vgg16", base_channels=run.last)).total().macs < googlenet
    assert costcalc.analyze(load("vgg16", base_channels=run.last + 1)).total().macs >= googlenet


@pytest.mark.parametrize(
    ("text", "number"),
    [("macs<4G", 4 * 10**9), ("macs < 4.5 k", 4500), ("macs < 1,000", 1000), ("macs < 2t", 2 * 10**12),
     ("memory <= 2GiB", 2 * 2**30), ("memory < 7B", 7), ("memory < 16GB", 16 * 10**9),
     ("memory < 3000000", 3_000_000), ("macs < 4Gi", 4 * 2**30), ("macs < 4P", 4 * 10**15), ("macs ≤ 5", 5), ("macs == 5", 5)],
)  # fmt: skip
def test_numbers(text, number):
    question = parse_question(text)
    assert question.right.number == number
    assert question.relation == {"≤": "<=", "==": "="}.get(text.split()[1] if " " in text else "", question.relation)


def test_sides():
    question = parse_question("macs at a/b of vgg16:batch=3 >= 2M")
    assert question.left[1:4] == ("macs", "a/b", "vgg16:batch=3")
    assert str(question) == "macs at a/b of vgg16:batch=3 >= 2M"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("macs 4G", "'macs 4G' has no relation"),
        ("macs < 4G < params", "has more than one relation"),
        ("< 4G", "has only one side"),
        ("mac < 4G", "no quantity 'mac' (did you mean 'macs'"),
        ("macs < 4X", "'4X' is not a number"),
        ("macs < 4 GMACs", "'4 GMACs' is not a number"),
        ("4 < 5", "compares two numbers"),
        ("macs at < 5", "'macs at' is not a side of a question: write macs [at LAYER] [of TARGET]"),
        ("macs in a < 5", "is not a side of a question"),
        ("macs at a at b < 5", "is not a side of a question"),
        ("macs < 4GiB", "macs is a count, and 4GiB is in bytes"),
        ("2KiB > params", "params is a count, and 2KiB is in bytes"),
        ("memory < 24", "'memory < 24': 24 bytes are very few: write a size with its unit, such as 24GiB"),
        ("0.5k > params of vgg16 <", "more than one relation"),
        ("50 % < macs", "'50 %' is not a number"),
        ("memory > params", "params is a count, and memory is in bytes: they cannot be compared"),
    ],
)
def test_questions_that_are_none(text, message):
    with pytest.raises(CostcalcError, match=re.escape(message)):
        parse_question(text)


def test_a_variable_that_divides_is_not_solved_for():
    with pytest.raises(CostcalcError, match="a cost has groups in a denominator"):
        solve("alexnet", "groups", "macs < 1G")
