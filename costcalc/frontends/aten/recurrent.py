"""Translators of recurrent layers and cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from costcalc.frontends.aten.base import aten_op
from costcalc.frontends.call import Call, UnsupportedOp, Value
from costcalc.ir.ops.recurrent import Gru, GruCell, Lstm, LstmCell, Rnn, RnnCell


def _recurrent_layer(call: Call, op_class: type[Lstm] | type[Gru] | type[Rnn], **fields: Any) -> Sequence[Value]:
    """Translate a call whose argument `params` lists the weights of each layer and direction in turn."""
    weights: list[Value] = call["params"]
    fields |= {name: call[name] for name in ("num_layers", "bidirectional", "batch_first")}
    fields |= {"bias": call["has_biases"], "dropout": call["dropout"] if call["num_layers"] > 1 else 0.0}
    count = len(weights) // (call["num_layers"] * (1 + call["bidirectional"]))  # for one layer and direction
    if count in (3, 5):  # the last one is the projection matrix
        fields["proj_size"] = weights[count - 1].shape[0]
    op = op_class(weights[0].shape[0] // op_class.num_gates, **fields)
    states = call["hx"] if isinstance(call["hx"], Sequence) else [call["hx"]]
    names = op.weights(call["input"].shape)
    return call.layer_outputs(op, call["input"], *states, **dict(zip(names, weights, strict=True)))


@aten_op("lstm.input")
def _(call: Call) -> Sequence[Value]:
    return _recurrent_layer(call, Lstm)


@aten_op("gru.input")
def _(call: Call) -> Sequence[Value]:
    return _recurrent_layer(call, Gru)


@aten_op("rnn_tanh.input")
def _(call: Call) -> Sequence[Value]:
    return _recurrent_layer(call, Rnn)


@aten_op("rnn_relu.input")
def _(call: Call) -> Sequence[Value]:
    return _recurrent_layer(call, Rnn, activation="relu")


@aten_op("lstm.data", "gru.data", "rnn_tanh.data", "rnn_relu.data")
def _(_: Call) -> Value:
    raise UnsupportedOp("packed sequences are not supported: their sizes depend on data")


def _cell(call: Call, op_class: type[LstmCell] | type[GruCell] | type[RnnCell], **fields: Any) -> Sequence[Value]:
    weight = call["w_ih"]
    op = op_class(weight.shape[0] // op_class.num_gates, bias=call["b_ih"] is not None, **fields)
    states = call["hx"] if isinstance(call["hx"], Sequence) else [call["hx"]]
    weights = {"weight_ih": weight, "weight_hh": call["w_hh"], "bias_ih": call["b_ih"], "bias_hh": call["b_hh"]}
    return call.layer_outputs(op, call["input"], *states, **weights)


@aten_op("lstm_cell.default")
def _(call: Call) -> Sequence[Value]:
    return _cell(call, LstmCell)


@aten_op("gru_cell.default")
def _(call: Call) -> Value:
    return _cell(call, GruCell)[0]


@aten_op("rnn_tanh_cell.default")
def _(call: Call) -> Value:
    return _cell(call, RnnCell)[0]


@aten_op("rnn_relu_cell.default")
def _(call: Call) -> Value:
    return _cell(call, RnnCell, activation="relu")[0]
