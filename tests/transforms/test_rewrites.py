"""What holds for every design move on every network, and the command that applies them."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from itertools import product

import pytest
from small_graphs import chain

import costcalc
from costcalc import Builder, CostcalcError, analyze, load, rewrite, to_yaml
from costcalc.cli.target import read_target
from costcalc.frontends.spec.language import Spec
from costcalc.ir.ops import OPS
from costcalc.transforms import rules

# What to try of a rule that takes an argument: one that is not here fails by its name.
ARGUMENTS = {
    "reduce": ["2", "4"],
    "bottleneck": ["4"],
    "shortcut": ["A", "B", "C"],
    "gap-head": ["", "nin"],
    "stem": ["2", "4"],
    "without": ["lrn", "dropout", "bn", "aux", "relu"],
}
MOVES = [
    f"{rule.name}:{argument}".removesuffix(":")
    for rule in rules().values()
    for argument in (ARGUMENTS[rule.name] if rule.argument else [""])
]
# One network of each kind, small ones where a family has them; every network is tried with every move by its kind.
SOME = ["alexnet", "nin", "vgg11_bn", "vgg16", "googlenet", "googlenet-torchvision", "inception_v3", "resnet18",
        "resnet50", "resnet20-cifar", "plain18"]  # fmt: skip


@cache
def network(name):
    aux = {"aux": True} if "aux" in costcalc.architectures()[name].settings else {}
    return load(name, **aux)


@cache
def rewritten(name, move):
    return rewrite(network(name), move)


def totals(graph):
    total = analyze(graph).total()
    return (total.params, total.work, total.activations, total.weight_layers, total.nonlinearities)


@pytest.mark.parametrize(("name", "move"), list(product(costcalc.architectures(), MOVES)))
def test_laws(name, move):
    before, after = network(name), rewritten(name, move).after
    (step,) = rewritten(name, move).steps
    assert step.rule == move

    # what the network is for stays: the shape of what it gives
    kept = len(after.outputs)
    assert kept == len(before.outputs) or move == "without:aux"
    ends = [[graph.shapes[output] for output in graph.outputs[:kept]] for graph in (before, after)]
    assert ends[0] == ends[1]
    assert after.inputs == before.inputs

    # what is entry is so: nothing changed is the very same graph, and no place is entry twice
    assert (after is before) == (not step.changed)
    assert (after.nodes == before.nodes) == (not step.changed)
    assert after.name == (f"{before.name}+{move}" if step.changed else before.name)
    changed, skipped = ([entry.path for entry in entries] for entries in (step.changed, step.skipped))
    assert len(set(changed)) == len(changed)
    assert len(set(skipped)) == len(skipped)
    assert not set(changed) & set(skipped)
    for place in (*changed, *skipped):
        assert before.select(place)
    assert all(entry.description for entry in step.changed)
    assert all(entry.reason for entry in step.skipped)

    # applied again, a move finds nothing left to do
    again = rewrite(after, move)
    assert not again.changed
    assert again.after is after


@pytest.mark.parametrize("move", MOVES)
def test_every_move_changes_some_shipped_network(move):
    assert any(rewritten(name, move).changed for name in SOME)


@pytest.mark.parametrize(("name", "move"), list(product(SOME, MOVES)))
def test_a_rewritten_network_is_a_spec_that_reads_back_equal(name, move):
    after = rewritten(name, move).after
    assert Spec(to_yaml(after), "new.yaml").build() == after


@pytest.mark.parametrize(("name", "move"), list(product(["vgg16", "googlenet", "resnet50"], MOVES)))
def test_a_pattern_limits_a_move_to_what_it_matches(name, move):
    """All that lies in one stage, and all that does not, are together all places."""
    everywhere = [entry.path for entry in rewritten(name, move).changed]
    stage = everywhere[0].split("/")[0] if everywhere else network(name).nodes[0].name.split("/")[0]
    inside = [entry.path for entry in rewrite(network(name), move, at=stage).changed]
    assert all(place == stage or place.startswith(f"{stage}/") for place in inside)
    assert inside or not everywhere
    assert set(inside) <= set(everywhere)
    stages = dict.fromkeys(node.name.split("/")[0] for node in network(name).nodes)
    assert {entry.path for entry in rewrite(network(name), move, at=list(stages)).changed} == set(everywhere)


@pytest.mark.parametrize(("name", "move"), list(product(["vgg16", "resnet50"], MOVES)))
def test_a_move_serves_symbols_as_it_serves_numbers(name, move):
    """The form over batch and width, with the default put in, is the number."""
    import sympy

    batch, channels = sympy.symbols("batch base_channels", integer=True, positive=True)
    symbolic = rewrite(load(name, batch=batch, base_channels=channels), move)
    plain = rewrite(load(name, batch=3), move)
    assert [entry.path for entry in symbolic.changed] == [entry.path for entry in plain.changed]
    form, number = (analyze(done.after).total() for done in (symbolic, plain))
    for key in ("params", "macs", "activations"):
        assert sympy.sympify(getattr(form, key)).subs({batch: 3, channels: 64}) == getattr(number, key)


def test_moves_are_applied_one_after_the_other():
    done = rewrite(load("googlenet", aux=True), "without:aux", "without:lrn", "without:dropout")
    assert [step.rule for step in done.steps] == ["without:aux", "without:lrn", "without:dropout"]
    assert [len(step.changed) for step in done.steps] == [2, 2, 1]
    assert done.after.name == "googlenet+without:aux+without:lrn+without:dropout"
    assert [change.path for change in done.changed] == [
        "aux1/fc2", "aux2/fc2", "stem/norm1", "stem/norm2", "head/dropout",
    ]  # fmt: skip
    assert rewrite(load("googlenet", aux=True), "without:aux").after.nodes == load("googlenet").nodes


def test_no_moves_are_no_change():
    graph = load("vgg16")
    done = rewrite(graph)
    assert done.after is done.before is graph
    assert (done.steps, done.changed, done.skipped) == ((), (), ())


# -- as a target ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("vgg16", ("vgg16", {}, ())),
        ("vgg16+fold-bn", ("vgg16", {}, ("fold-bn",))),
        ("vgg16:batch=32,classes=10+gap-head:nin+1x1-to-linear", ("vgg16", {"batch": 32, "classes": 10}, ("gap-head:nin", "1x1-to-linear"))),
        ("a+b/net.yaml:wide,k=[1, 2]+stem:4", ("a+b/net.yaml:wide", {"k": [1, 2]}, ("stem:4",))),
        ("c+d.yaml+fold-bn", ("c+d.yaml", {}, ("fold-bn",))),
        ("net.yaml:scale=1e+5", ("net.yaml", {"scale": "1e+5"}, ())),
    ],
)  # fmt: skip
def test_moves_come_last_in_a_target(target, expected):
    read = read_target(target, batch=None, input_text=None, settings=(), dtype="fp32", convention="flops")
    assert (read.name, read.options, read.moves) == expected


def test_a_rewritten_network_is_a_target_of_every_command():
    rewriting = json.loads(run("rewrite", "resnet18", "fold-bn", "without:relu", "--format", "json"))
    report = json.loads(run("report", "resnet18+fold-bn+without:relu", "--format", "json"))
    assert {**report["totals"], "receptive_field": [435, 435]} == rewriting["after"]
    assert report["architecture"] == "resnet18+fold-bn+without:relu"
    compared = json.loads(run("compare", "resnet18", "resnet18:batch=2+fold-bn", "--format", "json"))
    assert [network["name"] for network in compared["architectures"]] == ["resnet18", "resnet18+fold-bn"]
    assert "64·64·3·3 + 64" in run("explain", "resnet18+fold-bn", "layer1/block_1/main/conv1")
    assert json.loads(run("rewrite", "resnet18+fold-bn", "fold-bn", "--format", "json"))["changed"] == []
    forms = json.loads(run("formula", "resnet18+bottleneck:4", "--in", "batch,size", "--format", "json"))["formulas"]
    moved = analyze(rewrite(load("resnet18", batch=3, height=96, width=96), "bottleneck:4").after).total()
    assert {name: eval(forms[name], {"batch": 3, "size": 96}) for name in ("params", "macs", "activations")} == {
        "params": moved.params, "macs": moved.macs, "activations": moved.activations,
    }  # fmt: skip
    idle = subprocess.run(
        [sys.executable, "-m", "costcalc", "compare", "vgg11", "vgg11+basic"], capture_output=True, text=True
    )
    assert idle.stderr == "costcalc: basic changes nothing in vgg11\n"
    assert idle.stdout.startswith("vgg11 against vgg11+basic: ")
    assert "no design move 'foldbn'" in run("report", "resnet18+foldbn", code=1)
    assert "reconcile cannot apply design moves: remove +fold-bn from the TARGET" in run(
        "reconcile", "resnet18+fold-bn", "11M", code=1
    )
    assert "--naive-vs-reduced cannot apply design moves" in run(
        "report", "googlenet+without:lrn", "--naive-vs-reduced", code=1
    )


# -- single layers ------------------------------------------------------------------------------------------------


def test_without_removes_layers_that_keep_the_shape_and_no_others():
    conv, pool = OPS["conv2d"](3, 1), OPS["max_pool2d"](2)
    graph = chain(("a", conv), ("same", OPS["max_pool2d"](1)), ("pool", pool), ("b", conv))
    done = rewrite(graph, "without:max_pool2d")
    assert [entry.path for entry in done.changed] == ["same"]
    assert done.skipped == (("pool", "it changes the shape of its input: the layers after it would not fit"),)
    assert [(node.name, node.inputs) for node in done.after.nodes] == [
        ("a", ("input",)),
        ("pool", ("a",)),
        ("b", ("pool",)),
    ]


def test_without_takes_runs_of_layers_outputs_and_the_first_layer():
    relu, conv = OPS["relu"](), OPS["conv2d"](4, 3)
    graph = chain(("first", relu), ("second", relu), ("conv", conv), ("third", relu), outputs=("third", "conv"))
    after = rewrite(graph, "without:relu").after
    assert [(node.name, node.inputs) for node in after.nodes] == [("conv", ("input",))]
    assert after.outputs == ("conv",)


def test_without_keeps_joins_and_layers_whose_parameters_others_use():
    relu = OPS["relu"]()
    prelu = OPS["prelu"]()
    b = Builder("shared", channels=3, height=8, width=8)
    b.add("one", prelu)
    b.add("two", prelu, shares="one")
    b.add("relu", relu)
    b.add("add", OPS["add"](), "two", "relu")
    graph = b.build()
    assert rewrite(graph, "without:add").skipped[0].reason.startswith("it has several inputs")
    done = rewrite(graph, "without:prelu")
    assert done.skipped == (("one", "another layer shares its parameters"),)
    assert [entry.path for entry in done.changed] == ["two"]


def test_auxiliary_heads_go_with_all_that_only_they_need():
    relu, conv = OPS["relu"](inplace=False), OPS["conv2d"](4, 3)
    b = Builder("heads", channels=3, height=8, width=8)
    for name, before in (
        ("trunk", "input"),
        ("common", "trunk"),
        ("aux1", "common"),
        ("aux2", "common"),
        ("main", "trunk"),
    ):
        b.add(name, conv if name == "trunk" else relu, before)
    graph = b.build("main", "aux1", "aux2")
    assert [node.name for node in rewrite(graph, "without:aux").after.nodes] == ["trunk", "main"]
    one = rewrite(graph, "without:aux", at="aux1").after
    assert [node.name for node in one.nodes] == ["trunk", "common", "aux2", "main"]
    assert one.outputs == ("main", "aux2")


def test_fold_bn_takes_the_statistics_and_parameters_of_every_norm_and_adds_a_bias():
    graph = load("resnet50")
    done = rewrite(graph, "fold-bn")
    channels = [graph.shapes[entry.path][1] for entry in done.changed]
    assert len(channels) == 53
    before, after = (analyze(each).total() for each in (graph, done.after))
    assert before.params - after.params == sum(channels)  # γ and β go, a bias comes
    assert not any(node.op.name == "batch_norm2d" for node in done.after.nodes)
    assert before.macs == after.macs
    plane = sum(
        graph.shapes[entry.path][1] * graph.shapes[entry.path][2] * graph.shapes[entry.path][3]
        for entry in done.changed
    )
    assert before.activations - after.activations == plane  # a norm makes a tensor


def test_fold_bn_says_why_a_norm_stays():
    norm, conv = OPS["batch_norm2d"](), OPS["conv2d"](3, 3, padding=1, bias=False)
    b = Builder("stay", channels=3, height=8, width=8)
    b.add("first", norm)
    b.add("conv", conv)
    b.add("read", norm)
    b.add("also", OPS["add"](), "conv", "read")
    b.add("plain", conv)
    b.add("batchwise", OPS["batch_norm2d"](track_running_stats=False))
    b.add("folded", conv)
    b.add("norm", norm)
    done = rewrite(b.build(), "fold-bn")
    assert [entry.path for entry in done.changed] == ["norm"]
    assert dict(done.skipped) == {
        "first": "it follows no convolution",
        "read": "another layer reads the convolution without it",
        "batchwise": "it does not track running statistics",
    }
    assert next(node.op for node in done.after.nodes if node.name == "folded") == OPS["conv2d"](3, 3, padding=1)


def test_a_convolution_that_shares_its_weights_keeps_its_norm():
    """Folded into one of two layers with the same weights, it would change the other."""
    norm, conv = OPS["batch_norm2d"](), OPS["conv2d"](3, 3, padding=1)
    for place in ("one", "two"):
        b = Builder("shared", channels=3, height=8, width=8)
        for name in ("one", "two"):
            b.add(name, conv, shares=None if name == "one" else "one")
            if name == place:
                b.add("norm", norm)
        assert rewrite(b.build(), "fold-bn").skipped == (
            ("norm", "the convolution shares its parameters with another layer"),
        )


def test_what_is_decided_of_symbols_is_an_assumption_of_the_new_graph():
    import sympy

    size, width = sympy.symbols("H c", integer=True, positive=True)
    done = rewrite(load("vgg11", height=32 * size, width=64), "gap-head")
    assert done.changed
    assert "H ≥ 2" in map(str, done.after.assumptions)
    done = rewrite(load("resnet18", base_channels=width), "bottleneck:4")
    assert "c is a multiple of 4" in map(str, done.after.assumptions)
    unchanged = rewrite(load("vgg16-torchvision", height=32 * size, width=224), "without:adaptive_avg_pool2d")
    assert not unchanged.changed
    assert "H ≠ 7" in map(str, unchanged.after.assumptions)
    assert unchanged.after == unchanged.before


def test_an_array_whose_elements_would_be_different_networks_is_refused():
    import numpy

    both = load("vgg11", height=numpy.array([32, 64]), width=numpy.array([32, 64]))
    with pytest.raises(CostcalcError, match="would change vgg11 in different ways"):
        rewrite(both, "gap-head")
    alike = rewrite(load("vgg11", height=numpy.array([64, 96]), width=64), "gap-head").after
    one_by_one = [analyze(rewrite(load("vgg11", height=n, width=64), "gap-head").after).total() for n in (64, 96)]
    assert analyze(alike).total().macs.tolist() == [total.macs for total in one_by_one]


def test_what_is_no_graph_and_no_move_is_refused_in_words():
    with pytest.raises(TypeError, match="rewrite needs a graph, such as"):
        rewrite("vgg11", "gap-head")
    with pytest.raises(TypeError, match="design moves must be strings"):
        rewrite(load("vgg11"), ["gap-head"])
    with pytest.raises(CostcalcError, match="design moves are made by `rewrite`"):
        load("vgg11+gap-head")


def test_a_norm_of_an_output_stays():
    graph = chain(("conv", OPS["conv2d"](4, 3)), ("norm", OPS["batch_norm2d"]()), outputs=("norm", "conv"))
    assert rewrite(graph, "fold-bn").skipped == (("norm", "another layer reads the convolution without it"),)


# -- mistakes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moves", "at", "message"),
    [
        (["stack3"], (), "no design move 'stack3' (did you mean 'stack3x3'?): there are "),
        (["fold-bn:3"], (), "fold-bn has no argument: remove ':3'"),
        (["without"], (), "without needs an argument: without:KIND"),
        (["without:drpout"], (), "without:drpout: no kind of layer 'drpout' (did you mean 'dropout'?)"),
        (["fold-bn"], "stage9", "vgg16 has no layer 'stage9' (did you mean "),
        (["without:relu", "no"], (), "no design move 'no'"),
        (["gap-head:"], (), "gap-head: has no argument after the colon: gap-head[:nin]"),
    ],
)
def test_mistakes_are_told_with_what_would_be_right(moves, at, message):
    with pytest.raises(CostcalcError) as error:
        rewrite(load("vgg16"), *moves, at=at)
    assert str(error.value).startswith(message)


def test_a_network_that_would_no_longer_fit_says_which_layer():
    """Naive modules have more channels than a skip round them adds to."""
    b = Builder("skip", channels=8, height=8, width=8)
    reduce, conv = OPS["conv2d"](2, 1), OPS["conv2d"](4, 3, padding=1)
    b.add("reduce", reduce)
    b.add("conv", conv)
    b.add("pool", OPS["max_pool2d"](3, stride=1, padding=1), "input")
    b.add("proj", OPS["conv2d"](4, 1))
    b.add("concat", OPS["concat"](), "conv", "proj")
    b.add("add", OPS["add"](), "concat", "input")
    with pytest.raises(CostcalcError) as error:
        rewrite(b.build(), "naive-inception")
    first, second = str(error.value).split("\n")
    assert (
        first
        == "naive-inception cannot be applied to skip: its layers would not fit together; limit the layers with --at"
    )
    assert second.startswith("add: add takes inputs that agree in channels, not 12 and 8")


# -- the command --------------------------------------------------------------------------------------------------


def run(*arguments, code=0, cwd=None):
    done = subprocess.run(
        [sys.executable, "-m", "costcalc", *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=cwd,
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def test_json_is_the_contract():
    data = json.loads(run("rewrite", "resnet50", "fold-bn", "without:dropout", "--batch", 2, "--format", "json"))
    before, after = data["before"], data["after"]
    report = json.loads(run("report", "resnet50", "--batch", 2, "--format", "json"))
    assert data["schema"] == "costcalc/rewrite/1"
    assert (data["architecture"], data["rewritten"], data["batch"]) == ("resnet50", "resnet50+fold-bn", 2)
    assert data["moves"] == ["fold-bn", "without:dropout"]
    assert before == {**report["totals"], "receptive_field": [483, 483]}
    assert after == {**before, "params": 25_530_472, "param_bytes": 4 * 25_530_472, "counted_params": 25_530_472,
                     "activations": after["activations"], "activation_bytes": 4 * after["activations"],
                     "counted_activations": after["activations"]}  # fmt: skip
    assert after["activations"] < before["activations"]
    assert len(data["changed"]) == 53
    assert data["changed"][0] == "stem/bn1"
    assert data["skipped"] == []
    assert [len(step["changed"]) for step in data["steps"]] == [53, 0]
    assert [stage["stage"] for stage in data["stages"]] == ["stem", "layer1", "layer2", "layer3", "layer4", "head"]
    for which in ("before", "after"):
        for key in ("params", "macs", "flops", "activations", "weight_layers", "nonlinearities"):
            assert sum(stage[which][key] for stage in data["stages"]) == data[which][key]


def test_a_saved_network_reports_the_same_numbers(tmp_path):
    data = json.loads(
        run("rewrite", "vgg16", "gap-head", "--save", "slim.yaml", "--batch", 4, "--format", "json", cwd=tmp_path)
    )
    assert data["saved"] == "slim.yaml"
    report = json.loads(run("report", "slim.yaml", "--format", "json", cwd=tmp_path))
    assert (report["architecture"], report["batch"]) == ("vgg16+gap-head", 4)
    assert {**report["totals"], "receptive_field": data["after"]["receptive_field"]} == data["after"]
    assert "report slim.yaml" in run("rewrite", "vgg16", "gap-head", "--save", "slim.yaml", cwd=tmp_path)


def test_a_rewritten_network_can_be_rewritten(tmp_path):
    run("rewrite", "googlenet", "naive-inception", "--save", "naive.yaml", cwd=tmp_path)
    data = json.loads(run("rewrite", "naive.yaml", "naive-inception", "--format", "json", cwd=tmp_path))
    assert data["changed"] == []
    assert data["before"] == data["after"]


@pytest.mark.parametrize("move", MOVES)
def test_the_tables_fit_a_terminal_and_say_what_was_done(move):
    from click.testing import CliRunner

    from costcalc.cli import cli

    for name in ("vgg16", "inception_v3", "resnet50"):
        done = CliRunner().invoke(cli, ["rewrite", name, move, "--batch", "128"])
        assert done.exit_code == 0, done.output
        assert max(map(len, done.output.splitlines())) <= 100
        if not rewritten(name, move).changed:
            assert "changed: nothing" in done.output


@pytest.mark.parametrize("style", ["markdown", "csv", "latex"])
def test_other_formats(style):
    assert "1.00" in run("rewrite", "vgg16", "gap-head", "--format", style) or style == "csv"


def test_bare_mistakes_exit_1_and_missing_rules_exit_2():
    assert "did you mean 'fold-bn'?" in run("rewrite", "resnet50", "foldbn", code=1)
    assert "Missing argument 'RULE…'" in run("rewrite", "resnet50", code=2)
    assert "gap-head is a RULE; pass the TARGET before it" in run("rewrite", "gap-head", "vgg16", code=2)
    assert "does not end in .yaml" in run("rewrite", "vgg16", "gap-head", "--save", "new.txt", code=2)
    assert "nothing, since the move fits no layer" in run("rewrite", "vgg16", "basic")
    assert "cannot write the file" in run("rewrite", "resnet18", "fold-bn", "--save", "no/such/folder.yaml", code=1)


def test_moves_lists_every_rule_with_its_sentence_and_its_rules():
    listed = json.loads(run("moves", "--format", "json"))["moves"]
    assert [move["name"] for move in listed] == list(rules())
    for move in listed:
        summary, _, details = move["doc"].partition("\n\n")
        assert summary.endswith("."), move["name"]
        assert details.startswith("1. "), move["name"]
    assert "\n1     conv2d and a batch_norm2d" in run("moves", "fold-bn")
    assert max(map(len, run("moves", "bottleneck").splitlines())) <= 100
    assert "did you mean 'fold-bn'?" in run("moves", "foldbn", code=1)


def test_moves_on_a_network_is_every_move_alone():
    data = json.loads(run("moves", "--on", "resnet20-cifar", "--batch", 2, "--format", "json"))
    assert data["batch"] == 2
    examples = [move for rule in rules().values() for move in rule.examples]
    assert [entry["move"] for entry in data["moves"]] == examples
    graph = load("resnet20-cifar", batch=2)
    assert data["before"]["macs"] == analyze(graph).total().macs
    for entry in data["moves"]:
        done = rewrite(graph, entry["move"])
        assert entry["changed"] == len(done.changed)
        assert entry["after"]["macs"] == analyze(done.after).total().macs
        assert entry["after"]["params"] == analyze(done.after).total().params
    printed = run("moves", "--on", "resnet20-cifar")
    assert "Nothing to change for " in printed
    assert max(map(len, printed.splitlines())) <= 100
    assert [
        m["move"] for m in json.loads(run("moves", "reduce:3", "--on", "googlenet", "--format", "json"))["moves"]
    ] == ["reduce:3"]
    assert len(json.loads(run("moves", "without", "--on", "vgg16", "--format", "json"))["moves"]) == 4
    assert "--batch, --input and --set require --on" in run("moves", "--batch", 2, code=2)


def test_every_rule_has_an_example_for_the_overview():
    for rule in rules().values():
        assert rule.examples, rule.name
        assert set(rule.examples) <= set(MOVES)
