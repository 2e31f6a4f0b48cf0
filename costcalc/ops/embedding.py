"""Rows of a table by their numbers."""

from __future__ import annotations

from collections.abc import Iterator

from costcalc.dims import Shape, Size, prod, show_shape
from costcalc.errors import OpError
from costcalc.ops.kernel import Kernel
from costcalc.ops.op import Layout, Op, Requirement, op, size


@op
class Embedding(Op):
    """For each index the row of a learnt table, torch.nn.Embedding: what stands for a word.

    Output: the indices' sizes, then embedding_dim. Parameters: weight (num_embeddings, embedding_dim); none if it is a
    further input. Work: none; rows are copied.
    """

    num_embeddings: Size = size("V")
    embedding_dim: Size = size("F_out")

    arity = (1, 2)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        table = (self.num_embeddings, self.embedding_dim)
        for operand in inputs[1:]:
            message = f"embedding takes a weight of {show_shape(table)}, not of {show_shape(operand)}"
            if len(operand) != 2:
                raise OpError(message, "inputs")
            yield from (Requirement(a, "==", b, message) for a, b in zip(operand, table, strict=True))

    def output(self, *inputs: Shape) -> Shape:
        return (*inputs[0], self.embedding_dim)

    def holds(self, *inputs: str) -> str:
        return "float"

    def parameters(self, *inputs: Shape) -> dict[str, Shape]:
        return {} if len(inputs) > 1 else {"weight": (self.num_embeddings, self.embedding_dim)}

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        return (Kernel(tuple(range(1, len(inputs))), prod(output), keeps=(0,)),)

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return Layout(None, tuple(range(len(inputs[0]) + 1)))
