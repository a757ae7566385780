"""Presets of the papers, plans, budgets and their flags."""

import csv
import dataclasses
import json

import pytest

from tf_lottery import __main__ as cli
from tf_lottery import experiments
from tf_lottery.analysis import caveats
from tf_lottery.analysis import published
from tf_lottery.commands import parsers
from tf_lottery.commands.parsers import preset as preset_flags
from tf_lottery.experiments import budgets
from tf_lottery.experiments import changes
from tf_lottery.experiments import durations
from tf_lottery.experiments import plans

COST = plans.Cost(step=0.001, evaluation=0.02)


class TestCatalogue:
    @pytest.mark.parametrize(
        "name, batch, iterations, optimizer, rate",
        [
            ("lenet5-mnist", 60, 50_000, "adam", 1.2e-3),
            ("conv2-cifar10", 60, 20_000, "adam", 2e-4),
            ("conv4-cifar10", 60, 25_000, "adam", 3e-4),
            ("conv6-cifar10", 60, 30_000, "adam", 3e-4),
            ("resnet20-cifar10", 128, 30_000, "sgd", 0.1),
            ("resnet20-cifar10-low", 128, 30_000, "sgd", 0.01),
            ("resnet20-cifar10-warmup", 128, 30_000, "sgd", 0.03),
            ("vgg19-cifar10-high", 64, 112_000, "sgd", 0.1),
            ("vgg19-cifar10-low", 64, 112_000, "sgd", 0.01),
            ("vgg19-cifar10-warmup", 64, 112_000, "sgd", 0.1),
        ],
    )
    def test_protocol(self, name, batch, iterations, optimizer, rate):
        preset = experiments.preset(name)
        assert (preset.batch_size, preset.iterations) == (batch, iterations)
        assert (preset.optimizer, preset.learning_rate) == (optimizer, rate)

    @pytest.mark.parametrize(
        "name, conv", [("conv2", 0.1), ("conv4", 0.1), ("conv6", 0.15)]
    )
    def test_rates(self, name, conv):
        preset = experiments.preset(f"{name}-cifar10")
        assert preset.rate == {"conv*": conv, "fc*": 0.2, "logits": 0.1}
        assert preset.scope == "layer" and preset.augment == "none"

    @pytest.mark.parametrize("name", ["resnet20-cifar10", "vgg19-cifar10-low"])
    def test_deep_networks(self, name):
        preset = experiments.preset(name)
        assert (preset.scope, preset.exclude) == ("global", ("logits",))
        assert preset.augment == "crop-flip" and preset.momentum == 0.9

    @pytest.mark.parametrize(
        "name, epochs, rewind",
        [("resnet50", 90, 6), ("inceptionv3", 171, 6), ("squeezenet", 150, 10)],
    )
    def test_imagenet(self, name, epochs, rewind):
        preset = experiments.preset(f"{name}-imagenet")
        assert preset.epochs_per_round == epochs
        assert preset.rewind_step == rewind * preset.evaluate_every
        assert changes.published(preset)["rewind_epoch"] == rewind

    def test_published_numbers_belong_to_presets(self):
        assert set(published.PUBLISHED) <= set(experiments.PRESETS)
        for numbers in published.PUBLISHED.values():
            assert numbers["source"].startswith("https://arxiv.org/abs/")
        assert changes.published(experiments.preset("lenet-digits")) == {}
        known = changes.published(experiments.preset("lenet-mnist"))
        stability = known["stability"]
        assert stability["pruning_l2"] == {"ticket": 48.1, "random_masks": 75.7}

    def test_a_changed_preset_has_no_published_numbers(self):
        longer = experiments.preset("resnet20-cifar10", iterations=3000)
        assert changes.of(longer) == {} and changes.published(longer)
        assert changes.headline(longer) == longer.summary
        other = experiments.preset(
            "resnet20-cifar10", model="resnet_8", rewind_to="1000it"
        )
        assert changes.published(other) == {}
        assert changes.headline(other) == (
            "Changed from resnet20-cifar10: model resnet_8 instead of "
            "resnet_20, rewind_to 1000it instead of 500it."
        )
        copy = json.loads(json.dumps(changes.config(other)))
        assert copy["summary"] == changes.headline(other)
        assert set(copy["changed"]) == {"model", "rewind_to"}
        experiments.Preset.from_dict(copy)
        # A budget moves points with the end of a round.
        short = budgets.shorten(
            experiments.preset("resnet50-imagenet", budget="5m"), COST
        )
        assert "rewind_to" in short.shortened and changes.published(short)

    @pytest.mark.parametrize("name", experiments.PRESETS)
    def test_survives_json(self, name):
        preset = experiments.preset(name)
        copy = json.loads(json.dumps(preset.to_dict()))
        assert experiments.Preset.from_dict(copy) == preset

    @pytest.mark.parametrize(
        "changes, words",
        [
            ({"momentum": 0.9}, "optimizer='sgd'"),
            ({"compare": ("luck",)}, "`compare`.*one-shot"),
            ({"drops": (1.5,)}, "`drops`"),
            ({"drops": ("1200it",)}, "`drops`.*end of the round"),
            ({"warmup": "2weeks"}, "`warmup`"),
            ({"also_rewind_to": ("30it",)}, "`also_rewind_to`.*is 40"),
            ({"augment": "cutout"}, "`augment`.*crop-flip"),
            ({"model": "lenet"}, "`model`.*lenet_5"),
            ({"budget": "soon"}, "`budget`.*10m"),
            ({"decay": "never"}, "`decay`"),
            ({"save_freq": "day"}, "`save_freq`"),
            ({"middle_rounds": 1.5}, "`middle_rounds`"),
            ({"middle_rounds": 0.2, "rewind_to": "240it"}, "rounds of 240"),
            ({"middle_rounds": 0.2, "compare": ("lr-rewind",)}, "lr-rewind"),
            ({"middle_rounds": 0.2, "also_rewind_to": ("20it",)}, "20it"),
        ],
    )
    def test_invalid(self, changes, words):
        with pytest.raises(ValueError, match=words):
            experiments.preset("lenet-digits", **changes)

    def test_a_rate_says_of_which_layers(self):
        with pytest.raises(TypeError, match="`rate` must be a dict"):
            experiments.preset("lenet-digits", rate=0.35)

    def test_middle_rounds_make_another_experiment(self):
        cheap = experiments.preset("lenet-mnist", middle_rounds=0.2, rounds=3)
        assert cheap.round_lengths == (500, 100, 100, 500)
        assert changes.of(cheap) == {"middle_rounds": [1.0, 0.2]}
        assert changes.published(cheap) == {}
        assert "20 % of the steps" in " ".join(
            caveats.of_protocol(changes.config(cheap), {0: 3}, {})
        )
        assert [
            (line.what, line.count, line.epochs) for line in plans.plan(
                dataclasses.replace(cheap, compare=(), test_densities=(0.64,))
            )
        ] == [
            ("dense", 1, 500), ("tickets", 1, 500), ("short rounds", 2, 100),
            ("tickets of short rounds", 1, 500),
        ]

    def test_equal_compute_trains_for_the_share_of_the_density(self):
        preset = experiments.preset(
            "lenet-mnist", compare=("equal-parameters", "equal-compute"),
            test_densities=(0.64, 0.8), rounds=2, trials=2,
        )
        found = [(n.what, n.count, n.epochs) for n in plans.plan(preset)[2:]]
        assert found == [
            ("equal-parameters", 4, 500), ("equal-compute", 4, 360),
        ]

    @pytest.mark.parametrize("name", experiments.PRESETS)
    def test_cheap_protocol_ends_as_sparse(self, name):
        full = experiments.preset(name)
        cheap = experiments.preset(name, "cheap", trials=2)
        rounds = 15 / 4 * cheap.rounds
        assert abs(full.rounds - rounds) < 15 / 8 and cheap.trials == 2
        for layer, rate in full.rate.items():
            left = (1 - cheap.rate[layer]) ** cheap.rounds
            assert left == pytest.approx((1 - rate) ** rounds, rel=0.01)
        steps = sum(cheap.round_lengths) / cheap.epochs_per_round
        middle = 2 / 3 * (cheap.rounds - 1)
        assert steps == pytest.approx(2 + middle, abs=0.02)
        assert {"rate", "middle_rounds"} == set(changes.of(cheap))
        assert changes.published(cheap) == {}


class TestDurations:
    @pytest.mark.parametrize(
        "text, seconds",
        [("90s", 90), ("10m", 600), ("2h", 7200), ("1h2m3s", 3723)],
    )
    def test_parse(self, text, seconds):
        assert durations.parse(text) == seconds

    @pytest.mark.parametrize("text", ["", "10", "0m", "m", "10m!", "-1s"])
    def test_invalid(self, text):
        with pytest.raises(ValueError, match="10m"):
            durations.parse(text)


class TestBudgets:
    def shorten(self, name, budget, cost=COST, **changes):
        preset = experiments.preset(name, budget=budget, **changes)
        return preset, budgets.shorten(preset, cost)

    def test_enough_time_changes_nothing(self):
        before, after = self.shorten("lenet-digits", "10m")
        assert after == before and after.shortened == {}

    def test_trials_go_first(self):
        before, after = self.shorten("lenet-mnist", "4h", trials=9)
        assert after.shortened == {"trials": [9, after.trials]}
        longer = dataclasses.replace(before, trials=after.trials + 1)
        assert COST.seconds(after) <= 4 * 3600 < COST.seconds(longer)

    @pytest.mark.parametrize("budget", ["50m", "20m", "5m", "1m", "20s"])
    def test_fits_and_undoes(self, budget):
        before, after = self.shorten(
            "resnet20-cifar10-warmup", budget, trials=2,
            rewind_to="1000it", drops=("20000it", 0.9),
        )
        assert COST.seconds(after) <= durations.parse(budget)
        assert budgets.original(after) == before
        for name, (old, new) in after.shortened.items():
            was, now = before.to_dict()[name], after.to_dict()[name]
            assert (old, new) == (was, now) and was != now

    def test_schedule_moves_with_the_end(self):
        before, after = self.shorten(
            "resnet20-cifar10-warmup", "2m", drops=("20000it", 5 / 6),
            rewind_to="6000it", warmup="3000it",
        )
        assert 3000 <= after.iterations < 30_000
        part = after.iterations / before.iterations
        assert after.drop_steps == pytest.approx(
            [part * step for step in before.drop_steps], abs=1
        )
        assert after.warmup_steps == pytest.approx(part * 3000, abs=1)
        assert after.rewind_step == pytest.approx(part * 6000, abs=250)

    def test_nothing_fits(self):
        _, after = self.shorten("lenet-mnist", "1s")
        assert (after.rounds, after.iterations) == (1, 5000)

    @pytest.mark.slow
    def test_the_run_says_so_and_goes_on_as_it_was(self, tmp_path, monkeypatch):
        monkeypatch.setattr(plans, "measure", lambda bench: COST)
        preset = experiments.preset("lenet-digits", budget="1s", trials=2)
        found = experiments.run(preset, tmp_path)
        config = json.loads((tmp_path / "config.json").read_text())
        assert config["shortened"]["trials"] == [2, 1]
        assert config["iterations"] == config["shortened"]["iterations"][1]
        assert "shortened to 1s: " in found.verdict
        assert found.verdict.endswith(", trials 2 to 1")
        content = json.loads((tmp_path / "results.json").read_text())
        assert content["preset"]["shortened"] == config["shortened"]

        def never(bench):
            raise AssertionError("measured again")

        monkeypatch.setattr(plans, "measure", never)
        assert experiments.run(preset, tmp_path).rows() == found.rows()


class TestPlans:
    def test_counts(self):
        preset = experiments.preset(
            "lenet-mnist", trials=2, rounds=8, rewind_to="1000it",
            compare=("random-reinit", "one-shot", "lr-rewind"),
            also_rewind_to=(0,),
        )
        found = {
            line.what: (line.count, line.epochs) for line in plans.plan(preset)
        }
        assert found == {
            "dense": (2, 500), "tickets": (16, 490),
            # Rounds 3, 7 and 8 are nearest to the densities that are tested.
            "random-reinit": (2 * 3 * 3, 500), "one-shot": (6, 490),
            "lr-rewind": (16, 490), "rewound to step 0": (16, 500),
        }
        assert plans.total_epochs(preset) == sum(
            count * epochs for count, epochs in found.values()
        )


@pytest.mark.slow
def test_cost_is_measured_while_training():
    preset = experiments.preset("lenet-digits", rounds=1)
    _, cost = experiments.estimate(preset)
    assert 1e-5 < cost.step < 0.1 and 1e-4 < cost.evaluation < 10
    assert cost.start > cost.step


SMALL = [
    "run", "lenet-digits", "--iterations", "40", "--trials", "1", "--rounds",
    "1",
    "--control-trials", "1", "--rate", "*=0.5,logits=0.2",
]


class TestFlags:
    @pytest.fixture(autouse=True)
    def place(self, monkeypatch, tmp_path):
        monkeypatch.setenv("COLUMNS", "80")
        monkeypatch.chdir(tmp_path)

    @pytest.mark.slow
    def test_dry_run_writes_nothing(self, capsys, tmp_path):
        assert cli.main([*SMALL, "--dry-run", "--budget", "1h"]) == 0
        out = capsys.readouterr().out
        for words in ("dense", "tickets", "random-reinit", "a step takes"):
            assert words in out
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.slow
    def test_compare_and_overwrite(self, capsys, tmp_path):
        compared = ["--compare", "one-shot,lr-rewind", "--also-rewind-to",
                    "20it", "--output-dir", "here"]
        assert cli.main([*SMALL, *compared]) == 0
        lines = capsys.readouterr().out.splitlines()
        (first, *_, last) = (
            i for i, line in enumerate(lines) if "trials: 1" in line
        )
        end = next(i for i, line in enumerate(lines) if "Not tested" in line)
        tables = lines[first:end]
        assert first < last and max(map(len, tables)) <= 80
        assert "…" not in "".join(tables)
        assert sum(" to 20" in line for line in tables) == 1
        assert any(
            line.startswith("lr-rewind, round  1/1: density 50.6 %")
            for line in lines
        )
        with open(tmp_path / "here" / "controls.csv", newline="") as file:
            found = {row["control"] for row in csv.DictReader(file)}
        assert found == {"one_shot", "lr_rewind", "rewind_to_20"}
        other = [*SMALL, *compared, "--seed", "1"]
        assert cli.main(other) == 2
        assert "seed: 0 there, 1 now" in capsys.readouterr().err
        assert cli.main([*other, "--overwrite"]) == 0

    @pytest.mark.parametrize(
        "arguments, field, value",
        [
            (["--drops", "0.5,20it"], "drops", (0.5, "20it")),
            (["--exclude", "fc1,logits"], "exclude", ("fc1", "logits")),
            (["--compare", ""], "compare", ()),
            (["--warmup", "20it"], "warmup", "20it"),
            (["--momentum", "0.9"], "momentum", 0.9),
            (["--also-rewind-to", "0,0.5"], "also_rewind_to", (0, 0.5)),
        ],
    )
    def test_values(self, arguments, field, value):
        parsed = parsers.make().parse_args([*SMALL, *arguments])
        assert preset_flags.changes(parsed)[field] == value

    def test_bad_budget(self, capsys):
        with pytest.raises(SystemExit):
            cli.main([*SMALL, "--budget", "soon"])
        assert "10m" in capsys.readouterr().err
