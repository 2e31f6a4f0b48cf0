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
    """The costs of a module, or of the network, without and with reductions."""

    name: str
    naive: CostTable
    reduced: CostTable


class NaiveVersusReduced(NamedTuple):
    """Each module without and with reductions on the same input, and the whole network built from either kind."""

    modules: tuple[NaiveReducedPair, ...]
    stacked: NaiveReducedPair


def naive_versus_reduced(
    target: str, options: Mapping[str, Any], **rules: Unpack[AnalysisOptions]
) -> NaiveVersusReduced:
    """Compare the Inception modules of a network without and with 1×1 reductions.

    Both versions of a module are analyzed on the input that it has in the network with reductions. In the network
    without reductions, each module reads all output channels of the module before it. `rules` are the options of
    `analyze`.

    Raises:
        CostcalcError: the target has no setting `reduced`.
    """
    spec, variant = find_spec(target)
    if "reduced" not in spec.settings:
        raise CostcalcError(
            f"{target} has no setting 'reduced': use --naive-vs-reduced with googlenet or a spec with this setting"
        )
    naive, reduced = (spec.build(variant, {**options, "reduced": value}) for value in (False, True))
    modules = []
    for stage in dict.fromkeys(node.name.split("/")[0] for node in reduced.nodes):
        reduced_module = reduced.extract(stage)
        if not _has_concat(reduced_module):
            continue
        naive_module = naive.extract(stage, *(each.shape for each in reduced_module.inputs))
        if reduced_module.nodes != naive_module.nodes:
            modules.append(NaiveReducedPair(stage, analyze(naive_module, **rules), analyze(reduced_module, **rules)))
    return NaiveVersusReduced(
        tuple(modules), NaiveReducedPair(reduced.name, analyze(naive, **rules), analyze(reduced, **rules))
    )


def _has_concat(graph: Graph) -> bool:
    return any(node.op.name == "concat" for node in graph.nodes)
