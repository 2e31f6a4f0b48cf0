"""Loading of the network that a TARGET names, on the command line or in `load`.

vgg16, net.yaml, net.yaml:wide                      a spec
net.onnx                                            an ONNX file
torchvision:resnet50, timm:convnext_tiny            a model of a library
package.module:attribute, file.py:attribute         an nn.Module of the user, its class, or a function that returns one
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from costcalc.core.axes import INPUT_DIM_NAMES
from costcalc.core.errors import CostcalcError, FixedSizeError
from costcalc.core.sizes import is_array, is_plain, is_symbolic
from costcalc.core.written_sizes import read_image_size
from costcalc.frontends.spec import catalogue
from costcalc.ir.graph import Graph

if TYPE_CHECKING:
    from costcalc.frontends.free_sizes import SymbolicGraph

LIBRARIES = ("torchvision", "timm")
_DOTTED_NAME = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*"


def load(target: str | os.PathLike[str], **options: Any) -> Graph:
    """Return the graph of the network that `target` names.

    A target is a shipped architecture (`vgg16`), a file (`net.yaml`, or one of its variants, `net.yaml:wide`;
    `net.onnx`), a model of a library (`torchvision:resnet50`, `timm:convnext_tiny`), or an nn.Module of the user, its
    class, or a function that returns one (`package.module:attribute`, `file.py:attribute`).

    `options` are input sizes (`batch`, `channels`, `height`, `width`; `sequence` for indices) and settings of the spec
    (`classes`, …) or of the model's constructor (`num_classes`, …). Sizes, and integer settings of a spec, may be ints,
    NumPy arrays or SymPy expressions. `input` describes the inputs of a model of the user, as --input does:
    "3x224x224", "128:int64".

    Raises:
        CostcalcError: there is no such network, it does not accept the options, or it cannot be imported.
    """
    name = os.fspath(target)
    if is_imported(name):
        return ImportedModel(name).graph(**options)
    return catalogue.load(name, **options)


def is_imported(target: str) -> bool:
    """Whether a target names a model to import rather than a spec."""
    if target.endswith(".onnx"):
        return True
    home, colon, attribute = target.partition(":")
    if home in LIBRARIES and colon:
        return True
    if not re.fullmatch(_DOTTED_NAME, attribute) or catalogue.is_spec_file(home):
        return False
    if home.endswith(".py"):
        return True
    return bool(re.fullmatch(_DOTTED_NAME, home)) and not catalogue.is_shipped(home)


@dataclass(frozen=True)
class ImportedModel:
    """A model to import, named by a target without settings."""

    target: str

    def graph(self, **options: Any) -> Graph:
        """Return the graph with these options; arrays and expressions are substituted for sizes after the import."""
        dynamic = {name: value for name, value in options.items() if is_symbolic(value) or is_array(value)}
        plain = {name: value for name, value in options.items() if name not in dynamic}
        return self.graph_factory(*dynamic, **plain)(**dynamic)

    def graph_factory(self, *dynamic_sizes: str, **options: Any) -> Callable[..., Graph]:
        """Import the model once, and return a function from values of the dynamic sizes to the graph.

        The values may be ints, arrays or expressions. Raises FixedSizeError for a dynamic size for which the model
        accepts one value only.
        """
        if self.target.endswith(".onnx"):
            return _onnx_factory(self.target, options, dynamic_sizes)
        for name in dynamic_sizes:
            if name not in INPUT_DIM_NAMES:
                raise CostcalcError(
                    f"{self.target}: {name} is not an input size but a setting of the model: "
                    "it cannot be a variable; give it a number"
                )
        symbolic, default_sizes = _trace_torch(self.target, options, dynamic_sizes)
        if not dynamic_sizes:
            return lambda: symbolic.graph
        reject_fixed_sizes(self.target, symbolic, dynamic_sizes)
        others = {
            name: size
            for name, size in default_sizes.items()
            if name not in symbolic.fixed and name not in dynamic_sizes
        }
        return lambda **sizes: symbolic.specialize(**others, **sizes)


def reject_fixed_sizes(target: str, symbolic: SymbolicGraph, dynamic_sizes: tuple[str, ...]) -> None:
    """Raise FixedSizeError if a dynamic size is fixed: by the export, by a layer, or by the shape of a parameter."""
    for name in dynamic_sizes:
        if name in symbolic.fixed:
            raise FixedSizeError(f"{target} fixes {name} to {symbolic.fixed[name]}")
    fixes = f"{target} fixes {' and '.join(dynamic_sizes)}"
    for left, relation, right in symbolic.graph.assumptions:
        if relation == "==" and is_plain(left):
            left, right = right, left
        if relation == "==" and is_plain(right):
            raise FixedSizeError(f"{fixes}: a layer requires {left} = {right}")
    for node in symbolic.graph.nodes:
        for shape in node.op.parameters(*symbolic.graph.input_shapes(node)).values():
            if any(map(is_symbolic, shape)):
                raise FixedSizeError(f"{fixes}: the shape of a parameter of {node.name} depends on them")


class _Trace(NamedTuple):
    """An imported torch model, the sizes that were dynamic, and the sizes of its example inputs."""

    dynamic_sizes: frozenset[str]
    symbolic: SymbolicGraph
    default_sizes: Mapping[str, int]


_trace_cache: dict[Any, list[_Trace]] = {}  # by target, working directory and options
_TRACE_CACHE_SIZE = 64  # traces


def _trace_torch(
    target: str, options: Mapping[str, Any], dynamic_sizes: tuple[str, ...]
) -> tuple[SymbolicGraph, Mapping[str, int]]:
    """Import a model with at least these sizes dynamic, and return it with the sizes of its example inputs."""
    key = (target, os.getcwd(), repr(sorted(options.items())))
    wanted = frozenset(dynamic_sizes)
    for cached in _trace_cache.get(key, []):
        if cached.dynamic_sizes == wanted or (wanted and cached.dynamic_sizes > wanted):
            return cached.symbolic, cached.default_sizes
    try:
        from costcalc.frontends.torch.models import trace_target
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        message = f"importing {target} requires torch, which is not installed: pip install 'costcalc[torch]'"
        raise CostcalcError(message) from None
    symbolic, model = trace_target(target, options, dynamic_sizes)
    symbolic = symbolic._replace(graph=replace(symbolic.graph, settings=dict(model.settings)))
    trace = _Trace(wanted, symbolic, model.example_inputs.sizes())
    if sum(map(len, _trace_cache.values())) >= _TRACE_CACHE_SIZE:
        _trace_cache.clear()
    _trace_cache.setdefault(key, []).append(trace)
    return trace.symbolic, trace.default_sizes


def _onnx_factory(path: str, options: Mapping[str, Any], dynamic_sizes: tuple[str, ...]) -> Callable[..., Graph]:
    """Read a file, and return a function from values of the dynamic sizes to the graph."""
    from costcalc.frontends.onnx import load_onnx, trace_onnx

    sizes = {name: value for name, value in options.items() if name != "input"}
    if "input" in options:
        sizes = {**read_image_size(str(options["input"])), **sizes}
    batch = sizes.pop("batch", None)
    if not dynamic_sizes:
        return lambda: load_onnx(path, batch=batch, sizes=sizes)
    symbolic = trace_onnx(path, dynamic_sizes, batch=batch, sizes=sizes)
    reject_fixed_sizes(path, symbolic, dynamic_sizes)
    others = {name: size for name, size in sizes.items() if name not in dynamic_sizes}
    return lambda **values: symbolic.specialize(**others, **values)
