"""Measured times of a network on a device, by layer and as a whole; never compared for equality."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median, quantiles
from time import perf_counter_ns
from typing import Any, NamedTuple

import torch

from costcalc.core.errors import CostcalcError
from costcalc.ir.graph import Graph
from costcalc.torch_backend.allocator import measure_peak
from costcalc.torch_backend.device import Environment, environment
from costcalc.torch_backend.interpreter import LayerInterpreter, Workload, prepare_workload

WARM_UP = 3  # runs before timing, which load kernels, choose algorithms and fill caches


class Times(NamedTuple):
    """The median of several runs and their quartiles, in nanoseconds."""

    median: int
    low: int
    high: int

    @property
    def interquartile_range(self) -> int:
        """The width of the interval that half of the runs are in."""
        return self.high - self.low


class LayerTimes(NamedTuple):
    """One layer: forward and, in training, backward."""

    layer: str
    forward: Times
    backward: Times | None


class Timing(NamedTuple):
    """The times of layers in running order, and of whole runs, which are timed without reading the clock at layers.

    `clock` names the clock; `peak_bytes` is the peak of the device's allocator in one run, beyond parameters and inputs
    (None where there is no such allocator).
    """

    layers: tuple[LayerTimes, ...]
    whole: Times
    runs: int
    clock: str
    peak_bytes: int | None
    environment: Environment


class _Clock(NamedTuple):
    """How to read a clock, and the nanoseconds between two readings once the device has finished."""

    name: str
    read: Callable[[], Any]
    elapsed_ns: Callable[[Any, Any], int]
    synchronize: Callable[[], None]


def time_layers(
    graph: Graph, *, device: str = "auto", dtype: str = "fp32", train: bool = False, runs: int = 15
) -> Timing:
    """Time `graph`: after a warm-up, `runs` whole runs and `runs` runs layer by layer, of which medians are taken.

    Weights and inputs are random. With `train`, a run is a forward pass in training mode and a backward pass from the
    sum of the outputs; otherwise it is inference. CUDA is timed by events on its stream, other devices by the host's
    monotonic clock. Raises CostcalcError on `meta`, where nothing runs, and as `measure` does.
    """
    where = environment(device, dtype)
    if where.device == "meta":
        raise CostcalcError("nothing runs on meta, so there is no time to measure; use cpu, cuda or mps")
    if runs < 1:
        raise CostcalcError(f"timing needs at least one run, not {runs}")
    clock = _clock(where.device)
    with prepare_workload(graph, where, train) as workload:
        for _ in range(WARM_UP):
            workload.run_step(workload.network, train)
        peak = measure_peak(workload, train) if where.device == "cuda" else None
        whole = [_whole(workload, train, clock) for _ in range(runs)]
        each = [_by_layer(workload, train, clock) for _ in range(runs)]
    layers = []
    for node in graph.nodes:
        forward = _times([run[node.name, "forward"] for run in each])
        backward = _times([run.get((node.name, "backward"), 0) for run in each]) if train else None
        layers.append(LayerTimes(node.name, forward, backward))
    return Timing(tuple(layers), _times(whole), runs, clock.name, peak, where)


def _whole(workload: Workload, train: bool, clock: _Clock) -> int:
    clock.synchronize()
    start = clock.read()
    workload.run_step(workload.network, train)
    end = clock.read()
    clock.synchronize()
    return clock.elapsed_ns(start, end)


def _by_layer(workload: Workload, train: bool, clock: _Clock) -> dict[tuple[str, str], int]:
    interpreter = LayerInterpreter(workload, clock.read)
    interpreter.run_once(train)
    clock.synchronize()
    times: dict[tuple[str, str], int] = {}
    for layer, direction, start, end in interpreter.spans:
        times[layer, direction] = times.get((layer, direction), 0) + clock.elapsed_ns(start, end)
    return times


def _times(values: list[int]) -> Times:
    low, _, high = quantiles(values, n=4) if len(values) > 1 else (values[0],) * 3
    return Times(round(median(values)), round(low), round(high))


def _clock(device: str) -> _Clock:
    if device == "cuda":
        return _Clock("CUDA events", _event, lambda a, b: round(a.elapsed_time(b) * 1e6), torch.cuda.synchronize)
    if device == "mps":
        return _Clock("the host's clock, waiting for the device", _mps_now, lambda a, b: b - a, torch.mps.synchronize)
    return _Clock("the host's monotonic clock", perf_counter_ns, lambda a, b: b - a, lambda: None)


def _event() -> torch.cuda.Event:
    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record()
    return event


def _mps_now() -> int:
    torch.mps.synchronize()
    return perf_counter_ns()
