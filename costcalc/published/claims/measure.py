"""What a claim is about, as an exact number: its network analysed, its layers chosen, its quantity added up.

Fields are still located values, so that whatever is wrong with one is said at its place.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from itertools import pairwise
from types import MappingProxyType
from typing import Any, NamedTuple

from costcalc.analysis.analyze import analyze
from costcalc.analysis.conventions import get_convention
from costcalc.analysis.cost_table import CostTable, Row
from costcalc.core.dtypes import element_bytes
from costcalc.core.errors import CostcalcError, did_you_mean
from costcalc.core.sizes import prod
from costcalc.frontends.spec import Spec, SpecError
from costcalc.frontends.spec.catalogue import find_spec
from costcalc.frontends.spec.document import Location, YamlMapping, YamlNode, YamlScalar, YamlSequence
from costcalc.frontends.spec.expression import IMAGE_SIZES, Expression, LocatedError
from costcalc.ir.graph import Graph
from costcalc.ir.ops import OPS
from costcalc.ir.paths import is_below
from costcalc.ir.work import NO_WORK
from costcalc.published.claims.language import COVERAGE, RATIOS, SUMS, Given, inherited, unknown_field
from costcalc.published.claims.verdict import Exact


class Quantity(NamedTuple):
    """Something that can be counted of rows: what kind of unit it has, what it is, and how it comes from them."""

    kind: str  # "count", "bytes" or "shape"
    meaning: str
    of: Callable[[list[Row], CostTable], Any]


def _sum(attribute: str) -> Callable[[list[Row], CostTable], Any]:
    return lambda rows, _: sum(getattr(row, attribute) for row in rows)


def _outputs(row: Row) -> Any:
    return prod(row.output or ())


def _output_bytes(rows: list[Row], costs: CostTable) -> Any:
    copies = get_convention(costs.convention).activation_copies
    fed = element_bytes(costs.dtype) * sum(_outputs(row) for row in rows if row.path in costs.inputs)
    made = element_bytes(costs.dtype) * sum(_outputs(row) for row in rows if row.path not in costs.inputs)
    return fed + copies * made


def _weight_bytes(rows: list[Row], costs: CostTable) -> Any:
    copies = get_convention(costs.convention).param_copies
    return sum(row.weights or 0 for row in rows) * element_bytes(costs.dtype) * copies


def _shape(rows: list[Row], _: CostTable) -> Any:
    """Without the batch, the channels last, as papers print it."""
    shape = rows[-1].output or ()
    return (*shape[2:], *shape[1:2])


def _size(place: int) -> Callable[[list[Row], CostTable], Any]:
    return lambda rows, _: (rows[-1].output or ())[place : place + 1]


def _field(rows: list[Row], _: CostTable) -> Any:
    return tuple(dict.fromkeys(rows[-1].receptive_field or ()))


QUANTITIES: Mapping[str, Quantity] = MappingProxyType(
    {
        "params": Quantity("count", "parameters, with bias and normalisation", _sum("params")),
        "weights": Quantity("count", "parameters of kernels and matrices alone", _sum("weights")),
        "macs": Quantity("count", "multiply-accumulates", _sum("macs")),
        "flops": Quantity("count", "what the convention counts as its FLOPs", _sum("flops")),
        "activations": Quantity("count", "elements of the tensors that layers make", _sum("activations")),
        "output": Quantity("count", "elements of the last layer's output", lambda rows, _: _outputs(rows[-1])),
        "outputs": Quantity(
            "count", "elements of all outputs, of views and of layers in place too",
            lambda rows, _: sum(map(_outputs, rows)),
        ),
        "counted_params": Quantity("count", "parameters as the convention counts them", _sum("counted_params")),
        "counted_activations": Quantity(
            "count", "activation elements as the convention counts them", _sum("counted_activations")
        ),
        "param_bytes": Quantity("bytes", "bytes of parameters, by the convention", _sum("param_bytes")),
        "weight_bytes": Quantity("bytes", "bytes of weights, by the convention", _weight_bytes),
        "activation_bytes": Quantity("bytes", "bytes of activations, by the convention", _sum("activation_bytes")),
        "output_bytes": Quantity("bytes", "bytes of all outputs, each stored as the convention does", _output_bytes),
        "weight_layers": Quantity("count", "weight layers on the longest path", _sum("weight_layers")),
        "layers": Quantity("count", "how many layers there are", _sum("layer_count")),
        "receptive_field": Quantity("count", "pixels on a side that the last layer sees", _field),
        "shape": Quantity("shape", "output of the last layer, HxWxC", _shape),
        "channels": Quantity("count", "channels of the last layer's output", _size(1)),
        "height": Quantity("count", "height of the last layer's output", _size(2)),
        "width": Quantity("count", "width of the last layer's output", _size(3)),
    }
)  # fmt: skip


class Analyses(NamedTuple):
    """Networks built and analysed, each once for each way in which it is asked for."""

    graphs: dict[Any, Graph]
    tables: dict[Any, CostTable]


class NetworkQuery(NamedTuple):
    """A network as `load` takes it (None: it is written in the file of claims), with its settings and sizes."""

    target: str | None
    sizes: dict[str, Any]


class Bench:
    """Measures the claims of one file.

    `networks` are the file's own specs by name, which win over those that ship; a network's file is looked for in
    `folder`. Analyses of networks that ship are put into `shared`, for other files.
    """

    def __init__(self, networks: Mapping[str, tuple[Spec, str]], folder: str, shared: Analyses) -> None:
        self.networks, self.folder, self.shared = networks, folder, shared
        self.own = Analyses({}, {})

    def value(self, given: Given) -> Exact:
        """The exact value of what the fields cover, in base units. Raises Fault, and SpecError for a network's own."""
        name = _text(given, "limit") if "limit" in given else None
        if name is None:
            return self._value(given, {})
        place, ratio = given["limit"].location, given.get("over")
        if not isinstance(ratio, YamlMapping) or "more_than" in given or "less_than" in given:
            raise LocatedError(place, "limit goes with over: it is what a ratio of two counts tends to")
        settings = self.costs(given).settings
        if type(settings.get(name)) is not int:
            near = did_you_mean(name, [key for key, value in settings.items() if type(value) is int])
            raise LocatedError(place, f"{_text(given, 'network')} has no setting {name!r} that is a whole number{near}")
        # Counts are polynomials in a width: their leading terms decide, which differences of values give exactly.
        sizes = range(1, 10)
        above, below = (
            _leading([_number(self._operand(side, {name: size}), side) for size in sizes])
            for side in (given, self._operand_fields(given, ratio))
        )
        if above is None or below is None or above[0] > below[0] or not below[1]:
            raise LocatedError(place, f"the ratio has no limit as {name} grows")
        return Fraction(0) if above[0] < below[0] else Fraction(above[1]) / below[1]

    def costs(self, given: Given, extra: Mapping[str, int] | None = None) -> CostTable:
        """The analysis of the network that the fields name, with `extra` settings. Raises Fault and SpecError."""
        network = self._network(given)
        sizes = {**self._sizes(given), **(extra or {})}
        done = self.own if network in self.networks or _is_file(network) else self.shared
        built = (network, repr(sorted(sizes.items())))
        if built not in done.graphs:
            done.graphs[built] = self._build(given, network, sizes)
        convention, dtype = _text(given, "convention") or "flops", _text(given, "dtype") or "fp32"
        counted = (*built, convention, dtype)
        if counted not in done.tables:
            try:
                done.tables[counted] = analyze(done.graphs[built], convention=convention, dtype=dtype)
            except CostcalcError as error:
                wrong = "dtype" if str(error).startswith("no dtype") else "convention"
                raise LocatedError(given[wrong].location, str(error)) from None
        return done.tables[counted]

    def asked(self, given: Given) -> NetworkQuery:
        """What network the fields ask for, and the settings and sizes they give it."""
        network = self._network(given)
        return NetworkQuery(None if network in self.networks else self._target(network), self._sizes(given))

    def _network(self, given: Given) -> str:
        network = _text(given, "network")
        if not network:
            raise LocatedError(None, "names no network")
        return network

    def _sizes(self, given: Given) -> dict[str, Any]:
        sizes: dict[str, Any] = {}
        for field in ("set", "input"):
            value = given.get(field)
            if value is not None and not isinstance(value, YamlMapping):
                example = "{convs: [2, 2, 2, 3, 3]}" if field == "set" else "{height: 227, width: 227}"
                raise LocatedError(value.location, f"{field} must be a mapping, such as {example}")
            for key, entry in value.entries if isinstance(value, YamlMapping) else ():
                if (key.text in IMAGE_SIZES) is not (field == "input"):
                    known = f"an input has {', '.join(IMAGE_SIZES)}"
                    raise LocatedError(
                        key.location, f"{key.text} is the input's: give it there" if field == "set" else known
                    )
                sizes[key.text] = _plain(entry)
        if "batch" in given:
            sizes["batch"] = getattr(given["batch"], "value", None)
        return sizes

    def _build(self, given: Given, network: str, sizes: Mapping[str, Any]) -> Graph:
        place = given["network"].location
        try:
            spec, variant = self.networks.get(network) or find_spec(
                os.path.join(self.folder, network) if _is_file(network) else network
            )
            return spec.build(variant, sizes)
        except SpecError as error:
            if network in self.networks:
                raise
            place = given["input"].location if "input" in given else place
            raise LocatedError(place, f"{network} cannot be built so: {error.problems[0].message}") from None
        except CostcalcError as error:
            message = str(error)
            if message.startswith("no architecture"):
                near = did_you_mean(network, self.networks) or did_you_mean(network, _shipped())
                message = f"no network {network!r}{near}: `costcalc list` prints those that ship; others are files"
                raise LocatedError(place, message + " ending in .yaml, or written under networks") from None
            fault = next(
                (p for p, word in _assigned(given) if message.startswith(word) or repr(word) in message), place
            )
            raise LocatedError(fault, message) from None

    def _target(self, network: str) -> str:
        return os.path.join(self.folder, network) if _is_file(network) else network

    # -- arithmetic -----------------------------------------------------------------------------------------------

    def _value(self, given: Given, extra: Mapping[str, int]) -> Exact:
        value = self._operand(given, extra)
        for relation in RATIOS:
            if relation in given:
                part = _number(value, given)
                whole = self._part(given, given[relation], extra)
                if not whole:
                    raise LocatedError(given[relation].location, f"{relation} is 0: nothing can be divided by it")
                ratio = Fraction(part) / whole
                value = {"over": ratio, "more_than": ratio - 1, "less_than": 1 - ratio}[relation]
        return value

    def _operand(self, given: Given, extra: Mapping[str, int]) -> Exact:
        """The quantity of what is covered, with what is added and taken away."""
        value = self._quantity(given, extra)
        for relation, sign in zip(SUMS, (1, -1), strict=True):
            terms = given.get(relation)
            for term in terms.items if isinstance(terms, YamlSequence) else [] if terms is None else [terms]:
                value = _number(value, given) + sign * self._part(given, term, extra)
        return value

    def _part(self, given: Given, value: YamlNode, extra: Mapping[str, int]) -> int | Fraction:
        """What stands in a sum or a ratio: a mapping of what it covers otherwise, or an expression of sizes."""
        if isinstance(value, YamlMapping):
            fields = self._operand_fields(given, value)
            return _number(self._operand(fields, extra), fields)
        if not isinstance(value, YamlScalar):
            raise LocatedError(
                value.location, "must be a mapping of what it covers otherwise, or an expression such as 9 * C"
            )
        costs = self.costs(given, extra)
        shape = next(iter(costs.inputs.values()))
        names = {**costs.settings, **(dict(zip(IMAGE_SIZES, shape, strict=True)) if len(shape) == 4 else {})}
        expression = Expression(value)
        for problem in expression.check_value(names):
            raise LocatedError(*problem)
        number = expression.evaluate(names)
        if not isinstance(number, int) or isinstance(number, bool):
            raise LocatedError(value.location, f"must be a whole number, not {number!r}")
        return number

    def _operand_fields(self, given: Given, part: YamlMapping) -> dict[str, YamlNode]:
        """The fields of a part: it covers what the claim does, but for what it says; relations are its own."""
        for key, _ in part.entries:
            if key.text not in (*COVERAGE, *SUMS):
                raise LocatedError(key.location, unknown_field(key.text, (*COVERAGE, *SUMS)))
        return inherited({name: value for name, value in given.items() if name in COVERAGE}, part)

    def _quantity(self, given: Given, extra: Mapping[str, int]) -> Exact:
        quantity = quantity_of(given)
        costs = self.costs(given, extra)
        rows = _covered(given, costs)
        if quantity.kind != "shape":
            unknown = [row.path for row in rows if row.unknown_layers]
            if unknown:
                raise LocatedError(
                    given["network"].location, f"{unknown[0]} cannot be counted: it is unknown to costcalc"
                )
        value = quantity.of(rows, costs)
        if isinstance(value, tuple) and quantity.kind == "count":  # a size that the last layer may not have
            if len(value) != 1:
                last = rows[-1].path
                sides = "×".join(map(str, value))
                raise LocatedError(
                    given["quantity"].location,
                    f"{last} has no single {_text(given, 'quantity')}: " + (sides or "no plane"),
                )
            (value,) = value
        return value  # type: ignore[no-any-return]


def quantity_of(given: Given) -> Quantity:
    """The quantity that the fields name. Raises Fault."""
    name = _text(given, "quantity")
    if not name:
        raise LocatedError(None, f"names no quantity: there are {', '.join(QUANTITIES)}")
    if name not in QUANTITIES:
        near = did_you_mean(name, QUANTITIES)
        raise LocatedError(given["quantity"].location, f"no quantity {name!r}{near}: there are {', '.join(QUANTITIES)}")
    return QUANTITIES[name]


def _covered(given: Given, costs: CostTable) -> list[Row]:
    """The rows that `layers` and `op` choose; the input is a row like any other, with its own name."""
    names = _texts(given, "layers", "a layer, or a list of them")
    rows: list[Row] = []
    for name, place in names:
        found = _rows_of(name.strip("/"), costs)
        if not found:
            near = did_you_mean(name, _paths(costs))
            raise LocatedError(place, f"{costs.name} has no layer {name!r}{near}")
        twice = next((row.path for row in found if row in rows), None)
        if twice is not None:
            raise LocatedError(place, f"{twice} is covered twice: what counts twice goes under plus")
        rows += found
    rows = rows if names else list(costs.rows)
    kinds = _texts(given, "op", "an op, or a list of them")
    for kind, place in kinds:
        if kind not in OPS:
            raise LocatedError(
                place, f"no op {kind!r}{did_you_mean(kind, OPS)}: `costcalc schema` lists all {len(OPS)}"
            )
    if kinds:
        rows = [row for row in rows if row.op in {kind for kind, _ in kinds}]
        if not rows:
            raise LocatedError(kinds[0][1], f"{costs.name} has no {' or '.join(k for k, _ in kinds)} there")
    return rows


def _rows_of(name: str, costs: CostTable) -> list[Row]:
    if name in costs.inputs:
        shape = costs.inputs[name]
        elements = prod(shape)
        stored = elements * element_bytes(costs.dtype)
        return [
            Row(
                path=name,
                op="input",
                output=shape,
                params=0,
                param_bytes=0,
                work=NO_WORK,
                flops=0,
                activations=elements,
                activation_bytes=stored,
                counted_activations=elements,
                layer_count=0,
            )
        ]
    if "*" not in name:
        return [row for row in costs.rows if is_below(row.path, name)]
    pattern = re.compile(re.escape(name).replace(r"\*", "[^/]*") + "(/.*)?")
    return [row for row in costs.rows if pattern.fullmatch(row.path)]


def _paths(costs: CostTable) -> set[str]:
    parts = [row.path.split("/") for row in costs.rows]
    return {"/".join(path[:depth]) for path in parts for depth in range(1, len(path) + 1)}


def _leading(values: list[int | Fraction]) -> tuple[int, int | Fraction] | None:
    """Degree of the polynomial that takes these values at 1, 2, …, and its leading coefficient times degree!.

    None where they are too few to tell: the last differences are not yet equal.
    """
    for degree in range(len(values) - 1):
        if len(set(values)) == 1:
            return degree, values[0]
        values = [after - before for before, after in pairwise(values)]
    return None


# -- reading fields -----------------------------------------------------------------------------------------------


def _text(given: Given, name: str) -> str:
    value = given.get(name)
    if value is None:
        return ""
    if not isinstance(value, YamlScalar) or not isinstance(value.value, str):
        raise LocatedError(value.location, f"{name} must be text")
    return value.value


def _texts(given: Given, name: str, what: str) -> list[tuple[str, Location]]:
    value = given.get(name)
    if value is None:
        return []
    items: Iterable[YamlNode] = value.items if isinstance(value, YamlSequence) else [value]
    found = [(item.text, item.location) for item in items if isinstance(item, YamlScalar) and item.value is not None]
    if not found or len(found) != len(list(items)):
        raise LocatedError(value.location, f"{name} must be {what}")
    return found


def _is_file(network: str) -> bool:
    return network.partition(":")[0].endswith((".yaml", ".yml"))


def _plain(value: YamlNode) -> Any:
    if isinstance(value, YamlSequence):
        return tuple(map(_plain, value.items))
    return value.value if isinstance(value, YamlScalar) else None


def _number(value: Exact, given: Given) -> int | Fraction:
    if isinstance(value, tuple):
        raise LocatedError(given["quantity"].location, "a shape cannot be added to or divided")
    return value


def _assigned(given: Given) -> Iterable[tuple[Location, str]]:
    for field in ("set", "input"):
        value = given.get(field)
        for key, entry in value.entries if isinstance(value, YamlMapping) else ():
            yield (entry.location if isinstance(entry, YamlScalar) else key.location), key.text
    if "batch" in given:
        yield given["batch"].location, "batch"


def _shipped() -> Iterable[str]:
    from costcalc.frontends.spec.catalogue import architectures

    return architectures()
