"""Convolutions, and what they share with other layers that slide a window."""

from __future__ import annotations

from collections.abc import Iterator

from costcalc.costs import Work
from costcalc.dims import Shape, Size, exact_div, prod, window
from costcalc.ops.op import SIZE_NAMES, Op, Requirement, Window, flag, op, per_axis, size


@op
class Conv2d(Op):
    """A 2-d convolution with learnt kernels, torch.nn.Conv2d.

    Output: channels = out_channels; height = (H + 2·padding − dilation·(kernel − 1) − 1) // stride + 1, width alike.
    Parameters: weight (out_channels, in_channels / groups, k_h, k_w); bias (out_channels).
    Work: MACs = batch × places × prod(weight), taps on padding included; the bias is 1 add per output element.
    Source of the shape rule: Dumoulin and Visin, A guide to convolution arithmetic, 2016, and torch.nn.Conv2d.
    """

    out_channels: Size = size("C_out")
    kernel_size: tuple[int, int] = per_axis(least=1, symbol="k")
    stride: tuple[int, int] = per_axis(default=1, least=1)
    padding: tuple[int, int] = per_axis(default=0)
    dilation: tuple[int, int] = per_axis(default=1, least=1)
    groups: Size = size("g", default=1)
    bias: bool = flag(default=True)

    rank = 4
    weight_layer = True
    keeps_input = True

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        _, channels, *plane = inputs[0]
        for what, count in (("input", channels), ("output", self.out_channels)):
            yield Requirement(
                count, "multiple of", self.groups, f"{{left}} {what} channels cannot be split into {{right}} groups"
            )
        yield from windows_fit(plane, self.windows(*inputs))

    def output(self, *inputs: Shape) -> Shape:
        batch, _, *plane = inputs[0]
        return (batch, self.out_channels, *(window(n, *w) for n, w in zip(plane, self.windows(), strict=True)))

    def parameters(self, *inputs: Shape) -> dict[str, Shape]:
        weight = (self.out_channels, exact_div(inputs[0][1], self.groups), *self.kernel_size)
        return {"weight": weight, "bias": (self.out_channels,)} if self.bias else {"weight": weight}

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        batch, _, *places = output
        macs = batch * prod(places) * prod(self.parameters(*inputs)["weight"])
        return Work(macs=macs, adds=prod(output) if self.bias else 0)

    def windows(self, *inputs: Shape) -> tuple[Window, ...]:
        return tuple(map(Window, self.kernel_size, self.stride, self.padding, self.dilation))


def windows_fit(plane: list[Size], windows: tuple[Window, ...]) -> Iterator[Requirement]:
    """A window must not be larger than the padded input it slides over."""
    for axis, n, w in zip(SIZE_NAMES[len(plane) + 2][2:], plane, windows, strict=True):
        reach = w.dilation * (w.kernel - 1) + 1
        spread = f" (dilated to {reach})" if w.dilation > 1 else ""
        padded = f"the input of {{left}} (padding of {w.padding} included)" if w.padding else "the input of {left}"
        yield Requirement(
            n + 2 * w.padding, ">=", reach, f"a kernel of {w.kernel}{spread} is larger than {padded} in {axis}"
        )
