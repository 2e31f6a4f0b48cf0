"""Every op against torch on real tensors: shapes, parameters, FLOPs forward and backward, bytes, and what is computed."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from op_cases import ALONE, CASES
from torch import nn

import costcalc
from costcalc import CostcalcError, Graph, Input, Node
from costcalc.errors import OpError
from costcalc.ops import OPS
from costcalc.ops.op import Op, infer
from costcalc.torch_backend import lower

KNOWN_OPS = [name for name in ALONE if name != "unknown"]


@pytest.mark.parametrize("name", OPS)
def test_every_op_has_a_lowering(name):
    assert lower.dispatch(OPS[name]) is not lower.dispatch(Op), f"{name} has no lowering in torch_backend/lowering.py"


def test_an_op_without_a_lowering_says_so():
    class Riddle(Op):
        pass

    with pytest.raises(CostcalcError, match="riddle has no torch lowering"):
        lower(Riddle(), (1, 2))


@st.composite
def small_values(draw):
    """Sizes small enough to compute with."""
    channels = {name: draw(st.integers(1, 3)) for name in ("n", "m", "k", "g")}
    return channels | {name: draw(st.integers(9, 13)) for name in ("h", "w")}


def after_something_learnt(op, inputs):
    """A graph of the op alone, but for layers with parameters before it, so that its inputs need gradients."""
    before = []
    for i, shape in enumerate(inputs):
        learnt = OPS["conv2d"](shape[1], 1) if len(shape) == 4 else OPS["linear"](shape[-1])
        before.append(Node(f"before_{i}", learnt, (f"input_{i}",)))
    under_test = Node("op", op, tuple(node.name for node in before))
    named = tuple(Input(f"input_{i}", shape) for i, shape in enumerate(inputs))
    return Graph("one op", named, (*before, under_test), ("op",))


@pytest.mark.parametrize("name", KNOWN_OPS)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), values=small_values(), train=st.booleans())
def test_op_is_what_torch_runs(name, data, values, train):
    make_op, make_inputs = CASES[name](data.draw)
    op, inputs = make_op(values), make_inputs(values)
    try:
        infer(op, inputs)
    except OpError:
        assume(False)
    checked = costcalc.check(after_something_learnt(op, inputs), device="cpu", train=train)
    assert checked.differences == ()


@pytest.mark.parametrize("name", KNOWN_OPS)
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), values=small_values())
def test_every_field_reaches_the_module(name, data, values):
    make_op, make_inputs = CASES[name](data.draw)
    op = make_op(values)
    module = lower(op, *make_inputs(values))
    for field in dataclasses.fields(op):
        value = getattr(op, field.name)
        if field.name == "bias":
            assert (module.bias is not None) == value
        elif field.name == "mode":
            names = {"constant": "ConstantPad2d", "reflect": "ReflectionPad2d", "circular": "CircularPad2d"}
            assert type(module).__name__ == names[value]
        elif field.name != "value" or getattr(op, "mode", "constant") == "constant":
            assert getattr(module, field.name) == value


X = torch.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)


def run(op, *inputs):
    return lower(op, *(tuple(x.shape) for x in inputs))(*inputs)


def test_concat_and_add():
    assert torch.equal(run(OPS["concat"](), X, X + 1), torch.cat([X, X + 1], 1))
    assert torch.equal(run(OPS["concat"](dim=-1), X, X[..., :2]), torch.cat([X, X[..., :2]], 3))
    assert torch.equal(run(OPS["add"](), X, X, 2 * X), 4 * X)


def test_zero_pad_shortcut_takes_every_stride_th_place_and_adds_empty_channels():
    made = run(OPS["zero_pad_shortcut"](7, (2, 3)), X)
    assert made.shape == (2, 7, 2, 2)
    assert torch.equal(made[:, :3], X[:, :, ::2, ::3])
    assert not made[:, 3:].any()


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_pad_is_left_right_top_bottom(mode):
    padding = (1, 2, 3, 0)
    value = 0.5 if mode == "constant" else 0.0
    expected = nn.functional.pad(X, padding, mode=mode, **({"value": value} if value else {}))
    assert torch.equal(run(OPS["pad"](padding, mode=mode, value=value), X), expected)


def test_a_stand_in_has_the_right_shape_and_passes_gradients_on():
    x = X.clone().requires_grad_()
    made = run(OPS["unknown"]("riddle", (6, 7)), x, x)
    assert made.shape == (2, 6, 7)
    made.sum().backward()
    assert x.grad.all()
