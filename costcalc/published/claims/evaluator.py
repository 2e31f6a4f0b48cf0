"""The exact value of a claim: analyze its network, select its layers, and sum its quantity.

Fields are YAML nodes with source locations, and LocatedError reports a mistake at the location of its field.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from itertools import pairwise
from types import MappingProxyType
from typing import Any, NamedTuple

from costcalc.analysis.analyze import analyze
from costcalc.analysis.conventions import get_convention
from costcalc.analysis.cost_table import CostTable, Row
from costcalc.core.axes import IMAGE_DIM_NAMES
from costcalc.core.dtypes import element_bytes
from costcalc.core.errors import CostcalcError, SettingError, UnknownArchitecture, did_you_mean
from costcalc.core.sizes import prod
from costcalc.frontends.spec import Spec, SpecError
from costcalc.frontends.spec.catalogue import architectures, find_spec
from costcalc.frontends.spec.document import Location, YamlMapping, YamlNode, YamlScalar, YamlSequence
from costcalc.frontends.spec.expression import Expression, LocatedError
from costcalc.ir.graph import Graph
from costcalc.ir.ops import OPS
from costcalc.ir.paths import prefixes
from costcalc.ir.work import NO_WORK
from costcalc.published.claims.claims_file import (
    RATIO_FIELDS,
    SELECTION_FIELDS,
    SUM_FIELDS,
    ClaimFields,
    inherit_fields,
    unknown_field_message,
)
from costcalc.published.claims.verdict import ExactValue


class ClaimQuantity(NamedTuple):
    """A quantity of claims: its kind of unit, its description, and its value for some rows of a cost table."""

    kind: str  # "count", "bytes" or "shape"
    description: str
    of: Callable[[list[Row], CostTable], Any]


def _total(attribute: str) -> Callable[[list[Row], CostTable], Any]:
    return lambda rows, _: sum(getattr(row, attribute) for row in rows)


def _output_elements(row: Row) -> Any:
    return prod(row.output or ())


def _output_bytes(rows: list[Row], costs: CostTable) -> Any:
    copies = get_convention(costs.convention).activation_copies
    input_bytes = element_bytes(costs.dtype) * sum(_output_elements(row) for row in rows if row.path in costs.inputs)
    layer_bytes = element_bytes(costs.dtype) * sum(
        _output_elements(row) for row in rows if row.path not in costs.inputs
    )
    return input_bytes + copies * layer_bytes


def _weight_bytes(rows: list[Row], costs: CostTable) -> Any:
    copies = get_convention(costs.convention).param_copies
    return sum(row.weights or 0 for row in rows) * element_bytes(costs.dtype) * copies


def _shape(rows: list[Row], _: CostTable) -> Any:
    """Return the last output's shape without the batch, channels last, as papers print it."""
    shape = rows[-1].output or ()
    return (*shape[2:], *shape[1:2])


def _output_size(dim: int) -> Callable[[list[Row], CostTable], Any]:
    return lambda rows, _: (rows[-1].output or ())[dim : dim + 1]


def _receptive_field(rows: list[Row], _: CostTable) -> Any:
    return tuple(dict.fromkeys(rows[-1].receptive_field or ()))


CLAIM_QUANTITIES: Mapping[str, ClaimQuantity] = MappingProxyType(
    {
        "params": ClaimQuantity(
            "count", "all parameters, including biases and those of normalisations", _total("params")
        ),
        "weights": ClaimQuantity("count", "only the parameters of kernels and matrices", _total("weights")),
        "macs": ClaimQuantity("count", "multiply-accumulates", _total("macs")),
        "flops": ClaimQuantity("count", "FLOPs as the convention counts them", _total("flops")),
        "activations": ClaimQuantity("count", "elements of the tensors that layers allocate", _total("activations")),
        "output": ClaimQuantity(
            "count", "elements of the last layer's output", lambda rows, _: _output_elements(rows[-1])
        ),
        "outputs": ClaimQuantity(
            "count",
            "elements of the outputs of all layers, including views and in-place layers",
            lambda rows, _: sum(map(_output_elements, rows)),
        ),
        "counted_params": ClaimQuantity("count", "parameters as the convention counts them", _total("counted_params")),
        "counted_activations": ClaimQuantity(
            "count", "activation elements as the convention counts them", _total("counted_activations")
        ),
        "param_bytes": ClaimQuantity("bytes", "bytes of parameters, by the convention", _total("param_bytes")),
        "weight_bytes": ClaimQuantity("bytes", "bytes of weights, by the convention", _weight_bytes),
        "activation_bytes": ClaimQuantity(
            "bytes", "bytes of activations, by the convention", _total("activation_bytes")
        ),
        "output_bytes": ClaimQuantity(
            "bytes", "bytes of the outputs of all layers, with as many copies as the convention stores", _output_bytes
        ),
        "weight_layers": ClaimQuantity("count", "weight layers on the longest path", _total("weight_layers")),
        "layers": ClaimQuantity("count", "number of layers", _total("layer_count")),
        "receptive_field": ClaimQuantity(
            "count", "side of the receptive field of the last layer, in pixels", _receptive_field
        ),
        "shape": ClaimQuantity("shape", "output shape of the last layer, as HxWxC", _shape),
        "channels": ClaimQuantity("count", "channels of the last layer's output", _output_size(1)),
        "height": ClaimQuantity("count", "height of the last layer's output", _output_size(2)),
        "width": ClaimQuantity("count", "width of the last layer's output", _output_size(3)),
    }
)


class AnalysisCache(NamedTuple):
    """Graphs and cost tables, by the arguments of the calls that returned them."""

    graphs: dict[Any, Graph]
    tables: dict[Any, CostTable]


class LoadArguments(NamedTuple):
    """The arguments of `load` for a network; the target is None for a network that the claims file itself defines."""

    target: str | None
    options: dict[str, Any]


class Evaluator:
    """Computes the exact values of the claims of one file.

    `networks` are the specs that the file defines, by name; they override those that ship. `folder` is where files of
    networks are looked up. Analyses of networks that ship are cached in `shared`, for other claims files.
    """

    def __init__(self, networks: Mapping[str, tuple[Spec, str]], folder: str, shared: AnalysisCache) -> None:
        self.networks, self.folder, self.shared = networks, folder, shared
        self.file_cache = AnalysisCache({}, {})

    def value(self, fields: ClaimFields) -> ExactValue:
        """Return the exact value of a claim's fields, in base units.

        Raises LocatedError for a mistake in a field, and SpecError for mistakes in a network of the file.
        """
        name = _text_field(fields, "limit") if "limit" in fields else None
        if name is None:
            return self._value(fields, {})
        location, ratio = fields["limit"].location, fields.get("over")
        if not isinstance(ratio, YamlMapping) or "more_than" in fields or "less_than" in fields:
            raise LocatedError(location, "limit needs over: it is the limit of a ratio as a setting grows")
        settings = self.costs(fields).settings
        if type(settings.get(name)) is not int:
            near = did_you_mean(name, [key for key, value in settings.items() if type(value) is int])
            raise LocatedError(
                location, f"{_text_field(fields, 'network')} has no setting {name!r} that is a whole number{near}"
            )
        # Counts are polynomials in a width. Differences of their values give the leading terms, which decide the limit.
        sizes = range(1, 10)
        above, below = (
            _leading_term([_require_number(self._operand(side, {name: size}), side) for size in sizes])
            for side in (fields, self._operand_fields(fields, ratio))
        )
        if above is None or below is None or above[0] > below[0] or not below[1]:
            raise LocatedError(location, f"the ratio has no limit as {name} grows")
        return Fraction(0) if above[0] < below[0] else Fraction(above[1]) / below[1]

    def costs(self, fields: ClaimFields, extra: Mapping[str, int] | None = None) -> CostTable:
        """Return the cost table of the claim's network, with `extra` settings. Raises LocatedError and SpecError."""
        network = self._network(fields)
        sizes = {**self._load_options(fields), **(extra or {})}
        cache = self.file_cache if network in self.networks or _is_file(network) else self.shared
        graph_key = (network, repr(sorted(sizes.items())))
        if graph_key not in cache.graphs:
            cache.graphs[graph_key] = self._build(fields, network, sizes)
        convention, dtype = _text_field(fields, "convention") or "flops", _text_field(fields, "dtype") or "fp32"
        table_key = (*graph_key, convention, dtype)
        if table_key not in cache.tables:
            for field, check, name in (("convention", get_convention, convention), ("dtype", element_bytes, dtype)):
                try:
                    check(name)
                except CostcalcError as error:
                    raise LocatedError(fields[field].location, str(error)) from None
            cache.tables[table_key] = analyze(cache.graphs[graph_key], convention=convention, dtype=dtype)
        return cache.tables[table_key]

    def load_arguments(self, fields: ClaimFields) -> LoadArguments:
        """Return the arguments of `load` for the claim's network."""
        network = self._network(fields)
        return LoadArguments(None if network in self.networks else self._target(network), self._load_options(fields))

    def _network(self, fields: ClaimFields) -> str:
        network = _text_field(fields, "network")
        if not network:
            raise LocatedError(None, "has no network: add `network:`")
        return network

    def _load_options(self, fields: ClaimFields) -> dict[str, Any]:
        sizes: dict[str, Any] = {}
        for field in ("set", "input"):
            value = fields.get(field)
            if value is not None and not isinstance(value, YamlMapping):
                example = "{convs: [2, 2, 2, 3, 3]}" if field == "set" else "{height: 227, width: 227}"
                raise LocatedError(value.location, f"{field} must be a mapping, such as {example}")
            for key, entry in value.entries if isinstance(value, YamlMapping) else ():
                if (key.text in IMAGE_DIM_NAMES) is not (field == "input"):
                    known = f"an input has {', '.join(IMAGE_DIM_NAMES)}"
                    raise LocatedError(
                        key.location, f"{key.text} is a size: put it under input" if field == "set" else known
                    )
                sizes[key.text] = _plain_value(entry)
        if "batch" in fields:
            sizes["batch"] = getattr(fields["batch"], "value", None)
        return sizes

    def _build(self, fields: ClaimFields, network: str, sizes: Mapping[str, Any]) -> Graph:
        location = fields["network"].location
        try:
            spec, variant = self.networks.get(network) or find_spec(self._target(network))
            return spec.build(variant, sizes)
        except SpecError as error:
            if network in self.networks:
                raise
            location = fields["input"].location if "input" in fields else location
            message = f"{network} cannot be built with this input: {error.problems[0].message}"
            raise LocatedError(location, message) from None
        except UnknownArchitecture:
            near = did_you_mean(network, self.networks) or did_you_mean(network, architectures())
            message = f"no network {network!r}{near}: use a name that `costcalc list` prints, a path that ends"
            raise LocatedError(location, message + " in .yaml, or a name defined under networks") from None
        except SettingError as error:
            raise LocatedError(_setting_locations(fields).get(error.setting, location), str(error)) from None
        except CostcalcError as error:
            raise LocatedError(location, str(error)) from None

    def _target(self, network: str) -> str:
        return os.path.join(self.folder, network) if _is_file(network) else network

    # -- arithmetic -----------------------------------------------------------------------------------------------

    def _value(self, fields: ClaimFields, extra: Mapping[str, int]) -> ExactValue:
        value = self._operand(fields, extra)
        for relation in RATIO_FIELDS:
            if relation in fields:
                part = _require_number(value, fields)
                whole = self._term_value(fields, fields[relation], extra)
                if not whole:
                    raise LocatedError(fields[relation].location, f"{relation} is 0, and cannot be a divisor")
                ratio = Fraction(part) / whole
                value = {"over": ratio, "more_than": ratio - 1, "less_than": 1 - ratio}[relation]
        return value

    def _operand(self, fields: ClaimFields, extra: Mapping[str, int]) -> ExactValue:
        """Return the quantity of the selected layers, with the terms of plus and minus."""
        value = self._quantity(fields, extra)
        for relation, sign in zip(SUM_FIELDS, (1, -1), strict=True):
            terms = fields.get(relation)
            for term in terms.items if isinstance(terms, YamlSequence) else [] if terms is None else [terms]:
                value = _require_number(value, fields) + sign * self._term_value(fields, term, extra)
        return value

    def _term_value(self, fields: ClaimFields, value: YamlNode, extra: Mapping[str, int]) -> int | Fraction:
        """Return the value of a term: a mapping of the fields that differ, or an expression of sizes."""
        if isinstance(value, YamlMapping):
            fields = self._operand_fields(fields, value)
            return _require_number(self._operand(fields, extra), fields)
        if not isinstance(value, YamlScalar):
            raise LocatedError(
                value.location, "must be a mapping of the fields that differ, or an expression such as 9 * C"
            )
        costs = self.costs(fields, extra)
        shape = next(iter(costs.inputs.values()))
        names = {**costs.settings, **(dict(zip(IMAGE_DIM_NAMES, shape, strict=True)) if len(shape) == 4 else {})}
        expression = Expression(value)
        for problem in expression.check_value(names):
            raise LocatedError(*problem)
        number = expression.evaluate(names)
        if not isinstance(number, int) or isinstance(number, bool):
            raise LocatedError(value.location, f"must be a whole number, not {number!r}")
        return number

    def _operand_fields(self, fields: ClaimFields, part: YamlMapping) -> dict[str, YamlNode]:
        """Return the fields of a term: the claim's selection, overridden by the term's own fields."""
        for key, _ in part.entries:
            if key.text not in (*SELECTION_FIELDS, *SUM_FIELDS):
                raise LocatedError(key.location, unknown_field_message(key.text, (*SELECTION_FIELDS, *SUM_FIELDS)))
        return inherit_fields({name: value for name, value in fields.items() if name in SELECTION_FIELDS}, part)

    def _quantity(self, fields: ClaimFields, extra: Mapping[str, int]) -> ExactValue:
        quantity = quantity_of(fields)
        costs = self.costs(fields, extra)
        rows = _selected_rows(fields, costs)
        if quantity.kind != "shape":
            unknown = [row.path for row in rows if row.unknown_layers]
            if unknown:
                raise LocatedError(
                    fields["network"].location, f"cannot count layer {unknown[0]!r}: its op is not modelled"
                )
        value = quantity.of(rows, costs)
        # The output of the last layer may have several spatial sizes, or none.
        if isinstance(value, tuple) and quantity.kind == "count":
            if len(value) != 1:
                last = rows[-1].path
                sides = "×".join(map(str, value))
                raise LocatedError(
                    fields["quantity"].location,
                    f"{last} has no single {_text_field(fields, 'quantity')}: " + (sides or "no spatial size"),
                )
            (value,) = value
        return value  # type: ignore[no-any-return]


def quantity_of(fields: ClaimFields) -> ClaimQuantity:
    """Return the quantity that the fields name. Raises LocatedError for a missing or an unknown one."""
    name = _text_field(fields, "quantity")
    if not name:
        raise LocatedError(None, f"has no quantity: add `quantity:` with one of {', '.join(CLAIM_QUANTITIES)}")
    if name not in CLAIM_QUANTITIES:
        near = did_you_mean(name, CLAIM_QUANTITIES)
        raise LocatedError(
            fields["quantity"].location, f"no quantity {name!r}{near}: there are {', '.join(CLAIM_QUANTITIES)}"
        )
    return CLAIM_QUANTITIES[name]


def _selected_rows(fields: ClaimFields, costs: CostTable) -> list[Row]:
    """Return the rows that `layers` and `op` select. An input is selected by its name and has its own row."""
    names = _text_list_field(fields, "layers", "a layer, or a list of them")
    rows: list[Row] = []
    for name, location in names:
        matching = _matching_rows(name.strip("/"), costs)
        if not matching:
            near = did_you_mean(name, prefixes(row.path for row in costs.rows))
            raise LocatedError(location, f"{costs.name} has no layer {name!r}{near}")
        twice = next((row.path for row in matching if row in rows), None)
        if twice is not None:
            raise LocatedError(location, f"{twice} is selected twice: to count a layer twice, repeat it under plus")
        rows += matching
    rows = rows if names else list(costs.rows)
    kinds = _text_list_field(fields, "op", "an op, or a list of them")
    for kind, location in kinds:
        if kind not in OPS:
            raise LocatedError(
                location, f"no op {kind!r}{did_you_mean(kind, OPS)}: `costcalc schema` lists all {len(OPS)}"
            )
    if kinds:
        rows = [row for row in rows if row.op in {kind for kind, _ in kinds}]
        if not rows:
            raise LocatedError(kinds[0][1], f"{costs.name} has no {' or '.join(k for k, _ in kinds)} in this selection")
    return rows


def _matching_rows(name: str, costs: CostTable) -> list[Row]:
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
    return list(costs.below(name).rows)


def _leading_term(values: list[int | Fraction]) -> tuple[int, int | Fraction] | None:
    """Return the degree of the polynomial with these values at 1, 2, …, and its leading coefficient times degree!.

    Returns None for too few values: the last differences are not equal.
    """
    for degree in range(len(values) - 1):
        if len(set(values)) == 1:
            return degree, values[0]
        values = [after - before for before, after in pairwise(values)]
    return None


# -- reading fields -----------------------------------------------------------------------------------------------


def _text_field(fields: ClaimFields, name: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, YamlScalar) or not isinstance(value.value, str):
        raise LocatedError(value.location, f"{name} must be text")
    return value.value


def _text_list_field(fields: ClaimFields, name: str, expected: str) -> list[tuple[str, Location]]:
    value = fields.get(name)
    if value is None:
        return []
    items: Iterable[YamlNode] = value.items if isinstance(value, YamlSequence) else [value]
    texts = [(item.text, item.location) for item in items if isinstance(item, YamlScalar) and item.value is not None]
    if not texts or len(texts) != len(list(items)):
        raise LocatedError(value.location, f"{name} must be {expected}")
    return texts


def _is_file(network: str) -> bool:
    return network.partition(":")[0].endswith((".yaml", ".yml"))


def _plain_value(value: YamlNode) -> Any:
    if isinstance(value, YamlSequence):
        return tuple(map(_plain_value, value.items))
    return value.value if isinstance(value, YamlScalar) else None


def _require_number(value: ExactValue, fields: ClaimFields) -> int | Fraction:
    if isinstance(value, tuple):
        raise LocatedError(fields["quantity"].location, "a shape cannot be added or divided")
    return value


def _setting_locations(fields: ClaimFields) -> dict[str, Location]:
    """Return the source locations of the values of sizes and settings, by name."""
    locations = {"batch": fields["batch"].location} if "batch" in fields else {}
    for field in ("input", "set"):
        value = fields.get(field)
        for key, entry in value.entries if isinstance(value, YamlMapping) else ():
            locations[key.text] = entry.location if isinstance(entry, YamlScalar) else key.location
    return locations
