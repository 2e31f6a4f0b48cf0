"""The schemas of JSON documents: name, version, and the meaning of every key at the top of a document."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from costcalc.report.document import Json, JsonObject


class Schema(NamedTuple):
    """One kind of JSON document. A change that breaks a reader raises the version; new keys may be added.

    `optional` are keys that only some documents have.
    """

    keys: Mapping[str, str]
    optional: Mapping[str, str] = MappingProxyType({})
    version: int = 1


_NETWORK = {
    "architecture": "name of the network",
    "settings": "settings of the spec, by name",
    "batch": "inputs processed together",
    "dtype": "dtype of tensors",
    "convention": "convention that FLOPs and memory are counted by",
}
_INPUTS = {"inputs": "shape of each input, by name, with the batch"}
_UNKNOWN = {"unknown": "layers that could not be counted: `name`, `op`"}
_ASSUMPTIONS = {"assumptions": "relations of sizes that could not be decided and that the result relies on"}
_FORMULAS = {
    "architecture": "name of the network",
    "convention": "convention that FLOPs and memory are counted by",
    "exact": "whether formulas keep floor divisions and so hold for every size",
    "variables": "names of the variables",
    "domain": "`multiple`, `residue` and `least` of each variable",
    "formulas": "Python expression of each cost of the whole",
    **_ASSUMPTIONS,
}
_DESIGNS = Schema(
    {
        "settings": "sizes and structure of the designs",
        "batch": "inputs processed together",
        "dtype": "dtype of tensors",
        "convention": "convention that FLOPs and memory are counted by",
        "designs": "each design: its `totals`, `ratios` of the first design to it, with --symbolic `formulas`",
    },
    {
        "symbols": "value of each symbol in the settings above",
        "multiples": "number that each symbol is a multiple of",
        **_ASSUMPTIONS,
    },
)
_CHECK = {
    "networks": "each network: what was calculated, what torch measured, and the differences",
    "refused": "networks that could not be checked, each with the reason",
    "warnings": "remarks on the device and on the version of torch",
}

SCHEMAS: Mapping[str, Schema] = MappingProxyType(
    {
        "list": Schema({"architectures": "each architecture: `name`, `title`, `input` and its totals"}),
        "report": Schema(
            {
                **_NETWORK,
                **_INPUTS,
                "input_bytes": "bytes of the inputs",
                "rows": "costs of each layer, stage, op or resolution",
                "totals": "costs of the whole network",
                "training": "whether the costs of training are included",
                **_UNKNOWN,
                **_ASSUMPTIONS,
                "unused_params": "shapes of parameters that no layer uses, by name; they are not counted",
                "notes": "remarks of the import",
            }
        ),
        "naive-vs-reduced": Schema(
            {
                **_NETWORK,
                "modules": "each Inception module, naive and reduced",
                "stacked": "totals of the network with naive and with reduced modules",
            }
        ),
        "compare": Schema(
            {
                "metric": "metric that is compared by stage or op",
                "by": "stage or op",
                "convention": "convention that FLOPs and memory are counted by",
                "architectures": "each network: `name`, `batch`, `dtype`, `totals`",
                "stages": "each stage or op: the value of each network, and ratios of the first network to the others",
            }
        ),
        "explain": Schema(
            {
                "architecture": "name of the network",
                "layer": "path of a layer, or prefix of paths",
                "convention": "convention that FLOPs and memory are counted by",
                "lines": "each cost of each layer: its formula, the numbers in it, and its value",
                "totals": "costs of all these layers",
                **_UNKNOWN,
            }
        ),
        "field": Schema(
            {
                "architecture": "name of the network",
                "layer": "path of a layer, or prefix of paths; null: the whole network",
                "input": "[height, width] of the input",
                "rows": "receptive field of each layer, in input pixels",
                "last": "last layer with a receptive field",
                "widest_convolution": "convolution with the largest coverage",
                "first_to_see_all": "first layer with an output that covers the whole input",
            }
        ),
        "memory": Schema(
            {
                "architecture": "name of the network",
                "settings": "settings of the spec, by name",
                "batch": "inputs processed together",
                "dtype": "dtype of tensors",
                "training": "whether the run is in training mode",
                "optimizer": "name of the optimizer, or null",
                "saved_for_backward": "bytes that autograd saves, without the input",
                "saved_input": "bytes of the input that autograd saves",
                "peak_live": "peak bytes of activations and gradients",
                "peak_total": "peak bytes of all tensors",
                "by_class": "bytes live at the peak, by class of tensor",
                "peak_at": "`layer` and `phase` of the peak",
                "saved_by_layer": "bytes that autograd saves, by the layer that creates them",
                "master_weights": "whether the optimizer has fp32 copies of the parameters",
                "checkpoint": "none, stage or block",
                "checkpointed": "prefixes that are recomputed in the backward pass",
                "left": "prefixes that are not checkpointed, each with the reason",
                "recomputed_layers": "layers that are recomputed in the backward pass",
                "forward_macs": "MACs of the forward pass",
                "backward_macs": "MACs of the backward pass",
                "recomputed_macs": "MACs of recomputed layers",
                "recomputed_flops": "FLOPs of recomputed layers",
                "step_flops": "FLOPs of the optimizer step",
                "flops": "FLOPs of the whole training step",
                "fit": "with --fit: `budget`, the largest `batch` or `input`, and the next one; else null",
                "unknown": "layers whose saved tensors are not modelled",
                "events": "each allocation (`born`) and release (`freed`) of a tensor, with the live bytes after it",
            }
        ),
        "memory-comparison": Schema({"runs": "a `memory` document for each run"}),
        "memory-overview": Schema({"runs": "peaks of each run"}),
        "check": Schema(_CHECK, {"times": "with --time: times of each network and of its layers"}),
        "memory-check": Schema(_CHECK),
        "rewrite": Schema(
            {
                **_NETWORK,
                "rewritten": "name of the network after the moves",
                "moves": "the moves, in order",
                "before": "totals before the moves",
                "after": "totals after the moves",
                "changed": "paths of the layers that were changed",
                "skipped": "layers that a move did not change, each with the reason",
                "steps": "what each move changed and skipped",
                "stages": "totals of each stage before and after",
                **_UNKNOWN,
                "saved": "file that the new network was written to, or null",
            }
        ),
        "moves": Schema({"moves": "each design move: `name`, `call`, `same_function`, `doc`"}),
        "moves-on": Schema(
            {
                "architecture": "name of the network",
                "batch": "inputs processed together",
                "dtype": "dtype of tensors",
                "convention": "convention that FLOPs and memory are counted by",
                "before": "totals of the network as it is",
                "moves": "each move: number of changed layers and the totals after it, or why it cannot be applied",
            }
        ),
        "stage": _DESIGNS,
        "head": _DESIGNS,
        "residual": _DESIGNS,
        "formula": Schema(
            _FORMULAS,
            {
                # Closed forms
                "layer": "path of a layer, or prefix of paths; null: the whole network",
                "by": "whole, stage or layer",
                "settings": "settings of the spec that are not variables, by name",
                "inputs": "shape of each input, as expressions",
                "dtype": "dtype of tensors",
                "rows": "formulas of each stage or layer",
                **_UNKNOWN,
                # The answer of --solve
                "question": "the question",
                "left": "left side: its `text` and `formula`",
                "right": "right side: its `text` and `formula`",
                "solutions": "ranges of values for which the relation is true: `first`, `last` (null: no end), `step`",
                "answer": "the solutions in words",
                "checks": "both sides counted at values next to the ends of the ranges",
            },
        ),
        "claims": Schema(
            {
                "claims": "each claim: the published number, the exact value and the verdict",
                "summary": "number of claims of each source, by verdict",
            }
        ),
        "reconcile": Schema(
            {
                "architecture": "name of the network",
                "layer": "path of a layer, or prefix of paths; null: the whole network",
                "batch": "inputs processed together",
                **_INPUTS,
                "published": "the published number",
                "quantities": "quantities that the number may be of",
                "numbers": "how many numbers are printed to the same precision between half and twice this one",
                "exhausted": "whether every way of counting was tried",
                "explanations": "each explanation, the most likely first",
                "ours": "costcalc's own counts",
                "unknown": "layers that could not be counted",
            }
        ),
        "conventions": Schema({"conventions": "each convention: its definition and the terms of its sums"}),
        "schema": Schema({"ops": "each op: `name`, `arguments`, `doc`"}),
    }
)


def document_data(schema: str, /, **fields: Json) -> JsonObject:
    """Return `fields` as the data of a document, under its schema name such as `costcalc/report/1`."""
    return {"schema": f"costcalc/{schema}/{SCHEMAS[schema].version}", **fields}
