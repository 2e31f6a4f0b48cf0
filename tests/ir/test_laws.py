"""The laws that every op obeys: one formula for ints, arrays and expressions; work linear in the batch; honest docs."""

from __future__ import annotations

import ast
import inspect
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
import sympy
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from op_cases import ALONE, CASES

import costcalc.ir.ops
from costcalc.core.errors import OpError
from costcalc.core.sizes import as_size, is_array
from costcalc.ir.op import infer_output
from costcalc.ir.ops import OPS

NAMES = ("n", "m", "k", "g", "h", "w")
SYMBOLS = {name: sympy.Symbol(name, integer=True, positive=True) for name in NAMES}
LEAST = {"h": 9, "w": 9}


@st.composite
def samples(draw):
    """Three values of every variable."""
    return [{name: draw(st.integers(LEAST.get(name, 1), 40)) for name in NAMES} for _ in range(3)]


def facts(op, inputs):
    """Everything an op says of its inputs, as a flat mapping of names to sizes."""
    output, _ = infer_output(op, inputs)
    found = {f"output {i}": s for i, s in enumerate(output)}
    found |= {f"result {r} {i}": s for r, shape in enumerate(op.extra_outputs(*inputs), 1) for i, s in enumerate(shape)}
    for kind, shapes in (("parameter", op.parameters(*inputs)), ("buffer", op.buffers(*inputs))):
        found |= {f"{kind} {name} {i}": s for name, shape in shapes.items() for i, s in enumerate(shape)}
    if op.modelled:
        work = op.work(inputs, output)
        found |= dict(zip(work.__slots__, astuple(work), strict=True))
    for training in (False, True):
        for i, kernel in enumerate(op.kernels(inputs, output, training)):
            made = {"makes": kernel.output_elements, "needs": kernel.workspace_elements} | {
                b.name: b.elements for b in kernel.auxiliary_outputs
            }
            found |= {f"kernel {i} {what}, training {training}": size for what, size in made.items()}
    return found


def test_every_op_has_a_case():
    assert set(CASES) == set(ALONE)


@pytest.mark.parametrize("name", ALONE)
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(data=st.data(), values=samples())
def test_int_equals_array_equals_expression(name, data, values):
    make_op, make_inputs, *_ = CASES[name](data.draw)
    try:
        of_ints = [facts(make_op(v), make_inputs(v)) for v in values]
    except OpError:
        assume(False)
    columns = {n: as_size(np.array([v[n] for v in values])) for n in NAMES}
    of_arrays = facts(make_op(columns), make_inputs(columns))
    of_symbols = facts(make_op(SYMBOLS), make_inputs(SYMBOLS))
    assert of_ints[0].keys() == of_arrays.keys() == of_symbols.keys()
    for fact in of_arrays:
        for i, v in enumerate(values):
            expected = of_ints[i][fact]
            size = of_arrays[fact]
            assert int(size[i] if is_array(size) else size) == expected, f"{fact} as an array"
            put_in = sympy.sympify(of_symbols[fact]).subs({SYMBOLS[n]: v[n] for n in NAMES})
            assert put_in == expected, f"{fact} as an expression: {of_symbols[fact]}"


@pytest.mark.parametrize("name", ALONE)
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(data=st.data(), values=samples())
def test_work_is_linear_in_the_batch_and_parameters_do_not_depend_on_it(name, data, values):
    make_op, make_inputs, *_ = CASES[name](data.draw)
    one, many = ({**values[0], "n": n} for n in (1, 7))
    try:
        a, b = (facts(make_op(v), make_inputs(v)) for v in (one, many))
    except OpError:
        assume(False)
    for fact in a:
        if fact in ("macs", "adds", "muls", "divs", "exps", "compares"):
            assert b[fact] == 7 * a[fact], fact
        elif fact.startswith(("parameter", "buffer")):
            assert b[fact] == a[fact], fact


@pytest.mark.parametrize("groups", [1, 2, 4, 8, 16])
def test_groups_divide_macs_and_weights(groups):
    whole, split = OPS["conv2d"](32, 3, padding=1), OPS["conv2d"](32, 3, padding=1, groups=groups)
    inputs = ((2, 16, 10, 12),)
    output, _ = infer_output(split, inputs)
    assert split.work(inputs, output).macs * groups == whole.work(inputs, output).macs == 2 * 10 * 12 * 32 * 16 * 3 * 3
    assert split.parameters(*inputs)["weight"] == (32, 16 // groups, 3, 3)


@pytest.mark.parametrize("name", ALONE)
def test_docstring_states_the_work_and_where_the_op_is_from(name):
    doc = inspect.getdoc(OPS[name]) or ""
    assert doc.split("\n")[0].endswith(".")
    assert "Work: " in doc
    assert "torch." in doc or "et al." in doc or name == "unknown"


@pytest.mark.parametrize("name", ALONE)
@settings(max_examples=4, deadline=None)
@given(data=st.data(), values=samples())
def test_an_op_written_as_a_call_reads_back_equal(name, data, values):
    from costcalc.frontends.spec import Spec

    op = CASES[name](data.draw)[0](values[0])
    call = str(op)
    inputs = f", inputs={list('abcdefgh'[: op.arity[0]])}" if op.arity[0] > 1 else ""
    text = f"name: t\ninputs: {{a: [1, 4, 9, 9], b: [1, 4, 9, 9]}}\nlayers:\n  - x: {call[:-1].rstrip('(')}"
    text += ("(" if call.endswith("()") else "") + (inputs[2:] if call.endswith("()") else inputs) + ")\n"
    spec = Spec(text, "t.yaml")
    assert not spec.problems, spec.problems
    written = spec.layers[0].expression.layer_calls({}, spec.signatures(), 1)[0]
    fields = {k: v for k, v in written.arguments.items() if k != "inputs"}
    assert OPS[name](**fields) == op


def test_formulas_use_only_what_every_carrier_can_do():
    """No true division, remainder, max, min, abs or int on a size: SymPy answers `h % 2 == 0` with a silent False."""
    for path in Path(costcalc.ir.ops.__file__).parent.glob("*.py"):
        if path.name == "op.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            where = f"{path.name}:{getattr(node, 'lineno', 0)}"
            assert not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)), where
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("int", "abs", "divmod", "round"), where
