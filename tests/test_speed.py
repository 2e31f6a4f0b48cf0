"""Interactive means fast: measured as users run it, against a bare Python, so that the machine matters little.

A machine that is shared is slow for seconds at a time: a limit has to be kept in one of a few attempts.
"""

from __future__ import annotations

import os
import subprocess
import sys
from time import perf_counter

import pytest

import costcalc

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


def bare_pythons(call, runs):
    """How long a call takes, in starts of Python."""
    return fastest(call, runs) / fastest(process("-c", "pass"))


def process(*arguments):
    return lambda: subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, env=ENVIRONMENT, check=True)


def test_a_report_takes_at_most_12_bare_pythons():
    report = process("-m", "costcalc", "report", "googlenet")
    report()
    assert kept(12, lambda: bare_pythons(report, runs=12))


@pytest.mark.parametrize(("value", "pythons"), [("4.11G", 45), ("25636712", 70)])
def test_reconciling_takes_so_many_bare_pythons(value, pythons):
    """For a number of three digits, and for an exact one, for which all that a large family allows is tried."""
    search = process("-m", "costcalc", "reconcile", "resnet50", value)
    search()
    assert kept(pythons, lambda: bare_pythons(search, runs=5))


def test_reconciling_loads_neither_numpy_nor_sympy_nor_torch():
    code = (
        "import sys; import costcalc; assert costcalc.reconcile('resnet50', '3.8G').explanations; "
        "sys.exit(any(name in sys.modules for name in ('numpy', 'sympy', 'torch', 'tabulate')))"
    )
    process("-c", code)()


def test_verifying_all_claims_takes_at_most_180_bare_pythons():
    """Which is under 3 s where a bare Python takes 16 ms."""
    claims = process("-m", "costcalc", "claims")
    claims()
    assert kept(180, lambda: bare_pythons(claims, runs=2))


def test_verifying_claims_loads_neither_numpy_nor_sympy_nor_torch():
    code = (
        "import sys; from costcalc.claims import choose, sources, verify; assert verify(choose(sources())); "
        "sys.exit(any(name in sys.modules for name in ('numpy', 'sympy', 'torch', 'tabulate')))"
    )
    process("-c", code)()


def test_analysing_resnet152_takes_under_10_ms(fresh_memory):
    graph = costcalc.load("resnet152")
    assert kept(0.010, lambda: fastest(lambda: costcalc.analyze(graph), runs=50))


def test_checking_resnet152_takes_3_imports_of_torch_and_5_seconds():
    check = process("-m", "costcalc", "check", "resnet152", "--device", "meta")
    assert fastest(check, runs=1) <= 3 * fastest(process("-c", "import torch"), runs=1) + 5


def test_checking_all_networks_takes_under_2_minutes():
    assert fastest(process("-m", "costcalc", "check", "--all", "--device", "meta"), runs=1) < 120
