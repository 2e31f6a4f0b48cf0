"""`costcalc memory`: the memory of a run."""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import click

from costcalc.analysis.memory import CHECKPOINTS, OPTIMIZERS
from costcalc.cli.options import LARGEST, network_or_largest_options, output_options
from costcalc.cli.printing import print_document
from costcalc.cli.target import Target, read_target
from costcalc.core.axes import PLANE_DIM_NAMES
from costcalc.core.errors import CostcalcError
from costcalc.core.written_numbers import read_bytes

if TYPE_CHECKING:
    from costcalc.analysis.memory import Fit, Timeline
    from costcalc.ir.graph import Graph
    from costcalc.report.views.memory import MemoryReport


@click.command("memory")
@click.argument("targets", nargs=-1, required=True, metavar="TARGET…")
@click.option("--training", is_flag=True, help="A forward and a backward pass in training mode, instead of inference.")
@click.option(
    "--optimizer",
    default=None,
    metavar="NAME",
    help=f"With --training: add the state and the step of an optimizer: {', '.join(OPTIMIZERS)}.  [default: none]",
)
@click.option(
    "--freeze",
    "frozen",
    multiple=True,
    metavar="LAYER",
    help="With --training: the parameters of a layer, or of all layers below a prefix, need no gradient; repeatable.",
)
@click.option("--accumulate", "accumulating", is_flag=True, help="With --training: accumulate into existing gradients.")
@click.option(
    "--master-weights",
    is_flag=True,
    help="With --optimizer and --dtype fp16 or bf16: mixed precision with fp32 copies of the parameters.",
)
@click.option(
    "--checkpoint",
    type=click.Choice(CHECKPOINTS),
    default="none",
    show_default=True,
    help="With --training: save only the inputs of stages or blocks, and recompute them in the backward pass.",
)
@click.option(
    "--fit",
    metavar="SIZE",
    help=f"Find the largest batch that fits in SIZE, such as 24GiB; with --input {LARGEST}, the largest square input.",
)
@network_or_largest_options
@output_options
def command(
    targets: tuple[str, ...],
    training: bool,
    optimizer: str | None,
    frozen: tuple[str, ...],
    accumulating: bool,
    master_weights: bool,
    checkpoint: str,
    fit: str | None,
    output_format: str,
    output: str | None,
    **target_options: Any,
) -> None:
    """Print the peak memory of a run, and what autograd saves.

    The table has the tensors that are live at the peak, by class. The tensors that torch allocates are calculated
    to the byte. Workspace inside kernels and the rounding of the allocator are not included. With --fit, exits with
    1 when not even the smallest size fits.

    \b
    Examples:
      costcalc memory vgg16 --batch 32 --training --optimizer adam
      costcalc memory resnet50 --training --fit 24GiB
      costcalc memory resnet50 --training --batch 8 --fit 24GiB --input largest
      costcalc memory resnet50 --batch 32 --training --checkpoint block
      costcalc memory alexnet vgg16 googlenet --batch 8 --training
    """
    if optimizer == "none":
        optimizer = None
    training_options = {
        "--optimizer": optimizer,
        "--freeze": frozen,
        "--accumulate": accumulating,
        "--master-weights": master_weights,
        "--checkpoint": checkpoint != "none",
    }
    for option, value in training_options.items():
        if value and not training:
            raise click.UsageError(f"{option} requires --training")
    fitted: Literal["batch", "input"] | None = None
    budget = 0
    largest_input = target_options["input_text"] == LARGEST
    if fit is not None:
        fitted, budget = "input" if largest_input else "batch", read_bytes(fit, "--fit")
    elif largest_input:
        raise click.UsageError(f"--input {LARGEST} requires --fit; without --fit, pass a size such as 320x480")
    if fitted == "batch" and target_options["batch"] is not None:
        raise click.UsageError("--fit finds the largest batch and cannot be combined with --batch")
    if fitted == "input":
        target_options["input_text"] = None
    from costcalc.report.views.memory import memory_view

    networks = [read_target(target, convention="bologna", **target_options) for target in targets]
    run_options = {
        "training": training,
        "optimizer": optimizer,
        "frozen": frozen,
        "accumulating": accumulating,
        "master_weights": master_weights,
        "checkpoint": checkpoint,
    }
    reports = [_analyze_memory(network, fitted, budget, run_options) for network in networks]
    print_document(memory_view(reports), output_format, output)
    if any(report.fit is not None and not report.fit.largest for report in reports):
        sys.exit(1)


def _analyze_memory(
    network: Target, fitted: Literal["batch", "input"] | None, budget: int, run_options: dict[str, Any]
) -> MemoryReport:
    """Return the memory of a network, at the largest batch or input within the budget if one of them is `fitted`."""
    from costcalc.analysis.analyze import analyze
    from costcalc.analysis.memory import largest_batch, largest_input, timeline, training_flops
    from costcalc.report.views.memory import MemoryReport

    graph = network.graph()
    dtype = network.counting["dtype"]
    sizes = {"batch": ("batch",), "input": PLANE_DIM_NAMES, None: ()}[fitted]
    build = network.graph_factory(*sizes)

    @cache
    def resized(size: int) -> Graph:
        return build(**dict.fromkeys(sizes, size))

    @cache
    def run(size: int) -> Timeline:
        return timeline(resized(size), dtype=dtype, **run_options)

    def report(graph: Graph, run: Timeline, fit: Fit | None = None) -> MemoryReport:
        costs = analyze(graph, frozen=run_options["frozen"], **network.counting)
        return MemoryReport(run, costs, training_flops(costs, run), fit)

    if fitted is None:
        return report(graph, timeline(graph, dtype=dtype, **run_options))
    if fitted == "batch":
        if "batch" in network.options:
            raise CostcalcError(
                f"--fit finds the largest batch: remove batch={network.options['batch']} from {network.name}"
            )
        fit = largest_batch(run, budget)
    else:
        if {"height", "input"} & {*network.options}:
            raise CostcalcError(f"--fit finds the largest input: remove input= from {network.name}")
        fit = largest_input(run, budget, graph.inputs[0].shape[-1])
    size = fit.largest or fit.next_size
    assert size is not None
    return report(resized(size), run(size), fit)
