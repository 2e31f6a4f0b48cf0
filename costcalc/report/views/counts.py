"""Counts of cost rows as table cells and as JSON."""

from __future__ import annotations

from typing import TypeAlias

from costcalc.analysis.cost_table import Row
from costcalc.analysis.metrics import LOWER_BOUND_FIELDS
from costcalc.core.sizes import Count
from costcalc.report.document import LowerBound

CountOrBound: TypeAlias = "Count | LowerBound | None"


def count_or_bound(row: Row, attribute: str) -> CountOrBound:
    """Return a count of a row, as a lower bound where a layer in it is unknown; None where nothing is known."""
    value: Count | None = getattr(row, attribute)
    return LowerBound(value) if row.unknown_layers and value is not None and attribute in LOWER_BOUND_FIELDS else value


def totals_data(total: Row) -> dict[str, Count | None]:
    """Return the costs of a whole network for JSON: a `totals` object."""
    return {
        "params": total.params,
        "param_bytes": total.param_bytes,
        "macs": total.macs,
        "flops": total.flops,
        "activations": total.activations,
        "activation_bytes": total.activation_bytes,
        "weight_layers": total.weight_layers,
        "nonlinearities": total.nonlinearities,
        "counted_params": total.counted_params,
        "counted_activations": total.counted_activations,
    }
