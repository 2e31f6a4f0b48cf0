"""The modules that a TARGET can name: models of torchvision and timm, and Python code of the user.

torchvision:NAME         a name in torchvision.models.list_models()
timm:NAME                a name in timm.list_models()
package.module:ATTRIBUTE an nn.Module, a class of them, or a function that returns one, or one and its example inputs
file.py:ATTRIBUTE        the same, in a file
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
import warnings
from collections.abc import Callable, Collection, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import nn

from costcalc.core.axes import EXAMPLE_IMAGE
from costcalc.core.errors import CostcalcError, did_you_mean
from costcalc.frontends.torch.program import source_location


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """How to create a module from its settings, and its default inputs.

    `create` returns a module, or a module and its example inputs.
    """

    target: str
    create: Callable[..., Any]
    setting_names: Collection[str]  # settings that `create` is known to accept
    default_inputs: Callable[[nn.Module, Mapping[str, Any]], Any]
    is_library: bool = False  # whose warnings do not concern the user
    is_instance: bool = False  # `create` returns a module that exists already


def find_source(target: str) -> ModelSource:
    """Return the source of the model that a target names. Raises CostcalcError if there is none, with near names."""
    library, _, name = target.partition(":")
    if library in LIBRARY_SOURCES:
        return LIBRARY_SOURCES[library](name)
    return _user_source(target, library, name)


def error_summary(error: BaseException) -> str:
    """Return an error of the user's code in one line, with its source location."""
    reason = str(error).strip().partition("\n")[0]
    location = source_location(error)
    return f"{type(error).__name__}{': ' if reason else ''}{reason}" + (f" ({location})" if location else "")


# -- libraries ----------------------------------------------------------------------------------------------------


def _torchvision(name: str) -> ModelSource:
    target = f"torchvision:{name}"
    models = _import_library("torchvision.models", target)
    names = models.list_models()
    if name not in names:
        near = did_you_mean(name, names)
        raise CostcalcError(f"torchvision has no model {name!r}{near}; torchvision.models.list_models() lists all")
    builder = models.get_model_builder(name)
    parameters = inspect.signature(builder).parameters

    def create(**settings: Any) -> nn.Module:
        _reject_weights(target, settings, ("weights", "weights_backbone", "pretrained", "progress"))
        no_weights = {setting: None for setting in ("weights", "weights_backbone") if setting in parameters}
        module: nn.Module = builder(**no_weights, **settings)
        return module

    def default_inputs(module: nn.Module, settings: Mapping[str, Any]) -> Any:
        family = builder.__module__.split(".")[2]
        if family == "detection":
            transform: Any = module.transform
            plane = transform.fixed_size or (transform.min_size[-1],) * 2
            return ([_zeros(3, *plane)],)
        if family == "optical_flow":
            return _zeros(1, *EXAMPLE_IMAGE.values()), _zeros(1, *EXAMPLE_IMAGE.values())
        weights = next(iter(models.get_model_weights(builder)), None)
        transforms = weights.transforms() if weights is not None else None
        plane = getattr(transforms, "crop_size", None) or getattr(transforms, "resize_size", None)
        side = settings.get("image_size", plane[-1] if plane else EXAMPLE_IMAGE["width"])
        if family == "video":
            # mvit's position encodings and swin3d's published figures are for 16 and 32 frames; the others take any.
            return _zeros(1, 3, 32 if name.startswith("swin3d") else 16, side, side)
        return _zeros(1, 3, side, side)

    return ModelSource(
        target=target,
        create=create,
        setting_names=_parameter_names(parameters),
        default_inputs=default_inputs,
        is_library=True,
    )


def _timm(name: str) -> ModelSource:
    target = f"timm:{name}"
    timm = _import_library("timm", target)
    if not timm.is_model(name):
        near = did_you_mean(name.partition(".")[0], timm.list_models())
        raise CostcalcError(f"timm has no model {name!r}{near}; timm.list_models() lists all")

    def create(**settings: Any) -> nn.Module:
        _reject_weights(target, settings, ("pretrained", "checkpoint_path"))
        module: nn.Module = timm.create_model(name, pretrained=False, **settings)
        return module

    def default_inputs(module: nn.Module, settings: Mapping[str, Any]) -> Any:
        configuration = getattr(module, "pretrained_cfg", None) or {}
        channels, *plane = configuration.get("input_size", EXAMPLE_IMAGE.values())
        plane = settings.get("img_size", plane)
        height, width = plane if isinstance(plane, (list, tuple)) else (plane, plane)
        return _zeros(1, settings.get("in_chans", channels), height, width)

    return ModelSource(target=target, create=create, setting_names=(), default_inputs=default_inputs, is_library=True)


LIBRARY_SOURCES: Mapping[str, Callable[[str], ModelSource]] = {"torchvision": _torchvision, "timm": _timm}


def _zeros(*sizes: int) -> torch.Tensor:
    return torch.zeros(*sizes, device="meta")


def _reject_weights(target: str, settings: Mapping[str, Any], names: Collection[str]) -> None:
    for name in names:
        if name in settings:
            raise CostcalcError(f"{target} is created without weights; remove the setting {name!r}")


def _import_library(module: str, target: str) -> Any:
    package = module.partition(".")[0]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name not in (module, package):
            raise
        raise CostcalcError(f"{target} needs {package}, which is not installed: pip install {package}") from None


# -- Python code of the user --------------------------------------------------------------------------------------


def _user_source(target: str, module_name: str, attribute: str) -> ModelSource:
    value: Any = _import_module(target, module_name)
    owner = module_name
    for name in attribute.split("."):
        try:
            value = getattr(value, name)
        except AttributeError:
            near = did_you_mean(name, [public for public in dir(value) if not public.startswith("_")])
            raise CostcalcError(f"{target}: {owner} has no attribute {name!r}{near}") from None
        owner = f"{owner}.{name}"
    if isinstance(value, nn.Module):
        return ModelSource(
            target=target,
            create=lambda: value,
            setting_names=(),
            default_inputs=_user_example_inputs,
            is_instance=True,
        )
    if not callable(value):
        raise CostcalcError(
            f"{target} is of type {type(value).__name__}; "
            "name an nn.Module, a class of nn.Module, or a function that returns an nn.Module"
        )
    try:
        setting_names = _parameter_names(inspect.signature(value).parameters)
    except (TypeError, ValueError):
        setting_names = ()
    return ModelSource(target=target, create=value, setting_names=setting_names, default_inputs=_user_example_inputs)


def _user_example_inputs(module: nn.Module, _: Mapping[str, Any]) -> Any:
    """Return the example inputs that a module declares, under the name that Lightning uses or a like one."""
    for name in ("example_inputs", "example_input_array"):
        example = getattr(module, name, None)
        if example is not None and not callable(example):
            return example
    return None


def _parameter_names(parameters: Mapping[str, inspect.Parameter]) -> tuple[str, ...]:
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return tuple(name for name, parameter in parameters.items() if parameter.kind not in variadic)


def _import_module(target: str, module_name: str) -> ModuleType:
    """Import the Python module that a target names: from the working directory or sys.path, or from a file."""
    is_file = module_name.endswith(".py")
    if is_file and not os.path.isfile(module_name):
        raise CostcalcError(f"{module_name}: no such file")
    folder = os.path.dirname(os.path.abspath(module_name)) if is_file else os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        with redirect_stdout(sys.stderr):
            return _import_file(module_name) if is_file else importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            near = did_you_mean(module_name, LIBRARY_SOURCES)
            raise CostcalcError(
                f"{target}: no Python module {error.name!r} and no shipped architecture of that name{near}; "
                "`costcalc list` shows the architectures"
            ) from None
        raise CostcalcError(f"{target} cannot be imported: {error_summary(error)}") from error
    except (Exception, SystemExit) as error:
        raise CostcalcError(f"{target} cannot be imported: {error_summary(error)}") from error


def _import_file(path: str) -> ModuleType:
    name = os.path.basename(path).removesuffix(".py")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(name, module)  # dataclasses and pickle look the module up there
    spec.loader.exec_module(module)
    return module
