"""Import of timm's models: five of different kinds; `benchmarks/imports.py` imports the 200 of `benchmarks/timm_models.csv`."""

from __future__ import annotations

import csv
from math import prod
from pathlib import Path

import pytest
import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

import costcalc
from costcalc.frontends.torch.export import from_torch

LIST = (Path(__file__).parents[2] / "benchmarks" / "timm_models.csv").read_text(encoding="utf-8")
LISTED = {row["model"]: row for row in csv.DictReader(LIST.splitlines())}
HERE = ["test_vit", "test_efficientnet_gn", "test_byobnet", "test_convnext", "test_mambaout"]


@pytest.mark.parametrize("name", HERE)
def test_model(name, monkeypatch):
    """Parameters and MACs are torch's; timm's published G and M follow from the convention, to the printed digit."""
    row = LISTED[name]
    monkeypatch.setattr(timm.layers.config, "_USE_FUSED_ATTN", 0)  # as when they were published: fvcore sees no other
    with torch.device("meta"):
        model = timm.create_model(name).eval()
    x = torch.empty(1, 3, int(row["side"]), int(row["side"]), device="meta")
    graph = from_torch(model, x)
    costs = costcalc.analyze(graph)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(x)
    assert costs.unknown == ()
    assert 2 * costs.total().work.macs == counter.get_total_flops()
    assert costs.total().params + sum(map(prod, graph.unused_parameters.values())) == sum(
        p.numel() for p in model.parameters()
    )
    timm_total = costcalc.analyze(graph, convention="timm").total()
    assert f"{round(timm_total.flops / 1e9, 2)}" == row["gmacs"]
    assert f"{round(timm_total.counted_activations / 1e6, 2)}" == row["macts"]
