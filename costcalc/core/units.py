"""Units that counts, bytes and times are printed in. Numbers written with a unit are read by `written_numbers`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

# Smallest unit first. Times are in nanoseconds.
DECIMAL: Mapping[str, int] = MappingProxyType({prefix: 1000**power for power, prefix in enumerate(("", *"kMGTPE"))})
BINARY: Mapping[str, int] = MappingProxyType(
    {unit: 1024**power for power, unit in enumerate(("B", "KiB", "MiB", "GiB", "TiB", "PiB"))}
)
SECONDS: Mapping[str, int] = MappingProxyType({"ns": 1, "µs": 10**3, "ms": 10**6, "s": 10**9})


def round_half_up(value: Any, step: Any) -> Any:
    """Return how many steps are nearest to a value; the larger number where two are equally near."""
    return (2 * value + step) // (2 * step)
