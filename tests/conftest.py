"""What holds for all tests."""

import gc
import os

import pytest

from costcalc.cli import GC_THRESHOLD

# Small tensors on a shared machine: threads would wait for each other more than they compute.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def fresh_memory():
    """As when a command runs: garbage is collected as seldom, and what other tests hold is not gone through."""
    usual = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    yield
    gc.set_threshold(*usual)
    gc.unfreeze()
