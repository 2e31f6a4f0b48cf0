"""Interactive means fast: measured as users run it, against a bare Python, so that the machine does not matter."""

from __future__ import annotations

import os
import subprocess
import sys
from time import perf_counter

import pytest

import costcalc

# As users have it: compiled modules are kept.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def fastest(call, runs=12):
    best = float("inf")
    for _ in range(runs):
        start = perf_counter()
        call()
        best = min(best, perf_counter() - start)
    return best


def process(*arguments):
    return lambda: subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, env=ENVIRONMENT, check=True)


def test_a_report_takes_at_most_12_bare_pythons():
    report = process("-m", "costcalc", "report", "googlenet")
    report()
    assert fastest(report) <= 12 * fastest(process("-c", "pass"))


@pytest.mark.parametrize(("value", "pythons"), [("4.11G", 45), ("25636712", 70)])
def test_reconciling_takes_so_many_bare_pythons(value, pythons):
    """For a number of three digits, and for an exact one, for which all that a large family allows is tried."""
    search = process("-m", "costcalc", "reconcile", "resnet50", value)
    search()
    assert fastest(search, runs=5) <= pythons * fastest(process("-c", "pass"))


def test_reconciling_loads_neither_numpy_nor_sympy_nor_torch():
    code = (
        "import sys; from costcalc.reconcile import reconcile; assert reconcile('resnet50', '3.8G').explanations; "
        "sys.exit(any(name in sys.modules for name in ('numpy', 'sympy', 'torch', 'tabulate')))"
    )
    process("-c", code)()


def test_verifying_all_claims_takes_at_most_130_bare_pythons():
    """Which is under 3 s where a bare Python takes 22 ms."""
    claims = process("-m", "costcalc", "claims")
    claims()
    assert fastest(claims, runs=3) <= 130 * fastest(process("-c", "pass"))


def test_verifying_claims_loads_neither_numpy_nor_sympy_nor_torch():
    code = (
        "import sys; from costcalc.claims import choose, sources, verify; assert verify(choose(sources())); "
        "sys.exit(any(name in sys.modules for name in ('numpy', 'sympy', 'torch', 'tabulate')))"
    )
    process("-c", code)()


def test_analysing_resnet152_takes_under_10_ms():
    graph = costcalc.load("resnet152")
    assert fastest(lambda: costcalc.analyze(graph)) < 0.010


def test_checking_resnet152_takes_3_imports_of_torch_and_5_seconds():
    check = process("-m", "costcalc", "check", "resnet152", "--device", "meta")
    assert fastest(check, runs=1) <= 3 * fastest(process("-c", "import torch"), runs=1) + 5


def test_checking_all_networks_takes_under_2_minutes():
    assert fastest(process("-m", "costcalc", "check", "--all", "--device", "meta"), runs=1) < 120
