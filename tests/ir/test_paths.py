"""Paths of layers, and what selects them: the same for claims, questions, closed forms and reconcile."""

import pytest

import costcalc
from costcalc.ir.paths import is_selected, prefixes


@pytest.mark.parametrize(
    ("path", "layer", "selected"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a", True),
        ("a/b", "a/b/c", False),
        ("ab/c", "a", False),
        ("a1/b", "a*", True),
        ("a1/b", "a*/b", True),
        ("a1/c/b", "a*b", False),
        ("a.b/c", "a.b", True),
        ("axb/c", "a.*", False),
    ],
)
def test_selection(path, layer, selected):
    assert is_selected(path, layer) is selected


def test_prefixes():
    assert prefixes(["a/b/c", "d"]) == {"a", "a/b", "a/b/c", "d"}


def test_graphs_tables_and_published_numbers_select_the_same_layers():
    graph = costcalc.load("vgg16")
    nodes = {node.name for node in graph.select("stage*/conv_2")}
    rows = costcalc.analyze(graph).below("stage*/conv_2").rows
    assert nodes == {row.path for row in rows}
    macs = sum(row.macs for row in rows)
    found = costcalc.reconcile("vgg16", str(macs), at="stage*/conv_2", of=["flops"])
    assert found.explanations[0].value == macs
    assert found.explanations[0].conventions[0] == "macs"
