"""Design moves: functions from a graph to a graph, found by name and applied wherever they fit."""

from costcalc.transforms.rule import AppliedMove, Rewriting, Rule, rewrite, rule_named, rules

__all__ = ["AppliedMove", "Rewriting", "Rule", "rewrite", "rule_named", "rules"]
