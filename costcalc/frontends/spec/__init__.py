"""Specs: networks described in YAML, those that ship with costcalc and those of users."""

from costcalc.frontends.spec.catalogue import architectures, load, shipped_source
from costcalc.frontends.spec.document import SpecError
from costcalc.frontends.spec.language import Spec
from costcalc.frontends.spec.write import to_yaml

__all__ = ["Spec", "SpecError", "architectures", "load", "shipped_source", "to_yaml"]
