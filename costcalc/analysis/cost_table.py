"""Cost tables: the costs of layers, which can be grouped and added.

Rows and tables are plain values: numbers (or arrays, or expressions), never text. Predicted and measured costs are of
the same types, so that the two can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from types import MappingProxyType
from typing import Any, NamedTuple, cast

from costcalc.core.sizes import Count, Shape, Size, batch_of, is_array
from costcalc.ir.paths import is_selected, stage_of
from costcalc.ir.work import NO_WORK, Work


class Row(NamedTuple):
    """The cost of one layer, or of a group of layers; built by keyword.

    The first size of a shape is the batch. Counts are for the whole batch, except those of parameters, which do not
    depend on it. None means "not known", never zero. In a group, counts are sums over the layers whose count is known,
    `inputs` are those of the first layer, and the output, the receptive field and the spatial size those of the last.
    """

    path: str
    op: str  # in a group "", unless all its layers have the same op
    output: Shape | None

    # Costs; bytes and `flops` follow the convention
    params: Size | None
    param_bytes: Size | None
    work: Work | None
    flops: Count | None
    activations: Size | None  # elements of the tensors it allocates: 0 for a view or an op in place
    activation_bytes: Count | None

    # Costs that are 0 where they do not apply
    weights: Size | None = 0  # parameters with two dimensions or more: no bias, no scale or shift
    counted_params: Count | None = 0  # as the convention counts them: without bias, with running statistics, …
    counted_activations: Count = 0  # activation elements as the convention counts them
    backward_macs: Size | None = 0  # multiply-accumulates of the gradients of its parameters and inputs
    saved_bytes: Size | None = None  # bytes of its outputs that autograd saves for backward; None if not analysed

    # Numbers of layers
    layer_count: int = 1
    unknown_layers: int = 0  # layers whose cost is not known: if there are any, counts are lower bounds
    weight_layers: Size = 0  # convolutions and linear layers on the longest path to the main output
    nonlinearities: Size = 0  # activation functions, on any path

    # Tensors
    inputs: tuple[Shape, ...] = ()
    parameters: Mapping[str, Shape] = MappingProxyType({})
    buffers: Mapping[str, Shape] = MappingProxyType({})
    spatial_size: Shape | None = None  # that the layer works at, see `CostTable.by_resolution`
    receptive_field: tuple[Size, ...] | None = None  # input pixels, per axis; None if it is not defined
    receptive_stride: tuple[Size, ...] | None = None  # input pixels between the fields of adjacent outputs, per axis

    @property
    def macs(self) -> Size | None:
        """Multiply-accumulates."""
        return None if self.work is None else self.work.macs


# The fields of a group that are sums of the known values of its layers.
_SUMMED_FIELDS = (
    "params",
    "param_bytes",
    "flops",
    "activations",
    "activation_bytes",
    "weights",
    "counted_params",
    "counted_activations",
    "backward_macs",
    "layer_count",
    "unknown_layers",
    "weight_layers",
    "nonlinearities",
)


@dataclass(frozen=True)
class CostTable:
    """The rows of a network in execution order, with the options of the analysis.

    `unknown` are the layers whose cost is not known: if there are any, totals are lower bounds. For an imported model,
    `unused_parameters` are parameters that no layer uses and that are not counted, and `notes` the importer's remarks.
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
        """The batch size: the first size of the first input that is not a scalar."""
        return batch_of(self.inputs.values())

    def total(self) -> Row:
        """Return the sum of all rows."""
        return _sum_rows("total", self.rows)

    def by_stage(self, depth: int = 1) -> CostTable:
        """Return a table with one row per stage: the layers whose paths have the same first `depth` parts."""
        if depth < 1:
            raise ValueError(f"a stage is named by 1 or more parts of a path, not {depth}")
        return self.group_by(lambda row: stage_of(row.path, depth))

    def by_op(self) -> CostTable:
        """Return a table with one row per op."""
        return self.group_by(lambda row: row.op)

    def by_resolution(self) -> CostTable:
        """Return a table with one row per spatial size, which is what lectures call a stage.

        A layer works at the spatial size of its output. A pool, or another layer without weights that changes the
        spatial size, works at that of its input, so that it ends a stage: a stage of VGG is conv-conv-pool. Layers
        whose tensors have no spatial dimensions are the group `head`.
        """
        return self.group_by(lambda row: _spatial_size_label(row.spatial_size))

    def group_by(self, key: Callable[[Row], str]) -> CostTable:
        """Return a table with one row per value of `key`, in the order of first appearance, with the same total."""
        groups: dict[str, list[Row]] = {}
        for row in self.rows:
            groups.setdefault(key(row), []).append(row)
        return replace(self, rows=tuple(_sum_rows(name, rows) for name, rows in groups.items()))

    def below(self, prefix: str) -> CostTable:
        """Return the table of the layers that `prefix` selects (`paths.is_selected`); empty if there are none."""
        return replace(
            self,
            rows=tuple(row for row in self.rows if is_selected(row.path, prefix)),
            unknown=tuple(row for row in self.unknown if is_selected(row.path, prefix)),
        )


GROUPINGS: Mapping[str, Callable[[CostTable, int], CostTable]] = MappingProxyType(
    {
        "layer": lambda costs, depth: costs,
        "stage": lambda costs, depth: costs.by_stage(depth),
        "op": lambda costs, depth: costs.by_op(),
        "resolution": lambda costs, depth: costs.by_resolution(),
    }
)  # what the rows of a report stand for; the depth is that of stages


def _spatial_size_label(size: Shape | None) -> str:
    if size is None:
        return "head"
    return "×".join(str(cast(Any, s).tolist() if is_array(s) else s) for s in size)


def _sum_rows(path: str, rows: Sequence[Row]) -> Row:
    """Return the sum of `rows`, named `path`."""
    sums = {field: _known_sum(rows, field) for field in _SUMMED_FIELDS}
    if not rows:
        return Row(path=path, op="total", output=None, work=NO_WORK, **sums)
    first, last = rows[0], rows[-1]
    return Row(
        path=path,
        op=last.op if all(row.op == last.op for row in rows) else "",
        output=last.output,
        work=sum([row.work for row in rows if row.work is not None], NO_WORK),
        saved_bytes=None if any(row.saved_bytes is None for row in rows) else _known_sum(rows, "saved_bytes"),
        inputs=first.inputs,
        spatial_size=last.spatial_size,
        receptive_field=last.receptive_field,
        receptive_stride=last.receptive_stride,
        **sums,
    )


def _known_sum(rows: Sequence[Row], field: str) -> Any:
    return sum([value for value in map(attrgetter(field), rows) if value is not None])
