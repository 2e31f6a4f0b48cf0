"""The torch releases that the test suite passes with."""

from __future__ import annotations

import re

# (major, minor); patch releases are not distinguished.
Release = tuple[int, int]

# A test compares these with the bounds in pyproject.toml.
OLDEST_TESTED: Release = (2, 6)
NEWEST_TESTED: Release = (2, 15)


def release(version: str) -> Release:
    """Return the release of a version string such as "2.15.0+cu132"."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    assert numbers is not None, version
    return int(numbers[1]), int(numbers[2])


def untested_warning(version: str) -> str | None:
    """Return a warning if a torch version is newer than the newest tested release, otherwise None."""
    if release(version) <= NEWEST_TESTED:
        return None
    newest = ".".join(map(str, NEWEST_TESTED))
    return (
        f"torch {version} is newer than {newest}, the newest release that costcalc is tested with: a difference may "
        "come from a change in torch."
    )
