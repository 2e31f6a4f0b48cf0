"""Recurrent layers and cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from costcalc.frontends.aten import aten
from costcalc.frontends.call import Call, UnsupportedOp, Value
from costcalc.ir.ops.recurrent import Gru, GruCell, Lstm, LstmCell, Rnn, RnnCell


def _layers(call: Call, kind: type[Lstm] | type[Gru] | type[Rnn], **fields: Any) -> Sequence[Value]:
    """`params` are the weights of each layer and direction, one after the other."""
    weights: list[Value] = call["params"]
    fields |= {name: call[name] for name in ("num_layers", "bidirectional", "batch_first")}
    fields |= {"bias": call["has_biases"], "dropout": call["dropout"] if call["num_layers"] > 1 else 0.0}
    each = len(weights) // (call["num_layers"] * (1 + call["bidirectional"]))
    if each in (3, 5):  # the last is the matrix of a projection
        fields["proj_size"] = weights[each - 1].shape[0]
    op = kind(weights[0].shape[0] // kind.num_gates, **fields)
    states = call["hx"] if isinstance(call["hx"], Sequence) else [call["hx"]]
    names = op.weights(call["input"].shape)
    return call.layer_outputs(op, call["input"], *states, **dict(zip(names, weights, strict=True)))


@aten("lstm.input")
def _(call: Call) -> Sequence[Value]:
    return _layers(call, Lstm)


@aten("gru.input")
def _(call: Call) -> Sequence[Value]:
    return _layers(call, Gru)


@aten("rnn_tanh.input")
def _(call: Call) -> Sequence[Value]:
    return _layers(call, Rnn)


@aten("rnn_relu.input")
def _(call: Call) -> Sequence[Value]:
    return _layers(call, Rnn, activation="relu")


@aten("lstm.data", "gru.data", "rnn_tanh.data", "rnn_relu.data")
def _(_: Call) -> Value:
    raise UnsupportedOp("packed sequences: sizes depend on data")


def _cell(call: Call, kind: type[LstmCell] | type[GruCell] | type[RnnCell], **fields: Any) -> Sequence[Value]:
    weight = call["w_ih"]
    op = kind(weight.shape[0] // kind.num_gates, bias=call["b_ih"] is not None, **fields)
    states = call["hx"] if isinstance(call["hx"], Sequence) else [call["hx"]]
    weights = {"weight_ih": weight, "weight_hh": call["w_hh"], "bias_ih": call["b_ih"], "bias_hh": call["b_hh"]}
    return call.layer_outputs(op, call["input"], *states, **weights)


@aten("lstm_cell.default")
def _(call: Call) -> Sequence[Value]:
    return _cell(call, LstmCell)


@aten("gru_cell.default")
def _(call: Call) -> Value:
    return _cell(call, GruCell)[0]


@aten("rnn_tanh_cell.default")
def _(call: Call) -> Value:
    return _cell(call, RnnCell)[0]


@aten("rnn_relu_cell.default")
def _(call: Call) -> Value:
    return _cell(call, RnnCell, activation="relu")[0]
