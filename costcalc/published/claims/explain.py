"""Explanations of wrong numbers that their files do not give: the most ordinary that `reconcile` finds."""

from __future__ import annotations

from costcalc.core.written_numbers import WrittenNumber
from costcalc.frontends.spec.document import YamlScalar
from costcalc.published.claims.language import RATIOS, READINGS, SUMS, Given
from costcalc.published.claims.measure import Bench
from costcalc.published.reconcile import Quantity, reconcile

# The quantities that reconcile knows. It finds by itself whether weights or parameters, MACs or FLOPs were meant.
_RECONCILED: dict[str, Quantity] = {
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
_ALONE = (*SUMS, *RATIOS, *READINGS, "each", "op", "limit")


def explain(bench: Bench, given: Given, number: WrittenNumber, unit: str) -> str:
    """In words, which other count gives a printed number, in this unit; or that none does.

    Empty where reconcile cannot be asked: of networks that are written in the file, and of more than one plain count.
    """
    quantity = _RECONCILED.get(getattr(given["quantity"], "value", ""))
    layers = given.get("layers")
    at = layers.text if isinstance(layers, YamlScalar) else None
    asked = bench.asked(given)
    one = layers is None or (at is not None and "*" not in at and at not in bench.costs(given).inputs)
    if quantity is None or asked.target is None or not one or any(name in given for name in _ALONE):
        return ""
    if number.bound or number.value <= 0:
        return ""
    dtype = getattr(given.get("dtype"), "value", "fp32")
    found = reconcile(asked.target, f"{number.digits}{unit}", asked.sizes, of=[quantity], at=at, dtype=dtype)
    if not found.explanations:
        return "no ordinary way of counting that costcalc knows gives it"
    best = found.explanations[0]
    of = f"{best.architecture}, " if best.architecture != found.architecture else ""
    change = f"{best.change}, " if best.change else ""
    return f"perhaps {of}{change}counted as {best.counted_as}: {best.value:,}"
