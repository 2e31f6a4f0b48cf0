"""The base class of ops, and the check of an op on its inputs.

An op is a frozen dataclass. Its fields are the arguments that a spec accepts; its methods return the output shape, the
shapes of parameters and buffers, the work and the kernels, as formulas over sizes of any carrier (see `core.sizes`).
Conventions, receptive fields and the lowering to torch are defined outside the op.

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
from typing import Any, ClassVar, NamedTuple, TypeVar, dataclass_transform

from costcalc.core.axes import operand_dim_names
from costcalc.core.devices import Device
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
from costcalc.ir.layout import CHANNELS_LAST, NCHW, Layout
from costcalc.ir.work import NO_WORK, Work


class Requirement(NamedTuple):
    """A relation between sizes that the inputs of an op must satisfy."""

    left: Size
    relation: Relation
    right: Size
    message: str  # of the error; {left} and {right} stand for the sizes


class Window(NamedTuple):
    """One axis of a sliding window."""

    kernel: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1


class Assumption(NamedTuple):
    """A requirement on symbolic sizes that is assumed, because it cannot be decided."""

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
    """Make a subclass of `Op` a frozen dataclass; its fields are declared by the functions of `ir.arguments`."""
    dataclasses.dataclass(frozen=True, eq=False, repr=False)(cls)
    cls.argument_specs = {f.name: f.metadata["argument"] for f in dataclasses.fields(cls)}
    return cls


@op
class Op:
    """A kind of layer.

    Shapes have the batch first. All counts are those of the whole batch.
    """

    name: ClassVar[str]  # in a spec
    argument_specs: ClassVar[dict[str, ArgumentSpec]] = {}
    arity: ClassVar[tuple[int, int | None]] = (1, 1)  # minimum and maximum number of inputs; None: no maximum
    rank: ClassVar[int | None] = None  # of the first input; None: any
    weight_layer: ClassVar[bool] = False  # counted in "ResNet-50", "VGG-16"
    nonlinearity: ClassVar[bool] = False  # an activation function
    is_normalization: ClassVar[bool] = False
    is_module: ClassVar[bool] = False  # a module in torch.nn; all other ops are calls of a function
    modelled: ClassVar[bool] = True  # False: its cost is unknown
    saves_input: ClassVar[bool] = False  # for backward
    saves_output: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.__name__.startswith("_"):
            return  # a variant of an op, or an abstract class
        cls.name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()

    def __post_init__(self) -> None:
        for name, argument in self.argument_specs.items():
            value = getattr(self, name)
            converted = argument.convert(name, value)
            if converted is not value:
                object.__setattr__(self, name, converted)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((self.name, *self.__dict__.values()))

    def values(self) -> dict[str, Any]:
        """Return the values of the op's arguments by name."""
        return {name: getattr(self, name) for name in self.argument_specs}

    def requirements(self, *inputs: Shape) -> Iterator[Requirement]:
        """Yield the relations that the sizes of the inputs must satisfy.

        Raises OpError for inputs of which no such relation can be stated, such as those of a wrong rank.
        """
        return iter(())

    def output(self, *inputs: Shape) -> Shape:
        """Return the shape of the output; by default, that of the first input."""
        return inputs[0]

    def extra_outputs(self, *inputs: Shape) -> tuple[Shape, ...]:
        """Return the shapes of extra outputs, which the ops `result(1)`, `result(2)`, … select."""
        return ()

    def extra_element_types(self, *inputs: str) -> tuple[str, ...]:
        """Return the element types of extra outputs; () if all are that of the output."""
        return ()

    def element_type(self, *inputs: str) -> str:
        """Return the element type of the output; by default, that of the first input."""
        return inputs[0] if inputs else "float"

    def parameters(self, *inputs: Shape) -> dict[str, Shape]:
        """Return the shapes of the parameters by torch's names, without parameters that are inputs instead."""
        return {}

    def buffers(self, *inputs: Shape) -> dict[str, Shape]:
        """Return the shapes of the buffers by torch's names."""
        return {}

    def work(self, inputs: tuple[Shape, ...], output: Shape) -> Work:
        """Return the arithmetic of one forward pass."""
        return NO_WORK

    def backward_macs(
        self, macs: Size, trainable: bool, requires_grad: tuple[bool, ...], inputs: tuple[Shape, ...] = ()
    ) -> Size:
        """Return the MACs of the gradients: those of the parameters if `trainable`, and of inputs with `requires_grad`.

        `macs` are those of the forward pass. The gradient of each operand of a product takes as many.
        """
        return macs * (trainable + sum(requires_grad))

    def label(self) -> str:
        """Return the name of the op in reports."""
        return self.name

    def allocates_output(self, training: bool = False) -> bool:
        """Return whether the output is a new tensor: neither a view nor the input changed in place."""
        return True

    def kernels(self, inputs: tuple[Shape, ...], output: Shape, training: bool = False) -> tuple[Kernel, ...]:
        """Return the kernels that run; none if the output is the first input itself.

        By default, one kernel computes the output. The first kernel reads the parameters.
        """
        count = len(inputs)
        new = self.allocates_output(training)
        return (
            Kernel(
                tuple(range(count)),
                prod(output),
                aliases=None if new else 0,
                in_place=not new,
                saved=(*range(count * self.saves_input), *([count] if self.saves_output else ())),
                gradient_order=self.gradient_order,
            ),
        )

    def gradient_order(self, layout: Layout) -> tuple[int, ...] | None:
        """Return the order in memory of the dimensions of a new gradient; None if it is contiguous.

        `layout` is that of grad_output.
        """
        return None

    def sliding_windows(self, *inputs: Shape) -> tuple[Window, ...] | None:
        """Return the window of input positions that an output position depends on, for each spatial axis.

        (): an output position depends on the same input position only. None: windows differ in size, or cover the
        whole plane.
        """
        return ()

    def layout(self, inputs: tuple[Shape, ...], layouts: tuple[Layout, ...]) -> Layout:
        """Return the layout of the output.

        By default it is that of the first input: torch preserves memory formats. The spatial dimensions of an op on
        images are 2 and 3, and its output is contiguous or channels last. An output without inputs has no spatial
        dimensions. `strided_dims` of a new tensor are ignored.
        """
        if not layouts:
            return Layout(None, tuple(range(len(self.output()))))
        first = layouts[0]
        if self.rank != 4 or first is NCHW:
            return first
        return Layout(NCHW.spatial_dims, first.dim_order) if first.dim_order == CHANNELS_LAST else NCHW

    @classmethod
    def has_variants(cls) -> bool:
        """Whether `resolve` may return another op."""
        return cls.resolve is not Op.resolve

    def resolve(
        self,
        inputs: tuple[Shape, ...],
        layouts: tuple[Layout, ...],
        device: Device | None = None,
        requires_grad: tuple[bool, ...] = (),
    ) -> Op:
        """Return the op that `device` runs on inputs with these layouts: this op, or a variant with other kernels.

        A variant copies where a view is impossible, or runs the kernel that the device picks, which may depend on the
        inputs that require a gradient. Without a device, an op with a fused kernel (attention) runs it, with a
        contiguous output.
        """
        return self

    def __str__(self) -> str:
        """Return the op as a call in the spec language, without arguments that have their default values."""
        arguments = []
        for name, spec in self.argument_specs.items():
            value, required = getattr(self, name), spec.default is dataclasses.MISSING
            if required or not identical(value, spec.convert(name, spec.default)):
                shown = repr(spec.display(value))
                arguments.append(shown if required else f"{name}={shown}")
        return f"{self.name}({', '.join(arguments)})"

    __repr__ = __str__


def infer_output(op: Op, inputs: tuple[Shape, ...]) -> tuple[Shape, list[Assumption]]:
    """Return the output shape of an op, and the assumptions it makes about symbolic sizes.

    Raises OpError if the op does not accept the inputs.
    """
    minimum, maximum = op.arity
    if len(inputs) < minimum or (maximum is not None and len(inputs) > maximum):
        number = f"{minimum} or more" if maximum is None else f"{minimum} to {maximum}"
        number = str(minimum) if maximum == minimum else number
        raise OpError(f"{op.name} takes {number} input{'s' * (number != '1')}, not {len(inputs)}", "inputs")
    if op.rank is not None and len(inputs[0]) != op.rank:
        shape = inputs[0]
        sizes = f"{op.rank} sizes ({', '.join(operand_dim_names(op.rank))})"
        raise OpError(f"{op.name} takes an input of {sizes}, not of {len(shape)}: {format_shape(shape)}")
    assumptions = []
    for requirement in op.requirements(*inputs):
        assumptions += check_requirement(requirement)
    output = op.output(*inputs)
    for index, extent in enumerate(output):
        answer = check_relation(extent, ">=", 1).answer
        if answer is None:  # without a message: printing an expression is slow
            assumptions.append(Assumption(extent, ">=", 1))
        elif not answer:
            message = (
                f"the output would be {format_shape(output)}: size {index + 1} is {{left}}, and must be at least 1"
            )
            check_requirement(Requirement(extent, ">=", 1, message))
    return output, assumptions


def check_requirement(requirement: Requirement) -> list[Assumption]:
    """Return no assumption if a requirement is satisfied, and the requirement as one if it cannot be decided.

    Raises OpError if it is not satisfied.
    """
    left, relation, right, message = requirement
    answer, index = check_relation(left, relation, right)
    if answer:
        return []
    if answer is None:
        return [Assumption(left, relation, right)]
    where = "" if index is None else f" (at index {', '.join(map(str, index))})"
    raise OpError(message.format(left=element_at(left, index, right), right=element_at(right, index, left)) + where)
