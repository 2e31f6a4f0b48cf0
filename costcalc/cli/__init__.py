"""The command line: the one place that prints, exits, and turns an error into a message.

A command is imported when it is called: `costcalc report` does not pay for the others.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import click

from costcalc import __version__
from costcalc.cli.printing import fail
from costcalc.core.errors import CostcalcError

# In the order in which --help lists them; each module says in its commands' docstrings what they do.
_COMMANDS = {
    name: module
    for module, names in {
        "networks": "list report compare explain field check",
        "memory": "memory",
        "rewriting": "rewrite moves",
        "importing": "import",
        "designs": "stage head residual",
        "formulas": "formula",
        "published": "claims reconcile",
        "reference": "conventions schema spec",
    }.items()
    for name in names.split()
}


class _CommandGroup(click.Group):
    """Commands by name, and errors of users as messages."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        module = import_module(f"costcalc.cli.{_COMMANDS[name]}")
        command: click.Command = getattr(module, f"{name}_" if name in ("list", "import") else name)
        return command

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
    """What a neural network costs before anyone runs it: parameters, MACs, FLOPs, memory, and why.

    A TARGET is a shipped architecture (`costcalc list`), a file such as net.yaml or net.onnx, or a model of torch:
    torchvision:resnet50, timm:convnext_tiny, package.module:attribute. It may have settings of its own,
    vgg16:batch=32,dtype=fp16, and be changed by design moves (`costcalc moves`), vgg16+gap-head+fold-bn.

    \b
    Example:
      costcalc report googlenet --by stage
    """


def main() -> None:
    """Run the command line; a reader that stops reading, such as `| head`, is no error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without × or ≥ is no reason to fail
    try:
        cli.main(prog_name="costcalc")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
