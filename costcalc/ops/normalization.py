"""Layers that rescale what they are given: normalisations, and dropout."""

from __future__ import annotations

from costcalc.costs import Work
from costcalc.dims import Shape, prod
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


@op
class Dropout(Op):
    """Elements set to zero with probability p in training, torch.nn.Dropout.

    Work: none, by convention. At inference, or with p = 0, it passes its input on and makes no tensor.
    """

    p: float = number(default=0.5, least=0, most=1)
    inplace: bool = flag(default=False)

    def makes_tensor(self, training: bool = False) -> bool:
        return training and self.p > 0 and not self.inplace
