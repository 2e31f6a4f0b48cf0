"""Import of torch modules that other tools miscount: parameters and MACs as arithmetic, and by torch's FLOP counter."""

from __future__ import annotations

import warnings

import pytest
import sympy
import torch
import torch.nn.functional as F
from plain_models import Decoder, Encoder
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import costcalc
from costcalc import CostcalcError
from costcalc.frontends.torch.export import from_torch, trace
from costcalc.ir.work import Work


class Calls(nn.Module):
    """A module whose forward pass is a function of the module and its inputs."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            if isinstance(part, torch.Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, *inputs, **named):
        return self.function(self, *inputs, **named)


def totals(graph):
    costs = costcalc.analyze(graph)
    assert not costs.unknown, graph.notes
    return costs.total().params, costs.total().work.macs


def counted(module, *inputs, **named):
    """MACs: half of the FLOPs that torch's counter reports."""
    module, inputs = module.to("meta").eval(), [x.to("meta") for x in inputs]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(*inputs, **{name: x.to("meta") if isinstance(x, torch.Tensor) else x for name, x in named.items()})
    return counter.get_total_flops() // 2


def parameter(*shape):
    return nn.Parameter(torch.zeros(shape))


CASES = {
    "F.conv2d with a parameter": (
        Calls(lambda m, x: F.conv2d(x, m.kernel, padding=1), kernel=parameter(8, 3, 3, 3)),
        [(2, 3, 10, 12)],
        (8 * 3 * 9, 2 * 10 * 12 * 8 * 3 * 9),
    ),
    "F.linear with a parameter": (
        Calls(lambda m, x: F.linear(x, m.matrix, m.shift), matrix=parameter(5, 7), shift=parameter(5)),
        [(2, 7)],
        (5 * 7 + 5, 2 * 5 * 7),
    ),
    "x @ x.mT": (Calls(lambda m, x: x @ x.mT), [(2, 6, 5)], (0, 2 * 6 * 6 * 5)),
    "F.scaled_dot_product_attention": (
        Calls(lambda m, x: F.scaled_dot_product_attention(x, x, x)),
        [(2, 4, 10, 8)],
        (0, 2 * (2 * 4 * 10 * 10 * 8)),
    ),
    "nn.MultiheadAttention in evaluation mode": (
        Calls(lambda m, x: m.mha(x, x, x)[0], mha=nn.MultiheadAttention(8, 2, batch_first=True)),
        [(2, 10, 8)],
        (4 * 8 * 8 + 4 * 8, 2 * 10 * 4 * 8 * 8 + 2 * (2 * 10 * 10 * 8)),
    ),
    "a linear layer in two modules, called three times": (
        (lambda one: Calls(lambda m, x: m.a(x) + m.b(m.b(x)), a=nn.Sequential(one), b=nn.Sequential(one)))(nn.Linear(6, 6)),
        [(2, 6)],
        (6 * 6 + 6, 3 * 2 * 6 * 6),
    ),
    "a transposed convolution": (
        Calls(lambda m, x: m.up(x), up=nn.ConvTranspose2d(6, 4, 2, stride=2)),
        [(2, 6, 5, 7)],
        (6 * 4 * 4 + 4, 2 * 5 * 7 * 6 * 4 * 4),
    ),
    "a linear layer on three dimensions": (Calls(lambda m, x: m.fc(x), fc=nn.Linear(8, 3)), [(2, 5, 8)], (27, 2 * 5 * 3 * 8)),
    "einsum": (Calls(lambda m, x, y: torch.einsum("bhqd,bhkd->bhqk", x, y)), [(2, 3, 4, 5), (2, 3, 6, 5)], (0, 2 * 3 * 4 * 6 * 5)),
    "a computed kernel": (
        Calls(lambda m, x: F.conv2d(x, m.kernel - m.kernel.mean((1, 2, 3), keepdim=True)), kernel=parameter(8, 3, 3, 3)),
        [(1, 3, 8, 8)],
        (8 * 3 * 9, 6 * 6 * 8 * 3 * 9),
    ),
    "a convolution without a batch": (
        Calls(lambda m, x: m.conv(x), conv=nn.Conv2d(3, 4, 3)),
        [(3, 8, 9)],
        (4 * 27 + 4, 6 * 7 * 4 * 27),
    ),
    "padding='same' with an odd total": (
        Calls(lambda m, x: m.conv(x), conv=nn.Conv1d(3, 4, 6, padding="same")),
        [(2, 3, 9)],
        (4 * 18 + 4, 2 * 9 * 4 * 18),
    ),
    "a decomposed operator": (
        Calls(lambda m, x, y: torch.chain_matmul(x, y, x)), [(6, 5), (5, 6)], (0, 5 * 6 * 5 + 6 * 5 * 5)
    ),
    "an empty tensor": (
        Calls(lambda m, x: m.fc(torch.cat([x[:, :0], *x.split([0, 2, 4], 1)], 1).relu()), fc=nn.Linear(6, 4)),
        [(2, 6)],
        (28, 2 * 6 * 4),
    ),
    "a block under no_grad": (
        Calls(lambda m, x: torch.no_grad()(m.fc)(x), fc=nn.Linear(6, 4)),
        [(2, 6)],
        (28, 2 * 6 * 4),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_modules_that_other_tools_miscount(name):
    module, shapes, expected = CASES[name]
    inputs = [torch.zeros(shape) for shape in shapes]
    graph = from_torch(module, *inputs)
    assert totals(graph) == expected
    assert counted(module, *inputs) == expected[1]
    assert graph.unused_parameters == {}
    assert graph.notes == ()


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_recurrent_layers(kind, gates):
    module = Calls(lambda m, x: m.head(m.rnn(x)[0][:, -1]), rnn=kind(5, 6, batch_first=True), head=nn.Linear(6, 3))
    params, macs = totals(from_torch(module, torch.zeros(2, 7, 5)))
    assert params == gates * 6 * (5 + 6) + 2 * gates * 6 + 6 * 3 + 3
    assert macs == 2 * 7 * gates * 6 * (5 + 6) + 2 * 6 * 3


def test_dictionary_inputs_and_keywords():
    module = Calls(lambda m, batch, *, scale: m.fc(batch["x"]) * scale + batch["y"], fc=nn.Linear(6, 4))
    graph = from_torch(module, {"x": torch.zeros(2, 6), "y": torch.zeros(2, 4)}, scale=2.0)
    assert totals(graph) == (28, 2 * 6 * 4)


@pytest.mark.parametrize("deep", [False, True])
def test_control_flow_that_depends_on_a_flag(deep):
    module = Calls(lambda m, x, deep: m.b(m.a(x)) if deep else m.a(x), a=nn.Linear(6, 6), b=nn.Linear(6, 6))
    graph = from_torch(module, torch.zeros(2, 6), deep)
    assert totals(graph) == ((84, 2 * 72) if deep else (42, 72))
    assert set(graph.unused_parameters) == (set() if deep else {"b.weight", "b.bias"})


def test_tied_weights_are_counted_once_and_used_twice():
    graph = from_torch(
        Decoder(vocabulary=100, width=16, depth=1, heads=2, longest=32), torch.zeros(2, 8, dtype=torch.int64)
    )
    params, macs = totals(graph)
    assert params == sum(p.numel() for p in Decoder(100, 16, 1, 2, 32).parameters())
    assert macs == 2 * 8 * (12 * 16 * 16 + 100 * 16) + 2 * 2 * 8 * 8 * 16


def test_the_module_is_unchanged():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout())
    module[1].eval()
    module.register_forward_hook(lambda *args: None)
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    modes, attributes = [m.training for m in module.modules()], [set(vars(m)) for m in module.modules()]
    from_torch(module, torch.zeros(1, 3, 8, 8))
    assert [m.training for m in module.modules()] == modes
    assert [set(vars(m)) for m in module.modules()] == attributes
    assert all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items())
    assert len(module._forward_hooks) == 1
    assert all(p.grad is None for p in module.parameters())


def test_paths_are_those_of_the_users_code():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
            self.scale = nn.Parameter(torch.ones(4, 1, 1))

        def forward(self, x):
            x = F.relu(self.stem(self.stem[0](x).mean(1, keepdim=True).expand(-1, 3, -1, -1))) * self.scale
            return x.relu().flatten(1)

    names = [node.name for node in from_torch(Net(), torch.zeros(1, 3, 9, 9)).nodes]
    assert names == [
        "stem/0_1",
        "mean",
        "expand",
        "stem/0_2",
        "stem/1",
        "relu_1",
        "scale",
        "mul",
        "relu_2",
        "flatten",
    ]


class Answer:
    """A result that torch.export cannot flatten."""

    def __init__(self, logits):
        self.logits = logits


def test_a_run_is_recorded_if_export_fails():
    module = Calls(lambda m, x: Answer(m.net(x)), net=nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2)))
    graph = from_torch(module, torch.zeros(3, 6))
    assert totals(graph) == (28 + 10, 3 * 24 + 3 * 8)
    assert [node.name for node in graph.nodes] == ["net/0", "relu", "net/2"]
    assert "torch.export cannot export the model" in graph.notes[0]


def test_sizes_that_depend_on_data_are_refused():
    with pytest.raises(CostcalcError, match="depends on"):
        from_torch(Calls(lambda m, x: x[x > 0].sum()), torch.zeros(3, 6))
    with pytest.raises(CostcalcError, match=r"test_import_torch.py:\d+"):
        from_torch(Calls(lambda m, x: x if x.sum() > 0 else 2 * x), torch.zeros(3, 6))


def test_a_tuple_passed_as_one_argument():
    with pytest.raises(CostcalcError, match=r"from_torch\(module, \*example\)"):
        from_torch(nn.Linear(6, 4), (torch.zeros(3, 6),))


def test_torchscript_is_refused():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.trace(nn.Linear(3, 2), torch.zeros(1, 3))
    with pytest.raises(CostcalcError, match=r"TorchScript is not supported; import the nn\.Module"):
        from_torch(nn.Sequential(scripted), torch.zeros(1, 3))


@pytest.mark.parametrize(
    ("function", "shapes", "work"),
    [
        (F.mse_loss, [(2, 3), (2, 3)], Work(adds=6 + 5, muls=6, divs=1)),
        (torch.logit, [(2, 3)], None),
        (F.cosine_similarity, [(2, 3), (2, 3)], None),
        (lambda x: x.diff(), [(2, 3)], Work(adds=4)),
        (torch.trace, [(3, 3)], Work(adds=2)),
        (lambda x: (x > 0).cumsum(1, dtype=torch.float32), [(2, 3)], Work(compares=6, adds=4)),
    ],
)
def test_decomposed_operators(function, shapes, work):
    inputs = [torch.zeros(shape) for shape in shapes]
    graph = from_torch(Calls(lambda m, *tensors: function(*tensors)), *inputs)
    total = costcalc.analyze(graph).total()
    assert not total.unknown_layers
    assert work is None or total.work == work
    assert graph.shapes[graph.outputs[0]] == function(*inputs).shape
    assert costcalc.check(graph, device="cpu").differences == ()


@pytest.mark.parametrize("train", [False, True])
def test_a_view_of_a_parameter_is_checked(train):
    module = Calls(lambda m, x: x + m.token.expand(2, 3), token=parameter(1, 3))
    assert costcalc.check(from_torch(module, torch.zeros(2, 3)), device="meta", train=train).differences == ()


def test_unsupported_operators_are_listed():
    graph = from_torch(Calls(lambda m, x: m.fc(torch.special.i0(x)), fc=nn.Linear(6, 4)), torch.zeros(2, 6))
    costs = costcalc.analyze(graph)
    assert [row.op for row in costs.unknown] == ["special_i0"]
    assert costs.total().work.macs == 2 * 6 * 4


# -- dynamic sizes -------------------------------------------------------------------------------------------------


def test_attention_is_quadratic_in_the_sequence():
    width, depth, vocabulary = 64, 2, 1000
    traced = trace(Decoder(), [torch.zeros(1, 16, dtype=torch.int64)], dynamic_sizes=["batch", "sequence"])
    for batch, sequence in ((1, 16), (3, 100)):
        macs = totals(traced.specialize(batch=batch, sequence=sequence))[1]
        linear = 12 * width * width * depth + vocabulary * width
        assert macs == batch * (sequence * linear + depth * 2 * sequence**2 * width)


def test_a_torch_encoder():
    traced = trace(Encoder(), [torch.zeros(1, 16, 64)], dynamic_sizes=["batch", "sequence"])
    assert totals(traced.specialize(batch=2, sequence=50))[1] == 2 * (50 * 12 * 64 * 64 * 2 + 2 * 2 * 50 * 50 * 64)


def test_distances_with_dynamic_sizes():
    traced = trace(Calls(lambda m, x: torch.cdist(x, x)), [torch.zeros(2, 5, 3)], dynamic_sizes=["batch", "sequence"])
    work = costcalc.analyze(traced.graph).total().work
    n, length = (sympy.Symbol(name, integer=True, positive=True) for name in ("batch", "sequence"))
    assert sympy.expand(work.muls - 3 * n * length**2) == 0


def test_a_size_that_the_model_fixes():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3 * 8 * 8, 5)

        def forward(self, x):
            return self.fc(x.flatten(1))

    traced = trace(Fixed(), [torch.zeros(1, 3, 8, 8)], dynamic_sizes=["batch", "height"])
    assert traced.fixed == {"height": 8}
    assert totals(traced.specialize(batch=4, height=8))[1] == 4 * 192 * 5
    with pytest.raises(CostcalcError, match="fixes height to 8"):
        traced.specialize(batch=1, height=16)
