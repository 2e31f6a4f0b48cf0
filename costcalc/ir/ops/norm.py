"""Layers that rescale what they are given: normalisations, and dropout.

A normalisation that is given its weight and bias as further inputs, because the network computes or shares them, has no
parameters of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from costcalc.core.devices import Device
from costcalc.core.errors import OpError
from costcalc.core.sizes import Shape, Size, format_shape, prod
from costcalc.ir.arguments import flag, integer, number, shape, size
from costcalc.ir.kernel import AuxiliaryOutput, Kernel, same_order
from costcalc.ir.layout import Layout
from costcalc.ir.op import Op, Requirement, op
from costcalc.ir.work import Work


class Normalization(Op, ABC):
    """A layer that scales its input to a fixed mean or variance, and then, where it has one, by a weight."""

    is_module = True
    is_normalization = True

    @property
    @abstractmethod
    def has_weight(self) -> bool:
        """Whether elements are multiplied by a weight, a parameter or an input."""


class _ChannelNorm(Normalization):
    affine: bool

    @property
    def has_weight(self) -> bool:
        return self.affine


@op
class BatchNorm(_ChannelNorm):
    """What batch normalisations of any rank share."""

    eps: float = number(default=1e-5, minimum=0)
    momentum: float = number(default=0.1, minimum=0, maximum=1)
    affine: bool = flag(default=True)
    track_running_stats: bool = flag(default=True)

    arity = (1, 3)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        if not self.track_running_stats:
            yield _variance_requirement(inputs[0][0] * prod(inputs[0][2:]))

    def parameters(self, *inputs: Shape) -> dict[str, Shape]:
        channels = (inputs[0][1],)
        return {"weight": channels, "bias": channels} if self.affine and len(inputs) == 1 else {}

    def buffers(self, *inputs: Shape) -> dict[str, Shape]:
        return _running_statistics(inputs[0][1]) if self.track_running_stats else {}

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        return Work(muls=1, adds=1) * prod(output)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        of_batch = training or not self.track_running_stats
        channels = inputs[0][1]
        statistics = (
            (AuxiliaryOutput("mean", channels), AuxiliaryOutput("inverse deviation", channels)) if of_batch else ()
        )
        reads = tuple(range(len(inputs)))
        return (Kernel(reads, prod(output), saved=reads[:2], auxiliary_outputs=statistics),)


def _variance_requirement(values: Size) -> Requirement:
    return Requirement(values, ">=", 2, "a channel of {left} value has no variance to be scaled to 1")


def _running_statistics(channels: Size) -> dict[str, Shape]:
    return {"running_mean": (channels,), "running_var": (channels,), "num_batches_tracked": ()}


class BatchNorm1d(BatchNorm):
    """Each feature or channel shifted and scaled to zero mean and unit variance, torch.nn.BatchNorm1d.

    It takes (batch, features) or (batch, channels, length). Parameters, buffers and Work: as batch_norm2d.
    """

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        if len(inputs[0]) not in (2, 3):
            wanted = "2 sizes (batch, features) or 3 (batch, channels, length)"
            raise OpError(
                f"batch_norm1d takes an input of {wanted}, not of {len(inputs[0])}: {format_shape(inputs[0])}"
            )
        return super().requirements(*inputs)


class BatchNorm2d(BatchNorm):
    """Each channel shifted and scaled to zero mean and unit variance, torch.nn.BatchNorm2d.

    Parameters (if affine): weight and bias (channels). Buffers (if track_running_stats): running_mean and running_var
    (channels), num_batches_tracked (a single number). Work: folded to 1 mul and 1 add per element, as at inference.
    Source: Ioffe and Szegedy, Batch Normalization, 2015.
    """

    rank = 4


class BatchNorm3d(BatchNorm):
    """Each channel of volumes shifted and scaled to zero mean and unit variance, torch.nn.BatchNorm3d.

    Parameters, buffers and Work: as batch_norm2d.
    """

    rank = 5


def _normalization_work(elements: Size, rows: Size, weight: bool, bias: bool) -> Work:
    """Rows shifted and scaled to zero mean and unit variance, and then by a weight and a bias.

    Per element: the mean 1 add, the variance 1 mul and 1 add, the normalisation 1 add and 1 mul, the weight 1 mul and
    the bias 1 add; per row, a div for the mean, a div for the variance, and its root.
    """
    return Work(adds=3 + bias, muls=2 + weight) * elements + Work(divs=2, exps=1) * rows


class _LastDimsNorm(Normalization):
    """A normalisation over the last dimensions, `normalized_shape`."""

    normalized_shape: tuple[Size, ...]
    elementwise_affine: bool

    @property
    def has_weight(self) -> bool:
        return self.elementwise_affine

    def __post_init__(self) -> None:
        if not isinstance(self.normalized_shape, (tuple, list)):
            object.__setattr__(self, "normalized_shape", (self.normalized_shape,))
        super().__post_init__()
        if not self.normalized_shape:
            raise OpError("normalized_shape must have at least one size", "normalized_shape")

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        over = len(self.normalized_shape)
        if over > len(inputs[0]):
            wanted = f"{self.name} over {over} dimensions takes an input of as many at least"
            raise OpError(f"{wanted}, not {format_shape(inputs[0])}", "normalized_shape")
        for wanted_size, got in zip(self.normalized_shape, inputs[0][-over:], strict=True):
            yield Requirement(
                got,
                "==",
                wanted_size,
                f"{self.name} is over a dimension of {{right}}, and its input has {{left}} there",
            )

    def _num_rows(self, taken: Shape) -> Size:
        return prod(taken[: -len(self.normalized_shape)])

    def sliding_windows(self, *inputs: Shape) -> tuple[()] | None:
        """() over the channels that lie last; over more it sees the plane."""
        return () if len(self.normalized_shape) == 1 else None

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        """It is made anew, its dimensions in order."""
        return layouts[0]._replace(dim_order=tuple(range(len(inputs[0]))))


@op
class LayerNorm(_LastDimsNorm):
    """The last dimensions, normalized_shape, shifted and scaled to zero mean and unit variance, torch.nn.LayerNorm.

    Parameters (if elementwise_affine): weight and bias (normalized_shape), without bias if it is false. Work: per
    element 3 adds and 2 muls, and with the weight 1 mul and the bias 1 add more: the mean is 1 add, the variance 1 mul
    and 1 add, the normalisation 1 add and 1 mul; per row 2 divs and 1 exp (the root).
    Source: Ba et al., Layer Normalization, 2016.
    """

    normalized_shape: tuple[Size, ...] = shape()
    eps: float = number(default=1e-5, minimum=0)
    elementwise_affine: bool = flag(default=True)
    bias: bool = flag(default=True)

    arity = (1, 3)

    def parameters(self, *inputs: Shape) -> dict[str, Shape]:
        if not self.elementwise_affine or len(inputs) > 1:
            return {}
        weight = {"weight": self.normalized_shape}
        return weight | {"bias": self.normalized_shape} if self.bias else weight

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        affine = self.elementwise_affine
        return _normalization_work(prod(output), self._num_rows(output), affine, affine and self.bias)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        rows, reads = self._num_rows(output), tuple(range(len(inputs)))
        statistics = (AuxiliaryOutput("mean", rows), AuxiliaryOutput("inverse deviation", rows))
        dim_order = self.gradient_order
        return (Kernel(reads, prod(output), saved=reads, auxiliary_outputs=statistics, gradient_order=dim_order),)

    def resolve(
        self,
        inputs: tuple[Shape, ...],
        layouts: tuple[Layout, ...],
        device: Device | None = None,
        requires_grad: tuple[bool, ...] = (),
    ) -> Op:
        if device != "meta":
            return self
        return _DecomposedLayerNorm(self.normalized_shape, self.eps, self.elementwise_affine, self.bias)


class _DecomposedLayerNorm(LayerNorm):
    """As `meta` runs it: backward is computed in steps, of which the last multiplies by the inverse deviation."""

    def gradient_order(self, layout: Layout) -> tuple[int, ...] | None:
        """Return the dimensions in order, with the last one before those that it is outside of in grad_output."""
        *outer, last = range(len(layout.dim_order))
        at = len(outer)
        while at and layout.dim_order.index(outer[at - 1]) > layout.dim_order.index(last):
            at -= 1
        return (*outer[:at], last, *outer[at:])


@op
class RmsNorm(_LastDimsNorm):
    """The last dimensions, normalized_shape, divided by the root of their mean square, torch.nn.RMSNorm.

    Parameters (if elementwise_affine): weight (normalized_shape). Work: per element 2 muls and 1 add, and with the
    weight 1 mul more; per row 1 div and 1 exp (the root).
    Source: Zhang and Sennrich, Root Mean Square Layer Normalization, 2019.
    """

    normalized_shape: tuple[Size, ...] = shape()
    eps: float | None = number(default=None, minimum=0)
    elementwise_affine: bool = flag(default=True)

    arity = (1, 2)

    def parameters(self, *inputs: Shape) -> dict[str, Shape]:
        return {"weight": self.normalized_shape} if self.elementwise_affine and len(inputs) == 1 else {}

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        each = Work(muls=2 + self.elementwise_affine, adds=1)
        return each * prod(output) + Work(divs=1, exps=1) * self._num_rows(output)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        reads = tuple(range(len(inputs)))
        return (
            Kernel(
                reads,
                prod(output),
                saved=reads,
                auxiliary_outputs=(AuxiliaryOutput("inverse root", self._num_rows(output)),),
            ),
        )


@op
class GroupNorm(_ChannelNorm):
    """Groups of channels, over all places, shifted and scaled to zero mean and unit variance, torch.nn.GroupNorm.

    Parameters (if affine): weight and bias (channels). Work: as layer_norm, a row being one group of one image.
    Source: Wu and He, Group Normalization, 2018.
    """

    num_groups: Size = size("G")
    eps: float = number(default=1e-5, minimum=0)
    affine: bool = flag(default=True)

    arity = (1, 3)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        yield from _channel_requirements(self, inputs[0])
        message = "{left} channels cannot be split into {right} groups"
        yield Requirement(inputs[0][1], "multiple of", self.num_groups, message)

    def parameters(self, *inputs: Shape) -> dict[str, Shape]:
        channels = (inputs[0][1],)
        return {"weight": channels, "bias": channels} if self.affine and len(inputs) == 1 else {}

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        return _normalization_work(prod(output), output[0] * self.num_groups, self.affine, self.affine)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        rows, reads = output[0] * self.num_groups, tuple(range(len(inputs)))
        statistics = (AuxiliaryOutput("mean", rows), AuxiliaryOutput("inverse deviation", rows))
        return (Kernel(reads, prod(output), saved=reads[:2], auxiliary_outputs=statistics),)

    def sliding_windows(self, *inputs: Shape) -> None:
        return None


@op
class InstanceNorm(_ChannelNorm):
    """What instance normalisations of any rank share."""

    eps: float = number(default=1e-5, minimum=0)
    momentum: float = number(default=0.1, minimum=0, maximum=1)
    affine: bool = flag(default=False)
    track_running_stats: bool = flag(default=False)

    arity = (1, 3)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        if not self.track_running_stats:
            yield _variance_requirement(prod(inputs[0][2:]))

    def parameters(self, *inputs: Shape) -> dict[str, Shape]:
        channels = (inputs[0][1],)
        return {"weight": channels, "bias": channels} if self.affine and len(inputs) == 1 else {}

    def buffers(self, *inputs: Shape) -> dict[str, Shape]:
        return _running_statistics(inputs[0][1]) if self.track_running_stats else {}

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        if self.track_running_stats:
            return Work(muls=1, adds=1) * prod(output)
        return _normalization_work(prod(output), output[0] * output[1], self.affine, self.affine)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        """A batch normalisation of one image with the channels of all, and weight and bias once for each."""
        count, elements, rows = len(inputs), prod(output), output[0] * output[1]
        statistics = (AuxiliaryOutput("mean", rows), AuxiliaryOutput("inverse deviation", rows))
        repeated = (Kernel(tuple(range(1, count)), 2 * rows),) if self.affine else ()
        at = count + len(repeated)
        return (
            *repeated,
            Kernel((0,), elements, aliases=0, forwards_gradient=True),
            Kernel((at, *range(count, at)), elements, saved=(at, *range(count, at)), auxiliary_outputs=statistics),
            Kernel((at + 1,), elements, aliases=at + 1, forwards_gradient=True),
        )

    def sliding_windows(self, *inputs: Shape) -> tuple[()] | None:
        return () if self.track_running_stats else None

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        """It is made anew, its dimensions in order."""
        return Layout.contiguous(len(inputs[0]))


class InstanceNorm1d(InstanceNorm):
    """Each channel of each sequence shifted and scaled to zero mean and unit variance, torch.nn.InstanceNorm1d.

    Parameters, buffers and Work: as instance_norm2d.
    """

    rank = 3


class InstanceNorm2d(InstanceNorm):
    """Each channel of each image shifted and scaled to zero mean and unit variance, torch.nn.InstanceNorm2d.

    Parameters (if affine): weight and bias (channels). Buffers (if track_running_stats): as batch_norm2d. Work: as
    layer_norm, a row being one channel of one image; with running statistics, as batch_norm2d.
    Source: Ulyanov et al., Instance Normalization, 2016.
    """

    rank = 4


class InstanceNorm3d(InstanceNorm):
    """Each channel of each volume shifted and scaled to zero mean and unit variance, torch.nn.InstanceNorm3d.

    Parameters, buffers and Work: as instance_norm2d.
    """

    rank = 5


@op
class LocalResponseNorm(Op):
    """Each element divided by (k + alpha/n·Σ x²)^beta over its n neighbouring channels, torch.nn.LocalResponseNorm.

    Work: per element, n muls and n adds for the window of n, then 2 muls, 1 exp (the power), 1 div; the window counts
    in full at the first and last channels. Source: Krizhevsky et al., 2012, section 3.3.
    """

    size: int = integer(minimum=1, symbol="n")
    alpha: float = number(default=1e-4)
    beta: float = number(default=0.75)
    k: float = number(default=1.0)

    is_module = True

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        return Work(muls=self.size + 2, adds=self.size, exps=1, divs=1) * prod(output)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        batch, channels, *plane = inputs[0]
        elements = prod(output)
        padded = batch * (channels + self.size - 1) * prod(plane)
        return (
            Kernel((0, 0), elements, saved=(0,)),  # 1: x²
            Kernel((1,), padded),  # 2: with zeros before the first and after the last channel
            Kernel((2,), elements, saved=(2,)),  # 3: its means over a window
            Kernel((3,), elements),  # 4: times alpha
            Kernel((4,), elements, forwards_gradient=True, operands_kept_alive=(3,)),  # 5: plus k
            Kernel(
                (5,), elements, saved=(5,), operands_kept_alive=(3,), workspace_elements=2 * elements
            ),  # 6: to the power of beta
            Kernel((0, 6), elements, saved=(0, 6), workspace_elements=2 * elements),  # 7: x divided by it
        )


@op
class Dropout(Op):
    """Elements set to zero with probability p in training, torch.nn.Dropout.

    Work: none, by convention. At inference, or with p = 0, it passes its input on and makes no tensor.
    """

    p: float = number(default=0.5, minimum=0, maximum=1)
    inplace: bool = flag(default=False)

    is_module = True

    def allocates_output(self, training: bool = False) -> bool:
        return training and self.p > 0 and not self.inplace

    def mask_elements(self, taken: Shape) -> Size:
        """How many numbers are drawn: one for each element."""
        return prod(taken)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        if not training or self.p == 0:
            return ()
        mask = AuxiliaryOutput(
            "mask", self.mask_elements(output) if self.p < 1 else 1, saved_before_output=True
        )  # 0 for all, where p is 1
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
    """Whole channels set to zero with probability p in training, torch.feature_dropout: torch.nn.Dropout2d and its kin.

    Work: none, by convention; as dropout.
    """

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        return _channel_requirements(self, inputs[0])

    def mask_elements(self, taken: Shape) -> Size:
        return prod(taken[:2])


class AlphaDropout(Dropout):
    """Elements set to a negative constant with probability p in training, torch.nn.AlphaDropout.

    What it makes keeps mean and variance. Work: none, by convention; as dropout. Source: Klambauer et al., 2017.
    """

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        if not training or self.p in (0, 1):
            return super().kernels(inputs, output, training)
        factors, elements = self.mask_elements(output), prod(output)
        return (
            Kernel((), factors),  # 1: what each element is multiplied by
            Kernel((), factors),  # 2: and what is added to it
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
        return _channel_requirements(self, inputs[0])

    def mask_elements(self, taken: Shape) -> Size:
        return prod(taken[:2])


def _channel_requirements(op: Op, taken: Shape) -> Iterator[Requirement]:
    if len(taken) < 2:
        raise OpError(f"{op.name} takes an input of 2 sizes at least, not {format_shape(taken)}")
    return iter(())
