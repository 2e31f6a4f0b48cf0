"""The cross-check: what the analysis says of a network beside what torch measures when it runs, compared with ==."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from costcalc.analysis import analyze
from costcalc.costs import CostTable, Row
from costcalc.errors import CostcalcError
from costcalc.graph import Graph

if TYPE_CHECKING:
    from types import ModuleType

    from costcalc.memory import Timeline
    from costcalc.torch_backend import Measurement, Observation

WHOLE = "the whole network"


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
    known: tuple[Difference, ...]


def check(graph: Graph, *, device: str = "auto", dtype: str = "fp32", train: bool = False) -> CrossCheck:
    """Calculate `graph`, build and run it in torch, and compare the two, figure by figure.

    For each layer: the output's shape, each parameter's and buffer's, the parameters and their bytes, FLOPs (2 per
    multiply-accumulate), the bytes of the output if it is a new tensor, and with `train` the FLOPs of the gradients;
    for the whole network the same but shapes. Everything is compared with ==. Raises CostcalcError when torch is not
    installed, and for what it refuses to run.
    """
    backend = torch_backend()
    calculated = analyze(graph, dtype=dtype, training=train)
    measured: Measurement = backend.measure(graph, device=device, dtype=dtype, train=train)
    seen = {row.path: row for row in measured.costs.rows}
    compared = 0
    differences: list[Difference] = []
    known: list[Difference] = []
    for node, row in zip(graph.nodes, calculated.rows, strict=True):
        if row.unknown:
            continue
        expected, found = _figures(row, train), _figures(seen[row.path], train)
        compared += len(expected)
        for difference in _compare(row.path, expected, found):
            reasons = [
                entry.reason
                for entry in backend.KNOWN_DIFFERENCES
                if entry.figure == difference.figure and entry.wrong(node.op, row) == difference.measured
            ]
            if reasons:
                known.append(difference._replace(reason=reasons[0]))
            else:
                differences.append(difference)
    expected, found = (_totals(row, train) for row in (calculated.total(), measured.whole))
    compared += len(expected)
    for difference in _compare(WHOLE, expected, found):
        excused = [d for d in known if d.figure == difference.figure]
        if difference.measured - difference.calculated == sum(d.measured - d.calculated for d in excused):
            known.append(difference._replace(reason=excused[0].reason))
        else:
            differences.append(difference)
    return CrossCheck(calculated, measured, compared, tuple(differences), tuple(known))


class MemoryCheck(NamedTuple):
    """A network's memory predicted and observed: `layers` has what is compared of each, `whole` of all together."""

    predicted: Timeline
    observed: Observation
    layers: tuple[tuple[str, dict[str, int], dict[str, int]], ...]
    whole: tuple[dict[str, int], dict[str, int]]
    differences: tuple[Difference, ...]

    @property
    def compared(self) -> int:
        """How many figures were compared."""
        return len(self.whole[0]) + sum(len(expected) for _, expected, _ in self.layers)


def check_memory(graph: Graph, *, device: str = "auto", dtype: str = "fp32", train: bool = False) -> MemoryCheck:
    """Predict the memory of `graph`, build and run it in torch, and compare the two with ==.

    For each layer: the most that is alive as it makes a tensor, forward and with `train` backward, and the bytes that
    autograd keeps of what it made; the same for the whole network. Raises CostcalcError as `check` does, and for a
    layer of which nobody has told what it keeps.
    """
    from costcalc.memory import timeline

    backend = torch_backend()
    predicted = timeline(graph, training=train, dtype=dtype)
    if predicted.unknown:
        names = ", ".join(predicted.unknown)
        raise CostcalcError(f"{graph.name}: nobody has told what is kept by {names}: its memory cannot be checked")
    observed: Observation = backend.observe(graph, device=device, dtype=dtype, training=train)
    layers = tuple((n.name, _memory(predicted, n.name, train), _memory(observed, n.name, train)) for n in graph.nodes)
    whole = (_whole_memory(predicted, train), _whole_memory(observed, train))
    differences = [d for layer, expected, found in layers for d in _compare(layer, expected, found)]
    differences += _compare(WHOLE, *whole)
    return MemoryCheck(predicted, observed, layers, whole, tuple(differences))


def _memory(answer: Timeline | Observation, layer: str, train: bool) -> dict[str, int]:
    """What is compared of a layer."""
    alive: Any = answer.most_alive
    forward = {"alive forward": alive.get((layer, "forward"), 0)}
    if not train:
        return forward
    backward = {"alive backward": alive.get((layer, "backward"), 0)}
    return forward | backward | {"saved for backward": answer.saved_by_layer.get(layer, 0)}


def _whole_memory(answer: Timeline | Observation, train: bool) -> dict[str, int]:
    kept = {"saved for backward": answer.saved_for_backward, "saved inputs": answer.saved_input}
    return {"peak alive": answer.peak_live} | (kept if train else {})


def torch_backend() -> ModuleType:
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


def _compare(layer: str, expected: dict[str, Any], found: dict[str, Any]) -> Iterable[Difference]:
    for figure in expected | found:
        if expected.get(figure) != found.get(figure):
            yield Difference(layer, figure, expected.get(figure), found.get(figure))
