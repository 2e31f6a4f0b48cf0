"""`costcalc check`: calculated costs and memory compared with torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from costcalc.cli.options import network_options, output_options
from costcalc.cli.printing import fail, print_document, uncounted_message
from costcalc.cli.target import read_target
from costcalc.core.devices import DEVICES
from costcalc.core.errors import CostcalcError

if TYPE_CHECKING:
    from costcalc.ir.graph import Graph
    from costcalc.torch_backend.clock import Timing
    from costcalc.validation.costs import CrossCheck

_DEFAULT_RUNS = 15

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@click.command("check")
@click.argument("targets", nargs=-1, metavar="TARGET…")
@click.option("--all", "every", is_flag=True, help="Check every architecture of `costcalc list`.")
@click.option(
    "--device",
    type=click.Choice(["auto", *DEVICES]),
    default="auto",
    show_default=True,
    help="Where to run: auto is a GPU if there is one, else the CPU; meta computes shapes but no values.",
)
@click.option("--train", is_flag=True, help="Run in training mode, forward and backward, and compare backward FLOPs.")
@click.option(
    "--memory",
    is_flag=True,
    help="Compare live memory while each layer runs instead and, with --train, the bytes saved for backward.",
)
@click.option("--time", "timed", is_flag=True, help="Also measure the time of each layer and of the network.")
@click.option(
    "--runs",
    type=click.IntRange(1),
    metavar="N",
    help=f"With --time: the number of runs whose median is taken.  [default: {_DEFAULT_RUNS}]",
)
@click.option("--strict", is_flag=True, help="Exit with 1 when a layer could not be counted.")
@network_options
@output_options
def command(
    targets: tuple[str, ...],
    every: bool,
    device: str,
    train: bool,
    memory: bool,
    timed: bool,
    runs: int | None,
    strict: bool,
    output_format: str,
    output: str | None,
    **target_options: Any,
) -> None:
    """Compare calculated costs with those that torch measures.

    Shapes, parameters, FLOPs and memory of each layer are compared with ==. Exits with 1 where they differ. Needs
    torch: pip install 'costcalc[torch]'.

    \b
    Examples:
      costcalc check resnet50 --device meta --train
      costcalc check resnet50 --device meta --train --memory
      costcalc check vgg16 --device cpu --time
      costcalc check --all --device meta
    """
    if every == bool(targets):
        raise click.UsageError("pass one or more TARGETs, or --all")
    if timed and device == "meta":
        raise click.UsageError("--time needs a device that computes; pass another --device than meta")
    if runs is not None and not timed:
        raise click.UsageError("--runs requires --time")
    if memory and timed:
        raise click.UsageError("--memory cannot be combined with --time")
    from costcalc.frontends.spec import architectures
    from costcalc.validation.costs import check, load_torch_backend

    backend = load_torch_backend()
    networks = [
        read_target(target, convention="flops", **target_options) for target in (architectures() if every else targets)
    ]
    workloads, errors = _collect(networks, lambda network: (network.graph(), network.counting["dtype"]))
    if errors:
        raise CostcalcError("\n".join(errors))

    if memory:
        from costcalc.report.views.check_memory import memory_check_view
        from costcalc.validation.memory import check_memory

        memory_checks, errors = _collect(
            workloads, lambda workload: check_memory(workload[0], device=device, dtype=workload[1], train=train)
        )
        if memory_checks:
            print_document(memory_check_view(memory_checks, not_checked=errors), output_format, output)
        _fail_on_differences(sum(len(each.differences) for each in memory_checks), errors)
        return

    def measure(workload: tuple[Graph, str]) -> tuple[CrossCheck, Timing | None]:
        graph, dtype = workload
        result = check(graph, device=device, dtype=dtype, train=train)
        if not timed:
            return result, None
        return result, backend.time_layers(graph, device=device, dtype=dtype, train=train, runs=runs or _DEFAULT_RUNS)

    from costcalc.report.views.check import check_view

    results, errors = _collect(workloads, measure)
    checks = [result for result, _ in results]
    if checks:
        timings = [timing for _, timing in results if timing is not None]
        print_document(check_view(checks, timings, not_checked=errors), output_format, output)
    unknown = sum(len(each.calculated.unknown) for each in checks)
    uncounted = [uncounted_message(unknown)] if strict and unknown else []
    _fail_on_differences(sum(len(each.differences) for each in checks), errors, uncounted)


def _fail_on_differences(differences: int, errors: Sequence[str], other_messages: Sequence[str] = ()) -> None:
    """Exit with 1 where figures differ, or where there are other messages."""
    messages = [*errors]
    if differences:
        messages.append(f"{differences} figure{'s differ' if differences > 1 else ' differs'}")
    messages += other_messages
    if messages:
        fail("\n".join(messages))


def _collect(items: Iterable[_Item], function: Callable[[_Item], _Result]) -> tuple[list[_Result], list[str]]:
    """Apply a function to each item. Return the results and, each once, the messages of items that raise."""
    results, errors = [], []
    for item in items:
        try:
            results.append(function(item))
        except CostcalcError as error:
            errors.append(str(error))
    return results, list(dict.fromkeys(errors))
