"""What a spec may call: every op with its arguments, as the op classes themselves declare them."""

from __future__ import annotations

import inspect
from dataclasses import MISSING
from typing import NamedTuple

from costcalc.core.errors import CostcalcError, did_you_mean
from costcalc.ir.ops import OPS


class ArgumentReference(NamedTuple):
    """One argument of an op: its name, the values it accepts, and its default (None if it is required)."""

    name: str
    takes: str
    default: str | None


class OpReference(NamedTuple):
    """One op: its name, its arguments in order, and its documentation."""

    name: str
    arguments: tuple[ArgumentReference, ...]
    doc: str

    @property
    def call(self) -> str:
        """The op as it is called, with its defaults."""
        written = (a.name if a.default is None else f"{a.name}={a.default}" for a in self.arguments)
        return f"{self.name}({', '.join(written)})"


def describe(name: str | None = None) -> list[OpReference]:
    """Return all ops, or the one called `name`. Raises CostcalcError if there is no such op."""
    if name is not None and name not in OPS:
        raise CostcalcError(f"no op {name!r}{did_you_mean(name, OPS)}: `costcalc schema` lists all {len(OPS)}")
    return [_describe(each) for each in ([name] if name else OPS)]


def _describe(name: str) -> OpReference:
    op = OPS[name]
    arguments = []
    for argument, spec in op.argument_specs.items():
        default = None if spec.default is MISSING else repr(spec.default)
        arguments.append(ArgumentReference(argument, spec.describe(), default))
    return OpReference(name, tuple(arguments), inspect.getdoc(op) or "")
