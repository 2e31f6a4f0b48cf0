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

from costcalc.analysis.memory.checkpoint import Piece, Segment, candidates, worthwhile
from costcalc.analysis.memory.holders import Again, Backward, Learnt, Memory, Value
from costcalc.analysis.memory.optimizers import Optimizer, optimizer_named
from costcalc.analysis.memory.timeline import STANDING, Event, Kind, Phase, Tensor, Timeline
from costcalc.core.dtypes import HOLDS, element_bytes
from costcalc.core.errors import CostcalcError
from costcalc.core.sizes import Size, prod
from costcalc.ir.graph import Graph, Node
from costcalc.ir.kernel import INT64, Kernel
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
    fp32, and then changes these copies, and the parameters by them.

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
    steps = None if optimizer is None else optimizer_named(optimizer)
    if master_weights and steps is None:
        raise CostcalcError("master weights are the optimizer's: they go with one")
    if master_weights and dtype not in ("fp16", "bf16"):
        raise CostcalcError(f"master weights are fp32 copies of a network in fp16 or bf16, not in {dtype}")
    still = frozenset(node.name for prefix in frozen for node in graph.select(prefix))

    def forward(segments: Sequence[Segment]) -> _Run:
        run = _Run(graph, training, gradients, element_bytes(dtype), segments)
        run.before(steps, still, accumulating, master_weights)
        run.forward()
        return run

    segments, left = candidates(graph, checkpoint)
    run = forward(())
    if segments:
        segments, for_nothing = worthwhile(graph, segments, *run.kept())
        left |= for_nothing
        run = forward(segments)
    if gradients:
        run.loss()
        run.backward()
    if steps is not None:
        run.step(steps, master_weights)
    saved_input = sum(memory.size for memory in run.kept_inputs)
    unknown = tuple(node.name for node in graph.nodes if not node.op.counted)
    return Timeline(
        graph.name,
        graph.batch,
        dtype,
        training,
        gradients,
        optimizer,
        run.told(),
        saved_input,
        unknown,
        sum([parameter.elements for parameter in set(run.parameters.values()) if parameter.trained]),
        checkpoint,
        tuple(segment.prefix for segment in segments),
        left,
        tuple(node.name for node in graph.nodes if node.name in run.ran_again),
        master_weights,
    )


_LEARNT: Kind = "gradient of a parameter"
FP32 = 4  # bytes of what an optimizer counts its steps in, and of master weights, whatever the network computes in


class _Run:
    """One run, as it goes on."""

    def __init__(
        self, graph: Graph, training: bool, gradients: bool, element: int, segments: Sequence[Segment] = ()
    ) -> None:
        self.graph, self.training, self.gradients, self.element = graph, training, gradients, element
        self.told_so_far: list[tuple[Phase, str, bool, Memory]] = []
        self.phase: Phase = "before"
        self.layer = ""
        self.nodes: list[Backward] = []  # in the order of their making
        self.values: dict[str, Value] = {}
        self.parameters: dict[tuple[str, str], Learnt] = {}
        self.losses: list[Memory] = []
        self.kept_inputs: set[Memory] = set()
        self.segments = {segment.places.start: segment for segment in segments}
        self.again: Again | None = None  # the checkpointed segment that runs forward
        self.ran_again: set[str] = set()  # layers
        self.lies_in: dict[str, Memory] = {}  # by tensor
        self.weight: dict[str, Memory] = {}  # by layer, the last that it has: a parameter's only one
        self.buffer: dict[str, Memory] = {}  # likewise
        self.overwritten: dict[Memory, list[str]] = {}  # by which layers

    def born(self, what: str, kind: Kind, elements: Size, size: int | None = None) -> Memory:
        memory = Memory(self.layer, what, kind, elements * (size or self.element))
        self.told_so_far.append((self.phase, self.layer, True, memory))
        if self.again is not None:
            self.again.steps.append(("born", memory, None))
        return memory

    def hold(self, memory: Memory) -> None:
        """One holder more."""
        memory.holders += 1
        if self.again is not None:
            self.again.steps.append(("hold", memory, None))

    def drop(self, memory: Memory) -> None:
        """One holder less; without any, it dies."""
        if self.again is not None:
            self.again.steps.append(("drop", memory, None))
        memory.holders -= 1
        if not memory.holders and memory.kind not in STANDING:
            self.told_so_far.append((self.phase, self.layer, False, memory))

    def told(self) -> tuple[Event, ...]:
        tensors: dict[int, Tensor] = {}
        events = []
        for phase, layer, born, memory in self.told_so_far:
            if born:
                tensors[id(memory)] = Tensor(memory.layer, memory.what, memory.kind, memory.size)
            events.append(Event(phase, layer, born, tensors[id(memory)]))
        return tuple(events)

    def before(
        self, optimizer: Optimizer | None, frozen: frozenset[str], accumulating: bool, master_weights: bool
    ) -> None:
        """What stands: inputs, the layers' own tensors, and what there is for each parameter that gets a gradient."""
        graph = self.graph
        for name, shape, holds in graph.inputs:
            self.lies_in[name] = self.born(name, "input", prod(shape), HOLDS[holds])
            self.values[name] = Value(self.lies_in[name], prod(shape), None)
        for node in graph.nodes:
            self.own(node, node.name in frozen)
        for (layer, _), parameter in self.parameters.items() if self.gradients else ():
            if layer not in graph.reached or parameter.frozen or parameter.trained:
                continue
            self.layer, parameter.trained = layer, True
            if accumulating:
                parameter.there = self.born(f"gradient of {parameter.what}", _LEARNT, parameter.elements)
            if optimizer is not None:
                size = FP32 if master_weights else None
                if master_weights:
                    self.born(f"master copy of {parameter.what}", "optimizer state", parameter.elements, FP32)
                for what in optimizer.copies:
                    self.born(f"{what} of {parameter.what}", "optimizer state", parameter.elements, size)
                if optimizer.counts:
                    self.born(f"steps of {parameter.what}", "optimizer state", 1, FP32)

    def forward(self) -> None:
        """All layers in running order; outputs are alive at the end."""
        graph = self.graph
        last = {name: place for place, node in enumerate(graph.nodes) for name in node.inputs}
        dying: dict[int, list[str]] = {}
        for place, node in enumerate(graph.nodes):
            # What nobody reads dies as it is made.
            if node.name not in graph.outputs:
                dying.setdefault(last.get(node.name, place), []).append(node.name)
        reached = graph.reached
        self.phase = "forward"
        stop = -1
        for place, node in enumerate(graph.nodes):
            self.layer = node.name
            if place in self.segments:
                segment = self.segments[place]
                stop, taken = segment.places.stop, self.lies_in[segment.taken]
                again = Again(taken)
                self.keep(taken, Backward(node.name, 0, Kernel((), 0), []))
                self.again = again
            value = self.values[node.name] = self.run(node, node.name in reached)
            self.lies_in[node.name] = value.memory
            for name in dying.get(place, ()):
                value = self.values.pop(name)
                self.drop(value.memory)
                if name not in reached and value.source is not None:
                    self.forget(value.source)
            if place + 1 == stop:
                self.again = None
        self.layer = ""

    def own(self, node: Node, frozen: bool) -> None:
        """The parameters and buffers of a layer; those it shares are their owner's."""
        shapes, self.layer = self.graph.input_shapes(node), node.name
        used = node.op.parameters(*shapes)
        for name, shape in used.items():
            if node.shares is None:
                self.parameters[node.name, name] = Learnt(name, prod(shape))
                self.weight[node.name] = self.born(name, "parameter", prod(shape))
            else:
                self.parameters[node.name, name] = self.parameters[node.shares, name]
            if frozen:
                self.parameters[node.name, name].frozen = True
        if node.shares is None:
            for name, shape in node.op.buffers(*shapes).items():
                size = HOLDS[self.graph.holds[node.name]] if isinstance(node.op, Buffer) else None if shape else INT64
                self.buffer[node.name] = self.born(name, "buffer", prod(shape), size)  # a lone number is a count

    def run(self, node: Node, reached: bool) -> Value:
        """What a layer makes."""
        graph = self.graph
        op, shapes = graph.running_op(node), graph.input_shapes(node)
        values = [self.values[name] for name in node.inputs]
        inputs = len(values)
        kernels = op.kernels(shapes, graph.shapes[node.name], self.training)
        if isinstance(op, Parameter):
            return self.given(node)
        if isinstance(op, Buffer):
            return Value(self.buffer[node.name], prod(op.shape), None)
        if not kernels:
            self.hold(values[0].memory)
            if not reached and values[0].source is not None:
                values[0].source.readers += 1
            return values[0]
        used = [self.parameters[node.name, name] for name in op.parameters(*shapes)] if self.gradients else []
        parameters = [parameter for parameter in used if not parameter.frozen]
        needed = _last_needed(kernels, inputs)
        for place, kernel in enumerate(kernels):
            first = place == 0
            if place == len(kernels) - 1:
                kernel = kernel._replace(size=HOLDS[graph.holds[node.name]])
            made = self.kernel(
                kernel, values, parameters if first else [], inputs + place, reached, weighs=first and bool(used)
            )
            values.append(made)
            for number in needed[place]:
                self.drop(values[number].memory)
        result = values[-1]
        if not reached and result.source is not None:
            result.source.readers += 1
        return result

    def given(self, node: Node) -> Value:
        """A parameter as a tensor: the sum of what its readers make of its gradient is its own."""
        parameter, memory = self.parameters[node.name, "weight"], self.weight[node.shares or node.name]
        source = None
        if self.gradients and not parameter.frozen:
            source = Backward(node.name, parameter.elements, Kernel((), parameter.elements), [])
            source.leaf = parameter
        return Value(memory, parameter.elements, source)

    def kernel(
        self,
        kernel: Kernel,
        values: list[Value],
        parameters: list[Learnt],
        number: int,
        reached: bool,
        weighs: bool,
    ) -> Value:
        """The result of one kernel, whose holder is the caller; and its autograd node, where gradients are wanted.

        `parameters` are those it learns; it `weighs` if it has any.
        """
        again, start = self.again, 0
        if again is not None:
            start = len(again.steps)
            again.steps.append(("run", None, self.layer))
        reads = [values[i] for i in kernel.reads]
        base = None
        learns = parameters or (self.gradients and any(value.source is not None for value in reads))
        beside = [
            self.born(extra.what, "transient", extra.elements, extra.size)
            for extra in kernel.beside
            if learns or extra.needed
        ]
        middle = len(again.steps) if again is not None else 0
        if kernel.lies_in is None:
            memory = self.born("output", "activation", kernel.elements, kernel.size)
        else:
            lies_in = values[kernel.lies_in]
            memory = lies_in.memory
            self.hold(memory)
            base = lies_in.base if kernel.in_place else lies_in.base or lies_in
            if kernel.in_place:
                self.overwritten.setdefault(memory, []).append(self.layer)
                if memory.keepers:
                    self.refuse(memory)
        if not learns:
            for extra in beside:
                self.drop(extra)
            return Value(memory, kernel.elements, None, base)
        copied: Size = 0
        rebased = base if kernel.in_place and base is not None and base.source is not None else None
        if rebased is not None:
            # The layer overwrites a view. Autograd makes it part of the history of what it is a view of (CopySlices):
            # backward, that one's gradient is copied, the part that the view is copied again for the kernel's own
            # backward, and its result put in place of the part.
            kernel = kernel._replace(passes_on=False, scratch=kernel.scratch + kernel.elements)
            reads, copied = [rebased], kernel.elements
        elements = kernel.elements if rebased is None else rebased.elements
        node = Backward(self.layer, elements, kernel, [value.source for value in reads])
        node.parameters, node.copied = parameters, copied
        for operand, size in kernel.scratch_for[::-1]:
            if values[operand].source is not None:
                node.scratch += size
                break
        if reached:
            for parameter in (*parameters, *(target.leaf for target in node.targets if target is not None)):
                if parameter is not None:
                    parameter.awaited += 1
        if kernel.unasked:
            node.unasked = sum([value.elements for value in reads if value.source is None])
        needed = [kept for kept, operand in kernel.keeps_for if values[operand].source is not None]
        kept = dict.fromkeys(
            memory if i == number else values[i].memory
            for i in (*kernel.keeps, *(kernel.keeps_to_learn if parameters else ()), *needed)
        )
        if again is not None:
            before: list[Memory | None] = [piece for piece in kept if piece is not memory]
            early = [extra for extra, how in zip(beside, kernel.beside, strict=True) if how.first]
            late = [extra for extra in beside if extra not in early]
            again.packs(
                node,
                (start, before + [None] * weighs),
                (middle, early),
                (len(again.steps), [*late, *([memory] if memory in kept else [])]),
            )
            for extra in beside:
                self.drop(extra)
        else:
            for extra in beside:  # the node is its only holder now
                extra.kind = "saved for backward"
                node.kept.append(extra)
            for piece in kept:
                self.keep(piece, node)
        if not reached:
            for target in node.targets:
                if target is not None:
                    target.readers += 1
        self.nodes.append(node)
        if rebased is None:
            return Value(memory, kernel.elements, node, base)
        # The view is then taken anew, by strides: its gradient is copied into one as large as what it is a view of.
        view = Backward(self.layer, kernel.elements, Kernel((), kernel.elements), [node])
        node.readers += not reached
        self.nodes.append(view)
        return Value(memory, kernel.elements, view, Value(memory, rebased.elements, node))

    def keep(self, piece: Memory, node: Backward) -> None:
        """An autograd node keeps a piece of memory until it has run."""
        piece.holders += 1
        piece.keepers.append(node)
        node.kept.append(piece)
        if piece.kind == "input":
            self.kept_inputs.add(piece)
        elif piece.kind == "activation":
            piece.kind = "saved for backward"

    def kept(self) -> tuple[list[Piece], dict[str, Piece], dict[str, list[str]]]:
        """After a forward pass: what autograd keeps, what each tensor lies in, and which layers overwrite it."""

        def piece(memory: Memory) -> Piece:
            return Piece(memory.layer, frozenset([node.layer for node in memory.keepers]), memory.size)

        kept = [piece(m) for _, _, born, m in self.told_so_far if born and m.kind == "saved for backward"]
        tensors = {name: piece(memory) for name, memory in self.lies_in.items()}
        overwritten = {name: self.overwritten.get(memory, []) for name, memory in self.lies_in.items()}
        return kept, tensors, overwritten

    def refuse(self, memory: Memory) -> None:
        """The layer overwrites what others keep: there is an error where one of them has a gradient."""
        for keeper in [node.layer for node in memory.keepers if node.layer in self.graph.reached]:
            raise CostcalcError(
                f"{self.graph.name}: {keeper} cannot be trained: its gradient needs a tensor that {self.layer} "
                f"overwrites: tell that one inplace=False"
            )

    def forget(self, node: Backward) -> None:
        """One less needs a node; without any it goes, and what it keeps, unless an output depends on its layer."""
        node.readers -= 1
        if node.readers or node.layer in self.graph.reached:
            return
        self.let_go(node)
        for target in node.targets:
            if target is not None:
                self.forget(target)

    def loss(self) -> None:
        """The sum of all outputs, each added to what there is; then the outputs die."""
        self.phase = "loss"
        total: Memory | None = None
        whole: int | None = INT64  # the bytes of a sum of what are no floats
        for name in self.graph.outputs:
            each = self.born("sum of an output", "transient", 1, None if self.graph.holds[name] == "float" else INT64)
            whole = None if self.graph.holds[name] == "float" else whole
            before, total = total, self.born("loss", "transient", 1, whole)
            if before is not None:
                self.drop(before)
            self.drop(each)
        for name in dict.fromkeys(self.graph.outputs):
            self.drop(self.values[name].memory)
        assert total is not None
        self.losses.append(total)

    def backward(self) -> None:
        """All nodes that a gradient reaches, the last made first; then the loss dies."""
        self.phase = "backward"
        outputs = [self.values[name].source for name in reversed(self.graph.outputs)]
        if any(outputs):
            # The gradient of a sum is one number, seen as many.
            ones = self.born("gradient of the loss", "transient", 1)
            self.losses.append(ones)
            for source in outputs:
                if source is not None and source.leaf is not None:
                    source.leaf.awaited += 1
            for source in outputs:
                ones.holders += 1
                self.give(source, ones)
            for node in reversed(self.nodes):
                if node.gradient is not None:
                    self.differentiate(node)
        self.layer = ""
        for memory in self.losses:
            self.drop(memory)

    def differentiate(self, node: Backward) -> None:
        """Run one node: make gradients, let go of what it was given and what it kept, and give them on."""
        self.layer = node.layer
        given = node.gradient
        assert given is not None
        again = node.again
        if again is not None and not again.done and not node.copied:
            self.recompute(again)
        targets = [target for target in node.targets if target is not None]
        repeats = [how for target, how in zip(node.targets, node.repeats, strict=True) if target is not None]
        made = []
        for place, target in enumerate(node.targets):
            if target is None:
                continue
            if node.passes_on and not node.renews[place]:
                given.holders += 1
                made.append(given)
            else:
                elements = node.elements if node.repeats[place] else target.elements
                made.append(self.born("gradient", "gradient of an activation", elements))
        copied = self.born("copy", "transient", node.copied) if node.copied else None
        if again is not None and not again.done:
            self.recompute(again)
        scratch = self.born("scratch", "transient", node.scratch) if node.scratch else None
        if node.unasked:
            self.drop(self.born("unneeded gradient", "transient", node.unasked))
        learnt = []
        for parameter in node.parameters:
            if again is not None and parameter.what == node.sums:
                self.let_go(node)  # what is recomputed is unpacked once; else it is kept until the node is done
            learnt.append(self.born(f"gradient of {parameter.what}", _LEARNT, parameter.elements))
        for passing in (copied, scratch):
            if passing is not None:
                self.drop(passing)
        for place, repeated in enumerate(repeats):
            if repeated:
                whole = made[place]
                made[place] = self.born("gradient", "gradient of an activation", targets[place].elements)
                self.drop(whole)
        node.gradient = None
        self.drop(given)
        self.let_go(node)
        if again is not None:
            again.waiting -= 1
            if not again.waiting:
                self.drop(again.taken)
        for target, gradient in zip(targets, made, strict=True):
            self.give(target, gradient, node.is_view)
        for parameter, gradient in zip(node.parameters, learnt, strict=True):
            self.give(parameter, gradient)
        for parameter in node.parameters:
            parameter.awaited -= 1
            if parameter.there is not None and not parameter.awaited:  # added in place
                assert parameter.gradient is not None
                self.drop(parameter.gradient)
                parameter.gradient = None

    def let_go(self, node: Backward) -> None:
        for piece in node.kept:
            self.drop(piece)
        node.kept = []

    def recompute(self, again: Again) -> None:
        """Run a checkpointed segment again, so that its nodes keep what they packed; all else in it dies at the end."""
        before = self.phase, self.layer
        self.phase, again.done = "recomputation", True
        made: dict[Memory, Memory] = {}
        kept: dict[Memory, int] = {}
        for what, memory, who in again.needed():
            if what == "run":
                assert isinstance(who, str)
                self.layer = who
                self.ran_again.add(who)
            elif what == "born":
                assert memory is not None
                made[memory] = self.born(memory.what, "recomputed", memory.size, 1)
            elif memory in made:  # what it takes is kept in any case
                if what == "drop":
                    self.drop(made[memory])
                    continue
                made[memory].holders += 1
                if isinstance(who, Backward):
                    who.kept.append(made[memory])
                    kept[memory] = kept.get(memory, 0) + 1
        for memory, anew in made.items():
            while anew.holders > kept.get(memory, 0):
                self.drop(anew)
        self.phase, self.layer = before

    def step(self, optimizer: Optimizer, master_weights: bool) -> None:
        """The optimizer's step, one parameter after the other; then the gradients die, unless they are accumulated."""
        self.phase = "step"
        size = FP32 if master_weights else None
        held: Memory | None = None  # the last tensor that was made for the parameter before
        trained = {parameter: layer for (layer, _), parameter in self.parameters.items() if parameter.trained}
        copied = []
        for parameter, layer in trained.items() if master_weights else ():
            self.layer = layer
            copied.append(self.born(f"fp32 gradient of {parameter.what}", _LEARNT, parameter.elements, FP32))
        for parameter, layer in trained.items() if optimizer.scratch else ():
            self.layer = layer
            *passing, left = [
                self.born(f"step of {parameter.what}", "transient", parameter.elements, size)
                for _ in range(optimizer.scratch)
            ]
            for memory in passing:
                self.drop(memory)
            if held is not None:
                self.drop(held)
            held = left
        if held is not None:
            self.drop(held)
        for memory in copied:
            self.drop(memory)
        for parameter, layer in trained.items():
            self.layer = layer
            if parameter.gradient is not None:
                self.drop(parameter.gradient)

    def give(self, target: Backward | Learnt | None, gradient: Memory, viewed: bool = False) -> None:
        """Add a gradient to what there is of it; the target holds it from then on. It may be a view of what is told."""
        if target is None:
            self.drop(gradient)
            return
        if isinstance(target, Backward) and target.leaf is not None:
            self.give(target.leaf, gradient)
            target.leaf.awaited -= 1
            if not target.leaf.awaited:
                self.settle(target.leaf, viewed)
            return
        before = target.gradient
        if before is None:
            target.gradient = gradient
            return
        kind: Kind = _LEARNT if isinstance(target, Learnt) else "gradient of an activation"
        target.gradient = self.born("sum of gradients", kind, target.elements)
        self.drop(before)
        self.drop(gradient)

    def settle(self, parameter: Learnt, viewed: bool) -> None:
        """The gradient of a parameter that is a tensor is there: it stays, or a copy where it is not its own."""
        gradient = parameter.gradient
        assert gradient is not None
        size = parameter.elements * self.element
        if parameter.there is not None:  # added in place
            parameter.gradient = None
        elif gradient in self.losses or gradient.size != size or (gradient.holders > 1 and not viewed):
            parameter.gradient = self.born(f"gradient of {parameter.what}", _LEARNT, parameter.elements)
        else:
            gradient.kind = _LEARNT
            return
        self.drop(gradient)


def _last_needed(kernels: tuple[Kernel, ...], inputs: int) -> list[list[int]]:
    """By kernel, the results that die when it has run; the last kernel's is the layer's."""
    dying: list[list[int]] = [[] for _ in kernels]
    for made in range(len(kernels) - 1):
        number = inputs + made
        users = [
            place
            for place, kernel in enumerate(kernels)
            if number in kernel.reads or number in kernel.holds or number == kernel.lies_in
        ]
        dying[max(users, default=made)].append(number)
    return dying
