"""Conventions: what a lecture or a tool means by "FLOPs" and by activation memory.

A convention is a value. It turns a layer's work into the number that would be printed under its name, and says which
outputs its memory column counts and how often. "MACs" and "FLOPs" are never synonyms here.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from functools import singledispatch
from types import MappingProxyType
from typing import Literal, NamedTuple

from costcalc.costs import Work
from costcalc.dims import Count, Shape, Size
from costcalc.errors import CostcalcError, did_you_mean
from costcalc.graph import Graph
from costcalc.ops.op import Op
from costcalc.ops.pooling import Pool

Cell = Literal["outputs", "weights", "params", "macs", "flops", "activations", "param_bytes", "activation_bytes"]
Counter = Callable[[Op, tuple[Shape, ...], Shape, Work], Count]


class Convention(NamedTuple):
    """How a source counts.

    `flops` makes its number of a layer from the op, its input shapes, its output shape and its work. A layer's
    activation bytes are its activations × `activation_copies` × the dtype's size, or 0 if `uncounted` names it;
    its parameter bytes are its parameters × `param_copies` × the dtype's size. `columns` are what its own tables print,
    each with the unit and the decimals they print it in.
    """

    name: str
    label: str  # what the source calls its number
    definition: str
    flops: Counter
    activation_copies: int = 1
    param_copies: int = 1
    uncounted: Callable[[Graph], Set[str]] = lambda graph: frozenset()
    columns: tuple[tuple[Cell, str, int], ...] = ()


def _flops(op: Op, inputs: tuple[Shape, ...], output: Shape, work: Work) -> Count:
    return 2 * work.macs


def _macs(op: Op, inputs: tuple[Shape, ...], output: Shape, work: Work) -> Count:
    return work.macs


def _full(op: Op, inputs: tuple[Shape, ...], output: Shape, work: Work) -> Count:
    return work.operations


def _bologna(op: Op, inputs: tuple[Shape, ...], output: Shape, work: Work) -> Count:
    return 2 * work.macs + pool_taps(op, inputs, output)


def _eecs498(op: Op, inputs: tuple[Shape, ...], output: Shape, work: Work) -> Count:
    return work.macs + pool_taps(op, inputs, output)


@singledispatch
def pool_taps(op: Op, inputs: tuple[Shape, ...], output: Shape) -> Size:
    """The operations of a pool as lectures count them: output elements × window size; 0 for what is no pool."""
    return 0


@pool_taps.register
def _(op: Pool, inputs: tuple[Shape, ...], output: Shape) -> Size:
    return op.taps(inputs, output)


def _inside_modules_and_normalizations(graph: Graph) -> Set[str]:
    """Layers between a fork and the concat that closes it, and normalisations."""
    uncounted = {n.name for n in graph.nodes if n.op.name in ("batch_norm2d", "local_response_norm")}
    fork_of = _dominators(graph)
    sources = {node.name: node.inputs for node in graph.nodes}
    for node in graph.nodes:
        if node.op.name == "concat":
            waiting = [i for i in node.inputs if i != fork_of[node.name]]
            seen = {fork_of[node.name], *waiting}
            while waiting:
                name = waiting.pop()
                uncounted.add(name)
                further = [i for i in sources.get(name, ()) if i not in seen]
                seen.update(further)
                waiting += further
    return uncounted


def _dominators(graph: Graph) -> dict[str, str | None]:
    """For each node the nearest tensor that every path from the inputs to it passes (None: there is none).

    Immediate dominators in one pass, since nodes come in topological order (Cooper, Harvey and Kennedy, 2001).
    """
    depth: dict[str | None, int] = {None: 0} | {name: 1 for name, _ in graph.inputs}
    above: dict[str, str | None] = {name: None for name, _ in graph.inputs}
    for node in graph.nodes:
        meeting: str | None = node.inputs[0]
        for other in node.inputs[1:]:
            branch: str | None = other
            while meeting != branch:
                if depth[meeting] >= depth[branch]:
                    assert meeting is not None
                    meeting = above[meeting]
                else:
                    assert branch is not None
                    branch = above[branch]
        above[node.name] = meeting
        depth[node.name] = depth[meeting] + 1
    return above


CONVENTIONS = MappingProxyType(
    {
        convention.name: convention
        for convention in (
            Convention(
                "flops",
                "FLOPs",
                "2 FLOPs per multiply-accumulate of convolutions, linear layers and matrix products, and nothing else: "
                "the lecture's 2·H·W·Cout·Cin·k². Taps on padding count. Activation memory is every new tensor once.",
                _flops,
            ),
            Convention(
                "macs",
                "MACs",
                "1 per multiply-accumulate of convolutions, linear layers and matrix products, and nothing else: what "
                "the ResNet paper calls FLOPs and torchvision prints as GFLOPS.",
                _macs,
            ),
            Convention(
                "full",
                "FLOPs",
                "Every operation: 2 per multiply-accumulate, and each add of a bias, a skip, a normalisation or an "
                "average, each compare of a ReLU or a max pool, each exp and each division as 1.",
                _full,
            ),
            Convention(
                "bologna",
                "FLOPs",
                "The Bologna lecture's tables: 2 per multiply-accumulate, pools output elements × window size, bias, "
                "ReLU and normalisations 0. Activations twice (value and gradient), parameters three times (value, "
                "gradient, momentum), MB = 2^20, at batch 128. The input is stored once and in no total; flatten and "
                "normalisations take no memory; an inception module stores its concat output alone.",
                _bologna,
                activation_copies=2,
                param_copies=3,
                uncounted=_inside_modules_and_normalizations,
                columns=(
                    ("outputs", "", 0),
                    ("flops", "M", 1),
                    ("activation_bytes", "MiB", 1),
                    ("params", "k", 0),
                    ("param_bytes", "MiB", 1),
                ),
            ),
            Convention(
                "eecs498",
                '"FLOP"',
                'EECS 498-007 (Michigan): "FLOP" is 1 per multiply-accumulate, pools output elements × window size. '
                "Memory is every output once, KB = 2^10, batch 1. Parameters are weights without bias.",
                _eecs498,
                columns=(("activation_bytes", "KiB", 0), ("weights", "k", 0), ("flops", "M", 0)),
            ),
            Convention(
                "cs231n",
                '"ops"',
                'CS231n (Stanford): "ops" are 1 per multiply-accumulate. Memory is the elements of every output, pools '
                "and the input included. Parameters are weights without bias.",
                _macs,
                columns=(("outputs", "", 0), ("weights", "", 0), ("flops", "M", 0)),
            ),
        )
    }
)


def convention_named(name: str) -> Convention:
    """The convention of that name. Raises CostcalcError, with what may have been meant, when there is none."""
    if name not in CONVENTIONS:
        known = ", ".join(CONVENTIONS)
        raise CostcalcError(f"no convention {name!r}{did_you_mean(name, CONVENTIONS)}: there are {known}")
    return CONVENTIONS[name]
