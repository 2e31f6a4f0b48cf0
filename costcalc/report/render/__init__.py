"""Renderers: a document as text, Markdown, LaTeX, CSV, JSON or Python code, one module a format.

`FORMATS` is the one list of formats. A renderer is imported when it is used, so that the command line can read the list
without loading any of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from costcalc.report.document import Document


class Format(NamedTuple):
    """A format: the module of its renderer, and the suffixes of its files."""

    module: str
    suffixes: tuple[str, ...]


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "text": Format("text", (".txt",)),
        "markdown": Format("markdown", (".md",)),
        "csv": Format("csv", (".csv",)),
        "json": Format("json", (".json",)),
        "latex": Format("latex", (".tex",)),
    }
)
FORMULA_FORMATS: Mapping[str, Format] = MappingProxyType({**FORMATS, "python": Format("python", (".py",))})


def render(document: Document, output_format: str) -> str:
    """Format a document, ending in a line feed.

    `output_format` is one of `FORMATS` or, for a document of formulas, of `FORMULA_FORMATS`.
    """
    renderer = import_module(f"costcalc.report.render.{FORMULA_FORMATS[output_format].module}")
    text: str = renderer.render(document)
    return text
