"""Activation checkpointing: which segments of a network save only their input, and are recomputed in backward.

As `torch.utils.checkpoint.checkpoint` with `use_reentrant=False`. A segment is a contiguous range of layers with one
input tensor and one output tensor; layers that form no segment are not checkpointed. A stage is named by the first part
of a path, a block by the first two. A block has at least two weight layers, and no other layer of its stage reads its
input, so the branches of an Inception module are not blocks. A stage that has no blocks, or one that is no segment, is
one block.
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
    """The layers of a stage or block, as a range of node indices, and the tensor that they take from outside."""

    prefix: str
    node_range: range
    input: str


class SavedStorage(NamedTuple):
    """A storage in a run without checkpointing: the layer that allocates it, the layers that save it, and its bytes."""

    layer: str
    saved_by: frozenset[str]
    nbytes: Size


def candidate_segments(graph: Graph, checkpoint: str) -> tuple[list[Segment], dict[str, str]]:
    """Return the segments of a graph in execution order, and the stages that are no segments with the reason.

    Raises CostcalcError if `checkpoint` is not a `Checkpoint`.
    """
    if checkpoint not in CHECKPOINTS:
        hint = did_you_mean(checkpoint, CHECKPOINTS)
        raise CostcalcError(f"unknown checkpoint {checkpoint!r}{hint}: use {', '.join(CHECKPOINTS)}")
    segments: list[Segment] = []
    not_checkpointed: dict[str, str] = {}
    if checkpoint == "none":
        return segments, not_checkpointed
    readers: dict[str, list[int]] = {}
    for index, node in enumerate(graph.nodes):
        for name in node.inputs:
            readers.setdefault(name, []).append(index)
    for stage, indices in _group_by_prefix(graph, range(len(graph.nodes)), 1).items():
        blocks = _blocks(graph, indices, readers) if checkpoint == "block" else []
        segment = _segment(graph, stage, indices, readers)
        if blocks:
            segments += blocks
        elif isinstance(segment, Segment):
            segments.append(segment)
        else:
            not_checkpointed[stage] = segment
    return segments, not_checkpointed


def select_segments(
    graph: Graph,
    segments: Sequence[Segment],
    saved: Iterable[SavedStorage],
    storages: Mapping[str, SavedStorage],
    overwritten_by: Mapping[str, Collection[str]],
) -> tuple[list[Segment], dict[str, str]]:
    """Return the segments with which autograd saves less, and the other ones with the reason.

    A checkpointed segment frees the storages that its own layers alone allocate and save, and saves its input unless it
    did so before. If that reduces memory for each segment, it does for all together: a tensor that one segment frees
    and the next one saves is counted in both.

    Args:
        graph: the network.
        segments: the candidates.
        saved: the storages that autograd saves without checkpointing.
        storages: the storage of each tensor.
        overwritten_by: the layers that overwrite each tensor.
    """
    index_of = {node.name: index for index, node in enumerate(graph.nodes)}
    segment_of = {graph.nodes[index].name: segment.prefix for segment in segments for index in segment.node_range}
    freed: dict[str, Size] = {}
    for storage in saved:
        prefix = segment_of.get(storage.layer)
        if prefix is not None and {segment_of.get(layer) for layer in storage.saved_by} <= {prefix}:
            freed[prefix] = freed.get(prefix, 0) + storage.nbytes
    selected: list[Segment] = []
    not_checkpointed: dict[str, str] = {}
    for segment in segments:
        storage = storages[segment.input]
        saved_already = any(index_of[layer] in segment.node_range for layer in storage.saved_by)
        if any(index_of[layer] >= segment.node_range.start for layer in overwritten_by.get(segment.input, ())):
            not_checkpointed[segment.prefix] = "its input is overwritten"
        elif freed.get(segment.prefix, 0) <= (0 if saved_already else storage.nbytes):
            not_checkpointed[segment.prefix] = "autograd would save no less"
        else:
            selected.append(segment)
    return selected, not_checkpointed


def _group_by_prefix(graph: Graph, indices: Iterable[int], depth: int) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for index in indices:
        groups.setdefault(stage_of(graph.nodes[index].name, depth), []).append(index)
    return groups


def _segment(graph: Graph, prefix: str, indices: Sequence[int], readers: Mapping[str, list[int]]) -> Segment | str:
    """Return the nodes with these indices as a segment, or the reason why they are none."""
    node_range = range(indices[0], indices[-1] + 1)
    names = [graph.nodes[index].name for index in indices]
    if len(node_range) != len(indices):
        return "its layers are not contiguous"
    inputs = {name for index in indices for name in graph.nodes[index].inputs} - set(names)
    if len(inputs) != 1:
        return "it has more than one input"
    outputs = [
        name
        for name in names
        if name in graph.outputs or any(reader not in node_range for reader in readers.get(name, ()))
    ]
    if any(name not in graph.reachable for name in names):
        return "no output depends on one of its layers"
    if len(outputs) != 1:
        return "it has more than one output"
    if outputs != names[-1:]:
        return "its output is not that of its last layer"
    return Segment(prefix, node_range, *inputs)


def _blocks(graph: Graph, stage: Sequence[int], readers: Mapping[str, list[int]]) -> list[Segment]:
    """Return the blocks of a stage, none if one of them is no segment."""
    blocks = []
    for prefix, indices in _group_by_prefix(graph, stage, 2).items():
        if sum([graph.nodes[index].op.weight_layer for index in indices]) < 2:
            continue
        block = _segment(graph, prefix, indices, readers)
        if isinstance(block, str):
            return []
        if any(reader in stage and reader not in block.node_range for reader in readers[block.input]):
            return []
        blocks.append(block)
    return blocks
