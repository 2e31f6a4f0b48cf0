"""Interactive means fast: measured as users run it, against a bare Python."""

from __future__ import annotations

import pytest
from stopwatch import bare_pythons, fastest, kept, process

import costcalc
from costcalc.analysis.memory import largest_batch, timeline


def test_a_report_takes_at_most_15_bare_pythons():
    report = process("-m", "costcalc", "report", "googlenet")
    report()
    assert kept(15, lambda: bare_pythons(report, runs=12))


@pytest.mark.parametrize(
    ("arguments", "pythons"), [("stage", 14), ("head", 14), ("residual", 14), ("field resnet152", 25)]
)
def test_designs_and_fields_take_so_many_bare_pythons(arguments, pythons):
    command = process("-m", "costcalc", *arguments.split())
    command()
    assert kept(pythons, lambda: bare_pythons(command, runs=8))


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
        "import sys; from costcalc.published.claims import choose, sources, verify; assert verify(choose(sources())); "
        "sys.exit(any(name in sys.modules for name in ('numpy', 'sympy', 'torch', 'tabulate')))"
    )
    process("-c", code)()


def test_analysing_resnet152_takes_at_most_a_bare_python(fresh_memory):
    graph = costcalc.load("resnet152")
    assert kept(1, lambda: bare_pythons(lambda: costcalc.analyze(graph), runs=50))


def test_what_fits_of_resnet152_takes_at_most_20_bare_pythons(fresh_memory):
    """0.2 seconds, all three runs included; one run, 50 ms."""
    graph = costcalc.load("resnet152")

    def run(batch):
        return timeline(graph.with_batch(batch), training=True)

    assert kept(5, lambda: bare_pythons(lambda: run(1), runs=10))
    assert kept(20, lambda: bare_pythons(lambda: largest_batch(run, 24 * 2**30), runs=5))


def test_checking_resnet152_takes_3_imports_of_torch_and_5_seconds():
    check = process("-m", "costcalc", "check", "resnet152", "--device", "meta")
    assert fastest(check, runs=1) <= 3 * fastest(process("-c", "import torch"), runs=1) + 5


def test_checking_all_networks_takes_under_2_minutes():
    assert fastest(process("-m", "costcalc", "check", "--all", "--device", "meta"), runs=1) < 120
