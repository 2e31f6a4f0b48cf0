"""Normalisations, pools and resampling: shapes and work worked out by hand, and how they are imported."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import costcalc
from costcalc.core.errors import OpError
from costcalc.frontends.torch.export import from_torch, trace
from costcalc.ir.op import infer_output
from costcalc.ir.ops import OPS
from costcalc.ir.work import Work

IMAGE = (2, 6, 8, 10)
ELEMENTS = 2 * 6 * 8 * 10


def made(op, *inputs):
    output, _ = infer_output(op, inputs)
    return output, op.work(inputs, output)


NORMS = {
    # Per element: mean 1 add, variance 1 mul 1 add, normalisation 1 add 1 mul, affine 1 mul 1 add; per row 2 divs, a root.
    "layer_norm": (OPS["layer_norm"]((10,)), 4, 3, 2 * 6 * 8),
    "layer_norm over the plane": (OPS["layer_norm"]((8, 10), elementwise_affine=False), 3, 2, 2 * 6),
    "layer_norm without bias": (OPS["layer_norm"]((10,), bias=False), 3, 3, 2 * 6 * 8),
    "group_norm": (OPS["group_norm"](3), 4, 3, 2 * 3),
    "instance_norm2d": (OPS["instance_norm2d"](), 3, 2, 2 * 6),
}


@pytest.mark.parametrize("name", NORMS)
def test_work_of_a_normalisation(name):
    op, adds, muls, rows = NORMS[name]
    assert made(op, IMAGE) == (IMAGE, Work(adds=adds * ELEMENTS, muls=muls * ELEMENTS, divs=2 * rows, exps=rows))


def test_root_mean_square_and_running_statistics():
    rows = 2 * 6 * 8
    assert made(OPS["rms_norm"]((10,)), IMAGE)[1] == Work(adds=ELEMENTS, muls=3 * ELEMENTS, divs=rows, exps=rows)
    folded = Work(adds=ELEMENTS, muls=ELEMENTS)
    assert made(OPS["instance_norm2d"](track_running_stats=True), IMAGE)[1] == folded
    assert made(OPS["batch_norm3d"](), (2, 6, 2, 4, 10))[1] == folded
    assert made(OPS["batch_norm1d"](), (2, 480))[1] == folded


def test_weights_are_parameters_or_operands():
    op = OPS["layer_norm"]((8, 10))
    assert op.parameters(IMAGE) == {"weight": (8, 10), "bias": (8, 10)}
    assert op.parameters(IMAGE, (8, 10), (8, 10)) == {}
    assert OPS["group_norm"](3).parameters(IMAGE) == {"weight": (6,), "bias": (6,)}
    assert OPS["batch_norm1d"]().buffers((2, 6, 9)) == {
        "running_mean": (6,),
        "running_var": (6,),
        "num_batches_tracked": (),
    }


@pytest.mark.parametrize(
    ("op", "taken", "output", "work"),
    [
        (OPS["max_pool1d"](3, stride=2), (2, 4, 9), (2, 4, 4), Work(compares=2 * 2 * 4 * 4)),
        (OPS["max_pool3d"](2), (1, 4, 4, 6, 8), (1, 4, 2, 3, 4), Work(compares=7 * 4 * 2 * 3 * 4)),
        (OPS["avg_pool1d"](3), (2, 4, 9), (2, 4, 3), Work(adds=2 * 24, divs=24)),
        (OPS["adaptive_avg_pool1d"](4), (1, 1, 10), (1, 1, 4), Work(adds=3 + 3 + 3 + 3 - 4, divs=4)),
        (OPS["adaptive_max_pool2d"]((None, 2)), (1, 3, 5, 8), (1, 3, 5, 2), Work(compares=3 * 5 * 2 * 3)),
        (OPS["interpolate"](scale_factor=(2, 2)), IMAGE, (2, 6, 16, 20), Work()),
        (OPS["interpolate"]((7,), mode="linear"), (1, 1, 9), (1, 1, 7), Work(muls=2 * 7, adds=7)),
        (
            OPS["interpolate"](scale_factor=(1.5, 0.5), mode="bilinear"),
            IMAGE,
            (2, 6, 12, 5),
            Work(muls=6 * 720, adds=3 * 720),
        ),
        (OPS["interpolate"]((4, 4), mode="bicubic"), (1, 1, 2, 2), (1, 1, 4, 4), Work(muls=20 * 16, adds=15 * 16)),
        (OPS["pixel_shuffle"](2), (1, 8, 3, 5), (1, 2, 6, 10), Work()),
        (OPS["pixel_unshuffle"](2), (1, 2, 6, 10), (1, 8, 3, 5), Work()),
        (OPS["unfold"](3, padding=1), (1, 2, 6, 10), (1, 18, 60), Work()),
        (OPS["fold"]((6, 10), 2, stride=2), (1, 8, 15), (1, 2, 6, 10), Work(adds=8 * 15)),
    ],
)
def test_shapes_and_work(op, taken, output, work):
    assert made(op, taken) == (output, work)


def test_antialiasing_looks_at_more_where_the_plane_shrinks():
    # 8 rows of 10 become 8 of 5, 2 taps for each that was there; then these 8 rows 16, 2 taps for each that is made.
    wide = 2 * 8 * 10
    tall = 5 * 2 * 16
    op = OPS["interpolate"](size=(16, 5), mode="bilinear", antialias=True)
    assert made(op, (1, 1, 8, 10))[1] == Work(muls=wide + tall, adds=wide + tall - 8 * 5 - 16 * 5)


def test_a_grid_says_what_is_sampled():
    output, work = made(OPS["grid_sample"](), (1, 3, 8, 8), (1, 4, 5, 2))
    assert output == (1, 3, 4, 5)
    assert work == Work(muls=6 * 60 + 4 * 5 * 2, adds=3 * 60 + 4 * 5 * 2)


@pytest.mark.parametrize(
    ("make", "shapes", "words"),
    [
        (lambda: OPS["layer_norm"]((7,)), [IMAGE], "over a dimension of 7, but its input has 10"),
        (lambda: OPS["group_norm"](4), [IMAGE], "6 channels cannot be split into 4 groups"),
        (lambda: OPS["instance_norm2d"](), [(2, 6, 1, 1)], "1 value has no variance"),
        (lambda: OPS["interpolate"](), [IMAGE], "either a size or a scale_factor"),
        (lambda: OPS["interpolate"](size=(4,), mode="bilinear"), [IMAGE], "needs 2 axes, not 1"),
        (lambda: OPS["pixel_shuffle"](2), [IMAGE], "6 channels are not a multiple"),
        (lambda: OPS["fold"]((6, 10), 2, stride=2), [(1, 8, 14)], "14 patches, but output_size needs 15"),
    ],
)
def test_what_does_not_fit_is_told(make, shapes, words):
    with pytest.raises(OpError, match=words):
        infer_output(make(), tuple(shapes))


# -- imported -----------------------------------------------------------------------------------------------------


class Calls(nn.Module):
    """A module that computes a function of its parts."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs):
        return self.function(self, *inputs)


def ops(module, *inputs):
    graph = from_torch(module, *inputs)
    assert graph.notes == ()
    return [str(node.op) for node in graph.nodes]


X = torch.zeros(2, 4, 6, 8)


@pytest.mark.parametrize(
    ("module", "x", "op"),
    [
        (nn.BatchNorm1d(4), X[:, :, 0], "batch_norm1d()"),
        (nn.BatchNorm3d(2, track_running_stats=False), X[None], "batch_norm3d(track_running_stats=False)"),
        (nn.LayerNorm([6, 8]), X, "layer_norm((6, 8))"),
        (nn.GroupNorm(2, 4, affine=False), X, "group_norm(2, affine=False)"),
        (nn.InstanceNorm2d(4), X, "instance_norm2d()"),
        (nn.RMSNorm(8), X, "rms_norm((8,))"),
        (nn.MaxPool1d(2), X[0], "max_pool1d(2, stride=2)"),
        (nn.AvgPool3d(2), X[None], "avg_pool3d(2, stride=2)"),
        (nn.AdaptiveMaxPool2d((None, 1)), X, "adaptive_max_pool2d((6, 1), return_indices=True)"),
        (nn.Upsample(scale_factor=2), X, "interpolate(scale_factor=(2.0, 2.0))"),
        (nn.Upsample((9, 9), mode="bicubic"), X, "interpolate(size=(9, 9), mode='bicubic', align_corners=False)"),
        (nn.PixelShuffle(2), X, "pixel_shuffle(2)"),
        (nn.Unfold(3, padding=1), X, "unfold(3, padding=1)"),
        (nn.Dropout(0.3, inplace=True), X, "dropout(p=0.3, inplace=True)"),
        (nn.Dropout2d(0.3), X, "feature_dropout(p=0.3)"),
        (Calls(lambda m, x: F.dropout(x, 0.3, False)), X, "dropout(p=0.3)"),
    ],
)  # fmt: skip
def test_an_imported_layer(module, x, op):
    assert ops(module, x) == [op]


def test_a_weight_that_is_computed_is_an_operand():
    module = Calls(
        lambda m, x: F.batch_norm(x, None, None, weight=m.gain * 0.5, training=True), gain=nn.Parameter(torch.ones(4))
    )
    assert ops(module, X) == ["parameter((4,))", "mul(other=0.5)", "batch_norm2d(track_running_stats=False)"]
    shared = Calls(lambda m, x: m.norm(m.norm(x)), norm=nn.LayerNorm(8))
    assert costcalc.analyze(from_torch(shared, X)).total().params == 16


def test_sizes_that_are_free():
    module = Calls(
        lambda m, x: m.norm(F.interpolate(F.adaptive_avg_pool2d(x, (None, 4)), x.shape[-2:]) + x).mean(),
        norm=nn.GroupNorm(2, 4),
    )
    traced = trace(module, [X], dynamic_sizes=["height"])
    larger = from_torch(module, torch.zeros(2, 4, 30, 8))
    assert costcalc.analyze(traced.specialize(height=30)).total().work == costcalc.analyze(larger).total().work


# What fvcore 0.1.5 prints of a network of this one layer, in evaluation.
@pytest.mark.parametrize(
    ("module", "printed"),
    [
        (nn.BatchNorm2d(4, affine=False), 384),
        (nn.BatchNorm2d(4, track_running_stats=False), 1920),
        (nn.LayerNorm(8), 1920),
        (nn.LayerNorm(8, elementwise_affine=False), 1536),
        (nn.GroupNorm(2, 4), 1920),
        (nn.InstanceNorm2d(4), 1536),
        (nn.RMSNorm(8), 0),
        (nn.AdaptiveAvgPool2d(2), 384),
        (nn.AdaptiveMaxPool2d(2), 0),
        (nn.Upsample(scale_factor=2, mode="bilinear"), 6144),
        (nn.Upsample(scale_factor=2), 1536),
        (nn.Upsample(scale_factor=2, mode="bicubic"), 0),
    ],
)
def test_fvcore(module, printed):
    assert costcalc.analyze(from_torch(module, X), convention="fvcore").total().flops == printed
