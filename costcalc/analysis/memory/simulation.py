"""Where the memory goes: every tensor of a run, from the operation that makes it until nothing needs it.

The schedule is torch's, told without torch. A forward pass runs layers in order, and a tensor lives until its last
reader has run; one that autograd keeps, until the gradients that need it are made. A backward pass runs autograd's
nodes in the reverse order of their making, for whatever is ready was made before all that has run. A tensor is counted
at its full size, once, however many views of it there are.

What is alive follows torch under a dispatch mode, where it can be seen (`torch_backend/observe.py`): two gradients of
one tensor are added into a third, which without a mode is done in place. What a kernel uses inside is not predicted.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from costcalc.analysis.memory.checkpoint import SavedStorage, Segment, candidate_segments, select_segments
from costcalc.analysis.memory.optimizers import Optimizer, get_optimizer
from costcalc.analysis.memory.state import AutogradNode, ParameterState, RecomputeRecord, Storage, TensorRef
from costcalc.analysis.memory.timeline import PERSISTENT_KINDS, Allocation, AllocationKind, Event, Phase, Timeline
from costcalc.core.dtypes import ELEMENT_TYPES, element_bytes
from costcalc.core.errors import CostcalcError
from costcalc.core.sizes import Size, prod
from costcalc.ir.graph import Execution, Graph, Node
from costcalc.ir.kernel import INT64_BYTES, Kernel
from costcalc.ir.layout import Layout
from costcalc.ir.op import Device
from costcalc.ir.ops.shape import is_contiguous
from costcalc.ir.ops.tensors import Buffer, Parameter


def timeline(
    graph: Graph,
    *,
    training: bool = False,
    gradients: bool | None = None,
    dtype: str = "fp32",
    optimizer: str | None = None,
    frozen: Collection[str] = (),
    accumulating: bool = False,
    checkpoint: str = "none",
    master_weights: bool = False,
    device: Device | None = None,
) -> Timeline:
    """The memory of one run of `graph` for its whole batch, event by event.

    Without `gradients` it is a forward pass under no_grad, in training or evaluation mode. With them (as in training,
    unless told otherwise) a backward pass follows from the loss, the sum of all elements of all outputs: the outputs
    are dead by then, inputs need no gradient, and the gradients of parameters stay, until an `optimizer`, if there is
    one, has made its step (its state is there from the step before). The parameters of `frozen` layers, or of all below
    such a prefix, need no gradient. If `accumulating`, the gradients are there before, and new ones are added to them:
    a further part of a batch, or gradients set to zero and not to None. With a `checkpoint` by "stage" or "block", such
    runs of layers keep only what they take, and run again in the backward pass (see `memory.checkpoint`). With
    `master_weights` the whole network is in fp16 or bf16, and the optimizer has a copy of each parameter in fp32, as
    its own state is (Micikevicius et al., "Mixed precision training", 2018): its step first copies all gradients to
    fp32, and then changes these copies, and the parameters by them. The kernels are those that `device` picks; without
    one, attention is one fused kernel with a contiguous result.

    Raises CostcalcError for an unknown dtype, optimizer, layer or checkpoint, and where a layer in place overwrites
    what a gradient needs, which torch refuses to train.
    """
    gradients = training if gradients is None else gradients
    if gradients and not training:
        raise CostcalcError("gradients are predicted in training mode alone")
    for what, asked in (
        ("an optimizer", optimizer),
        ("freezing", frozen),
        ("accumulating", accumulating),
        ("checkpointing", checkpoint != "none"),
    ):
        if asked and not gradients:
            raise CostcalcError(f"{what} needs gradients: it goes with training")
    steps = None if optimizer is None else get_optimizer(optimizer)
    if master_weights and steps is None:
        raise CostcalcError("master weights are the optimizer's: they go with one")
    if master_weights and dtype not in ("fp16", "bf16"):
        raise CostcalcError(f"master weights are fp32 copies of a network in fp16 or bf16, not in {dtype}")
    still = frozenset(node.name for prefix in frozen for node in graph.select(prefix))

    def forward(segments: Sequence[Segment]) -> _Simulation:
        run = _Simulation(graph.execution(device, gradients), training, gradients, element_bytes(dtype), segments)
        run.allocate_persistent(steps, still, accumulating, master_weights)
        run.forward()
        return run

    segments, left = candidate_segments(graph, checkpoint)
    run = forward(())
    if segments:
        segments, for_nothing = select_segments(graph, segments, *run.saved_storages())
        left |= for_nothing
        run = forward(segments)
    if gradients:
        run.loss()
        run.backward()
    if steps is not None:
        run.optimizer_step(steps, master_weights)
    saved_input = sum(memory.nbytes for memory in run.saved_inputs)
    unknown = tuple(node.name for node in graph.nodes if not node.op.modelled)
    return Timeline(
        graph.name,
        graph.batch,
        dtype,
        training,
        gradients,
        optimizer,
        run.events(),
        saved_input,
        unknown,
        sum([parameter.elements for parameter in set(run.parameters.values()) if parameter.trainable]),
        checkpoint,
        tuple(segment.prefix for segment in segments),
        left,
        tuple(node.name for node in graph.nodes if node.name in run.recomputed_layers),
        master_weights,
    )


_PARAMETER_GRADIENT: AllocationKind = "gradient of a parameter"
FP32_BYTES = (
    4  # bytes of what an optimizer counts its steps in, and of master weights, whatever the network computes in
)


class _Simulation:
    """One run, as it goes on."""

    def __init__(
        self,
        execution: Execution,
        training: bool,
        gradients: bool,
        element_size: int,
        segments: Sequence[Segment] = (),
    ) -> None:
        self.execution, self.graph = execution, execution.graph
        self.training, self.gradients, self.element_size = training, gradients, element_size
        self._event_log: list[tuple[Phase, str, bool, Storage]] = []
        self.phase: Phase = "before"
        self.layer = ""
        self.nodes: list[AutogradNode] = []  # in the order of their making
        self.tensors: dict[str, TensorRef] = {}
        self.parameters: dict[tuple[str, str], ParameterState] = {}
        self.loss_storages: list[Storage] = []
        self.saved_inputs: set[Storage] = set()
        self.segments = {segment.node_range.start: segment for segment in segments}
        self.recompute_record: RecomputeRecord | None = None  # the checkpointed segment that runs forward
        self.recomputed_layers: set[str] = set()  # layers
        self.storage_of: dict[str, Storage] = {}  # by tensor
        self.last_parameter: dict[str, Storage] = {}  # by layer, the last that it has: a parameter's only one
        self.last_buffer: dict[str, Storage] = {}  # likewise
        self.overwritten_by: dict[Storage, list[str]] = {}  # by which layers

    def allocate(self, what: str, kind: AllocationKind, elements: Size, size: int | None = None) -> Storage:
        memory = Storage(self.layer, what, kind, elements * (size or self.element_size))
        self._event_log.append((self.phase, self.layer, True, memory))
        if self.recompute_record is not None:
            self.recompute_record.steps.append(("born", memory, None))
        return memory

    def retain(self, memory: Storage) -> None:
        """One holder more."""
        memory.refcount += 1
        if self.recompute_record is not None:
            self.recompute_record.steps.append(("hold", memory, None))

    def release(self, memory: Storage) -> None:
        """One holder less; without any, it dies."""
        if self.recompute_record is not None:
            self.recompute_record.steps.append(("drop", memory, None))
        memory.refcount -= 1
        if not memory.refcount and memory.kind not in PERSISTENT_KINDS:
            self._event_log.append((self.phase, self.layer, False, memory))

    def events(self) -> tuple[Event, ...]:
        tensors: dict[int, Allocation] = {}
        events = []
        for phase, layer, born, memory in self._event_log:
            if born:
                tensors[id(memory)] = Allocation(memory.layer, memory.name, memory.kind, memory.nbytes)
            events.append(Event(phase, layer, born, tensors[id(memory)]))
        return tuple(events)

    def allocate_persistent(
        self, optimizer: Optimizer | None, frozen: frozenset[str], accumulating: bool, master_weights: bool
    ) -> None:
        """What stands: inputs, the layers' own tensors, and what there is for each parameter that gets a gradient."""
        graph = self.graph
        for name, shape, holds in graph.inputs:
            self.storage_of[name] = self.allocate(name, "input", prod(shape), ELEMENT_TYPES[holds])
            self.tensors[name] = TensorRef(self.storage_of[name], prod(shape), None)
        for node in graph.nodes:
            self.allocate_layer_tensors(node, node.name in frozen)
        for (layer, _), parameter in self.parameters.items() if self.gradients else ():
            if layer not in graph.reachable or parameter.frozen or parameter.trainable:
                continue
            self.layer, parameter.trainable = layer, True
            if accumulating:
                parameter.existing_grad = self.allocate(
                    f"gradient of {parameter.name}", _PARAMETER_GRADIENT, parameter.elements
                )
            if optimizer is not None:
                size = FP32_BYTES if master_weights else None
                if master_weights:
                    self.allocate(f"master copy of {parameter.name}", "optimizer state", parameter.elements, FP32_BYTES)
                for what in optimizer.state_tensors:
                    self.allocate(f"{what} of {parameter.name}", "optimizer state", parameter.elements, size)
                if optimizer.has_step_counter:
                    self.allocate(f"steps of {parameter.name}", "optimizer state", 1, FP32_BYTES)

    def forward(self) -> None:
        """All layers in running order; outputs are alive at the end."""
        graph = self.graph
        last = {name: place for place, node in enumerate(graph.nodes) for name in node.inputs}
        dying: dict[int, list[str]] = {}
        for place, node in enumerate(graph.nodes):
            # What nobody reads dies as it is made.
            if node.name not in graph.outputs:
                dying.setdefault(last.get(node.name, place), []).append(node.name)
        reached = graph.reachable
        self.phase = "forward"
        stop = -1
        for place, node in enumerate(graph.nodes):
            self.layer = node.name
            if place in self.segments:
                segment = self.segments[place]
                stop, taken = segment.node_range.stop, self.storage_of[segment.input]
                again = RecomputeRecord(taken)
                self.save_for_backward(taken, AutogradNode(node.name, 0, Kernel((), 0), []))
                self.recompute_record = again
            value = self.tensors[node.name] = self.run_layer(node, node.name in reached)
            self.storage_of[node.name] = value.storage
            for name in dying.get(place, ()):
                value = self.tensors.pop(name)
                self.release(value.storage)
                if name not in reached and value.grad_fn is not None:
                    self.release_unreachable(value.grad_fn)
            if place + 1 == stop:
                self.recompute_record = None
        self.layer = ""

    def allocate_layer_tensors(self, node: Node, frozen: bool) -> None:
        """The parameters and buffers of a layer; those it shares are their owner's."""
        shapes, self.layer = self.graph.input_shapes(node), node.name
        used = node.op.parameters(*shapes)
        for name, shape in used.items():
            if node.shares is None:
                self.parameters[node.name, name] = ParameterState(name, prod(shape))
                self.last_parameter[node.name] = self.allocate(name, "parameter", prod(shape))
            else:
                self.parameters[node.name, name] = self.parameters[node.shares, name]
            if frozen:
                self.parameters[node.name, name].frozen = True
        if node.shares is None:
            for name, shape in node.op.buffers(*shapes).items():
                size = (
                    ELEMENT_TYPES[self.graph.element_types[node.name]]
                    if isinstance(node.op, Buffer)
                    else None
                    if shape
                    else INT64_BYTES
                )
                self.last_buffer[node.name] = self.allocate(
                    name, "buffer", prod(shape), size
                )  # a lone number is a count

    def run_layer(self, node: Node, reached: bool) -> TensorRef:
        """What a layer makes."""
        graph = self.graph
        op, shapes = self.execution.op(node), graph.input_shapes(node)
        values = [self.tensors[name] for name in node.inputs]
        inputs = len(values)
        kernels = op.kernels(shapes, graph.shapes[node.name], self.training)
        if isinstance(op, Parameter):
            return self.parameter_tensor(node)
        if isinstance(op, Buffer):
            return TensorRef(self.last_buffer[node.name], prod(op.shape), None)
        if not kernels:
            self.retain(values[0].storage)
            if not reached and values[0].grad_fn is not None:
                values[0].grad_fn.num_dependents += 1
            return values[0]
        used = [self.parameters[node.name, name] for name in op.parameters(*shapes)] if self.gradients else []
        parameters = [parameter for parameter in used if not parameter.frozen]
        needed = _released_after(kernels, inputs)
        computing = [place for place, kernel in enumerate(kernels) if not kernel.gradients]
        for place, kernel in enumerate(kernels):
            first = place == (computing or [0])[0]
            if place == len(kernels) - 1:
                kernel = kernel._replace(element_size=ELEMENT_TYPES[graph.element_types[node.name]])
            made = self.run_kernel(
                kernel, values, parameters if first else [], inputs + place, reached, weighs=first and bool(used)
            )
            values.append(made)
            for number in needed[place]:
                self.release(values[number].storage)
        result = values[-1]
        if not reached and result.grad_fn is not None:
            result.grad_fn.num_dependents += 1
        return result

    def parameter_tensor(self, node: Node) -> TensorRef:
        """A parameter as a tensor: the sum of what its readers make of its gradient is its own."""
        parameter, memory = self.parameters[node.name, "weight"], self.last_parameter[node.shares or node.name]
        source = None
        if self.gradients and not parameter.frozen:
            shape = self.graph.shapes[node.name]
            source = AutogradNode(node.name, parameter.elements, Kernel((), parameter.elements, shape=shape), [])
            source.leaf_parameter = parameter
        return TensorRef(memory, parameter.elements, source)

    def run_kernel(
        self,
        kernel: Kernel,
        values: list[TensorRef],
        parameters: list[ParameterState],
        number: int,
        reached: bool,
        weighs: bool,
    ) -> TensorRef:
        """The result of one kernel, whose holder is the caller; and its autograd node, where gradients are wanted.

        `parameters` are those it learns; it `weighs` if it has any.
        """
        again, start = self.recompute_record, 0
        if again is not None:
            start = len(again.steps)
            again.steps.append(("run", None, self.layer))
        reads = [values[i] for i in kernel.differentiable_operands]
        base = None
        learns = parameters or (self.gradients and any(value.grad_fn is not None for value in reads))
        beside = [
            self.allocate(extra.name, "transient", extra.elements, extra.element_size)
            for extra in kernel.auxiliary_outputs
            if learns or extra.needed_in_forward
        ]
        middle = len(again.steps) if again is not None else 0
        if kernel.aliases is None:
            memory = self.allocate("output", "activation", kernel.output_elements, kernel.element_size)
        else:
            lies_in = values[kernel.aliases]
            memory = lies_in.storage
            self.retain(memory)
            base = lies_in.base if kernel.in_place or kernel.unsafe_view else lies_in.base or lies_in
            if kernel.in_place:
                self.overwritten_by.setdefault(memory, []).append(self.layer)
                if memory.saved_by:
                    self.check_overwritten(memory)
        if not learns:
            for extra in beside:
                self.release(extra)
            return TensorRef(memory, kernel.output_elements, None, base)
        copied: Size = 0
        rebased = base if kernel.in_place and base is not None and base.grad_fn is not None else None
        if rebased is not None:
            # The layer overwrites a view. Autograd makes it part of the history of what it is a view of (CopySlices):
            # backward, that one's gradient is copied, the part that the view is copied again for the kernel's own
            # backward, and its result put in place of the part.
            kernel = kernel._replace(
                forwards_gradient=False, workspace_elements=kernel.workspace_elements + kernel.output_elements
            )
            reads, copied = [rebased], kernel.output_elements
        elements = kernel.output_elements if rebased is None else rebased.elements
        node = AutogradNode(self.layer, elements, kernel, [value.grad_fn for value in reads])
        node.parameters, node.cloned_elements = parameters, copied
        for operand, size in kernel.workspace_for_operand[::-1]:
            if values[operand].grad_fn is not None:
                node.workspace_elements += size
                break
        if reached:
            for parameter in (
                *parameters,
                *(target.leaf_parameter for target in node.next_nodes if target is not None),
            ):
                if parameter is not None:
                    parameter.pending_gradients += 1
        if kernel.computes_unneeded_gradients:
            node.unneeded_elements = sum([value.elements for value in reads if value.grad_fn is None])
        needed = [kept for kept, operand in kernel.saved_for_operand if values[operand].grad_fn is not None]
        kept = dict.fromkeys(
            memory if i == number else values[i].storage
            for i in (*kernel.saved, *(kernel.saved_for_parameters if parameters else ()), *needed)
        )
        if again is not None:
            before: list[Storage | None] = [piece for piece in kept if piece is not memory]
            early = [
                extra for extra, how in zip(beside, kernel.auxiliary_outputs, strict=True) if how.saved_before_output
            ]
            late = [extra for extra in beside if extra not in early]
            again.record_saved(
                node,
                (start, before + [None] * weighs),
                (middle, early),
                (len(again.steps), [*late, *([memory] if memory in kept else [])]),
            )
            for extra in beside:
                self.release(extra)
        else:
            for extra in beside:  # the node is its only holder now
                extra.kind = "saved for backward"
                node.saved.append(extra)
            for piece in kept:
                self.save_for_backward(piece, node)
        if not reached:
            for target in node.next_nodes:
                if target is not None:
                    target.num_dependents += 1
        self.nodes.append(node)
        if rebased is None:
            return TensorRef(memory, kernel.output_elements, node, base)
        # The view is then taken anew, by strides: its gradient is copied into one as large as what it is a view of.
        view = AutogradNode(self.layer, kernel.output_elements, Kernel((), kernel.output_elements), [node])
        node.num_dependents += not reached
        self.nodes.append(view)
        return TensorRef(memory, kernel.output_elements, view, TensorRef(memory, rebased.elements, node))

    def save_for_backward(self, piece: Storage, node: AutogradNode) -> None:
        """An autograd node keeps a piece of memory until it has run."""
        piece.refcount += 1
        piece.saved_by.append(node)
        node.saved.append(piece)
        if piece.kind == "input":
            self.saved_inputs.add(piece)
        elif piece.kind == "activation":
            piece.kind = "saved for backward"

    def saved_storages(self) -> tuple[list[SavedStorage], dict[str, SavedStorage], dict[str, list[str]]]:
        """After a forward pass: what autograd keeps, what each tensor lies in, and which layers overwrite it."""

        def piece(memory: Storage) -> SavedStorage:
            return SavedStorage(memory.layer, frozenset([node.layer for node in memory.saved_by]), memory.nbytes)

        kept = [piece(m) for _, _, born, m in self._event_log if born and m.kind == "saved for backward"]
        tensors = {name: piece(memory) for name, memory in self.storage_of.items()}
        overwritten = {name: self.overwritten_by.get(memory, []) for name, memory in self.storage_of.items()}
        return kept, tensors, overwritten

    def check_overwritten(self, memory: Storage) -> None:
        """The layer overwrites what others keep: there is an error where one of them has a gradient."""
        for keeper in [node.layer for node in memory.saved_by if node.layer in self.graph.reachable]:
            raise CostcalcError(
                f"{self.graph.name}: {keeper} cannot be trained: its gradient needs a tensor that {self.layer} "
                f"overwrites: tell that one inplace=False"
            )

    def release_unreachable(self, node: AutogradNode) -> None:
        """One less needs a node; without any it goes, and what it keeps, unless an output depends on its layer."""
        node.num_dependents -= 1
        if node.num_dependents or node.layer in self.graph.reachable:
            return
        self.release_saved(node)
        for target in node.next_nodes:
            if target is not None:
                self.release_unreachable(target)

    def loss(self) -> None:
        """The sum of all outputs, each added to what there is; then the outputs die."""
        self.phase = "loss"
        total: Storage | None = None
        whole: int | None = INT64_BYTES  # the bytes of a sum of what are no floats
        for name in self.graph.outputs:
            each = self.allocate(
                "sum of an output", "transient", 1, None if self.graph.element_types[name] == "float" else INT64_BYTES
            )
            whole = None if self.graph.element_types[name] == "float" else whole
            before, total = total, self.allocate("loss", "transient", 1, whole)
            if before is not None:
                self.release(before)
            self.release(each)
        for name in dict.fromkeys(self.graph.outputs):
            self.release(self.tensors[name].storage)
        assert total is not None
        self.loss_storages.append(total)

    def backward(self) -> None:
        """All nodes that a gradient reaches, the last made first; then the loss dies."""
        self.phase = "backward"
        outputs = [self.tensors[name].grad_fn for name in reversed(self.graph.outputs)]
        if any(outputs):
            # The gradient of a sum is one number, seen as many.
            ones = self.allocate("gradient of the loss", "transient", 1)
            self.loss_storages.append(ones)
            for source in outputs:
                if source is not None and source.leaf_parameter is not None:
                    source.leaf_parameter.pending_gradients += 1
            for source in outputs:
                ones.refcount += 1
                self.accumulate_gradient(source, ones)
            for node in reversed(self.nodes):
                if node.grad is not None:
                    self.run_backward_node(node)
        self.layer = ""
        for memory in self.loss_storages:
            self.release(memory)

    def run_backward_node(self, node: AutogradNode) -> None:
        """Run one node: make gradients, let go of what it was given and what it kept, and give them on."""
        self.layer = node.layer
        given = node.grad
        assert given is not None
        again = node.recompute_record
        if again is not None and not again.done and not node.cloned_elements:
            self.recompute(again)
        targets = [target for target in node.next_nodes if target is not None]
        repeats = [
            how for target, how in zip(node.next_nodes, node.broadcast_operands, strict=True) if target is not None
        ]
        made = []
        layouts = []
        for place, target in enumerate(node.next_nodes):
            if target is None:
                continue
            is_given, layout = self.gradient_of(node, place)
            layouts.append(layout)
            if is_given:
                given.refcount += 1
                made.append(given)
            else:
                elements = node.elements if node.broadcast_operands[place] else target.elements
                made.append(self.allocate("gradient", "gradient of an activation", elements))
        copied = self.allocate("copy", "transient", node.cloned_elements) if node.cloned_elements else None
        if again is not None and not again.done:
            self.recompute(again)
        scratch = self.allocate("scratch", "transient", node.workspace_elements) if node.workspace_elements else None
        if node.unneeded_elements:
            self.release(self.allocate("unneeded gradient", "transient", node.unneeded_elements))
        learnt = []
        for parameter in node.parameters:
            if again is not None and parameter.name == node.reduced_parameter:
                self.release_saved(node)  # what is recomputed is unpacked once; else it is kept until the node is done
            learnt.append(self.allocate(f"gradient of {parameter.name}", _PARAMETER_GRADIENT, parameter.elements))
        for passing in (copied, scratch):
            if passing is not None:
                self.release(passing)
        for place, repeated in enumerate(repeats):
            if repeated:
                whole = made[place]
                made[place] = self.allocate("gradient", "gradient of an activation", targets[place].elements)
                layouts[place] = None
                self.release(whole)
        node.grad = None
        self.release(given)
        self.release_saved(node)
        if again is not None:
            again.pending_nodes -= 1
            if not again.pending_nodes:
                self.release(again.input)
        for target, gradient, layout in zip(targets, made, layouts, strict=True):
            self.accumulate_gradient(target, gradient, node.is_view or bool(node.gradients), layout)
        for parameter, gradient in zip(node.parameters, learnt, strict=True):
            self.accumulate_gradient(parameter, gradient)
        for parameter in node.parameters:
            parameter.pending_gradients -= 1
            if parameter.existing_grad is not None and not parameter.pending_gradients:  # added in place
                assert parameter.grad is not None
                self.release(parameter.grad)
                parameter.grad = None

    def gradient_of(self, node: AutogradNode, place: int) -> tuple[bool, Layout | None]:
        """Whether the gradient of an operand is the one given, or a view of it, and its layout."""
        if node.gradients and not node.new_gradient_operands[place]:
            assert node.shape is not None
            shapes, op = (node.shape,), node.gradients[place]
            given = node.layout or Layout(None, tuple(range(len(node.shape))))
            running = op.resolve(shapes, (given,))
            layout = running.layout(shapes, (given,))
            return not running.allocates_output(), layout
        if node.forwards_gradient and not node.new_gradient_operands[place]:
            return True, node.layout
        order = node.gradient_order(node.layout) if node.gradient_order and node.layout else None
        return False, None if order is None else Layout(None, order)

    def release_saved(self, node: AutogradNode) -> None:
        for piece in node.saved:
            self.release(piece)
        node.saved = []

    def recompute(self, again: RecomputeRecord) -> None:
        """Run a checkpointed segment again, so that its nodes keep what they packed; all else in it dies at the end."""
        before = self.phase, self.layer
        self.phase, again.done = "recomputation", True
        made: dict[Storage, Storage] = {}
        kept: dict[Storage, int] = {}
        for what, memory, who in again.required_steps():
            if what == "run":
                assert isinstance(who, str)
                self.layer = who
                self.recomputed_layers.add(who)
            elif what == "born":
                assert memory is not None
                made[memory] = self.allocate(memory.name, "recomputed", memory.nbytes, 1)
            elif memory in made:  # what it takes is kept in any case
                if what == "drop":
                    self.release(made[memory])
                    continue
                made[memory].refcount += 1
                if isinstance(who, AutogradNode):
                    who.saved.append(made[memory])
                    kept[memory] = kept.get(memory, 0) + 1
        for memory, anew in made.items():
            while anew.refcount > kept.get(memory, 0):
                self.release(anew)
        self.phase, self.layer = before

    def optimizer_step(self, optimizer: Optimizer, master_weights: bool) -> None:
        """The optimizer's step, one parameter after the other; then the gradients die, unless they are accumulated."""
        self.phase = "step"
        size = FP32_BYTES if master_weights else None
        held: Storage | None = None  # the last tensor that was made for the parameter before
        trained = {parameter: layer for (layer, _), parameter in self.parameters.items() if parameter.trainable}
        copied = []
        for parameter, layer in trained.items() if master_weights else ():
            self.layer = layer
            copied.append(
                self.allocate(f"fp32 gradient of {parameter.name}", _PARAMETER_GRADIENT, parameter.elements, FP32_BYTES)
            )
        for parameter, layer in trained.items() if optimizer.workspace_tensors else ():
            self.layer = layer
            *passing, left = [
                self.allocate(f"step of {parameter.name}", "transient", parameter.elements, size)
                for _ in range(optimizer.workspace_tensors)
            ]
            for memory in passing:
                self.release(memory)
            if held is not None:
                self.release(held)
            held = left
        if held is not None:
            self.release(held)
        for memory in copied:
            self.release(memory)
        for parameter, layer in trained.items():
            self.layer = layer
            if parameter.grad is not None:
                self.release(parameter.grad)

    def accumulate_gradient(
        self,
        target: AutogradNode | ParameterState | None,
        gradient: Storage,
        viewed: bool = False,
        layout: Layout | None = None,
    ) -> None:
        """Add a gradient to what there is of it; the target holds it from then on. It may be a view of what is told.

        A sum is laid out as what there was before.
        """
        if target is None:
            self.release(gradient)
            return
        if isinstance(target, AutogradNode) and target.leaf_parameter is not None:
            self.accumulate_gradient(target.leaf_parameter, gradient, layout=layout)
            target.leaf_parameter.pending_gradients -= 1
            if not target.leaf_parameter.pending_gradients:
                layout = target.leaf_parameter.layout
                assert target.shape is not None
                self.finish_leaf_gradient(
                    target.leaf_parameter, viewed, layout is None or is_contiguous(target.shape, layout)
                )
            return
        before = target.grad
        if before is None:
            target.grad, target.layout = gradient, layout
            return
        if target.layout is not None:
            target.layout = target.layout._replace(strided_dims=frozenset())
        kind: AllocationKind = (
            _PARAMETER_GRADIENT if isinstance(target, ParameterState) else "gradient of an activation"
        )
        target.grad = self.allocate("sum of gradients", kind, target.elements)
        self.release(before)
        self.release(gradient)

    def finish_leaf_gradient(self, parameter: ParameterState, viewed: bool, contiguous: bool) -> None:
        """The gradient of a parameter that is a tensor is there: it stays, or a copy where it is not its own.

        It is copied, too, where it is not contiguous, as the parameter is.
        """
        gradient = parameter.grad
        assert gradient is not None
        size = parameter.elements * self.element_size
        if parameter.existing_grad is not None:  # added in place
            parameter.grad = None
        elif (
            gradient in self.loss_storages
            or gradient.nbytes < size  # expanded
            or (gradient.refcount > 1 and not viewed)
            or not contiguous
        ):
            parameter.grad = self.allocate(f"gradient of {parameter.name}", _PARAMETER_GRADIENT, parameter.elements)
        else:
            gradient.kind = _PARAMETER_GRADIENT
            return
        self.release(gradient)


def _released_after(kernels: tuple[Kernel, ...], inputs: int) -> list[list[int]]:
    """By kernel, the results that die when it has run; the last kernel's is the layer's."""
    dying: list[list[int]] = [[] for _ in kernels]
    for made in range(len(kernels) - 1):
        number = inputs + made
        users = [
            place
            for place, kernel in enumerate(kernels)
            if number in kernel.differentiable_operands
            or number in kernel.operands_kept_alive
            or number == kernel.aliases
        ]
        dying[max(users, default=made)].append(number)
    return dying
