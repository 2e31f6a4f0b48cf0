"""The spec language: from a located YAML document to graphs.

Reading goes in two steps. `Spec` takes the document apart once and finds every mistake that needs no value: unknown
names, ops, arguments, settings. `Spec.build` then chooses a variant, gives the settings their values, has the layers
unrolled, and makes the graph; what goes wrong there is added to the same list. A bad layer is left out, and what
follows it is not blamed.
"""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from costcalc.core.axes import EXAMPLE_IMAGE, IMAGE_DIM_NAMES
from costcalc.core.dtypes import ELEMENT_TYPES
from costcalc.core.errors import CostcalcError, OpError, SettingError, did_you_mean
from costcalc.core.sizes import as_size, can_broadcast, is_array, is_symbolic
from costcalc.frontends.spec.document import (
    Diagnostic,
    SpecError,
    YamlMapping,
    YamlNode,
    YamlScalar,
    YamlSequence,
    parse,
)
from costcalc.frontends.spec.expression import (
    CALL_KEYWORDS,
    Expression,
    LocatedError,
    Signature,
    parse_block_header,
)
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
from costcalc.frontends.spec.unroll import Unroller
from costcalc.ir.arguments import SizeSpec
from costcalc.ir.graph import Graph, GraphError, Input, infer_shapes
from costcalc.ir.graph import GraphProblem as LateProblem
from costcalc.ir.ops import OPS

SECTIONS = ("name", "title", "source", "input", "inputs", "settings", "variants", "blocks", "layers", "outputs")
_RESERVED_WORDS = (*CALL_KEYWORDS, "skip", "holds", "shape", "true", "false", "null")  # that name no size
_SIZE = SizeSpec(minimum=1)
_EXAMPLE_INPUT = f"{{{', '.join(f'{name}: {size}' for name, size in EXAMPLE_IMAGE.items())}}}"


class Setting(NamedTuple):
    """A knob of a spec: its default, and its choices if they are few."""

    default: Any
    choices: tuple[Any, ...] = ()

    def read(self, value: Any) -> Any:
        """`value`, if it is of the default's type and among the choices. Raises TypeError in a user's words."""
        kind = type(self.default)
        if isinstance(value, list):
            value = tuple(value)
        if kind is int and (is_array(value) or is_symbolic(value)):
            value = as_size(value)
        elif kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        elif type(value) is not kind:
            words = {bool: "true or false", int: "an integer", float: "a number", str: "text", tuple: "a list"}
            raise TypeError(
                f"must be {words.get(kind, kind.__name__)}, such as its default {_yaml_text(self.default)}, "
                f"not {value!r}"
            )
        if self.choices and (is_array(value) or is_symbolic(value) or value not in self.choices):
            raise TypeError(f"must be {' or '.join(map(_yaml_text, self.choices))}, not {_yaml_text(value)}")
        return value


class Variant(NamedTuple):
    """A published member of a family: the settings and input sizes in which it differs."""

    settings: Mapping[str, Any]
    sizes: Mapping[str, int]


class InputDeclaration(NamedTuple):
    """An input as a spec declares it: its sizes by their names ("" has none), and what its elements are."""

    names: tuple[str, ...]
    shape: tuple[int, ...]
    element_type: str = "float"


class Spec:
    """A family of networks, as one file describes it, or a part of a file: the mapping under the family's `name`.

    `problems` are the mistakes found without building; `build` raises SpecError with them and all that it finds.
    """

    def __init__(self, text: str, file: str, name: str = "", node: YamlNode | None = None) -> None:
        self.text, self.file = text, file
        self.problems: list[Diagnostic] = []
        self.location = None if node is None else node.location  # of what is said of the spec as a whole
        self.name = name
        self.title = ""
        self.source = ""
        self.inputs: dict[str, InputDeclaration] = {}
        self.sizes: dict[str, int] = {}  # of the inputs, by name: what may be given, and what expressions may use
        self.settings: dict[str, Setting] = {}
        self.variants: dict[str, Variant] = {}
        self.blocks: dict[str, Block] = {}
        self.layers: list[Item] = []
        self.outputs: list[YamlScalar] = []
        document, keys = parse(text, file) if node is None else (node, [])
        self.problems += keys
        if isinstance(document, YamlMapping):
            self._read(document)
        else:
            message = f"a spec is a mapping, with the keys {', '.join(SECTIONS)}"
            raise SpecError(file, text, [Diagnostic(document.location, message)])

    def build(self, variant: str | None = None, options: Mapping[str, Any] | None = None) -> Graph:
        """The graph of a variant (by default the one the family is named for), with settings and sizes as `given`.

        Raises CostcalcError for what is wrong in `given`, SpecError for all that is wrong in the file.
        """
        name = self.default_variant() if variant is None else variant
        if name not in (self.variants or {self.name}):
            raise CostcalcError(f"{self.file} has no variant {name!r}{did_you_mean(name, self.variants)}")
        chosen = self.variants.get(name, Variant({}, {}))
        settings, inputs = self._resolve_options(chosen, dict(options or {}))
        sizes = {
            name: size
            for given, declared in reversed([*zip(inputs, self.inputs.values(), strict=True)])
            for name, size in zip(declared.names, given.shape, strict=True)
            if name
        }
        unrolled = Unroller(self, {**sizes, **settings}, [i.name for i in inputs])
        problems = [*self.problems, *unrolled.problems]
        try:
            outputs = unrolled.outputs()
        except LocatedError as fault:
            problems.append(fault.diagnostic)
        late: Iterable[LateProblem] = ()
        if problems:
            late = infer_shapes(inputs, unrolled.nodes).problems
        else:
            try:
                named = {} if self._has_one_image() else {n: sizes[n] for n in self.sizes if n != "batch"}
                return Graph(name, inputs, tuple(unrolled.nodes), outputs, self.title or name, {**named, **settings})
            except GraphError as error:
                late = error.problems
        for problem in late:
            place = unrolled.calls[problem.node.name].location(problem.field)
            problems.append(Diagnostic(place, f"{problem.node.name}: {problem.message}"))
        raise SpecError(self.file, self.text, problems)

    def default_variant(self) -> str:
        """The variant named as the family, or the first; the family's own name where there are no variants."""
        return self.name if self.name in self.variants or not self.variants else next(iter(self.variants))

    def _resolve_options(self, variant: Variant, options: dict[str, Any]) -> tuple[dict[str, Any], tuple[Input, ...]]:
        sizes: dict[str, Any] = dict(variant.sizes)
        settings = {name: setting.default for name, setting in self.settings.items()} | dict(variant.settings)
        for name, value in options.items():
            try:
                if name in IMAGE_DIM_NAMES or name in self.sizes:
                    sizes[name] = _SIZE.convert(name, value)
                elif name in self.settings:
                    settings[name] = self.settings[name].read(value)
                else:
                    near = did_you_mean(name, [*self.settings, *self.sizes])
                    known = ", ".join(self.settings) or "none"
                    raise SettingError(name, f"{self.name} has no setting {name!r}{near}: there are {known}")
            except OpError as error:
                raise SettingError(name, str(error)) from None
            except TypeError as error:
                raise SettingError(name, f"{name} {error}") from None
        values = [*sizes.values(), *settings.values()]
        if any(map(is_array, values)) and any(map(is_symbolic, values)):
            raise CostcalcError("arrays and expressions cannot be mixed: give sizes and settings of one kind")
        if not can_broadcast(values):
            shapes = ", ".join(f"{k} {v.shape}" for k, v in {**sizes, **settings}.items() if is_array(v))
            raise CostcalcError(f"arrays of these shapes do not broadcast together: {shapes}")
        if sizes.keys() - self.sizes.keys():
            wrong = ", ".join(sorted(sizes.keys() - self.sizes.keys()))
            known = ", ".join(self.sizes)
            raise CostcalcError(f"{self.name} has no single image as input: {wrong} cannot be set, but {known}")
        inputs = [
            Input(name, tuple(sizes.get(s, n) for s, n in zip(names, shape, strict=True)), holds)
            for name, (names, shape, holds) in self.inputs.items()
        ]
        return settings, tuple(inputs)

    def _has_one_image(self) -> bool:
        return [declared.names for declared in self.inputs.values()] == [IMAGE_DIM_NAMES]

    def _expression_names(self) -> set[str]:
        """What expressions may use everywhere: settings, and the inputs' sizes but for the channels of an image."""
        return {*self.settings, *self.sizes} - {"channels"}

    # -- reading the sections -------------------------------------------------------------------------------------

    def _report(self, value: YamlNode, message: str) -> None:
        self.problems.append(Diagnostic(value.location, message))

    def _read(self, document: YamlMapping) -> None:
        for key, _ in document.entries:
            if key.text not in SECTIONS:
                known = ", ".join(SECTIONS)
                self._report(key, f"no section {key.text!r}{did_you_mean(key.text, SECTIONS)}: there are {known}")
        for section in ("name", "title", "source"):
            value = document.get(section)
            if isinstance(value, YamlScalar) and isinstance(value.value, str):
                setattr(self, section, value.value)
            elif value is not None:
                self._report(value, f"{section} must be text")
        self._read_input(document)
        for section, read, what in (
            ("settings", self._read_setting, "a mapping of names to defaults"),
            ("variants", self._read_variant, "a mapping of names to the settings in which they differ"),
        ):
            value = document.get(section)
            if isinstance(value, YamlMapping):
                for key, entry in value.entries:
                    read(key, entry)
            elif value is not None and getattr(value, "value", 0) is not None:
                self._report(value, f"{section} must be {what}")
        self._read_blocks(document.get("blocks"))
        layers = document.get("layers")
        if isinstance(layers, YamlSequence):
            self.layers.extend(self._items(layers, self._expression_names()))
        elif layers is not None:
            self._report(layers, "layers must be a list of items, each starting with '- '")
        outputs = document.get("outputs")
        if (
            isinstance(outputs, YamlSequence)
            and outputs.items
            and all(isinstance(o, YamlScalar) for o in outputs.items)
        ):
            self.outputs = [o for o in outputs.items if isinstance(o, YamlScalar)]
        elif outputs is not None:
            self._report(outputs, "outputs must be a list of layers, the main one first")
        if all(
            key.text in SECTIONS for key, _ in document.entries
        ):  # a misspelt section may be the one that is missing
            for section, wanted in (
                ("name", "`name: …`"),
                ("input", f"`input: {_EXAMPLE_INPUT}`"),
                ("layers", "`layers:` and a list"),
            ):
                named = section == "name" and self.name
                several = section == "input" and document.get("inputs") is not None
                if document.get(section) is None and not named and not several:
                    message = f"has no {section}: every spec needs {wanted}"
                    self.problems.append(Diagnostic(self.location, message))

    def _read_input(self, document: YamlMapping) -> None:
        value, several = document.get("input"), document.get("inputs")
        if value is not None and several is not None:
            self._report(several, "a spec has input: or inputs:, not both")
        elif isinstance(value, YamlMapping):
            sizes = {"batch": 1} | self._sizes(value)
            misspelt = any(key.text not in IMAGE_DIM_NAMES for key, _ in value.entries)
            for size in IMAGE_DIM_NAMES:
                if size not in sizes and value.get(size) is None and not misspelt:
                    self._report(value, f"input needs {size}: it is {_EXAMPLE_INPUT} or alike")
            shape = tuple([sizes.get(name, 1) for name in IMAGE_DIM_NAMES])
            self.inputs["input"] = InputDeclaration(IMAGE_DIM_NAMES, shape)
        elif isinstance(several, YamlMapping) and several.entries:
            for key, entry in several.entries:
                self.inputs[key.text] = self._input_declaration(key, entry, alone=len(several.entries) == 1)
        elif value is not None or several is not None:
            message = f"input must be {_EXAMPLE_INPUT} or alike, inputs {{name: [1, 128]}} or alike"
            self._report(value or several or document, message)
        if not self.inputs:
            self.inputs["input"] = InputDeclaration(IMAGE_DIM_NAMES, (1, *EXAMPLE_IMAGE.values()))
        for declared in self.inputs.values():
            for each, number in zip(declared.names, declared.shape, strict=True):
                if each:
                    self.sizes.setdefault(each, number)

    def _input_declaration(self, key: YamlScalar, entry: YamlNode, alone: bool) -> InputDeclaration:
        """One of several inputs: a list of sizes, or a mapping of their names to them, or of `shape` to the list."""
        holds, listed = "float", entry
        named: dict[str, int] = {}
        if isinstance(entry, YamlMapping):
            kind, listed = entry.get("holds"), entry.get("shape") or entry
            if isinstance(kind, YamlScalar) and kind.value in ELEMENT_TYPES:
                holds = kind.text
            elif kind is not None:
                self._report(kind, f"holds must be {' or '.join(ELEMENT_TYPES)}")
            for name, size in entry.entries:
                if name.text == "holds" or (name.text == "shape" and isinstance(size, YamlSequence)):
                    continue
                if not name.text.isidentifier() or keyword.iskeyword(name.text) or name.text in _RESERVED_WORDS:
                    self._report(name, f"{name.text!r} cannot name a size")
                elif listed is not entry:
                    self._report(name, f"{key.text} has a shape already: its sizes are listed, or named, not both")
                else:
                    number = named[name.text] = self._size(size, name.text)
                    above = [s for d in self.inputs.values() for n, s in zip(*d[:2], strict=True) if n == name.text]
                    if above and above[0] != number:
                        self._report(
                            size, f"{name.text} is another number in an input above: sizes of one name are one"
                        )
            if listed is entry and named:
                return InputDeclaration(tuple(named), tuple(named.values()), holds)
        shape = tuple(self._size(e, key.text) for e in listed.items) if isinstance(listed, YamlSequence) else ()
        if isinstance(listed, YamlSequence) and not shape:
            return InputDeclaration((), (), holds)  # a single number
        if not shape:
            message = f"{key.text} must be a list of sizes, the batch first, such as [1, 3, 224, 224]"
            self._report(entry, message + ", or a mapping of names to sizes, such as {batch: 1, sequence: 128}")
        shape = shape or (1,)
        if alone and len(shape) == 4:
            return InputDeclaration(IMAGE_DIM_NAMES, shape, holds)
        batches = [n for above in self.inputs.values() for name, n in zip(*above[:2], strict=True) if name == "batch"]
        first = "batch" if not batches or batches[0] == shape[0] else ""
        return InputDeclaration((first, *[""] * (len(shape) - 1)), shape, holds)

    def _sizes(self, value: YamlMapping) -> dict[str, int]:
        sizes = {}
        for key, entry in value.entries:
            names = self.sizes or IMAGE_DIM_NAMES
            if key.text in names:
                sizes[key.text] = self._size(entry, key.text)
            else:
                known = ", ".join(names)
                self._report(key, f"an input has no {key.text!r}{did_you_mean(key.text, names)}: it has {known}")
        return sizes

    def _size(self, value: YamlNode, name: str) -> int:
        size = value.value if isinstance(value, YamlScalar) else None
        if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= 10**9:
            self._report(value, f"{name} must be an integer of at least 1")
            return 1
        return size

    def _read_setting(self, key: YamlScalar, value: YamlNode) -> None:
        if key.text in (*IMAGE_DIM_NAMES, *self.sizes, *CALL_KEYWORDS, "skip") or not key.text.isidentifier():
            what = "is the input's" if key.text in (*IMAGE_DIM_NAMES, *self.sizes) else "cannot name a setting"
            self._report(key, f"{key.text!r} {what}" + ("" if key.text.isidentifier() else ": it is no plain word"))
            return
        default, choices = value, ()
        if isinstance(value, YamlMapping):
            found = value.get("default")
            for extra, _ in value.entries:
                if extra.text not in ("default", "choices"):
                    self._report(
                        extra, f"a setting is a default, or {{default: …, choices: […]}}, without {extra.text!r}"
                    )
            if found is None:
                self._report(value, f"the setting {key.text!r} needs a default")
                return
            default = found
            choices = self._plain_value(value.get("choices"))
        plain = self._plain_value(default)
        if plain is None or (isinstance(plain, tuple) and any(p is None for p in plain)):
            self._report(default, f"the setting {key.text!r} must be a number, text, true or false, or a list of these")
            return
        setting = Setting(plain, choices if isinstance(choices, tuple) else ())
        try:
            setting.read(plain)
        except TypeError as error:
            self._report(default, f"{key.text} {error}")
        self.settings[key.text] = setting

    def _plain_value(self, value: YamlNode | None) -> Any:
        """A setting's value: a scalar's, or a tuple of them; None for anything else."""
        if isinstance(value, YamlSequence):
            return tuple(self._plain_value(v) for v in value.items)
        return value.value if isinstance(value, YamlScalar) else None

    def _read_variant(self, key: YamlScalar, value: YamlNode) -> None:
        settings: dict[str, Any] = {}
        sizes: dict[str, int] = {}
        if isinstance(value, YamlScalar) and value.value is None:
            self._report(value, f"the variant {key.text!r} must be a mapping: write {{}} where it differs in nothing")
        elif not isinstance(value, YamlMapping):
            self._report(value, f"the variant {key.text!r} must be a mapping of settings, such as {{depth: 2}}")
        else:
            for name, entry in value.entries:
                if name.text == "input":
                    if isinstance(entry, YamlMapping):
                        sizes = self._sizes(entry)
                    else:
                        self._report(entry, "input must be a mapping of sizes, such as {height: 227, width: 227}")
                elif name.text not in self.settings:
                    near = did_you_mean(name.text, self.settings)
                    self._report(name, f"no setting {name.text!r}{near}: a variant sets settings and input")
                else:
                    try:
                        settings[name.text] = self.settings[name.text].read(self._plain_value(entry))
                    except TypeError as error:
                        self._report(entry, f"{name.text} {error}")
        self.variants[key.text] = Variant(settings, sizes)

    def _read_blocks(self, value: YamlNode | None) -> None:
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
                if name.isidentifier() and name not in OPS:  # so that its calls are not blamed, too
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
                found = [
                    problem
                    for place, default in enumerate(arguments.values())
                    if default is not None
                    for problem in default.check_value([*self._expression_names(), *list(arguments)[:place]])
                ]
                self.problems.extend(found)
                self.blocks[name] = Block(key.location, name, arguments, valid=not found, items=[])
                bodies.append((self.blocks[name], body))
        for block, body in bodies:  # once all blocks are known, for they may call each other
            if isinstance(body, YamlSequence):
                block.items.extend(self._items(body, {*self._expression_names(), *block.arguments}))
            else:
                self._report(body, f"the block {block.name!r} must be a list of items, each starting with '- '")

    # -- items ----------------------------------------------------------------------------------------------------

    def signatures(self) -> Mapping[str, Signature]:
        """Everything that can be called: ops and blocks."""
        return Signatures(self.blocks)

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
        found = list(expression.check_layer(names, self.signatures()))
        self.problems.extend(found)
        if len(self.problems) > MAX_MISTAKES:
            message = f"more than {MAX_MISTAKES} mistakes: nothing below is read"
            raise SpecError(self.file, self.text, [*self.problems, Diagnostic(line_after(source.location), message)])
        return LayerItem(source.location, name, None if found else expression)


def _yaml_text(value: Any) -> str:
    """A setting's value as YAML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    return "[" + ", ".join(map(_yaml_text, value)) + "]" if isinstance(value, tuple) else str(value)
