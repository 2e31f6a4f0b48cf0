"""A graph whose sizes are free: expressions in the names that an importer has for them, until they are put in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from functools import reduce
from typing import Any, NamedTuple

import sympy

from costcalc.core.errors import CostcalcError
from costcalc.core.sizes import Shape, as_size, identical, is_array, prod, size_min
from costcalc.ir.graph import Graph, Input
from costcalc.ir.op import Op


def symbol_of(name: str) -> Any:
    """The size of that name."""
    return sympy.Symbol(name, integer=True, positive=True)


class SymbolicGraph(NamedTuple):
    """A model as a graph, its sizes numbers or, where they were asked to be free, expressions.

    `fixed` are the sizes that were to be free and that the model allows one value of alone, with that value; `tied`
    those that it allows no other value of than that of another size, which is named.
    """

    graph: Graph
    fixed: Mapping[str, int]
    tied: Mapping[str, str]

    def specialize(self, **sizes: Any) -> Graph:
        """The graph with sizes put in by name. Raises CostcalcError for one that the module fixes to another value."""
        for name, value in sizes.items():
            if name in self.fixed and value != self.fixed[name]:
                message = f"{self.graph.name} fixes {name} to {self.fixed[name]}: it cannot be {value}"
                raise CostcalcError(message)
        for name, other in self.tied.items():
            if name in sizes and other in sizes and not identical(sizes[name], sizes[other]):
                raise CostcalcError(f"{self.graph.name} takes inputs whose {name} is their {other} alone")
        put_in = {symbol_of(name): value for name, value in sizes.items()}
        inputs = tuple(Input(name, _substitute_shape(shape, put_in), holds) for name, shape, holds in self.graph.inputs)
        nodes = tuple(replace(node, op=_substitute_op(node.op, put_in)) for node in self.graph.nodes)
        return replace(self.graph, inputs=inputs, nodes=nodes)


def _substitute_size(size: Any, sizes: Mapping[Any, Any]) -> Any:
    if not isinstance(size, sympy.Basic):
        return size
    given = {symbol: sizes[symbol] for symbol in size.free_symbols if symbol in sizes}
    if any(map(is_array, given.values())):
        return as_size(_evaluate(size, given))
    return as_size(size.subs(given))


def _evaluate(expression: Any, values: Mapping[Any, Any]) -> Any:
    """A whole expression in numbers, which arrays among the values are computed with."""
    above, below = sympy.fraction(sympy.together(expression))
    if below != 1:
        return _evaluate(above, values) // _evaluate(below, values)
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
    for field in fields(op):
        value = getattr(op, field.name)
        if isinstance(value, tuple) and any(isinstance(size, sympy.Basic) for size in value):
            changed[field.name] = _substitute_shape(value, sizes)
        elif isinstance(value, sympy.Basic):
            changed[field.name] = _substitute_size(value, sizes)
    return replace(op, **changed) if changed else op
