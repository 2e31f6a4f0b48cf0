"""Comparisons of building blocks: stages of convolutions, classifier heads, residual blocks and shortcuts.

The sizes of a design may be ints, arrays or SymPy symbols: ints give numbers, and symbols give formulas. Its structure
(the number of layers, kernel sizes, strides, the ratio of a bottleneck) consists of plain ints.
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

MAX_DESIGN_LAYERS = 1000  # in a stage or a head


class Design(NamedTuple):
    """A compared graph: its key in JSON, its title in one or more lines, and its costs."""

    key: str
    title: str
    costs: CostTable


class DesignComparison(NamedTuple):
    """Designs that do the same job, side by side.

    With `ratios`, the report shows the ratio of the first design to each of the others. `assumptions` are the relations
    between symbols that could not be decided.
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
    """Compare n k×k convolutions with one convolution of the same receptive field, whose kernel size is n·(k − 1) + 1.

    Every convolution has stride 1, padding that preserves the spatial size and `out_channels` output channels (by
    default those of the input), and is followed by an in-place ReLU.

    Raises:
        CostcalcError: the number of convolutions is out of range, or the kernel size is even.
    """
    if not 1 <= convs <= MAX_DESIGN_LAYERS:
        raise CostcalcError(f"a stage has from 1 to {MAX_DESIGN_LAYERS} convolutions, not {convs}")
    if kernel < 1 or kernel % 2 == 0:
        raise CostcalcError(f"a kernel must be odd to preserve the spatial size: 3, 5 or 7, not {kernel}")
    large_kernel = convs * (kernel - 1) + 1
    counter = _CostCounter(rules)
    features = channels if out_channels is None else out_channels

    def convolutions(count: int, kernel_size: int) -> CostTable:
        builder = Builder("stage", batch=batch, channels=channels, height=height, width=width)
        for i in range(1, count + 1):
            builder.add(f"conv_{i}", OPS["conv2d"](features, kernel_size, padding=kernel_size // 2, bias=bias))
            builder.add(f"relu_{i}", OPS["relu"]())
        return counter.costs(builder)

    designs = (
        Design("stage", f"{convs} of\n{kernel}×{kernel}", convolutions(convs, kernel)),
        Design("one", f"one of\n{large_kernel}×{large_kernel}", convolutions(1, large_kernel)),
    )
    return DesignComparison(
        "stage",
        f"A stage of {_plural(convs, f'{kernel}×{kernel} convolution')} against one of {large_kernel}×{large_kernel}, "
        "each with ReLU",
        designs,
        assumptions=counter.assumptions,
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

    1. Flatten and fully connected layers; `hidden` are the output features of the layers before the last, each of which
       has a ReLU.
    2. Global average pooling and one linear layer (GoogLeNet, ResNet).
    3. A 1×1 convolution with one output channel per class, ReLU and global average pooling (Lin et al., Network in
       Network, 2013).

    Raises:
        CostcalcError: there are too many hidden layers.
    """
    if len(hidden) >= MAX_DESIGN_LAYERS:
        raise CostcalcError(f"a head has at most {MAX_DESIGN_LAYERS} layers, not {len(hidden) + 1}")
    counter = _CostCounter(rules)

    def costs(*layers: tuple[str, Any]) -> CostTable:
        builder = Builder("head", batch=batch, channels=channels, height=height, width=width)
        for name, op in layers:
            builder.add(name, op)
        return counter.costs(builder)

    linear, relu = OPS["linear"], OPS["relu"]
    hidden_layers = [
        layer for i, size in enumerate(hidden, 1) for layer in ((f"fc_{i}", linear(size)), (f"relu_{i}", relu()))
    ]
    class_maps = ("maps", OPS["conv2d"](classes, 1))
    pool, flatten = ("pool", OPS["global_avg_pool2d"]()), ("flatten", OPS["flatten"]())
    classifier = ("fc", linear(classes))
    designs = (
        Design("fully-connected", "flatten,\nlinear", costs(flatten, *hidden_layers, classifier)),
        Design("global-average", "average,\nlinear", costs(pool, flatten, classifier)),
        Design("class-maps", "1×1 conv.,\naverage", costs(class_maps, ("relu", relu()), pool, flatten)),
    )
    return DesignComparison(
        "head",
        "A fully connected head against global average pooling",
        designs,
        notes=(
            "The fully connected head has a weight for every position, and accepts this spatial size only; the other "
            "heads accept every spatial size with the same weights.",
        ),
        assumptions=counter.assumptions,
    )


def residual(
    *, channels: Size, height: Size, width: Size, ratio: int = 4, batch: Size = 1, **rules: Unpack[AnalysisOptions]
) -> tuple[DesignComparison, ...]:
    """Compare residual blocks (bottleneck and basic), shortcuts that preserve the shape, and shortcuts that change it.

    The 3×3 convolution of a bottleneck has 1/`ratio` of the channels. A block that changes the shape halves the spatial
    size and doubles the channels; in a bottleneck, the first 1×1 convolution has the stride. As in He et al., Deep
    Residual Learning, 2015, every convolution has no bias and is followed by a BatchNorm.

    Raises:
        CostcalcError: `ratio` does not divide the channels.
    """
    if ratio < 1:
        raise CostcalcError(f"the ratio of a bottleneck must be at least 1, not {ratio}")
    if check_relation(channels, "multiple of", ratio).answer is False:
        raise CostcalcError(f"{channels} channels cannot be divided by a ratio of {ratio}")
    narrow = exact_div(channels, ratio)
    counter = _CostCounter(rules)

    def block(
        kind: str, in_channels: Size, out_channels: Size, *, stride: int = 1, shortcut: str = "identity"
    ) -> CostTable:
        builder = Builder(kind, batch=batch, channels=in_channels, height=height, width=width)
        _add_main_path(builder, kind, out_channels, stride, ratio)
        _add_shortcut(builder, shortcut, out_channels, stride)
        builder.add("relu", OPS["relu"]())
        return counter.costs(builder)

    doubled = 2 * channels
    same_shape = {name: block("basic", channels, channels, shortcut=name) for name in ("identity", "projection")}
    downsampling = {
        name: block("basic", channels, doubled, stride=2, shortcut=name) for name in ("zeros", "projection")
    }
    bottleneck, basic = block("bottleneck", channels, channels), same_shape["identity"]
    narrow_basic = block("basic", narrow, narrow)
    downsampling_bottleneck = block("bottleneck", channels, doubled, stride=2, shortcut="zeros")
    similar_time = (
        " According to He et al., a bottleneck of ratio 4 takes a similar time to a basic block with a quarter of its "
        "channels (the last column)."
    )
    return (
        DesignComparison(
            "block",
            "A bottleneck against basic blocks, with identity shortcuts",
            (
                Design("bottleneck", f"bottleneck\n{channels}", bottleneck),
                Design("basic", f"basic\n{channels}", basic),
                Design("basic-narrow", f"basic\n{narrow}", narrow_basic),
            ),
            notes=("The weights are those of convolutions only." + (similar_time if ratio == 4 else ""),),
            assumptions=counter.assumptions,
        ),
        DesignComparison(
            "skip-kept",
            "Shortcuts of blocks that preserve the shape, beside the main paths",
            (
                Design("identity", "A, B:\nidentity", same_shape["identity"].below("shortcut")),
                Design("projection", "C: 1×1\nconv.", same_shape["projection"].below("shortcut")),
                Design("basic", "main path\nbasic", basic.below("main")),
                Design("bottleneck", "main path\nbottleneck", bottleneck.below("main")),
            ),
            ratios=False,
        ),
        DesignComparison(
            "skip-changed",
            "Shortcuts of blocks that halve the spatial size and double the channels, beside the main paths",
            (
                Design("zeros", "A: zeros\nadded", downsampling["zeros"].below("shortcut")),
                Design("projection", "B, C: 1×1\nconv.", downsampling["projection"].below("shortcut")),
                Design("basic", "main path\nbasic", downsampling["zeros"].below("main")),
                Design("bottleneck", "main path\nbottleneck", downsampling_bottleneck.below("main")),
            ),
            ratios=False,
        ),
    )


class _CostCounter:
    """Counts the graphs of a comparison with the same options, and collects their assumptions."""

    def __init__(self, rules: AnalysisOptions) -> None:
        self._analysis_options = rules
        self._assumptions: dict[Assumption, None] = {}

    def costs(self, builder: Builder) -> CostTable:
        """Build a graph and analyze it."""
        graph = builder.build()
        self._assumptions |= dict.fromkeys(graph.assumptions)
        return analyze(graph, **self._analysis_options)

    @property
    def assumptions(self) -> tuple[Assumption, ...]:
        return tuple(self._assumptions)


def _add_main_path(builder: Builder, kind: str, out_channels: Size, stride: int, ratio: int) -> None:
    if kind == "basic":
        _add_convolution(builder, "main/conv1", out_channels, 3, stride)
        builder.add("main/relu", OPS["relu"]())
        _add_convolution(builder, "main/conv2", out_channels, 3)
        return
    narrow = exact_div(out_channels, ratio)
    _add_convolution(builder, "main/conv1", narrow, 1, stride)
    builder.add("main/relu_1", OPS["relu"]())
    _add_convolution(builder, "main/conv2", narrow, 3)
    builder.add("main/relu_2", OPS["relu"]())
    _add_convolution(builder, "main/conv3", out_channels, 1)


def _add_shortcut(builder: Builder, kind: str, out_channels: Size, stride: int) -> None:
    """Add the shortcut from the input of the block, and the addition of shortcut and main path."""
    main, shortcut = builder.nodes[-1].name, builder.inputs[0].name
    if kind == "projection":
        shortcut = _add_convolution(builder, "shortcut", out_channels, 1, stride, shortcut)
    elif kind == "zeros":
        shortcut = builder.add("shortcut", OPS["zero_pad_shortcut"](out_channels, stride), shortcut)
    builder.add("add", OPS["add"](), main, shortcut)


def _add_convolution(builder: Builder, name: str, channels: Size, kernel: int, stride: int = 1, *inputs: str) -> str:
    """Add a convolution without bias and its BatchNorm; return the name of the BatchNorm."""
    conv = OPS["conv2d"](channels, kernel, stride=stride, padding=kernel // 2, bias=False)
    builder.add(f"{name}/conv", conv, *inputs)
    return builder.add(f"{name}/bn", OPS["batch_norm2d"]())


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


# -- in symbols ---------------------------------------------------------------------------------------------------

SYMBOLS: Mapping[str, tuple[str, str]] = {
    "batch": ("N", "batch"),
    "channels": ("C", "channels"),
    "out_channels": ("C_out", "output channels of every convolution"),
    "height": ("H", "height"),
    "width": ("W", "width"),
    "classes": ("K", "classes"),
    "hidden": ("F", "features of hidden layer"),
}


class DesignSymbols(NamedTuple):
    """The arguments of a comparison with a symbol in place of every number, and what each symbol stands for."""

    sizes: dict[str, Any]  # symbols, by argument
    values: dict[str, int]  # the replaced numbers, by symbol name
    meanings: dict[str, str]
    multiples: dict[str, int]  # each symbol is a multiple of this number

    def implies(self, assumption: Assumption) -> bool:
        """Return whether an assumption holds for all values of the symbols, which are positive multiples."""
        import sympy

        def with_multiples(size: Any) -> Any:
            """Write each symbol as its multiple times an index."""
            symbols = sympy.sympify(size).free_symbols
            indices = {s: sympy.Symbol(s.name, integer=True, positive=True) for s in symbols}
            return sympy.sympify(size).xreplace({s: self.multiples[s.name] * indices[s] for s in symbols})

        left, right = with_multiples(assumption.left), with_multiples(assumption.right)
        return check_relation(left, assumption.relation, right).answer is True


def in_symbols(sizes: Mapping[str, Any], multiples: Mapping[str, int] = MappingProxyType({})) -> DesignSymbols:
    """Replace every size by a symbol, and every list of sizes by a list of symbols.

    None and a batch of 1 are not replaced. `multiples` maps a size to the number that it must be a multiple of.

    Raises:
        CostcalcError: a size is not a multiple of its number.
    """
    import sympy

    symbols = DesignSymbols({}, {}, {}, {})

    def symbol(size: str, value: int, number: int | None = None) -> Any:
        name, meaning = SYMBOLS[size]
        if number is not None:
            name, meaning = f"{name}_{number}", f"{meaning} {number}"
        multiple = multiples.get(size, 1)
        if value % multiple:
            raise CostcalcError(f"with symbols, {meaning} must be a multiple of {multiple}, not {value}")
        symbols.values[name], symbols.meanings[name], symbols.multiples[name] = value, meaning, multiple
        properties = {"even": True} if multiple % 2 == 0 else {}  # the half of an even size has no floor
        return sympy.Symbol(name, integer=True, positive=True, **properties)

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
