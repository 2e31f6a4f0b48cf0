"""What CUDA's own allocator holds while a network runs: tensors in rounded blocks, and the workspace of kernels."""

from __future__ import annotations

import torch

from costcalc.ir.graph import Graph
from costcalc.torch_backend.device import environment
from costcalc.torch_backend.watch import Subject, subject


def allocator_peak(graph: Graph, *, dtype: str = "fp32", train: bool = False) -> int:
    """The most bytes that CUDA's allocator holds for one run of `graph`, beyond parameters, buffers and inputs.

    The run is the second: with the first, libraries take workspaces that they keep. Raises CostcalcError where there is
    no CUDA device.
    """
    with subject(graph, environment("cuda", dtype), train) as running:
        running.step(running.network, train)
        return peak_of(running, train)


def peak_of(running: Subject, train: bool) -> int:
    """The same of a network that is there and has run."""
    running.network.zero_grad(set_to_none=True)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    running.step(running.network, train)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before
