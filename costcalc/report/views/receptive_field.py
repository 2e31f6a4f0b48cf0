"""Receptive fields as a document: how much of its input each layer sees."""

from __future__ import annotations

from typing import Any

from costcalc.analysis.receptive_field import Coverage, LayerCoverage, NoReceptiveField
from costcalc.core.sizes import Shape, format_shape
from costcalc.report.document import Column, Document, Table

_LEGEND = (
    "Size: the pixels that one output looks at, over all paths, with the gaps of dilation. Stride: the pixels from one "
    "output's field to the next one's. Centre: the middle of the first output's field, pixel i being at i. Sees: the "
    "pixels of the input in the field of the output that sees most."
)


def receptive_fields(seen: Coverage, layer: str | None = None) -> Document:
    """The field of every layer, and what it is of the input; `layer` is the prefix that was asked for."""
    columns = (
        Column("layer", "name"),
        Column("output", "output", "shape"),
        Column("size", "size", "side"),
        Column("stride", "stride", "side"),
        Column("centre", "centre", "side"),
        Column("sees", "sees"),
    )
    rows = tuple((s.layer, s.output[1:], *_sides(s), _sees(s, seen.input_size)) for s in seen.layers)
    where = f"below {layer} of {seen.network}" if layer is not None else f"of {seen.network}"
    title = f"Receptive fields {where}\ninput of {format_shape(seen.input_size)} pixels"
    return Document((Table(title, columns, rows, (), _notes(seen, layer)),), _data(seen, layer))


def _sides(sight: LayerCoverage) -> tuple[Any, Any, Any]:
    """Size, stride and centre, (height, width) each; nothing where there is no field."""
    if isinstance(sight.receptive_field, NoReceptiveField):
        return "", "", ""
    return (
        tuple(axis.size for axis in sight.receptive_field),
        tuple(axis.stride for axis in sight.receptive_field),
        tuple(_whole(axis.center) for axis in sight.receptive_field),
    )


def _whole(centre: float) -> float | int:
    return int(centre) if centre.is_integer() else centre


def _sees(sight: LayerCoverage, plane: Shape) -> str:
    if isinstance(sight.receptive_field, NoReceptiveField):
        own = sight.receptive_field.layer == sight.layer
        return f"none: {sight.receptive_field.reason}" if own else f"none since {sight.receptive_field.layer}"
    return _of_the_input(sight, plane)


def _of_the_input(sight: LayerCoverage, plane: Shape) -> str:
    """`196 of 224 (87.5%)`, both axes where they differ, or `all 224`."""
    assert sight.visible is not None
    pairs = list(zip(sight.visible, plane, strict=True))
    pairs = pairs[:1] if len(set(pairs)) == 1 else pairs
    whole = "×".join(str(pixels) for _, pixels in pairs)
    if sight.covers(plane):
        return f"all {whole}"
    part = "×".join(str(seen) for seen, _ in pairs)
    return f"{part} of {whole} ({'×'.join(f'{100 * seen / pixels:.1f}%' for seen, pixels in pairs)})"


def _ends(seen: Coverage) -> tuple[LayerCoverage | None, LayerCoverage | None, LayerCoverage | None]:
    """The last layer with a field, the convolution that sees most, and the first layer that sees the whole input."""
    fields = [s for s in seen.layers if s.visible is not None]
    return (
        fields[-1] if fields else None,
        seen.widest_convolution(),
        next((s for s in fields if s.covers(seen.input_size)), None),
    )


def _notes(seen: Coverage, layer: str | None) -> tuple[str, ...]:
    """How much of the input the last layers see, which is the first to see all of it, and what the columns are."""
    last, convolution, first = _ends(seen)
    here = "" if layer is None else " here"
    if last is None:
        return (f"No layer{here} has a receptive field.",)
    said = f"{last.layer}, the last layer with a field, sees {_of_the_input(last, seen.input_size)}"
    if convolution is not None and convolution.visible != last.visible:
        sees = _of_the_input(convolution, seen.input_size)
        said = f"{convolution.layer}, the convolution that sees most, sees {sees}, and {said}"
    if first is None:
        return (f"{said}. No layer{here} that has a field sees the whole input by one output.", _LEGEND)
    return (f"{said}. {first.layer} is the first{here} with an output that sees the whole input.", _LEGEND)


def _data(seen: Coverage, layer: str | None) -> dict[str, Any]:
    last, convolution, first = _ends(seen)
    rows = []
    for sight in seen.layers:
        none = isinstance(sight.receptive_field, NoReceptiveField)
        size, stride, centre = (None, None, None) if none else map(list, _sides(sight))
        rows.append(
            {
                "name": sight.layer,
                "op": sight.op,
                "output": list(sight.output),
                "size": size,
                "stride": stride,
                "centre": centre,
                "seen": None if sight.visible is None else list(sight.visible),
                "sees_all": sight.covers(seen.input_size),
                "reason": sight.receptive_field.reason if isinstance(sight.receptive_field, NoReceptiveField) else None,
                "since": sight.receptive_field.layer if isinstance(sight.receptive_field, NoReceptiveField) else None,
            }
        )
    return {
        "schema": "costcalc/field/1",
        "architecture": seen.network,
        "layer": layer,
        "input": list(seen.input_size),
        "rows": rows,
        "last": None if last is None else last.layer,
        "widest_convolution": None if convolution is None else convolution.layer,
        "first_to_see_all": None if first is None else first.layer,
    }
