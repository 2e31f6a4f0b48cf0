"""The command that writes a network as a spec: import."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from costcalc.cli.options import spec_options
from costcalc.cli.printing import write
from costcalc.cli.target import Target, read_target
from costcalc.core.errors import CostcalcError

if TYPE_CHECKING:
    from costcalc.ir.graph import Graph

_SIZE_FIELDS = ("sizes", "size", "start", "end")  # fields of ops that say sizes of the tensors they run on


@click.command("import")
@click.argument("target")
@click.option("-o", "--output", type=click.Path(), metavar="FILE", help="Write to FILE, a .yaml.")
@spec_options
def import_(target: str, output: str | None, **target_options: Any) -> None:
    """Write a network as a spec, to read and to change; other commands take it without what it was imported from.

    Layers keep their names. Modules that repeat become blocks, and what differs between them their arguments. Sizes of
    the input that the network leaves free are named, so that the spec takes others.

    \b
    Examples:
      costcalc import vgg16+gap-head -o slim.yaml
      costcalc import torchvision:resnet50 -o resnet50.yaml && costcalc report resnet50.yaml
    """
    from costcalc.frontends.spec.fold import to_spec

    if output is not None and not output.endswith((".yaml", ".yml")):
        raise click.BadParameter(f"a spec is a .yaml file, and {output!r} is none", param_hint="--output")
    wanted = read_target(target, **target_options)
    graph = wanted.graph()
    write(to_spec(graph, _symbolic_graph(wanted, graph), _header_comment(target, graph)), output)


def _header_comment(target: str, graph: Graph) -> str:
    """What a spec says of where it is from."""
    unknown = Counter(node.op.label() for node in graph.nodes if not node.op.modelled)
    said = f"Imported from {target} by costcalc: {len(graph.nodes):,} layers"
    if not unknown:
        return said
    kinds = ", ".join(f"{times} {kind}" for kind, times in unknown.items())
    return f"{said},\nof which {unknown.total():,} are unknown: {kinds}"


def _symbolic_graph(target: Target, graph: Graph) -> Graph | None:
    """The network with names for the input sizes that it leaves free; None where none of its layers says a size."""
    if not any(
        name in _SIZE_FIELDS and getattr(node.op, name) is not None
        for node in graph.nodes
        for name in node.op.argument_specs
    ):
        return None
    import sympy

    def build(names: list[str]) -> Graph | None:
        try:
            return target.graph(**{name: sympy.Symbol(name, integer=True, positive=True) for name in names})
        except CostcalcError:
            return None

    shapes = [len(given.shape) for given in graph.inputs]
    # An image's plane stays what it is: tables of positions fix it, and windows make its expressions very long.
    names = ["batch", *(["sequence"] if {2, 3} & {*shapes} else [])]
    free = build(names)
    if free is None:
        names = [name for name in names if build([name]) is not None]
        free = build(names) if names else None
    return free
