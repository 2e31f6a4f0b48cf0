"""The claims language: parse a YAML document into claims, each with its own and its inherited fields.

A file is a group of claims: the fields that they share, and `claims`, a list of claims, groups and tables. An inner
field overrides an outer one. This module checks the names of fields; `verify` checks their values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from costcalc.core.errors import did_you_mean
from costcalc.frontends.spec import Spec, SpecError
from costcalc.frontends.spec.document import (
    Diagnostic,
    FileKind,
    Location,
    YamlMapping,
    YamlNode,
    YamlScalar,
    YamlSequence,
    parse,
)

CLAIMS_LANGUAGE = FileKind(
    "a claims file", "a source and claims", "write a group with the fields that its claims share"
)

SELECTION_FIELDS = ("network", "set", "input", "batch", "dtype", "layers", "op", "quantity", "convention", "limit")
SUM_FIELDS = ("plus", "minus")
RATIO_FIELDS = ("over", "more_than", "less_than")
COMPARISON_FIELDS = ("equals", "above", "below")
CASE_FIELDS = ("holds_for", "fails_for", "reproduced_by")
SHARED_FIELDS = (
    *SELECTION_FIELDS,
    *SUM_FIELDS,
    *RATIO_FIELDS,
    *COMPARISON_FIELDS,
    "each",
    *CASE_FIELDS,
    "rule",
    "unit",
    "units",
    "verdict",
    "where",
    "why",
)
CLAIM_FIELDS = (*SHARED_FIELDS, "id", "published", "not_a_cost")
GROUP_FIELDS = (*SHARED_FIELDS, "claims")
TABLE_FIELDS = (*SHARED_FIELDS, "id", "columns", "rows")
FILE_FIELDS = (*GROUP_FIELDS, "source", "networks")

ClaimFields = Mapping[str, YamlNode]


class Claim(NamedTuple):
    """One claim: the published number, and the fields that say what was counted, and how.

    `section` names the table or slide with the claim, and the chapters around it; `where` adds the row or line.
    """

    id: str
    location: Location
    published: YamlScalar
    fields: ClaimFields
    section: str
    where: str


class ClaimsFile:
    """The claims of one source.

    `networks` are the specs that the file itself defines, by name. `problems` are the mistakes of the file's structure;
    `verify` raises SpecError with them and with its own findings.
    """

    def __init__(self, text: str, file: str) -> None:
        self.text, self.file = text, file
        self.name = file.replace("\\", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0]
        self.source = self.name
        self.problems: list[Diagnostic] = []
        self.networks: dict[str, tuple[Spec, str]] = {}
        document, keys = parse(text, file, CLAIMS_LANGUAGE)
        self.problems += keys
        self.claims: tuple[Claim, ...] = ()
        if isinstance(document, YamlMapping):
            self._read(document)
        else:
            message = "a claims file must be a mapping with source, claims and the fields that they share"
            raise SpecError(file, text, [Diagnostic(document.location, message)])

    def _add_problem(self, value: YamlNode, message: str) -> None:
        self.problems.append(Diagnostic(value.location, message))

    def _read(self, document: YamlMapping) -> None:
        source = document.get("source")
        if isinstance(source, YamlScalar) and isinstance(source.value, str):
            self.source = source.value
        elif source is not None:
            self._add_problem(source, "source must be text: author and publication")
        elif all(
            key.text in FILE_FIELDS for key, _ in document.entries
        ):  # the missing key may be a misspelt one, which is reported already
            self.problems.append(Diagnostic(None, "has no source: add `source:` with author and publication"))
        networks = document.get("networks")
        if isinstance(networks, YamlMapping):
            for key, part in networks.entries:
                self._read_network(key, part)
        elif networks is not None:
            self._add_problem(networks, "networks must be a mapping of names to specs, each with input and layers")
        self._check_keys(document, FILE_FIELDS)
        self.claims = tuple(self._group(document, {}, ()))
        seen: dict[str, Claim] = {}
        for claim in self.claims:
            if claim.id in seen:
                first = seen[claim.id].location.line + 1
                message = f"duplicate id {claim.id!r} (first used in line {first}): give each claim its own"
                self.problems.append(Diagnostic(claim.location, message))
            seen.setdefault(claim.id, claim)

    def _read_network(self, key: YamlScalar, part: YamlNode) -> None:
        try:
            spec = Spec(self.text, self.file, key.text, part)
        except SpecError as error:
            self.problems += error.problems
            return
        self.problems += spec.problems
        for variant in spec.variants or [key.text]:
            self.networks[variant] = spec, variant

    def _check_keys(self, fields: YamlMapping, known: tuple[str, ...]) -> None:
        for key, _ in fields.entries:
            if key.text not in known:
                self._add_problem(key, unknown_field_message(key.text, known))

    def _group(self, group: YamlMapping, outer: ClaimFields, section: tuple[str, ...]) -> Iterator[Claim]:
        shared = inherit_fields(outer, group)
        section = self._section(section, group)
        claims = group.get("claims")
        if not isinstance(claims, YamlSequence) or not claims.items:
            message = "claims must be a list, each item starting with '- '"
            if claims is not None:
                self._add_problem(claims, message)
            elif all(key.text in FILE_FIELDS for key, _ in group.entries):
                self._add_problem(group, f"has no claims: {message}")
            return
        for item in claims.items:
            if not isinstance(item, YamlMapping):
                self._add_problem(
                    item, "a claim is a mapping, such as {published: 138 M, network: vgg16, quantity: params}"
                )
            elif item.get("claims") is not None:
                self._check_keys(item, GROUP_FIELDS)
                yield from self._group(item, shared, section)
            elif item.get("rows") is not None or item.get("columns") is not None:
                self._check_keys(item, TABLE_FIELDS)
                yield from self._table(item, shared, section)
            else:
                yield from self._claim(item, shared, section)

    def _table(self, table: YamlMapping, outer: ClaimFields, section: tuple[str, ...]) -> Iterator[Claim]:
        """Yield one claim per cell: the fields of its column override those of its row, and its own override both."""
        columns, rows, prefix = table.get("columns"), table.get("rows"), self._text(table, "id")
        for part, value, example in (
            ("columns", columns, "{params: {quantity: params, unit: k}}"),
            ("rows", rows, "{conv1: {params: 35}}"),
        ):
            if not isinstance(value, YamlMapping) or not value.entries:
                self._add_problem(value or table, f"a table needs {part}, such as {example}")
        if not isinstance(columns, YamlMapping) or not isinstance(rows, YamlMapping):
            return
        shared, section = inherit_fields(outer, table), self._section(section, table)
        for key, column in columns.entries:
            if key.text in CLAIM_FIELDS:
                self._add_problem(key, f"a column cannot be called {key.text!r}: that is a field of claims")
            elif not isinstance(column, YamlMapping):
                self._add_problem(
                    column, "a column is a mapping of the fields its cells share, such as {quantity: params}"
                )
            else:
                self._check_keys(column, SHARED_FIELDS)
        known = (*SHARED_FIELDS, *(key.text for key, _ in columns.entries))
        for key, row in rows.entries:
            if not isinstance(row, YamlMapping):
                self._add_problem(row, "a row is a mapping of columns to published numbers, such as {params: 35}")
                continue
            self._check_keys(row, known)
            fields = inherit_fields(shared, row)
            if row.get("layers") is None and row.get("network") is None:
                fields = {**fields, "layers": key}
            for name, cell in row.entries:
                shares = columns.get(name.text)
                if isinstance(shares, YamlMapping):
                    own = "-".join(filter(None, (prefix, key.text, name.text)))
                    yield from self._claim(cell, inherit_fields(fields, shares), section, key.text, own)

    def _claim(
        self, cell: YamlNode, outer: ClaimFields, section: tuple[str, ...], row: str = "", name: str = ""
    ) -> Iterator[Claim]:
        """Yield the claim of an item of a list or, with a `row` and a `name`, of a cell of a table."""
        published, fields, cell_section = cell, outer, section
        if isinstance(cell, YamlMapping):
            self._check_keys(cell, CLAIM_FIELDS)
            number = cell.get("published")
            if number is None:
                if all(key.text in CLAIM_FIELDS for key, _ in cell.entries):
                    message = "a claim needs published: the number as printed, with its unit, such as 13.6 G"
                    self._add_problem(cell, message)
                return
            published, fields, cell_section = number, inherit_fields(outer, cell), self._section(section, cell)
            name = self._text(cell, "id") or name
        if not isinstance(published, YamlScalar) or published.value is None:
            self._add_problem(published, "published must be one number or phrase, as it is printed")
            return
        where = ", ".join(filter(None, (*section, row, *cell_section[len(section) :])))
        name = name or f"{self.name}-{published.location.line + 1}"
        yield Claim(name, cell.location, published, MappingProxyType(dict(fields)), ", ".join(section), where)

    def _section(self, outer: tuple[str, ...], fields: YamlMapping) -> tuple[str, ...]:
        where = self._text(fields, "where")
        return (*outer, where) if where else outer

    def _text(self, fields: YamlMapping, name: str) -> str:
        value = fields.get(name)
        if value is None:
            return ""
        if not isinstance(value, YamlScalar) or not value.text:
            self._add_problem(value, f"{name} must be text")
            return ""
        return value.text


def unknown_field_message(name: str, known: Iterable[str]) -> str:
    """Return the message for an unknown field."""
    near = did_you_mean(name, known)
    return f"no field {name!r}{near}" + ("" if near else f": there are {', '.join(known)}")


def inherit_fields(outer: ClaimFields, inner: YamlMapping) -> dict[str, YamlNode]:
    """Return the inherited fields, overridden by the inner ones.

    An inner network does not inherit the settings and the input of the outer network.
    """
    own = {key.text: value for key, value in inner.entries if key.text not in ("claims", "columns", "rows")}
    base = {name: value for name, value in outer.items() if "network" not in own or name not in ("set", "input")}
    return base | own
