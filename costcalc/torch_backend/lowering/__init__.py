"""Lowering: the torch module that computes each op, one Python module a family of ops."""

from importlib import import_module
from pkgutil import iter_modules

from costcalc.torch_backend.lowering.base import lower

for _family in iter_modules(__path__):
    import_module(f"{__name__}.{_family.name}")  # registers its lowerings with `lower`

__all__ = ["lower"]
