"""The symbolic sizes of an exported program, and the names that costcalc has for them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import sympy
import torch
from torch.utils._sympy import functions as torch_functions

from costcalc.core.dtypes import element_type_of
from costcalc.core.errors import CostcalcError
from costcalc.core.sizes import Shape, as_size
from costcalc.frontends.free_sizes import symbol_of
from costcalc.ir.graph import Input, resolve_dim_names


def torch_element_type(dtype: torch.dtype) -> str:
    """Return the element type that stands for a dtype."""
    return element_type_of(str(dtype).removeprefix("torch."))


def size_names(tensors: Iterable[torch.Tensor]) -> list[tuple[str, ...]]:
    """Return the names of the sizes of each input tensor; "" for a size without a name."""
    return resolve_dim_names([Input("", tuple(tensor.shape), torch_element_type(tensor.dtype)) for tensor in tensors])


class SymbolTable:
    """Translates torch's symbolic integers to expressions in the names of input sizes.

    `fixed` are the dynamic sizes for which the module accepts one value only, with that value. `tied` are those that
    must be equal to another dynamic size, with its name.
    """

    def __init__(self, model: str, dynamic_sizes: Collection[str]) -> None:
        self.model, self.dynamic_sizes = model, dynamic_sizes
        self.fixed: dict[str, int] = {}
        self.tied: dict[str, str] = {}
        self._symbols: dict[Any, Any] = {}  # torch's symbols, with costcalc's expressions for them
        self._example_sizes: dict[str, int] = {}

    def bind(self, tensor: torch.Tensor) -> None:
        """Name the symbols in the shape of an input tensor."""
        for name, size in zip(size_names([tensor])[0], tensor.shape, strict=True):
            example = size.node.hint if isinstance(size, torch.SymInt) else size
            if name not in self.dynamic_sizes or self._example_sizes.setdefault(name, example) != example:
                continue
            expression = size.node.expr if isinstance(size, torch.SymInt) else sympy.Integer(size)
            if expression.is_Integer:
                self.fixed.setdefault(name, int(expression))
                continue
            factor, symbol = expression.as_coeff_Mul()
            if not symbol.is_Symbol:
                continue
            if symbol in self._symbols and self._symbols[symbol] != symbol_of(name):
                self.tied[name] = str(self._symbols[symbol])
            self._symbols.setdefault(symbol, symbol_of(name) / factor)

    def shape(self, tensor: torch.Tensor) -> Shape:
        """Return a tensor's shape in costcalc's names. Raises CostcalcError as `size` does."""
        return tuple([self.size(size) for size in tensor.shape])

    def size(self, size: Any) -> Any:
        """Return a number of torch's as an int or an expression in costcalc's names; other values are unchanged.

        Raises CostcalcError for a size that depends on the values of a tensor.
        """
        if not isinstance(size, torch.SymInt):
            return size
        expression = size.node.expr
        if expression.is_Integer:
            return int(expression)
        if expression.free_symbols - self._symbols.keys():
            raise CostcalcError(
                f"{self.model} cannot be imported: the size of a tensor depends on the values of another one "
                f"({expression}); import a part of the model that has no such tensor"
            )
        return as_size(_replace_torch_functions(expression).subs(self._symbols))


_QUOTIENTS = (torch_functions.FloorDiv, torch_functions.CleanDiv)
_REMAINDERS = (torch_functions.Mod, torch_functions.PythonMod)


def _replace_torch_functions(expression: Any) -> Any:
    """Return an expression with torch's integer functions replaced by `sympy.floor`."""
    return expression.replace(lambda part: isinstance(part, (*_QUOTIENTS, *_REMAINDERS)), _with_floor)


def _with_floor(part: Any) -> Any:
    dividend, divisor = part.args
    quotient = sympy.floor(dividend / divisor)
    return quotient if isinstance(part, _QUOTIENTS) else dividend - divisor * quotient
