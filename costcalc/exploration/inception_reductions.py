"""Inception modules without and with their 1×1 reductions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Unpack

from costcalc.analysis.analyze import AnalysisOptions, analyze
from costcalc.analysis.cost_table import CostTable
from costcalc.core.errors import CostcalcError
from costcalc.frontends.spec.catalogue import find_spec
from costcalc.ir.graph import Graph


class NaiveReducedPair(NamedTuple):
    """The costs of one module, or of the network, in both designs."""

    name: str
    naive: CostTable
    reduced: CostTable


class NaiveVersusReduced(NamedTuple):
    """Every module at the same input, and the whole network of such modules."""

    modules: tuple[NaiveReducedPair, ...]
    stacked: NaiveReducedPair


def naive_versus_reduced(
    target: str, options: Mapping[str, Any], **rules: Unpack[AnalysisOptions]
) -> NaiveVersusReduced:
    """Compare a network's Inception modules with and without 1×1 reductions; `rules` are the options of `analyze`.

    Each module is analyzed on its input in the network with reductions. In the network without them, each module takes
    all channels of the module before it. Raises CostcalcError if the target has no setting `reduced`.
    """
    spec, variant = find_spec(target)
    if "reduced" not in spec.settings:
        raise CostcalcError(f"{target} has no setting 'reduced': --naive-vs-reduced is for googlenet and specs like it")
    naive, reduced = (spec.build(variant, {**options, "reduced": value}) for value in (False, True))
    modules = []
    for stage in dict.fromkeys(node.name.split("/")[0] for node in reduced.nodes):
        real = reduced.extract(stage)
        if not _has_concat(real):
            continue
        plain = naive.extract(stage, *(i.shape for i in real.inputs))
        if real.nodes != plain.nodes:
            modules.append(NaiveReducedPair(stage, analyze(plain, **rules), analyze(real, **rules)))
    return NaiveVersusReduced(
        tuple(modules), NaiveReducedPair(reduced.name, analyze(naive, **rules), analyze(reduced, **rules))
    )


def _has_concat(graph: Graph) -> bool:
    return any(node.op.name == "concat" for node in graph.nodes)
