"""Layers that move, drop or pad elements without computing, and the layer nobody knows."""

from __future__ import annotations

from collections.abc import Iterator

from costcalc.dims import Shape, Size, ceil_div, prod
from costcalc.errors import OpError
from costcalc.ops.op import Op, Requirement, Window, choice, number, op, per_axis, shape, sides, size, text, whole


@op
class Flatten(Op):
    """Sizes start_dim to end_dim merged into one, torch.nn.Flatten: a view, without memory. Work: none."""

    start_dim: int = whole(default=1)
    end_dim: int = whole(default=-1)

    def _span(self, rank: int) -> tuple[int, int]:
        for name, dim in (("start_dim", self.start_dim), ("end_dim", self.end_dim)):
            if not -rank <= dim < rank:
                raise OpError(f"{name} {dim} is not a dimension of an input with {rank}", name)
        start, end = self.start_dim % rank, self.end_dim % rank
        if start > end:
            raise OpError(f"start_dim {self.start_dim} comes after end_dim {self.end_dim}", "start_dim")
        return start, end

    def output(self, *inputs: Shape) -> Shape:
        start, end = self._span(len(inputs[0]))
        return (*inputs[0][:start], prod(inputs[0][start : end + 1]), *inputs[0][end + 1 :])

    def makes_tensor(self, training: bool = False) -> bool:
        return False

    def windows(self, *inputs: Shape) -> tuple[Window, ...] | None:
        start, end = self._span(len(inputs[0]))
        return () if start == end else None


@op
class Pad(Op):
    """The plane extended at its sides, torch.nn.functional.pad; `padding` is one number, or (left, right, top, bottom).

    Output: height + top + bottom, width + left + right. Work: none.
    """

    padding: tuple[int, int, int, int] = sides()
    mode: str = choice("constant", "reflect", "replicate", "circular", default="constant")
    value: float = number(default=0.0)

    rank = 4

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        # torch refuses to reflect, or to wrap round, more than there is.
        margin = {"reflect": 1, "circular": 0}.get(self.mode)
        if margin is not None:
            left, right, top, bottom = self.padding
            for axis, n, most in (
                ("height", inputs[0][2], max(top, bottom)),
                ("width", inputs[0][3], max(left, right)),
            ):
                message = f"{self.mode} padding of {most} needs a {axis} of at least {{right}}, not {{left}}"
                yield Requirement(n, ">=", most + margin, message)

    def output(self, *inputs: Shape) -> Shape:
        batch, channels, height, width = inputs[0]
        left, right, top, bottom = self.padding
        return (batch, channels, height + top + bottom, width + left + right)

    def windows(self, *inputs: Shape) -> tuple[Window, ...]:
        left, _, top, _ = self.padding
        return (Window(1, padding=top), Window(1, padding=left))


@op
class ZeroPadShortcut(Op):
    """ResNet's shortcut option A: every stride-th position, then zeros for the channels that are missing.

    Output: channels = out_channels; height and width divided by the stride, rounded up. Work: none, and no parameters.
    Source: He et al., Deep Residual Learning, 2015, section 3.3.
    """

    out_channels: Size = size("C_out")
    stride: tuple[int, int] = per_axis(default=1, least=1)

    rank = 4

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        message = "a zero-padding shortcut only adds channels: {right} cannot become {left}"
        yield Requirement(self.out_channels, ">=", inputs[0][1], message)

    def output(self, *inputs: Shape) -> Shape:
        batch, _, height, width = inputs[0]
        return (batch, self.out_channels, ceil_div(height, self.stride[0]), ceil_div(width, self.stride[1]))

    def windows(self, *inputs: Shape) -> tuple[Window, ...]:
        return (Window(1, self.stride[0]), Window(1, self.stride[1]))


@op
class Unknown(Op):
    """A layer whose cost nobody has told: parameters and work are unknown, never zero, and totals become lower bounds.

    Work: unknown. `kind` says what it is; `shape` is its output without the batch, that of its input unless given.
    """

    kind: str = text()
    shape: tuple[Size, ...] | None = shape(default=None)

    arity = (1, None)
    counted = False

    def label(self) -> str:
        return self.kind

    def output(self, *inputs: Shape) -> Shape:
        return inputs[0] if self.shape is None else (inputs[0][0], *self.shape)

    def windows(self, *inputs: Shape) -> None:
        return None
