"""The cross-check: what the analysis says of a network beside what torch measures when it runs, compared with ==."""

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
    """A figure that came out differently; with a `reason`, torch is known to be wrong about it."""

    layer: str
    figure: str
    calculated: Any
    measured: Any
    reason: str | None = None


class CrossCheck(NamedTuple):
    """A network calculated and measured: how many figures were compared, and which differ.

    `differences` are disagreements. `known` are figures that torch is known to get wrong, as it was known to. Layers
    that could not be counted are compared in nothing: see `calculated.unknown`.
    """

    calculated: CostTable
    measured: Measurement
    compared: int
    differences: tuple[Difference, ...]
    known_differences: tuple[Difference, ...]


def check(graph: Graph, *, device: str = "auto", dtype: str = "fp32", train: bool = False) -> CrossCheck:
    """Calculate `graph`, build and run it in torch, and compare the two, figure by figure.

    For each layer: the output's shape, each parameter's and buffer's, the parameters and their bytes, FLOPs (2 per
    multiply-accumulate), the bytes of the output if it is a new tensor, and with `train` the FLOPs of the gradients;
    for the whole network the same but shapes. Everything is compared with ==. Raises CostcalcError when torch is not
    installed, and for what it refuses to run.
    """
    backend = load_torch_backend()
    calculated = analyze(graph, dtype=dtype, training=train, device=backend.environment(device).device)
    measured: Measurement = backend.measure(graph, device=device, dtype=dtype, train=train)
    seen = {row.path: row for row in measured.costs.rows}
    compared = 0
    differences: list[Difference] = []
    known: list[Difference] = []
    for node, row in zip(graph.nodes, calculated.rows, strict=True):
        if row.unknown_layers:
            continue
        expected, found = _figures(row, train), _figures(seen[row.path], train)
        compared += len(expected)
        for difference in find_differences(row.path, expected, found):
            reasons = [
                entry.reason
                for entry in KNOWN_DIFFERENCES
                if entry.figure == difference.figure
                and entry.seen_with.covers(measured.environment)
                and entry.torch_value(node.op, row) == difference.measured
            ]
            if reasons:
                known.append(difference._replace(reason=reasons[0]))
            else:
                differences.append(difference)
    expected, found = (_totals(row, train) for row in (calculated.total(), measured.whole))
    compared += len(expected)
    for difference in find_differences(WHOLE_NETWORK, expected, found):
        excused = [d for d in known if d.figure == difference.figure]
        if difference.measured - difference.calculated == sum(d.measured - d.calculated for d in excused):
            known.append(difference._replace(reason=excused[0].reason))
        else:
            differences.append(difference)
    return CrossCheck(calculated, measured, compared, tuple(differences), tuple(known))


def find_differences(layer: str, expected: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[Difference]:
    """The figures of a layer that are not what was expected, or that one side alone has."""
    for figure in {**expected, **found}:
        if expected.get(figure) != found.get(figure):
            yield Difference(layer, figure, expected.get(figure), found.get(figure))


def load_torch_backend() -> ModuleType:
    """The torch backend. Raises CostcalcError, saying how to install it, where torch is missing."""
    try:
        import costcalc.torch_backend
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise CostcalcError("this needs torch, which is not installed: pip install 'costcalc[torch]'") from None
    return costcalc.torch_backend


def _figures(row: Row, train: bool) -> dict[str, Any]:
    """All that is compared of a layer."""
    shapes: Iterator[tuple[str, Any]] = (
        (f"shape of {name}", shape) for tensors in (row.parameters, row.buffers) for name, shape in tensors.items()
    )
    return {"output shape": row.output, **dict(shapes), **_totals(row, train)}


def _totals(row: Row, train: bool) -> dict[str, Any]:
    """What is compared of the whole network, too."""
    counts = {
        "parameters": row.params,
        "parameter bytes": row.param_bytes,
        "FLOPs": row.flops,
        "activation bytes": row.activation_bytes,
    }
    return counts | ({"backward FLOPs": 2 * (row.backward_macs or 0)} if train else {})
