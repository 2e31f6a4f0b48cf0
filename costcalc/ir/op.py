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
import re
from collections.abc import Iterator
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar, dataclass_transform

from costcalc.core.axes import operand_dim_names
from costcalc.core.errors import OpError
from costcalc.core.sizes import (
    RELATION_SIGNS,
    Relation,
    Shape,
    Size,
    check_relation,
    element_at,
    format_shape,
    identical,
    prod,
)
from costcalc.ir.arguments import (
    ArgumentSpec,
    choice,
    dimensions,
    flag,
    integer,
    integers,
    number,
    numbers,
    per_axis,
    scalar,
    shape,
    sides,
    size,
    text,
)
from costcalc.ir.kernel import Kernel
from costcalc.ir.layout import _NCHW, CHANNELS_LAST, Layout
from costcalc.ir.work import NO_WORK, Work


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


# Where an op may run. The kernel that a device picks decides how a result is laid out and what is saved for backward.
Device = Literal["cpu", "meta", "cuda", "mps"]


class Assumption(NamedTuple):
    """A requirement on symbols that could not be decided and is taken for granted."""

    left: Size
    relation: Relation
    right: Size

    def __str__(self) -> str:
        return f"{self.left} {RELATION_SIGNS[self.relation]} {self.right}"


_OpType = TypeVar("_OpType", bound="Op")


@dataclass_transform(
    frozen_default=True,
    field_specifiers=(
        size,
        integer,
        per_axis,
        sides,
        flag,
        number,
        numbers,
        scalar,
        choice,
        text,
        shape,
        integers,
        dimensions,
    ),
)
def op(cls: type[_OpType]) -> type[_OpType]:
    """Make a subclass of `Op` with fields of its own a frozen dataclass whose values are read by their declarations."""
    dataclasses.dataclass(frozen=True, eq=False, repr=False)(cls)
    cls.argument_specs = {f.name: f.metadata["argument"] for f in dataclasses.fields(cls)}
    return cls


@op
class Op:
    """A kind of layer. Shapes have the batch first; all counts are for the whole batch."""

    name: ClassVar[str]  # as a spec calls it
    argument_specs: ClassVar[dict[str, ArgumentSpec]] = {}
    arity: ClassVar[tuple[int, int | None]] = (1, 1)  # how many tensors it takes: least, most (None: any number)
    rank: ClassVar[int | None] = None  # dimensions its first input must have, if that matters
    weight_layer: ClassVar[bool] = False  # counted in "ResNet-50", "VGG-16"
    nonlinearity: ClassVar[bool] = False  # an activation function, which bends what the layers before it compute
    is_normalization: ClassVar[bool] = False
    is_module: ClassVar[bool] = False  # a module in torch.nn; all other ops are calls of a function
    modelled: ClassVar[bool] = True  # False: its cost is not known
    saves_input: ClassVar[bool] = False  # what autograd keeps until it has made the gradients
    saves_output: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.__name__.startswith("_"):
            return  # a variant of an op has its name
        cls.name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()

    def __post_init__(self) -> None:
        for name, argument in self.argument_specs.items():
            given = getattr(self, name)
            value = argument.convert(name, given)
            if value is not given:
                object.__setattr__(self, name, value)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((self.name, *self.__dict__.values()))

    def values(self) -> dict[str, Any]:
        """Return the values of the op's arguments by name."""
        return {name: getattr(self, name) for name in self.argument_specs}

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        """What must hold of the inputs' sizes for the op to take them."""
        return iter(())

    def output(self, *inputs: Shape) -> Shape:
        """The shape of the result; for most ops, that of the (first) input."""
        return inputs[0]

    def extra_outputs(self, *inputs: Shape) -> tuple[Shape, ...]:
        """The shapes of further results, which `result(1)`, `result(2)`, … take; the first is `output`."""
        return ()

    def extra_element_types(self, *inputs: str) -> tuple[str, ...]:
        """What the elements of further results are, where they are not what those of the first are."""
        return ()

    def element_type(self, *inputs: str) -> str:
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

    def backward_macs(
        self, macs: Size, trainable: bool, requires_grad: tuple[bool, ...], inputs: tuple[Shape, ...] = ()
    ) -> Size:
        """The multiply-accumulates of gradients: of its own parameters if `taught`, of each input that `learns`.

        A product that is linear in each operand takes as many for the gradient of one operand as it takes itself.
        """
        return macs * (trainable + sum(requires_grad))

    def label(self) -> str:
        """What a report calls it."""
        return self.name

    def allocates_output(self, training: bool = False) -> bool:
        """Whether the result is a new tensor: not a view, not the input changed in place."""
        return True

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        """What runs forward, and what autograd keeps for it; nothing where the (first) input is the result.

        For most ops it is one kernel that makes the output. The parameters are the first kernel's.
        """
        count = len(inputs)
        new = self.allocates_output(training)
        keeps = (*range(count * self.saves_input), *([count] if self.saves_output else ()))
        operands, dim_order = tuple(range(count)), self.gradient_order
        return (
            Kernel(
                operands,
                prod(output),
                aliases=None if new else 0,
                in_place=not new,
                saved=keeps,
                gradient_order=dim_order,
            ),
        )

    def gradient_order(self, given: Layout) -> tuple[int, ...] | None:
        """The order in memory of the dimensions of a new gradient, for the layout of the result's; None: contiguous."""
        return None

    def sliding_windows(self, *inputs: Shape) -> tuple[Window, ...] | None:
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
        if self.rank != 4 or first is _NCHW:
            return first
        return Layout(_NCHW.spatial_dims, first.dim_order) if first.dim_order == CHANNELS_LAST else _NCHW

    def resolve(
        self,
        inputs: tuple[Shape, ...],
        layouts: tuple[Layout, ...],
        device: Device | None = None,
        requires_grad: tuple[bool, ...] = (),
    ) -> Op:
        """The op as `device` runs it on inputs with these layouts: itself, or a variant with other kernels.

        A variant copies what cannot be a view, or is the kernel that the device picks, which may depend on which inputs
        require a gradient. Without a device, an op that has a fused kernel (attention) runs as one kernel with a
        contiguous result.
        """
        return self

    def __str__(self) -> str:
        """The op as a call of the spec language, fields at their defaults left out."""
        arguments = []
        for name, spec in self.argument_specs.items():
            value, required = getattr(self, name), spec.default is dataclasses.MISSING
            if required or not identical(value, spec.convert(name, spec.default)):
                shown = repr(spec.display(value))
                arguments.append(shown if required else f"{name}={shown}")
        return f"{self.name}({', '.join(arguments)})"

    __repr__ = __str__


def infer_output(op: Op, inputs: tuple[Shape, ...]) -> tuple[Shape, list[Assumption]]:
    """The output shape of `op` on `inputs`, and what had to be assumed of symbolic sizes.

    Raises OpError when the op cannot take the inputs.
    """
    least, most = op.arity
    if len(inputs) < least or (most is not None and len(inputs) > most):
        wanted = str(least) if most == least else f"{least} or more" if most is None else f"{least} to {most}"
        raise OpError(f"{op.name} takes {wanted} input{'s' * (wanted != '1')}, not {len(inputs)}", "inputs")
    if op.rank is not None and len(inputs[0]) != op.rank:
        got = inputs[0]
        sizes = f"{op.rank} sizes ({', '.join(operand_dim_names(op.rank))})"
        raise OpError(f"{op.name} takes an input of {sizes}, not of {len(got)}: {format_shape(got)}")
    assumptions = []
    for requirement in op.requirements(*inputs):
        assumptions += check_requirement(requirement)
    output = op.output(*inputs)
    for place, extent in enumerate(output):
        answer = check_relation(extent, ">=", 1).answer
        if answer is None:  # without words: an expression takes long to print
            assumptions.append(Assumption(extent, ">=", 1))
        elif not answer:
            message = (
                f"the output would be {format_shape(output)}: size {place + 1} is {{left}}, and must be at least 1"
            )
            check_requirement(Requirement(extent, ">=", 1, message))
    return output, assumptions


def check_requirement(requirement: Requirement) -> list[Assumption]:
    """Nothing when a requirement holds, itself as an assumption when it cannot be decided; else raises OpError."""
    left, relation, right, message = requirement
    answer, index = check_relation(left, relation, right)
    if answer:
        return []
    if answer is None:
        return [Assumption(left, relation, right)]
    where = "" if index is None else f" (at index {', '.join(map(str, index))})"
    raise OpError(message.format(left=element_at(left, index, right), right=element_at(right, index, left)) + where)
