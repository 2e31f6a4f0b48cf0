"""Moves on heads, and 1×1 convolutions as linear layers: by hand arithmetic, by laws, and on graphs made by hand."""

from __future__ import annotations

from functools import cache
from time import perf_counter

import pytest
import sympy
from small_graphs import chain

import costcalc
from costcalc import CostcalcError, Graph, Input, Node, analyze, load, rewrite
from costcalc.ir.ops import OPS
from costcalc.transforms import rules

NETWORKS = [*costcalc.architectures()]
POINTWISE = [name for name in NETWORKS if rewrite(load(name), "1x1-to-linear").changed]
TO_LAST, TO_FIRST = OPS["permute"]((0, 2, 3, 1)), OPS["permute"]((0, 3, 1, 2))


@cache
def network(name):
    return load(name, **({"aux": True} if "aux" in costcalc.architectures()[name].settings else {}))


def rows(graph):
    return {row.path: row for row in analyze(graph).rows}


def calls(graph, *names):
    found = {node.name: f"{node.op} on {', '.join(node.inputs)}" for node in graph.nodes}
    return [found[name] for name in names]


def reasons(done):
    return {skip.path: skip.reason for skip in done.skipped}


# -- gap-head -----------------------------------------------------------------------------------------------------


def test_vgg16_without_its_fully_connected_layers():
    done = rewrite(load("vgg16"), "gap-head")
    assert analyze(load("vgg16")).below("head").total().params == 123_642_856
    assert analyze(load("vgg16")).below("head").total().params == (
        (512 * 7 * 7 * 4096 + 4096) + (4096 * 4096 + 4096) + (4096 * 1000 + 1000)
    )
    assert analyze(done.after).total().params == 14_714_688 + 512 * 1000 + 1000
    assert [tuple(change) for change in done.changed] == [
        ("head/flatten", "3 linear layers on 512×7×7 → one on 512 averages")
    ]
    assert [node.name for node in done.after.select("head")] == [
        "head/pool", "head/flatten", "head/dropout_2", "head/fc3",
    ]  # fmt: skip
    assert calls(done.after, "head/pool", "head/flatten", "head/dropout_2", "head/fc3") == [
        "global_avg_pool2d() on stage5/pool",
        "flatten() on head/pool",
        "dropout() on head/flatten",
        "linear(1000) on head/dropout_2",
    ]


def test_an_adaptive_pool_before_the_flatten_goes_too():
    of_torchvision = rewrite(load("vgg16-torchvision"), "gap-head").after
    assert of_torchvision.nodes == rewrite(load("vgg16"), "gap-head").after.nodes


def test_googlenets_head_flattened_would_be_49_times_as_large():
    graph = load("googlenet")
    nodes = [node for node in graph.nodes if node.name != "head/pool"]
    flat = [Node(n.name, n.op, tuple("inception5b/concat" if i == "head/pool" else i for i in n.inputs)) for n in nodes]
    flattened = Graph("flattened", graph.inputs, tuple(flat), graph.outputs)
    assert rows(flattened)["head/fc"].params == 7 * 7 * 1024 * 1000 + 1000 == 50_177_000
    averaged = rewrite(flattened, "gap-head")
    assert rows(averaged.after)["head/fc"].params == 1024 * 1000 + 1000 == 1_025_000
    assert averaged.after.nodes == graph.nodes  # the paper's head, dropout and names included


def test_what_is_averaged_already_stays():
    for name in ("googlenet", "resnet50", "inception_v3"):
        done = rewrite(load(name), "gap-head")
        assert done.after is done.before
        assert list(reasons(done).values()) == ["its plane is averaged already"]
    for move in ("gap-head", "gap-head:nin"):
        assert reasons(rewrite(load("nin"), move)) == {"head/flatten": "no linear layer reads its vector"}


def test_auxiliary_heads_are_places_that_a_pattern_chooses():
    graph = network("googlenet")
    assert [change.path for change in rewrite(graph, "gap-head").changed] == ["aux1/flatten", "aux2/flatten"]
    done = rewrite(graph, "gap-head", at="aux2")
    assert [change.path for change in done.changed] == ["aux2/flatten"]
    assert done.after.outputs == graph.outputs == ("head/fc", "aux1/fc2", "aux2/fc2")
    # averages of 4×4 places of 128 channels, and one layer of 1000 for two of 1024 and 1000
    assert analyze(done.after).below("aux2").total().params == (528 * 128 + 128) + (128 * 1000 + 1000)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("move", ["gap-head", "gap-head:nin", "fc-to-conv"])
def test_what_comes_before_a_head_stays_as_it_was(name, move):
    done = rewrite(network(name), move)
    before, after = rows(done.before), rows(done.after)
    heads = {change.path.rpartition("/")[0] for change in done.changed}
    for node in done.before.nodes:
        group = node.name.rpartition("/")[0]
        if group not in heads and node.name in after:
            assert after[node.name] == before[node.name]
    if "" not in heads:
        assert {path for path in before if path.rpartition("/")[0] not in heads} <= {*after, "avgpool"}


@pytest.mark.parametrize(("move", "params"), [("gap-head", 4 * 6 + 6), ("gap-head:nin", 4 * 6 + 6)])
def test_activations_before_the_first_layer_stay_and_one_dropout(move, params):
    graph = chain(
        ("conv", OPS["conv2d"](4, 3)), ("flat", OPS["flatten"]()), ("d1", OPS["dropout"](0.1)), ("act", OPS["gelu"]()),
        ("fc1", OPS["linear"](9)), ("tanh", OPS["tanh"]()), ("d2", OPS["dropout"](0.2)), ("fc2", OPS["linear"](6)),
        ("prob", OPS["softmax"]()),
    )  # fmt: skip
    after = rewrite(graph, move).after
    names = [node.name for node in after.nodes]
    assert (
        names
        == {
            "gap-head": ["conv", "act", "pool", "flat", "d2", "fc2", "prob"],
            "gap-head:nin": ["conv", "act", "d2", "fc2", "relu", "pool", "flat", "prob"],
        }[move]
    )
    assert rows(after)["fc2"].params == params
    assert after.shapes["prob"] == (2, 6)


def test_a_layer_that_others_read_ends_a_head():
    two = chain(
        ("flat", OPS["flatten"]()), ("fc1", OPS["linear"](5)), ("act", OPS["relu"]()), ("box", OPS["linear"](4), "act"),
        ("score", OPS["linear"](2), "act"), outputs=("score", "box"),
    )  # fmt: skip
    after = rewrite(two, "gap-head").after
    assert after.outputs == ("score", "box")
    assert [rows(after)[name].params for name in ("fc1", "box", "score")] == [3 * 5 + 5, 5 * 4 + 4, 5 * 2 + 2]
    read = chain(
        ("flat", OPS["flatten"]()), ("a", OPS["linear"](5)), ("b", OPS["linear"](5), "flat"), outputs=("a", "b")
    )
    wanted = {"flat": "its vector has several readers, or is an output"}
    assert reasons(rewrite(read, "gap-head")) == wanted
    both = chain(("flat", OPS["flatten"]()), ("a", OPS["linear"](5)), outputs=("a", "flat"))
    assert reasons(rewrite(both, "gap-head")) == wanted
    pool = chain(
        ("pool", OPS["adaptive_avg_pool2d"](2)),
        ("flat", OPS["flatten"]()),
        ("fc", OPS["linear"](5)),
        outputs=("fc", "pool"),
    )
    kept = rewrite(pool, "gap-head").after
    assert [node.name for node in kept.nodes] == ["pool", "pool_2", "flat", "fc"]


@pytest.mark.parametrize(
    ("layers", "shape", "reason"),
    [
        ([("flat", OPS["flatten"]()), ("fc", OPS["linear"](5))], (2, 3, 1, 1), "its plane is a single position"),
        ([("flat", OPS["flatten"]()), ("soft", OPS["softmax"]()), ("fc", OPS["linear"](5))], (2, 3, 4, 4),
         "no linear layer reads its vector"),
        ([("flat", OPS["flatten"]()), ("slopes", OPS["prelu"](48)), ("fc", OPS["linear"](5))], (2, 3, 4, 4),
         "no linear layer reads its vector"),
    ],
)  # fmt: skip
def test_other_reasons(layers, shape, reason):
    for move in ("gap-head", "gap-head:nin"):
        assert reasons(rewrite(chain(*layers, shape=shape), move)) == {"flat": reason}


def test_heads_that_share_parameters_stay():
    layers = [("flat", OPS["flatten"]()), ("fc1", OPS["linear"](192)), ("fc2", OPS["linear"](192))]
    graph = chain(*layers)
    nodes = (*graph.nodes[:2], Node("fc2", OPS["linear"](192), ("fc1",), shares="fc1"))
    shared = Graph("shared", graph.inputs, nodes, ("fc2",))
    assert reasons(rewrite(shared, "gap-head")) == {"flat": "its parameters are shared with another layer"}
    for move in ("fc-to-conv", "linear-to-1x1"):
        assert set(reasons(rewrite(shared, move)).values()) == {"its parameters are shared with another layer"}


def test_what_flattens_no_image_is_no_head():
    rows_of = chain(("flat", OPS["flatten"](2)), ("fc", OPS["linear"](5)))
    assert rewrite(rows_of, "gap-head") == (rows_of, rows_of, rewrite(rows_of, "gap-head").steps)
    assert not rewrite(rows_of, "gap-head").skipped
    last = chain(("last", TO_LAST), ("flat", OPS["flatten"]()), ("fc", OPS["linear"](5)))
    assert reasons(rewrite(last, "fc-to-conv")) == {"fc": "it does not follow a flatten of a plane"}


def test_nin_makes_the_class_maps_by_a_1x1_convolution():
    done = rewrite(load("googlenet"), "gap-head:nin")
    assert calls(done.after, "head/dropout", "head/fc", "head/relu", "head/pool", "head/flatten") == [
        "dropout(p=0.4) on inception5b/concat",
        "conv2d(1000, 1) on head/dropout",
        "relu() on head/fc",
        "global_avg_pool2d() on head/relu",
        "flatten() on head/pool",
    ]
    assert done.after.outputs == ("head/flatten",)
    after = rows(done.after)["head/fc"]
    assert (after.params, after.macs) == (1024 * 1000 + 1000, 7 * 7 * 1024 * 1000)
    assert rows(done.before)["head/fc"].macs == 1024 * 1000
    of_vgg = rewrite(load("vgg16"), "gap-head:nin").after
    assert [node.op.name for node in of_vgg.nodes if node.op.weight_layer] == ["conv2d"] * 14
    assert analyze(of_vgg).total().params == 14_714_688 + 512 * 1000 + 1000


def test_nins_head_is_nins():
    """NiN's own head, from the one that has a linear layer instead of the last convolution."""
    nin = load("nin")
    head = ["mlpconv4/cccp2", "mlpconv4/relu_3", "head/pool", "head/flatten"]
    body = [node for node in nin.nodes if node.name not in head]
    plain = [
        Node("head/pool", OPS["global_avg_pool2d"](), ("mlpconv4/relu_2",)),
        Node("head/flatten", OPS["flatten"](), ("head/pool",)),
        Node("mlpconv4/cccp2", OPS["linear"](1000), ("head/flatten",)),
    ]
    graph = Graph("nin", nin.inputs, (*body, *plain), ("mlpconv4/cccp2",))
    made = rewrite(graph, "gap-head:nin").after
    assert [(node.op, node.name) for node in made.nodes if node.op.name != "relu"] == [
        (node.op, node.name) for node in nin.nodes if node.op.name != "relu"
    ]
    assert analyze(made).total()[2:] == analyze(nin).total()[2:]


def test_an_argument_that_is_none():
    assert rules()["gap-head"].call == "gap-head[:nin]"
    with pytest.raises(CostcalcError, match=r"gap-head:vgg: the argument is nin or nothing, not 'vgg'"):
        rewrite(load("vgg16"), "gap-head:vgg")


# -- fc-to-conv ---------------------------------------------------------------------------------------------------


def test_vggs_first_layer_is_a_7x7_convolution_of_the_same_cost():
    done = rewrite(load("vgg16"), "fc-to-conv")
    assert calls(done.after, "head/fc1", "head/dropout_1", "head/fc2", "head/fc3", "head/flatten") == [
        "conv2d(4096, 7) on stage5/pool",
        "dropout() on head/relu_1",
        "conv2d(4096, 1) on head/dropout_1",
        "conv2d(1000, 1) on head/dropout_2",
        "flatten() on head/fc3",
    ]
    for after, before in ((rows(g)["head/fc1"] for g in (done.after, done.before)),):
        assert after.params == before.params == 512 * 7 * 7 * 4096 + 4096 == 102_764_544
        assert after.macs == before.macs == 512 * 7 * 7 * 4096
    assert [tuple(change) for change in done.changed] == [
        ("head/fc1", "a convolution with a kernel of 7×7"),
        ("head/fc2", "a convolution with a kernel of 1×1"),
        ("head/fc3", "a convolution with a kernel of 1×1"),
    ]


@pytest.mark.parametrize("name", NETWORKS)
def test_as_convolutions_a_head_costs_the_same(name):
    done = rewrite(network(name), "fc-to-conv")
    before, after = (analyze(graph).total() for graph in (done.before, done.after))
    for cost in ("params", "work", "flops", "activations", "weight_layers", "layer_count"):
        assert getattr(after, cost) == getattr(before, cost), cost


def test_convolutions_see_the_plane_whole_and_a_larger_input_slides():
    graph = chain(("c", OPS["conv2d"](4, 3)), ("flat", OPS["flatten"]()), ("fc", OPS["linear"](5)), shape=(1, 3, 8, 6))
    after = rewrite(graph, "fc-to-conv").after
    assert str(after.nodes[1].op) == "conv2d(5, (6, 4))"
    assert rows(after)["fc"].receptive_field == (8, 6)
    larger = Graph("larger", (Input("input", (1, 3, 10, 7)),), after.nodes, after.outputs)
    assert larger.shapes["fc"] == (1, 5, 3, 2)


def test_linear_layers_that_are_no_head_stay():
    words = chain(("fc", OPS["linear"](5)), shape=(2, 7, 3))
    assert reasons(rewrite(words, "fc-to-conv")) == {"fc": "it does not follow a flatten of a plane"}
    h = sympy.Symbol("h", integer=True, positive=True)
    graph = chain(("flat", OPS["flatten"]()), ("a", OPS["linear"](5)), ("b", OPS["linear"](5)), shape=(1, 3, h, 4))
    with pytest.raises(CostcalcError, match="a would have a kernel of h×4: kernel sizes must be plain numbers"):
        rewrite(graph, "fc-to-conv")
    assert rewrite(graph, "gap-head").after.shapes["b"] == (1, 5)
    one = rewrite(load("vgg16"), "fc-to-conv", at="head/fc2")
    assert reasons(one) == {"head/fc2": "other linear layers of its head are not selected"}
    mixed = chain(
        ("flat", OPS["flatten"]()), ("a", OPS["linear"](5)), ("p", OPS["softmax"](-1)), ("b", OPS["linear"](4))
    )
    done = rewrite(mixed, "fc-to-conv")
    assert [node.name for node in done.after.nodes] == ["a", "flat", "p", "b"]
    assert reasons(done) == {"b": "it does not follow a flatten of a plane"}


# -- 1×1 convolutions and linear layers ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", POINTWISE)
def test_a_1x1_convolution_costs_what_the_linear_layer_costs(name):
    """All but memory of the flatten that can be no view; planes, fields and stages are the same."""
    done = rewrite(network(name), "1x1-to-linear")
    before, after = rows(done.before), rows(done.after)
    assert {path for path in before if path not in after} == set()
    for path, row in before.items():
        for fact in (
            "output",
            "work",
            "params",
            "spatial_size",
            "receptive_field",
            "receptive_stride",
            "backward_macs",
        ):
            if fact != "output" or path not in {change.path for change in done.changed}:
                assert getattr(after[path], fact) == getattr(row, fact), (path, fact)
        if row.op != "flatten":
            assert after[path].activations == row.activations
    assert all(after[path].work.operations == 0 for path in after if path not in before)
    stages = [
        [(row.path, row.params, row.work) for row in analyze(graph).by_resolution().rows]
        for graph in (done.before, done.after)
    ]
    assert stages[0] == stages[1]


@pytest.mark.parametrize("name", POINTWISE)
def test_the_pair_restores_the_graph_node_for_node(name):
    there = rewrite(network(name), "1x1-to-linear")
    back = rewrite(there.after, "linear-to-1x1", at=[change.path for change in there.changed])
    assert back.after.nodes == network(name).nodes
    assert back.after.outputs == network(name).outputs


@pytest.mark.parametrize("name", ["vgg16-1x1", "googlenet-torchvision", "nin"])
@pytest.mark.parametrize("train", [False, True])
def test_torch_agrees_with_the_costs_of_the_linear_layers(name, train):
    classes = {} if name == "nin" else {"classes": 10}
    graph = rewrite(load(name, height=96, width=96, batch=2, **classes), "1x1-to-linear").after
    checked = costcalc.check(graph, device="cpu", train=train)
    assert (checked.differences, checked.known_differences) == ((), ())
    assert costcalc.check(graph, device="meta", train=train).differences == ()


@pytest.mark.parametrize(
    ("conv", "reason"),
    [
        (OPS["conv2d"](6, 3, padding=1), "its kernel is 3×3, not 1×1"),
        (OPS["conv2d"](6, (1, 7)), "its kernel is 1×7, not 1×1"),
        (OPS["conv2d"](6, 1, stride=(1, 2)), "its stride is not 1"),
        (OPS["conv2d"](6, 1, padding=1), "it has padding"),
        (OPS["conv2d"](6, 1, groups=3), "it has groups"),
    ],
)
def test_other_convolutions_stay(conv, reason):
    assert reasons(rewrite(chain(("conv", conv)), "1x1-to-linear")) == {"conv": reason}


def test_names_of_permutes_lie_beside_the_layer():
    graph = chain(("a/conv", OPS["conv2d"](4, 1, bias=False)), ("a/channels_last", OPS["conv2d"](4, 1)))
    done = rewrite(graph, "1x1-to-linear")
    assert [f"{node.name}: {node.op}" for node in done.after.nodes] == [
        "a/channels_last_2: permute((0, 2, 3, 1))",
        "a/conv: linear(4, bias=False)",
        "a/channels_first: permute((0, 3, 1, 2))",
        "a/channels_last_3: permute((0, 2, 3, 1))",
        "a/channels_last: linear(4)",
        "a/channels_first_2: permute((0, 3, 1, 2))",
    ]
    assert rewrite(done.after, "linear-to-1x1").after.nodes == graph.nodes


def test_a_linear_layer_on_channels_last_gets_the_permutes_it_lacks():
    last = [("last", TO_LAST), ("act", OPS["relu"]()), ("fc", OPS["linear"](4))]
    done = rewrite(chain(*last), "linear-to-1x1")
    assert [f"{node.name}: {node.op}" for node in done.after.nodes] == [
        "last: permute((0, 2, 3, 1))",
        "act: relu()",
        "channels_first: permute((0, 3, 1, 2))",
        "fc: conv2d(4, 1)",
        "channels_last: permute((0, 2, 3, 1))",
    ]
    assert done.after.shapes["channels_last"] == done.before.shapes["fc"] == (2, 8, 8, 4)
    assert done.after.outputs == ("channels_last",)
    # several read one permute: it goes when all of them go past it, and not before
    many = chain(
        ("last", TO_LAST), ("a", OPS["linear"](3), "last"), ("a_first", TO_FIRST), ("b", OPS["linear"](3), "last"),
        ("b_first", TO_FIRST), ("add", OPS["add"](), "a_first", "b_first"),
    )  # fmt: skip
    assert [node.name for node in rewrite(many, "linear-to-1x1").after.nodes] == ["a", "b", "add"]
    assert [node.name for node in rewrite(many, "linear-to-1x1", at="b").after.nodes] == [
        "last", "a", "a_first", "b", "add",
    ]  # fmt: skip


def test_a_linear_layer_on_averages_is_a_1x1_convolution_before_the_flatten():
    done = rewrite(load("googlenet"), "linear-to-1x1")
    assert calls(done.after, "head/pool", "head/dropout", "head/fc", "head/flatten") == [
        "global_avg_pool2d() on inception5b/concat",
        "dropout(p=0.4) on head/pool",
        "conv2d(1000, 1) on head/dropout",
        "flatten() on head/fc",
    ]
    assert analyze(done.after).total()[3:8] == analyze(done.before).total()[3:8]


def test_linear_layers_on_what_is_no_plane_stay():
    flat = rewrite(load("vgg16"), "linear-to-1x1")
    assert reasons(flat) == dict.fromkeys(
        ("head/fc1", "head/fc2", "head/fc3"), "its input is a whole plane: fc-to-conv makes it a convolution"
    )
    for graph in (
        chain(("fc", OPS["linear"](5)), shape=(2, 7)),
        chain(("fc", OPS["linear"](5)), shape=(2, 7, 3)),
        chain(("fc", OPS["linear"](5))),
    ):
        reason = "its input is no plane (for a flattened plane, see fc-to-conv)"
        assert reasons(rewrite(graph, "linear-to-1x1")) == {"fc": reason}


def test_a_move_takes_no_longer_than_a_glance():
    graph = load("resnet152")
    for move in ("gap-head:nin", "fc-to-conv", "1x1-to-linear", "linear-to-1x1"):
        times = []
        for _ in range(5):
            start = perf_counter()
            rewrite(graph, move)
            times.append(perf_counter() - start)
        assert min(times) < 0.05, move
