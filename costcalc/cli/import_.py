"""`costcalc import`: write an imported network as a spec."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from costcalc.cli.options import check_spec_path, spec_options
from costcalc.cli.printing import write
from costcalc.cli.target import Target, read_target
from costcalc.core.errors import CostcalcError

if TYPE_CHECKING:
    from costcalc.ir.graph import Graph

_SIZE_FIELDS = ("sizes", "size", "start", "end")  # fields of ops that contain sizes of tensors


@click.command("import")
@click.argument("target")
@click.option("-o", "--output", type=click.Path(), metavar="FILE", help="Write to FILE, whose name ends in .yaml.")
@spec_options
def command(target: str, output: str | None, **target_options: Any) -> None:
    """Write a network as a spec.

    Other commands read the spec without the model it was imported from. Layers have the same names as in the model.
    Repeated modules become blocks, and their differences become arguments. Input sizes that the network does not
    fix have names in the spec, so that they can be set.

    \b
    Examples:
      costcalc import vgg16+gap-head -o slim.yaml
      costcalc import torchvision:resnet50 -o resnet50.yaml && costcalc report resnet50.yaml
    """
    from costcalc.frontends.spec.nested_yaml import to_spec

    check_spec_path(output, "--output")
    network = read_target(target, **target_options)
    graph = network.graph()
    write(to_spec(graph, _symbolic_graph(network, graph), _header_comment(target, graph)), output)


def _header_comment(target: str, graph: Graph) -> str:
    """Return the comment at the top of the spec: its origin, its size, and its unknown layers."""
    comment = f"Imported from {target} by costcalc: {len(graph.nodes):,} layers"
    unknown = Counter(node.op.label() for node in graph.nodes if not node.op.modelled)
    if not unknown:
        return comment
    kinds = ", ".join(f"{count} {kind}" for kind, count in unknown.items())
    return f"{comment},\nof which {unknown.total():,} are unknown: {kinds}"


def _symbolic_graph(network: Target, graph: Graph) -> Graph | None:
    """Return the network with symbols for the input sizes it does not fix; None where no layer contains a size."""
    if not any(
        name in _SIZE_FIELDS and getattr(node.op, name) is not None
        for node in graph.nodes
        for name in node.op.argument_specs
    ):
        return None
    import sympy

    def build(names: list[str]) -> Graph | None:
        try:
            return network.graph(**{name: sympy.Symbol(name, integer=True, positive=True) for name in names})
        except CostcalcError:
            return None

    # Height and width stay numbers: position embeddings fix them, and windows make their expressions very long.
    names = ["batch", *(["sequence"] if any("sequence" in each.dim_names for each in graph.inputs) else [])]
    symbolic = build(names)
    if symbolic is None:
        names = [name for name in names if build([name]) is not None]
        symbolic = build(names) if names else None
    return symbolic
