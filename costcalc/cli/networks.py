"""Commands that analyse networks: list, report, compare, explain, field, check."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from costcalc.analysis.metrics import METRICS
from costcalc.cli.options import architecture_options, network_options, output_options, size_options
from costcalc.cli.printing import fail, print_document, uncounted_message
from costcalc.cli.target import read_target
from costcalc.core.errors import CostcalcError

if TYPE_CHECKING:
    from costcalc.ir.graph import Graph

_Item = TypeVar("_Item")
_Outcome = TypeVar("_Outcome")


@click.command("list")
@output_options
def list_(output_format: str, output: str | None) -> None:
    """Print the architectures that ship with costcalc, with headline numbers.

    \b
    Example:
      costcalc list
    """
    from costcalc.analysis.analyze import analyze
    from costcalc.frontends.spec import architectures
    from costcalc.report.views.networks import listing

    print_document(listing(analyze(spec.build(name)) for name, spec in architectures().items()), output_format, output)


@click.command()
@click.argument("target")
@click.option("--by", type=click.Choice(["layer", "stage", "op", "resolution"]), help="Rows.  [default: layer]")
@click.option(
    "--depth",
    type=click.IntRange(1),
    metavar="N",
    help="With --by stage: parts of a path that name a stage.  [default: 1]",
)
@click.option("--naive-vs-reduced", is_flag=True, help="Inception modules with and without their 1×1 reductions.")
@click.option(
    "--training",
    is_flag=True,
    help="Also the MACs of the gradients, and what autograd keeps of what each layer makes (`costcalc memory`).",
)
@click.option("--strict", is_flag=True, help="Exit 1 when a layer could not be counted.")
@size_options
@output_options
def report(
    target: str,
    by: str | None,
    depth: int | None,
    naive_vs_reduced: bool,
    training: bool,
    strict: bool,
    output_format: str,
    output: str | None,
    **target_options: Any,
) -> None:
    """Print what a network costs, layer by layer or in groups.

    \b
    Examples:
      costcalc report vgg16 --by stage
      costcalc report googlenet --naive-vs-reduced
      costcalc report net.yaml --batch 8 --input 320x480 --set classes=10
    """
    if depth is not None and by != "stage":
        raise click.UsageError("--depth goes with --by stage")
    if naive_vs_reduced and (by is not None or strict or training):
        raise click.UsageError("--naive-vs-reduced is a report of its own: without --by, --strict and --training")
    wanted = read_target(target, **target_options)
    if naive_vs_reduced:
        wanted = wanted.require_no_moves("--naive-vs-reduced")
        from costcalc.exploration.inception_reductions import naive_versus_reduced
        from costcalc.report.views import networks

        modules, stacked = naive_versus_reduced(wanted.name, wanted.options, **wanted.counting)
        print_document(networks.naive_versus_reduced(modules, stacked), output_format, output)
        return
    from costcalc.report.views.networks import report

    costs = wanted.analyze(training)
    print_document(report(costs, by or "layer", depth or 1), output_format, output)
    if strict and costs.unknown:
        fail(uncounted_message(len(costs.unknown)))


@click.command()
@click.argument("targets", nargs=-1, required=True, metavar="TARGET…")
@click.option(
    "--by",
    type=click.Choice(["stage", "op"]),
    default="stage",
    show_default=True,
    help="Stages are aligned by resolution.",
)
@click.option(
    "--metric", type=click.Choice([*METRICS]), default="memory", show_default=True, help="What to lay side by side."
)
@size_options
@output_options
def compare(
    targets: tuple[str, ...], by: str, metric: str, output_format: str, output: str | None, **target_options: Any
) -> None:
    """Print networks side by side: one metric by stage, and every metric in total.

    \b
    Examples:
      costcalc compare vgg16 alexnet --by stage --metric memory
      costcalc compare resnet50 vgg16:batch=32,dtype=fp16 googlenet
    """
    from costcalc.report.views.networks import compare

    print_document(
        compare([read_target(target, **target_options).analyze() for target in targets], by, metric),
        output_format,
        output,
    )


@click.command()
@click.argument("target")
@click.argument("layer")
@size_options
@output_options
def explain(target: str, layer: str, output_format: str, output: str | None, **target_options: Any) -> None:
    """Print the formula of a layer's costs, the numbers put in, and the result.

    LAYER is a layer's path, or a prefix of paths: then everything below it.

    \b
    Example:
      costcalc explain googlenet inception3a/5x5
    """
    from costcalc.analysis.analyze import analyze
    from costcalc.exploration.symbolic import explain
    from costcalc.report.views.networks import explanation

    wanted = read_target(target, **target_options)
    graph = wanted.graph()
    layer = layer.strip("/")
    lines = explain(graph, layer, **wanted.counting)
    print_document(explanation(analyze(graph, **wanted.counting).below(layer), layer, lines), output_format, output)


@click.command()
@click.argument("target")
@click.argument("layer", required=False)
@architecture_options
@output_options
def field(target: str, layer: str | None, output_format: str, output: str | None, **target_options: Any) -> None:
    """Print the receptive field of every layer, and how much of the input one of its outputs sees.

    LAYER is a layer's path, or a prefix of paths: then everything below it.

    \b
    Examples:
      costcalc field vgg16
      costcalc field resnet50 layer4 --input 320x480
    """
    from costcalc.analysis.receptive_field import coverage
    from costcalc.report.views.receptive_field import receptive_fields

    seen = coverage(read_target(target, **target_options).graph(), layer)
    print_document(receptive_fields(seen, layer), output_format, output)


@click.command()
@click.argument("targets", nargs=-1, metavar="TARGET…")
@click.option("--all", "every", is_flag=True, help="Every architecture of `costcalc list`.")
@click.option(
    "--device",
    type=click.Choice(["auto", "cuda", "mps", "cpu", "meta"]),
    default="auto",
    show_default=True,
    help="Where to run: auto is a GPU where there is one, else the CPU; on meta nothing is computed.",
)
@click.option("--train", is_flag=True, help="In training mode, and backward: the FLOPs of the gradients, too.")
@click.option(
    "--memory",
    is_flag=True,
    help="Instead, what is alive as each layer runs and, with --train, what autograd keeps of it.",
)
@click.option("--time", "timed", is_flag=True, help="Also time each layer and the whole.")
@click.option(
    "--runs", type=click.IntRange(1), metavar="N", help="With --time: of how many runs to take medians.  [default: 15]"
)
@click.option("--strict", is_flag=True, help="Exit 1 when a layer could not be counted.")
@network_options
@output_options
def check(
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
    """Print what was calculated beside what torch measures when the network runs; exit 1 where they differ.

    Every layer's shapes, parameters, FLOPs and memory are compared with ==. Needs torch: pip install 'costcalc[torch]'.

    \b
    Examples:
      costcalc check resnet50 --device meta --train
      costcalc check resnet50 --device meta --train --memory
      costcalc check vgg16 --device cpu --time
      costcalc check --all --device meta
    """
    if every == bool(targets):
        raise click.UsageError("check takes one or more TARGETs, or --all")
    if timed and device == "meta":
        raise click.UsageError("--time needs a device that computes: nothing runs on meta")
    if runs is not None and not timed:
        raise click.UsageError("--runs goes with --time")
    if memory and timed:
        raise click.UsageError("--memory is a check of its own: without --time")
    from costcalc.frontends.spec import architectures
    from costcalc.report.views.check import cross_check
    from costcalc.validation.costs import check, load_torch_backend

    backend = load_torch_backend()
    wanted = [
        read_target(target, convention="flops", **target_options) for target in (architectures() if every else targets)
    ]
    graphs, mistakes = _collect(wanted, lambda target: (target.graph(), target.counting["dtype"]))
    if mistakes:
        raise CostcalcError("\n".join(mistakes))

    if memory:
        from costcalc.report.views.check_memory import memory_check
        from costcalc.validation.memory import check_memory

        seen, mistakes = _collect(graphs, lambda it: check_memory(it[0], device=device, dtype=it[1], train=train))
        if seen:
            print_document(memory_check(seen, refused=mistakes), output_format, output)
        _fail_on_differences(sum(len(checked.differences) for checked in seen), mistakes)
        return

    def run(graph: Graph, dtype: str) -> tuple[Any, Any]:
        checked = check(graph, device=device, dtype=dtype, train=train)
        if not timed:
            return checked, None
        return checked, backend.time_layers(graph, device=device, dtype=dtype, train=train, runs=runs or 15)

    done, mistakes = _collect(graphs, lambda graph_and_dtype: run(*graph_and_dtype))
    checks = [checked for checked, _ in done]
    if checks:
        timings = [timing for _, timing in done if timing is not None]
        print_document(cross_check(checks, timings, refused=mistakes), output_format, output)
    unknown = sum(len(checked.calculated.unknown) for checked in checks)
    also = [uncounted_message(unknown)] if strict and unknown else []
    _fail_on_differences(sum(len(checked.differences) for checked in checks), mistakes, also)


def _fail_on_differences(differing: int, mistakes: Iterable[str], further_messages: Iterable[str] = ()) -> None:
    """Exit with 1 where there were mistakes, or where figures differ."""
    said = [f"{differing} figure{'s differ' if differing > 1 else ' differs'}"] if differing else []
    said = [*mistakes, *said, *further_messages]
    if said:
        fail("\n".join(said))


def _collect(items: Iterable[_Item], call: Callable[[_Item], _Outcome]) -> tuple[list[_Outcome], list[str]]:
    """What a call gives for each item, and the messages of those it fails for, each once."""
    answers, mistakes = [], []
    for item in items:
        try:
            answers.append(call(item))
        except CostcalcError as error:
            mistakes.append(str(error))
    return answers, list(dict.fromkeys(mistakes))
