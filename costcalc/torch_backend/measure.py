"""What torch finds when the network runs: the same table as the analysis, measured."""

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
    """A table of what each layer was seen to cost, the whole network as one row, and what it was measured with.

    The row `whole` is no sum of the others: its parameters are the network's, its FLOPs all that ran.
    """

    costs: CostTable
    whole: Row
    environment: Environment


def measure(graph: Graph, *, device: str = "auto", dtype: str = "fp32", train: bool = False) -> Measurement:
    """Build `graph`, run it once, and tell what was seen of every layer, and with `train` of its gradients.

    A row has the shapes of the output, parameters and buffers that the layer's module really has; FLOPs as torch's
    dispatcher counted what ran (`torch.utils.flop_counter`: 2 per multiply-accumulate, nothing else), so that MACs are
    half of them; and activations, the elements of a storage that no input of the layer lies in. On `meta` nothing is
    computed. `train` runs in training mode and backward from the sum of the outputs, which the inputs need no gradient
    for. Raises CostcalcError for a device that is not there and for a layer that torch refuses, with its reason.
    """
    where = environment(device, dtype)
    seen: dict[str, _LayerObservation] = {}
    with prepare_workload(graph, where, train) as running, FlopCounterMode(display=False) as counter:
        if not train:  # the counter fails on a view of a parameter that is made without gradients, yet may learn
            running.network.requires_grad_(False)
        watch = LayerInterpreter(
            running, counter.get_total_flops, lambda layer, *what: seen.update({layer: _observe_layer(*what)})
        )
        watch.run_once(train)
        all_flops = counter.get_total_flops()
    flops: Counter[tuple[str, str]] = Counter()
    for layer, direction, start, end in watch.spans:
        flops[layer, direction] += end - start
    told: set[int] = set()
    rows = tuple(
        _row(layer, what, flops[layer, "forward"], flops[layer, "backward"], told) for layer, what in seen.items()
    )
    forward = sum(flops[layer, "forward"] for layer in seen) if train else all_flops
    parameters = list(running.network.parameters())
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
    """A layer's module, and what was seen of the tensors it took and made while they were there."""

    module: nn.Module
    inputs: tuple[Shape, ...]
    output: Shape
    element_size: int
    allocated_bytes: int  # bytes of the results' storages, without those that an input, a parameter or a buffer lies in


def _observe_layer(module: nn.Module, inputs: tuple[Tensor, ...], results: tuple[Tensor, ...]) -> _LayerObservation:
    own = [*inputs, *module.parameters(), *module.buffers()]
    before = {tensor.untyped_storage()._cdata for tensor in own}
    made = {s._cdata: s.nbytes() for s in (result.untyped_storage() for result in results) if s._cdata not in before}
    shapes, output = tuple(tuple(taken.shape) for taken in inputs), results[0]
    return _LayerObservation(module, shapes, tuple(output.shape), output.element_size(), sum(made.values()))


def _row(layer: str, seen: _LayerObservation, forward: int, backward: int, told: set[int]) -> Row:
    """What was seen of a layer as a row; parameters and buffers that are `told` of belong to an earlier layer."""
    parameters = _not_yet_counted(seen.module.named_parameters(), told)
    buffers = _not_yet_counted(seen.module.named_buffers(), told)
    row = Row(
        path=layer,
        op=type(seen.module).__name__,
        output=seen.output,
        params=sum(tensor.numel() for tensor in parameters.values()),
        param_bytes=sum(tensor.nbytes for tensor in parameters.values()),
        work=Work(macs=forward // 2),
        flops=forward,
        activations=seen.allocated_bytes // seen.element_size,
        activation_bytes=seen.allocated_bytes,
        inputs=seen.inputs,
        parameters={name: tuple(tensor.shape) for name, tensor in parameters.items()},
        buffers={name: tuple(tensor.shape) for name, tensor in buffers.items()},
        backward_macs=backward // 2,
    )
    if isinstance(seen.module, UnknownModule):  # what it costs says nothing of the layer that it stands for
        return row._replace(params=None, work=None, flops=None, param_bytes=None, backward_macs=None, unknown_layers=1)
    return row


def _not_yet_counted(tensors: Iterable[tuple[str, Tensor]], told: set[int]) -> dict[str, Tensor]:
    new = {name: tensor for name, tensor in tensors if id(tensor) not in told}
    told.update(map(id, new.values()))
    return new
