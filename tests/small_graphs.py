"""Graphs of a few layers, for tests."""

from costcalc import Graph, Input, Node


def chain(*layers, shape=(2, 3, 8, 8), outputs=None):
    """A graph of layers, each (name, op) or (name, op, inputs…): on the one before unless it says otherwise."""
    nodes = []
    for name, op, *inputs in layers:
        nodes.append(Node(name, op, tuple(inputs) or (nodes[-1].name if nodes else "input",)))
    return Graph("chain", (Input("input", shape),), tuple(nodes), outputs or (nodes[-1].name,))
