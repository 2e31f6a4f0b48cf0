"""Lookup of networks by the name of a shipped architecture or the path of a spec file."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import costcalc
from costcalc.core.errors import CostcalcError, UnknownArchitecture, did_you_mean
from costcalc.frontends.spec.document import read_text
from costcalc.frontends.spec.language import Spec
from costcalc.ir.graph import Graph

_SUFFIXES = (".yaml", ".yml")


def is_spec_file(name: str) -> bool:
    """Return whether a target has the suffix of a spec file."""
    return name.endswith(_SUFFIXES)


def load(target: str | os.PathLike[str], **options: Any) -> Graph:
    """Load the graph of a shipped architecture (`vgg16`), a spec file (`net.yaml`) or a variant (`net.yaml:wide`).

    Keyword arguments set the sizes of the input (`batch`, `channels`, `height`, `width`) and the settings of the spec
    (`classes`, …). Sizes and integer settings can be ints, NumPy arrays or SymPy expressions.

    Raises:
        CostcalcError: the target does not exist, the spec has a mistake, or an option is unknown or invalid.
    """
    spec, variant = find_spec(os.fspath(target))
    return spec.build(variant, options)


def find_spec(target: str) -> tuple[Spec, str | None]:
    """Return the spec and the variant that `target` names. The variant is None for the default of a file.

    Raises:
        CostcalcError: no spec file or shipped architecture has this name, or the file cannot be read or parsed.
    """
    path, _, variant = target.partition(":")
    if is_spec_file(path):
        return Spec(read_text(path), path), variant or None
    found = _shipped_file(target)
    if found is not None:
        return found, target
    if os.path.exists(target):
        raise CostcalcError(f"{target}: a spec is a .yaml file")
    names = list(architectures())
    near = did_you_mean(target, names)
    if "+" in target and target.partition("+")[0] in names:
        raise CostcalcError(f"{target}: design moves are made by `rewrite`, on a graph that is loaded without them")
    raise UnknownArchitecture(
        f"no architecture {target!r}{near}: `costcalc list` prints all {len(names)}; a file ends in .yaml or "
        ".onnx; a model of torch is torchvision:NAME, timm:NAME or package.module:attribute"
    )


def is_shipped(name: str) -> bool:
    """Return whether `name` is the name of a shipped architecture."""
    return _shipped_file(name) is not None


def architectures() -> dict[str, Spec]:
    """Return the specs of all shipped architectures by name, with families in alphabetical order."""
    return {name: spec for file in _spec_files() for spec in [_read_spec(file)] for name in spec.variants}


def shipped_source(name: str) -> str:
    """Return the YAML text of the spec of a shipped architecture."""
    return find_spec(name)[0].text


def _shipped_file(name: str) -> Spec | None:
    """Return the shipped spec with a variant `name`, or None. Files whose stem is a prefix of `name` come first."""
    for file in sorted(_spec_files(), key=lambda file: not name.startswith(file.removesuffix(".yaml"))):
        spec = _read_spec(file)
        if name in spec.variants:
            return spec
    return None


@cache
def _read_spec(file: str) -> Spec:
    return Spec(read_text(os.path.join(shipped_folder(), file)), f"specs/{file}")


def _spec_files() -> list[str]:
    return sorted(file for file in os.listdir(shipped_folder()) if file.endswith(".yaml"))


def shipped_folder() -> str:
    """Return the folder of the shipped specs."""
    # A wheel contains the specs inside the package; in a checkout, their folder is next to the package.
    package = os.path.dirname(costcalc.__file__)
    inside = os.path.join(package, "specs")
    return inside if os.path.isdir(inside) else os.path.join(os.path.dirname(package), "specs")
