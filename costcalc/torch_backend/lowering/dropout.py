"""Lowering of dropout."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from costcalc.core.sizes import Shape
from costcalc.ir.ops import dropout
from costcalc.torch_backend.lowering.base import lower, register_modules

register_modules({dropout.Dropout: nn.Dropout, dropout.FeatureDropout: nn.Dropout2d})


class AlphaDropoutModule(nn.Module):
    """torch.nn.AlphaDropout and torch.nn.FeatureAlphaDropout, which ignore their `inplace`."""

    def __init__(self, op: dropout.AlphaDropout) -> None:
        super().__init__()
        self.op = op

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same mean and variance."""
        function = F.alpha_dropout if self.op.name == "alpha_dropout" else F.feature_alpha_dropout
        return function(x, self.op.p, self.training, self.op.inplace)


@lower.register
def _(op: dropout.AlphaDropout, *inputs: Shape) -> nn.Module:
    return AlphaDropoutModule(op)
