"""Layers that go through a sequence step by step, and single steps: torch's LSTM, GRU and RNN.

What one step of one direction of one layer computes is a cell: matrix products of what it is given and of the state
before, for each of its gates, then arithmetic on single numbers.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar, NamedTuple

from costcalc.core.errors import OpError
from costcalc.core.sizes import Shape, Size, prod
from costcalc.ir.arguments import choice, flag, integer, number, size
from costcalc.ir.kernel import AuxiliaryOutput, Kernel
from costcalc.ir.layout import Layout
from costcalc.ir.op import Op, Requirement, op
from costcalc.ir.ops.activation import Relu, Sigmoid, Tanh
from costcalc.ir.work import Work


class _CellWeights(NamedTuple):
    """The weights of a cell, by torch's names."""

    layer: int
    weights: dict[str, Shape]


class RecurrentOp(Op):
    """What cells are in common: their weights, which are its own unless they are further inputs after the states."""

    hidden_size: Size
    bias: bool

    arity = (1, None)
    weight_layer = True
    num_gates: ClassVar[int]
    num_states: ClassVar[int] = 1  # of a cell
    gate_work: ClassVar[Work]  # the arithmetic on a hidden number of a step, without sums of products

    @abstractmethod
    def cells(self, features: Size) -> Iterator[_CellWeights]:
        """All that run in one step."""

    @abstractmethod
    def sequence_sizes(self, taken: Shape) -> tuple[Size, Size]:
        """The length of the sequence, and how many there are."""

    def step_work(self) -> Work:
        """On a hidden number, in one step."""
        # the two products of each gate are summed, with two biases
        return Work(adds=self.num_gates * (3 if self.bias else 1)) + self.gate_work

    def weights(self, *inputs: Shape) -> dict[str, Shape]:
        """Those of all cells, in torch's order."""
        return {name: shape for cell in self.cells(inputs[0][-1]) for name, shape in cell.weights.items()}

    def parameters(self, *inputs: Shape) -> dict[str, Shape]:
        return {} if len(inputs) > 1 + self.num_states else self.weights(*inputs)

    def state_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        """Those of the states that it may be given."""
        return self.extra_outputs(*inputs)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        wanted = (*self.state_shapes(*inputs), *self.weights(*inputs).values())
        if len(inputs) not in (1, 1 + self.num_states, 1 + len(wanted)):
            states = f"{self.num_states} state{'s' * (self.num_states > 1)}"
            raise OpError(
                f"{self.name} takes 1 input, or {states} too, or {len(wanted) - self.num_states} weights after that"
            )
        for number_, (shape, needed) in enumerate(zip(inputs[1:], wanted, strict=False), start=2):
            if len(shape) != len(needed):
                raise OpError(
                    f"input {number_} of {self.name} needs {len(needed)} sizes, and has {len(shape)}", "inputs"
                )
            for got, right in zip(shape, needed, strict=True):
                message = f"input {number_} of {self.name} has a size of {{left}} that should be {{right}}"
                yield Requirement(got, "==", right, message)

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        steps = prod(self.sequence_sizes(inputs[0]))
        cells = list(self.cells(inputs[0][-1]))
        macs = sum([prod(shape) for cell in cells for shape in cell.weights.values() if len(shape) == 2])
        return Work(macs=steps * macs) + self.step_work() * (steps * self.hidden_size * len(cells))

    def backward_macs(
        self, macs: Size, trainable: bool, requires_grad: tuple[bool, ...], inputs: tuple[Shape, ...] = ()
    ) -> Size:
        """The gradient of each weight, of what a cell is given, and of the state before, which first is an input."""
        length, count = self.sequence_sizes(inputs[0])
        given, states = requires_grad[0], requires_grad[1 : 1 + self.num_states]
        names = list(self.weights(*inputs))
        weights = dict(zip(names, requires_grad[1 + self.num_states :] or [trainable] * len(names), strict=True))
        total: Size = 0
        layer, below = 0, given
        for cell in self.cells(inputs[0][-1]):
            if cell.layer != layer:
                layer, given = cell.layer, below
            moved = given or any(states) or any(weights[name] for name in cell.weights)
            below = below or moved
            for name, shape in cell.weights.items():
                if len(shape) != 2:
                    continue
                if "_hh" in name:
                    flows = (length - 1 if moved else 0) + (1 if any(states[:1]) else 0)
                else:
                    flows = length if (moved if "_hr" in name else given) else 0
                total = total + count * prod(shape) * ((length if weights[name] else 0) + flows)
        return total

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        """One kernel, which keeps the gates of all steps."""
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

    def make_cell(self, layer: int, suffix: str, taken: Size, proj: int = 0) -> _CellWeights:
        """One whose weights are called by that suffix, of `taken` features."""
        rows = self.num_gates * self.hidden_size
        weights: dict[str, Shape] = {
            f"weight_ih{suffix}": (rows, taken),
            f"weight_hh{suffix}": (rows, proj or self.hidden_size),
        }
        if self.bias:
            weights |= {f"bias_ih{suffix}": (rows,), f"bias_hh{suffix}": (rows,)}
        if proj:
            weights[f"weight_hr{suffix}"] = (proj, self.hidden_size)
        return _CellWeights(layer, weights)


# sigmoid of three gates, tanh of one and of the cell's state; c = f·c + i·g, and h = o·tanh(c)
_LSTM_GATE_WORK = 3 * Sigmoid.per_element + 2 * Tanh.per_element + Work(muls=3, adds=1)
# sigmoid of two gates; n = tanh(… + r·…), h = (h − n)·z + n
_GRU_GATE_WORK = 2 * Sigmoid.per_element + Tanh.per_element + Work(muls=2, adds=2)
_ACTIVATION_WORK = {"tanh": Tanh.per_element, "relu": Relu.per_element}


@op
class RecurrentLayers(RecurrentOp):
    """Layers of cells, in one direction or two, over a whole sequence."""

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
        """How many numbers a cell hands on."""
        return self._projection_size() or self.hidden_size

    def cells(self, features: Size) -> Iterator[_CellWeights]:
        directions = ("", "_reverse")[: 1 + self.bidirectional]
        for layer in range(self.num_layers):
            taken = features if layer == 0 else self._cell_output_size() * len(directions)
            for direction in directions:
                yield self.make_cell(layer, f"_l{layer}{direction}", taken, self._projection_size())

    def sequence_sizes(self, taken: Shape) -> tuple[Size, Size]:
        return (taken[1], taken[0]) if self.batch_first else (taken[0], taken[1])

    def output(self, *inputs: Shape) -> Shape:
        return (*inputs[0][:2], self._cell_output_size() * (1 + self.bidirectional))

    def extra_outputs(self, *inputs: Shape) -> tuple[Shape, ...]:
        _, count = self.sequence_sizes(inputs[0])
        cells = self.num_layers * (1 + self.bidirectional)
        return tuple(
            [(cells, count, features) for features in (self._cell_output_size(), self.hidden_size)[: self.num_states]]
        )

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        """Step after step in memory."""
        return Layout(None, (1, 0, 2) if self.batch_first else (0, 1, 2))


@op
class Lstm(RecurrentLayers):
    """Layers of long short-term memory over a sequence, torch.nn.LSTM (Hochreiter and Schmidhuber, 1997).

    Inputs: a sequence (steps, batch, features), or with `batch_first` (batch, steps, features); then, if not zeros, the
    first states h and c. Output: hidden_size numbers for each step (proj_size if that is not 0, by a further matrix),
    twice with `bidirectional`; the last h and c, (layers · directions, batch, …), are further results.
    Parameters: for layer 0, 1, …, weight_ih_l0 (4 · hidden_size, features), weight_hh_l0 (4 · hidden_size, the output),
    bias_ih_l0, bias_hh_l0 (4 · hidden_size), weight_hr_l0 (proj_size, hidden_size); the other direction's end in
    `_reverse`; none if they are inputs.
    Work: for each step, MACs = prod of all matrices; per hidden number, layer and direction 4 adds (12 with biases), 3
    sigmoids, 2 tanhs, 3 muls, 1 add.
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
    """Layers of gated recurrent units over a sequence, torch.nn.GRU (Cho et al., 2014).

    Inputs: a sequence (steps, batch, features), or with `batch_first` (batch, steps, features); then, if not zeros, the
    first state h. Output: hidden_size numbers for each step, twice with `bidirectional`; the last h, (layers ·
    directions, batch, hidden_size), is a further result.
    Parameters: as lstm's, of 3 · hidden_size.
    Work: for each step, MACs = prod of all matrices; per hidden number, layer and direction 3 adds (9 with biases), 2
    sigmoids, 1 tanh, 2 muls, 2 adds.
    """

    num_gates = 3
    gate_work = _GRU_GATE_WORK


@op
class Rnn(RecurrentLayers):
    """Layers of simple recurrent units over a sequence, torch.nn.RNN (Elman, 1990).

    Inputs: a sequence (steps, batch, features), or with `batch_first` (batch, steps, features); then, if not zeros, the
    first state h. Output: hidden_size numbers for each step, twice with `bidirectional`; the last h, (layers ·
    directions, batch, hidden_size), is a further result.
    Parameters: as lstm's, of hidden_size.
    Work: for each step, MACs = prod of all matrices; per hidden number, layer and direction 1 add (3 with biases), and
    the activation (torch: nonlinearity).
    """

    activation: str = choice("tanh", "relu", default="tanh")  # torch: nonlinearity, which is what an op says of itself

    num_gates = 1
    gate_work = Work()

    def step_work(self) -> Work:
        return super().step_work() + _ACTIVATION_WORK[self.activation]


@op
class RecurrentCell(RecurrentOp):
    """One step of one layer."""

    hidden_size: Size = size("F_out")
    bias: bool = flag(default=True)

    rank = 2

    def cells(self, features: Size) -> Iterator[_CellWeights]:
        yield self.make_cell(0, "", features)

    def sequence_sizes(self, taken: Shape) -> tuple[Size, Size]:
        return 1, taken[0]

    def output(self, *inputs: Shape) -> Shape:
        return (inputs[0][0], self.hidden_size)

    def state_shapes(self, *inputs: Shape) -> tuple[Shape, ...]:
        return (self.output(*inputs),) * self.num_states

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return Layout(None, (0, 1))


class LstmCell(RecurrentCell):
    """One step of long short-term memory, torch.nn.LSTMCell.

    Inputs: features, then, if not zeros, the states h and c. Output: the new h, and as a further result c.
    Parameters: weight_ih (4 · hidden_size, features), weight_hh (4 · hidden_size, hidden_size), bias_ih and bias_hh (4
    · hidden_size); none if they are inputs. Work: that of an lstm's step.
    """

    num_gates = 4
    num_states = 2
    gate_work = _LSTM_GATE_WORK

    def extra_outputs(self, *inputs: Shape) -> tuple[Shape, ...]:
        return (self.output(*inputs),)


class GruCell(RecurrentCell):
    """One step of a gated recurrent unit, torch.nn.GRUCell.

    Inputs: features, then, if not zeros, the state h. Output: the new h. Parameters: as lstm_cell's, of 3 ·
    hidden_size. Work: that of a gru's step.
    """

    num_gates = 3
    gate_work = _GRU_GATE_WORK


@op
class RnnCell(RecurrentCell):
    """One step of a simple recurrent unit, torch.nn.RNNCell.

    Inputs: features, then, if not zeros, the state h. Output: the new h. Parameters: as lstm_cell's, of hidden_size.
    Work: that of an rnn's step.
    """

    activation: str = choice("tanh", "relu", default="tanh")  # torch: nonlinearity, which is what an op says of itself

    num_gates = 1
    gate_work = Work()

    def step_work(self) -> Work:
        return super().step_work() + _ACTIVATION_WORK[self.activation]
