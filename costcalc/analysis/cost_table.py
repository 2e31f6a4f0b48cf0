"""What a layer costs, and tables of such costs that can be grouped and added.

Everything here is a value: plain numbers (or arrays, or expressions), never text. A measured table and a predicted one
are the same kind of thing, so they can be laid side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, NamedTuple, cast

from costcalc.core.sizes import Count, Shape, Size, batch_of, is_array
from costcalc.ir.paths import is_below, stage_of
from costcalc.ir.work import NO_WORK, Work


class Row(NamedTuple):
    """The cost of one layer, or of a group of layers.

    Shapes have the batch first. `work`, `flops` and `activations` are for the whole batch; `params` does not depend on
    it. `None` means "not known", never zero: see `CostTable.unknown`. In a group, counts are sums (over what is known)
    and shapes and receptive field are those of its last layer.
    """

    path: str
    op: str
    output: Shape | None
    params: Size | None
    work: Work | None
    flops: Count | None
    activations: Size | None  # elements of the new tensor the layer makes; 0 for a view or an op in place
    param_bytes: Size | None
    activation_bytes: Count | None
    weights: Size | None = 0  # parameters of kernels and matrices alone: no bias, no normalisation
    weight_layers: Size = 0  # convolutions and linear layers on the longest path to the main output
    receptive_field: tuple[Size, ...] | None = None  # in input pixels, per axis; None once the plane is gone
    receptive_stride: tuple[Size, ...] | None = None  # input pixels between two neighbouring outputs, per axis
    inputs: tuple[Shape, ...] = ()
    parameters: Mapping[str, Shape] = MappingProxyType({})
    buffers: Mapping[str, Shape] = MappingProxyType({})
    spatial_size: Shape | None = None  # the spatial size the layer works at (see `CostTable.by_resolution`)
    layer_count: int = 1
    backward_macs: Size | None = 0  # multiply-accumulates of the gradients of its parameters and inputs
    unknown_layers: int = (
        0  # how many of its layers could not be counted: while there are any, its counts are lower bounds
    )
    counted_params: Count | None = 0  # parameters as the convention counts them: without bias, with statistics, …
    counted_activations: Count = 0  # activation elements as the convention counts them
    saved_bytes: Size | None = None  # of what it makes, what autograd keeps in training; None where nobody asked
    nonlinearities: Size = 0  # layers that are activation functions, whatever path they lie on

    @property
    def macs(self) -> Size | None:
        """Multiply-accumulates."""
        return None if self.work is None else self.work.macs


@dataclass(frozen=True)
class CostTable:
    """Rows of costs in running order, and what they are the costs of.

    `unknown` are the layers that could not be counted: while there are any, every total is a lower bound. Of a model
    that was imported, `unused` are the parameters that no layer has, which are not counted, and `notes` what there was
    to say.
    """

    name: str
    rows: tuple[Row, ...]
    title: str = ""
    inputs: Mapping[str, Shape] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    dtype: str = "fp32"
    convention: str = "flops"
    training: bool = False
    input_bytes: Size = 0
    assumptions: tuple[str, ...] = ()
    unknown: tuple[Row, ...] = ()
    unused_parameters: Mapping[str, Shape] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def batch(self) -> Size:
        """The batch: the first size of the first input that has sizes."""
        return batch_of(self.inputs.values())

    def total(self) -> Row:
        """All rows as one."""
        return _sum_rows("total", self.rows)

    def by_stage(self, depth: int = 1) -> CostTable:
        """One row a stage: the layers whose paths share their first `depth` parts."""
        if depth < 1:
            raise ValueError(f"a stage is named by 1 or more parts of a path, not {depth}")
        return self.group_by(lambda row: stage_of(row.path, depth))

    def by_op(self) -> CostTable:
        """One row an op."""
        return self.group_by(lambda row: row.op)

    def by_resolution(self) -> CostTable:
        """One row a spatial size: the lecture's sense of a stage.

        A layer works at the size of its output, but a pool, or another layer that changes the plane without weights,
        closes the stage it reads: a VGG stage is conv-conv-pool. Layers after the plane is gone are the group `head`.
        """
        return self.group_by(lambda row: _spatial_size_label(row.spatial_size))

    def group_by(self, key: Callable[[Row], str]) -> CostTable:
        """One row for each value of `key`, in the order of first appearance; totals stay what they are."""
        groups: dict[str, list[Row]] = {}
        for row in self.rows:
            groups.setdefault(key(row), []).append(row)
        return replace(self, rows=tuple(_sum_rows(name, rows) for name, rows in groups.items()))

    def below(self, prefix: str) -> CostTable:
        """The rows of a node or of everything below a path prefix; empty when there is none."""
        inside = tuple(row for row in self.rows if is_below(row.path, prefix))
        unknown = tuple(row for row in self.unknown if is_below(row.path, prefix))
        return replace(self, rows=inside, unknown=unknown)


def _spatial_size_label(plane: Shape | None) -> str:
    if plane is None:
        return "head"
    return "×".join(str(cast(Any, s).tolist() if is_array(s) else s) for s in plane)


def _sum_rows(path: str, rows: Iterable[Row]) -> Row:
    rows = tuple(rows)
    if not rows:
        return Row(path, "total", None, 0, NO_WORK, 0, 0, 0, 0, layer_count=0)
    last = rows[-1]
    work = NO_WORK
    for row in rows:
        if row.work is not None:
            work = work + row.work
    kinds = {row.op for row in rows}

    def known_sum(values: Iterable[Any]) -> Any:
        return sum(v for v in values if v is not None)

    return Row(
        path,
        last.op if len(kinds) == 1 else "",
        last.output,
        known_sum(r.params for r in rows),
        work,
        known_sum(r.flops for r in rows),
        known_sum(r.activations for r in rows),
        known_sum(r.param_bytes for r in rows),
        known_sum(r.activation_bytes for r in rows),
        weights=known_sum(r.weights for r in rows),
        weight_layers=known_sum(r.weight_layers for r in rows),
        receptive_field=last.receptive_field,
        receptive_stride=last.receptive_stride,
        inputs=rows[0].inputs,
        spatial_size=last.spatial_size,
        layer_count=sum(r.layer_count for r in rows),
        backward_macs=known_sum(r.backward_macs for r in rows),
        unknown_layers=sum(r.unknown_layers for r in rows),
        counted_params=known_sum(r.counted_params for r in rows),
        counted_activations=sum(r.counted_activations for r in rows),
        saved_bytes=None if any(r.saved_bytes is None for r in rows) else known_sum(r.saved_bytes for r in rows),
        nonlinearities=sum(r.nonlinearities for r in rows),
    )
