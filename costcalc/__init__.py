"""costcalc: the cost of a neural network before anyone runs it.

    import costcalc

    graph = costcalc.load("vgg16", height=448, width=320, batch=3, classes=10)
    costs = costcalc.analyze(graph)
    costs.total().params, costs.total().work.macs, costs.by_stage().rows
    costcalc.load("torchvision:resnet50"), costcalc.from_torch(module, example)  # require the extra `torch`
    costcalc.check(graph, device="meta").differences  # compares with torch; requires the extra `torch`

Sizes may be ints, NumPy arrays (a design space) or SymPy expressions (a closed form): see `costcalc.core.sizes`.
The public names are those that `__init__.pyi` imports. Each is loaded when it is first used.
"""

from functools import cache
from importlib import import_module
from typing import Any

__version__ = "0.1.0"


@cache
def _homes() -> dict[str, str]:
    """The module of each public name, as the stub beside this file imports it."""
    import ast
    from pathlib import Path

    stub = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return sorted(_homes())
    if not name.startswith("_") and name in _homes():
        try:
            return getattr(import_module(_homes()[name]), name)
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            message = f"costcalc.{name} requires torch, which is not installed: pip install 'costcalc[torch]'"
            raise ModuleNotFoundError(message, name="torch") from None
    raise AttributeError(f"module 'costcalc' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_homes()])
