"""Read the sections `blocks` and `layers` of a spec into items."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from costcalc.frontends.spec.document import (
    Diagnostic,
    SpecError,
    YamlMapping,
    YamlNode,
    YamlScalar,
    YamlSequence,
)
from costcalc.frontends.spec.expression import Expression, LocatedError, parse_block_header
from costcalc.frontends.spec.items import (
    JOINS,
    MAX_MISTAKES,
    Block,
    BranchItem,
    GroupItem,
    Item,
    LayerItem,
    Signatures,
    line_after,
)
from costcalc.ir.ops import OPS


class ItemReader:
    """Reads items, and appends their mistakes to `problems`; `names` are those that expressions may use everywhere.

    Raises SpecError at more than `MAX_MISTAKES` mistakes.
    """

    def __init__(self, file: str, text: str, problems: list[Diagnostic], names: Collection[str]) -> None:
        self.file, self.text, self.problems, self.names = file, text, problems, {*names}
        self.blocks: dict[str, Block] = {}
        self.signatures = Signatures(self.blocks)

    def read_layers(self, value: YamlNode | None) -> list[Item]:
        """Return the items of the section `layers`; its calls may name the blocks that have been read."""
        if isinstance(value, YamlSequence):
            return list(self._items(value, self.names))
        if value is not None:
            self._report(value, "layers must be a list of items, each starting with '- '")
        return []

    def read_blocks(self, value: YamlNode | None) -> None:
        """Read the section `blocks`."""
        if not isinstance(value, YamlMapping):
            if value is not None and getattr(value, "value", 0) is not None:
                self._report(value, "blocks must be a mapping of headers, such as conv(channels, kernel):, to items")
            return
        bodies = []
        for key, body in value.entries:
            try:
                name, arguments = parse_block_header(key)
            except LocatedError as fault:
                self.problems.append(fault.diagnostic)
                name = key.text.split("(")[0].strip()
                if name.isidentifier() and name not in OPS:  # so that its calls are not reported, too
                    self.blocks.setdefault(name, Block(key.location, name, {}, valid=False, items=[]))
                continue
            if name in OPS or name in JOINS or name in ("skip", "side"):
                self._report(
                    key,
                    f"a block cannot be called {name!r}: that is {'an op' if name in OPS else 'a reserved word'}",
                )
            elif name in self.blocks:
                self._report(key, f"the block {name!r} is defined twice")
            else:
                mistakes = [
                    problem
                    for index, default in enumerate(arguments.values())
                    if default is not None
                    for problem in default.check_value([*self.names, *list(arguments)[:index]])
                ]
                self.problems.extend(mistakes)
                self.blocks[name] = Block(key.location, name, arguments, valid=not mistakes, items=[])
                bodies.append((self.blocks[name], body))
        for block, body in bodies:  # once all blocks are known, for they may call each other
            if isinstance(body, YamlSequence):
                block.items.extend(self._items(body, {*self.names, *block.arguments}))
            else:
                self._report(body, f"the block {block.name!r} must be a list of items, each starting with '- '")

    def _report(self, value: YamlNode, message: str) -> None:
        self.problems.append(Diagnostic(value.location, message))

    def _items(self, value: YamlSequence, names: set[str]) -> Iterator[Item]:
        for entry in value.items:
            if isinstance(entry, YamlScalar):
                yield self._layer_item(None, entry, names)
            elif not isinstance(entry, YamlMapping) or not entry.entries:
                self._report(entry, "an item is a call, `name: call`, `name: [items]`, concat:, add: or side:")
            else:
                key, content = entry.entries[0]
                for extra, _ in entry.entries[1:]:
                    message = (
                        f"a second key, {extra.text!r}, in one item: does it need '- ' before it, or more indentation?"
                    )
                    self._report(extra, message)
                yield self._item(key, content, names)

    def _item(self, key: YamlScalar, value: YamlNode, names: set[str]) -> Item:
        if key.text in (*JOINS, "side") and not isinstance(value, YamlScalar):
            if not isinstance(value, YamlMapping) or not value.entries:
                self._report(value, f"{key.text} needs branches with names: a mapping, such as {{left: …, right: …}}")
                return LayerItem(key.location, key.text, None)
            branches = tuple(self._named_item(name, branch, names) for name, branch in value.entries)
            return BranchItem(key.location, None if key.text == "side" else key.text, branches)
        return self._named_item(key, value, names)

    def _named_item(self, key: YamlScalar, value: YamlNode, names: set[str]) -> LayerItem | GroupItem:
        if not all(key.text.split("/")):
            self._report(key, f"{key.text!r} is no name: a part of it is empty")
            return LayerItem(key.location, "?", None)
        if isinstance(value, YamlScalar):
            return self._layer_item(key.text, value, names)
        if isinstance(value, YamlSequence):
            return GroupItem(key.location, key.text, tuple(self._items(value, names)))
        inner = tuple(self._items(YamlSequence(value.location, (value,)), names))
        return GroupItem(key.location, key.text, inner)

    def _layer_item(self, name: str | None, source: YamlScalar, names: set[str]) -> LayerItem:
        if not isinstance(source.value, str):
            self._report(source, f"a layer is a call such as relu(), not {source.text or 'nothing'}")
            return LayerItem(source.location, name, None)
        try:
            expression = Expression(source)
        except LocatedError as fault:
            self.problems.append(fault.diagnostic)
            return LayerItem(source.location, name, None)
        mistakes = list(expression.check_layer(names, self.signatures))
        self.problems.extend(mistakes)
        if len(self.problems) > MAX_MISTAKES:
            message = f"more than {MAX_MISTAKES} mistakes: nothing below is read"
            raise SpecError(self.file, self.text, [*self.problems, Diagnostic(line_after(source.location), message)])
        return LayerItem(source.location, name, None if mistakes else expression)
