"""The paths that name layers: `stage/block/layer`."""

from __future__ import annotations


def stage_of(path: str, depth: int = 1) -> str:
    """The stage that a path lies in: its first `depth` parts."""
    return "/".join(path.split("/", depth)[:depth])


def is_below(path: str, prefix: str) -> bool:
    """Whether a path is a prefix's own, or lies below it."""
    return path == prefix or path.startswith(prefix + "/")
