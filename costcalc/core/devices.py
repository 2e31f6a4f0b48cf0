"""Names of the devices that torch may run a network on."""

from __future__ import annotations

DEVICES = ("cuda", "mps", "cpu", "meta")  # in the order of preference of `auto`
