"""The arguments of ops: accepted values, and how they are stored and shown."""

from __future__ import annotations

import pytest

from costcalc.core.errors import OpError
from costcalc.frontends.spec.reference import describe
from costcalc.ir.ops import OPS


@pytest.mark.parametrize(
    ("op", "shown"),
    [
        (OPS["conv2d"](8, 3), "conv2d(8, 3)"),
        (OPS["conv2d"](8, (3, 3), padding=(1, 2)), "conv2d(8, 3, padding=(1, 2))"),
        (OPS["flip"]((1,)), "flip(1)"),
        (OPS["flip"]((1, 1)), "flip((1, 1))"),
        (OPS["pad"]((1, 1, 1, 1)), "pad(1)"),
        (OPS["pad"]((1, 1, 2, 2)), "pad((1, 1, 2, 2))"),
        (OPS["permute"]((0, -1, 1)), "permute((0, 2, 1))"),
        (OPS["adaptive_avg_pool2d"]((None, 3)), "adaptive_avg_pool2d((None, 3))"),
        (OPS["mean"](None), "mean()"),
        (OPS["sub"](float("-inf")), "sub(other='-inf')"),
    ],
)
def test_an_op_is_shown_with_the_arguments_that_are_not_defaults(op, shown):
    assert str(op) == shown


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("conv2d", {"out_channels": 0, "kernel_size": 3}, "out_channels must be at least 1, not 0"),
        ("conv2d", {"out_channels": 8, "kernel_size": (3, 3, 3)}, "kernel_size must be one integer or 2, not 3"),
        ("conv2d", {"out_channels": 8, "kernel_size": 3, "bias": 1}, "bias must be true or false, not 1"),
        ("dropout", {"p": 1.5}, "p must be a number ≥ 0 and ≤ 1, not 1.5"),
        ("permute", {"dims": (0, 0)}, "dims must name each dimension from 0 to 1 once, not [0, 0]"),
        ("interpolate", {"size": (3,), "mode": "cubic"}, "mode must be 'nearest' or"),
        ("leaky_relu", {"negative_slope": None}, "negative_slope must be a number, not None"),
    ],
)
def test_a_value_that_is_not_accepted_is_an_error(name, arguments, message):
    with pytest.raises(OpError) as error:
        OPS[name](**arguments)
    assert str(error.value).startswith(message)
    assert error.value.field == message.split()[0]


def test_every_argument_is_described():
    assert all(argument.takes for op in describe() for argument in op.arguments)
