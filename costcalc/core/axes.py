"""The names of a tensor's dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# What a tensor's sizes are called, by how many there are.
DIM_NAMES_BY_RANK = {
    2: ("batch", "features"),
    3: ("batch", "channels", "length"),
    4: ("batch", "channels", "height", "width"),
    5: ("batch", "channels", "depth", "height", "width"),
}

EXAMPLE_IMAGE: Mapping[str, int] = MappingProxyType({"channels": 3, "height": 224, "width": 224})  # ImageNet's crop
