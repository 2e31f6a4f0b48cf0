"""Every format, for hand-made documents of tables, charts, formulas and text."""

from __future__ import annotations

import csv
import io
import json
from fractions import Fraction

import pytest

from costcalc.cli.options import output_options
from costcalc.report.document import (
    Chart,
    Column,
    Document,
    Equation,
    EquationGroup,
    Formula,
    FormulaDomain,
    Formulas,
    LowerBound,
    Series,
    Table,
    Text,
)
from costcalc.report.render import FORMATS, FORMULA_FORMATS, render

TABLE = Table(
    title="Costs\nof two layers",
    columns=(Column("layer", "name"), Column("MACs", "macs", "count"), Column("memory", "bytes", "bytes")),
    rows=(("conv", 1_234_567, 2048), ("fc_1", LowerBound(5), None)),
    footer=(("total", 1_234_572, 2048),),
    notes=("A note.",),
)
BARS = Chart(
    title="MACs by stage",
    kind="bar",
    x=("stem", "head"),
    series=(Series("", (3_000_000, 1_500_000)),),
    x_label="stage",
    y_label="MACs",
)
LINES = Chart(
    title="Memory by batch",
    kind="line",
    x=(1, 2),
    series=(Series("inference", (2**20, 2**21)), Series("training", (Fraction(2**23, 2), None))),
    x_label="batch",
    y_label="peak",
    y_kind="bytes",
)
TEXT = Text(("First paragraph.", "Second & last."), title="Remarks")
SIDE = Formula("2·H", "2*height", ("2 H",))
FORMULAS = Formulas(
    title="net\ninput H",
    by="layer",
    groups=(
        EquationGroup("conv_1", (Equation("MACs", "macs", SIDE), Equation("parameters", "params", None))),
        EquationGroup("relu", (Equation("MACs", "macs", Formula("0", "0", ("0",))),) * 2),
    ),
    whole=EquationGroup(
        "total", (Equation("MACs", "macs", SIDE, lower_bound=True), Equation("parameters", "params", None))
    ),
    notes=("H: height.",),
    variables=(FormulaDomain("height", 2, 0, 4),),
    subject="net",
    docstring=("Closed forms of net.",),
)


def rendered(part, output_format):
    return render(Document((part,), {"schema": "costcalc/test/1"}), output_format)


def test_a_table_as_text():
    assert rendered(TABLE, "text") == (
        "Costs\n"
        "of two layers\n"
        "\n"
        "layer     MACs  memory\n"
        "             k       B\n"
        "-----  -------  ------\n"
        "conv   1,234.6   2,048\n"
        "fc_1       > 0       ?\n"
        "-----  -------  ------\n"
        "total  1,234.6   2,048\n"
        "\n"
        "A note.\n"
    )


def test_a_chart_of_one_series_as_text_is_a_bar_for_each_position():
    lines = rendered(BARS, "text").splitlines()
    assert lines[0] == "MACs by stage"
    assert lines[-2].split() == ["stem", "3,000.0", "█" * 40]
    assert lines[-1].split() == ["head", "1,500.0", "█" * 20]


def test_a_chart_of_several_series_names_them_and_leaves_missing_values_unknown():
    lines = rendered(LINES, "text").splitlines()
    assert [line.split() for line in lines[-4:]] == [
        ["1", "inference", "1,024.0", "█" * 10],
        ["training", "4,096.0", "█" * 40],
        ["2", "inference", "2,048.0", "█" * 20],
        ["training", "?"],
    ]


@pytest.mark.parametrize("part", [BARS, LINES])
def test_a_chart_in_markdown_and_latex_is_a_table(part):
    markdown = rendered(part, "markdown")
    assert markdown.startswith(f"### {part.title}\n\n| ")
    assert "█" in markdown
    latex = rendered(part, "latex")
    assert latex.startswith(f"% {part.title}\n\\begin{{tabular}}")
    assert "rule{1mm}" not in latex


def test_csv_has_exact_values_of_charts_and_no_bars():
    rows = list(csv.DictReader(io.StringIO(rendered(LINES, "csv"))))
    assert [(row["x"], row["series"], row["y"]) for row in rows] == [
        ("1", "inference", "1048576"),
        ("1", "training", "4194304"),
        ("2", "inference", "2097152"),
        ("2", "training", ""),
    ]
    assert "bar" not in rows[0]


def test_text_is_prose_in_every_format_and_no_rows_in_csv():
    assert rendered(TEXT, "text") == "Remarks\n\nFirst paragraph.\n\nSecond & last.\n"
    assert rendered(TEXT, "markdown") == "### Remarks\n\nFirst paragraph.\n\nSecond & last.\n"
    assert rendered(TEXT, "latex") == "\\paragraph{Remarks}\n\nFirst paragraph.\n\nSecond \\& last.\n"
    assert rendered(TEXT, "csv") == ""


def test_formulas_are_a_table_equations_and_functions():
    text = rendered(FORMULAS, "text")
    assert [line.split() for line in text.splitlines()[5:7]] == [["conv_1", "MACs", "2·H"], ["parameters", "?"]]
    assert "≥ 2·H" in text
    assert "Costs nothing: relu." in text
    latex = rendered(FORMULAS, "latex")
    assert "\\paragraph{\\texttt{conv\\_1}}" in latex
    assert "relu" not in latex
    assert "\\text{MACs} &\\geq 2 H" in latex
    namespace: dict[str, object] = {}
    exec(rendered(FORMULAS, "python"), namespace)
    assert namespace["macs"](height=6) == {"conv_1": 12, "relu": 0}
    with pytest.raises(ValueError, match=r"height must be 2\*i \+ 0 of at least 4, not 5"):
        namespace["macs"](height=5)


def test_parts_of_a_document_are_separated_by_an_empty_line():
    document = Document((TEXT, TABLE, BARS), {"schema": "costcalc/test/1", "exact": Fraction(1, 2)})
    for output_format in ("text", "markdown"):
        text = render(document, output_format)
        positions = [text.index(title) for title in ("Remarks", "Costs", "MACs by stage")]
        assert positions == sorted(positions)
        assert text.count("\n\n") >= 2
    assert json.loads(render(document, "json")) == {"schema": "costcalc/test/1", "exact": 0.5}


def test_a_document_without_formulas_is_no_python_module():
    with pytest.raises(ValueError, match="only formulas"):
        rendered(TABLE, "python")


def test_the_command_line_offers_the_formats_of_the_renderers():
    @output_options
    def command():
        """A command with no other options."""

    (choice,) = (each.type.choices for each in command.__click_params__ if each.name == "output_format")
    assert list(choice) == list(FORMATS)
    assert set(FORMULA_FORMATS) == {*FORMATS, "python"}
    suffixes = [suffix for each in FORMULA_FORMATS.values() for suffix in each.suffixes]
    assert len(suffixes) == len(set(suffixes))
