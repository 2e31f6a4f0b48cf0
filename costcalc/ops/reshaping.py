"""Layers that move, drop or pad elements without computing, and the layer nobody knows."""

from __future__ import annotations

from collections.abc import Iterator

from costcalc.dims import Shape, Size, ceil_div, known, prod, show_shape
from costcalc.errors import OpError
from costcalc.ops.kernel import Kernel
from costcalc.ops.op import (
    HOLDS,
    Layout,
    Op,
    Requirement,
    Window,
    choice,
    dimensions,
    number,
    op,
    per_axis,
    sides,
    size,
    text,
    whole,
)
from costcalc.ops.op import shape as extents


@op
class Flatten(Op):
    """Sizes start_dim to end_dim merged into one, torch.nn.Flatten: a view, without memory. Work: none.

    Of a permuted tensor, whose merged elements do not follow one another in memory, it is a copy.
    """

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

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        start, end = self._span(len(inputs[0]))
        if start == end:
            return ()
        return (Kernel((0,), prod(output), None if self.makes_tensor() else 0, passes_on=True),)

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        (start, end), (plane, order, gaps) = self._span(len(inputs[0])), layouts[0]
        place = [d if d <= start else max(start, d - (end - start)) for d in range(len(order))]  # that it has after
        if plane is not None and start < end:
            plane = None if any(start <= d <= end for d in plane) else (place[plane[0]], place[plane[1]])
        kept = dict.fromkeys(place[d] for d in order)
        if not self._is_view(inputs[0], layouts[0]):
            return Layout(plane, tuple(range(len(kept))))
        return Layout(plane, tuple(kept), frozenset([place[d] for d in gaps if not start <= d < end]))

    def running(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Op:
        return self if self._is_view(inputs[0], layouts[0]) else _CopyingFlatten(self.start_dim, self.end_dim)

    def _is_view(self, taken: Shape, layout: Layout) -> bool:
        """Whether the merged dimensions follow one another in memory; one of a single place lies anywhere."""
        start, end = self._span(len(taken))
        if layout.order == tuple(range(len(taken))) and not layout.gaps:
            return True
        lie = [d for d in layout.order if not known(taken[d], "==", 1).answer]
        merged = [d for d in range(start, end + 1) if d in lie]
        first = lie.index(merged[0]) if merged else 0
        return lie[first : first + len(merged)] == merged and not layout.gaps.intersection(merged[:-1])


class _CopyingFlatten(Flatten):
    """A flatten that cannot be a view of what it takes."""

    def makes_tensor(self, training: bool = False) -> bool:
        return True


@op
class Permute(Op):
    """Dimensions in another order, torch.permute: dimension i is dimension dims[i] of the input.

    A view, without memory. Output: the input's sizes in that order; permute((0, 2, 3, 1)) puts the channels last.
    Work: none.
    """

    dims: tuple[int, ...] = dimensions()

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        if len(inputs[0]) != len(self.dims):
            wanted = f"dims {list(self.dims)} are those of an input of {len(self.dims)} sizes"
            raise OpError(f"{wanted}, not of {len(inputs[0])}: {show_shape(inputs[0])}", "dims")
        return iter(())

    def output(self, *inputs: Shape) -> Shape:
        return tuple([inputs[0][d] for d in self.dims])

    def makes_tensor(self, training: bool = False) -> bool:
        return False

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        return (Kernel((0,), prod(output), lies_in=0, passes_on=True),)

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        plane, order, gaps = layouts[0]
        place = self.dims.index
        turned = None if plane is None else (place(plane[0]), place(plane[1]))
        return Layout(turned, tuple(map(place, order)), frozenset(map(place, gaps)))


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

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        if self.mode != "circular":
            return (Kernel((0,), prod(output), keeps=() if self.mode == "constant" else (0,)),)
        batch, channels, height, _ = inputs[0]
        inner, padded = prod(inputs[0]), prod(output)
        left, right, top, bottom = self.padding
        strips = [batch * channels * side * height for side in (left, right) if side]
        strips += [batch * channels * side * output[3] for side in (top, bottom) if side]
        kernels = [
            Kernel((), padded),  # 1: empty
            Kernel((0,), inner, lies_in=0),  # 2, 3: the input's rows, and their columns, all of them
            Kernel((2,), inner, lies_in=2),
            Kernel((3,), padded, lies_in=1, in_place=True, holds=(1,), scratch=padded),  # 4: copied into the middle
        ]
        for strip in strips:  # what is on one side copied to the other
            made = len(kernels)
            kernels.append(Kernel((made,), strip, lies_in=made))
            kernels.append(Kernel((made, made + 1), padded, lies_in=made, in_place=True, scratch=strip))
        return tuple(kernels)

    def windows(self, *inputs: Shape) -> tuple[Window, ...]:
        left, _, top, _ = self.padding
        return (Window(1, padding=top), Window(1, padding=left))

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        """Torch makes a circular one anew, its dimensions in order."""
        return Layout.of_image(4) if self.mode == "circular" else super().layout(inputs, layouts)


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

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        batch, channels, *plane = inputs[0]
        seen = list(plane)
        kernels: list[Kernel] = []
        for axis, stride in enumerate(self.stride):
            if stride > 1:  # every stride-th row, then every stride-th column: a view, but gradients are not
                seen[axis] = output[2 + axis]
                kernels.append(Kernel((len(kernels),), batch * channels * prod(seen), lies_in=len(kernels)))
        if not known(prod(seen), "==", prod(plane)).answer:  # copied, so that they follow one another in memory
            kernels.append(Kernel((len(kernels),), batch * channels * prod(seen), passes_on=True))
        return (*kernels, Kernel((len(kernels),), prod(output)))

    def windows(self, *inputs: Shape) -> tuple[Window, ...]:
        return (Window(1, self.stride[0]), Window(1, self.stride[1]))

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        """It is made anew, its dimensions in order."""
        return Layout.of_image(4)


@op
class Unknown(Op):
    """A layer whose cost nobody has told: parameters and work are unknown, never zero, and totals become lower bounds.

    Work: unknown. `kind` says what it is; `shape` is its output without the batch, that of its input unless given, or
    `sizes` the whole of it, where its first size is not the batch. Its elements are what `dtype` says.
    """

    kind: str = text()
    shape: tuple[Size, ...] | None = extents(default=None)
    sizes: tuple[Size, ...] | None = extents(default=None)
    dtype: str = choice(*HOLDS, default="float")

    arity = (0, None)
    counted = False

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        if not inputs and self.sizes is None:
            raise OpError("unknown takes 1 or more inputs, or has the sizes of its output given", "inputs")
        return iter(())

    def holds(self, *inputs: str) -> str:
        return self.dtype

    def label(self) -> str:
        return self.kind

    def output(self, *inputs: Shape) -> Shape:
        if self.sizes is not None:
            return self.sizes
        return inputs[0] if self.shape is None else (inputs[0][0], *self.shape)

    def windows(self, *inputs: Shape) -> None:
        return None

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        return Layout.of_image(len(self.output(*inputs)))
