"""Views, copies, picking by index and made tensors: shapes worked out by hand, what is a view, and how they import."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from small_graphs import chain
from torch import nn

import costcalc
from costcalc.core.errors import OpError
from costcalc.frontends.torch.export import from_torch
from costcalc.ir.op import infer_output
from costcalc.ir.ops import OPS
from costcalc.ir.work import Work

SHAPES = [
    ("reshape((2, 3, 20))", [(2, 3, 4, 5)], (2, 3, 20)),
    ("squeeze([1, -1])", [(2, 1, 4, 1)], (2, 4)),
    ("unsqueeze(-1)", [(2, 3)], (2, 3, 1)),
    ("expand((7, 2, 3))", [(2, 1)], (7, 2, 3)),
    ("slice(1, 1, 8, step=3)", [(2, 9)], (2, 3)),
    ("slice(-1, 2)", [(2, 9)], (2, 7)),
    ("select(1, -1)", [(2, 3, 4)], (2, 4)),
    ("diagonal(1, 1, 2)", [(2, 3, 5)], (2, 3)),
    ("diagonal(-2, -1, 0)", [(4, 3, 5)], (3, 3)),
    ("tensor_unfold(1, 3, 2)", [(2, 8, 5)], (2, 3, 5, 3)),
    ("repeat((2, 1, 3))", [(4, 5)], (2, 4, 15)),
    ("repeat_interleave(3, 1)", [(2, 4)], (2, 12)),
    ("stack(dim=-1)", [(2, 3)] * 4, (2, 3, 4)),
    ("pad_nd((1, 2, 0, 3))", [(2, 3, 4)], (2, 6, 7)),
    ("index([1])", [(2, 9, 5), (3, 4)], (2, 3, 4, 5)),
    ("index([1, 2])", [(2, 9, 5, 6), (3, 1), (4,)], (2, 3, 4, 6)),
    ("index([0, 2])", [(2, 9, 5), (3,), (3,)], (3, 9)),
    ("index_select(-1)", [(2, 9), (4,)], (2, 4)),
    ("gather(1)", [(2, 9), (2, 4)], (2, 4)),
    ("topk(3, dim=1)", [(2, 9)], (2, 3)),
    ("kthvalue(3, keepdim=True)", [(2, 9)], (2, 1)),
    ("one_hot(10)", [(2, 9)], (2, 9, 10)),
    ("scatter_reduce(1, 'amax')", [(2, 9), (2, 4), (2, 4)], (2, 9)),
    ("masked_scatter()", [(2, 9), (9,), (2, 9)], (2, 9)),
    ("embedding_bag(10, 4)", [(2, 9)], (2, 4)),
    ("embedding_bag(10, 4, 'sum', include_last_offset=True)", [(9,), (3,)], (2, 4)),
    ("cdist()", [(2, 9, 5), (7, 5)], (2, 9, 7)),
    ("full((2, 3))", [], (2, 3)),
    ("arange(12)", [], (12,)),
]


def made(call):
    """The op of a call of the spec language."""
    name, _, rest = call.partition("(")
    return eval(f"op({rest}", {"op": OPS[name]})


@pytest.mark.parametrize(("call", "inputs", "output"), SHAPES, ids=[call for call, *_ in SHAPES])
def test_shapes(call, inputs, output):
    op = made(call)
    assert infer_output(op, tuple(inputs))[0] == output
    assert not op.parameters(*inputs) or call.startswith("embedding")


def test_work_of_what_puts_in_order_or_adds():
    assert made("topk(3, dim=1)").work(((2, 9),), (2, 3)).compares == 2 * 9 * 3
    assert made("sort(dim=1)").work(((2, 9),), (2, 9)).compares == 2 * (9 * 8 // 2)
    assert made("scatter_add(1)").work(((2, 9), (2, 4), (2, 4)), (2, 9)).adds == 2 * 4
    assert made("index_put([1], accumulate=True)").work(((2, 9), (4,), (2, 4)), (2, 9)).adds == 2 * 4
    assert made("scatter_reduce(1, 'mean')").work(((2, 9), (2, 4), (2, 4)), (2, 9)) == Work(adds=2 * 4, divs=2 * 9)
    assert made("scatter_reduce(1, 'amin')").work(((2, 9), (2, 4), (2, 4)), (2, 9)).compares == 2 * 4
    assert made("gather(1)").work(((2, 9), (2, 4)), (2, 4)) == costcalc.Work()


def test_work_of_bags_and_distances():
    assert made("embedding_bag(10, 4)").work(((2, 9),), (2, 4)) == Work(adds=2 * 9 * 4, divs=2 * 4)
    assert made("embedding_bag(10, 4, 'max')").work(((9,), (2,)), (2, 4)) == Work(compares=9 * 4)
    distances, shapes = 9 * 7, ((9, 5), (7, 5))
    work = {p: made(f"cdist({p!r})").work(shapes, (9, 7)) for p in (1, 2, 3, "inf")}
    assert work[1] == Work(adds=distances * (5 + 4), compares=distances * 5)
    assert work[2] == Work(adds=distances * (5 + 4), muls=distances * 5, exps=distances)
    assert work[3] == work[1] + Work(exps=distances * (5 + 1))
    assert work["inf"] == Work(adds=distances * 5, compares=distances * (5 + 4))


@pytest.mark.parametrize(
    ("call", "inputs", "message"),
    [
        ("diagonal(4)", [(3, 4)], "has 0 elements"),
        ("diagonal(0, 1, -1)", [(3, 4)], "two different dimensions"),
        ("tensor_unfold(0, 5)", [(3, 4)], "a window of 5 is larger than the size 3"),
        ("embedding_bag(10, 4)", [(9,)], "the bags' offsets"),
        ("embedding_bag(10, 4)", [(2, 9), (11, 4)], "a weight of 10×4, not of 11×4"),
        ("cdist()", [(9, 5), (7, 6)], "not 5 and 6"),
        ("cdist(-1)", [(9, 5), (7, 5)], "at least 0, not -1"),
        ("reshape((2, 7))", [(2, 3, 4)], "14 elements, not 24"),
        ("squeeze(1)", [(2, 3)], "dimension 1 has 3"),
        ("expand((2, 5))", [(2, 3)], "2×3 cannot be expanded to 2×5"),
        ("slice(1, 0, 10)", [(2, 9)], "the end of the slice is 10, beyond the size 9"),
        ("select(1, 9)", [(2, 9)], "index 9 is out of range for a size of 9"),
        ("gather(2)", [(2, 9), (2, 4)], "dim 2 is not a dimension"),
        ("topk(10)", [(2, 9)], "topk needs 10 or more elements, not 9"),
    ],
)
def test_what_they_refuse(call, inputs, message):
    with pytest.raises(OpError, match=message):
        infer_output(made(call), tuple(inputs))


# Of a tensor (2, 6, 4, 4) after these layers, whether a reshape to (2, 96) and the like is a view.
LAID_OUT = [
    ([], (2, 96), True),
    ([("permute", (0, 2, 3, 1))], (2, 16, 6), True),
    ([("permute", (0, 2, 3, 1))], (2, 96), False),
    ([("slice", 0, 1)], (96,), True),
    ([("slice", 1, 1)], (2, 80), True),
    ([("slice", 1, 1)], (160,), False),
    ([("slice", 3, 1)], (2, 24, 3), True),
    ([("slice", 3, 1)], (2, 6, 12), False),
    ([("slice", 2, 0, None, 2)], (2, 6, 8), False),
    ([("select", 3, 0)], (2, 24), True),
    ([("select", 1, 0)], (32,), False),
    ([("slice", 1, 1), ("gelu",)], (160,), True),
    ([("slice", 1, 1), ("relu",)], (160,), False),
    ([("select", 1, 0), ("unsqueeze", 1), ("expand", (2, 3, 4, 4))], (2, 3, 16), True),
    ([("select", 1, 0), ("unsqueeze", 1), ("expand", (2, 3, 4, 4))], (2, 48), False),
]


@pytest.mark.parametrize(("before", "sizes", "view"), LAID_OUT)
def test_a_reshape_is_a_view_where_torch_has_one(before, sizes, view):
    layers = [(f"l{i}", OPS[name](*fields)) for i, (name, *fields) in enumerate(before)]
    graph = chain(("first", OPS["relu"]()), *layers, ("last", OPS["reshape"](sizes)), shape=(2, 6, 4, 4))
    assert graph.resolved_op(graph.nodes[-1]).allocates_output() != view
    assert costcalc.check(graph, device="cpu").differences == ()


class Calls(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


X, I = torch.zeros(2, 6, 4, 4), torch.zeros(2, 3, dtype=torch.int64)  # noqa: E741
IMPORTED = {
    "views": (lambda x: x.flatten(1).view(2, 6, 16).transpose(1, 2).unsqueeze(0).squeeze(0).mT.contiguous(), [X]),
    "pieces": (lambda x: torch.cat([*x.chunk(4, 1), x.split([2, 4], 1)[1], x[:, -2:], x[:, 1:5:2]], 1), [X]),
    "places": (lambda x: torch.stack([*x.unbind(1), x[:, -1]], -1).movedim(0, 1), [X]),
    "copies": (lambda x: x.roll((1, 2), (2, 3)).flip(1).repeat(1, 2, 1, 1).repeat_interleave(2, 1).clone(), [X]),
    "sides": (lambda x: F.pad(F.pad(x, (0, 1, 0, 1)), (0, 0, -1, 1, 0, 2)), [X]),
    "numbers": (lambda x, i: x[:, i].gather(3, torch.zeros_like(x[:, i], dtype=torch.int64)), [X, I]),
    "made": (lambda x: x + torch.arange(4) + torch.full((4, 1), float("-inf")) + torch.eye(4) + torch.ones(4), [X]),
    "order": (lambda x: x.topk(2, 1)[0] + x.sort(1)[1][:, :2], [X]),
    "kinds": (lambda x: x.to(torch.int64).to(x.dtype).half(), [X]),
    "grid": (lambda x: x + torch.stack(torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij"))[0], [X]),
}


@pytest.mark.parametrize("name", IMPORTED)
def test_what_is_imported_is_known(name):
    function, inputs = IMPORTED[name]
    module = Calls(function)
    graph = from_torch(module, *inputs)
    assert not costcalc.analyze(graph).unknown, graph.notes
    assert graph.shapes[graph.outputs[0]] == tuple(module(*inputs).shape)


def test_a_mask_that_is_filled_in_place():
    def masked(x):
        mask = x.new_zeros(4, 4)
        mask[1:, :2].fill_(3)
        mask[0].fill_(2)
        return x + mask

    graph = from_torch(Calls(masked), X)
    assert not costcalc.analyze(graph).unknown, graph.notes
    built = costcalc.torch_backend.build(graph)
    assert torch.equal(built(X), Calls(masked)(X))
