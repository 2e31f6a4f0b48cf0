"""The command line: the one place that prints, exits, and turns an error into a message."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

import click

from costcalc import __version__
from costcalc.errors import CostcalcError

if TYPE_CHECKING:
    from costcalc.analysis import Rules
    from costcalc.costs import CostTable
    from costcalc.graph import Graph
    from costcalc.report.table import Document

GARBAGE = 100_000  # new objects before looking for cycles among them: a command ends before there are many
FORMATS = ("text", "markdown", "csv", "json", "latex")
VERDICTS = ("exact", "rounds", "truncated", "approximate", "wrong", "conditional", "not-a-cost")
METRICS = ("params", "param-memory", "macs", "flops", "activations", "memory")

_Command = TypeVar("_Command", bound=Callable[..., Any])
_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


def _options(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    """Several options as one decorator, in the order in which --help lists them."""

    def decorate(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_output = _options(
    click.option(
        "--format", "style", type=click.Choice(FORMATS), default="text", show_default=True, help="How to print."
    ),
    click.option("-o", "--output", type=click.Path(), metavar="FILE", help="Write to FILE."),
)
_network = _options(
    click.option("--batch", metavar="N", help="Images at once.  [default: the spec's, 1]"),
    click.option("--input", "size", metavar="HxW", help="Input size: 320x480, 320, or CxHxW."),
    click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a setting; repeatable."),
    click.option("--dtype", default="fp32", show_default=True, help="What tensors are stored in: fp16, int8, …"),
)
_sizes = _options(
    _network,
    click.option(
        "--convention", default="flops", show_default=True, metavar="NAME",
        help="How FLOPs and activation memory are counted: flops, macs, fvcore, … (`costcalc conventions`).",
    ),
)  # fmt: skip


class _Cli(click.Group):
    """Commands in the order of the README, and errors of users as messages."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CostcalcError as error:
            _fail(str(error))
        except KeyboardInterrupt:
            _fail("interrupted")


@click.group(cls=_Cli, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="costcalc %(version)s")
def cli() -> None:
    """What a neural network costs before anyone runs it: parameters, MACs, FLOPs, memory, and why.

    A TARGET is a shipped architecture (`costcalc list`), a file such as net.yaml, or either with settings of its own:
    vgg16:batch=32,dtype=fp16.

    \b
    Example:
      costcalc report googlenet --by stage
    """


@cli.command("list")
@_output
def list_(style: str, output: str | None) -> None:
    """Print the architectures that ship with costcalc, with headline numbers.

    \b
    Example:
      costcalc list
    """
    from costcalc.analysis import analyze
    from costcalc.report.views import listing
    from costcalc.spec import architectures

    _print(listing(analyze(spec.build(name)) for name, spec in architectures().items()), style, output)


@cli.command()
@click.argument("target")
@click.option("--by", type=click.Choice(["layer", "stage", "op", "resolution"]), help="Rows.  [default: layer]")
@click.option(
    "--depth",
    type=click.IntRange(1),
    metavar="N",
    help="With --by stage: parts of a path that name a stage.  [default: 1]",
)
@click.option("--naive-vs-reduced", is_flag=True, help="Inception modules with and without their 1×1 reductions.")
@click.option("--strict", is_flag=True, help="Exit 1 when a layer could not be counted.")
@_sizes
@_output
def report(
    target: str,
    by: str | None,
    depth: int | None,
    naive_vs_reduced: bool,
    strict: bool,
    style: str,
    output: str | None,
    **sizes: Any,
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
    if naive_vs_reduced and (by is not None or strict):
        raise click.UsageError("--naive-vs-reduced is a report of its own: without --by and --strict")
    wanted = _target(target, **sizes)
    if naive_vs_reduced:
        from costcalc.modules import naive_versus_reduced
        from costcalc.report import views

        modules, stacked = naive_versus_reduced(wanted.name, wanted.given, **wanted.rules)
        _print(views.naive_versus_reduced(modules, stacked), style, output)
        return
    from costcalc.report.views import report

    costs = wanted.analyze()
    _print(report(costs, by or "layer", depth or 1), style, output)
    if strict and costs.unknown:
        _fail(_uncounted(len(costs.unknown)))


@cli.command()
@click.argument("targets", nargs=-1, required=True, metavar="TARGET…")
@click.option(
    "--by",
    type=click.Choice(["stage", "op"]),
    default="stage",
    show_default=True,
    help="Stages are aligned by resolution.",
)
@click.option(
    "--metric", type=click.Choice(METRICS), default="memory", show_default=True, help="What to lay side by side."
)
@_sizes
@_output
def compare(targets: tuple[str, ...], by: str, metric: str, style: str, output: str | None, **sizes: Any) -> None:
    """Print networks side by side: one metric by stage, and every metric in total.

    \b
    Examples:
      costcalc compare vgg16 alexnet --by stage --metric memory
      costcalc compare resnet50 vgg16:batch=32,dtype=fp16 googlenet
    """
    from costcalc.report.views import compare

    _print(compare([_target(target, **sizes).analyze() for target in targets], by, metric), style, output)


@cli.command()
@click.argument("target")
@click.argument("layer")
@_sizes
@_output
def explain(target: str, layer: str, style: str, output: str | None, **sizes: Any) -> None:
    """Print the formula of a layer's costs, the numbers put in, and the result.

    LAYER is a layer's path, or a prefix of paths: then everything below it.

    \b
    Example:
      costcalc explain googlenet inception3a/5x5
    """
    from costcalc.analysis import analyze
    from costcalc.formula import explain
    from costcalc.report.views import explanation

    wanted = _target(target, **sizes)
    graph = wanted.graph()
    layer = layer.strip("/")
    lines = explain(graph, layer, **wanted.rules)
    _print(explanation(analyze(graph, **wanted.rules).below(layer), layer, lines), style, output)


@cli.command()
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
@click.option("--time", "timed", is_flag=True, help="Also time each layer and the whole.")
@click.option(
    "--runs", type=click.IntRange(1), metavar="N", help="With --time: of how many runs to take medians.  [default: 15]"
)
@click.option("--strict", is_flag=True, help="Exit 1 when a layer could not be counted.")
@_network
@_output
def check(
    targets: tuple[str, ...],
    every: bool,
    device: str,
    train: bool,
    timed: bool,
    runs: int | None,
    strict: bool,
    style: str,
    output: str | None,
    **given: Any,
) -> None:
    """Print what was calculated beside what torch measures when the network runs; exit 1 where they differ.

    Every layer's shapes, parameters, FLOPs and memory are compared with ==. Needs torch: pip install 'costcalc[torch]'.

    \b
    Examples:
      costcalc check resnet50 --device meta --train
      costcalc check vgg16 --device cpu --time
      costcalc check --all --device meta
    """
    if every == bool(targets):
        raise click.UsageError("check takes one or more TARGETs, or --all")
    if timed and device == "meta":
        raise click.UsageError("--time needs a device that computes: nothing runs on meta")
    if runs is not None and not timed:
        raise click.UsageError("--runs goes with --time")
    from costcalc.crosscheck import check, torch_backend
    from costcalc.report.cross_check import cross_check
    from costcalc.spec import architectures

    backend = torch_backend()
    wanted = [_target(target, convention="flops", **given) for target in (architectures() if every else targets)]
    graphs, mistakes = _each(wanted, lambda target: (target.graph(), target.rules["dtype"]))
    if mistakes:
        raise CostcalcError("\n".join(mistakes))

    def run(graph: Graph, dtype: str) -> tuple[Any, Any]:
        checked = check(graph, device=device, dtype=dtype, train=train)
        if not timed:
            return checked, None
        return checked, backend.time_layers(graph, device=device, dtype=dtype, train=train, runs=runs or 15)

    done, mistakes = _each(graphs, lambda graph_and_dtype: run(*graph_and_dtype))
    checks = [checked for checked, _ in done]
    if checks:
        timings = [timing for _, timing in done if timing is not None]
        _print(cross_check(checks, timings, refused=mistakes), style, output)
    differing = sum(len(checked.differences) for checked in checks)
    mistakes += [f"{differing} figure{'s differ' if differing > 1 else ' differs'}"] if differing else []
    unknown = sum(len(checked.calculated.unknown) for checked in checks)
    mistakes += [_uncounted(unknown)] if strict and unknown else []
    if mistakes:
        _fail("\n".join(mistakes))


@cli.command()
@click.argument("what", nargs=-1, metavar="[FILE|SOURCE|CLAIM]…")
@click.option(
    "--only",
    multiple=True,
    type=click.Choice([*VERDICTS, "unexpected"]),
    help="Print claims of this verdict alone; repeatable. Unexpected: not the verdict that the file expects.",
)
@_output
def claims(what: tuple[str, ...], only: tuple[str, ...], style: str, output: str | None) -> None:
    """Print published numbers beside the exact ones: right, off by a rule, or wrong, and why.

    Without an argument, those of every source that ships. A claim that comes out otherwise than its file expects exits
    with 1. How to write a FILE of claims: docs/claims.md.

    \b
    Examples:
      costcalc claims --only wrong
      costcalc claims cs231n
      costcalc claims slides.yaml
    """
    from costcalc.claims import choose, sources, verify
    from costcalc.report import claims as views

    choices = choose(what or sources())
    verified = verify(choices)
    titles = {choice.file.name: choice.file.source for choice in choices if choice.ids is None}
    _print(views.claims(verified, only, titles), style, output)
    surprises = [each.claim.id for each in verified if each.unexpected]
    if surprises:
        said = "claims are not as their file says" if len(surprises) > 1 else "claim is not as its file says"
        _fail(f"{len(surprises)} {said}: {', '.join(surprises)}")


@cli.command()
@click.argument("target")
@click.argument("value", nargs=-1, required=True, metavar="VALUE")
@click.option(
    "--of",
    multiple=True,
    type=click.Choice(["flops", "params", "activations", "memory"]),
    help="What the number is of; repeatable.  [default: all that its unit allows]",
)
@click.option("--at", "layer", metavar="LAYER", help="The layer, or prefix of layers, that the number is of.")
@click.option(
    "--top", type=click.IntRange(1), default=10, show_default=True, metavar="N", help="Explanations to print."
)
@_network
@_output
def reconcile(
    target: str,
    value: tuple[str, ...],
    of: tuple[Any, ...],
    layer: str | None,
    top: int,
    style: str,
    output: str | None,
    **sizes: Any,
) -> None:
    """Print which ways of counting give a published number, the most ordinary first; exit 1 when none does.

    VALUE is the number as it is printed: 3.8G, 138M params, 4.09 GMACs, 96MB. Its digits say how precise it is.

    \b
    Examples:
      costcalc reconcile resnet50 4.11G
      costcalc reconcile vgg16 24M activations
      costcalc reconcile googlenet 112K --of params --at stem/conv3
    """
    from costcalc.reconciliation import reconcile
    from costcalc.report.reconciliation import reconciliation

    wanted = _target(target, **sizes, convention="flops")
    number = " ".join(value)
    found = reconcile(wanted.name, number, wanted.given, of=of, at=layer, dtype=wanted.rules["dtype"])
    _print(reconciliation(found, top), style, output)
    if not found.explanations:
        truth = ", ".join(f"{each.value:,} {each.label}" for each in found.ours if "macs" in each.conventions)
        what = wanted.name if layer is None else f"{layer} of {wanted.name}"
        _fail(f"no explanation of {number} for {what}, which has {truth}")


@cli.command()
@click.argument("name", required=False)
@_output
def conventions(name: str | None, style: str, output: str | None) -> None:
    """Print what lectures, papers and tools count; with NAME, one convention and the terms of its sums.

    \b
    Example:
      costcalc conventions ptflops
    """
    from costcalc.conventions import CONVENTIONS, convention_named
    from costcalc.report.reference import conventions_reference

    chosen = [convention_named(name)] if name else list(CONVENTIONS.values())
    _print(conventions_reference(chosen), style, output)


@cli.command()
@click.argument("op", required=False)
@_output
def schema(op: str | None, style: str, output: str | None) -> None:
    """Print the ops a spec may call, their arguments and defaults; with OP, one of them in full.

    \b
    Example:
      costcalc schema conv2d
    """
    from costcalc.report.reference import ops_reference
    from costcalc.spec.reference import describe

    _print(ops_reference(describe(op)), style, output)


@cli.command()
@click.argument("name")
@click.option("-o", "--output", type=click.Path(), metavar="FILE", help="Write to FILE.")
def spec(name: str, output: str | None) -> None:
    """Print the YAML that describes a shipped architecture, to copy and change.

    \b
    Example:
      costcalc spec vgg16 -o mine.yaml && costcalc report mine.yaml
    """
    from costcalc.spec import shipped_source

    _write(shipped_source(name), output)


# -- targets ------------------------------------------------------------------------------------------------------


class _Target(NamedTuple):
    """A network as asked for: its name or file, sizes and settings, and the rules it is counted by."""

    name: str
    given: dict[str, Any]
    rules: Rules

    def graph(self) -> Graph:
        from costcalc.spec import load

        return load(self.name, **self.given)

    def analyze(self) -> CostTable:
        from costcalc.analysis import analyze

        return analyze(self.graph(), **self.rules)


def _target(
    text: str, *, batch: str | None, size: str | None, settings: tuple[str, ...], dtype: str, convention: str
) -> _Target:
    """A TARGET with the command's options, its own settings (`vgg16:batch=32,dtype=fp16`) winning over them."""
    name, own = _split_target(text)
    chosen: dict[str, str] = {"dtype": dtype}
    chosen |= {} if batch is None else {"batch": batch}
    chosen |= {} if size is None else {"input": size}
    for assignment in (*settings, *own):
        key, equals, value = assignment.partition("=")
        if not equals or not key.strip():
            raise CostcalcError(f"a setting is KEY=VALUE, not {assignment!r}")
        if key in ("batch", "input", "dtype") and assignment in settings:
            raise CostcalcError(f"{key} is no setting of a spec: use --{key} {value}")
        if key in ("height", "width", "channels"):
            raise CostcalcError(f"{key} is the input's, and no setting: use --input HxW or CxHxW")
        chosen[key.strip()] = value
    rules: Rules = {"dtype": chosen.pop("dtype"), "convention": convention}
    given: dict[str, Any] = {}
    if "input" in chosen:
        given |= _input_size(chosen.pop("input"))
    for key, value in chosen.items():
        given[key] = _positive(value, "batch") if key == "batch" else _yaml_value(key, value)
    return _Target(name, given, rules)


def _split_target(text: str) -> tuple[str, Iterable[str]]:
    """Name or file (with its variant), and the settings after it."""
    import re

    name, _, own = text.partition(":") if not re.match(r"[A-Za-z]:[\\/]", text) else (text, "", "")
    parts = re.split(r",(?![^\[]*\])", own) if own else []
    if parts and "=" not in parts[0] and name.endswith((".yaml", ".yml")):
        name += f":{parts.pop(0)}"
    return name, parts


def _input_size(text: str) -> dict[str, int]:
    """The sizes that --input gives: a square's side, HxW, or CxHxW."""
    sizes = [_positive(part, "--input") for part in text.lower().replace("×", "x").split("x")]
    if len(sizes) == 1:
        sizes *= 2
    if len(sizes) > 3:
        raise CostcalcError(f"--input is HxW or CxHxW, such as 320x480 or 3x320x480, not {text!r}")
    return dict(zip(("channels", "height", "width")[-len(sizes) :], sizes, strict=True))


def _positive(text: str, what: str) -> int:
    if not (text.isascii() and text.strip().isdecimal()) or len(text) > 18 or int(text) < 1:
        example = "320x480 or 320" if what == "--input" else "32"
        message = f"{what} must be a whole number of at least 1 and at most 18 digits, such as {example}, not {text!r}"
        raise CostcalcError(message)
    return int(text)


def _yaml_value(key: str, text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise CostcalcError(f"{key}: {text!r} cannot be read as a YAML value") from None


def _each(items: Iterable[_Item], call: Callable[[_Item], _Answer]) -> tuple[list[_Answer], list[str]]:
    """What a call gives for each item, and the messages of those it fails for, each once."""
    answers, mistakes = [], []
    for item in items:
        try:
            answers.append(call(item))
        except CostcalcError as error:
            mistakes.append(str(error))
    return answers, list(dict.fromkeys(mistakes))


def _uncounted(layers: int) -> str:
    return f"{layers} layer{'s' * (layers > 1)} could not be counted (--strict)"


# -- printing -----------------------------------------------------------------------------------------------------


def _print(document: Document, style: str, output: str | None) -> None:
    from costcalc.report.render import render

    _write(render(document, style), output)


def _write(text: str, output: str | None) -> None:
    if output is None:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:  # a reader that stops reading: see `main`
            raise
        except OSError as error:
            raise CostcalcError(f"the output cannot be written: {error.strerror}") from None
        return
    try:
        with open(output, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise CostcalcError(f"{output}: cannot be written: {error.strerror}") from None


def _fail(message: str) -> NoReturn:
    sys.stdout.flush()
    click.echo(f"costcalc: {message}", err=True)
    sys.exit(1)


def main() -> None:
    """Run the command line; a reader that stops reading, such as `| head`, is no error."""
    gc.set_threshold(GARBAGE)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without × or ≥ is no reason to fail
    try:
        cli.main(prog_name="costcalc")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
