"""Conventions: what a lecture, a paper or a tool means by "FLOPs", by parameters and by activation memory.

A convention is a value. Its numbers are sums of named terms, each counted exactly, so that the difference between the
numbers of two sources can be shown term by term. "MACs" and "FLOPs" are never synonyms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

from costcalc.analysis.conventions.project import PROJECT
from costcalc.analysis.conventions.terms import (
    ALL_OUTPUTS,
    ALL_PARAMETERS,
    MAC_ADDS,
    MACS,
    NORM_PARAMETERS,
    Convention,
    CountedLayer,
    Term,
    no_layers,
    sum_terms,
)
from costcalc.core.errors import CostcalcError, did_you_mean

__all__ = [
    "ALL_OUTPUTS",
    "ALL_PARAMETERS",
    "CONVENTIONS",
    "MACS",
    "MAC_ADDS",
    "NORM_PARAMETERS",
    "Convention",
    "CountedLayer",
    "Term",
    "get_convention",
    "no_layers",
    "sum_terms",
]


class _Registry(Mapping[str, Convention]):
    """All conventions by name.

    Those of lectures and tools are imported when the first of them is used, because they import most families of ops.
    """

    @cached_property
    def _all(self) -> Mapping[str, Convention]:
        from costcalc.analysis.conventions.lectures import LECTURES
        from costcalc.analysis.conventions.tools import CONVNET_BURDEN, KERAS, TOOLS

        return {each.name: each for each in (*PROJECT, *TOOLS, *LECTURES, CONVNET_BURDEN, KERAS)}

    def __getitem__(self, name: str) -> Convention:
        for convention in PROJECT:
            if convention.name == name:
                return convention
        return self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)


CONVENTIONS: Mapping[str, Convention] = _Registry()


def get_convention(name: str) -> Convention:
    """Return the convention of that name.

    Raises:
        CostcalcError: there is no such convention.
    """
    if name not in CONVENTIONS:
        known = ", ".join(CONVENTIONS)
        raise CostcalcError(f"no convention {name!r}{did_you_mean(name, CONVENTIONS)}: there are {known}")
    return CONVENTIONS[name]
