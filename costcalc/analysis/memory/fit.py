"""Fitting into a memory budget: the largest batch, or the largest square input."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

from costcalc.analysis.memory.timeline import Timeline
from costcalc.core.errors import CostcalcError


class Fit(NamedTuple):
    """The largest batch, or side of a square input, whose `peak_total` is within a budget of bytes."""

    variable: Literal["batch", "input"]
    budget: int
    largest: int  # 0 if not even the smallest size fits
    peak: int  # bytes at the largest size, 0 if there is none
    next_size: int | None  # the next size for which the network can be built, None if there is none
    next_peak: int | None

    @property
    def exceeds_by(self) -> int | None:
        """The bytes by which the next size exceeds the budget."""
        return None if self.next_peak is None else self.next_peak - self.budget


# Greater than every constant or per-image byte count, and odd, so that half of it is not an integer.
_PROBE_BATCH = 2**127 + 1
_MAX_BYTES = 2**63


def largest_batch(run: Callable[[int], Timeline], budget: int) -> Fit:
    """Return the largest batch whose peak is within the budget.

    The size of a tensor is constant or proportional to the batch, so the live bytes after each event are a + b · batch,
    and the peak of a batch is the maximum of these lines. One run gives all a and b: with a batch so large that they
    are the digits of the live bytes to that base. The result is compared with runs of this batch and the next one.

    Args:
        run: returns the timeline for a batch.
        budget: the bytes available.

    Raises:
        CostcalcError: saved tensors of a layer are not modelled, or memory is not linear in the batch.
    """
    probe = run(_PROBE_BATCH)
    probe.require_modelled("fit a batch to a memory budget")
    persistent = sum(probe.persistent.values())
    lines = {divmod(level + persistent, _PROBE_BATCH) for level in probe.live}
    not_linear = CostcalcError(f"{probe.name}: memory is not linear in the batch: a layer mixes the images of a batch")
    if not all(0 < per_image < _MAX_BYTES and constant < _MAX_BYTES for per_image, constant in lines):
        raise not_linear
    batch = min((budget - constant) // per_image for per_image, constant in lines)
    if batch < 1 or any(constant > budget for _, constant in lines):
        batch = 0
    peaks = [max(constant + per_image * n for per_image, constant in lines) if n else 0 for n in (batch, batch + 1)]
    if peaks != [run(n).peak_total if n else 0 for n in (batch, batch + 1)]:
        raise not_linear
    return Fit(variable="batch", budget=budget, largest=batch, peak=peaks[0], next_size=batch + 1, next_peak=peaks[1])


# If no network can be built for this many consecutive sides, none can be built beyond: spatial sizes are halved at most
# six times.
_SEARCH_RADIUS = 64
_SECANT_STEPS = 8


def largest_input(run: Callable[[int], Timeline], budget: int, start: int) -> Fit:
    """Return the largest side of a square input whose peak is within the budget.

    No tensor shrinks as the input grows, so there is one boundary between the sides that fit and those that do not. It
    is searched between one of either kind: by the secant of bytes over area through the last two sides, then by
    bisection, until no network can be built for any side in between.

    Args:
        run: returns the timeline for a side; raises CostcalcError if no network can be built for it.
        budget: the bytes available.
        start: the first side to try.

    Raises:
        CostcalcError: saved tensors of a layer are not modelled, or no network can be built for `start`.
    """
    first = run(start)
    first.require_modelled("fit an input to a memory budget")
    peaks: dict[int, int | None] = {start: first.peak_total}  # by side; None if no network can be built

    def peak(side: int) -> int | None:
        if side not in peaks:
            try:
                peaks[side] = run(side).peak_total
            except CostcalcError:
                peaks[side] = None
        return peaks[side]

    def first_valid(sides: Iterable[int]) -> int | None:
        return next((side for side in sides if peak(side) is not None), None)

    low, high, tried = 0, None, [start]
    while True:
        size = peaks[tried[-1]]
        assert size is not None
        if size <= budget:
            low = tried[-1]
        else:
            high = tried[-1]
        guess = _secant_guess([(side, peaks[side] or 0) for side in tried[-2:]], budget)
        if high is not None and len(tried) > _SECANT_STEPS:
            guess = (low + high) // 2
        guess = max(low + 1, guess)
        if high is not None:
            guess = min(guess, high - 1)
        side = first_valid(range(guess, max(low, guess - _SEARCH_RADIUS), -1))
        if side is None:
            side = first_valid(
                range(guess + 1, guess + _SEARCH_RADIUS if high is None else min(high, guess + _SEARCH_RADIUS))
            )
        if side is None and guess > low + _SEARCH_RADIUS:
            side = first_valid(range(low + 1, low + _SEARCH_RADIUS))
        if side is None:
            return Fit(
                variable="input",
                budget=budget,
                largest=low,
                peak=peaks.get(low) or 0,
                next_size=high,
                next_peak=None if high is None else peaks[high],
            )
        tried.append(side)


def _secant_guess(points: list[tuple[int, int]], budget: int) -> int:
    """Return the side at which a line of bytes over area meets the budget.

    The line is through two points (side, bytes), or through one point and the origin.
    """
    (side_1, bytes_1), (side_2, bytes_2) = points if len(points) == 2 else [(0, 0), *points]
    if bytes_1 == bytes_2:
        return side_2
    area = side_1**2 + (budget - bytes_1) * (side_2**2 - side_1**2) // (bytes_2 - bytes_1)
    return math.isqrt(max(area, 1))
