"""Normalization layers.

A normalization whose weight and bias are inputs, because the network computes or shares them, has no parameters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from costcalc.core.devices import Device
from costcalc.core.errors import OpError
from costcalc.core.sizes import Shape, Size, format_shape, prod
from costcalc.ir.arguments import flag, integer, number, shape, size
from costcalc.ir.kernel import AuxiliaryOutput, Kernel
from costcalc.ir.layout import Layout
from costcalc.ir.op import Op, Requirement, op
from costcalc.ir.work import Work


class Normalization(Op, ABC):
    """A layer that normalizes its input to a fixed mean or variance and then multiplies it by an optional weight."""

    is_module = True
    is_normalization = True

    @property
    @abstractmethod
    def has_weight(self) -> bool:
        """Return whether the elements are multiplied by a weight, a parameter or an input."""


class _ChannelNorm(Normalization):
    """A normalization with a weight and a bias per channel."""

    affine: bool

    @property
    def has_weight(self) -> bool:
        return self.affine


class _RunningNorm(_ChannelNorm):
    """A normalization that may track running statistics, with the weight and the bias as parameters or as inputs."""

    track_running_stats: bool

    arity = (1, 3)

    def parameters(self, *inputs: Shape) -> dict[str, Shape]:
        channels = (inputs[0][1],)
        return {"weight": channels, "bias": channels} if self.affine and len(inputs) == 1 else {}

    def buffers(self, *inputs: Shape) -> dict[str, Shape]:
        if not self.track_running_stats:
            return {}
        channels = (inputs[0][1],)
        return {"running_mean": channels, "running_var": channels, "num_batches_tracked": ()}


@op
class BatchNorm(_RunningNorm):
    """The base class of batch normalizations of any rank."""

    eps: float = number(default=1e-5, minimum=0)
    momentum: float = number(default=0.1, minimum=0, maximum=1)
    affine: bool = flag(default=True)
    track_running_stats: bool = flag(default=True)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        if not self.track_running_stats:
            yield _variance_requirement(inputs[0][0] * prod(inputs[0][2:]))

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        return Work(muls=1, adds=1) * prod(output)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        uses_batch_statistics = training or not self.track_running_stats
        channels = inputs[0][1]
        statistics = (
            (AuxiliaryOutput("mean", channels), AuxiliaryOutput("inverse deviation", channels))
            if uses_batch_statistics
            else ()
        )
        operands = tuple(range(len(inputs)))
        return (Kernel(operands, prod(output), saved=operands[:2], auxiliary_outputs=statistics),)


def _variance_requirement(values: Size) -> Requirement:
    """Return the requirement of two values per channel, without which the variance is undefined."""
    return Requirement(
        values, ">=", 2, "a channel of {left} value has no variance; normalization needs {right} or more values"
    )


class BatchNorm1d(BatchNorm):
    """Each feature or channel normalized to zero mean and unit variance over the batch, torch.nn.BatchNorm1d.

    Input: (batch, features) or (batch, channels, length). Parameters, buffers and Work: as batch_norm2d.
    """

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        if len(inputs[0]) not in (2, 3):
            wanted = "2 dimensions (batch, features) or 3 (batch, channels, length)"
            raise OpError(
                f"batch_norm1d takes an input of {wanted}, not of {len(inputs[0])}: {format_shape(inputs[0])}"
            )
        return super().requirements(*inputs)


class BatchNorm2d(BatchNorm):
    """Each channel normalized to zero mean and unit variance over the batch, torch.nn.BatchNorm2d.

    Parameters (if affine): weight and bias (channels). Buffers (if track_running_stats): running_mean and running_var
    (channels), num_batches_tracked (a scalar). Work: 1 mul and 1 add per element, with the statistics folded as in
    inference.
    Source: Ioffe and Szegedy, Batch Normalization, 2015.
    """

    rank = 4


class BatchNorm3d(BatchNorm):
    """Each channel of volumes normalized to zero mean and unit variance over the batch, torch.nn.BatchNorm3d.

    Parameters, buffers and Work: as batch_norm2d.
    """

    rank = 5


def _normalization_work(elements: Size, rows: Size, weight: bool, bias: bool) -> Work:
    """Return the work of normalizing rows to zero mean and unit variance, with an optional weight and bias.

    Per element: the mean 1 add, the variance 1 mul and 1 add, the normalization 1 add and 1 mul, the weight 1 mul and
    the bias 1 add; per row: the mean 1 div, the variance 1 div and 1 exp (the root).
    """
    return Work(adds=3 + bias, muls=2 + weight) * elements + Work(divs=2, exps=1) * rows


class _LastDimsNorm(Normalization):
    """A normalization over the last dimensions, `normalized_shape`."""

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
        count = len(self.normalized_shape)
        if count > len(inputs[0]):
            wanted = f"{self.name} over {count} dimensions takes an input with {count} or more"
            raise OpError(f"{wanted}, not {format_shape(inputs[0])}", "normalized_shape")
        for wanted_size, got in zip(self.normalized_shape, inputs[0][-count:], strict=True):
            yield Requirement(
                got,
                "==",
                wanted_size,
                f"{self.name} normalizes over a dimension of {{right}}, but its input has {{left}}",
            )

    def _num_rows(self, shape: Shape) -> Size:
        return prod(shape[: -len(self.normalized_shape)])

    def sliding_windows(self, *inputs: Shape) -> tuple[()] | None:
        """Return () for a normalization over the last dimension, None for one over more dimensions."""
        return () if len(self.normalized_shape) == 1 else None

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        """Return the contiguous layout of a new tensor."""
        return layouts[0]._replace(dim_order=tuple(range(len(inputs[0]))))


@op
class LayerNorm(_LastDimsNorm):
    """The last dimensions, normalized_shape, normalized to zero mean and unit variance, torch.nn.LayerNorm.

    Parameters (if elementwise_affine): weight and bias (normalized_shape), without the bias if `bias` is false.
    Work: per element, the mean is 1 add, the variance 1 mul and 1 add, the normalization 1 add and 1 mul, the weight 1
    mul and the bias 1 add; per row, 2 divs and 1 exp (the root).
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
        rows, operands = self._num_rows(output), tuple(range(len(inputs)))
        statistics = (AuxiliaryOutput("mean", rows), AuxiliaryOutput("inverse deviation", rows))
        dim_order = self.gradient_order
        return (Kernel(operands, prod(output), saved=operands, auxiliary_outputs=statistics, gradient_order=dim_order),)

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
    """Layer normalization on `meta`, with backward as separate ops."""

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
    weight 1 more mul; per row 1 div and 1 exp (the root).
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
        operands = tuple(range(len(inputs)))
        return (
            Kernel(
                operands,
                prod(output),
                saved=operands,
                auxiliary_outputs=(AuxiliaryOutput("inverse root", self._num_rows(output)),),
            ),
        )


@op
class GroupNorm(_ChannelNorm):
    """Each group of channels of each image normalized to zero mean and unit variance, torch.nn.GroupNorm.

    Parameters (if affine): weight and bias (channels). Work: as layer_norm, where a row is one group of one image.
    Source: Wu and He, Group Normalization, 2018.
    """

    num_groups: Size = size("G")
    eps: float = number(default=1e-5, minimum=0)
    affine: bool = flag(default=True)

    arity = (1, 3)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        yield from channel_requirements(self, inputs[0])
        message = "{left} channels cannot be split into {right} groups"
        yield Requirement(inputs[0][1], "multiple of", self.num_groups, message)

    def parameters(self, *inputs: Shape) -> dict[str, Shape]:
        channels = (inputs[0][1],)
        return {"weight": channels, "bias": channels} if self.affine and len(inputs) == 1 else {}

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        return _normalization_work(prod(output), output[0] * self.num_groups, self.affine, self.affine)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        rows, operands = output[0] * self.num_groups, tuple(range(len(inputs)))
        statistics = (AuxiliaryOutput("mean", rows), AuxiliaryOutput("inverse deviation", rows))
        return (Kernel(operands, prod(output), saved=operands[:2], auxiliary_outputs=statistics),)

    def sliding_windows(self, *inputs: Shape) -> None:
        return None


@op
class InstanceNorm(_RunningNorm):
    """The base class of instance normalizations of any rank."""

    eps: float = number(default=1e-5, minimum=0)
    momentum: float = number(default=0.1, minimum=0, maximum=1)
    affine: bool = flag(default=False)
    track_running_stats: bool = flag(default=False)

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        if not self.track_running_stats:
            yield _variance_requirement(prod(inputs[0][2:]))

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        if self.track_running_stats:
            return Work(muls=1, adds=1) * prod(output)
        return _normalization_work(prod(output), output[0] * output[1], self.affine, self.affine)

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        """Return the kernels of a batch normalization of one image that has the channels of all images.

        The weight and the bias are repeated for each image.
        """
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
        """Return the contiguous layout of a new tensor."""
        return Layout.contiguous(len(inputs[0]))


class InstanceNorm1d(InstanceNorm):
    """Each channel of each sequence normalized to zero mean and unit variance, torch.nn.InstanceNorm1d.

    Parameters, buffers and Work: as instance_norm2d.
    """

    rank = 3


class InstanceNorm2d(InstanceNorm):
    """Each channel of each image normalized to zero mean and unit variance, torch.nn.InstanceNorm2d.

    Parameters (if affine): weight and bias (channels). Buffers (if track_running_stats): as batch_norm2d. Work: as
    layer_norm, where a row is one channel of one image; with running statistics, as batch_norm2d.
    Source: Ulyanov et al., Instance Normalization, 2016.
    """

    rank = 4


class InstanceNorm3d(InstanceNorm):
    """Each channel of each volume normalized to zero mean and unit variance, torch.nn.InstanceNorm3d.

    Parameters, buffers and Work: as instance_norm2d.
    """

    rank = 5


@op
class LocalResponseNorm(Op):
    """Each element divided by (k + alpha/n·Σ x²)^beta over its n neighbouring channels, torch.nn.LocalResponseNorm.

    Work: per element, n muls and n adds for the window of n, then 2 muls, 1 exp (the power), 1 div; at the first and
    last channels, the full window is counted. Source: Krizhevsky et al., 2012, section 3.3.
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
            Kernel((1,), padded),  # 2: padded with zero channels
            Kernel((2,), elements, saved=(2,)),  # 3: mean over the window
            Kernel((3,), elements),  # 4: multiplied by alpha
            Kernel((4,), elements, forwards_gradient=True, operands_kept_alive=(3,)),  # 5: plus k
            Kernel(
                (5,), elements, saved=(5,), operands_kept_alive=(3,), workspace_elements=2 * elements
            ),  # 6: raised to beta
            Kernel((0, 6), elements, saved=(0, 6), workspace_elements=2 * elements),  # 7: x divided by the result
        )


def channel_requirements(op: Op, shape: Shape) -> Iterator[Requirement]:
    """Return no requirements. Raises OpError for a shape without a channel dimension."""
    if len(shape) < 2:
        raise OpError(f"{op.name} takes an input of 2 or more dimensions, not {format_shape(shape)}")
    return iter(())
