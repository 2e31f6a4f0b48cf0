"""What holds for all tests."""

import os

# Small tensors on a shared machine: threads would wait for each other more than they compute.
os.environ.setdefault("OMP_NUM_THREADS", "1")
