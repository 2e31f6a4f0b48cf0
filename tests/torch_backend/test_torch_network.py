"""The torch module of a graph: one that users can read, train, copy and export."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from small_graphs import chain
from torch import nn

import costcalc
from costcalc import Builder, CostcalcError, Graph, Input, Node
from costcalc.ir.ops import OPS
from costcalc.torch_backend import build, copy_weights


def test_modules_are_named_by_the_paths_of_layers_in_running_order():
    network = build(costcalc.load("googlenet"), device="meta")
    conv = network.get_submodule("inception3a.5x5.conv.conv2d")
    assert isinstance(conv, nn.Conv2d)
    assert conv.weight.shape == (32, 16, 5, 5)
    graph = costcalc.load("googlenet")
    expected = [
        f"{node.name.replace('/', '.')}.{parameter}"
        for node in graph.nodes
        for parameter in node.op.parameters(*graph.input_shapes(node))
    ]
    assert list(network.state_dict()) == expected
    assert "self.stem.conv1.conv2d(input_1)" in network.code


def test_initialisation_is_torchs():
    torch.manual_seed(3)
    ours = build(chain(("conv", OPS["conv2d"](8, 3)), ("bn", OPS["batch_norm2d"]())))
    torch.manual_seed(3)
    theirs = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_batch_and_input_size_are_free():
    network = build(costcalc.load("resnet18", classes=7)).eval()
    with torch.no_grad():
        assert network(torch.randn(3, 3, 65, 97)).shape == (3, 7)
        assert build(costcalc.load("resnet20-cifar")).eval()(torch.randn(2, 3, 48, 40)).shape == (2, 10)


def test_outputs_are_a_tensor_or_a_tuple_with_the_main_one_first():
    network = build(costcalc.load("googlenet-torchvision", aux=True, classes=5)).eval()
    main, *aux = network(torch.randn(1, 3, 224, 224))
    assert main.shape == (1, 5)
    assert [a.shape for a in aux] == [(1, 5), (1, 5)]


def test_dtype_and_device():
    network = build(costcalc.load("nin"), device="meta", dtype=torch.float16)
    assert {(p.device.type, p.dtype) for p in network.parameters()} == {("meta", torch.float16)}
    assert network(torch.randn(1, 3, 224, 224, device="meta", dtype=torch.float16)).shape == (1, 1000)


def test_it_learns():
    network = build(costcalc.load("resnet20-cifar", base_channels=4))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    torch.manual_seed(0)
    x, y = torch.randn(8, 3, 16, 16), torch.arange(8)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


@pytest.mark.filterwarnings("default")  # torch's exporter deprecates parts of itself
def test_it_can_be_copied_saved_and_exported():
    graph = costcalc.load("googlenet-torchvision", classes=3)
    network = build(graph).eval()
    x = torch.randn(2, 3, 64, 64)
    expected = network(x)
    assert torch.equal(copy.deepcopy(network)(x), expected)
    file = io.BytesIO()
    torch.save(network, file)
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=False)(x), expected)
    other = build(graph).eval()
    other.load_state_dict(network.state_dict())
    assert torch.equal(other(x), expected)
    exported = torch.export.export(network, (x,)).module()
    assert torch.allclose(exported(x), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["train", "type/forward"], ["train_", "type_.forward_"]),
        (["code/graph"], ["code_.graph_"]),
        (["class", "None/import"], ["class_", "None_.import_"]),
        (["self", "meta", "_code", "_tracer_cls"], ["self_", "meta_", "_code_", "_tracer_cls_"]),
        (["v1.5/conv3.2"], ["v1_5.conv3_2"]),
        (["a.b", "a_b"], ["a_b", "a_b_"]),
        (["a", "a/b"], ["a", "a_.b"]),
        (["a/b", "a"], ["a.b", "a_"]),
        (["a/x", "b/y", "a/z"], ["a.x", "b.y", "a.z"]),
        (["größe/网络", "7x7"], ["größe.网络", "7x7"]),
    ],
)
def test_names_that_a_module_cannot_have_get_an_underscore(paths, names):
    network = build(chain(*((path, OPS["conv2d"](3, 1)) for path in paths)))
    assert {key.rpartition(".")[0] for key in network.state_dict()} == set(names)
    assert network(torch.randn(1, 3, 4, 4)).shape == (1, 3, 4, 4)


@pytest.mark.parametrize("name", ["input", "left eye", "self", "class", "2", "forward"])
def test_inputs_may_have_any_name(name):
    graph = Graph(
        "g", (Input(name, (1, 3)), Input("other", (1, 3))), (Node("sum", OPS["add"](), (name, "other")),), ("sum",)
    )
    assert torch.equal(build(graph)(torch.ones(2, 3), torch.ones(2, 3)), 2 * torch.ones(2, 3))


def test_layers_that_share_parameters_share_them():
    nodes = (
        Node("one", OPS["conv2d"](3, 3, padding=1), ("input",)),
        Node("two", OPS["conv2d"](3, 3, padding=1), ("one",), shares="one"),
        Node("wide", OPS["conv2d"](3, 3, stride=2), ("two",), shares="one"),
    )
    graph = Graph("siamese", (Input("input", (1, 3, 9, 9)),), nodes, ("wide",))
    network = build(graph)
    assert sum(p.numel() for p in network.parameters()) == costcalc.analyze(graph).total().params == 3 * 3 * 9 + 3
    network(torch.randn(1, 3, 9, 9)).sum().backward()
    assert network.one.weight.grad is not None
    assert network.wide.weight is network.one.weight
    assert costcalc.check(graph, device="cpu", train=True).differences == ()


@pytest.mark.parametrize(
    "layers",
    [
        # read by a later layer, directly or through a view, or an output itself
        [("conv", OPS["conv2d"](3, 1)), ("act", OPS["silu"]()), ("sum", OPS["add"](), "conv", "act")],
        [("conv", OPS["conv2d"](3, 1)), ("flat", OPS["flatten"](2), "conv"), ("act", OPS["silu"](), "conv"),
         ("flat2", OPS["flatten"](2), "act"), ("sum", OPS["add"](), "flat", "flat2")],
        [("act", OPS["silu"]()), ("sum", OPS["add"](), "input", "act")],
    ],
    ids=["the input itself", "a view of it", "the graph's input"],
)  # fmt: skip
def test_an_op_in_place_overwrites_nothing_that_is_still_read(layers):
    graph = chain(*layers)
    network = build(graph)
    x = torch.randn(2, 3, 8, 8)
    start = network.conv(x) if hasattr(network, "conv") else x.clone()
    expected = start + nn.functional.silu(start)
    assert torch.allclose(network(x.clone()).flatten(), expected.flatten())
    made = {row.path: row.activations for row in costcalc.analyze(graph).rows}
    assert made["act"] == 2 * 3 * 8 * 8
    assert costcalc.check(graph, device="cpu").differences == ()
    assert costcalc.check(graph, device="cpu", train=True).differences == ()


def test_an_op_in_place_stays_so_where_nothing_else_reads_its_input():
    graph = chain(("conv", OPS["conv2d"](3, 1)), ("a", OPS["relu"]()), ("b", OPS["relu6"]()))
    assert [row.activations for row in costcalc.analyze(graph).rows] == [2 * 3 * 8 * 8, 0, 0]
    kept = chain(("conv", OPS["conv2d"](3, 1)), ("a", OPS["relu"]()), outputs=("a", "conv"))
    assert costcalc.analyze(kept).rows[1].activations == 2 * 3 * 8 * 8


def test_unknown_layers_are_not_built_unless_stand_ins_will_do():
    graph = chain(("odd", OPS["unknown"]("deform_conv2d")), ("even", OPS["unknown"]("riddle", (5,))))
    with pytest.raises(CostcalcError, match=r"odd \(deform_conv2d\), even \(riddle\)"):
        build(graph)
    assert build(graph, allow_unknown=True)(torch.randn(4, 3, 8, 8)).shape == (4, 5)


def test_sizes_that_are_no_numbers_are_refused():
    import sympy

    graph = costcalc.load("nin", batch=sympy.Symbol("N", integer=True, positive=True))
    with pytest.raises(CostcalcError, match="torch needs numbers"):
        build(graph)


def test_weights_go_from_one_network_to_another_by_order_and_shape():
    theirs = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)).eval()
    b = Builder("ours", channels=3, height=8, width=8)
    for name, op in [("a", OPS["conv2d"](4, 3)), ("b", OPS["batch_norm2d"]()), ("c", OPS["relu"]()),
                     ("d", OPS["flatten"]()), ("e", OPS["linear"](5))]:  # fmt: skip
        b.add(name, op)
    ours = build(b.build()).eval()
    copy_weights(theirs, ours)
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3)), r"^weights do not match: 0 \(weight 4×3×3×3, bias 4\) in the source, a \(weight 4×3×1×1, bias 4\) in the target$"),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 1, bias=False)), r"0 \(weight 4×3×1×1\) in the source, a"),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.PReLU(4)), "only the source has 1$"),
        (lambda: nn.ReLU(), "only the target has a$"),
        (lambda: nn.Linear(7, 7), "in the source, a "),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit_are_refused_and_nothing_is_copied(source, message):
    target = build(chain(("a", OPS["conv2d"](4, 1))))
    before = copy.deepcopy(target.state_dict())
    with pytest.raises(CostcalcError, match=message):
        copy_weights(source(), target)
    assert all(torch.equal(target.state_dict()[key], value) for key, value in before.items())


class Backwards(nn.Module):
    """Registers last what runs first."""

    def __init__(self):
        super().__init__()
        self.last = nn.Conv2d(4, 2, 1)
        self.first = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.last(self.first(x))


def test_where_modules_are_registered_in_another_order_the_order_in_which_they_run_counts():
    theirs = Backwards()
    ours = build(chain(("first", OPS["conv2d"](4, 3)), ("last", OPS["conv2d"](2, 1))))
    copy_weights(theirs, ours)
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(ours(x), theirs(x))
    assert theirs.training
    assert not any(module._forward_pre_hooks for module in theirs.modules())


def test_a_failure_leaves_nothing_behind():
    hooks = nn.modules.module._global_forward_hooks, nn.modules.module._global_forward_pre_hooks
    before = [dict(kept) for kept in hooks]
    state, device, gradients = torch.get_rng_state(), torch.get_default_device(), torch.is_grad_enabled()
    # BatchNorm in training refuses a single value per channel: torch fails in the middle of a run
    graph = chain(("bn", OPS["batch_norm2d"]()), shape=(1, 3, 1, 1))
    with pytest.raises(CostcalcError, match="torch cannot run bn: Expected more than 1 value per channel"):
        costcalc.check(graph, device="cpu", train=True)
    assert [dict(kept) for kept in hooks] == before
    assert torch.equal(torch.get_rng_state(), state)
    assert (torch.get_default_device(), torch.is_grad_enabled()) == (device, gradients)
    assert torch.utils._python_dispatch._get_current_dispatch_mode() is None


def test_a_gradient_that_torch_cannot_take_is_a_message():
    graph = chain(("conv", OPS["conv2d"](3, 1)), ("sigmoid", OPS["sigmoid"]()), ("act", OPS["relu"]()))
    assert costcalc.check(graph, device="cpu").differences == ()
    with pytest.raises(CostcalcError, match=r"cannot train it at sigmoid: .*set inplace=False on it$"):
        costcalc.check(graph, device="cpu", train=True)
