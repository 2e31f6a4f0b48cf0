"""The registry of ATen translators, and the readers of arguments that the families share."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any

from costcalc.core.sizes import is_symbolic
from costcalc.frontends import aten
from costcalc.frontends.call import Call, Translator, UnsupportedOp, make_registry

_TRANSLATORS: dict[str, Translator] = {}
aten_op = make_registry(_TRANSLATORS)


@cache
def translators() -> Mapping[str, Translator]:
    """Return all translators by the operator's name without its namespace, such as "conv2d.default"."""
    for family in pkgutil.iter_modules(aten.__path__):
        import_module(f"{aten.__name__}.{family.name}")
    return _TRANSLATORS


def overload_names(operator: str, *overloads: str) -> Iterator[str]:
    """Yield the names of an operator's overloads, and of their in-place forms."""
    for overload in overloads or ("default",):
        yield f"{operator}.{overload}"
        yield f"{operator}_.{overload}"


def scalar_argument(call: Call, name: str) -> Any:
    """Return an argument that is a number, a symbolic size or None. Raises UnsupportedOp for anything else."""
    value = call[name]
    if value is None or isinstance(value, (int, float)) or is_symbolic(value):
        return value
    raise UnsupportedOp(f"{name}={value!r} is not a number that is known before the model runs")


def finite_or_zero(value: Any) -> float:
    """Return a number on which no cost depends, with 0 for a symbolic size or an infinite value."""
    return float(value) if isinstance(value, (int, float)) and abs(value) < 1e30 else 0.0


def per_axis(value: Any, axes: int) -> tuple[Any, ...]:
    """Return one value for each axis, repeating a single value; an empty list, ATen's omitted argument, is `()`."""
    values = tuple(value) if isinstance(value, Sequence) else (value,)
    return values * axes if len(values) == 1 else values
