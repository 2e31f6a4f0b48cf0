"""Recurrent layers: hand-worked counts, torch's modules as they are imported, and layers with several results."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import costcalc
from costcalc import Graph, Input, Node
from costcalc.frontends.torch.export import from_torch
from costcalc.ir.ops import OPS


class Calls(nn.Module):
    """A module that computes a function of its parts."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.function(self, x)


def test_an_lstm_by_hand():
    op = OPS["lstm"](5, num_layers=2, bidirectional=True, proj_size=3)
    taken = ((7, 2, 4),)
    assert op.output(*taken) == (7, 2, 6)
    assert op.extra_outputs(*taken) == ((4, 2, 3), (4, 2, 5))
    parameters = op.parameters(*taken)
    assert list(parameters) == [
        name for name, _ in nn.LSTM(4, 5, 2, bidirectional=True, proj_size=3).named_parameters()
    ]
    work = op.work(taken, op.output(*taken))
    first, second = 20 * (4 + 3) + 3 * 5, 20 * (6 + 3) + 3 * 5
    assert work.macs == 7 * 2 * 2 * (first + second)
    numbers = 7 * 2 * 4 * 5  # of steps, batch, layers and directions, hidden ones
    assert (work.adds, work.muls) == (numbers * (12 + 3 + 2 * 2 + 1), numbers * (3 + 2))
    assert (work.exps, work.divs, work.compares) == (numbers * 5, numbers * 5, 0)


def test_a_state_that_is_learnt_has_a_gradient_of_the_first_step():
    op, taken = OPS["gru"](5), ((7, 2, 4), (1, 2, 5))
    ih, hh = 2 * 15 * 4, 2 * 15 * 5
    assert op.backward_macs(0, False, (False, True), taken) == 7 * hh
    assert op.backward_macs(0, True, (False, False), taken) == 7 * (ih + hh) + 6 * hh
    assert op.backward_macs(0, True, (True, False), taken) == 7 * (2 * ih + hh) + 6 * hh


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_layers_that_take_a_further_result(device, train):
    nodes = (
        Node("lstm", OPS["lstm"](6, 2, proj_size=4), ("input",)),
        Node("last", OPS["result"](1), ("lstm",)),
        Node("state", OPS["result"](2), ("lstm",)),
        Node("top", OPS["select"](0, -1), ("last",)),
        Node("head", OPS["linear"](3), ("top",)),
        Node("other", OPS["linear"](2), ("state",)),
        Node("all", OPS["linear"](2), ("lstm",)),
    )
    graph = Graph("results", (Input("input", (7, 2, 5)),), nodes, ("head", "all", "other"))
    assert [graph.shapes[name] for name in ("last", "state", "head")] == [(2, 2, 4), (2, 2, 6), (2, 3)]
    rows = {row.path: row for row in costcalc.analyze(graph).rows}
    assert rows["lstm"].activations == 7 * 2 * 4 + 2 * 2 * 4 + 2 * 2 * 6
    assert (rows["last"].activations, rows["last"].macs) == (0, 0)
    assert costcalc.check(graph, device=device, train=train).differences == ()


MODELS = {
    "lstm": nn.LSTM(5, 6, 2, batch_first=True, bidirectional=True, dropout=0.5),
    "projection": nn.LSTM(5, 6, bias=False, proj_size=2),
    "gru": nn.GRU(5, 6, 2),
    "tanh": nn.RNN(5, 6, batch_first=True),
    "relu": nn.RNN(5, 6, nonlinearity="relu"),
}


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")
@pytest.mark.parametrize("name", MODELS)
def test_torchs_modules(name):
    module = Calls(lambda m, x: m.rnn(x)[0].relu(), rnn=MODELS[name])
    graph = from_torch(module, torch.zeros(3, 7, 5))
    assert sum(row.params for row in costcalc.analyze(graph).rows) == sum(p.numel() for p in module.parameters())
    assert graph.notes == ()
    checked = costcalc.check(graph, device="meta")
    assert (checked.differences, checked.known_differences) == ((), ())


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_a_cell_called_twice_shares_its_weights(kind):
    def twice(m, x):
        state = m.cell(m.cell_input(x))
        state = m.cell(x, state)
        return state[0] if isinstance(state, tuple) else state

    module = Calls(twice, cell=kind(5, 6), cell_input=nn.Linear(5, 5))
    graph = from_torch(module, torch.zeros(3, 5))
    total = costcalc.analyze(graph).total()
    gates = {nn.LSTMCell: 4, nn.GRUCell: 3, nn.RNNCell: 1}[kind]
    assert total.params == gates * 6 * (5 + 6 + 2) + 30
    assert total.macs == 3 * (2 * gates * 6 * (5 + 6) + 25)
    assert costcalc.check(graph, device="cpu").differences == ()


def test_packed_sequences_depend_on_data():
    from costcalc.frontends.aten.base import translators
    from costcalc.frontends.call import UnsupportedOp

    with pytest.raises(UnsupportedOp, match="packed sequences"):
        translators()["lstm.data"](None)
