"""Find groups of layers that repeat, and describe them as calls of one block with arguments.

Groups of the same layers with the same connections are calls of one block; the values in which they differ are the
block's arguments. References within a block are relative to it, so that one body serves all calls: `.` is the block's
input, `../a` a layer beside the enclosing group.
"""

from __future__ import annotations

import keyword
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, dataclass, field, replace
from typing import Any

from costcalc.frontends.spec.expression import CALL_KEYWORDS
from costcalc.frontends.spec.items import JOINS
from costcalc.frontends.spec.layer_tree import (
    LayerTree,
    Leaf,
    Scope,
    Subtree,
    TensorReference,
    is_reference,
    references,
    scope_of,
)
from costcalc.frontends.spec.write import expression_text, symbol_names
from costcalc.ir.graph import Graph
from costcalc.ir.op import Op
from costcalc.ir.ops import OPS

MAX_BLOCK_ARGUMENTS = 12  # a call with more arguments is no clearer than the layers it replaces
MAX_FLAT_LAYERS = 3  # a group of at most so many layers with another input than the layer before is written by paths

_ARGUMENT_NAMES = {"out_channels": "channels", "out_features": "features", "kernel_size": "kernel"}
_SIZE_WORDS = ("channels", "features", "size", "groups", "end", "start", "length")  # sizes, the best name first
_RESERVED_WORDS = (*CALL_KEYWORDS, "skip", "side", "true", "false", "null", *JOINS)


@dataclass
class CallArgument:
    """An argument of a call, left out where its value is the default."""

    name: str
    value: Any
    default: Any = MISSING
    owner: str = ""  # the path of the call within the block


@dataclass
class CallLine:
    """A call, with the name of its layer or group."""

    name: str
    callee: str
    arguments: list[CallArgument]


@dataclass
class GroupLines:
    """A group written in full."""

    name: str
    lines: list[CallLine | GroupLines]


@dataclass
class BlockPlan:
    """A block: its name, its arguments with their defaults, and the text of each argument in its body."""

    name: str
    groups: list[Subtree]
    arguments: dict[str, Any] = field(default_factory=dict)  # MISSING: required
    argument_texts: list[str | None] = field(default_factory=list)  # None: the value, equal in all groups
    call_values: dict[int, dict[str, Any]] = field(default_factory=dict)  # by the index of a group's first layer


@dataclass
class _Column:
    """The values that an argument of a layer has in each group of a block."""

    argument: CallArgument
    values: list[Any]

    def is_width(self) -> bool:
        """Whether the values are positive integers that count channels, features or other sizes."""
        return _category(self.argument) == "width" and all(type(v) is int and v > 0 for v in self.values)


class BlockFinder:
    """The blocks of one graph, and its layers as lines that call them."""

    def __init__(self, graph: Graph) -> None:
        self.tree = LayerTree(graph)
        self.reserved_names = {*_RESERVED_WORDS, *symbol_names(graph)}
        self.block_structures = {kind for kind, groups in self.tree.by_structure.items() if len(groups) > 1}
        self.blocks: dict[int, BlockPlan] = {}
        self._select_blocks()

    def ordered_blocks(self) -> list[BlockPlan]:
        """The blocks, each after those that it calls."""
        return [self.blocks[structure] for structure in self._block_order()]

    def _select_blocks(self) -> None:
        """Drop the blocks that do not make the spec shorter, the largest first, and find the others' arguments."""
        while True:
            written_times: Counter[int] = Counter()
            self._count(self.tree.items, written_times)
            lengths = {kind: self._length(self.tree.by_structure[kind][0].items) for kind in self.block_structures}
            idle = [k for k, length in lengths.items() if written_times[k] * (length - 1) <= length + 1]
            if idle:
                self.block_structures.remove(max(idle, key=lambda kind: (self._layer_count(kind), -kind)))
                continue
            self.blocks = {}
            for kind in self._block_order():
                self.blocks[kind] = self._block(kind)
                if len(self.blocks[kind].arguments) > MAX_BLOCK_ARGUMENTS:
                    self.block_structures.remove(kind)
                    break
            else:
                return

    def _count(self, items: Iterable[Leaf | Subtree], times: Counter[int]) -> None:
        """Count how often each structure is written: the contents of a block are written once."""
        for item in items:
            if isinstance(item, Subtree):
                times[item.structure] += 1
                if item.structure not in self.block_structures or times[item.structure] == 1:
                    self._count(item.items, times)

    def _length(self, items: Sequence[Leaf | Subtree]) -> int:
        """The number of lines that items take."""
        inner = (item for item in items if isinstance(item, Subtree) and item.structure not in self.block_structures)
        return len(items) + sum(self._length(group.items) - (len(group.items) == 1) for group in inner)

    def _layer_count(self, kind: int) -> int:
        group = self.tree.by_structure[kind][0]
        return group.end - group.first

    def _block_order(self) -> list[int]:
        """The structures of blocks, each after those in it."""
        structures = (group.structure for group in self.tree.groups())
        return list(dict.fromkeys(each for each in structures if each in self.block_structures))

    def _block(self, kind: int) -> BlockPlan:
        groups = self.tree.by_structure[kind]
        block = BlockPlan(self._block_name(groups), groups)
        scopes = [scope_of(group) for group in groups]
        rows = [_call_arguments(self.lines(group.items, scope)) for group, scope in zip(groups, scopes, strict=True)]
        columns: list[_Column] = []
        column_of: dict[Any, int] = {}  # the index of the column for each list of values

        def column(argument: CallArgument, values: list[Any]) -> int | None:
            key = self._column_key(argument, values, scopes)
            if key is None:
                return None
            index = column_of.setdefault(key, len(columns))
            if index == len(columns):
                columns.append(_Column(argument, values))
            elif _rank(argument) < _rank(columns[index].argument):  # the better name
                columns[index] = _Column(argument, values)
            return index

        indices: list[int | list[int | None] | None] = []
        for arguments in zip(*rows, strict=True):
            values = [argument.value for argument in arguments]
            if _are_shapes(arguments[0], values):  # one column for each size
                name = "features" if arguments[0].name == "normalized_shape" else "size"
                size = replace(arguments[0], name=name)
                indices.append([column(size, [*each]) for each in zip(*values, strict=True)])
            else:
                indices.append(column(arguments[0], values))
        texts = _name_arguments(block, columns, self.reserved_names)
        for arguments, index in zip(zip(*rows, strict=True), indices, strict=True):
            if isinstance(index, list):
                parts = [
                    expression_text(size) if each is None else texts[each]
                    for size, each in zip(arguments[0].value, index, strict=True)
                ]
                block.argument_texts.append("(" + ", ".join(parts) + "," * (len(parts) == 1) + ")")
            elif index is None:
                block.argument_texts.append(self._common_reference([each.value for each in arguments], scopes))
            else:
                block.argument_texts.append(texts[index])
        return block

    def _column_key(self, argument: CallArgument, values: list[Any], scopes: list[Scope]) -> Any:
        """Equal for arguments of layers that one argument of the block can set; None if all groups have one value."""
        if is_reference(values[0]):
            if self._common_reference(values, scopes) is not None:
                return None
            return argument.name, tuple(
                tuple((r.prefix[len(scope.prefix) :], r.tensor) for r in references(value))
                for value, scope in zip(values, scopes, strict=True)
            )
        keys = tuple(map(value_key, values))
        return None if len(set(keys)) == 1 else (_category(argument), keys)

    def _common_reference(self, values: list[Any], scopes: list[Scope]) -> str | None:
        """The text of a reference in a block, if it is the same in all groups."""
        if not is_reference(values[0]):
            return None
        relative = {self.tree.reference_text(value, scope) for value, scope in zip(values, scopes, strict=True)}
        if len(relative) == 1 and None not in relative:
            return relative.pop()
        absolute = {self.tree.reference_text(value, self.tree.root, absolute=True) for value in values}
        return absolute.pop() if len(absolute) == 1 else None

    def _block_name(self, groups: Sequence[Subtree]) -> str:
        """The name of a block, from the most frequent name of its groups: `inception3a` gives `inception`."""
        names = Counter(_block_base_name(group.prefix.split("/")[:-1]) for group in groups)
        name = names.most_common(1)[0][0]
        if name in OPS or name in self.reserved_names or keyword.iskeyword(name):
            name += "_block"
        return _unused(name, {*(b.name for b in self.blocks.values()), *OPS, *self.reserved_names})

    def lines(
        self, items: Iterable[Leaf | Subtree], scope: Scope, prefix: str | None = None
    ) -> list[CallLine | GroupLines]:
        """Items as calls and groups; a group that repeats is a call of its block."""
        prefix = scope.prefix if prefix is None else prefix
        lines: list[CallLine | GroupLines] = []
        for item in items:
            if isinstance(item, Leaf):
                lines.append(self._layer_call(item, scope, prefix))
            elif item.structure in self.blocks:
                block = self.blocks[item.structure]
                arguments = [CallArgument(n, block.call_values[item.first][n], d) for n, d in block.arguments.items()]
                source = None if item.source == self._before(item, scope) else TensorReference(prefix, item.source)
                arguments.append(CallArgument("inputs", source, None))
                _set_owner(arguments, prefix + item.name, block.name, scope)
                lines.append(CallLine(item.name, block.name, arguments))
            elif self._is_flat(item, scope):
                inner = [replace(each, name=f"{item.name}/{each.name}") for each in item.items]
                lines += self.lines(inner, scope, prefix)
            else:
                lines.append(GroupLines(item.name, self.lines(item.items, scope, item.prefix)))
        return lines

    def _before(self, group: Subtree, scope: Scope) -> str:
        """Return the default input of a group: the preceding tensor or, for the first item, the input of the scope."""
        return scope.source if group.first == scope.first else self.tree.before(group.first)

    def _is_flat(self, group: Subtree, scope: Scope) -> bool:
        """Whether a group is written as its layers' paths: it is one item, or few with another input."""
        few = all(isinstance(item, Leaf) or item.structure in self.blocks for item in group.items)
        other_input = group.source != self._before(group, scope)
        return len(group.items) == 1 or (few and len(group.items) <= MAX_FLAT_LAYERS and other_input)

    def _layer_call(self, leaf: Leaf, scope: Scope, prefix: str) -> CallLine:
        node = self.tree.nodes[leaf.index]
        arguments = [CallArgument(name, *_argument_and_default(node.op, name)) for name in node.op.argument_specs]
        before = scope.source if leaf.index == scope.first else self.tree.before(leaf.index)
        sources: Any = None
        if node.inputs != (before,) and (node.inputs or node.op.arity != (0, 0)):
            sources = tuple(TensorReference(prefix, tensor) for tensor in node.inputs)
            sources = sources[0] if len(sources) == 1 else sources
        shared = None if node.shares is None else TensorReference(prefix, node.shares)
        arguments.append(CallArgument("inputs", sources, None))
        arguments.append(CallArgument("shares", shared, None))
        # An op without a module is always called as a function.
        arguments.append(CallArgument("functional", node.functional and node.op.is_module, False))
        _set_owner(arguments, node.name, node.op.name, scope)
        return CallLine(leaf.name, node.op.name, arguments)


# -- arguments --------------------------------------------------------------------------------------------------------


def _name_arguments(block: BlockPlan, columns: Sequence[_Column], reserved: Iterable[str]) -> list[str]:
    """Name the arguments of a block, set their defaults and values, and return the text of each column."""
    multiples, halves = _multiples(columns), _half_kernels(columns)
    own = [index for index in range(len(columns)) if index not in multiples and index not in halves]
    name_counts = Counter(_argument_name(columns[index].argument) for index in own)
    names: dict[int, str] = {}
    for index in own:
        argument = columns[index].argument
        name = _argument_name(argument)
        owner = re.sub(r"\W+", "_", argument.owner).strip("_")
        if name_counts[name] > 1:
            name = f"{owner}_{name}" if owner[:1].isalpha() else f"{name}_{owner}"
        names[index] = _unused(name, {*names.values(), *reserved})
    defaults: dict[int, Any] = {}
    for index in own:
        argument, values = columns[index].argument, columns[index].values
        text, uses = Counter(map(repr, values)).most_common(1)[0]
        plain = all(isinstance(v, (bool, int, float, type(None))) for v in values)
        if (
            plain
            and uses * 2 > len(values)
            and (_category(argument) != "width" or _argument_name(argument) == "groups")
        ):
            defaults[index] = next(v for v in values if repr(v) == text)
    for index in [*(i for i in own if i not in defaults), *defaults]:
        block.arguments[names[index]] = defaults.get(index, MISSING)
    for number, group in enumerate(block.groups):
        block.call_values[group.first] = {names[index]: columns[index].values[number] for index in own}
    texts = []
    for index in range(len(columns)):
        if index in multiples:
            other, factor = multiples[index]
            texts.append(f"{names[other]} * {factor}")
        elif index in halves:
            texts.append(f"{names[halves[index]]} // 2")
        else:
            texts.append(names[index])
    return texts


def _multiples(columns: Sequence[_Column]) -> dict[int, tuple[int, int]]:
    """The columns of sizes that are multiples of another: the other column, and the factor."""
    widths = {index for index, column in enumerate(columns) if column.is_width()}
    multiples: dict[int, tuple[int, int]] = {}
    for index in sorted(widths, key=lambda index: columns[index].values):
        for other in widths - multiples.keys() - {index}:
            pairs = zip(columns[index].values, columns[other].values, strict=True)
            factors = {divmod(size, base) for size, base in pairs}
            if len(factors) == 1 and (factor := factors.pop())[1] == 0 and factor[0] > 1:
                multiples[index] = (other, factor[0])
                break
    return multiples


def _half_kernels(columns: Sequence[_Column]) -> dict[int, int]:
    """The columns of paddings that are half of a kernel size, which preserves the size: the kernel's column."""
    halves = {}
    for index, padding in enumerate(columns):
        for other, kernel in enumerate(columns):
            if (_category(padding.argument), _category(kernel.argument)) == ("padding", "kernel") and all(
                type(k) is int and p == k // 2 for p, k in zip(padding.values, kernel.values, strict=True)
            ):
                halves[index] = other
    return halves


def _set_owner(arguments: list[CallArgument], path: str, callee: str, scope: Scope) -> None:
    owner = path[len(scope.prefix) :]
    if "/" in owner and re.sub(r"_\d+$", "", owner[owner.rindex("/") + 1 :]) == callee:
        owner = owner[: owner.rindex("/")]
    for argument in arguments:
        argument.owner = owner


def _call_arguments(lines: Iterable[CallLine | GroupLines]) -> list[CallArgument]:
    return [
        argument
        for line in lines
        for argument in (_call_arguments(line.lines) if isinstance(line, GroupLines) else line.arguments)
    ]


def _argument_and_default(op: Op, name: str) -> tuple[Any, Any]:
    """Return the value of an op's argument as a call shows it, and its default (MISSING: it has none)."""
    spec = op.argument_specs[name]
    default = spec.default if spec.default is MISSING else spec.display(spec.convert(name, spec.default))
    return spec.display(getattr(op, name)), default


def value_key(value: Any) -> Any:
    """Equal for values that a spec writes with the same text: 1, True and 1.0 are different."""
    return type(value).__name__, repr(value)


def _argument_name(argument: CallArgument) -> str:
    """The name of a block's argument that sets an argument of a layer."""
    if argument.name == "inputs":
        return "sources" if isinstance(argument.value, tuple) else "source"
    return "shared" if argument.name == "shares" else _ARGUMENT_NAMES.get(argument.name, argument.name)


def _category(argument: CallArgument) -> str:
    """The quantity that an argument sets: one argument of a block sets only arguments of one category."""
    name = _argument_name(argument)
    return "width" if _rank(argument) < len(_SIZE_WORDS) else name.rpartition("_")[2].rstrip("0123456789") or name


def _rank(argument: CallArgument) -> int:
    """How well the argument's name fits a number of channels or another size: lower is better."""
    words = re.sub(r"\d+", "", _argument_name(argument)).split("_")
    return min((rank for rank, word in enumerate(_SIZE_WORDS) if word in words), default=len(_SIZE_WORDS))


def _are_shapes(argument: CallArgument, values: Sequence[Any]) -> bool:
    """Whether values are shapes of one length that are not all equal."""
    if argument.name not in ("shape", "sizes", "normalized_shape") or not all(isinstance(v, tuple) for v in values):
        return False
    return len({len(value) for value in values}) == 1 and len(set(map(value_key, values))) > 1


# -- names ------------------------------------------------------------------------------------------------------------


def _unused(name: str, used: Iterable[str]) -> str:
    used, base, number = {*used}, name + "_" * keyword.iskeyword(name), 1
    name = base
    while name in used:
        number += 1
        name = f"{base}_{number}"
    return name


def _block_base_name(path: Sequence[str]) -> str:
    """The name of a block for a path: `inception` for `inception3a`, `encoder_layer` for `encoder_layer_0`."""
    names = [name for name in path if not name.isdigit()] or ["block"]
    name = re.sub(r"\W+", "_", re.sub(r"[_\d.]*\d[a-z]?$", "", names[-1])).strip("_").lower() or "block"
    if not path[-1].isdigit():
        return name if name[0].isalpha() else "branch"
    plural = name.endswith("s") and not name.endswith("ss")
    name = name[:-1] if plural else f"{name}_block" if name != "block" else name
    return name if name[:1].isalpha() else "branch"
