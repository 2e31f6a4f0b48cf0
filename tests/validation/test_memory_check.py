"""`costcalc check --memory`: predicted beside observed, what it finds, and what meta is known to get wrong.

That every network agrees is held in test_memory.py, by the same two functions.
"""

from __future__ import annotations

import csv
import io
import json

import pytest
import torch
from click.testing import CliRunner
from small_graphs import chain

import costcalc
from costcalc import CostcalcError
from costcalc.analysis.memory import timeline
from costcalc.cli import cli
from costcalc.ir.kernel import AuxiliaryOutput, Kernel
from costcalc.ir.op import Op
from costcalc.ir.ops import OPS
from costcalc.ir.ops.linear import Linear
from costcalc.ir.ops.norm import BatchNorm2d, LayerNorm
from costcalc.ir.ops.pool import MaxPool2d
from costcalc.report.render import render
from costcalc.report.views.check_memory import memory_check_view
from costcalc.torch_backend import allocator_peak
from costcalc.validation.costs import WHOLE_NETWORK
from costcalc.validation.known_memory_differences import (
    KNOWN_EXCESSES,
    OTHER_KERNELS,
    LayerAllocations,
    with_kernels,
)
from costcalc.validation.memory import check_memory

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: nothing is claimed of one")


def small():
    return chain(
        ("conv", OPS["conv2d"](6, 3)),
        ("bn", OPS["batch_norm2d"]()),
        ("relu", OPS["relu"]()),
        ("pool", OPS["max_pool2d"](2)),
        ("flatten", OPS["flatten"]()),
        ("fc", OPS["linear"](10)),
    )


# -- what is compared ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_a_small_network_by_hand(device):
    """conv 2×6×6×6 = 432 elements, pool 2×6×3×3 = 108 and as many indices, fc 2×10."""
    result = check_memory(small(), device=device, train=True)
    assert (result.differences, result.known_differences) == ((), ())
    assert result.expects_equality
    assert result.compared == 6 * 3 + 3
    kept = 432 * 4 + 432 * 4 + 2 * 6 * 4  # conv for bn; bn, overwritten by relu; mean and deviation
    for side in ("predicted", "observed"):
        rows = {figures.layer: getattr(figures, side) for figures in result.layers}
        assert rows["conv"]["alive forward"] == 432 * 4
        assert rows["bn"] == {
            "alive forward": kept,
            # what it keeps; the loss and its gradient; gradients of fc, of bn's parameters, its output and its input
            "alive backward": (432 + 12 + 2 + (540 + 10) + (6 + 6) + 432 + 432) * 4,
            "saved for backward": 432 * 4 + 2 * 6 * 4,
        }
        assert rows["relu"]["alive forward"] == 0  # in place
        assert rows["pool"]["alive forward"] == kept + 108 * 4 + 108 * 8
        assert rows["pool"]["saved for backward"] == 108 * 4 + 108 * 8
        whole = getattr(result.whole, side)
        assert whole["saved for backward"] == kept + 108 * 4 + 108 * 8
        assert whole["saved input"] == 2 * 3 * 8 * 8 * 4
        assert whole["peak live"] == max(max(row["alive forward"], row["alive backward"]) for row in rows.values())


@pytest.mark.parametrize("dtype", ["fp64", "fp16", "bf16"])
@pytest.mark.parametrize("train", [False, True])
def test_other_dtypes(dtype, train):
    assert check_memory(small(), device="cpu", dtype=dtype, train=train).known_differences == ()
    for device in ("cpu", "meta"):
        assert check_memory(small(), device=device, dtype=dtype, train=train).differences == ()


def test_a_network_whose_peak_is_published():
    """The lecture's ResNet-18 at batch 8 without gradients: 51,380,224 bytes, which meta makes 51,380,736."""
    result = check_memory(costcalc.load("resnet18", batch=8), device="meta")
    assert result.differences == ()
    (whole,) = (difference for difference in result.known_differences if difference.layer == WHOLE_NETWORK)
    assert (whole.figure, whole.calculated, whole.measured) == ("peak live", 51_380_224, 51_380_736)


# -- it finds what is wrong ---------------------------------------------------------------------------------------


def planted(monkeypatch, op, kernels):
    monkeypatch.setattr(op, "kernels", kernels)


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_a_pool_that_forgets_its_indices(monkeypatch, device):
    planted(monkeypatch, MaxPool2d, Op.kernels)
    result = check_memory(small(), device=device, train=True)
    saved = [(d.layer, d.calculated, d.measured) for d in result.differences if d.figure == "saved for backward"]
    missing = 108 * 8
    bn = 432 * 4 + 2 * 6 * 4
    assert saved == [
        ("pool", 108 * 4, 108 * 4 + missing),
        (WHOLE_NETWORK, 432 * 4 + bn + 108 * 4, 432 * 4 + bn + 108 * 4 + missing),
    ]
    alive = {(d.layer, d.figure): d.measured - d.calculated for d in result.differences if "alive" in d.figure}
    # from the pool on there are too few, until it has been differentiated
    assert {layer for layer, figure in alive if figure == "alive forward"} == {"pool", "fc"}
    assert {layer for layer, figure in alive if figure == "alive backward"} == {"fc", "pool"}
    assert set(alive.values()) == {missing}


def test_a_pool_that_forgets_its_indices_is_found_without_gradients(monkeypatch):
    planted(monkeypatch, MaxPool2d, Op.kernels)
    differences = check_memory(small(), device="cpu").differences
    assert [(d.layer, d.measured - d.calculated) for d in differences if d.layer != WHOLE_NETWORK] == [
        ("pool", 108 * 8)
    ]


def test_a_batch_norm_that_is_said_to_keep_nothing(monkeypatch):
    planted(monkeypatch, BatchNorm2d, lambda self, inputs, output, training=False: (Kernel((0,), 432),))
    differences = check_memory(small(), device="cpu", train=True).differences
    saved = {d.layer: d.calculated - d.measured for d in differences if d.figure == "saved for backward"}
    assert saved == {"conv": -432 * 4, "bn": -2 * 6 * 4, WHOLE_NETWORK: -(432 + 12) * 4}  # its input is conv's to lose


def test_a_known_excess_excuses_the_known_wrong_number_alone(monkeypatch):
    """With one more element in the prediction, the known excess of meta explains nothing."""
    extra = (AuxiliaryOutput("one more", 1),)
    planted(
        monkeypatch,
        BatchNorm2d,
        lambda self, inputs, output, training=False: (Kernel((0,), 432, auxiliary_outputs=extra),),
    )
    result = check_memory(small(), device="meta")
    assert result.known_differences == ()
    assert {(d.layer, d.figure): d.measured - d.calculated for d in result.differences} == {
        ("bn", "alive forward"): (2 * 6 - 1) * 4,
        (WHOLE_NETWORK, "peak live"): (2 * 6 - 1) * 4,
    }


def test_a_difference_fails_the_command_and_is_named(monkeypatch):
    planted(monkeypatch, MaxPool2d, Op.kernels)
    done = run("vgg11", code=1)
    first = 64 * 112 * 112 * 8  # indices
    line = next(line for line in done.splitlines() if line.startswith("stage1/pool") and "alive" in line)
    calculated, measured = (int(cell.replace(",", "")) for cell in line.split()[-2:])
    assert measured - calculated == first
    assert next(line for line in done.splitlines() if line.startswith("stage1/pool")).endswith("DIFFERS")
    assert "5 figures differ" in done or "6 figures differ" in done
    both = run("vgg11", "alexnet", code=1)
    assert any(line.split()[:2] == ["alexnet", "pool1"] for line in both.splitlines())


# -- where meta is wrong ------------------------------------------------------------------------------------------

SHOWN_BY = [
    # graph, dtype, train, and by how much which figure differs
    (small(), "fp32", False, {("bn", "alive forward"): 2 * 6 * 4, (WHOLE_NETWORK, "peak live"): 2 * 6 * 4}),
    (
        chain(("bn", OPS["batch_norm2d"]()), ("conv", OPS["conv2d"](4, 1))),
        "bf16",
        True,
        {
            ("bn", "saved for backward"): 2 * 3 * 2,
            (WHOLE_NETWORK, "saved for backward"): 2 * 3 * 2,
            ("bn", "alive forward"): 2 * 3 * 2,
            ("conv", "alive forward"): 2 * 3 * 2,
            ("conv", "alive backward"): 2 * 3 * 2,
        },
    ),
    (
        chain(("bn", OPS["batch_norm2d"]()), ("conv", OPS["conv2d"](4, 1))),
        "fp32",
        True,
        {("bn", "alive backward"): 2 * 3 * 8 * 8 * 4},
    ),
    (
        chain(("conv", OPS["conv2d"](4, 1)), ("mish", OPS["mish"]())),
        "fp32",
        True,
        {("mish", "alive backward"): 7 * 2 * 4 * 8 * 8 * 4, (WHOLE_NETWORK, "peak live"): 7 * 2 * 4 * 8 * 8 * 4},
    ),
]


@pytest.mark.parametrize(("entry", "shown"), [*zip(KNOWN_EXCESSES, SHOWN_BY, strict=True)])
def test_every_known_excess_is_still_needed(entry, shown):
    """If this fails with a newer torch, torch has changed: give `seen_with` the last release that was wrong."""
    graph, dtype, train, amounts = shown
    result = check_memory(graph, device="meta", dtype=dtype, train=train)
    assert result.differences == ()
    assert entry.seen_with.covers(result.observed.environment)
    by = {(d.layer, d.figure): d.measured - d.calculated for d in result.known_differences if entry.reason in d.reason}
    assert {figure: by[figure] for figure in amounts} == amounts
    on_cpu = check_memory(graph, device="cpu", dtype=dtype, train=train)
    assert (on_cpu.differences, on_cpu.known_differences) == ((), ())


def test_two_reasons_at_once_add_up():
    """In bf16, the deviation in float32 and the unneeded gradient of the input are both live in bn's backward pass."""
    graph, _, _, _ = SHOWN_BY[1]
    result = check_memory(graph, device="meta", dtype="bf16", train=True)
    (both,) = (d for d in result.known_differences if (d.layer, d.figure) == ("bn", "alive backward"))
    assert both.measured - both.calculated == 2 * 3 * 2 + 2 * 3 * 8 * 8 * 2
    assert both.reason == f"{KNOWN_EXCESSES[1].reason}; {KNOWN_EXCESSES[2].reason}"


def test_known_excesses_are_of_the_layers_that_have_them():
    shapes, made = ((2, 6, 4, 4),), {("forward", "output"): 100, ("backward", "gradient"): 100}
    for name in ("relu", "conv2d", "max_pool2d"):
        op = OPS[name](*[2] * (name != "relu"), *[3] * (name == "conv2d"))
        assert not [
            excess for entry in KNOWN_EXCESSES for excess in entry.excesses(LayerAllocations(op, shapes, 2, made))
        ]


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_a_linear_layer_that_is_overwritten_in_older_releases(device):
    """Before 2.15 its output is a view, so relu's gradient is copied twice more: 2·3·8·5 elements each."""
    graph = chain(("fc", OPS["linear"](5)), ("relu", OPS["relu"]()), ("again", OPS["linear"](2)))
    (entry,) = (entry for entry in OTHER_KERNELS if entry.op is Linear)
    result = check_memory(graph, device=device, train=True)
    assert result.differences == ()
    found = {
        (d.layer, d.figure): d.measured - d.calculated for d in result.known_differences if d.reason == entry.reason
    }
    copies = 2 * (2 * 3 * 8 * 5) * 4
    old = {("relu", "alive backward"): copies, (WHOLE_NETWORK, "peak live"): copies}
    assert found == (old if entry.seen_with.covers(result.observed.environment) else {})
    as_before = timeline(with_kernels(graph, OTHER_KERNELS), training=True)
    assert as_before.peak_live - timeline(graph, training=True).peak_live == copies
    assert with_kernels(graph, ()) is graph


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_the_gradient_of_a_layer_norm_in_older_releases(device):
    """Before 2.15 it is contiguous on meta, so that the rows of the layer before it are a view of it."""
    graph = chain(
        ("fc", OPS["linear"](5)),
        ("norm", OPS["layer_norm"]((5,))),
        ("first", OPS["permute"]((0, 3, 1, 2))),
        ("rows", OPS["flatten"]()),
        ("out", OPS["linear"](2)),
    )
    (entry,) = (entry for entry in OTHER_KERNELS if entry.op is LayerNorm)
    result = check_memory(graph, device=device, train=True)
    assert result.differences == ()
    found = {(d.layer, d.figure): d.calculated - d.measured for d in result.known_differences}
    copy, parameters = 2 * 3 * 8 * 5 * 4, (5 * 8 + 5) * 4
    old = {("fc", "alive backward"): copy - parameters}  # which are allocated when what was copied is freed
    assert found == (old if entry.seen_with.covers(result.observed.environment) else {})


# -- what commands print ------------------------------------------------------------------------------------------


def run(*arguments, code=0, device="meta"):
    done = CliRunner().invoke(cli, ["check", "--memory", "--device", device, *arguments])
    assert done.exit_code == code, done.output
    return done.output


def test_json_is_a_contract():
    data = json.loads(run("resnet18", "--train", "--batch", "8", "--format", "json"))
    assert (data["schema"], data["refused"]) == ("costcalc/memory-check/1", [])
    (network,) = data["networks"]
    assert network["architecture"] == "resnet18"
    assert network["settings"]["classes"] == 1000
    assert (network["batch"], network["inputs"]) == (8, {"input": [8, 3, 224, 224]})
    assert (network["training"], network["claimed"], network["agrees"]) == (True, True, True)
    assert network["environment"]["torch"] == torch.__version__
    assert (network["differences"], network["known_differences"], network["allocator_peak"]) == ([], [], None)
    # as measured on torchvision's model
    measured = {"peak_live": 205_841_832, "saved_for_backward": 172_660_224, "saved_input": 4_816_896}
    assert network["whole"] == {"verdict": "equal", "predicted": measured, "observed": measured}
    graph = costcalc.load("resnet18", batch=8)
    assert [row["name"] for row in network["rows"]] == [node.name for node in graph.nodes]
    assert network["compared"] == 3 * len(graph.nodes) + 3
    training = timeline(graph, training=True)
    assert network["peak_at"] == dict(zip(("layer", "phase"), training.peak_at, strict=True))
    for row in network["rows"]:
        assert row["verdict"] == "equal"
        assert row["predicted"] == row["observed"]
        assert row["observed"].keys() == {"alive_forward", "alive_backward", "saved_for_backward"}
    assert sum(row["observed"]["saved_for_backward"] for row in network["rows"]) == measured["saved_for_backward"]


def test_json_names_known_differences_exactly():
    (network,) = json.loads(run("resnet18", "--batch", "8", "--format", "json"))["networks"]
    assert network["agrees"]
    assert network["whole"]["verdict"] == "known"
    assert network["whole"]["predicted"] == {"peak_live": 51_380_224}
    assert network["known_differences"][0] == {
        "layer": "stem/bn1",
        "figure": "alive forward",
        "calculated": 51_380_224,
        "measured": 51_380_224 + 2 * 64 * 4,
        "reason": KNOWN_EXCESSES[0].reason,
    }
    assert {row["observed"].keys() == {"alive_forward"} for row in network["rows"]} == {True}


def test_one_network_is_shown_layer_by_layer_and_a_row_is_explained():
    lines = run("alexnet", "--train").splitlines()
    assert lines[:2] == [
        "alexnet: memory predicted beside observed",
        f"input 3×227×227, batch 1, training; fp32, meta (nothing is computed), torch {torch.__version__}",
    ]
    norm2 = next(line for line in lines if line.startswith("norm2")).split()
    assert norm2 == ["norm2", "9.96", "9.96", "244.06", "244.06", "2.86", "2.86", "equal"]
    relu1 = next(line for line in lines if line.startswith("relu1")).split()
    assert relu1 == ["relu1", "235.75", "235.75", "0", "0", "equal"]  # forward it makes no tensor
    assert next(line for line in lines if line.startswith("whole")).split()[1:3] == ["244.06", "244.06"]
    words = " ".join(" ".join(lines).split())
    assert "72 figures of 23 layers compared with ==, to the byte: all are equal." in words
    assert "618,348 bytes of the inputs are saved, too." in words
    row = "For norm2: forward, 10,440,352 bytes; backward, 255,917,640 bytes, the peak of the run; saved, 2,997,648 bytes."
    assert row in words
    # norm2 on 256×27×27: the squares with zeros for 2 channels before and after; what it divides by, before the power and
    # after it; its result, for pool2
    assert (256 + 4 + 3 * 256) * 27 * 27 * 4 == 2_997_648


def test_several_networks_are_a_line_each():
    lines = run("alexnet", "resnet18").splitlines()
    assert lines[1].startswith("batch 1, fp32, inference; meta")
    assert next(line for line in lines if line.startswith("alexnet")).split()[1:4] == ["24", "0", "0"]
    assert next(line for line in lines if line.startswith("resnet18")).split()[1:4] == ["70", "0", "21"]
    assert next(line for line in lines if line.startswith("2 networks  ")).split()[2:] == ["94", "0", "21"]
    lines = run("alexnet:batch=2", "alexnet:dtype=fp16", "--train").splitlines()
    assert lines[1].startswith("training; meta")
    line = next(line for line in lines if line.startswith("alexnet (batch 2, fp32)"))
    assert line.split()[4:7] == ["72", "0", "0"]
    assert any(line.startswith("alexnet (batch 1, fp16)") for line in lines)


@pytest.mark.parametrize("name", ["inception_v3", "resnet110-cifar", "googlenet-naive"])
def test_tables_fit_a_terminal(name):
    assert max(map(len, run(name, "--train").splitlines())) <= 100


def test_csv_has_exact_bytes():
    rows = list(csv.DictReader(io.StringIO(run("alexnet", "--train", "--format", "csv"))))
    alive = {row["name"]: row["alive_backward_observed"] for row in rows}
    assert alive["norm2"] == "255917640"
    assert rows[0]["saved_for_backward_predicted"] == str(96 * 55 * 55 * 4)


def test_it_runs_on_the_cpu():
    text = run("resnet20-cifar", "--train", "--batch", "2", device="cpu")
    assert "to the byte: all are equal." in text


def test_what_cannot_be_checked_is_said_and_the_rest_checked(tmp_path):
    spec = tmp_path / "odd.yaml"
    spec.write_text("name: odd\ninput: {channels: 3, height: 8, width: 8}\nlayers:\n  - unknown('riddle')\n")
    message = "odd: cannot check memory: saved tensors are not modelled for layer 'unknown' (op riddle)"
    assert message in run(str(spec), code=1)
    data = json.loads(run(str(spec), "alexnet", "--format", "json", code=1).partition("\ncostcalc:")[0])
    assert data["refused"] == [message]
    assert [network["architecture"] for network in data["networks"]] == ["alexnet"]


def test_memory_and_time_are_checked_apart():
    done = CliRunner().invoke(cli, ["check", "vgg11", "--memory", "--time"])
    assert done.exit_code == 2
    assert "--memory cannot be combined with --time" in done.output


# -- CUDA ---------------------------------------------------------------------------------------------------------


def as_on_a_gpu(allocated):
    """A check as it comes from a GPU whose kernels keep a byte more at conv."""
    result = check_memory(small(), device="cpu", train=True)
    where = result.observed.environment._replace(device="cuda", name="a GPU")
    conv, *others = result.layers
    kept = {**conv.observed, "saved for backward": conv.observed["saved for backward"] + 1}
    return result._replace(
        observed=result.observed._replace(environment=where),
        layers=(conv._replace(observed=kept), *others),
        allocator_peak=allocated,
    )


def test_nothing_is_claimed_of_a_gpu_and_its_allocator_stands_beside():
    result = as_on_a_gpu(allocated=50_000)
    assert (result.expects_equality, result.compared) == (False, 0)
    predicted = result.predicted.peak_live
    text = " ".join(render(memory_check_view([result]), "text").split())
    assert "Nothing is compared: kernels on cuda may save other tensors than those predicted." in text
    assert (
        f"CUDA's allocator held at most 50,000 bytes, in rounded blocks, where {predicted:,} are predicted. The "
        f"difference of {50_000 - predicted:+,} is workspace, rounding and tensors that CUDA's kernels save differently"
    ) in text
    (network,) = json.loads(render(memory_check_view([result]), "json"))["networks"]
    assert (network["claimed"], network["agrees"], network["allocator_peak"]) == (False, None, 50_000)
    assert [row["verdict"] for row in network["rows"]][:2] == ["other", "equal"]
    assert "chain: CUDA's allocator held" in " ".join(render(memory_check_view([result] * 2), "text").split())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_there_is_no_allocator_to_ask():
    with pytest.raises(CostcalcError, match="finds no cuda device here"):
        allocator_peak(small())
    assert check_memory(small(), device="auto").allocator_peak is None


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("train", [False, True])
def test_on_a_gpu(train):
    """Its blocks are of 512 bytes and more, so the allocator holds no less than the storages that are seen alive."""
    result = check_memory(costcalc.load("vgg16", batch=4), device="cuda", train=train)
    assert not result.expects_equality
    assert (result.differences, result.known_differences) == ((), ())
    assert result.allocator_peak >= result.observed.peak_live
