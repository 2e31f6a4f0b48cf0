"""What a convention is: sums of terms, each counted exactly from the op, the shapes and the work of a layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from typing import Literal, NamedTuple

from costcalc.core.sizes import Count, Shape, prod
from costcalc.ir.graph import Graph
from costcalc.ir.op import Op
from costcalc.ir.ops.conv import Convolution
from costcalc.ir.work import Work

TableColumn = Literal["outputs", "weights", "params", "macs", "flops", "activations", "param_bytes", "activation_bytes"]


class CountedLayer(NamedTuple):
    """One layer as terms count it: its op, the shapes of its inputs and output, and its work."""

    op: Op
    inputs: tuple[Shape, ...]
    output: Shape
    work: Work
    functional: bool = False  # the reference implementation calls a function, which some tools do not see
    owns_parameters: bool = True  # False if they are those of another layer

    def parameters(self) -> Mapping[str, Shape]:
        """Return the shapes of the parameters that the layer owns."""
        return self.op.parameters(*self.inputs) if self.owns_parameters else {}

    def window_elements_inside(self) -> Shape:
        """Return, per axis, the kernel elements of a convolution that are inside its input, over all positions."""
        assert isinstance(self.op, Convolution)
        return self.op.window_elements_inside(self.inputs, self.output)


class Term(NamedTuple):
    """A part of the number of a source: its description, and its exact value for one layer."""

    description: str
    amount: Callable[[CountedLayer], Count]


def sum_terms(terms: Iterable[Term], layer: CountedLayer) -> Count:
    """Return the sum of terms for one layer."""
    return sum([term.amount(layer) for term in terms])


def no_layers(graph: Graph) -> Set[str]:
    """Return no layer: all are counted."""
    return frozenset()


# -- terms of several conventions ---------------------------------------------------------------------------------


def _parameters_where(condition: Callable[[CountedLayer, str, Shape], bool]) -> Callable[[CountedLayer], Count]:
    """Count the parameters whose layer, name and shape meet a condition."""
    return lambda layer: sum(
        [prod(shape) for name, shape in layer.parameters().items() if condition(layer, name, shape)]
    )


def _is_bias(layer: CountedLayer, name: str, shape: Shape) -> bool:
    return name == "bias" and layer.op.weight_layer


def _is_scale_or_shift(layer: CountedLayer, name: str, shape: Shape) -> bool:
    return len(shape) < 2 and not _is_bias(layer, name, shape)


def _allocated_elements(layer: CountedLayer) -> Count:
    return prod(layer.output) if layer.op.allocates_output() else 0


MACS = Term("conv and linear", lambda layer: layer.work.macs)
MAC_ADDS = Term("each multiply-accumulate as two", lambda layer: layer.work.macs)
WEIGHTS = Term("kernels and matrices", _parameters_where(lambda layer, name, shape: len(shape) > 1))
BIASES = Term("biases", _parameters_where(_is_bias))
NORM_PARAMETERS = Term("scales and shifts", _parameters_where(_is_scale_or_shift))

ALL_PARAMETERS = (WEIGHTS, BIASES, NORM_PARAMETERS)
ALL_OUTPUTS = (Term("every tensor that a layer creates", _allocated_elements),)


class Convention(NamedTuple):
    """How a source counts; built by keyword.

    The bytes of a layer's activations are its activation elements × `activation_copies` × the size of the dtype, or 0
    for the layers that `excluded_layers` returns. The bytes of its parameters are its parameters × `param_copies` × the
    size of the dtype.
    """

    name: str
    label: str  # the source's name for its number, in quotation marks where it has another meaning in costcalc
    definition: str

    work: tuple[Term, ...]
    prior: int  # how rarely numbers counted so are published: 0 for the most common
    parameters: tuple[Term, ...] = ALL_PARAMETERS
    activations: tuple[Term, ...] = ALL_OUTPUTS

    # Memory
    activation_copies: int = 1
    param_copies: int = 1
    excluded_layers: Callable[[Graph], Set[str]] = no_layers
    includes_input: bool = False  # whether its activations include the input

    # The tables of the source
    columns: tuple[tuple[TableColumn, str, int], ...] = ()  # each with its unit and number of decimals
    batch: int = 1
    kilo: int = 1000  # the factor of K in a column of parameters
