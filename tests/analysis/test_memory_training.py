"""Checkpointing, arithmetic and mixed precision in training: against torch, by hand, and by their laws."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from small_graphs import as_torch_runs, chain
from test_memory import TORCH_OPTIMIZERS, figures, network
from test_memory_random import SHIPPED, graphs
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import costcalc
from costcalc import CostcalcError
from costcalc.analysis.analyze import analyze
from costcalc.analysis.memory import OPTIMIZERS, timeline, training_flops
from costcalc.ir.ops import OPS
from costcalc.torch_backend import LiveStorages, build, observe
from costcalc.torch_backend.device import environment, torch_dtype
from costcalc.torch_backend.interpreter import LayerInterpreter, prepare_workload

FP32 = 4

# One of each design; every shipped network is exact.
DESIGNS = (
    "alexnet",
    "alexnet-torchvision",
    "googlenet-torchvision",
    "inception_v3",
    "nin",
    "plain18",
    "resnet18",
    "resnet50",
    "resnet20-cifar",
    "vgg16",
    "vgg11_bn",
)


def observed(graph, predicted, **how):
    return observe(graph, training=True, checkpointed=predicted.checkpointed, **how)


@pytest.mark.parametrize("name", DESIGNS)
def test_checkpointing_is_torchs(name):
    graph = network(name, 8)
    for checkpoint in ("stage", "block"):
        predicted = timeline(graph, training=True, checkpoint=checkpoint)
        assert predicted.checkpointed
        assert figures(predicted) == figures(observed(graph, predicted, device="meta"))


def in_stages(graph, cuts):
    """The layers between two cuts are a stage."""
    stage_of = {node.name: f"stage{sum(cut <= place for cut in cuts)}" for place, node in enumerate(graph.nodes)}

    def named(name):
        return f"{stage_of[name]}/{name}" if name in stage_of else name

    nodes = tuple(
        replace(
            node,
            name=named(node.name),
            inputs=tuple(map(named, node.inputs)),
            shares=None if node.shares is None else named(node.shares),
        )
        for node in graph.nodes
    )
    return replace(graph, nodes=nodes, outputs=tuple(map(named, graph.outputs)))


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    graph=st.one_of(graphs(SHIPPED, back=1, ends=0), graphs(SHIPPED, back=2, ends=0), graphs(SHIPPED)),
    data=st.data(),
    device=st.sampled_from(["cpu", "meta"]),
)
def test_checkpointing_in_a_random_graph_is_what_torch_runs(graph, data, device):
    if any(node.op.name == "mish" for node in graph.nodes):  # meta takes its gradient apart
        device = "cpu"
    graph = in_stages(graph, data.draw(st.sets(st.integers(1, len(graph.nodes)), max_size=3)))
    frozen = data.draw(st.sets(st.sampled_from([node.name for node in graph.nodes]), max_size=2))
    for node in graph.nodes:
        note(f"{node.name} = {node.op} of {', '.join(node.inputs)}; shares {node.shares}")
    note(f"{graph.inputs[0].shape} to {', '.join(graph.outputs)}; frozen {frozen}, {device}")
    as_run = as_torch_runs(graph)
    try:
        plain = timeline(as_run, training=True, frozen=frozen)
        predicted = timeline(as_run, training=True, frozen=frozen, checkpoint="stage")
    except CostcalcError:
        return
    note(f"{predicted.checkpointed}; left {predicted.not_checkpointed}")
    assert predicted.saved_for_backward + predicted.saved_input <= plain.saved_for_backward + plain.saved_input
    expected = {k: v for k, v in figures(predicted).items() if k != "by class"}
    seen = figures(observed(graph, predicted, device=device, frozen=frozen))
    del seen["by class"]
    assert expected == seen


LAYER = 2 * 6 * 8 * 8 * FP32  # a tensor of the chain below


def two_stages():
    return chain(
        ("a/conv", OPS["conv2d"](6, 3, padding=1)),
        ("a/tanh", OPS["tanh"]()),
        ("a/relu", OPS["relu"](inplace=False)),
        ("b/conv", OPS["conv2d"](6, 3, padding=1)),
        ("b/bn", OPS["batch_norm2d"]()),
        ("b/tanh", OPS["tanh"]()),
        ("b/last", OPS["conv2d"](6, 3, padding=1)),
    )


def test_two_stages_by_hand():
    graph = two_stages()
    plain, training = (timeline(graph, training=True, checkpoint=how) for how in ("none", "stage"))
    # tanh and relu keep what they make, which the next convolution takes; bn, its input and 2 × 6 statistics.
    assert plain.saved_for_backward == 4 * LAYER + 2 * 6 * FP32
    assert training.checkpointed == ("a", "b")
    assert training.saved_by_layer == {"a/relu": LAYER}  # what b takes; a takes the input
    assert training.saved_input == plain.saved_input == 2 * 3 * 8 * 8 * FP32
    # b/last needs its input for its gradient, and not its result: it does not run again.
    assert training.recomputed == ("a/conv", "a/tanh", "a/relu", "b/conv", "b/bn", "b/tanh")
    # The last gradient of b: of what it takes, given that of bn's input; what a makes is not there yet. Beside it, the
    # gradients of three layers' parameters, the loss, and b's input.
    learnt = (6 * 6 * 9 + 6) * FP32
    assert training.peak_by_layer["b/conv", "backward"] == 3 * LAYER + 2 * learnt + 12 * FP32 + 2 * FP32
    assert figures(training) == figures(observed(graph, training, device="cpu"))


def test_an_overwritten_view_is_copied_before_its_segment_is_recomputed():
    graph = chain(
        ("a/conv", OPS["conv2d"](6, 3)),
        ("a/bn", OPS["batch_norm2d"]()),
        ("a/flatten", OPS["flatten"]()),
        ("a/silu", OPS["silu"]()),
    )
    training = timeline(graph, training=True, checkpoint="stage")
    assert training.checkpointed == ("a",)
    assert figures(training) == figures(observed(graph, training, device="cpu"))


def test_a_block_has_two_weight_layers_and_a_tensor_of_its_own():
    resnet = timeline(network("resnet18", 2), training=True, checkpoint="block")
    assert resnet.checkpointed == ("stem", *(f"layer{i}/block_{j}" for i in range(1, 5) for j in (1, 2)))
    vgg, googlenet = (
        [timeline(network(name, 2), training=True, checkpoint=how).checkpointed for how in ("block", "stage")]
        for name in ("vgg16", "googlenet")
    )
    assert vgg[0] == vgg[1] == ("stage1", "stage2", "stage3", "stage4", "stage5", "head")
    assert googlenet[0] == googlenet[1]
    assert "inception3a" in googlenet[0]


@pytest.mark.parametrize(
    ("layers", "left"),
    [
        (
            [
                ("a/conv", OPS["conv2d"](6, 1)),
                ("b/tanh", OPS["tanh"]()),
                ("a/tanh", OPS["tanh"]()),
                ("b/conv", OPS["conv2d"](6, 1)),
            ],
            {"a": "its layers are not contiguous", "b": "its layers are not contiguous"},
        ),
        (
            [
                ("a/conv", OPS["conv2d"](6, 1)),
                ("a/tanh", OPS["tanh"]()),
                ("b/conv", OPS["conv2d"](6, 1), "a/tanh"),
                ("b/add", OPS["add"](), "b/conv", "a/conv"),
            ],
            {"a": "it has more than one output", "b": "it has more than one input"},
        ),
        (
            [("a/conv", OPS["conv2d"](6, 1)), ("b/relu", OPS["relu"]()), ("b/conv", OPS["conv2d"](6, 1))],
            {"a": "autograd would save no less", "b": "its input is overwritten"},
        ),
        (
            [("a/conv", OPS["conv2d"](6, 1)), ("a/dead", OPS["tanh"]()), ("a/tanh", OPS["tanh"](), "a/conv")],
            {"a": "no output depends on one of its layers"},
        ),
        (
            [
                ("a/conv", OPS["conv2d"](6, 1)),
                ("a/tanh", OPS["tanh"]()),
                ("a/other", OPS["tanh"](), "a/conv"),
                ("a/add", OPS["add"](), "a/tanh", "a/other"),
                ("b", OPS["conv2d"](2, 1)),
            ],
            {"b": "autograd would save no less"},
        ),
    ],
)
def test_layers_that_are_no_segment_are_not_checkpointed(layers, left):
    graph = chain(*layers)
    training = timeline(graph, training=True, checkpoint="stage")
    assert training.not_checkpointed == left
    if not training.checkpointed:
        assert training.events == timeline(graph, training=True).events


def test_a_result_from_the_middle():
    graph = chain(
        ("a/conv", OPS["conv2d"](6, 1)), ("a/tanh", OPS["tanh"]()), ("a/sum", OPS["add"](), "a/tanh", "a/conv")
    )
    left = timeline(replace(graph, outputs=("a/tanh", "a/sum")), training=True, checkpoint="stage").not_checkpointed
    assert left == {"a": "it has more than one output"}


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (
            {"training": True, "checkpoint": "stages"},
            "unknown checkpoint 'stages' (did you mean 'stage'?): use none, stage, block",
        ),
        ({"training": True, "master_weights": True}, "master weights require an optimizer, for example adam"),
        (
            {"training": True, "master_weights": True, "optimizer": "adam"},
            "master weights are fp32 copies of fp16 or bf16 parameters, but the dtype is fp32",
        ),
        ({"checkpoint": "block"}, "checkpoint requires a backward pass: set training=True and leave gradients unset"),
    ],
)
def test_invalid_options(how, message):
    with pytest.raises(CostcalcError) as error:
        timeline(two_stages(), **how)
    assert str(error.value) == message


@pytest.mark.parametrize("name", costcalc.architectures())
def test_checkpointing_never_raises_what_is_saved(name):
    graph = network(name, 2)
    plain, *others = (timeline(graph, training=True, checkpoint=how) for how in ("none", "stage", "block"))
    for run in others:
        assert run.saved_for_backward + run.saved_input <= plain.saved_for_backward + plain.saved_input
        assert sum(run.saved_by_layer.values()) == run.saved_for_backward
        assert sum(run.by_kind.values()) == run.peak_total
        assert run.live[-1] == plain.live[-1]  # the gradients of parameters
        assert min(run.live) >= 0
        assert {node.name for prefix in run.checkpointed for node in graph.select(prefix)} >= set(run.recomputed)


@pytest.mark.parametrize("name", ["alexnet", "vgg16", "resnet50", "googlenet-torchvision"])
@pytest.mark.parametrize("checkpoint", ["none", "block"])
def test_a_step_computes_what_torch_counts(name, checkpoint):
    """Whose FLOPs of a grouped convolution are wrong backward: they are counted here by the formula for one group."""
    graph = network(name, 8)
    training = timeline(graph, training=True, checkpoint=checkpoint)
    predicted = training_flops(analyze(graph), training)
    where = environment("meta", "fp32")
    with prepare_workload(graph, where, train=True) as running, FlopCounterMode(display=False) as counter:
        LayerInterpreter(running, lambda: None, checkpointed=training.checkpointed).run_once(train=True)
    grouped = sum(
        2 * (node.op.groups - 1) * row.macs
        for node, row in zip(graph.nodes, analyze(graph).rows, strict=True)
        if getattr(node.op, "groups", 1) > 1
    )
    assert counter.get_total_flops() == predicted.flops + grouped
    assert predicted.recomputed_macs == sum(row.macs for row in analyze(graph).rows if row.path in training.recomputed)
    assert (predicted.recomputed_macs > 0) == (checkpoint == "block" and name != "alexnet")


def test_a_step_by_hand():
    """vgg11's first convolution is 64 · 27 · 224² MACs an image, and its input needs no gradient."""
    graph = costcalc.load("vgg11", batch=2)
    costs = analyze(graph)
    training = timeline(graph, training=True, optimizer="adam")
    counts = training_flops(costs, training)
    assert counts.forward_macs == costs.total().macs
    assert counts.backward_macs == 2 * counts.forward_macs - 2 * 64 * 27 * 224 * 224
    assert counts.step_flops == 13 * costs.total().params
    # With the head alone to be trained, only it has gradients, and those of its first layer's input are not needed.
    frozen = [f"stage{i}" for i in range(1, 6)]
    costs = analyze(graph, frozen=frozen)
    counts = training_flops(costs, timeline(graph, training=True, frozen=frozen, optimizer="sgd"))
    first, second, third = 512 * 7 * 7 * 4096, 4096 * 4096, 4096 * 1000
    assert counts.backward_macs == 2 * (first + 2 * second + 2 * third)
    assert counts.step_flops == 2 * (first + second + third + 4096 + 4096 + 1000)
    assert counts.flops == 2 * (counts.forward_macs + counts.backward_macs) + counts.step_flops
    assert training_flops(costs, timeline(graph)).flops == 2 * counts.forward_macs


class Operations(TorchDispatchMode):
    """Count the operations of an optimizer on every element, without those that run once for a parameter."""

    EACH: ClassVar = {"mul_": 1, "div_": 1, "div": 1, "sqrt": 1, "lerp_": 3, "addcmul_": 3, "addcdiv_": 3}

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        name = func.__name__.partition(".")[0]
        of_elements = any(isinstance(each, torch.Tensor) and each.numel() > 1 for each in args)
        if of_elements and name not in ("zeros_like", "clone", "detach"):
            scaled = (kwargs or {}).get("alpha", 1) != 1
            self.count += args[0].numel() * (1 + scaled if name == "add_" else self.EACH[name])
        return result


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_flops_of_an_optimizers_step_are_torchs(name):
    parameter = torch.nn.Parameter(torch.ones(1000))
    optimizer = TORCH_OPTIMIZERS[name]([parameter])
    for _ in range(2):
        parameter.grad = torch.ones(1000)
        with Operations() as operations:
            optimizer.step()
    assert operations.count == 1000 * OPTIMIZERS[name].flops_per_element


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_master_weights_agree_with_torch(name, dtype):
    graph = two_stages()
    kind = torch_dtype(dtype)
    module = build(graph, device="meta", dtype=kind).train()
    masters = [torch.nn.Parameter(parameter.detach().float()) for parameter in module.parameters()]
    stepping = TORCH_OPTIMIZERS[name](masters)
    x = torch.empty(graph.inputs[0].shape, device="meta", dtype=kind)

    def differentiate():
        module.zero_grad(set_to_none=True)
        stepping.zero_grad(set_to_none=True)
        module(x).sum().backward()

    def step():
        for parameter, master in zip(module.parameters(), masters, strict=True):
            master.grad = parameter.grad.float()
        stepping.step()
        with torch.no_grad():
            for parameter, master in zip(module.parameters(), masters, strict=True):
                parameter.copy_(master)

    differentiate()
    step()  # makes the state
    differentiate()
    states = [value for state in stepping.state.values() for value in state.values() if torch.is_tensor(value)]
    gradients = [parameter.grad for parameter in module.parameters()]
    seen = LiveStorages([*module.parameters(), *masters, *states, *gradients])
    with seen.recording():
        step()
    training = timeline(graph, training=True, optimizer=name, dtype=dtype, master_weights=True)
    before = next(i for i, event in enumerate(training.events) if event.phase == "step") - 1
    assert training.persistent["optimizer state"] == sum(tensor.nbytes for tensor in [*masters, *states])
    assert training.persistent["parameter"] == sum(parameter.nbytes for parameter in module.parameters())
    assert training.live[before] == sum(gradient.nbytes for gradient in gradients)
    assert max(training.live[before:]) == training.live[before] + seen.peak
    assert training.live[-1] == 0
    plain = timeline(graph, training=True, optimizer=name, dtype=dtype)
    assert training.peak_live == plain.peak_live
    assert figures(plain)["peak"] == observe(graph, training=True, device="cpu", dtype=dtype).peak_live


def test_what_adam_in_mixed_precision_takes_a_parameter():
    """2 bytes, and 2 of its gradient; 4 of the master copy, and 4 and 4 of the moments: 16 in all, as is often said."""
    graph = chain(("fc", OPS["linear"](1000, bias=False)), shape=(1, 1000))
    training = timeline(graph, training=True, optimizer="adam", dtype="bf16", master_weights=True)
    parameters, steps = 1000 * 1000, 4
    assert training.persistent["parameter"] == 2 * parameters
    assert training.persistent["optimizer state"] == 12 * parameters + steps
    at_step = next(i for i, event in enumerate(training.events) if event.phase == "step")
    assert training.live[at_step - 1] == 2 * parameters
    # The step: its gradient in fp32, and two tensors to compute with.
    assert max(training.live) == 2 * parameters + 4 * parameters + 2 * 4 * parameters
