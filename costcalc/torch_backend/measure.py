"""What torch finds when the network runs: the same table as the analysis, measured."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from costcalc.costs import CostTable, Row, Work
from costcalc.dims import Shape
from costcalc.graph import Graph
from costcalc.torch_backend.device import Environment, environment
from costcalc.torch_backend.watch import Watch, subject


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
    with subject(graph, where, train) as running, FlopCounterMode(display=False) as counter:
        rows: dict[str, Row] = {}
        told: set[int] = set()  # parameters and buffers of earlier layers, which a layer that shares them does not own

        def see(layer: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            rows[layer] = _row(layer, module, inputs, output, told)

        watch = Watch(running, counter.get_total_flops, see)
        watch.watch(train)
        flops = {(row, direction): 0 for row in rows for direction in ("forward", "backward")}
        for span in watch.spans:
            flops[span.layer, span.direction] += span.end - span.start
        forward = sum(count for (_, direction), count in flops.items() if direction == "forward")
        parameters = list(running.network.parameters())
        counted = tuple(
            _with_flops(row, flops[row.path, "forward"], flops[row.path, "backward"]) for row in rows.values()
        )
        bytes_made = sum(row.activation_bytes or 0 for row in counted)
        whole = Row(
            "whole",
            "",
            counted[-1].output,
            sum(p.numel() for p in parameters),
            None,
            None,
            sum(row.activations or 0 for row in counted),
            sum(p.nbytes for p in parameters),
            bytes_made,
        )
        whole = _with_flops(whole, forward, counter.get_total_flops() - forward)
    table = CostTable(
        graph.name,
        counted,
        title=graph.title,
        inputs=dict(graph.inputs),
        settings=graph.settings,
        dtype=dtype,
        training=train,
    )
    return Measurement(table, whole, where)


def _row(layer: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor, told: set[int]) -> Row:
    own: list[dict[str, Shape]] = []
    size = 0
    for tensors in (module.named_parameters(), module.named_buffers()):
        new = {name: tensor for name, tensor in tensors if id(tensor) not in told}
        told.update(map(id, new.values()))
        own.append({name: tuple(tensor.shape) for name, tensor in new.items()})
        size = size or sum(tensor.nbytes for tensor in new.values())
    parameters, buffers = own
    storage: Any = output.untyped_storage()
    made = 0 if any(storage._cdata == taken.untyped_storage()._cdata for taken in inputs) else storage.nbytes()
    return Row(
        layer,
        type(module).__name__,
        tuple(output.shape),
        sum(map(prod, parameters.values())),
        None,
        None,
        made // output.element_size(),
        size if parameters else 0,
        made,
        inputs=tuple(tuple(taken.shape) for taken in inputs),
        parameters=parameters,
        buffers=buffers,
    )


def _with_flops(row: Row, forward: int, backward: int) -> Row:
    return row._replace(work=Work(macs=forward // 2), flops=forward, backward_macs=backward // 2)
