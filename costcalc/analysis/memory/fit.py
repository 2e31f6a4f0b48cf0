"""What fits in a budget of bytes: the largest batch, or the largest square input."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

from costcalc.analysis.memory.timeline import Timeline
from costcalc.core.errors import CostcalcError


class Fit(NamedTuple):
    """The largest batch, or side of a square input, whose `peak_total` is within a budget of bytes, and the next one's.

    `largest` and `peak` are 0 where not even the smallest fits. `following` is the next size of which there is a
    network, and `next_peak` its peak; both are None where there is none.
    """

    variable: Literal["batch", "input"]
    budget: int
    largest: int
    peak: int
    next_size: int | None
    next_peak: int | None

    @property
    def exceeds_by(self) -> int | None:
        """How many bytes the next size has too many."""
        return None if self.next_peak is None else self.next_peak - self.budget


# More than every byte count that is a constant, or goes with one image; odd, so that half of it is no whole number.
_PROBE_BATCH = 2**127 + 1
_MAX_BYTES = 2**63


def largest_batch(run: Callable[[int], Timeline], budget: int) -> Fit:
    """What fits, where `run` gives the timeline of a batch.

    A tensor is as large as the batch times a constant, or does not depend on it, so what is alive after each event is
    a + b · batch, and the peak of a batch is the largest of these. One run tells all a and b: that of a batch so large
    that they are the two digits of a number written to its base. The answer is held to the runs of the batch that fits
    and of the next. Raises CostcalcError where memory is not of that form, because a layer mixes the images of a batch,
    and where nobody has told what a layer keeps.
    """
    many = _require_modelled(run(_PROBE_BATCH))
    standing = sum(many.persistent.values())
    lines = {divmod(level + standing, _PROBE_BATCH) for level in many.live}
    mixed = CostcalcError(f"{many.name}: its memory is not linear in the batch: a layer mixes the images of a batch")
    if not all(0 < each < _MAX_BYTES and fixed < _MAX_BYTES for each, fixed in lines):
        raise mixed
    batch = min((budget - fixed) // each for each, fixed in lines)
    if batch < 1 or any(fixed > budget for _, fixed in lines):
        batch = 0
    peaks = [max(fixed + each * n for each, fixed in lines) if n else 0 for n in (batch, batch + 1)]
    if peaks != [run(n).peak_total if n else 0 for n in (batch, batch + 1)]:
        raise mixed
    return Fit("batch", budget, batch, peaks[0], batch + 1, peaks[1])


# Of so many sides in a row a network can be built for one, or for none: planes are halved six times at most.
_SEARCH_RADIUS = 64
_SECANT_STEPS = 8


def largest_input(run: Callable[[int], Timeline], budget: int, start: int) -> Fit:
    """What fits, where `run` gives the timeline of a square input's side, and raises CostcalcError where there is none.

    No tensor becomes smaller as the input grows, so what fits and what does not are parted at one side. It is found
    between two sides, one of either kind, that come together until there is no network for any between them: by the
    line of bytes over area through the last two, then by halves. Where there is no network for 64 sides in a row, there
    is taken to be none beyond. Raises the error of `start`, and where nobody has told what a layer keeps.
    """
    peaks: dict[int, int | None] = {start: _require_modelled(run(start)).peak_total}  # by side; None: no network

    def peak(side: int) -> int | None:
        if side not in peaks:
            try:
                peaks[side] = run(side).peak_total
            except CostcalcError:
                peaks[side] = None
        return peaks[side]

    def first(sides: Iterable[int]) -> int | None:
        return next((side for side in sides if peak(side) is not None), None)

    low, high, seen = 0, None, [start]
    while True:
        size = peaks[seen[-1]]
        assert size is not None
        if size <= budget:
            low = seen[-1]
        else:
            high = seen[-1]
        guess = _secant_guess([(side, peaks[side] or 0) for side in seen[-2:]], budget)
        if high is not None and len(seen) > _SECANT_STEPS:
            guess = (low + high) // 2
        guess = max(low + 1, guess)
        if high is not None:
            guess = min(guess, high - 1)
        side = first(range(guess, max(low, guess - _SEARCH_RADIUS), -1))
        if side is None:
            side = first(
                range(guess + 1, guess + _SEARCH_RADIUS if high is None else min(high, guess + _SEARCH_RADIUS))
            )
        if side is None and guess > low + _SEARCH_RADIUS:
            side = first(range(low + 1, low + _SEARCH_RADIUS))
        if side is None:
            return Fit("input", budget, low, peaks.get(low) or 0, high, None if high is None else peaks[high])
        seen.append(side)


def _secant_guess(points: list[tuple[int, int]], budget: int) -> int:
    """The side at which a line of bytes over area reaches the budget: through two points, or through one and zero."""
    (some, least), (other, most) = points if len(points) == 2 else [(0, 0), *points]
    if least == most:
        return other
    area = some**2 + (budget - least) * (other**2 - some**2) // (most - least)
    return math.isqrt(max(area, 1))


def _require_modelled(timeline: Timeline) -> Timeline:
    if timeline.unknown:
        layers = ", ".join(timeline.unknown)
        raise CostcalcError(f"{timeline.name}: what fits cannot be told: nobody has told what is kept by {layers}")
    return timeline
