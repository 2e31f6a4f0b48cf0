"""The same function as torchvision's networks: equal outputs, and equal outputs of every layer with parameters.

Totals can agree by accident; a transposed branch, a missing ReLU or a stride in the wrong place cannot hide here.
Parameters, statistics and inputs are random, all of them, so that no two layers can be taken for each other.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torchvision.models as reference
from torch import nn

import costcalc
from costcalc import CostcalcError, Graph
from costcalc.ir.ops import OPS
from costcalc.torch_backend import build, copy_weights

TOLERANCE = 1e-4  # relative to the largest element, in fp32; what is seen is 0, on the CPU


def plain(name, **arguments):
    """torchvision's network of that name, without initialisation that takes long."""
    return lambda: getattr(reference, name)(**arguments)


VGGS = ("vgg11", "vgg13", "vgg16", "vgg19")
NETWORKS = {
    "alexnet-torchvision": plain("alexnet"),
    **{f"{name}-torchvision": plain(name, init_weights=False) for name in VGGS},
    **{f"{name}_bn": plain(f"{name}_bn", init_weights=False) for name in VGGS},
    "googlenet-torchvision": plain("googlenet", aux_logits=False, init_weights=False),
    "inception_v3": plain("inception_v3", aux_logits=False, init_weights=False),
    "resnet18": plain("resnet18"),
    "resnet34": plain("resnet34"),
    "resnet50-torchvision": plain("resnet50"),
    "resnet101-torchvision": plain("resnet101"),
    "resnet152-torchvision": plain("resnet152"),
}


def randomised(make):
    """A network without its own slow initialisation: scaled weights, and biases and statistics that all differ."""
    with torch.device("meta"):
        network = make()
    network = network.to_empty(device="cpu").eval()
    generator = torch.Generator().manual_seed(1)
    for name, tensor in network.state_dict().items():
        if tensor.dim() > 1:
            fan_in = tensor[0].numel()
            tensor.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
        elif name.endswith(("running_var", "weight")):
            tensor.uniform_(0.5, 1.0, generator=generator)
        elif name.endswith("num_batches_tracked"):
            tensor.fill_(7)
        else:
            tensor.normal_(0, 0.1, generator=generator)
    return network


def with_weights_of(theirs, graph):
    ours = build(graph, device="meta").to_empty(device="cpu").eval()
    copy_weights(theirs, ours)
    return ours


def image(graph, batch=1):
    return torch.randn((batch, *graph.inputs[0].shape[1:]), generator=torch.Generator().manual_seed(2))


def run(network, x):
    """The outputs by name, and each layer that holds parameters with its output, before anything overwrites that."""
    layers = []
    hooks = [
        module.register_forward_hook(lambda module, inputs, output: layers.append((module, output.clone())))
        for module in network.modules()
        if next(module.parameters(recurse=False), None) is not None
    ]
    with torch.no_grad():
        made = network(x)
    for hook in hooks:
        hook.remove()
    return made, layers


def error(ours, theirs):
    """The largest difference, relative to the largest element; infinite where shapes differ."""
    if ours.shape != theirs.shape:
        return float("inf")
    return ((ours - theirs).abs().max() / theirs.abs().max().clamp_min(1e-30)).item()


def differs(ours, theirs, x):
    """How far two networks are apart at worst, in the main output and in every layer with parameters."""
    (main, layers), (expected, their_layers) = run(ours, x), run(theirs, x)
    assert expected.abs().max() > 1e-3, "an output of zeros would prove nothing"
    assert len(layers) == len(their_layers)
    pairs = zip(layers, their_layers, strict=True)
    return max(error(main, expected), *(error(output, their_output) for (_, output), (_, their_output) in pairs))


@pytest.mark.parametrize("name", NETWORKS)
def test_same_function(name):
    theirs = randomised(NETWORKS[name])
    graph = costcalc.load(name)
    assert differs(with_weights_of(theirs, graph), theirs, image(graph)) <= TOLERANCE


@pytest.mark.parametrize(
    ("name", "make", "heads"),
    [
        ("googlenet-torchvision", plain("googlenet", init_weights=False), ["logits", "aux_logits1", "aux_logits2"]),
        ("inception_v3", plain("inception_v3", init_weights=False), ["logits", "aux_logits"]),
    ],
    ids=["googlenet", "inception_v3"],
)  # fmt: skip
def test_same_function_with_auxiliary_heads(name, make, heads):
    theirs = randomised(make)
    graph = costcalc.load(name, aux=True)
    ours = with_weights_of(theirs, graph)
    x = image(graph, batch=2)
    (main, *_), _ = run(ours, x)
    assert error(main, run(theirs, x)[0]) <= TOLERANCE  # in inference torchvision runs no heads
    in_training(ours)
    in_training(theirs)
    (found, layers), (expected, their_layers) = run(ours, x), run(theirs, x)
    for output, head in zip(found, heads, strict=True):
        assert error(output, getattr(expected, head)) <= TOLERANCE
    assert statistics_differ(layers, their_layers) <= TOLERANCE


def test_same_training_statistics():
    theirs = randomised(reference.resnet18)
    graph = costcalc.load("resnet18", height=64, width=64)
    ours = with_weights_of(theirs, graph)
    before = {name: buffer.clone() for name, buffer in ours.named_buffers()}
    in_training(ours)
    in_training(theirs)
    x = image(graph, batch=4)
    (output, layers), (expected, their_layers) = run(ours, x), run(theirs, x)
    assert error(output, expected) <= TOLERANCE
    assert statistics_differ(layers, their_layers) <= TOLERANCE
    assert not any(torch.equal(before[name], buffer) for name, buffer in ours.named_buffers())


def in_training(network):
    """All but dropout, whose zeros are random."""
    network.train()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.eval()


def statistics_differ(layers, their_layers):
    """How far the running statistics of the BatchNorms are apart at worst, after one step each."""
    worst = 0.0
    for (ours, _), (theirs, _) in zip(layers, their_layers, strict=True):
        if isinstance(ours, nn.BatchNorm2d):
            assert ours.num_batches_tracked == theirs.num_batches_tracked == 8
            worst = max(worst, *(error(getattr(ours, n), getattr(theirs, n)) for n in ("running_mean", "running_var")))
    return worst


# -- a planted fault is found -------------------------------------------------------------------------------------


def change(graph, name, **changes):
    nodes = tuple(replace(node, **changes) if node.name == name else node for node in graph.nodes)
    return Graph(graph.name, graph.inputs, nodes, graph.outputs)


def without(graph, name):
    """The graph with a layer taken out, what followed it on what it took."""
    (gone,) = graph.select(name)
    nodes = tuple(
        replace(node, inputs=tuple(gone.inputs[0] if i == name else i for i in node.inputs))
        for node in graph.nodes
        if node.name != name
    )
    outputs = tuple(gone.inputs[0] if output == name else output for output in graph.outputs)
    return Graph(graph.name, graph.inputs, nodes, outputs)


def swapped(graph, name, i, j):
    (node,) = graph.select(name)
    inputs = list(node.inputs)
    inputs[i], inputs[j] = inputs[j], inputs[i]
    return change(graph, name, inputs=tuple(inputs))


FAULTS = {
    "stride in the 1×1": ("resnet50-torchvision", lambda g: costcalc.load("resnet50")),
    "no ReLU": ("resnet50-torchvision", lambda g: without(g, "layer2/block_3/main/relu_1")),
    "no shortcut": ("resnet50-torchvision", lambda g: change(g, "layer3/block_2/add", inputs=("layer3/block_2/main/conv3/bn",) * 2)),
    "ReLU6 for ReLU": ("resnet50-torchvision", lambda g: change(g, "stem/relu", op=OPS["relu6"]())),
    "average for max": ("resnet50-torchvision", lambda g: change(g, "stem/maxpool", op=OPS["avg_pool2d"](3, stride=2, padding=1))),
    "branches swapped": ("googlenet-torchvision", lambda g: swapped(g, "inception4d/concat", 2, 3)),
    "another epsilon": ("googlenet-torchvision", lambda g: change(g, "inception5b/1x1/conv/bn", op=OPS["batch_norm2d"](eps=0.1))),
    "padding counted": ("inception_v3", lambda g: change(g, "mixed5b/pool/avg_pool2d", op=OPS["avg_pool2d"](3, stride=1, padding=1, count_include_pad=False))),
    "branch from the wrong place": ("inception_v3", lambda g: swapped(g, "mixed7b/3x3/wide/concat", 0, 1)),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_no_total_shows_is_found(fault):
    name, plant = FAULTS[fault]
    graph = costcalc.load(name)
    faulty = plant(graph)
    theirs = randomised(NETWORKS[name])
    assert differs(with_weights_of(theirs, faulty), theirs, image(graph)) > 100 * TOLERANCE
    if fault == "branches swapped":  # and indeed the totals are the same
        assert costcalc.analyze(faulty).total().work == costcalc.analyze(graph).total().work


@pytest.mark.parametrize(
    ("plant", "message"),
    [
        (lambda g: costcalc.load("resnet18", base_channels=48), "conv1 .* in the source, stem.conv1 .* in the target"),
        (lambda g: costcalc.load("resnet34"), "do not match"),
        (lambda g: without(g, "layer1/block_1/main/conv2/bn"), r"layer1.0.bn2 .* in the source, layer1.block_2.main.conv1.conv"),
        (lambda g: without(g, "head/fc"), "only the source has fc$"),
        (lambda g: change(g, "layer4/block_2/main/conv2/conv", op=OPS["conv2d"](512, 1, bias=False)), r"512×512×3×3.* in the source, .*512×512×1×1"),
    ],
    ids=["channels", "depth", "a missing norm", "a missing layer", "a kernel"],
)  # fmt: skip
def test_a_fault_in_parameters_is_refused(plant, message):
    theirs = randomised(reference.resnet18)
    with pytest.raises(CostcalcError, match=message):
        with_weights_of(theirs, plant(costcalc.load("resnet18")))
