"""Activation checkpointing: which runs of layers keep only what they take, and run again in the backward pass.

As torch.utils.checkpoint has it with `use_reentrant=False`. A segment is a run of layers with one tensor in and one
out, and whatever is none is left as it is. A stage is named by the first part of a path, a block by the first two. A
block has two weight layers or more, and within its stage it alone reads what it takes: the branches of an Inception
module are no blocks. A stage without blocks, or in which one of them is no segment, is one block.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, get_args

from costcalc.core.errors import CostcalcError, did_you_mean
from costcalc.core.sizes import Size
from costcalc.ir.graph import Graph
from costcalc.ir.paths import stage_of

Checkpoint = Literal["none", "stage", "block"]
CHECKPOINTS: tuple[Checkpoint, ...] = get_args(Checkpoint)


class Segment(NamedTuple):
    """The layers of a stage or block: their places in the graph, and the one tensor that they take from outside."""

    prefix: str
    node_range: range
    input: str


class SavedStorage(NamedTuple):
    """A piece of memory in a run without checkpointing: the layer that made it, those that keep it, and its bytes."""

    layer: str
    saved_by: frozenset[str]
    size: Size


def candidate_segments(graph: Graph, checkpoint: str) -> tuple[list[Segment], dict[str, str]]:
    """The segments of a graph in running order; and the stages that are left as they are, with the reason.

    Raises CostcalcError for what is no `Checkpoint`.
    """
    known = get_args(Checkpoint)
    if checkpoint not in known:
        hint = did_you_mean(checkpoint, known)
        raise CostcalcError(f"no checkpointing by {checkpoint!r}{hint}: there are {', '.join(known)}")
    segments: list[Segment] = []
    left: dict[str, str] = {}
    if checkpoint == "none":
        return segments, left
    readers: dict[str, list[int]] = {}
    for place, node in enumerate(graph.nodes):
        for name in node.inputs:
            readers.setdefault(name, []).append(place)
    for stage, places in _groups(graph, range(len(graph.nodes)), 1).items():
        blocks = _blocks(graph, places, readers) if checkpoint == "block" else []
        whole = _segment(graph, stage, places, readers)
        if blocks:
            segments += blocks
        elif isinstance(whole, Segment):
            segments.append(whole)
        else:
            left[stage] = whole
    return segments, left


def select_segments(
    graph: Graph,
    segments: Iterable[Segment],
    pieces: Iterable[SavedStorage],
    taken: Mapping[str, SavedStorage],
    overwritten: Mapping[str, Collection[str]],
) -> tuple[list[Segment], dict[str, str]]:
    """The segments of which autograd then keeps less; and the others, with the reason.

    `pieces` are what it keeps without checkpointing, `taken` is what each tensor lies in, and `overwritten` are the
    layers that overwrite it. A segment frees what it makes and keeps alone, and keeps what it takes, unless it did so
    before. Where that is less for each of them, it is less for all together: what one frees and the next one takes is
    counted in both.
    """
    place_of = {node.name: place for place, node in enumerate(graph.nodes)}
    frees: dict[str, Size] = {}
    of_layer = {graph.nodes[place].name: segment.prefix for segment in segments for place in segment.node_range}
    for piece in pieces:
        inside = {of_layer.get(layer) for layer in (piece.layer, *piece.saved_by)}
        prefix = of_layer.get(piece.layer)
        if prefix is not None and inside == {prefix}:
            frees[prefix] = frees.get(prefix, 0) + piece.size
    chosen: list[Segment] = []
    left: dict[str, str] = {}
    for segment in segments:
        what = taken[segment.input]
        kept_anyway = any(place_of[layer] in segment.node_range for layer in what.saved_by)
        if any(place_of[layer] >= segment.node_range.start for layer in overwritten.get(segment.input, ())):
            left[segment.prefix] = "what it takes is overwritten"
        elif frees.get(segment.prefix, 0) <= (0 if kept_anyway else what.size):
            left[segment.prefix] = "autograd would keep no less"
        else:
            chosen.append(segment)
    return chosen, left


def _groups(graph: Graph, places: Iterable[int], depth: int) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for place in places:
        groups.setdefault(stage_of(graph.nodes[place].name, depth), []).append(place)
    return groups


def _segment(graph: Graph, prefix: str, places: Sequence[int], readers: Mapping[str, list[int]]) -> Segment | str:
    """The layers at these places as a segment, or why they are none."""
    inside = range(places[0], places[-1] + 1)
    names = [graph.nodes[place].name for place in places]
    if len(inside) != len(places):
        return "its layers do not run one after the other"
    taken = {name for place in places for name in graph.nodes[place].inputs} - set(names)
    if len(taken) != 1:
        return "it takes more than one tensor"
    given = [name for name in names if name in graph.outputs or any(at not in inside for at in readers.get(name, ()))]
    if any(name not in graph.reachable for name in names):
        return "no output depends on one of its layers"
    if len(given) != 1:
        return "it gives more than one tensor"
    if given != names[-1:]:
        return "its result is not what its last layer makes"
    return Segment(prefix, inside, *taken)


def _blocks(graph: Graph, stage: Sequence[int], readers: Mapping[str, list[int]]) -> list[Segment]:
    """The blocks of a stage; none where it is one block itself."""
    blocks = []
    for prefix, places in _groups(graph, stage, 2).items():
        if sum([graph.nodes[place].op.weight_layer for place in places]) < 2:
            continue
        block = _segment(graph, prefix, places, readers)
        if isinstance(block, str) or any(at in stage and at not in block.node_range for at in readers[block.input]):
            return []
        blocks.append(block)
    return blocks
