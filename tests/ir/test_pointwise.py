"""Arithmetic on elements, activations and reductions: shapes and work by hand, and what torch code becomes."""

from __future__ import annotations

import pytest
import torch
from small_graphs import chain
from torch import nn

import costcalc
from costcalc import Graph, Input, Node
from costcalc.analysis.memory import timeline
from costcalc.core.errors import OpError
from costcalc.frontends.torch.export import from_torch
from costcalc.ir.op import infer_output
from costcalc.ir.ops import OPS
from costcalc.ir.work import Work

IMAGE = (2, 3, 8, 10)
N = 2 * 3 * 8 * 10


def made(op, *inputs):
    output, _ = infer_output(op, inputs)
    return output, op.work(inputs, output)


@pytest.mark.parametrize(
    ("op", "inputs", "output", "work"),
    [
        (OPS["add"](), (IMAGE, (3, 1, 1)), IMAGE, Work(adds=N)),
        (OPS["add"](), ((3, 1, 1), IMAGE, IMAGE), IMAGE, Work(adds=2 * N)),
        (OPS["add"](other=1), (IMAGE,), IMAGE, Work(adds=N)),
        (OPS["add"](alpha=2), (IMAGE, IMAGE), IMAGE, Work(adds=N, muls=N)),
        (OPS["mul"](), ((8, 1), (1, 10)), (8, 10), Work(muls=8 * 10)),
        (OPS["mul"](), (IMAGE, ()), IMAGE, Work(muls=N)),
        (OPS["div"](other=2), (IMAGE,), IMAGE, Work(divs=N)),
        (OPS["pow"](exponent=2), (IMAGE,), IMAGE, Work(muls=N)),
        (OPS["pow"](exponent=0.5), (IMAGE,), IMAGE, Work(exps=N)),
        (OPS["neg"](), (IMAGE,), IMAGE, Work()),
        (OPS["clamp"](min=0), (IMAGE,), IMAGE, Work(compares=N)),
        (OPS["where"](other="-inf"), (IMAGE, IMAGE), IMAGE, Work(compares=N)),
        (OPS["glu"](dim=2), (IMAGE,), (2, 3, 4, 10), Work(exps=1, adds=1, divs=1, muls=1) * (N // 2)),
        (OPS["log_softmax"](dim=-1), (IMAGE,), IMAGE, Work(compares=N, exps=N + N // 10, adds=2 * N)),
        (OPS["mean"](dim=(2, 3)), (IMAGE,), (2, 3), Work(adds=N - 6, divs=6)),
        (OPS["mean"](dim=(2, 3), keepdim=True), (IMAGE,), (2, 3, 1, 1), Work(adds=N - 6, divs=6)),
        (OPS["sum"](), (IMAGE,), (), Work(adds=N - 1)),
        (OPS["max"](dim=1), (IMAGE,), (2, 8, 10), Work(compares=N - 2 * 8 * 10)),
        (OPS["var"](dim=-1), (IMAGE,), (2, 3, 8), Work(adds=3 * N - 2 * 48, muls=N, divs=2 * 48)),
        (OPS["vector_norm"](dim=1), (IMAGE,), (2, 8, 10), Work(muls=N, adds=N - 160, exps=160)),
        (OPS["cumsum"](1), (IMAGE,), IMAGE, Work(adds=2 * 2 * 8 * 10)),
    ],
    ids=str,
)
def test_shape_and_work(op, inputs, output, work):
    assert made(op, *inputs) == (output, work)


@pytest.mark.parametrize(
    ("op", "inputs", "message"),
    [
        (OPS["mul"](), (IMAGE, (2, 3, 8, 9)), "mul takes inputs that agree in width, not 10 and 9"),
        (OPS["mul"](), (IMAGE,), "mul takes 2 inputs, or numbers in place of some, not 1 and 0"),
        (OPS["mul"](other=2), (IMAGE, IMAGE), "mul takes 2 inputs, or numbers in place of some, not 2 and 1"),
        (OPS["add"](other=2), (IMAGE, IMAGE), "add takes one input and a number, not 2"),
        (OPS["clamp"](), (IMAGE,), "clamp needs a bound"),
        (OPS["mean"](dim=(1, -3)), (IMAGE,), "mean takes each dimension once"),
        (OPS["sum"](dim=4), (IMAGE,), "dim 4 is not a dimension of an input with 4"),
        (OPS["glu"](), ((2, 5),), "glu needs an even size to halve, not 5"),
    ],
    ids=str,
)
def test_what_cannot_be(op, inputs, message):
    with pytest.raises(OpError, match=message):
        infer_output(op, inputs)


def test_what_elements_become():
    assert OPS["add"](other=1).element_type("bool") == "int64"
    assert OPS["add"](other=1.5).element_type("int64") == "float"
    assert OPS["mul"]().element_type("int32", "bool") == "int32"
    assert OPS["div"]().element_type("int64", "int64") == "float"
    assert OPS["sum"]().element_type("bool") == "int64"
    assert OPS["gt"](other=0).element_type("float") == "bool"
    assert OPS["argmax"]().element_type("float") == "int64"


def test_a_number_is_written_and_read_as_it_is():
    assert str(OPS["add"](other=True)) == "add(other=1)"
    assert str(OPS["masked_fill"](value=float("-inf"))) == "masked_fill(value='-inf')"
    with pytest.raises(OpError, match="other must be a number, or 'inf' or '-inf', not 'x'"):
        OPS["mul"](other="x")


def saved(*nodes):
    graph = Graph("g", (Input("input", IMAGE),), nodes, (nodes[-1].name,))
    return timeline(graph, training=True).saved_by_layer


def test_a_product_keeps_an_operand_only_for_the_gradient_of_the_other():
    conv, relu = OPS["conv2d"](3, 1), OPS["relu"](inplace=False)
    both = saved(Node("a", conv, ("input",)), Node("b", conv, ("input",)), Node("mul", OPS["mul"](), ("a", "b")))
    assert both == {"a": 4 * N, "b": 4 * N}
    one = saved(Node("a", conv, ("input",)), Node("r", relu, ("input",)), Node("mul", OPS["mul"](), ("a", "r")))
    assert one == {"r": 4 * N}


def test_a_gradient_is_summed_to_the_shape_of_what_was_repeated():
    scale = OPS["parameter"]((3, 1, 1))
    graph = Graph(
        "g",
        (Input("input", IMAGE),),
        (Node("scale", scale, ()), Node("mul", OPS["mul"](), ("input", "scale"))),
        ("mul",),
    )
    answer = timeline(graph, training=True)
    assert answer.peak_live == 4 * (N + 3 + 2)  # the product summed to 3, and the loss and its gradient


def test_integers_have_no_gradient():
    graph = chain(("conv", OPS["conv2d"](3, 1)), ("found", OPS["argmax"](dim=1)), shape=IMAGE)
    conv, _ = costcalc.analyze(graph, training=True).rows
    assert conv.backward_macs == 0


class Arithmetic(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3, 1, 1))
        self.register_buffer("mask", torch.zeros(8, 10, dtype=torch.bool))

    def forward(self, x):
        x = (1 - x * self.scale + 0.5).pow(2) / 3
        x = torch.where(x > 0, x.masked_fill(self.mask, float("-inf")), 0.0).clamp(-1, 1)
        best, place = x.max(dim=1, keepdim=True)
        x = x.add_(best) * torch.rsqrt(x.square().mean((2, 3), keepdim=True) + 1e-6)
        return nn.functional.normalize(x, dim=1), place


def test_torch_code_becomes_layers():
    graph = from_torch(Arithmetic(), torch.zeros(IMAGE))
    ops = [str(node.op) for node in graph.nodes]
    assert ops[:6] == [
        "parameter((3, 1, 1))",
        "mul()",
        "rsub(other=1)",
        "add(other=0.5)",
        "pow(exponent=2)",
        "div(other=3)",
    ]
    assert {"masked_fill(value='-inf')", "max(dim=1, keepdim=True)"} <= set(ops)
    assert not [node for node in graph.nodes if not node.op.modelled]
    assert costcalc.check(graph, device="cpu").differences == ()


ACTIVATIONS = (
    *(
        nn.ReLU(),
        nn.ReLU(True),
        nn.ReLU6(),
        nn.ReLU6(True),
        nn.SiLU(True),
        nn.GELU(),
        nn.GELU("tanh"),
        nn.Hardswish(True),
    ),
    *(
        nn.Hardsigmoid(),
        nn.LeakyReLU(0.2),
        nn.ELU(2.0, True),
        nn.Mish(),
        nn.PReLU(3),
        nn.Sigmoid(),
        nn.Tanh(),
        nn.Softplus(),
    ),
    *(nn.Softmax(1), nn.LogSoftmax(1), nn.Hardtanh(), nn.Threshold(0.5, 1.0), nn.CELU(), nn.SELU(), nn.RReLU()),
    *(nn.Softshrink(), nn.Hardshrink(), nn.LogSigmoid()),
)


def test_every_activation_of_torch_is_itself():
    graph = from_torch(nn.Sequential(*ACTIVATIONS), torch.zeros(IMAGE))
    assert len(graph.nodes) == len(ACTIVATIONS)
    for node, module in zip(graph.nodes, ACTIVATIONS, strict=True):
        assert node.op.name.replace("_", "") == type(module).__name__.lower()
        assert getattr(node.op, "inplace", False) == getattr(module, "inplace", False)
