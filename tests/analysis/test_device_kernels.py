"""The kernels that a device picks: the layouts of their results and gradients, and what they save for backward."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision.models.swin_transformer import SwinTransformer

import costcalc
from costcalc import Graph, Input, Node
from costcalc.analysis.memory import timeline
from costcalc.ir.ops import OPS
from costcalc.ir.ops.shape import is_contiguous
from costcalc.torch_backend import environment
from costcalc.torch_backend.interpreter import LayerInterpreter, prepare_workload
from costcalc.validation.memory import check_memory

DEVICES = ("cpu", "meta")


def imported(module: nn.Module, *shape: int) -> Graph:
    return costcalc.from_torch(module, torch.empty(shape))


def vit() -> Graph:
    sizes = {"num_layers": 2, "num_heads": 2, "hidden_dim": 24, "mlp_dim": 48, "num_classes": 5}
    return imported(torchvision.models.VisionTransformer(image_size=32, patch_size=8, **sizes), 2, 3, 32, 32)


def swin() -> Graph:
    sizes = {"embed_dim": 12, "depths": [1, 1], "num_heads": [2, 4], "window_size": [4, 4], "num_classes": 5}
    return imported(SwinTransformer(patch_size=[4, 4], **sizes), 2, 3, 32, 32)


def timm_vit() -> Graph:
    sizes = {"embed_dim": 24, "depth": 2, "num_heads": 2, "num_classes": 5}
    return imported(timm.models.VisionTransformer(img_size=32, patch_size=8, **sizes), 2, 3, 32, 32)


NETWORKS = {"vit": vit, "swin": swin, "timm_vit": timm_vit}


def attention(
    batch: int = 2, heads: int = 4, kv_heads: int | None = None, mask: str = "", rows_first: bool = True, **fields
) -> Graph:
    """Attention of 5 positions between linear layers; with `rows_first`, its inputs are permuted views."""
    kv_heads = kv_heads or heads
    nodes = []
    for name, count in (("q", heads), ("k", kv_heads), ("v", kv_heads)):
        nodes.append(Node(f"{name}/linear", OPS["linear"](3 * count), ("input",)))
        shape = (batch, 5, count, 3) if rows_first else (batch, count, 5, 3)
        nodes.append(Node(f"{name}/heads", OPS["reshape"](shape), (f"{name}/linear",)))
        if rows_first:
            nodes.append(Node(f"{name}/first", OPS["permute"]((0, 2, 1, 3)), (f"{name}/heads",)))
    taken = [f"{name}/{'first' if rows_first else 'heads'}" for name in "qkv"]
    inputs = [Input("input", (batch, 5, 12))]
    if mask == "given":
        inputs.append(Input("mask", (5, 5)))
    if mask == "trained":
        nodes.append(Node("table", OPS["parameter"]((1, heads, 25)), ()))
        nodes.append(Node("squared", OPS["square"](), ("table",)))
        nodes.append(Node("mask", OPS["reshape"]((1, heads, 5, 5)), ("squared",)))
    taken += ["mask"] if mask else []
    nodes += [
        Node("attention", OPS["scaled_dot_product_attention"](**fields), tuple(taken)),
        Node("rows", OPS["permute"]((0, 2, 1, 3)), ("attention",)),
        Node("merged", OPS["reshape"]((batch, 5, 3 * heads)), ("rows",)),
        Node("out", OPS["linear"](4), ("merged",)),
    ]
    return Graph("attention", tuple(inputs), tuple(nodes), ("out",))


ATTENTION = {
    "permuted": attention(),
    "one image": attention(batch=1),
    "contiguous": attention(rows_first=False),
    "causal": attention(is_causal=True),
    "mask": attention(mask="given"),
    "trained mask": attention(mask="trained"),
    "dropout": attention(dropout_p=0.5),
    "all dropped": attention(dropout_p=1.0),
}
GROUPED = {
    "shared heads": attention(kv_heads=2, enable_gqa=True),
    "causal, shared heads": attention(kv_heads=2, enable_gqa=True, is_causal=True),
}


def assert_agrees(graph: Graph, device: str, train: bool) -> None:
    check = costcalc.check(graph, device=device, train=train)
    # The FLOPs of attention are compared in test_torch_ops.py.
    assert [d for d in check.differences if "FLOPs" not in d.figure] == []
    assert check_memory(graph, device=device, train=train).differences == ()


# -- against torch ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("train", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", NETWORKS)
def test_transformers_agree_byte_for_byte(name, device, train):
    assert_agrees(NETWORKS[name](), device, train)


@pytest.mark.parametrize("train", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("name", ["vit_b_16", "swin_t"])
def test_transformers_of_torchvision_agree(name, train):
    """On meta; torch 2.6 exports a copy from a tensor of numbers in shifted windows, which meta cannot run."""
    if name == "swin_t":
        model = SwinTransformer([4, 4], 96, [1, 1, 1, 1], [3, 6, 12, 24], [7, 7])
    else:
        model = torchvision.models.vit_b_16()
    assert_agrees(imported(model, 1, 3, 224, 224), "meta", train)


@pytest.mark.parametrize("train", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize(
    ("name", "device"),
    # A CPU's fused kernel takes shared heads in the newest torch, and does not in 2.6.
    [*((name, device) for name in ATTENTION for device in DEVICES), *((name, "meta") for name in GROUPED)],
)
def test_attention_agrees(name, device, train):
    assert_agrees((ATTENTION | GROUPED)[name], device, train)


@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_batched_products_agree(device, data):
    """Of permuted factors and of repeated ones, whose gradients come in any order, too."""
    batch = data.draw(st.sampled_from([(2, 3), (1, 3), (2, 1)]))
    other = data.draw(st.sampled_from([batch, (2, 3), (1, 1)]))
    order = st.sampled_from([(0, 1, 2, 3), (0, 2, 1, 3), (1, 0, 2, 3), (0, 1, 3, 2), (3, 0, 2, 1)])
    nodes = []
    for name, shape in {"a": (*batch, 4, 5), "b": (*other, 5, 6)}.items():
        dims = data.draw(order)
        table = tuple(shape[dims.index(d)] for d in range(4))
        nodes.append(Node(f"{name}/table", OPS["parameter"](table), ()))
        nodes.append(Node(f"{name}/squared", OPS["square"](), (f"{name}/table",)))
        nodes.append(Node(name, OPS["permute"](dims), (f"{name}/squared",)))
    nodes.append(Node("product", OPS["matmul"](), ("a", "b")))
    nodes.append(Node("permuted", OPS["permute"](data.draw(order)), ("product",)))
    nodes.append(Node("merged", OPS["flatten"](1, 2), ("permuted",)))
    nodes.append(Node("out", OPS["linear"](2), ("merged",)))
    graph = Graph("products", (Input("input", (1, 1)),), tuple(nodes), ("out",))
    assert_agrees(graph, device, train=data.draw(st.booleans()))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("train", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("network", [*NETWORKS, *ATTENTION])
def test_layouts_are_the_strides_of_torch(network, device, train):
    """The order of the dimensions of every tensor, and whether it is contiguous."""
    graph = NETWORKS[network]() if network in NETWORKS else ATTENTION[network]
    execution = graph.execution(device, gradients=train)
    compared = []

    def compare(layer, module, taken, made):
        del module, taken
        (tensor,) = made
        layout = execution.layouts[layer]
        order = [d for d in layout.dim_order if tensor.shape[d] > 1]
        strides = [tensor.stride(d) for d in order]
        assert is_contiguous(tuple(tensor.shape), layout) == tensor.is_contiguous(), layer
        assert 0 in strides or strides == sorted(strides, reverse=True), layer
        compared.append(layer)

    with prepare_workload(graph, environment(device), train) as running:
        LayerInterpreter(running, lambda: None, compare).run_once(train)
    assert compared == [node.name for node in graph.nodes]


# -- laws ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("graph", ATTENTION.values(), ids=ATTENTION)
def test_the_device_changes_neither_work_nor_parameters(graph):
    def counts(device):
        return [
            (row.work, row.params, row.output, row.backward_macs) for row in costcalc.analyze(graph, device=device).rows
        ]

    assert counts("cpu") == counts("meta") == counts(None)


@pytest.mark.parametrize("device", [None, *DEVICES])
@pytest.mark.parametrize("graph", (ATTENTION | GROUPED).values(), ids=ATTENTION | GROUPED)
def test_everything_that_is_allocated_is_freed_but_gradients_of_parameters(graph, device):
    run = timeline(graph, training=True, device=device)
    left = run.live[-1]
    assert left == sum(row.param_bytes for row in costcalc.analyze(graph).rows)


def test_without_a_device_a_reshape_after_attention_copies():
    """24 elements a position: on a CPU the result is laid out as the query, so that the heads can be merged."""
    graph = attention()
    copied = {device: costcalc.analyze(graph, device=device).rows[-2].activations for device in (None, *DEVICES)}
    assert copied == {None: 2 * 5 * 12, "cpu": 0, "meta": 2 * 5 * 12}
    contiguous = attention(rows_first=False)
    assert costcalc.analyze(contiguous, device="cpu").rows[-2].activations == 2 * 5 * 12


def test_what_attention_saves_by_hand():
    """2 images, 4 heads, 5 positions, 3 features: a CPU saves q, k, v, the result and a sum for each query."""
    graph = attention()
    projected, sums, scores = 2 * 4 * 5 * 3, 2 * 4 * 5, 2 * 4 * 5 * 5
    fused = timeline(graph, training=True, device="cpu").saved_by_layer
    assert [fused.get(f"{name}/linear", 0) for name in "qkv"] == [4 * projected] * 3
    assert fused["attention"] == 4 * (projected + sums)
    steps = timeline(graph, training=True, device="meta").saved_by_layer
    assert [steps.get(f"{name}/linear", 0) for name in "qkv"] == [0] * 3
    assert steps["attention"] == 4 * (3 * projected + scores)  # copies of q and k, scaled, and of v; the softmax
