"""Explanations of wrong numbers that a claims file leaves unexplained: the likeliest one that `reconcile` finds."""

from __future__ import annotations

from costcalc.core.written_numbers import WrittenNumber
from costcalc.frontends.spec.document import YamlScalar
from costcalc.published.claims.claims_file import COMPARISON_FIELDS, RATIO_FIELDS, SUM_FIELDS, ClaimFields
from costcalc.published.claims.evaluator import Evaluator
from costcalc.published.reconcile import Quantity, reconcile

# The quantity of reconcile for each quantity of claims. reconcile itself tries weights and parameters, MACs and FLOPs.
_RECONCILE_QUANTITY: dict[str, Quantity] = {
    "params": "params",
    "weights": "params",
    "counted_params": "params",
    "macs": "flops",
    "flops": "flops",
    "activations": "activations",
    "counted_activations": "activations",
    "param_bytes": "memory",
    "weight_bytes": "memory",
    "activation_bytes": "memory",
}
_UNSUPPORTED_FIELDS = (*SUM_FIELDS, *RATIO_FIELDS, *COMPARISON_FIELDS, "each", "op", "limit")


def explain_wrong_number(evaluator: Evaluator, fields: ClaimFields, number: WrittenNumber, unit: str) -> str:
    """Name the likeliest count that gives a printed number in this unit, or say that none gives it.

    Return an empty string for claims that reconcile cannot explain: those about a network that the claims file itself
    defines, a sum, a ratio or several layers.
    """
    quantity = _RECONCILE_QUANTITY.get(getattr(fields["quantity"], "value", ""))
    layers = fields.get("layers")
    at = layers.text if isinstance(layers, YamlScalar) else None
    arguments = evaluator.load_arguments(fields)
    one_count = layers is None or (at is not None and "*" not in at and at not in evaluator.costs(fields).inputs)
    if quantity is None or arguments.target is None or not one_count:
        return ""
    if any(name in fields for name in _UNSUPPORTED_FIELDS) or number.bound or number.value <= 0:
        return ""
    dtype = getattr(fields.get("dtype"), "value", "fp32")
    result = reconcile(arguments.target, f"{number.digits}{unit}", arguments.options, of=[quantity], at=at, dtype=dtype)
    if not result.explanations:
        return "reconcile finds no likely way of counting that gives it"
    best = result.explanations[0]
    network = f"{best.architecture}, " if best.architecture != result.architecture else ""
    change = f"{best.change}, " if best.change else ""
    return f"perhaps {network}{change}counted as {best.counted_as}: {best.value:,}"
