"""What each operation of torch's ATen library is, as layers: one module a family of ops, none of which needs torch."""

from importlib import import_module
from pkgutil import iter_modules

from costcalc.importers.call import registry

TRANSLATORS, aten = registry()

for _family in iter_modules(__path__, f"{__name__}."):
    import_module(_family.name)
