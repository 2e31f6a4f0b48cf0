"""Input shapes of an ONNX model: each dynamic dimension is set to a value or to a symbolic size."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from costcalc.core.axes import EXAMPLE_IMAGE, PLANE_DIM_NAMES
from costcalc.core.dtypes import element_type_of
from costcalc.core.errors import CostcalcError, did_you_mean
from costcalc.frontends.onnx.reader import ValueInfo, check_shape
from costcalc.frontends.onnx.symbolic_int import SymbolicInt, as_int
from costcalc.ir.graph import Input

_BATCH = ("batch", "batch_size", "batchsize", "n", "b", "bs")
# Default hints: the value of a symbolic size where control flow needs a number. The hint for any other dimension is
# small, because it may index a short embedding table.
_DEFAULT_HINTS = {
    "batch": 2,
    "depth": 16,
    "height": EXAMPLE_IMAGE["height"],
    "width": EXAMPLE_IMAGE["width"],
    "sequence": 16,
}
_DEFAULT_HINT = 16


class InputSizes(NamedTuple):
    """Input shapes by name, and the properties of the symbolic sizes in them.

    `hints` are the values of symbolic sizes where control flow needs a number. `check_sizes` are the values at which
    the symbolic graph is verified: multiples of the hint for the batch and image dimensions, because many models
    require them, and half of the hint for other dimensions, which may have a maximum. `fixed` are the sizes that are
    static in the file, with their values. `tied` maps a size to the symbolic size with which it shares a dimension.
    """

    shapes: dict[str, tuple[int, ...]]
    hints: dict[str, int]
    check_sizes: dict[str, int]
    fixed: dict[str, int]
    tied: dict[str, str]


class SizeRequest(NamedTuple):
    """The requested input sizes: values by name, the batch size, and the dimensions that are symbolic.

    A value for a symbolic dimension is its hint. Names are those in the file or costcalc's names for the dimensions of
    such an input: batch, channels, height, width, and so on.
    """

    values: Mapping[str, int] = {}
    batch: int | None = None
    dynamic_sizes: Collection[str] = ()

    def resolve(self, file: str, inputs: Sequence[ValueInfo]) -> InputSizes:
        """Return the input shapes. Raises CostcalcError for a dimension without a value and for an unknown name."""
        for given in inputs:
            if given.shape is None:
                raise CostcalcError(f"{file}: the file does not say how many dimensions the input {given.name!r} has")
        named = {given.name: _size_names(given) for given in inputs}
        opened = list(dict.fromkeys(size for shape in named.values() for size in shape if isinstance(size, str)))
        first = next((shape[0] for shape in named.values() if shape), None)
        of_batch = next((name for name in opened if name.lower() in _BATCH), first if isinstance(first, str) else None)
        ours: dict[str, int | str] = {} if of_batch is None else {"batch": of_batch}
        for given in inputs:
            shape = named[given.name]
            for name, size in zip(
                Input("", (1,) * len(shape), element_type_of(given.dtype)).dim_names, shape, strict=True
            ):
                if name:
                    ours.setdefault(name, size)

        def called(name: str) -> int | str:
            """Return the name of a dynamic dimension in the file, or the value of a static one."""
            if name in opened:
                return name
            if name in ours:
                return ours[name]
            has = f"it has {', '.join(opened)}" if opened else "all its sizes are fixed"
            raise CostcalcError(f"{file} has no open size {name!r}{did_you_mean(name, opened)}: {has}")

        def usual(opened: str) -> int:
            """Return the default hint for a dynamic dimension."""
            return next((_DEFAULT_HINTS[name] for name in _DEFAULT_HINTS if ours.get(name) == opened), _DEFAULT_HINT)

        values: dict[str, int] = {} if of_batch is None else {of_batch: 1 if self.batch is None else self.batch}
        if self.batch is not None and of_batch is None and self.batch != first:
            fixed_to = f"fixes the batch to {first}" if first is not None else "has no batch"
            raise CostcalcError(f"{file} {fixed_to}: export it with a free first size to count it at another")
        for name, value in self.values.items():
            size = called(name)
            if isinstance(size, str):
                values[size] = value
            elif size != value:
                raise CostcalcError(f"{file} fixes {name} to {size}: it cannot be {value}")
        made = InputSizes({}, {}, {}, {}, {})
        symbols: dict[str, str] = {}
        for name in self.dynamic_sizes:
            size = called(name)
            if not isinstance(size, str):
                made.fixed[name] = size
            elif size in symbols:
                made.tied[name] = symbols[size]
            else:
                from costcalc.frontends.free_sizes import symbol_of

                symbols[size] = name
                made.hints[name] = next((n for other, n in self.values.items() if called(other) == size), usual(size))
                number = made.hints[name]
                of_image = any(ours.get(our) == size for our in ("batch", "depth", "height", "width"))
                made.check_sizes[name] = number * (2 + len(made.check_sizes)) if of_image else number // 2 or 2
                values[size] = SymbolicInt(number, symbol_of(name))
        for name in self.values:
            size = called(name)
            if name not in (*self.dynamic_sizes, *opened) and size in symbols:
                made.tied[name] = symbols[str(size)]
        missing = {name: usual(name) for name in opened if name not in values}
        if missing:
            plane = [ours.get(name) for name in PLANE_DIM_NAMES]
            options = [f"--input {EXAMPLE_IMAGE['height']}"] if set(plane) <= missing.keys() else []
            called_here = {size: name for name, size in reversed(ours.items())}
            others = {name: n for name, n in missing.items() if not options or name not in plane}
            options += [f"--set {called_here.get(name, name)}={n}" for name, n in others.items()]
            given_so = f"give each a value: sizes={missing}, on the command line {' '.join(options)}"
            raise CostcalcError(f"{file} leaves sizes open: {', '.join(missing)}; {given_so}")
        for name, shape in named.items():
            sizes = tuple([as_int(values[size] if isinstance(size, str) else size) for size in shape])
            check_shape(sizes, f"{file}: the input {name!r}")
            if 0 in sizes:
                raise CostcalcError(f"{file}: the input {name!r} is empty: {sizes}")
            made.shapes[name] = sizes
        return made


def _size_names(value_info: ValueInfo) -> tuple[int | str, ...]:
    """Return the sizes of an input; an unnamed dimension is named after the input and the dimension index."""
    sizes = value_info.shape or ()
    return tuple([f"{value_info.name}.{place}" if size is None else size for place, size in enumerate(sizes)])
