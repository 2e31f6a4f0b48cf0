"""The committed reports, the digests of all other results, and the console blocks of the docs are what the code makes."""

from __future__ import annotations

import re
import shlex

import pytest
from click.testing import CliRunner
from report_pages import GENERATOR, ROOT, without_version

from costcalc.cli import cli

PAGES = GENERATOR.pages()
DIGESTS = dict(reversed(line.split("  ")) for line in (ROOT / GENERATOR.DIGESTS).read_text("utf-8").splitlines())
HINT = "run: python reports/generate.py"


@pytest.mark.parametrize("name", PAGES)
def test_a_committed_page_is_what_the_code_makes(name):
    assert (ROOT / name).read_text(encoding="utf-8") == PAGES[name](), HINT


def test_no_report_is_left_over():
    committed = {f"reports/{path.name}" for path in (ROOT / "reports").glob("*.md")}
    generated = {name for name in PAGES if name.startswith("reports/")} | {GENERATOR.CROSS_CHECK}
    assert committed == generated | {"reports/imports.md", "reports/peers.md"}  # by the scripts in benchmarks


def test_every_result_has_a_digest():
    assert list(DIGESTS) == GENERATOR.digested_commands(), HINT


@pytest.mark.parametrize("command", DIGESTS)
def test_a_result_is_what_its_digest_says(command):
    assert GENERATOR.digest(command) == DIGESTS[command], HINT


def test_every_console_block_of_the_docs_is_what_the_command_prints(monkeypatch):
    """A block that starts with `$ costcalc …` shows what that command prints, whole or up to a line `…`."""
    monkeypatch.chdir(ROOT / "docs" / "examples")
    checked = 0
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for block in re.findall(r"```console\n(\$ costcalc .*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
            command, shown = without_version(block).split("\n", 1)
            arguments = shlex.split(command.removeprefix("$ costcalc "))
            done = CliRunner().invoke(cli, arguments, prog_name="costcalc")
            printed = without_version(done.stdout + done.stderr)
            if shown.rstrip().endswith("…"):
                assert printed.startswith(shown.rstrip().removesuffix("…").rstrip("\n") + "\n"), (
                    f"{path.name}: {command}"
                )
            else:
                assert printed.rstrip() == shown.rstrip(), f"{path.name}: {command}"
            checked += 1
    assert checked >= 4
