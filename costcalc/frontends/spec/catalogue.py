"""Finding a network: by the name of a shipped architecture, or in a file."""

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
    """Return whether a target is the name of a spec file."""
    return name.endswith(_SUFFIXES)


def load(target: str | os.PathLike[str], **options: Any) -> Graph:
    """The graph of `target`: a shipped architecture (`vgg16`), a file (`net.yaml`), or one of its variants
    (`net.yaml:wide`).

    Keywords are the input's sizes (`batch`, `channels`, `height`, `width`) and the spec's settings (`classes`, …);
    sizes and integer settings may be ints, NumPy arrays or SymPy expressions. Raises CostcalcError, saying what is
    wrong and what may have been meant.
    """
    spec, variant = find_spec(os.fspath(target))
    return spec.build(variant, options)


def find_spec(target: str) -> tuple[Spec, str | None]:
    """The spec that `target` names, and the variant (None: the file's own default)."""
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
    """Whether that is the name of a shipped architecture."""
    return _shipped_file(name) is not None


def architectures() -> dict[str, Spec]:
    """The specs of all shipped architectures by name, families in alphabetical order."""
    return {name: spec for file in _spec_files() for spec in [_read_spec(file)] for name in spec.variants}


def shipped_source(name: str) -> str:
    """The YAML that describes a shipped architecture."""
    return find_spec(name)[0].text


def _shipped_file(name: str) -> Spec | None:
    """The shipped spec with a variant of that name; a file whose own name begins it is tried first."""
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
    """Where the specs that ship lie."""
    # In the wheel the specs lie inside the package; in a checkout, beside it.
    package = os.path.dirname(costcalc.__file__)
    inside = os.path.join(package, "specs")
    return inside if os.path.isdir(inside) else os.path.join(os.path.dirname(package), "specs")
