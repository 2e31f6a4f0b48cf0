"""The calculator against torch: every network of `costcalc list`, layer by layer, with ==."""

from __future__ import annotations

import json
import tomllib
from functools import cache

import pytest
import torch
from click.testing import CliRunner
from report_pages import GENERATOR, ROOT, without_version
from small_graphs import chain

import costcalc
from costcalc import CostcalcError, Graph, Input, Node
from costcalc.cli import cli
from costcalc.core.torch_versions import NEWEST_TESTED, OLDEST_TESTED, release
from costcalc.ir.op import op
from costcalc.ir.ops import OPS
from costcalc.ir.ops.conv import Conv2d
from costcalc.ir.work import Work
from costcalc.torch_backend import build, environment, measure, time_layers
from costcalc.validation.costs import WHOLE_NETWORK
from costcalc.validation.known_differences import KNOWN_DIFFERENCES, SeenWith

NETWORKS = [*costcalc.architectures()]
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@cache
def checked(name, train):
    return costcalc.check(costcalc.load(name), device="meta", train=train)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_figure_of_every_layer_is_torchs(name):
    result = checked(name, train=False)
    assert result.differences == ()
    assert result.known_differences == ()
    assert result.compared > 5 * len(result.calculated.rows)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_figure_in_training_too(name):
    result = checked(name, train=True)
    assert result.differences == ()
    grouped = {node.name for node in costcalc.load(name).nodes if getattr(node.op, "groups", 1) > 1}
    assert {difference.layer for difference in result.known_differences} == grouped | (
        {WHOLE_NETWORK} if grouped else set()
    )
    assert result.compared == checked(name, train=False).compared + len(result.calculated.rows) + 1


@pytest.mark.parametrize("name", NETWORKS)
def test_backward_is_twice_forward_but_for_the_first_layer(name):
    """A law from outside the analysis: no gradient of the data is needed, and nothing else is saved."""
    rows = checked(name, train=True).calculated.rows
    first = next(row for row in rows if row.macs)
    assert sum(row.backward_macs for row in rows) == 2 * sum(row.macs for row in rows) - first.macs


def test_the_committed_report_is_what_the_checks_give():
    page = GENERATOR.cross_check_page(*([checked(name, train) for name in NETWORKS] for train in (False, True)))
    committed = (ROOT / GENERATOR.CROSS_CHECK).read_text(encoding="utf-8")
    assert without_version(committed) == without_version(page), "run: python reports/generate.py"


@pytest.mark.parametrize("dtype", ["fp64", "fp16", "bf16"])
def test_dtypes_and_sizes(dtype):
    graph = costcalc.load("resnet18", batch=3, height=97, width=64, classes=10)
    assert costcalc.check(graph, device="meta", dtype=dtype, train=True).differences == ()


@pytest.mark.parametrize("name", ["googlenet", "googlenet-torchvision", "inception_v3"])
def test_auxiliary_heads(name):
    result = costcalc.check(costcalc.load(name, aux=True, batch=2), device="meta", train=True)
    assert result.differences == ()
    assert any(row.path.startswith("aux") for row in result.calculated.rows)


def test_on_the_cpu_it_really_runs():
    result = costcalc.check(costcalc.load("resnet20-cifar", batch=2), device="cpu", train=True)
    assert (result.differences, result.known_differences) == ((), ())
    assert result.measured.environment == environment("cpu")


def test_layers_without_parameters_or_without_an_effect_have_no_gradients():
    unlearnt = chain(("pool", OPS["max_pool2d"](3)), ("relu", OPS["sigmoid"]()))
    assert costcalc.check(unlearnt, device="cpu", train=True).differences == ()
    dead = chain(("conv", OPS["conv2d"](4, 3)), ("nowhere", OPS["conv2d"](8, 3)), ("end", OPS["conv2d"](2, 1), "conv"))
    result = costcalc.check(dead, device="cpu", train=True)
    assert result.differences == ()
    assert {row.path: row.backward_macs for row in result.calculated.rows}["nowhere"] == 0


# -- it finds what is wrong ---------------------------------------------------------------------------------------


@op
class WrongMacs(Conv2d):
    """A convolution that forgets its groups. Work: wrong."""

    def work(self, inputs, output):
        return Work(macs=super().work(inputs, output).macs * self.groups)


@op
class WrongOutput(Conv2d):
    """A convolution that forgets its padding. Work: as it is."""

    def output(self, *inputs):
        batch, channels, height, width = super().output(*inputs)
        return (batch, channels, height - 2, width)


@op
class WrongBias(Conv2d):
    """A convolution that forgets its bias. Work: as it is."""

    def parameters(self, *inputs):
        return {"weight": super().parameters(*inputs)["weight"]}


@op
class WrongTensor(Conv2d):
    """A convolution that claims to work in place. Work: as it is."""

    def allocates_output(self, training=False):
        return False


@pytest.mark.parametrize(
    ("wrong", "figures"),
    [
        (WrongMacs(8, 3, padding=1, groups=4), {"FLOPs", "backward FLOPs"}),
        (WrongOutput(8, 3, padding=1), {"output shape", "FLOPs", "backward FLOPs", "activation bytes"}),
        (WrongBias(8, 3, padding=1), {"shape of bias", "parameters", "parameter bytes"}),
        (WrongTensor(8, 3, padding=1), {"activation bytes"}),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("train", [False, True], ids=["inference", "training"])
def test_a_wrong_formula_is_found(wrong, figures, train):
    before = ("before", OPS["conv2d"](4, 1))
    result = costcalc.check(chain(before, ("wrong", wrong)), device="meta", train=train)
    figures = {figure for figure in figures if train or figure != "backward FLOPs"}
    found = {difference.figure for difference in result.differences if difference.layer == "wrong"}
    assert found == figures
    totals = {difference.figure for difference in result.differences if difference.layer == WHOLE_NETWORK}
    assert totals == {figure for figure in figures if "shape" not in figure}


def test_a_disagreement_is_printed_and_exits_1(monkeypatch):
    import costcalc.frontends.target

    wrong = chain(("before", OPS["conv2d"](4, 1)), ("wrong", WrongBias(8, 3)))
    monkeypatch.setattr(costcalc.frontends.target, "load", lambda *args, **sizes: wrong)
    for targets in (["net"], ["net", "other"]):
        done = CliRunner().invoke(cli, ["check", *targets, "--device", "meta"])
        assert done.exit_code == 1
        assert f"{5 * len(targets)} figures differ" in done.output
        assert "DIFFER" in done.output
        assert "shape of bias" in done.output


# -- where torch is wrong -----------------------------------------------------------------------------------------

SHOWN_BY = {
    "backward FLOPs": chain(("conv", OPS["conv2d"](6, 3, groups=3)), ("next", OPS["conv2d"](6, 3, groups=2))),
    "activation bytes": chain(
        ("last", OPS["permute"]((0, 2, 3, 1))),
        ("linear", OPS["linear"](4)),
        ("first", OPS["permute"]((0, 3, 1, 2))),
        ("conv", OPS["conv2d"](6, 3)),
        ("next", OPS["flatten"]()),
    ),
}
LEARNT = ("learnt", OPS["conv2d"](3, 1))
# By a word of the reason: a network that shows it, and where.
SHOWN = {
    "groups": (SHOWN_BY["backward FLOPs"], "meta"),
    "flatten": (SHOWN_BY["activation bytes"], "meta"),
    "attention": (chain(LEARNT, ("op", OPS["scaled_dot_product_attention"](), *["learnt"] * 3)), "cpu"),
    "bilinear": (chain(LEARNT, ("op", OPS["bilinear"](4), "learnt", "learnt")), "cpu"),
    "whole sequence": (chain(("learnt", OPS["linear"](4)), ("op", OPS["lstm"](4)), shape=(3, 2, 4)), "cpu"),
    "vector": (
        Graph(
            "vector",
            (Input("input", (2, 3, 8, 8)),),
            (
                Node("learnt", OPS["conv2d"](3, 1), ("input",)),
                Node("vector", OPS["parameter"]((8,)), ()),
                Node("op", OPS["matmul"](), ("learnt", "vector")),
            ),
            ("op",),
        ),
        "meta",
    ),
    "einsum": (
        chain(LEARNT, ("one", OPS["conv2d"](1, 1)), ("op", OPS["einsum"]("bdhw,bdhw->bhw"), "one", "one")),
        "meta",
    ),
    "transposed": (
        chain(("learnt", OPS["conv_transpose3d"](1, 1)), ("op", OPS["conv_transpose3d"](1, 1)), shape=(2, 3, 4, 4, 4)),
        "cpu",
    ),
    "unfold": (chain(LEARNT, ("op", OPS["unfold"](1, stride=2))), "cpu"),
}


@pytest.mark.parametrize("entry", KNOWN_DIFFERENCES, ids=lambda entry: f"{entry.figure}: {entry.reason[:40]}")
def test_every_known_difference_is_still_needed(entry):
    """If this fails with a newer torch, torch has changed: give `seen_with` the last release that was wrong."""
    graph, device = next(shown for word, shown in SHOWN.items() if word in entry.reason)
    result = costcalc.check(graph, device=device, train=True)
    assert result.differences == ()
    found = [d.layer for d in result.known_differences if (d.figure, d.reason) == (entry.figure, entry.reason)]
    assert bool(found) == entry.seen_with.covers(environment(device))


def test_a_known_difference_is_of_its_devices_and_releases_alone():
    seen_with = SeenWith(("cpu",), (2, 7), (2, 14))
    where = environment("cpu")
    for version, expected in {"2.6.0": False, "2.7.0+cpu": True, "2.14.1": True, "2.15.0": False}.items():
        assert seen_with.covers(where._replace(torch=version)) == expected
        assert not seen_with.covers(where._replace(torch=version, device="meta"))
    assert seen_with._replace(last=None).covers(where._replace(torch="3.0.0"))


@pytest.mark.parametrize(
    ("trained", "features"),
    [(("query",), 4 + 3), (("value",), 3), (("query", "key"), 4 + 4 + 3)],  # through the scores, by way of a value
    ids=str,
)
def test_attention_on_a_cpu_computes_every_gradient_and_recomputes_its_scores(trained, features):
    """2 heads of 2 queries and 5 keys are 20 pairs; a query and a key have 4 features, a value has 3."""
    shapes = {"query": (1, 2, 2, 4), "key": (1, 2, 5, 4), "value": (1, 2, 5, 3)}
    graph = Graph(
        "attention",
        tuple(Input(name, shape) for name, shape in shapes.items() if name not in trained),
        (
            *(Node(name, OPS["parameter"](shapes[name]), ()) for name in trained),
            Node("op", OPS["scaled_dot_product_attention"](), tuple(shapes)),
        ),
        ("op",),
    )
    row = costcalc.analyze(graph).rows[-1]
    pairs = 2 * 2 * 5
    assert row.backward_macs == pairs * features
    entry = of_reason("attention kernel of a CPU")
    assert entry.torch_value(graph.nodes[-1].op, row) == 2 * pairs * (3 * 4 + 2 * 3)
    assert costcalc.check(graph, device="cpu", train=True).differences == ()


def of_reason(word):
    return next(entry for entry in KNOWN_DIFFERENCES if word in entry.reason)


def test_a_known_difference_excuses_the_known_wrong_number_alone():
    entry = of_reason("groups")
    graph = SHOWN_BY["backward FLOPs"]
    for node, row in zip(graph.nodes, costcalc.analyze(graph).rows, strict=True):
        inputs_needing_gradients = 0 if node.name == "conv" else 1
        assert row.backward_macs == row.macs * (1 + inputs_needing_gradients)
        assert entry.torch_value(node.op, row) == 2 * row.macs * (node.op.groups + inputs_needing_gradients)
    dense = chain(("conv", OPS["conv2d"](8, 3)))
    assert entry.torch_value(dense.nodes[0].op, costcalc.analyze(dense).rows[0]) is None


def test_a_flatten_that_must_copy_does_so_on_a_real_device():
    entry = of_reason("flatten")
    graph = SHOWN_BY["activation bytes"]
    result = costcalc.check(graph, device="cpu", train=True)
    assert (result.differences, result.known_differences) == ((), ())
    assert result.calculated.rows[-1].activations == 2 * 6 * 6 * 6
    view = chain(("flatten", OPS["flatten"]()))
    assert entry.torch_value(view.nodes[0].op, costcalc.analyze(view).rows[0]) is None


# -- unknown layers -----------------------------------------------------------------------------------------------

ODD = """\
name: odd
input: {channels: 3, height: 8, width: 8}
layers:
  - conv2d(4, 3)
  - odd: unknown('deform_conv2d')
  - last: conv2d(4, 3)
"""


def test_what_can_be_compared_is_compared_though_a_layer_is_unknown(tmp_path):
    (tmp_path / "odd.yaml").write_text(ODD)
    target = str(tmp_path / "odd.yaml")
    done = CliRunner().invoke(cli, ["check", target, "--device", "meta", "--train"])
    assert done.exit_code == 0
    assert "of 2 layers compared with ==: all are equal" in done.output
    assert "Not compared, because these layers are not modelled: odd (deform_conv2d)" in done.output
    done = CliRunner().invoke(cli, ["check", target, "--device", "cpu", "--time", "--runs", "2", "--strict"])
    assert done.exit_code == 1
    assert "1 layer could not be counted (--strict)" in done.output


# -- what commands print ------------------------------------------------------------------------------------------


def run(*arguments, code=0):
    done = CliRunner().invoke(cli, ["check", *arguments])
    assert done.exit_code == code, done.output
    return done.output


def test_one_network_is_shown_layer_by_layer():
    lines = run("alexnet", "--device", "meta", "--train").splitlines()
    assert lines[1].endswith(f"batch 1, training; fp32, meta (nothing is computed), torch {torch.__version__}")
    conv2 = next(line for line in lines if line.startswith("conv2")).split()
    assert conv2[5:7] == ["895.8", "1,343.7"]
    assert conv2[-1] == "known"
    whole = next(line for line in lines if line.startswith("whole")).split()
    assert whole[1:5] == ["60.965", "60.965", "1,448.8", "1,448.8"]
    assert any("159 figures of 23 layers compared with ==" in line for line in lines)
    assert max(map(len, lines)) <= 100


def test_several_networks_are_shown_a_line_each():
    lines = run("alexnet", "vgg16", "--device", "meta").splitlines()
    assert lines[1].startswith("batch 1, fp32, inference; meta")
    assert next(line for line in lines if line.startswith("vgg16")).split()[1:6] == ["39", "231", "0", "0", "0"]
    lines = run("alexnet:batch=2", "vgg16:dtype=fp16", "--device", "meta").splitlines()
    assert any(line.startswith("alexnet (batch 2, fp32)") for line in lines)
    assert any(line.startswith("vgg16 (batch 1, fp16)") for line in lines)


def test_json_has_both_sides():
    data = json.loads(run("nin", "--device", "meta", "--train", "--format", "json"))
    assert data["schema"] == "costcalc/check/1"
    (entry,) = data["networks"]
    assert (entry["architecture"], entry["training"], entry["agrees"], entry["differences"]) == ("nin", True, True, [])
    assert entry["environment"]["device"] == "meta"
    assert entry["environment"]["torch"] == torch.__version__
    row = entry["rows"][0]
    assert (row["name"], row["op"], row["module"], row["verdict"]) == ("mlpconv1/conv", "conv2d", "Conv2d", "equal")
    assert row["calculated"] == row["measured"]
    assert row["measured"]["parameters"] == {"weight": [96, 3, 11, 11], "bias": [96]}
    assert entry["whole"]["calculated"] == entry["whole"]["measured"]
    assert (
        entry["whole"]["measured"]["backward_flops"]
        == 2 * entry["whole"]["measured"]["flops"] - row["measured"]["flops"]
    )


@pytest.mark.parametrize("style", ["text", "markdown", "csv", "json", "latex"])
def test_every_format(style):
    assert run("resnet18", "--device", "meta", "--format", style).endswith("\n")
    assert run("resnet18", "nin", "--device", "meta", "--format", style).endswith("\n")


@pytest.mark.parametrize("train", [[], ["--train"]], ids=["inference", "training"])
def test_the_widest_tables_fit_100_columns(train):
    for name in ("resnet152-torchvision", "googlenet-naive", "inception_v3"):
        assert max(map(len, run(name, "--device", "meta", "--batch", "2", *train).splitlines())) <= 100
    assert (
        max(map(len, run("vgg16", "alexnet", "resnet101-torchvision", "--device", "meta", *train).splitlines())) <= 100
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "pass one or more TARGETs, or --all"),
        (["nin", "--all"], 2, "pass one or more TARGETs, or --all"),
        (["nin", "--time", "--device", "meta"], 2, "--time needs a device that computes"),
        (["nin", "--runs", "3"], 2, "--runs requires --time"),
        (["vgg61", "nin", "resnte50"], 1, "no architecture 'resnte50' (did you mean 'resnet50'?)"),
        (["vgg61", "nin", "resnte50"], 1, "no architecture 'vgg61'"),
        (["nin", "--dtype", "int8"], 1, "torch runs networks in fp64, fp32, fp16, bf16, not in int8"),
        (["nin", "--dtype", "fp31"], 1, "no dtype 'fp31' (did you mean 'fp32'"),
        (["nin", "--device", "gpu"], 2, "'gpu' is not one of"),
        (["inception_v3", "nin", "--set", "aux=true"], 1, "nin has no setting 'aux'"),
    ],
)  # fmt: skip
def test_mistakes(arguments, code, message):
    assert message in run(*arguments, code=code)


def test_one_network_that_torch_refuses_does_not_hide_the_others(tmp_path):
    (tmp_path / "bn.yaml").write_text("name: bn\ninput: {channels: 3, height: 1, width: 1}\nlayers: [batch_norm2d()]\n")
    output = run("nin", str(tmp_path / "bn.yaml"), "--device", "meta", "--train", code=1)
    assert "all are equal" in output
    message = "bn: torch cannot run batch_norm2d: Expected more than 1 value per channel"
    assert f"Not checked: {message}" in " ".join(output.split())
    assert f"costcalc: {message}" in output


def test_without_torch_the_command_says_how_to_get_it(monkeypatch):
    import sys

    for name in [name for name in sys.modules if name.startswith("costcalc.torch_backend")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(costcalc, "torch_backend")
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "pip install 'costcalc[torch]'" in run("nin", code=1)


NEWER = (
    "torch 3.0.1 is newer than 2.15, the newest release that costcalc is tested with: a difference may come from a "
    "change in torch."
)


@pytest.mark.parametrize("how", [[], ["--memory"]], ids=["costs", "memory"])
@pytest.mark.parametrize("targets", [["nin"], ["nin", "vgg11"]], ids=len)
def test_a_torch_newer_than_the_tested_ones_is_said_to_be(monkeypatch, how, targets):
    arguments = (*targets, *how, "--device", "meta")
    assert "newer" not in run(*arguments)
    assert json.loads(run(*arguments, "--format", "json"))["warnings"] == []
    monkeypatch.setattr(torch, "__version__", "3.0.1")
    assert NEWER in " ".join(run(*arguments).split())
    assert json.loads(run(*arguments, "--format", "json"))["warnings"] == [NEWER]


def test_the_tested_releases_are_those_that_the_test_extra_installs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    oldest, (major, minor) = ".".join(map(str, OLDEST_TESTED)), NEWEST_TESTED
    extras = project["optional-dependencies"]
    assert f"torch>={oldest},<{major}.{minor + 1}" in extras["test"]
    assert f"torch>={oldest}" in extras["torch"]
    assert OLDEST_TESTED <= release(torch.__version__) <= NEWEST_TESTED


# -- devices and time ---------------------------------------------------------------------------------------------


def test_auto_is_a_gpu_where_there_is_one_and_else_the_cpu():
    assert environment().device == ("cuda" if torch.cuda.is_available() else "cpu")
    assert environment("meta").name == "nothing is computed"
    if not torch.cuda.is_available():
        with pytest.raises(CostcalcError, match=r"finds no cuda device here; use cpu, meta"):
            environment("cuda")


@pytest.mark.parametrize("train", [False, True], ids=["inference", "training"])
def test_times_are_of_every_layer_and_of_the_whole(train):
    graph = costcalc.load("resnet20-cifar", batch=2)
    timing = time_layers(graph, device="cpu", train=train, runs=3)
    assert [times.layer for times in timing.layers] == [node.name for node in graph.nodes]
    assert all(times.forward.low <= times.forward.median <= times.forward.high for times in timing.layers)
    assert all(times.forward.median > 0 for times in timing.layers)
    assert all((times.backward is not None) == train for times in timing.layers)
    if train:
        conv = [t for t in timing.layers if t.layer.endswith("conv")]
        assert all(times.backward.median > 0 for times in conv)
    assert timing.peak_bytes is None
    assert "monotonic" in timing.clock


def test_times_as_printed():
    output = run("alexnet", "--device", "cpu", "--time", "--runs", "2", "--train")
    assert "alexnet: time of a training step, forward and backward" in output
    assert "Medians of 2 runs" in output
    assert "Slowest: " in output
    assert max(map(len, output.splitlines())) <= 100
    data = json.loads(run("nin", "--device", "cpu", "--time", "--runs", "1", "--format", "json"))
    (times,) = data["times"]
    assert times["runs"] == 1
    assert times["whole"]["median_ns"] > 0
    first = times["layers"][0]
    assert first["flops"] == 2 * 54 * 54 * 96 * 3 * 121
    assert first["bytes_moved_forward"] == 4 * (3 * 224 * 224 + 96 * 3 * 121 + 96 + 96 * 54 * 54)
    assert times["layers"][-1]["bytes_moved_forward"] == 0  # a view


def test_what_cannot_be_measured():
    graph = costcalc.load("nin")
    with pytest.raises(CostcalcError, match="nothing runs on meta"):
        time_layers(graph, device="meta")
    with pytest.raises(CostcalcError, match="at least one run, not 0"):
        time_layers(graph, device="cpu", runs=0)
    with pytest.raises(CostcalcError, match=r"no device 'cdua' \(did you mean 'cuda'"):
        costcalc.check(graph, device="cdua")


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("name", ["alexnet", "googlenet", "resnet50", "vgg16"])
@pytest.mark.parametrize("train", [False, True], ids=["inference", "training"])
def test_on_a_gpu(name, train):
    assert costcalc.check(costcalc.load(name), device="cuda", train=train).differences == ()
    timing = time_layers(costcalc.load(name), device="cuda", train=train, runs=3)
    assert timing.clock == "CUDA events"
    assert timing.whole.median > 0
    # the allocator holds at least the largest pair of tensors that are alive at once
    assert timing.peak_bytes >= max(row.activation_bytes for row in costcalc.analyze(costcalc.load(name)).rows)


@pytest.mark.gpu
@needs_gpu
def test_a_network_can_be_built_on_a_gpu():
    network = build(costcalc.load("resnet18"), device="cuda").eval()
    assert network(torch.randn(2, 3, 64, 64, device="cuda")).shape == (2, 1000)


def test_a_measured_table_adds_up_like_any_other():
    result = measure(costcalc.load("googlenet"), device="meta")
    predicted = costcalc.analyze(costcalc.load("googlenet"))
    for ours, theirs in zip(predicted.by_stage().rows, result.costs.by_stage().rows, strict=True):
        assert (ours.params, ours.flops, ours.activation_bytes) == (
            theirs.params,
            theirs.flops,
            theirs.activation_bytes,
        )
