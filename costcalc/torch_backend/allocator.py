"""The peak of CUDA's caching allocator while a network runs, with rounding and the workspace of kernels."""

from __future__ import annotations

import torch

from costcalc.ir.graph import Graph
from costcalc.torch_backend.device import environment
from costcalc.torch_backend.interpreter import Workload, prepare_workload


def allocator_peak(graph: Graph, *, dtype: str = "fp32", train: bool = False) -> int:
    """Return the peak of CUDA's allocator for one run of `graph`, in bytes beyond parameters, buffers and inputs.

    The second run is measured, because libraries allocate persistent workspace in the first. Raises CostcalcError
    where there is no CUDA device.
    """
    with prepare_workload(graph, environment("cuda", dtype), train) as workload:
        workload.run_step(workload.network, train)
        return measure_peak(workload, train)


def measure_peak(workload: Workload, train: bool) -> int:
    """Return the same for a network that is built and has run once."""
    workload.network.zero_grad(set_to_none=True)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    workload.run_step(workload.network, train)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before
