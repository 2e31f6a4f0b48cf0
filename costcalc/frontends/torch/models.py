"""Import of the model that a TARGET names.

Models are created without weights: on the `meta` device if their code allows it, so that nothing is computed or stored,
and otherwise on the CPU.
"""

from __future__ import annotations

import io
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from costcalc.core.axes import INPUT_DIM_NAMES
from costcalc.core.errors import CostcalcError
from costcalc.frontends.free_sizes import SymbolicGraph
from costcalc.frontends.torch.example_inputs import INPUT_EXAMPLES, ExampleInputs, InvalidTargetError, read_input
from costcalc.frontends.torch.export import trace
from costcalc.frontends.torch.sources import ModelSource, error_summary, find_source


class LoadedModel(NamedTuple):
    """A module, and the arguments that it is called with."""

    target: str
    module: nn.Module
    example_inputs: ExampleInputs
    settings: Mapping[str, Any]


def trace_target(
    target: str, options: Mapping[str, Any], dynamic_sizes: Sequence[str] = ()
) -> tuple[SymbolicGraph, LoadedModel]:
    """Create the model that a target names, and import it with the sizes in `dynamic_sizes` as symbols.

    `options` are sizes and settings as plain values, and the text of --input under "input". Raises CostcalcError if
    there is no such model, if it cannot be created, or if it cannot be imported, with advice.
    """
    source = find_source(target)
    error: CostcalcError | None = None
    for device in ("cpu",) if source.is_instance else ("meta", "cpu"):
        try:
            with _redirect_output(source.is_library):
                model = _load_model(source, options, device)
                symbolic = trace(
                    model.module,
                    model.example_inputs.args,
                    model.example_inputs.kwargs,
                    name=target,
                    dynamic_sizes=dynamic_sizes,
                )
            return symbolic, model
        except InvalidTargetError as mistake:
            raise CostcalcError(str(mistake)) from mistake
        except CostcalcError as failure:
            error = failure  # on meta, code that reads values fails, such as a size stored in a buffer
    assert error is not None
    raise CostcalcError(_with_advice(error, options))


def _load_model(source: ModelSource, options: Mapping[str, Any], device: str) -> LoadedModel:
    """Create a module on a device, and its example inputs."""
    sizes = {n: v for n, v in options.items() if n in INPUT_DIM_NAMES and n not in source.setting_names}
    if "length" in options and "length" not in source.setting_names:
        sizes["sequence"] = options["length"]
    settings = {n: v for n, v in options.items() if n not in sizes and n not in ("input", "length")}
    if "length" in source.setting_names and "length" in options:
        settings["length"] = options["length"]
    if source.is_instance and settings:
        raise InvalidTargetError(
            f"{source.target} is a module instance and takes no settings; "
            f"remove {next(iter(settings))!r}, or name the module's class"
        )
    created = _create_module(source, settings, device)
    module, example = created if isinstance(created, tuple) and len(created) == 2 else (created, None)
    if not isinstance(module, nn.Module):
        raise InvalidTargetError(
            f"{source.target} returns an object of type {type(module).__name__}; "
            "it must return an nn.Module, or an nn.Module and its example inputs"
        )
    module.eval()
    default = source.default_inputs(module, settings) if example is None else example
    inputs = None if default is None else ExampleInputs.from_value(default)
    first_parameter = next((p for p in module.parameters()), torch.zeros(0, device=device))
    float_dtype = first_parameter.dtype if first_parameter.dtype.is_floating_point else torch.float32
    input_text = options.get("input")
    if input_text is not None:
        inputs, input_sizes = read_input(str(input_text), inputs, float_dtype, source.target)
        sizes = {**input_sizes, **sizes}
    if inputs is None:
        raise InvalidTargetError(
            f"{source.target}: input shape unknown; pass --input without the batch, such as {INPUT_EXAMPLES}, "
            "or name a function that returns the module and its example inputs"
        )
    inputs = inputs.with_sizes(sizes, source.target).to(first_parameter.device)
    return LoadedModel(source.target, module, inputs, settings)


def _create_module(source: ModelSource, settings: Mapping[str, Any], device: str) -> Any:
    """Create the module of a source, and its example inputs if it defines them, on a device.

    For `meta`, three ways are tried: all tensors on meta, only uninitialized parameters on meta, and the CPU.
    """
    modes: list[Any] = [torch.device("meta"), _EmptyOnMeta()] if device == "meta" else []
    for mode in modes:
        try:
            with mode:
                created = source.create(**settings)
            return _to_meta(created)
        except (Exception, SystemExit):  # the model's code may raise any type; the last way reports it
            continue
    if source.is_instance:
        return source.create()
    try:
        return source.create(**settings) if device == "cpu" else _to_meta(source.create(**settings))
    except CostcalcError as error:
        raise InvalidTargetError(str(error)) from error
    except (Exception, SystemExit) as error:
        raise InvalidTargetError(f"{source.target} cannot be created: {error_summary(error)}") from error


class _EmptyOnMeta(TorchFunctionMode):
    """Create tensors of torch.empty, such as parameters before their initialization, on meta; others as usual."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def _to_meta(created: Any) -> Any:
    if isinstance(created, nn.Module):
        return created.to("meta")
    if isinstance(created, tuple) and len(created) == 2 and isinstance(created[0], nn.Module):
        return created[0].to("meta"), created[1]
    return created


def _with_advice(error: CostcalcError, options: Mapping[str, Any]) -> str:
    """Return why a model cannot be imported, and which --input to try."""
    message = str(error)
    input_text = options.get("input")
    if input_text is not None and ":" not in str(input_text) and re.search(r"indices|embedding", message):
        message += f"\nif the input is indices, give it an integer dtype: --input {input_text}:int64"
    missing = re.search(r"missing a required argument: '(\w+)'", message)
    if missing:
        message += (
            f"\nthe model takes several inputs; pass --input {input_text or '3x224x224'},{missing[1]}=SIZES, "
            "or all of them by name"
        )
    return message


@contextmanager
def _redirect_output(is_library: bool) -> Iterator[None]:
    """Redirect the output of the model's code to stderr; suppress output and warnings of libraries."""
    destination = io.StringIO() if is_library else sys.stderr
    with redirect_stdout(destination), redirect_stderr(destination), warnings.catch_warnings():
        if is_library:
            warnings.simplefilter("ignore")
        yield
