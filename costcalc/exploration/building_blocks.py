"""Comparisons of building blocks: stages of convolutions, classifier heads, residual blocks and shortcuts.

A design is a graph with sizes of any kind: ints give numbers, symbols give formulas. Its structure (the number of
layers, kernels, strides, the ratio of a bottleneck) is plain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Unpack

from costcalc.analysis.analyze import AnalysisOptions, analyze
from costcalc.analysis.cost_table import CostTable
from costcalc.core.errors import CostcalcError
from costcalc.core.sizes import Size, check_relation, exact_div, is_plain
from costcalc.ir.graph import Builder
from costcalc.ir.op import Assumption
from costcalc.ir.ops import OPS

MAX_DESIGN_LAYERS = 1000  # of a stage or a head


class Design(NamedTuple):
    """One of the compared graphs: its key in JSON, its title in one or more lines, and its costs."""

    key: str
    title: str
    costs: CostTable


class DesignComparison(NamedTuple):
    """Designs for the same purpose, with the ratio of the first to each of the others if `ratios` is true.

    `assumptions` are relations between symbols that could not be decided.
    """

    key: str
    title: str
    designs: tuple[Design, ...]
    ratios: bool = True
    notes: tuple[str, ...] = ()
    assumptions: tuple[Assumption, ...] = ()


def stage(
    convs: int,
    *,
    channels: Size,
    height: Size,
    width: Size,
    out_channels: Size | None = None,
    kernel: int = 3,
    batch: Size = 1,
    bias: bool = True,
    **rules: Unpack[AnalysisOptions],
) -> DesignComparison:
    """Compare n k×k convolutions with one of n·(k − 1) + 1, which has the same receptive field.

    All have stride 1, padding that preserves the spatial size, `out_channels` output channels (by default the input's),
    and a ReLU in place. Raises CostcalcError for a stage without layers and for an even kernel.
    """
    if not 1 <= convs <= MAX_DESIGN_LAYERS:
        raise CostcalcError(f"a stage has from 1 to {MAX_DESIGN_LAYERS} convolutions, not {convs}")
    if kernel < 1 or kernel % 2 == 0:
        raise CostcalcError(f"a kernel must be odd to preserve the spatial size: 3, 5 or 7, not {kernel}")
    large = convs * (kernel - 1) + 1
    counted = _CostCounter(rules)

    def convolutions(count: int, side: int) -> CostTable:
        made = channels if out_channels is None else out_channels
        builder = Builder("stage", batch=batch, channels=channels, height=height, width=width)
        for i in range(1, count + 1):
            builder.add(f"conv_{i}", OPS["conv2d"](made, side, padding=side // 2, bias=bias))
            builder.add(f"relu_{i}", OPS["relu"]())
        return counted(builder)

    designs = (
        Design("stage", f"{convs} of\n{kernel}×{kernel}", convolutions(convs, kernel)),
        Design("one", f"one of\n{large}×{large}", convolutions(1, large)),
    )
    return DesignComparison(
        "stage",
        f"A stage of {_plural(convs, f'{kernel}×{kernel} convolution')} against one of {large}×{large}, each with ReLU",
        designs,
        assumptions=counted.assumptions,
    )


def head(
    *,
    channels: Size,
    height: Size,
    width: Size,
    classes: Size,
    hidden: Sequence[Size] = (),
    batch: Size = 1,
    **rules: Unpack[AnalysisOptions],
) -> DesignComparison:
    """Compare three classifier heads on a feature map.

    They are flatten and fully connected layers (`hidden` are the features of those before the last, each with ReLU);
    global average pooling and one linear layer (GoogLeNet, ResNet); and a 1×1 convolution with one output channel per
    class, ReLU and averages (Lin et al., Network in Network, 2013). Raises CostcalcError for too many hidden layers.
    """
    if len(hidden) >= MAX_DESIGN_LAYERS:
        raise CostcalcError(f"a head has at most {MAX_DESIGN_LAYERS} layers, not {len(hidden) + 1}")
    counted = _CostCounter(rules)

    def built(*layers: tuple[str, Any]) -> CostTable:
        builder = Builder("head", batch=batch, channels=channels, height=height, width=width)
        for name, op in layers:
            builder.add(name, op)
        return counted(builder)

    linear, relu = OPS["linear"], OPS["relu"]
    between = [
        layer for i, size in enumerate(hidden, 1) for layer in ((f"fc_{i}", linear(size)), (f"relu_{i}", relu()))
    ]
    maps = ("maps", OPS["conv2d"](classes, 1))
    pool, flatten = ("pool", OPS["global_avg_pool2d"]()), ("flatten", OPS["flatten"]())
    scores = ("fc", linear(classes))
    designs = (
        Design("fully-connected", "flatten,\nlinear", built(flatten, *between, scores)),
        Design("global-average", "average,\nlinear", built(pool, flatten, scores)),
        Design("class-maps", "1×1 conv.,\naverage", built(maps, ("relu", relu()), pool, flatten)),
    )
    return DesignComparison(
        "head",
        "A fully connected head against global average pooling",
        designs,
        notes=(
            "The fully connected head has weights for every position, and takes planes of this size alone; the others "
            "take any plane with the same weights.",
        ),
        assumptions=counted.assumptions,
    )


def residual(
    *, channels: Size, height: Size, width: Size, ratio: int = 4, batch: Size = 1, **rules: Unpack[AnalysisOptions]
) -> tuple[DesignComparison, ...]:
    """Compare residual blocks (bottleneck and basic), then shortcuts of blocks that preserve and change the shape.

    A bottleneck reduces its channels by `ratio`. A block that changes the shape halves the spatial size and doubles the
    channels; a bottleneck has its stride in the first 1×1 convolution. As in He et al., Deep Residual Learning, 2015,
    convolutions have no bias, and BatchNorm follows each. Raises CostcalcError if `ratio` does not divide the channels.
    """
    if ratio < 1:
        raise CostcalcError(f"the ratio of a bottleneck must be at least 1, not {ratio}")
    if check_relation(channels, "multiple of", ratio).answer is False:
        raise CostcalcError(f"{channels} channels cannot be divided by a ratio of {ratio}")
    narrow = exact_div(channels, ratio)
    counted = _CostCounter(rules)

    def block(kind: str, taken: Size, made: Size, *, stride: int = 1, skip: str = "identity") -> CostTable:
        builder = Builder(kind, batch=batch, channels=taken, height=height, width=width)
        _main_path(builder, kind, made, stride, ratio)
        _skip(builder, skip, made, stride)
        builder.add("relu", OPS["relu"]())
        return counted(builder)

    twice = 2 * channels
    kept = {skip: block("basic", channels, channels, skip=skip) for skip in ("identity", "projection")}
    wider = {skip: block("basic", channels, twice, stride=2, skip=skip) for skip in ("zeros", "projection")}
    bottleneck, basic = block("bottleneck", channels, channels), kept["identity"]
    narrow_basic = block("basic", narrow, narrow)
    wider_bottleneck = block("bottleneck", channels, twice, stride=2, skip="zeros")
    similar = (
        " He et al. call a bottleneck of ratio 4 and a basic block over a quarter of its channels of similar time: "
    )
    return (
        DesignComparison(
            "block",
            "A bottleneck against basic blocks, with identity skips",
            (
                Design("bottleneck", f"bottleneck\n{channels}", bottleneck),
                Design("basic", f"basic\n{channels}", basic),
                Design("basic-narrow", f"basic\n{narrow}", narrow_basic),
            ),
            notes=("Weights are those of convolutions." + (f"{similar}the last column." if ratio == 4 else ""),),
            assumptions=counted.assumptions,
        ),
        DesignComparison(
            "skip-kept",
            "A skip where the shape stays, beside the main paths that it goes round",
            (
                Design("identity", "A, B:\nidentity", kept["identity"].below("shortcut")),
                Design("projection", "C: 1×1\nconv.", kept["projection"].below("shortcut")),
                Design("basic", "main path\nbasic", basic.below("main")),
                Design("bottleneck", "main path\nbottleneck", bottleneck.below("main")),
            ),
            ratios=False,
        ),
        DesignComparison(
            "skip-changed",
            "A skip where the plane is halved and the channels are doubled",
            (
                Design("zeros", "A: zeros\nadded", wider["zeros"].below("shortcut")),
                Design("projection", "B, C: 1×1\nconv.", wider["projection"].below("shortcut")),
                Design("basic", "main path\nbasic", wider["zeros"].below("main")),
                Design("bottleneck", "main path\nbottleneck", wider_bottleneck.below("main")),
            ),
            ratios=False,
        ),
    )


class _CostCounter:
    """Counts the graphs of a comparison with the same options, and collects their assumptions."""

    def __init__(self, rules: AnalysisOptions) -> None:
        self._analysis_options = rules
        self._assumed: dict[Assumption, None] = {}

    def __call__(self, builder: Builder) -> CostTable:
        graph = builder.build()
        self._assumed |= dict.fromkeys(graph.assumptions)
        return analyze(graph, **self._analysis_options)

    @property
    def assumptions(self) -> tuple[Assumption, ...]:
        return tuple(self._assumed)


def _main_path(builder: Builder, kind: str, made: Size, stride: int, ratio: int) -> None:
    if kind == "basic":
        _convolution(builder, "main/conv1", made, 3, stride)
        builder.add("main/relu", OPS["relu"]())
        _convolution(builder, "main/conv2", made, 3)
        return
    narrow = exact_div(made, ratio)
    _convolution(builder, "main/conv1", narrow, 1, stride)
    builder.add("main/relu_1", OPS["relu"]())
    _convolution(builder, "main/conv2", narrow, 3)
    builder.add("main/relu_2", OPS["relu"]())
    _convolution(builder, "main/conv3", made, 1)


def _skip(builder: Builder, kind: str, made: Size, stride: int) -> None:
    """Add the shortcut from the block's input, and the addition that joins it and the main path."""
    main, taken = builder.nodes[-1].name, builder.inputs[0].name
    if kind == "projection":
        taken = _convolution(builder, "shortcut", made, 1, stride, taken)
    elif kind == "zeros":
        taken = builder.add("shortcut", OPS["zero_pad_shortcut"](made, stride), taken)
    builder.add("add", OPS["add"](), main, taken)


def _convolution(builder: Builder, name: str, channels: Size, kernel: int, stride: int = 1, *inputs: str) -> str:
    """Add a convolution without bias, and its BatchNorm; return the name of the latter."""
    conv = OPS["conv2d"](channels, kernel, stride=stride, padding=kernel // 2, bias=False)
    builder.add(f"{name}/conv", conv, *inputs)
    return builder.add(f"{name}/bn", OPS["batch_norm2d"]())


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


# -- in symbols ---------------------------------------------------------------------------------------------------

SYMBOLS: Mapping[str, tuple[str, str]] = {
    "batch": ("N", "batch"),
    "channels": ("C", "channels"),
    "out_channels": ("C_out", "channels of every output"),
    "height": ("H", "height"),
    "width": ("W", "width"),
    "classes": ("K", "classes"),
    "hidden": ("F", "features of hidden layer"),
}


class DesignSymbols(NamedTuple):
    """Symbols in place of `sizes`, and by symbol name: its number, its meaning and the number it is a multiple of."""

    sizes: dict[str, Any]
    values: dict[str, int]
    meanings: dict[str, str]
    multiples: dict[str, int]

    def implies(self, assumption: Assumption) -> bool:
        """Return whether an assumption holds for all values of the symbols: positive multiples."""
        import sympy

        def counted(size: Any) -> Any:
            symbols = sympy.sympify(size).free_symbols
            counters = {s: sympy.Symbol(s.name, integer=True, positive=True) for s in symbols}
            return sympy.sympify(size).xreplace({s: self.multiples[s.name] * counters[s] for s in symbols})

        return check_relation(counted(assumption.left), assumption.relation, counted(assumption.right)).answer is True


def in_symbols(sizes: Mapping[str, Any], multiples: Mapping[str, int] = MappingProxyType({})) -> DesignSymbols:
    """Replace every size by a symbol, and a list of sizes by a list of symbols.

    A batch of 1 and None remain. `multiples` are the numbers that sizes must be multiples of. Raises CostcalcError for
    a size that is no multiple.
    """
    import sympy

    symbols = DesignSymbols({}, {}, {}, {})

    def symbol(size: str, value: int, number: int | None = None) -> Any:
        name, meaning = SYMBOLS[size]
        if number is not None:
            name, meaning = f"{name}_{number}", f"{meaning} {number}"
        of = multiples.get(size, 1)
        if value % of:
            raise CostcalcError(f"with symbols, {meaning} must be a multiple of {of}, not {value}")
        symbols.values[name], symbols.meanings[name], symbols.multiples[name] = value, meaning, of
        known_of_it = {"even": True} if of % 2 == 0 else {}  # so that half of it has no floor
        return sympy.Symbol(name, integer=True, positive=True, **known_of_it)

    for size, value in sizes.items():
        if value is None or (size == "batch" and value == 1):
            symbols.sizes[size] = value
        elif is_plain(value):
            symbols.sizes[size] = symbol(size, value)
        else:
            symbols.sizes[size] = [symbol(size, each, i) for i, each in enumerate(value, 1)]
    return symbols


def expand_formula(formula: Any) -> Any:
    """Expand a formula into a sum of products."""
    import sympy

    return sympy.expand(formula)


def quotient(a: Any, b: Any) -> Any:
    """Return a / b in lowest terms."""
    import sympy

    return sympy.cancel(sympy.sympify(a) / b)
