"""Every layer of the 27 networks of truth/layers.csv."""

from collections import Counter
from math import prod

import pytest
from truth_data import graph, is_identity, read, table

import costcalc

# Each network of the file: the spec that describes it, and its settings.
NETWORKS = {
    "alexnet_torchvision_224": ("alexnet-torchvision", {}),
    "alexnet_owt_227_eecs": ("alexnet-torchvision", {"height": 227, "width": 227}),
    "alexnet_grouped_227": ("alexnet", {}),
    "alexnet_ungrouped_227": ("alexnet-ungrouped", {}),
    "nin_imagenet_224": ("nin", {}),
    "vgg_A": ("vgg11", {}),
    "vgg_B": ("vgg13", {}),
    "vgg_C": ("vgg16-1x1", {}),
    "vgg_D": ("vgg16", {}),
    "vgg_E": ("vgg19", {}),
    "googlenet_paper": ("googlenet", {}),
    "googlenet_torchvision": ("googlenet-torchvision", {}),
    "inception_v3_torchvision_299_noaux": ("inception_v3", {}),
    "plain34": ("plain34", {}),
    "resnet18_v1_B": ("resnet18", {}),
    "resnet34_v1_B": ("resnet34", {}),
    "resnet50_v1_B": ("resnet50", {}),
    "resnet101_v1_B": ("resnet101", {}),
    "resnet152_v1_B": ("resnet152", {}),
    "resnet50_v1.5_B": ("resnet50-torchvision", {}),
    "resnet101_v1.5_B": ("resnet101-torchvision", {}),
    "resnet152_v1.5_B": ("resnet152-torchvision", {}),
    "cifar_resnet20_A": ("resnet20-cifar", {}),
    "cifar_resnet32_A": ("resnet32-cifar", {}),
    "cifar_resnet44_A": ("resnet44-cifar", {}),
    "cifar_resnet56_A": ("resnet56-cifar", {}),
    "cifar_resnet110_A": ("resnet110-cifar", {}),
}

KINDS = {
    "conv2d": "conv",
    "linear": "fc",
    "max_pool2d": "maxpool",
    "avg_pool2d": "avgpool",
    "adaptive_avg_pool2d": "gap",
    "global_avg_pool2d": "gap",
    "concat": "concat",
}
# What only some networks of the file have rows for.
JOINS = {"resnet": {"add": "add"}, "alexnet": {"flatten": "flatten"}, "vgg": {"flatten": "flatten"}}

# Not compared: the file's own names, and remarks.
TITLES = {"architecture", "layer", "note"}


def rows_of(architecture):
    return [row for row in read("layers.csv") if row["architecture"] == architecture]


def per_axis(sizes):
    """The file's way of writing a size per axis: one number where they agree, else HxW."""
    height, width = sizes
    return str(height) if height == width else f"{height}x{width}"


def as_the_file_writes(architecture):
    """Our layers of a network, as rows of the file."""
    name, settings = NETWORKS[architecture]
    net, costs = graph(name, **settings), table(name, **settings)
    pool_operations = {row.path: row.flops - row.macs for row in table(name, convention="eecs498", **settings).rows}
    kinds = KINDS | JOINS.get(architecture.split("_")[0].rstrip("0123456789"), {})
    normalized = {
        node.inputs[0]: row.params
        for node, row in zip(net.nodes, costs.rows, strict=True)
        if node.op.name == "batch_norm2d"
    }
    ((_, fed, _),) = net.inputs
    yield {
        **dict.fromkeys(("k", "stride", "pad", "groups", "rf", "ceil"), ""),
        **dict.fromkeys(("weights", "bias", "bn_params", "params", "macs", "pool_ops"), "0"),
        "kind": "input",
        "cin": str(fed[1]),
        "act_elements": str(prod(fed)),
        **dict(zip(("out_c", "out_h", "out_w"), map(str, fed[1:]), strict=True)),
    }
    for node, row in zip(net.nodes, costs.rows, strict=True):
        op, inputs = node.op, row.inputs
        if op.name not in kinds or is_identity(row):
            continue
        kind = kinds[op.name]
        slides = kind in ("conv", "maxpool", "avgpool")
        normalization = normalized.pop(node.name, 0)
        if kind in ("concat", "add"):  # a new tensor here; the file counts what was joined
            assert row.activations == prod(row.output)
        yield {
            "kind": kind,
            "cin": str(sum(shape[1] for shape in inputs) if kind == "concat" else inputs[0][1]),
            "k": per_axis(op.kernel_size) if slides else "",
            "stride": per_axis(op.stride) if slides else "",
            "pad": per_axis(op.padding) if slides else "",
            "groups": str(op.groups) if kind == "conv" else "",
            **dict(zip(("out_c", "out_h", "out_w"), map(str, (*row.output[1:], 1, 1)), strict=False)),
            "weights": str(row.weights),
            "bias": str(prod(row.parameters.get("bias", (0,)))),
            "bn_params": str(normalization),
            "params": str(row.params + normalization),
            "macs": str(row.macs),
            "pool_ops": str(pool_operations[row.path]),
            "act_elements": "0" if kind in ("concat", "add") else str(row.activations),
            "rf": "" if row.receptive_field is None else per_axis(row.receptive_field),
            "ceil": str(int(op.ceil_mode)) if kind in ("maxpool", "avgpool") else "",
        }
    assert not normalized, "a BatchNorm that follows no convolution"


@pytest.mark.parametrize("architecture", NETWORKS)
def test_every_layer_agrees(architecture):
    ours = [{"order": str(order), **row} for order, row in enumerate(as_the_file_writes(architecture))]
    theirs = [{key: row[key] for key in row if key not in TITLES} for row in rows_of(architecture)]
    assert len(ours) == len(theirs)
    for our, their, titled in zip(ours, theirs, rows_of(architecture), strict=True):
        assert our == their, titled["layer"]


@pytest.mark.parametrize("architecture", NETWORKS)
def test_the_layers_are_the_whole_network(architecture):
    """No parameter and no MAC lies in a layer that the file has no row for."""
    name, settings = NETWORKS[architecture]
    total, theirs = table(name, **settings).total(), rows_of(architecture)
    assert total.params == sum(int(row["params"]) for row in theirs)
    assert total.weights == sum(int(row["weights"]) for row in theirs)
    assert total.macs == sum(int(row["macs"]) for row in theirs)


def test_every_network_of_the_file_is_held_to_it():
    rows = Counter(row["architecture"] for row in read("layers.csv"))
    assert rows.keys() == NETWORKS.keys()
    assert (len(rows), rows.total()) == (27, 1711)
    assert {name for name, _ in NETWORKS.values()} <= set(costcalc.architectures())
