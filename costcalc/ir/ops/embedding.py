"""Lookups in an embedding table."""

from __future__ import annotations

from collections.abc import Iterator

from costcalc.core.dtypes import INT64_BYTES
from costcalc.core.errors import OpError
from costcalc.core.sizes import Shape, Size, format_shape, prod
from costcalc.ir.arguments import choice, flag, size
from costcalc.ir.kernel import AuxiliaryOutput, Kernel
from costcalc.ir.layout import Layout
from costcalc.ir.op import Op, Requirement, op
from costcalc.ir.work import Work


@op
class Embedding(Op):
    """Rows of a trainable table, one for each index, torch.nn.Embedding.

    Output: (*indices, embedding_dim). Parameters: weight (num_embeddings, embedding_dim); none if it is an input.
    Work: none; rows are copied.
    """

    num_embeddings: Size = size("V")
    embedding_dim: Size = size("F_out")

    arity = (1, 2)

    def _table_inputs(self, inputs: tuple[Shape, ...]) -> tuple[int, ...]:
        """Return the numbers of the inputs that are tables."""
        return tuple(range(1, len(inputs)))

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        table = (self.num_embeddings, self.embedding_dim)
        for operand in [inputs[number] for number in self._table_inputs(inputs)]:
            message = f"{self.name} takes a weight of {format_shape(table)}, not of {format_shape(operand)}"
            if len(operand) != 2:
                raise OpError(message, "inputs")
            yield from (Requirement(a, "==", b, message) for a, b in zip(operand, table, strict=True))

    def output(self, *inputs: Shape) -> Shape:
        return (*inputs[0], self.embedding_dim)

    def element_type(self, *inputs: str) -> str:
        return "float"

    def parameters(self, *inputs: Shape) -> dict[str, Shape]:
        return {} if self._table_inputs(inputs) else {"weight": (self.num_embeddings, self.embedding_dim)}

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        return (Kernel(self._table_inputs(inputs), prod(output), saved=(0,)),)

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return Layout(None, tuple(range(len(inputs[0]) + 1)))


@op
class EmbeddingBag(Embedding):
    """The sum, mean or maximum of the rows of a trainable table, one result per bag of indices, torch.nn.EmbeddingBag.

    Inputs: indices (bags, indices per bag); or indices (n) and the offsets at which the bags start, with
    include_last_offset also the end of the last bag. Output: (bags, embedding_dim). Parameters: weight (num_embeddings,
    embedding_dim); none if it is the last input. Work: 1 add for each element of a row that is read, or 1 compare with
    mode max; with mode mean also 1 div per output element.
    """

    mode: str = choice("sum", "mean", "max", default="mean")
    include_last_offset: bool = flag(default=False)

    arity = (1, 3)

    def _table_inputs(self, inputs: tuple[Shape, ...]) -> tuple[int, ...]:
        return tuple(range(1 if len(inputs[0]) > 1 else 2, len(inputs)))

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        if len(inputs[0]) not in (1, 2) or (len(inputs[0]) == 1 and (len(inputs) < 2 or len(inputs[1]) != 1)):
            shapes = " and ".join(map(format_shape, inputs))
            raise OpError(
                f"embedding_bag takes bags × indices, or indices and the bags' offsets, not {shapes}", "inputs"
            )
        if len(self._table_inputs(inputs)) > 1:
            raise OpError("embedding_bag takes one table", "inputs")
        yield from super().requirements(*inputs)
        yield Requirement(self.output(*inputs)[0], ">=", 1, "there are {left} bags")

    def output(self, *inputs: Shape) -> Shape:
        bags = inputs[0][0] if len(inputs[0]) > 1 else inputs[1][0] - (1 if self.include_last_offset else 0)
        return (bags, self.embedding_dim)

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        elements_read = prod(inputs[0]) * self.embedding_dim
        if self.mode == "max":
            return Work(compares=elements_read)
        return Work(adds=elements_read, divs=prod(output) if self.mode == "mean" else 0)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        auxiliary_outputs = [
            AuxiliaryOutput("offset2bag", prod(inputs[0]), element_size=INT64_BYTES),
            AuxiliaryOutput("bag_size", output[0], element_size=INT64_BYTES),
        ]
        if self.mode == "max":
            auxiliary_outputs.append(AuxiliaryOutput("max_indices", prod(output), element_size=INT64_BYTES))
        tables = self._table_inputs(inputs)
        saved = tuple([number for number in range(len(inputs)) if number not in tables])
        return (Kernel(tables, prod(output), saved=saved, auxiliary_outputs=tuple(auxiliary_outputs)),)

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return Layout(None, (0, 1))

    def sliding_windows(self, *inputs: Shape) -> None:
        return None
