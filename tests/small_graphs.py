"""Graphs of a few layers, for tests."""

from costcalc import Graph, Input, Node


def chain(*layers, shape=(2, 3, 8, 8), outputs=None):
    """A graph of layers, each (name, op) or (name, op, inputs…): on the one before unless it says otherwise."""
    nodes = []
    for name, op, *inputs in layers:
        nodes.append(Node(name, op, tuple(inputs) or (nodes[-1].name if nodes else "input",)))
    return Graph("chain", (Input("input", shape),), tuple(nodes), outputs or (nodes[-1].name,))


def as_torch_runs(graph):
    """The graph by the kernels of the torch release that is installed: others than the predicted ones, if it is old.

    On a CPU and on meta they are the same.
    """
    from costcalc.torch_backend import environment
    from costcalc.validation.known_memory_differences import other_kernels, with_kernels

    return with_kernels(graph, other_kernels(graph, environment("meta")))
