"""The metrics of a network: their names in options and reports, their fields in a cost table, and their units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

# Fields of a `Row` that are lower bounds if the cost of a layer is not known. Activations are exact for such a layer:
# they follow from the shapes of its outputs.
LOWER_BOUND_FIELDS = frozenset({"params", "weights", "param_bytes", "macs", "flops", "backward_macs", "saved_bytes"})

# Fields of a `Row` whose value depends on the convention.
CONVENTION_FIELDS = frozenset({"flops", "param_bytes", "activation_bytes", "counted_params", "counted_activations"})


class Metric(NamedTuple):
    """A cost that options, questions and comparisons name."""

    title: str
    name_in_totals: str  # in tables of totals, beside other units
    attribute: str  # the field of `Row`, and the key in JSON and CSV
    unit: Literal["count", "bytes"]

    @property
    def is_lower_bound(self) -> bool:
        """Whether its value is a lower bound if the cost of a layer is not known."""
        return self.attribute in LOWER_BOUND_FIELDS

    @property
    def follows_convention(self) -> bool:
        """Whether its value depends on the convention."""
        return self.attribute in CONVENTION_FIELDS


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "params": Metric("parameters", "parameters", "params", "count"),
        "param-memory": Metric("parameter memory", "parameter bytes", "param_bytes", "bytes"),
        "macs": Metric("MACs", "MACs", "macs", "count"),
        "flops": Metric("FLOPs", "FLOPs", "flops", "count"),
        "activations": Metric("activations", "activation elements", "activations", "count"),
        "memory": Metric("activation memory", "activation bytes", "activation_bytes", "bytes"),
    }
)

DEFAULT_METRICS = ("params", "macs", "flops", "activations", "memory")


def names_in_totals(flops_label: str, metrics: Iterable[str] = METRICS) -> dict[str, str]:
    """Return the fields of `Row` by the names of `metrics` in a table of totals; FLOPs have the convention's label."""
    named = [METRICS[name] for name in metrics]
    return {flops_label if metric.attribute == "flops" else metric.name_in_totals: metric.attribute for metric in named}
