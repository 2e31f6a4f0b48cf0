"""One case for every op of the registry: random fields, and inputs whose sizes are drawn from variables.

A case takes `draw` and gives two functions of the variables n, m, k, g, h and w (of any carrier): the op, and the
shapes it is given; and, where an input's elements are no floats, what all inputs hold: `("float", "int64")`. A new op
without a case fails `test_laws.py` by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from hypothesis import strategies as st

from costcalc.ops import OPS

Variables = Mapping[str, Any]
Case = (
    tuple[Callable[[Variables], Any], Callable[[Variables], tuple[Any, ...]]]
    | tuple[Callable[[Variables], Any], Callable[[Variables], tuple[Any, ...]], tuple[str, ...]]
)


class Drawn(NamedTuple):
    """An op of a case on values of the variables, the shapes of its inputs, and what their elements are."""

    op: Any
    inputs: tuple[Any, ...]
    holds: tuple[str, ...]


CASES: dict[str, Callable[..., Case]] = {}
ALONE = [name for name in OPS if name != "result"]  # which takes a layer with several results


def case(name: str) -> Callable[..., Any]:
    def register(function: Callable[..., Case]) -> Callable[..., Case]:
        assert name not in CASES
        CASES[name] = function
        return function

    return register


def drawn(name: str, draw: Any, values: Variables) -> Drawn:
    """A random op of that name, and what it is given."""
    make_op, make_inputs, *holds = CASES[name](draw)
    op, inputs = make_op(values), make_inputs(values)
    return Drawn(op, inputs, holds[0] if holds else ("float",) * len(inputs))


def image(v: Variables) -> tuple[Any, ...]:
    return (v["n"], v["g"] * v["m"], v["h"], v["w"])


def pair(draw: Any, least: int, most: int) -> Any:
    one = st.integers(least, most)
    return draw(one | st.tuples(one, one))


@case("conv2d")
def _(draw: Any) -> Case:
    fields = {
        "kernel_size": pair(draw, 1, 4),
        "stride": pair(draw, 1, 3),
        "padding": pair(draw, 0, 3),
        "dilation": pair(draw, 1, 2),
        "bias": draw(st.booleans()),
    }
    grouped = draw(st.booleans())
    return (
        lambda v: OPS["conv2d"](v["g"] * v["k"], groups=v["g"] if grouped else 1, **fields),
        lambda v: (image(v),),
    )


@case("linear")
def _(draw: Any) -> Case:
    bias, deep = draw(st.booleans()), draw(st.booleans())
    return (
        lambda v: OPS["linear"](v["k"], bias=bias),
        lambda v: ((v["n"], v["h"], v["m"]) if deep else (v["n"], v["m"]),),
    )


def _pool(draw: Any) -> dict[str, Any]:
    kernel = draw(st.integers(1, 4))
    fields = {
        "kernel_size": kernel,
        "padding": draw(st.integers(0, kernel // 2)),
        "ceil_mode": draw(st.booleans()),
    }
    if draw(st.booleans()):
        fields["stride"] = pair(draw, 1, 5)
    return fields


@case("max_pool2d")
def _(draw: Any) -> Case:
    fields = _pool(draw) | {"dilation": draw(st.integers(1, 2))}
    return lambda v: OPS["max_pool2d"](**fields), lambda v: (image(v),)


@case("avg_pool2d")
def _(draw: Any) -> Case:
    fields = _pool(draw) | {"count_include_pad": draw(st.booleans())}
    return lambda v: OPS["avg_pool2d"](**fields), lambda v: (image(v),)


@case("adaptive_avg_pool2d")
def _(draw: Any) -> Case:
    size = pair(draw, 1, 5)
    return lambda v: OPS["adaptive_avg_pool2d"](size), lambda v: (image(v),)


def _plain(name: str, **fields: st.SearchStrategy[Any]) -> None:
    """An op that takes an image and has fields no size depends on."""

    def make(draw: Any) -> Case:
        drawn = {field: draw(strategy) for field, strategy in fields.items()}
        return lambda v: OPS[name](**drawn), lambda v: (image(v),)

    CASES[name] = make


_plain("global_avg_pool2d")
for _name in ("relu", "relu6", "silu", "mish", "hardswish", "hardsigmoid"):
    _plain(_name, inplace=st.booleans())
for _name in ("sigmoid", "tanh"):
    _plain(_name)
_plain("leaky_relu", negative_slope=st.floats(0, 1), inplace=st.booleans())
_plain("elu", alpha=st.floats(0, 2), inplace=st.booleans())
_plain("gelu", approximate=st.sampled_from(["none", "tanh"]))
_plain("softplus", beta=st.floats(0.5, 2))
_plain("softmax", dim=st.integers(-4, 3))
_plain("batch_norm2d", affine=st.booleans(), track_running_stats=st.booleans())
_plain("local_response_norm", size=st.integers(1, 7), k=st.floats(1, 2))
_plain("dropout", p=st.floats(0, 1), inplace=st.booleans())
_plain("flatten", start_dim=st.integers(0, 2), end_dim=st.sampled_from([2, 3, -1]))
_plain("pad", padding=st.tuples(*[st.integers(0, 4)] * 4), mode=st.sampled_from(["constant", "reflect", "circular"]))


@case("permute")
def _(draw: Any) -> Case:
    deep = draw(st.booleans())
    dims = draw(st.permutations(range(4 if deep else 3)))
    counted = [d - len(dims) if draw(st.booleans()) else d for d in dims]
    return (
        lambda v: OPS["permute"](counted),
        lambda v: (image(v) if deep else (v["n"], v["h"], v["m"]),),
    )


@case("prelu")
def _(draw: Any) -> Case:
    each = draw(st.booleans())
    return lambda v: OPS["prelu"](v["g"] * v["m"] if each else 1), lambda v: (image(v),)


@case("concat")
def _(draw: Any) -> Case:
    def inputs(v: Variables) -> tuple[Any, ...]:
        n, c, h, w = image(v)
        return ((n, c, h, w), (n, v["k"], h, w), (n, c * 2, h, w))

    dim = draw(st.sampled_from([1, -3]))
    return lambda v: OPS["concat"](dim=dim), inputs


# Numbers that ops take in place of tensors, and shapes that are repeated.
NUMBERS = st.integers(1, 3) | st.floats(0.5, 2)


def together(draw: Any, count: int) -> Callable[[Variables], tuple[Any, ...]]:
    """Images, or what is repeated to be one; the first is as large as all."""
    kinds = [draw(st.integers(0, 3)) for _ in range(count - 1)]

    def inputs(v: Variables) -> tuple[Any, ...]:
        n, c, h, w = image(v)
        shapes = ((n, c, h, w), (n, c, 1, 1), (1, c, 1, w), (h, w))
        return (shapes[0], *[shapes[kind] for kind in kinds])

    return inputs


def _joined(
    name: str,
    least: int,
    most: int,
    number: str | None = None,
    whats: tuple[str, ...] = (),
    **fields: st.SearchStrategy[Any],
) -> None:
    """An op on some tensors that are broadcast; with fewer, a number is in place of the last."""

    def make(draw: Any) -> Case:
        count = draw(st.integers(least, most))
        drawn = {field: draw(strategy) for field, strategy in fields.items()}
        if number is not None and count == least:
            drawn[number] = draw(st.integers(1, 3) if whats else NUMBERS)
        op, inputs = (lambda v: OPS[name](**drawn)), together(draw, count)
        return (op, inputs, whats[:count]) if whats else (op, inputs)

    CASES[name] = make


@case("add")
def _(draw: Any) -> Case:
    count = draw(st.integers(1, 4))
    fields = {"other": draw(NUMBERS)} if count == 1 else {}
    alpha = draw(st.sampled_from([1, 1, 2.5]))
    return lambda v: OPS["add"](**fields, alpha=alpha), together(draw, count)


for _name in ("sub", "rsub"):
    _joined(_name, 1, 2, "other", alpha=st.sampled_from([1, 1, 2.5]))
for _name in ("mul", "floor_divide", "remainder", "fmod", "eq", "ne", "lt", "le", "gt", "ge"):
    _joined(_name, 1, 2, "other")
_joined("div", 1, 2, "other", rounding_mode=st.sampled_from([None, None, "floor", "trunc"]))
for _name in ("atan2", "maximum", "minimum", "logical_and", "logical_or", "logical_xor"):
    _joined(_name, 2, 2)
_joined("lerp", 2, 3, "weight")
_joined("addcmul", 3, 3, value=st.sampled_from([1, 2.5]))
_joined("addcdiv", 3, 3, value=st.sampled_from([1, 2.5]))


@case("pow")
def _(draw: Any) -> Case:
    count = draw(st.integers(1, 2))
    number = draw(st.sampled_from(["exponent", "base"]))
    fields = {number: draw(NUMBERS)} if count == 1 else {}
    return lambda v: OPS["pow"](**fields), together(draw, count)


@case("where")
def _(draw: Any) -> Case:
    numbers = draw(st.sampled_from([(), ("input",), ("other",), ("input", "other")]))
    fields = {name: draw(NUMBERS) for name in numbers}
    count = 3 - len(numbers)
    return lambda v: OPS["where"](**fields), together(draw, count), ("bool", "float", "float")[:count]


@case("masked_fill")
def _(draw: Any) -> Case:
    value = draw(NUMBERS | st.sampled_from(["inf", "-inf"]))
    return lambda v: OPS["masked_fill"](value=value), together(draw, 2), ("float", "bool")


for _name in ("bitwise_and", "bitwise_or", "bitwise_xor"):
    _joined(_name, 1, 2, "other", whats=("int64", "int64"))


@case("bitwise_not")
def _(draw: Any) -> Case:
    return lambda v: OPS["bitwise_not"](), lambda v: (image(v),), (draw(st.sampled_from(["bool", "int64"])),)


for _name in (
    "neg abs sign floor ceil trunc square reciprocal sqrt rsqrt exp exp2 expm1 log log2 log10 log1p sin cos tan asin "
    "acos atan sinh cosh erf erfc logical_not isnan isinf isfinite log_sigmoid softsign tanhshrink"
).split():
    _plain(_name)
_plain("round", decimals=st.integers(0, 2))
_plain("clamp", min=st.none() | st.floats(-1, 0), max=st.floats(0, 1))
_plain("nan_to_num", nan=st.none() | st.floats(0, 1), posinf=st.none() | NUMBERS)
_plain("hardtanh", min_val=st.floats(-2, -1), max_val=st.floats(1, 2), inplace=st.booleans())
_plain("threshold", threshold=st.floats(-1, 1), value=st.floats(-1, 1), inplace=st.booleans())
_plain("celu", alpha=st.floats(0.5, 2), inplace=st.booleans())
_plain("selu", inplace=st.booleans())
_plain("rrelu", lower=st.floats(0.1, 0.2), upper=st.floats(0.3, 0.4), inplace=st.booleans())
_plain("softshrink", lambd=st.floats(0.1, 1))
_plain("hardshrink", lambd=st.floats(0.1, 1))
_plain("softmin", dim=st.integers(-4, 3))
_plain("log_softmax", dim=st.integers(1, 3))


@case("glu")
def _(draw: Any) -> Case:
    dim = draw(st.sampled_from([1, -3]))
    return lambda v: OPS["glu"](dim=dim), lambda v: ((v["n"], 2 * v["m"], v["h"], v["w"]),)


# Not along the batch: then work would not be linear in it.
DIM = st.sampled_from([1, 2, -1])
DIMS = DIM | st.sampled_from([(1,), (2, 3), (-1, -2), (1, 2, 3)])
for _name in ("sum", "mean", "amax", "amin", "any", "all", "logsumexp"):
    _plain(_name, dim=DIMS, keepdim=st.booleans())
for _name in ("prod", "max", "min", "argmax", "argmin"):
    _plain(_name, dim=DIM, keepdim=st.booleans())
for _name in ("var", "std", "var_mean", "std_mean"):
    _plain(_name, dim=DIMS, keepdim=st.booleans(), correction=st.integers(0, 1))
_plain("vector_norm", ord=st.sampled_from([1, 2, 2.5, "inf", "-inf"]), dim=DIMS, keepdim=st.booleans())
for _name in ("cumsum", "cumprod"):
    _plain(_name, dim=DIM)


@case("zero_pad_shortcut")
def _(draw: Any) -> Case:
    stride = pair(draw, 1, 3)
    return lambda v: OPS["zero_pad_shortcut"](v["g"] * v["m"] + v["k"], stride), lambda v: (image(v),)


@case("unknown")
def _(draw: Any) -> Case:
    shaped = draw(st.booleans())
    return lambda v: OPS["unknown"]("mystery", (v["k"], v["h"]) if shaped else None), lambda v: (image(v),)


@case("parameter")
def _(draw: Any) -> Case:
    return lambda v: OPS["parameter"]((1, v["m"], v["k"])), lambda v: ()


@case("buffer")
def _(draw: Any) -> Case:
    dtype = draw(st.sampled_from(["float", "int64", "bool"]))
    return lambda v: OPS["buffer"]((v["m"], v["k"]), dtype=dtype), lambda v: ()
