"""The command line as a user meets it: what it prints, how it exits, and that it never shows a traceback."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys

import pytest

from costcalc import __version__
from costcalc.analysis.conventions import CONVENTIONS
from costcalc.frontends.spec import architectures

WORKED, REFUSED, MISUSED = 0, 1, 2


def run(*args, code=WORKED, cwd=None):
    done = subprocess.run(
        [sys.executable, "-m", "costcalc", *map(str, args)], capture_output=True, text=True, encoding="utf-8", cwd=cwd
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == code, done.stderr
    return done.stdout if code == WORKED else done.stderr


def run_json(*args):
    return json.loads(run(*args, "--format", "json"))


def test_list_names_every_architecture_with_headline_numbers():
    listed = run_json("list")["architectures"]
    assert [entry["name"] for entry in listed] == list(architectures())
    vgg = next(entry for entry in listed if entry["name"] == "vgg16")
    assert (vgg["params"], vgg["macs"], vgg["weight_layers"]) == (138_357_544, 15_470_264_320, 16)


def test_report_json_is_the_contract():
    data = run_json("report", "resnet50", "--batch", 2, "--dtype", "fp16", "--set", "classes=10")
    assert data["schema"] == "costcalc/report/1"
    assert (data["architecture"], data["batch"], data["dtype"], data["convention"]) == ("resnet50", 2, "fp16", "flops")
    assert data["settings"]["classes"] == 10
    assert data["unknown"] == []
    row = next(r for r in data["rows"] if r["name"] == "layer1/block_1/main/conv2/conv")
    assert row["op"] == "conv2d"
    assert row["stage"] == "layer1"
    assert row["output"] == [2, 64, 56, 56]
    assert row["receptive_field"] == [19, 19]
    assert row["macs"] == 2 * 56 * 56 * 64 * 64 * 9
    assert row["flops"] == 2 * row["macs"]
    assert row["param_bytes"] == 2 * row["params"] == 2 * 64 * 64 * 9
    assert row["activation_bytes"] == 2 * row["activations"] == 2 * 2 * 64 * 56 * 56
    assert data["rows"][-1]["receptive_field"] is None
    for count in ("params", "param_bytes", "macs", "flops", "activations", "activation_bytes"):
        assert data["totals"][count] == sum(r[count] for r in data["rows"])
    assert data["totals"]["weight_layers"] == 50
    assert data["totals"]["nonlinearities"] == 1 + 16 * 3


def test_naive_versus_reduced():
    data = run_json("report", "googlenet", "--naive-vs-reduced")
    modules = data["modules"]
    assert [m["name"] for m in modules] == [
        f"inception{m}" for m in ["3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"]
    ]
    first = modules[0]
    assert first["in_channels"] == 192
    assert first["out_channels"] == {"naive": 32 + 128 + 64 + 192, "reduced": 256}
    assert first["flops"] == {"naive": 606_928_896, "reduced": 256_098_304}
    assert first["macs"] == {"naive": 606_928_896 // 2, "reduced": 256_098_304 // 2}
    assert first["params"]["reduced"] == 163_696
    assert data["stacked"]["naive"]["macs"] == 12_568_061_056
    assert data["stacked"]["naive"]["params"] == 97_526_008
    assert data["stacked"]["reduced"]["params"] == 6_998_552
    text = run("report", "googlenet", "--naive-vs-reduced")
    assert "2·28·28·32·192·5·5 = 240,844,800" in text
    assert "24,887,296" in text
    assert "4,944" in text
    assert "needs" not in run("report", "googlenet-torchvision", "--naive-vs-reduced")
    assert "has no setting 'reduced'" in run("report", "vgg16", "--naive-vs-reduced", code=REFUSED)


def test_compare_aligns_stages_by_resolution():
    data = run_json("compare", "vgg16", "alexnet", "--by", "stage", "--metric", "memory")
    stages = {stage["stage"]: stage["architectures"] for stage in data["stages"]}
    assert stages["1/4"]["vgg16"]["plane"] == [56, 56]
    assert stages["1/4"]["alexnet"]["plane"] == [55, 55]
    assert stages["1/1"]["alexnet"] is None
    assert stages["1/1"]["vgg16"]["value"] == 4 * (2 * 3_211_264 + 802_816)
    assert sum(s["vgg16"]["value"] for s in stages.values()) == 60_348_320
    totals = {entry["name"]: entry["totals"] for entry in data["architectures"]}
    assert totals["alexnet"]["params"] == 60_965_224


def test_compare_takes_settings_per_target():
    data = run_json(
        "compare", "vgg16:batch=2,dtype=fp16", "vgg16:convs=[1,1,2,2,2],input=64x32", "nin", "--metric", "macs"
    )
    first, second, _ = data["architectures"]
    assert first["name"] == "vgg16 batch=2 input=224x224 dtype=fp16 convs=[2,2,3,3,3]"
    assert (first["batch"], first["dtype"]) == (2, "fp16")
    assert second["name"] == "vgg16 batch=1 input=64x32 dtype=fp32 convs=[1,1,2,2,2]"
    assert first["totals"]["macs"] == 2 * 15_470_264_320
    assert first["totals"]["param_bytes"] == 2 * 138_357_544


def test_explain_shows_formula_numbers_and_value():
    text = run("explain", "googlenet-naive", "inception3a/5x5")
    assert "2·H·W·C_out·C_in·k_h·k_w" in text
    assert "2·28·28·32·192·5·5" in text
    assert "240,844,800" in text
    data = run_json("explain", "alexnet", "conv2", "--batch", 3, "--convention", "full")
    values = {(line["quantity"]): line for line in data["lines"]}
    assert values["parameters"]["formula"] == "C_out·C_in·k_h·k_w/g + C_out"
    assert values["parameters"]["numbers"] == "256·96·5·5/2 + 256"
    assert values["MACs"]["numbers"] == "3·27·27·256·96·5·5/2"
    assert values["MACs"]["value"] == 3 * 27 * 27 * 256 * 48 * 25
    assert data["totals"]["macs"] == values["MACs"]["value"]


@pytest.mark.parametrize(
    ("name", "convention"),
    [(name, "full") for name in ("vgg16", "inception_v3", "nin")]
    + [(name, convention) for name in ("googlenet-torchvision", "resnet18", "alexnet") for convention in CONVENTIONS],
)
def test_explained_values_are_the_analysed_ones(name, convention):
    """The formula run on symbols, with the numbers put in, gives the number of the report: layer by layer."""
    import costcalc

    graph = costcalc.load(name, batch=2)
    costs = costcalc.analyze(graph, convention=convention)
    label = costcalc.CONVENTIONS[convention].label
    for row in costs.rows:
        lines = {line.quantity: line.value for line in costcalc.explain(graph, row.path, convention=convention)}
        assert lines.get("parameters", 0) == row.params
        assert lines.get("MACs", 0) == row.macs
        assert lines.get(label, 0) == row.flops
        assert lines.get("activation bytes", 0) == row.activation_bytes


def test_conventions_are_listed_and_shown_in_full():
    data = run_json("conventions")
    assert data["schema"] == "costcalc/conventions/1"
    assert [entry["name"] for entry in data["conventions"]] == list(CONVENTIONS)
    (thop,) = run_json("conventions", "thop")["conventions"]
    assert (thop["label"], thop["flops"][:2]) == ('"MACs"', ["conv and linear", "four per BatchNorm element"])
    text = run("conventions", "bologna")
    assert "pools, output × window" in text
    assert "Memory is counted as activations × 2 and parameters × 3." in text
    assert CONVENTIONS["bologna"].definition == " ".join(text.split("\n\n")[-1].split("Memory is counted")[0].split())


def test_a_report_says_what_its_convention_counts_otherwise():
    assert "As keras counts: 25,610,152 parameters." in run("report", "resnet50", "--convention", "keras")
    assert "As timm counts: 11,114,984 activation elements." in " ".join(
        run("report", "resnet50-torchvision", "--convention", "timm").split()
    )
    totals = run_json("report", "resnet50", "--convention", "keras")["totals"]
    assert (totals["params"], totals["counted_params"]) == (25_557_032, 25_610_152)
    assert "counts:" not in run("report", "resnet50")


def test_taps_inside_are_explained():
    line = run_json("explain", "resnet18", "layer1/block_1/main/conv1/conv", "--convention", "xla")["lines"][2]
    assert line["formula"] == "2·T_h·T_w·C_out·C_in"
    assert line["numbers"] == "2·166·166·64·64"  # 3·56 taps, less one at either end
    assert line["value"] == 2 * 166 * 166 * 64 * 64


def test_schema_lists_ops_and_shows_one():
    from costcalc.ir.ops import OPS

    ops = run_json("schema")["ops"]
    assert [op["name"] for op in ops] == list(OPS)
    conv2d = next(op for op in ops if op["name"] == "conv2d")
    assert conv2d["arguments"][2] == {"name": "stride", "takes": "integer ≥ 1, or 2 of them", "default": "1"}
    assert "torch.nn.MaxPool2d" in run("schema", "max_pool2d")
    assert "no op 'maxpool2d' (did you mean 'max_pool2d'?)" in run("schema", "maxpool2d", code=REFUSED)


def test_spec_prints_yaml_that_report_takes(tmp_path):
    run("spec", "vgg16", "-o", tmp_path / "mine.yaml")
    assert "138,357,544" in run("report", "mine.yaml", "--by", "stage", cwd=tmp_path)
    assert "132,863,336" in run("report", "mine.yaml:vgg11", "--by", "stage", cwd=tmp_path)
    assert run("spec", "vgg16") == (tmp_path / "mine.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("style", ["text", "markdown", "csv", "json", "latex"])
@pytest.mark.parametrize(
    "command",
    [["list"], ["report", "nin"], ["report", "googlenet", "--naive-vs-reduced"], ["compare", "nin", "alexnet"],
     ["explain", "nin", "mlpconv1"], ["formula", "nin", "--in", "size"], ["schema"], ["schema", "conv2d"], ["conventions"], ["conventions", "bologna"]],
    ids=" ".join,
)  # fmt: skip
def test_every_command_prints_every_format(command, style, tmp_path):
    printed = run(*command, "--format", style)
    assert printed.endswith("\n")
    run(*command, "--format", style, "-o", tmp_path / "out")
    assert (tmp_path / "out").read_text(encoding="utf-8") == printed


def test_csv_carries_exact_integers_and_no_total():
    rows = list(csv.DictReader(io.StringIO(run("report", "vgg16", "--format", "csv"))))
    assert sum(int(row["params"]) for row in rows) == 138_357_544
    assert sum(int(row["macs"]) for row in rows) == 15_470_264_320
    assert rows[0]["output"] == "64x224x224"


def test_printed_columns_add_up_to_the_printed_total():
    """Re-added from the text: each printed cell is rounded, so the sum may be off by half a step a row."""
    lines = run("report", "vgg16", "--by", "stage").splitlines()
    cells = [line.split() for line in lines if line.startswith(("stage", "head", "total"))][1:]
    memory = [float(row[-2]) for row in cells[:-1]]
    assert abs(sum(memory) - float(cells[-1][-1])) <= 0.0005 * len(memory)


@pytest.mark.parametrize("name", architectures())
def test_reports_fit_a_terminal_of_100_columns(name):
    from click.testing import CliRunner

    from costcalc.cli import cli

    for options in ([], ["--by", "stage"], ["--by", "op"], ["--by", "resolution"], ["--convention", "bologna"]):
        output = CliRunner().invoke(cli, ["report", name, "--batch", "128", *options]).output
        assert max(map(len, output.splitlines())) <= 100


@pytest.mark.parametrize(
    "command",
    [
        "report googlenet --naive-vs-reduced", "list", "schema", "compare vgg16 alexnet",
        "compare vgg16 alexnet resnet50 googlenet", "compare vgg16 vgg16:base_channels=32,batch=4",
        "compare resnet50-torchvision alexnet-torchvision vgg19-torchvision", "explain googlenet inception4e",
        "explain inception_v3 mixed6e", "explain resnet101 layer3", "explain inception_v3 mixed6e --convention xla",
        "conventions", "conventions thop", "reconcile resnet50 8.18G", "reconcile inception_v3 5.73G",
    ],
)  # fmt: skip
def test_wide_tables_fit_too(command):
    assert max(map(len, run(*command.split()).splitlines())) <= 100


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["report", "vgg61"], REFUSED, "no architecture 'vgg61' (did you mean"),
        (["report", "nowhere.yaml"], REFUSED, "nowhere.yaml: cannot be read: No such file or directory"),
        (["report", "vgg16", "--set", "clases=3"], REFUSED, "did you mean 'classes'?"),
        (["report", "vgg16", "--set", "classes"], REFUSED, "a setting is KEY=VALUE, not 'classes'"),
        (["report", "vgg16", "--set", "classes=[1"], REFUSED, "cannot be read as a YAML value"),
        (["report", "vgg16", "--set", "batch=3"], REFUSED, "batch is not a setting of a spec: use --batch 3"),
        (["report", "vgg16", "--set", "height=3"], REFUSED, "use --input HxW"),
        (["report", "vgg16", "--input", "big"], REFUSED, "--input must be a whole number of at least 1"),
        (["report", "vgg16", "--batch", "0"], REFUSED, "batch must be a whole number of at least 1"),
        (["report", "vgg16", "--convention", "flps"], REFUSED, "no convention 'flps' (did you mean 'flops'?)"),
        (["report", "vgg16", "--dtype", "float"], REFUSED, "no dtype 'float'"),
        (["explain", "vgg16", "head", "--dtype", "fp31"], REFUSED, "no dtype 'fp31' (did you mean 'fp32'"),
        (["explain", "vgg16", "head", "--convention", "maccs"], REFUSED, "no convention 'maccs' (did you mean 'macs'"),
        (["report", "vgg16", "--input", "16"], REFUSED, "stage5/pool: a kernel of 2 is larger than the input of 1"),
        (["explain", "googlenet", "inception3a/55"], REFUSED, "did you mean 'inception3a/5x5'"),
        (["spec", "vgg"], REFUSED, "no architecture 'vgg'"),
        (["conventions", "tops"], REFUSED, "no convention 'tops' (did you mean 'thop'"),
        (["conventions", "a", "b"], MISUSED, "unexpected extra argument (b)"),
        (["report", "vgg16", "-o", "no/such/folder/out.txt"], REFUSED, "cannot write the file: No such file or directory"),
        (["report", "vgg16:batch"], REFUSED, "a setting is KEY=VALUE, not 'batch'"),
        (["report", "vgg16", "--input", "64x"], REFUSED, "--input is HxW, such as 320x480"),
        (["report", "vgg16", "--input", "1x2x3x4"], REFUSED, "--input is HxW or CxHxW"),
        (["report", "vgg16", "--depth", "2"], MISUSED, "--depth requires --by stage"),
        (["report", "googlenet", "--naive-vs-reduced", "--by", "stage"], MISUSED, "cannot be combined with --by, --strict or --training"),
        (["report"], MISUSED, "Missing argument 'TARGET'"),
        (["report", "vgg16", "--by", "colour"], MISUSED, "'colour' is not one of"),
        (["repot"], MISUSED, "No such command 'repot' (did you mean 'report'?)"),
    ],
)  # fmt: skip
def test_mistakes_of_users(args, code, message):
    assert message in run(*args, code=code)


def test_unknown_layers_make_totals_lower_bounds_and_strict_fails(tmp_path):
    path = tmp_path / "net.yaml"
    path.write_text(
        "name: net\ninput: {channels: 3, height: 8, width: 8}\n"
        "layers:\n  - conv2d(4, 3)\n  - odd: unknown('deform_conv2d')\n"
    )
    text = run("report", path)
    assert "≥ 112 parameters" in text
    assert "odd (deform_conv2d)" in text
    data = run_json("report", path)
    assert data["unknown"] == [{"name": "odd", "op": "deform_conv2d"}]
    assert data["rows"][1]["params"] is None
    assert "≥ 0" in next(line for line in run("report", path, "--by", "stage").splitlines() if line.startswith("odd"))
    assert "1 layer could not be counted" in run("report", path, "--strict", code=REFUSED)
    run("report", "vgg16", "--strict")
    assert "≥" in run("compare", path, "nin")


def test_input_takes_a_side_a_plane_or_an_image():
    for size, expected in (("64", [3, 64, 64]), ("64x32", [3, 64, 32]), ("1x64x32", [1, 64, 32])):
        assert run_json("report", "resnet18", "--input", size)["inputs"] == {"input": [1, *expected]}


def test_networks_without_a_plane_are_compared_by_their_head(tmp_path):
    path = tmp_path / "mlp.yaml"
    path.write_text("name: mlp\ninputs: {x: [4, 784]}\nlayers:\n  - linear(10)\n")
    stages = {s["stage"]: s["architectures"] for s in run_json("compare", path, "vgg16", "--metric", "macs")["stages"]}
    assert stages["head"]["mlp"]["value"] == 4 * 784 * 10
    assert stages["1/1"]["mlp"] is None
    sequence = tmp_path / "tokens.yaml"
    sequence.write_text("name: tokens\ninputs: {x: [2, 16, 64]}\nlayers:\n  - linear(32)\n")
    assert [row["name"] for row in run_json("report", sequence, "--by", "resolution")["rows"]] == ["head"]
    line = next(e for e in run_json("explain", sequence, "linear")["lines"] if e["quantity"] == "MACs")
    assert (line["formula"], line["numbers"]) == ("N·S·F_out·F_in", "2·16·32·64")


def test_names_of_other_scripts_keep_columns_lined_up(tmp_path):
    path = tmp_path / "net.yaml"
    path.write_text(
        "name: net\ninput: {channels: 3, height: 8, width: 8}\nlayers:\n  - 网络: relu()\n  - a|b: relu()\n",
        encoding="utf-8",
    )
    lines = run("report", path).splitlines()
    header, first, second = (next(line for line in lines if line.startswith(s)) for s in ("layer", "网络", "a|b"))
    assert first.index("3×8×8") + 2 == second.index("3×8×8") == header.index("output")
    assert "a\\|b" in run("report", path, "--format", "markdown")


def test_version_and_help_have_examples():
    assert run("--version") == f"costcalc {__version__}\n"
    commands = ("list", "report", "compare", "explain", "check", "claims", "reconcile", "conventions", "schema", "spec")
    for command in commands:
        assert "Example" in run(command, "--help")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_output_that_cannot_be_written_is_a_message():
    command = f"{sys.executable} -m costcalc report resnet152 > /dev/full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "costcalc: cannot write the output: No space left on device\n")


def test_explain_says_what_a_convention_counts_as_parameters():
    lines = run_json("explain", "resnet50", "layer1/block_1/main/conv1/bn", "--convention", "keras")["lines"]
    values = {line["quantity"]: line["value"] for line in lines}
    assert (values["parameters"], values["parameters of keras"]) == (2 * 64, 4 * 64)


def test_a_reader_that_stops_reading_is_no_error():
    command = f"{sys.executable} -m costcalc report resnet152 | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_terminal_without_the_signs_is_no_error():
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-m", "costcalc", "report", "nin"], capture_output=True, env=env)
    assert done.returncode == 0


def test_a_report_loads_no_torch_numpy_or_sympy():
    check = (
        "import sys; sys.argv = ['costcalc', 'report', 'googlenet', *sys.argv[1:]]\n"
        "from costcalc.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'numpy', 'sympy', 'tabulate'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )
    for options in ([], ["--naive-vs-reduced"], ["--by", "stage", "--format", "json"]):
        done = subprocess.run([sys.executable, "-c", check, *options], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
