"""The inputs, settings and variants that a spec declares."""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from typing import Any, NamedTuple

from costcalc.core.axes import EXAMPLE_IMAGE, IMAGE_DIM_NAMES
from costcalc.core.dtypes import ELEMENT_TYPES
from costcalc.core.errors import did_you_mean
from costcalc.core.sizes import as_size, is_array, is_symbolic
from costcalc.frontends.spec.document import Diagnostic, YamlMapping, YamlNode, YamlScalar, YamlSequence
from costcalc.frontends.spec.expression import CALL_KEYWORDS

EXAMPLE_INPUT = f"{{{', '.join(f'{name}: {size}' for name, size in EXAMPLE_IMAGE.items())}}}"
_RESERVED_WORDS = (*CALL_KEYWORDS, "skip", "holds", "shape", "true", "false", "null")  # not names of sizes


class Setting(NamedTuple):
    """A setting of a spec: its default, and its choices unless every value of the default's type is allowed."""

    default: Any
    choices: tuple[Any, ...] = ()

    def read(self, value: Any) -> Any:
        """Return `value` with the default's type. Raises TypeError for a value of another type or not a choice."""
        default_type = type(self.default)
        if isinstance(value, list):
            value = tuple(value)
        if default_type is int and (is_array(value) or is_symbolic(value)):
            value = as_size(value)
        elif default_type is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        elif type(value) is not default_type:
            words = {bool: "true or false", int: "an integer", float: "a number", str: "text", tuple: "a list"}
            expected = words.get(default_type, default_type.__name__)
            raise TypeError(f"must be {expected}, such as its default {_yaml_text(self.default)}, not {value!r}")
        if self.choices and (is_array(value) or is_symbolic(value) or value not in self.choices):
            raise TypeError(f"must be {' or '.join(map(_yaml_text, self.choices))}, not {_yaml_text(value)}")
        return value


class Variant(NamedTuple):
    """A published member of a family: its settings and input sizes that differ from the defaults."""

    settings: Mapping[str, Any]
    sizes: Mapping[str, int]


class InputDeclaration(NamedTuple):
    """An input that a spec declares: the names of its sizes ("" for a size without one), its shape and element type."""

    names: tuple[str, ...]
    shape: tuple[int, ...]
    element_type: str = "float"


class DeclarationReader:
    """Reads the sections `input`, `inputs`, `settings` and `variants`, and appends their mistakes to `problems`."""

    def __init__(self, problems: list[Diagnostic]) -> None:
        self.problems = problems
        self.inputs: dict[str, InputDeclaration] = {}
        self.sizes: dict[str, int] = {}  # the inputs' sizes by name
        self.settings: dict[str, Setting] = {}
        self.variants: dict[str, Variant] = {}

    def read(self, document: YamlMapping) -> None:
        """Read the sections of a document: settings and variants refer to inputs, and variants to settings."""
        self._read_input(document)
        for section, read, content in (
            ("settings", self._read_setting, "a mapping of names to defaults"),
            ("variants", self._read_variant, "a mapping of names to the settings in which they differ"),
        ):
            value = document.get(section)
            if isinstance(value, YamlMapping):
                for key, entry in value.entries:
                    read(key, entry)
            elif value is not None and getattr(value, "value", 0) is not None:
                self._report(value, f"{section} must be {content}")

    def _report(self, value: YamlNode, message: str) -> None:
        self.problems.append(Diagnostic(value.location, message))

    def _read_input(self, document: YamlMapping) -> None:
        value, several = document.get("input"), document.get("inputs")
        if value is not None and several is not None:
            self._report(several, "a spec has input: or inputs:, not both")
        elif isinstance(value, YamlMapping):
            sizes = {"batch": 1} | self._sizes(value)
            misspelt = any(key.text not in IMAGE_DIM_NAMES for key, _ in value.entries)
            for size in IMAGE_DIM_NAMES:
                if size not in sizes and value.get(size) is None and not misspelt:
                    self._report(value, f"input needs {size}: it is {EXAMPLE_INPUT} or alike")
            shape = tuple([sizes.get(name, 1) for name in IMAGE_DIM_NAMES])
            self.inputs["input"] = InputDeclaration(IMAGE_DIM_NAMES, shape)
        elif isinstance(several, YamlMapping) and several.entries:
            for key, entry in several.entries:
                self.inputs[key.text] = self._input_declaration(key, entry, alone=len(several.entries) == 1)
        elif value is not None or several is not None:
            message = f"input must be {EXAMPLE_INPUT} or alike, inputs {{name: [1, 128]}} or alike"
            self._report(value or several or document, message)
        if not self.inputs:
            self.inputs["input"] = InputDeclaration(IMAGE_DIM_NAMES, (1, *EXAMPLE_IMAGE.values()))
        for declared in self.inputs.values():
            for each, number in zip(declared.names, declared.shape, strict=True):
                if each:
                    self.sizes.setdefault(each, number)

    def _input_declaration(self, key: YamlScalar, entry: YamlNode, alone: bool) -> InputDeclaration:
        """Read an entry of `inputs`: a list of sizes, a mapping of names to sizes, or a mapping with a list `shape`."""
        element_type, listed = "float", entry
        named: dict[str, int] = {}
        if isinstance(entry, YamlMapping):
            declared_type, listed = entry.get("holds"), entry.get("shape") or entry
            if isinstance(declared_type, YamlScalar) and declared_type.value in ELEMENT_TYPES:
                element_type = declared_type.text
            elif declared_type is not None:
                self._report(declared_type, f"holds must be {' or '.join(ELEMENT_TYPES)}")
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
                return InputDeclaration(tuple(named), tuple(named.values()), element_type)
        shape = tuple(self._size(e, key.text) for e in listed.items) if isinstance(listed, YamlSequence) else ()
        if isinstance(listed, YamlSequence) and not shape:
            return InputDeclaration((), (), element_type)  # a single number
        if not shape:
            message = f"{key.text} must be a list of sizes, the batch first, such as [1, 3, 224, 224]"
            self._report(entry, message + ", or a mapping of names to sizes, such as {batch: 1, sequence: 128}")
        shape = shape or (1,)
        if alone and len(shape) == 4:
            return InputDeclaration(IMAGE_DIM_NAMES, shape, element_type)
        batches = [n for above in self.inputs.values() for name, n in zip(*above[:2], strict=True) if name == "batch"]
        first = "batch" if not batches or batches[0] == shape[0] else ""
        return InputDeclaration((first, *[""] * (len(shape) - 1)), shape, element_type)

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
            problem = "is the input's" if key.text in (*IMAGE_DIM_NAMES, *self.sizes) else "cannot name a setting"
            self._report(key, f"{key.text!r} {problem}" + ("" if key.text.isidentifier() else ": it is no plain word"))
            return
        default, choices = value, ()
        if isinstance(value, YamlMapping):
            setting_default = value.get("default")
            for extra, _ in value.entries:
                if extra.text not in ("default", "choices"):
                    self._report(
                        extra, f"a setting is a default, or {{default: …, choices: […]}}, without {extra.text!r}"
                    )
            if setting_default is None:
                self._report(value, f"the setting {key.text!r} needs a default")
                return
            default = setting_default
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
        """The value of a scalar, or a tuple of values for a list; None for anything else."""
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


def _yaml_text(value: Any) -> str:
    """A setting's value in YAML."""
    if isinstance(value, bool):
        return str(value).lower()
    return "[" + ", ".join(map(_yaml_text, value)) + "]" if isinstance(value, tuple) else str(value)
