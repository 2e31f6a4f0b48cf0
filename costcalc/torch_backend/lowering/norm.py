"""Lowering of normalizations."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from costcalc.core.sizes import Shape
from costcalc.ir.op import Op
from costcalc.ir.ops import norm
from costcalc.torch_backend.lowering.base import lower, register_modules

register_modules({norm.LocalResponseNorm: nn.LocalResponseNorm})


class FunctionalNormMixin(nn.Module):
    """A normalization whose weight and bias are inputs instead of parameters; a base in front of torch's own class."""

    def forward(self, x: Tensor, *weights: Tensor) -> Tensor:
        """Normalize x with these weights."""
        operands: dict[str, Any] = dict(zip(("weight", "bias"), weights, strict=False))
        self._parameters.update(operands)
        try:
            result: Tensor = super().forward(x)
        finally:
            self._parameters.update(dict.fromkeys(operands))
        return result


# By op: the module, and its field that says whether it has a weight and a bias.
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


def _lower_norm(op: Op, x: Shape, *weights: Shape) -> nn.Module:
    module, affine = next(_NORMS[kind] for kind in type(op).__mro__ if kind in _NORMS)
    arguments = op.values() | ({affine: False} if weights else {})
    if not issubclass(module, (nn.LayerNorm, nn.RMSNorm)):
        arguments["num_channels" if module is nn.GroupNorm else "num_features"] = x[1]
    if not weights:
        return module(**arguments)
    functional: Any = _FUNCTIONAL_NORMS[module](**arguments)
    functional.op = op
    result: nn.Module = functional
    return result


for _kind in _NORMS:
    lower.register(_kind, _lower_norm)
