"""The metrics of a network: what each is called, the field of a cost row that holds it, and its unit."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple


class Metric(NamedTuple):
    """A cost as it is asked for by name: what people call it, which field of a `Row` holds it, and its unit."""

    title: str
    attribute: str
    unit: Literal["count", "bytes"]


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
