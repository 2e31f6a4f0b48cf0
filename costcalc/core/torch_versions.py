"""The torch releases that the test suite passes with."""

from __future__ import annotations

import re

# A release is (major, minor); a patch release is taken for its minor one.
Release = tuple[int, int]

# A test compares them with the bounds in pyproject.toml.
OLDEST_TESTED: Release = (2, 6)
NEWEST_TESTED: Release = (2, 15)


def release(version: str) -> Release:
    """The release of a version such as "2.15.0+cu132"."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    assert numbers is not None, version
    return int(numbers[1]), int(numbers[2])


def untested(version: str) -> str | None:
    """A sentence for a reader of results measured with a newer torch than the newest tested one, else None."""
    if release(version) <= NEWEST_TESTED:
        return None
    newest = ".".join(map(str, NEWEST_TESTED))
    return (
        f"torch {version} is newer than {newest}, the newest release that costcalc is tested with: a difference may "
        "come from a change in torch."
    )
