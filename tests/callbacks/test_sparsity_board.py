"""What TensorBoard reads is what happened."""

import collections
import copy
import itertools
import os
import pathlib
import subprocess
import sys
import time

import hypothesis
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.backend.event_processing import event_file_loader
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.util import tensor_util

import tf_lottery as tfl
from tests.conftest import MODELS
from tests.conftest import loss
from tests.conftest import random_masks
from tf_lottery.callbacks.board import cards
from tf_lottery.callbacks.board import files
from tf_lottery.callbacks.board import images
from tf_lottery.callbacks.board import summaries
from tf_lottery.patterns import layouts
from tf_lottery.utils import processes

KEYS = ("fc1/kernel", "logits/kernel")
METRICS = ("accuracy", "loss", "val_accuracy", "val_loss")
DENSITIES = [
    name + suffix
    for name in ("density", "effective_density")
    for suffix in ("", *(f"/{key}" for key in KEYS))
]


def read(log_dir):
    """All that event files hold: {run: {tag: [(step, value), ...]}}."""
    found = collections.defaultdict(lambda: collections.defaultdict(list))
    for path in sorted(pathlib.Path(log_dir).rglob("*tfevents*")):
        run = str(path.parent.relative_to(log_dir))
        for event in event_file_loader.EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                content = (
                    value.metadata.plugin_data.content
                    if value.tag.startswith("_hparams_")
                    else tensor_util.make_ndarray(value.tensor)
                )
                found[run][value.tag].append((event.step, content))
    return {run: dict(tags) for run, tags in found.items()}


def shown(log_dir, run, tag):
    """What TensorBoard makes of them."""
    path = str(pathlib.Path(log_dir, run))
    reader = event_accumulator.EventAccumulator(path, {"tensors": 0}).Reload()
    return [
        (event.step, float(tensor_util.make_ndarray(event.tensor_proto)))
        for event in reader.Tensors(tag)
    ]


def steps(points):
    return [step for step, _ in points]


def numbers(points):
    return [float(value) for _, value in points]


def ours(log_dir):
    """The runs of the board, by their names below `sparsity/`."""
    return {
        run.removeprefix("sparsity/"): tags
        for run, tags in read(log_dir).items() if run.startswith("sparsity/")
    }


def make_model(build=MODELS["sequential"], optimizer="adam"):
    keras.utils.set_random_seed(1)
    model = build()
    model.compile(optimizer, loss(), metrics=["accuracy"])
    return model


def fit(model, data, callbacks, epochs=1, **kwargs):
    """Three steps an epoch."""
    x, y = data
    return model.fit(
        x, y, batch_size=32, validation_data=(x[:32], y[:32]), epochs=epochs,
        callbacks=callbacks, shuffle=False, verbose=0, **kwargs,
    )


def make_imp(**kwargs):
    return tfl.IterativeMagnitudePruning(
        **{"rounds": 2, "epochs_per_round": 2, "rate": 0.5, "verbose": 0}
        | kwargs
    )


def run_rounds(data, *callbacks, model=None, **kwargs):
    """Trains all rounds."""
    model, imp = model or make_model(), make_imp(**kwargs)
    return imp, fit(model, data, [imp, *callbacks], imp.epochs)


class Stop(RuntimeError):
    """Somebody pulled the plug."""


class Killer(keras.callbacks.Callback):
    """Stops training without a word to anybody."""

    def __init__(self, epoch, hook="on_epoch_end"):
        super().__init__()
        self.epoch, self.hook, self.now = epoch, hook, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        self._kill("on_train_batch_end")

    def on_epoch_end(self, epoch, logs=None):
        self._kill("on_epoch_end")

    def _kill(self, hook):
        if hook == self.hook and self.now == self.epoch:
            raise Stop


@pytest.fixture(scope="module")
def rounds(tmp_path_factory):
    """A run of rounds beside Keras' own callback and ours."""
    directory = tmp_path_factory.mktemp("logs")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(96, 10)).astype("float32")
    y = np.argmax(x @ rng.normal(size=(10, 4)), axis=1)
    model = make_model()
    imp, history = run_rounds(
        (x, y), keras.callbacks.TensorBoard(directory),
        tfl.callbacks.SparsityBoard(directory), model=model
    )
    return imp, history.history, model, directory, read(directory)


@pytest.mark.slow
def test_rounds_are_shown_beside_the_users_tensorboard(rounds):
    *_, found = rounds
    assert set(found) == {
        "train", "validation", "sparsity/epochs", "sparsity/rounds",
        "sparsity/against_sparsity", "sparsity/round_00",
        "sparsity/round_01", "sparsity/round_02",
    }
    assert set(found["sparsity/epochs"]) == {*DENSITIES, "revived_weights"}
    assert set(found["sparsity/rounds"]) == {
        *(f"rounds/{name}" for name in DENSITIES + list(METRICS)),
        *(f"rounds/{name}" for name in (
            "steps", "seconds", "early_stop_step", "revived_weights",
        )),
        *(f"kept_weights/{key}" for key in KEYS),
        *(f"masks/{key}" for key in KEYS),
        "protocol", "rounds",
    }
    for number in range(3):
        assert set(found[f"sparsity/round_0{number}"]) == {
            *(f"metrics/{name}" for name in METRICS),
            "_hparams_/session_start_info", "_hparams_/session_end_info",
        }
    assert set(found["sparsity/against_sparsity"]) == {
        f"against_sparsity/{name}"
        for name in (*METRICS, "effective_density")
    }


@pytest.mark.slow
def test_epochs_count_as_keras_own_tensorboard_does(rounds):
    imp, history, model, _, found = rounds
    assert steps(found["train"]["epoch_loss"]) == list(range(6))
    epochs = found["sparsity/epochs"]
    assert all(steps(points) == list(range(6)) for points in epochs.values())
    assert numbers(epochs["density"]) == pytest.approx(history["density"])
    assert numbers(epochs["revived_weights"]) == [0] * 6
    for key in KEYS:
        expected = [imp.results[i // 2].densities[key] for i in range(6)]
        assert numbers(epochs[f"density/{key}"]) == pytest.approx(expected)
    live = tfl.paths.effective_densities(model)
    for key in KEYS:
        last = numbers(epochs[f"effective_density/{key}"])[-1]
        assert last == pytest.approx(live[key])


def test_rounds_are_what_the_results_are(rounds):
    imp, *_, found = rounds
    points = found["sparsity/rounds"]
    for result in imp.results:
        expected = {
            "density": result.density,
            "effective_density": result.effective_density,
            "steps": result.steps,
            "seconds": result.seconds,
            "early_stop_step": result.early_stop_step,
            "revived_weights": 0,
            **{name: result.metrics[name] for name in METRICS},
            **{f"density/{k}": v for k, v in result.densities.items()},
        }
        for name, value in expected.items():
            step, shown = points[f"rounds/{name}"][result.round]
            assert step == result.round
            assert float(shown) == pytest.approx(value)


def test_curves_of_rounds_lie_over_one_another(rounds):
    _, history, *_, found = rounds
    for number in range(3):
        run = found[f"sparsity/round_0{number}"]
        for name in METRICS:
            points = run[f"metrics/{name}"]
            assert steps(points) == [3, 6]
            assert numbers(points) == pytest.approx(
                history[name][2 * number:2 * number + 2]
            )


def test_metrics_against_sparsity(rounds):
    imp, *_, found = rounds
    for name in METRICS:
        points = found["sparsity/against_sparsity"][f"against_sparsity/{name}"]
        assert steps(points) == [
            round(100_000 * result.sparsity) for result in imp.results
        ]
        assert numbers(points) == pytest.approx(
            [result.metrics[name] for result in imp.results]
        )


def test_histograms_are_of_the_kept_weights_alone(rounds):
    imp, _, model, _, found = rounds
    variables = tfl.weights.variables(model)
    masks = tfl.masks_of(model)
    for key in KEYS:
        points = found["sparsity/rounds"][f"kept_weights/{key}"]
        assert steps(points) == [0, 1, 2]
        for (_, buckets), result in zip(points, imp.results):
            kept = round(result.densities[key] * masks[key].size)
            assert buckets[:, 2].sum() == kept
        kept = keras.ops.convert_to_numpy(variables[key])[masks[key]]
        assert points[-1][1][0, 0] == kept.min()
        assert points[-1][1][-1, 1] == kept.max()


def test_pictures_are_of_the_masks(rounds):
    imp, *_, found = rounds
    for key in KEYS:
        points = found["sparsity/rounds"][f"masks/{key}"]
        assert steps(points) == [0, 1, 2]
        for number, (_, (width, height, content)) in enumerate(points):
            mask = imp.ticket(number).masks[key]
            pixels = tf.io.decode_png(content).numpy()
            assert pixels.shape == (int(height), int(width), 3)
            factor = len(pixels) // mask.shape[1]
            kept = (pixels == (253, 231, 37)).all(-1)
            np.testing.assert_array_equal(
                kept, np.kron(mask.T, np.ones((factor, factor))).astype(bool)
            )


def test_cards_say_what_was_run(rounds):
    imp, *_, found = rounds
    (step, card), = found["sparsity/rounds"]["protocol"]
    card = card.item().decode()
    assert step == 0
    for line in (
        "| optimizer | Adam |", "| pruned by | IterativeMagnitudePruning |",
        "| rate | 0.5 |", "| rewind | weights |", "| monitor | val_accuracy |",
        f"| keras | {keras.__version__} |",
        f"| tensorflow | {tf.__version__} |",
    ):
        assert line in card
    points = found["sparsity/rounds"]["rounds"]
    assert steps(points) == [0, 1, 2]
    lines = points[-1][1].item().decode().splitlines()
    assert len(lines) == 5
    last = imp.results[-1]
    accuracy = last.metrics["val_accuracy"]
    assert lines[-1].startswith(f"| 2 | {last.density:.2%} | ")
    assert f" | {accuracy:.4f} | 6 | " in lines[-1]


def test_hyperparameters_through_the_official_plugin(rounds):
    imp, *_, found = rounds
    for result in imp.results:
        run = found[f"sparsity/round_{result.round:02d}"]
        (_, content), = run["_hparams_/session_start_info"]
        session = hparams_metadata.parse_session_start_info_plugin_data(
            content
        )
        hparams = {
            name: getattr(value, value.WhichOneof("kind"))
            for name, value in session.hparams.items()
        }
        assert hparams.pop("density") == pytest.approx(result.density)
        assert hparams == {
            "round": result.round, "rate": 0.5, "rewind": "weights",
            "rewind_to": 0, "scope": "global", "criterion": "magnitude",
            "pattern": "unstructured", "seed": 0, "epochs_per_round": 2,
            "collapse": "keep-one",
        }
        (step, content), = run["_hparams_/session_end_info"]
        assert step == result.steps
        hparams_metadata.parse_session_end_info_plugin_data(content)


@pytest.mark.slow
def test_curves_begin_at_the_rewinding_point(tmp_path, data):
    run_rounds(
        data, tfl.callbacks.SparsityBoard(tmp_path), rewind_to="2it",
        rounds=1,
    )
    found = ours(tmp_path)
    assert steps(found["round_00"]["metrics/loss"]) == [3, 6]
    assert steps(found["round_01"]["metrics/loss"]) == [3, 6]
    run_rounds(
        data, tfl.callbacks.SparsityBoard(tmp_path / "2"), rewind_to="1ep",
        rounds=1,
    )
    assert steps(ours(tmp_path / "2")["round_01"]["metrics/loss"]) == [6]


@pytest.mark.slow
def test_nothing_is_written_unasked(tmp_path, data, monkeypatch):
    monkeypatch.chdir(tmp_path)
    logs = tmp_path / "logs"
    run_rounds(data, keras.callbacks.TensorBoard(logs), rounds=1)
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]
    assert not (logs / "sparsity").exists()


@pytest.mark.slow
@pytest.mark.some(1)
@pytest.mark.parametrize("first", [True, False])
def test_wherever_it_stands(rounds, first, tmp_path, data):
    board = tfl.callbacks.SparsityBoard(tmp_path)
    tensorboard = keras.callbacks.TensorBoard(tmp_path / "keras")
    imp = make_imp()
    beside = [board, imp] if first else [imp, board]
    fit(make_model(), data, [*beside, tensorboard], imp.epochs)
    assert not (tmp_path / "keras" / "sparsity").exists()
    assert_same(read(tmp_path), rounds[-1])


def assert_same(found, expected):
    """The same points, but for the time that things took."""
    found, expected = (
        {run: tags for run, tags in runs.items() if run.startswith("sparsity")}
        for runs in (found, expected)
    )
    assert {r: set(tags) for r, tags in found.items()} == {
        r: set(tags) for r, tags in expected.items()
    }
    for run, tags in expected.items():
        for tag, points in tags.items():
            assert steps(found[run][tag]) == steps(points), (run, tag)
            numeric = getattr(points[0][1], "dtype", np.dtype(object)).kind
            if numeric == "f" and "seconds" not in tag:
                for (_, a), (_, b) in zip(found[run][tag], points):
                    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "epoch, hook, save_freq",
    [
        (1, "on_epoch_end", "epoch"),
        (3, "on_epoch_end", "epoch"),
        (5, "on_epoch_end", "round"),
        (4, "on_train_batch_end", "round"),
    ],
)
def test_resumed_rounds_go_on_with_their_curves(
    rounds, epoch, hook, save_freq, tmp_path, data
):
    def beside():
        return make_imp(directory=tmp_path / "run", save_freq=save_freq)

    logs, imp = tmp_path / "logs", beside()
    board = tfl.callbacks.SparsityBoard(logs)
    with pytest.raises(Stop):
        fit(
            make_model(), data, [imp, board, Killer(epoch, hook)], imp.epochs
        )
    # What the end of a process does.
    imp._session.close()
    imp = beside()
    board = tfl.callbacks.SparsityBoard(logs)
    fit(make_model(), data, [imp, board], imp.epochs)
    assert_same(read(logs), rounds[-1])
    # Started again, a run that is finished has nothing to add.
    before = read(logs)
    imp = beside()
    fit(make_model(), data, [imp, board], imp.epochs)
    assert_same(read(logs), before)


@pytest.mark.slow
def test_extended_rounds_go_on_with_their_curves(rounds, tmp_path, data):
    for count in (1, 2):
        imp = make_imp(rounds=count, directory=tmp_path / "run")
        board = tfl.callbacks.SparsityBoard(tmp_path / "logs")
        fit(make_model(), data, [imp, board], imp.epochs)
    found = ours(tmp_path / "logs")
    expected = ours(rounds[3])
    assert steps(found["rounds"]["rounds"]) == [0, 1, 2]
    for run in ("epochs", "round_01", "round_02", "against_sparsity"):
        for tag, points in expected[run].items():
            assert steps(found[run][tag]) == steps(points), (run, tag)


@pytest.mark.slow
def test_a_new_training_takes_the_place_of_an_older_one(tmp_path, data):
    for epochs in (5, 2):
        board = tfl.callbacks.SparsityBoard(tmp_path)
        fit(make_model(), data, [board], epochs)
    assert steps(shown(tmp_path, "sparsity/epochs", "density")) == [0, 1]
    metrics = shown(tmp_path, "sparsity/training", "metrics/loss")
    assert steps(metrics) == [3, 6]
    # Nothing of the older one was thrown away.
    older, = (tmp_path / "sparsity" / "epochs").glob("events.out.older*")
    assert len(list(tf.data.TFRecordDataset(str(older)))) > 5


@pytest.mark.slow
def test_another_fit_goes_on(tmp_path, data):
    """With the same board or another one, without rounds."""
    model, board = make_model(), tfl.callbacks.SparsityBoard(tmp_path)
    for i, sparsity in enumerate((0.2, 0.5, 0.8, 0.8)):
        tfl.prune(model, sparsity)
        if i == 2:
            board = tfl.callbacks.SparsityBoard(tmp_path)
        if i == 3:
            # A new optimizer counts its steps from 0.
            model.compile("sgd", loss(), metrics=["accuracy"])
        fit(model, data, [board], 2)
    found = ours(tmp_path)
    assert steps(found["epochs"]["density"]) == list(range(8))
    densities = numbers(found["epochs"]["density"])
    assert densities == pytest.approx(
        np.repeat([0.8, 0.5, 0.2, 0.2], 2), abs=0.01
    )
    assert steps(found["training"]["metrics/loss"]) == list(range(3, 27, 3))
    points = found["against_sparsity"]["against_sparsity/loss"]
    assert steps(points) == sorted(set(steps(points)))
    assert len(points) == 3
    assert [
        s / 100_000 for s in steps(points)
    ] == pytest.approx([0.2, 0.5, 0.8], abs=0.01)


@pytest.mark.slow
def test_epochs_that_begin_later(tmp_path, data):
    model = make_model()
    board = tfl.callbacks.SparsityBoard(tmp_path)
    fit(model, data, [board], 4)
    again = tfl.callbacks.SparsityBoard(tmp_path)
    fit(model, data, [again], 6, initial_epoch=3)
    assert steps(ours(tmp_path)["epochs"]["density"]) == list(range(6))


def gradual():
    schedule = tfl.sparsity_schedules.PolynomialDecay(
        0.2, 0.8, end_step=9, frequency=3
    )
    return tfl.callbacks.GradualPruning(schedule)


def dynamic():
    return tfl.callbacks.DynamicSparseTraining(0.7, frequency=2)


@pytest.mark.parametrize("make, name, levels", [
    (gradual, "GradualPruning", 3),
    (dynamic, "DynamicSparseTraining", 1),
])
def test_other_callbacks_are_shown_too(make, name, levels, tmp_path, data):
    board = tfl.callbacks.SparsityBoard(tmp_path)
    history = fit(make_model(), data, [make(), board], 4).history
    found = ours(tmp_path)
    assert set(found) == {"epochs", "training", "against_sparsity"}
    densities = numbers(found["epochs"]["density"])
    assert densities == pytest.approx(history["density"])
    assert numbers(found["epochs"]["revived_weights"]) == [0] * 4
    for metric in METRICS:
        points = found["training"][f"metrics/{metric}"]
        assert steps(points) == [3, 6, 9, 12]
        assert numbers(points) == pytest.approx(history[metric])
    points = found["against_sparsity"]["against_sparsity/val_loss"]
    # The last epoch of each sparsity.
    last = {round(100_000 * s): v
            for s, v in zip(history["sparsity"], history["val_loss"])}
    assert len(last) == levels
    assert dict(zip(steps(points), numbers(points))) == pytest.approx(last)
    card = found["epochs"]["protocol"][0][1].item().decode()
    assert f"| pruned by | {name} |" in card
    assert steps(found["epochs"]["layers"]) == [3]


@pytest.mark.some(1)
@pytest.mark.parametrize("name", MODELS)
def test_masks_that_are_held(name, tmp_path, data):
    model = make_model(MODELS[name])
    masks = random_masks(model, 0.3)
    tfl.hold(model, masks)
    fit(model, data, [tfl.callbacks.SparsityBoard(tmp_path)], 2)
    epochs = ours(tmp_path)["epochs"]
    live = tfl.paths.effective_densities(model)
    for key, mask in masks.items():
        density = numbers(epochs[f"density/{key}"])
        assert density == pytest.approx([mask.mean()] * 2)
        effective = numbers(epochs[f"effective_density/{key}"])
        assert effective == pytest.approx([live[key]] * 2)
        assert steps(epochs[f"kept_weights/{key}"]) == [0, 1]
        # The masks did not change.
        assert steps(epochs[f"masks/{key}"]) == [0]


@pytest.mark.slow
def test_a_dense_model(tmp_path, data):
    model = make_model(MODELS["functional"])
    fit(model, data, [tfl.callbacks.SparsityBoard(tmp_path)], 2)
    found = ours(tmp_path)
    assert numbers(found["epochs"]["density"]) == [1, 1]
    assert numbers(found["epochs"]["effective_density"]) == [1, 1]
    points = found["against_sparsity"]["against_sparsity/loss"]
    assert steps(points) == [0]


@pytest.mark.filterwarnings("ignore:The model does not have any trainable")
def test_a_model_that_nothing_can_be_pruned_of(tmp_path, data):
    model = MODELS["sequential"]()
    for layer in model.layers:
        layer.trainable = False
    model.compile("sgd", loss())
    fit(model, data, [tfl.callbacks.SparsityBoard(tmp_path)], 1)
    assert numbers(ours(tmp_path)["epochs"]["density"]) == [1]


@pytest.mark.slow
def test_revived_weights_are_counted(tmp_path, data):
    class Revive(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                kernel = tfl.weights.variables(self.model)["fc1/kernel"]
                # Past the mask, as no code of Keras does.
                type(kernel).assign(kernel, keras.ops.ones_like(kernel))

    model = make_model()
    masks = tfl.prune(model, 0.5)
    board = tfl.callbacks.SparsityBoard(tmp_path)
    fit(model, data, [Revive(), board], 3)
    points = ours(tmp_path)["epochs"]["revived_weights"]
    pruned = int((~masks["fc1/kernel"]).sum())
    assert numbers(points) == [0, pruned, pruned]


@pytest.mark.slow
def test_frequencies(tmp_path, data):
    board = tfl.callbacks.SparsityBoard(
        tmp_path, histogram_freq=2, image_freq=0
    )
    run_rounds(data, board)
    found = ours(tmp_path)["rounds"]
    assert steps(found["kept_weights/fc1/kernel"]) == [0, 2]
    assert not any(tag.startswith("masks") for tag in found)


def test_hyperparameters_of_the_user(tmp_path, data):
    board = tfl.callbacks.SparsityBoard(tmp_path, hparams={"batch": 32})
    model = make_model()
    tfl.prune(model, 0.5)
    fit(model, data, [board], 1)
    (_, content), = ours(tmp_path)["training"]["_hparams_/session_start_info"]
    parse = hparams_metadata.parse_session_start_info_plugin_data
    hparams = parse(content).hparams
    assert hparams["batch"].number_value == 32
    assert hparams["density"].number_value == pytest.approx(0.5, abs=0.01)


@pytest.mark.slow
def test_the_train_step_is_traced_as_often_as_without(tmp_path, data):
    class Counting(keras.Sequential):
        traces = 0

        def train_step(self, data):
            self.traces += 1
            return super().train_step(data)

    found = []
    for callbacks in ([], [tfl.callbacks.SparsityBoard(tmp_path)]):
        model = make_model(
            lambda: Counting([keras.Input((10,)), keras.layers.Dense(4)])
        )
        tfl.prune(model, 0.5)
        fit(model, data, callbacks, 3)
        found.append(model.traces)
    assert found[0] == found[1] > 0


@pytest.mark.slow
def test_one_of_several_processes_writes(tmp_path, data, monkeypatch):
    monkeypatch.setattr(processes, "is_first", lambda: False)
    run_rounds(data, tfl.callbacks.SparsityBoard(tmp_path), rounds=1)
    assert not (tmp_path / "sparsity").exists()


def test_a_copy_of_the_callback(tmp_path, data):
    """keras-tuner copies callbacks for each trial."""
    board = copy.deepcopy(tfl.callbacks.SparsityBoard(tmp_path))
    fit(make_model(), data, [board], 1)
    assert ours(tmp_path)


@pytest.mark.slow
def test_effective_density_that_is_not_known(tmp_path, data, monkeypatch):
    def unknown(model, masks=None):
        raise ValueError("no rule")

    monkeypatch.setattr(tfl.paths, "effective_masks", unknown)
    fit(make_model(), data, [tfl.callbacks.SparsityBoard(tmp_path)], 1)
    tags = ours(tmp_path)["epochs"]
    assert "density" in tags and "effective_density" not in tags


@pytest.mark.parametrize("beside", [False, True])
def test_a_log_directory_that_cannot_be_written(beside, tmp_path, data):
    place = tmp_path / "file"
    place.write_text("in the way")
    model, trained = make_model(), []
    seen = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: trained.append(batch)
    )
    if beside:
        board = tfl.callbacks.SparsityBoard(place)
        callbacks = [make_imp(rounds=1), seen, board]
    else:
        callbacks = [tfl.callbacks.SparsityBoard(place), seen]
    with pytest.raises(OSError, match=f"'{place}' cannot be written"):
        fit(model, data, callbacks, 4)
    assert not trained


@pytest.mark.parametrize("kwargs, error, words", [
    ({"log_dir": 3}, ValueError, "`log_dir` must be a path"),
    ({"log_dir": ""}, ValueError, "`log_dir` must be a path"),
    ({"histogram_freq": -1}, ValueError, "`histogram_freq` must be an int"),
    ({"histogram_freq": True}, ValueError, "Received: histogram_freq=True"),
    ({"image_freq": 0.5}, ValueError, "`image_freq` must be an integer"),
    ({"hparams": ["a"]}, TypeError, "`hparams` must be a dict"),
    ({"hparams": {"a": [1]}}, TypeError, "number, string or boolean"),
])
def test_invalid_arguments(kwargs, error, words):
    with pytest.raises(error, match=words):
        tfl.callbacks.SparsityBoard(**kwargs)


def test_tensorboard_that_is_missing_or_too_old(monkeypatch):
    from tensorboard import version

    how = r"pip install 'tensorboard>=2\.18'"
    with monkeypatch.context() as patch:
        patch.setattr(version, "VERSION", "2.9.1")
        with pytest.raises(ImportError, match=f"version 2.9.1. .*{how}"):
            tfl.callbacks.SparsityBoard()
        patch.setattr(version, "VERSION", "3.0.0a20270101")
        tfl.callbacks.SparsityBoard()
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ImportError, match=f"which is missing. .*{how}"):
        tfl.callbacks.SparsityBoard()


def test_not_among_the_callbacks_of_a_round(tmp_path, data):
    def make():
        return [tfl.callbacks.SparsityBoard(tmp_path)]

    with pytest.raises(ValueError, match="must not make a `SparsityBoard`"):
        run_rounds(data, round_callbacks=make)


def few(*strategies):
    def decorate(test):
        settings = hypothesis.settings(max_examples=25, deadline=None)
        return settings(hypothesis.given(*strategies)(test))

    return decorate


@few(st.lists(st.integers(1, 5), min_size=2, max_size=4), st.integers(0))
def test_pictures_are_the_means_of_kernels(shape, seed):
    mask = np.random.default_rng(seed).random(shape) < 0.5
    pictures = images.pictures(mask, layouts.default(len(shape)))
    positions = np.prod(shape[:-2], dtype=int)
    kernels = mask.reshape(positions, *shape[-2:])
    channels = pictures["masks" if positions == 1 else "channels"]
    for i, o in itertools.product(*map(range, shape[-2:])):
        assert channels[o, i] == pytest.approx(kernels[:, i, o].mean())
    if positions > 1:
        height, width = ([1] + shape[:-2])[-2:]
        tiles = pictures["masks"]
        for i, o in itertools.product(*map(range, shape[-2:])):
            top, left = o * (height + 1), i * (width + 1)
            tile = tiles[top:top + height, left:left + width]
            assert (tile.ravel() == kernels[:, i, o]).all()
        assert np.isnan(tiles).sum() == tiles.size - mask.size


def test_large_masks_are_drawn_in_blocks():
    mask = np.zeros((3000, 700), bool)
    mask[:1500] = True
    picture = images.pictures(mask, layouts.default(2))["masks"]
    assert picture.size <= 2**18
    assert picture.mean() == pytest.approx(0.5, abs=0.01)
    assert picture[0, 0] == 1 and picture[-1, -1] == 0
    large = np.ones((3, 3, 512, 512), bool)
    assert set(images.pictures(large, layouts.default(4))) == {
        "channels"
    }


@few(st.tuples(st.integers(1, 200), st.integers(1, 200)), st.integers(0))
def test_png_is_what_other_decoders_read(shape, seed):
    densities = np.random.default_rng(seed).random(shape)
    densities[0, 0] = np.nan
    (width, height), content = images.png(densities)
    pixels = tf.io.decode_png(content).numpy()
    assert pixels.shape == (height, width, 3)
    factor = height // shape[0]
    assert max(height, width) >= 128 or factor == 1
    assert (pixels[0, 0] == 255).all()
    # Brighter where more is kept.
    lightness = pixels[::factor, ::factor].sum(-1).ravel()[1:].astype(int)
    order = np.argsort(densities.ravel()[1:])
    assert (np.diff(lightness[order]) >= -3).all()


@few(st.lists(st.floats(-1e3, 1e3, width=32), max_size=60))
def test_histograms_count_every_number_once(values):
    value = summaries.histogram("tag", [*values, np.nan, np.inf])
    buckets = tensor_util.make_ndarray(value.tensor)
    assert buckets.shape == (30, 3)
    assert buckets[:, 2].sum() == len(values)
    if values:
        assert buckets[0, 0] == min(values)
        assert buckets[-1, 1] == max(values)
        inside = sum(buckets[-1, 0] <= value for value in values)
        assert abs(buckets[-1, 2] - inside) <= values.count(buckets[-1, 0])


def test_a_file_that_a_crash_left_unfinished(tmp_path):
    def values(number):
        return summaries.scalars({"a": number})

    log = files.Log(str(tmp_path), goes_on=False)
    for step in range(3):
        log.add("run", step, values(step))
        log.flush()
    path, = (tmp_path / "run").iterdir()
    path.write_bytes(path.read_bytes()[:-5])
    assert files.last_step(str(tmp_path), "run") == 1
    log = files.Log(str(tmp_path), goes_on=True)
    log.add("run", 2, values(5))
    log.flush()
    assert not path.exists()
    assert numbers(read(tmp_path)["run"]["a"]) == [0, 1, 5]
    assert shown(tmp_path, "run", "a") == [(0, 0.0), (1, 1.0), (2, 5.0)]


def test_files_are_open_only_while_they_are_written(tmp_path):
    log = files.Log(str(tmp_path), goes_on=False)
    log.add("run", 0, summaries.scalars({"a": 1}))
    log.flush()
    opened = pathlib.Path("/proc/self/fd")
    if opened.exists():
        names = [str(fd.resolve()) for fd in opened.iterdir()]
        assert not any(str(tmp_path) in name for name in names)
    assert copy.deepcopy(log)


@pytest.mark.slow
def test_a_log_directory_that_tensorflow_reaches(data):
    directory = f"ram://logs-{time.time()}"
    run_rounds(data, tfl.callbacks.SparsityBoard(directory), rounds=1)
    run = f"{directory}/sparsity/epochs"
    name, = tf.io.gfile.listdir(run)
    records = list(tf.data.TFRecordDataset(f"{run}/{name}"))
    assert len(records) == 1 + 4


def test_tables_are_markdown():
    assert cards.table(("a", "b"), [("1|2", "3")]).splitlines() == [
        "| a | b |", "| --- | --- |", "| 1\\|2 | 3 |",
    ]


def run_child(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
def test_other_backends(tmp_path):
    """JAX, in a process of its own."""
    pytest.importorskip("jax", reason="the JAX backend is not installed")
    code = f"""
import keras, numpy as np, tf_lottery as tfl
model = keras.Sequential(
    [keras.Input((4,)), keras.layers.Dense(8, name="a"),
     keras.layers.Dense(1, name="b")])
model.compile("adam", "mse")
imp = tfl.IterativeMagnitudePruning(
    rounds=1, epochs_per_round=2, rate=0.5, monitor="loss", verbose=0)
x = np.random.default_rng(0).normal(size=(32, 4))
board = tfl.callbacks.SparsityBoard({str(tmp_path)!r})
model.fit(x, x[:, :1], epochs=imp.epochs, callbacks=[imp, board], verbose=0)
"""
    run_child(code, KERAS_BACKEND="jax")
    found = ours(tmp_path)
    assert steps(found["epochs"]["density"]) == [0, 1, 2, 3]
    assert numbers(found["epochs"]["density"])[-1] == 0.5
    assert numbers(found["epochs"]["revived_weights"]) == [0] * 4
    assert steps(found["rounds"]["masks/a/kernel"]) == [0, 1]
