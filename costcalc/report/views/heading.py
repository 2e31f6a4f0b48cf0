"""Headings and notes that several views share: network, inputs, settings, convention, unknown layers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from costcalc.analysis.conventions import CONVENTIONS
from costcalc.analysis.cost_table import CostTable, Row
from costcalc.core.sizes import Count, Shape, Size, format_inputs, prod
from costcalc.core.units import BINARY
from costcalc.report.document import JsonObject


def network_title(costs: CostTable) -> str:
    """Return the name of a network, with its title where that says more."""
    return f"{costs.name}: {costs.title}" if costs.title not in ("", costs.name) else costs.name


def headline(costs: CostTable, suffix: str = "") -> str:
    """Return the title of a table: the network, then inputs, batch, dtype, mode and convention.

    A `suffix` follows the name of the network in place of its title.
    """
    title = f"{costs.name}{suffix}" if suffix else network_title(costs)
    mode = ", training" if costs.training else ""
    batch = format_exact(costs.batch)
    return f"{title}\n{format_inputs(costs.inputs)}, batch {batch}, {costs.dtype}{mode}, convention {costs.convention}"


def mode_text(training: bool) -> str:
    """Return the mode of a run in one word."""
    return "training" if training else "inference"


def common_settings(settings: Sequence[str]) -> str | None:
    """Return the settings that all networks share, or None where they differ."""
    return settings[0] if len(set(settings)) == 1 else None


def counting_notes(costs: CostTable) -> tuple[str, ...]:
    """Return notes on how to read counts: convention, unknown layers, assumptions, unused parameters."""
    convention = CONVENTIONS[costs.convention]
    notes = [convention_note(costs.convention)]
    if convention.columns:
        elements = sum(prod(shape) for shape in costs.inputs.values())
        notes.append(
            f"The input, in no row and no total: {format_exact(elements)} elements, "
            f"{format_exact(costs.input_bytes)} bytes ({_format_mib(costs.input_bytes)} MiB), stored once."
        )
    notes += unknown_note(costs)
    notes += assumptions_note(costs.assumptions)
    if costs.unused_parameters:
        count = sum(map(prod, costs.unused_parameters.values()))
        modules = ", ".join(_unused_modules(costs))
        notes.append(f"Not counted: {format_exact(count)} parameters that no layer uses: {modules}.")
    return (*notes, *(f"{note}." for note in costs.notes))


def convention_note(convention: str) -> str:
    """Return the definition of a convention as a note."""
    return f"Convention {convention}: {CONVENTIONS[convention].definition}"


def unknown_names(rows: Iterable[Row], network: str = "") -> str:
    """Return layers with their ops, `network layer (op)`, separated by commas."""
    prefix = f"{network} " if network else ""
    return ", ".join(f"{prefix}{row.path} ({row.op})" for row in rows)


def unknown_note(costs: CostTable) -> list[str]:
    """Return a note with the layers that could not be counted, or none."""
    return lower_bounds_note(unknown_names(costs.unknown))


def lower_bounds_note(unknown: str) -> list[str]:
    """Return a note with the names of unknown layers, or none."""
    return [f"Unknown, so that totals are lower bounds (≥): {unknown}."] if unknown else []


def unknown_data(costs: CostTable) -> list[JsonObject]:
    """Return the layers that could not be counted, for JSON."""
    return [{"name": row.path, "op": row.op} for row in costs.unknown]


def assumptions_note(assumptions: Iterable[str]) -> list[str]:
    """Return a note with the assumptions of a result, or none."""
    text = "; ".join(assumptions)
    return [f"Assuming {text}."] if text else []


def shapes_data(shapes: Mapping[str, Shape]) -> JsonObject:
    """Return shapes by name, for JSON."""
    return {name: list(shape) for name, shape in shapes.items()}


def format_exact(value: Count | None) -> str:
    """Return a number in full with thousands separators; a symbolic size as it prints."""
    return f"{value:,}" if isinstance(value, int) else str(value)


def _format_mib(size: Size) -> str:
    return f"{size / BINARY['MiB']:.1f}" if isinstance(size, int) else f"{size}/{BINARY['MiB']}"


def _unused_modules(costs: CostTable) -> list[str]:
    """Return the outermost modules without a used layer, and unused parameters of other modules by name."""
    used = {""}
    for row in costs.rows:
        path = ""
        for part in row.path.split("/"):
            # Layers of a module that is called several times are numbered; the module itself is not.
            used |= {f"{path}{part}.", f"{path}{re.sub(r'_[0-9]+$', '', part)}."}
            path += f"{part}."
    modules: dict[str, None] = {}
    for name in costs.unused_parameters:
        parts = name.split(".")
        prefixes = [".".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
        modules[next((prefix for prefix in prefixes if f"{prefix}." not in used), name)] = None
    return list(modules)
