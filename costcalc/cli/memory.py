"""The command about memory."""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import click

from costcalc.cli.options import LARGEST, network_or_largest_options, output_options
from costcalc.cli.printing import print_document
from costcalc.cli.target import Target, read_target
from costcalc.core.errors import CostcalcError

if TYPE_CHECKING:
    from costcalc.analysis.memory import Fit, Timeline
    from costcalc.ir.graph import Graph
    from costcalc.report.views.memory import MemoryReport


@click.command()
@click.argument("targets", nargs=-1, required=True, metavar="TARGET…")
@click.option("--training", is_flag=True, help="A forward and a backward pass, in training mode; else inference.")
@click.option(
    "--optimizer",
    default=None,
    metavar="NAME",
    help="With --training: its state and its step, too: sgd, sgd-momentum, adam, adamw, rmsprop.  [default: none]",
)
@click.option(
    "--freeze",
    "frozen",
    multiple=True,
    metavar="LAYER",
    help="With --training: parameters of a layer, or of all below a prefix, need no gradient; repeatable.",
)
@click.option(
    "--accumulate",
    "accumulating",
    is_flag=True,
    help="With --training: gradients are there before, and new ones are added to them.",
)
@click.option(
    "--master-weights",
    is_flag=True,
    help="With --optimizer and --dtype fp16 or bf16: mixed precision, the optimizer keeps its own copies in fp32.",
)
@click.option(
    "--checkpoint",
    type=click.Choice(["none", "stage", "block"]),
    default="none",
    show_default=True,
    help="With --training: stages or blocks keep only what they take, and run again in the backward pass.",
)
@click.option(
    "--fit",
    metavar="SIZE",
    help=f"The largest batch that fits in it, such as 24GiB; with --input {LARGEST}, the largest square input.",
)
@network_or_largest_options
@output_options
def memory(
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
    """Print where the memory goes: what is alive at the peak, where that is, and what autograd keeps.

    Every tensor of a run is told from the network alone, to the byte of what torch makes; workspace inside kernels, and
    how an allocator rounds, are not. Exits with 1 where not even the smallest fits.

    \b
    Examples:
      costcalc memory vgg16 --batch 32 --training --optimizer adam
      costcalc memory resnet50 --training --fit 24GiB
      costcalc memory resnet50 --training --batch 8 --fit 24GiB --input
      costcalc memory resnet50 --batch 32 --training --checkpoint block
      costcalc memory alexnet vgg16 googlenet --batch 8 --training
    """
    if optimizer == "none":
        optimizer = None
    trained = {"--optimizer": optimizer, "--freeze": frozen, "--accumulate": accumulating}
    trained |= {"--master-weights": master_weights, "--checkpoint": checkpoint != "none"}
    for option, asked in trained.items():
        if asked and not training:
            raise click.UsageError(f"{option} goes with --training")
    of: Literal["batch", "input"] | None = None
    budget = 0
    if fit is not None:
        from costcalc.core.written_numbers import read_bytes

        of, budget = "input" if target_options["input_text"] == LARGEST else "batch", read_bytes(fit, "--fit")
    elif target_options["input_text"] == LARGEST:
        raise click.UsageError(f"--input {LARGEST} goes with --fit; else --input is a size, such as 320x480")
    if of == "batch" and target_options["batch"] is not None:
        raise click.UsageError("--fit finds the batch: it goes without --batch")
    if of == "input":
        target_options["input_text"] = None
    from costcalc.report.views.memory import memory

    wanted = [read_target(target, convention="bologna", **target_options) for target in targets]
    how = {"training": training, "optimizer": optimizer, "frozen": frozen, "accumulating": accumulating}
    how |= {"master_weights": master_weights, "checkpoint": checkpoint}
    runs = [_analyze_memory(target, of, budget, how) for target in wanted]
    print_document(memory(runs), output_format, output)
    if any(run.fit is not None and not run.fit.largest for run in runs):
        sys.exit(1)


def _analyze_memory(
    target: Target, fitted: Literal["batch", "input"] | None, budget: int, timeline_options: dict[str, Any]
) -> MemoryReport:
    from costcalc.analysis.analyze import analyze
    from costcalc.analysis.memory import largest_batch, largest_input, timeline, training_flops
    from costcalc.report.views.memory import MemoryReport

    graph = target.graph()
    free = {"batch": ("batch",), "input": ("height", "width"), None: ()}[fitted]
    family = target.graph_factory(*free)

    @cache
    def sized(size: int) -> Graph:
        return family(**dict.fromkeys(free, size))

    @cache
    def run(size: int) -> Timeline:
        return timeline(sized(size), dtype=target.counting["dtype"], **timeline_options)

    def told(graph: Graph, run: Timeline, fit: Fit | None = None) -> MemoryReport:
        costs = analyze(graph, frozen=timeline_options["frozen"], **target.counting)
        return MemoryReport(run, costs, training_flops(costs, run), fit)

    if fitted is None:
        return told(graph, timeline(graph, dtype=target.counting["dtype"], **timeline_options))
    if fitted == "batch":
        if "batch" in target.options:
            raise CostcalcError(f"--fit finds the batch: {target.name} goes without batch={target.options['batch']}")
        fit = largest_batch(run, budget)
    else:
        if {"height", "input"} & {*target.options}:
            raise CostcalcError(f"--fit finds the input: {target.name} goes without input=")
        fit = largest_input(run, budget, graph.inputs[0].shape[-1])
    shown = fit.largest or fit.next_size
    assert shown is not None
    return told(sized(shown), run(shown), fit)
