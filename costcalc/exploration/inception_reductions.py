"""The same module under two designs: GoogLeNet's naive Inception modules against its reduced ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Unpack

from costcalc.analysis.analyze import AnalysisOptions, analyze
from costcalc.analysis.cost_table import CostTable
from costcalc.core.errors import CostcalcError
from costcalc.frontends.spec.catalogue import find_spec
from costcalc.ir.graph import Graph


class NaiveReducedPair(NamedTuple):
    """One thing in both designs."""

    name: str
    naive: CostTable
    reduced: CostTable


class NaiveVersusReduced(NamedTuple):
    """Module by module at the same input, and the whole network with such modules stacked."""

    modules: tuple[NaiveReducedPair, ...]
    stacked: NaiveReducedPair


def naive_versus_reduced(target: str, given: Mapping[str, Any], **rules: Unpack[AnalysisOptions]) -> NaiveVersusReduced:
    """What the 1×1 reductions of a network save; `rules` are analyze's convention and dtype.

    Each module is analysed on the input it has in the real network; stacked, the naive modules pass on all their
    channels. Raises CostcalcError when the target has no setting `reduced`.
    """
    spec, variant = find_spec(target)
    if "reduced" not in spec.settings:
        raise CostcalcError(f"{target} has no setting 'reduced': --naive-vs-reduced is for googlenet and specs like it")
    naive, reduced = (spec.build(variant, {**given, "reduced": value}) for value in (False, True))
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
