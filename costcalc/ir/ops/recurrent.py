"""Recurrent layers and cells: LSTM, GRU and RNN.

A cell computes one step of one direction of one layer: for each gate, matrix products of its input and of the previous
state, and then elementwise arithmetic.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar, NamedTuple

from costcalc.core.errors import OpError
from costcalc.core.sizes import Shape, Size, format_shape, prod
from costcalc.ir.arguments import choice, flag, integer, number, size
from costcalc.ir.kernel import AuxiliaryOutput, Kernel
from costcalc.ir.layout import Layout
from costcalc.ir.op import Op, Requirement, op
from costcalc.ir.ops.activation import Relu, Sigmoid, Tanh
from costcalc.ir.work import Work


class _CellWeights(NamedTuple):
    """The shapes of the weights of one cell, by torch's names."""

    layer: int
    weights: dict[str, Shape]


class RecurrentOp(Op):
    """One or more cells. Their weights are parameters, or inputs after the states."""

    hidden_size: Size
    bias: bool

    arity = (1, None)
    weight_layer = True
    num_gates: ClassVar[int]
    num_states: ClassVar[int] = 1  # of each cell
    gate_work: ClassVar[Work]  # elementwise work per hidden unit and step, without the products

    @abstractmethod
    def cells(self, features: Size) -> Iterator[_CellWeights]:
        """Yield the weights of all cells."""

    @abstractmethod
    def sequence_sizes(self, input_shape: Shape) -> tuple[Size, Size]:
        """Return the length of the sequences and the batch size."""

    def step_work(self) -> Work:
        """Return the elementwise work per hidden unit and step."""
        # The two products of each gate are added to each other and to two biases.
        return Work(adds=self.num_gates * (3 if self.bias else 1)) + self.gate_work

    def weights(self, *inputs: Shape) -> dict[str, Shape]:
        """Return the shapes of the weights of all cells, in torch's order."""
        return {name: shape for cell in self.cells(inputs[0][-1]) for name, shape in cell.weights.items()}

    def parameters(self, *inputs: Shape) -> dict[str, Shape]:
        return {} if len(inputs) > 1 + self.num_states else self.weights(*inputs)

    def state_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """Return the shapes of the initial states, which are optional inputs."""
        return self.extra_outputs(*inputs)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        wanted = (*self.state_shapes(*inputs), *self.weights(*inputs).values())
        if len(inputs) not in (1, 1 + self.num_states, 1 + len(wanted)):
            states = f"{self.num_states} state{'s' * (self.num_states > 1)}"
            weights = len(wanted) - self.num_states
            raise OpError(f"{self.name} takes 1 input, optionally followed by {states} and by {weights} weights")
        for position, (shape, needed) in enumerate(zip(inputs[1:], wanted, strict=False), start=2):
            if len(shape) != len(needed):
                raise OpError(
                    f"input {position} of {self.name} needs {len(needed)} dimensions, not {len(shape)}", "inputs"
                )
            for got, right in zip(shape, needed, strict=True):
                message = f"input {position} of {self.name} needs {format_shape(needed)}, not {format_shape(shape)}"
                yield Requirement(got, "==", right, message)

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        steps = prod(self.sequence_sizes(inputs[0]))
        cells = list(self.cells(inputs[0][-1]))
        macs = sum([prod(shape) for cell in cells for shape in cell.weights.values() if len(shape) == 2])
        return Work(macs=steps * macs) + self.step_work() * (steps * self.hidden_size * len(cells))

    def backward_macs(
        self, macs: Size, trainable: bool, requires_grad: tuple[bool, ...], inputs: tuple[Shape, ...] = ()
    ) -> Size:
        """Count the products for the gradients of each weight, of each cell's input and of its previous state.

        The initial state is an input of the layer, and needs a gradient only if that input does.
        """
        length, count = self.sequence_sizes(inputs[0])
        input_grad, states = requires_grad[0], requires_grad[1 : 1 + self.num_states]
        names = list(self.weights(*inputs))
        weights = dict(zip(names, requires_grad[1 + self.num_states :] or [trainable] * len(names), strict=True))
        total: Size = 0
        layer, output_grad = 0, input_grad
        for cell in self.cells(inputs[0][-1]):
            if cell.layer != layer:
                layer, input_grad = cell.layer, output_grad
            cell_grad = input_grad or any(states) or any(weights[name] for name in cell.weights)
            output_grad = output_grad or cell_grad
            for name, shape in cell.weights.items():
                if len(shape) != 2:
                    continue
                if "_hh" in name:
                    steps = (length - 1 if cell_grad else 0) + (1 if any(states[:1]) else 0)
                else:
                    steps = length if (cell_grad if "_hr" in name else input_grad) else 0
                total = total + count * prod(shape) * ((length if weights[name] else 0) + steps)
        return total

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        """Return one kernel, which saves the gates of all steps."""
        cells = sum([1 for _ in self.cells(inputs[0][-1])])
        gates = AuxiliaryOutput(
            "gates",
            prod(self.sequence_sizes(inputs[0])) * self.num_gates * self.hidden_size * cells,
            needed_in_forward=False,
        )
        operands = len(inputs)
        return (
            Kernel(tuple(range(operands)), prod(output), saved=tuple(range(operands + 1)), auxiliary_outputs=(gates,)),
        )

    def make_cell(self, layer: int, suffix: str, features: Size, proj: int = 0) -> _CellWeights:
        """Return the weights of a cell with `features` input features, with names that end in `suffix`."""
        rows = self.num_gates * self.hidden_size
        weights: dict[str, Shape] = {
            f"weight_ih{suffix}": (rows, features),
            f"weight_hh{suffix}": (rows, proj or self.hidden_size),
        }
        if self.bias:
            weights |= {f"bias_ih{suffix}": (rows,), f"bias_hh{suffix}": (rows,)}
        if proj:
            weights[f"weight_hr{suffix}"] = (proj, self.hidden_size)
        return _CellWeights(layer, weights)


# sigmoid of three gates, tanh of one gate and of the cell state; c = f·c + i·g, h = o·tanh(c)
_LSTM_GATE_WORK = 3 * Sigmoid.per_element + 2 * Tanh.per_element + Work(muls=3, adds=1)
# sigmoid of two gates; n = tanh(… + r·…), h = (h − n)·z + n
_GRU_GATE_WORK = 2 * Sigmoid.per_element + Tanh.per_element + Work(muls=2, adds=2)
_ACTIVATION_WORK = {"tanh": Tanh.per_element, "relu": Relu.per_element}


@op
class RecurrentLayers(RecurrentOp):
    """Layers of cells, in one or two directions, over a whole sequence."""

    hidden_size: Size = size("F_out")
    num_layers: int = integer(default=1, minimum=1)
    bias: bool = flag(default=True)
    batch_first: bool = flag(default=False)
    dropout: float = number(default=0.0, minimum=0, maximum=1)
    bidirectional: bool = flag(default=False)

    rank = 3

    def _projection_size(self) -> int:
        return 0

    def _cell_output_size(self) -> Size:
        """Return the number of output features of a cell."""
        return self._projection_size() or self.hidden_size

    def cells(self, features: Size) -> Iterator[_CellWeights]:
        directions = ("", "_reverse")[: 1 + self.bidirectional]
        for layer in range(self.num_layers):
            layer_features = features if layer == 0 else self._cell_output_size() * len(directions)
            for direction in directions:
                yield self.make_cell(layer, f"_l{layer}{direction}", layer_features, self._projection_size())

    def sequence_sizes(self, input_shape: Shape) -> tuple[Size, Size]:
        first, second = input_shape[:2]
        return (second, first) if self.batch_first else (first, second)

    def output(self, *inputs: Shape) -> Shape:
        return (*inputs[0][:2], self._cell_output_size() * (1 + self.bidirectional))

    def extra_outputs(self, *inputs: Shape) -> tuple[Shape, ...]:
        _, count = self.sequence_sizes(inputs[0])
        cells = self.num_layers * (1 + self.bidirectional)
        return tuple(
            [(cells, count, features) for features in (self._cell_output_size(), self.hidden_size)[: self.num_states]]
        )

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        """Return a layout with the steps outermost in memory."""
        return Layout(None, (1, 0, 2) if self.batch_first else (0, 1, 2))


@op
class Lstm(RecurrentLayers):
    """Long short-term memory layers over a sequence, torch.nn.LSTM (Hochreiter and Schmidhuber, 1997).

    Inputs: a sequence (steps, batch, features), or with `batch_first` (batch, steps, features); optionally the initial
    states h and c. Output: hidden_size features per step (proj_size, by a projection matrix, if that is not 0), twice
    as many with `bidirectional`; the second and third results are the final h and c, (layers · directions, batch, …).
    Parameters: for layer 0, 1, …, weight_ih_l0 (4 · hidden_size, features), weight_hh_l0 (4 · hidden_size, features of
    h), bias_ih_l0, bias_hh_l0 (4 · hidden_size), weight_hr_l0 (proj_size, hidden_size); the names of the reverse
    direction end in `_reverse`; none if they are inputs.
    Work: per step, MACs = the elements of all weight matrices; per step, hidden unit, layer and direction 4 adds (12
    with biases), 3 sigmoids, 2 tanhs, 3 muls, 1 add.
    """

    proj_size: int = integer(default=0, minimum=0)

    num_gates = 4
    num_states = 2
    gate_work = _LSTM_GATE_WORK

    def _projection_size(self) -> int:
        return self.proj_size

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        if self.proj_size:
            message = "proj_size must be less than hidden_size, and that is {left}"
            yield Requirement(self.hidden_size, ">=", self.proj_size + 1, message)
        yield from super().requirements(*inputs)


class Gru(RecurrentLayers):
    """Gated recurrent unit layers over a sequence, torch.nn.GRU (Cho et al., 2014).

    Inputs: a sequence (steps, batch, features), or with `batch_first` (batch, steps, features); optionally the initial
    state h. Output: hidden_size features per step, twice as many with `bidirectional`; the second result is the final
    h, (layers · directions, batch, hidden_size).
    Parameters: as lstm, with 3 · hidden_size.
    Work: per step, MACs = the elements of all weight matrices; per step, hidden unit, layer and direction 3 adds (9
    with biases), 2 sigmoids, 1 tanh, 2 muls, 2 adds.
    """

    num_gates = 3
    gate_work = _GRU_GATE_WORK


@op
class Rnn(RecurrentLayers):
    """Simple recurrent layers over a sequence, torch.nn.RNN (Elman, 1990).

    Inputs: a sequence (steps, batch, features), or with `batch_first` (batch, steps, features); optionally the initial
    state h. Output: hidden_size features per step, twice as many with `bidirectional`; the second result is the final
    h, (layers · directions, batch, hidden_size).
    Parameters: as lstm, with hidden_size.
    Work: per step, MACs = the elements of all weight matrices; per step, hidden unit, layer and direction 1 add (3 with
    biases), and the activation (torch: nonlinearity).
    """

    activation: str = choice("tanh", "relu", default="tanh")  # torch: nonlinearity, a name that Op uses

    num_gates = 1
    gate_work = Work()

    def step_work(self) -> Work:
        return super().step_work() + _ACTIVATION_WORK[self.activation]


@op
class RecurrentCell(RecurrentOp):
    """One step of one recurrent layer."""

    hidden_size: Size = size("F_out")
    bias: bool = flag(default=True)

    rank = 2

    def cells(self, features: Size) -> Iterator[_CellWeights]:
        yield self.make_cell(0, "", features)

    def sequence_sizes(self, input_shape: Shape) -> tuple[Size, Size]:
        return 1, input_shape[0]

    def output(self, *inputs: Shape) -> Shape:
        return (inputs[0][0], self.hidden_size)

    def state_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        return (self.output(*inputs),) * self.num_states

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return Layout(None, (0, 1))


class LstmCell(RecurrentCell):
    """One step of an LSTM, torch.nn.LSTMCell.

    Inputs: features, and optionally the states h and c. Output: the new h; the second result is the new c.
    Parameters: weight_ih (4 · hidden_size, features), weight_hh (4 · hidden_size, hidden_size), bias_ih and bias_hh (4
    · hidden_size); none if they are inputs. Work: as one step of lstm.
    """

    num_gates = 4
    num_states = 2
    gate_work = _LSTM_GATE_WORK

    def extra_outputs(self, *inputs: Shape) -> tuple[Shape, ...]:
        return (self.output(*inputs),)


class GruCell(RecurrentCell):
    """One step of a GRU, torch.nn.GRUCell.

    Inputs: features, and optionally the state h. Output: the new h. Parameters: as lstm_cell, with 3 · hidden_size.
    Work: as one step of gru.
    """

    num_gates = 3
    gate_work = _GRU_GATE_WORK


@op
class RnnCell(RecurrentCell):
    """One step of a simple RNN, torch.nn.RNNCell.

    Inputs: features, and optionally the state h. Output: the new h. Parameters: as lstm_cell, with hidden_size.
    Work: as one step of rnn.
    """

    activation: str = choice("tanh", "relu", default="tanh")  # torch: nonlinearity, a name that Op uses

    num_gates = 1
    gate_work = Work()

    def step_work(self) -> Work:
        return super().step_work() + _ACTIVATION_WORK[self.activation]
