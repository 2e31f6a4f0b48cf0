"""The metrics of a network: their names in options and reports, their fields in a cost table, and their units."""

from __future__ import annotations

from collections.abc import Mapping
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
        "params": Metric("parameters", "params", "count"),
        "param-memory": Metric("parameter memory", "param_bytes", "bytes"),
        "macs": Metric("MACs", "macs", "count"),
        "flops": Metric("FLOPs", "flops", "count"),
        "activations": Metric("activations", "activations", "count"),
        "memory": Metric("activation memory", "activation_bytes", "bytes"),
    }
)
