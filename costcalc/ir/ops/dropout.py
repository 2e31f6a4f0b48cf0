"""Dropout, of elements or of whole channels."""

from __future__ import annotations

from collections.abc import Iterator

from costcalc.core.sizes import Shape, Size, prod
from costcalc.ir.arguments import flag, number
from costcalc.ir.kernel import AuxiliaryOutput, Kernel, same_order
from costcalc.ir.op import Op, Requirement, op
from costcalc.ir.ops.norm import channel_requirements


@op
class Dropout(Op):
    """Elements set to zero with probability p in training, torch.nn.Dropout.

    Work: none, by convention. In inference, or with p = 0, the output is the input itself.
    """

    p: float = number(default=0.5, minimum=0, maximum=1)
    inplace: bool = flag(default=False)

    is_module = True

    def allocates_output(self, training: bool = False) -> bool:
        return training and self.p > 0 and not self.inplace

    def mask_elements(self, shape: Shape) -> Size:
        """Return the number of random numbers, by default one per element."""
        return prod(shape)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        if not training or self.p == 0:
            return ()
        elements = self.mask_elements(output) if self.p < 1 else 1  # with p = 1, one zero
        mask = AuxiliaryOutput("mask", elements, saved_before_output=True)
        new = not self.inplace
        return (
            Kernel(
                (0,),
                prod(output),
                aliases=None if new else 0,
                in_place=not new,
                auxiliary_outputs=(mask,),
                gradient_order=same_order,
            ),
        )


class FeatureDropout(Dropout):
    """Whole channels set to zero with probability p in training, torch.feature_dropout (torch.nn.Dropout1d, 2d and 3d).

    Work: none, by convention; as dropout.
    """

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        return channel_requirements(self, inputs[0])

    def mask_elements(self, shape: Shape) -> Size:
        return prod(shape[:2])


class AlphaDropout(Dropout):
    """Elements set to a negative constant with probability p in training, torch.nn.AlphaDropout.

    The output has the mean and the variance of the input. Work: none, by convention; as dropout. Source: Klambauer et
    al., 2017.
    """

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        if not training or self.p in (0, 1):
            return super().kernels(inputs, output, training)
        factors, elements = self.mask_elements(output), prod(output)
        return (
            Kernel((), factors),  # 1: the factor of each element
            Kernel((), factors),  # 2: the addend of each element
            Kernel(
                (0,),
                elements,
                aliases=0 if self.inplace else None,
                in_place=self.inplace,
                saved=(1,),
                operands_kept_alive=(1,),
            ),
            Kernel((3,), elements, aliases=3, in_place=True, forwards_gradient=True, operands_kept_alive=(2,)),
        )


class FeatureAlphaDropout(AlphaDropout):
    """Whole channels set to a negative constant with probability p in training, torch.nn.FeatureAlphaDropout.

    Work: none, by convention; as dropout.
    """

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        return channel_requirements(self, inputs[0])

    def mask_elements(self, shape: Shape) -> Size:
        return prod(shape[:2])
