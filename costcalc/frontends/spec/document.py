"""Parsing of YAML into scalars, sequences and mappings with source locations.

PyYAML parses the YAML syntax, with libyaml where it is available. This module adds the rules of spec files and claims
files: keys are text and unique; anchors, aliases and tags are rejected; and the size and nesting depth are limited, so
that untrusted files can be read safely.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import yaml

from costcalc.core.errors import CostcalcError

# PyYAML without libyaml produces the same result but is several times slower.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

MAX_CHARACTERS = 500_000
MAX_DEPTH = 60


class Location(NamedTuple):
    """A source location: line and column, both counted from 0, and the length in characters."""

    line: int
    column: int
    length: int = 1


class YamlScalar(NamedTuple):
    """A scalar: `value` is the typed value, and `text` is its text before YAML resolves the type."""

    location: Location
    value: Any
    text: str
    verbatim: bool  # text equals the source, so an offset into it is a column offset


class YamlSequence(NamedTuple):
    """A sequence of YAML nodes."""

    location: Location
    items: tuple[YamlNode, ...]


class YamlMapping(NamedTuple):
    """A mapping from scalar keys to YAML nodes, in the order of the file."""

    location: Location
    entries: tuple[tuple[YamlScalar, YamlNode], ...]

    def get(self, name: str) -> YamlNode | None:
        """Return the value of a key, or None if the key is absent."""
        return next((value for key, value in self.entries if key.text == name), None)


YamlNode = YamlScalar | YamlSequence | YamlMapping


class FileKind(NamedTuple):
    """Terms that messages use for a kind of file: its name, its required parts, and the alternative to an alias."""

    noun: str
    required: str
    alias_advice: str


SPEC = FileKind("a spec", "a name, an input and layers", "write a block, and call it")


class Diagnostic(NamedTuple):
    """One mistake in a file."""

    location: Location | None
    message: str


class SpecError(CostcalcError):
    """Raised for a file with mistakes. `problems` lists them with their locations, in the order of the file."""

    def __init__(self, file: str, text: str, problems: Iterable[Diagnostic]) -> None:
        self.file = file
        # Report only the first mistake at a location; later ones are often its consequences.
        first: dict[Any, Diagnostic] = {}
        for problem in problems:
            first.setdefault(problem.location[:2] if problem.location else problem, problem)
        self.problems = tuple(sorted(first.values(), key=lambda p: p.location or Location(-1, 0)))
        lines = text.splitlines()
        super().__init__("\n".join(_format_diagnostic(file, lines, problem) for problem in self.problems))


def _format_diagnostic(file: str, lines: list[str], problem: Diagnostic) -> str:
    if problem.location is None:
        return f"{file}: {problem.message}"
    line, column, length = problem.location
    head = f"{file}:{line + 1}:{column + 1}: {problem.message}"
    if line >= len(lines):
        return head
    number = str(line + 1)
    # Show an excerpt of a long line around the location, with tabs and unprintable characters as single spaces.
    start = max(0, column - 60)
    shown = "".join(c if c.isprintable() else " " for c in lines[line][start : start + 90])
    width = max(1, min(length, len(shown) - (column - start)))
    return f"{head}\n  {number} | {shown}\n  {' ' * len(number)} | {' ' * (column - start)}{'^' * width}"


def read_text(path: str, file_kind: FileKind = SPEC) -> str:
    """Return the text of a file.

    Raises:
        CostcalcError: the file cannot be read, is too large, or is not UTF-8 text.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_CHARACTERS + 1)
    except OSError as error:
        raise CostcalcError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(data) > MAX_CHARACTERS:
        raise CostcalcError(f"{path}: too large for {file_kind.noun}: more than {MAX_CHARACTERS:,} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CostcalcError(f"{path}: not UTF-8 text: byte {error.start} cannot be read") from None


def parse(text: str, file: str, file_kind: FileKind = SPEC) -> tuple[YamlNode, list[Diagnostic]]:
    """Parse `text` and return the document and its recoverable mistakes: duplicate keys and keys that are not text.

    Raises:
        SpecError: the document is empty or has a mistake that is not recoverable. The error lists all mistakes.
        CostcalcError: the text is too large.
    """
    if len(text) > MAX_CHARACTERS:
        raise CostcalcError(f"{file}: too large for {file_kind.noun}: more than {MAX_CHARACTERS:,} characters")
    problems: list[Diagnostic] = []
    keys: list[Diagnostic] = []
    loader = _Loader(text)
    try:
        events = iter(loader.get_event, None)
        document = _Composer(loader, events, problems, keys, text.splitlines(), file_kind).document()
    except yaml.reader.ReaderError:
        found = yaml.reader.Reader.NON_PRINTABLE.search(text)
        position = found.start() if found else 0
        location = Location(text.count("\n", 0, position), position - (text.rfind("\n", 0, position) + 1))
        document, problems = None, [Diagnostic(location, f"the character {text[position]!r} is not allowed in YAML")]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        location = Location(mark.line, mark.column) if mark else Location(0, 0)
        if "nesting depth" in (error.problem or ""):  # libyaml >= 0.2.6 has its own limit and parses ahead
            problems.append(Diagnostic(location, f"nested more than {MAX_DEPTH} deep"))
        else:
            problems.append(
                Diagnostic(location, f"not YAML: {error.problem or error.context}{_hint(error, text, location)}")
            )
        document = None
    finally:
        loader.dispose()
    if problems or document is None:
        empty = Diagnostic(None, f"is empty: {file_kind.noun} needs at least {file_kind.required}")
        raise SpecError(file, text, [*keys, *problems] or [empty])
    return document, keys


def _hint(error: yaml.MarkedYAMLError, text: str, location: Location) -> str:
    lines = text.splitlines()
    line = lines[location.line] if location.line < len(lines) else ""
    if "\t" in line[: location.column + 1]:
        return ": YAML indents with spaces, not tabs"
    if "mapping values are not allowed" in (error.problem or ""):
        return ": is the line before indented less, or does text with ': ' need quotes?"
    if ("{" in line or "[" in line) and "(" in line:
        return ": a call inside {…} or […] must be quoted, such as {a: 'conv2d(8, 3)'}"
    return ""


_YAML_TYPE_NAMES = {bool: "true or false", type(None): "null", int: "a number", float: "a number"}


class _Composer:
    """Builds YAML nodes with locations from parser events. The recursion depth is limited to MAX_DEPTH."""

    def __init__(
        self,
        loader: Any,
        events: Any,
        problems: list[Diagnostic],
        keys: list[Diagnostic],
        lines: list[str],
        file_kind: FileKind,
    ) -> None:
        self.loader, self.events, self.problems, self.keys, self.lines = loader, events, problems, keys, lines
        self.file_kind = file_kind

    def document(self) -> YamlNode | None:
        result = None
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                if result is not None:
                    message = f"{self.file_kind.noun} is one document: a second one starts here"
                    self.problems.append(Diagnostic(_location(event), message))
                    break
                result = self.value(next(self.events), depth=0, flow=False)
        empty = isinstance(result, YamlScalar) and result.value is None
        return None if empty else result

    def value(self, event: Any, depth: int, flow: bool) -> YamlNode:
        location = _location(event)
        if depth > MAX_DEPTH:
            # Stop parsing: libyaml has no depth limit of its own, or a very large one.
            raise yaml.MarkedYAMLError(problem=f"nested more than {MAX_DEPTH} deep", problem_mark=event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            noun, _, instead = self.file_kind
            self.problems.append(Diagnostic(location, f"*{event.anchor}: {noun} has no aliases: {instead}"))
            return YamlScalar(location, None, "", verbatim=False)
        if event.anchor is not None:
            noun, _, instead = self.file_kind
            self.problems.append(Diagnostic(location, f"&{event.anchor}: {noun} has no anchors: {instead}"))
        if getattr(event, "tag", None) is not None:
            self.problems.append(Diagnostic(location, f"{event.tag}: {self.file_kind.noun} has no tags"))
        flow = flow or bool(getattr(event, "flow_style", False))
        if isinstance(event, yaml.SequenceStartEvent):
            items = []
            while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
                items.append(self.value(event, depth + 1, flow))
            return YamlSequence(location, tuple(items))
        if isinstance(event, yaml.MappingStartEvent):
            return self.mapping(location, depth, flow)
        return self.scalar(event, flow)

    def mapping(self, location: Location, depth: int, flow: bool) -> YamlMapping:
        fields: list[tuple[YamlScalar, YamlNode]] = []
        lines: dict[str, int] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self.value(event, depth + 1, flow)
            value = self.value(next(self.events), depth + 1, flow)
            if not isinstance(key, YamlScalar):
                self.problems.append(Diagnostic(key.location, "a key is text, not a list or a mapping"))
            elif not isinstance(key.value, str):
                kind = _YAML_TYPE_NAMES.get(type(key.value), "a date")
                message = f"the key {key.text or 'null'} reads as {kind} in YAML: quote it, '{key.text}'"
                self.keys.append(Diagnostic(key.location, message))
                fields.append((key, value))
            elif key.text in lines:
                first = lines[key.text]
                self.keys.append(
                    Diagnostic(key.location, f"the key {key.text!r} is given twice (first in line {first})")
                )
            else:
                lines[key.text] = key.location.line + 1
                fields.append((key, value))
        return YamlMapping(location, tuple(fields))

    def scalar(self, event: Any, flow: bool) -> YamlScalar:
        text = event.value
        location = _location(event)
        plain = event.style is None or event.style == ""
        tag = self.loader.resolve(yaml.ScalarNode, text, (plain, not plain))
        value: Any = text
        if plain and tag != "tag:yaml.org,2002:str":
            node = yaml.ScalarNode(tag, text, event.start_mark, event.end_mark)
            try:
                value = self.loader.construct_object(node)
            except (ValueError, yaml.YAMLError):
                self.problems.append(Diagnostic(location, f"{text!r} cannot be read as a value: quote it"))
        if flow and plain and text.count("(") > text.count(")"):
            message = "a call inside {…} or […] must be quoted, such as {a: 'conv2d(8, 3)'}"
            self.problems.append(Diagnostic(location, message))
        quote = 0 if plain else 1
        column = location.column + quote
        line = self.lines[location.line] if location.line < len(self.lines) else ""
        exact = event.start_mark.line == event.end_mark.line and line[column : column + len(text)] == text
        return YamlScalar(location._replace(column=column) if exact else location, value, text, exact)


def _location(event: Any) -> Location:
    start, end = event.start_mark, event.end_mark
    return Location(start.line, start.column, max(1, end.column - start.column) if end.line == start.line else 1)
