"""Costs measured by running the network in torch, in the same table as the analysis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from costcalc.analysis.cost_table import CostTable, Row
from costcalc.core.sizes import Shape
from costcalc.ir.graph import Graph
from costcalc.ir.work import Work
from costcalc.torch_backend.device import Environment, environment
from costcalc.torch_backend.interpreter import LayerInterpreter, prepare_workload
from costcalc.torch_backend.lowering.unknown import UnknownModule


class Measurement(NamedTuple):
    """The measured costs of each layer and of the whole network, and the environment.

    The row `whole` is not the sum of the others: it has the network's own parameters and all FLOPs that ran.
    """

    costs: CostTable
    whole: Row
    environment: Environment


def measure(graph: Graph, *, device: str = "auto", dtype: str = "fp32", train: bool = False) -> Measurement:
    """Build `graph`, run it once, and measure every layer.

    A row has the shapes of the layer's output, parameters and buffers; its FLOPs as torch.utils.flop_counter counts
    them (2 per multiply-accumulate and nothing else, so MACs are half of them); and its activations, the elements of
    storages that the layer allocates for its output. On `meta` nothing is computed. With `train`, the network runs in
    training mode, forward and backward from the sum of the outputs; the inputs require no gradient.

    Raises CostcalcError for a device that is not available, and for a layer that torch cannot run, with torch's reason.
    """
    where = environment(device, dtype)
    observed: dict[str, _LayerObservation] = {}
    with prepare_workload(graph, where, train) as workload, FlopCounterMode(display=False) as counter:
        if not train:  # the counter fails on views of parameters that require grad while grad mode is off
            workload.network.requires_grad_(False)
        interpreter = LayerInterpreter(
            workload, counter.get_total_flops, lambda layer, *call: observed.update({layer: _observe_layer(*call)})
        )
        interpreter.run_once(train)
        all_flops = counter.get_total_flops()
    flops: Counter[tuple[str, str]] = Counter()
    for layer, direction, start, end in interpreter.spans:
        flops[layer, direction] += end - start
    counted: set[int] = set()
    rows = tuple(
        _row(layer, observation, flops[layer, "forward"], flops[layer, "backward"], counted)
        for layer, observation in observed.items()
    )
    forward = sum(flops[layer, "forward"] for layer in observed) if train else all_flops
    parameters = list(workload.network.parameters())
    whole = Row(
        path="whole",
        op="",
        output=rows[-1].output,
        params=sum(p.numel() for p in parameters),
        param_bytes=sum(p.nbytes for p in parameters),
        work=Work(macs=forward // 2),
        flops=forward,
        activations=sum(row.activations or 0 for row in rows),
        activation_bytes=sum(row.activation_bytes or 0 for row in rows),
        backward_macs=(all_flops - forward) // 2,
        unknown_layers=sum(row.unknown_layers for row in rows),
    )
    table = CostTable(
        graph.name,
        rows,
        title=graph.title,
        inputs={name: shape for name, shape, *_ in graph.inputs},
        settings=graph.settings,
        dtype=dtype,
        training=train,
    )
    return Measurement(table, whole, where)


class _LayerObservation(NamedTuple):
    """A layer's module, and facts of its input and output tensors, read while they exist."""

    module: nn.Module
    inputs: tuple[Shape, ...]
    output: Shape
    element_size: int
    allocated_bytes: int  # bytes of the outputs' storages, except storages of an input, a parameter or a buffer


def _observe_layer(module: nn.Module, inputs: tuple[Tensor, ...], results: tuple[Tensor, ...]) -> _LayerObservation:
    existing = [*inputs, *module.parameters(), *module.buffers()]
    known = {tensor.untyped_storage()._cdata for tensor in existing}
    storages = (result.untyped_storage() for result in results)
    allocated = {storage._cdata: storage.nbytes() for storage in storages if storage._cdata not in known}
    shapes, output = tuple(tuple(tensor.shape) for tensor in inputs), results[0]
    return _LayerObservation(module, shapes, tuple(output.shape), output.element_size(), sum(allocated.values()))


def _row(layer: str, observation: _LayerObservation, forward: int, backward: int, counted: set[int]) -> Row:
    """Return the row of a layer. Parameters and buffers in `counted` belong to an earlier layer."""
    parameters = _not_yet_counted(observation.module.named_parameters(), counted)
    buffers = _not_yet_counted(observation.module.named_buffers(), counted)
    row = Row(
        path=layer,
        op=type(observation.module).__name__,
        output=observation.output,
        params=sum(tensor.numel() for tensor in parameters.values()),
        param_bytes=sum(tensor.nbytes for tensor in parameters.values()),
        work=Work(macs=forward // 2),
        flops=forward,
        activations=observation.allocated_bytes // observation.element_size,
        activation_bytes=observation.allocated_bytes,
        inputs=observation.inputs,
        parameters={name: tuple(tensor.shape) for name, tensor in parameters.items()},
        buffers={name: tuple(tensor.shape) for name, tensor in buffers.items()},
        backward_macs=backward // 2,
    )
    if isinstance(observation.module, UnknownModule):  # a stand-in, whose costs are not those of the layer
        return row._replace(params=None, work=None, flops=None, param_bytes=None, backward_macs=None, unknown_layers=1)
    return row


def _not_yet_counted(tensors: Iterable[tuple[str, Tensor]], counted: set[int]) -> dict[str, Tensor]:
    new = {name: tensor for name, tensor in tensors if id(tensor) not in counted}
    counted.update(map(id, new.values()))
    return new
