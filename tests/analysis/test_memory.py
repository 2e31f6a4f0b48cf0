"""The timeline against published integers, against live storages in torch for every network, and against its own laws."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch
from small_graphs import as_torch_runs, chain
from stopwatch import bare_pythons, kept, process

import costcalc
from costcalc import CostcalcError
from costcalc.analysis.memory import OPTIMIZERS, PERSISTENT_KINDS, timeline
from costcalc.ir.ops import OPS
from costcalc.torch_backend import LiveStorages, build, observe

NETWORKS = tuple(costcalc.architectures())
FP32 = 4


@lru_cache
def network(name, batch):
    """With auxiliary classifiers, where it has some and torch can train them on that batch."""
    graph = costcalc.load(name, batch=batch)
    if "aux" not in graph.settings or (name, batch) == ("inception_v3", 1):  # BatchNorm after a pool to 1×1
        return graph
    return costcalc.load(name, batch=batch, aux=True)


# Measured with torch 2.14.1 on torchvision's models in training mode at batch 8, on meta, CPU and fake tensors alike:
# saved for backward without parameters; peak of a forward pass under no_grad; peak of forward and backward.
MEASURED = {
    "alexnet-torchvision": (25_112_576, 10_674_176, 267_191_720),
    "vgg16-torchvision": (582_025_216, 205_520_896, 1_107_339_176),
    "googlenet-torchvision": (381_601_664, 51_380_736, 388_771_624),
    "resnet18": (172_660_224, 51_380_736, 205_841_832),
}


@pytest.mark.parametrize("name", MEASURED)
def test_the_integers_of_torchvision(name):
    saved, forward, both = MEASURED[name]
    graph = network(name, 8)
    training = timeline(graph, training=True)
    assert training.saved_for_backward == saved
    assert training.saved_input == 8 * 3 * 224 * 224 * FP32
    assert training.peak_live == both
    assert timeline(graph, training=True, gradients=False).peak_live == forward


@pytest.mark.parametrize(("name", "saved", "forward", "both"), [(n, *m) for n, m in MEASURED.items()])
def test_the_observer_sees_the_same_in_torchvisions_own_models(name, saved, forward, both):
    """Eager code holds its local variables longer than a graph does, which in these four changes nothing."""
    import torchvision

    maker = getattr(torchvision.models, name.removesuffix("-torchvision"))
    with torch.device("meta"):
        model = maker(aux_logits=True, init_weights=False) if name.startswith("googlenet") else maker()
        x = torch.empty(8, 3, 224, 224)
    model.train()
    standing = [*model.parameters(), *model.buffers()]
    seen = LiveStorages(standing, [x])
    with seen.recording(), torch.no_grad():
        model(x)
    assert seen.peak == forward
    seen = LiveStorages(standing, [x])
    with seen.recording():
        outputs = model(x)
        loss = sum(output.sum() for output in (outputs if isinstance(outputs, tuple) else (outputs,)))
        del outputs
        loss.backward()
    assert (sum(seen.saved_by_layer().values()), seen.peak) == (saved, both)


def figures(answer):
    """What is compared: classes as the observer can tell them, which knows no transients but the loss."""
    layer, phase = answer.peak_at
    classes = {"saved for backward": 0, "gradient of a parameter": 0, "other": 0}
    for kind, size in answer.by_kind.items():
        if kind not in PERSISTENT_KINDS:
            classes[kind if kind in classes else "other"] += size
    return {
        "saved for backward": answer.saved_for_backward,
        "saved input": answer.saved_input,
        "saved by layer": dict(answer.saved_by_layer),
        "peak": answer.peak_live,
        "at": (layer, phase) if layer else "loss",
        "by layer": {who: alive for who, alive in answer.peak_by_layer.items() if who[0] and alive},
        "by class": classes,
    }


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_on_meta(name, batch):
    graph = network(name, batch)
    for training, gradients in ((False, False), (True, False), (True, True)):
        how = {"training": training, "gradients": gradients}
        assert figures(timeline(graph, **how)) == figures(observe(graph, device="meta", **how)), how


TORCH_OPTIMIZERS = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1),
    "sgd-momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
}


@pytest.mark.parametrize("name", ["alexnet-torchvision", "resnet18"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_optimizers_state_and_step_are_torchs(optimizer, name):
    graph = network(name, 8)
    module = build(graph, device="meta").train()
    stepping = TORCH_OPTIMIZERS[optimizer](module.parameters())
    x = torch.empty(graph.inputs[0].shape, device="meta")

    def differentiate():
        stepping.zero_grad(set_to_none=True)
        module(x).sum().backward()

    differentiate()
    stepping.step()  # makes the state
    differentiate()
    states = [value for state in stepping.state.values() for value in state.values()]
    states = [state for state in states if isinstance(state, torch.Tensor)]
    gradients = [parameter.grad for parameter in module.parameters()]
    seen = LiveStorages([*module.parameters(), *states, *gradients])
    with seen.recording():
        stepping.step()
    training = timeline(graph, training=True, optimizer=optimizer)
    before = next(i for i, event in enumerate(training.events) if event.phase == "step") - 1
    of_parameters = sum(parameter.nbytes for parameter in module.parameters())
    assert training.persistent.get("optimizer state", 0) == sum(state.nbytes for state in states)
    assert training.live[before] == of_parameters
    assert max(training.live[before:]) == of_parameters + seen.peak
    assert training.live[-1] == 0
    assert training.peak_live == timeline(graph, training=True).peak_live


@pytest.mark.parametrize("dtype", ["fp64", "bf16", "fp16"])
def test_other_dtypes_on_the_cpu(dtype):
    graph = small()
    how = {"training": True, "dtype": dtype}
    assert figures(timeline(graph, **how)) == figures(observe(graph, device="cpu", **how))


def small():
    return chain(
        ("conv", OPS["conv2d"](6, 3)),
        ("bn", OPS["batch_norm2d"]()),
        ("relu", OPS["relu"]()),
        ("pool", OPS["max_pool2d"](2)),
        ("flatten", OPS["flatten"]()),
        ("fc", OPS["linear"](10)),
    )


def test_a_small_network_by_hand():
    """conv 2×6×6×6 = 432 elements, pool 2×6×3×3 = 108, fc 2×10."""
    training = timeline(small(), training=True)
    assert training.saved_by_layer == {
        "conv": 432 * 4,  # for bn
        "bn": 432 * 4 + 2 * 6 * 4,  # its output, overwritten by relu, which keeps it, as pool does; mean and deviation
        "pool": 108 * 4 + 108 * 8,  # for fc, flatten being a view; where the largest were, in int64
    }
    assert training.saved_input == 2 * 3 * 8 * 8 * 4
    assert training.persistent == {
        "input": 2 * 3 * 8 * 8 * 4,
        "parameter": (6 * 3 * 3 * 3 + 6 + 6 + 6 + 10 * 54 + 10) * 4,
        "buffer": (6 + 6) * 4 + 8,
    }
    # relu, backward: conv, bn and its statistics are kept; the loss and its gradient are two numbers; fc's gradients are
    # there; relu makes a gradient from that of pool.
    assert training.peak_at == ("relu", "backward")
    assert training.peak_live == (432 + 432 + 12 + 2 + 540 + 10 + 432 + 432) * 4
    # Under no_grad: bn reads conv, and makes as much and its statistics.
    assert timeline(small(), training=True, gradients=False).peak_live == (432 + 432 + 12) * 4
    assert timeline(small()).peak_live == (432 + 432) * 4


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_part_of_an_expanded_gradient_is_reshaped_without_a_copy(device):
    """The gradient of the loss is one expanded number, and so is the slice of it that each operand of concat gets."""
    graph = chain(
        ("first", OPS["linear"](4)), ("second", OPS["linear"](4)), ("join", OPS["concat"](), "second", "first")
    )
    predicted = timeline(as_torch_runs(graph), training=True)
    assert figures(predicted) == figures(observe(graph, device=device, training=True))


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(
    "graph",
    [
        chain(("conv", OPS["conv2d"](6, 3)), ("flatten", OPS["flatten"]()), ("relu", OPS["relu"]())),
        chain(("fc", OPS["linear"](5)), ("relu", OPS["relu"]()), ("again", OPS["linear"](2))),
        chain(("conv", OPS["conv2d"](6, 3)), ("flatten", OPS["flatten"]()), ("silu", OPS["silu"]())),
    ],
)
def test_a_view_that_is_overwritten(graph, device):
    """Autograd copies the gradient of a flatten three times; the output of a linear layer is no view (since 2.15)."""
    how = {"training": True}
    predicted = timeline(as_torch_runs(graph), **how)
    assert figures(predicted) == figures(observe(graph, device=device, **how))


def test_only_meta_takes_the_gradient_of_mish_apart():
    """On meta, torch decomposes the gradient: seven more tensors are live, where a device has one kernel."""
    graph = chain(("conv", OPS["conv2d"](6, 3)), ("mish", OPS["mish"]()))
    predicted = timeline(graph, training=True)
    elements = 2 * 6 * 6 * 6
    assert predicted.peak_live == observe(graph, device="cpu", training=True).peak_live
    assert observe(graph, device="meta", training=True).peak_live == predicted.peak_live + 7 * elements * 4


def test_a_linear_layer_on_a_permuted_tensor_copies_it():
    """Its input is made contiguous first, and the copy is saved for backward instead of the input itself."""
    graph = chain(
        ("conv", OPS["conv2d"](6, 3)), ("permute", OPS["permute"]((0, 2, 3, 1))), ("fc", OPS["linear"](2, bias=False))
    )
    predicted, seen = (
        answer(graph, training=True) for answer in (timeline, lambda g, **how: observe(g, device="cpu", **how))
    )
    copy = 2 * 6 * 6 * 6 * 4
    assert predicted.saved_by_layer == {"fc": copy}
    assert figures(predicted) == figures(seen)


def test_overwriting_a_saved_tensor_is_an_error():
    graph = chain(("conv", OPS["conv2d"](6, 3)), ("tanh", OPS["tanh"]()), ("relu", OPS["relu"]()))
    with pytest.raises(CostcalcError) as error:
        timeline(graph, training=True)
    assert str(error.value) == (
        "chain: layer 'relu' overwrites a tensor that is needed for the gradient of 'tanh'; set inplace=False on 'relu'"
    )
    assert timeline(graph, training=True, gradients=False).peak_live == 2 * (2 * 6 * 6 * 6 * 4)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"gradients": True}, "gradients require training mode: set training=True"),
        ({"optimizer": "sgd"}, "optimizer requires a backward pass: set training=True and leave gradients unset"),
        (
            {"training": True, "optimizer": "adamm"},
            "no optimizer 'adamm' (did you mean 'adam'?): there are sgd, sgd-momentum, adam, adamw, rmsprop",
        ),
        ({"dtype": "fp31"}, "no dtype 'fp31'"),
    ],
)
def test_invalid_options(how, message):
    with pytest.raises(CostcalcError) as error:
        timeline(small(), **how)
    assert message in str(error.value)


@pytest.mark.parametrize("name", ["googlenet-torchvision", "resnet18", "vgg16", "alexnet", "inception_v3", "nin"])
@pytest.mark.parametrize("training", [False, True])
def test_the_laws(name, training):
    how = {"training": training, "optimizer": "adam"} if training else {}
    one, two, five = (timeline(network(name, batch), **how) for batch in (2, 4, 10))
    for run in (one, two, five):
        assert max(run.live) + sum(run.persistent.values()) == run.peak_total
        assert sum(run.by_kind.values()) == run.peak_total
        assert sum(run.saved_by_layer.values()) == run.saved_for_backward
        assert min(run.live) >= 0
        assert run.live[-1] == 0 if training else run.live[-1] > 0  # nothing is left but the outputs
        born = {id(event.allocation) for event in run.events if event.allocates}
        dead = [id(event.allocation) for event in run.events if not event.allocates]
        assert len(dead) == len(set(dead))
        assert born >= set(dead)
    assert len(one.events) == len(two.events) == len(five.events)
    for a, b, c in zip(one.live, two.live, five.live, strict=True):  # linear in the batch, at every moment
        assert c - a == 4 * (b - a)


def test_a_layer_that_is_not_modelled_is_named_with_its_op():
    graph = chain(("conv", OPS["conv2d"](6, 3)), ("odd", OPS["unknown"]("riddle")))
    assert timeline(graph, training=True).unknown == {"odd": "riddle"}


def test_resnet152_in_training_takes_under_5_bare_pythons(fresh_memory):
    """Which is under 50 ms where a bare Python takes 10 ms."""
    graph = costcalc.load("resnet152")
    assert kept(5, lambda: bare_pythons(lambda: timeline(graph, training=True).peak_total, runs=10))


def test_the_timeline_loads_neither_numpy_nor_sympy_nor_torch():
    code = (
        "import sys, costcalc; from costcalc.analysis.memory import timeline; "
        "assert timeline(costcalc.load('resnet50'), training=True, optimizer='adam').by_kind; "
        "sys.exit(any(name in sys.modules for name in ('numpy', 'sympy', 'torch', 'tabulate')))"
    )
    process("-c", code)()
