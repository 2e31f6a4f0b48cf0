"""What each operation of torch's ATen library is, as layers: one module a family of ops, none of which needs torch.

They are loaded by `translators`: each registers its own by `aten`.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module

from costcalc.frontends.call import Translator, make_registry

_TABLE, aten = make_registry()


@cache
def translators() -> Mapping[str, Translator]:
    """All of them, by the operation's name without `aten`: "conv2d.default"."""
    for module in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
    return _TABLE
