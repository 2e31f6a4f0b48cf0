"""How fast costcalc is, as ratios to a bare Python and to `import torch`: `python benchmarks/run.py`.

Ratios travel between machines, seconds do not. Every figure is the median of several runs.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from statistics import median
from time import perf_counter

import costcalc
from costcalc import Builder
from costcalc.ir.ops import OPS


def seconds(call: Callable[[], object], runs: int = 9) -> float:
    """The median time of a call."""
    times = []
    for _ in range(runs):
        start = perf_counter()
        call()
        times.append(perf_counter() - start)
    return median(times)


def process(*arguments: str) -> Callable[[], object]:
    """A whole Python process, its output thrown away."""
    return lambda: subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)


def chain(layers: int) -> costcalc.Graph:
    """A graph of that many convolutions and ReLUs in a row."""
    builder = Builder("chain", channels=8, height=8, width=8)
    convolution, relu = OPS["conv2d"](8, 3, padding=1), OPS["relu"]()
    for number in range(layers):
        builder.add(f"layer{number}", relu if number % 2 else convolution)
    return builder.build()


def main() -> None:
    """Print every figure beside its limit."""
    bare = seconds(process("-c", "pass"), 25)
    print(f"bare Python: {bare * 1e3:.1f} ms")
    imports = [("import costcalc", "-c", "import costcalc"), ("import click, yaml", "-c", "import click, yaml")]
    if find_spec("torch"):
        imports.append(("import torch", "-c", "import torch"))
    commands = [
        ("costcalc --help", "-m", "costcalc", "--help"),
        ("costcalc report googlenet (at most 15)", "-m", "costcalc", "report", "googlenet"),
        ("costcalc report googlenet --naive-vs-reduced", "-m", "costcalc", "report", "googlenet", "--naive-vs-reduced"),
        ("costcalc compare vgg16 alexnet", "-m", "costcalc", "compare", "vgg16", "alexnet"),
        ("costcalc reconcile resnet50 4.11G (at most 45)", "-m", "costcalc", "reconcile", "resnet50", "4.11G"),
        ("costcalc reconcile resnet50 25636712 (at most 70)", "-m", "costcalc", "reconcile", "resnet50", "25636712"),
        (
            "costcalc formula resnet50 --in batch,height,width,classes (at most 100)",
            *("-m", "costcalc", "formula", "resnet50", "--in", "batch,height,width,classes"),
        ),
        ("costcalc list", "-m", "costcalc", "list"),
        ("costcalc claims (at most 180)", "-m", "costcalc", "claims"),
    ]
    for label, *arguments in (*imports, *commands):
        print(f"{label}: {seconds(process(*arguments)) / bare:.1f} × bare Python")
    if find_spec("torch"):
        check = seconds(process("-m", "costcalc", "check", "resnet152", "--device", "meta"), 3)
        torch = seconds(process("-c", "import torch"), 3)
        limit = 3 * torch + 5
        print(f"costcalc check resnet152 on meta: {check:.1f} s (at most 3 × import torch + 5 s: {limit:.1f} s)")
        every = seconds(process("-m", "costcalc", "check", "--all", "--device", "meta"), 1)
        print(f"costcalc check --all on meta: {every:.1f} s (under 120 s)")
    graph = costcalc.load("resnet152")
    print(f"load resnet152: {seconds(lambda: costcalc.load('resnet152')) * 1e3:.1f} ms")
    print(f"analyse resnet152 (at most 1 bare Python): {seconds(lambda: costcalc.analyze(graph)) * 1e3:.1f} ms")
    each = [seconds(partial(costcalc.analyze, chain(layers)), 5) / layers for layers in (1_000, 100_000)]
    print(f"a layer of 100,000 against one of 1,000 (at most 2.5): {each[1] / each[0]:.2f} ×")


if __name__ == "__main__":
    main()
