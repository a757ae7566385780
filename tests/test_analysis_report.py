"""Curves, plots and the report page of run directories."""

import csv
import dataclasses
import html.parser
import json
import subprocess
import sys

import numpy as np
import pytest

from tf_lottery import analysis
from tf_lottery import results
from tf_lottery import run_directory
from tf_lottery.analysis import against_density
from tf_lottery.analysis import axes
from tf_lottery.analysis import caveats
from tf_lottery.analysis import charts
from tf_lottery.analysis import claims
from tf_lottery.analysis import plots
from tf_lottery.analysis import published
from tf_lottery.analysis import run_files
from tf_lottery.analysis import svg
from tf_lottery.commands import report as command

# Density, early-stop steps of two trials, accuracies at early stop and end.
ROUNDS = [
    (1.0, (1000, 1200), (0.980, 0.982), (0.979, 0.981)),
    (0.2107, (700, 600), (0.984, 0.986), (0.983, 0.985)),
    (0.1352, (800, 800), (0.985, 0.985), (0.984, 0.984)),
    (0.0358, (1100, 1100), (0.981, 0.981), (0.980, 0.980)),
]


def write_csv(path, rows):
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_run(path, name="lenet-mnist", controls=True, trials=2):
    path.mkdir(parents=True, exist_ok=True)
    config = {
        "name": name, "summary": "A <test> & more.", "dataset": "mnist",
        "iterations": 2000, "batch_size": 60, "rounds": 3, "trials": 2,
        "rate": {"*": 0.2, "logits": 0.1}, "seed": 0, "drops": [],
    }
    (path / "config.json").write_text(json.dumps(config))
    (path / "results.json").write_text(json.dumps({"verdict": "a verdict"}))
    rows = [
        {
            "trial": trial, "round": number, "density": density,
            "effective_density": "", "test_accuracy": end[trial],
            "early_stop_step": steps[trial],
            "early_stop_test_accuracy": early[trial],
            "seconds": 1.5, "winning": number == 3,
        }
        for trial in range(trials)
        for number, (density, steps, early, end) in enumerate(ROUNDS)
    ]
    write_csv(path / "results.csv", rows)
    if controls:
        write_csv(path / "controls.csv", [
            {
                "trial": trial, "round": 1, "density": 0.2107,
                "control": "random_reinitialize", "number": 0,
                "test_accuracy": 0.97, "early_stop_step": step,
                "early_stop_test_accuracy": 0.979,
            }
            for trial, step in enumerate((1500, 1900))
        ])
    for trial in range(trials):
        write_trial(path / f"trial-{trial}")
    return path


def write_trial(path, accuracy=0.75):
    directory = run_directory.RunDirectory(path)
    directory.open({"rounds": 3, "versions": {"keras": "3.99"}})
    directory.save_results([
        results.RoundResult(
            number, density, {"fc1/kernel": density / 2, "fc2/kernel": 0.5},
            {"accuracy": accuracy, "val_accuracy": accuracy}, 100, 50, 0.1,
            density,
        )
        for number, (density, *_) in enumerate(ROUNDS)
    ])
    directory.close()
    return path


# Curves.


def test_curves_over_trials(tmp_path):
    found = analysis.curves(write_run(tmp_path / "run"))
    assert list(found) == ["tickets", "random_reinitialize"]
    steps = found["tickets"]["early_stop_step"]
    assert steps.rounds == (0, 1, 2, 3) and steps.counts == (2, 2, 2, 2)
    assert steps.means == (1100, 650, 800, 1100)
    assert steps.lows == (1000, 600, 800, 1100)
    assert steps.highs == (1200, 700, 800, 1100)
    assert steps.densities == pytest.approx((1.0, 0.2107, 0.1352, 0.0358))
    assert found["random_reinitialize"]["early_stop_step"].means == (1700,)
    # What is not a metric, or has no value, makes no curve.
    assert {"seconds", "winning", "effective_density", "number"}.isdisjoint(
        found["tickets"]
    )


def test_curves_of_several_directories_are_pooled(tmp_path):
    paths = [write_run(tmp_path / name) for name in ("a", "b")]
    found = analysis.curves(paths)["tickets"]["test_accuracy"]
    assert found.counts == (4, 4, 4, 4)
    assert found.means == pytest.approx(
        analysis.curves(paths[0])["tickets"]["test_accuracy"].means
    )


def test_curves_of_a_callback(tmp_path):
    found = analysis.curves(str(write_trial(tmp_path / "run")))["tickets"]
    assert found["val_accuracy"].means == (0.75,) * 4
    assert found["early_stop_step"].means == (50,) * 4
    assert found["effective_density"].at(0.0358) == pytest.approx(0.0358)


def test_the_value_at_a_density(tmp_path):
    found = analysis.curves(write_run(tmp_path / "run"))["tickets"]
    assert found["early_stop_step"].at(0.211) == 650
    assert found["early_stop_step"].at(0.17) is None
    assert found["early_stop_step"].at(0.18, tolerance=0.3) == 650


def test_curves_refuse(tmp_path):
    with pytest.raises(FileNotFoundError, match="no results of a run"):
        analysis.curves(tmp_path / "nowhere")
    path = write_run(tmp_path / "run")
    other = write_run(tmp_path / "other")
    rows = run_files.read(other).rows
    write_csv(other / "results.csv",
              [{**row, "density": 0.9 * row["density"]} for row in rows])
    with pytest.raises(ValueError, match="different protocols"):
        analysis.curves([path, other])
    with pytest.raises(ValueError, match="no metric 'speed'.*test_accuracy"):
        against_density.chart(analysis.curves(path), "speed")
    (path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="config.json' is damaged"):
        analysis.curves(path)
    (other / "results.csv").write_text("trial,round\n0,0\n")
    with pytest.raises(ValueError, match="results.csv' is damaged"):
        analysis.curves(other)
    trial = write_trial(tmp_path / "trial")
    (trial / "results.json").unlink()
    with pytest.raises(FileNotFoundError, match="results.json"):
        analysis.curves(trial)


# The paper's numbers.


def test_the_papers_numbers_beside_ours(tmp_path):
    found = analysis.curves(write_run(tmp_path / "run"))
    claimed = claims.compare(published.PUBLISHED["lenet-mnist"], found)
    ours = {(c.what, c.density): c.ours for c in claimed}
    assert ours["ticket stops earlier than the dense network", 0.2107] == (
        "41 % earlier"
    )
    assert ours[
        "ticket stops earlier than its random re-initialisation", 0.2107
    ] == "2.62 times faster"
    assert ours[
        "ticket's accuracy over its random re-initialisation", 0.2107
    ] == "+0.60 points"
    assert ours["ticket's accuracy over the dense network", 0.1352] == (
        "+0.40 points"
    )
    assert ours[
        "ticket's accuracy is back at that of the dense network", 0.0358
    ] == "+0.00 points"
    # There is no round at 10.8 %, and no random mask.
    assert ours["accuracy at the end, ticket", 0.1083] == "not measured"
    assert ours["accuracy at the end, random masks", 0.1083] == "not measured"
    assert ours["accuracy at the end, dense network", 1.0] == "98.0 %"
    assert ours["weights left after 3 rounds", 0.5128] == "3.6 %"
    paper = [c.paper for c in claimed]
    assert {"38 % earlier", "2.51 times faster", "+0.5 points",
            "+0.3 points", "98.3 %"} <= set(paper)


def test_published_densities_are_those_of_the_rates():
    """20 % of the hidden layers and 10 % of the output, round by round."""
    for number, density in published.PUBLISHED["lenet-mnist"][
        "densities"
    ].items():
        computed = (265_200 * 0.8**number + 1000 * 0.9**number) / 266_200
        assert density == pytest.approx(computed, abs=5e-5)


@pytest.mark.parametrize("name", published.PUBLISHED)
def test_every_published_entry_can_be_shown(name, tmp_path):
    found = analysis.curves(write_run(tmp_path / "run", controls=False))
    claimed = claims.compare(published.PUBLISHED[name], found)
    assert claimed and all(c.source.startswith("https") for c in claimed)


# Caveats.


def test_caveats(tmp_path):
    run = run_files.read(write_run(tmp_path / "run", trials=1))
    found = against_density.of_runs([run])
    said = " ".join(
        caveats.of_run(run, found, published.PUBLISHED["lenet-mnist"])
    )
    assert "One trial" in said
    assert "Unfinished: 1 of 2 trials" in said
    assert "2,000 steps a round, the paper has 50,000" in said
    assert "2 trials, the paper has 5" in said
    assert "batch" not in said
    assert "1 of 3 rounds" in said
    bare = run_files.read(write_run(tmp_path / "bare", "mine", False))
    said = " ".join(caveats.of_run(bare, against_density.of_runs([bare]), {}))
    assert "No controls were trained" in said
    assert "No paper's numbers" in said and "Unfinished" not in said


@pytest.mark.parametrize(
    "config, words",
    [
        ({"trials": 1}, "protocol: 1 trial, the paper has 5."),
        ({"trials": 7}, "protocol: 7 trials, the paper has 5."),
        ({"trials": 1}, "Unfinished: 1 of 1 trial, with 3 of 9 rounds in"),
        ({"batch_size": 1}, "protocol: 1 image in a batch, the paper has 60."),
        ({"iterations": 1}, "1 step a round, the paper has 50,000."),
    ],
)
def test_one_is_singular(config, words, tmp_path):
    run = run_files.read(write_run(tmp_path / "run", trials=1))
    run = dataclasses.replace(run, config={**run.config, "rounds": 9} | config)
    said = caveats.of_protocol(run, published.PUBLISHED["lenet-mnist"])
    assert words in " ".join(said)


# The page.


class Page(html.parser.HTMLParser):
    """Checks nesting, and collects text, tags and addresses."""

    VOID = ("meta", "br")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words, self.loaded = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.loaded += [v for k, v in attributes if k in ("src", "data")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)


def test_the_page_of_a_run(tmp_path):
    path = write_run(tmp_path / "run")
    written = analysis.report(path)
    assert written == path / "report.html"
    text = written.read_text()
    page = Page(text)
    words = " ".join(page.words)
    for expected in (
        "lenet-mnist", "A <test> & more.", "a verdict", "Before you believe",
        "38 % earlier", "41 % earlier", "random re-init", "3.99",
        "2 trials", "650 (600–700)", "*: 0.2, logits: 0.1", "fc1/kernel",
    ):
        assert expected in words, expected
    assert page.tags.count("svg") == 4
    assert page.tags.count("polygon") > 2
    # Nothing is loaded: no script, image, font or style sheet.
    assert page.loaded == []
    assert {"script", "img", "link", "iframe"}.isdisjoint(page.tags)
    assert "@import" not in text and "url(" not in text


def test_the_page_of_a_callback(tmp_path):
    out = tmp_path / "page.html"
    path = write_trial(tmp_path / "run")
    assert analysis.report(path, out) == out
    words = " ".join(Page(out.read_text()).words)
    assert "75.0 %" in words and "No controls were trained" in words
    assert "The paper's numbers" not in words
    assert not (path / "report.html").exists()


def test_a_page_needs_a_round(tmp_path):
    path = write_run(tmp_path / "run")
    (path / "results.csv").write_text("trial,round,density\n")
    with pytest.raises(ValueError, match="no finished round"):
        analysis.report(path)


def test_the_command(tmp_path, capsys):
    import argparse

    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    path = write_run(tmp_path / "run")
    arguments = parser.parse_args(["report", str(path)])
    arguments.command(arguments)
    assert f"written: {path / 'report.html'}" in capsys.readouterr().out


# Drawing.


CHART = charts.Chart(
    "A <title>", "x", "y",
    [charts.Series("one & two", [100, 50, 25], [1, 3, 2], [0, 2, 1],
                   [2, 4, 3])],
    log_x=True, falling_x=True, reference=2.5, reference_name="dense",
)


def test_svg_is_well_formed_and_in_its_box():
    import xml.etree.ElementTree as tree

    root = tree.fromstring(svg.lines(CHART))
    width, height = map(float, root.get("viewBox").split()[2:])
    for point in root.findall("circle"):
        assert 0 < float(point.get("cx")) < width
        assert 0 < float(point.get("cy")) < height
    xs = [float(point.get("cx")) for point in root.findall("circle")]
    ys = [float(point.get("cy")) for point in root.findall("circle")]
    # Density falls to the right by equal ratios; larger values are higher.
    assert xs[0] < xs[1] < xs[2]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)
    assert ys[1] < ys[2] < ys[0]
    table = charts.Matrix("m", ["a", "b"], [[1.0, 0.25], [0.25, 1.0]])
    assert len(tree.fromstring(svg.matrix(table)).findall("rect")) == 4


@pytest.mark.parametrize(
    "series",
    [[], [charts.Series("one", [1.0], [5.0])],
     [charts.Series("flat", [1.0, 2.0], [0.0, 0.0])]],
)
@pytest.mark.parametrize("log_x", (False, True))
def test_charts_of_little(series, log_x, tmp_path):
    chart = charts.Chart("t", "x", "y", series, log_x=log_x)
    assert svg.lines(chart).startswith("<svg")
    plots.save(chart, tmp_path / "a.png")


@pytest.mark.parametrize(
    "low, high", [(0, 1), (97.7, 98.6), (0, 50_000), (-3, 1e-3), (5, 5.001)]
)
def test_ticks_are_round_and_inside(low, high):
    ticks = axes.round_ticks(low, high)
    assert 3 <= len(ticks) <= 11
    assert low - 1e-9 <= ticks[0] and ticks[-1] <= high + 1e-9
    assert np.diff(ticks) == pytest.approx(ticks[1] - ticks[0])
    labels = axes.tick_labels(ticks)
    assert len(set(labels)) == len(ticks)
    assert [float(t.replace(",", "")) for t in labels] == pytest.approx(ticks)


def test_png(tmp_path):
    written = analysis.report(
        write_run(tmp_path / "run"), tmp_path / "page.html", png=True
    )
    found = sorted(path.name for path in tmp_path.glob("page-*.png"))
    assert found == [
        "page-early_stop_step.png", "page-early_stop_test_accuracy.png",
        "page-layer_density.png", "page-test_accuracy.png",
    ]
    for name in found:
        data = written.with_name(name).read_bytes()
        assert data.startswith(b"\x89PNG") and len(data) > 5000
    overlap = analysis.mask_overlap([{"w": np.array([True, False])}] * 2)
    analysis.save_plot(overlap, tmp_path / "overlap.png")
    assert (tmp_path / "overlap.png").stat().st_size > 5000
    with pytest.raises(TypeError, match="must be a chart"):
        analysis.save_plot(3, tmp_path / "no.png")


def test_without_matplotlib(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    path = write_run(tmp_path / "run")
    with pytest.raises(ImportError, match=r"pip install tf_lottery\[plot\]"):
        analysis.report(path, png=True)
    assert not (path / "report.html").exists()
    assert analysis.report(path).exists()


def test_matplotlib_is_not_imported_for_a_page(tmp_path):
    """Keras itself imports it where it is installed."""
    path = write_run(tmp_path / "run")
    code = (
        "import sys, keras; before = set(sys.modules); "
        f"from tf_lottery import analysis; analysis.report({str(path)!r}); "
        "new = set(sys.modules) - before; "
        "print([name for name in new if name.startswith('matplotlib')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    assert done.stdout == "[]\n", done.stderr[-2000:]
