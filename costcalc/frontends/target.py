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

from costcalc.core.errors import CostcalcError, FixedSize
from costcalc.core.sizes import is_array, is_plain, is_symbolic
from costcalc.frontends.spec import catalogue
from costcalc.ir.graph import SIZES, Graph

if TYPE_CHECKING:
    from costcalc.frontends.free_sizes import Traced

LIBRARIES = ("torchvision", "timm")


def load(target: str | os.PathLike[str], **sizes_and_settings: Any) -> Graph:
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
        return Imported(name).graph(**sizes_and_settings)
    return catalogue.load(name, **sizes_and_settings)


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
class Imported:
    """A model that is imported, by its target without settings."""

    target: str

    def graph(self, **given: Any) -> Graph:
        """The graph at these sizes, with these settings; what is no plain number of them is free."""
        free = {name: value for name, value in given.items() if is_symbolic(value) or is_array(value)}
        plain = {name: value for name, value in given.items() if name not in free}
        return self.family(*free, **plain)(**free)

    def family(self, *names: str, **given: Any) -> Callable[..., Graph]:
        """A function that gives the graph from a value for each of these sizes, of any carrier; imported once.

        Raises FixedSize for a size that the model allows one value of alone.
        """
        if self.target.endswith(".onnx"):
            return _traced_onnx(self.target, given, names)
        structure = [name for name in names if name not in SIZES]
        if structure:
            message = f"{structure[0]} is no size of an input, and an imported model is built anew for another"
            raise CostcalcError(f"{self.target}: {message}: it cannot be a variable")
        found, usual = _traced(self.target, given, names)
        if not names:
            return lambda: found.graph
        refuse_fixed(self.target, found, names)
        others = {name: size for name, size in usual.items() if name not in found.fixed and name not in names}
        return lambda **sizes: found.at(**others, **sizes)


def refuse_fixed(target: str, found: Traced, names: tuple[str, ...]) -> None:
    """Raise FixedSize for sizes that are not free: the shape of a parameter depends on them, or a layer is of one."""
    for name in names:
        if name in found.fixed:
            raise FixedSize(f"{target} fixes {name} to {found.fixed[name]}")
    for left, relation, right in found.graph.assumptions:
        if relation == "==" and is_plain(left):
            left, right = right, left
        if relation == "==" and is_plain(right):
            raise FixedSize(f"{target} fixes {' and '.join(names)}: a layer takes them where {left} = {right} alone")
    for node in found.graph.nodes:
        for shape in node.op.parameters(*found.graph.input_shapes(node)).values():
            if any(map(is_symbolic, shape)):
                raise FixedSize(
                    f"{target} fixes {' and '.join(names)}: parameters of {node.name} are of one size alone"
                )


_made: dict[Any, list[tuple[frozenset[str], Any]]] = {}  # what was imported, by what was asked and the free sizes
_KEPT = 64  # how many of them


def _traced(target: str, given: Mapping[str, Any], names: tuple[str, ...]) -> tuple[Traced, Mapping[str, int]]:
    """The model with these sizes free at least, and its sizes as they are by default; what was imported is kept."""
    asked = (target, os.getcwd(), repr(sorted(given.items())))
    for free, kept in _made.get(asked, []):
        if free == frozenset(names) or (names and free > frozenset(names)):
            return cast("tuple[Traced, Mapping[str, int]]", kept)
    try:
        from costcalc.frontends.torch.models import traced
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise CostcalcError("this needs torch, which is not installed: pip install 'costcalc[torch]'") from None
    found, model = traced(target, given, names)
    made = found._replace(graph=replace(found.graph, settings=dict(model.settings))), model.example.sizes()
    if sum(map(len, _made.values())) >= _KEPT:
        _made.clear()
    _made.setdefault(asked, []).append((frozenset(names), made))
    return made


def _traced_onnx(path: str, given: Mapping[str, Any], names: tuple[str, ...]) -> Callable[..., Graph]:
    """A function that gives the graph of a file from a value for each of these sizes."""
    from costcalc.frontends.onnx import load_onnx, trace_onnx

    sizes = {name: value for name, value in given.items() if name != "input"}
    if "input" in given:
        sizes = {**_planes(str(given["input"])), **sizes}
    batch = sizes.pop("batch", None)
    if not names:
        return lambda: load_onnx(path, batch=batch, sizes=sizes)
    found = trace_onnx(path, names, batch=batch, sizes=sizes)
    refuse_fixed(path, found, names)
    others = {name: size for name, size in sizes.items() if name not in names}
    return lambda **free: found.at(**others, **free)


def _planes(text: str) -> dict[str, int]:
    """The sizes that --input gives an image: a square's side, HxW, or CxHxW."""
    sizes = text.lower().replace("×", "x").split("x")
    if len(sizes) > 3 or not all(re.fullmatch("[0-9]{1,18}", size) and int(size) for size in sizes):
        raise CostcalcError(f"--input is HxW or CxHxW, such as 320x480 or 3x320x480, not {text!r}")
    sizes = sizes * 2 if len(sizes) == 1 else sizes
    return dict(zip(("channels", "height", "width")[-len(sizes) :], map(int, sizes), strict=True))
