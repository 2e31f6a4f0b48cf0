"""The conventions of lectures and papers."""

from __future__ import annotations

from collections.abc import Set

from costcalc.analysis.conventions.terms import MAC_ADDS, MACS, WEIGHTS, Convention, CountedLayer, Term
from costcalc.core.sizes import Count
from costcalc.ir.graph import Graph
from costcalc.ir.ops.copies import Concat
from costcalc.ir.ops.norm import BatchNorm2d, LocalResponseNorm
from costcalc.ir.ops.pool import Pool


def _pool_window_elements(layer: CountedLayer) -> Count:
    return layer.op.window_elements(layer.inputs, layer.output) if isinstance(layer.op, Pool) else 0


_POOL_WINDOWS = Term("pools, output × window", _pool_window_elements)


def _inception_branches_and_norms(graph: Graph) -> Set[str]:
    """Return the layers between a fork and the concat of its branches, and the normalisations."""
    layers = {node.name for node in graph.nodes if isinstance(node.op, (BatchNorm2d, LocalResponseNorm))}
    fork_of = _immediate_dominators(graph)
    inputs = {node.name: node.inputs for node in graph.nodes}
    for node in graph.nodes:
        if isinstance(node.op, Concat):
            fork = fork_of[node.name]
            pending = [name for name in node.inputs if name != fork]
            visited = {fork, *pending}
            while pending:
                name = pending.pop()
                layers.add(name)
                new = [source for source in inputs.get(name, ()) if source not in visited]
                visited.update(new)
                pending += new
    return layers


def _immediate_dominators(graph: Graph) -> dict[str, str | None]:
    """Return, for each tensor, the nearest tensor on all paths from the inputs to it; None if there is none.

    One pass is enough, since nodes are in topological order (Cooper, Harvey and Kennedy, 2001).
    """
    depth: dict[str | None, int] = {None: 0} | {each.name: 1 for each in graph.inputs}
    dominator: dict[str, str | None] = {each.name: None for each in graph.inputs}
    for node in graph.nodes:
        common: str | None = node.inputs[0] if node.inputs else None
        for name in node.inputs[1:]:
            other: str | None = name
            while common != other:
                if depth[common] >= depth[other]:
                    assert common is not None
                    common = dominator[common]
                else:
                    assert other is not None
                    other = dominator[other]
        dominator[node.name] = common
        depth[node.name] = depth[common] + 1
    return dominator


LECTURES = (
    Convention(
        name="bologna",
        label="FLOPs",
        definition=(
            "The Bologna lecture's tables: 2 per multiply-accumulate, pools output elements × window size, bias, ReLU "
            "and normalisations 0. Activations count twice (value and gradient), parameters three times (value, "
            "gradient, momentum), MB = 2^20, at batch 128. The input is stored once and is in no total; flatten and "
            "normalisations take no memory; an inception module stores only the output of its concat."
        ),
        work=(MACS, MAC_ADDS, _POOL_WINDOWS),
        prior=2,
        activation_copies=2,
        param_copies=3,
        excluded_layers=_inception_branches_and_norms,
        columns=(
            ("outputs", "", 0),
            ("flops", "M", 1),
            ("activation_bytes", "MiB", 1),
            ("params", "k", 0),
            ("param_bytes", "MiB", 1),
        ),
        batch=128,
    ),
    Convention(
        name="eecs498",
        label='"FLOP"',
        definition=(
            'EECS 498-007 (Michigan): "FLOP" is 1 per multiply-accumulate, pools output elements × window size. '
            "Memory is every output once, KB = 2^10, batch 1. Parameters are weights without bias."
        ),
        work=(MACS, _POOL_WINDOWS),
        prior=2,
        parameters=(WEIGHTS,),
        columns=(("activation_bytes", "KiB", 0), ("weights", "k", 0), ("flops", "M", 0)),
    ),
    Convention(
        name="cs231n",
        label='"ops"',
        definition=(
            'CS231n (Stanford): "ops" are 1 per multiply-accumulate. Memory is the elements of every output, pools '
            "and the input included. Parameters are weights without bias."
        ),
        work=(MACS,),
        prior=1,
        parameters=(WEIGHTS,),
        columns=(("outputs", "", 0), ("weights", "", 0), ("flops", "M", 0)),
        includes_input=True,
    ),
    Convention(
        name="googlenet-paper",
        label='"ops"',
        definition=(
            'Table 1 of Going Deeper with Convolutions: "ops" are 1 per multiply-accumulate, M = 10^6. Parameters '
            "are weights without bias, and K is 1024 in their column: 112K is 114,688, and 1000K is 1,024,000."
        ),
        work=(MACS,),
        prior=1,
        parameters=(WEIGHTS,),
        kilo=1024,
    ),
)
