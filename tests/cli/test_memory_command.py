"""`costcalc memory`: its numbers, its words, and the batch that fits."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

import costcalc
from costcalc.analysis.memory import largest_batch, largest_input, timeline
from costcalc.cli import cli
from costcalc.core.errors import CostcalcError
from costcalc.ir.ops import OPS
from costcalc.report.render import render
from costcalc.report.views.memory import memory_list_view


def run(*arguments):
    result = CliRunner().invoke(cli, ["memory", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def data(*arguments):
    return json.loads(run("--format", "json", *arguments))


def test_json_has_the_measured_integers():
    training = data("googlenet-torchvision", "--set", "aux=true", "--batch", "8", "--training", "--optimizer", "none")
    assert training["schema"] == "costcalc/memory/1"
    assert training["saved_for_backward"] == 381_601_664
    assert training["saved_input"] == 8 * 3 * 224 * 224 * 4
    assert training["peak_live"] == 388_771_624
    assert training["peak_at"] == {"layer": "inception5b/pool/proj/conv2d", "phase": "backward"}
    assert training["peak_total"] == sum(training["by_class"].values())
    # 13,004,888 parameters, and 60,760 bytes of BatchNorm's buffers
    assert training["peak_total"] == 388_771_624 + 8 * 3 * 224 * 224 * 4 + 13_004_888 * 4 + 60_760
    assert training["optimizer"] is None
    inference = data("resnet18", "--batch", "8")
    assert inference["peak_live"] == 51_380_224  # measured on a CPU
    assert inference["saved_for_backward"] == 0


def test_events_of_json_add_up():
    training = data("alexnet", "--training", "--optimizer", "rmsprop")
    alive = {}
    live = 0
    standing = {"parameter", "buffer", "optimizer state", "input"}
    for event in training["events"]:
        if event["class"] in standing:
            assert (event["phase"], event["event"]) == ("before", "born")
            alive[event["class"]] = alive.get(event["class"], 0) + event["bytes"]
        else:
            live += event["bytes"] if event["event"] == "born" else -event["bytes"]
        assert event["live"] == live
    assert live == 0
    assert {kind: size for kind, size in training["by_class"].items() if kind in standing and size} == alive
    assert training["peak_live"] == max(e["live"] for e in training["events"] if e["phase"] != "step")
    assert training["peak_total"] == max(e["live"] for e in training["events"]) + sum(alive.values())


@pytest.mark.parametrize("style", ["text", "markdown"])
@pytest.mark.parametrize("name", ["alexnet", "resnet152", "inception_v3", "googlenet"])
def test_tables_fit_a_terminal(name, style):
    text = run(name, "--training", "--optimizer", "adam", "--batch", "32", "--format", style)
    if style == "text":
        assert max(map(len, text.splitlines())) <= 100
    assert "█" * 40 in text
    assert "█" * 41 not in text


def test_csv_has_exact_bytes():
    peak, saved, computed, stages = run("vgg16", "--training", "--format", "csv").split("\n\n")
    forward, backward = csv.DictReader(io.StringIO(computed))
    assert int(forward["macs"]) == 15_470_264_320
    assert int(backward["macs"]) == 2 * 15_470_264_320 - 64 * 27 * 224 * 224
    assert int(backward["flops"]) == 2 * int(backward["macs"])
    rows = list(csv.DictReader(io.StringIO(peak)))
    vgg = timeline(costcalc.load("vgg16"), training=True)
    assert {row["class"]: int(row["bytes"]) for row in rows} == {k: v for k, v in vgg.by_kind.items() if v}
    saved = {row["stage"]: int(row["saved_bytes"]) for row in csv.DictReader(io.StringIO(saved))}
    assert sum(saved.values()) == vgg.saved_for_backward
    assert saved["stage1"] > vgg.saved_for_backward * 0.45  # where planes are large, though channels are few
    assert max(int(row["alive_bytes"]) for row in csv.DictReader(io.StringIO(stages))) == vgg.peak_live


def test_several_side_by_side():
    both = data("vgg16", "alexnet:batch=4", "--training")
    assert [run["architecture"] for run in both["runs"]] == ["vgg16", "alexnet"]
    assert [run["batch"] for run in both["runs"]] == [1, 4]
    text = run("vgg16", "alexnet:batch=4", "--training")
    assert "alexnet: the peak is at norm2, backward." in text


def test_the_docs_state_what_every_op_saves():
    docs = (Path(costcalc.__file__).parent.parent / "docs/memory.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| (.*?`.*?`.*?) \| .* \| .* \|$", docs.partition("## Tensors saved for backward")[2], re.MULTILINE
    )
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    shipped = {node.op.name for name in costcalc.architectures() for node in costcalc.load(name).nodes}
    assert shipped <= documented <= OPS.keys()


def test_a_report_in_training_has_gradients_and_what_autograd_keeps():
    def data(*arguments):
        done = CliRunner().invoke(cli, [*arguments, "--format", "json"])
        assert done.exit_code == 0, done.output
        return json.loads(done.output)

    report = data("report", "alexnet-torchvision", "--batch", "8", "--training")
    memory = data("memory", "alexnet-torchvision", "--batch", "8", "--training")
    assert report["training"]
    assert report["totals"]["saved_for_backward"] == memory["saved_for_backward"] == 25_112_576
    assert {row["name"]: row["saved_for_backward"] for row in report["rows"] if row["saved_for_backward"]} == memory[
        "saved_by_layer"
    ]
    # twice the forward pass, but for the first layer, whose input needs no gradient
    first = report["rows"][0]["macs"]
    assert report["totals"]["backward_macs"] == 2 * report["totals"]["macs"] - first == memory["backward_macs"]
    assert "saved_for_backward" not in data("report", "alexnet-torchvision")["totals"]
    for by in ("layer", "stage", "op", "resolution"):
        done = CliRunner().invoke(cli, ["report", "inception_v3", "--training", "--by", by, "--batch", "128"])
        assert max(map(len, done.output.splitlines())) <= 100


def test_an_overview_has_the_figures_of_every_run():
    runs = [timeline(costcalc.load(name, batch=2), training=True) for name in ("alexnet", "resnet18")]
    assert memory_list_view(runs).data["runs"] == [
        {
            "network": name,
            "parameter_bytes": 4 * parameters,
            "peak_total": run.peak_total,
            "peak_live": run.peak_live,
            "saved_for_backward": run.saved_for_backward,
            "peak_at": f"{run.peak_at[0]}, backward",
        }
        for name, parameters, run in zip(("alexnet", "resnet18"), (60_965_224, 11_689_512), runs, strict=True)
    ]
    inference = memory_list_view([timeline(costcalc.load("alexnet"))])
    assert "saved" not in render(inference, "text")


def test_an_unknown_layer_makes_lower_bounds(tmp_path):
    spec = tmp_path / "odd.yaml"
    spec.write_text(
        "name: odd\ninput: {channels: 3, height: 8, width: 8}\nlayers:\n  - conv2d(4, 3)\n  - unknown('riddle')\n"
    )
    text = run(str(spec), "--training")
    assert "≥" in text
    assert "saved tensors are not modelled for unknown" in text
    assert data(str(spec))["unknown"] == ["unknown"]


@pytest.mark.parametrize("name", ["resnet50", "vgg16", "alexnet", "googlenet", "resnet20-cifar"])
@pytest.mark.parametrize(("how", "budget"), [({}, 2**30), ({"training": True, "optimizer": "adam"}, 12 * 2**30)])
def test_the_batch_that_fits_is_exact(name, how, budget):
    def at(batch):
        return timeline(costcalc.load(name, batch=batch), **how)

    fit = largest_batch(at, budget)
    assert fit.largest >= 1
    assert fit.next_size == fit.largest + 1
    assert at(fit.largest).peak_total == fit.peak <= budget
    assert at(fit.next_size).peak_total == fit.next_peak > budget
    assert fit.exceeds_by == fit.next_peak - budget
    # exactly as much as is needed, and a byte less
    assert largest_batch(at, fit.peak).largest == fit.largest
    assert largest_batch(at, fit.peak - 1).largest == fit.largest - 1


@pytest.mark.parametrize("name", ["vgg16", "googlenet", "resnet50"])
def test_another_batch_is_the_same_network_loaded_with_it(name):
    assert costcalc.load(name).with_batch(5) == costcalc.load(name, batch=5)
    assert timeline(costcalc.load(name).with_batch(5)) == timeline(costcalc.load(name, batch=5))


@pytest.mark.parametrize("name", ["resnet18", "alexnet", "googlenet", "resnet20-cifar"])
@pytest.mark.parametrize(("how", "budget"), [({}, 2**27), ({"training": True, "optimizer": "sgd-momentum"}, 2**30)])
def test_the_input_that_fits_is_exact(name, how, budget):
    def at(side):
        return timeline(costcalc.load(name, height=side, width=side), **how)

    budget += at(96).peak_total
    fit = largest_input(at, budget, 96)
    assert fit.next_size == fit.largest + 1
    assert at(fit.largest).peak_total == fit.peak <= budget
    assert at(fit.next_size).peak_total == fit.next_peak > budget
    assert largest_input(at, fit.peak, 224) == fit._replace(budget=fit.peak)
    smaller = largest_input(at, fit.peak - 1, fit.largest)
    assert smaller.largest == fit.largest - 1
    assert smaller.next_peak == fit.peak


@pytest.mark.parametrize("name", ["alexnet", "googlenet-torchvision", "resnet18", "inception_v3", "nin", "plain18"])
def test_memory_never_falls_as_the_input_grows(name):
    """What `largest_input` stands on, event by event: no tensor becomes smaller."""
    for training in (False, True):
        before = timeline(costcalc.load(name, height=96, width=96), training=training)
        for side in range(97, 114):
            after = timeline(costcalc.load(name, height=side, width=side), training=training)
            assert all(a <= b for a, b in zip(before.live, after.live, strict=True))
            assert before.peak_total <= after.peak_total
            before = after


def test_only_inputs_of_which_there_is_a_network():
    """A plane halved in two ways, rounded down and up, is added: there is such a network for even sides alone."""

    def at(side):
        b = costcalc.Builder("even", channels=2, height=side, width=side)
        half = b.add("half", OPS["conv2d"](2, 2, stride=2))
        other = b.add("other", OPS["max_pool2d"](2, stride=2, ceil_mode=True), "input")
        b.add("add", OPS["add"](), half, other)
        return timeline(b.build())

    for start in (2, 40, 200):
        fit = largest_input(at, 10**6, start)
        assert (fit.largest % 2, fit.next_size) == (0, fit.largest + 2)
        assert at(fit.largest).peak_total == fit.peak <= 10**6 < at(fit.next_size).peak_total == fit.next_peak


def test_an_input_of_one_size():
    """No larger one can be built."""

    def at(side):
        if side != 8:
            raise CostcalcError("8 alone")
        b = costcalc.Builder("eight", channels=2, height=side, width=side)
        b.add("conv", OPS["conv2d"](2, 3))
        return timeline(b.build())

    fit = largest_input(at, 10**6, 8)
    assert (fit.largest, fit.next_size, fit.next_peak, fit.exceeds_by) == (8, None, None, None)
    assert fit.peak == at(8).peak_total
    assert largest_input(at, 10, 8)[2:] == (0, 0, 8, fit.peak)


def test_nothing_fits():
    result = CliRunner().invoke(cli, ["memory", "vgg16", "--fit", "100MB", "--format", "json"])
    assert result.exit_code == 1  # the answer is no
    one = timeline(costcalc.load("vgg16"))
    assert json.loads(result.output)["fit"] == {
        "budget": 100_000_000,
        "batch": 0,
        "peak": 0,
        "next_batch": 1,
        "next_peak": one.peak_total,
        "exceeds_by": one.peak_total - 100_000_000,
    }
    text = CliRunner().invoke(cli, ["memory", "resnet18", "vgg16", "--fit", "100MB"])
    assert text.exit_code == 1
    assert "vgg16: Not even batch 1 fits in 95.4 MiB (100,000,000 bytes)" in text.output
    assert "resnet18: The largest that fits in 95.4 MiB (100,000,000 bytes) is batch " in text.output


@pytest.mark.parametrize("spelling", [["--input", "largest"], ["--input=largest"], ["--input"]])
def test_the_largest_input(spelling):
    fitting = data("resnet18", "--batch", "4", "--training", "--fit", "2GiB", *spelling)

    def at(side):
        return timeline(costcalc.load("resnet18", batch=4, height=side, width=side), training=True).peak_total

    fit = fitting["fit"]
    assert set(fit) == {"budget", "input", "peak", "next_input", "next_peak", "exceeds_by"}
    assert at(fit["input"]) == fit["peak"] == fitting["peak_total"] <= 2**31 < at(fit["next_input"]) == fit["next_peak"]
    assert fitting["batch"] == 4


def test_the_largest_input_of_a_network_after_a_move():
    """The move makes the first linear layer a convolution as large as the plane: each side is moved anew."""

    def at(side):
        vgg = costcalc.load("vgg16", height=side, width=side)
        return timeline(costcalc.rewrite(vgg, "fc-to-conv").after).peak_total

    fit = data("vgg16+fc-to-conv", "--fit", "2GiB", "--input", "largest")["fit"]
    assert at(fit["input"]) == fit["peak"] <= 2**31 < at(fit["next_input"]) == fit["next_peak"]


def test_a_network_that_mixes_its_images_has_no_batch_that_fits():
    def at(batch):
        b = costcalc.Builder("mixed", batch=batch, channels=2, height=1, width=1)
        b.add("flatten", OPS["flatten"](0))
        b.add("fc", OPS["linear"](5))
        b.add("again", OPS["linear"](batch))
        b.add("last", OPS["linear"](batch))
        return timeline(b.build())

    with pytest.raises(CostcalcError, match="mixed: memory is not linear in the batch"):
        largest_batch(at, 10**9)


def test_a_network_that_leaves_out_images_has_no_batch_that_fits():
    """The peak is linear for large batches only; the runs that check the answer detect this."""
    with pytest.raises(CostcalcError, match="not linear in the batch"):
        largest_batch(lambda batch: timeline(costcalc.load("alexnet", batch=max(batch, 3))), 250_000_000)


@pytest.mark.parametrize("option", [[], ["--input"]])
def test_fit_refuses_an_unknown_layer(tmp_path, option):
    spec = tmp_path / "odd.yaml"
    spec.write_text("name: odd\ninput: {channels: 3, height: 8, width: 8}\nlayers:\n  - unknown('riddle')\n")
    result = CliRunner().invoke(cli, ["memory", str(spec), "--fit", "1GiB", *option])
    assert result.exit_code == 1
    message = "to a memory budget: saved tensors are not modelled for layer 'unknown' (op riddle)"
    assert "odd: cannot fit " in result.output
    assert message in result.output


@pytest.mark.parametrize(
    ("size", "budget"), [("24GiB", 24 * 2**30), ("1.5 gb", 1_500_000_000), ("3000000000", 3 * 10**9)]
)
def test_sizes(size, budget):
    assert data("resnet18", "--fit", size)["fit"]["budget"] == budget


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["vgg16", "--optimizer", "adam"], 2, "--optimizer requires --training"),
        (["vgg16", "--freeze", "stage1"], 2, "--freeze requires --training"),
        (["vgg16", "--accumulate"], 2, "--accumulate requires --training"),
        (["vgg16", "--training", "--freeze", "stage7"], 1, "vgg16 has no layer 'stage7' (did you mean"),
        (["vgg16", "--training", "--optimizer", "adm"], 1, "no optimizer 'adm' (did you mean 'adam'?)"),
        (["vgg16", "--fit", "24 gallons"], 1, "--fit is a size such as 24GiB, 16GB or 512MiB, not '24 gallons'"),
        (["vgg16", "--fit", "24"], 1, "--fit 24: 24 bytes are very few: write a size with its unit, such as 24GiB"),
        (
            ["vgg16", "--fit", "1GiB", "--batch", "3"],
            2,
            "--fit finds the largest batch and cannot be combined with --batch",
        ),
        (["vgg16:batch=3", "--fit", "1GiB"], 1, "--fit finds the largest batch: remove batch=3 from vgg16"),
        (["vgg16:input=64", "--fit", "1GiB", "--input"], 1, "--fit finds the largest input: remove input= from vgg16"),
        (["vgg16", "--input"], 2, "--input largest requires --fit; without --fit, pass a size such as 320x480"),
        (["vgg17"], 1, "vgg17"),
        ([], 2, "Missing argument"),
    ],
)
def test_what_cannot_be_asked(arguments, code, message):
    result = CliRunner().invoke(cli, ["memory", *arguments])
    assert result.exit_code == code
    assert message in result.output


def test_frozen_layers_keep_nothing_and_need_no_state():
    """A head trained on vgg16's features: the convolutions keep nothing, and no gradient goes back to them."""
    stages = [option for i in range(1, 6) for option in ("--freeze", f"stage{i}")]
    head = data("vgg16", "--batch", "8", "--training", "--optimizer", "adam", *stages)
    # Inputs of the three linear layers, the last pool's output and what the two ReLUs overwrote, and two dropout masks.
    fc = 8 * 4096 * 4
    assert head["saved_for_backward"] == 8 * 512 * 7 * 7 * 4 + 2 * (fc + fc + fc)
    trained = 512 * 7 * 7 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 1000 + 1000
    assert head["by_class"]["optimizer state"] == 2 * trained * 4 + 6 * 4
    assert max(e["live"] for e in head["events"] if e["phase"] == "forward") < head["peak_live"]


def test_accumulated_gradients_stay():
    once, again = (data("resnet18", "--training", *option) for option in ([], ["--accumulate"]))
    params = 11_689_512 * 4
    assert again["events"][-1]["live"] == params
    assert again["by_class"]["gradient of a parameter"] >= params
    assert once["peak_live"] < again["peak_live"] < once["peak_live"] + params


def test_checkpointing_in_words_and_json():
    plain, training = (
        data("resnet18", "--batch", "8", "--training", "--checkpoint", how, "--optimizer", "adam")
        for how in ("none", "stage")
    )
    assert (training["checkpoint"], training["checkpointed"]) == (
        "stage",
        ["stem", *(f"layer{i}" for i in range(1, 5))],
    )
    assert training["left"] == {"head": "autograd would save no less"}
    assert training["saved_for_backward"] < plain["saved_for_backward"]
    assert training["peak_live"] < plain["peak_live"]
    head = 8 * 512 * 1000
    assert training["recomputed_macs"] == training["forward_macs"] - head
    assert training["recomputed_flops"] == 2 * training["recomputed_macs"] == training["flops"] - plain["flops"]
    assert plain["recomputed_flops"] == 0
    assert training["backward_macs"] == plain["backward_macs"] == 2 * plain["forward_macs"] - 8 * 64 * 147 * 112 * 112
    assert {e["class"] for e in training["events"] if e["phase"] == "recomputation"} >= {"recomputed"}
    text = run("resnet18", "--training", "--checkpoint", "stage")
    assert "training, without an optimizer, checkpointed by stage" in text
    assert "Not checkpointed: head (autograd would save no less)." in text
    assert "recomputation" in text
    several = run("resnet18", "vgg11", "--training", "--checkpoint", "block")
    assert re.search(r"resnet18: a step computes [\d,]+ FLOPs, [\d,]+ of them in layers that are recomputed", several)
    assert (
        "--checkpoint requires --training" in CliRunner().invoke(cli, ["memory", "nin", "--checkpoint", "block"]).output
    )


def test_checkpointing_fits_a_larger_batch():
    plain, training = (
        data("resnet18", "--training", "--checkpoint", how, "--fit", "1GiB")["fit"]["batch"]
        for how in ("none", "block")
    )
    assert training > plain


def test_mixed_precision():
    how = ("resnet18", "--training", "--optimizer", "adam", "--dtype", "bf16")
    plain, mixed = data(*how), data(*how, "--master-weights")
    assert (plain["master_weights"], mixed["master_weights"]) == (False, True)
    parameters = 11_689_512
    assert mixed["by_class"]["parameter"] == plain["by_class"]["parameter"] == 2 * parameters
    # Two moments of 2 bytes; or, of 4 each, with a copy of the parameters. And 62 counts of steps.
    assert plain["by_class"]["optimizer state"] == 2 * 2 * parameters + 62 * 4
    assert mixed["by_class"]["optimizer state"] == 3 * 4 * parameters + 62 * 4
    assert "bf16, training with adam and fp32 master weights" in run(*how, "--master-weights")
    result = CliRunner().invoke(cli, ["memory", "resnet18", "--master-weights"])
    assert "--master-weights requires --training" in result.output
