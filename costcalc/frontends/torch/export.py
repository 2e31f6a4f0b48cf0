"""Any torch module as a graph, by torch.export.

The module is traced on tensors without data: nothing is computed, and its parameters, mode, hooks and attributes are
unchanged afterwards. The paths of layers are those of the module's code.
"""

from __future__ import annotations

import io
import logging
import sys
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from typing import Any

import torch
from torch import nn

from costcalc.core.errors import CostcalcError
from costcalc.frontends.free_sizes import SymbolicGraph
from costcalc.frontends.torch.interpreter import ExportInterpreter
from costcalc.frontends.torch.program import export_program
from costcalc.ir.graph import Graph


def from_torch(module: nn.Module, *args: Any, name: str | None = None, **kwargs: Any) -> Graph:
    """Import a torch module that is called as `module(*args, **kwargs)`.

    Nothing is computed and no weights are copied: the module may be on any device, including `meta`, and the example
    inputs must be on the same one. The module is traced in evaluation mode and is unchanged afterwards. Operators that
    costcalc does not model become `unknown` layers, so that totals are lower bounds. `name` is the graph's name, by
    default the module's class.

    Raises:
        CostcalcError: torch cannot export the module; the message has the reason, its location and advice.
    """
    try:
        return trace(module, args, kwargs, name=name).graph
    except CostcalcError as error:
        if len(args) == 1 and isinstance(args[0], (tuple, list)):
            message = (
                f"{error}\nthe module was called with one {type(args[0]).__name__}; "
                "use from_torch(module, *example) to pass its elements as arguments"
            )
            raise CostcalcError(message) from error
        raise


def trace(
    module: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None = None,
    *,
    name: str | None = None,
    dynamic_sizes: Collection[str] = (),
) -> SymbolicGraph:
    """Import a torch module, with the input sizes named in `dynamic_sizes` as symbols where the module allows it.

    The sizes of an image are batch, channels, height and width; of a tensor of indices batch and sequence; of a
    sequence of vectors batch, sequence and features.

    Raises:
        CostcalcError: as `from_torch`, and for a dynamic size that no input has.
    """
    name = name or type(module).__name__
    if any(isinstance(part, torch.jit.ScriptModule) for part in module.modules()):
        raise CostcalcError(
            f"{name} cannot be imported: TorchScript is not supported; import the nn.Module that it was compiled from"
        )
    kwargs = dict(kwargs or {})
    with _preserve_state(module), _silence_torch(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = export_program(module, tuple(args), kwargs, name, dynamic_sizes)
        return ExportInterpreter(module, program, name, dynamic_sizes).run()


@contextmanager
def _preserve_state(module: nn.Module) -> Iterator[None]:
    """Put the module in evaluation mode; restore all of its attributes afterwards."""
    before = [
        (
            vars(part),
            dict(vars(part)),
            [(table, dict(table)) for table in (part._parameters, part._buffers, part._modules)],
        )
        for part in module.modules()
    ]
    module.eval()
    try:
        yield
    finally:
        for attributes, saved, tables in before:
            for table, entries in [*tables, (attributes, saved)]:
                table.clear()
                table.update(entries)


@contextmanager
def _silence_torch() -> Iterator[None]:
    """Suppress torch's log messages and output about modules that it cannot export; the error has the reason."""
    loggers = [logger for name, logger in logging.root.manager.loggerDict.items() if name.partition(".")[0] == "torch"]
    handlers = {handler: handler.level for logger in loggers for handler in getattr(logger, "handlers", ())}
    printed = io.StringIO()
    for handler in handlers:
        handler.setLevel(logging.CRITICAL + 1)
    try:
        with redirect_stderr(printed):
            yield
    finally:
        for handler, level in handlers.items():
            handler.setLevel(level)
    sys.stderr.write(printed.getvalue())  # printed by the module's code during a successful export
