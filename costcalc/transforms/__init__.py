"""Design moves: functions from a graph to a graph, found by name and applied wherever they fit."""

from costcalc.transforms.rule import Rewriting, Rule, Step, rewrite, rule_named, rules

__all__ = ["Rewriting", "Rule", "Step", "rewrite", "rule_named", "rules"]
