"""Comparisons of two numbers, as questions and claims write them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = MappingProxyType(
    {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "=": operator.eq}
)
_OTHER_SPELLINGS = {"==": "=", "≤": "<=", "≥": ">=", "=<": "<=", "=>": ">="}


def find_comparison(text: str) -> str | None:
    """Return the key of COMPARISONS that a sign stands for: `<=` for `≤`. None for any other text."""
    return text if text in COMPARISONS else _OTHER_SPELLINGS.get(text)
