"""Scaled dot-product attention."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from costcalc.core.devices import Device
from costcalc.core.errors import OpError
from costcalc.core.sizes import Shape, Size, format_shape, identical, prod
from costcalc.ir.arguments import flag, number
from costcalc.ir.broadcasting import broadcast_operands
from costcalc.ir.kernel import AuxiliaryOutput, Kernel, same_order
from costcalc.ir.layout import Layout
from costcalc.ir.op import Op, Requirement, op
from costcalc.ir.ops.matmul import MatrixFactor, Product, batched_matmul_kernels, broadcast_to_requirements
from costcalc.ir.ops.shape import Permute, Reshape
from costcalc.ir.work import Work


@op
class ScaledDotProductAttention(Product):
    """softmax(scale·Q·Kᵀ + mask)·V, torch.nn.functional.scaled_dot_product_attention.

    Inputs: query, key, value and optionally a mask. With enable_gqa several heads of the query share a head of key and
    value. Output: (…, queries, features of a value). Work: MACs = heads × queries × keys × (features of a key +
    features of a value), also with is_causal, which masks half of the products; for each pair of query and key 1 mul
    (the scale), 1 compare, 1 add, 1 exp, 1 div (the softmax), and 1 add with a mask.
    Source: Vaswani et al., Attention is all you need, 2017.
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
            raise OpError(f"{self.name} takes query, key and value of the same rank, not {shapes}", "inputs")
        if masks and self.is_causal:
            raise OpError(f"{self.name} takes a mask or is_causal, not both", "is_causal")
        message = f"{self.name} takes query, key and value that agree, not {shapes}"
        yield Requirement(key[-1], "==", query[-1], message)
        yield Requirement(value[-2], "==", key[-2], message)
        for dim, (a, b, c) in enumerate(zip(query[:-2], key[:-2], value[:-2], strict=True)):
            if self.enable_gqa and dim == len(query) - 3:
                yield from (Requirement(a, "multiple of", heads, message) for heads in (b, c))
                continue
            yield Requirement(b, "==", a, message)
            yield Requirement(c, "==", a, message)
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
        """Return the op with the fused kernel of a CPU, or with separate kernels if that does not support the inputs.

        The fused kernel supports neither dropout nor a gradient of the mask.
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
        """Count the products of each gradient; those of query and key need the gradient of the attention weights."""
        query, key, value, *_ = inputs
        pairs = prod(query[:-1]) * key[-2]
        weights = requires_grad[0] or requires_grad[1] or any(requires_grad[3:])
        return pairs * (query[-1] * (requires_grad[0] + requires_grad[1]) + value[-1] * (requires_grad[2] + weights))

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        logsumexp = AuxiliaryOutput("logarithms of sums", prod(output[:-1]), element_size=4)  # float32
        operands = tuple(range(len(inputs)))
        return (
            Kernel(
                operands,
                prod(output),
                saved=(*operands, len(inputs)),
                auxiliary_outputs=(logsumexp,),
                computes_unneeded_gradients=True,
            ),
        )


def _is_fused(inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> bool:
    """Return whether the fused kernel of a CPU supports the inputs: 4 dimensions, the last equal in size and dense."""
    query, key, value = inputs[:3]
    features_innermost = all(layout.dim_order[-1] == 3 and 3 not in layout.strided_dims for layout in layouts[:3])
    return len(query) == 4 and features_innermost and identical(query[-1], key[-1]) and identical(query[-1], value[-1])


class _Attention(ScaledDotProductAttention):
    """Attention with kernels that depend on the layouts of the inputs."""

    layouts: tuple[Layout, ...]

    def __init__(self, op: ScaledDotProductAttention, layouts: tuple[Layout, ...]) -> None:
        super().__init__(op.dropout_p, op.is_causal, op.scale, op.enable_gqa)
        self.__dict__["layouts"] = layouts


class _FlashAttention(_Attention):
    """The fused kernel of a CPU: the output has the dimension order of the query, gradients have (0, 2, 1, 3)."""

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return Layout(None, layouts[0].dim_order)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        (kernel,) = super().kernels(inputs, output, training)
        return (replace(kernel, differentiable_operands=(0, 1, 2), gradient_order=self.gradient_order),)

    def gradient_order(self, layout: Layout) -> tuple[int, ...] | None:
        return (0, 2, 1, 3)


class _MathAttention(_Attention):
    """Attention as separate kernels, which torch runs without a fused kernel: a product, a softmax, a product.

    A mask of floats is modelled; the conversion of a boolean mask is not.
    """

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        query, key, value, *masks = inputs
        query_layout, key_layout, value_layout = self.layouts[:3]
        rank, heads = len(query), query[:-2]
        scores = (*query[:-1], key[-2])
        steps = _Steps(len(inputs))
        scaled = steps.add(Kernel((0,), prod(query), gradient_order=same_order))
        kept_alive = [scaled]
        mask = 3 if masks else None
        if self.is_causal:
            mask = steps.causal_mask(scores)
            kept_alive.append(mask)
        keys, values = MatrixFactor(1, key, key_layout), MatrixFactor(2, value, value_layout)
        if self.enable_gqa:
            keys, values = steps.repeat_heads(keys, heads), steps.repeat_heads(values, heads)
            kept_alive += [factor.number for factor in (keys, values) if factor.number > 2]
        transpose = Permute((*range(rank - 2), rank - 1, rank - 2))
        transposed_keys = MatrixFactor(
            steps.add(
                Kernel(
                    (keys.number,),
                    prod(keys.shape),
                    aliases=keys.number,
                    forwards_gradient=True,
                    output_shape=transpose.output(keys.shape),
                    gradient_ops=(transpose,),
                )
            ),
            transpose.output(keys.shape),
            transpose.layout((keys.shape,), (keys.layout,))._replace(strided_dims=frozenset()),
        )
        transposed_keys = transposed_keys._replace(
            number=steps.add(Kernel((transposed_keys.number,), prod(keys.shape), gradient_order=same_order))
        )
        weights = steps.multiply(
            MatrixFactor(scaled, query, query_layout._replace(strided_dims=frozenset())), transposed_keys
        )
        if mask is not None:
            operands = (weights, mask) if masks else (weights,)
            broadcast = (mask,) if masks and broadcast_operands((masks[0],), scores) else ()
            weights = steps.add(
                Kernel(
                    operands,
                    prod(scores),
                    forwards_gradient=True,
                    broadcast_operands=broadcast,
                    operands_kept_alive=(mask,),
                ),
            )
        weights = steps.add(Kernel((weights,), prod(scores), saved=(steps.number,)))  # softmax
        if self.dropout_p:
            factors = steps.add(Kernel((), prod(scores) if self.dropout_p < 1 else 1))
            weights = steps.add(Kernel((weights,), prod(scores), saved=(factors,), operands_kept_alive=(factors,)))
        steps.multiply(MatrixFactor(weights, scores, Layout(None, tuple(range(rank)))), values, tuple(kept_alive))
        return tuple(steps.kernels)


class _Steps:
    """A growing list of kernels, and the number of the next kernel's result."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.kernels: list[Kernel] = []

    def add(self, *kernels: Kernel) -> int:
        """Append kernels and return the number of the last one's result."""
        self.kernels += kernels
        self.number += len(kernels)
        return self.number - 1

    def multiply(self, a: MatrixFactor, b: MatrixFactor, kept_alive: tuple[int, ...] = ()) -> int:
        """Append a matrix product and return the number of its result."""
        return self.add(*batched_matmul_kernels(a, b, self.number, kept_alive))

    def causal_mask(self, scores: Shape) -> int:
        """Append the kernels of the causal mask: 0, or −inf where the key comes after the query."""
        pairs = scores[-2] * scores[-1]
        ones = self.add(Kernel((), pairs, element_size=1))
        triangle = self.add(Kernel((), pairs, element_size=1, operands_kept_alive=(ones,)))
        constants = (self.add(Kernel((), 1)), self.add(Kernel((), 1)))
        return self.add(Kernel((), pairs, operands_kept_alive=(triangle, *constants)))

    def repeat_heads(self, factor: MatrixFactor, heads: Shape) -> MatrixFactor:
        """Repeat keys or values for the query heads that share them."""
        number, shape, _ = factor
        if identical(shape[-3], heads[-1]):
            return factor
        expanded = (*shape[:-2], heads[-1] // shape[-3], *shape[-2:])
        repeated = (*heads, *shape[-2:])
        self.add(Kernel((number,), prod(expanded), aliases=number))
        copied = self.add(
            Kernel(
                (self.number - 1,),
                prod(expanded),
                forwards_gradient=True,
                output_shape=repeated,
                gradient_ops=(Reshape(expanded),),
            )
        )
        return MatrixFactor(copied, repeated, Layout(None, tuple(range(len(repeated)))))
