"""A network that runs layer by layer while a meter is read, so that each layer's share is known.

A meter is any function that returns a reading: a FLOP counter, a clock, a count of live bytes. In the forward pass it
is read before and after each layer. In the backward pass autograd chooses the order of its nodes; each node is marked
with the layer that recorded it, and the meter is read when a node of another layer starts. Accumulating a gradient into
a parameter follows the node that computed it, and counts for the same layer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Generic, Literal, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, fx, nn
from torch.utils.checkpoint import checkpoint

from costcalc.analysis.memory.timeline import Pass
from costcalc.core.errors import CostcalcError
from costcalc.ir.graph import Graph, Input
from costcalc.torch_backend.device import Environment, torch_dtype
from costcalc.torch_backend.module import LAYER, build

Reading = TypeVar("Reading")


class Span(NamedTuple, Generic[Reading]):
    """The readings before and after a layer. A layer may have several spans."""

    layer: str
    direction: Literal["forward", "backward"]
    start: Reading
    end: Reading


class Workload(NamedTuple):
    """A network on a device with example inputs. With `accumulating`, gradients are added to existing ones."""

    graph: Graph
    network: fx.GraphModule
    inputs: tuple[Tensor, ...]
    accumulating: bool = False

    def run_step(self, run: Callable[..., Any], train: bool) -> None:
        """Run one forward pass by calling `run` and, with `train`, a backward pass from the sum of all outputs."""
        if not self.accumulating:
            self.network.zero_grad(set_to_none=True)
        with torch.set_grad_enabled(train):
            outputs = run(*self.inputs)
        if train:
            loss: Any = sum(output.sum() for output in (outputs if isinstance(outputs, tuple) else (outputs,)))
            del outputs  # as in training, where nothing refers to them during the backward pass
            if loss.requires_grad:
                loss.backward()


@contextmanager
def prepare_workload(graph: Graph, environment: Environment, train: bool) -> Iterator[Workload]:
    """Build the graph's network on a device, in training or evaluation mode, with random weights and inputs.

    The random numbers are the same each time, and the state of torch's generators is restored afterwards (on the CPU
    and CUDA; torch cannot fork others).
    """
    dtype = torch_dtype(environment.dtype)
    devices = [torch.cuda.current_device()] if environment.device == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.default_generator.manual_seed(0)  # torch.manual_seed would also seed devices that are not forked
        if devices:
            torch.cuda.manual_seed(0)
        network = build(graph, device=environment.device, dtype=dtype, allow_unknown=True).train(train)
        inputs = tuple(_example_input(each, environment.device, dtype) for each in graph.inputs)
        yield Workload(graph, network, inputs)


def _example_input(graph_input: Input, device: str, dtype: torch.dtype) -> Tensor:
    """Return random numbers, or zeros for an input of integers, which are valid indices."""
    _, shape, element_type = graph_input
    if element_type == "float":
        return torch.randn(shape, device=device, dtype=dtype)
    return torch.zeros(shape, device=device, dtype=getattr(torch, element_type))


class LayerInterpreter(fx.Interpreter, Generic[Reading]):
    """Runs a network and collects the spans of its layers.

    `on_layer` is called after each layer with its name, module, inputs and outputs. The layers below each prefix in
    `checkpointed` must run one after the other, with one input tensor and the last layer's output; they are called
    through torch.utils.checkpoint. Their second run is in no span, and its pass is "recomputation". Raises
    CostcalcError, which names the layer, where torch cannot run it.
    """

    def __init__(
        self,
        workload: Workload,
        read_meter: Callable[[], Reading],
        on_layer: Callable[[str, nn.Module, tuple[Tensor, ...], tuple[Tensor, ...]], None] | None = None,
        checkpointed: Collection[str] = (),
    ) -> None:
        super().__init__(workload.network)
        self.extra_traceback = False
        self.workload, self.read_meter, self.on_layer = workload, read_meter, on_layer
        self.spans: list[Span[Reading]] = []
        self._layer = ""  # the one that runs forward
        self._recomputing = False
        self._segments: dict[fx.Node, list[fx.Node]] = {}  # steps of a checkpointed segment, by its first step
        if checkpointed:
            import torch._dynamo  # noqa: F401 (otherwise torch imports it during the run, and old releases create tensors then)
        for prefix in checkpointed:
            names = {node.name for node in workload.graph.select(prefix)}
            steps = [step for step in workload.network.graph.nodes if step.meta.get(LAYER) in names]
            self._segments[steps[0]] = steps
        self._backward: tuple[str, Reading] | None = None  # the layer that runs backward, and the reading at its start

    def run_once(self, train: bool) -> None:
        """Run one forward pass and, with `train`, one backward pass."""
        try:
            self.workload.run_step(self.run, train)
        except RuntimeError as error:  # from autograd: errors of layers are CostcalcErrors already
            where = f" at {self._backward[0]}" if self._backward else ""
            reason = _first_line(error)
            if "modified by an inplace operation" in reason:
                reason = "an in-place layer overwrites a tensor needed for the gradient; set inplace=False on it"
            message = f"{self.workload.graph.name}: torch cannot train it{where}: {reason}"
            raise CostcalcError(message) from error
        self._enter_backward(None)

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Run the module, and drop references to its tensors."""
        try:
            return super().run(*args, **kwargs)
        finally:
            self.env.clear()

    @property
    def current(self) -> tuple[str, Pass]:
        """The layer that runs, and the pass. The layer is "" while the loss is computed."""
        if self._recomputing:
            return self._layer, "recomputation"
        return (self._layer, "forward") if self._backward is None else (self._backward[0], "backward")

    def run_node(self, n: fx.Node) -> Any:
        """Run one step of the module."""
        if n in self._segments:
            return self._checkpoint(self._segments[n])
        self._layer = n.meta.get(LAYER, "")
        result = super().run_node(n)
        return result if n.users or n.op == "output" else None  # frees unused results

    def _checkpoint(self, steps: list[fx.Node]) -> Any:
        """Run the steps of a segment under torch.utils.checkpoint, and return the result of the first one."""
        (source,) = {before for step in steps for before in step.all_input_nodes if before not in steps}
        *inner, last = steps

        def run(tensor: Tensor) -> Any:
            outer, self._recomputing = self._recomputing, self._backward is not None
            try:
                values = {source: tensor}
                for step in steps:
                    values[step] = self._run_step(step, values)
                    for unused in self.user_to_last_uses.get(step, ()):
                        del values[unused]
                return values[last]
            finally:
                self._recomputing = outer

        result = checkpoint(run, self.env[source], use_reentrant=False)
        if not inner:
            return result
        # The interpreter skips steps that have a value, and frees values after their last use by other steps.
        self.env |= dict.fromkeys(inner[1:]) | {last: result}
        for step in steps[1:]:
            for unused in self.user_to_last_uses.get(step, ()):
                if unused not in inner:
                    del self.env[unused]
        return None

    def _run_step(self, step: fx.Node, values: Mapping[fx.Node, Any]) -> Any:
        self._layer = step.meta[LAYER]
        arguments = tuple(values[a] if isinstance(a, fx.Node) else a for a in step.args)
        if step.op == "call_function":  # the first of several results
            return cast(Callable[..., Any], step.target)(*arguments)
        if self._recomputing:
            return self.fetch_attr(str(step.target))(*arguments)
        return self.call_module(step.target, arguments, {})

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Run one layer between two readings."""
        module, layer = self.fetch_attr(target), self._layer
        start = self.read_meter()
        try:
            result = module(*args, **kwargs)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            message = f"{self.workload.graph.name}: torch cannot run {layer}: {_first_line(error)}"
            raise CostcalcError(message) from error
        self.spans.append(Span(layer, "forward", start, self.read_meter()))
        outputs = result if isinstance(result, tuple) else (result,)
        if torch.is_grad_enabled():
            self._tag_autograd_nodes(outputs, layer)
        if self.on_layer is not None:
            inputs = tuple(tensor for arg in args for tensor in (arg if isinstance(arg, tuple) else (arg,)))
            self.on_layer(layer, module, inputs, outputs)
        return result

    def _tag_autograd_nodes(self, results: tuple[Tensor, ...], layer: str) -> None:
        """Register a hook on each autograd node of the layer that reports when it runs."""
        waiting = [result.grad_fn for result in results]
        while waiting:
            node = waiting.pop()
            # The mark is stored on the node: a set of nodes here would keep their tensors alive. A node with a variable
            # accumulates the gradient of a parameter.
            if node is None or hasattr(node, "variable"):
                continue
            marks: dict[Any, Any] = cast(Any, node).metadata  # torch's stubs call it a method
            if LAYER in marks:
                continue
            marks[LAYER] = layer
            node.register_prehook(lambda gradients: self._enter_backward(layer))
            waiting += [before for before, _ in node.next_functions]

    def _enter_backward(self, layer: str | None) -> None:
        if self._backward is not None and self._backward[0] == layer:
            return
        now = self.read_meter()
        if self._backward is not None:
            self.spans.append(Span(self._backward[0], "backward", self._backward[1], now))
        self._backward = None if layer is None else (layer, now)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
