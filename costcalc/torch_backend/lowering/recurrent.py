"""Lowering of recurrent layers: modules of torch.nn, or torch's functions with the weights as arguments."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from costcalc.core.sizes import Shape
from costcalc.ir.ops import recurrent
from costcalc.torch_backend.lowering.base import lower

_MODULES: dict[type[recurrent.RecurrentOp], type[nn.Module]] = {
    recurrent.Lstm: nn.LSTM,
    recurrent.Gru: nn.GRU,
    recurrent.Rnn: nn.RNN,
    recurrent.LstmCell: nn.LSTMCell,
    recurrent.GruCell: nn.GRUCell,
    recurrent.RnnCell: nn.RNNCell,
}


class RecurrentModule(nn.Module):
    """A recurrent layer with parameters; its initial states are optional inputs, and it also returns the last ones."""

    def __init__(self, op: recurrent.RecurrentOp, features: int) -> None:
        super().__init__()
        self.op = op
        fields = {name: value for name, value in op.values().items() if name != "activation"}
        module = _MODULES[type(op)](features, **fields)
        for name, parameter in module.named_parameters():
            self.register_parameter(name, parameter)

    def forward(self, x: Tensor, *states: Tensor) -> Any:
        """Return the output and the last states, as the torch.nn module does."""
        if not states:
            states = tuple(x.new_zeros(shape) for shape in self.op.state_shapes(tuple(x.shape)))
        return _run_recurrent(self.op, x, states, tuple(self.parameters()), self.training)


class FunctionalRecurrentModule(nn.Module):
    """A recurrent layer without parameters: the weights are inputs, after the initial states."""

    def __init__(self, op: recurrent.RecurrentOp) -> None:
        super().__init__()
        self.op = op

    def forward(self, x: Tensor, *tensors: Tensor) -> Any:
        """Return the output and the last states, as the torch.nn module does."""
        return _run_recurrent(self.op, x, tensors[: self.op.num_states], tensors[self.op.num_states :], self.training)


def _run_recurrent(
    op: recurrent.RecurrentOp, x: Tensor, states: tuple[Tensor, ...], weights: tuple[Tensor, ...], training: bool
) -> Any:
    hx: Any = states if op.num_states > 1 else states[0]
    if isinstance(op, recurrent.RecurrentCell):
        name = {recurrent.LstmCell: "lstm_cell", recurrent.GruCell: "gru_cell"}.get(type(op))
        function = getattr(torch, name or f"rnn_{getattr(op, 'activation', '')}_cell")
        return function(x, hx, *weights)
    assert isinstance(op, recurrent.RecurrentLayers)
    name = {recurrent.Lstm: "lstm", recurrent.Gru: "gru"}.get(type(op))
    function = getattr(torch, name or f"rnn_{getattr(op, 'activation', '')}")
    fields = (op.bias, op.num_layers, op.dropout, training, op.bidirectional, op.batch_first)
    with warnings.catch_warnings():  # torch warns that oneDNN does not support projections
        warnings.simplefilter("ignore", UserWarning)
        return function(x, hx, list(weights), *fields)


@lower.register
def _(op: recurrent.RecurrentOp, *inputs: Shape) -> nn.Module:
    return RecurrentModule(op, inputs[0][-1]) if op.parameters(*inputs) else FunctionalRecurrentModule(op)
