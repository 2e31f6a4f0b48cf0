"""Scaled dot-product attention."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from costcalc.core.errors import OpError
from costcalc.core.sizes import Shape, Size, format_shape, identical, prod
from costcalc.ir.arguments import flag, number
from costcalc.ir.broadcasting import broadcast_operands
from costcalc.ir.kernel import AuxiliaryOutput, Kernel, same_order
from costcalc.ir.layout import Layout
from costcalc.ir.op import Device, Op, Requirement, op
from costcalc.ir.ops.matmul import MatrixFactor, Product, batched_matmul_kernels, broadcast_to_requirements
from costcalc.ir.ops.shape import Permute, Reshape
from costcalc.ir.work import Work


@op
class ScaledDotProductAttention(Product):
    """Attention, torch.nn.functional.scaled_dot_product_attention: of query, key, value and, if given, a mask.

    For each query a mean of all values, weighed by the softmax of its products with all keys (Vaswani et al., Attention
    is all you need, 2017). With enable_gqa each head of key and value serves several of the query's.
    Output: (…, queries, the values' features). Work: MACs = heads × queries × keys × (features of a key + features of a
    value), as many if is_causal leaves half of them out; for each pair of query and key 1 mul to scale, 1 compare,
    1 add, 1 exp and 1 div for the softmax, and 1 add for a mask.
    """

    dropout_p: float = number(default=0.0, minimum=0, maximum=1)
    is_causal: bool = flag(default=False)
    scale: float | None = number(default=None)
    enable_gqa: bool = flag(default=False)

    arity = (3, 4)
    nonlinearity = False

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        query, key, value, *masks = inputs
        shapes = ", ".join(map(format_shape, (query, key, value)))
        if len({len(query), len(key), len(value)}) > 1 or len(query) < 2:
            raise OpError(f"{self.name} takes query, key and value of equally many sizes, not {shapes}", "inputs")
        if masks and self.is_causal:
            raise OpError(f"{self.name} takes a mask, or is_causal, not both", "is_causal")
        wrong = f"{self.name} takes query, key and value that agree, not {shapes}"
        yield Requirement(key[-1], "==", query[-1], wrong)
        yield Requirement(value[-2], "==", key[-2], wrong)
        for place, (a, b, c) in enumerate(zip(query[:-2], key[:-2], value[:-2], strict=True)):
            if self.enable_gqa and place == len(query) - 3:
                yield from (Requirement(a, "multiple of", heads, wrong) for heads in (b, c))
                continue
            yield Requirement(b, "==", a, wrong)
            yield Requirement(c, "==", a, wrong)
        for mask in masks:
            yield from broadcast_to_requirements(self.name, mask, (*query[:-1], key[-2]))

    def output(self, *inputs: Shape) -> Shape:
        return (*inputs[0][:-1], inputs[2][-1])

    def resolve(
        self,
        inputs: tuple[Shape, ...],
        layouts: tuple[Layout, ...],
        device: Device | None = None,
        requires_grad: tuple[bool, ...] = (),
    ) -> Op:
        """The fused kernel of a CPU, where it takes these inputs, or the steps that torch runs on `meta`.

        The fused kernel has neither dropout nor a gradient for the mask.
        """
        if device not in ("cpu", "meta") or len(inputs[0]) < 3:
            return self
        plain = not self.dropout_p and not any(requires_grad[3:])
        fused = device == "cpu" and plain and _is_fused(inputs, layouts)
        return (_FlashAttention if fused else _MathAttention)(self, layouts)

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        query, key, value, *masks = inputs
        pairs = prod(query[:-1]) * key[-2]
        return Work(
            macs=pairs * (query[-1] + value[-1]),
            muls=pairs,
            adds=pairs * (1 + len(masks)),
            exps=pairs,
            divs=pairs,
            compares=pairs,
        )

    def backward_macs(
        self, macs: Size, trainable: bool, requires_grad: tuple[bool, ...], inputs: tuple[Shape, ...] = ()
    ) -> Size:
        """Those of query and key go through the weights, whose gradient is a product with the values."""
        query, key, value, *_ = inputs
        pairs = prod(query[:-1]) * key[-2]
        through = requires_grad[0] or requires_grad[1] or any(requires_grad[3:])
        return pairs * (query[-1] * (requires_grad[0] + requires_grad[1]) + value[-1] * (requires_grad[2] + through))

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        sums = AuxiliaryOutput("logarithms of sums", prod(output[:-1]), element_size=4)  # of exps, in float32
        count = len(inputs)
        everything = tuple(range(count + 1))
        return (
            Kernel(
                everything[:-1],
                prod(output),
                saved=everything,
                auxiliary_outputs=(sums,),
                computes_unneeded_gradients=True,
            ),
        )


def _is_fused(inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> bool:
    """Whether a CPU's fused kernel takes query, key and value: 4 dimensions, as many features, and these innermost."""
    query, key, value = inputs[:3]
    features_innermost = all(layout.dim_order[-1] == 3 and 3 not in layout.strided_dims for layout in layouts[:3])
    return len(query) == 4 and features_innermost and identical(query[-1], key[-1]) and identical(query[-1], value[-1])


class _Attention(ScaledDotProductAttention):
    """Attention by a kernel that depends on the layouts of its inputs."""

    layouts: tuple[Layout, ...]

    def __init__(self, of: ScaledDotProductAttention, layouts: tuple[Layout, ...]) -> None:
        super().__init__(of.dropout_p, of.is_causal, of.scale, of.enable_gqa)
        self.__dict__["layouts"] = layouts


class _FlashAttention(_Attention):
    """The fused kernel of a CPU: the result is laid out as the query, and gradients with the heads inside of rows."""

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return Layout(None, layouts[0].dim_order)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        (kernel,) = super().kernels(inputs, output, training)
        return (replace(kernel, differentiable_operands=(0, 1, 2), gradient_order=self.gradient_order),)

    def gradient_order(self, given: Layout) -> tuple[int, ...] | None:
        return (0, 2, 1, 3)


class _MathAttention(_Attention):
    """Attention in steps, as torch runs it where there is no fused kernel: the products, and softmax between them.

    A mask is one of numbers, which are added; one of true and false is turned into such a mask first, which is not
    modelled.
    """

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        query, key, value, *masks = inputs
        query_layout, key_layout, value_layout = self.layouts[:3]
        rank, heads = len(query), query[:-2]
        scores = (*query[:-1], key[-2])
        steps = _Steps(len(inputs))
        scaled = steps.add(Kernel((0,), prod(query), gradient_order=same_order))
        held = [scaled]
        added = 3 if masks else None
        if self.is_causal:
            added = steps.causal_mask(scores)
            held.append(added)
        keys, values = MatrixFactor(1, key, key_layout), MatrixFactor(2, value, value_layout)
        if self.enable_gqa:
            keys, values = steps.repeat_heads(keys, heads), steps.repeat_heads(values, heads)
            held += [factor.number for factor in (keys, values) if factor.number > 2]
        turned = Permute((*range(rank - 2), rank - 1, rank - 2))
        across = MatrixFactor(
            steps.add(
                Kernel(
                    (keys.number,),
                    prod(keys.shape),
                    aliases=keys.number,
                    forwards_gradient=True,
                    output_shape=turned.output(keys.shape),
                    gradient_ops=(turned,),
                )
            ),
            turned.output(keys.shape),
            turned.layout((keys.shape,), (keys.layout,))._replace(strided_dims=frozenset()),
        )
        across = across._replace(
            number=steps.add(Kernel((across.number,), prod(keys.shape), gradient_order=same_order))
        )
        weights = steps.multiply(MatrixFactor(scaled, query, query_layout._replace(strided_dims=frozenset())), across)
        if added is not None:
            reads = (weights, added) if masks else (weights,)
            repeats = (added,) if masks and broadcast_operands((masks[0],), scores) else ()
            weights = steps.add(
                Kernel(
                    reads,
                    prod(scores),
                    forwards_gradient=True,
                    broadcast_operands=repeats,
                    operands_kept_alive=(added,),
                ),
            )
        weights = steps.add(Kernel((weights,), prod(scores), saved=(steps.number,)))  # softmax
        if self.dropout_p:
            factors = steps.add(Kernel((), prod(scores) if self.dropout_p < 1 else 1))
            weights = steps.add(Kernel((weights,), prod(scores), saved=(factors,), operands_kept_alive=(factors,)))
        steps.multiply(MatrixFactor(weights, scores, Layout(None, tuple(range(rank)))), values, tuple(held))
        return tuple(steps.kernels)


class _Steps:
    """The kernels of attention as they are added, and the number of the next one's result."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.kernels: list[Kernel] = []

    def add(self, *kernels: Kernel) -> int:
        """Append kernels; returns the number of the last one's result."""
        self.kernels += kernels
        self.number += len(kernels)
        return self.number - 1

    def multiply(self, a: MatrixFactor, b: MatrixFactor, holds: tuple[int, ...] = ()) -> int:
        """The matrix product of two factors."""
        return self.add(*batched_matmul_kernels(a, b, self.number, holds))

    def causal_mask(self, scores: Shape) -> int:
        """Zeros, and −inf where a key comes after the query: made of a triangle of ones and of two numbers."""
        pairs = scores[-2] * scores[-1]
        ones = self.add(Kernel((), pairs, element_size=1))
        triangle = self.add(Kernel((), pairs, element_size=1, operands_kept_alive=(ones,)))
        numbers = (self.add(Kernel((), 1)), self.add(Kernel((), 1)))
        return self.add(Kernel((), pairs, operands_kept_alive=(triangle, *numbers)))

    def repeat_heads(self, factor: MatrixFactor, heads: Shape) -> MatrixFactor:
        """Keys or values repeated for each of the query's heads that they serve."""
        number, shape, _ = factor
        if identical(shape[-3], heads[-1]):
            return factor
        wide = (*shape[:-2], heads[-1] // shape[-3], *shape[-2:])
        whole = (*heads, *shape[-2:])
        self.add(Kernel((number,), prod(wide), aliases=number))
        copied = self.add(
            Kernel(
                (self.number - 1,),
                prod(wide),
                forwards_gradient=True,
                output_shape=whole,
                gradient_ops=(Reshape(wide),),
            )
        )
        return MatrixFactor(copied, whole, Layout(None, tuple(range(len(whole)))))
