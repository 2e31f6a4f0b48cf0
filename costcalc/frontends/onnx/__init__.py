"""ONNX files as graphs: `load_onnx`, and `trace_onnx` with free sizes.

The package onnx is imported when a file is read, and no weight is.
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
    """The graph of an ONNX file of opset 11 or newer; nothing is run, and weights are not read.

    A size that the file leaves open is given by its name: `sizes={"height": 224}`. The batch, where it is open, is 1
    unless given. Tensors of several floats that the file stores are parameters, those that it computes are not.
    Operations that nobody knows become `unknown` layers, so that totals are lower bounds. Raises CostcalcError for a
    file that is no valid model, for sizes that have no value, and where sizes depend on data.
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
    """The graph of an ONNX file in which the sizes named in `free` are free.

    What it is at other sizes is compared with what the file is when it is read at these. Raises CostcalcError as
    `load_onnx` does, and FixedSize where the two differ.
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
    """An ONNX file, as it is read once."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        from costcalc.frontends.onnx.reader import read_model

        self.path = os.fspath(path)
        self.model = read_model(self.path)

    def read(self, request: SizeRequest) -> tuple[Graph, InputSizes]:
        """The graph at these sizes."""
        from costcalc.frontends.onnx.interpreter import OnnxInterpreter
        from costcalc.frontends.onnx.node import translate_node

        for family in ("elementwise", "layers", "shape_and_indexing"):  # translators register themselves
            import_module(f"{__name__}.{family}")
        reading = OnnxInterpreter(self.path, self.model, request)
        return reading.graph(translate_node), reading.sizes


def _format_sizes(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name}={size}" for name, size in sizes.items())
