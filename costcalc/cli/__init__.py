"""The command line: it alone prints, exits, and turns errors into messages.

Each command is a module of this package with a click command `command`. A module is imported when its command is
called, so that `costcalc report` does not pay for the others.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import click

from costcalc import __version__
from costcalc.cli.printing import fail
from costcalc.core.errors import CostcalcError, did_you_mean

# In the order of --help.
COMMANDS = (
    *("list", "report", "compare", "explain", "receptive-field", "check", "memory", "rewrite", "moves", "import"),
    *("stage", "head", "residual", "formula", "claims", "reconcile", "conventions", "schema", "spec"),
)
_ALIASES = {"field": "receptive-field"}  # not listed by --help
_MODULES = {"import": "import_"}  # where a command's name is no module's name


class _CommandGroup(click.Group):
    """Commands that are imported when they are called; errors of the user end the program with a message."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        name = _ALIASES.get(name, name)
        if name not in COMMANDS:
            return None
        module = import_module(f"costcalc.cli.{_MODULES.get(name, name.replace('-', '_'))}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not args[0].startswith("-") and args[0] not in (*COMMANDS, *_ALIASES):
            ctx.fail(f"No such command {args[0]!r}{did_you_mean(args[0], COMMANDS)}.")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CostcalcError as error:
            fail(str(error))
        except KeyboardInterrupt:
            fail("interrupted")


@click.group(cls=_CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="costcalc %(version)s")
def cli() -> None:
    """Calculate what a neural network costs without running it: parameters, MACs, FLOPs, memory, and why.

    A TARGET is an architecture that ships with costcalc (`costcalc list`), a file such as net.yaml or net.onnx, or a
    PyTorch model: torchvision:resnet50, timm:convnext_tiny, package.module:attribute. Settings follow after a colon,
    vgg16:batch=32,dtype=fp16, and design moves (`costcalc moves`) after a plus sign, vgg16+gap-head+fold-bn.

    \b
    Example:
      costcalc report googlenet --by stage
    """


def main() -> None:
    """Run the command line. It is no error if the reader of a pipe stops reading, as `| head` does."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # for terminals whose encoding has no × or ≥
    try:
        cli.main(prog_name="costcalc")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
