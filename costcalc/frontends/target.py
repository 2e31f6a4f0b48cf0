"""Finding a network, whatever it is written in: a spec, an ONNX file, or a model of torch's.

vgg16, net.yaml, net.yaml:wide                      a spec
net.onnx                                            an ONNX file
torchvision:resnet50, timm:convnext_tiny            a model of a library
package.module:attribute, file.py:attribute         anyone's own nn.Module, or what makes one
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from costcalc.core.errors import CostcalcError, FixedSizeError
from costcalc.core.sizes import is_array, is_plain, is_symbolic
from costcalc.frontends.spec import catalogue
from costcalc.ir.graph import DIM_NAMES, Graph

if TYPE_CHECKING:
    from costcalc.frontends.free_sizes import SymbolicGraph

LIBRARIES = ("torchvision", "timm")


def load(target: str | os.PathLike[str], **options: Any) -> Graph:
    """The graph of `target`: a shipped architecture (`vgg16`), a file (`net.yaml`, or one of its variants,
    `net.yaml:wide`; `net.onnx`), a model of a library (`torchvision:resnet50`, `timm:convnext_tiny`), or anyone's own
    (`package.module:attribute`).

    Keywords are the input's sizes (`batch`, `channels`, `height`, `width`; `sequence` of indices) and the settings of a
    spec (`classes`, …) or of what makes the model (`num_classes`, …); sizes, and integer settings of a spec, may be
    ints, NumPy arrays or SymPy expressions. `input` says what one's own model is called with, as --input does:
    "3x224x224", "128:int64". Raises CostcalcError, saying what is wrong and what may have been meant.
    """
    name = os.fspath(target)
    if is_imported(name):
        return ImportedModel(name).graph(**options)
    return catalogue.load(name, **options)


def is_imported(target: str) -> bool:
    """Whether a target is a model that is imported, and no spec."""
    if target.endswith(".onnx"):
        return True
    home, colon, rest = target.partition(":")
    if home in LIBRARIES and colon:
        return True
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", rest) or home.endswith((".yaml", ".yml")):
        return False
    if home.endswith(".py"):
        return True
    return bool(re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", home)) and not catalogue.is_shipped(home)


@dataclass(frozen=True)
class ImportedModel:
    """A model that is imported, by its target without settings."""

    target: str

    def graph(self, **options: Any) -> Graph:
        """The graph at these sizes, with these settings; what is no plain number of them is free."""
        free = {name: value for name, value in options.items() if is_symbolic(value) or is_array(value)}
        plain = {name: value for name, value in options.items() if name not in free}
        return self.graph_factory(*free, **plain)(**free)

    def graph_factory(self, *dynamic_sizes: str, **options: Any) -> Callable[..., Graph]:
        """A function that gives the graph from a value for each of these sizes, of any carrier; imported once.

        Raises FixedSize for a size that the model allows one value of alone.
        """
        if self.target.endswith(".onnx"):
            return _onnx_factory(self.target, options, dynamic_sizes)
        structure = [name for name in dynamic_sizes if name not in DIM_NAMES]
        if structure:
            message = f"{structure[0]} is no size of an input, and an imported model is built anew for another"
            raise CostcalcError(f"{self.target}: {message}: it cannot be a variable")
        found, usual = _trace_torch(self.target, options, dynamic_sizes)
        if not dynamic_sizes:
            return lambda: found.graph
        reject_fixed_sizes(self.target, found, dynamic_sizes)
        others = {name: size for name, size in usual.items() if name not in found.fixed and name not in dynamic_sizes}
        return lambda **sizes: found.specialize(**others, **sizes)


def reject_fixed_sizes(target: str, symbolic: SymbolicGraph, dynamic_sizes: tuple[str, ...]) -> None:
    """Raise FixedSize for sizes that are not free: the shape of a parameter depends on them, or a layer is of one."""
    for name in dynamic_sizes:
        if name in symbolic.fixed:
            raise FixedSizeError(f"{target} fixes {name} to {symbolic.fixed[name]}")
    for left, relation, right in symbolic.graph.assumptions:
        if relation == "==" and is_plain(left):
            left, right = right, left
        if relation == "==" and is_plain(right):
            raise FixedSizeError(
                f"{target} fixes {' and '.join(dynamic_sizes)}: a layer takes them where {left} = {right} alone"
            )
    for node in symbolic.graph.nodes:
        for shape in node.op.parameters(*symbolic.graph.input_shapes(node)).values():
            if any(map(is_symbolic, shape)):
                raise FixedSizeError(
                    f"{target} fixes {' and '.join(dynamic_sizes)}: parameters of {node.name} are of one size alone"
                )


_trace_cache: dict[
    Any, list[tuple[frozenset[str], Any]]
] = {}  # what was imported, by what was asked and the free sizes
_TRACE_CACHE_SIZE = 64  # how many of them


def _trace_torch(
    target: str, options: Mapping[str, Any], dynamic_sizes: tuple[str, ...]
) -> tuple[SymbolicGraph, Mapping[str, int]]:
    """The model with these sizes free at least, and its sizes as they are by default; what was imported is kept."""
    asked = (target, os.getcwd(), repr(sorted(options.items())))
    for free, kept in _trace_cache.get(asked, []):
        if free == frozenset(dynamic_sizes) or (dynamic_sizes and free > frozenset(dynamic_sizes)):
            return cast("tuple[SymbolicGraph, Mapping[str, int]]", kept)
    try:
        from costcalc.frontends.torch.models import trace_target
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise CostcalcError("this needs torch, which is not installed: pip install 'costcalc[torch]'") from None
    found, model = trace_target(target, options, dynamic_sizes)
    made = found._replace(graph=replace(found.graph, settings=dict(model.settings))), model.example_inputs.sizes()
    if sum(map(len, _trace_cache.values())) >= _TRACE_CACHE_SIZE:
        _trace_cache.clear()
    _trace_cache.setdefault(asked, []).append((frozenset(dynamic_sizes), made))
    return made


def _onnx_factory(path: str, options: Mapping[str, Any], dynamic_sizes: tuple[str, ...]) -> Callable[..., Graph]:
    """A function that gives the graph of a file from a value for each of these sizes."""
    from costcalc.frontends.onnx import load_onnx, trace_onnx

    sizes = {name: value for name, value in options.items() if name != "input"}
    if "input" in options:
        sizes = {**_image_sizes(str(options["input"])), **sizes}
    batch = sizes.pop("batch", None)
    if not dynamic_sizes:
        return lambda: load_onnx(path, batch=batch, sizes=sizes)
    found = trace_onnx(path, dynamic_sizes, batch=batch, sizes=sizes)
    reject_fixed_sizes(path, found, dynamic_sizes)
    others = {name: size for name, size in sizes.items() if name not in dynamic_sizes}
    return lambda **free: found.specialize(**others, **free)


def _image_sizes(input_text: str) -> dict[str, int]:
    """The sizes that --input gives an image: a square's side, HxW, or CxHxW."""
    sizes = input_text.lower().replace("×", "x").split("x")
    if len(sizes) > 3 or not all(re.fullmatch("[0-9]{1,18}", size) and int(size) for size in sizes):
        raise CostcalcError(f"--input is HxW or CxHxW, such as 320x480 or 3x320x480, not {input_text!r}")
    sizes = sizes * 2 if len(sizes) == 1 else sizes
    return dict(zip(("channels", "height", "width")[-len(sizes) :], map(int, sizes), strict=True))
