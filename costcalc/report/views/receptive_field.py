"""The receptive field of each layer, and the part of the input that one of its outputs covers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from costcalc.analysis.receptive_field import NoReceptiveField
from costcalc.core.sizes import Shape, format_shape
from costcalc.report.document import Column, Document, JsonObject, Table
from costcalc.report.schemas import document_data

if TYPE_CHECKING:
    from costcalc.analysis.receptive_field import Coverage, LayerCoverage

_PerAxis: TypeAlias = "tuple[int | float, ...] | Literal['']"

_LEGEND = (
    "Size: the input pixels between the first and the last one that an output depends on. Stride: the input pixels "
    "between the receptive fields of two neighbouring outputs. Centre: the middle of the receptive field of the first "
    "output, in coordinates where pixel i is at i. Sees: the input pixels inside the receptive field of the output "
    "that covers most."
)


def receptive_field_view(coverage: Coverage, layer: str | None = None) -> Document:
    """Return the receptive field of each layer; `layer` is the prefix that `coverage` was limited to."""
    columns = (
        Column("layer", "name"),
        Column("output", "output", "shape"),
        Column("size", "size", "side"),
        Column("stride", "stride", "side"),
        Column("centre", "centre", "side"),
        Column("sees", "sees"),
    )
    rows = tuple(
        (each.layer, each.output[1:], *_geometry(each), _coverage_text(each, coverage.input_size))
        for each in coverage.layers
    )
    subject = f"below {layer} of {coverage.network}" if layer is not None else f"of {coverage.network}"
    title = f"Receptive fields {subject}\ninput of {format_shape(coverage.input_size)} pixels"
    table = Table(title=title, columns=columns, rows=rows, notes=_notes(coverage, layer))
    return Document((table,), _data(coverage, layer))


def _geometry(layer: LayerCoverage) -> tuple[_PerAxis, _PerAxis, _PerAxis]:
    """Return size, stride and centre as (height, width), or three empty cells without a receptive field."""
    if isinstance(layer.receptive_field, NoReceptiveField):
        return "", "", ""
    return (
        tuple(axis.size for axis in layer.receptive_field),
        tuple(axis.stride for axis in layer.receptive_field),
        tuple(_int_if_whole(axis.center) for axis in layer.receptive_field),
    )


def _int_if_whole(centre: float) -> float | int:
    return int(centre) if centre.is_integer() else centre


def _coverage_text(layer: LayerCoverage, input_size: Shape) -> str:
    if isinstance(layer.receptive_field, NoReceptiveField):
        own = layer.receptive_field.layer == layer.layer
        return f"none: {layer.receptive_field.reason}" if own else f"none since {layer.receptive_field.layer}"
    return _fraction_text(layer, input_size)


def _fraction_text(layer: LayerCoverage, input_size: Shape) -> str:
    """Return `196 of 224 (87.5%)`, with both axes where they differ, or `all 224`."""
    assert layer.visible is not None
    pairs = list(zip(layer.visible, input_size, strict=True))
    pairs = pairs[:1] if len(set(pairs)) == 1 else pairs
    whole = "×".join(str(pixels) for _, pixels in pairs)
    if layer.covers(input_size):
        return f"all {whole}"
    part = "×".join(str(visible) for visible, _ in pairs)
    return f"{part} of {whole} ({'×'.join(f'{100 * visible / pixels:.1f}%' for visible, pixels in pairs)})"


def _notable_layers(coverage: Coverage) -> tuple[LayerCoverage | None, LayerCoverage | None, LayerCoverage | None]:
    """Return the last layer with a receptive field, the convolution that covers most, and the first to cover all."""
    layers = [layer for layer in coverage.layers if layer.visible is not None]
    return (
        layers[-1] if layers else None,
        coverage.widest_convolution(),
        next((layer for layer in layers if layer.covers(coverage.input_size)), None),
    )


def _notes(coverage: Coverage, layer: str | None) -> tuple[str, ...]:
    """Return how much of the input the notable layers cover, and the meaning of the columns."""
    last, convolution, first = _notable_layers(coverage)
    here = "" if layer is None else " here"
    if last is None:
        return (f"No layer{here} has a receptive field.",)
    text = f"{last.layer}, the last layer with a field, sees {_fraction_text(last, coverage.input_size)}"
    if convolution is not None and convolution.visible != last.visible:
        fraction = _fraction_text(convolution, coverage.input_size)
        text = f"{convolution.layer}, the convolution that sees most, sees {fraction}, and {text}"
    if first is None:
        return (f"{text}. No layer{here} has an output that sees the whole input.", _LEGEND)
    return (f"{text}. {first.layer} is the first{here} with an output that sees the whole input.", _LEGEND)


def _data(coverage: Coverage, layer: str | None) -> JsonObject:
    last, convolution, first = _notable_layers(coverage)
    return document_data(
        "field",
        architecture=coverage.network,
        layer=layer,
        input=list(coverage.input_size),
        rows=[_row_data(each, coverage.input_size) for each in coverage.layers],
        last=None if last is None else last.layer,
        widest_convolution=None if convolution is None else convolution.layer,
        first_to_see_all=None if first is None else first.layer,
    )


def _row_data(layer: LayerCoverage, input_size: Shape) -> JsonObject:
    missing = layer.receptive_field if isinstance(layer.receptive_field, NoReceptiveField) else None
    size, stride, centre = (None if axes == "" else list(axes) for axes in _geometry(layer))
    return {
        "name": layer.layer,
        "op": layer.op,
        "output": list(layer.output),
        "size": size,
        "stride": stride,
        "centre": centre,
        "seen": None if layer.visible is None else list(layer.visible),
        "sees_all": layer.covers(input_size),
        "reason": None if missing is None else missing.reason,
        "since": None if missing is None else missing.layer,
    }
