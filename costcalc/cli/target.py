"""A TARGET and the options that go with it, read into what `load` and `analyze` take."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from costcalc.cli.printing import print_note
from costcalc.core.errors import CostcalcError

if TYPE_CHECKING:
    from costcalc.analysis.analyze import AnalysisOptions
    from costcalc.analysis.cost_table import CostTable
    from costcalc.ir.graph import Graph


class Target(NamedTuple):
    """A network as asked for: its name or file, sizes and settings, design moves, and the rules it is counted by."""

    name: str
    options: dict[str, Any]
    moves: tuple[str, ...]
    counting: AnalysisOptions

    def graph(self, **options: Any) -> Graph:
        """The network, with the sizes and settings asked for, or these in their place, and the moves applied."""
        from costcalc.frontends.target import load

        return self._apply_moves(load(self.name, **{**self.options, **options}))

    def graph_factory(self, *dynamic_sizes: str) -> Callable[..., Graph]:
        """A function that gives the network for a value of each of these sizes; what is imported is imported once."""
        from costcalc.frontends.target import ImportedModel, is_imported

        if not is_imported(self.name):
            graph = self.graph()
            return graph.with_batch if dynamic_sizes == ("batch",) else self.graph
        of = ImportedModel(self.name).graph_factory(*dynamic_sizes, **self.options)
        return lambda **sizes: self._apply_moves(of(**sizes))

    def _apply_moves(self, graph: Graph) -> Graph:
        if not self.moves:
            return graph
        from costcalc.transforms import rewrite

        done = rewrite(graph, *self.moves)
        for idle in (step.rule for step in done.steps if not step.changed):
            print_note(f"{idle} changes nothing in {graph.name}")
        return replace(done.after, name="+".join([graph.name, *self.moves]))

    def analyze(self, training: bool = False) -> CostTable:
        """Its costs, by the rules asked for; in training also what autograd keeps of what each layer makes."""
        from costcalc.analysis.analyze import analyze

        graph = self.graph()
        costs = analyze(graph, training=training, **self.counting)
        if not training:
            return costs
        from costcalc.analysis.memory import timeline, with_saved_bytes

        return with_saved_bytes(costs, timeline(graph, training=True, dtype=self.counting["dtype"]))

    def require_no_moves(self, command: str) -> Target:
        """Itself. Raises CostcalcError where it has design moves: `what` is about a spec as it is written."""
        if self.moves:
            raise CostcalcError(f"{command} takes a network as its spec has it, without +{'+'.join(self.moves)}")
        return self


def read_target(
    target: str,
    *,
    batch: str | None = None,
    input_text: str | None,
    settings: tuple[str, ...],
    dtype: str = "fp32",
    convention: str = "flops",
) -> Target:
    """A TARGET with the command's options, its own settings winning over them: `vgg16:batch=32,dtype=fp16+gap-head`."""
    from costcalc.frontends.target import is_imported

    name, own, moves = _split_target(target)
    imported = is_imported(name)
    chosen: dict[str, str] = {"dtype": dtype}
    chosen |= {} if batch is None else {"batch": batch}
    chosen |= {} if input_text is None else {"input": input_text}
    for assignment in (*settings, *own):
        key, equals, value = assignment.partition("=")
        if not equals or not key.strip():
            raise CostcalcError(f"a setting is KEY=VALUE, not {assignment!r}")
        if key in ("batch", "input", "dtype") and assignment in settings:
            raise CostcalcError(f"{key} is no setting of a spec: use --{key} {value}")
        if key in ("height", "width", "channels") and not imported:
            raise CostcalcError(f"{key} is the input's, and no setting: use --input HxW or CxHxW")
        chosen[key.strip()] = value
    rules: AnalysisOptions = {"dtype": chosen.pop("dtype"), "convention": convention}
    given: dict[str, Any] = {}
    if "input" in chosen and not imported:
        given |= _image_sizes(chosen.pop("input"))
    for key, value in chosen.items():
        if key == "input":
            given[key] = value  # what it says depends on what the model is called with
        else:
            given[key] = read_positive(value, "batch") if key == "batch" else _yaml_value(key, value)
    return Target(name, given, moves, rules)


def _split_target(target: str) -> tuple[str, Iterable[str], tuple[str, ...]]:
    """Name or file (with its variant), the settings after it, and the design moves after those."""
    from costcalc.frontends.target import is_imported

    # What comes before the end of a file's name is the file's: a folder may have a + in its name.
    end = max((found.end() for found in re.finditer(r"\.(?:ya?ml|onnx|py)(?!\w)", target)), default=0)
    rest, *moves = re.split(r"\+(?=[a-z]|1x1)", target[end:])
    target = target[:end] + rest
    name, _, own = target.partition(":") if not re.match(r"[A-Za-z]:[\\/]", target) else (target, "", "")
    first, _, further = own.partition(":")
    if own and "=" not in first and "," not in first and is_imported(f"{name}:{first}"):
        name, own = f"{name}:{first}", further
    parts = re.split(r",(?![^\[]*\])", own) if own else []
    if parts and "=" not in parts[0] and name.endswith((".yaml", ".yml")):
        name += f":{parts.pop(0)}"
    return name, parts, tuple(moves)


def _image_sizes(input_text: str) -> dict[str, int]:
    """The sizes that --input gives: a square's side, HxW, or CxHxW."""
    sizes = _parse_sides(input_text, "--input")
    if len(sizes) > 3:
        raise CostcalcError(f"--input is HxW or CxHxW, such as 320x480 or 3x320x480, not {input_text!r}")
    return dict(zip(("channels", "height", "width")[-len(sizes) :], sizes, strict=True))


def read_plane(text: str, option: str) -> dict[str, int]:
    """Height and width that an option gives: a square's side, or HxW."""
    sizes = _parse_sides(text, option)
    if len(sizes) > 2:
        raise CostcalcError(f"{option} is HxW, such as 320x480, or the side of a square, not {text!r}")
    return {"height": sizes[0], "width": sizes[1]}


def _parse_sides(text: str, option: str) -> list[int]:
    """The sizes in AxBx…; one is both sides of a square."""
    sizes = [read_positive(part, option, "320x480 or 320") for part in text.lower().replace("×", "x").split("x")]
    return sizes * 2 if len(sizes) == 1 else sizes


def read_positive(text: str, option: str, example: str = "32") -> int:
    """A whole number of at least 1. Raises CostcalcError, with an example, for anything else."""
    if not (text.isascii() and text.strip().isdecimal()) or len(text) > 18 or int(text) < 1:
        message = (
            f"{option} must be a whole number of at least 1 and at most 18 digits, such as {example}, not {text!r}"
        )
        raise CostcalcError(message)
    return int(text)


def _yaml_value(key: str, text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise CostcalcError(f"{key}: {text!r} cannot be read as a YAML value") from None
