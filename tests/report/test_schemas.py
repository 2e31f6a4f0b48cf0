"""Every JSON document has the keys of its schema."""

from __future__ import annotations

import json
import shlex

import pytest
from click.testing import CliRunner

import costcalc
from costcalc.analysis.memory import timeline
from costcalc.cli import cli
from costcalc.report.schemas import SCHEMAS, document_data
from costcalc.report.views.memory import memory_list_view

COMMANDS = {
    "list": "list",
    "report": "report alexnet --by stage --training",
    "naive-vs-reduced": "report googlenet --naive-vs-reduced",
    "compare": "compare alexnet nin",
    "explain": "explain alexnet conv1",
    "field": "receptive-field alexnet",
    "memory": "memory alexnet --fit 1GiB",
    "memory-comparison": "memory alexnet nin",
    "check": "check alexnet --device meta",
    "memory-check": "check alexnet --device meta --memory",
    "rewrite": "rewrite alexnet stack3x3",
    "moves": "moves",
    "moves-on": "moves stack3x3 --on alexnet",
    "stage": "stage",
    "head": "head --symbolic",
    "residual": "residual",
    "formula": "formula alexnet --in batch",
    "claims": "claims cs231n-vgg-total-mem",
    "reconcile": "reconcile alexnet 714M",
    "conventions": "conventions",
    "schema": "schema conv2d",
}


def check_keys(data, name):
    schema = SCHEMAS[name]
    assert data["schema"] == f"costcalc/{name}/{schema.version}"
    keys = set(data) - {"schema"}
    assert set(schema.keys) <= keys <= {*schema.keys, *schema.optional}


@pytest.mark.parametrize(("name", "command"), COMMANDS.items())
def test_a_command_prints_the_keys_of_its_schema(name, command):
    result = CliRunner().invoke(cli, [*shlex.split(command), "--format", "json"])
    assert result.exit_code == 0, result.output
    check_keys(json.loads(result.stdout), name)


def test_an_answer_of_solve_has_keys_of_the_schema_of_formulas():
    arguments = ["formula", "alexnet", "--in", "batch", "--solve", "memory > param-memory", "--format", "json"]
    check_keys(json.loads(CliRunner().invoke(cli, arguments).stdout), "formula")


def test_the_overview_of_memory_has_the_keys_of_its_schema():
    check_keys(memory_list_view([timeline(costcalc.load("alexnet"))]).data, "memory-overview")


def test_every_schema_has_a_case():
    assert {*COMMANDS, "memory-overview"} == set(SCHEMAS)


def test_report_has_the_keys_that_its_readers_rely_on():
    required = {"architecture", "settings", "batch", "dtype", "convention", "rows", "totals", "unknown"}
    assert required <= set(SCHEMAS["report"].keys)
    assert document_data("list", architectures=[])["schema"] == "costcalc/list/1"
