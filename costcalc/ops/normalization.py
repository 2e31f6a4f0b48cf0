"""Layers that rescale what they are given: normalisations, and dropout."""

from __future__ import annotations

from costcalc.costs import Work
from costcalc.dims import Shape, prod
from costcalc.ops.kernel import Beside, Kernel
from costcalc.ops.op import Op, flag, number, op, whole


@op
class BatchNorm2d(Op):
    """Each channel shifted and scaled to zero mean and unit variance, torch.nn.BatchNorm2d.

    Parameters (if affine): weight and bias (channels). Buffers (if track_running_stats): running_mean and running_var
    (channels), num_batches_tracked (a single number). Work: folded to 1 mul and 1 add per element, as at inference.
    Source: Ioffe and Szegedy, Batch Normalization, 2015.
    """

    eps: float = number(default=1e-5, least=0)
    momentum: float = number(default=0.1, least=0, most=1)
    affine: bool = flag(default=True)
    track_running_stats: bool = flag(default=True)

    rank = 4

    def parameters(self, *inputs: Shape) -> dict[str, Shape]:
        channels = (inputs[0][1],)
        return {"weight": channels, "bias": channels} if self.affine else {}

    def buffers(self, *inputs: Shape) -> dict[str, Shape]:
        channels = (inputs[0][1],)
        statistics: dict[str, Shape] = {"running_mean": channels, "running_var": channels, "num_batches_tracked": ()}
        return statistics if self.track_running_stats else {}

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        return Work(muls=1, adds=1) * prod(output)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        of_batch = training or not self.track_running_stats
        channels = inputs[0][1]
        statistics = (Beside("mean", channels), Beside("inverse deviation", channels)) if of_batch else ()
        return (Kernel((0,), prod(output), keeps=(0,), beside=statistics),)


@op
class LocalResponseNorm(Op):
    """Each element divided by (k + alpha/n·Σ x²)^beta over its n neighbouring channels, torch.nn.LocalResponseNorm.

    Work: per element, n muls and n adds for the window of n, then 2 muls, 1 exp (the power), 1 div; the window counts
    in full at the first and last channels. Source: Krizhevsky et al., 2012, section 3.3.
    """

    size: int = whole(least=1, symbol="n")
    alpha: float = number(default=1e-4)
    beta: float = number(default=0.75)
    k: float = number(default=1.0)

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        return Work(muls=self.size + 2, adds=self.size, exps=1, divs=1) * prod(output)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        batch, channels, *plane = inputs[0]
        elements = prod(output)
        padded = batch * (channels + self.size - 1) * prod(plane)
        return (
            Kernel((0, 0), elements, keeps=(0,)),  # 1: x²
            Kernel((1,), padded),  # 2: with zeros before the first and after the last channel
            Kernel((2,), elements, keeps=(2,)),  # 3: its means over a window
            Kernel((3,), elements),  # 4: times alpha
            Kernel((4,), elements, passes_on=True, holds=(3,)),  # 5: plus k
            Kernel((5,), elements, keeps=(5,), holds=(3,), scratch=2 * elements),  # 6: to the power of beta
            Kernel((0, 6), elements, keeps=(0, 6), scratch=2 * elements),  # 7: x divided by it
        )


@op
class Dropout(Op):
    """Elements set to zero with probability p in training, torch.nn.Dropout.

    Work: none, by convention. At inference, or with p = 0, it passes its input on and makes no tensor.
    """

    p: float = number(default=0.5, least=0, most=1)
    inplace: bool = flag(default=False)

    def makes_tensor(self, training: bool = False) -> bool:
        return training and self.p > 0 and not self.inplace

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        if not training or self.p == 0:
            return ()
        elements = prod(output)
        mask = Beside("mask", elements if self.p < 1 else 1, first=True)  # a factor for each element, or 0 for all
        return (Kernel((0,), elements, 0 if self.inplace else None, self.inplace, beside=(mask,)),)
