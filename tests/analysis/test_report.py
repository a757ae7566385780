"""Curves, plots and the report page of run directories."""

import json
import sys

import pytest

from tests.page_reader import Page
from tf_lottery import analysis
from tf_lottery.__main__ import main
from tf_lottery.analysis import caveats
from tf_lottery.analysis import claims
from tf_lottery.analysis import published
from tf_lottery.analysis import run_files
from tf_lottery.analysis import tables
from tf_lottery.analysis.curves import chart
from tf_lottery.analysis.curves import of_runs
from tf_lottery.runs import results
from tf_lottery.runs import run_directory

# Density, early-stop steps of two trials, accuracies at early stop and end.
ROUNDS = [
    (1.0, (1000, 1200), (0.980, 0.982), (0.979, 0.981)),
    (0.2107, (700, 600), (0.984, 0.986), (0.983, 0.985)),
    (0.1352, (800, 800), (0.985, 0.985), (0.984, 0.984)),
    (0.0358, (1100, 1100), (0.981, 0.981), (0.980, 0.980)),
]


def write_json(path, content):
    path.write_text(json.dumps(content))


def outcome(step, early, end):
    return {
        "val_accuracy": end, "test_accuracy": end, "early_stop_step": step,
        "early_stop_test_accuracy": early,
    }


def change(path, chosen, **values):
    """Changes what the chosen rounds of a run came to."""
    content = json.loads((path / "results.json").read_text())
    for trial in content["trials"]:
        for each in trial["rounds"]:
            if chosen(trial["number"], each["round"]):
                each["outcome"] |= values
    write_json(path / "results.json", content)


def write_run(
    path, name="lenet-mnist", controls=True, trials=2, **changes
):
    path.mkdir(parents=True, exist_ok=True)
    config = {
        "name": name, "summary": "A <test> & more.", "dataset": "mnist",
        "iterations": 2000, "batch_size": 60, "rounds": 3, "trials": 2,
        "rate": {"*": 0.2, "logits": 0.1}, "seed": 0, "drops": [],
        "evaluate_every": 100, **changes,
    }
    write_json(path / "config.json", config)
    found = [
        {
            "number": trial,
            "rounds": [
                {
                    "round": number, "density": density,
                    "effective_density": None, "seconds": 1.5,
                    "outcome": outcome(steps[trial], early[trial], end[trial]),
                    "controls": {},
                }
                for number, (density, steps, early, end) in enumerate(ROUNDS)
            ],
            "candidate": 3,
        }
        for trial in range(trials)
    ]
    if controls:
        for each, step in zip(found, (1500, 1900)):
            each["rounds"][1]["controls"] = {
                "random_reinitialize": [outcome(step, 0.979, 0.97)],
            }
    known = {"images": 10_000, "classes": 10}
    write_json(
        path / "results.json", {"verdicts": {"rules": known}, "trials": found}
    )
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
    assert {
        "seconds", "candidate", "effective_density", "number",
        "early_stop_censored",
    }.isdisjoint(found["tickets"])


def test_curves_of_several_directories_are_pooled(tmp_path):
    paths = [
        write_run(tmp_path / str(seed), seed=seed, rounds=3 + seed)
        for seed in range(2)
    ]
    found = analysis.curves(paths)["tickets"]["test_accuracy"]
    assert found.counts == (4, 4, 4, 4)
    assert found.means == pytest.approx(
        analysis.curves(paths[0])["tickets"]["test_accuracy"].means
    )


def test_a_run_counts_once(tmp_path):
    one = write_run(tmp_path / "one")
    same = write_run(tmp_path / "same", trials=1)
    for paths in ([one, one], [same, one], [one, same]):
        found = analysis.curves(paths)
        assert found["tickets"]["test_accuracy"].counts == (2, 2, 2, 2)
        assert found["random_reinitialize"]["test_accuracy"].counts == (2,)
    trial = write_trial(tmp_path / "trial")
    found = analysis.curves([trial, trial])["tickets"]["val_accuracy"]
    assert found.counts == (1, 1, 1, 1)


@pytest.mark.parametrize("changes", [
    {"name": "lenet-fashion"}, {"dataset": "digits"}, {"model": "lenet_5"},
    {"iterations": 3000},
])
def test_unlike_runs_make_no_curve(tmp_path, changes):
    paths = [
        write_run(tmp_path / "a"),
        write_run(tmp_path / "b", **{"seed": 1, **changes}),
    ]
    with pytest.raises(ValueError, match="different protocols") as caught:
        analysis.curves(paths)
    assert f"{[*changes][0]}: " in str(caught.value)


def test_an_early_stop_that_was_not_measured_makes_no_point(tmp_path):
    path = write_run(tmp_path / "run")
    change(path, lambda *item: item == (1, 2), early_stop_step=2000)
    run = run_files.read(path)
    found = of_runs([run])
    steps = found["tickets"]["early_stop_step"]
    assert steps.rounds == (0, 1, 3) and steps.at(0.1352) is None
    assert found["tickets"]["test_accuracy"].rounds == (0, 1, 2, 3)
    drawn = chart([run], "early_stop_step")["data"]["values"]
    assert 2000 not in [record["y"] for record in drawn]
    assert tables.tickets(run, found).rows[2].count("–") == 2
    said = " ".join(caveats.of_run(run))
    assert "not measured in 1 of 8 trainings of tickets" in said
    claimed = claims.compare(published.PUBLISHED["lenet-mnist"], found)
    (gain,) = (
        c for c in claimed
        if c["density"] == 0.1352 and "over" in c["what"]
    )
    assert gain["ours"] == "not measured"
    # In the dense round, nothing is compared with it.
    change(path, lambda _, number: number == 0, early_stop_step=2000)
    claimed = claims.compare(
        published.PUBLISHED["lenet-mnist"], analysis.curves(path)
    )
    assert not any("% earlier" in claim["ours"] for claim in claimed)


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
    with pytest.raises(FileNotFoundError, match="not the directory of a run"):
        analysis.curves(tmp_path / "nowhere")
    path = write_run(tmp_path / "run")
    other = write_run(tmp_path / "other")
    content = json.loads((other / "results.json").read_text())
    for trial in content["trials"]:
        for each in trial["rounds"]:
            each["density"] *= 0.9
    write_json(other / "results.json", content)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "seed": 1}))
    with pytest.raises(ValueError, match="different densities"):
        analysis.curves([path, other])
    with pytest.raises(ValueError, match="no metric 'speed'.*test_accuracy"):
        chart([run_files.read(path)], "speed")
    (path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="config.json' is damaged"):
        analysis.curves(path)
    for damaged in ("{", "[]", "{}", '{"trials": [{"rounds": [3]}]}'):
        (other / "results.json").write_text(damaged)
        with pytest.raises(ValueError, match="results.json' is damaged"):
            analysis.curves(other)
    trial = write_trial(tmp_path / "trial")
    (trial / "results.json").unlink()
    with pytest.raises(FileNotFoundError, match="results.json"):
        analysis.curves(trial)


# The paper's numbers.


def test_the_papers_numbers_beside_ours(tmp_path):
    found = analysis.curves(write_run(tmp_path / "run"))
    claimed = claims.compare(published.PUBLISHED["lenet-mnist"], found)
    ours = {(c["what"], c["density"]): c["ours"] for c in claimed}
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
    paper = [c["paper"] for c in claimed]
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
    assert claimed and all(
        c["source"].startswith("https") for c in claimed
    )


# Caveats.


def test_caveats(tmp_path):
    run = run_files.read(write_run(tmp_path / "run", trials=1))
    said = " ".join(caveats.of_run(run))
    assert "One trial" in said
    assert "Unfinished: 1 of 2 trials" in said
    assert "2,000 steps a round, the paper has 50,000" in said
    assert "2 trials, the paper has 5" in said
    assert "batch" not in said
    assert "1 of 3 rounds" in said
    bare = run_files.read(write_run(tmp_path / "bare", "mine", False))
    said = " ".join(caveats.of_run(bare))
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
    said = caveats.of_protocol(
        {**run.config, "rounds": 9} | config, run.ends,
        published.PUBLISHED["lenet-mnist"],
    )
    assert words in " ".join(said)


# The page.


def test_the_page_of_a_run(tmp_path):
    path = write_run(tmp_path / "run")
    written = analysis.report(path)
    assert written == path / "report.html"
    text = written.read_text()
    page = Page(text)
    words = " ".join(page.words)
    for expected in (
        "lenet-mnist", "A <test> & more.", "Before you believe",
        "2 trials (a pilot, power ", "Verdicts",
        "on 10,000 test images: no winning ticket is shown at 21.1 %",
        "38 % earlier", "41 % earlier", "random re-init", "3.99",
        "2 trials", "650 (600–700)", "*: 0.2, logits: 0.1", "fc1/kernel",
    ):
        assert expected in words, expected
    assert [each["title"] for each in page.charts] == [
        "Test accuracy at the end (%)", "Early-stop step",
        "Test accuracy at early stop (%)", "Density of each layer",
    ]
    assert page.charts[0] == chart([run_files.read(path)], "test_accuracy")
    assert page.loaded == []


def test_the_page_of_a_callback(tmp_path):
    out = tmp_path / "page.html"
    path = write_trial(tmp_path / "run")
    assert analysis.report(path, out) == out
    words = " ".join(Page(out.read_text()).words)
    assert "75.0 %" in words and "No controls were trained" in words
    assert "Not tested: one trial" in words
    assert "The paper's numbers" not in words
    assert not (path / "report.html").exists()


def test_a_page_needs_a_round(tmp_path):
    path = write_run(tmp_path / "run")
    write_json(path / "results.json", {"trials": []})
    with pytest.raises(ValueError, match="no finished round"):
        analysis.report(path)


def test_the_command(tmp_path, capsys):
    path = write_run(tmp_path / "run")
    assert main(["report", str(path)]) == 0
    assert f"written: {path / 'report.html'}" in capsys.readouterr().out


# Charts.


def test_a_chart_has_every_training(tmp_path):
    paths = [
        write_run(tmp_path / str(seed), seed=seed) for seed in range(2)
    ]
    found = chart([run_files.read(path) for path in paths], "early_stop_step")
    records = found["data"]["values"]
    tickets = [r for r in records if r["series"] == "tickets"]
    assert len(tickets) == 2 * 2 * len(ROUNDS)
    assert len({r["trial"] for r in tickets}) == 4
    assert [(r["x"], r["y"]) for r in tickets[:2]] == [
        (100.0, 1000), (100.0, 1200),
    ]
    controls = [r for r in records if r["series"] == "random re-init"]
    assert sorted(r["y"] for r in controls) == [1500, 1500, 1900, 1900]
    rule = found["layer"][-1]
    assert rule["data"]["values"] == [{"series": "dense", "y": 1100}]


def test_tiles_choose_nothing_by_what_came_out(tmp_path):
    path = write_run(tmp_path / "run")
    run = run_files.read(path)
    found = tables.highlights(run, of_runs([run]))
    assert [number for number, _ in found] == [
        "98.0 %", "+0.4 points", "+0.4 points", "+0.0 points",
    ]
    # The first is nearest to 51.3 and to 21.1 %.
    assert ["21.1 %", "13.5 %", "3.6 %"] == [
        caption.partition(" at ")[2].partition(" density")[0]
        for _, caption in found[1:]
    ]
    change(path, lambda *_: True, test_accuracy=0.9)
    change(path, lambda _, number: number == 2, test_accuracy=0.91)
    run = run_files.read(path)
    again = tables.highlights(run, of_runs([run]))
    assert len(again) == 4 and again[2][0] == "+1.0 points"


def test_a_run_of_the_first_release_is_not_called_winning(tmp_path):
    path = write_run(tmp_path / "run")
    content = json.loads((path / "results.json").read_text())
    for trial in content["trials"]:
        trial["winner"] = trial.pop("candidate")
    write_json(path / "results.json", {
        "verdict": "winning ticket at 3.6 % density",
        "trials": content["trials"],
    })
    assert [row["round"] for row in run_files.read(path).rows
            if row["candidate"]] == [3, 3]
    words = " ".join(Page(analysis.report(path).read_text()).words)
    assert "winning" not in words
    assert "number of test images is not known" in words


def test_a_changed_preset_loses_its_headline_and_the_papers_numbers(tmp_path):
    path = write_run(
        tmp_path / "run", summary="Changed from lenet-mnist: model a.",
        changed={"model": ["b", "a"]},
    )
    words = " ".join(Page(analysis.report(path).read_text()).words)
    assert "Changed from preset lenet-mnist: model a instead of b" in words
    assert "The paper's numbers" not in words and "38 % earlier" not in words


def test_a_dense_network_at_chance_level(tmp_path):
    path = write_run(tmp_path / "run")
    change(path, lambda *_: True, test_accuracy=0.1)
    run = run_files.read(path)
    said = " ".join(caveats.of_run(run))
    assert "dense network is at chance level" in said


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


def test_without_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    path = write_run(tmp_path / "run")
    with pytest.raises(ImportError, match=r"pip install tf_lottery\[plot\]"):
        analysis.report(path)
    assert not (path / "report.html").exists()
