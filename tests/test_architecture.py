"""The architecture page describes the tree as it is: its code map, and the limits of size."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "costcalc"
MODULE_LINES, CLASS_LINES = 500, 250


def code_map():
    """Return the lines of the code map: a folder, and the modules and folders in it."""
    lines = {}
    for folder in sorted(path for path in PACKAGE.rglob("*") if (path / "__init__.py").exists()):
        names = {path.stem for path in folder.glob("*.py")} - {"__init__"}
        if names:
            lines[f"{folder.relative_to(PACKAGE).as_posix()}/"] = ", ".join(sorted(names))
    return [f"- `{folder}`: {names}" for folder, names in lines.items()]


def test_the_code_map_is_the_tree():
    shown = re.search(r"<!-- code map.*?-->\n(.*?)<!-- end of code map -->", PAGE, re.DOTALL)[1]
    assert shown.split("\n- ") == ("\n" + "\n".join(code_map()) + "\n").split("\n- ")


def test_what_is_larger_than_the_limits_is_explained():
    explained = set(re.findall(r"^- `([\w./]+)`", PAGE.partition("## Size limits")[2], re.MULTILINE))
    large = set()
    for path in PACKAGE.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        name = path.relative_to(PACKAGE).as_posix()
        if source.count("\n") > MODULE_LINES:
            large.add(name)
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef) and node.end_lineno - node.lineno >= CLASS_LINES:
                large.add(node.name)
    assert explained == large
