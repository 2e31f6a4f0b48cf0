"""`costcalc formula` as a test runs it, in this process."""

import json

from click.testing import CliRunner

from costcalc.cli import cli


def formula(*args):
    done = CliRunner().invoke(cli, ["formula", *map(str, args)])
    assert done.exit_code == 0, done.output
    return done.output


def formula_json(*args):
    return json.loads(formula(*args, "--format", "json"))


def refused(*args, code=1):
    done = CliRunner().invoke(cli, ["formula", *map(str, args)])
    assert done.exit_code == code, done.output
    return done.output
