"""Finding a network: by the name of a shipped architecture, or in a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from costcalc.errors import CostcalcError, did_you_mean
from costcalc.graph import Graph
from costcalc.spec.document import read_text
from costcalc.spec.language import Spec


def load(target: str, **sizes_and_settings: Any) -> Graph:
    """The graph of `target`: a shipped architecture (`vgg16`), a file (`net.yaml`), or one of its variants
    (`net.yaml:wide`).

    Keywords are the input's sizes (`batch`, `channels`, `height`, `width`) and the spec's settings (`classes`, …); sizes
    and integer settings may be ints, NumPy arrays or SymPy expressions. Raises CostcalcError, saying what is wrong and
    what may have been meant.
    """
    spec, variant = find(target)
    return spec.build(variant, sizes_and_settings)


def find(target: str) -> tuple[Spec, str | None]:
    """The spec that `target` names, and the variant (None: the file's own default)."""
    path, _, variant = target.partition(":")
    if path.endswith((".yaml", ".yml")):
        return Spec(read_text(Path(path)), path), variant or None
    found = _shipped_file(target)
    if found is not None:
        return found, target
    if Path(target).exists():
        raise CostcalcError(f"{target}: a spec is a .yaml file")
    names = list(architectures())
    near = did_you_mean(target, names)
    raise CostcalcError(f"no architecture {target!r}{near}: `costcalc list` prints all {len(names)}; a file ends in .yaml")


def architectures() -> dict[str, Spec]:
    """The specs of all shipped architectures by name, families in alphabetical order."""
    return {name: spec for path in _files() for spec in [_read(path)] for name in spec.variants}


def shipped_source(name: str) -> str:
    """The YAML that describes a shipped architecture."""
    return find(name)[0].text


def _shipped_file(name: str) -> Spec | None:
    """The shipped spec with a variant of that name; a file whose own name begins it is tried first."""
    for path in sorted(_files(), key=lambda path: not name.startswith(path.stem)):
        spec = _read(path)
        if name in spec.variants:
            return spec
    return None


def _read(path: Path) -> Spec:
    return Spec(read_text(path), f"specs/{path.name}")


def _files() -> Iterator[Path]:
    # In the wheel the specs lie inside the package; in a checkout, beside it.
    package = Path(__file__).parent.parent
    inside = package / "specs"
    yield from sorted((inside if inside.is_dir() else package.parent / "specs").glob("*.yaml"))
