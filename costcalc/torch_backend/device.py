"""The device that a network runs on, and its description."""

from __future__ import annotations

import platform
from typing import NamedTuple

import torch

from costcalc.core.devices import DEVICES, Device
from costcalc.core.errors import CostcalcError, did_you_mean
from costcalc.core.torch_versions import untested_warning

_DTYPES = {"fp64": torch.float64, "fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class Environment(NamedTuple):
    """The hardware and software that a number was measured with."""

    device: Device
    name: str  # of the hardware
    dtype: str
    torch: str  # its version

    def __str__(self) -> str:
        return f"{self.dtype}, {self.description}"

    @property
    def description(self) -> str:
        """The device, its hardware and the torch version."""
        return f"{self.device} ({self.name}), torch {self.torch}"

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences for readers of the numbers, such as that this torch is newer than the tested releases."""
        sentence = untested_warning(self.torch)
        return () if sentence is None else (sentence,)


def environment(device: str = "auto", dtype: str = "fp32") -> Environment:
    """Return the environment of a device; `auto` is a GPU where there is one, else the CPU.

    On `meta` nothing is computed or stored: shapes, FLOPs and sizes are exact, times do not exist. Raises CostcalcError
    for a device that this machine does not have, and for a dtype that networks do not run in.
    """
    if dtype not in _DTYPES:
        raise CostcalcError(f"torch runs networks in {', '.join(_DTYPES)}, not in {dtype}")
    missing = {"cuda": not torch.cuda.is_available(), "mps": not torch.backends.mps.is_available()}
    has = {name: not missing.get(name, False) for name in DEVICES}
    if device == "auto":
        device = next(name for name, available in has.items() if available)
    if device not in has:
        raise CostcalcError(f"no device {device!r}{did_you_mean(device, has)}: there are auto, {', '.join(has)}")
    if not has[device]:
        others = ", ".join(name for name, available in has.items() if available)
        raise CostcalcError(f"torch {torch.__version__} finds no {device} device here; use {others}")
    return Environment(device, _hardware(device), dtype, torch.__version__)


def torch_dtype(dtype: str) -> torch.dtype:
    """Return the torch dtype of that name."""
    return _DTYPES[dtype]


def _hardware(device: str) -> str:
    match device:
        case "cuda":
            return torch.cuda.get_device_name()
        case "meta":
            return "nothing is computed"
        case _:
            return f"{_processor()}, {torch.get_num_threads()} threads" if device == "cpu" else platform.machine()


def _processor() -> str:
    """Return the processor's name. On Linux, `platform` knows only its architecture."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
