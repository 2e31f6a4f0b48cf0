"""Symbolic graphs: graphs of imported models whose dynamic sizes are symbols, and the substitution of values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from typing import Any, NamedTuple

import sympy

from costcalc.core.errors import CostcalcError
from costcalc.core.sizes import Shape, as_size, identical, is_array, prod, size_min
from costcalc.ir.graph import Graph, Input
from costcalc.ir.op import Op


def symbol_of(name: str) -> Any:
    """Return the symbol for the size of that name."""
    return sympy.Symbol(name, integer=True, positive=True)


class SymbolicGraph(NamedTuple):
    """An imported model as a graph in which the dynamic sizes are symbols.

    `fixed` are the dynamic sizes for which the model accepts one value only, with that value. `tied` are those that the
    model requires to be equal to another dynamic size, with its name.
    """

    graph: Graph
    fixed: Mapping[str, int]
    tied: Mapping[str, str]

    def specialize(self, **sizes: Any) -> Graph:
        """Substitute sizes by name. Raises CostcalcError for sizes that `fixed` or `tied` rules out."""
        for name, value in sizes.items():
            if name in self.fixed and value != self.fixed[name]:
                raise CostcalcError(f"{self.graph.name} fixes {name} to {self.fixed[name]}: it cannot be {value}")
        for name, other in self.tied.items():
            if name in sizes and other in sizes and not identical(sizes[name], sizes[other]):
                raise CostcalcError(f"{self.graph.name} requires {name} and {other} to be equal")
        values = {symbol_of(name): value for name, value in sizes.items()}
        inputs = tuple(
            Input(name, _substitute_shape(shape, values), element_type)
            for name, shape, element_type in self.graph.inputs
        )
        nodes = tuple(replace(node, op=_substitute_op(node.op, values)) for node in self.graph.nodes)
        return replace(self.graph, inputs=inputs, nodes=nodes)


def _substitute_size(size: Any, sizes: Mapping[Any, Any]) -> Any:
    if not isinstance(size, sympy.Basic):
        return size
    values = {symbol: sizes[symbol] for symbol in size.free_symbols if symbol in sizes}
    if any(map(is_array, values.values())):
        return as_size(_evaluate(size, values))
    return as_size(size.subs(values))


def _evaluate(expression: Any, values: Mapping[Any, Any]) -> Any:
    """Evaluate an integer expression with values some of which are arrays; a fraction is a floor division."""
    numerator, denominator = sympy.fraction(sympy.together(expression))
    if denominator != 1:
        return _evaluate(numerator, values) // _evaluate(denominator, values)
    parts = [_evaluate(part, values) for part in expression.args] if expression.args else []
    if isinstance(expression, sympy.Add):
        return sum(parts)
    if isinstance(expression, sympy.Mul):
        return prod(parts)
    if isinstance(expression, sympy.Pow):
        return parts[0] ** int(expression.exp)
    if isinstance(expression, sympy.Min):
        return reduce(size_min, parts)
    if isinstance(expression, sympy.floor):
        return parts[0]
    return as_size(values[expression]) if expression in values else int(expression)


def _substitute_shape(shape: Shape, sizes: Mapping[Any, Any]) -> Shape:
    return tuple([_substitute_size(size, sizes) for size in shape])


def _substitute_op(op: Op, sizes: Mapping[Any, Any]) -> Op:
    changed: dict[str, Any] = {}
    for name, value in op.values().items():
        if isinstance(value, tuple) and any(isinstance(size, sympy.Basic) for size in value):
            changed[name] = _substitute_shape(value, sizes)
        elif isinstance(value, sympy.Basic):
            changed[name] = _substitute_size(value, sizes)
    return replace(op, **changed) if changed else op
