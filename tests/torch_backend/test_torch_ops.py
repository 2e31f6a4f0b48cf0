"""Every op against torch on real tensors: shapes, parameters, FLOPs forward and backward, bytes, and what is computed."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from op_cases import ALONE, drawn
from torch import nn

import costcalc
from costcalc import CostcalcError, Graph, Input, Node
from costcalc.core.errors import OpError
from costcalc.ir.op import Op, infer_output
from costcalc.ir.ops import OPS
from costcalc.torch_backend import lower
from costcalc.torch_backend.lowering.base import torch_element_type

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


def after_something_learnt(op, inputs, holds):
    """A graph of the op alone, but for layers with parameters before it, so that its inputs need gradients.

    Those that hold no floats have none, and are the graph's own.
    """
    named = [Input(f"input_{i}", *given) for i, given in enumerate(zip(inputs, holds, strict=True))]
    nodes, taken = [], []
    for name, shape, what in named:
        if what == "float" and shape:
            learnt = OPS["conv2d"](shape[1], 1) if len(shape) == 4 else OPS["linear"](shape[-1])
            nodes.append(Node(f"before_{name}", learnt, (name,)))
        taken.append(nodes[-1].name if what == "float" and shape else name)
    nodes.append(Node("op", op, tuple(taken)))
    return Graph("one op", tuple(named) or (Input("nobody's", (1,)),), tuple(nodes), ("op",))


@pytest.mark.parametrize("name", KNOWN_OPS)
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), values=small_values(), train=st.booleans())
def test_op_is_what_torch_runs(name, data, values, train):
    op, inputs, holds = drawn(name, data.draw, values)
    try:
        infer_output(op, inputs)
    except OpError:
        assume(False)
    checked = costcalc.check(after_something_learnt(op, inputs, holds), device="cpu", train=train)
    assert checked.differences == ()


# Fields that a module does not keep under their names: where they are.
KEPT_AS = {
    "parameter": lambda op, module: {"shape": tuple(module.weight.shape)},
    "buffer": lambda op, module: {
        "shape": tuple(module.value.shape),
        "dtype": op.dtype if module.value.dtype == torch_element_type(op.dtype) else None,
    },
}


@pytest.mark.parametrize("name", KNOWN_OPS)
@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), values=small_values())
def test_every_field_reaches_the_module(name, data, values):
    op, inputs, _ = drawn(name, data.draw, values)
    module = lower(op, *inputs)
    kept = KEPT_AS.get(name, lambda op, module: {})(op, module)
    for field in dataclasses.fields(op):
        value = getattr(op, field.name)
        if field.name in kept:
            assert kept[field.name] == value
        elif getattr(module, "op", None) == op:  # a module of the backend's own that asks its op
            return
        elif field.name == "bias":
            assert (module.bias is not None) == value
        elif field.name == "mode" and name == "pad":
            names = {"constant": "ConstantPad2d", "reflect": "ReflectionPad2d", "circular": "CircularPad2d"}
            assert type(module).__name__ == names[value]
        elif (name, field.name) != ("pad", "value") or op.mode == "constant":
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


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_each_row_of_indices_is_a_bag_whether_or_not_the_last_offset_is_included(mode):
    table = torch.arange(15.0).reshape(5, 3)
    indices = torch.tensor([[0, 4], [2, 3], [1, 1]])
    expected = getattr(torch, {"max": "amax"}.get(mode, mode))(table[indices], 1)
    op = OPS["embedding_bag"](5, 3, mode=mode, include_last_offset=True)
    assert torch.equal(run(op, indices, table), expected)
    own = lower(op, (3, 2))
    with torch.no_grad():
        own.weight.copy_(table)
    assert torch.equal(own(indices), expected)
    assert torch.equal(run(op, indices.flatten(), torch.tensor([0, 2, 4, 6]), table), expected)


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
