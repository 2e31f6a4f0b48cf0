"""torch models as targets: models of libraries, and Python code of the user."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy
import pytest
import sympy
from click.testing import CliRunner

import costcalc
from costcalc import Graph, Input, Node
from costcalc.cli import cli
from costcalc.core.errors import CostcalcError, FixedSizeError
from costcalc.frontends.free_sizes import SymbolicGraph
from costcalc.frontends.target import LIBRARIES, ImportedModel, is_imported, reject_fixed_sizes
from costcalc.frontends.torch.sources import LIBRARY_SOURCES
from costcalc.ir.ops import OPS

RESNET = "torchvision:resnet18"
OWN = """
import torch
from torch import nn

print("a model says something")

class Net(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.fc = nn.Linear(8, classes)
        self.spare = nn.Linear(8, 3)

    def forward(self, x):
        return self.fc(self.conv(x).mean((2, 3)))

class Text(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.embed = nn.Embedding(100, width)
        self.out = nn.Linear(width, 100)

    def forward(self, ids, mask=None):
        x = self.embed(ids)
        return self.out(x if mask is None else x * mask.unsqueeze(-1))

class Edges(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 8)

    def forward(self, x, edges, steps):
        out = self.fc(x).relu()
        return torch.zeros_like(out).index_add(0, edges[1], out[edges[0]]) * steps.float().mean()

class Branch(Net):
    def forward(self, x):
        return super().forward(x if x.sum() > 0 else -x)

def nodes():
    return Edges(), (torch.zeros(20, 16), torch.zeros(2, 40, dtype=torch.int64), torch.zeros(20, dtype=torch.int64))

class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, t, x):
        return (self.fc(x) * t).sum()

def scaled():
    return Scaled(), (torch.tensor(1.0), torch.zeros(2, 4))

class Ready(Net):
    example_inputs = torch.zeros(2, 3, 8, 8)

net = Net()
number = 3

def text(width=16):
    return Text(width), {"ids": torch.zeros(2, 12, dtype=torch.int64), "mask": torch.zeros(2, 12, dtype=torch.bool)}

def broken():
    raise KeyError("nope")

def no_module():
    return 3
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The name of a Python module with models, in the working directory; no other test has the same name."""
    name = "own_" + re.sub(r"\W", "_", tmp_path.name)
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def run(*args, code=0):
    done = CliRunner().invoke(cli, [str(arg) for arg in args], prog_name="costcalc")
    assert done.exit_code == code, done.output + done.stderr
    return done


def totals(graph):
    total = costcalc.analyze(graph).total()
    return total.params, total.work.macs


def refused(target, **options):
    with pytest.raises(CostcalcError) as error:
        costcalc.load(target, **options)
    return str(error.value)


# -- libraries ----------------------------------------------------------------------------------------------------


def test_a_model_of_torchvision():
    graph = costcalc.load(RESNET)
    assert (graph.name, graph.batch, graph.inputs[0].shape) == (RESNET, 1, (1, 3, 224, 224))
    assert totals(graph) == totals(costcalc.load("resnet18"))
    small = costcalc.load(RESNET, batch=2, height=64, width=96, num_classes=10)
    assert small.settings == {"num_classes": 10}
    assert totals(small) == totals(costcalc.load("resnet18", batch=2, height=64, width=96, classes=10))


def test_sizes_of_every_carrier_give_the_same():
    batch, height = sympy.symbols("batch height", integer=True, positive=True)
    formula = costcalc.analyze(costcalc.load(RESNET, batch=batch, height=height, width=height)).total().work.macs
    for n, side in ((1, 224), (3, 97)):
        macs = totals(costcalc.load(RESNET, batch=n, height=side, width=side))[1]
        assert formula.subs({batch: n, height: side}).doit() == macs
    assert costcalc.load(RESNET, batch=3) == ImportedModel(RESNET).graph_factory("batch")(batch=3)


def test_every_command_accepts_an_imported_model():
    small = f"{RESNET}:num_classes=10"
    size = ("--input", "64x64")
    assert "11,181,642 parameters" in run("report", small, *size).output
    assert "11,181,642" in run("compare", small, "resnet18", *size).output
    assert "conv1" in run("explain", small, "conv1", *size).output
    assert "layer1" in run("field", small, "layer1", *size).output
    assert "fc" in run("rewrite", small, "fold-bn", *size).output
    assert "fold-bn" in run("moves", "fold-bn", "--on", small, *size).output
    assert "alive at the peak" in run("memory", small, *size).output
    assert "batch " in run("memory", f"{small}+fold-bn", "--fit", "64MiB", *size).output
    assert "11,181,642" in run("reconcile", small, "11.18M params", *size).output


def test_closed_forms():
    done = run("formula", RESNET, "--in", "batch,height,width", "--of", "macs")
    assert "36,144·N·H·W + 512,000·N" in done.output


def test_a_size_that_a_model_fixes(own):
    with Path(f"{own}.py").open("a") as file:
        file.write(
            "\nclass Fixed(nn.Module):\n"
            "    example_inputs = torch.zeros(1, 3, 8, 8)\n"
            "    def __init__(self):\n        super().__init__()\n        self.fc = nn.Linear(192, 5)\n"
            "    def forward(self, x):\n        return self.fc(x.flatten(1))\n"
        )
    done = run("formula", f"{own}:Fixed", "--in", "batch,height", code=1)
    assert f"{own}:Fixed fixes height to 8" in done.stderr
    assert "960·N" in run("formula", f"{own}:Fixed", "--in", "batch", "--of", "macs").output
    assert "fixes height" in run("memory", f"{own}:Fixed", "--fit", "1MiB", "--input", code=1).stderr


def test_a_layer_of_one_size_fixes_it():
    n = sympy.Symbol("batch", integer=True, positive=True)
    nodes = (Node("made", OPS["full"]((2, 3)), ()), Node("sum", OPS["add"](), ("x", "made")))
    symbolic = SymbolicGraph(Graph("net", (Input("x", (n, 3)),), nodes, ("sum",)), {}, {})
    with pytest.raises(FixedSizeError, match="fixes batch: a layer requires batch = 2"):
        reject_fixed_sizes("net", symbolic, ("batch",))
    halves = Graph("net", (Input("x", (1, n)),), (Node("half", OPS["reshape"]((1, 2, n // 2)), ("x",)),), ("half",))
    reject_fixed_sizes("net", SymbolicGraph(halves, {}, {}), ("batch",))  # "even" is not one value


def test_unused_parameters_are_listed(own):
    target = f"{own}:Ready"
    assert "Not counted: 27 parameters that no layer uses: spare." in run("report", target).output
    data = json.loads(run("report", target, "--format", "json").output)
    assert data["unused_params"] == {"spare.weight": [3, 8], "spare.bias": [3]}
    assert data["totals"]["params"] == 8 * 28 + 10 * 9


def test_mistakes_about_libraries():
    assert "did you mean 'resnet18'?" in refused("torchvision:resnet81")
    assert "without weights" in refused(RESNET, weights="DEFAULT")
    assert "unexpected keyword argument 'classes'" in refused(RESNET, classes=10)
    assert "its inputs have batch, channels, height, width" in refused(RESNET, sequence=3)
    assert "it cannot be a variable" in refused(RESNET, num_classes=sympy.Symbol("n"))


# -- code of the user ---------------------------------------------------------------------------------------------


def test_code_of_the_user(own):
    linear = 8 * 28 + 10 * 9, 32 * 32 * 216 + 80
    for name in ("Net", "net"):
        assert totals(costcalc.load(f"{own}:{name}", input="3x32x32")) == linear
    assert totals(costcalc.load(f"{own}.py:Net", input="3x32x32")) == linear
    assert totals(costcalc.load(f"{own}:Net", input="3x32x32", classes=7))[0] == 8 * 28 + 7 * 9
    assert costcalc.load(f"{own}:Ready", input="16x24").inputs[0].shape == (2, 3, 16, 24)
    text = costcalc.load(f"{own}:text", sequence=5, width=8)
    assert [(i.name, i.shape, i.element_type) for i in text.inputs] == [
        ("ids", (2, 5), "int64"),
        ("mask", (2, 5), "bool"),
    ]
    assert totals(text) == (800 + 900, 2 * 5 * 800)
    done = run("report", f"{own}:Text", "--input", "ids=12:int64,mask=12:bool", "--batch", 3, "--format", "json")
    assert json.loads(done.output)["inputs"] == {"ids": [3, 12], "mask": [3, 12]}
    done = run("formula", f"{own}:text", "--in", "batch,sequence", "--of", "macs")
    assert "1,600·N·sequence" in done.output


def test_an_input_with_another_leading_dimension_has_no_batch(own, tmp_path):
    target = f"{own}:nodes"
    graph = costcalc.load(target)
    macs, adds = 20 * 16 * 8, 40 * 8
    assert costcalc.analyze(graph).total().work.macs == macs
    assert run("report", target).output.splitlines()[1].startswith("x 16, edges 2×40, steps, batch 20, ")
    assert [i.shape for i in costcalc.load(target, batch=5).inputs] == [(5, 16), (2, 40), (5,)]
    assert [i.shape for i in graph.with_batch(5).inputs] == [(5, 16), (2, 40), (5,)]
    run("import", target, "-o", tmp_path / "nodes.yaml")
    for batch in (20, 7):
        read = costcalc.load(tmp_path / "nodes.yaml", batch=batch)
        assert [i.shape for i in read.inputs] == [(batch, 16), (2, 40), (batch,)]
        work = costcalc.analyze(read).total().work
        assert work == costcalc.analyze(costcalc.load(target, batch=batch)).total().work
        assert (work.macs, work.adds) == (macs // 20 * batch, adds + 8 * batch + batch - 1)
    done = run("formula", target, "--in", "batch", "--of", "macs")
    assert "128·N" in done.output


def test_a_scalar_as_the_first_input(own, tmp_path):
    target = f"{own}:scaled"
    run("import", target, "-o", tmp_path / "scaled.yaml")
    for name in (target, tmp_path / "scaled.yaml"):
        graph = costcalc.load(name, batch=5)
        assert (graph.batch, [i.shape for i in graph.inputs]) == (5, [(), (5, 4)])
        assert costcalc.analyze(graph).total().work.macs == 5 * 12
        assert run("report", name).output.splitlines()[1].startswith("t, x 4, batch 2, ")
        assert "activation bytes" in run("explain", name, "sum").output
    assert "12·N" in run("formula", target, "--in", "batch", "--of", "macs").output
    run("memory", target, "--training", "--fit", "1MB")
    run("check", target, "--device", "cpu", "--train")


def test_messages_of_torch_are_printed_once(own, capfd):
    message = refused(f"{own}:Branch", input="3x8x8")
    assert "a branch depends on the values of a tensor" in message
    refused(f"{own}:Net", input="4x8x8")
    captured = capfd.readouterr()
    assert not re.search("def forward|Traceback|W1|E1|data-dependent", captured.out + captured.err)


def test_mistakes_in_code_of_the_user(own):
    assert "input shape unknown; pass --input without the batch" in refused(f"{own}:Net")
    assert "--input 12:int64" in refused(f"{own}:Text", input="12")
    assert "no dtype 'int65' (did you mean 'int64'?)" in refused(f"{own}:Text", input="12:int65")
    assert re.search(rf"{own}:broken cannot be created: KeyError: 'nope' \(.*{own}\.py:\d+\)", refused(f"{own}:broken"))
    assert re.search(rf"to have 3 channels.*{own}\.py:\d+", refused(f"{own}:Net", input="4x8x8"))
    assert "returns an object of type int; it must return an nn.Module" in refused(f"{own}:no_module")
    assert "is of type int; name an nn.Module" in refused(f"{own}:number")
    assert "has no attribute 'Nett' (did you mean 'Net'?)" in refused(f"{own}:Nett")
    assert "is a module instance and takes no settings; remove 'classes'" in refused(
        f"{own}:net", input="3x8x8", classes=3
    )
    assert "no Python module 'own_nothing' and no shipped architecture" in refused("own_nothing:Net")
    assert "nothing.py: no such file" in refused("nothing.py:Net")


def test_the_libraries_have_sources():
    assert tuple(LIBRARY_SOURCES) == LIBRARIES


def test_specs_and_imported_targets():
    assert all(map(is_imported, ("net.onnx", "timm:x", "torchvision:x", "a.b:c", "a:c.d", "net.py:C")))
    assert not any(map(is_imported, ("vgg16", "net.yaml", "net.yaml:wide", "vgg16:wide", "vgg16:batch=3", "a-b:c")))


def test_arrays_of_sizes():
    batches = numpy.array([1, 2, 5])
    macs = costcalc.analyze(costcalc.load(RESNET, batch=batches)).total().work.macs
    assert list(macs) == [1814073344 * int(n) for n in batches]
