"""Translators of comparisons, and of logical and bitwise operators."""

from __future__ import annotations

from costcalc.frontends.aten.arithmetic import binary
from costcalc.frontends.aten.base import aten_op, overload_names
from costcalc.frontends.aten.unary import unary
from costcalc.ir.ops.comparison import UNARY_FUNCTIONS

for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    aten_op(*overload_names(_name, "Tensor", "Scalar"))(binary(_name))
for _alias, _name in {
    "greater": "gt",
    "greater_equal": "ge",
    "less": "lt",
    "less_equal": "le",
    "not_equal": "ne",
}.items():
    aten_op(*overload_names(_alias, "Tensor", "Scalar"))(binary(_name))
for _name in ("logical_and", "logical_or", "logical_xor"):
    aten_op(*overload_names(_name))(binary(_name))
for _name in ("and", "or", "xor"):
    aten_op(*overload_names(f"bitwise_{_name}", "Tensor", "Scalar"))(binary(f"bitwise_{_name}"))
    aten_op(f"__{_name}__.Tensor", f"__{_name}__.Scalar")(binary(f"bitwise_{_name}"))
for _name in UNARY_FUNCTIONS:
    aten_op(*overload_names(_name))(unary(_name))
