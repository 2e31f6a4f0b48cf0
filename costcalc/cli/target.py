"""The TARGET of a command with its options, as arguments of `load` and `analyze`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from costcalc.cli.printing import print_note
from costcalc.core.axes import IMAGE_DIM_NAMES
from costcalc.core.errors import CostcalcError
from costcalc.core.written_sizes import read_image_size, read_positive

if TYPE_CHECKING:
    from costcalc.analysis.analyze import AnalysisOptions
    from costcalc.analysis.cost_table import CostTable
    from costcalc.ir.graph import Graph


class Target(NamedTuple):
    """A network on the command line: its name or file, sizes and settings, design moves, and how to count it."""

    name: str
    options: dict[str, Any]
    moves: tuple[str, ...]
    counting: AnalysisOptions

    def graph(self, **options: Any) -> Graph:
        """Build the network, with `options` instead of those of the command line, and apply the moves."""
        from costcalc.frontends.target import load

        return self._apply_moves(load(self.name, **{**self.options, **options}))

    def graph_factory(self, *dynamic_sizes: str) -> Callable[..., Graph]:
        """Return a function that builds the network for values of these sizes. A model is imported only once."""
        from costcalc.frontends.target import ImportedModel, is_imported

        if not is_imported(self.name):
            graph = self.graph()
            return graph.with_batch if dynamic_sizes == ("batch",) else self.graph
        build = ImportedModel(self.name).graph_factory(*dynamic_sizes, **self.options)
        return lambda **sizes: self._apply_moves(build(**sizes))

    def _apply_moves(self, graph: Graph) -> Graph:
        if not self.moves:
            return graph
        from costcalc.transforms import rewrite

        result = rewrite(graph, *self.moves)
        for step in result.steps:
            if not step.changed:
                print_note(f"{step.rule} changes nothing in {graph.name}")
        return replace(result.after, name="+".join([graph.name, *self.moves]))

    def analyze(self, training: bool = False) -> CostTable:
        """Return the costs of the network; with `training`, also the bytes that are saved for backward."""
        from costcalc.analysis.analyze import analyze

        graph = self.graph()
        costs = analyze(graph, training=training, **self.counting)
        if not training:
            return costs
        from costcalc.analysis.memory import timeline, with_saved_bytes

        return with_saved_bytes(costs, timeline(graph, training=True, dtype=self.counting["dtype"]))

    def require_no_moves(self, command: str) -> Target:
        """Return the target. Raises CostcalcError if it has design moves, which `command` cannot apply."""
        if self.moves:
            raise CostcalcError(f"{command} cannot apply design moves: remove +{'+'.join(self.moves)} from the TARGET")
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
    """Parse a TARGET such as `vgg16:batch=32,dtype=fp16+gap-head`. Its settings override the options of the command.

    Raises CostcalcError for settings and sizes that cannot be parsed.
    """
    from costcalc.frontends.target import is_imported

    name, target_settings, moves = _split_target(target)
    imported = is_imported(name)
    values: dict[str, str] = {"dtype": dtype}
    values |= {} if batch is None else {"batch": batch}
    values |= {} if input_text is None else {"input": input_text}
    for assignment in (*settings, *target_settings):
        key, equals, value = assignment.partition("=")
        if not equals or not key.strip():
            raise CostcalcError(f"a setting is KEY=VALUE, not {assignment!r}")
        if key in ("batch", "input", "dtype") and assignment in settings:
            raise CostcalcError(f"{key} is not a setting of a spec: use --{key} {value}")
        if key in IMAGE_DIM_NAMES[1:] and not imported:
            raise CostcalcError(f"{key} is a size of the input and not a setting: use --input HxW or CxHxW")
        values[key.strip()] = value
    counting: AnalysisOptions = {"dtype": values.pop("dtype"), "convention": convention}
    options: dict[str, Any] = {}
    if "input" in values and not imported:
        options |= read_image_size(values.pop("input"))
    for key, value in values.items():
        if key == "input":
            options[key] = value  # its meaning depends on the inputs of the model
        else:
            options[key] = read_positive(value, "batch") if key == "batch" else _yaml_value(key, value)
    return Target(name, options, moves, counting)


def _split_target(target: str) -> tuple[str, Iterable[str], tuple[str, ...]]:
    """Split a TARGET into the name or file with its variant, the settings, and the design moves."""
    from costcalc.frontends.spec.catalogue import is_spec_file
    from costcalc.frontends.target import is_imported

    # A folder may have a + in its name: moves start after the suffix of a file.
    end = max((match.end() for match in re.finditer(r"\.(?:ya?ml|onnx|py)(?!\w)", target)), default=0)
    rest, *moves = re.split(r"\+(?=[a-z]|1x1)", target[end:])
    target = target[:end] + rest
    name, _, settings = target.partition(":") if not re.match(r"[A-Za-z]:[\\/]", target) else (target, "", "")
    first, _, others = settings.partition(":")
    if settings and "=" not in first and "," not in first and is_imported(f"{name}:{first}"):
        name, settings = f"{name}:{first}", others
    parts = re.split(r",(?![^\[]*\])", settings) if settings else []
    if parts and "=" not in parts[0] and is_spec_file(name):
        name += f":{parts.pop(0)}"
    return name, parts, tuple(moves)


def _yaml_value(key: str, text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise CostcalcError(f"{key}: {text!r} cannot be read as a YAML value") from None
