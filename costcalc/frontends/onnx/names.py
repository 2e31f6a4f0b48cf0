"""Names of an ONNX model's layers and tensors, from the modules of the exported model."""

from __future__ import annotations

import ast
import re

from costcalc.frontends.call import ModuleCall
from costcalc.frontends.onnx.reader import OnnxNode

_SCOPES = "pkg.torch.onnx.name_scopes"  # of torch.onnx.export: a list of the modules' paths, from the outermost
_CLASSES = "pkg.torch.onnx.class_hierarchy"
_PARAMETER_NAME = re.compile(r"(?:[A-Za-z_]\w*|\d+)(?:\.(?:[A-Za-z_]\w*|\d+))+")


def dotted_name(name: str) -> str:
    """A tensor's name as that of a parameter or a buffer: non-empty parts joined by dots."""
    return ".".join(part for part in name.strip("/").split(".") if part) or "tensor"


class TensorNames:
    """Assigns distinct names to parameters, buffers and inputs."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._used: set[str] = set()

    def unique_name(self, name: str) -> str:
        """The name of a tensor in the graph, different from those of other tensors."""
        if name not in self._names:
            unique, number = dotted_name(name), 1
            while unique in self._used:
                number += 1
                unique = f"{dotted_name(name)}_{number}"
            self._used.add(unique)
            self._names[name] = unique
        return self._names[name]


def module_of(node: OnnxNode, parameter: str | None) -> ModuleCall:
    """The module of a node.

    torch records it in the node's metadata or in its name, such as `/layer1/layer1.0/conv1/Conv`; otherwise the name of
    a parameter of the node gives it.
    """
    scopes, classes = _parse_list(node.metadata.get(_SCOPES)), _parse_list(node.metadata.get(_CLASSES))
    if len(scopes) > 1 and any(scopes[:-1]):
        path = scopes[-2]
        kind = classes[-2] if len(classes) == len(scopes) else ""
        return ModuleCall(_parts(path), kind)
    if node.name.count("/") > 1 or (node.name.startswith("/") and len(node.name) > 1):
        parts: list[str] = []
        before = ""
        for part in [part for part in node.name.split("/") if part][:-1]:
            # The name of a module in a list repeats the list's: layer1, then layer1.0.
            own = part.removeprefix(before + ".") if before else part
            before = part
            parts += _parts(own)
        # Classes are not recorded; a module of one layer is assumed to be of torch.nn.
        return ModuleCall(tuple(parts), f"torch.nn.modules.{node.op_type}")
    if parameter is not None and _PARAMETER_NAME.fullmatch(parameter):
        return ModuleCall(tuple(parameter.split(".")[:-1]))
    return ModuleCall()


def _parts(path: str) -> tuple[str, ...]:
    return tuple([part for part in path.split(".") if part])


def _parse_list(text: str | None) -> list[str]:
    if not text or len(text) > 10_000:
        return []
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return []
    return [str(part) for part in found] if isinstance(found, (list, tuple)) else []
