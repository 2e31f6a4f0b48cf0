"""Time as users have it, counted in starts of Python, so that the machine matters little.

A machine that is shared is slow for seconds at a time: a limit has to be kept in one of a few attempts.
"""

from __future__ import annotations

import os
import subprocess
import sys
from time import perf_counter

# As users have it: compiled modules are kept.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def timed(call):
    start = perf_counter()
    call()
    return perf_counter() - start


def fastest(call, runs=12):
    return min(timed(call) for _ in range(runs))


def kept(limit, measure, attempts=5):
    """Whether what is measured is within the limit, once in so many attempts; all that was measured, if not."""
    seen = []
    for _ in range(attempts):
        seen.append(measure())
        if seen[-1] <= limit:
            return True
    raise AssertionError(f"at most {limit}, not {', '.join(f'{value:.4g}' for value in seen)}")


def bare_pythons(call, runs=1):
    """How long a call takes, in starts of Python: about 10 ms each, on a machine of no particular speed."""
    return fastest(call, runs) / fastest(process("-c", "pass"))


def process(*arguments):
    return lambda: subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, env=ENVIRONMENT, check=True)
