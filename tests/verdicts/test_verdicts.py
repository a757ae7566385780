"""Verdicts: definitions, tests over trials by simulation, and words."""

import itertools
import json
import subprocess
import sys
import warnings

import numpy as np
import pytest

from tf_lottery.verdicts import definitions
from tf_lottery.verdicts import judging
from tf_lottery.verdicts import significance
from tf_lottery.verdicts import words
from tf_lottery.verdicts.definitions import Measured
from tf_lottery.verdicts.rules import Rules

IMAGES, MARGIN, DENSE = 10_000, 0.005, 0.98
TIMES = 1000
# A share of 0.05 may be off by two of its errors.
MOST = significance.LEVEL + 2 * (0.05 * 0.95 / TIMES) ** 0.5
BOUND = significance.images_sd(DENSE, DENSE - MARGIN, IMAGES)


def test_needs_no_tensorflow():
    code = (
        "import sys, types\n"
        "package = types.ModuleType('tf_lottery')\n"
        "package.__path__ = [sys.argv[1]]\n"
        "sys.modules['tf_lottery'] = package\n"
        "import tf_lottery.verdicts.words\n"
        "assert not {'tensorflow', 'keras', 'torch', 'jax'} & {*sys.modules}\n"
    )
    place = definitions.__file__.rpartition("/verdicts/")[0]
    subprocess.run([sys.executable, "-c", code, place], check=True)


class TestDefinitions:
    dense = Measured(0.98, 600, 0.97, 400)

    @pytest.mark.parametrize(
        "step, accuracy, exact, lenient",
        [
            (400, 0.97, True, True),
            (380, 0.975, True, True),
            (420, 0.975, False, True),
            (440, 0.975, False, False),
            (400, 0.966, False, True),
            (400, 0.964, False, False),
            # Its early stop was not measured.
            (600, 0.99, False, False),
        ],
    )
    def test_the_papers(self, step, accuracy, exact, lenient):
        ticket = Measured(0.98, 600, accuracy, step)
        assert definitions.early_stop(self.dense, ticket) is exact
        assert definitions.early_stop(
            self.dense, ticket, MARGIN, 20
        ) is lenient

    def test_nothing_is_known_against_a_censored_dense_network(self):
        for step in (600, None):
            dense = Measured(0.98, 600, 0.97, step)
            assert dense.censored
            for at in (400, 600):
                ticket = Measured(0.98, 600, 0.99, at)
                assert definitions.early_stop(dense, ticket) is None

    def test_by_the_metric_at_the_end(self):
        def found(accuracy, steps=600, margin=0.0):
            return definitions.final(
                self.dense, Measured(accuracy, steps), margin
            )

        assert found(0.98) and found(0.98, 500) and found(0.976, margin=MARGIN)
        assert not found(0.979) and not found(0.98, 601)


# By simulation.


def independent(rng, trials, spread=0.002, worse=MARGIN):
    """Every trial has test images of its own."""
    shape = TIMES, trials
    accuracies = (
        np.clip(rng.normal(mean, spread, shape), 0, 1)
        for mean in (DENSE, DENSE - worse)
    )
    dense, ticket = (rng.binomial(IMAGES, a) / IMAGES for a in accuracies)
    return ticket - dense


def difficult(rng, trials):
    """Trials share images, of which 4 % are right by chance only."""
    share = 0.04
    counts = rng.binomial(IMAGES, share, (TIMES, 1))
    shape = TIMES, trials
    dense = rng.binomial(np.broadcast_to(counts, shape), 0.5)
    worse = 0.5 - MARGIN / share
    ticket = rng.binomial(np.broadcast_to(counts, shape), worse)
    return (ticket - dense) / IMAGES


def flipped(rng, trials, spread=0.0):
    """Trials share images; the ticket loses the margin's share of them."""
    lost = rng.binomial(IMAGES, MARGIN, (TIMES, 1)) / IMAGES
    return rng.normal(-lost, spread, (TIMES, trials))


def at_the_bound(rng, trials):
    """The images' error is its bound, and that of trials is as large."""
    images = rng.normal(-MARGIN, BOUND, (TIMES, 1))
    return rng.normal(images, BOUND * trials**0.5, (TIMES, trials))


SCENARIOS = [
    independent, difficult, flipped,
    lambda rng, trials: flipped(rng, trials, 0.002), at_the_bound,
]


def rate(differences):
    found = significance.p_values(differences, MARGIN, BOUND)
    assert not np.isnan(found).any()
    return (found <= significance.LEVEL).mean()


@pytest.mark.parametrize("trials", [3, 5, 10])
@pytest.mark.parametrize("scenario", range(len(SCENARIOS)))
def test_false_verdicts(scenario, trials):
    rng = np.random.default_rng(scenario)
    assert rate(SCENARIOS[scenario](rng, trials)) <= MOST


@pytest.mark.some(3)
@pytest.mark.parametrize("trials", [3, 5, 10])
@pytest.mark.parametrize("exact", range(4))
def test_false_verdicts_of_a_sequence(trials, exact):
    """The first densities are equal to dense, the others worse."""
    rng = np.random.default_rng(exact)
    passed = np.stack([
        significance.p_values(
            independent(rng, trials, worse=0 if i < exact else MARGIN),
            MARGIN, BOUND,
        ) <= significance.LEVEL
        for i in range(4)
    ])
    reached = np.logical_and.accumulate(passed)
    assert reached[exact:].any(axis=0).mean() <= MOST


@pytest.mark.parametrize("trials", [2, 3, 4, 5, 10])
@pytest.mark.parametrize("images", [0.0, BOUND])
@pytest.mark.parametrize("noise", [0.0, 1e-8])
def test_no_spread_at_all(trials, images, noise):
    rng = np.random.default_rng(0)
    values = -MARGIN + noise * rng.random((1, trials))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = significance.test(values[0], MARGIN, images)
        assert significance.power(trials, 0.0, MARGIN, images) >= 0
    assert found.p > significance.LEVEL
    json.dumps(vars(found), allow_nan=False)
    # Steps are equal in three trials now and then.
    assert significance.test([0, 0, 0], 20).p > significance.LEVEL
    assert significance.test([0] * 5, 20).p == 1 / 32


POWER = {
    # Trials: with a spread of 0.2 points of the differences, of each training.
    3: (0.61, 0.41), 5: (0.87, 0.67), 10: (0.98, 0.90),
}


@pytest.mark.parametrize("trials", POWER)
def test_power(trials):
    """At 10,000 images and a margin of 0.5 points, of an equal ticket."""
    for spread, expected in zip((0.002, 0.002 * 2**0.5), POWER[trials]):
        rng = np.random.default_rng(trials)
        found = rate(rng.normal(0, spread, (TIMES, trials)))
        assert found == pytest.approx(expected, abs=0.04)
        assert significance.power(
            trials, spread, MARGIN, BOUND
        ) == pytest.approx(found, abs=0.07)


def test_images_that_are_needed():
    images = significance.images_needed(DENSE, MARGIN)
    errors = [
        significance.images_sd(DENSE, DENSE, n) for n in (images - 1, images)
    ]
    trials = [
        significance.trials_needed(
            lambda n: significance.power(n, 1e-4, MARGIN, error)
        )
        for error in (errors[0] * 1.1, errors[1] * 0.9)
    ]
    assert trials == [None, 5]


def test_flips_of_signs_are_exact():
    values = [0.3, -0.1, 0.2, 0.4, -0.05, 0.1]
    sums = [
        np.dot(signs, values) for signs in itertools.product((1, -1), repeat=6)
    ]
    expected = np.mean(np.array(sums) >= sum(values) - 1e-12)
    assert significance.test(values).p == pytest.approx(expected)


# A run.

RULES = Rules(600, 20, images=IMAGES, classes=10)


def run(trials=5, drop=(0.0,) * 16, spread=1e-4, last=(), seed=0):
    """Rows of a run whose tickets are worse by so much, and its controls."""
    rng = np.random.default_rng(seed)
    rows, controls = [], []
    for trial, number in itertools.product(range(trials), range(16)):
        accuracy = DENSE - drop[number] + rng.normal(0, spread)
        rows.append({
            "trial": trial, "round": number, "density": 0.8**number,
            "test_accuracy": accuracy, "early_stop_test_accuracy": accuracy,
            "early_stop_step": 600 if (trial, number) in last
            else 400 + 20 * (trial % 3),
        })
        controls += [
            {"trial": trial, "round": number, "control": "random_masks",
             "test_accuracy": accuracy - 0.001 * number + 0.001 * seed
             + rng.normal(0, 1e-4)}
            for seed in (-1, 1)
        ]
    return rows, controls


def statuses(found, definition):
    return [getattr(each, definition).status for each in found.tested]


def test_a_sequence_stops_at_the_first_that_fails():
    drop = np.where(np.arange(16) == 9, 0.02, 0.0)
    found = judging.judge(*run(drop=drop), RULES)
    assert [each.round for each in found.tested] == [3, 7, 9, 15]
    for definition in ("early_stop", "final"):
        assert statuses(found, definition) == [
            "shown", "shown", "not shown",
            "not tested: a denser ticket was not shown",
        ]
    assert found.rounds[0].final.status.startswith("not tested: its density")
    assert found.rounds[0].final.accuracy.low is not None
    assert found.rounds[0].final.accuracy.p is None
    said = words.sentence(found)
    assert "5 trials on 10,000 test images: at 21.0 % density, winning" in said
    assert "(5 of 5 trials, " in said and "p = 0.031" in said
    assert "0.5 points and 20 steps" in said and "pilot" not in said


def test_controls_are_compared_from_sparse_to_dense():
    def found(rows, controls):
        judged = judging.judge(rows, controls, RULES).tested
        return [each.controls["random_masks"] for each in judged]

    rows, controls = run()
    results = found(rows, controls)
    # 0.3 points are within the error of 10,000 images.
    assert [result.status for result in results] == [
        "not shown", "shown", "shown", "shown",
    ]
    assert results[3].accuracy.mean == pytest.approx(0.015, abs=1e-3)
    assert results[3].accuracy.effect > 3
    strong = [
        {**row, "test_accuracy": 1.0} if row["round"] == 9 else row
        for row in controls
    ]
    later = "not tested: not shown at a smaller density"
    assert [result.status for result in found(rows, strong)] == [
        later, later, "not shown", "shown",
    ]
    fewer = [r for r in controls if (r["trial"], r["round"]) != (0, 15)]
    assert [result.status for result in found(rows, fewer)] == [
        *[later] * 3, "not tested: trained in 4 of 5 trials",
    ]


def test_a_censored_trial():
    found = judging.judge(*run(last={(1, 3), (2, 3)}), RULES)
    first = found.tested[0]
    assert first.early_stop.status == (
        "not tested: early stop not measured in 2 of 5 trials"
    )
    assert first.early_stop.accuracy is None and first.censored == 2
    assert first.matches["early_stop"] <= 3
    assert first.final.status == "shown"
    said = words.sentence(found)
    assert "not measured in 2 of 5 trials at 51.2 % density" in said
    assert "at the end tickets down to 3.5 % density match" in said
    assert "winning" not in said


def test_a_pilot_says_its_power_and_how_many_trials():
    found = judging.judge(*run(3, spread=0.003, seed=1), RULES)
    said = words.sentence(found)
    assert "3 trials (a pilot, power 0." in said
    assert "no winning ticket is shown at 51.2 % density or below" in said
    assert "it takes" in said and "trials to show a ticket" in said


def test_too_few_images():
    rules = Rules(600, 20, images=447, classes=10)
    found = judging.judge(*run(10), rules)
    assert statuses(found, "early_stop")[0] == "not shown"
    assert "447 images are too few to tell 0.5 points" in (
        words.sentence(found)
    )
    assert "more than 4,2" in words.sentence(found)


def test_one_trial():
    found = judging.judge(*run(1), RULES)
    assert words.sentence(found) == (
        "Not tested: one trial, 10,000 test images; a verdict takes 5 trials."
    )
    assert statuses(found, "final") == ["not tested: one trial"] * 4
    few = judging.judge(
        *run(1), Rules(600, 20, images=447, classes=10)
    )
    assert "one trial, 447 images: this could be chance (p = 0." in (
        words.lines(few)[0]
    )
    assert words.status(few.rounds[0], few.rules).startswith("not tested")


@pytest.mark.parametrize(
    "rules, drop, words_",
    [
        ({"images": None}, 0.0, "number of test images is not known"),
        ({"images": 10_000, "classes": 10}, 0.878, "at chance level"),
    ],
)
def test_nothing_is_tested(rules, drop, words_):
    found = judging.judge(
        *run(drop=(drop,) * 16), Rules(600, 20, **rules)
    )
    assert words_ in words.sentence(found)
    assert all("not tested" in s for s in statuses(found, "final"))
    assert all(
        "not tested" in each.controls["random_masks"].status
        for each in found.tested
    )


def test_a_trial_that_has_no_such_round():
    rows, controls = run()
    rows = [r for r in rows if (r["trial"], r["round"]) != (4, 3)]
    found = judging.judge(rows, controls, RULES)
    assert statuses(found, "final")[0] == (
        "not tested: round missing in 1 of 5 trials"
    )
    assert statuses(found, "early_stop")[1].startswith("not tested: a denser")


@pytest.mark.parametrize("rows", [
    [], [{"trial": 0, "round": 0, "density": 1.0}], run(2)[0][:1],
])
def test_a_run_that_has_just_begun(rows):
    found = judging.judge(rows, [], RULES)
    assert found.rounds == [] and words.sentence(found).startswith("Not tested")
    assert words.lines(found) == []


def test_a_run_without_densities_to_test():
    found = judging.judge(*run(3), Rules(600, 20, densities=(), images=447))
    assert "no density was chosen" in words.sentence(found)
    assert len(found.rounds) == 15 and found.power(5) is None


def test_the_dict_is_plain_and_the_table_has_every_round():
    for trials in (1, 3, 5):
        found = judging.judge(*run(trials), RULES)
        json.dumps(words.to_dict(found), allow_nan=False)
        heads, cells = words.table(found)
        assert len(cells) == 15 and {len(heads)} == set(map(len, cells))
        assert words.to_dict(found)["sentence"] == words.sentence(found)


@pytest.mark.slow
def test_runs_without_a_difference_are_called_winning_in_five_percent():
    """The whole way of a run, at the first density that is worse."""
    times, false = 200, 0
    for seed in range(times):
        rows, _ = run(3, (0.0,) + (MARGIN,) * 15, 0.002, seed=seed)
        rows = [r for r in rows if r["round"] in (0, 3, 7, 9, 15)]
        found = judging.judge(rows, [], RULES)
        false += "shown" in statuses(found, "final")
    assert false / times <= 0.05 + 2 * (0.05 * 0.95 / times) ** 0.5
