"""Immediate dominators: for each tensor, the nearest other tensor that is on all paths to it."""

from __future__ import annotations

from collections.abc import Mapping

from costcalc.ir.graph import Graph

_Tensor = str | None  # None: the virtual root above all inputs


def immediate_dominators(graph: Graph) -> Mapping[str, str | None]:
    """Return the immediate dominator of each tensor: the nearest tensor on all paths from the network's inputs to it.

    The dominator of a layer that joins branches is their fork; it is None if paths from different inputs meet. In an
    acyclic graph, the dominator of a tensor is the nearest common dominator of its inputs (Cooper, Harvey and Kennedy,
    A Simple, Fast Dominance Algorithm, 2001). A skip pointer from each tensor to an ancestor higher up finds it in
    logarithmic time (Myers, An Applicative Random-Access Stack, 1983).
    """
    parents: dict[_Tensor, _Tensor] = {None: None}
    skips: dict[_Tensor, _Tensor] = {None: None}  # the number of levels skipped depends on the depth alone
    depth: dict[_Tensor, int] = {None: 0}

    def nearest_common(one: _Tensor, other: _Tensor) -> _Tensor:
        if depth[one] < depth[other]:
            one, other = other, one
        while depth[one] > depth[other]:
            one = skips[one] if depth[skips[one]] >= depth[other] else parents[one]
        while one != other:
            table = skips if skips[one] != skips[other] else parents
            one, other = table[one], table[other]
        return one

    def add(tensor: str, parent: _Tensor) -> None:
        skip = skips[parent]
        even = depth[parent] - depth[skip] == depth[skip] - depth[skips[skip]]
        parents[tensor], skips[tensor], depth[tensor] = parent, skips[skip] if even else parent, depth[parent] + 1

    for name, *_ in graph.inputs:
        add(name, None)
    for node in graph.nodes:
        fork: _Tensor = node.inputs[0]
        for name in node.inputs[1:]:
            fork = nearest_common(fork, name)
        add(node.name, fork)
    return {tensor: fork for tensor, fork in parents.items() if tensor is not None}
