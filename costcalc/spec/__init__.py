"""Specs: networks described in YAML, those that ship with costcalc and those of users."""

from costcalc.spec.catalogue import architectures, load, shipped_source
from costcalc.spec.document import SpecError
from costcalc.spec.language import Spec
from costcalc.spec.write import to_yaml

__all__ = ["Spec", "SpecError", "architectures", "load", "shipped_source", "to_yaml"]
