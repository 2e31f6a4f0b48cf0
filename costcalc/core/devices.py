"""The devices that torch may run a network on."""

from __future__ import annotations

from typing import Literal, get_args

# In the order of preference of `auto`. The layout of a tensor and what is saved for backward depend on the device.
Device = Literal["cuda", "mps", "cpu", "meta"]
DEVICES: tuple[Device, ...] = get_args(Device)
