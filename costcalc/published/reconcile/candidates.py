"""Candidates of the search: a variant of the network, a counting rule, and at most one slip."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

from costcalc.analysis.conventions import MAC_ADDS, NORM_PARAMETERS
from costcalc.core.axes import PLANE_DIM_NAMES
from costcalc.core.errors import CostcalcError
from costcalc.core.sizes import Count, format_shape, prod
from costcalc.frontends.spec.language import Spec
from costcalc.frontends.target import ImportedModel
from costcalc.ir.graph import Graph, Input, Node
from costcalc.ir.op import Op
from costcalc.published.reconcile.counting_rules import CountingRule
from costcalc.published.reconcile.network_terms import NetworkTerms, TermCounter
from costcalc.published.reconcile.priors import (
    AUXILIARY_HEADS,
    BIASES,
    CANDIDATE_BATCHES,
    CANDIDATE_SIZES,
    LEFT_OUT,
    MISLABELLED_COST,
    NO_LINEAR_LAYERS,
    NO_SCALES,
    OTHER_BATCH,
    OTHER_NETWORK_COST,
    OTHER_SIZE,
    OWN_SIZE,
    SAME_NETWORK_COST,
    SEPARABLE,
    TWICE,
    Slip,
)


class Adjustment(NamedTuple):
    """One slip, applied: its description, and the layers that it may be about, any one of them."""

    slip: Slip
    description: str
    layers: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.description}: {self.layers[0]}" if self.layers else self.description


class Candidate(NamedTuple):
    """One way to count, and its value."""

    network: NetworkTerms  # of the variant, without the adjustment
    rule: CountingRule
    batch: int
    adjustment: Adjustment | None
    unadjusted: Count
    value: Count
    cost: int


class CandidateSource(NamedTuple):
    """The candidates of one variant with one kind of slip."""

    min_cost: int
    variant: str
    variant_cost: int
    generate: Callable[[NetworkTerms, int], Iterator[Candidate]]


class SingleModelSpec(NamedTuple):
    """An imported model, as a spec without variants."""

    model: ImportedModel
    variants: Mapping[str, Any] = MappingProxyType({})

    def default_variant(self) -> str:
        """Return the name of the model."""
        return self.model.target

    def build(self, _: str, options: Mapping[str, Any]) -> Graph:
        """Return the model's graph."""
        return self.model.graph(**options)


class CandidateGenerator:
    """Generates the candidates of a target, one source at a time.

    `options` are the sizes and settings of the target without its batch, and `says_macs` is whether the published
    number is called MACs.
    """

    def __init__(
        self,
        spec: Spec | SingleModelSpec,
        target: str,
        *,
        options: Mapping[str, Any],
        batch: int,
        rules: list[CountingRule],
        counter: TermCounter,
        says_macs: bool,
    ) -> None:
        self.spec, self.target, self.options, self.batch = spec, target, options, batch
        self.rules, self.counter, self.says_macs = rules, counter, says_macs
        self._networks: dict[str, NetworkTerms | None] = {}
        self._own_inputs: dict[str, tuple[Input, ...]] = {}
        self._ops_with_bias: dict[Any, Op] = {}

    def sources(self) -> Iterator[CandidateSource]:
        """Yield every source: each variant as it is, and with each kind of slip."""
        for variant in self.spec.variants or (self.target,):
            same = self._base_variant(variant) == self._base_variant(self.target)
            cost = 0 if variant == self.target else SAME_NETWORK_COST if same else OTHER_NETWORK_COST
            for least, generate in (
                (0, self._unadjusted),
                (OWN_SIZE.prior, self._at_own_size),
                (AUXILIARY_HEADS.prior, self._with_auxiliary_heads),
                (BIASES.prior, self._with_biases),
                (NO_LINEAR_LAYERS.prior, self._without_linear_layers),
                (OTHER_SIZE.prior, self._at_other_sizes),
                (OTHER_BATCH.prior, self._at_other_batches),
                (NO_SCALES.prior, self._without_scales),
                (min(slip.prior for slip in (LEFT_OUT, TWICE, SEPARABLE)), self._with_one_layer_adjusted),
            ):
                yield CandidateSource(cost + least, variant, cost, generate)

    def candidates(self, source: CandidateSource) -> Iterator[Candidate]:
        """Yield the candidates of a source: none if the variant cannot be built."""
        network = self.network(source.variant)
        return iter(()) if network is None else source.generate(network, source.variant_cost)

    def network(self, variant: str) -> NetworkTerms | None:
        """Return a variant with the target's options, counted; None if it cannot be built."""
        if variant not in self._networks:
            graph = self._build(variant, self.options)
            self._networks[variant] = None if graph is None else self.counter.network(graph)
        return self._networks[variant]

    def _base_variant(self, variant: str) -> str:
        """Return the variant that another is a version of: vgg16 for vgg16_bn and vgg16-torchvision; else itself."""
        bases = (name for name in self.spec.variants if re.match(re.escape(name) + "[-_]", variant))
        return min(bases, key=len, default=variant)

    def _build(self, variant: str, options: Mapping[str, Any]) -> Graph | None:
        """Build a variant for one image; return None if it cannot be built with these sizes and settings."""
        try:
            return self.spec.build(variant, {**options, "batch": 1})
        except CostcalcError:
            return None

    # -- one kind of slip each ------------------------------------------------------------------------------------

    def _unadjusted(self, network: NetworkTerms, cost: int) -> Iterator[Candidate]:
        for rule, batch in self._rules_and_batches():
            value = batch * self.counter.value(network, rule)
            yield Candidate(network, rule, batch, None, value, value, self._cost(rule, cost))

    def _at_own_size(self, network: NetworkTerms, cost: int) -> Iterator[Candidate]:
        if "height" in self.options or "width" in self.options:
            options = {key: value for key, value in self.options.items() if key not in PLANE_DIM_NAMES}
            graph = self._build(network.name, options)
            if graph is not None and graph.inputs != network.graph.inputs:
                self._own_inputs[network.name] = graph.inputs
                size = format_shape(graph.inputs[0].shape[2:])
                adjustment = Adjustment(OWN_SIZE, OWN_SIZE.description.format(size=size))
                yield from self._adjusted(network, self.counter.network(graph), adjustment, cost)

    def _with_auxiliary_heads(self, network: NetworkTerms, cost: int) -> Iterator[Candidate]:
        """Candidates with auxiliary heads for a network without them, and without them for a network that has them."""
        has_heads = network.graph.settings.get("aux")
        if not isinstance(has_heads, bool):
            return
        graph = self._build(network.name, {**self.options, "aux": not has_heads})
        if graph is not None:
            adjustment = _with_or_without(AUXILIARY_HEADS, not has_heads)
            yield from self._adjusted(network, self.counter.network(graph), adjustment, cost)

    def _with_biases(self, network: NetworkTerms, cost: int) -> Iterator[Candidate]:
        """Candidates with a bias in every convolution and linear layer, and candidates without any bias."""
        for bias in (False, True):
            nodes = [self._set_bias(node, bias) for node in network.graph.nodes]
            if any(node is not own for node, own in zip(nodes, network.graph.nodes, strict=True)):
                other = self.counter.network(network.graph, plan=self.counter.plan(network.graph, nodes))
                yield from self._adjusted(network, other, _with_or_without(BIASES, bias), cost)

    def _set_bias(self, node: Node, bias: bool) -> Node:
        if getattr(node.op, "bias", bias) == bias:
            return node
        key = (node.op, bias)
        if key not in self._ops_with_bias:
            changed: dict[str, Any] = {"bias": bias}
            self._ops_with_bias[key] = replace(node.op, **changed)
        return replace(node, op=self._ops_with_bias[key])

    def _without_linear_layers(self, network: NetworkTerms, cost: int) -> Iterator[Candidate]:
        groups = tuple(g for g in network.groups if g.counted.layer is None or g.counted.layer.op.name != "linear")
        other = network._replace(groups=groups, totals=self.counter.totals(groups))
        yield from self._adjusted(network, other, Adjustment(NO_LINEAR_LAYERS, NO_LINEAR_LAYERS.description), cost)

    def _at_other_sizes(self, network: NetworkTerms, cost: int) -> Iterator[Candidate]:
        (name, shape, _), *others = network.graph.inputs
        for size in CANDIDATE_SIZES if len(shape) == 4 and not others else ():
            image = Input(name, (*shape[:2], size, size))
            if (image,) not in (network.graph.inputs, self._own_inputs.get(network.name)):
                adjustment = Adjustment(OTHER_SIZE, OTHER_SIZE.description.format(size=size))
                yield from self._adjusted(network, self.counter.network(network.graph, image), adjustment, cost)

    def _at_other_batches(self, network: NetworkTerms, cost: int) -> Iterator[Candidate]:
        for rule in self.rules:
            for batch in CANDIDATE_BATCHES:
                if rule.per_image and batch not in self._batches(rule):
                    value = self.counter.value(network, rule)
                    adjustment = Adjustment(OTHER_BATCH, OTHER_BATCH.description.format(batch=batch))
                    price = self._cost(rule, cost, OTHER_BATCH)
                    yield Candidate(network, rule, self.batch, adjustment, self.batch * value, batch * value, price)

    def _without_scales(self, network: NetworkTerms, cost: int) -> Iterator[Candidate]:
        adjustment = Adjustment(NO_SCALES, NO_SCALES.description)
        scales = sum(
            len(group.layers) * prod(layer.parameters().get("weight", (0,)))
            for group in network.groups
            if (layer := group.counted.layer) is not None and layer.op.name == "batch_norm2d"
        )
        for rule, batch in self._rules_and_batches():
            if NORM_PARAMETERS in rule.terms and scales:
                value = batch * self.counter.value(network, rule)
                price = self._cost(rule, cost, NO_SCALES)
                yield Candidate(network, rule, batch, adjustment, value, value - rule.multiplier * scales, price)

    def _with_one_layer_adjusted(self, network: NetworkTerms, cost: int) -> Iterator[Candidate]:
        """Candidates with one layer left out, counted twice, or with its k×k kernel counted as a k×1 and a 1×k."""
        for rule, batch in self._rules_and_batches():
            whole = self.counter.value(network, rule)
            layers_by_change: dict[tuple[Slip, Count], list[str]] = {}
            for group in network.groups:
                amount = self.counter.layer_value(group, rule, group.counted.amounts)
                separable = self.counter.layer_value(group, rule, self.counter.separable_amounts(group.counted))
                for slip, change in ((LEFT_OUT, -amount), (TWICE, amount), (SEPARABLE, separable - amount)):
                    if change and whole + change > 0:
                        layers_by_change.setdefault((slip, change), []).extend(group.layers)
            for (slip, change), layers in layers_by_change.items():
                adjustment = Adjustment(slip, slip.description, tuple(layers))
                price = self._cost(rule, cost, slip)
                yield Candidate(network, rule, batch, adjustment, batch * whole, batch * (whole + change), price)

    def _adjusted(
        self, network: NetworkTerms, other: NetworkTerms | None, adjustment: Adjustment, cost: int
    ) -> Iterator[Candidate]:
        """Candidates of an adjustment that results in the network `other`; none if `other` is None."""
        if other is None:
            return
        for rule, batch in self._rules_and_batches():
            unadjusted, value = (batch * self.counter.value(each, rule) for each in (network, other))
            if value != unadjusted:
                price = self._cost(rule, cost, adjustment.slip)
                yield Candidate(network, rule, batch, adjustment, unadjusted, value, price)

    # -- rules and costs ------------------------------------------------------------------------------------------

    def _rules_and_batches(self) -> Iterator[tuple[CountingRule, int]]:
        """Yield every rule at the target's batch, and at the batch of its convention's own tables."""
        for rule in self.rules:
            for batch in self._batches(rule):
                yield rule, batch

    def _batches(self, rule: CountingRule) -> tuple[int, ...]:
        if not rule.per_image:
            return (1,)
        return (self.batch,) if rule.batch in (1, self.batch) else (self.batch, rule.batch)

    def _cost(self, rule: CountingRule, variant_cost: int, slip: Slip | None = None) -> int:
        mislabelled = MISLABELLED_COST if self.says_macs and MAC_ADDS in rule.terms else 0
        return variant_cost + rule.prior + mislabelled + (slip.prior if slip else 0)


def _with_or_without(slip: Slip, present: bool) -> Adjustment:
    return Adjustment(slip, slip.description.format(with_or_without="with" if present else "without"))
