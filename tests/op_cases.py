"""One case for every op of the registry: random fields, and inputs whose sizes are drawn from variables.

A case takes `draw` and gives two functions of the variables n, m, k, g, h and w (of any carrier): the op, and the
shapes it is given; and, where an input's elements are no floats, what all inputs hold: `("float", "int64")`. A new op
without a case fails `test_laws.py` by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from hypothesis import strategies as st

from costcalc.ir.ops import OPS, comparison, unary

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


def _convolution(axes: int, transposed: bool = False) -> None:
    """A convolution with weights of its own or given ones, on a tensor with so many axes beside batch and channels."""
    name = f"conv_transpose{axes}d" if transposed else f"conv{axes}d"

    def each(draw: Any, least: int, most: int) -> Any:
        one = st.integers(least, most)
        return draw(one | st.tuples(*[one] * axes))

    def make(draw: Any) -> Case:
        fields = {
            "kernel_size": each(draw, 1, 4 if axes < 3 else 3),
            "stride": each(draw, 1, 3),
            "padding": each(draw, 0, 3 if axes < 3 else 2),
            "dilation": each(draw, 1, 2),
            "bias": draw(st.booleans()),
        }
        if transposed:
            fields["output_padding"] = draw(st.integers(0, 1)) if _least(fields["stride"]) > 1 else 0
        grouped, given = draw(st.booleans()), draw(st.booleans())

        def op(v: Variables) -> Any:
            return OPS[name](v["g"] * v["k"], groups=v["g"] if grouped else 1, **fields)

        def inputs(v: Variables) -> tuple[Any, ...]:
            plane = {1: (v["w"],), 2: (v["h"], v["w"]), 3: (5, v["h"], v["w"])}[axes]
            weight = (v["g"] * v["m"], v["k"] if grouped else v["g"] * v["k"])
            if not transposed:
                weight = (v["g"] * v["k"], v["m"] if grouped else v["g"] * v["m"])
            kernel = fields["kernel_size"]
            weight += (kernel,) * axes if isinstance(kernel, int) else kernel
            bias = [(v["g"] * v["k"],)] * fields["bias"]
            return ((v["n"], v["g"] * v["m"], *plane), *([weight, *bias] if given else ()))

        return op, inputs

    CASES[name] = make


def _least(value: Any) -> int:
    return value if isinstance(value, int) else min(value)


for _axes in (1, 2, 3):
    _convolution(_axes)
    _convolution(_axes, transposed=True)


@case("linear")
def _(draw: Any) -> Case:
    bias, deep, given = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())

    def inputs(v: Variables) -> tuple[Any, ...]:
        first = (v["n"], v["h"], v["m"]) if deep else (v["n"], v["m"])
        return (first, (v["k"], v["m"]), (v["k"],))[: 1 + given * (1 + bias)]

    return lambda v: OPS["linear"](v["k"], bias=bias), inputs


@case("bilinear")
def _(draw: Any) -> Case:
    bias, deep, given = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())

    def inputs(v: Variables) -> tuple[Any, ...]:
        places = (v["n"], v["h"]) if deep else (v["n"],)
        first, second = (*places, v["m"]), (*places, v["g"])
        return (first, second, (v["k"], v["m"], v["g"]), (v["k"],))[: 2 + given * (1 + bias)]

    return lambda v: OPS["bilinear"](v["k"], bias=bias), inputs


@case("matmul")
def _(draw: Any) -> Case:
    n, m, k, g, h = "nmkgh"
    one, two = draw(
        st.sampled_from(
            [
                ((n, m), (m, k)),
                ((n, h, m), (m, k)),
                ((h, m), (n, m, k)),
                ((n, h, m), (n, m, k)),
                ((n, g, h, m), (n, g, m, k)),
                ((n, 1, h, m), (g, m, k)),
                ((n, m), (m,)),
                ((n, h, m), (m,)),
                ((m,), (n, m, h)),
                ((n, g, h, m), (m,)),
            ]
        )
    )
    return lambda v: OPS["matmul"](), lambda v: tuple(tuple(v.get(s, s) for s in shape) for shape in (one, two))


def _added(name: str, *factors: str, added: tuple[str, ...]) -> None:
    def make(draw: Any) -> Case:
        scales = {s: draw(st.sampled_from([1.0, 0.5, 2.0])) for s in ("alpha", "beta")}
        shapes = (draw(st.sampled_from(added)), *factors)
        return (
            lambda v: OPS[name](**scales),
            lambda v: tuple(tuple(1 if s == "1" else v[s] for s in shape) for shape in shapes),
        )

    CASES[name] = make


_added("addmm", "nm", "mk", added=("k", "nk", "1k", "n1"))
_added("baddbmm", "nhm", "nmk", added=("k", "nhk", "n1k"))


@case("einsum")
def _(draw: Any) -> Case:
    equation = draw(
        st.sampled_from(
            [
                "nm,mk->nk",
                "nghm,ngkm->nghk",
                "ngh,nk->nk",
                "nm,nm->nm",
                "nm,k->nmk",
                "ngm,nmk",
                "...m,mk->...k",
                "nhm,nkm->n",
                "ngh->nhg",
                "ngh->ng",
                "nh...->n...h",
            ]
        )
    )
    plain = equation.replace("...", "n" if "m" in equation else "w")
    terms = plain.partition("->")[0].split(",")
    return lambda v: OPS["einsum"](equation), lambda v: tuple(tuple(v[letter] for letter in term) for term in terms)


@case("scaled_dot_product_attention")
def _(draw: Any) -> Case:
    masked, deep = draw(st.booleans()), draw(st.booleans())
    fields = {"is_causal": not masked and draw(st.booleans()), "scale": draw(st.sampled_from([None, 0.5]))}
    shared = deep and draw(st.booleans())
    mask = draw(st.sampled_from(["hw", "nghw" if deep else "nhw"]))
    features = draw(st.sampled_from("km"))

    def inputs(v: Variables) -> tuple[Any, ...]:
        heads = ((v["g"] * v["m"],),) * 3 if deep else ((),) * 3
        if shared:
            heads = ((v["g"] * v["m"],), (v["g"],), (v["g"],))
        sizes = ((v["h"], v["k"]), (v["w"], v["k"]), (v["w"], v[features]))
        query, key, value = ((v["n"], *h, *size) for h, size in zip(heads, sizes, strict=True))
        of_mask = (v["h"], v["w"]) if mask == "hw" else (*query[:-1], v["w"])
        return (query, key, value, *[of_mask] * masked)

    return lambda v: OPS["scaled_dot_product_attention"](enable_gqa=shared, **fields), inputs


@case("embedding")
def _(draw: Any) -> Case:
    deep, given = draw(st.booleans()), draw(st.booleans())
    return (
        lambda v: OPS["embedding"](v["m"], v["k"]),
        lambda v: ((v["n"], v["h"]) if deep else (v["n"],), *[(v["m"], v["k"])] * given),
        ("int64", *["float"] * given),
    )


@case("embedding_bag")
def _(draw: Any) -> Case:
    fields = {"mode": draw(st.sampled_from(["sum", "mean", "max"])), "include_last_offset": draw(st.booleans())}
    listed, given = draw(st.booleans()), draw(st.booleans())
    more = int(fields["include_last_offset"])
    return (
        lambda v: OPS["embedding_bag"](v["m"], v["k"], **fields),
        lambda v: (
            *(((v["n"] * v["h"],), (v["n"] + more,)) if listed else ((v["n"], v["h"]),)),
            *[(v["m"], v["k"])] * given,
        ),
        (*["int64"] * (1 + listed), *["float"] * given),
    )


def sequence(v: Variables) -> tuple[Any, ...]:
    return (v["n"], v["g"] * v["m"], v["h"])


def volume(v: Variables) -> tuple[Any, ...]:
    return (v["n"], v["g"] * v["m"], v["h"], 9, v["w"])


OF_AXES = {1: sequence, 2: image, 3: volume}


def along(draw: Any, axes: int, least: int, most: int) -> Any:
    one = st.integers(least, most)
    return draw(one | st.tuples(*[one] * axes))


def _pools(name: str, axes: int, **fields: st.SearchStrategy[Any]) -> None:
    def make(draw: Any) -> Case:
        kernel = draw(st.integers(1, 4))
        drawn = {
            "kernel_size": kernel,
            "padding": draw(st.integers(0, kernel // 2)),
            "ceil_mode": draw(st.booleans()),
        }
        if draw(st.booleans()):
            drawn["stride"] = along(draw, axes, 1, 5)
        drawn |= {field: draw(strategy) for field, strategy in fields.items()}
        return lambda v: OPS[name](**drawn), lambda v: (OF_AXES[axes](v),)

    CASES[name] = make


def _adaptive(name: str, axes: int, **fields: st.SearchStrategy[Any]) -> None:
    def make(draw: Any) -> Case:
        size = along(draw, axes, 1, 5)
        if axes > 1 and draw(st.booleans()):
            size = (None, *[draw(st.integers(1, 5)) for _ in range(axes - 1)])
        drawn = {field: draw(strategy) for field, strategy in fields.items()}
        return lambda v: OPS[name](size, **drawn), lambda v: (OF_AXES[axes](v),)

    CASES[name] = make


for _axes in OF_AXES:
    _indices = {"return_indices": st.booleans()}
    _pools(f"max_pool{_axes}d", _axes, dilation=st.integers(1, 2), **_indices)
    _divisor = {"divisor_override": st.none() | st.integers(1, 9)} if _axes > 1 else {}
    _pools(f"avg_pool{_axes}d", _axes, count_include_pad=st.booleans(), **_divisor)
    _adaptive(f"adaptive_avg_pool{_axes}d", _axes)
    _adaptive(f"adaptive_max_pool{_axes}d", _axes, **_indices)


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
_plain("local_response_norm", size=st.integers(1, 7), k=st.floats(1, 2))
for _name in ("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout"):
    _plain(_name, p=st.floats(0, 1), inplace=st.booleans())
_plain("flatten", start_dim=st.integers(0, 2), end_dim=st.sampled_from([2, 3, -1]))
_plain("pad", padding=st.tuples(*[st.integers(0, 4)] * 4), mode=st.sampled_from(["constant", "reflect", "circular"]))


def _norms(name: str, takes: Callable[[Variables], tuple[Any, ...]], *flags: str, operands: int = 3) -> None:
    """A normalisation over channels, whose weight and bias may be further inputs."""

    def make(draw: Any) -> Case:
        drawn = {flag: draw(st.booleans()) for flag in flags}
        given = draw(st.integers(0, operands - 1)) if drawn["affine"] else 0

        def inputs(v: Variables) -> tuple[Any, ...]:
            taken = takes(v)
            return (taken, *[(taken[1],)] * given)

        fields = (lambda v: {"num_groups": v["g"]}) if name == "group_norm" else (lambda v: {})
        return lambda v: OPS[name](**fields(v), **drawn), inputs

    CASES[name] = make


for _axes, _takes in OF_AXES.items():
    _norms(f"batch_norm{_axes}d", _takes, "affine", "track_running_stats")
    _norms(f"instance_norm{_axes}d", _takes, "affine", "track_running_stats")
_norms("group_norm", image, "affine")


@case("layer_norm")
def _(draw: Any) -> Case:
    affine, over = draw(st.booleans()), draw(st.integers(1, 3))
    given = draw(st.integers(0, 2)) if affine else 0
    bias = affine and (draw(st.booleans()) if not given else given == 2)

    def inputs(v: Variables) -> tuple[Any, ...]:
        return (image(v), *[image(v)[-over:]] * given)

    return lambda v: OPS["layer_norm"](image(v)[-over:], elementwise_affine=affine, bias=bias), inputs


@case("rms_norm")
def _(draw: Any) -> Case:
    affine, over = draw(st.booleans()), draw(st.integers(1, 3))
    given = draw(st.integers(0, 1)) if affine else 0

    def inputs(v: Variables) -> tuple[Any, ...]:
        return (image(v), *[image(v)[-over:]] * given)

    return lambda v: OPS["rms_norm"](image(v)[-over:], eps=1e-6, elementwise_affine=affine), inputs


@case("interpolate")
def _(draw: Any) -> Case:
    mode = draw(st.sampled_from(["nearest", "nearest-exact", "linear", "bilinear", "bicubic", "trilinear"]))
    axes = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}.get(mode) or draw(st.integers(1, 3))
    fields: dict[str, Any] = {"mode": mode}
    if "nearest" not in mode:
        fields["align_corners"] = draw(st.booleans())
    if axes == 2 and mode in ("bilinear", "bicubic"):
        fields["antialias"] = draw(st.booleans())
    factors = draw(st.none() | st.lists(st.sampled_from([0.5, 1.0, 2.0, 3.0, 1.5]), min_size=axes, max_size=axes))

    def make(v: Variables) -> Any:
        if factors is not None:
            return OPS["interpolate"](scale_factor=factors, **fields)
        return OPS["interpolate"](size=(v["h"], 7, v["k"])[:axes], **fields)

    return make, lambda v: (OF_AXES[axes](v),)


@case("pixel_shuffle")
def _(draw: Any) -> Case:
    r = draw(st.integers(1, 3))
    return lambda v: OPS["pixel_shuffle"](r), lambda v: ((v["n"], v["m"] * r * r, v["h"], v["w"]),)


@case("pixel_unshuffle")
def _(draw: Any) -> Case:
    r = draw(st.integers(1, 3))
    return lambda v: OPS["pixel_unshuffle"](r), lambda v: ((v["n"], v["m"], v["h"] * r, v["w"] * r),)


@case("channel_shuffle")
def _(draw: Any) -> Case:
    groups = draw(st.integers(1, 3))
    return lambda v: OPS["channel_shuffle"](groups), lambda v: ((v["n"], v["m"] * groups, v["h"], v["w"]),)


@case("grid_sample")
def _(draw: Any) -> Case:
    fields = {
        "mode": draw(st.sampled_from(["bilinear", "nearest", "bicubic"])),
        "padding_mode": draw(st.sampled_from(["zeros", "border", "reflection"])),
        "align_corners": draw(st.booleans()),
    }
    deep = fields["mode"] != "bicubic" and draw(st.booleans())

    def inputs(v: Variables) -> tuple[Any, ...]:
        places = (v["k"], v["h"], 5)[: 3 if deep else 2]
        return (volume(v) if deep else image(v)), (v["n"], *places, len(places))

    return lambda v: OPS["grid_sample"](**fields), inputs


def _patches(draw: Any) -> dict[str, Any]:
    return {
        "kernel_size": pair(draw, 1, 4),
        "dilation": pair(draw, 1, 2),
        "padding": pair(draw, 0, 2),
        "stride": pair(draw, 1, 3),
    }


@case("unfold")
def _(draw: Any) -> Case:
    fields = _patches(draw)
    return lambda v: OPS["unfold"](**fields), lambda v: (image(v),)


@case("fold")
def _(draw: Any) -> Case:
    fields = _patches(draw)

    def columns(v: Variables) -> tuple[Any, ...]:
        unfold = OPS["unfold"](**fields)
        return unfold.output(image(v))

    return lambda v: OPS["fold"]((v["h"], v["w"]), **fields), lambda v: (columns(v),)


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
_joined("floor_divide", 1, 1, "other", whats=("int64",))  # torch knows no gradient of it
for _name in ("mul", "remainder", "fmod", "eq", "ne", "lt", "le", "gt", "ge"):
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


for _name in [
    *(name for name in (*unary.UNARY_FUNCTIONS, *comparison.UNARY_FUNCTIONS) if name != "bitwise_not"),
    "log_sigmoid",
    "softsign",
    "tanhshrink",
]:
    _plain(_name)


@case("bitwise_not")
def _(draw: Any) -> Case:
    return lambda v: OPS["bitwise_not"](), lambda v: (image(v),), (draw(st.sampled_from(["bool", "int64"])),)


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
    _plain(
        _name, dim=DIMS.filter(lambda dim: dim not in (1, (1,))), keepdim=st.booleans(), correction=st.integers(0, 1)
    )
_plain("vector_norm", ord=st.sampled_from([1, 2, 2.5, "inf", "-inf"]), dim=DIMS, keepdim=st.booleans())
for _name in ("cumsum", "cumprod"):
    _plain(_name, dim=st.sampled_from([2, 3, -1, -2]))  # a symbol is not known to be 1, where nothing is summed


@case("zero_pad_shortcut")
def _(draw: Any) -> Case:
    stride = pair(draw, 1, 3)
    return lambda v: OPS["zero_pad_shortcut"](v["g"] * v["m"] + v["k"], stride), lambda v: (image(v),)


@case("unknown")
def _(draw: Any) -> Case:
    shaped = draw(st.booleans())
    return lambda v: OPS["unknown"]("mystery", (v["k"], v["h"]) if shaped else None), lambda v: (image(v),)


def _recurrent(name: str, cell: bool, **fields: st.SearchStrategy[Any]) -> None:
    """On a sequence, or one step of it, without states, with them, or with weights, too."""

    def make(draw: Any) -> Case:
        drawn = {field: draw(strategy) for field, strategy in fields.items()} | {"bias": draw(st.booleans())}
        if not cell:
            drawn |= {"batch_first": draw(st.booleans()), "bidirectional": draw(st.booleans())}
            drawn["num_layers"] = draw(st.integers(1, 2))
            drawn["dropout"] = draw(st.sampled_from([0.0, 0.5])) if drawn["num_layers"] > 1 else 0.0
        given = draw(st.integers(0, 2))

        def op(v: Variables) -> Any:
            return OPS[name](v["k"] + 1, **drawn)

        def inputs(v: Variables) -> tuple[Any, ...]:
            taken = (
                (v["n"], v["m"])
                if cell
                else (v["n"], v["h"], v["m"])
                if drawn["batch_first"]
                else (v["h"], v["n"], v["m"])
            )
            made = op(v)
            weights = made.weights(taken).values() if given == 2 else ()
            return (taken, *(made.state_shapes(taken) if given else ()), *weights)

        return op, inputs

    CASES[name] = make


_recurrent("lstm", cell=False, proj_size=st.integers(0, 1))
_recurrent("gru", cell=False)
_recurrent("rnn", cell=False, activation=st.sampled_from(["tanh", "relu"]))
_recurrent("lstm_cell", cell=True)
_recurrent("gru_cell", cell=True)
_recurrent("rnn_cell", cell=True, activation=st.sampled_from(["tanh", "relu"]))


@case("parameter")
def _(draw: Any) -> Case:
    return lambda v: OPS["parameter"]((1, v["m"], v["k"])), lambda v: ()


@case("buffer")
def _(draw: Any) -> Case:
    dtype = draw(st.sampled_from(["float", "int64", "bool"]))
    return lambda v: OPS["buffer"]((v["m"], v["k"]), dtype=dtype), lambda v: ()


# -- views, copies, picking by index, made tensors ----------------------------------------------------------------


def _of(name: str, inputs: Callable[[Variables], tuple[Any, ...]], holds: Any = None, **fields: Any) -> None:
    """An op whose fields are drawn, or are functions of the variables."""

    def make(draw: Any) -> Case:
        drawn_ = {f: draw(s) if isinstance(s, st.SearchStrategy) else s for f, s in fields.items()}

        def op(v: Variables) -> Any:
            return OPS[name](**{f: s(v) if callable(s) else s for f, s in drawn_.items()})

        return (op, inputs, holds) if holds else (op, inputs)

    CASES[name] = make


_of("cdist", lambda v: ((v["n"], v["h"], v["m"]), (v["k"], v["m"])), p=st.sampled_from([0, 1, 2, 3, "inf"]))

DIM = st.integers(-4, 3)
NOT_BATCH = st.sampled_from([1, 2, 3, -1, -2, -3])


@case("reshape")
def _(draw: Any) -> Case:
    sizes = draw(
        st.sampled_from(
            [
                lambda n, g, m, h, w: (n, g, m, h, w),
                lambda n, g, m, h, w: (n, m * g, h * w),
                lambda n, g, m, h, w: (n * h, w, g * m),
                lambda n, g, m, h, w: (n, 1, g * m * w, h),
                lambda n, g, m, h, w: (n * g * m, h, w),
            ]
        )
    )
    return lambda v: OPS["reshape"](sizes(*[v[name] for name in "ngmhw"])), lambda v: (image(v),)


@case("expand")
def _(draw: Any) -> Case:
    more = draw(st.booleans())
    return (
        lambda v: OPS["expand"]((v["n"], v["k"], v["m"], v["h"]) if more else (v["n"], v["k"], v["h"])),
        lambda v: ((1, v["m"], 1) if more else (v["n"], 1, v["h"]),),
    )


_of("squeeze", lambda v: ((v["n"], 1, v["h"], v["w"]),), dim=st.sampled_from([1, -3, (1,)]))
_plain("unsqueeze", dim=st.integers(-5, 4))
_plain("select", dim=DIM, index=st.sampled_from([0, -1]))
_plain("diagonal", offset=st.integers(-1, 1), dim1=st.sampled_from([2, -2]), dim2=st.sampled_from([3, 1]))
_plain("tensor_unfold", dimension=st.sampled_from([2, 3, -1]), size=st.integers(1, 3), step=st.integers(1, 3))
_plain("contiguous", memory_format=st.sampled_from(["contiguous", "channels_last"]))
_plain("clone", memory_format=st.sampled_from(["preserve", "contiguous"]))
_plain("flip", dims=st.sampled_from([2, (2, 3), (-1,)]))
_plain("roll", shifts=st.just((1, -2)), dims=st.sampled_from([(2, 3), (1, -1)]))
_plain("tril", diagonal=st.integers(-1, 2))
_plain("triu", diagonal=st.integers(-1, 2))
_plain("fill", value=st.floats(-1, 1))


@case("slice")
def _(draw: Any) -> Case:
    dim, start, step = draw(st.sampled_from([2, 3, -1])), draw(st.integers(0, 2)), draw(st.integers(1, 3))
    last = draw(st.booleans())
    return (
        lambda v: OPS["slice"](dim, start, v["w" if dim % 4 == 3 else "h"] - 1 if last else None, step),
        lambda v: (image(v),),
    )


@case("cast")
def _(draw: Any) -> Case:
    dtype = draw(st.sampled_from(["float", "int64", "bool"]))
    return lambda v: OPS["cast"](dtype), lambda v: (image(v),), ("int64",)


_of("repeat", lambda v: (image(v),), repeats=lambda v: (v["k"], 1, v["m"], 2, 1))
_of("repeat_interleave", lambda v: (image(v),), repeats=lambda v: v["k"], dim=NOT_BATCH)
_of("stack", lambda v: (image(v),) * 3, dim=st.integers(-5, 4))
_of(
    "pad_nd",
    lambda v: ((v["n"], v["h"], v["w"]),),
    padding=st.sampled_from([(1, 2), (0, 3, 4, 1)]),
    mode=st.sampled_from(["constant", "reflect", "replicate", "circular"]),
)
_of("copy", lambda v: (image(v), (v["h"], v["w"])))


@case("index")
def _(draw: Any) -> Case:
    dims = draw(st.sampled_from([(2,), (2, 3), (1, 3)]))
    pair = ((lambda v: (v["k"], 1)), (lambda v: (v["m"],)))
    return (
        lambda v: OPS["index"](dims),
        lambda v: (image(v), *[index(v) for index in pair[: len(dims)]]),
        ("float", *["int64"] * len(dims)),
    )


_of("index_select", lambda v: (image(v), (v["k"],)), ("float", "int64"), dim=NOT_BATCH)
_of("gather", lambda v: ((v["n"], v["h"]), (v["n"], v["k"])), ("float", "int64"), dim=st.sampled_from([1, -1]))


@case("index_put")
def _(draw: Any) -> Case:
    fields = {"accumulate": draw(st.booleans()), "overwrites": draw(st.booleans())}
    return (
        lambda v: OPS["index_put"](2, **fields),
        lambda v: (image(v), (v["k"],), (v["n"], 1, 1, v["w"])),
        ("float", "int64", "float"),
    )


_THREE = ("float", "int64", "float")
_OVER = st.booleans()


@case("scatter")
def _(draw: Any) -> Case:
    over, number = draw(st.booleans()), draw(st.booleans())
    return (
        lambda v: OPS["scatter"](1, overwrites=over),
        lambda v: ((v["n"], v["h"]), *((v["n"], v["k"]),) * (1 if number else 2)),
        _THREE[: 2 if number else 3],
    )


_of("scatter_add", lambda v: ((v["n"], v["h"]), *((v["n"], v["k"]),) * 2), _THREE, dim=1, overwrites=_OVER)
_of(
    "scatter_reduce",
    lambda v: ((v["n"], v["h"]), *((v["n"], v["k"]),) * 2),
    _THREE,
    dim=1,
    reduce=st.sampled_from(["sum", "prod", "mean", "amax", "amin"]),
    include_self=st.booleans(),
    overwrites=_OVER,
)
_of(
    "masked_scatter",
    lambda v: ((v["n"], v["h"]), (v["h"],), (v["n"], v["h"])),
    ("float", "bool", "float"),
    overwrites=_OVER,
)
_of("index_add", lambda v: ((v["n"], v["h"]), (v["k"],), (v["n"], v["k"])), _THREE, dim=-1, overwrites=_OVER)
_of(
    "slice_scatter",
    lambda v: ((v["n"], v["h"]), (v["n"], 2)),
    dim=1,
    start=st.integers(0, 2),
    step=st.integers(1, 3),
)
_of("select_scatter", lambda v: ((v["n"], v["h"], v["w"]), (v["n"], v["w"])), dim=1, index=st.sampled_from([0, -1]))
_plain("sort", dim=NOT_BATCH, descending=st.booleans())
_plain("argsort", dim=NOT_BATCH, descending=st.booleans())
_of("topk", lambda v: ((v["n"], v["k"] + v["h"]),), k=lambda v: v["k"], largest=st.booleans(), dim=st.just(-1))
_of("kthvalue", lambda v: ((v["n"], v["k"] + v["h"]),), k=lambda v: v["k"], keepdim=st.booleans())
_of("one_hot", lambda v: ((v["n"], v["h"]),), ("int64",), num_classes=lambda v: v["k"])
_of(
    "full",
    lambda v: (),
    sizes=lambda v: (v["n"], v["k"]),
    value=st.floats(-1, 1),
    dtype=st.sampled_from(["float", "int64"]),
)
_of("rand", lambda v: (), sizes=lambda v: (v["n"], v["k"]))
_of("randn", lambda v: (), sizes=lambda v: (v["n"], v["k"]))
_of("arange", lambda v: (), length=lambda v: v["h"], dtype=st.sampled_from(["float", "int64"]))
_of("linspace", lambda v: (), steps=lambda v: v["h"])
_of("eye", lambda v: (), n=lambda v: v["h"], m=lambda v: v["k"], dtype=st.sampled_from(["float", "bool"]))
