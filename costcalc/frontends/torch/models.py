"""The module that a TARGET names, and what it is called with: of torchvision, of timm, or anyone's own.

    torchvision:NAME         any of torchvision.models.list_models()
    timm:NAME                any of timm.list_models()
    package.module:ATTRIBUTE an nn.Module, a class of them, or a function that gives one, or one and an example
    file.py:ATTRIBUTE        the same, in a file

Modules are made without weights: on `meta` where their code allows it, so that nothing is computed or stored.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import io
import os
import re
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from costcalc.core.errors import CostcalcError, did_you_mean
from costcalc.frontends.free_sizes import SymbolicGraph
from costcalc.frontends.torch.export import trace
from costcalc.frontends.torch.program import source_location
from costcalc.frontends.torch.symbols import size_names
from costcalc.ir.graph import DIM_NAMES, Input

_DTYPES = {
    "float": torch.float32, "float32": torch.float32, "fp32": torch.float32, "float16": torch.float16,
    "fp16": torch.float16, "bfloat16": torch.bfloat16, "bf16": torch.bfloat16, "float64": torch.float64,
    "int64": torch.int64, "long": torch.int64, "int32": torch.int32, "int": torch.int32, "uint8": torch.uint8,
    "bool": torch.bool,
}  # fmt: skip
_MAX_SIZE = 10**9  # of a size that an input is asked to have
_INPUT_SYNTAX = (
    "--input is sizes without the batch, such as 3x224x224, or 128:int64 for indices, or ids=128:int64,t=:int64; "
    "or a function gives the module and an example of what it takes"
)


class ExampleInputs(NamedTuple):
    """What a module is called with."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = {}

    @classmethod
    def from_value(cls, value: Any) -> ExampleInputs:
        """A dictionary is keywords, a tuple is arguments, and anything else is the one argument."""
        if isinstance(value, Mapping):
            return cls((), dict(value))
        return cls(value if isinstance(value, tuple) else (value,))

    def tensors(self) -> list[torch.Tensor]:
        """All tensors in it, in order."""
        return [leaf for leaf in pytree.tree_leaves((self.args, dict(self.kwargs))) if _is_tensor(leaf)]

    def sizes(self) -> dict[str, int]:
        """The sizes of its tensors by name, each as the first tensor that has it."""
        found: dict[str, int] = {}
        for tensor, names in zip(self.tensors(), size_names(self.tensors()), strict=True):
            found |= {name: size for name, size in zip(names, tensor.shape, strict=True) if name}
        return found

    def with_sizes(self, sizes: Mapping[str, int], name: str) -> ExampleInputs:
        """With tensors of other sizes. Raises CostcalcError for a size that no tensor has."""
        known = self.sizes()
        for size in sizes:
            if size not in known:
                has = f"its inputs have {', '.join(known)}" if known else "it has no inputs whose sizes have names"
                raise CostcalcError(f"{name} has no size or setting {size!r}{did_you_mean(size, known)}: {has}")

        called = iter(size_names(self.tensors()))

        def resized(leaf: Any) -> Any:
            if not _is_tensor(leaf):
                return leaf
            shape = [sizes.get(n, extent) for n, extent in zip(next(called), leaf.shape, strict=True)]
            return leaf if shape == list(leaf.shape) else leaf.new_zeros(shape)

        return ExampleInputs(*pytree.tree_map(resized, (self.args, dict(self.kwargs))))

    def to(self, device: Any) -> ExampleInputs:
        """The same on a device."""

        def moved(leaf: Any) -> Any:
            if not _is_tensor(leaf) or leaf.device == device:
                return leaf
            return torch.zeros_like(leaf, device=device) if leaf.is_meta else leaf.to(device)

        return ExampleInputs(*pytree.tree_map(moved, (self.args, dict(self.kwargs))))


@dataclass(frozen=True)
class ModelSource:
    """A module that can be made, from settings.

    `make` gives an nn.Module, or one and what it is called with. `settings` are the names that it takes for sure;
    `usual` is what the module is called with where nobody says. `ours`: its code is no user's, and its warnings are
    nobody's business.
    """

    name: str
    create: Callable[..., Any]
    setting_names: Collection[str]
    default_inputs: Callable[[nn.Module, Mapping[str, Any]], Any]
    is_library: bool = False
    is_instance: bool = False  # a module that is there already


class LoadedModel(NamedTuple):
    """A module, and what it is called with."""

    name: str
    module: nn.Module
    example_inputs: ExampleInputs
    settings: Mapping[str, Any]


def trace_target(
    target: str, options: Mapping[str, Any], dynamic_sizes: Sequence[str] = ()
) -> tuple[SymbolicGraph, LoadedModel]:
    """The graph of a target with `given` sizes and settings, plain all, and the sizes named in `dynamic` free.

    `given["input"]` is what --input says. Raises CostcalcError where there is no such model, where it cannot be made,
    and where it cannot be imported, with what to try.
    """
    source = find_source(target)
    error: CostcalcError | None = None
    for device in ("cpu",) if source.is_instance else ("meta", "cpu"):
        try:
            with _quiet(source.is_library):
                model = _load_model(source, options, device)
                found = trace(
                    model.module,
                    model.example_inputs.args,
                    model.example_inputs.kwargs,
                    name=source.name,
                    dynamic_sizes=dynamic_sizes,
                )
            return found, model
        except _InvalidTarget as mistake:
            raise CostcalcError(str(mistake)) from mistake
        except CostcalcError as refusal:
            error = refusal  # what is computed of values, such as a size in a buffer, needs these
    assert error is not None
    raise CostcalcError(_with_advice(error, options))


class _InvalidTarget(CostcalcError):
    """What no other way of making the module would change."""


def find_source(target: str) -> ModelSource:
    """What a target names. Raises CostcalcError, with what may have been meant, where there is no such thing."""
    home, _, name = target.partition(":")
    if home == "torchvision":
        return _torchvision(name)
    return _timm(name) if home == "timm" else _user_source(target, home, name)


def _load_model(source: ModelSource, options: Mapping[str, Any], device: str) -> LoadedModel:
    """The module of a source made on a device, with the example that it is called with."""
    sizes = {n: v for n, v in options.items() if n in DIM_NAMES and n not in source.setting_names}
    if "length" in options and "length" not in source.setting_names:
        sizes["sequence"] = options["length"]
    settings = {n: v for n, v in options.items() if n not in sizes and n not in ("input", "length")}
    if "length" in source.setting_names and "length" in options:
        settings["length"] = options["length"]
    if source.is_instance and settings:
        raise _InvalidTarget(f"{source.name} is made already: it takes no setting {next(iter(settings))!r}")
    made = _create_module(source, settings, device)
    module, example = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(module, nn.Module):
        raise _InvalidTarget(
            f"{source.name} gives what is of type {type(module).__name__}, and no nn.Module, or one and an example"
        )
    module.eval()
    usual = source.default_inputs(module, settings) if example is None else example
    usual = None if usual is None else ExampleInputs.from_value(usual)
    home = next((p for p in module.parameters()), torch.zeros(0, device=device))
    floats = home.dtype if home.dtype.is_floating_point else torch.float32
    text = options.get("input")
    if text is not None:
        usual, planes = _parse_input(str(text), usual, floats, source.name)
        sizes = {**planes, **sizes}
    if usual is None:
        raise _InvalidTarget(f"{source.name}: nobody says what it is called with: {_INPUT_SYNTAX}")
    return LoadedModel(source.name, module, usual.with_sizes(sizes, source.name).to(home.device), settings)


def _create_module(source: ModelSource, settings: Mapping[str, Any], device: str) -> Any:
    """What the source makes, on a device; on `meta` small tensors alone have values where nothing else will do."""
    ways: list[Any] = [torch.device("meta"), _EmptyOnMeta()] if device == "meta" else []
    for way in ways:
        try:
            with way:
                made = source.create(**settings)
            return _to_meta(made)
        except (Exception, SystemExit):  # whatever its code raises: the last way tells
            continue
    if source.is_instance:
        return source.create()
    try:
        return source.create(**settings) if device == "cpu" else _to_meta(source.create(**settings))
    except CostcalcError as error:
        raise _InvalidTarget(str(error)) from error
    except (Exception, SystemExit) as error:
        raise _InvalidTarget(f"{source.name} cannot be made: {_error_summary(error)}") from error


class _EmptyOnMeta(TorchFunctionMode):
    """Tensors that are made for parameters, without values, have none and take no memory; others are as they are."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def _to_meta(made: Any) -> Any:
    if isinstance(made, nn.Module):
        return made.to("meta")
    if isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], nn.Module):
        return made[0].to("meta"), made[1]
    return made


def _error_summary(error: BaseException) -> str:
    """An error of someone's code in one line, and where it is."""
    reason = str(error).strip().partition("\n")[0]
    place = source_location(error)
    return f"{type(error).__name__}{': ' if reason else ''}{reason}" + (f" ({place})" if place else "")


def _with_advice(error: CostcalcError, options: Mapping[str, Any]) -> str:
    """Why a model could not be imported, and what to try."""
    said = str(error)
    if re.search(r"indices|embedding", said) and ":" not in str(options.get("input", ":")):
        said += f"\nindices are whole numbers: --input {options['input']}:int64"
    missing = re.search(r"missing a required argument: '(\w+)'", said)
    if missing:
        said += f"\nit takes several inputs: --input {options.get('input', '3x224x224')},{missing[1]}=…, or all by name"
    return said


@contextmanager
def _quiet(is_library: bool) -> Iterator[None]:
    """What a model's code prints goes beside the output; warnings of libraries are dropped."""
    aside = io.StringIO() if is_library else sys.stderr
    with redirect_stdout(aside), redirect_stderr(aside), warnings.catch_warnings():
        if is_library:
            warnings.simplefilter("ignore")
        yield


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


# -- what --input says --------------------------------------------------------------------------------------------


def _parse_input(
    input_text: str, default_inputs: ExampleInputs | None, float_dtype: torch.dtype, name: str
) -> tuple[ExampleInputs, dict[str, int]]:
    """The example that --input asks for; sizes alone change those of the usual one's image."""
    parts = [part.strip() for part in input_text.split(",")]
    numbers = _parse_sizes(parts[0]) if len(parts) == 1 and re.fullmatch(r"[\dx×]+", parts[0]) else None
    image = (
        next((t for t in default_inputs.tensors() if t.dim() in (4, 5)), None) if default_inputs is not None else None
    )
    if numbers is not None and image is not None and default_inputs is not None:
        names = Input("", tuple(image.shape)).dim_names[1:]
        if len(numbers) == 1:
            numbers *= 2
        if len(numbers) not in (2, len(names)):
            raise _InvalidTarget(
                f"{name} takes {' × '.join(names)}: --input is all of these, or the last two, not {input_text!r}"
            )
        return default_inputs, dict(zip(names[-len(numbers) :], numbers, strict=True))
    arguments, keywords = [], {}
    for part in parts:
        keyword, equals, rest = part.rpartition("=")
        written, _, kind = rest.partition(":")
        if equals and not keyword.isidentifier():
            raise _InvalidTarget(f"{_INPUT_SYNTAX}, not {input_text!r}")
        if kind and kind not in _DTYPES:
            raise _InvalidTarget(
                f"--input: no dtype {kind!r}{did_you_mean(kind, _DTYPES)}: there are {', '.join(_DTYPES)}"
            )
        sizes = _parse_sizes(written) if written or not kind else []  # "t=:int64" is a number for each of the batch
        tensor = torch.zeros(1, *sizes, dtype=_DTYPES[kind] if kind else float_dtype, device="meta")
        if equals:
            keywords[keyword] = tensor
        elif keywords:
            raise _InvalidTarget(
                f"--input: an input without a name cannot follow one with a name, as in {input_text!r}"
            )
        else:
            arguments.append(tensor)
    return ExampleInputs(tuple(arguments), keywords), {}


def _parse_sizes(text: str) -> list[int]:
    sizes = text.lower().replace("×", "x").split("x")
    if not all(re.fullmatch(r"[0-9]{1,10}", size) and 1 <= int(size) <= _MAX_SIZE for size in sizes):
        raise _InvalidTarget(f"{_INPUT_SYNTAX}, not {text!r}")
    return [int(size) for size in sizes]


# -- torchvision --------------------------------------------------------------------------------------------------


def _torchvision(name: str) -> ModelSource:
    models = _import_library("torchvision.models", "torchvision")
    names = models.list_models()
    if name not in names:
        near = did_you_mean(name, names)
        raise CostcalcError(f"torchvision has no model {name!r}{near}: torchvision.models.list_models() has all")
    builder = models.get_model_builder(name)
    taken = inspect.signature(builder).parameters

    def make(**settings: Any) -> nn.Module:
        for setting in settings:
            if setting in ("weights", "weights_backbone", "pretrained", "progress"):
                raise CostcalcError(f"torchvision:{name} is made without weights: it takes no setting {setting!r}")
        none = {setting: None for setting in ("weights", "weights_backbone") if setting in taken}
        module: nn.Module = builder(**none, **settings)
        return module

    def usual(module: nn.Module, settings: Mapping[str, Any]) -> Any:
        home = builder.__module__.split(".")[2]
        if home == "detection":
            transform: Any = module.transform
            sides = transform.fixed_size or (transform.min_size[-1],) * 2
            return ([_zeros(3, *sides)],)
        first = next(iter(models.get_model_weights(builder)), None)
        transforms = first.transforms() if first is not None else None
        sides = getattr(transforms, "crop_size", None) or getattr(transforms, "resize_size", None) or [224]
        side = settings.get("image_size", sides[-1])
        if home == "optical_flow":
            return _zeros(1, 3, 224, 224), _zeros(1, 3, 224, 224)
        if home == "video":
            # mvit's position encodings and swin3d's published figures are of 16 and 32 frames; the others take any.
            return _zeros(1, 3, 32 if name.startswith("swin3d") else 16, side, side)
        return _zeros(1, 3, side, side)

    return ModelSource(f"torchvision:{name}", make, _parameter_names(taken), usual, is_library=True)


def _zeros(*sizes: int) -> torch.Tensor:
    return torch.zeros(*sizes, device="meta")


# -- timm ---------------------------------------------------------------------------------------------------------


def _timm(name: str) -> ModelSource:
    timm = _import_library("timm", "timm")
    if not timm.is_model(name):
        near = did_you_mean(name.partition(".")[0], timm.list_models())
        raise CostcalcError(f"timm has no model {name!r}{near}: timm.list_models() has all")

    def make(**settings: Any) -> nn.Module:
        for setting in ("pretrained", "checkpoint_path"):
            if setting in settings:
                raise CostcalcError(f"timm:{name} is made without weights: it takes no setting {setting!r}")
        module: nn.Module = timm.create_model(name, pretrained=False, **settings)
        return module

    def usual(module: nn.Module, settings: Mapping[str, Any]) -> Any:
        channels, height, width = (getattr(module, "pretrained_cfg", None) or {}).get("input_size", (3, 224, 224))
        side = settings.get("img_size", (height, width))
        height, width = side if isinstance(side, (list, tuple)) else (side, side)
        return _zeros(1, settings.get("in_chans", channels), height, width)

    return ModelSource(f"timm:{name}", make, (), usual, is_library=True)


def _import_library(module: str, package: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name not in (module, package):
            raise
        raise CostcalcError(f"this needs {package}, which is not installed: pip install {package}") from None


# -- anyone's own -------------------------------------------------------------------------------------------------


def _user_source(target: str, module_name: str, attribute: str) -> ModelSource:
    found: Any = _import_module(target, module_name)
    for place, part in enumerate(attribute.split(".")):
        try:
            found = getattr(found, part)
        except AttributeError:
            names = [name for name in dir(found) if not name.startswith("_")]
            owner = ".".join([module_name, *attribute.split(".")[:place]])
            raise CostcalcError(f"{target}: {owner} has no {part!r}{did_you_mean(part, names)}") from None
    if isinstance(found, nn.Module):
        return ModelSource(target, lambda: found, (), _user_example_inputs, is_instance=True)
    if not callable(found):
        raise CostcalcError(
            f"{target} is of type {type(found).__name__}, and no nn.Module, class of them, or function that gives one"
        )
    try:
        taken = _parameter_names(inspect.signature(found).parameters)
    except (TypeError, ValueError):
        taken = ()
    return ModelSource(target, found, taken, _user_example_inputs)


def _user_example_inputs(module: nn.Module, _: Mapping[str, Any]) -> Any:
    for name in ("example_inputs", "example_input_array"):
        example = getattr(module, name, None)
        if example is not None and not callable(example):
            return example
    return None


def _parameter_names(parameters: Mapping[str, inspect.Parameter]) -> tuple[str, ...]:
    loose = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return tuple(name for name, parameter in parameters.items() if parameter.kind not in loose)


def _import_module(target: str, module_name: str) -> ModuleType:
    """The Python module that a target names: as `python -m` finds it, or in a file."""
    if module_name.endswith(".py") and not os.path.isfile(module_name):
        raise CostcalcError(f"{module_name}: there is no such file")
    here = os.getcwd() if not module_name.endswith(".py") else os.path.dirname(os.path.abspath(module_name))
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        with redirect_stdout(sys.stderr):
            return _import_file(module_name) if module_name.endswith(".py") else importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            near = did_you_mean(module_name, ("torchvision", "timm"))
            message = f"no Python module {error.name!r} here, and no architecture of that name{near}"
            raise CostcalcError(f"{target}: there is {message}; `costcalc list` prints these") from None
        raise CostcalcError(f"{target} cannot be imported: {_error_summary(error)}") from error
    except (Exception, SystemExit) as error:
        raise CostcalcError(f"{target} cannot be imported: {_error_summary(error)}") from error


def _import_file(path: str) -> ModuleType:
    name = os.path.basename(path).removesuffix(".py")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(name, module)  # where dataclasses and pickles look for it
    spec.loader.exec_module(module)
    return module
