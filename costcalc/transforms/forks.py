"""Where paths part: for each tensor, the nearest other one through which every path to it leads."""

from __future__ import annotations

from collections.abc import Mapping

from costcalc.ir.graph import Graph

_Tensor = str | None  # None: what lies above all inputs


def forks(graph: Graph) -> Mapping[str, str | None]:
    """By tensor, the nearest tensor that all paths from the network's inputs to it pass: its immediate dominator.

    For a layer that joins branches it is their fork; None where paths from different inputs meet. In a graph without
    cycles a tensor's dominator is the nearest that its inputs have in common (Cooper, Harvey and Kennedy, A Simple,
    Fast Dominance Algorithm, 2001), found in logarithmic time by an ancestor further up that each tensor remembers
    (Myers, An Applicative Random-Access Stack, 1983).
    """
    above: dict[_Tensor, _Tensor] = {None: None}
    far: dict[_Tensor, _Tensor] = {None: None}  # how far up depends on the depth alone
    depth: dict[_Tensor, int] = {None: 0}

    def nearest_common(one: _Tensor, other: _Tensor) -> _Tensor:
        if depth[one] < depth[other]:
            one, other = other, one
        while depth[one] > depth[other]:
            one = far[one] if depth[far[one]] >= depth[other] else above[one]
        while one != other:
            step = far if far[one] != far[other] else above
            one, other = step[one], step[other]
        return one

    def hang(tensor: str, parent: _Tensor) -> None:
        hop = far[parent]
        even = depth[parent] - depth[hop] == depth[hop] - depth[far[hop]]
        above[tensor], far[tensor], depth[tensor] = parent, far[hop] if even else parent, depth[parent] + 1

    for name, *_ in graph.inputs:
        hang(name, None)
    for node in graph.nodes:
        fork: _Tensor = node.inputs[0]
        for name in node.inputs[1:]:
            fork = nearest_common(fork, name)
        hang(node.name, fork)
    return {tensor: fork for tensor, fork in above.items() if tensor is not None}
