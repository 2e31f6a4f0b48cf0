"""The families of ops: an op, its translators from ATen and its lowering to torch are in modules of the same name."""

from __future__ import annotations

from pathlib import Path

import costcalc

PACKAGE = Path(costcalc.__file__).parent
SHARED = {"__init__", "base"}  # what families share
NOT_IMPORTED = {
    "tensors",
    "unknown",
}  # ops that the importer creates, for parameters, buffers and unsupported operators


def modules(folder):
    return {path.stem for path in (PACKAGE / folder).glob("*.py")} - SHARED


def test_translators_are_in_the_families_of_their_ops():
    assert modules("frontends/aten") == modules("ir/ops") - NOT_IMPORTED


def test_lowerings_are_in_the_families_of_their_ops():
    assert modules("torch_backend/lowering") == modules("ir/ops")
