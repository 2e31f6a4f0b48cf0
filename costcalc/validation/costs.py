"""Validation of costs: the cost table of a network compared with what torch measures when it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from costcalc.analysis.analyze import analyze
from costcalc.analysis.cost_table import CostTable, Row
from costcalc.core.errors import CostcalcError
from costcalc.ir.graph import Graph
from costcalc.validation.known_differences import KNOWN_DIFFERENCES

if TYPE_CHECKING:
    from types import ModuleType

    from costcalc.torch_backend import Measurement

WHOLE_NETWORK = "the whole network"


class Difference(NamedTuple):
    """A figure of which the calculated and the measured value differ.

    `reason` is set if torch is known to give the measured value, and the calculated one is right.
    """

    layer: str
    figure: str
    calculated: Any
    measured: Any
    reason: str | None = None


class CrossCheck(NamedTuple):
    """A network calculated and measured, the number of figures compared, and the differences.

    Layers that are not modelled (`calculated.unknown`) are not compared.
    """

    calculated: CostTable
    measured: Measurement
    compared: int
    differences: tuple[Difference, ...]  # disagreements
    known_differences: tuple[Difference, ...]  # each equal to an entry of KNOWN_DIFFERENCES


def check(graph: Graph, *, device: str = "auto", dtype: str = "fp32", train: bool = False) -> CrossCheck:
    """Compare calculated costs with the costs that torch measures, figure by figure with ==.

    Builds `graph` in torch and runs it on `device`.

    Compared for every layer: the shape of its output and of each parameter and buffer, the parameters and their bytes,
    FLOPs (2 per multiply-accumulate), the bytes of the output if it is a new tensor and, with `train=True`, the FLOPs
    of the gradients. Compared for the whole network: the same except shapes.

    Raises:
        CostcalcError: torch is not installed, or cannot build or run the graph.
    """
    backend = load_torch_backend()
    calculated = analyze(graph, dtype=dtype, training=train, device=backend.environment(device).device)
    measurement: Measurement = backend.measure(graph, device=device, dtype=dtype, train=train)
    measured_rows = {row.path: row for row in measurement.costs.rows}
    compared = 0
    differences: list[Difference] = []
    known: list[Difference] = []
    for node, row in zip(graph.nodes, calculated.rows, strict=True):
        if row.unknown_layers:
            continue
        expected, measured = _layer_figures(row, train), _layer_figures(measured_rows[row.path], train)
        compared += len(expected)
        for difference in find_differences(row.path, expected, measured):
            reasons = [
                entry.reason
                for entry in KNOWN_DIFFERENCES
                if entry.figure == difference.figure
                and entry.seen_with.covers(measurement.environment)
                and entry.torch_value(node.op, row) == difference.measured
            ]
            if reasons:
                known.append(difference._replace(reason=reasons[0]))
            else:
                differences.append(difference)
    expected, measured = (_network_figures(row, train) for row in (calculated.total(), measurement.whole))
    compared += len(expected)
    for difference in find_differences(WHOLE_NETWORK, expected, measured):
        explaining = [d for d in known if d.figure == difference.figure]
        if difference.measured - difference.calculated == sum(d.measured - d.calculated for d in explaining):
            known.append(difference._replace(reason=explaining[0].reason))
        else:
            differences.append(difference)
    return CrossCheck(
        calculated=calculated,
        measured=measurement,
        compared=compared,
        differences=tuple(differences),
        known_differences=tuple(known),
    )


def find_differences(layer: str, expected: Mapping[str, Any], measured: Mapping[str, Any]) -> Iterator[Difference]:
    """Yield the figures of a layer that differ; a figure that one side lacks is None there."""
    for figure in {**expected, **measured}:
        if expected.get(figure) != measured.get(figure):
            yield Difference(layer, figure, expected.get(figure), measured.get(figure))


def load_torch_backend() -> ModuleType:
    """Return the torch backend.

    Raises:
        CostcalcError: torch is not installed.
    """
    try:
        import costcalc.torch_backend
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise CostcalcError(
            "checking against torch requires torch, which is not installed: pip install 'costcalc[torch]'"
        ) from None
    return costcalc.torch_backend


def _layer_figures(row: Row, train: bool) -> dict[str, Any]:
    """Return what is compared of a layer."""
    shapes: Iterator[tuple[str, Any]] = (
        (f"shape of {name}", shape) for tensors in (row.parameters, row.buffers) for name, shape in tensors.items()
    )
    return {"output shape": row.output, **dict(shapes), **_network_figures(row, train)}


def _network_figures(row: Row, train: bool) -> dict[str, Any]:
    """Return what is compared of a layer and of the whole network."""
    counts = {
        "parameters": row.params,
        "parameter bytes": row.param_bytes,
        "FLOPs": row.flops,
        "activation bytes": row.activation_bytes,
    }
    return counts | ({"backward FLOPs": 2 * (row.backward_macs or 0)} if train else {})
