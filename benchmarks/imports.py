"""Every model of two collections imported and held to torch: `python benchmarks/imports.py > reports/imports.md`.

It needs torchvision and timm, and takes about ten minutes. For each model: the multiply-accumulates against torch's own
counter on `meta`, halved; the parameters against the module's; what timm publishes against the convention `timm`; and
how long an import of torchvision takes as a multiple of the `torch.export` that it rests on. Names on the command line
are the only models then.
"""

from __future__ import annotations

import csv
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from math import prod
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import costcalc
from costcalc.core.sizes import Count
from costcalc.frontends.torch.export import from_torch

HERE = Path(__file__).parent


class Subject(NamedTuple):
    """A model, what it takes, and what is published of it: "G" of multiply-accumulates and "M" of activations."""

    name: str
    model: nn.Module
    side: int
    published: tuple[str, str] | None = None


class Found(NamedTuple):
    """What was found of a model; `wrong` is what disagrees, in words.

    `merged`: what is published is of the model with the branches of its blocks merged, as it is deployed.
    """

    name: str
    params: int
    macs: int
    layers: int
    ratio: float | None
    wrong: tuple[str, ...]
    merged: bool


def torchvision_models() -> Iterator[Subject]:
    """All classification models, each at the size of its first weights."""
    import torchvision

    for name in torchvision.models.list_models(module=torchvision.models):
        options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        with torch.device("cpu" if name.startswith("regnet") else "meta"):
            model = torchvision.models.get_model(name, weights=None, **options)
        usual = next(iter(torchvision.models.get_model_weights(name))).transforms().crop_size[0]
        yield Subject(name, model, getattr(model, "image_size", usual))


def timm_models() -> Iterator[Subject]:
    """The 200 of the list, over all families."""
    import timm

    timm.layers.set_fused_attn(False)  # as when its numbers were published: fvcore does not see attention as one call
    for row in csv.DictReader((HERE / "timm_models.csv").read_text(encoding="utf-8").splitlines()):
        try:
            with torch.device("meta"):
                model = timm.create_model(row["model"])
        except (RuntimeError, NotImplementedError):  # it computes with numbers as it is made
            model = timm.create_model(row["model"])
        published = (row["gmacs"], row["macts"]) if row["gmacs"] else None
        yield Subject(row["model"], model, int(row["side"]), published)


def examine(subject: Subject, timed: bool) -> Found:
    """Import a model and hold it to torch, and to what is published."""
    name, model, side, published = subject
    model = model.to("meta").eval()
    x = torch.empty(1, 3, side, side, device="meta")
    export = _seconds(lambda: torch.export.export(model, (x,))) if timed else 0
    start = perf_counter()
    graph = from_torch(model, x)
    took = perf_counter() - start
    if timed:  # the first export warms torch up
        export = min(export, _seconds(lambda: torch.export.export(model, (x,))))
    costs = costcalc.analyze(graph)
    total = costs.total()
    macs, params = _counted(model, x), sum(parameter.numel() for parameter in model.parameters())
    wrong = [f"unknown: {', '.join(sorted({row.op for row in costs.unknown}))}"] if costs.unknown else []
    if total.macs != macs:
        wrong.append(f"{total.macs:,} MACs, torch counts {macs:,}")
    if (total.params or 0) + sum(map(prod, graph.unused_parameters.values())) != params:
        wrong.append(f"{total.params:,} parameters of {params:,}")
    merged = False
    if published and (told := _as_timm(graph)) != published:
        import timm

        deployed = timm.utils.reparameterize_model(timm.create_model(name).eval(), inplace=True)
        merged = _as_timm(from_torch(deployed.to("meta"), x)) == published
        if not merged:
            wrong.append(f"{told[0]} G and {told[1]} M by timm's counting, published {published[0]} and {published[1]}")
    ratio = took / export if timed else None
    return Found(name, int(total.params or 0), int(total.macs or 0), len(graph.nodes), ratio, tuple(wrong), merged)


def _as_timm(graph: costcalc.Graph) -> tuple[str, str]:
    """What timm would publish of it."""
    total = costcalc.analyze(graph, convention="timm").total()
    return _printed(total.flops, 10**9), _printed(total.counted_activations, 10**6)


def _printed(value: Count | None, unit: int) -> str:
    """A count in the unit, to two decimals, as the published table has it."""
    return str(round(float(value or 0) / unit, 2))


def _counted(model: nn.Module, x: Tensor) -> int:
    model.requires_grad_(False)  # where a module takes a parameter as an argument, the counter fails on its gradient
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(x)
    return int(counter.get_total_flops()) // 2


def _seconds(call: Callable[[], object]) -> float:
    start = perf_counter()
    call()
    return perf_counter() - start


def page(title: str, subjects: Iterator[Subject], only: set[str], timed: bool = False) -> str:
    """One collection: how many models agree in everything, each model, and what disagrees."""
    found: list[Found] = []
    failed: list[str] = []
    for subject in subjects:
        if only and subject.name not in only:
            continue
        try:
            found.append(examine(subject, timed))
            print(*found[-1], file=sys.stderr)
        except Exception as error:
            failed.append(f"{subject.name}: {type(error).__name__}: {str(error).partition(chr(10))[0]}")
            print(failed[-1], file=sys.stderr)
    agree = sum(not one.wrong for one in found)
    lines = [f"## {title}", "", f"{agree} of {len(found) + len(failed)} agree in everything.", ""]
    ratios = [one.ratio for one in found if one.ratio is not None]
    if ratios:
        lines += [f"An import takes {median(ratios):.2f} times its `torch.export` (the median).", ""]
    if any(one.merged for one in found):
        deployed = ", ".join(one.name for one in found if one.merged)
        lines += [f"Published is what costs the model with its blocks' branches merged: {deployed}.", ""]
    lines += ["| model | parameters | MACs | layers | |", "|:---|---:|---:|---:|:---|"]
    lines += [f"| {o.name} | {o.params:,} | {o.macs:,} | {o.layers:,} | {'; '.join(o.wrong)} |" for o in found]
    if failed:
        lines += ["", "Not imported:", "", *(f"- {line}" for line in failed)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the page."""
    warnings.simplefilter("ignore")
    only = set(sys.argv[1:])
    print("# Imported models\n\n*Generated by `python benchmarks/imports.py`; do not edit.*\n")
    print(", ".join(f"{name} {version(name).partition('+')[0]}" for name in ("torch", "torchvision", "timm")) + ".\n")
    print(page("torchvision, classification", torchvision_models(), only, timed=True))
    print(page("timm", timm_models(), only), end="")


if __name__ == "__main__":
    main()
