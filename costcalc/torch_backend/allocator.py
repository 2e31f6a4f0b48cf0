"""What CUDA's own allocator holds while a network runs: tensors in rounded blocks, and the workspace of kernels."""

from __future__ import annotations

import torch

from costcalc.ir.graph import Graph
from costcalc.torch_backend.device import environment
from costcalc.torch_backend.interpreter import Workload, prepare_workload


def allocator_peak(graph: Graph, *, dtype: str = "fp32", train: bool = False) -> int:
    """The most bytes that CUDA's allocator holds for one run of `graph`, beyond parameters, buffers and inputs.

    The run is the second: with the first, libraries take workspaces that they keep. Raises CostcalcError where there is
    no CUDA device.
    """
    with prepare_workload(graph, environment("cuda", dtype), train) as running:
        running.run_step(running.network, train)
        return measure_peak(running, train)


def measure_peak(workload: Workload, train: bool) -> int:
    """The same of a network that is there and has run."""
    workload.network.zero_grad(set_to_none=True)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    workload.run_step(workload.network, train)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before
