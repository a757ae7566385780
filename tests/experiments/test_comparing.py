"""Runs next to one another on a page, and as pictures."""

import json
import sys
import time
import warnings
import xml.etree.ElementTree

import pytest
import scipy

from tests import run_trees
from tests.page_reader import Page
from tests.run_trees import chosen
from tf_lottery import experiments
from tf_lottery.__main__ import main
from tf_lottery.report import drawing

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return run_trees.three(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def page(tree):
    path = tree / "page.html"
    assert experiments.compare(
        tree / "one", tree / "two", tree / "mine", out=path
    ) == path
    return Page(path.read_text())


def titled(page, title):
    (found,) = [each for each in page.charts if each["title"] == title]
    return found


def test_the_page_of_several_runs(page):
    assert [each["title"] for each in page.charts] == [
        "Test accuracy at the end (%)", "Test accuracy at early stop (%)",
        "Early-stop step", "Validation accuracy at the end (%)",
        "one: test accuracy at the end (%)",
        "two: test accuracy at the end (%)",
        "mine: validation accuracy at the end (%)",
        "one: learning curves", "two: learning curves",
    ]
    words = " ".join(page.words)
    for expected in (
        "3 runs", "Not tested: one trial", "2 trials (a pilot",
        "3 trials (a pilot", "In what the",
        "Verdicts of one", "51.2 % density", "No controls were trained",
        "seed",
    ):
        assert expected in words, expected
    assert page.loaded == [] and page.policy.startswith("default-src 'none'")


def test_runs_have_a_line_each_and_a_band_over_trials(page, tree):
    chart = titled(page, "Test accuracy at the end (%)")
    rows = chart["data"]["values"]
    assert [r["series"] for r in rows] == ["one"] * 8 + ["two"] * 12
    found = chosen(rows, series="two", x=80.0)
    content = json.loads((tree / "two" / "results.json").read_text())
    values = [
        100 * trial["rounds"][1]["outcome"]["test_accuracy"]
        for trial in content["trials"]
    ]
    assert [row["y"] for row in found] == pytest.approx(values)
    low, high = scipy.stats.t.interval(
        0.9, 2, sum(values) / 3, scipy.stats.sem(values)
    )
    assert [found[0]["low"], found[0]["high"]] == pytest.approx([low, high])
    said = [
        each.get("aria-label") for each in _paths(chart, "point")
        if "two" in each.get("aria-label")
    ]
    assert any(f"band from: {low:,.6g}" in text for text in said)


def test_samples_of_a_control_count_as_one_trial(page):
    rows = chosen(
        titled(page, "two: test accuracy at the end (%)")["data"]["values"],
        series="random masks",
    )
    assert [r["trial"] for r in rows] == [
        f"0-{trial}.{sample}" for trial in range(3) for sample in range(2)
    ]
    means = [(rows[i]["y"] + rows[i + 1]["y"]) / 2 for i in (0, 2, 4)]
    assert (rows[0]["low"], rows[0]["high"]) == pytest.approx(
        scipy.stats.t.interval(0.9, 2, sum(means) / 3, scipy.stats.sem(means))
    )


def test_of_two_trials_the_band_is_their_range_and_of_one_there_is_none(page):
    rows = chosen(
        titled(page, "one: test accuracy at the end (%)")["data"]["values"],
        series="tickets",
    )
    values = [rows[0]["y"], rows[1]["y"]]
    assert [rows[0]["low"], rows[0]["high"]] == sorted(values)
    mine = titled(page, "mine: validation accuracy at the end (%)")
    assert not any("low" in row for row in mine["data"]["values"])


def test_a_click_singles_a_line_out_and_a_box_makes_the_axis_linear(
    page, tree
):
    for chart in page.charts:
        (param,) = chart["layer"][0]["params"]
        assert param["bind"] == "legend"
        assert param["select"]["fields"] == ["series"]
        for layer in chart["layer"]:
            condition = layer["encoding"]["opacity"]["condition"]
            assert condition["param"] == param["name"]
    text = (tree / "page.html").read_text()
    assert '<input type="checkbox" id="linear">' in text
    assert 'scale.type = "linear"' in text


def test_runs_beside_one_another_have_the_same_axis(page):
    one, two = (
        titled(page, f"{name}: test accuracy at the end (%)")
        for name in ("one", "two")
    )
    low, high = one["encoding"]["y"]["scale"]["domain"]
    assert two["encoding"]["y"]["scale"]["domain"] == [low, high]
    values = [r["y"] for c in (one, two) for r in c["data"]["values"]]
    assert low <= min(values) and max(values) <= high


def test_learning_curves_are_of_a_chosen_density(page):
    chart = titled(page, "two: learning curves")
    (menu,) = chart["params"]
    assert menu["bind"]["options"] == ["80 %", "64 %", "51.2 %"]
    # That of the last round that is tested.
    assert menu["value"] == "51.2 %"
    rows = chart["data"]["values"]
    assert {r["series"] for r in rows if r.get("choice") == "64 %"} == {
        "tickets"
    }
    assert {r["series"] for r in rows if "choice" not in r} == {"dense"}
    assert {r["x"] for r in rows} == {100, 200, 300, 400, 500}
    drawn = " ".join(p.get("aria-label") for p in _paths(chart, "point"))
    assert "random masks" in drawn and "dense" in drawn
    # What is drawn is of the chosen density: 5 points of 4 series.
    assert len(_paths(chart, "point")) >= 20


def test_identical_runs_are_all_visible(tmp_path):
    paths = [run_trees.write(tmp_path / name) for name in "abc"]
    experiments.compare(*paths, out=tmp_path / "page.html")
    chart = Page((tmp_path / "page.html").read_text()).charts[0]
    lines = [
        line for line in _paths(chart, "line mark")
        if line.get("stroke-width") == "2"
    ]
    assert len({line.get("d") for line in lines}) == 1
    assert len({line.get("stroke") for line in lines}) == 3
    dashes = [line.get("stroke-dasharray") for line in lines]
    assert dashes[0] in (None, "1,0") and dashes[1:] == ["7,5", "2,4"]


def _paths(chart, kind):
    root = xml.etree.ElementTree.fromstring(drawing.svg(chart))
    return [
        path for path in root.iter(f"{SVG}path")
        if path.get("aria-roledescription") == kind
    ]


@pytest.mark.slow
def test_the_page_of_sixteen_rounds_and_five_trials(tmp_path):
    path = run_trees.write(
        tmp_path / "run", rounds=16, trials=5, evaluations=120,
        controlled=(3, 7, 9, 15), samples=3,
    )
    out = tmp_path / "page.html"
    before = time.process_time()
    experiments.compare(path, out=out)
    assert time.process_time() - before <= 10
    assert out.stat().st_size <= 5e6
    page = Page(out.read_text())
    assert [each["title"] for each in page.charts] == [
        "run: test accuracy at the end (%)", "run: learning curves",
    ]
    # The last evaluation is among those that are shown.
    assert max(r["x"] for r in page.charts[1]["data"]["values"]) == 12_000


def test_runs_without_an_accuracy_or_a_round(tmp_path):
    path = run_trees.callback(tmp_path / "run")
    text = (path / "results.json").read_text()
    (path / "results.json").write_text(text.replace("accuracy", "error"))
    experiments.compare(path, out=tmp_path / "page.html")
    assert Page((tmp_path / "page.html").read_text()).charts == []
    (path / "results.json").write_text("[]")
    with pytest.raises(ValueError, match="no finished round yet"):
        experiments.compare(path, out=tmp_path / "none.html")
    assert not (tmp_path / "none.html").exists()


def test_what_is_no_number_is_nowhere(tmp_path):
    path = run_trees.write(tmp_path / "run", trials=1)
    file = path / "trial-0" / "history.csv"
    head, first, *rest = file.read_text().splitlines()
    lost = ",".join(["nan"] * 5 + first.split(",")[5:])
    file.write_text("\n".join([head, lost, *rest, ""]))
    experiments.compare(path, out=tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    chart = titled(Page(text), "run: learning curves")
    rows = chosen(chart["data"]["values"], series="dense")
    assert [row["x"] for row in rows] == [200, 300, 400, 500]


def test_without_the_extra(monkeypatch, tree, tmp_path):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ImportError, match=r"pip install tf_lottery\[plot\]"):
        experiments.compare(tree / "mine", out=tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("always")
def test_the_command(tree, tmp_path, capsys, monkeypatch):
    said = []
    monkeypatch.setattr(
        warnings, "showwarning",
        lambda *args, **_: said.append(warnings.formatwarning(*args[:4])),
    )
    out = tmp_path / "page.html"
    assert main(["compare", str(tree / "mine"), "-o", str(out), "--png"]) == 0
    picture = tmp_path / "page-mine-validation-accuracy-at-the-end.png"
    assert capsys.readouterr().out.splitlines() == [
        f"written: {out}", f"written: {picture}"
    ]
    data = picture.read_bytes()
    assert data.startswith(b"\x89PNG") and len(data) > 5000
    path = str(tree / "mine")
    assert main(["compare", path, path, "-o", str(out)]) == 0
    [sentence] = said
    assert sentence.startswith(f"warning: Run '{path}' counts without trials")
    assert sentence.count("\n") == 1
    assert main(["compare", str(tmp_path)]) == 2
    assert "is not the directory of a run" in capsys.readouterr().err
