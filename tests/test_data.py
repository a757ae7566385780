"""Replayed data: a batch follows from seed and position alone."""

import json

import keras
import numpy as np
import pytest

import tf_lottery as tfl
from tests import conftest
from tests.conftest import loss


def epoch(data):
    data.on_epoch_begin()
    return [data[i] for i in range(len_of(data))]


def len_of(data):
    return data.num_batches


def test_every_example_once_in_an_epoch_of_its_own_order():
    data = tfl.data.Replay(np.arange(10), batch_size=4)
    first, second = epoch(data), epoch(data)
    assert [len(batch) for batch in first] == [4, 4, 2]
    for batches in (first, second):
        assert sorted(np.concatenate(batches)) == list(range(10))
    assert (np.concatenate(first) != np.concatenate(second)).any()


def test_starts_at_any_step_of_any_round():
    data = tfl.data.Replay(np.arange(12), batch_size=4, seed=3)
    whole = epoch(data) + epoch(data)
    for step in range(6):
        for round in (0, 2):
            data.start(round, step)
            data.on_epoch_begin()
            for expected in whole[step:]:
                np.testing.assert_array_equal(data[0], expected)


def test_index_does_not_matter():
    """Keras shuffles the indices that it asks for by default."""
    data = tfl.data.Replay(np.arange(8), batch_size=2)
    expected = [data.batch(0, step) for step in range(4)]
    data.on_epoch_begin()
    for index, batch in zip((3, 1, 0, 2), expected):
        np.testing.assert_array_equal(data[index], batch)


def test_rounds_differ_only_if_asked():
    for asked in (False, True):
        data = tfl.data.Replay(
            np.arange(50), batch_size=50, reshuffle_rounds=asked
        )
        same = (data.batch(0, 0) == data.batch(1, 0)).all()
        assert same != asked


def test_augmentation_is_replayed():
    data = tfl.data.Replay(
        np.zeros((6, 2)), np.arange(6), batch_size=3,
        augment=lambda x, rng: x + rng.random(x.shape),
    )
    (a, _), (b, _) = data.batch(0, 3), data.batch(1, 3)
    np.testing.assert_array_equal(a, b)
    assert (a != data.batch(0, 2)[0]).all()


def test_structures_and_remainder():
    data = tfl.data.Replay(
        {"a": np.arange(5), "b": np.arange(5) * 2}, batch_size=2,
        drop_remainder=True, shuffle=False,
    )
    assert data.num_batches == 2
    batch = data.batch(0, 1)
    assert batch["a"].tolist() == [2, 3] and batch["b"].tolist() == [4, 6]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(x=np.zeros(0)), "not empty"),
        (dict(x=np.zeros(3), y=np.zeros(2)), r"lengths \[2, 3\]"),
        (dict(x=np.zeros(3), batch_size=0), "batch_size"),
        (dict(x=np.zeros(3), batch_size=4, drop_remainder=True), "larger"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        tfl.data.Replay(**arguments)


def test_twin_yields_the_same_batches_and_reads_nothing_ahead():
    data = tfl.data.Replay(
        {"a": np.arange(10.0)}, np.arange(10), batch_size=4, seed=1
    )
    batches = iter(data.as_dataset())
    for start in (0, 5, 2):
        data.start(0, start)
        for step in range(start, start + 4):
            x, y = next(batches)
            expected = data.batch(0, step)
            np.testing.assert_array_equal(x["a"], expected[0]["a"])
            np.testing.assert_array_equal(y, expected[1])


def test_a_run_records_its_data_and_refuses_another(data, tmp_path):
    def run(seed):
        replay = tfl.data.Replay(*data, batch_size=16, seed=seed)
        model = conftest.sequential()
        model.compile("adam", loss())
        imp = tfl.IterativeMagnitudePruning(
            rounds=1, epochs_per_round=1, monitor="loss", data=replay,
            directory=tmp_path / "run", verbose=0,
        )
        model.fit(replay, epochs=imp.epochs, callbacks=[imp], verbose=0)

    run(3)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["data"]["seed"] == 3 and config["data"]["batch_size"] == 16
    with pytest.raises(ValueError, match="data, seed: 3 there, 4 now"):
        run(4)


def test_other_data_is_not_for_the_callback(data):
    with pytest.raises(TypeError, match="Replay"):
        tfl.IterativeMagnitudePruning(data=data)


@pytest.mark.some(2)
@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("twin", [False, True])
@pytest.mark.parametrize("point", ["3it", "8it", "1ep"])
def test_rounds_rewound_into_an_epoch_equal_round_0(point, twin, data):
    """With the default `fit(shuffle=True)`, at any rewinding point."""
    replay = tfl.data.Replay(*data, batch_size=16)
    feed = {"x": replay}
    if twin:
        feed = {
            "x": replay.as_dataset(), "steps_per_epoch": replay.num_batches
        }
    model = conftest.functional()
    model.compile("adam", loss())
    imp = tfl.IterativeMagnitudePruning(
        rounds=2, epochs_per_round=2, rate=1e-9, rewind_to=point,
        monitor="loss", data=replay, verbose=0,
    )
    states = []

    class Ends(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if len(imp.results) > len(states):
                states.append([v.numpy() for v in self.model.variables])

    model.fit(**feed, epochs=imp.epochs, callbacks=[imp, Ends()], verbose=0)
    assert len(states) == 3
    for state in states[1:]:
        for a, b in zip(states[0], state, strict=True):
            np.testing.assert_array_equal(a, b)
