"""Moves that keep the function, proven: both networks in torch, the weights carried over, equal outputs.

Everything is random, running statistics too, and computed in double precision: what is left is rounding.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache

import pytest
import torch
from small_graphs import chain

import costcalc
from costcalc import CostcalcError, Graph, rewrite
from costcalc.ir.ops import OPS
from costcalc.torch_backend import build, transfer_weights, weight_transfer
from costcalc.transforms import rules

TOLERANCE = 1e-10  # of the largest element of the output
KEEPING = [rule.name for rule in rules().values() if rule.same_function]
SIZES = {"alexnet": 67, "inception_v3": 75} | {f"resnet{depth}-cifar": 8 for depth in (20, 32, 44, 56, 110)}
HAND_MADE = {}  # by rule: a graph with a place for it, where no shipped network has one


@cache
def small(name):
    """A shipped network with a small input and few channels; auxiliary heads are there where the plane is large enough."""
    settings = costcalc.architectures()[name].settings
    size = next((size for start, size in SIZES.items() if name.startswith(start)), 64)
    given = {"base_channels": 4} if "base_channels" in settings else {}
    given |= {"classes": 7} if "classes" in settings else {}
    given |= {"aux": True} if name == "googlenet-torchvision" else {}
    graph = costcalc.load(name, batch=2, height=size, width=size, **given)
    return Graph(graph.name, graph.inputs, tuple(map(narrow, graph.nodes)), graph.outputs)


def narrow(node):
    """An eighth of the channels or features where there are many."""
    for width in ("out_channels", "out_features"):
        if getattr(node.op, width, 0) > 31:
            return replace(node, op=replace(node.op, **{width: getattr(node.op, width) // 8}))
    return node


def randomised(graph):
    """A network in double precision for inference; scales keep what it computes of the order of 1."""
    network = build(graph, device="meta").to_empty(device="cpu").double().eval()
    generator = torch.Generator().manual_seed(1)
    for name, tensor in network.state_dict().items():
        if tensor.dim() > 1:
            tensor.uniform_(-1, 1, generator=generator).mul_((6 / tensor[0].numel()) ** 0.5)
        elif name.endswith(("running_var", "weight")):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif name.endswith("num_batches_tracked"):
            tensor.fill_(7)
        else:
            tensor.uniform_(-0.5, 0.5, generator=generator)
    return network


def outputs(graph, network):
    generator = torch.Generator().manual_seed(2)
    images = [torch.randn(shape, generator=generator, dtype=torch.float64) for _, shape, *_ in graph.inputs]
    with torch.no_grad():
        made = network(*images)
    return made if isinstance(made, tuple) else (made,)


def error(before, after):
    """The largest difference of two networks' outputs, relative to the largest element, after weights are carried."""
    theirs = randomised(before)
    ours = build(after, device="meta").to_empty(device="cpu").double().eval()
    transfer_weights(theirs, ours)
    worst = 0.0
    for a, b in zip(outputs(before, theirs), outputs(after, ours), strict=True):
        assert a.shape == b.shape
        assert a.abs().max() > 0
        worst = max(worst, ((a - b).abs().max() / a.abs().max()).item())
    return worst


def changing(move):
    names = [name for name in costcalc.architectures() if rewrite(small(name), move).changed]
    return [*((name, small(name)) for name in names), *([("hand-made", HAND_MADE[move])] if move in HAND_MADE else [])]


@pytest.mark.parametrize("move", KEEPING)
def test_a_move_that_keeps_the_function_is_tried_somewhere(move):
    """A rule without a place in any shipped network needs a graph in HAND_MADE."""
    assert changing(move), f"no network has a place for {move}: give HAND_MADE one"


@pytest.mark.parametrize(
    ("move", "graph"),
    [pytest.param(move, graph, id=f"{move}-{name}") for move in KEEPING for name, graph in changing(move)],
)
def test_the_outputs_are_equal(move, graph):
    after = rewrite(graph, move).after
    assert error(graph, after) < TOLERANCE


@pytest.mark.parametrize(
    ("name", "moves"),
    [
        ("vgg11_bn", ["fold-bn", "fc-to-conv", "1x1-to-linear"]),
        ("vgg11_bn", ["fc-to-conv", "1x1-to-linear", "fold-bn"]),
        ("resnet50", ["fold-bn", "1x1-to-linear", "linear-to-1x1"]),
        ("googlenet-torchvision", ["fold-bn", "fc-to-conv", "1x1-to-linear"]),
    ],
)
def test_moves_after_each_other_keep_it_too(name, moves):
    done = rewrite(small(name), *moves)
    assert all(step.changed for step in done.steps)
    assert error(done.before, done.after) < TOLERANCE


# -- and a mistake shows ------------------------------------------------------------------------------------------


def test_a_wrong_epsilon_shows():
    graph = small("vgg11_bn")
    wrong = [replace(n, op=replace(n.op, eps=2e-5)) if n.op.name == "batch_norm2d" else n for n in graph.nodes]
    before = Graph(graph.name, graph.inputs, tuple(wrong), graph.outputs)
    theirs = randomised(graph)
    ours = build(rewrite(graph, "fold-bn").after, device="meta").to_empty(device="cpu").double().eval()
    twin = build(before, device="meta").to_empty(device="cpu").double().eval()
    twin.load_state_dict(theirs.state_dict())
    transfer_weights(twin, ours)  # as if of a network with another epsilon
    (a,), (b,) = outputs(graph, theirs), outputs(graph, ours)
    assert (a - b).abs().max() / a.abs().max() > 1e3 * TOLERANCE


def test_kernels_read_in_another_order_than_a_flatten_reads_show(monkeypatch):
    graph = small("vgg11")
    given = weight_transfer._source_tensors

    def turned(old, name, kept, wanted):
        tensors = given(old, name, kept, wanted)
        return {key: t.transpose(-1, -2).contiguous() if t.dim() == 4 else t for key, t in tensors.items()}

    after = rewrite(graph, "fc-to-conv").after
    monkeypatch.setattr(weight_transfer, "_source_tensors", turned)
    assert error(graph, after) > 1e3 * TOLERANCE


def test_a_statistic_left_out_shows(monkeypatch):
    graph = small("vgg11_bn")
    after = rewrite(graph, "fold-bn").after
    folded = weight_transfer._fold_batch_norm
    monkeypatch.setattr(
        weight_transfer, "_fold_batch_norm", lambda conv, norm: folded(conv, norm) | {"bias": norm.bias.detach()}
    )
    assert error(graph, after) > 1e3 * TOLERANCE


# -- what is carried ----------------------------------------------------------------------------------------------

CONV, BN = ("conv", OPS["conv2d"](4, 3, bias=False)), ("bn", OPS["batch_norm2d"](eps=0.125))


def test_folding_by_hand():
    graph = chain(CONV, ("bn", OPS["batch_norm2d"](eps=0.75)), shape=(1, 3, 5, 5))
    theirs, ours = build(graph), build(rewrite(graph, "fold-bn").after)
    theirs.bn.running_mean.fill_(3.0)
    theirs.bn.running_var.fill_(3.25)  # √(3.25 + 0.75) = 2
    torch.nn.init.constant_(theirs.bn.weight, 5.0)
    torch.nn.init.constant_(theirs.bn.bias, 1.0)
    transfer_weights(theirs, ours)
    assert torch.equal(ours.conv.weight, theirs.conv.weight * 5 / 2)
    assert torch.equal(ours.conv.bias, torch.full((4,), (0 - 3.0) * 5 / 2 + 1))


@pytest.mark.parametrize("fields", [{"affine": False}, {}])
def test_a_norm_without_scale_is_folded_too(fields):
    graph = chain(("conv", OPS["conv2d"](4, 3)), ("bn", OPS["batch_norm2d"](**fields)), ("relu", OPS["relu"]()))
    assert error(graph, rewrite(graph, "fold-bn").after) < TOLERANCE


def test_a_linear_layer_and_a_convolution_have_the_same_rows():
    graph = chain(("flat", OPS["flatten"]()), ("fc", OPS["linear"](5)), shape=(1, 2, 3, 4))
    theirs, ours = build(graph), build(rewrite(graph, "fc-to-conv").after)
    transfer_weights(theirs, ours)
    assert ours.fc.weight.shape == (5, 2, 3, 4)
    assert torch.equal(ours.fc.weight[1, 1, 2, 3], theirs.fc.weight[1, 1 * 3 * 4 + 2 * 4 + 3])
    again = build(graph)
    transfer_weights(ours, again)
    assert torch.equal(again.fc.weight, theirs.fc.weight)


def test_layers_that_share_parameters_take_them_once():
    nodes = [("a", OPS["conv2d"](3, 3, padding=1)), ("b", OPS["conv2d"](3, 3, padding=1)), ("c", OPS["conv2d"](2, 1))]
    graph = chain(*nodes)
    shared = Graph(
        "s", graph.inputs, tuple(replace(n, shares="a") if n.name == "b" else n for n in graph.nodes), ("c",)
    )
    done = rewrite(shared, "1x1-to-linear")
    assert [change.path for change in done.changed] == ["c"]
    assert error(shared, done.after) < TOLERANCE


def test_layers_whose_weights_cannot_be_carried_are_all_named_and_nothing_is_changed():
    graph = costcalc.load("vgg11", classes=7, base_channels=4, height=64, width=64)
    after = rewrite(graph, "gap-head").after
    extra = (*after.nodes, costcalc.Node("more", OPS["linear"](3), (after.outputs[0],)))
    theirs, ours = build(graph), build(Graph("more", after.inputs, extra, ("more",)))
    kept = copy.deepcopy(ours.state_dict())
    message = r"^the network before the rewrite has no weights for head/fc3 \(weight 7×32, bias 7\), more \(weight 3×7, bias 3\)$"
    with pytest.raises(CostcalcError, match=message):
        transfer_weights(theirs, ours)
    assert all(torch.equal(tensor, kept[key]) for key, tensor in ours.state_dict().items())


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([CONV], [("conv", OPS["conv2d"](4, 3))]),  # a bias more
        ([("conv", OPS["conv2d"](4, 3))], [CONV]),  # a bias less
        ([("conv", OPS["conv2d"](3, 3))], [("conv", OPS["conv2d"](3, 3, groups=3))]),
        ([("conv", OPS["conv2d"](4, (1, 3)))], [("conv", OPS["conv2d"](4, (3, 1)))]),  # as many weights, another kernel
        ([CONV, BN], [CONV]),  # folded, it has a bias
        ([CONV, BN, ("two", OPS["concat"](), "conv", "bn")], [("conv", OPS["conv2d"](4, 3))]),  # others read it, too
        ([CONV, ("bn", OPS["batch_norm2d"](track_running_stats=False))], [("conv", OPS["conv2d"](4, 3))]),
        ([("conv", OPS["linear"](4))], [("conv", OPS["prelu"](4))]),
    ],
)  # fmt: skip
def test_weights_that_are_not_those_of_the_same_function_are_refused(before, after):
    shape = (2, 3, 8, 8) if before[0][1].name == "conv2d" else (2, 4)
    with pytest.raises(CostcalcError, match=r"^the network before the rewrite has no weights for conv \(weight "):
        transfer_weights(build(chain(*before, shape=shape)), build(chain(*after, shape=shape)))


def test_a_network_of_another_maker_is_refused():
    other = torch.fx.symbolic_trace(torch.nn.Sequential(torch.nn.Linear(3, 3)))
    ours = build(chain(("fc", OPS["linear"](3)), shape=(1, 3)))
    with pytest.raises(CostcalcError, match="the network before the rewrite was not returned by costcalc's build"):
        transfer_weights(other, ours)
