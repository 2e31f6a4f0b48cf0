"""Convolutions of any rank, transposed ones, products, attention and embeddings: worked by hand, and as models."""

from __future__ import annotations

import pytest
import torch
from test_memory_random import figures
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import costcalc
from costcalc import Graph, Input, Node, rewrite
from costcalc.analysis.memory import timeline
from costcalc.core.errors import OpError
from costcalc.frontends.torch.export import from_torch
from costcalc.ir.op import infer_output
from costcalc.ir.ops import OPS
from costcalc.torch_backend import observe


def work(op, *inputs):
    output, _ = infer_output(op, inputs)
    return output, op.work(inputs, output)


# -- convolutions -------------------------------------------------------------------------------------------------


def test_convolutions_along_one_two_and_three_axes():
    for axes, plane in ((1, (9,)), (2, (9, 11)), (3, (5, 9, 11))):
        op = OPS[f"conv{axes}d"](12, 3, stride=2, padding=1, groups=2)
        output, done = work(op, (2, 4, *plane))
        positions = 1
        for n in plane:
            positions *= (n + 2 - 3) // 2 + 1
        assert output == (2, 12, *((n + 2 - 3) // 2 + 1 for n in plane))
        assert (done.macs, done.adds) == (2 * positions * 12 * 2 * 3**axes, 2 * 12 * positions)
        assert op.parameters((2, 4, *plane)) == {"weight": (12, 2, *(3,) * axes), "bias": (12,)}


def test_a_transposed_convolution_does_a_kernels_work_at_each_place_of_its_input():
    op = OPS["conv_transpose2d"](6, 2, stride=2)
    output, done = work(op, (2, 4, 8, 7))
    assert output == (2, 6, 16, 14)
    assert (done.macs, done.adds) == (2 * 8 * 7 * 4 * 6 * 2 * 2, 2 * 6 * 16 * 14)
    grouped = OPS["conv_transpose1d"](6, 3, stride=3, padding=1, output_padding=2, dilation=2, groups=2)
    output, done = work(grouped, (2, 4, 9))
    assert output == (2, 6, 8 * 3 - 2 + 2 * 2 + 2 + 1)
    assert done.macs == 2 * 9 * 4 * 3 * 3
    with pytest.raises(OpError, match="output_padding must be below"):
        OPS["conv_transpose3d"](6, 3, stride=2, output_padding=2)


def test_given_weights_are_no_parameters_and_cost_the_same():
    own, given = ((2, 4, 9, 9),), ((2, 4, 9, 9), (8, 2, 3, 3), (8,))
    op = OPS["conv2d"](8, 3, groups=2)
    assert work(op, *own) == work(op, *given)
    assert op.parameters(*given) == {}
    assert op.backward_macs(100, False, (True, True, True)) == 200
    with pytest.raises(OpError, match="takes 1 input, or 3 with its weight and its bias, not 2"):
        infer_output(op, given[:2])
    with pytest.raises(OpError, match="a weight of 8×2×3×3, not of 8×4×3×3"):
        infer_output(op, (given[0], (8, 4, 3, 3), (8,)))
    with pytest.raises(OpError, match="an input of 3 sizes"):
        infer_output(OPS["conv1d"](8, 3), ((4, 9),))


def test_taps_on_the_padding_of_a_sequence():
    graph = Graph("net", (Input("x", (1, 3, 16)),), (Node("c", OPS["conv1d"](5, 3, padding=1), ("x",)),), ("c",))
    assert costcalc.analyze(graph, convention="xla").total().flops == 2 * 5 * 3 * 46


@pytest.mark.parametrize(
    "rule",
    [
        "factorize",
        "stack3x3",
        "separable",
        "shortcut:B",
        "bottleneck:4",
        "gap-head",
        "fold-bn",
        "fc-to-conv",
        "stem:4",
        "linear-to-1x1",
    ],
)
def test_rules_leave_convolutions_with_given_weights_alone(rule):
    nodes = (
        Node("w", OPS["parameter"]((8, 4, 5, 5)), ()),
        Node("conv", OPS["conv2d"](8, 5, padding=2, bias=False), ("x", "w")),
        Node("norm", OPS["batch_norm2d"](), ("conv",)),
        Node("up", OPS["conv_transpose2d"](4, 2, stride=2), ("norm",)),
        Node("along", OPS["linear"](4, bias=False), ("up", "v")),
    )
    graph = Graph("net", (Input("x", (1, 4, 8, 8)), Input("v", (4, 16))), nodes, ("along",))
    after = {node.name: node.op for node in rewrite(graph, rule).after.nodes}
    assert all(after[node.name] == node.op for node in nodes)


# -- products -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shapes", "made", "macs"),
    [
        (((3, 5), (5, 7)), (3, 7), 3 * 5 * 7),
        (((2, 1, 3, 5), (4, 5, 7)), (2, 4, 3, 7), 2 * 4 * 3 * 5 * 7),
        (((5,), (5,)), (), 5),
        (((2, 3, 5), (5,)), (2, 3), 2 * 3 * 5),
        (((5,), (2, 5, 7)), (2, 7), 2 * 5 * 7),
    ],
)
def test_matrix_products_of_any_rank(shapes, made, macs):
    output, done = work(OPS["matmul"](), *shapes)
    assert (output, done.macs) == (made, macs)
    assert output == tuple(torch.matmul(*(torch.zeros(shape) for shape in shapes)).shape)


def test_matrices_that_do_not_fit():
    with pytest.raises(OpError, match="matmul cannot multiply 2×3 and 4×5"):
        infer_output(OPS["matmul"](), ((2, 3), (4, 5)))


@pytest.mark.parametrize(
    ("equation", "shapes", "macs", "others"),
    [
        ("bhid,bhjd->bhij", ((2, 3, 5, 7), (2, 3, 4, 7)), 2 * 3 * 5 * 4 * 7, (0, 0)),
        ("i,j->ij", ((4,), (5,)), 0, (20, 0)),
        ("ijm,jk", ((2, 3, 4), (3, 5)), 0, None),
        ("ijm,jk->ik", ((2, 3, 4), (3, 5)), 2 * 3 * 5, (0, 2 * 3 * 4 - 2 * 3)),
        ("...ij,...jk", ((2, 1, 3, 4), (5, 4, 6)), 2 * 5 * 3 * 4 * 6, (0, 0)),
        ("ii->i", ((4, 4),), 0, (0, 0)),
        ("ij->", ((4, 3),), 0, (0, 11)),
    ],
)
def test_sums_of_products_by_index(equation, shapes, macs, others):
    op = OPS["einsum"](equation)
    output, done = work(op, *shapes)
    meta = [torch.zeros(shape, device="meta") for shape in shapes]
    with FlopCounterMode(display=False) as counter:
        assert output == tuple(torch.einsum(equation, *meta).shape)
    assert 2 * done.macs == counter.get_total_flops()
    if others is not None:
        assert (done.macs, (done.muls, done.adds)) == (macs, others)


def test_equations_that_do_not_fit():
    for equation, shapes, message in (
        ("ij,jk->ik", ((2, 3),), "is for 2 inputs, not 1"),
        ("ij->ik", ((2, 3),), "must appear there once and in an input"),
        ("ij->i", ((2, 3, 4),), "'ij' in 'ij->i' does not fit an input of 3 dimensions"),
        ("ij,jk->ik", ((2, 3), (4, 5)), "index j is 3 and 4"),
    ):
        with pytest.raises(OpError, match=message):
            infer_output(OPS["einsum"](equation), shapes)


def test_attention():
    heads, queries, keys, features = 8, 10, 12, 16
    shapes = ((2, heads, queries, features), (2, 2, keys, features), (2, 2, keys, 24))
    op = OPS["scaled_dot_product_attention"](enable_gqa=True)
    output, done = work(op, *shapes)
    pairs = 2 * heads * queries * keys
    assert output == (2, heads, queries, 24)
    assert done.macs == pairs * (features + 24)
    assert (done.muls, done.adds, done.exps, done.divs, done.compares) == (pairs,) * 5
    assert op.backward_macs(done.macs, False, (True,) * 3, shapes) == 2 * done.macs
    assert op.backward_macs(done.macs, False, (False, False, True), shapes) == pairs * 24
    with pytest.raises(OpError, match="agree"):
        infer_output(OPS["scaled_dot_product_attention"](), shapes)


# -- memory -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "shapes"),
    [
        ("matmul()", ((3, 2), (2, 4))),
        ("matmul()", ((5, 3, 2), (2, 4))),
        ("matmul()", ((2, 5, 3, 2), (2, 5, 2, 4))),
        ("matmul()", ((5, 3, 2), (2,))),
        ("addmm()", ((4,), (3, 2), (2, 4))),
        ("addmm()", ((3, 4), (3, 2), (2, 4))),
        ("baddbmm()", ((5, 3, 4), (5, 3, 2), (5, 2, 4))),
        ("einsum('ij,jk->ik')", ((2, 3), (3, 4))),
        ("einsum('i,j->ij')", ((2,), (3,))),
        ("linear(3)", ((4, 5, 2), (3, 2), (3,))),
        ("conv1d(4, 3)", ((2, 3, 9), (4, 3, 3), (4,))),
        ("conv_transpose2d(4, 2, stride=2)", ((2, 3, 5, 5), (3, 4, 2, 2), (4,))),
    ],
)
@pytest.mark.parametrize("trained", [(0, 1, 2), (0,), (1,)])
def test_live_memory_in_training(call, shapes, trained):
    """Only tensors that a gradient needs are saved, for operands that are parameters and others that are not."""
    name, _, arguments = call.partition("(")
    nodes = [Node(f"p{i}", OPS["parameter"](shape), ()) for i, shape in enumerate(shapes) if i in trained]
    inputs = [Input(f"x{i}", shape) for i, shape in enumerate(shapes) if i not in trained] or [Input("unused", (1,))]
    taken = tuple(f"p{i}" if i in trained else f"x{i}" for i in range(len(shapes)))
    nodes += [Node("op", eval(f"OPS[{name!r}]({arguments}"), taken), Node("relu", OPS["relu"](inplace=False), ("op",))]
    graph = Graph("net", tuple(inputs), tuple(nodes), ("relu",))
    predicted, observed = timeline(graph, training=True), observe(graph, device="cpu", training=True)
    assert figures(predicted) == figures(observed)


# -- models -------------------------------------------------------------------------------------------------------


class Many(nn.Module):
    """What is convolved and multiplied in all the ways there are."""

    def __init__(self):
        super().__init__()
        self.along, self.same = nn.Conv1d(4, 8, 3, padding="same"), nn.Conv2d(3, 4, 2, padding="same")
        self.volume = nn.Conv3d(2, 4, 3, bias=False)
        self.longer, self.larger = nn.ConvTranspose1d(8, 4, 2, stride=2), nn.ConvTranspose2d(4, 6, 2, 2)
        self.kernel, self.table = nn.Parameter(torch.randn(4, 4, 3, 3)), nn.Embedding(10, 4)
        self.matrix = nn.Parameter(torch.randn(4, 5))

    def forward(self, sequence, image, volume, words):
        x = self.longer(self.along(sequence))
        y = self.larger(F.conv2d(self.same(image), self.kernel, padding=1))
        e = self.table(words)
        a = F.scaled_dot_product_attention(e, e, e, is_causal=True)
        b = torch.einsum("bnd,bmd,bmk->bnk", a, e, e)
        c = torch.addmm(self.matrix[0], b[0], self.matrix)
        d = torch.tensordot(b, self.matrix, dims=([2], [0]))
        return x, y, self.volume(volume), F.linear(b, self.table.weight), c @ c.mT, d


def test_a_model_with_all_of_them():
    module = Many().to("meta")
    inputs = [torch.zeros(s, device="meta") for s in ((2, 4, 9), (2, 3, 8, 8), (1, 2, 5, 5, 5))]
    inputs.append(torch.zeros(2, 6, dtype=torch.int64, device="meta"))
    graph = from_torch(module, *inputs)
    total = costcalc.analyze(graph).total()
    assert graph.notes == ()
    assert not total.unknown_layers
    assert total.params == sum(p.numel() for p in module.parameters())
    with FlopCounterMode(display=False) as counter:
        module(*inputs)
    assert 2 * total.macs == counter.get_total_flops()


def test_what_fvcore_and_timm_make_of_products():
    """fvcore 0.1.5: matrix products by the left one's batch, attention as one call not at all; timm's macts of it."""
    nodes = (
        Node("qk", OPS["matmul"](), ("q", "k")),
        Node("sdpa", OPS["scaled_dot_product_attention"](), ("q", "q", "q")),
        Node("row", OPS["matmul"](), ("q", "w")),
        Node("up", OPS["conv_transpose1d"](3, 2, stride=2), ("s",)),
        Node("sum", OPS["einsum"]("bhnd,bhmd->bhnm"), ("q", "q")),
    )
    inputs = (Input("q", (2, 3, 5, 7)), Input("k", (2, 3, 7, 4)), Input("w", (7, 6)), Input("s", (2, 5, 8)))
    graph = Graph("net", inputs, nodes, ("qk", "sdpa", "row", "up", "sum"))
    counted = 2 * 3 * 5 * 7 * 4 + 2 * 3 * 5 * 7 * 6 + 2 * 8 * 5 * 3 * 2 + 2 * 3 * 5 * 5 * 7
    costs = costcalc.analyze(graph, convention="timm")
    assert costs.total().flops == costcalc.analyze(graph, convention="fvcore").total().flops == counted
    seen = 2 * 3 * 5 * 4 + 2 * 3 * 5 * 6 + 2 * 3 * 16 + 2 * 3 * 5 * 5
    assert costs.total().counted_activations == seen
