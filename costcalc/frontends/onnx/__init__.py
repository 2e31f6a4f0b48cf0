"""ONNX files as graphs: `load_onnx`, and `trace_onnx` with free sizes.

The package onnx is imported when a file is read, and no weight is.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from importlib import import_module
from itertools import zip_longest
from typing import TYPE_CHECKING

from costcalc.core.errors import CostcalcError, FixedSize

if TYPE_CHECKING:
    from costcalc.frontends.free_sizes import Traced
    from costcalc.frontends.onnx.sizes import Asked, Sizes
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
    from costcalc.frontends.onnx.sizes import Asked

    graph, _ = _File(path).read(Asked(sizes or {}, batch))
    return graph


def trace_onnx(
    path: str | os.PathLike[str],
    free: Collection[str],
    *,
    batch: int | None = None,
    sizes: Mapping[str, int] | None = None,
) -> Traced:
    """The graph of an ONNX file in which the sizes named in `free` are free.

    What it is at other sizes is compared with what the file is when it is read at these. Raises CostcalcError as
    `load_onnx` does, and FixedSize where the two differ.
    """
    from costcalc.frontends.free_sizes import Traced
    from costcalc.frontends.onnx.sizes import Asked

    file = _File(path)
    graph, found = file.read(Asked(sizes or {}, batch, free))
    traced = Traced(graph, found.fixed, found.tied)
    for point in (found.numbers, found.others):
        try:
            plain, _ = file.read(Asked({**(sizes or {}), **point}, batch))
        except CostcalcError as error:
            raise FixedSize(f"{traced.graph.name} cannot have {_listed(point)}: {error}") from None
        here = traced.at(**point)
        for one, other in zip_longest(here.nodes, plain.nodes):
            if one is None or other is None or (one.name, one.op, one.inputs) != (other.name, other.op, other.inputs):
                which = (other or one).name
                message = f"{which} is another one at {_listed(point)} than these sizes say"
                raise FixedSize(f"{traced.graph.name} fixes {' and '.join(point)}: {message}")
    return traced


class _File:
    """An ONNX file, as it is read once."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        from costcalc.frontends.onnx.reading import read

        self.path = os.fspath(path)
        self.model = read(self.path)

    def read(self, asked: Asked) -> tuple[Graph, Sizes]:
        """The graph at these sizes."""
        from costcalc.frontends.onnx.node import translate
        from costcalc.frontends.onnx.walk import Walk

        for family in ("elements", "layers", "places"):  # translators register themselves
            import_module(f"{__name__}.{family}")
        reading = Walk(self.path, self.model, asked)
        return reading.graph(translate), reading.sizes


def _listed(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name}={size}" for name, size in sizes.items())
