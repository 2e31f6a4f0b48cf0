"""A module as a program of ATen operators: exported by torch.export or, where that fails, recorded from one run."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from textwrap import shorten
from typing import Any, NamedTuple, cast

import torch
from torch import fx, nn
from torch.export.graph_signature import InputKind
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from torch.utils import _pytree as pytree

import costcalc
from costcalc.core.errors import CostcalcError, did_you_mean
from costcalc.frontends.torch.symbols import size_names

_LIBRARY_PATHS = (
    *(os.path.dirname(os.path.abspath(file)) + os.sep for file in (torch.__file__, os.__file__, costcalc.__file__)),
    "<frozen",
)


class Program(NamedTuple):
    """The operators of a module in running order.

    `input_specs` gives the kind and the name of each placeholder: a user input, a parameter, a buffer or a constant.
    `note` is for the report, if the program is a recorded run.
    """

    graph: fx.Graph
    input_specs: Mapping[fx.Node, tuple[InputKind, str]]
    note: str | None = None


def export_program(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], name: str, dynamic_sizes: Collection[str]
) -> Program:
    """Export a module with the sizes named in `dynamic_sizes` as symbols.

    Without dynamic sizes, a module that torch.export rejects is run once on tensors without data, and the operators
    that it calls are recorded. Raises CostcalcError if that fails too, with the source location and advice.
    """
    example = _mark_dynamic(args, kwargs, name, dynamic_sizes, distinct=True)
    try:
        exported = torch.export.export(module, *example[:2], dynamic_shapes=example[2], strict=False)
    except Exception as error:  # the module's code may raise any type
        try:
            if isinstance(error, GuardOnDataDependentSymNode) and all(t.is_meta for t in module.state_dict().values()):
                raise  # a recorded run would fail too: no tensor has values
            if not dynamic_sizes:
                return _record_run(module, args, kwargs, error)
            # The module may require equal sizes.
            example = _mark_dynamic(args, kwargs, name, dynamic_sizes, distinct=False)
            exported = torch.export.export(module, *example[:2], dynamic_shapes=example[2], strict=False)
        except Exception:
            raise CostcalcError(_export_error(name, error)) from error
    specs = zip(placeholders(exported.graph), exported.graph_signature.input_specs, strict=True)
    return Program(exported.graph, {node: (spec.kind, str(spec.target or node.name)) for node, spec in specs})


def placeholders(graph: fx.Graph) -> list[fx.Node]:
    """Return the inputs of a graph."""
    return [node for node in graph.nodes if node.op == "placeholder"]


def _record_run(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception) -> Program:
    """Record the operators of one run on tensors without data; the outputs are all tensors in the module's result."""
    flat, structure = pytree.tree_flatten((args, kwargs))
    tensors = [value for value in flat if isinstance(value, torch.Tensor)]

    def run(*inputs: torch.Tensor) -> list[torch.Tensor]:
        remaining = iter(inputs)
        leaves = [next(remaining) if isinstance(value, torch.Tensor) else value for value in flat]
        run_args, run_kwargs = pytree.tree_unflatten(leaves, structure)
        return list(_tensors_in(module(*run_args, **run_kwargs)))

    traced = make_fx(run, tracing_mode="fake", pre_dispatch=True, _allow_non_fake_inputs=True)(*tensors)
    names = {id(tensor): (InputKind.PARAMETER, path) for path, tensor in reversed([*module.named_parameters()])}
    names |= {id(tensor): (InputKind.BUFFER, path) for path, tensor in module.named_buffers()}
    input_specs: dict[fx.Node, tuple[InputKind, str]] = {}
    for node in traced.graph.nodes:
        if node.op == "placeholder":
            input_name = f"input{len(input_specs)}" if len(tensors) > 1 else "input"
            input_specs[node] = (InputKind.USER_INPUT, input_name)
        elif node.op == "get_attr":
            tensor = getattr(traced, str(node.target))
            node.meta["val"] = tensor
            input_specs[node] = names.get(id(tensor), (InputKind.CONSTANT_TENSOR, str(node.target)))
    reason = str(error).strip().partition("\n")[0]
    note = (
        f"torch.export cannot export the model ({reason}): the operators of one run were recorded instead, "
        "and layers without parameters have no module in their path"
    )
    return Program(traced.graph, input_specs, note)


def _tensors_in(result: Any, depth: int = 0) -> Iterator[torch.Tensor]:
    """Yield the tensors in a result: in containers, and in the attributes of other objects."""
    if isinstance(result, torch.Tensor):
        yield result
    elif depth < 10:
        parts: Any = ()
        if isinstance(result, Mapping):
            parts = result.values()
        elif isinstance(result, (list, tuple)):
            parts = result
        elif hasattr(result, "__dict__"):
            parts = vars(result).values()
        for part in parts:
            yield from _tensors_in(part, depth + 1)


def _mark_dynamic(
    args: tuple[Any, ...], kwargs: dict[str, Any], name: str, dynamic_sizes: Collection[str], *, distinct: bool
) -> tuple[tuple[Any, ...], dict[str, Any], Any]:
    """Return example inputs in which the sizes named in `dynamic_sizes` are marked as dynamic.

    torch.export makes equal sizes one symbol; with `distinct`, the dynamic sizes are changed to differ.
    """
    if not dynamic_sizes:
        return args, kwargs, None
    flat, structure = pytree.tree_flatten((args, kwargs))
    tensors = [value for value in flat if isinstance(value, torch.Tensor)]
    tensor_dims = size_names(tensors)
    sizes: dict[str, int] = {}
    for tensor, dims in zip(tensors, tensor_dims, strict=True):
        sizes |= {dim: extent for dim, extent in zip(dims, tensor.shape, strict=True) if dim}
    for size in dynamic_sizes:
        if size not in sizes:
            message = f"{name} has no size {size!r}{did_you_mean(size, sizes)}: its inputs have {', '.join(sizes)}"
            raise CostcalcError(message)
    used: set[int] = set()
    for size in dynamic_sizes:
        extent = start = max(sizes[size], 2)  # torch.export treats a size of 1 as fixed
        while distinct and extent in used:
            extent += start
        used.add(extent)
        sizes[size] = extent
    collection: Any = cast(Any, torch.export.ShapesCollection)()
    remaining_dims = iter(tensor_dims)
    for index, value in enumerate(flat):
        if isinstance(value, torch.Tensor):
            dims = next(remaining_dims)
            shape = [sizes[d] if d in dynamic_sizes else extent for d, extent in zip(dims, value.shape, strict=True)]
            flat[index] = value.new_zeros(shape)
            collection[flat[index]] = {i: torch.export.Dim.AUTO for i, d in enumerate(dims) if d in dynamic_sizes}
    args, kwargs = pytree.tree_unflatten(flat, structure)
    return args, kwargs, collection


def _export_error(name: str, error: Exception) -> str:
    """Return the message for a module that cannot be exported: the reason, its source location and advice."""
    reason, advice = shorten(str(error).strip().partition("\n")[0], 200, placeholder=" …"), ""
    if isinstance(error, GuardOnDataDependentSymNode):
        reason = (
            f"a size or a branch depends on the values of a tensor, which are not known before the model runs: {reason}"
        )
        advice = "\nimport a part that does not, for example costcalc.from_torch(model.backbone, example)"
    else:
        reason = f"{type(error).__name__}: {reason}"
    location = source_location(error)
    return f"{name} cannot be imported: {reason}" + (f" ({location})" if location else "") + advice


def source_location(error: BaseException) -> str | None:
    """Return the file and line of the innermost frame outside torch, Python's library and costcalc."""
    location, trace = None, error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith(_LIBRARY_PATHS):
            location = f"{file}:{trace.tb_lineno}"
        trace = trace.tb_next
    return location
