"""Rounds that train a smaller network come to the same tickets."""

import dataclasses

import keras
import numpy as np
import pytest

from tests.experiments import test_resume
from tf_lottery import holding
from tf_lottery import experiments
from tf_lottery.experiments import bench
from tf_lottery.experiments import compacting
from tf_lottery.experiments import feeds
from tf_lottery.experiments import progress
from tf_lottery.runs import run_directory
from tf_lottery.structured import standins

PRESET = experiments.preset(
    "lenet-digits",
    iterations=40,
    rounds=2,
    rate={"*": 0.85, "logits": 0.7},
    evaluate_every=10,
    rewind_to="20it",
    control_trials=1,
    control_every=1,
    test_densities=(),
    trials=1,
    compare=("random-mask",),
)
COMPACT = experiments.preset(
    "lenet-digits", **{
        name: value for name, value in PRESET.to_dict().items()
        if name not in ("name", "summary")
    } | {"compact": True},
)


@pytest.fixture(autouse=True)
def always(monkeypatch):
    monkeypatch.setattr(compacting, "_WORTH", 1)


@pytest.fixture
def made(monkeypatch):
    """The sizes of the smaller models, as they are made."""
    sizes, make = [], standins.StandIn.__init__

    def init(self, *args):
        make(self, *args)
        sizes.append(self.model.count_params())

    monkeypatch.setattr(standins.StandIn, "__init__", init)
    return sizes


@pytest.fixture(scope="module")
def digits():
    return feeds.load(PRESET)


def test_masks_and_results_are_those_of_whole_rounds(tmp_path, made):
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    try:
        experiments.run(PRESET, tmp_path / "whole")
        assert made == []
        experiments.run(COMPACT, tmp_path / "compact")
    finally:
        keras.config.set_floatx(before)
    # Two rounds, and a control of each.
    assert len(made) == 4 and max(made) < 50_000
    found, expected = (
        run_directory.RunDirectory(tmp_path / name / "trial-0")
        for name in ("compact", "whole")
    )
    for round in range(3):
        masks = found.load_masks(round)
        for key, mask in expected.load_masks(round).items():
            np.testing.assert_array_equal(masks[key], mask)
    found, expected = (
        test_resume.rows(tmp_path / name / "trial-0" / "history.csv")
        for name in ("compact", "whole")
    )
    for row, other in zip(found, expected, strict=True):
        for name, value in other.items():
            assert float(row[name]) == pytest.approx(float(value), rel=1e-5)


class Fails(progress.Progress):
    """Ends a run at an epoch."""

    def __init__(self, epochs):
        self.left = epochs

    def epoch_end(self):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


def test_a_run_that_ends_early_comes_to_the_same(tmp_path):
    preset = dataclasses.replace(COMPACT, control_trials=0, save_freq="epoch")
    experiments.run(preset, tmp_path / "at-once")
    with pytest.raises(KeyboardInterrupt):
        experiments.run(preset, tmp_path / "in-parts", Fails(3))
    experiments.run(preset, tmp_path / "in-parts")
    found = test_resume.contents(tmp_path / "in-parts")
    assert found == test_resume.contents(tmp_path / "at-once")


def test_a_fit_that_fails_leaves_no_smaller_network(digits, made):
    measured = bench.Bench(COMPACT, digits)
    measured.fit(1)
    mask = np.ones((300, 100), bool)
    mask[::2] = False
    holding.hold(measured.model, {"fc2/kernel": mask})

    class Stops(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise KeyboardInterrupt

    before = np.array(measured.model.get_layer("fc1").kernel)
    with pytest.raises(KeyboardInterrupt):
        measured.fit(1, callbacks=[Stops()])
    assert len(made) == 1
    after = np.array(measured.model.get_layer("fc1").kernel)
    assert (after != before).any()
    holding.let_go(measured.model)
    measured.fit(1)
    assert len(made) == 1
    # What had been pruned trains, too.
    assert np.array(measured.model.get_layer("fc2").kernel)[::2].any()


def test_small_gains_are_left(digits, made, monkeypatch):
    monkeypatch.setattr(compacting, "_WORTH", 1e11)
    measured = bench.Bench(COMPACT, digits)
    measured.fit(1)
    mask = np.zeros((300, 100), bool)
    mask[0] = True
    holding.hold(measured.model, {"fc2/kernel": mask})
    measured.fit(1)
    assert made == []


def test_a_network_that_is_left_alone_says_why():
    model = keras.Sequential([
        keras.Input((4,)), keras.layers.Dense(8, name="fc"),
        keras.layers.Dropout(0.5, name="drop"), keras.layers.Dense(2),
    ])
    with pytest.warns(UserWarning, match="no.*'drop' draws numbers"):
        compacting.warn_if_left_alone(COMPACT, model)
