"""Formulas of the costs of one layer, in symbols and with numbers.

The formulas result from evaluating the op with SymPy symbols for sizes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import sympy

from costcalc.analysis.conventions import ALL_PARAMETERS, Convention, CountedLayer, get_convention, sum_terms
from costcalc.core.dtypes import element_bytes
from costcalc.core.errors import CostcalcError
from costcalc.core.sizes import Shape, is_plain, prod
from costcalc.exploration.symbolic.expression_writer import ExpressionWriter, text
from costcalc.ir.graph import Graph, Node
from costcalc.ir.op import Op

# The order of symbols in a product, as in the lecture's 2·H·W·C_out·C_in·k·k.
_SYMBOL_ORDER = [
    *("N", "D", "H", "W", "L", "T_d", "T_h", "T_w", "T_l", "C_out", "C", "C_in", "S", "V", "F_out", "F_in"),
    *("k_d", "k_h", "k_w", "k", "n", "g", "P"),
]
_SYMBOL_MEANINGS = {
    "N": "batch",
    "H": "height out",
    "W": "width out",
    "H_in": "height in",
    "W_in": "width in",
    "C_out": "channels out",
    "C_in": "channels in",
    "C": "channels",
    "F_out": "features out",
    "F_in": "features in",
    "S": "sequence length",
    "V": "rows of the table",
    "D": "depth out",
    "D_in": "depth in",
    "L": "length out",
    "L_in": "length in",
    "k": "kernel length",
    "k_d": "kernel depth",
    "k_h": "kernel height",
    "k_w": "kernel width",
    "n": "window",
    "g": "groups",
    "P": "parameters",
    "T_l": "kernel elements inside the input along its length, summed over output positions",
    "T_d": "kernel elements inside the input along its depth, summed over output positions",
    "T_h": "kernel elements inside the input along its height, summed over output positions",
    "T_w": "kernel elements inside the input along its width",
}


# Symbols of the spatial dimensions of sequences and volumes, by the rank of the op's input.
_SPATIAL_SYMBOLS: Mapping[int | None, str] = {3: "L", 5: "DHW"}


class Explanation(NamedTuple):
    """One cost of one layer: the `formula` in symbols, the formula with `numbers` for the symbols, and the `value`."""

    path: str
    quantity: str
    formula: str
    numbers: str
    value: Any
    meanings: Mapping[str, str]


def explain(graph: Graph, layer: str, *, convention: str = "flops", dtype: str = "fp32") -> list[Explanation]:
    """Return the nonzero costs of a layer, or of all layers below a prefix, as formulas.

    The costs are parameters, MACs, the convention's FLOPs and activation bytes, and the parameters that the convention
    counts if it does not count all.

    Raises:
        CostcalcError: the layer does not exist, or the sizes of the graph are not plain numbers.
    """
    if not all(is_plain(size) for shape in graph.shapes.values() for size in shape):
        raise CostcalcError(f"{graph.name} has sizes that are not plain numbers: load it with a number for each size")
    rule = get_convention(convention)
    uncounted = rule.excluded_layers(graph)
    element = element_bytes(dtype) * rule.activation_copies
    return [
        line
        for node in graph.select(layer)
        if node.op.modelled
        for line in _explain(graph, node, rule, 0 if node.name in uncounted else element)
    ]


def _explain(graph: Graph, node: Node, rule: Convention, element: int) -> list[Explanation]:
    """Return the costs of one layer; `element` is the number of bytes of an element of its output."""
    symbols = _LayerSymbols()
    resolved = graph.resolved_op(node)
    op = symbols.symbolic_op(resolved, structure=True)
    inputs = tuple(
        symbols.input(
            graph.shapes[name], graph.layouts[name].spatial_dims, i, len(node.inputs), resolved.rank if i == 1 else None
        )
        for i, name in enumerate(node.inputs, 1)
    )
    formula_shape = symbols.symbolic_op(resolved, structure=False).output(*inputs)
    output = symbols.output(
        formula_shape, graph.shapes[node.name], graph.layouts[node.name].spatial_dims, resolved.rank
    )
    work = op.work(inputs, output)
    real = CountedLayer(resolved, graph.input_shapes(node), graph.shapes[node.name], work)
    layer = _SymbolicLayer(op, inputs, output, work, node.functional, not node.shares)
    layer.symbols, layer.real = symbols, real
    costs = {
        "parameters": sum(prod(shape) for shape in layer.parameters().values()),
        "MACs": work.macs,
        rule.label: sum_terms(rule.work, layer),
        "activation bytes": sum_terms(rule.activations, layer) * element,
    }
    if rule.parameters is not ALL_PARAMETERS:
        costs[f"parameters of {rule.name}"] = sum_terms(rule.parameters, layer)
    lines = []
    for quantity, formula in costs.items():
        formula = sympy.sympify(formula)
        value = int(formula.subs(symbols.values))
        if value:
            numbers = text(formula, lambda s: str(symbols.values[s]), _symbol_key)
            meanings = {s.name: symbols.meaning(s.name) for s in sorted(formula.free_symbols, key=_symbol_key)}
            lines.append(Explanation(node.name, quantity, LECTURE_WRITER.text(formula), numbers, value, meanings))
    return lines


class _SymbolicLayer(CountedLayer):
    """A layer with symbols for sizes, and the same layer with numbers (`real`).

    The number of window elements inside the input is not a polynomial in the kernel size and padding: it is a symbol.
    """

    symbols: _LayerSymbols
    real: CountedLayer

    def window_elements_inside(self) -> Shape:
        counts = self.real.window_elements_inside()
        names = ("T_l",) if len(counts) == 1 else ("T_d", "T_h", "T_w")[-len(counts) :]
        return tuple(self.symbols.symbol(name, count) for name, count in zip(names, counts, strict=False))


class _LayerSymbols:
    """Symbols for the sizes of one layer, and their values.

    A batch of 1 and groups of 1 have no symbol, so that formulas are short.
    """

    def __init__(self) -> None:
        self.values: dict[sympy.Symbol, int] = {}

    def symbol(self, name: str, value: Any) -> Any:
        symbol = sympy.Symbol(name, integer=True, positive=True)
        self.values[symbol] = value
        return symbol

    def meaning(self, name: str) -> str:
        base, _, number = name.rpartition("_")
        return _SYMBOL_MEANINGS.get(name) or f"{_SYMBOL_MEANINGS[base]} of input {number}"

    def symbolic_op(self, op: Op, *, structure: bool) -> Op:
        """Return the op with symbols for its channels and features and, with `structure`, also for its kernel.

        The output shape must be computed with a plain kernel size: it is not a polynomial in the kernel size.
        """
        symbolic = object.__new__(type(op))
        for name, value in op.values().items():
            symbol = op.argument_specs[name].symbol
            if isinstance(symbol, tuple) and structure:
                value = tuple(self.symbol(s, v) for s, v in zip(symbol, value, strict=True))
            elif isinstance(symbol, str) and value != 1:
                value = self.symbol(symbol, value)
            object.__setattr__(symbolic, name, value)
        return symbolic

    def input(
        self, shape: Shape, spatial_dims: tuple[int, int] | None, number: int, count: int, rank: int | None = None
    ) -> Shape:
        names = {1: "C_in"} if spatial_dims == (2, 3) else {len(shape) - 2: "S", len(shape) - 1: "F_in"}
        if spatial_dims is not None:
            names |= dict(zip(spatial_dims, ("H_in", "W_in"), strict=True))
        if rank in _SPATIAL_SYMBOLS:
            names = {1: "C_in"} | {d: f"{name}_in" for d, name in enumerate(_SPATIAL_SYMBOLS[rank], 2)}
        suffix = f"_{number}" if count > 1 else ""
        named = [self.symbol(names[d] + suffix, n) if d in names else n for d, n in enumerate(shape)]
        return (self._batch(shape[0]), *named[1:]) if shape else ()

    def output(
        self, formula: Shape, shape: Shape, spatial_dims: tuple[int, int] | None, rank: int | None = None
    ) -> Shape:
        """Return the output shape with new symbols for its spatial sizes; channels and features come from the op."""
        own = {0: self._batch(shape[0])} if shape else {}
        if rank in _SPATIAL_SYMBOLS:
            own |= {
                d: self.symbol(name, shape[d]) for d, name in enumerate(_SPATIAL_SYMBOLS[rank], 2) if d < len(formula)
            }
        if spatial_dims is not None:
            own |= {d: self.symbol(name, shape[d]) for d, name in zip(spatial_dims, ("H", "W"), strict=True)}
        return tuple([own.get(d, size) for d, size in enumerate(formula)])

    def _batch(self, batch: int) -> Any:
        return 1 if batch == 1 else self.symbol("N", batch)


def _symbol_key(symbol: sympy.Symbol) -> tuple[int, str]:
    return _SYMBOL_ORDER.index(symbol.name) if symbol.name in _SYMBOL_ORDER else len(_SYMBOL_ORDER), symbol.name


LECTURE_WRITER = ExpressionWriter(lambda symbol: str(symbol.name), _symbol_key)  # factors in the lecture's order
