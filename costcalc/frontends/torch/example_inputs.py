"""The example inputs that a module is called with: defined by the model, or by the option --input."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch.utils import _pytree as pytree

from costcalc.core.errors import CostcalcError, did_you_mean
from costcalc.frontends.torch.symbols import size_names
from costcalc.ir.graph import Input

_DTYPES = {
    "float": torch.float32, "float32": torch.float32, "fp32": torch.float32, "float16": torch.float16,
    "fp16": torch.float16, "bfloat16": torch.bfloat16, "bf16": torch.bfloat16, "float64": torch.float64,
    "int64": torch.int64, "long": torch.int64, "int32": torch.int32, "int": torch.int32, "uint8": torch.uint8,
    "bool": torch.bool,
}  # fmt: skip
_MAX_SIZE = 10**9
INPUT_EXAMPLES = "3x224x224 for an image, 128:int64 for indices or ids=128:int64,t=:int64 for several inputs by name"


class ExampleInputs(NamedTuple):
    """The arguments that a module is called with."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = {}

    @classmethod
    def from_value(cls, value: Any) -> ExampleInputs:
        """Return a dictionary as keyword arguments, a tuple as positional ones, and anything else as one argument."""
        if isinstance(value, Mapping):
            return cls((), dict(value))
        return cls(value if isinstance(value, tuple) else (value,))

    def tensors(self) -> list[torch.Tensor]:
        """Return all tensors in the arguments, in order."""
        return [leaf for leaf in pytree.tree_leaves((self.args, dict(self.kwargs))) if isinstance(leaf, torch.Tensor)]

    def sizes(self) -> dict[str, int]:
        """Return the sizes of the tensors by name; where tensors differ, the last one counts."""
        sizes: dict[str, int] = {}
        for tensor, names in zip(self.tensors(), size_names(self.tensors()), strict=True):
            sizes |= {name: size for name, size in zip(names, tensor.shape, strict=True) if name}
        return sizes

    def with_sizes(self, sizes: Mapping[str, int], model: str) -> ExampleInputs:
        """Return the arguments with tensors of other sizes. Raises CostcalcError for a size that no tensor has."""
        known = self.sizes()
        for size in sizes:
            if size not in known:
                inputs = f"its inputs have {', '.join(known)}" if known else "its inputs have no sizes with names"
                raise CostcalcError(f"{model} has no size or setting {size!r}{did_you_mean(size, known)}: {inputs}")
        remaining_names = iter(size_names(self.tensors()))

        def resize(leaf: Any) -> Any:
            if not isinstance(leaf, torch.Tensor):
                return leaf
            names = next(remaining_names)
            shape = [sizes.get(name, extent) for name, extent in zip(names, leaf.shape, strict=True)]
            return leaf if shape == list(leaf.shape) else leaf.new_zeros(shape)

        return ExampleInputs(*pytree.tree_map(resize, (self.args, dict(self.kwargs))))

    def to(self, device: torch.device) -> ExampleInputs:
        """Return the arguments with all tensors on a device."""

        def move(leaf: Any) -> Any:
            if not isinstance(leaf, torch.Tensor) or leaf.device == device:
                return leaf
            return torch.zeros_like(leaf, device=device) if leaf.is_meta else leaf.to(device)

        return ExampleInputs(*pytree.tree_map(move, (self.args, dict(self.kwargs))))


class InvalidTargetError(CostcalcError):
    """A mistake in a target or its options, which creating the model on another device would not change."""


def read_input(
    input_text: str, default_inputs: ExampleInputs | None, float_dtype: torch.dtype, model: str
) -> tuple[ExampleInputs, dict[str, int]]:
    """Return the example inputs that --input describes, and sizes for them by name.

    Sizes alone ("256x320") are sizes for the image of `default_inputs`, if it has one. Otherwise `input_text` describes
    new inputs, of `float_dtype` if it names no dtype. Raises InvalidTargetError for other texts.
    """
    parts = [part.strip() for part in input_text.split(",")]
    numbers = _read_sizes(parts[0]) if len(parts) == 1 and re.fullmatch(r"[\dx×]+", parts[0]) else None
    images = [] if default_inputs is None else [t for t in default_inputs.tensors() if t.dim() in (4, 5)]
    if numbers is not None and default_inputs is not None and images:
        names = Input("", tuple(images[0].shape)).dim_names[1:]
        if len(numbers) == 1:
            numbers *= 2
        if len(numbers) not in (2, len(names)):
            raise InvalidTargetError(
                f"{model} takes {' × '.join(names)}: --input must be all of these sizes or the last two, "
                f"not {input_text!r}"
            )
        return default_inputs, dict(zip(names[-len(numbers) :], numbers, strict=True))
    args: list[torch.Tensor] = []
    kwargs: dict[str, torch.Tensor] = {}
    for part in parts:
        keyword, equals, description = part.rpartition("=")
        sizes_text, _, dtype = description.partition(":")
        if equals and not keyword.isidentifier():
            raise InvalidTargetError(_syntax_error(input_text))
        if dtype and dtype not in _DTYPES:
            near = did_you_mean(dtype, _DTYPES)
            raise InvalidTargetError(f"--input: no dtype {dtype!r}{near}: there are {', '.join(_DTYPES)}")
        # "t=:int64" is one number for each element of the batch.
        sizes = _read_sizes(sizes_text) if sizes_text or not dtype else []
        tensor = torch.zeros(1, *sizes, dtype=_DTYPES[dtype] if dtype else float_dtype, device="meta")
        if equals:
            kwargs[keyword] = tensor
        elif kwargs:
            raise InvalidTargetError(
                f"--input: inputs without a name must precede those with a name, in {input_text!r}"
            )
        else:
            args.append(tensor)
    return ExampleInputs(tuple(args), kwargs), {}


def _read_sizes(text: str) -> list[int]:
    sizes = text.lower().replace("×", "x").split("x")
    if not all(re.fullmatch(r"[0-9]{1,10}", size) and 1 <= int(size) <= _MAX_SIZE for size in sizes):
        raise InvalidTargetError(_syntax_error(text))
    return [int(size) for size in sizes]


def _syntax_error(text: str) -> str:
    return f"--input must be sizes without the batch, such as {INPUT_EXAMPLES}, not {text!r}"
