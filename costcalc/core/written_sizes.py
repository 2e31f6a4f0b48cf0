"""Sizes as a user writes them: `32`, `320x480`, `3x224x224`."""

from __future__ import annotations

from costcalc.core.axes import IMAGE_DIM_NAMES, PLANE_DIM_NAMES
from costcalc.core.errors import CostcalcError


def read_positive(text: str, option: str, example: str = "32") -> int:
    """Read a whole number of at least 1. Raises CostcalcError, with an example, for anything else."""
    if not (text.isascii() and text.strip().isdecimal()) or len(text) > 18 or int(text) < 1:
        raise CostcalcError(
            f"{option} must be a whole number of at least 1 and at most 18 digits, such as {example}, not {text!r}"
        )
    return int(text)


def read_image_size(text: str, option: str = "--input") -> dict[str, int]:
    """Read the side of a square, HxW or CxHxW into sizes by name."""
    sizes = _read_sides(text, option)
    if len(sizes) > 3:
        raise CostcalcError(f"{option} is HxW or CxHxW, such as 320x480 or 3x320x480, not {text!r}")
    return dict(zip(IMAGE_DIM_NAMES[-len(sizes) :], sizes, strict=True))


def read_spatial_size(text: str, option: str) -> dict[str, int]:
    """Read the side of a square or HxW into height and width."""
    sizes = _read_sides(text, option)
    if len(sizes) > 2:
        raise CostcalcError(f"{option} is HxW, such as 320x480, or the side of a square, not {text!r}")
    return dict(zip(PLANE_DIM_NAMES, sizes, strict=True))


def _read_sides(text: str, option: str) -> list[int]:
    """Read AxBx… into a list; a single number is both sides of a square."""
    sides = text.lower().replace("×", "x").split("x")
    if not all(sides):
        raise CostcalcError(f"{option} is HxW, such as 320x480, or the side of a square, such as 320, not {text!r}")
    sizes = [read_positive(side, option, "320x480 or 320") for side in sides]
    return sizes * 2 if len(sizes) == 1 else sizes
