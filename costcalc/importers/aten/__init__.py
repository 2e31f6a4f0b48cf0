"""What each operation of torch's ATen library is, as layers: one module a family of ops, none of which needs torch."""

from costcalc.importers.call import registry

TRANSLATORS, aten = registry()
