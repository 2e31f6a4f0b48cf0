"""Cost tables: rows add up, grouping preserves totals, ints, arrays and expressions agree, nothing is silently zero."""

from __future__ import annotations

import numpy as np
import pytest
import sympy

import costcalc
from costcalc import Builder, CostcalcError
from costcalc.analysis.conventions import CONVENTIONS
from costcalc.frontends.spec import architectures
from costcalc.ir.ops import OPS
from costcalc.ir.work import NO_WORK, Work

NAMES = list(architectures())
COUNTS = (
    "params", "macs", "flops", "activations", "param_bytes", "activation_bytes", "weights", "weight_layers",
    "nonlinearities",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_rows_add_up_however_they_are_grouped(name, convention):
    costs = costcalc.analyze(costcalc.load(name), convention=convention)
    total = costs.total()
    for table in (costs, costs.by_stage(), costs.by_stage(2), costs.by_op(), costs.by_resolution()):
        for count in COUNTS:
            values = [getattr(row, count) for row in table.rows]
            assert sum(values) == getattr(total, count), count
            assert all(0 <= value <= getattr(total, count) for value in values), count
        assert sum((row.work for row in table.rows), NO_WORK) == total.work
        assert sum(row.layer_count for row in table.rows) == len(costs.rows)


@pytest.mark.parametrize("name", NAMES)
def test_everything_but_parameters_is_linear_in_the_batch(name):
    one, five = (costcalc.analyze(costcalc.load(name, batch=n), convention="full").total() for n in (1, 5))
    assert one.params == five.params
    for count in ("macs", "flops", "activations", "activation_bytes"):
        assert getattr(five, count) == 5 * getattr(one, count)


@pytest.mark.parametrize(
    "name", ["vgg16-torchvision", "googlenet", "resnet18", "inception_v3", "nin", "resnet20-cifar"]
)
def test_networks_agree_on_ints_arrays_and_expressions(name):
    sizes = [(2, 299, 331, 7), (1, 320, 299, 1000)]
    keys = ("batch", "height", "width", "classes")
    expected = [costcalc.analyze(costcalc.load(name, **dict(zip(keys, s, strict=True)))).total() for s in sizes]
    arrays = {key: np.array(values) for key, values in zip(keys, zip(*sizes, strict=True), strict=True)}
    of_arrays = costcalc.analyze(costcalc.load(name, **arrays)).total()
    symbols = {key: sympy.Symbol(key, integer=True, positive=True) for key in keys}
    of_symbols = costcalc.analyze(costcalc.load(name, **symbols)).total()
    for count in ("params", "macs", "flops", "activations"):
        for i, size in enumerate(sizes):
            number = getattr(expected[i], count)
            assert np.broadcast_to(getattr(of_arrays, count), 2)[i] == number
            put_in = dict(zip((symbols[k] for k in keys), size, strict=True))
            assert sympy.sympify(getattr(of_symbols, count)).subs(put_in) == number


def test_a_design_space_broadcasts_and_stays_exact():
    widths = np.array([16, 64, 2**30])[:, None]
    batches = np.array([1, 2**20])[None, :]
    total = costcalc.analyze(costcalc.load("vgg16", base_channels=widths, batch=batches)).total()
    assert total.macs.shape == (3, 2)
    for i, width in enumerate(widths.flat):
        for j, batch in enumerate(batches.flat):
            alone = costcalc.load("vgg16", base_channels=int(width), batch=int(batch))
            assert total.macs[i, j] == costcalc.analyze(alone).total().macs
    assert total.macs.dtype == object


def test_counts_of_unknown_layers_are_none_and_not_in_totals():
    builder = Builder("net", channels=3, height=8, width=8)
    builder.add("conv", OPS["conv2d"](4, 3))
    builder.add("odd", OPS["unknown"]("deform_conv2d"))
    builder.add("fc", OPS["linear"](2))
    costs = costcalc.analyze(builder.build())
    odd = costs.rows[1]
    assert (odd.params, odd.work, odd.macs, odd.flops, odd.param_bytes) == (None,) * 5
    assert odd.activations == 4 * 6 * 6
    assert [row.path for row in costs.unknown] == ["odd"]
    assert [row.path for row in costs.by_stage().unknown] == ["odd"]
    assert costs.total().params == 4 * 3 * 9 + 4 + 2 * 6 + 2


def test_stages_by_depth_and_below():
    costs = costcalc.analyze(costcalc.load("googlenet"))
    assert [row.path for row in costs.by_stage().rows][:3] == ["stem", "inception3a", "inception3b"]
    assert "inception3a/5x5" in [row.path for row in costs.by_stage(2).rows]
    assert costs.below("inception3a/5x5").total().flops == 24_887_296
    assert costs.below("nowhere").rows == ()
    with pytest.raises(ValueError, match="1 or more"):
        costs.by_stage(0)


def test_a_pool_works_at_the_resolution_of_its_input():
    rows = costcalc.analyze(costcalc.load("vgg16")).by_resolution().rows
    assert [(row.path, row.layer_count) for row in rows] == [
        ("224×224", 5), ("112×112", 5), ("56×56", 7), ("28×28", 7), ("14×14", 7), ("head", 8),
    ]  # fmt: skip
    rows = costcalc.analyze(costcalc.load("resnet18")).by_resolution().rows
    assert [row.path for row in rows] == ["112×112", "56×56", "28×28", "14×14", "7×7", "head"]


@pytest.mark.parametrize(("dtype", "size"), [("fp64", 8), ("fp32", 4), ("fp16", 2), ("bf16", 2), ("int8", 1)])
def test_bytes_follow_the_dtype(dtype, size):
    total = costcalc.analyze(costcalc.load("vgg16"), dtype=dtype).total()
    assert (total.param_bytes, total.activation_bytes) == (138_357_544 * size, 15_087_080 * size)


def test_conventions_by_hand():
    builder = Builder("net", batch=2, channels=3, height=8, width=8)
    builder.add("conv", OPS["conv2d"](4, 3, padding=1))
    builder.add("bn", OPS["batch_norm2d"]())
    builder.add("relu", OPS["relu"]())
    builder.add("pool", OPS["max_pool2d"](2))
    builder.add("gap", OPS["global_avg_pool2d"]())
    graph = builder.build()
    macs, plane = 2 * 8 * 8 * 4 * 3 * 9, 2 * 4 * 8 * 8
    pools = 2 * 4 * 4 * 4 * 4 + 2 * 4 * 16
    full = 2 * macs + plane + 2 * plane + plane + 2 * 4 * 16 * 3 + 2 * 4 * 15 + 2 * 4
    for convention, flops in (
        ("flops", 2 * macs), ("macs", macs), ("full", full), ("bologna", 2 * macs + pools),
        ("eecs498", macs + pools), ("cs231n", macs),
    ):  # fmt: skip
        costs = costcalc.analyze(graph, convention=convention)
        assert costs.total().flops == flops
        assert costs.total().macs == macs
    bologna = {row.path: row for row in costcalc.analyze(graph, convention="bologna").rows}
    assert bologna["conv"].activation_bytes == plane * 2 * 4
    assert bologna["bn"].activation_bytes == 0
    assert bologna["conv"].param_bytes == 3 * 4 * (4 * 3 * 9 + 4)


def test_bologna_stores_only_the_concat_of_a_module():
    costs = costcalc.analyze(costcalc.load("inception_v3"), convention="bologna")
    stored = {row.path for row in costs.below("mixed7b").rows if row.activation_bytes}
    assert stored == {"mixed7b/concat"}  # and not the inner concats


def test_work_adds_and_multiplies():
    assert Work(macs=1, adds=2) + Work(macs=3) * 2 == Work(macs=7, adds=2)
    assert 2 * Work(exps=1) == Work(exps=2)
    assert Work(1, 2, 3, 4, 5, 6).operations == 2 + 2 + 3 + 4 + 5 + 6


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"convention": "flop"}, r"no convention 'flop' \(did you mean 'flops'\?\)"),
        ({"dtype": "fp31"}, r"no dtype 'fp31' \(did you mean 'fp32'"),
    ],
)
def test_a_misspelt_convention_or_dtype_raises(keywords, message):
    with pytest.raises(CostcalcError, match=message):
        costcalc.analyze(costcalc.load("nin"), **keywords)
