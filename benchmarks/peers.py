"""How many models each tool counts right: `python benchmarks/peers.py > reports/peers.md` (some minutes).

It needs the tools: pip install torchvision fvcore ptflops thop torchinfo calflops. Each is asked for the multiply-
accumulates of a model in evaluation, on the CPU, as its README says. What is right is what torch's own counter says on
`meta`, halved, where no operation escapes it; of the small cases it is arithmetic
(`tests/frontends/test_import_torch.py`).
"""

from __future__ import annotations

import contextlib
import copy
import io
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import import_module
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import costcalc
from costcalc.frontends.torch.export import from_torch

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

LARGEST_PARAMETERS, LARGEST_MACS = 70_000_000, 12_000_000_000
NEAR = 0.05
PER_ELEMENT = 2
ABOUT = """\
Each tool was asked for the multiply-accumulates of convolutions, linear layers and matrix products of a model in
evaluation, as its README says. Some add biases, normalisations and activations, as `costcalc conventions` tells of
each: a number is near if it is off by at most 5 %, or by two operations for each element that a layer makes. What is
wrong by more is a layer that is not seen, or counted twice.
"""
VERDICTS = ("equal", "near", "wrong", "fails")


def by_costcalc(model: nn.Module, x: Tensor) -> int:
    """The analysis of the imported model; an operation that nobody knows is a failure."""
    costs = costcalc.analyze(from_torch(model, x))
    if costs.unknown:
        raise ValueError("unknown layers")
    return int(costs.total().macs or 0)


def by_torch(model: nn.Module, x: Tensor) -> int:
    """torch.utils.flop_counter on the device that the model is on."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(x)
    return int(counter.get_total_flops()) // 2


def by_fvcore(model: nn.Module, x: Tensor) -> int:
    """fvcore's FlopCountAnalysis, whose "flops" are multiply-accumulates."""
    from fvcore.nn import FlopCountAnalysis

    counted = FlopCountAnalysis(model, x).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    return int(counted.total())


def by_ptflops(backend: str) -> Callable[[nn.Module, Tensor], int]:
    """ptflops with one of its backends."""

    def count(model: nn.Module, x: Tensor) -> int:
        from ptflops import get_model_complexity_info

        macs, _ = get_model_complexity_info(
            model, tuple(x.shape[1:]), as_strings=False, print_per_layer_stat=False, verbose=False, backend=backend
        )
        return int(macs)

    return count


def by_thop(model: nn.Module, x: Tensor) -> int:
    """thop.profile."""
    from thop import profile

    return int(profile(model, (x,), verbose=False)[0])


def by_torchinfo(model: nn.Module, x: Tensor) -> int:
    """torchinfo.summary."""
    from torchinfo import summary

    return int(summary(model, input_data=x, verbose=0).total_mult_adds)


def by_calflops(model: nn.Module, x: Tensor) -> int:
    """calflops, its MACs."""
    from calflops import calculate_flops

    _, macs, _ = calculate_flops(
        model, input_shape=tuple(x.shape), print_results=False, print_detailed=False, output_as_string=False
    )
    return int(macs)


TOOLS: dict[str, tuple[str, Callable[[nn.Module, Tensor], int]]] = {
    "costcalc": ("costcalc", by_costcalc),
    "torch (CPU)": ("torch", by_torch),
    "fvcore": ("fvcore", by_fvcore),
    "ptflops (pytorch)": ("ptflops", by_ptflops("pytorch")),
    "ptflops (aten)": ("ptflops", by_ptflops("aten")),
    "thop": ("thop", by_thop),
    "torchinfo": ("torchinfo", by_torchinfo),
    "calflops": ("calflops", by_calflops),
}


def models() -> Iterator[tuple[str, Callable[[], nn.Module], tuple[int, ...], int]]:
    """Name, how it is made, what it takes and its multiply-accumulates."""
    for name in torchvision.models.list_models(module=torchvision.models):
        side = 299 if name == "inception_v3" else 224
        weights = torchvision.models.get_model_weights(name)
        side = next(iter(weights)).transforms().crop_size[0] if len(weights) else side
        options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}

        def make(name: str = name, options: dict[str, Any] = options) -> nn.Module:
            model: nn.Module = torchvision.models.get_model(name, weights=None, **options)
            return model.eval()

        model = make()
        if sum(p.numel() for p in model.parameters()) > LARGEST_PARAMETERS:
            continue
        macs = by_torch(model.to("meta"), torch.zeros(1, 3, side, side, device="meta"))
        if macs <= LARGEST_MACS:
            yield name, make, (1, 3, side, side), macs


def cases() -> Iterator[tuple[str, Callable[[], nn.Module], tuple[int, ...], int]]:
    """The small cases that take one tensor."""
    small: dict[str, Any] = import_module("test_import_torch").CASES
    for name, (module, shapes, (_, macs)) in small.items():
        if len(shapes) == 1:
            yield name, partial(copy.deepcopy, module), shapes[0], macs


def verdict(count: Callable[[nn.Module, Tensor], int], model: nn.Module, x: Tensor, macs: int, each: int) -> str:
    """How a tool's number compares with the right one; `each` is the elements of all that the model's layers make."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            said = count(model, x)
    except Exception:
        return "fails"
    if said == macs:
        return "equal"
    return "near" if abs(said - macs) <= max(NEAR * macs, PER_ELEMENT * each) else "wrong"


def verdicts(tool: str, title: str, only: str | None) -> list[tuple[str, str]]:
    """What a tool gets how right, of a group of models or of one in it."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    _, count = TOOLS[tool]
    found = []
    for name, make, shape, macs in GROUPS[title]():
        if only in (None, name):
            made = costcalc.analyze(from_torch(make(), torch.zeros(shape))).total().activations
            found.append((name, verdict(count, make(), torch.zeros(shape), macs, int(made or 0))))
    print(tool, title, only or "", file=sys.stderr)
    return found


def table(title: str, found: dict[str, list[tuple[str, str]]]) -> str:
    """One group of models: how many each tool gets how right, and which it gets wrong."""
    counts = {tool: Counter(answer for _, answer in answers) for tool, answers in found.items()}
    lines = [f"## {title}: {len(found['costcalc'])}", "", f"| tool | {' | '.join(VERDICTS)} |"]
    lines += ["|:---|" + "---:|" * len(VERDICTS)]
    lines += [f"| {tool} | {' | '.join(str(counts[tool][v]) for v in VERDICTS)} |" for tool in found]
    lines += ["", "Wrong, or failing:", ""]
    for tool, answers in found.items():
        missed = [name for name, answer in answers if answer in ("wrong", "fails")]
        lines.append(f"- {tool}: {', '.join(missed) or 'none'}")
    return "\n".join(lines) + "\n"


SMALL = "Small cases"
MOST = f"{LARGEST_PARAMETERS // 10**6} M parameters and {LARGEST_MACS // 10**9} GMACs"
GROUPS = {SMALL: cases, f"torchvision's classification models of at most {MOST}": models}


def main() -> None:
    """Print the page. A tool that fails may leave torch patched, so that each small case has a process of its own."""
    found: dict[str, dict[str, list[tuple[str, str]]]] = {title: {tool: [] for tool in TOOLS} for title in GROUPS}
    alone = [name for name, *_ in cases()]
    jobs = [(tool, title, one) for title in GROUPS for tool in TOOLS for one in (alone if title == SMALL else [None])]
    with ProcessPoolExecutor(2, get_context("spawn"), max_tasks_per_child=1) as processes:
        for (tool, title, _), answers in zip(jobs, processes.map(verdicts, *zip(*jobs, strict=True)), strict=True):
            found[title][tool] += answers
    print("# Other tools on the same models\n")
    print("*Generated by `python benchmarks/peers.py`; do not edit.*\n")
    print(ABOUT)
    packages = dict.fromkeys(package for package, _ in TOOLS.values())
    print("Versions: " + ", ".join(f"{p} {version(p).partition('+')[0]}" for p in [*packages, "torchvision"]) + ".\n")
    print("\n".join(table(title, of_tools) for title, of_tools in found.items()), end="")


if __name__ == "__main__":
    main()
