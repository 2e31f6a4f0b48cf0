"""ONNX files: each operation, the networks that torch exports, sizes by name, and files that are broken."""

from __future__ import annotations

import random
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_cases
import pytest
import sympy
import torch
import torchvision
from onnx import TensorProto, helper
from onnx_cases import CASES, FLOAT, INT64, Case, ints, weights
from plain_models import Decoder, Encoder
from torch import nn

import costcalc
from costcalc import CostcalcError, Graph, analyze
from costcalc.core.errors import FixedSizeError
from costcalc.frontends.importer import GraphImporter
from costcalc.frontends.onnx import load_onnx, reader, trace_onnx
from costcalc.frontends.torch.export import from_torch, trace


def saved(
    folder: Path,
    nodes: list[Any],
    inputs: dict[str, Any],
    outputs: list[str],
    stored: dict[str, np.ndarray] | None = None,
    opset: int = 17,
    name: str = "net.onnx",
    **more: Any,
) -> Path:
    """A file with these nodes; an input is a shape, or a value_info."""
    given = [
        helper.make_tensor_value_info(key, FLOAT, shape) if isinstance(shape, (tuple, list)) else shape
        for key, shape in inputs.items()
    ]
    ends = [onnx.ValueInfoProto(name=key) for key in outputs]
    tensors = [onnx.numpy_helper.from_array(value, key) for key, value in (stored or {}).items()]
    graph = helper.make_graph(nodes, "g", given, ends, tensors, value_info=more.pop("value_info", []))
    model = helper.make_model(graph, opset_imports=more.pop("imports", [helper.make_opsetid("", opset)]), **more)
    path = folder / name
    path.write_bytes(model.SerializeToString())
    return path


def node(kind: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    return helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


def totals(graph: Graph) -> tuple[Any, ...]:
    total = analyze(graph).total()
    return total.params, total.work.macs, total.flops, total.activations


# -- operations -------------------------------------------------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, frozenset[str]]]:
    """The operations of ATen that are called while reader, with the names of their arguments."""
    seen: list[tuple[str, frozenset[str]]] = []
    translate = GraphImporter.translate

    def watched(self: GraphImporter, call: Any, table: Any, kind: str) -> Any:
        seen.append((call.name, frozenset(call.arguments)))
        return translate(self, call, table, kind)

    monkeypatch.setattr(GraphImporter, "translate", watched)
    return seen


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_operation_has_onnx_s_shape_and_calls_torch_by_its_schema(case: Case, tmp_path: Path, calls: Any) -> None:
    model = onnx.shape_inference.infer_shapes(onnx_cases.build(case), strict_mode=True, data_prop=True)
    path = tmp_path / "one.onnx"
    path.write_bytes(model.SerializeToString())
    graph = load_onnx(path)
    shapes = [
        tuple(d.dim_value if d.HasField("dim_value") else None for d in output.type.tensor_type.shape.dim)
        for output in model.graph.output
    ]
    if case.kind != "GroupNormalization":  # whose shape onnx does not say
        for made, expected in zip([graph.shapes[name] for name in graph.outputs], shapes, strict=True):
            assert len(made) == len(expected)
            assert all(b is None or a == b for a, b in zip(made, expected, strict=True))
    assert (not analyze(graph).unknown) == case.known
    for name, arguments in calls:
        if name:
            operation, overload = name.split(".")
            schema = getattr(getattr(torch.ops.aten, operation), overload)._schema
            assert arguments == {argument.name for argument in schema.arguments}


def test_work_and_parameters_by_hand(tmp_path: Path) -> None:
    nodes = [
        node("Conv", "x w b", "c", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Relu", "c", "r"),
        node("GlobalAveragePool", "r", "p"),
        node("Flatten", "p", "f"),
        node("MatMul", "f m", "y"),
    ]
    stored = {"w": weights(8, 3, 3, 3), "b": weights(8), "m": weights(8, 5)}
    graph = load_onnx(saved(tmp_path, nodes, {"x": (2, 3, 16, 16)}, ["y"], stored))
    assert [n.op.name for n in graph.nodes] == ["conv2d", "relu", "adaptive_avg_pool2d", "flatten", "linear"]
    total = analyze(graph).total()
    assert total.params == 8 * 3 * 3 * 3 + 8 + 8 * 5
    assert total.work.macs == 2 * (8 * 8 * 8 * 3 * 3 * 3 + 8 * 5)
    assert total.activations == 2 * (8 * 8 * 8 + 8 + 5)  # the relu lies over the convolution's result


def test_a_relu_whose_input_is_read_twice_makes_a_tensor(tmp_path: Path) -> None:
    nodes = [node("Conv", "x w", "c"), node("Relu", "c", "r"), node("Add", "c r", "y")]
    graph = load_onnx(saved(tmp_path, nodes, {"x": (1, 3, 8, 8)}, ["y"], {"w": weights(4, 3, 1, 1)}))
    assert totals(graph)[3] == 3 * 4 * 8 * 8


@pytest.mark.parametrize("opset", [11, 13, 17, 21])
def test_sizes_are_worked_out_of_shapes(opset: int, tmp_path: Path) -> None:
    axes = {"axes": [0]} if opset < 13 else {}
    more = "" if opset < 13 else " zero"
    nodes = [
        node("Shape", "x", "shape"),
        node("Gather", "shape i", "batch", axis=0),
        node("Slice", "shape two four", "plane"),
        node("ReduceProd", "plane", "places", keepdims=0),
        node("Div", "places half", "less"),
        node("Unsqueeze", "batch" + more, "b", **axes),
        node("Unsqueeze", "less" + more, "l", **axes),
        node("Concat", "b minus l", "sizes", axis=0),
        node("Reshape", "x sizes", "y"),
        node("Relu", "y", "z"),
    ]
    stored = {
        "i": np.array(0, np.int64), "two": ints(2), "four": ints(4), "half": np.array(2, np.int64), "zero": ints(0),
        "minus": ints(-1),
    }  # fmt: skip
    graph = load_onnx(saved(tmp_path, nodes, {"x": (2, 3, 4, 6)}, ["z"], stored, opset))
    assert [graph.shapes[n.name] for n in graph.nodes] == [(2, 6, 12)] * 2


def test_what_exporters_write_for_one_layer_is_one(tmp_path: Path) -> None:
    half, root, one, two, eps = (np.array(n, np.float32) for n in (0.5, 2**0.5, 1, 2, 1e-5))
    nodes = [
        node("ReduceMean", "x", "mean", axes=[-1]), node("Sub", "x mean", "d"), node("Pow", "d two", "d2"),
        node("ReduceMean", "d2", "var", axes=[-1]), node("Add", "var eps", "v"), node("Sqrt", "v", "s"),
        node("Div", "d s", "n"), node("Mul", "n gamma", "ng"), node("Add", "ng beta", "norm"),
        node("MatMul", "norm w", "m"), node("Add", "b m", "l"),
        node("Div", "l root", "e1"), node("Erf", "e1", "e2"), node("Add", "e2 one", "e3"), node("Mul", "l e3", "e4"),
        node("Mul", "e4 half", "g"),
        node("Sigmoid", "g", "gate"), node("Mul", "g gate", "y"),
    ]  # fmt: skip
    stored = {"half": half, "root": root, "one": one, "two": two, "eps": eps, "w": weights(6, 4), "b": weights(4)}
    stored |= {"gamma": weights(6), "beta": weights(6)}
    graph = load_onnx(saved(tmp_path, nodes, {"x": (2, 3, 6)}, ["y"], stored, 13))
    assert [n.op.name for n in graph.nodes] == ["layer_norm", "linear", "gelu", "silu"]
    assert totals(graph)[:2] == (6 + 6 + 6 * 4 + 4, 2 * 3 * 6 * 4)


@pytest.mark.parametrize(
    "products",
    [("x e3", "half p"), ("half e3", "x p"), ("e3 half", "p x")],
    ids=["half of the product", "half of the sum", "half of the sum, last"],
)
def test_gelu_is_one_layer_wherever_it_is_halved(products: tuple[str, str], tmp_path: Path) -> None:
    stored = {name: np.array(n, np.float32) for name, n in (("half", 0.5), ("root", 2**0.5), ("one", 1))}
    nodes = [
        node("Div", "x root", "e1"), node("Erf", "e1", "e2"), node("Add", "e2 one", "e3"),
        node("Mul", products[0], "p"), node("Mul", products[1], "y"),
    ]  # fmt: skip
    assert [n.op.name for n in load_onnx(saved(tmp_path, nodes, {"x": (2, 3)}, ["y"], stored)).nodes] == ["gelu"]
    stored["half"] = np.array(0.25, np.float32)
    assert len(load_onnx(saved(tmp_path, nodes, {"x": (2, 3)}, ["y"], stored)).nodes) == 5


# -- weights ----------------------------------------------------------------------------------------------------------


def test_weights_that_two_layers_have_count_once(tmp_path: Path) -> None:
    nodes = [node("Gemm", "x w b", "h"), node("Relu", "h", "r"), node("Gemm", "r w b", "y")]
    path = saved(tmp_path, nodes, {"x": (2, 6)}, ["y"], {"w": weights(6, 6), "b": weights(6)})
    graph = load_onnx(path)
    assert totals(graph)[:2] == (6 * 6 + 6, 2 * 2 * 6 * 6)
    assert [n.shares for n in graph.nodes] == [None, None, graph.nodes[0].name]


def test_an_embedding_tied_to_a_linear_layer_counts_once(tmp_path: Path) -> None:
    nodes = [node("Gather", "table ids", "h"), node("Transpose", "table", "t"), node("MatMul", "h t", "y")]
    ids = helper.make_tensor_value_info("ids", INT64, (2, 5))
    path = saved(tmp_path, nodes, {"ids": ids}, ["y"], {"table": weights(11, 4)})
    assert totals(load_onnx(path))[:2] == (11 * 4, 2 * 5 * 4 * 11)


def test_weights_may_be_inputs(tmp_path: Path) -> None:
    nodes = [node("Conv", "x w b", "c"), node("Flatten", "c", "f"), node("MatMul", "f m", "y")]
    shapes: dict[str, Any] = {"x": (1, 3, 4, 4), "w": (2, 3, 1, 1), "b": (2,), "m": (32, 5)}
    graph = load_onnx(saved(tmp_path, nodes, shapes, ["y"]))
    assert [i.name for i in graph.inputs] == ["x"]
    assert totals(graph)[0] == 2 * 3 + 2 + 32 * 5


def test_a_stored_tensor_that_is_no_weight_is_a_parameter_and_an_operand(tmp_path: Path) -> None:
    graph = load_onnx(saved(tmp_path, [node("Add", "x p", "y")], {"x": (2, 3, 4)}, ["y"], {"p": weights(1, 3, 4)}))
    assert [n.op.name for n in graph.nodes] == ["parameter", "add"]
    assert totals(graph)[0] == 12


def test_external_data_is_not_opened(tmp_path: Path) -> None:
    nodes = [node("MatMul", "x w", "y")]
    path = saved(tmp_path, nodes, {"x": (2, 300)}, ["y"], {"w": weights(300, 400)})
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="weights.bin")
    (tmp_path / "weights.bin").unlink()
    assert totals(load_onnx(path))[:2] == (300 * 400, 2 * 300 * 400)


# -- sizes by name ----------------------------------------------------------------------------------------------------


def test_sizes_that_the_file_leaves_open(tmp_path: Path) -> None:
    nodes = [node("Conv", "x w", "y")]
    path = saved(tmp_path, nodes, {"x": ["N", 3, "height", "width"]}, ["y"], {"w": weights(4, 3, 3, 3)})
    with pytest.raises(CostcalcError, match=r"leaves sizes open: height, width; .* --input 224$"):
        load_onnx(path)
    graph = load_onnx(path, batch=5, sizes={"height": 8, "width": 10})
    assert graph.shapes[graph.outputs[0]] == (5, 4, 6, 8)
    assert load_onnx(path, sizes={"height": 8, "width": 10}).batch == 1
    with pytest.raises(CostcalcError, match=r"no open size 'heigth' \(did you mean 'height'\?\): it has N, height"):
        load_onnx(path, sizes={"heigth": 8, "width": 10})


def test_a_batch_that_the_file_fixes(tmp_path: Path) -> None:
    path = saved(tmp_path, [node("Conv", "x w", "y")], {"x": (1, 3, 8, 8)}, ["y"], {"w": weights(4, 3, 3, 3)})
    with pytest.raises(CostcalcError, match="fixes the batch to 1: export it with a free first size"):
        load_onnx(path, batch=8)
    assert load_onnx(path, batch=1).batch == 1


# -- what costcalc does not know --------------------------------------------------------------------------------------


def test_an_unsupported_operator_is_unknown_and_never_zero(tmp_path: Path) -> None:
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("acme", 1)]
    nodes = [node("Conv", "x w", "c"), node("Magic", "c", "m", domain="acme"), node("Relu", "m", "y")]
    inputs, stored = {"x": (1, 3, 8, 8)}, {"w": weights(4, 3, 3, 3)}
    info = helper.make_tensor_value_info("m", FLOAT, (1, 7))
    graph = load_onnx(saved(tmp_path, nodes, inputs, ["y"], stored, imports=imports, value_info=[info]))
    assert [row.op for row in analyze(graph).unknown] == ["acme.Magic"]
    assert graph.shapes[graph.outputs[0]] == (1, 7)
    with pytest.raises(CostcalcError, match=r"acme.Magic 'm' .*neither the file nor ONNX declares the shape"):
        load_onnx(saved(tmp_path, nodes, inputs, ["y"], stored, imports=imports))


def test_sizes_that_depend_on_data_and_control_flow(tmp_path: Path) -> None:
    path = saved(tmp_path, [node("NonZero", "x", "n"), node("Relu", "n", "y")], {"x": (2, 3)}, ["y"])
    with pytest.raises(CostcalcError, match="NonZero 'n' has an output whose size depends on data"):
        load_onnx(path)
    shape = helper.make_tensor_value_info("s", INT64, (2,))
    path = saved(tmp_path, [node("Reshape", "x s", "y")], {"x": (2, 3), "s": shape}, ["y"])
    with pytest.raises(CostcalcError, match=r"Reshape 'y' needs a constant shape: 's' depends on data"):
        load_onnx(path)
    body = helper.make_graph([node("Identity", "x", "z")], "b", [], [onnx.ValueInfoProto(name="z")])
    which = helper.make_tensor_value_info("c", TensorProto.BOOL, ())
    branch = node("If", "c", "y", then_branch=body, else_branch=body)
    with pytest.raises(CostcalcError, match="If 'y' is control flow"):
        load_onnx(saved(tmp_path, [branch], {"x": (2, 3), "c": which}, ["y"]))


def test_functions_of_the_model_s_own_are_read(tmp_path: Path) -> None:
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    inner = node("LeakyRelu", "h", "b")
    inner.attribute.append(onnx.AttributeProto(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT))
    body = [node("Conv", "a k", "h"), inner]
    function = helper.make_function("own", "Block", ["a", "k"], ["b"], body, imports, ["slope"])
    nodes = [node("Block", "x w", "h", domain="own", slope=0.2), node("Block", "h w", "y", domain="own", slope=0.3)]
    path = saved(
        tmp_path, nodes, {"x": (1, 4, 6, 6)}, ["y"], {"w": weights(4, 4, 3, 3)}, imports=imports, functions=[function]
    )
    graph = load_onnx(path)
    assert [n.op.name for n in graph.nodes] == ["conv2d", "leaky_relu"] * 2
    assert [n.op.negative_slope for n in graph.nodes[1::2]] == pytest.approx([0.2, 0.3])
    assert totals(graph)[0] == 4 * 4 * 3 * 3


# -- networks that torch exports --------------------------------------------------------------------------------------


def exported(folder: Path, module: nn.Module, *example: torch.Tensor, **options: Any) -> Path:
    """A file that torch writes; weights all differ, for exporters store equal ones once."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator))
    path = folder / "exported.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"optimize": True, **options}  # the default of the newest torch, not of 2.6
        torch.onnx.export(module.eval(), example, path, verbose=False, external_data=False, **options)
    return path


_KEPT = {"dynamo": False, "do_constant_folding": False, "training": torch.onnx.TrainingMode.PRESERVE}
_IMAGE = torch.zeros(1, 3, 224, 224)


@pytest.mark.parametrize("options", [_KEPT, {"dynamo": True, "optimize": False}], ids=["script", "dynamo"])
def test_resnet18_is_that_of_its_spec(options: dict[str, Any], tmp_path: Path) -> None:
    graph = load_onnx(exported(tmp_path, torchvision.models.resnet18(weights=None), _IMAGE, **options))
    assert totals(graph) == totals(costcalc.load("resnet18"))
    assert "layer2/0/downsample/1" in graph.shapes


def test_batch_normalisation_folded_into_convolutions_is_as_the_file_has_it(tmp_path: Path) -> None:
    network = torchvision.models.resnet18(weights=None)
    graph = load_onnx(exported(tmp_path, network, _IMAGE, dynamo=False))
    params, macs, flops, activations = totals(costcalc.load("resnet18"))
    normalised = sum(r.activations for r in analyze(costcalc.load("resnet18")).rows if r.op == "batch_norm2d")
    channels = sum(m.num_features for m in network.modules() if isinstance(m, nn.BatchNorm2d))
    assert totals(graph) == (params - channels, macs, flops, activations - normalised)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "squeezenet1_1"])
def test_other_networks_are_those_of_torch_export(name: str, tmp_path: Path) -> None:
    network = getattr(torchvision.models, name)(weights=None)
    graph = load_onnx(exported(tmp_path, network, _IMAGE, **_KEPT))
    assert totals(graph) == totals(from_torch(network, _IMAGE))


@pytest.mark.parametrize("options", [_KEPT, {"dynamo": True}], ids=["script", "dynamo"])
def test_a_vision_transformer_is_that_of_torch_export(options: dict[str, Any], tmp_path: Path) -> None:
    network = torchvision.models.VisionTransformer(32, 8, 2, 4, 32, 64, num_classes=10)
    example = torch.zeros(1, 3, 32, 32)
    graph = load_onnx(exported(tmp_path, network, example, **options))
    params, macs, flops, activations = totals(from_torch(network, example))
    copied = 2 * 3 * 17 * 32  # torch copies queries, keys and values: a file does not say so
    assert totals(graph) == (params, macs, flops, activations - copied)


class _Sequence(nn.Module):
    def __init__(self, kind: Any, **options: Any) -> None:
        super().__init__()
        self.layer = kind(5, 8, **options)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)[0].relu()


@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"num_layers": 2}, {"bias": False}], ids=str)
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN], ids=lambda kind: kind.__name__)
def test_recurrent_layers_are_those_of_torch_export(kind: Any, options: dict[str, Any], tmp_path: Path) -> None:
    example = torch.zeros(7, 2, 5)
    network = _Sequence(kind, **options)
    graph = load_onnx(exported(tmp_path, network, example, dynamo=False))
    assert totals(graph)[:3] == totals(from_torch(network, example))[:3]  # a file has a layer for each of num_layers


def test_free_sizes_of_an_exported_network(tmp_path: Path) -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    )
    axes = {"input": {0: "batch", 2: "height", 3: "width"}}
    path = exported(
        tmp_path, network, torch.zeros(2, 3, 16, 16), dynamo=False, input_names=["input"], dynamic_axes=axes
    )
    graph = load_onnx(path, batch=4, sizes={"height": 20, "width": 24})
    assert totals(graph) == totals(from_torch(network, torch.zeros(4, 3, 20, 24)))


# -- sizes that are free ----------------------------------------------------------------------------------------------


class _Windows(nn.Module):
    """Windows of 8 × 8 places as sequences, and the plane twice as large again."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, c, h, w = x.shape
        windows = x.view(n, c, h // 8, 8, w // 8, 8).permute(0, 2, 4, 1, 3, 5).reshape(-1, c, 64)
        whole = (windows @ windows.transpose(1, 2) @ windows).view(n, h // 8, w // 8, c, 8, 8).permute(0, 3, 1, 4, 2, 5)
        made = nn.functional.interpolate(whole.reshape(n, c, h, w), scale_factor=2.0)
        return made[:, :, : h + 1] + torch.arange(w * 2)


_PLANE = {0: "batch", 2: "height", 3: "width"}
_WORDS = {0: "batch", 1: "sequence"}
_FREE: dict[str, tuple[Any, torch.Tensor, dict[int, str]]] = {
    "resnet18": (torchvision.models.resnet18, torch.zeros(2, 3, 64, 64), _PLANE),
    "windows": (_Windows, torch.zeros(2, 3, 64, 64), _PLANE),
    "decoder": (Decoder, torch.zeros(2, 16, dtype=torch.int64), _WORDS),
    "encoder": (Encoder, torch.zeros(2, 16, 64), _WORDS),
}


@pytest.mark.parametrize("dynamo", [True, False])
@pytest.mark.parametrize("name", _FREE)
def test_free_sizes_are_those_of_torch_export(name: str, dynamo: bool, tmp_path: Path) -> None:
    make, example, axes = _FREE[name]
    module = make().eval()
    if dynamo:
        free = {"dynamic_shapes": (dict.fromkeys(axes, torch.export.Dim.DYNAMIC),)}
    else:
        free = {"input_names": ["input"], "dynamic_axes": {"input": axes}}
    path = exported(tmp_path, module, example, dynamo=dynamo, **free)
    if name == "encoder" and not dynamo:  # that exporter writes nn.TransformerEncoder for one length
        with pytest.raises(CostcalcError, match="is not valid"):
            trace_onnx(path, [*axes.values()])
        return
    found = trace_onnx(path, [*axes.values()])
    assert (found.fixed, found.tied) == ({}, {})
    by_torch = trace(module, [example], dynamic_sizes=[*axes.values()])
    sides = {"height": 96, "width": 160, "sequence": 50}
    for batch in (1, 5):
        sizes = {"batch": batch} | {size: sides[size] for size in axes.values() if size != "batch"}
        one, other = totals(found.specialize(**sizes)), totals(by_torch.specialize(**sizes))
        assert one[1] == other[1]
        assert one == totals(load_onnx(path, batch=batch, sizes={n: s for n, s in sizes.items() if n != "batch"}))
    symbols = {size: sympy.Symbol(size, integer=True, positive=True) for size in axes.values()}
    formula = analyze(found.graph).total().macs
    assert formula.free_symbols == set(symbols.values())
    arrays = analyze(found.specialize(**dict.fromkeys(axes.values(), np.array([32, 64])))).total().macs
    assert arrays.tolist() == [formula.subs(dict.fromkeys(symbols.values(), side)) for side in (32, 64)]


def test_sizes_are_called_by_the_file_or_by_costcalc(tmp_path: Path) -> None:
    nodes = [node("Conv", "x w", "y")]
    path = saved(tmp_path, nodes, {"x": ["N", 3, "h", None]}, ["y"], {"w": weights(4, 3, 3, 3)})
    macs = 4 * 27 * 6 * 8
    assert analyze(load_onnx(path, batch=5, sizes={"h": 8, "x.3": 10})).total().macs == 5 * macs
    assert analyze(load_onnx(path, sizes={"height": 8, "width": 10, "channels": 3})).total().macs == macs
    assert analyze(costcalc.load(path, input="8x10", batch=2)).total().macs == 2 * macs
    for names in (("batch", "height", "width"), ("N", "h", "x.3")):
        found = trace_onnx(path, names)
        assert analyze(found.specialize(**dict(zip(names, (5, 8, 10), strict=True)))).total().macs == 5 * macs
    with pytest.raises(CostcalcError, match="fixes channels to 3: it cannot be 4"):
        load_onnx(path, sizes={"height": 8, "width": 10, "channels": 4})


def test_sizes_that_are_not_free(tmp_path: Path) -> None:
    nodes = [node("Conv", "x w", "y"), node("Flatten", "y", "f"), node("MatMul", "f m", "z")]
    stored = {"w": weights(4, 3, 3, 3), "m": weights(4 * 6 * 6, 5)}
    path = saved(tmp_path, nodes, {"x": ["N", 3, "s", "s"]}, ["z"], stored)
    with pytest.raises(FixedSizeError, match="fixes height"):
        costcalc.load(path, height=sympy.Symbol("height", integer=True, positive=True), input="8")
    with pytest.raises(FixedSizeError, match="fixes channels to 3"):
        costcalc.load(path, channels=sympy.Symbol("c", integer=True, positive=True), input="8")
    found = trace_onnx(path, ["batch"], sizes={"s": 8})
    assert analyze(found.specialize(batch=7)).total().macs == 7 * (36 * 4 * 27 + 144 * 5)
    tied = trace_onnx(saved(tmp_path, nodes[:1], {"x": ["N", 3, "s", "s"]}, ["y"], stored), ["height", "width"])
    assert tied.tied == {"width": "height"}
    with pytest.raises(CostcalcError, match="requires width and height to be equal"):
        tied.specialize(height=8, width=9)
    with pytest.raises(CostcalcError, match="requires width and height to be equal"):
        costcalc.load(tmp_path / "net.onnx", height=sympy.Symbol("height", integer=True, positive=True), input="8")


# -- broken and hostile files -----------------------------------------------------------------------------------------


def _plain(folder: Path) -> Path:
    nodes = [node("Conv", "x w", "c"), node("Shape", "c", "s"), node("Reshape", "c s", "r"), node("Relu", "r", "y")]
    return saved(folder, nodes, {"x": (1, 3, 8, 8)}, ["y"], {"w": weights(4, 3, 3, 3)})


def test_files_that_are_no_models(tmp_path: Path) -> None:
    with pytest.raises(CostcalcError, match=r"nowhere.onnx: No such file"):
        load_onnx(tmp_path / "nowhere.onnx")
    for text in (b"", b"name: resnet\nlayers: []\n", b"\x80" * 1000, b"PK\x03\x04 a zip file"):
        (tmp_path / "bad.onnx").write_bytes(text)
        with pytest.raises(CostcalcError, match=r"bad.onnx: no ONNX model"):
            load_onnx(tmp_path / "bad.onnx")
    with pytest.raises(CostcalcError, match="opset 9; costcalc reads 11 and newer"):
        load_onnx(saved(tmp_path, [node("Relu", "x", "y")], {"x": (1, 2)}, ["y"], opset=9))


@pytest.mark.parametrize(
    ("nodes", "shape", "said"),
    [
        (
            [node("Add", "x b", "a"), node("Relu", "a", "b")],
            (1, 2),
            "reads 'b', which is neither an input nor the output of an earlier",
        ),
        ([node("Add", "x gone", "b")], (1, 2), "reads 'gone', which is neither an input"),
        ([node("Relu", "x", "b"), node("Relu", "x", "b")], (1, 2), "computes 'b', which exists already"),
        ([node("Relu", "x", "a")], (1, 2), "no node computes the output 'b'"),
        ([node("Relu", "x", "b")], (1, -2), "has a size of -2, which is negative"),
        ([node("Relu", "x", "b")], (2**50,), "too large"),
        ([node("Relu", "x", "b")], (0, 3), "the input 'x' is empty"),
        ([node("Relu", "x", "b")], (1,) * 40, "has 40 dimensions, more than 32"),
        ([node("Conv", "x x", "b")], (1, 2), "needs an input and weights with equally many dimensions"),
        ([node("Relu", "", "b")], (1, 2), "input 0 is missing"),
        ([node("Softmax", "x", "b", axis=7)], (1, 2), "axis 7 is out of range"),
        ([node("MaxPool", "x", "b", kernel_shape=[0, 0])], (1, 2, 8, 8), "must be at least 1"),
        ([node("Concat", "x x", "b")], (1, 2), "Concat 'b' is not valid"),
    ],
)
def test_models_that_cannot_be(nodes: list[Any], shape: tuple[int, ...], said: str, tmp_path: Path) -> None:
    with pytest.raises(CostcalcError, match=said):
        load_onnx(saved(tmp_path, nodes, {"x": shape}, ["b"]))


def test_functions_cannot_make_a_file_of_billions_of_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_NODES", 1000)
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    functions = [helper.make_function("own", "F0", ["a"], ["b"], [node("Relu", "a", "b")], imports)]
    for level in range(1, 40):
        chain = [node(f"F{level - 1}", "a", "h", domain="own"), node(f"F{level - 1}", "h", "b", domain="own")]
        functions.append(helper.make_function("own", f"F{level}", ["a"], ["b"], chain, imports))
    path = saved(
        tmp_path, [node("F39", "x", "y", domain="own")], {"x": (1, 2)}, ["y"], imports=imports, functions=functions
    )
    with pytest.raises(CostcalcError, match="more than 1,000 nodes"):
        load_onnx(path)
    endless = helper.make_function("own", "F", ["a"], ["b"], [node("F", "a", "b", domain="own")], imports)
    path = saved(
        tmp_path, [node("F", "x", "y", domain="own")], {"x": (1, 2)}, ["y"], imports=imports, functions=[endless]
    )
    with pytest.raises(CostcalcError, match="functions call each other more than 50 deep"):
        load_onnx(path)


def test_large_constants_are_not_made(tmp_path: Path) -> None:
    stored = {"n": ints(2**20, 2**20), "x1": np.ones((1, 1), np.float32)}
    for chain in (
        [node("ConstantOfShape", "n", "c")],
        [node("Expand", "x1 n", "c")],
        [node("Tile", "x1 n", "c")],
        [node("ConstantOfShape", "n", "d"), node("Identity", "d", "c")],
    ):
        path = saved(tmp_path, [*chain, node("Add", "x c", "y")], {"x": (1, 1)}, ["y"], stored)
        assert load_onnx(path).shapes["add"] == (2**20, 2**20)


def test_any_bytes_give_a_graph_or_an_error_in_words(tmp_path: Path) -> None:
    data = _plain(tmp_path).read_bytes()
    draw = random.Random(1)
    path = tmp_path / "fuzzed.onnx"
    for _ in range(250):
        changed = bytearray(data)
        for _ in range(draw.randint(1, 6)):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        path.write_bytes(changed[: draw.randrange(len(data))] if draw.random() < 0.3 else changed)
        try:
            graph = load_onnx(path)
        except CostcalcError:
            continue
        analyze(graph)


def test_the_package_onnx_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _plain(tmp_path)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(CostcalcError, match=r"pip install 'costcalc\[onnx\]'"):
        load_onnx(path)
