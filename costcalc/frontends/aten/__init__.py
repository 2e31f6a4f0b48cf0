"""Translators from the operators of torch's ATen library to layers: one module a family of ops, without torch.

A translator stands in the family of the op that it produces; `base` has the registry and the readers of arguments.
"""
