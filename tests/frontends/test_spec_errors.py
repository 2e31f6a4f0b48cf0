"""Bad specs answer with every mistake, once, at its place; hostile ones answer within a second."""

from __future__ import annotations

import random
from pathlib import Path

import numpy
import pytest
from stopwatch import bare_pythons, kept

from costcalc import CostcalcError, load
from costcalc.frontends.spec import Spec

FOLDER = Path(__file__).parent / "bad_specs"
HEAD = "name: net\ninput: {channels: 3, height: 32, width: 32}\n"
ALPHABET = "convdpol2_relu"


def message_of(text: str, file: str) -> str:
    with pytest.raises(CostcalcError) as error:
        Spec(text, file).build()
    return str(error.value)


def test_there_are_enough_of_them():
    assert len(list(FOLDER.glob("*.yaml"))) >= 40


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_bad_spec(path):
    """The message is exactly the one beside the spec."""
    assert message_of(path.read_text(encoding="utf-8"), path.name) + "\n" == path.with_suffix(".txt").read_text("utf-8")


def nested_blocks(depth: int, width: int) -> str:
    blocks = "".join(f"  b{i}():\n" + f"    - b{i + 1}()\n" * width for i in range(depth))
    return HEAD + "blocks:\n" + blocks + f"  b{depth}():\n    - skip\nlayers:\n  - b0()\n"


def random_names(count: int) -> str:
    choose = random.Random(1).choices
    return "".join(f"  - {''.join(choose(ALPHABET, k=9))}(8, 3)\n" for _ in range(count))


ALIASES = "".join(f"b{i}: &b{i} [*b{i - 1}, *b{i - 1}]\n" for i in range(1, 40))
HOSTILE = {
    "alias bomb": (f"b0: &b0 [x, x]\n{ALIASES}", "a spec has no aliases"),
    "deep flow": ("a: " + "[" * 100_000, "nested more than 60 deep"),
    "deep block": (
        HEAD + "layers:\n" + "".join("  " * (i + 1) + f"- g{i}:\n" for i in range(80)) + "  " * 82 + "- relu()\n",
        "nested more than 60 deep",
    ),
    "deep parentheses": (HEAD + f"layers:\n  - relu({'(' * 3000}True{')' * 3000})\n", "nested"),
    "sum": (HEAD + f"layers:\n  - conv2d({'1+' * 100}1, 3)\n", "nested more than 40 deep"),
    "long sum": (HEAD + f"layers:\n  - conv2d({'1+' * 4000}1, 3)\n", "maximum recursion depth exceeded"),
    "self-including block": (HEAD + "blocks:\n  a():\n    - a()\nlayers:\n  - a()\n", "includes itself: a → a"),
    "doubling blocks": (nested_blocks(40, 2), "the spec unrolls to more than 40,000 items"),
    "chain of blocks": (nested_blocks(300, 1), "blocks within blocks, more than 60 deep"),
    "power": (HEAD + "layers:\n  - conv2d(9**9**9, 3)\n", "** is not part of the spec language"),
    "huge repeat": (HEAD + "layers:\n  - relu() * 1000000000000\n", "1,000,000,000,000 repeats make more than 20,000"),
    "repeated repeat": (HEAD + "layers:\n  - relu() * 20000 * 20000\n", "repeats make more than 20,000 layers"),
    "many layers": (HEAD + "layers:\n" + "  - relu() * 19000\n" * 2, "the spec makes more than 20,000 layers"),
    "many items": (HEAD + "layers:\n" + "  - relu() * 19000\n" * 9, "the spec unrolls to more than 40,000 items"),
    "huge number": (HEAD + f"layers:\n  - conv2d({'9' * 5000}, 3)\n", "cannot be read"),
    "huge yaml number": (HEAD + f"settings: {{a: {'9' * 5000}}}\nlayers:\n  - relu()\n", "cannot be read as a value"),
    "growing product": (
        HEAD + "settings: {a: 999999999}\nlayers:\n  - conv2d(a * a * a * a, 3)\n",
        "is larger than 1e18",
    ),
    "text product": (HEAD + "layers:\n  - unknown('x' * 1000000000)\n", "arithmetic needs a number, not 'x'"),
    "megabytes": ("x: " + "a" * 3_000_000, "too large for a spec"),
    "ten thousand mistakes": (HEAD + "layers:\n" + random_names(10_000), "more than 200 mistakes"),
    "ten thousand bad references": (
        HEAD + "layers:\n" + "".join(f"  - a{i}: relu(inputs='b{i}x')\n" for i in range(10_000)),
        "more than 200 mistakes",
    ),
    "python tag": (HEAD + "layers: !!python/object/apply:os.system ['true']\n", "a spec has no tags"),
    "attribute": (HEAD + "layers:\n  - relu(().__class__.__bases__)\n", "is not part of the spec language"),
    "null byte": (HEAD + "layers:\n  - relu()\0\n", "the character '\\x00' is not allowed in YAML"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_spec(name, fresh_memory):
    text, expected = HOSTILE[name]
    assert expected in message_of(text, "hostile.yaml")
    assert kept(100, lambda: bare_pythons(lambda: message_of(text, "hostile.yaml")))  # about 1 s


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"\xff\xfe\x00a", "not UTF-8 text: byte 0 cannot be read"), (b"a" * 600_000, "too large for a spec")],
)
def test_files_that_are_no_text(tmp_path, content, expected):
    path = tmp_path / "net.yaml"
    path.write_bytes(content)
    with pytest.raises(CostcalcError, match=expected):
        load(str(path))


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(CostcalcError, match="cannot be read: No such file or directory"):
        load(str(tmp_path / "net.yaml"))
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(CostcalcError, match="cannot be read: Is a directory"):
        load(str(tmp_path / "folder.yaml"))


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        (
            {"clases": 3},
            r"vgg16 has no setting 'clases' \(did you mean 'classes'\?\): there are classes, base_channels",
        ),
        ({"classes": "ten"}, "classes must be an integer, such as its default 1000, not 'ten'"),
        ({"batch_norm": 1}, "batch_norm must be true or false, such as its default false, not 1"),
        ({"batch": 0}, "batch must be at least 1, not 0"),
        ({"channels": numpy.array([3, 0])}, r"channels must be at least 1, not 0 \(at index 1\)"),
        (
            {"batch": numpy.array([1, 2]), "height": numpy.array([64, 128, 256])},
            "arrays of these shapes do not broadcast",
        ),
        ({"height": 2.5}, "height must be an integer, not 2.5"),
        ({"convs": 3}, r"convs must be a list, such as its default \[2, 2, 3, 3, 3\], not 3"),
        ({"convs": [1]}, "there is no item 1: the list has 1, from 0"),
    ],
)
def test_wrong_keywords(keywords, message):
    with pytest.raises(CostcalcError, match=message):
        load("vgg16", **keywords)


def test_arrays_are_no_choice(tmp_path):
    path = tmp_path / "net.yaml"
    path.write_text(HEAD + "settings: {c: {default: 8, choices: [8, 16]}}\nlayers:\n  - conv2d(c, 1)\n")
    with pytest.raises(CostcalcError, match="c must be 8 or 16"):
        load(path, c=numpy.array([8, 16]))
    assert load(path, c=16).shapes["conv2d"][1] == 16


def test_wrong_choice_and_wrong_name():
    with pytest.raises(CostcalcError, match="shortcut must be A or B or C, not D"):
        load("resnet18", shortcut="D")
    with pytest.raises(CostcalcError, match=r"no architecture 'vgg61' \(did you mean .*'vgg16'"):
        load("vgg61")
