"""Design moves: functions from a graph to a graph, selected by name and applied to all layers that they fit."""

from costcalc.transforms.rule import AppliedMove, Rewriting, Rule, rewrite, rule_named, rules

__all__ = ["AppliedMove", "Rewriting", "Rule", "rewrite", "rule_named", "rules"]
