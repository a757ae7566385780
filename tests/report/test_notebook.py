"""Results show themselves in notebooks: tables, escaped, with a verdict."""

import dataclasses

import tf_lottery as tfl
from tests import conftest
from tests.page_reader import Page
from tf_lottery import experiments
from tf_lottery.experiments import records
from tf_lottery.experiments import report
from tf_lottery.report import notebook
from tf_lottery.report import tables


def test_a_report_shows_itself():
    outcome = records.Outcome(0.9, 0.9, 100, 0.9)
    trials = [
        records.Trial(number, [
            records.Round(0, 1.0, None, 1.0, outcome),
            records.Round(1, 0.5, 0.5, 1.0, outcome,
                          {"random_masks": [outcome]}),
        ])
        for number in range(2)
    ]
    preset = experiments.preset("lenet-digits", trials=2)
    found = report.Report(preset, trials)
    text = found._repr_html_()
    page = Page(text)
    assert {"table", "th", "td"} <= set(page.tags)
    words = " ".join(page.words)
    assert "lenet-digits" in words and "random masks" in words
    assert found.verdict.splitlines()[0] in words
    # What is tested stands out.
    assert "<td><b>50.0</b></td>" in text and "<td>100.0</td>" in text


def test_a_ticket_shows_itself(compiled):
    masks = conftest.random_masks(compiled)
    ticket = dataclasses.replace(
        tfl.Ticket.of(compiled, masks), round=3, metrics={"<b>": 0.5},
        verdict="not tested: one trial & more",
    )
    page = Page(ticket._repr_html_())
    words = " ".join(page.words)
    assert f"Ticket of round 3, density {ticket.density:.2%}" in words
    assert "<b>: 0.5" in words and "b" not in page.tags[1:]
    assert "not tested: one trial & more" in words
    assert page.tags.count("tr") == 1 + len(masks)


def test_long_tables_are_cut_in_notebooks():
    table = tables.Table(["n"], [[str(number)] for number in range(100)])
    assert "... and 60 rows more" in notebook.show("title", table)
