"""The largest batch that fits: memory is linear in the batch at every moment, so two runs tell all."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from costcalc.errors import CostcalcError
from costcalc.memory.timeline import Timeline


class Fit(NamedTuple):
    """The largest batch whose `peak_total` is within a budget of bytes (0: not even one image), and the next one's."""

    budget: int
    batch: int
    peak: int
    next_peak: int

    @property
    def exceeds_by(self) -> int:
        """How many bytes the next batch has too many."""
        return self.next_peak - self.budget


def largest_batch(run: Callable[[int], Timeline], budget: int) -> Fit:
    """What fits, where `run` gives the timeline of a batch. Exact, for every batch.

    What is alive after the i-th event is a_i + b_i · batch, for every tensor is as large as the batch times a constant,
    or does not depend on it; the peak of a batch is the largest of these. Raises CostcalcError where that does not
    hold, because a layer mixes the images of a batch.
    """
    one, two, three = (_alive(run(batch)) for batch in (1, 2, 3))
    if not len(one) == len(two) == len(three) or any(a + c != 2 * b for a, b, c in zip(one, two, three, strict=True)):
        raise CostcalcError("its memory is not linear in the batch: a layer mixes the images of a batch")
    lines = [(2 * a - b, b - a) for a, b in zip(one, two, strict=True)]
    batch = min((budget - fixed) // each for fixed, each in lines if each > 0)
    if max(fixed for fixed, _ in lines) > budget:
        batch = 0
    batch = max(batch, 0)

    def peak(batch: int) -> int:
        return max(fixed + each * batch for fixed, each in lines)

    return Fit(budget, batch, peak(batch) if batch else 0, peak(batch + 1))


def _alive(timeline: Timeline) -> list[int]:
    standing = sum(timeline.standing.values())
    return [level + standing for level in timeline.live]
