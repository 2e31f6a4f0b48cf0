"""costcalc: what a neural network costs before anyone runs it.

    import costcalc

    graph = costcalc.load("vgg16", height=448, width=320, batch=3, classes=10)
    costs = costcalc.analyze(graph)
    costs.total().params, costs.total().work.macs, costs.by_stage().rows
    costcalc.load("torchvision:resnet50"), costcalc.from_torch(module, example)  # need it, too
    costcalc.check(graph, device="meta").differences  # against torch; needs the extra `torch`

Sizes may be ints, NumPy arrays (a design space) or SymPy expressions (a closed form): see `dims`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from costcalc.analysis import analyze
    from costcalc.conventions import CONVENTIONS
    from costcalc.costs import CostTable, Row, Work
    from costcalc.crosscheck import CrossCheck, check
    from costcalc.errors import CostcalcError
    from costcalc.formula import ClosedForms, closed_forms, explain, forms_of, solve
    from costcalc.graph import Builder, Graph, GraphError, Input, Node
    from costcalc.importers.torch_export import from_torch
    from costcalc.memory import Timeline, timeline
    from costcalc.memorycheck import MemoryCheck, check_memory
    from costcalc.ops import OPS
    from costcalc.reconciliation import reconcile
    from costcalc.rewrites import Rewriting, rewrite
    from costcalc.spec import SpecError, architectures, to_yaml
    from costcalc.targets import load

_HOMES = {
    "analysis": ["analyze"],
    "conventions": ["CONVENTIONS"],
    "costs": ["CostTable", "Row", "Work"],
    "crosscheck": ["CrossCheck", "check"],
    "errors": ["CostcalcError"],
    "formula": ["ClosedForms", "closed_forms", "explain", "forms_of", "solve"],
    "graph": ["Builder", "Graph", "GraphError", "Input", "Node"],
    "importers.torch_export": ["from_torch"],
    "memory": ["Timeline", "timeline"],
    "memorycheck": ["MemoryCheck", "check_memory"],
    "ops": ["OPS"],
    "reconciliation": ["reconcile"],
    "rewrites": ["Rewriting", "rewrite"],
    "spec": ["SpecError", "architectures", "to_yaml"],
    "targets": ["load"],
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "CONVENTIONS",
    "OPS",
    "Builder",
    "ClosedForms",
    "CostTable",
    "CostcalcError",
    "CrossCheck",
    "Graph",
    "GraphError",
    "Input",
    "MemoryCheck",
    "Node",
    "Rewriting",
    "Row",
    "SpecError",
    "Timeline",
    "Work",
    "analyze",
    "architectures",
    "check",
    "check_memory",
    "closed_forms",
    "explain",
    "forms_of",
    "from_torch",
    "load",
    "reconcile",
    "rewrite",
    "solve",
    "timeline",
    "to_yaml",
]


def __getattr__(name: str) -> Any:
    # Each name is imported when it is first used: `costcalc --help` and `import costcalc` cost next to nothing.
    if name in _HOME_OF:
        return getattr(import_module(f"costcalc.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module 'costcalc' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME_OF])
