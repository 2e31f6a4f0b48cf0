"""Networks counted by every term of every counting rule, with equal layers counted once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import compress
from operator import sub
from typing import Any, NamedTuple

from costcalc.analysis.conventions import ALL_OUTPUTS, ALL_PARAMETERS, CountedLayer
from costcalc.core.errors import OpError
from costcalc.core.sizes import Count, Shape, prod
from costcalc.ir.graph import Graph, Input, Node
from costcalc.ir.op import infer_output
from costcalc.ir.paths import is_selected
from costcalc.published.reconcile.counting_rules import CountingRule


class LayerTerms(NamedTuple):
    """The output shape of a layer and the amount of each term."""

    output: Shape
    amounts: tuple[Count, ...]
    layer: CountedLayer | None  # None for an op that is not modelled
    nonzero: tuple[tuple[int, Count], ...] = ()  # the amounts that are not 0, with their indices


class EquivalentLayers(NamedTuple):
    """Layers for which every term has the same amount."""

    counted: LayerTerms
    excluded: tuple[bool, ...]  # for each of TermCounter.exclusions
    layers: list[str]


class NetworkTerms(NamedTuple):
    """One network, counted by every term for one image."""

    name: str
    graph: Graph
    groups: tuple[EquivalentLayers, ...]
    totals: tuple[tuple[Count, ...], ...]  # of each term, for each of TermCounter.exclusions
    input_elements: int


class LayerPlan(NamedTuple):
    """A layer before any size is known."""

    name: str
    op_id: int  # shared by layers with an equal op
    inputs: tuple[str, ...]
    node: Node
    excluded: tuple[bool, ...]


class TermCounter:
    """Counts networks by the terms of counting rules, for one image.

    `at` restricts the counts to a layer, or to the layers below a prefix.
    """

    def __init__(self, rules: Sequence[CountingRule], at: str | None) -> None:
        self.at = at
        every = (*(rule.terms for rule in rules), ALL_PARAMETERS, ALL_OUTPUTS)
        self.term_index = {term: i for i, term in enumerate(dict.fromkeys(term for terms in every for term in terms))}
        self.exclusions = list(dict.fromkeys(rule.excluded_layers for rule in rules))
        self._op_ids: dict[Any, int] = {}
        # By the id of the graph. The graph is stored too, so that its id stays in use.
        self._plans: dict[int, tuple[Graph, list[LayerPlan]]] = {}
        self._layers: dict[Any, LayerTerms] = {}
        self._separable: dict[int, tuple[Count, ...]] = {}

    def network(self, graph: Graph, *inputs: Input, plan: list[LayerPlan] | None = None) -> NetworkTerms | None:
        """Count a graph, optionally on other inputs or by another plan.

        Returns None where a layer does not take its input, and where no layer is selected.
        """
        shapes: dict[str, Shape] = {name: shape for name, shape, *_ in inputs or graph.inputs}
        groups: dict[Any, EquivalentLayers] = {}
        for name, op_id, sources, node, excluded in plan or self._plan_of(graph):
            if len(sources) == 1:
                layer_inputs: tuple[Shape, ...] = (shapes[sources[0]],)
            else:
                layer_inputs = tuple([shapes[source] for source in sources])
            key = (op_id, layer_inputs)
            counted = self._layers.get(key)
            if counted is None:
                try:
                    counted = self._layers[key] = self._count(node, layer_inputs)
                except OpError:
                    return None
            shapes[name] = counted.output
            if self.at is None or is_selected(name, self.at):
                group_key = id(counted), excluded
                group = groups.get(group_key)
                if group is None:
                    group = groups[group_key] = EquivalentLayers(counted, excluded, [])
                group.layers.append(name)
        if not groups:
            return None
        return NetworkTerms(
            name=graph.name,
            graph=graph,
            groups=tuple(groups.values()),
            totals=self.totals(groups.values()),
            input_elements=sum(prod(shape) for _, shape, *_ in inputs or graph.inputs),
        )

    def plan(self, graph: Graph, nodes: Iterable[Node]) -> list[LayerPlan]:
        """Plan the count of these nodes instead of the nodes of the graph."""
        excluded_layers = [exclusion(graph) for exclusion in self.exclusions]
        plan = []
        for node in nodes:
            op = graph.resolved_op(node)
            node = node if op is node.op else replace(node, op=op)
            key = (node.op, node.functional, node.shares is None)
            op_id = self._op_ids.setdefault(key, len(self._op_ids))
            excluded = tuple([node.name in names for names in excluded_layers])
            plan.append(LayerPlan(node.name, op_id, node.inputs, node, excluded))
        return plan

    def totals(self, groups: Iterable[EquivalentLayers]) -> tuple[tuple[Count, ...], ...]:
        """Return the total of each term, for each exclusion."""
        whole: list[Count] = [0] * len(self.term_index)
        excluded_totals: list[list[Count]] = [[0] * len(whole) for _ in self.exclusions]
        for counted, excluded, layers in groups:
            n = len(layers)
            sums = [whole, *compress(excluded_totals, excluded)]
            for i, amount in counted.nonzero:
                for total in sums:
                    total[i] += n * amount
        return tuple([tuple(map(sub, whole, amounts)) for amounts in excluded_totals])

    def value(self, network: NetworkTerms, rule: CountingRule) -> Count:
        """Return the count of a network by one rule, for one image."""
        totals = network.totals[self.exclusions.index(rule.excluded_layers)]
        value = rule.multiplier * sum([totals[self.term_index[term]] for term in rule.terms])
        return value + rule.multiplier * network.input_elements if rule.includes_input and self.at is None else value

    def layer_value(self, group: EquivalentLayers, rule: CountingRule, amounts: tuple[Count, ...]) -> Count:
        """Return the count of one layer of a group by one rule, with these amounts of the terms."""
        if group.excluded[self.exclusions.index(rule.excluded_layers)]:
            return 0
        return rule.multiplier * sum([amounts[self.term_index[term]] for term in rule.terms])

    def separable_amounts(self, counted: LayerTerms) -> tuple[Count, ...]:
        """Return a layer's amounts with the k×k kernel of a convolution read as a k×1 and a 1×k: k + k elements."""
        layer = counted.layer
        if layer is None or layer.op.name != "conv2d":
            return counted.amounts
        if id(counted) not in self._separable:
            kernel = layer.op.kernel_size  # type: ignore[attr-defined]
            separable = layer
            if prod(kernel) > sum(kernel):
                op = replace(layer.op, kernel_size=(sum(kernel), 1))  # type: ignore[call-arg]
                separable = layer._replace(op=op, work=op.work(layer.inputs, layer.output))
            self._separable[id(counted)] = tuple([term.amount(separable) for term in self.term_index])
        return self._separable[id(counted)]

    def unmodelled_layers(self, graph: Graph) -> tuple[str, ...]:
        """Return the selected layers whose op is not modelled."""
        return tuple(node.name for node in graph.nodes if self._selects(node.name) and not node.op.modelled)

    def _selects(self, name: str) -> bool:
        return self.at is None or is_selected(name, self.at)

    def _plan_of(self, graph: Graph) -> list[LayerPlan]:
        if id(graph) not in self._plans:
            self._plans[id(graph)] = graph, self.plan(graph, graph.nodes)
        return self._plans[id(graph)][1]

    def _count(self, node: Node, inputs: tuple[Shape, ...]) -> LayerTerms:
        output, _ = infer_output(node.op, inputs)
        if not node.op.modelled:
            return LayerTerms(output, (0,) * len(self.term_index), None)
        work = node.op.work(inputs, output)
        layer = CountedLayer(node.op, inputs, output, work, node.functional, node.shares is None)
        amounts = tuple([term.amount(layer) for term in self.term_index])
        nonzero = tuple([(i, amount) for i, amount in enumerate(amounts) if amount])
        return LayerTerms(output, amounts, layer, nonzero)
