"""Every test has a case in the default run, and every entry of the table of default cases names a test."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from exhaustive import DEFAULT_CASES, ONLY_EXHAUSTIVE

ROOT = Path(__file__).parents[1]


def collected(markers):
    """Return the tests that a run with these markers collects, as `file::test`."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-n0", "-o", "addopts=", "-m", markers]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PYTHONWARNINGS": ""})
    assert done.returncode == 0, done.stdout[-2000:]
    paths = [line.partition("[")[0] for line in done.stdout.splitlines() if "::" in line]
    return {f"{Path(path.partition('::')[0]).name}::{path.partition('::')[2]}" for path in paths}


def test_every_test_has_a_default_case():
    default, others = collected("not exhaustive"), collected("exhaustive")
    assert others - default == set(ONLY_EXHAUSTIVE)
    assert not set(DEFAULT_CASES) - default, "no test, or no default case of it"
    assert not set(DEFAULT_CASES) - others, "all of its cases are default: delete the entry"
