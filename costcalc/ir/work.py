"""Arithmetic by kind."""

from __future__ import annotations

from dataclasses import dataclass

from costcalc.core.sizes import Size


@dataclass(frozen=True, slots=True)
class Work:
    """Numbers of operations by kind.

    A multiply-accumulate counts as one MAC, and not as a mul and an add. FLOPs are not a field: a convention defines
    them by these numbers (2 per MAC by default).
    """

    macs: Size = 0
    adds: Size = 0
    muls: Size = 0
    divs: Size = 0
    exps: Size = 0
    compares: Size = 0

    def __add__(self, other: Work) -> Work:
        return Work(
            self.macs + other.macs,
            self.adds + other.adds,
            self.muls + other.muls,
            self.divs + other.divs,
            self.exps + other.exps,
            self.compares + other.compares,
        )

    def __mul__(self, times: Size) -> Work:
        return Work(
            self.macs * times,
            self.adds * times,
            self.muls * times,
            self.divs * times,
            self.exps * times,
            self.compares * times,
        )

    __rmul__ = __mul__

    @property
    def operations(self) -> Size:
        """The number of all operations; a MAC is two."""
        return 2 * self.macs + self.adds + self.muls + self.divs + self.exps + self.compares


NO_WORK = Work()
