"""Reader for ONNX files: `load_onnx`, and `trace_onnx` for graphs with symbolic sizes.

The `onnx` package is imported only when a file is read. Weight data is not loaded.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from importlib import import_module
from itertools import zip_longest
from typing import TYPE_CHECKING

from costcalc.core.errors import CostcalcError, FixedSizeError

if TYPE_CHECKING:
    from costcalc.frontends.free_sizes import SymbolicGraph
    from costcalc.frontends.onnx.sizes import InputSizes, SizeRequest
    from costcalc.ir.graph import Graph


def load_onnx(
    path: str | os.PathLike[str], *, batch: int | None = None, sizes: Mapping[str, int] | None = None
) -> Graph:
    """Load an ONNX file of opset 11 or newer as a graph, without running it or reading its weights.

    `sizes` sets dynamic dimensions of the inputs by name, for example `sizes={"height": 224}`; a dynamic batch
    dimension defaults to 1. Floating-point initializers with more than one element are parameters; computed tensors
    are not. Unsupported operators become `unknown` layers, and totals are then lower bounds.

    Raises:
        CostcalcError: the file is not a valid model, a dynamic dimension has no value, or a shape depends on data.
    """
    from costcalc.frontends.onnx.sizes import SizeRequest

    graph, _ = _OnnxFile(path).read(SizeRequest(sizes or {}, batch))
    return graph


def trace_onnx(
    path: str | os.PathLike[str],
    dynamic_sizes: Collection[str],
    *,
    batch: int | None = None,
    sizes: Mapping[str, int] | None = None,
) -> SymbolicGraph:
    """Load an ONNX file as a graph in which the sizes named in `dynamic_sizes` are symbolic.

    The symbolic graph is evaluated at other sizes and compared with the file loaded at those sizes.

    Raises:
        CostcalcError: as for `load_onnx`.
        FixedSizeError: the two graphs differ.
    """
    from costcalc.frontends.free_sizes import SymbolicGraph
    from costcalc.frontends.onnx.sizes import SizeRequest

    file = _OnnxFile(path)
    graph, found = file.read(SizeRequest(sizes or {}, batch, dynamic_sizes))
    traced = SymbolicGraph(graph, found.fixed, found.tied)
    for point in (found.hints, found.check_sizes):
        try:
            plain, _ = file.read(SizeRequest({**(sizes or {}), **point}, batch))
        except CostcalcError as error:
            raise FixedSizeError(f"{traced.graph.name} cannot have {_format_sizes(point)}: {error}") from None
        here = traced.specialize(**point)
        for one, other in zip_longest(here.nodes, plain.nodes):
            if one is None or other is None or (one.name, one.op, one.inputs) != (other.name, other.op, other.inputs):
                which = (other or one).name
                message = f"{which} is another one at {_format_sizes(point)} than these sizes say"
                raise FixedSizeError(f"{traced.graph.name} fixes {' and '.join(point)}: {message}")
    return traced


class _OnnxFile:
    """An ONNX file that is parsed once and loaded at any number of sizes."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        from costcalc.frontends.onnx.reader import read_model

        self.path = os.fspath(path)
        self.model = read_model(self.path)

    def read(self, request: SizeRequest) -> tuple[Graph, InputSizes]:
        """Return the graph at the requested sizes, and the sizes of its inputs."""
        from costcalc.frontends.onnx.interpreter import OnnxInterpreter
        from costcalc.frontends.onnx.node import translate_node

        for family in ("elementwise", "layers", "shape_and_indexing"):  # importing a module registers its translators
            import_module(f"{__name__}.{family}")
        reading = OnnxInterpreter(self.path, self.model, request)
        return reading.graph(translate_node), reading.sizes


def _format_sizes(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name}={size}" for name, size in sizes.items())
