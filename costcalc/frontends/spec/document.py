"""A file's YAML as located values: text, lists and mappings that know the line and column they stand at.

YAML proper is libyaml's business. Here are the rules that specs and files of claims add: keys are text and given once,
there are no aliases, and size and depth are bounded, so that a file from a stranger is safe to read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import yaml

from costcalc.core.errors import CostcalcError

# A PyYAML built without libyaml gives the same result, several times slower.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

MAX_CHARACTERS = 500_000
MAX_DEPTH = 60


class Place(NamedTuple):
    """Where something stands, counted from 0, and how many characters it takes."""

    line: int
    column: int
    length: int = 1


class Scalar(NamedTuple):
    """A plain value: `value` as YAML reads it, `text` as it is written."""

    place: Place
    value: Any
    text: str
    exact: bool  # text stands in the file character by character: an offset into it is a column


class Items(NamedTuple):
    """A list."""

    place: Place
    items: tuple[Value, ...]


class Fields(NamedTuple):
    """A mapping; keys are text."""

    place: Place
    items: tuple[tuple[Scalar, Value], ...]

    def get(self, name: str) -> Value | None:
        """The value under a key, if it is there."""
        return next((value for key, value in self.items if key.text == name), None)


Value = Scalar | Items | Fields


class Language(NamedTuple):
    """What a file is called in messages, what it cannot do without, and what to write in place of an alias."""

    noun: str
    needs: str
    instead: str


SPEC = Language("a spec", "a name, an input and layers", "write a block, and call it")


class Problem(NamedTuple):
    """One mistake in a file."""

    place: Place | None
    message: str


class SpecError(CostcalcError):
    """A file with mistakes: `problems` are all of them, in the order of the file, each with its place."""

    def __init__(self, file: str, text: str, problems: Iterable[Problem]) -> None:
        self.file = file
        # One layer, one report: what else goes wrong at a place follows from the first thing that did.
        first: dict[Any, Problem] = {}
        for problem in problems:
            first.setdefault(problem.place[:2] if problem.place else problem, problem)
        self.problems = tuple(sorted(first.values(), key=lambda p: p.place or Place(-1, 0)))
        lines = text.splitlines()
        super().__init__("\n".join(_show(file, lines, problem) for problem in self.problems))


def _show(file: str, lines: list[str], problem: Problem) -> str:
    if problem.place is None:
        return f"{file}: {problem.message}"
    line, column, length = problem.place
    head = f"{file}:{line + 1}:{column + 1}: {problem.message}"
    if line >= len(lines):
        return head
    number = str(line + 1)
    # Long lines are cut round the place, tabs are one column wide, and nothing unprintable reaches a terminal.
    start = max(0, column - 60)
    shown = "".join(c if c.isprintable() else " " for c in lines[line][start : start + 90])
    width = max(1, min(length, len(shown) - (column - start)))
    return f"{head}\n  {number} | {shown}\n  {' ' * len(number)} | {' ' * (column - start)}{'^' * width}"


def read_text(path: str, language: Language = SPEC) -> str:
    """The text of a file. Raises CostcalcError when it cannot be read or is too large."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_CHARACTERS + 1)
    except OSError as error:
        raise CostcalcError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(data) > MAX_CHARACTERS:
        raise CostcalcError(f"{path}: too large for {language.noun}: more than {MAX_CHARACTERS:,} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CostcalcError(f"{path}: not UTF-8 text: byte {error.start} cannot be read") from None


def parse(text: str, file: str, language: Language = SPEC) -> tuple[Value, list[Problem]]:
    """The one document in `text`, and mistakes that do not keep it from being read: keys that are no text, or double.

    Raises SpecError, naming `file`, for all mistakes when it cannot.
    """
    if len(text) > MAX_CHARACTERS:
        raise CostcalcError(f"{file}: too large for {language.noun}: more than {MAX_CHARACTERS:,} characters")
    problems: list[Problem] = []
    keys: list[Problem] = []
    loader = _Loader(text)
    try:
        events = iter(loader.get_event, None)
        document = _Composer(loader, events, problems, keys, text.splitlines(), language).document()
    except yaml.reader.ReaderError:
        found = yaml.reader.Reader.NON_PRINTABLE.search(text)
        position = found.start() if found else 0
        place = Place(text.count("\n", 0, position), position - (text.rfind("\n", 0, position) + 1))
        document, problems = None, [Problem(place, f"the character {text[position]!r} is not allowed in YAML")]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(mark.line, mark.column) if mark else Place(0, 0)
        if "nesting depth" in (error.problem or ""):  # libyaml from 0.2.6 on has a limit of its own, and reads ahead
            problems.append(Problem(place, f"nested more than {MAX_DEPTH} deep"))
        else:
            problems.append(Problem(place, f"not YAML: {error.problem or error.context}{_hint(error, text, place)}"))
        document = None
    finally:
        loader.dispose()
    if problems or document is None:
        empty = Problem(None, f"is empty: {language.noun} needs at least {language.needs}")
        raise SpecError(file, text, [*keys, *problems] or [empty])
    return document, keys


def _hint(error: yaml.MarkedYAMLError, text: str, place: Place) -> str:
    lines = text.splitlines()
    line = lines[place.line] if place.line < len(lines) else ""
    if "\t" in line[: place.column + 1]:
        return ": YAML indents with spaces, not tabs"
    if "mapping values are not allowed" in (error.problem or ""):
        return ": is the line before indented less, or does text with ': ' need quotes?"
    if ("{" in line or "[" in line) and "(" in line:
        return ": a call inside {…} or […] must be quoted, such as {a: 'conv2d(8, 3)'}"
    return ""


_READ_AS = {bool: "true or false", type(None): "null", int: "a number", float: "a number"}


class _Composer:
    """Builds located values from libyaml's events, without recursion deeper than MAX_DEPTH."""

    def __init__(
        self,
        loader: Any,
        events: Any,
        problems: list[Problem],
        keys: list[Problem],
        lines: list[str],
        language: Language,
    ) -> None:
        self.loader, self.events, self.problems, self.keys, self.lines = loader, events, problems, keys, lines
        self.language = language

    def document(self) -> Value | None:
        result = None
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                if result is not None:
                    message = f"{self.language.noun} is one document: a second one starts here"
                    self.problems.append(Problem(_place(event), message))
                    break
                result = self.value(next(self.events), depth=0, flow=False)
        empty = isinstance(result, Scalar) and result.value is None
        return None if empty else result

    def value(self, event: Any, depth: int, flow: bool) -> Value:
        place = _place(event)
        if depth > MAX_DEPTH:
            # Nothing deeper is read: libyaml itself follows nesting without end, or nearly so.
            raise yaml.MarkedYAMLError(problem=f"nested more than {MAX_DEPTH} deep", problem_mark=event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            noun, _, instead = self.language
            self.problems.append(Problem(place, f"*{event.anchor}: {noun} has no aliases: {instead}"))
            return Scalar(place, None, "", exact=False)
        if event.anchor is not None:
            noun, _, instead = self.language
            self.problems.append(Problem(place, f"&{event.anchor}: {noun} has no anchors: {instead}"))
        if getattr(event, "tag", None) is not None:
            self.problems.append(Problem(place, f"{event.tag}: {self.language.noun} has no tags"))
        flow = flow or bool(getattr(event, "flow_style", False))
        if isinstance(event, yaml.SequenceStartEvent):
            items = []
            while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
                items.append(self.value(event, depth + 1, flow))
            return Items(place, tuple(items))
        if isinstance(event, yaml.MappingStartEvent):
            return self.mapping(place, depth, flow)
        return self.scalar(event, flow)

    def mapping(self, place: Place, depth: int, flow: bool) -> Fields:
        fields: list[tuple[Scalar, Value]] = []
        lines: dict[str, int] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self.value(event, depth + 1, flow)
            value = self.value(next(self.events), depth + 1, flow)
            if not isinstance(key, Scalar):
                self.problems.append(Problem(key.place, "a key is text, not a list or a mapping"))
            elif not isinstance(key.value, str):
                kind = _READ_AS.get(type(key.value), "a date")
                message = f"the key {key.text or 'null'} reads as {kind} in YAML: quote it, '{key.text}'"
                self.keys.append(Problem(key.place, message))
                fields.append((key, value))
            elif key.text in lines:
                first = lines[key.text]
                self.keys.append(Problem(key.place, f"the key {key.text!r} is given twice (first in line {first})"))
            else:
                lines[key.text] = key.place.line + 1
                fields.append((key, value))
        return Fields(place, tuple(fields))

    def scalar(self, event: Any, flow: bool) -> Scalar:
        text = event.value
        place = _place(event)
        plain = event.style is None or event.style == ""
        tag = self.loader.resolve(yaml.ScalarNode, text, (plain, not plain))
        value: Any = text
        if plain and tag != "tag:yaml.org,2002:str":
            node = yaml.ScalarNode(tag, text, event.start_mark, event.end_mark)
            try:
                value = self.loader.construct_object(node)
            except (ValueError, yaml.YAMLError):
                self.problems.append(Problem(place, f"{text!r} cannot be read as a value: quote it"))
        if flow and plain and text.count("(") > text.count(")"):
            message = "a call inside {…} or […] must be quoted, such as {a: 'conv2d(8, 3)'}"
            self.problems.append(Problem(place, message))
        quote = 0 if plain else 1
        column = place.column + quote
        line = self.lines[place.line] if place.line < len(self.lines) else ""
        exact = event.start_mark.line == event.end_mark.line and line[column : column + len(text)] == text
        return Scalar(place._replace(column=column) if exact else place, value, text, exact)


def _place(event: Any) -> Place:
    start, end = event.start_mark, event.end_mark
    return Place(start.line, start.column, max(1, end.column - start.column) if end.line == start.line else 1)
