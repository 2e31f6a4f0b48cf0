"""Matrix products with learnt weights."""

from __future__ import annotations

from costcalc.costs import Work
from costcalc.dims import Shape, Size, prod
from costcalc.ops.kernel import Kernel
from costcalc.ops.op import Layout, Op, flag, op, size


@op
class Linear(Op):
    """A matrix product on the last size of its input, torch.nn.Linear.

    Output: the last size becomes out_features. Parameters: weight (out_features, in_features); bias (out_features).
    Work: MACs = prod(output) × in_features; the bias is 1 add per output element.
    """

    out_features: Size = size("F_out")
    bias: bool = flag(default=True)

    weight_layer = True

    def output(self, *inputs: Shape) -> Shape:
        return (*inputs[0][:-1], self.out_features)

    def parameters(self, *inputs: Shape) -> dict[str, Shape]:
        weight = (self.out_features, inputs[0][-1])
        return {"weight": weight, "bias": (self.out_features,)} if self.bias else {"weight": weight}

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        macs = prod(output[:-1]) * prod(self.parameters(*inputs)["weight"])
        return Work(macs=macs, adds=prod(output) if self.bias else 0)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        product = Kernel((0,), prod(output), keeps_to_learn=(0,), sums="bias")
        if len(output) == 2 or not self.bias:
            return (product,)
        return (product, Kernel((1,), prod(output), lies_in=1, passes_on=True))  # of rows, seen in the input's shape

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        """A plane that lies before the last dimension is kept; one that the features are a part of is gone."""
        last, plane = len(inputs[0]) - 1, layouts[0].plane
        return Layout(None if plane is None or last in plane else plane, tuple(range(last + 1)))
