"""The spec language: from a YAML document to graphs.

Reading has two steps. `Spec` reads the document once and finds the mistakes that do not depend on values: unknown
names, ops, arguments and settings. `Spec.build` chooses a variant, sets the settings, unrolls the layers and makes the
graph; mistakes found there are added to the same list. A layer with a mistake is left out, and the layers after it are
not reported because of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from costcalc.core.axes import IMAGE_DIM_NAMES
from costcalc.core.errors import CostcalcError, OpError, SettingError, did_you_mean
from costcalc.core.sizes import can_broadcast, is_array, is_symbolic
from costcalc.frontends.spec.declarations import (
    EXAMPLE_INPUT,
    DeclarationReader,
    InputDeclaration,
    Setting,
    Variant,
)
from costcalc.frontends.spec.document import (
    Diagnostic,
    SpecError,
    YamlMapping,
    YamlNode,
    YamlScalar,
    YamlSequence,
    parse,
)
from costcalc.frontends.spec.expression import LocatedError, Signature
from costcalc.frontends.spec.item_reader import ItemReader
from costcalc.frontends.spec.items import Block, Item, Signatures
from costcalc.frontends.spec.unroll import Unroller
from costcalc.ir.arguments import SizeSpec
from costcalc.ir.graph import Graph, GraphError, GraphProblem, Input, infer_shapes

SECTIONS = ("name", "title", "source", "input", "inputs", "settings", "variants", "blocks", "layers", "outputs")
_SIZE = SizeSpec(minimum=1)


class Spec:
    """A family of networks that a file describes, or a part of a file: the mapping `node` under the family's `name`.

    `problems` are the mistakes found without building; `build` raises SpecError with them and its own.
    """

    def __init__(self, text: str, file: str, name: str = "", node: YamlNode | None = None) -> None:
        self.text, self.file = text, file
        self.problems: list[Diagnostic] = []
        self.location = None if node is None else node.location  # for mistakes in the spec as a whole
        self.name = name
        self.title = ""
        self.source = ""
        self.inputs: dict[str, InputDeclaration] = {}
        self.sizes: dict[str, int] = {}  # the inputs' sizes by name: options of `build`
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
        """Return the graph of a variant, by default `default_variant()`; `options` are settings and input sizes.

        Raises:
            CostcalcError: `variant` or `options` are not valid for this spec.
            SpecError: the file has mistakes; the error lists all of them.
        """
        name = self.default_variant() if variant is None else variant
        if name not in (self.variants or {self.name}):
            known = f"there are {', '.join(self.variants)}" if self.variants else "the file has no variants"
            raise CostcalcError(f"{self.file} has no variant {name!r}{did_you_mean(name, self.variants)}: {known}")
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
        graph_problems: Iterable[GraphProblem] = ()
        if problems:
            graph_problems = infer_shapes(inputs, unrolled.nodes).problems
        else:
            try:
                named = {} if self._has_one_image() else {n: sizes[n] for n in self.sizes if n != "batch"}
                return Graph(name, inputs, tuple(unrolled.nodes), outputs, self.title or name, {**named, **settings})
            except GraphError as error:
                graph_problems = error.problems
        for problem in graph_problems:
            location = unrolled.calls[problem.node.name].location(problem.field)
            problems.append(Diagnostic(location, f"{problem.node.name}: {problem.message}"))
        raise SpecError(self.file, self.text, problems)

    def default_variant(self) -> str:
        """The variant with the name of the family, or else the first; without variants, the name of the family."""
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
            Input(name, tuple(sizes.get(s, n) for s, n in zip(names, shape, strict=True)), element_type)
            for name, (names, shape, element_type) in self.inputs.items()
        ]
        return settings, tuple(inputs)

    def _has_one_image(self) -> bool:
        return [declared.names for declared in self.inputs.values()] == [IMAGE_DIM_NAMES]

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
        declarations = DeclarationReader(self.problems)
        declarations.read(document)
        self.inputs, self.sizes = declarations.inputs, declarations.sizes
        self.settings, self.variants = declarations.settings, declarations.variants
        # Expressions may use the settings, and the inputs' sizes except for the channels of an image.
        names = {*self.settings, *self.sizes} - {"channels"}
        reader = ItemReader(self.file, self.text, self.problems, names)
        reader.read_blocks(document.get("blocks"))
        self.blocks = reader.blocks
        self.layers = reader.read_layers(document.get("layers"))
        self._read_outputs(document.get("outputs"))
        if all(key.text in SECTIONS for key, _ in document.entries):  # else the unknown section may be the missing one
            self._check_missing_sections(document)

    def _read_outputs(self, value: YamlNode | None) -> None:
        items = value.items if isinstance(value, YamlSequence) else ()
        outputs = [item for item in items if isinstance(item, YamlScalar)]
        if outputs and len(outputs) == len(items):
            self.outputs = outputs
        elif value is not None:
            self._report(value, "outputs must be a list of layers, the main one first")

    def _check_missing_sections(self, document: YamlMapping) -> None:
        required = {"name": "`name: …`", "input": f"`input: {EXAMPLE_INPUT}`", "layers": "`layers:` and a list"}
        if self.name:
            del required["name"]
        if document.get("inputs") is not None:
            del required["input"]
        for section, example in required.items():
            if document.get(section) is None:
                message = f"has no {section}: every spec needs {example}"
                self.problems.append(Diagnostic(self.location, message))

    def signatures(self) -> Mapping[str, Signature]:
        """The signatures of everything that can be called: ops and blocks."""
        return Signatures(self.blocks)
