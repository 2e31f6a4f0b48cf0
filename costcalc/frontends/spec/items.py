"""Items of a parsed spec: layers, groups, branches and blocks, with expressions that are not evaluated yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING
from functools import cache
from typing import NamedTuple

from costcalc.frontends.spec.document import Location
from costcalc.frontends.spec.expression import Expression, Signature
from costcalc.ir.ops import OPS

MAX_MISTAKES = 200
JOINS = ("concat", "add")


class LayerItem(NamedTuple):
    """An item with one expression: a call, a repeated call or a conditional."""

    location: Location
    name: str | None
    expression: Expression | None  # None if the expression has a mistake, which is already reported


class GroupItem(NamedTuple):
    """A named group of items."""

    location: Location
    name: str
    items: tuple[Item, ...]


class BranchItem(NamedTuple):
    """Branches that start from one tensor. `op` joins their outputs; if it is None, they are side branches."""

    location: Location
    op: str | None
    branches: tuple[LayerItem | GroupItem, ...]


Item = LayerItem | GroupItem | BranchItem


class Block(NamedTuple):
    """A named list of items that is parameterized by arguments."""

    location: Location
    name: str
    arguments: Mapping[str, Expression | None]  # defaults by name; they can use earlier arguments
    valid: bool  # False if the header has a mistake, which is already reported
    items: list[Item]


class Signatures(Mapping[str, Signature]):
    """The signatures of all ops and blocks by name. The signature of an op is created on first access."""

    def __init__(self, blocks: Mapping[str, Block]) -> None:
        self.blocks = blocks

    def __getitem__(self, name: str) -> Signature:
        if name in self.blocks:
            arguments = self.blocks[name].arguments
            kind = "block" if self.blocks[name].valid else "broken"
            return Signature(kind, tuple(arguments), frozenset(a for a, d in arguments.items() if d is not None))
        return _op_signature(name)

    def __iter__(self) -> Iterator[str]:
        yield from self.blocks
        yield from OPS

    def __len__(self) -> int:
        return len(self.blocks) + len(OPS)


@cache
def _op_signature(name: str) -> Signature:
    specs = OPS[name].argument_specs
    return Signature("op", tuple(specs), frozenset(name for name, spec in specs.items() if spec.default is not MISSING))


def line_after(location: Location) -> Location:
    """Return the start of the next line, so that a diagnostic there is sorted after one at `location`."""
    return Location(location.line + 1, 0)
