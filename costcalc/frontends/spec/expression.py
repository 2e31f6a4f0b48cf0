"""Expressions of the spec language: `conv(64, 3) if reduced else skip`, `basic(channels) * 2`, `kernel // 2`.

Expressions are parsed with `ast` and evaluated by an interpreter that supports a fixed set of nodes; Python code is
never executed. Values support arithmetic on settings and block arguments, comparisons and conditionals. Layers are
calls of ops and blocks, which can be conditional or repeated. Every diagnostic has a source location.
"""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy
from typing import Any, NamedTuple

from costcalc.core.errors import did_you_mean
from costcalc.core.sizes import is_plain
from costcalc.frontends.spec.document import Diagnostic, Location, YamlScalar

MAX_LENGTH = 10_000
MAX_DEPTH = 40
MAX_INTEGER = 10**18

_CONSTANTS = {"true": True, "false": False, "null": None}
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


class LocatedError(Exception):
    """A mistake in a spec, with its source location where that is known."""

    def __init__(self, location: Location | None, message: str) -> None:
        super().__init__(message)
        self.diagnostic = Diagnostic(location, message)


class Signature(NamedTuple):
    """The signature of an op or block: its arguments in order, and the optional ones."""

    kind: str  # "op", "block", or "broken": a block whose header has a mistake
    arguments: tuple[str, ...]
    optional: frozenset[str]


class LayerCall(NamedTuple):
    """A call of an op or block: the name of the callee, the values of the arguments, and the source location."""

    callee: str
    arguments: dict[str, Any]
    source: Location | tuple[Expression, ast.Call, dict[str, ast.expr]]  # a tuple is resolved to a Location on demand

    def location(self, argument: str | None = None) -> Location:
        """Return the location of an argument, or of the call if the argument is absent or None."""
        if isinstance(self.source, Location):
            return self.source
        expression, call, arguments = self.source
        return expression.location(arguments.get(argument or "", call))

    @property
    def line(self) -> int:
        """The line of the call, counted from 0."""
        return self.source.line if isinstance(self.source, Location) else self.source[0].source.location.line


class Expression:
    """A parsed expression and the YAML scalar that contains it.

    Raises:
        LocatedError: the text is not a Python expression, or it is too long or nested too deep.
    """

    def __init__(self, source: YamlScalar) -> None:
        self.source = source
        text = source.text
        if len(text) > MAX_LENGTH:
            raise LocatedError(
                source.location, f"an expression of {len(text):,} characters: at most {MAX_LENGTH:,} are read"
            )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Python emits a SyntaxWarning for code such as `3 (4)`
                self.tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            offset = (getattr(error, "offset", None) or 1) - 1
            reason = str(getattr(error, "msg", error) or "nested too deep").split(" (")[0]
            message = f"cannot be read as a call or an expression: {reason}"
            raise LocatedError(self._location_at(offset, 1), message) from None
        if len(source.text) > MAX_DEPTH - 2:  # each level needs one character, except two that ast adds
            deep = next((node for node, depth in _walk_with_depth(self.tree) if depth > MAX_DEPTH), None)
            if deep is not None:
                raise LocatedError(self.location(deep), f"nested more than {MAX_DEPTH} deep")

    def location(self, node: ast.AST) -> Location:
        """Return the location of a part of the expression in the file."""
        line = self.source.text.strip().encode()
        start = getattr(node, "col_offset", 0)
        end = getattr(node, "end_col_offset", None) or start + 1
        if getattr(node, "lineno", 1) != 1 or getattr(node, "end_lineno", 1) != 1:
            return self.source.location
        # Offsets in ast count UTF-8 bytes; a Location counts characters.
        before, inside = line[:start].decode(errors="ignore"), line[start:end].decode(errors="ignore")
        return self._location_at(len(before), len(inside))

    def _location_at(self, offset: int, length: int) -> Location:
        line, column, whole = self.source.location
        lead = len(self.source.text) - len(self.source.text.lstrip())
        return Location(line, column + lead + offset, length) if self.source.verbatim else Location(line, column, whole)

    def subexpression(self, node: ast.expr) -> Expression:
        """Return a part of the expression as a separate expression."""
        made = copy(self)
        made.tree = node
        return made

    # -- checks that need no values -------------------------------------------------------------------------------

    def check_layer(self, names: Iterable[str], signatures: Mapping[str, Signature]) -> Iterator[Diagnostic]:
        """Yield the mistakes in an expression used as a layer, in both branches of every conditional."""
        yield from self._check_layer(self.tree, set(names), signatures)

    def check_value(self, names: Iterable[str]) -> Iterator[Diagnostic]:
        """Yield the mistakes in an expression used as a value."""
        yield from self._check_value(self.tree, set(names))

    def _check_layer(
        self, node: ast.expr, names: set[str], signatures: Mapping[str, Signature]
    ) -> Iterator[Diagnostic]:
        if isinstance(node, ast.IfExp):
            yield from self._check_value(node.test, names)
            yield from self._check_layer(node.body, names, signatures)
            yield from self._check_layer(node.orelse, names, signatures)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
            yield from self._check_layer(node.left, names, signatures)
            yield from self._check_value(node.right, names)
        elif isinstance(node, ast.Call):
            yield from self._check_call(node, names, signatures)
        elif isinstance(node, ast.Name) and node.id == "skip":
            pass
        elif isinstance(node, ast.Name) and node.id in signatures:
            yield Diagnostic(self.location(node), f"{node.id!r} needs parentheses to be called: {node.id}(…)")
        elif isinstance(node, ast.Name):
            message = f"{node.id!r} is no layer{did_you_mean(node.id, [*signatures, 'skip'])}"
            yield Diagnostic(self.location(node), message + ": write a call, or skip")
        else:
            yield Diagnostic(
                self.location(node), "is no layer: write a call, `call * n`, `call if condition else skip`, or skip"
            )

    def _check_call(self, node: ast.Call, names: set[str], signatures: Mapping[str, Signature]) -> Iterator[Diagnostic]:
        for value in (*node.args, *(k.value for k in node.keywords if k.arg)):
            yield from self._check_value(value, names)
        if not isinstance(node.func, ast.Name):
            yield Diagnostic(self.location(node.func), "only an op or a block can be called, by its name")
            return
        callee = node.func.id
        signature = signatures.get(callee)
        if signature is None:
            yield Diagnostic(self.location(node.func), f"no op or block {callee!r}{did_you_mean(callee, signatures)}")
            return
        if signature.kind == "broken":
            return
        given = set(signature.arguments[: len(node.args)])
        misspelt = len(node.args) > len(signature.arguments) or any(isinstance(a, ast.Starred) for a in node.args)
        for extra in node.args[len(signature.arguments) :][:1]:
            yield Diagnostic(self.location(extra), f"one argument too many: {_describe_arguments(callee, signature)}")
        for keyword in node.keywords:
            name = keyword.arg
            if name is None:
                misspelt = True
                problem = "** is not part of the spec language"
            elif name in given:
                problem = f"{name!r} is given twice"
            elif name in OP_KEYWORDS and signature.kind == "block":
                problem = f"{name}= is for ops: {callee} is a block"
            elif name not in (*signature.arguments, *CALL_KEYWORDS):
                misspelt = True
                near = did_you_mean(name, [*signature.arguments, *CALL_KEYWORDS])
                problem = f"{callee} has no argument {name!r}{near}: {_describe_arguments(callee, signature)}"
            else:
                problem = ""
            if problem:  # the location of a keyword starts at its name
                yield Diagnostic(self.location(keyword)._replace(length=len(name or "**")), problem)
            given.add(name or "")
        missing = [a for a in signature.arguments if a not in given and a not in signature.optional]
        if missing and not misspelt:  # a misspelt argument may be the missing one
            yield Diagnostic(self.location(node), f"{callee} needs {_listed(missing)}")

    def _check_value(self, node: ast.expr, names: set[str]) -> Iterator[Diagnostic]:
        if isinstance(node, ast.Name):
            if node.id not in names and node.id not in _CONSTANTS:
                known = "the input's, and no layer's output" if node.id == "channels" else ""
                message = f"{node.id!r} is {known}" if known else f"no setting or argument {node.id!r}"
                yield Diagnostic(self.location(node), message + ("" if known else did_you_mean(node.id, names)))
            return
        if isinstance(node, ast.Constant):
            if not isinstance(node.value, (bool, int, float, str, type(None))):
                yield Diagnostic(self.location(node), "is neither a number nor text")
            elif isinstance(node.value, int) and abs(node.value) > MAX_INTEGER:
                yield Diagnostic(self.location(node), f"is larger than {MAX_INTEGER:.0e}".replace("e+", "e"))
            return
        if isinstance(node, ast.Call):
            yield Diagnostic(self.location(node), "a call is a layer, not a value")
            return
        if isinstance(node, ast.BinOp) and type(node.op) not in _ARITHMETIC:
            wrong = {ast.Div: "/ leaves the integers: use //", ast.Pow: "** is not part of the spec language: use *"}
            message = wrong.get(type(node.op), "this operator is not part of the spec language")
            yield Diagnostic(self.location(node), message)
            return
        if not isinstance(node, _VALUE_NODES) or not _UNSUPPORTED_OPERATORS.isdisjoint(map(type, _operators(node))):
            yield Diagnostic(self.location(node), "is not part of the spec language")
            return
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                yield from self._check_value(child, names)

    # -- evaluation -----------------------------------------------------------------------------------------------

    def layer_calls(self, scope: Mapping[str, Any], signatures: Mapping[str, Signature], limit: int) -> list[LayerCall]:
        """Return the calls that the expression evaluates to: none for `skip`, n for `call * n`.

        Raises:
            LocatedError: evaluation fails, or a repeat creates more than `limit` layers.
        """
        return self._layer_calls(self.tree, scope, signatures, limit)

    def evaluate(self, scope: Mapping[str, Any]) -> Any:
        """Return the value of the expression.

        Raises:
            LocatedError: evaluation fails, for example because of an invalid operand.
        """
        return self._evaluate(self.tree, scope)

    def _layer_calls(
        self, node: ast.expr, scope: Mapping[str, Any], signatures: Mapping[str, Signature], limit: int
    ) -> list[LayerCall]:
        if isinstance(node, ast.IfExp):
            chosen = node.body if self._condition(node.test, scope) else node.orelse
            return self._layer_calls(chosen, scope, signatures, limit)
        if isinstance(node, ast.BinOp):
            calls = self._layer_calls(node.left, scope, signatures, limit)
            times = self._evaluate(node.right, scope)
            if not is_plain(times) or isinstance(times, bool) or times < 0:
                raise LocatedError(
                    self.location(node.right), f"repeats are structure: a plain integer of 0 or more, not {times!r}"
                )
            if len(calls) * times > limit:
                raise LocatedError(self.location(node.right), f"{times:,} repeats make more than {limit:,} layers")
            return calls * int(times)
        if isinstance(node, ast.Name):
            return []
        assert isinstance(node, ast.Call)
        assert isinstance(node.func, ast.Name)
        callee = node.func.id
        named = dict(zip(signatures[callee].arguments, node.args, strict=False))
        named.update({k.arg: k.value for k in node.keywords if k.arg})
        values = {name: self._evaluate(value, scope) for name, value in named.items()}
        return [LayerCall(callee, values, (self, node, named))]

    def _condition(self, node: ast.expr, scope: Mapping[str, Any]) -> bool:
        value = self._evaluate(node, scope)
        if not isinstance(value, bool):
            raise LocatedError(self.location(node), f"a condition is true or false, not {value!r}")
        return value

    def _evaluate(self, node: ast.expr, scope: Mapping[str, Any]) -> Any:
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            return scope[node.id] if node.id in scope else _CONSTANTS[node.id]
        if isinstance(node, (ast.Tuple, ast.List)):
            return tuple(self._evaluate(e, scope) for e in node.elts)
        if isinstance(node, ast.IfExp):
            return self._evaluate(node.body if self._condition(node.test, scope) else node.orelse, scope)
        if isinstance(node, ast.BoolOp):
            wanted = isinstance(node.op, ast.Or)
            return wanted if any(self._condition(v, scope) is wanted for v in node.values) else not wanted
        if isinstance(node, ast.UnaryOp):
            if isinstance(node.op, ast.Not):
                return not self._condition(node.operand, scope)
            return self._number(node, 0 - self._number(node.operand, self._evaluate(node.operand, scope)))
        if isinstance(node, ast.BinOp):
            left, right = (self._number(n, self._evaluate(n, scope)) for n in (node.left, node.right))
            divides = isinstance(node.op, (ast.FloorDiv, ast.Mod))
            if divides and is_plain(right) and right == 0:
                raise LocatedError(self.location(node.right), "divides by zero")
            if isinstance(node.op, ast.Mod) and not (is_plain(left) and is_plain(right)):
                raise LocatedError(self.location(node), "% needs plain integers")
            return self._number(node, _ARITHMETIC[type(node.op)](left, right))
        if isinstance(node, ast.Subscript):
            items, index = self._evaluate(node.value, scope), self._evaluate(node.slice, scope)
            if not isinstance(items, (tuple, list)) or not isinstance(index, int):
                raise LocatedError(self.location(node), "only a list has items, and they are numbered from 0")
            if not -len(items) <= index < len(items):
                raise LocatedError(
                    self.location(node.slice), f"there is no item {index}: the list has {len(items)}, from 0"
                )
            return items[index]
        assert isinstance(node, ast.Compare)
        left = self._evaluate(node.left, scope)
        for symbol, following in zip(node.ops, node.comparators, strict=True):
            right = self._evaluate(following, scope)
            for side in (left, right):
                if not isinstance(side, (bool, int, float, str, tuple, list, type(None))):
                    message = "a condition cannot depend on an array or a symbolic size: it decides which layers exist"
                    raise LocatedError(self.location(node), message)
            try:
                if not _COMPARISONS[type(symbol)](left, right):
                    return False
            except TypeError:
                raise LocatedError(self.location(node), f"{left!r} and {right!r} cannot be compared") from None
            left = right
        return True

    def _number(self, node: ast.expr, value: Any) -> Any:
        """Return `value` if it is a number within the limits.

        Raises:
            LocatedError: `value` is not a number, or its magnitude exceeds MAX_INTEGER.
        """
        if isinstance(value, (bool, str, tuple, list, type(None))):
            raise LocatedError(self.location(node), f"arithmetic needs a number, not {value!r}")
        if isinstance(value, (int, float)) and abs(value) > MAX_INTEGER:
            raise LocatedError(self.location(node), f"is larger than {MAX_INTEGER:.0e}".replace("e+", "e"))
        return value


OP_KEYWORDS = ("shares", "functional")  # accepted by every op in addition to its own arguments
CALL_KEYWORDS = ("inputs", *OP_KEYWORDS)

_VALUE_NODES = (
    *(ast.IfExp, ast.BoolOp, ast.UnaryOp, ast.BinOp, ast.Compare),
    *(ast.Tuple, ast.List, ast.Subscript),
)
_UNSUPPORTED_OPERATORS: frozenset[type[ast.AST]] = frozenset(
    {ast.UAdd, ast.Invert, ast.Is, ast.IsNot, ast.In, ast.NotIn}
)


def parse_block_header(source: YamlScalar) -> tuple[str, dict[str, Expression | None]]:
    """Parse the header of a block, such as `conv(channels, kernel, stride=1)`, into its name and arguments.

    The arguments map each name to its default, or to None if it has no default.

    Raises:
        LocatedError: the text is not a valid header.
    """
    header = Expression(source)
    node = header.tree
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        raise LocatedError(
            source.location, "a block starts with its name and arguments, such as conv(channels, kernel, stride=1)"
        )
    arguments: dict[str, Expression | None] = {}
    for location, name, default in (
        *((header.location(a), a.id if isinstance(a, ast.Name) else None, None) for a in node.args),
        *((header.location(k), k.arg, k.value) for k in node.keywords),
    ):
        if name is None:
            raise LocatedError(location, "an argument is a name, or name=default")
        if name in arguments:
            raise LocatedError(location, f"the argument {name!r} is given twice")
        if name in (*CALL_KEYWORDS, "skip", *_CONSTANTS):
            raise LocatedError(location, f"{name!r} is a word of the spec language and cannot name an argument")
        arguments[name] = None if default is None else header.subexpression(default)
    return node.func.id, arguments


def _operators(node: ast.expr) -> list[ast.AST]:
    return [node.op] if isinstance(node, ast.UnaryOp) else list(node.ops) if isinstance(node, ast.Compare) else []


def _describe_arguments(callee: str, signature: Signature) -> str:
    return f"{callee} takes {_listed(signature.arguments)}"


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:-1]) + " and " * (len(names) > 1) + names[-1] if names else "no arguments"


def _walk_with_depth(node: ast.AST) -> Iterator[tuple[ast.AST, int]]:
    waiting = [(node, 0)]
    while waiting:
        node, depth = waiting.pop()
        yield node, depth
        waiting += [(child, depth + 1) for child in ast.iter_child_nodes(node)]
