"""Layouts: spatial dimensions under permutes, and views that must copy."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from op_cases import ALONE, CASES
from small_graphs import chain

import costcalc
from costcalc.core.errors import OpError
from costcalc.ir.op import infer_output
from costcalc.ir.ops import OPS

TO_LAST, TO_FIRST = OPS["permute"]((0, 2, 3, 1)), OPS["permute"]((0, 3, 1, 2))


def facts(graph, layer):
    """What is said of the plane at a layer: its size, the field and its stride."""
    row = next(row for row in costcalc.analyze(graph).rows if row.path == layer)
    return row.spatial_size, row.receptive_field, row.receptive_stride


def test_a_linear_layer_on_channels_last_sees_what_the_1x1_convolution_sees():
    before = ("conv", OPS["conv2d"](8, 3, stride=2))
    after = [
        ("relu", OPS["relu"]()),
        ("pool", OPS["max_pool2d"]((2, 1))),
        ("wide", OPS["conv2d"](5, (2, 3), padding=1)),
    ]
    shape = (2, 3, 17, 13)
    conv = chain(before, ("one", OPS["conv2d"](4, 1)), *after, shape=shape)
    linear = chain(before, ("last", TO_LAST), ("one", OPS["linear"](4)), ("first", TO_FIRST), *after, shape=shape)
    for layer in ("conv", "one", "relu", "pool", "wide"):
        assert facts(linear, layer) == facts(conv, layer)
    for layer in ("last", "one", "first"):
        assert facts(linear, layer) == ((8, 6), (3, 3), (2, 2))
    assert linear.spatial_size("one") == (8, 6)
    assert linear.shapes["one"] == (2, 8, 6, 4)
    stages = [
        [(row.path, row.macs) for row in costcalc.analyze(graph).by_resolution().rows] for graph in (conv, linear)
    ]
    assert stages[0] == stages[1]


def test_spatial_dimensions_follow_a_permute():
    graph = chain(("turned", OPS["permute"]((0, 1, 3, 2))), shape=(1, 3, 5, 7))
    assert graph.layouts["turned"].spatial_dims == (3, 2)
    assert facts(graph, "turned")[0] == (5, 7)
    merged = chain(("last", TO_LAST), ("rows", OPS["flatten"](0, 1)), shape=(1, 3, 5, 7))
    assert facts(merged, "rows") == (None, None, None)
    batches = chain(("channels", OPS["flatten"](0, 1)), shape=(2, 3, 5, 7))
    assert facts(batches, "channels") == ((5, 7), (1, 1), (1, 1))


def test_a_linear_layer_along_the_width_ends_the_plane():
    assert facts(chain(("linear", OPS["linear"](4))), "linear") == (None, None, None)


def test_windows_over_other_dimensions_have_no_receptive_field():
    slid = chain(("last", TO_LAST), ("conv", OPS["conv2d"](4, 3)), ("relu", OPS["relu"]()))
    assert facts(slid, "conv")[1] is None
    assert facts(slid, "relu")[1] is None
    turned = chain(
        ("c", OPS["conv2d"](3, 1)), ("turned", OPS["permute"]((0, 1, 3, 2))), ("add", OPS["add"](), "c", "turned")
    )
    assert facts(turned, "add")[1] is None


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_flatten_copies_dimensions_that_are_not_in_order(device):
    for layers, copied in [
        ([TO_LAST], 8 * 8 * 3 * 2),
        ([TO_LAST, TO_FIRST], 0),
        ([TO_LAST, OPS["linear"](5)], 0),
        ([TO_LAST, OPS["linear"](5), TO_FIRST], 5 * 64 * 2),
        ([TO_LAST, OPS["linear"](5), TO_FIRST, OPS["relu"]()], 5 * 64 * 2),
        ([TO_LAST, OPS["linear"](5), TO_FIRST, OPS["max_pool2d"](2)], 5 * 16 * 2),
        ([TO_LAST, OPS["linear"](5), TO_FIRST, OPS["global_avg_pool2d"]()], 0),
        ([TO_LAST, OPS["linear"](1), TO_FIRST], 0),
        ([TO_LAST, OPS["linear"](5), TO_FIRST, OPS["softmax"]()], 0),
        ([OPS["permute"]((1, 0, 2, 3))], 3 * 2 * 64),
    ]:
        named = [(f"layer{i}", op) for i, op in enumerate([OPS["conv2d"](3, 1), *layers, OPS["flatten"]()])]
        graph = chain(*named)
        assert costcalc.analyze(graph).rows[-1].activations == copied, layers
        assert costcalc.check(graph, device=device).differences == ()
    partly = chain(
        ("c", OPS["conv2d"](3, 1)), ("last", TO_LAST), ("rows", OPS["flatten"](1, 2)), ("all", OPS["flatten"]())
    )
    assert [row.activations for row in costcalc.analyze(partly).rows[2:]] == [0, 8 * 8 * 3 * 2]
    assert costcalc.check(partly, device=device).differences == ()


# Ops with a layout that is not modelled: reductions, sorting, and elementwise ops that run several kernels; and unfold,
# which is known to allocate more memory than its output takes.
NOT_MODELLED = {name for name in OPS if OPS[name].__module__.endswith("reduction")}
NOT_MODELLED |= {"sort", "argsort", "log_sigmoid", "rrelu", "pow", "linear", "permute", "unknown", "unfold"}


@pytest.mark.parametrize("name", [name for name in ALONE if name not in NOT_MODELLED and OPS[name].arity != (0, 0)])
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), train=st.booleans())
def test_every_op_leaves_a_permuted_tensor_as_torch_does(name, data, train):
    """A flatten after the op allocates as many bytes as in torch on a CPU."""
    make_op, _, *element_types = CASES[name](data.draw)
    op = make_op({"n": 2, "m": 2, "k": 2, "g": 2, "h": 9, "w": 9})
    if name == "flatten":
        assume(op.start_dim == 1)
    several = op.arity[0] > 1 or op.arity[1] is None
    try:
        infer_output(op, ((2, 4, 9, 10),) * (2 if several else 1))
    except OpError:
        return  # the op does not accept these images
    if element_types:
        return
    mixed = data.draw(st.permutations(["conv", "first"])) if data.draw(st.booleans()) else ["first", "first"]
    layers = [("conv", OPS["conv2d"](4, 1)), ("last", TO_LAST), ("linear", OPS["linear"](4)), ("first", TO_FIRST)]
    graph = chain(
        *layers, ("op", op, *(mixed if several else ["first"])), ("flat", OPS["flatten"]()), shape=(2, 3, 9, 10)
    )
    checked = costcalc.check(graph, device="cpu", train=train)
    assert (checked.differences, [d for d in checked.known_differences if d.figure == "activation bytes"]) == ((), [])


def test_formulas_follow_channels_features_and_spatial_dimensions():
    graph = chain(("last", TO_LAST), ("linear", OPS["linear"](4)))
    macs = next(line for line in costcalc.explain(graph, "linear") if line.quantity == "MACs")
    assert macs.formula == "N·H·W·F_out·F_in"
    assert macs.value == 2 * 8 * 8 * 4 * 3
    assert costcalc.explain(graph, "last") == []
