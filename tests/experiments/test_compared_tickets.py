"""What tickets are compared with, and how they are found."""

import dataclasses

import numpy as np
import pytest

import tf_lottery as tfl
from tf_lottery import experiments
from tf_lottery.analysis import run_files
from tf_lottery.experiments import bench as bench_lib
from tf_lottery.experiments import compared_tickets
from tf_lottery.experiments import dense_networks
from tf_lottery.experiments import histories
from tf_lottery.verdicts import comparisons

NEW = (
    "signed-reinit", "reshuffle", "constant", "invert", "snip", "synflow",
)
PRESET = experiments.preset(
    "lenet-digits", iterations=40, rounds=1, trials=1, control_trials=1,
    control_every=1, test_densities=(), compare=("one-shot", *NEW),
    rate={"*": 0.6, "logits": 0.3},
)


@pytest.fixture(scope="module")
def bench():
    return bench_lib.Bench(PRESET, experiments.load("digits"))


@pytest.fixture(scope="module")
def ticket(bench):
    masks = tfl.masks.shuffle({
        key: np.arange(weight.size).reshape(weight.shape) % 5 < 2
        for key, weight in bench.weights().items() if key.endswith("kernel")
    }, seed=1)
    return dataclasses.replace(tfl.Ticket.of(bench.model, masks), round=1)


@pytest.fixture(scope="module")
def dense(ticket):
    rng = np.random.default_rng(0)
    return {k: rng.normal(size=m.shape) for k, m in ticket.masks.items()}


@pytest.fixture
def made(bench, ticket, dense):
    return lambda name: compared_tickets.make(
        bench, name, 0, ticket, lambda: dense
    )


def test_every_comparison_of_a_ticket_has_a_maker():
    found = compared_tickets.MAKERS.keys() | dense_networks.MAKERS.keys()
    assert found == {
        each.key for each in comparisons.COMPARISONS.values()
        if each.rewind is None
    }


def test_values_change_and_masks_stay(made, ticket):
    kept = ticket.masks["fc1/kernel"]
    before = ticket.snapshot.weights["fc1/kernel"]
    for name in ("signed_reinitialize", "reshuffle", "constant"):
        control = made(name)
        assert control.masks is ticket.masks or all(
            (control.masks[k] == m).all() for k, m in ticket.masks.items()
        )
        after = control.snapshot.weights["fc1/kernel"]
        assert (after[kept] != before[kept]).any(), name
        if name != "reshuffle":
            np.testing.assert_array_equal(
                np.sign(after[kept]), np.sign(before[kept])
            )
    assert len(np.unique(np.abs(after[kept]))) == 1


def test_inverted_masks_are_those_of_the_smallest_magnitudes(made, dense):
    least, most = made("invert"), made("one_shot")
    for key, mask in least.masks.items():
        assert mask.sum() == most.masks[key].sum()
        assert not (mask & most.masks[key]).any()
        values = np.abs(dense[key])
        assert values[mask].max() <= values[~mask].min()


@pytest.mark.parametrize("name", ["snip", "synflow"])
def test_masks_from_before_training(name, made, bench, ticket):
    control = made(name)
    assert tfl.masks.count(control.masks) == tfl.masks.count(ticket.masks)
    assert control.snapshot is ticket.snapshot
    data = bench.data
    tfl.Ticket(
        tfl.masks.ones({k: m.shape for k, m in ticket.masks.items()}),
        ticket.snapshot,
    ).apply(bench.model)
    expected = tfl.prune(
        bench.model, ticket.sparsity, name,
        data=(data.x_train[:1000], data.y_train[:1000]),
    )
    for key, mask in expected.items():
        np.testing.assert_array_equal(control.masks[key], mask)


@pytest.mark.parametrize(
    "name, shape, kept, widths",
    [("lenet_300_100", (28, 28, 1), 9541, [12, 4, 10]),
     ("resnet_8", (16, 16, 3), 8000, None)],
)
def test_a_narrower_network_has_as_many_weights(name, shape, kept, widths):
    model = experiments.models.get(name)(shape, 10, 0)
    narrow = dense_networks.narrowed(model, kept)
    weights = tfl.weights.prunable(narrow)
    assert 0.8 * kept < sum(w.numpy().size for w in weights.values()) <= kept
    assert narrow(np.zeros((2, *shape), "float32")).shape == (2, 10)
    if widths:
        assert [layer.units for layer in narrow.layers[1:]] == widths
    assert model.count_params() > 5 * narrow.count_params()


def test_dense_networks_cost_as_much_as_the_ticket(tmp_path):
    preset = dataclasses.replace(
        PRESET, iterations=100, compare=("equal-parameters", "equal-compute"),
    )
    found = experiments.run(preset, tmp_path).trials[0].rounds
    (narrow,), (short,) = found[1].controls.values()
    # 40.1 % of five evaluations.
    assert (narrow.steps, short.steps) == (100, 40)
    curve = list(histories.of_run(run_files.read(tmp_path)))
    # The learning rate is constant: it is the dense round, stopped early.
    assert curve[-1][1][-1][0] == 40
    assert curve[-1][1] == [
        (step, {k: v for k, v in logs.items() if k in curve[-1][1][0][1]})
        for step, logs in curve[0][1][:2]
    ]


@pytest.mark.slow
def test_a_run_trains_them_all(tmp_path):
    report = experiments.run(PRESET, tmp_path)
    controls = report.trials[0].rounds[1].controls
    assert controls.keys() == {
        each.key for each in comparisons.of_flags(PRESET.compare)
    }
    assert "SynFlow" in "".join(
        comparisons.label(key) for key in controls
    )


@pytest.mark.slow
def test_rounds_follow_criterion_pattern_and_rewinding(tmp_path):
    preset = dataclasses.replace(
        PRESET, compare=("one-shot",), criterion="random", pattern="channel",
        rewind="none", rounds=2, tolerance=0.0, rate={"*": 0.5},
        exclude=("logits",),
    )
    experiments.run(preset, tmp_path)
    files = tfl.runs.run_directory.RunDirectory(tmp_path / "trial-0")
    masks = files.load_masks(1)
    assert masks.keys() == {"fc1/kernel", "fc2/kernel"}
    assert all((mask.all(0) | ~mask.any(0)).all() for mask in masks.values())
    config = (tmp_path / "config.json").read_text()
    assert '"criterion": "random"' in config and '"changed"' in config
    with pytest.raises(ValueError, match="criterion"):
        experiments.run(
            dataclasses.replace(preset, criterion="magnitude"), tmp_path
        )


@pytest.mark.parametrize("name, value, words", [
    ("criterion", "size", "magnitude"), ("criterion", "snip", "data"),
    ("pattern", "5:x", "unstructured"), ("rewind", "all", "learning_rate"),
    ("tolerance", -1.0, "tolerance"), ("tolerance", float("nan"), "toleran"),
])
def test_what_rounds_do_not_know_is_refused(name, value, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        experiments.run(
            dataclasses.replace(PRESET, **{name: value}), tmp_path / "run"
        )
    assert not (tmp_path / "run").exists()
