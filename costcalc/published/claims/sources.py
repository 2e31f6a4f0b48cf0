"""The claims files: those that ship, by the name of their source, and users' own."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

from costcalc.core.errors import CostcalcError, did_you_mean
from costcalc.frontends.spec.catalogue import shipped_folder
from costcalc.frontends.spec.document import read_text
from costcalc.published.claims.claims_file import CLAIMS_LANGUAGE, ClaimsFile


def sources() -> list[str]:
    """Return the names of the sources that ship, in alphabetical order."""
    return sorted(file.removesuffix(".yaml") for file in os.listdir(_claims_directory()) if file.endswith(".yaml"))


def read(source: str) -> ClaimsFile:
    """Read the claims of a shipped source (`cs231n`), or of a file (`slides.yaml`).

    Raises CostcalcError for an unknown source, and SpecError for the mistakes of a file.
    """
    if source.endswith((".yaml", ".yml")):
        return ClaimsFile(read_text(source, CLAIMS_LANGUAGE), source)
    names = sources()
    if source not in names:
        near = did_you_mean(source, names)
        raise CostcalcError(f"no source {source!r}{near}: use one of {', '.join(names)}, or a path that ends in .yaml")
    return ClaimsFile(
        read_text(os.path.join(_claims_directory(), f"{source}.yaml"), CLAIMS_LANGUAGE), f"specs/claims/{source}.yaml"
    )


class Choice(NamedTuple):
    """A claims file, and the ids of the selected claims (None: all)."""

    file: ClaimsFile
    ids: frozenset[str] | None = None


def choose(words: Iterable[str]) -> list[Choice]:
    """Resolve words to claims: each is a shipped source, a file, or the id of a claim of a shipped source.

    Raises CostcalcError for any other word.
    """
    words = list(dict.fromkeys(words))
    names = sources()
    whole = [Choice(read(word)) for word in words if word in names or word.endswith((".yaml", ".yml"))]
    ids = {word for word in words if word not in names and not word.endswith((".yaml", ".yml"))}
    if not ids:
        return whole
    files = [read(name) for name in names]
    known = {claim.id for file in files for claim in file.claims}
    for word in sorted(ids - known):
        near = did_you_mean(word, [*names, *known])
        message = f"no source and no claim {word!r}{near}: use the id of a claim, one of the sources {', '.join(names)}"
        raise CostcalcError(f"{message}, or a path that ends in .yaml")
    parts = [Choice(file, frozenset(ids & {claim.id for claim in file.claims})) for file in files]
    return [*whole, *(part for part in parts if part.ids)]


def _claims_directory() -> str:
    return os.path.join(shipped_folder(), "claims")
