"""Import of torchvision's models: parameters and MACs equal the published table or torch's counter, nothing is unknown.

Tested are the models with a spec and the smaller ones of every family; with COSTCALC_ALL_MODELS set, all.
"""

from __future__ import annotations

import os
from math import prod

import pytest
import torch
import torchvision
from torch.utils.flop_counter import FlopCounterMode
from truth_data import read

import costcalc
from costcalc import CostcalcError
from costcalc.analysis.conventions import CONVENTIONS
from costcalc.frontends.torch.export import from_torch
from costcalc.frontends.torch.models import trace_target

MODELS = {row["model"]: row for row in read("torchvision_models.csv")}
LARGEST = 3_000_000_000  # MACs
SMALLEST = ("convnext_tiny", "maxvit_t", "resnext50_32x4d", "swin_t", "swin_v2_t", "vit_b_32")  # of their families
WITHOUT_AUXILIARY_HEADS = {"googlenet": 6_624_904, "inception_v3": 23_834_568}
# The shipped spec of the same network.
SPECS = {
    name: next(spec for spec in (f"{name}-torchvision", name) if spec in costcalc.architectures())
    for name in MODELS
    if name in costcalc.architectures()
}


def imported(name):
    options = {"init_weights": False} if name in WITHOUT_AUXILIARY_HEADS else {}
    # A RegNet initializes its weights from values, which tensors on meta do not have.
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        model = torchvision.models.get_model(name, weights=None, **options)
    side = int(MODELS[name]["crop"])
    return from_torch(model.to("meta"), torch.empty(1, 3, side, side, device="meta"))


def planes(costs):
    """Costs at each resolution, independent of the names of layers."""
    return [
        (row.spatial_size, row.params, row.work, row.flops, row.activations, row.activation_bytes)
        for row in costs.by_resolution().rows
    ]


ALL = "COSTCALC_ALL_MODELS" in os.environ
HERE = [
    name
    for name, row in MODELS.items()
    if name in (*SPECS, *SMALLEST) or int(row["macs_conv_matmul_exact"]) <= LARGEST or ALL
]


@pytest.mark.parametrize("name", HERE)
def test_model(name):
    row, graph = MODELS[name], imported(name)
    costs = costcalc.analyze(graph)
    total = costs.total()
    assert (costs.unknown, graph.notes) == ((), ())
    assert total.params == WITHOUT_AUXILIARY_HEADS.get(name, int(row["num_params"]))
    assert total.work.macs == int(row["macs_conv_matmul_exact"])
    assert sum(map(prod, graph.unused_parameters.values())) == {"googlenet": 6_379_984, "inception_v3": 3_326_696}.get(
        name, 0
    )
    if name in SPECS:
        spec = costcalc.load(SPECS[name])
        for convention in CONVENTIONS:
            ours, theirs = (costcalc.analyze(g, convention=convention) for g in (graph, spec))
            assert planes(ours) == planes(theirs), convention
            assert ours.total().weight_layers == theirs.total().weight_layers


def test_number_of_compared_specs():
    assert len(SPECS) == 16


def models_of(*modules):
    return [
        name
        for module in modules
        for name in torchvision.models.list_models(module=getattr(torchvision.models, module))
    ]


OTHERS = models_of("segmentation", "video", "quantization", "optical_flow")
SMALL_OTHERS = ["lraspp_mobilenet_v3_large", "r3d_18", "quantized_googlenet", "raft_small"]


@pytest.mark.parametrize("name", OTHERS if ALL else SMALL_OTHERS)
def test_segmentation_video_quantizable_and_optical_flow(name):
    symbolic, model = trace_target(f"torchvision:{name}", {})
    costs = costcalc.analyze(symbolic.graph)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.module(*model.example_inputs.args)
    assert (costs.unknown, symbolic.graph.notes) == ((), ())
    assert costs.total().macs == counter.get_total_flops() // 2
    unused = sum(map(prod, symbolic.graph.unused_parameters.values()))
    assert costs.total().params + unused == sum(parameter.numel() for parameter in model.module.parameters())


@pytest.mark.parametrize("name", models_of("detection") if ALL else ["fasterrcnn_mobilenet_v3_large_320_fpn"])
def test_a_detector_is_refused_and_its_backbone_is_imported(name):
    with pytest.raises(
        CostcalcError, match=r"a size or a branch depends on the values of a tensor.*\(.*\.py:\d+\)\n.*model\.backbone"
    ):
        costcalc.load(f"torchvision:{name}")
    with torch.device("meta"):
        detector = torchvision.models.get_model(name, weights=None, weights_backbone=None)
    graph = from_torch(detector.backbone, torch.empty(1, 3, 320, 320, device="meta"))
    assert costcalc.analyze(graph).unknown == ()
    assert len(graph.outputs) > 1
