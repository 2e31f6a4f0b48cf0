"""The paths that name layers: `stage/block/layer`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache


def stage_of(path: str, depth: int = 1) -> str:
    """Return the stage of a path: its first `depth` parts."""
    return "/".join(path.split("/", depth)[:depth])


def is_below(path: str, prefix: str) -> bool:
    """Return whether a path is a prefix or is below it."""
    return path == prefix or path.startswith(prefix + "/")


def is_selected(path: str, layer: str) -> bool:
    """Return whether `layer` selects a path: the layer itself, all layers below a prefix, or a pattern of either.

    In a pattern, `*` stands for any text within one part of the path.
    """
    return is_below(path, layer) if "*" not in layer else _pattern(layer).fullmatch(path) is not None


@lru_cache
def _pattern(layer: str) -> re.Pattern[str]:
    return re.compile(re.escape(layer).replace(r"\*", "[^/]*") + "(/.*)?")


def prefixes(paths: Iterable[str]) -> set[str]:
    """Return every path and every prefix of one: the names that select a layer."""
    parts = [path.split("/") for path in paths]
    return {"/".join(path[:depth]) for path in parts for depth in range(1, len(path) + 1)}
