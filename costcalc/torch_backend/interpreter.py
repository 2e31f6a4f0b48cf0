"""Running a network layer by layer while reading a meter: what each layer adds to it, forward and backward.

Any meter will do: a FLOP counter, a clock, a count of live bytes. Forward, it is read as a layer is entered and left.
Backward, autograd's nodes run in an order of its own; each is marked with its layer as the layer makes it, and the
meter is read as a node of another layer's takes over. What accumulates gradients into parameters runs right after the
node that made them, and so counts for its layer.
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
    """The meter on entering a layer and on leaving it; a layer may be entered more than once."""

    layer: str
    direction: Literal["forward", "backward"]
    start: Reading
    end: Reading


class Workload(NamedTuple):
    """A network on a device, and something to feed it; `accumulating`, gradients are added to those that are there."""

    graph: Graph
    network: fx.GraphModule
    inputs: tuple[Tensor, ...]
    accumulating: bool = False

    def run_step(self, run: Callable[..., Any], train: bool) -> None:
        """One forward pass by `run`, and with `train` one backward pass from the sum of all outputs."""
        if not self.accumulating:
            self.network.zero_grad(set_to_none=True)
        with torch.set_grad_enabled(train):
            outputs = run(*self.inputs)
        if train:
            loss: Any = sum(output.sum() for output in (outputs if isinstance(outputs, tuple) else (outputs,)))
            del outputs  # as in training, where nothing holds them while gradients are made
            if loss.requires_grad:
                loss.backward()


@contextmanager
def prepare_workload(graph: Graph, environment: Environment, train: bool) -> Iterator[Workload]:
    """The graph's network where it is to run, in training or in inference, with random weights and inputs.

    They are the same each time, and torch's random numbers go on afterwards as if nothing had been (on the CPU and
    CUDA; torch forks no others).
    """
    dtype = torch_dtype(environment.dtype)
    devices = [torch.cuda.current_device()] if environment.device == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.default_generator.manual_seed(0)  # torch.manual_seed would seed devices that are not forked, too
        if devices:
            torch.cuda.manual_seed(0)
        network = build(graph, device=environment.device, dtype=dtype, allow_unknown=True).train(train)
        inputs = tuple(_example(given, environment.device, dtype) for given in graph.inputs)
        yield Workload(graph, network, inputs)


def _example(given: Input, device: str, dtype: torch.dtype) -> Tensor:
    """Random numbers; zeros where elements are whole numbers, for an index must be one that there is."""
    _, shape, holds = given
    if holds == "float":
        return torch.randn(shape, device=device, dtype=dtype)
    return torch.zeros(shape, device=device, dtype=getattr(torch, holds))


class LayerInterpreter(fx.Interpreter, Generic[Reading]):
    """Runs a network and keeps the spans of its layers; `seen` is told of each layer its module, inputs and result.

    The layers below each prefix in `checkpointed`, which run one after the other, take one tensor and give the last
    one's, are called through torch.utils.checkpoint; their second run is in no span, and its direction "recomputation".
    Raises CostcalcError, naming the layer, for what torch refuses.
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
        self._layer = ""  # that runs forward
        self._recomputing = False  # for the second time
        self._segments: dict[fx.Node, list[fx.Node]] = {}  # by the first step
        if checkpointed:
            import torch._dynamo  # noqa: F401 (else torch imports it in the run, and old releases create tensors then)
        for prefix in checkpointed:
            names = {node.name for node in workload.graph.select(prefix)}
            steps = [step for step in workload.network.graph.nodes if step.meta.get(LAYER) in names]
            self._segments[steps[0]] = steps
        self._backward: tuple[str, Reading] | None = None  # the layer that runs backward, and the meter as it began

    def run_once(self, train: bool) -> None:
        """One forward pass and, with `train`, one backward pass."""
        try:
            self.workload.run_step(self.run, train)
        except RuntimeError as error:  # of autograd: a layer's own errors are CostcalcErrors by now
            where = f" at {self._backward[0]}" if self._backward else ""
            reason = _first_line(error)
            if "modified by an inplace operation" in reason:
                reason = "its gradient needs a tensor that a layer in place overwrites: tell that one inplace=False"
            message = f"{self.workload.graph.name}: torch cannot train it{where}: {reason}"
            raise CostcalcError(message) from error
        self._enter_backward(None)

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """The module's result, which is not kept here."""
        try:
            return super().run(*args, **kwargs)
        finally:
            self.env.clear()

    @property
    def current(self) -> tuple[str, Pass]:
        """The layer that runs, and in which direction; no layer where what runs is the loss."""
        if self._recomputing:
            return self._layer, "recomputation"
        return (self._layer, "forward") if self._backward is None else (self._backward[0], "backward")

    def run_node(self, n: fx.Node) -> Any:
        """One step of the module."""
        if n in self._segments:
            return self._checkpoint(self._segments[n])
        self._layer = n.meta.get(LAYER, "")
        result = super().run_node(n)
        return result if n.users or n.op == "output" else None  # what nobody reads is dead, as in the module's own code

    def _checkpoint(self, steps: list[fx.Node]) -> Any:
        """The result of the first of the steps, which all run here, as one function of the tensor that they take."""
        (taken,) = {before for step in steps for before in step.all_input_nodes if before not in steps}
        *passed, last = steps

        def run(tensor: Tensor) -> Any:
            again, self._recomputing = self._recomputing, self._backward is not None
            try:
                values = {taken: tensor}
                for step in steps:
                    values[step] = self._run_step(step, values)
                    for dead in self.user_to_last_uses.get(step, ()):
                        del values[dead]
                return values[last]
            finally:
                self._recomputing = again

        result = checkpoint(run, self.env[taken], use_reentrant=False)
        if not passed:
            return result
        # The interpreter passes over what has a value, and lets go of what is used for the last time by other steps.
        self.env |= dict.fromkeys(passed[1:]) | {last: result}
        for step in steps[1:]:
            for dead in self.user_to_last_uses.get(step, ()):
                if dead not in passed:
                    del self.env[dead]
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
        """One layer, between two readings."""
        module, layer = self.fetch_attr(target), self._layer
        start = self.read_meter()
        try:
            result = module(*args, **kwargs)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            message = f"{self.workload.graph.name}: torch cannot run {layer}: {_first_line(error)}"
            raise CostcalcError(message) from error
        self.spans.append(Span(layer, "forward", start, self.read_meter()))
        made = result if isinstance(result, tuple) else (result,)
        if torch.is_grad_enabled():
            self._tag_autograd_nodes(made, layer)
        if self.on_layer is not None:
            taken = tuple(tensor for arg in args for tensor in (arg if isinstance(arg, tuple) else (arg,)))
            self.on_layer(layer, module, taken, made)
        return result

    def _tag_autograd_nodes(self, results: tuple[Tensor, ...], layer: str) -> None:
        """Have the autograd nodes that the layer made say so when they run."""
        waiting = [result.grad_fn for result in results]
        while waiting:
            node = waiting.pop()
            # A layer's own mark is kept by the node, for one that is held from here would keep tensors alive. What has
            # a variable accumulates a parameter's gradient.
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
