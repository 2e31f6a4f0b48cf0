"""The timeline against published integers, against live storages in torch for every network, and against its own laws."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch
from small_graphs import chain
from stopwatch import fastest, kept, process

import costcalc
from costcalc import CostcalcError
from costcalc.memory import STANDING, timeline
from costcalc.ops import OPS
from costcalc.torch_backend import LiveStorages, observe

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
    for kind, size in answer.by_class.items():
        if kind not in STANDING:
            classes[kind if kind in classes else "other"] += size
    return {
        "saved for backward": answer.saved_for_backward,
        "saved input": answer.saved_input,
        "saved by layer": dict(answer.saved_by_layer),
        "peak": answer.peak_live,
        "at": (layer, phase) if layer else "loss",
        "by class": classes,
    }


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_on_meta(name, batch):
    graph = network(name, batch)
    for training, gradients in ((False, False), (True, False), (True, True)):
        how = {"training": training, "gradients": gradients}
        assert figures(timeline(graph, **how)) == figures(observe(graph, device="meta", **how)), how
