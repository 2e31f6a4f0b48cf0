"""Ops by hand: shapes and work written out as arithmetic."""

from __future__ import annotations

import pytest

from costcalc.core.errors import OpError
from costcalc.ir.op import Window, infer_output
from costcalc.ir.ops import OPS
from costcalc.ir.work import Work

IMAGE = (2, 6, 9, 12)
ELEMENTS = 2 * 6 * 9 * 12


def run(name, *args, inputs=(IMAGE,), **fields):
    op = OPS[name](*args, **fields)
    output, assumptions = infer_output(op, inputs)
    assert assumptions == []
    return output, op.work(inputs, output)


@pytest.mark.parametrize(
    ("name", "args", "fields", "output", "work"),
    [
        ("conv2d", (8, 3), {}, (2, 8, 7, 10), Work(macs=2 * 7 * 10 * 8 * 6 * 3 * 3, adds=2 * 8 * 7 * 10)),
        ("conv2d", (8, (1, 7)), {"padding": (0, 3), "bias": False}, (2, 8, 9, 12), Work(macs=2 * 9 * 12 * 8 * 6 * 7)),
        ("conv2d", (6, 3), {"groups": 6, "bias": False}, (2, 6, 7, 10), Work(macs=2 * 7 * 10 * 6 * 3 * 3)),
        ("conv2d", (4, 3), {"dilation": 2, "bias": False}, (2, 4, 5, 8), Work(macs=2 * 5 * 8 * 4 * 6 * 9)),
        ("conv2d", (4, 5), {"stride": (2, 3), "bias": False}, (2, 4, 3, 3), Work(macs=2 * 3 * 3 * 4 * 6 * 25)),
        ("linear", (5,), {}, (2, 6, 9, 5), Work(macs=2 * 6 * 9 * 5 * 12, adds=2 * 6 * 9 * 5)),
        ("max_pool2d", (3,), {}, (2, 6, 3, 4), Work(compares=2 * 6 * 3 * 4 * 8)),
        ("max_pool2d", (2,), {"ceil_mode": True}, (2, 6, 5, 6), Work(compares=2 * 6 * 5 * 6 * 3)),
        ("max_pool2d", (3, 2), {"padding": 1}, (2, 6, 5, 6), Work(compares=2 * 6 * 5 * 6 * 8)),
        ("avg_pool2d", (3,), {"stride": 1, "padding": 1}, IMAGE, Work(adds=ELEMENTS * 8, divs=ELEMENTS)),
        ("global_avg_pool2d", (), {}, (2, 6, 1, 1), Work(adds=2 * 6 * (9 * 12 - 1), divs=2 * 6)),
        # heights 9 → 4: windows 0-3, 2-5, 4-7, 6-9 of 3 each; widths 12 → 5: windows of 3, 3, 4, 3, 3
        ("adaptive_avg_pool2d", ((4, 5),), {}, (2, 6, 4, 5), Work(adds=12 * (12 * 16 - 20), divs=12 * 20)),
        ("relu", (), {}, IMAGE, Work(compares=ELEMENTS)),
        ("relu6", (), {}, IMAGE, Work(compares=2 * ELEMENTS)),
        ("prelu", (6,), {}, IMAGE, Work(compares=ELEMENTS, muls=ELEMENTS)),
        ("silu", (), {}, IMAGE, Work(exps=ELEMENTS, adds=ELEMENTS, divs=ELEMENTS, muls=ELEMENTS)),
        ("gelu", (), {}, IMAGE, Work(muls=3 * ELEMENTS, adds=ELEMENTS, exps=ELEMENTS)),
        ("softmax", (), {}, IMAGE, Work(exps=ELEMENTS, adds=ELEMENTS, divs=ELEMENTS, compares=ELEMENTS)),
        ("batch_norm2d", (), {}, IMAGE, Work(muls=ELEMENTS, adds=ELEMENTS)),
        ("local_response_norm", (5,), {}, IMAGE, Work(muls=7 * ELEMENTS, adds=5 * ELEMENTS, exps=ELEMENTS, divs=ELEMENTS)),
        ("dropout", (), {}, IMAGE, Work()),
        ("flatten", (), {}, (2, 6 * 9 * 12), Work()),
        ("flatten", (2,), {}, (2, 6, 9 * 12), Work()),
        ("permute", ((0, 2, 3, 1),), {}, (2, 9, 12, 6), Work()),
        ("permute", ((-1, 2, 0, 1),), {}, (12, 9, 2, 6), Work()),
        ("pad", ((1, 2, 3, 4),), {}, (2, 6, 9 + 3 + 4, 12 + 1 + 2), Work()),
        ("zero_pad_shortcut", (10, 2), {}, (2, 10, 5, 6), Work()),
    ],
)  # fmt: skip
def test_output_and_work(name, args, fields, output, work):
    assert run(name, *args, **fields) == (output, work)


def test_concat_and_add():
    assert run("concat", inputs=(IMAGE, (2, 4, 9, 12), IMAGE)) == ((2, 16, 9, 12), Work())
    assert run("concat", dim=-1, inputs=(IMAGE, (2, 6, 9, 1))) == ((2, 6, 9, 13), Work())
    assert run("add", inputs=(IMAGE,) * 3) == (IMAGE, Work(adds=2 * ELEMENTS))


def test_parameters_and_buffers_by_torchs_names():
    assert OPS["conv2d"](8, (1, 7), groups=2).parameters(IMAGE) == {"weight": (8, 3, 1, 7), "bias": (8,)}
    assert OPS["linear"](5, bias=False).parameters((2, 7)) == {"weight": (5, 7)}
    norm = OPS["batch_norm2d"]()
    assert norm.parameters(IMAGE) == {"weight": (6,), "bias": (6,)}
    assert norm.buffers(IMAGE) == {"running_mean": (6,), "running_var": (6,), "num_batches_tracked": ()}
    assert OPS["batch_norm2d"](affine=False, track_running_stats=False).parameters(IMAGE) == {}
    assert OPS["prelu"](6).parameters(IMAGE) == {"weight": (6,)}


def test_ops_that_allocate_their_output():
    makes = {
        name: OPS[name]().allocates_output()
        for name in ("relu", "sigmoid", "dropout", "flatten", "batch_norm2d", "add")
    }
    assert makes == {
        "relu": False, "sigmoid": True, "dropout": False, "flatten": False, "batch_norm2d": True, "add": True,
    }  # fmt: skip
    assert OPS["relu"](inplace=False).allocates_output()


def test_dimensions_counted_from_the_end_are_the_same_op():
    assert OPS["permute"]((0, -2, -1, 1)) == OPS["permute"]([0, 2, 3, 1])
    assert str(OPS["permute"]((0, -2, -1, 1))) == "permute((0, 2, 3, 1))"


def test_one_number_and_a_pair_are_the_same_op():
    assert OPS["conv2d"](8, 3, 2) == OPS["conv2d"](8, (3, 3), stride=[2, 2])
    assert hash(OPS["conv2d"](8, 3)) == hash(OPS["conv2d"](8, (3, 3)))
    assert OPS["max_pool2d"](2) == OPS["max_pool2d"](2, 2)
    assert OPS["relu"]() != OPS["relu6"]()


def test_windows_of_adaptive_pools():
    assert OPS["adaptive_avg_pool2d"](3).sliding_windows(IMAGE) == (Window(3, 3), Window(4, 4))
    assert OPS["adaptive_avg_pool2d"](4).sliding_windows(IMAGE) is None  # windows of 9 → 4 differ
    assert OPS["adaptive_avg_pool2d"](1).sliding_windows(IMAGE) is None  # the plane is gone


@pytest.mark.parametrize(
    ("name", "args", "fields", "inputs", "message"),
    [
        ("conv2d", (0, 3), {}, (IMAGE,), "out_channels must be at least 1, not 0"),
        ("conv2d", (8, 3), {"stride": (1, 0)}, (IMAGE,), "stride must be at least 1, not 0"),
        ("conv2d", (8, 3), {"bias": 1}, (IMAGE,), "bias must be true or false, not 1"),
        ("conv2d", (8, 3), {"groups": 4}, (IMAGE,), "6 input channels cannot be split into 4 groups"),
        ("conv2d", (8, 3), {"groups": 3}, (IMAGE,), "8 output channels cannot be split into 3 groups"),
        ("conv2d", (8, 5), {"dilation": 3}, (IMAGE,), "a kernel of 5 (dilated to 13) is larger than the input of 9 in height"),
        ("conv2d", (8, 3), {}, ((2, 6),), "conv2d takes an input of 4 sizes (batch, channels, height, width), not of 2: 2×6"),
        ("max_pool2d", (3,), {"padding": 2}, (IMAGE,), "padding must be at most half the kernel of 3, not 2"),
        ("max_pool2d", (3,), {"padding": 2, "dilation": 2}, (IMAGE,), "padding must be at most half the kernel of 3, not 2"),
        ("max_pool2d", (10,), {}, (IMAGE,), "a kernel of 10 is larger than the input of 9 in height"),
        ("prelu", (5,), {}, (IMAGE,), "prelu has 5 parameters, and its input 6 channels: they must agree, or be 1"),
        ("dropout", (1.5,), {}, (IMAGE,), "p must be a number ≥ 0 and ≤ 1, not 1.5"),
        ("softmax", (4,), {}, (IMAGE,), "dim 4 is not a dimension of an input with 4"),
        ("flatten", (2, 1), {}, (IMAGE,), "start_dim 2 comes after end_dim 1"),
        ("permute", ((0, 1, 2),), {}, (IMAGE,), "dims [0, 1, 2] need an input of 3 dimensions, not of 4: 2×6×9×12"),
        ("permute", ((0, 2, 2),), {}, (IMAGE,), "dims must name each dimension from 0 to 2 once, not [0, 2, 2]"),
        ("permute", ((0, 3, 1),), {}, (IMAGE,), "dims must name each dimension from 0 to 2 once, not [0, 3, 1]"),
        ("permute", ((0, -3, 1),), {}, (IMAGE,), "dims must name each dimension from 0 to 2 once, not [0, -3, 1]"),
        ("permute", ((0, True),), {}, (IMAGE,), "dims must be an integer, not True"),
        ("permute", (3,), {}, (IMAGE,), "dims must be a list of dimensions, not 3"),
        ("concat", (), {}, (IMAGE, (2, 6, 8, 12)), "concat takes inputs that agree in height, not 9 and 8: "
         "input 1 is 2×6×9×12, input 2 is 2×6×8×12"),
        ("add", (), {}, (IMAGE,), "add takes 2 or more inputs, not 1"),
        ("zero_pad_shortcut", (5,), {}, (IMAGE,), "zero_pad_shortcut cannot reduce 6 channels to 5"),
        ("pad", (9,), {"mode": "reflect"}, (IMAGE,), "reflect padding of 9 needs a height of at least 10, not 9"),
    ],
)  # fmt: skip
def test_invalid_ops_and_inputs_are_errors(name, args, fields, inputs, message):
    with pytest.raises(OpError) as error:
        infer_output(OPS[name](*args, **fields), inputs)
    assert str(error.value) == message


def test_activation_functions_are_nonlinearities_and_softmax_is_none():
    bending = {name for name, cls in OPS.items() if cls.nonlinearity}
    assert bending == {
        "relu", "relu6", "leaky_relu", "prelu", "elu", "gelu", "silu", "mish", "sigmoid", "tanh", "softplus",
        "hardswish", "hardsigmoid",
        *("hardtanh", "threshold", "celu", "selu", "rrelu", "log_sigmoid", "softsign", "tanhshrink", "softshrink"),
        *("hardshrink", "glu"),
    }  # fmt: skip


MODULES = """
adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d
alpha_dropout avg_pool1d avg_pool2d avg_pool3d batch_norm1d batch_norm2d batch_norm3d bilinear celu channel_shuffle conv1d
conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d dropout elu feature_alpha_dropout feature_dropout fold
gelu global_avg_pool2d glu grid_sample group_norm hardshrink hardsigmoid hardswish hardtanh instance_norm1d
instance_norm2d instance_norm3d interpolate layer_norm leaky_relu linear local_response_norm log_sigmoid log_softmax
max_pool1d max_pool2d max_pool3d mish pixel_shuffle pixel_unshuffle prelu relu relu6 rms_norm rrelu selu sigmoid silu
softmax softmin softplus softshrink softsign tanh tanhshrink threshold unfold
"""


def test_ops_that_are_modules():
    assert sorted(name for name in OPS if OPS[name].is_module) == MODULES.split()
