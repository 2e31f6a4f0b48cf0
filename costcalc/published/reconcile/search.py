"""Which way of counting gives a published number: a convention, a variant, a size, a slip, or nothing that we know.

Every explanation is the TARGET or another variant of its family, one convention, and at most one further change. Each
of these has a cost, the sum says how ordinary the explanation is, and the search goes from the most ordinary outwards.
It ends where so many numbers could be explained that an explanation would mean nothing (see `priors.TOO_LIKELY`).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from operator import add, sub
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from costcalc.analysis.conventions import (
    ALL_OUTPUTS,
    ALL_PARAMETERS,
    MAC_ADDS,
    MACS,
    NORM_PARAMETERS,
    CountedLayer,
    no_layers,
)
from costcalc.core.dtypes import element_bytes
from costcalc.core.errors import CostcalcError, OpError
from costcalc.core.sizes import Count, Shape, is_plain, prod
from costcalc.core.units import DECIMAL, round_half_up
from costcalc.frontends.spec.catalogue import find_spec
from costcalc.frontends.spec.language import Spec
from costcalc.frontends.target import ImportedModel, is_imported
from costcalc.ir.graph import Graph, Input, Node
from costcalc.ir.op import Op, infer_output
from costcalc.ir.paths import is_below
from costcalc.published.reconcile.counting_rules import BYTES_OF_PARAMETERS, LABELS, Measure, counted_as, measures
from costcalc.published.reconcile.priors import (
    BATCHES,
    CHANGE_COST,
    MISLABELLED,
    OTHER_NETWORK,
    SAME_NETWORK,
    SIZES,
    TOO_LIKELY,
    TRUNCATED,
)
from costcalc.published.reconcile.published_number import QUANTITIES, Printed, Quantity, printed

Match = Literal["exact", "rounds", "truncated"]
MATCHES: tuple[Match, ...] = ("exact", "rounds", "truncated")


class Ours(NamedTuple):
    """Our own number of a quantity, by one way of counting."""

    quantity: Quantity
    label: str
    conventions: tuple[str, ...]
    value: Count

    @property
    def counted_as(self) -> str:
        """How it counts, in words."""
        return counted_as(self.quantity, self.label, self.conventions)


class BridgeStep(NamedTuple):
    """A step of the bridge from our number to theirs."""

    words: str
    amount: Count


class Hypothesis(NamedTuple):
    """A way to count that gives the number as printed.

    `match` is `exact`, `rounds` or `truncated`. `alike` other explanations are as ordinary; `explained` of all
    numbers printed alike, between half and twice this one, have an explanation at least as ordinary. `layers` are those
    that the change may be about, any one of them.
    """

    architecture: str
    quantity: Quantity
    label: str
    conventions: tuple[str, ...]
    change: str
    layers: tuple[str, ...]
    value: Count
    match: Match
    unit: str  # what MB or K is taken for, where that is open
    cost: int
    bridge: tuple[BridgeStep, ...]
    alike: int = 0
    explained: int = 0

    @property
    def counted_as(self) -> str:
        """How it counts, in words: its conventions, and of what where that is not operations."""
        return counted_as(self.quantity, self.label, self.conventions)


class Reconciliation(NamedTuple):
    """What was found: explanations, the most ordinary first, and our own numbers in any case.

    `numbers` are all that are printed alike between half and twice the published one.
    """

    architecture: str
    at: str | None
    batch: int
    inputs: Mapping[str, Shape]
    printed: Printed
    quantities: tuple[Quantity, ...]
    explanations: tuple[Hypothesis, ...]
    ours: tuple[Ours, ...]
    numbers: int
    exhausted: bool  # all is tried; else the search ended where an explanation would mean nothing
    unknown: tuple[str, ...]


def reconcile(
    target: str,
    value: str,
    given: Mapping[str, Any] | None = None,
    *,
    of: Iterable[Quantity] = (),
    at: str | None = None,
    dtype: str = "fp32",
) -> Reconciliation:
    """The explanations of a published `value` of `target`, the most ordinary first.

    `given` are sizes and settings as `load` takes them, all plain; `of` restricts the quantities (by default, all that
    the unit allows); `at` is a layer, or a prefix of layers, that the number is of. Raises CostcalcError for a value
    that cannot be read, and for what `load` refuses.
    """
    number = printed(value)
    search = _Search(target, dict(given or {}), number, _quantities(number, tuple(of)), at, element_bytes(dtype))
    return search.result()


def _quantities(number: Printed, of: tuple[Quantity, ...]) -> tuple[Quantity, ...]:
    fitting = tuple(q for q in QUANTITIES if q != "memory") if number.quantity is None else (number.quantity,)
    for quantity in of:
        if quantity not in fitting and number.quantity is not None:
            raise CostcalcError(f"{number.text!r} is a number of {number.quantity}, and not of {quantity}")
    return tuple(q for q in QUANTITIES if q in of) or fitting


# -- the search -----------------------------------------------------------------------------------------------------


class _LayerTerms(NamedTuple):
    """A layer counted: its output, and the amount of each term."""

    output: Shape
    amounts: tuple[Count, ...]
    layer: CountedLayer | None  # None where nobody knows what it costs


class _EquivalentLayers(NamedTuple):
    """Layers that every term counts alike."""

    counted: _LayerTerms
    uncounted: tuple[bool, ...]  # by which of the rules of activation memory they are left out
    layers: list[str]


class _NetworkTerms(NamedTuple):
    """One network, its layers counted by every term for one image; `totals` are those of each term, by each rule."""

    name: str
    graph: Graph
    groups: tuple[_EquivalentLayers, ...]
    totals: tuple[tuple[Count, ...], ...]
    inputs: int  # elements of its inputs


class _Plan(NamedTuple):
    """A layer before any size is known: a number that it shares with layers of an equal op, and its wiring."""

    name: str
    alike: int
    inputs: tuple[str, ...]
    node: Node
    uncounted: tuple[bool, ...]


class _Adjustment(NamedTuple):
    """One further change: its kind, how it is told, and the layers that it may be about, any one of them."""

    kind: str
    words: str
    layers: tuple[str, ...] = ()


class _Candidate(NamedTuple):
    """One way to count, and what it comes to; `unchanged` without the change. The network is the variant's own."""

    network: _NetworkTerms
    measure: Measure
    batch: int
    change: _Adjustment | None
    unchanged: Count
    value: Count
    cost: int


class _Family(NamedTuple):
    """The candidates of one variant with one kind of change: none costs less than `least`; the variant costs `cost`."""

    least: int
    name: str
    cost: int
    road: Callable[[_NetworkTerms, int], Iterator[_Candidate]]


class _Reading(NamedTuple):
    """What the printed unit is taken for."""

    step: Fraction
    words: str


class _Alone(NamedTuple):
    """A model that is imported, as a spec without variants."""

    model: ImportedModel
    variants: Mapping[str, Any] = MappingProxyType({})

    def default_variant(self) -> str:
        return self.model.target

    def build(self, _: str, given: Mapping[str, Any]) -> Graph:
        return self.model.graph(**given)


class _Search:
    """Candidates in the order of their cost: networks are made in their turn, layers that are alike counted once."""

    def __init__(
        self,
        target: str,
        given: Mapping[str, Any],
        number: Printed,
        quantities: tuple[Quantity, ...],
        at: str | None,
        element: int,
    ) -> None:
        self.spec: Spec | _Alone
        self.spec, variant = (_Alone(ImportedModel(target)), target) if is_imported(target) else find_spec(target)
        self.target = variant or self.spec.default_variant()
        self.number, self.quantities = number, quantities
        self.at = at.strip("/") if at else None
        self.element = element
        self.given = {key: value for key, value in given.items() if key != "batch"}
        self.asked = self.spec.build(self.target, given)
        if not all(is_plain(size) for shape in self.asked.shapes.values() for size in shape):
            raise CostcalcError(f"{self.target} has sizes that are no plain numbers: there is nothing to compare")
        if self.at is not None:
            self.asked.select(self.at)
        self.batch = self.asked.batch
        self.measures = measures(quantities, element)
        terms = dict.fromkeys(
            term for terms in (*(m.terms for m in self.measures), ALL_PARAMETERS, ALL_OUTPUTS) for term in terms
        )
        self.readings = {(measure.quantity, measure.kilo): self._readings(measure) for measure in self.measures}
        self.place = {term: place for place, term in enumerate(terms)}
        self.rules = list(dict.fromkeys(measure.excluded_layers for measure in self.measures))
        self.numbers: dict[Any, int] = {}
        self.plans: dict[int, tuple[Graph, list[_Plan]]] = {}
        self.counts: dict[Any, _LayerTerms] = {}
        self.flat: dict[int, tuple[Count, ...]] = {}
        self.own: dict[str, tuple[Input, ...]] = {}
        self.biased: dict[Any, Op] = {}
        self.plain: dict[str, _NetworkTerms | None] = {}

    def result(self) -> Reconciliation:
        """Go outwards from the most ordinary until too many numbers could be explained, or all is tried."""
        window = self.number.window
        pending: dict[int, list[tuple[_Candidate, int, _Reading]]] = {}
        families = deque(sorted(self._families(), key=lambda family: family.least))
        explained: set[int] = set()
        seen: set[Any] = set()
        found: list[Hypothesis] = []
        level = 0
        exhausted = True
        while families or pending:
            while families and families[0].least <= level:
                for candidate in self._candidates(families.popleft()):
                    for reading in self.readings[candidate.measure.quantity, candidate.measure.kilo]:
                        for digits, cost in self._digits(candidate, reading):
                            pending.setdefault(cost, []).append((candidate, digits, reading))
            hits = []
            for candidate, digits, reading in pending.pop(level, []):
                change = candidate.change
                key = (candidate.measure.label, candidate.value, change and change.words, digits, reading.words)
                if key in seen:  # the same number with the same change, of a more ordinary network or convention
                    continue
                seen.add(key)
                if digits in window:
                    explained.add(digits)
                if digits == self.number.digits and not self._needless(candidate, reading, level):
                    hits.append((candidate, reading))
            if len(explained) > TOO_LIKELY * len(window):
                exhausted = False
                break
            explanations = [self._explanation(candidate, reading, level) for candidate, reading in hits]
            for each in sorted(explanations, key=lambda each: MATCHES.index(each.match)):
                found.append(each._replace(alike=len(hits) - 1, explained=len(explained)))
            level += 1
        return Reconciliation(
            self.target,
            self.at,
            self.batch,
            {name: shape for name, shape, *_ in self.asked.inputs},
            self.number,
            self.quantities,
            tuple(found),
            tuple(self._ours()),
            len(window),
            exhausted,
            tuple(node.name for node in self._below(self.asked.nodes) if not node.op.modelled),
        )

    # -- candidates -----------------------------------------------------------------------------------------------

    def _candidates(self, family: _Family) -> Iterator[_Candidate]:
        if family.name not in self.plain:
            self.plain[family.name] = self._network(self._build(family.name, self.given))
        network = self.plain[family.name]
        return iter(()) if network is None else family.road(network, family.cost)

    def _families(self) -> Iterator[_Family]:
        """What there is to try: each variant as it is, and with each kind of change."""
        for name in self.spec.variants or (self.target,):
            same = self._version_of(name) == self._version_of(self.target)
            cost = 0 if name == self.target else SAME_NETWORK if same else OTHER_NETWORK
            for kinds, road in (
                (("as it is",), self._as_it_is),
                (("own size",), self._own_size),
                (("heads",), self._heads),
                (("bias",), self._bias),
                (("fully connected",), self._fully_connected),
                (("size",), self._sizes),
                (("batch",), self._batches),
                (("scale",), self._scales),
                (("left out", "twice", "separable"), self._layers),
            ):
                yield _Family(cost + min(map(CHANGE_COST.__getitem__, kinds)), name, cost, road)

    def _version_of(self, name: str) -> str:
        """The network that a variant is a version of: vgg16 for vgg16_bn and vgg16-torchvision; else itself."""
        return min((v for v in self.spec.variants if re.match(re.escape(v) + "[-_]", name)), key=len, default=name)

    def _as_it_is(self, network: _NetworkTerms, cost: int) -> Iterator[_Candidate]:
        for measure, batch in self._ways():
            value = batch * self._value(network, measure)
            yield _Candidate(network, measure, batch, None, value, value, self._cost(measure, cost))

    def _own_size(self, network: _NetworkTerms, cost: int) -> Iterator[_Candidate]:
        if "height" in self.given or "width" in self.given:
            given = {key: value for key, value in self.given.items() if key not in ("height", "width")}
            graph = self._build(network.name, given)
            if graph is not None and graph.inputs != network.graph.inputs:
                self.own[network.name] = graph.inputs
                plane = "×".join(map(str, graph.inputs[0].shape[2:]))
                yield from self._changed(network, self._network(graph), "own size", f"at its own {plane}", cost)

    def _heads(self, network: _NetworkTerms, cost: int) -> Iterator[_Candidate]:
        """With the auxiliary heads that are left out, or without those that are there."""
        there = network.graph.settings.get("aux")
        graph = self._build(network.name, {**self.given, "aux": not there}) if isinstance(there, bool) else None
        if graph is not None:
            words = f"with{'out' * bool(there)} auxiliary heads"
            yield from self._changed(network, self._network(graph), "heads", words, cost)

    def _bias(self, network: _NetworkTerms, cost: int) -> Iterator[_Candidate]:
        """Convolutions and linear layers all with a bias, or all without."""
        for there in (False, True):
            nodes = [self._with_bias(node, there) for node in network.graph.nodes]
            if any(node is not own for node, own in zip(nodes, network.graph.nodes, strict=True)):
                other = self._network(network.graph, plan=self._plan(network.graph, nodes))
                yield from self._changed(network, other, "bias", f"with{'out' * (not there)} biases", cost)

    def _with_bias(self, node: Node, there: bool) -> Node:
        if getattr(node.op, "bias", there) == there:
            return node
        key = (node.op, there)
        if key not in self.biased:
            changed: dict[str, Any] = {"bias": there}
            self.biased[key] = replace(node.op, **changed)
        return replace(node, op=self.biased[key])

    def _sizes(self, network: _NetworkTerms, cost: int) -> Iterator[_Candidate]:
        (name, shape, _), *others = network.graph.inputs
        for size in SIZES if len(shape) == 4 and not others else ():
            image = Input(name, (*shape[:2], size, size))
            if (image,) not in (network.graph.inputs, self.own.get(network.name)):
                other = self._network(network.graph, image)
                yield from self._changed(network, other, "size", f"at {size}×{size}", cost)

    def _fully_connected(self, network: _NetworkTerms, cost: int) -> Iterator[_Candidate]:
        groups = tuple(g for g in network.groups if g.counted.layer is None or g.counted.layer.op.name != "linear")
        other = network._replace(groups=groups, totals=self._totals(groups))
        yield from self._changed(network, other, "fully connected", "without fully connected layers", cost)

    def _scales(self, network: _NetworkTerms, cost: int) -> Iterator[_Candidate]:
        """BatchNorm without its scale, as TF-slim and Keras make it where a ReLU follows."""
        words = "without the scales of BatchNorm"
        scales = sum(
            len(group.layers) * prod(layer.parameters().get("weight", (0,)))
            for group in network.groups
            if (layer := group.counted.layer) is not None and layer.op.name == "batch_norm2d"
        )
        for measure, batch in self._ways():
            if NORM_PARAMETERS in measure.terms and scales:
                value, change = batch * self._value(network, measure), _Adjustment("scale", words)
                price = self._cost(measure, cost, change)
                yield _Candidate(network, measure, batch, change, value, value - measure.copies * scales, price)

    def _batches(self, network: _NetworkTerms, cost: int) -> Iterator[_Candidate]:
        for measure in self.measures:
            for batch in BATCHES:
                if measure.per_image and batch not in self._own_batches(measure):
                    value, change = self._value(network, measure), _Adjustment("batch", f"at batch {batch}")
                    whole, price = self.batch * value, self._cost(measure, cost, change)
                    yield _Candidate(network, measure, self.batch, change, whole, batch * value, price)

    def _layers(self, network: _NetworkTerms, cost: int) -> Iterator[_Candidate]:
        """One layer left out, counted twice, or its k×k kernel counted as a k×1 and a 1×k."""
        for measure, batch in self._ways():
            whole = self._value(network, measure)
            found: dict[tuple[str, Count], list[str]] = {}
            for group in network.groups:
                amount = self._amount(group, measure, group.counted.amounts)
                flat = self._amount(group, measure, self._flattened(group.counted))
                for kind, change in (("left out", -amount), ("twice", amount), ("separable", flat - amount)):
                    if change and whole + change > 0:
                        found.setdefault((kind, change), []).extend(group.layers)
            for (kind, change), layers in found.items():
                told = _Adjustment(kind, _LAYER_WORDS[kind], tuple(layers))
                price = self._cost(measure, cost, told)
                yield _Candidate(network, measure, batch, told, batch * whole, batch * (whole + change), price)

    def _flattened(self, counted: _LayerTerms) -> tuple[Count, ...]:
        """The amounts of a convolution, a k×k kernel of it taken for a k×1 and a 1×k: k + k taps."""
        layer = counted.layer
        if layer is None or layer.op.name != "conv2d":
            return counted.amounts
        if id(counted) not in self.flat:
            kernel = layer.op.kernel_size  # type: ignore[attr-defined]
            flat = layer
            if prod(kernel) > sum(kernel):
                op = replace(layer.op, kernel_size=(sum(kernel), 1))  # type: ignore[call-arg]
                flat = layer._replace(op=op, work=op.work(layer.inputs, layer.output))
            self.flat[id(counted)] = tuple([term.amount(flat) for term in self.place])
        return self.flat[id(counted)]

    def _changed(
        self, network: _NetworkTerms, other: _NetworkTerms | None, kind: str, words: str, cost: int
    ) -> Iterator[_Candidate]:
        """A change that makes another network, if it can be made."""
        if other is None:
            return
        change = _Adjustment(kind, words)
        for measure, batch in self._ways():
            unchanged, value = batch * self._value(network, measure), batch * self._value(other, measure)
            if value != unchanged:
                yield _Candidate(network, measure, batch, change, unchanged, value, self._cost(measure, cost, change))

    def _ways(self) -> Iterator[tuple[Measure, int]]:
        """Every measure at the batch asked for, and at the batch of its source's tables."""
        for measure in self.measures:
            for batch in self._own_batches(measure):
                yield measure, batch

    def _own_batches(self, measure: Measure) -> tuple[int, ...]:
        if not measure.per_image:
            return (1,)
        return (self.batch,) if measure.batch in (1, self.batch) else (self.batch, measure.batch)

    def _cost(self, measure: Measure, cost: int, change: _Adjustment | None = None) -> int:
        mislabelled = MISLABELLED if self.number.macs and MAC_ADDS in measure.terms else 0
        return cost + measure.cost + mislabelled + (CHANGE_COST[change.kind] if change else 0)

    # -- counting -------------------------------------------------------------------------------------------------

    def _build(self, name: str, given: Mapping[str, Any]) -> Graph | None:
        """A variant for one image; None where it cannot be made of these sizes and settings."""
        try:
            return self.spec.build(name, {**given, "batch": 1})
        except CostcalcError:
            return None

    def _network(self, graph: Graph | None, *inputs: Input, plan: list[_Plan] | None = None) -> _NetworkTerms | None:
        """A graph's layers counted, on other inputs and by another plan where they are given.

        None where it cannot take them, or has no layer of those asked for.
        """
        if graph is None:
            return None
        shapes: dict[str, Shape] = {name: shape for name, shape, *_ in inputs or graph.inputs}
        groups: dict[Any, _EquivalentLayers] = {}
        for name, alike, sources, node, uncounted in plan or self._plan_of(graph):
            taken = tuple([shapes[source] for source in sources])
            key = (alike, taken)
            counted = self.counts.get(key)
            if counted is None:
                try:
                    counted = self.counts[key] = self._count(node, taken)
                except OpError:
                    return None
            shapes[name] = counted.output
            if self.at is None or is_below(name, self.at):
                kind = id(counted), uncounted
                group = groups.get(kind)
                if group is None:
                    group = groups[kind] = _EquivalentLayers(counted, uncounted, [])
                group.layers.append(name)
        elements = sum(prod(shape) for _, shape, *_ in inputs or graph.inputs)
        found = tuple(groups.values())
        return _NetworkTerms(graph.name, graph, found, self._totals(found), elements) if found else None

    def _plan_of(self, graph: Graph) -> list[_Plan]:
        if id(graph) not in self.plans:
            self.plans[id(graph)] = graph, self._plan(graph, graph.nodes)
        return self.plans[id(graph)][1]

    def _plan(self, graph: Graph, nodes: Iterable[Node]) -> list[_Plan]:
        left_out = [rule(graph) for rule in self.rules]
        plan = []
        for node in nodes:
            runs = graph.resolved_op(node)
            node = node if runs is node.op else replace(node, op=runs)
            alike = (node.op, node.functional, node.shares is None)
            number = self.numbers.setdefault(alike, len(self.numbers))
            uncounted = tuple([node.name in names for names in left_out])
            plan.append(_Plan(node.name, number, node.inputs, node, uncounted))
        return plan

    def _count(self, node: Node, inputs: tuple[Shape, ...]) -> _LayerTerms:
        output, _ = infer_output(node.op, inputs)
        if not node.op.modelled:
            return _LayerTerms(output, (0,) * len(self.place), None)
        work = node.op.work(inputs, output)
        layer = CountedLayer(node.op, inputs, output, work, node.functional, node.shares is None)
        return _LayerTerms(output, tuple([term.amount(layer) for term in self.place]), layer)

    def _totals(self, groups: Iterable[_EquivalentLayers]) -> tuple[tuple[Count, ...], ...]:
        """The total of each term, by each rule of activation memory."""
        whole: list[Count] = [0] * len(self.place)
        left_out: list[list[Count]] = [[0] * len(whole) for _ in self.rules]
        for counted, uncounted, layers in groups:
            amounts = [len(layers) * amount for amount in counted.amounts]
            whole = list(map(add, whole, amounts))
            for rule, is_left_out in enumerate(uncounted):
                if is_left_out:
                    left_out[rule] = list(map(add, left_out[rule], amounts))
        return tuple([tuple(map(sub, whole, amounts)) for amounts in left_out])

    def _amount(self, group: _EquivalentLayers, measure: Measure, amounts: tuple[Count, ...]) -> Count:
        """One layer of a group by one measure."""
        if group.uncounted[self.rules.index(measure.excluded_layers)]:
            return 0
        return measure.copies * sum([amounts[self.place[term]] for term in measure.terms])

    def _value(self, network: _NetworkTerms, measure: Measure) -> Count:
        """A network by one measure, for one image."""
        totals = network.totals[self.rules.index(measure.excluded_layers)]
        value = measure.copies * sum([totals[self.place[term]] for term in measure.terms])
        return value + measure.copies * network.inputs if measure.includes_input and self.at is None else value

    def _below(self, nodes: Iterable[Node]) -> Iterator[Node]:
        return (node for node in nodes if self.at is None or is_below(node.name, self.at))

    # -- what is printed ------------------------------------------------------------------------------------------

    def _readings(self, measure: Measure) -> list[_Reading]:
        """What the printed unit may be taken for."""
        number = self.number
        if not number.power:
            return [_Reading(number.step(1), "")]
        if number.binary:
            return [_Reading(number.step(1024), "")]
        prefix = tuple(DECIMAL)[number.power].upper()
        if measure.quantity == "memory":
            binary = _Reading(number.step(1024), f"{prefix}B = 2^{10 * number.power}")
            return [binary, _Reading(number.step(1000), f"{prefix}B = 10^{3 * number.power}")]
        if number.power == 1 and measure.kilo != 1000:
            return [_Reading(number.step(measure.kilo), f"K = {measure.kilo}")]
        return [_Reading(number.step(1000), "")]

    def _digits(self, candidate: _Candidate, reading: _Reading) -> list[tuple[int, int]]:
        """The digits that a value is printed as, and what each costs: rounded half up, and truncated."""
        parts, step = candidate.value * reading.step.denominator, reading.step.numerator
        rounded, truncated = round_half_up(parts, step), parts // step
        found = [(rounded, candidate.cost)]
        return found if truncated in (rounded, 0) else [*found, (truncated, candidate.cost + TRUNCATED)]

    def _needless(self, candidate: _Candidate, reading: _Reading, cost: int) -> bool:
        """Whether the number is printed so without the change, too: then the change explains nothing."""
        if candidate.change is None:
            return False
        without = candidate._replace(value=candidate.unchanged)
        return any(d == self.number.digits and c <= cost for d, c in self._digits(without, reading))

    def _explanation(self, candidate: _Candidate, reading: _Reading, cost: int) -> Hypothesis:
        network, measure, batch, change, _, value, _ = candidate
        exact = self.number.digits * reading.step == value
        own = "" if batch == self.batch or not measure.per_image else f"at batch {batch}"
        return Hypothesis(
            network.name,
            measure.quantity,
            measure.label,
            measure.conventions,
            ", ".join(filter(None, (own, change.words if change else ""))),
            change.layers if change else (),
            value,
            "exact" if exact else "rounds" if cost == candidate.cost else "truncated",
            reading.words,
            cost,
            tuple(self._bridge(candidate)),
        )

    def _bridge(self, candidate: _Candidate) -> Iterator[BridgeStep]:
        """The steps from our number of the TARGET to the candidate's: they add up to its value, exactly."""
        measure = candidate.measure
        ours = self._ours_of(measure)
        target = self.plain[self.target]
        assert target is not None
        batch = self.batch if measure.per_image else 1
        value = batch * self._value(target, ours)
        where = self.target if self.at is None else f"{self.at} of {self.target}"
        yield BridgeStep(f"{measure.label} of {where}", value)
        network = candidate.network
        stages = [(f"as {network.name}", ours)]
        reached = ours
        if set(ours.terms) <= set(measure.terms):
            for term in measure.terms:
                if term not in ours.terms:
                    reached = reached._replace(terms=(*reached.terms, term))
                    stages.append((term.description, reached))
        else:
            words = " and ".join(term.description for term in measure.terms)
            reached = reached._replace(terms=measure.terms)
            stages.append((f"{words} alone", reached))
        reached = reached._replace(excluded_layers=measure.excluded_layers)
        stages.append((f"layers that {' and '.join(measure.conventions)} leaves out", reached))
        reached = reached._replace(includes_input=measure.includes_input)
        stages.append(("the input", reached))
        stages.append((f"kept {measure.copies // ours.copies} times", measure))
        for words, stage in stages:
            step = batch * self._value(network, stage) - value
            if step:
                value += step
                yield BridgeStep(words, step)
        if candidate.unchanged != value:
            yield BridgeStep(f"batch {candidate.batch}", candidate.unchanged - value)
        if candidate.change:
            yield BridgeStep(_told(candidate.change), candidate.value - candidate.unchanged)

    def _ours_of(self, measure: Measure) -> Measure:
        """The measure of our own number of the same thing."""
        of_parameters = measure.label in (LABELS["params"], BYTES_OF_PARAMETERS)
        terms = (MACS,) if measure.quantity == "flops" else ALL_PARAMETERS if of_parameters else ALL_OUTPUTS
        copies = self.element if measure.quantity == "memory" else 1
        return measure._replace(terms=terms, copies=copies, excluded_layers=no_layers, includes_input=False)

    def _ours(self) -> Iterator[Ours]:
        """The TARGET by every measure, measures that come to the same together."""
        network = self.plain[self.target]
        assert network is not None
        found: dict[tuple[Quantity, str, Count], list[str]] = {}
        for measure in self.measures:
            value = (self.batch if measure.per_image else 1) * self._value(network, measure)
            found.setdefault((measure.quantity, measure.label, value), []).extend(measure.conventions)
        for (quantity, label, value), names in found.items():
            yield Ours(quantity, label, tuple(names), value)


_LAYER_WORDS = {
    "left out": "one layer left out",
    "twice": "one layer counted twice",
    "separable": "one k×k kernel as k×1 and 1×k",
}


def _told(change: _Adjustment) -> str:
    return f"{change.words}: {change.layers[0]}" if change.layers else change.words
