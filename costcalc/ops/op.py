"""What an op is, and how its fields are declared.

An op is one frozen dataclass. Its fields are what a spec may say (there is no second schema); its methods give the
output shape, the named parameter and buffer shapes and the work, as formulas over sizes of any carrier (`dims`).
Whatever is not the op's own business (a convention, torch, a receptive field over a graph) lives elsewhere.

    @op
    class Linear(Op):
        out_features: Size = size("F_out")
        bias: bool = flag(default=True)
        ...
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple, TypeVar, dataclass_transform

from costcalc.costs import NO_WORK, Work
from costcalc.dims import Relation, Shape, Size, as_size, at, is_plain, is_symbolic, known, prod, same, show_shape
from costcalc.errors import OpError
from costcalc.ops.kernel import Kernel


class Requirement(NamedTuple):
    """A relation between sizes that an input must satisfy; `message` may use {left} and {right}."""

    left: Size
    relation: Relation
    right: Size
    message: str


class Window(NamedTuple):
    """One axis of a sliding window."""

    kernel: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1


class Layout(NamedTuple):
    """Where the dimensions of a tensor are.

    `plane` are its height and width, None where it has none; `order` is that in which dimensions lie in memory, the
    outermost first. The `gaps` are dimensions whose places lie further apart, or closer, than what is inside them is
    long: something was cut out of it, or it is repeated.
    """

    plane: tuple[int, int] | None
    order: tuple[int, ...]
    gaps: frozenset[int] = frozenset()

    @classmethod
    def of_image(cls, rank: int) -> Layout:
        """That of a tensor as it comes: with 4 dimensions they are batch, channels, height and width."""
        return _IMAGE if rank == 4 else cls(None, tuple(range(rank)))


_IMAGE = Layout((2, 3), (0, 1, 2, 3))
CHANNELS_LAST = (0, 2, 3, 1)

# What a tensor's sizes are called, by how many there are.
SIZE_NAMES = {
    2: ("batch", "features"),
    3: ("batch", "channels", "length"),
    4: ("batch", "channels", "height", "width"),
    5: ("batch", "channels", "depth", "height", "width"),
}
# What elements are, and the bytes of one; what is computed, `float`, takes what the dtype that is asked for takes.
HOLDS: Mapping[str, int | None] = {"float": None, "int64": 8, "int32": 4, "uint8": 1, "bool": 1}

INFINITIES = ("inf", "-inf")  # as a `scalar` has them


class Assumption(NamedTuple):
    """A requirement on symbols that could not be decided and is taken for granted."""

    left: Size
    relation: Relation
    right: Size

    def __str__(self) -> str:
        words = {"==": "=", "!=": "≠", ">=": "≥", "multiple of": "is a multiple of"}
        return f"{self.left} {words[self.relation]} {self.right}"


class Argument(NamedTuple):
    """How a field of an op reads what is given for it: `kind` names the rule, the rest are its bounds."""

    kind: str
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    length: int = 2
    symbol: str | tuple[str, ...] | None = None  # stands for the field in `explain`
    optional: bool = False  # None may be given, and means what the op says it means
    gaps: bool = False  # None may be given for an axis, likewise

    def read(self, name: str, value: Any) -> Any:
        """`value` in its one stored form. Raises OpError, saying what would have been right."""
        if value is None and self.optional:
            return None
        try:
            return getattr(self, "_" + self.kind.replace("sides", "per_axis"))(value)
        except TypeError as error:
            raise OpError(f"{name} {error}", name) from None

    def describe(self) -> str:
        """The rule in words, for the schema."""
        bounds = "" if self.least is None else f" ≥ {self.least:g}"
        bounds += "" if self.most is None else f" and ≤ {self.most:g}"
        return {
            "size": f"size{bounds}",
            "whole": f"integer{bounds}",
            "per_axis": f"integer{bounds}" + (f", or {self.length} of them" if self.length > 1 else ""),
            "sides": f"integer{bounds}, or {self.length} of them",
            "flag": "true or false",
            "number": f"number{bounds}",
            "numbers": f"list of numbers{bounds}",
            "scalar": "number, or 'inf' or '-inf'",
            "choice": " or ".join(map(repr, self.choices)),
            "text": "text",
            "shape": "list of sizes",
            "dimensions": "list of dimensions",
            "wholes": f"integer{bounds}, or a list of them",
        }[self.kind]

    def _size(self, value: Any) -> Size:
        result = as_size(value)
        verdict = known(result, ">=", int(self.least or 0))
        if verdict.answer is False:
            where = "" if verdict.where is None else f" (at index {', '.join(map(str, verdict.where))})"
            raise TypeError(f"must be at least {self.least:g}, not {at(result, verdict.where, result)}{where}")
        return result

    def _whole(self, value: Any) -> int:
        if not is_plain(value) or isinstance(value, bool):
            try:
                as_size(value)
            except TypeError:
                raise TypeError(f"must be an integer, not {value!r}") from None
            raise TypeError("is structure and must be a plain integer, not an array or an expression")
        if self.least is not None and value < self.least:
            raise TypeError(f"must be at least {self.least:g}, not {value}")
        return int(value)

    def _per_axis(self, value: Any) -> tuple[int | None, ...]:
        if not isinstance(value, (tuple, list)):
            return (self._axis(value),) * self.length
        if len(value) != self.length:
            raise TypeError(f"must be one integer or {self.length}, not {len(value)}")
        return tuple(self._axis(v) for v in value)

    def _axis(self, value: Any) -> int | None:
        return None if value is None and self.gaps else self._whole(value)

    def _wholes(self, value: Any) -> tuple[int, ...]:
        return tuple(map(self._whole, value if isinstance(value, (tuple, list)) else (value,)))

    def _flag(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise TypeError(f"must be true or false, not {value!r}")
        return value

    def _number(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise TypeError(f"must be a number, not {value!r}")
        if (self.least is not None and value < self.least) or (self.most is not None and value > self.most):
            raise TypeError(f"must be a {self.describe()}, not {value:g}")
        return float(value)

    def _numbers(self, value: Any) -> tuple[float, ...]:
        if not isinstance(value, (tuple, list)):
            raise TypeError(f"must be a list of numbers, not {value!r}")
        return tuple([self._number(v) for v in value])

    def _scalar(self, value: Any) -> Any:
        if value in INFINITIES or is_symbolic(value):
            return value
        if isinstance(value, float) and math.isinf(value):
            return INFINITIES[value < 0]
        if not isinstance(value, (int, float)) or math.isnan(value):
            raise TypeError(f"must be a {self.describe()}, not {value!r}")
        return value * 1  # true is 1

    def _choice(self, value: Any) -> str:
        if value not in self.choices:
            raise TypeError(f"must be {self.describe()}, not {value!r}")
        return str(value)

    def _text(self, value: Any) -> str:
        if not isinstance(value, str):
            raise TypeError(f"must be text, not {value!r}")
        return value

    def _shape(self, value: Any) -> tuple[Size, ...]:
        if not isinstance(value, (tuple, list)):
            raise TypeError(f"must be a list of sizes, not {value!r}")
        return tuple(Argument("size", least=self.least)._size(v) for v in value)

    def _dimensions(self, value: Any) -> tuple[int, ...]:
        if not isinstance(value, (tuple, list)):
            raise TypeError(f"must be a list of dimensions, not {value!r}")
        places = tuple(self._whole(v) for v in value)
        rank = len(places)
        if sorted(place % rank if -rank <= place < rank else place for place in places) != list(range(rank)):
            raise TypeError(f"must name each dimension from 0 to {rank - 1} once, not {list(places)}")
        return tuple([place % rank for place in places])


def _declare(argument: Argument, default: Any) -> Any:
    if default is None:
        argument = argument._replace(optional=True)
    return dataclasses.field(default=default, metadata={"argument": argument})


# The declarations an op's fields are made with. `symbol` is what the field is called in a formula.
def size(symbol: str, *, default: Any = dataclasses.MISSING, least: int = 1) -> Any:
    """A number of channels or features: a size of any carrier."""
    return _declare(Argument("size", least=least, symbol=symbol), default)


def whole(*, default: Any = dataclasses.MISSING, least: int | None = None, symbol: str | None = None) -> Any:
    """A plain integer."""
    return _declare(Argument("whole", least=least, symbol=symbol), default)


def per_axis(
    *, default: Any = dataclasses.MISSING, least: int = 0, symbol: str | None = None, axes: int = 2, gaps: bool = False
) -> Any:
    """One plain integer for all axes, or one for each: a plane's are height and width.

    With `gaps`, an axis may have None, which means what the op says it means.
    """
    names = {1: ("",), 2: ("_h", "_w"), 3: ("_d", "_h", "_w")}[axes]
    symbols = None if symbol is None else tuple([symbol + name for name in names])
    return _declare(Argument("per_axis", least=least, symbol=symbols, length=axes, gaps=gaps), default)


def sides(*, default: Any = dataclasses.MISSING) -> Any:
    """One plain integer for all sides of a plane, or (left, right, top, bottom)."""
    return _declare(Argument("sides", least=0, length=4), default)


def flag(*, default: Any = dataclasses.MISSING) -> Any:
    """True or false."""
    return _declare(Argument("flag"), default)


def number(*, default: Any = dataclasses.MISSING, least: float | None = None, most: float | None = None) -> Any:
    """A real number that no count depends on."""
    return _declare(Argument("number", least=least, most=most), default)


def numbers(*, default: Any = dataclasses.MISSING, least: float | None = None) -> Any:
    """A list of real numbers, or null."""
    return _declare(Argument("numbers", least=least), default)


def scalar(*, default: Any = dataclasses.MISSING) -> Any:
    """A number that stands for a tensor of it alone: an integer stays one, and infinite ones are texts.

    It may be an expression in sizes; no count depends on it.
    """
    return _declare(Argument("scalar"), default)


def choice(*choices: str, default: Any = dataclasses.MISSING) -> Any:
    """One of a few words."""
    return _declare(Argument("choice", choices=choices), default)


def text(*, default: Any = dataclasses.MISSING) -> Any:
    """Any text."""
    return _declare(Argument("text"), default)


def shape(*, default: Any = dataclasses.MISSING, least: int = 1) -> Any:
    """A list of sizes, without the batch where there is one, or null."""
    return _declare(Argument("shape", least=least), default)


def wholes(*, default: Any = dataclasses.MISSING, least: int | None = None) -> Any:
    """A plain integer, or a list of them."""
    return _declare(Argument("wholes", least=least), default)


def dimensions() -> Any:
    """All dimensions of a tensor in some order; a negative one counts from the last, and is stored as it counts."""
    return _declare(Argument("dimensions"), dataclasses.MISSING)


_OpType = TypeVar("_OpType", bound="Op")


@dataclass_transform(
    frozen_default=True,
    field_specifiers=(
        size,
        whole,
        per_axis,
        sides,
        flag,
        number,
        numbers,
        scalar,
        choice,
        text,
        shape,
        wholes,
        dimensions,
    ),
)
def op(cls: type[_OpType]) -> type[_OpType]:
    """Make a subclass of `Op` with fields of its own a frozen dataclass whose values are read by their declarations."""
    # `init` and `frozen` are written once, in `Op`: dataclass would compile them anew for every op, and an op must be
    # cheap to import.
    dataclasses.dataclass(init=False, eq=False, repr=False)(cls)
    cls.arguments = {f.name: f.metadata["argument"] for f in dataclasses.fields(cls)}
    return cls


@op
class Op:
    """A kind of layer. Shapes have the batch first; all counts are for the whole batch."""

    name: ClassVar[str]  # as a spec calls it
    arguments: ClassVar[dict[str, Argument]] = {}
    arity: ClassVar[tuple[int, int | None]] = (1, 1)  # how many tensors it takes: least, most (None: any number)
    rank: ClassVar[int | None] = None  # dimensions its first input must have, if that matters
    weight_layer: ClassVar[bool] = False  # counted in "ResNet-50", "VGG-16"
    nonlinearity: ClassVar[bool] = False  # an activation function, which bends what the layers before it compute
    counted: ClassVar[bool] = True  # False: its cost is not known
    keeps_input: ClassVar[bool] = False  # what autograd keeps until it has made the gradients
    keeps_output: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()

    def __init__(self, *given: Any, **named: Any) -> None:
        names = list(self.arguments)
        if len(given) > len(names):
            raise TypeError(f"{self.name} takes at most {len(names)} arguments, not {len(given)}")
        values = dict(zip(names, given, strict=False))
        for name, value in named.items():
            if name not in self.arguments or name in values:
                what = "given twice" if name in values else "not one of its arguments"
                raise TypeError(f"{self.name}: {name!r} is {what}")
            values[name] = value
        fields = self.__dataclass_fields__
        for name in names:  # in their order, which hashing goes by
            value = values[name] if name in values else fields[name].default
            if value is dataclasses.MISSING:
                raise TypeError(f"{self.name} needs {name!r}")
            self.__dict__[name] = value
        self.__post_init__()

    def __setattr__(self, name: str, value: Any) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")

    def __post_init__(self) -> None:
        for name, argument in self.arguments.items():
            given = getattr(self, name)
            value = argument.read(name, given)
            if value is not given:
                object.__setattr__(self, name, value)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((self.name, *self.__dict__.values()))

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        """What must hold of the inputs' sizes for the op to take them."""
        return iter(())

    def output(self, *inputs: Shape) -> Shape:
        """The shape of the result; for most ops, that of the (first) input."""
        return inputs[0]

    def further(self, *inputs: Shape) -> tuple[Shape, ...]:
        """The shapes of further results, which `result(1)`, `result(2)`, … take; the first is `output`."""
        return ()

    def further_holds(self, *inputs: str) -> tuple[str, ...]:
        """What the elements of further results are, where they are not what those of the first are."""
        return ()

    def holds(self, *inputs: str) -> str:
        """What the elements of the result are: one of the `HOLDS`, given those of the inputs.

        For most ops they are what the (first) input's are.
        """
        return inputs[0] if inputs else "float"

    def parameters(self, *inputs: Shape) -> dict[str, Shape]:
        """The shapes of what is learnt, by torch's names; without those that an input is given for."""
        return {}

    def buffers(self, *inputs: Shape) -> dict[str, Shape]:
        """The shapes of what is kept but not learnt, by torch's names."""
        return {}

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        """The arithmetic of one forward pass."""
        return NO_WORK

    def backward_macs(self, macs: Size, taught: bool, learns: tuple[bool, ...], inputs: tuple[Shape, ...] = ()) -> Size:
        """The multiply-accumulates of gradients: of its own parameters if `taught`, of each input that `learns`.

        A product that is linear in each operand takes as many for the gradient of one operand as it takes itself.
        """
        return macs * (taught + sum(learns))

    def label(self) -> str:
        """What a report calls it."""
        return self.name

    def makes_tensor(self, training: bool = False) -> bool:
        """Whether the result is a new tensor: not a view, not the input changed in place."""
        return True

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        """What runs forward, and what autograd keeps for it; nothing where the (first) input is the result.

        For most ops it is one kernel that makes the output. The parameters are the first kernel's.
        """
        count = len(inputs)
        new = self.makes_tensor(training)
        keeps = (*range(count * self.keeps_input), *([count] if self.keeps_output else ()))
        return (Kernel(tuple(range(count)), prod(output), None if new else 0, not new, keeps),)

    def windows(self, *inputs: Shape) -> tuple[Window, ...] | None:
        """The window each output looks through, per axis.

        () when it looks at its own place alone, None when windows differ in size or see the whole plane.
        """
        return ()

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        """Where the dimensions of the result are.

        An op that takes images finds the plane in dimensions 2 and 3 whatever they were before. In memory, its result
        has the channels last where the (first) input has; that of an op without a rank lies as the input does
        (torch's rule: memory formats are kept); what is made anew has no gaps, whatever is said here. What is made of
        nothing has no plane.
        """
        if not layouts:
            return Layout(None, tuple(range(len(self.output()))))
        first = layouts[0]
        if self.rank != 4 or first is _IMAGE:
            return first
        return Layout(_IMAGE.plane, first.order) if first.order == CHANNELS_LAST else _IMAGE

    def running(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Op:
        """The op as it runs on inputs that are laid out so: itself, or one that copies what cannot be a view."""
        return self

    def __str__(self) -> str:
        """The op as a call of the spec language, fields at their defaults left out."""
        given = []
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            argument: Argument = f.metadata["argument"]
            if f.default is not dataclasses.MISSING and same(value, argument.read(f.name, f.default)):
                continue
            alike = argument.kind in ("per_axis", "sides", "wholes") and len(set(value or ())) == 1
            shown = value[0] if alike and (argument.kind != "wholes" or len(value) == 1) else value
            given.append(repr(shown) if f.default is dataclasses.MISSING else f"{f.name}={shown!r}")
        return f"{self.name}({', '.join(given)})"

    __repr__ = __str__


def infer(op: Op, inputs: tuple[Shape, ...]) -> tuple[Shape, list[Assumption]]:
    """The output shape of `op` on `inputs`, and what had to be assumed of symbolic sizes.

    Raises OpError when the op cannot take the inputs.
    """
    least, most = op.arity
    if len(inputs) < least or (most is not None and len(inputs) > most):
        wanted = str(least) if most == least else f"{least} or more" if most is None else f"{least} to {most}"
        raise OpError(f"{op.name} takes {wanted} input{'s' * (wanted != '1')}, not {len(inputs)}", "inputs")
    if op.rank is not None and len(inputs[0]) != op.rank:
        got = inputs[0]
        sizes = f"{op.rank} sizes ({', '.join(SIZE_NAMES[op.rank])})"
        raise OpError(f"{op.name} takes an input of {sizes}, not of {len(got)}: {show_shape(got)}")
    assumptions = []
    for requirement in op.requirements(*inputs):
        assumptions += require(requirement)
    output = op.output(*inputs)
    for place, extent in enumerate(output):
        answer = known(extent, ">=", 1).answer
        if answer is None:  # without words: an expression takes long to print
            assumptions.append(Assumption(extent, ">=", 1))
        elif not answer:
            message = f"the output would be {show_shape(output)}: size {place + 1} is {{left}}, and must be at least 1"
            require(Requirement(extent, ">=", 1, message))
    return output, assumptions


def require(requirement: Requirement) -> list[Assumption]:
    """Nothing when a requirement holds, itself as an assumption when it cannot be decided; else raises OpError."""
    left, relation, right, message = requirement
    answer, index = known(left, relation, right)
    if answer:
        return []
    if answer is None:
        return [Assumption(left, relation, right)]
    where = "" if index is None else f" (at index {', '.join(map(str, index))})"
    raise OpError(message.format(left=at(left, index, right), right=at(right, index, left)) + where)
