"""What holds for all tests."""

import gc
import os

import exhaustive
import pytest

# Small tensors on a shared machine: threads would wait for each other more than they compute.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark what only `pytest -m exhaustive` runs, before markers select."""
    exhaustive.mark(items)


@pytest.fixture
def fresh_memory():
    """Exclude objects that earlier tests hold from garbage collection, as in a fresh process."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
