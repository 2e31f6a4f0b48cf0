"""Models of one operation each, in the opsets that say it in different ways: what it takes, and what it is."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def weights(*shape: int) -> np.ndarray:
    return np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)


class Case(NamedTuple):
    """An operation on tensors given by shape (floats), as ("int64", shape), or by value (stored in the file)."""

    kind: str
    inputs: tuple[Any, ...]
    attributes: dict[str, Any]
    opset: int = 17
    outputs: int = 1
    known: bool = True
    domain: str = ""

    def __str__(self) -> str:
        return f"{self.kind}-{self.opset}-{','.join(map(str, self.attributes))}"


def build(case: Case, declared: bool = True) -> onnx.ModelProto:
    inputs, stored, names = [], [], []
    for place, given in enumerate(case.inputs):
        name = f"x{place}"
        if given is None:
            names.append("")
            continue
        names.append(name)
        if isinstance(given, (np.ndarray, np.generic)):
            stored.append(onnx.numpy_helper.from_array(np.asarray(given), name))
        else:
            dtype, shape = given if isinstance(given[-1], tuple) else (FLOAT, given)
            inputs.append(helper.make_tensor_value_info(name, dtype, shape))
    outputs = [f"y{place}" for place in range(case.outputs)]
    node = helper.make_node(case.kind, names, outputs, domain=case.domain, **case.attributes)
    graph = helper.make_graph([node], "g", inputs, [onnx.ValueInfoProto(name=name) for name in outputs], stored)
    opsets = [helper.make_opsetid("", case.opset)] + [helper.make_opsetid(case.domain, 1)] * bool(case.domain)
    return helper.make_model(graph, opset_imports=opsets)


X = (2, 6, 8, 10)
UNARY = [
    "Erf", "Sqrt", "Exp", "Log", "Sin", "Cos", "Tan", "Abs", "Neg", "Reciprocal", "Floor", "Ceil", "Round", "Sign",
    "Sinh", "Cosh", "Asin", "Acos", "Atan", "Relu", "Sigmoid", "Tanh", "HardSigmoid",
    "HardSwish", "Selu", "LeakyRelu", "Elu", "Celu", "ThresholdedRelu", "Softplus", "Softsign", "IsNaN", "IsInf",
    "Softmax", "LogSoftmax",
]  # fmt: skip
CASES = [
    *[Case(kind, (X,), {}) for kind in UNARY],
    Case("Gelu", (X,), {"approximate": "tanh"}, 20),
    Case("Mish", (X,), {}, 18),
    Case("Softmax", (X,), {}, 11),
    Case("Clip", (X, np.float32(0), np.float32(6)), {}),
    Case("Clip", (X, None, np.float32(6)), {}),
    Case("Not", ((BOOL, X),), {}),
    *[Case(kind, (X, (6, 1, 1)), {}) for kind in ("Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Sum", "Mean", "Mod")
      if kind != "Mod"],
    *[Case(kind, (X, np.float32(3)), {}) for kind in ("Add", "Sub", "Mul", "Div", "Pow", "Min", "Max")],
    *[Case(kind, (np.float32(3), X), {}) for kind in ("Add", "Sub", "Mul", "Div", "Pow", "Min", "Max")],
    Case("Mod", (X, np.float32(3)), {"fmod": 1}),
    *[Case(kind, (X, X), {}) for kind in ("Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual")],
    Case("Less", (X, np.float32(1)), {}),
    Case("Greater", (np.float32(1), X), {}),
    Case("And", ((BOOL, X), (BOOL, (10,))), {}),
    Case("Where", ((BOOL, (8, 10)), X, np.float32(0)), {}),
    Case("Cast", (X,), {"to": INT64}),
    Case("Dropout", (X,), {}),
    # reductions
    Case("ReduceMean", (X,), {"axes": [2, 3]}),
    Case("ReduceMean", (X, ints(-1)), {"keepdims": 0}, 18),
    Case("ReduceSum", (X, ints(1, 2)), {"keepdims": 0}),
    Case("ReduceSum", (X,), {"axes": [1]}, 11),
    *[Case(kind, (X,), {"axes": [1, -1]})
      for kind in ("ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceProd", "ReduceLogSumExp", "ReduceSumSquare",
                   "ReduceLogSum")],
    Case("ArgMax", (X,), {"axis": 1, "keepdims": 0}),
    Case("TopK", (X, ints(3)), {"axis": -1}, outputs=2),
    Case("CumSum", (X, np.array(1, np.int64)), {}),
    # windows
    Case("Conv", (X, weights(4, 6, 3, 3)), {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
    Case("Conv", (X, weights(4, 3, 3, 3), weights(4)), {"group": 2, "auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    Case("Conv", (X, weights(4, 6, 3, 3)), {"auto_pad": "VALID", "dilations": [2, 2]}),
    Case("Conv", (X, weights(4, 6, 2, 2)), {"pads": [0, 1, 1, 0]}),
    Case("Conv", ((2, 6, 9), weights(4, 6, 3)), {}),
    Case("Conv", ((2, 6, 5, 6, 7), weights(4, 6, 3, 3, 3)), {}),
    Case("ConvTranspose", (X, weights(6, 4, 2, 2), weights(4)), {"strides": [2, 2]}),
    Case("ConvTranspose", (X, weights(6, 4, 3, 3)), {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}),
    Case("ConvTranspose", (X, weights(6, 4, 3, 3)), {"strides": [2, 2], "pads": [0, 1, 1, 2]}),
    Case("ConvTranspose", (X, weights(6, 4, 3, 3)), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    Case("ConvTranspose", ((2, 6, 9), weights(6, 4, 3)), {}),
    Case("MaxPool", (X,), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    Case("MaxPool", (X,), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    Case("MaxPool", (X,), {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    Case("MaxPool", (X,), {"kernel_shape": [2, 2], "strides": [2, 2]}, outputs=2),
    Case("MaxPool", ((2, 6, 9),), {"kernel_shape": [2]}),
    Case("AveragePool", (X,), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    Case("AveragePool", (X,), {"kernel_shape": [2, 2], "auto_pad": "SAME_UPPER"}),
    Case("GlobalAveragePool", (X,), {}),
    Case("GlobalMaxPool", (X,), {}),
    # products
    Case("Gemm", ((2, 6), weights(6, 4), weights(4)), {}),
    Case("Gemm", ((2, 6), weights(4, 6)), {"transB": 1, "alpha": 0.5}),
    Case("Gemm", ((6, 2), weights(6, 4)), {"transA": 1}),
    Case("Gemm", ((2, 6), weights(6, 4), weights(2, 4)), {}),
    Case("Gemm", ((2, 6), (4, 6)), {"transB": 1}),
    Case("MatMul", ((2, 3, 6), weights(6, 4)), {}),
    Case("MatMul", ((2, 3, 6), (2, 6, 4)), {}),
    Case("MatMul", ((5, 2, 3, 6), (2, 6, 4)), {}),
    Case("Einsum", ((2, 3, 6), (2, 4, 6)), {"equation": "bij,bkj->bik"}),
    Case("Attention", ((2, 4, 5, 8), (2, 4, 7, 8), (2, 4, 7, 8)), {}, 23),
    Case("Attention", ((2, 5, 32), (2, 7, 32), (2, 7, 32)), {"q_num_heads": 4, "kv_num_heads": 4}, 23),
    # normalisation
    Case("BatchNormalization", (X, weights(6), weights(6), weights(6), weights(6)), {}),
    Case("InstanceNormalization", (X, weights(6), weights(6)), {}),
    Case("LayerNormalization", (X, weights(10), weights(10)), {}),
    Case("LayerNormalization", (X, weights(8, 10)), {"axis": 2}),
    Case("RMSNormalization", (X, weights(10)), {}, 23),
    Case("GroupNormalization", (X, weights(6), weights(6)), {"num_groups": 3}, 21),
    Case("GroupNormalization", (X, weights(3), weights(3)), {"num_groups": 3}, 18, known=False),
    Case("LRN", (X,), {"size": 5}),
    Case("PRelu", (X, weights(6, 1, 1)), {}),
    # places
    Case("Reshape", (X, ints(0, -1)), {}),
    Case("Reshape", (X, ints(2, 3, 2, -1)), {}),
    Case("Flatten", (X,), {}),
    Case("Flatten", (X,), {"axis": 2}),
    Case("Transpose", (X,), {"perm": [0, 2, 3, 1]}),
    Case("Concat", (X, X), {"axis": 1}),
    Case("Split", (X,), {"axis": 1}, outputs=2),
    Case("Split", (X, ints(2, 4)), {"axis": 1}, outputs=2),
    Case("Split", (X,), {"axis": 1, "split": [1, 5]}, 11, outputs=2),
    Case("Split", ((7, 2),), {"num_outputs": 3}, 18, outputs=3),
    Case("Slice", (X, ints(1), ints(1000), ints(3), ints(2)), {}),
    Case("Slice", (X, ints(-1), ints(-1000), ints(2), ints(-1)), {}),
    Case("Slice", (X, ints(0, 1), ints(1, -1)), {}),
    Case("Gather", (X, np.array(1, np.int64)), {"axis": 1}),
    Case("Gather", (X, ints(1, 3)), {"axis": 2}),
    Case("Gather", (X, np.array([[1, 2]], np.int64)), {"axis": 2}),
    Case("Gather", (weights(9, 4), (INT64, (2, 5))), {}),
    Case("GatherElements", (X, (INT64, X)), {"axis": 1}),
    Case("GatherND", (X, (INT64, (5, 2))), {}),
    Case("GatherND", (X, (INT64, (2, 5, 2))), {"batch_dims": 1}, known=False),
    Case("Squeeze", ((2, 1, 3), ints(1)), {}),
    Case("Squeeze", ((2, 1, 3, 1),), {}),
    Case("Squeeze", ((2, 1, 3, 1),), {"axes": [-1]}, 11),
    Case("Unsqueeze", (X, ints(0, -1)), {}),
    Case("Unsqueeze", (X,), {"axes": [1, 3]}, 11),
    Case("Expand", ((6, 1, 1), ints(2, 6, 8, 10)), {}),
    Case("Tile", (X, ints(1, 2, 1, 3)), {}),
    Case("Pad", (X, ints(0, 0, 1, 2, 0, 0, 3, 4)), {}),
    Case("Pad", (X, ints(0, 0, 1, 2, 0, 0, 3, 4)), {"mode": "reflect"}),
    Case("Pad", (X, ints(0, 0, 1, 2, 0, 0, 3, 4)), {"mode": "edge"}),
    Case("Pad", (X, ints(1, 2), None, ints(-1)), {}, 18),
    Case("Resize", (X, None, np.array([1, 1, 2, 2], np.float32)), {"mode": "nearest"}, 13),
    Case("Resize", (X, None, np.array([1, 1, 1.5, 2], np.float32)), {"mode": "linear"}, 11),
    Case("Resize", (X, None, None, ints(2, 6, 5, 7)), {"mode": "cubic"}),
    Case("DepthToSpace", ((2, 8, 4, 4),), {"blocksize": 2}),
    Case("SpaceToDepth", ((2, 8, 4, 4),), {"blocksize": 2}),
    Case("GridSample", (X, (2, 4, 5, 2)), {}),
    Case("Trilu", ((2, 5, 5),), {}),
    Case("ScatterND", (X, (INT64, (3, 1)), (3, 6, 8, 10)), {}),
    Case("ScatterND", (X, (INT64, (3, 1)), (3, 6, 8, 10)), {"reduction": "mul"}, 18, known=False),
    Case("ScatterElements", (X, (INT64, X), X), {"axis": 1, "reduction": "add"}, 18),
    Case("ScatterElements", (X, (INT64, X), X), {"axis": 1, "reduction": "max"}, 18),
    Case("LpNormalization", (X,), {}, known=False),
    # recurrent layers
    Case("LSTM", ((7, 2, 5), weights(1, 16, 5), weights(1, 16, 4), weights(1, 32)), {"hidden_size": 4}, outputs=3),
    Case("LSTM", ((7, 2, 5), weights(2, 16, 5), weights(2, 16, 4)), {"hidden_size": 4, "direction": "bidirectional"}),
    Case("GRU", ((7, 2, 5), weights(1, 12, 5), weights(1, 12, 4), weights(1, 24)), {"hidden_size": 4}, outputs=2),
    Case("RNN", ((7, 2, 5), weights(1, 4, 5), weights(1, 4, 4), weights(1, 8)), {"hidden_size": 4}, outputs=2),
]  # fmt: skip
