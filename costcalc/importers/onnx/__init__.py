"""ONNX files as graphs: `load_onnx`. The package onnx is imported when a file is read, and no weight is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from costcalc.graph import Graph


def load_onnx(
    path: str | os.PathLike[str], *, batch: int | None = None, sizes: Mapping[str, int] | None = None
) -> Graph:
    """The graph of an ONNX file of opset 11 or newer; nothing is run, and weights are not read.

    A size that the file leaves open is given by its name: `sizes={"height": 224}`. The batch, where it is open, is 1
    unless given. Tensors of several floats that the file stores are parameters, those that it computes are not.
    Operations that nobody knows become `unknown` layers, so that totals are lower bounds. Raises CostcalcError for a
    file that is no valid model, for sizes that have no value, and where sizes depend on data.
    """
    from costcalc.importers.onnx import elements, layers, places, walk  # noqa: F401  # translators register themselves
    from costcalc.importers.onnx.node import translate
    from costcalc.importers.onnx.reading import read

    return walk.Walk(os.fspath(path), read(path), dict(sizes or {}), batch).graph(translate)
