"""Normalisations, pools and resampling as the torch modules that compute them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from costcalc.core.sizes import Shape
from costcalc.ir.op import Op
from costcalc.ir.ops import norm, pool, resampling
from costcalc.torch_backend.lowering.base import argument_values, lower, register_modules

_MODULE_OF: dict[type[Op], Callable[..., nn.Module]] = {
    pool.MaxPool1d: nn.MaxPool1d,
    pool.MaxPool2d: nn.MaxPool2d,
    pool.MaxPool3d: nn.MaxPool3d,
    pool.AvgPool1d: nn.AvgPool1d,
    pool.AvgPool2d: nn.AvgPool2d,
    pool.AvgPool3d: nn.AvgPool3d,
    pool.AdaptiveAvgPool1d: nn.AdaptiveAvgPool1d,
    pool.AdaptiveAvgPool2d: nn.AdaptiveAvgPool2d,
    pool.AdaptiveAvgPool3d: nn.AdaptiveAvgPool3d,
    pool.AdaptiveMaxPool1d: nn.AdaptiveMaxPool1d,
    pool.AdaptiveMaxPool2d: nn.AdaptiveMaxPool2d,
    pool.AdaptiveMaxPool3d: nn.AdaptiveMaxPool3d,
    norm.LocalResponseNorm: nn.LocalResponseNorm,
    norm.Dropout: nn.Dropout,
    norm.FeatureDropout: nn.Dropout2d,
    resampling.PixelShuffle: nn.PixelShuffle,
    resampling.PixelUnshuffle: nn.PixelUnshuffle,
    resampling.ChannelShuffle: nn.ChannelShuffle,
    resampling.Unfold: nn.Unfold,
    resampling.Fold: nn.Fold,
}
register_modules(_MODULE_OF)


@lower.register
def _(op: pool.GlobalAvgPool2d, *inputs: Shape) -> nn.Module:
    return nn.AdaptiveAvgPool2d(op.output_size)


class AlphaDropoutModule(nn.Module):
    """torch.nn.AlphaDropout and its kin, which do not work in place whatever they are told."""

    def __init__(self, op: norm.AlphaDropout) -> None:
        super().__init__()
        self.op = op

    def forward(self, x: Tensor) -> Tensor:
        """A tensor of the same mean and variance."""
        op = self.op
        function = nn.functional.alpha_dropout if op.name == "alpha_dropout" else nn.functional.feature_alpha_dropout
        return function(x, op.p, self.training, op.inplace)


@lower.register
def _(op: norm.AlphaDropout, *inputs: Shape) -> nn.Module:
    return AlphaDropoutModule(op)


class FunctionalNormMixin(nn.Module):
    """A normalisation without parameters, whose weight and bias are further inputs: a base in front of torch's own."""

    def forward(self, x: Tensor, *given: Tensor) -> Tensor:
        """What the normalisation makes of x, with what is given."""
        operands: dict[str, Any] = dict(zip(("weight", "bias"), given, strict=False))
        self._parameters.update(operands)
        try:
            made: Tensor = super().forward(x)
        finally:
            self._parameters.update(dict.fromkeys(operands))
        return made


# By op, the module, and its field that says whether there are a weight and a bias.
_NORMS: dict[type[Op], tuple[type[nn.Module], str]] = {
    norm.BatchNorm1d: (nn.BatchNorm1d, "affine"),
    norm.BatchNorm2d: (nn.BatchNorm2d, "affine"),
    norm.BatchNorm3d: (nn.BatchNorm3d, "affine"),
    norm.InstanceNorm1d: (nn.InstanceNorm1d, "affine"),
    norm.InstanceNorm2d: (nn.InstanceNorm2d, "affine"),
    norm.InstanceNorm3d: (nn.InstanceNorm3d, "affine"),
    norm.GroupNorm: (nn.GroupNorm, "affine"),
    norm.LayerNorm: (nn.LayerNorm, "elementwise_affine"),
    norm.RmsNorm: (nn.RMSNorm, "elementwise_affine"),
}


_FUNCTIONAL_NORMS = {
    module: type(f"Given{module.__name__}", (FunctionalNormMixin, module), {}) for module, _ in _NORMS.values()
}


def _norm(op: Op, x: Shape, *given: Shape) -> nn.Module:
    module, affine = next(_NORMS[kind] for kind in type(op).__mro__ if kind in _NORMS)
    told = argument_values(op) | ({affine: False} if given else {})
    if not issubclass(module, (nn.LayerNorm, nn.RMSNorm)):
        told["num_channels" if module is nn.GroupNorm else "num_features"] = x[1]
    if not given:
        return module(**told)
    norm: Any = _FUNCTIONAL_NORMS[module](**told)
    norm.op = op
    made: nn.Module = norm
    return made


for _op in _NORMS:
    lower.register(_op, _norm)


class InterpolateModule(nn.Module):
    """The plane at another size."""

    def __init__(self, op: resampling.Interpolate) -> None:
        super().__init__()
        self.op = op

    def forward(self, x: Tensor) -> Tensor:
        """A tensor of that size."""
        op = self.op
        return nn.functional.interpolate(x, op.size, op.scale_factor, op.mode, op.align_corners, antialias=op.antialias)


@lower.register
def _(op: resampling.Interpolate, *inputs: Shape) -> nn.Module:
    return InterpolateModule(op)


class GridSampleModule(nn.Module):
    """The input at the places that a grid says."""

    def __init__(self, op: resampling.GridSample) -> None:
        super().__init__()
        self.op = op

    def forward(self, x: Tensor, grid: Tensor) -> Tensor:
        """A tensor with a place for each of the grid."""
        return nn.functional.grid_sample(x, grid, self.op.mode, self.op.padding_mode, self.op.align_corners)


@lower.register
def _(op: resampling.GridSample, *inputs: Shape) -> nn.Module:
    return GridSampleModule(op)
